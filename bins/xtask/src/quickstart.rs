//! The main job, end to end, on this machine: a real server, a real agent, real certificates.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{Running, Scratch, binaries, cargo, find, output, run as execute};

/// The guide's token: every field, the unset ones as empty strings.
const TOKEN: &str = r#"kind: token
version: v2
metadata:
  name: example-token
spec:
  roles: [Node]
  join_method: bound_keypair
  bound_keypair:
    onboarding:
      initial_public_key: ""
      registration_secret: ""      # empty: the server generates one
      must_register_before: ""
    recovery:
      limit: 1
      mode: "standard"
    rotate_after: ""
"#;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Some(unknown) = arguments.iter().find(|argument| *argument != "--keep") {
        bail!("quickstart does not know `{unknown}`; allowed: --keep");
    }
    let keep = !arguments.is_empty();
    step("Building the workspace (the first time takes a few minutes)");
    execute(cargo().args(["build", "--workspace", "--bins"]))?;
    let started = Instant::now();
    let mut tour = Tour { scratch: Scratch::new("quickstart", keep)?, binaries: binaries("debug")?, step: 0 };
    tour.run()?;
    println!("\nDone in {:.1} s, and cleaned up.", started.elapsed().as_secs_f64());
    if keep {
        println!("Kept as asked: {}", tour.scratch.path().display());
    }
    tour.by_hand();
    Ok(())
}

struct Tour {
    scratch: Scratch,
    binaries: PathBuf,
    step: usize,
}

impl Tour {
    fn run(&mut self) -> Result<()> {
        self.say("A server makes its own CAs and an embedded store on its first start, and serves TLS 1.3 on loopback");
        let (mut server, address, pin) = self.start_server()?;
        println!("  ready on {address}, CA pin {pin}");

        self.say("An administrator creates a token: who may join, as what, how often it may recover");
        std::fs::write(self.scratch.join("token.yaml"), TOKEN)?;
        let file = self.scratch.join("token.yaml").display().to_string();
        show(&self.ctl(&["create", &file])?);
        show(&self.ctl(&["get", "token/example-token"])?);

        self.say("Its registration secret works once: the first machine to prove it binds its own key");
        let secret = self.secret()?;
        println!(
            "  a generated secret of {} characters (shown by `get --with-secrets` until it is used)",
            secret.len()
        );

        self.say("An agent makes its keypair, proves it and the secret, and joins");
        self.write_config(&secret, &address, &pin)?;
        let mut agent = self.start_agent()?;
        let certificate = self.scratch.join("agent/identity/cert.pem");
        wait_for("the agent to join", &mut agent, || certificate.exists() && self.outputs_are_written())?;
        show(&self.ctl(&["nodes", "ls"])?);

        self.say(
            "The token now shows the bound key; the used secret is gone, one of one recoveries is spent",
        );
        show(&self.ctl(&["get", "token/example-token"])?);

        self.say("The certificates, as other people's programs see them");
        self.check_certificates()?;

        self.say("A renewal: same key, next join state, fresh certificates; no recovery is spent");
        let before = std::fs::read(&certificate)?;
        agent.signal("USR1")?;
        wait_for("the renewal", &mut agent, || std::fs::read(&certificate).is_ok_and(|now| now != before))?;
        show(&self.agent(&["status", "-c", &self.config_path()])?);
        show(&self.ctl(&["tokens", "ls"])?);

        self.say("A rotation: asked for by an administrator, done by the agent at its next join");
        show(&self.ctl(&["bound-keypair", "rotate", "example-token"])?);
        let before = std::fs::read(&certificate)?;
        agent.signal("USR1")?;
        wait_for("the rotation", &mut agent, || std::fs::read(&certificate).is_ok_and(|now| now != before))?;
        show(&self.ctl(&["events", "ls", "--token", "example-token"])?);

        agent.stop()?;
        server.stop()?;
        Ok(())
    }

    fn say(&mut self, text: &str) {
        self.step += 1;
        step(&format!("{}. {text}", self.step));
    }

    fn binary(&self, name: &str) -> Command {
        Command::new(self.binaries.join(name))
    }

    fn ctl(&self, arguments: &[&str]) -> Result<String> {
        output(self.binary("boundkeyctl").arg("--data-dir").arg(self.scratch.join("server")).args(arguments))
    }

    fn agent(&self, arguments: &[&str]) -> Result<String> {
        output(self.binary("boundkey-agent").args(arguments))
    }

    fn config_path(&self) -> String {
        self.scratch.join("boundkey.yaml").display().to_string()
    }

    /// The process, its address and its CA pin, both from the ready line.
    fn start_server(&self) -> Result<(Running, String, String)> {
        let log = self.scratch.join("server.log");
        let file = std::fs::File::create(&log)?;
        let mut server = Running::start(
            self.binary("boundkey-server")
                .args(["start", "--cluster-name", "example.com", "--listen", "127.0.0.1:0", "--data-dir"])
                .arg(self.scratch.join("server"))
                .stdin(Stdio::null())
                .stdout(file.try_clone()?)
                .stderr(file),
        )?;
        let mut ready = None;
        wait_for("the server to be ready", &mut server, || {
            let printed = std::fs::read_to_string(&log).unwrap_or_default();
            ready = printed.lines().find_map(parse_ready);
            ready.is_some()
        })
        .with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
        let (address, pin) = ready.context("no ready line")?;
        Ok((server, address, pin))
    }

    fn start_agent(&self) -> Result<Running> {
        let log = std::fs::File::create(self.scratch.join("agent.log"))?;
        Running::start(
            self.binary("boundkey-agent")
                .args(["start", "-c"])
                .arg(self.scratch.join("boundkey.yaml"))
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log),
        )
    }

    fn secret(&self) -> Result<String> {
        let token = self.ctl(&["get", "token/example-token", "--with-secrets", "--format", "json"])?;
        let token: serde_json::Value = serde_json::from_str(&token)?;
        let secret = token["status"]["bound_keypair"]["registration_secret"].as_str();
        secret.map(str::to_owned).context("the token has no registration secret")
    }

    fn write_config(&self, secret: &str, address: &str, pin: &str) -> Result<()> {
        let secret_file = self.scratch.join("secret");
        std::fs::write(&secret_file, secret)?;
        let host_key = self.scratch.join("host/ssh_host_ed25519_key");
        let config = format!(
            "version: v3
agent:
  data_dir: {}
  join_params:
    token_name: example-token
    method: bound_keypair
    bound_keypair:
      registration_secret_path: {}
  proxy_server: {address}
  ca_pins: [\"{pin}\"]
ssh_service:
  enabled: true
outputs:
- {{type: tls, path: {}}}
- {{type: openssh_host, path: {}, host_key: {}}}
",
            self.scratch.join("agent").display(),
            secret_file.display(),
            self.scratch.join("tls").display(),
            self.scratch.join("ssh").display(),
            host_key.display(),
        );
        std::fs::create_dir_all(self.scratch.join("host"))?;
        if let Some(keygen) = find("ssh-keygen") {
            output(Command::new(keygen).args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&host_key))?;
        }
        std::fs::write(self.scratch.join("boundkey.yaml"), config)?;
        Ok(())
    }

    /// They come after the identity, one directory after the other.
    fn outputs_are_written(&self) -> bool {
        let has_host_key = find("ssh-keygen").is_some();
        self.scratch.join("tls/cert.pem").exists()
            && (!has_host_key || certificate_in(&self.scratch.join("ssh")).is_some())
    }

    fn check_certificates(&self) -> Result<()> {
        match find("openssl") {
            Some(openssl) => {
                let ca = self.scratch.join("host-ca.pem");
                std::fs::write(&ca, self.ctl(&["ca", "export", "--type", "host"])?)?;
                let leaf = self.scratch.join("tls/cert.pem");
                let verify = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"];
                show(&output(Command::new(&openssl).args(verify).arg(&ca).arg(&leaf))?);
                let fields = ["-noout", "-subject", "-dates", "-ext", "subjectAltName", "-in"];
                show(&output(Command::new(&openssl).arg("x509").args(fields).arg(&leaf))?);
            }
            None => println!("  (openssl is not installed, so it is not asked)"),
        }
        match (find("ssh-keygen"), certificate_in(&self.scratch.join("ssh"))) {
            (Some(keygen), Some(certificate)) => {
                show(&output(Command::new(keygen).args(["-L", "-f"]).arg(certificate))?);
            }
            (None, _) => println!("  (ssh-keygen is not installed, so it is not asked)"),
            (_, None) => bail!("the agent wrote no OpenSSH certificate"),
        }
        Ok(())
    }

    fn by_hand(&self) {
        let bin = self.binaries.strip_prefix(crate::process::root()).unwrap_or(&self.binaries).display();
        println!(
            "
To go on by hand:
  {bin}/boundkey-server start --data-dir ./bk --cluster-name example.com
  {bin}/boundkeyctl --data-dir ./bk enroll my-host --roles Node --out ./configs   # a token and a finished agent config
  {bin}/boundkey-agent start -c ./configs/my-host.yaml
  {bin}/boundkeyctl --data-dir ./bk nodes ls
The README walks through the same steps one by one."
        );
    }
}

/// `ready: https://ADDRESS cluster NAME ca pin PIN`
pub(crate) fn parse_ready(line: &str) -> Option<(String, String)> {
    let rest = line.strip_prefix("ready: https://")?;
    let (address, rest) = rest.split_once(' ')?;
    let pin = rest.split_whitespace().find(|word| word.starts_with("sha256:"))?;
    Some((address.to_owned(), pin.trim_end_matches(',').to_owned()))
}

fn certificate_in(directory: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| path.to_string_lossy().ends_with("-cert.pub"))
}

fn step(text: &str) {
    println!("\n==> {text}");
}

fn show(text: &str) {
    for line in text.lines() {
        println!("  {line}");
    }
}

/// Polls; a process that ends meanwhile is a failure.
fn wait_for(what: &str, process: &mut Running, mut yes: impl FnMut() -> bool) -> Result<()> {
    let started = Instant::now();
    while !yes() {
        if let Some(status) = process.child().try_wait()? {
            bail!("waiting for {what}: process {} ended with {status}", process.id());
        }
        if started.elapsed() > Duration::from_secs(20) {
            bail!("waited 20 s in vain for {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
