//! The question before a machine is cut off. A server of a few lines wants everything confirmed.
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

const CTL: &str = env!("CARGO_BIN_EXE_boundkeyctl");
const TOLD: &str = "`this` cuts off web-1 (id, token web), joined last at noon: next join: refused";

struct Server {
    place: TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

/// Refuses what was not confirmed by `true` or by the tag of its answer, unless it says that it is harmless; keeps what it
/// was asked.
fn server() -> Server {
    let place = tempfile::Builder::new().prefix("bkc-").tempdir_in("/tmp").expect("a directory");
    let listener = UnixListener::bind(place.path().join("admin.sock")).expect("a socket");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(answer(stream, &log))));
    Server { place, asked }
}

fn answer(stream: UnixStream, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut sent = vec![0; length];
    reader.read_exact(&mut sent)?;
    let harmless = String::from_utf8_lossy(&sent).contains("harmless")
        || request.contains("/harmless?")
        || (request.contains("/harmless-at-first?") && request.contains("dry_run=true"));
    let words: Vec<&str> = request.split(' ').take(2).collect();
    log.lock().expect("nobody panics").push(words.join(" "));
    let yes = request.contains("confirm=true") || request.contains("confirm=0123abcd");
    let confirmed = yes || harmless;
    let (status, body) = match confirmed {
        true => (
            "200 OK",
            r#"{"changed":true,"message":"done","removed":"x","lock":{},"warnings":[],"applied":[]}"#
                .to_owned(),
        ),
        false => (
            "409 Conflict",
            format!(
                r#"{{"type":"about:blank","title":"Conflict","status":409,"code":"confirmation_required","detail":"{TOLD}","confirmation":{{"tag":"0123abcd","machines":1,"affected":[]}}}}"#
            ),
        ),
    };
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn ctl(place: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(CTL);
    command.arg("--socket").arg(place.join("admin.sock")).args(arguments).stdin(Stdio::null());
    command
}

const CUT_OFF: [&[&str]; 6] = [
    &["bound-keypair", "reset", "web"],
    &["bound-keypair", "revoke", "web"],
    &["rm", "token/web", "--revoke"],
    &["bots", "rm", "ci"],
    &["lock", "--token", "web", "--message", "it is gone"],
    &["rm", "bot/ci", "token/web"],
];

#[test]
fn without_a_terminal_the_text_and_the_command_to_type_are_told_and_nothing_is_done() {
    for arguments in CUT_OFF {
        let server = server();
        let output = ctl(server.place.path(), arguments).output().expect("it runs");
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(
            (output.status.code(), output.stdout.as_slice()),
            (Some(1), &b""[..]),
            "{arguments:?}: {said}"
        );
        assert!(said.starts_with(&format!("boundkeyctl: {TOLD}\n")), "{said}");
        let typed = arguments.join(" ").replace("it is gone", "'it is gone'");
        let command = format!(
            "nothing was changed; to do it all the same: boundkeyctl --socket {} {typed} --yes\n",
            server.place.path().join("admin.sock").display()
        );
        assert!(said.ends_with(&command), "{said}: {command}");
        for asked in server.asked.lock().expect("nobody panics").iter() {
            assert!(asked.contains("confirm=false"), "{asked}");
            assert!(!asked.starts_with("DELETE") || asked.contains("dry_run=true"), "{asked}");
        }
        // And that command does it.
        let output = ctl(server.place.path(), &[arguments, &["--yes"]].concat()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.stderr, b"", "{arguments:?}");
    }
}

/// Types an answer on a terminal of its own; none where `script` is missing.
fn typed(place: &Path, arguments: &[&str], answer: &str) -> Option<Output> {
    let words: Vec<String> = arguments
        .iter()
        .map(|word| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() })
        .collect();
    let command = format!("{CTL} --socket {} {}", place.join("admin.sock").display(), words.join(" "));
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]);
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match script.spawn() {
        Ok(child) => child,
        Err(error) => {
            println!("SKIP: there is no `script` to make a terminal with: {error}");
            return None;
        }
    };
    child.stdin.take().expect("a pipe").write_all(answer.as_bytes()).expect("it is read");
    Some(child.wait_with_output().expect("it ends"))
}

#[test]
fn on_a_terminal_it_is_asked_and_no_is_the_default() {
    for arguments in CUT_OFF {
        for (answer, done) in
            [("y\n", true), ("yes\n", true), ("\n", false), ("n\n", false), ("what?\n", false)]
        {
            let server = server();
            let Some(output) = typed(server.place.path(), arguments, answer) else { return };
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(
                output.status.code(),
                Some(if done { 0 } else { 1 }),
                "{arguments:?} {answer:?}: {said}"
            );
            assert!(said.contains(TOLD) && said.contains("go on? [y/N]"), "{said}");
            let asked = server.asked.lock().expect("nobody panics");
            assert_eq!(asked.iter().any(|asked| asked.contains("confirm=0123abcd")), done, "{asked:?}");
            assert!(!asked.iter().any(|asked| asked.contains("confirm=true")), "{asked:?}");
            assert_eq!(said.contains("nothing was changed"), !done, "{said}");
        }
    }
}

#[test]
fn a_file_of_several_parts_that_is_stopped_by_a_question_says_truly_what_was_applied() {
    let server = server();
    let file = server.place.path().join("all.yaml");
    let mut text = String::new();
    for number in 0..1000 {
        text.push_str(&format!("kind: bot\nversion: v1\nmetadata: {{name: harmless-{number}}}\n---\n"));
    }
    text.push_str("kind: lock\nversion: v2\nmetadata: {name: incident}\nspec: {target: {join_token: web}}\n");
    std::fs::write(&file, text).expect("a file");
    let shown = file.display().to_string();
    let output = ctl(server.place.path(), &["create", "-f", &shown]).output().expect("it runs");
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(
        said,
        format!(
            "boundkeyctl: {TOLD}\n1000 of 1001 resources of {shown} were applied, the 1 after them and the rest were not; \
             mend the cause (to a question, `--yes` is the answer) and apply the whole file again with `create -f`, which \
             changes nothing twice\n"
        )
    );
    let output = ctl(server.place.path(), &["create", "-f", &shown, "--yes"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_question_after_the_first_was_removed_says_truly_what_was_removed() {
    let server = server();
    let words = ["rm", "token/harmless", "token/harmless-at-first"];
    let output = ctl(server.place.path(), &words).output().expect("it runs");
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b"done\n"[..]), "{said}");
    assert_eq!(
        said,
        format!(
            "boundkeyctl: {TOLD}\n1 of 2 resources were removed, as printed; harmless-at-first and those after it were not; \
             name only these to go on (to a question, `--yes` is the answer)\n"
        )
    );
}
