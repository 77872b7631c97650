//! What is printed where: pipes that close, terminals, colours. A server of a few lines answers.
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const CTL: &str = env!("CARGO_BIN_EXE_boundkeyctl");

/// Answers requests for tokens with two of them, or (whole resources) with thousands.
fn server() -> TempDir {
    let place = tempfile::Builder::new().prefix("bkc-").tempdir_in("/tmp").expect("a directory");
    let listener = UnixListener::bind(place.path().join("admin.sock")).expect("a socket");
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(answer(stream))));
    place
}

fn answer(stream: UnixStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let row = |name: &str, state: &str| {
        format!(
            r#"{{"name":"{name}","roles":["Node"],"state":"{state}","mode":"standard","recovery_count":0,"recovery_limit":1,"recoveries_left":1}}"#
        )
    };
    let items = match request.contains("view=summary") {
        true => vec![row("web-1", "bound"), row("web-2", "locked")],
        false => {
            (0..20_000).map(|n| format!(r#"{{"kind":"token","metadata":{{"name":"web-{n}"}}}}"#)).collect()
        }
    };
    let body = format!(r#"{{"items":[{}]}}"#, items.join(","));
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn ctl(place: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(CTL);
    command.arg("--data-dir").arg(place).args(arguments).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    command
}

/// Reads one line, then goes away as `head` does.
fn first_line(command: &mut Command) -> (String, Output) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::with_capacity(16, child.stdout.take().expect("a pipe")).read_line(&mut line).expect("text");
    (line, child.wait_with_output().expect("it ends"))
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = server();
    for (arguments, starts) in [
        (vec!["get", "tokens"], "- kind: token"),
        (vec!["get", "tokens", "--format", "json"], "["),
        (vec!["tokens", "ls"], "NAME"),
        (vec!["completions", "bash"], "_boundkeyctl"),
        (vec!["completions", "zsh"], "#compdef boundkeyctl"),
        (vec!["--help"], "Administer"),
    ] {
        let (line, output) = first_line(&mut ctl(place.path(), &arguments));
        assert!(line.starts_with(starts), "{arguments:?}: {line}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{arguments:?}: {} {errors}", output.status);
    }
}

/// The same command on a terminal, by `script` of util-linux; None where that is missing.
fn on_a_terminal(command: &Command) -> Option<String> {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| format!("'{}'", word.to_str().expect("text")))
        .collect();
    let mut script = Command::new("script");
    script.args(["-qec", &words.join(" "), "/dev/null"]).env("TERM", "xterm").env_remove("NO_COLOR");
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            script.env(name, value);
        }
    }
    match script.stdin(Stdio::null()).output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => {
            println!("SKIP: there is no `script` to make a terminal with: {error}");
            None
        }
    }
}

#[test]
fn colours_are_for_terminals_alone_and_for_those_who_want_them() {
    let place = server();
    let command = || ctl(place.path(), &["tokens", "ls"]);
    let plain = String::from_utf8(command().output().expect("it runs").stdout).expect("text");
    assert!(plain.starts_with("NAME") && !plain.contains('\x1b'), "{plain:?}");
    let Some(coloured) = on_a_terminal(&command()) else { return };
    assert!(coloured.contains("\x1b["), "{coloured:?}");
    let without = on_a_terminal(command().env("NO_COLOR", "1")).expect("as before");
    assert!(without.contains("web-2") && !without.contains("\x1b["), "{without:?}");
    let json = on_a_terminal(&ctl(place.path(), &["tokens", "ls", "--format", "json"])).expect("as before");
    assert!(json.contains("web-2") && !json.contains("\x1b["), "{json:?}");
}

#[test]
fn every_shell_has_a_completion_script_that_knows_the_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = Command::new(CTL).args(["completions", shell]).output().expect("it runs");
        let script = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success() && output.stderr.is_empty(), "{shell}");
        for word in ["bound-keypair", "grant-recovery", "with-secrets"] {
            assert!(script.contains(word), "{shell}: {word} is missing");
        }
    }
    // Where bash is installed, it must take the script.
    let script = Command::new(CTL).args(["completions", "bash"]).output().expect("it runs").stdout;
    match Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn() {
        Ok(mut bash) => {
            bash.stdin.take().expect("a pipe").write_all(&script).expect("bash reads it");
            assert!(bash.wait().expect("bash ends").success());
        }
        Err(error) => println!("SKIP: bash is not here to read its script: {error}"),
    }
}

#[test]
fn every_command_has_a_man_page() {
    let place = tempfile::tempdir().expect("a directory");
    let out = place.path().join("man/man1");
    let output = Command::new(CTL).arg("man").arg(&out).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for page in
        ["boundkeyctl", "boundkeyctl-create", "boundkeyctl-bound-keypair-resync", "boundkeyctl-events-watch"]
    {
        let text = std::fs::read_to_string(out.join(format!("{page}.1"))).expect(page);
        assert!(text.contains(".TH ") && text.contains(".SH SYNOPSIS"), "{page}");
    }
    let said = Command::new(CTL).args(["man", "/proc/nowhere"]).output().expect("it runs");
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stderr).contains("cannot make /proc/nowhere"));
}

#[test]
fn an_empty_variable_is_one_that_is_not_set() {
    let output = Command::new(CTL)
        .args(["tokens", "ls"])
        .env("BOUNDKEY_DATA_DIR", "")
        .env("BOUNDKEY_ADMIN_SOCKET", "")
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no server answers at /var/lib/boundkey-server/admin.sock"), "{said}");
}
