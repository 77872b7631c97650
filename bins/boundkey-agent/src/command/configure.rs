use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use boundkey_client::config::{AgentConfig, Environment};
use boundkey_keystore::write_atomically;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::output;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  boundkey-agent configure --server server.example.com:443 --token example-token \\\n      \
                        --registration-secret-path /root/secret --role node -o /etc/boundkey.yaml"
)]
pub(crate) struct Options {
    /// The server's address, HOST:PORT
    #[arg(long, value_name = "HOST:PORT", alias = "proxy-server", alias = "auth-server")]
    server: String,
    /// The token's name
    #[arg(long, value_name = "NAME", alias = "token-name")]
    token: String,
    /// File with the registration secret
    #[arg(long, value_name = "FILE", conflicts_with = "static_key_path")]
    registration_secret_path: Option<PathBuf>,
    /// File with a static key
    #[arg(long, value_name = "FILE")]
    static_key_path: Option<PathBuf>,
    /// Role to ask for (node, proxy, app, kube, db, windowsdesktop); none: a bot. Repeatable
    #[arg(long = "role", value_name = "ROLE", value_delimiter = ',')]
    roles: Vec<String>,
    /// Pin of a certificate of the server's chain (sha256:...). Repeatable
    #[arg(long = "ca-pin", value_name = "PIN", value_delimiter = ',', conflicts_with = "ca_file")]
    ca_pins: Vec<String>,
    /// File with the CA certificates that the server's certificate is checked against
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Data directory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// File to write, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace a file that is there already
    #[arg(long)]
    overwrite: bool,
}

/// Roles, as written in any letter case, and the sections that stand for them.
const SERVICES: [(&str, &str); 6] = [
    ("node", "ssh_service"),
    ("proxy", "proxy_service"),
    ("app", "app_service"),
    ("kube", "kubernetes_service"),
    ("db", "db_service"),
    ("windowsdesktop", "windows_desktop_service"),
];

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let yaml = boundkey_client::to_yaml(&config(options)?);
    // What is written must be what `start` accepts.
    AgentConfig::parse(yaml.as_bytes(), "configuration", Environment::default())?;
    match &options.output {
        None => output::print(&yaml)?,
        Some(file) => {
            if file.exists() && !options.overwrite {
                bail!("{} is there already: --overwrite replaces it", file.display());
            }
            write_atomically(file, yaml.as_bytes(), 0o600)
                .with_context(|| format!("cannot write {}", file.display()))?;
            output::print(&format!("wrote {}\n", file.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn config(options: &Options) -> anyhow::Result<Value> {
    let path = |path: &PathBuf| Value::String(path.display().to_string());
    let mut bound = Map::new();
    if let Some(file) = &options.registration_secret_path {
        bound.insert("registration_secret_path".to_owned(), path(file));
    }
    if let Some(file) = &options.static_key_path {
        bound.insert("static_key_path".to_owned(), path(file));
    }
    let mut join = Map::new();
    join.insert("token_name".to_owned(), json!(options.token));
    join.insert("method".to_owned(), json!("bound_keypair"));
    if !bound.is_empty() {
        join.insert("bound_keypair".to_owned(), Value::Object(bound));
    }
    let mut agent = Map::new();
    if let Some(dir) = &options.data_dir {
        agent.insert("data_dir".to_owned(), path(dir));
    }
    agent.insert("join_params".to_owned(), Value::Object(join));
    agent.insert("proxy_server".to_owned(), json!(options.server));
    if !options.ca_pins.is_empty() {
        agent.insert("ca_pins".to_owned(), json!(options.ca_pins));
    }
    if let Some(file) = &options.ca_file {
        agent.insert("ca_file".to_owned(), path(file));
    }
    let mut top = Map::new();
    top.insert("version".to_owned(), json!("v3"));
    top.insert("agent".to_owned(), Value::Object(agent));
    for role in &options.roles {
        top.insert(service_of(role)?.to_owned(), json!({ "enabled": true }));
    }
    Ok(Value::Object(top))
}

fn service_of(role: &str) -> anyhow::Result<&'static str> {
    let lower = role.to_ascii_lowercase();
    let known = SERVICES.iter().find(|(name, _)| *name == lower);
    known.map(|(_, service)| *service).with_context(|| {
        let names: Vec<&str> = SERVICES.iter().map(|(name, _)| *name).collect();
        format!("--role: found `{role}`; allowed: {} (a bot has no role here)", names.join(", "))
    })
}
