//! Static keys, from what `keypair create --static` prints: the token as it is, the config with what it asks for.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boundkey_keys::PrivateKey;
use boundkey_testkit::{Agent, Cluster, Running, binary, run, wait_for};

use crate::facts;

/// What `keypair create --static` printed, in its parts.
struct Printed {
    /// Before the token: the private key if it is not in a file, and the public one.
    keys: String,
    token: String,
    config: String,
}

impl Printed {
    fn of(arguments: &[&str]) -> Self {
        let mut create = Command::new(binary("boundkey-agent"));
        let printed = run(create.args(["keypair", "create", "--static"]).args(arguments)).success();
        let (keys, rest) = printed.split_once("\n\n").expect("a paragraph about the keys");
        let (token, config) = rest.split_once("\n\n").expect("a token, then a config");
        Self { keys: format!("{keys}\n"), token: format!("{token}\n"), config: config.to_owned() }
    }

    /// The bot that the comment tells to add, then the token as it was printed.
    fn create(&self, cluster: &Cluster) {
        let (_, told) = self.token.split_once("its bot is added by `boundkeyctl ").expect("a command");
        let told: Vec<&str> = told.split('`').next().expect("a command").split(' ').collect();
        cluster.ctl(&told).success();
        let file = cluster.path("printed.yaml");
        std::fs::write(&file, &self.token).expect("a file can be written");
        let created = cluster.ctl(&["create", &file.display().to_string()]);
        // The one warning that cannot be helped: the token and its bot are whole.
        let warnings: Vec<&str> = created.stderr.lines().collect();
        assert!(
            matches!(warnings[..], [one] if one.contains("mode insecure lets every holder of the key join")),
            "{warnings:?}"
        );
        assert_eq!(created.success(), "token/example created\n");
    }

    /// An agent with the printed config: the server's address and pin in the place of the words in capitals, and a
    /// data directory, for the usual one is the machine's.
    fn agent(&self, cluster: &Cluster, name: &str) -> Agent {
        let status = cluster.ctl(&["status"]).success();
        let pin = status.lines().find_map(|line| line.strip_prefix("CA pin   ")).expect("a pin");
        let agent = Agent::write(cluster, name, "", "");
        let config = self
            .config
            .replace("SERVER:443", cluster.address())
            .replace("sha256:PIN", pin)
            .replace("agent:\n", &format!("agent:\n  data_dir: {}\n", agent.state_dir().display()));
        std::fs::write(agent.config(), config).expect("a config can be written");
        agent
    }
}

/// The key in a file of its own, as a secret of a CI system.
fn key_file(cluster: &Cluster, printed: &Printed) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let (pem, public) = printed.keys.split_at(printed.keys.find("ssh-ed25519 ").expect("a public key"));
    assert!(
        pem.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"),
        "a key that is not in a file is printed"
    );
    assert_eq!(public.lines().count(), 1);
    let file = cluster.path("ci.key");
    std::fs::write(&file, pem).expect("a key can be written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("a mode can be set");
    file
}

/// The agent with the key in its environment, by the shell's words that the config prints.
fn with_key_in_environment(printed: &Printed, key: &Path, mut agent: Command) -> Command {
    let (_, words) = printed.config.split_once("in the environment: ").expect("the words for a shell");
    let words = words.trim_end().replace("KEY_FILE", &key.display().to_string());
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{words} exec \"$@\""), "sh"]).arg(agent.get_program()).args(agent.get_args());
    // Nothing of the command itself is needed any more.
    agent.env_clear();
    shell
}

/// A rotation is due and stops nobody: `join` still does what it did, and the administrator is told.
fn due_rotation_is_reported_and_stops_nobody(cluster: &Cluster, mut join: impl FnMut()) {
    let key = facts(cluster, "example")["bound_public_key"].clone();
    cluster.ctl(&["bound-keypair", "rotate", "example"]).success();
    let joins = |events: &[serde_json::Value]| {
        let overdue = |event: &&serde_json::Value| {
            event["notes"].as_array().is_some_and(|notes| notes.contains(&"rotation_overdue".into()))
        };
        events.iter().filter(overdue).count()
    };
    let before = joins(&cluster.events("example"));
    join();
    assert_eq!(facts(cluster, "example")["bound_public_key"], key, "nobody else is shut out");
    assert_eq!((before, joins(&cluster.events("example"))), (0, 1));
    let listed = cluster.ctl(&["tokens", "ls"]).success();
    assert!(listed.contains("shared") && listed.contains("rotation overdue"), "{listed}");
    let explained = cluster.ctl(&["bound-keypair", "explain", "example", "--format", "json"]).success();
    let explained: serde_json::Value = serde_json::from_str(&explained).expect("JSON");
    let warnings = explained["warnings"].to_string();
    assert!(
        warnings.contains("the rotation that is due cannot be made while the token is shared"),
        "{warnings}"
    );
}

#[test]
fn a_static_key_in_a_file_joins_with_what_was_printed() {
    let cluster = Cluster::start("static-file");
    let file = cluster.path("ci.key").display().to_string();
    let printed = Printed::of(&["--static-key-path", &file]);
    assert!(
        printed.keys.starts_with("ssh-ed25519 ") && printed.keys.lines().count() == 1,
        "{}",
        printed.keys
    );
    printed.create(&cluster);
    let agent = printed.agent(&cluster, "ci");
    agent.oneshot().success();
    let bound = facts(&cluster, "example");
    assert_eq!(bound["bound_public_key"], printed.keys.trim());
    assert_ne!(bound["bound_bot_instance_id"], "");
    due_rotation_is_reported_and_stops_nobody(&cluster, || drop(agent.oneshot().success()));
    let again = Printed::of(&["--static-key-path", &file]);
    assert_eq!((again.keys, again.token), (printed.keys, printed.token), "the key that is there is kept");
}

#[test]
fn a_static_key_in_the_environment_joins_with_what_was_printed_from_any_number_of_new_machines() {
    let cluster = Cluster::start("static-env");
    let printed = Printed::of(&[]);
    let key = key_file(&cluster, &printed);
    printed.create(&cluster);
    let join = |machine: &str| {
        let agent = printed.agent(&cluster, machine);
        run(&mut with_key_in_environment(&printed, &key, agent.start_command(&["--oneshot"]))).success();
        let status = agent.command(&["status", "--format", "json"]).success();
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        status["id"].as_str().expect("an instance").to_owned()
    };
    let (first, second) = (join("job-1"), join("job-2"));
    assert_ne!(first, second, "a job is an instance of its own");
    assert_eq!(join("job-1"), first, "one that kept its state stays what it is");
    due_rotation_is_reported_and_stops_nobody(&cluster, || drop(join("job-3")));

    let agent = printed.agent(&cluster, "job-4");
    let without = agent.oneshot().failure();
    assert!(without.contains("denied"), "without the key nothing is proven: {without}");
}

#[test]
fn where_each_key_has_one_holder_a_due_rotation_stops_a_static_one_and_the_advice_it_gets_helps() {
    let cluster = Cluster::start("static-standard");
    let file = cluster.path("ci.key").display().to_string();
    let mut printed = Printed::of(&["--static-key-path", &file]);
    printed.token = printed.token.replace("mode: insecure", "mode: standard");
    let apply = |printed: &Printed| {
        let resources = cluster.path("printed.yaml");
        std::fs::write(&resources, &printed.token).expect("a file can be written");
        cluster.ctl(&["create", "-f", &resources.display().to_string()]).success();
    };
    cluster.ctl(&["bots", "add", "example"]).success();
    apply(&printed);
    let agent = printed.agent(&cluster, "ci");
    agent.oneshot().success();
    agent.oneshot().success();
    let said = cluster.ctl(&["bound-keypair", "rotate", "example"]).success();
    let warned = "; a machine with a static key is refused then, for it makes no key by itself\n";
    assert!(said.ends_with(warned), "{said}");
    let said = cluster.ctl(&["bound-keypair", "resync", "example"]).success();
    assert!(said.ends_with(": for one, say --keep-key from the start\n"), "{said}");
    let stopped = agent.oneshot().failure();
    assert!(stopped.contains("the cluster demands a new key, and this agent has a static one"), "{stopped}");
    assert_eq!(facts(&cluster, "example")["bound_public_key"], printed.keys.trim());

    let renewed = Printed::of(&["--static-key-path", &file, "--overwrite"]);
    printed.token = renewed.token.replace("mode: insecure", "mode: standard");
    assert_ne!(renewed.keys, printed.keys);
    cluster.ctl(&["bound-keypair", "reset", "example", "--yes"]).success();
    apply(&printed);
    agent.oneshot().success();
    assert_eq!(facts(&cluster, "example")["bound_public_key"], renewed.keys.trim());
}

#[test]
fn a_machine_with_a_static_key_that_forgot_its_state_comes_back_as_it_was_told() {
    for mode in ["insecure", "standard"] {
        let cluster = Cluster::start("static-forgets");
        let file = cluster.path("ci.key").display().to_string();
        let mut printed = Printed::of(&["--static-key-path", &file]);
        printed.token = printed.token.replace("mode: insecure", &format!("mode: {mode}"));
        cluster.ctl(&["bots", "add", "example"]).success();
        let resources = cluster.path("printed.yaml");
        std::fs::write(&resources, &printed.token).expect("a file can be written");
        cluster.ctl(&["create", "-f", &resources.display().to_string()]).success();
        let agent = printed.agent(&cluster, "ci");
        agent.oneshot().success();
        let config = agent.config().display().to_string();
        let asked = agent.command(&["forget", "-c", &config]).failure();
        assert!(
            asked.contains("; the static key itself stays. Unless the token's mode is insecure, this machine joins again only \
                            after `boundkeyctl bound-keypair resync example --keep-key`\n"),
            "{asked}"
        );
        agent.command(&["forget", "--yes"]).success();
        if mode == "standard" {
            let refused = agent.oneshot().failure();
            assert!(refused.contains("join_state_required"), "{refused}");
            let said = cluster.ctl(&["bound-keypair", "resync", "example", "--keep-key"]).success();
            assert!(!said.contains("static"), "{said}");
        }
        agent.oneshot().success();
    }
}

#[test]
fn a_placeholder_that_was_left_in_the_printed_config_is_refused_by_its_line() {
    let cluster = Cluster::prepare("static-placeholder");
    let config = cluster.path("boundkey.yaml");
    std::fs::write(&config, Printed::of(&[]).config).expect("a config can be written");
    let mut start = Command::new(binary("boundkey-agent"));
    let refused = run(start.args(["start", "--oneshot", "-c"]).arg(&config)).failure();
    assert!(refused.contains(":6:13: agent.ca_pins[0]: found `sha256:PIN`"), "{refused}");
}

/// The private key in every form in which it might slip out.
fn forms(key: &Path) -> Vec<String> {
    let pem = std::fs::read_to_string(key).expect("a key");
    let body: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let bytes = STANDARD.decode(body.concat()).expect("base64");
    // OpenSSH's form ends with the seed and the public key, a comment and padding; the public key stands at its start too.
    let at = bytes.windows(11).position(|w| w == b"ssh-ed25519").expect("its kind") + 11 + 4;
    let public = &bytes[at..at + 32];
    let last = bytes.windows(32).rposition(|window| window == public).expect("the public key again");
    let seed = &bytes[last - 32..last];
    let derived = PrivateKey::ed25519_from_seed(seed.try_into().expect("32 bytes"));
    let is_seed = derived.to_openssh_pem("boundkey").lines().nth(2) == pem.lines().nth(2);
    assert!(is_seed, "this is the key that was printed");
    let hex: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{seed:?}");
    // What begins at another byte is written with other letters: the middle of each of the three is looked for.
    let shifted = (0..3).map(|skip| STANDARD.encode(&seed[skip..skip + 27]));
    let mut forms: Vec<String> = shifted.collect();
    forms.extend([hex.to_uppercase(), hex, list.trim_matches(['[', ']']).to_owned(), STANDARD.encode(&pem)]);
    forms.push("PRIVATE KEY".to_owned());
    forms
}

#[test]
fn a_static_key_is_in_no_log_and_no_status_whichever_way_it_came() {
    let mut cluster = Cluster::start("static-silent");
    let printed = Printed::of(&[]);
    let key = key_file(&cluster, &printed);
    printed.create(&cluster);
    let by_environment = printed.agent(&cluster, "by-environment");
    let by_file = printed.agent(&cluster, "by-file");
    let config = std::fs::read_to_string(by_file.config()).expect("a config");
    let path = format!("    bound_keypair: {{static_key_path: {}}}\n", key.display());
    std::fs::write(by_file.config(), config + &path).expect("a config can be written");

    let forms = forms(&key);
    let silent = |what: &str, text: &str| {
        for form in &forms {
            assert!(!text.contains(form), "{what} has {form}:\n{text}");
        }
    };
    assert!(
        forms[..3]
            .iter()
            .any(|form| std::fs::read_to_string(&key).expect("a key").replace('\n', "").contains(form))
    );
    let everything = ["--log-level", "trace", "--log-format", "json"];
    let commands = [
        (&by_file, by_file.start_command(&everything)),
        (&by_environment, with_key_in_environment(&printed, &key, by_environment.start_command(&everything))),
    ];
    for (agent, mut command) in commands {
        let mut running = Running::start(&mut command, agent.path("agent.log"));
        wait_for("the agent to join", || {
            assert!(running.ended().is_none(), "the agent ended: {}", running.printed());
            agent.identity("cert.pem").exists()
        });
        let first = std::fs::read(agent.identity("cert.pem")).expect("a certificate");
        running.signal("USR1");
        wait_for("the renewal", || std::fs::read(agent.identity("cert.pem")).is_ok_and(|cert| cert != first));
        for format in ["text", "json", "yaml"] {
            let status = agent.command(&["status", "--format", format]);
            silent("standard error of status", &status.stderr);
            let status = status.success();
            assert!(status.contains("ssh-ed25519 "), "the public key is shown: {status}");
            silent("status", &status);
        }
        assert!(running.stop().success());
        let log = running.printed();
        assert!(log.contains("TRACE") && log.contains("joined"), "{log}");
        silent("the log", &log);
        for entry in std::fs::read_dir(agent.identity("")).expect("a directory").flatten() {
            if let Ok(text) = std::fs::read_to_string(entry.path()) {
                let own = forms[..forms.len() - 1].iter().find(|form| text.contains(*form));
                assert_eq!(own, None, "{}", entry.path().display());
            }
        }
    }
    silent("the server's log", &cluster.server().printed());
}

/// A token of one static key, and the backups that its server is put back to.
struct Restored {
    cluster: Cluster,
    printed: Printed,
}

impl Restored {
    fn start(purpose: &str) -> Self {
        let cluster = Cluster::start(purpose);
        let printed = Printed::of(&["--static-key-path", &cluster.path("ci.key").display().to_string()]);
        cluster.ctl(&["bots", "add", "example"]).success();
        Self { cluster, printed }
    }

    fn mode(&self, mode: &str) {
        let file = self.cluster.path("printed.yaml");
        let token = self.printed.token.replace("mode: insecure", &format!("mode: {mode}"));
        std::fs::write(&file, token).expect("a file can be written");
        self.cluster.ctl(&["create", "-f", &file.display().to_string()]).success();
    }

    fn save(&mut self, name: &str) -> std::path::PathBuf {
        self.cluster.stop_server();
        let saved = self.cluster.save_data(name);
        self.cluster.start_server(&[]);
        saved
    }

    fn restore(&mut self, saved: &Path) {
        self.cluster.stop_server();
        self.cluster.restore_data(saved);
        self.cluster.start_server(&[]);
    }

    fn agent(&self, name: &str) -> Agent {
        self.printed.agent(&self.cluster, name)
    }

    #[track_caller]
    fn assert_no_locks(&self) {
        assert_eq!(self.cluster.ctl(&["get", "locks", "--format", "json"]).success().trim(), "[]");
    }
}

#[test]
fn restores_that_forget_which_machine_stayed_when_insecure_was_left_lock_nobody() {
    let mut token = Restored::start("static-adopted");
    token.mode("insecure");
    let (one, two) = (token.agent("one"), token.agent("two"));
    one.oneshot().success();
    two.oneshot().success();
    let shared = token.save("shared");
    token.mode("standard");
    one.oneshot().success();
    let refused = two.oneshot().failure();
    assert!(refused.contains("shared_token"), "{refused}");
    let of_one = token.save("of-one");

    token.restore(&shared);
    token.mode("standard");
    two.oneshot().success();
    let refused = one.oneshot().failure();
    assert!(refused.contains("shared_token"), "{refused}");
    two.oneshot().success();
    token.assert_no_locks();

    token.restore(&of_one);
    one.oneshot().success();
    let refused = two.oneshot().failure();
    assert!(refused.contains("shared_token"), "{refused}");
    token.assert_no_locks();
}

#[test]
fn a_machine_that_was_one_of_many_meanwhile_comes_back_to_the_server_that_knows_it_alone() {
    let mut token = Restored::start("static-returned");
    token.mode("standard");
    let empty = token.save("empty");
    let (one, two) = (token.agent("one"), token.agent("two"));
    one.oneshot().success();
    let alone = token.save("alone");

    token.restore(&empty);
    token.mode("insecure");
    two.oneshot().success();
    one.oneshot().success();
    one.oneshot().success();

    token.restore(&alone);
    one.oneshot().success();
    let events = token.cluster.events("example");
    let notes = events.iter().filter_map(|event| event["notes"].as_array()).flatten();
    assert!(notes.into_iter().any(|note| note == "returned"), "{events:?}");
    one.oneshot().success();
    let refused = two.oneshot().failure();
    assert!(refused.contains("shared_token"), "{refused}");
    token.assert_no_locks();
}
