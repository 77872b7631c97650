use std::path::PathBuf;

use anyhow::{Context as _, bail};
use boundkey_client::config::{AgentConfig, Environment};
use boundkey_console::print;
use boundkey_files::write_atomically;
use clap::Args;

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

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let yaml = config(options)?;
    // What is written must be what `start` accepts.
    AgentConfig::parse(yaml.as_bytes(), "configuration", Environment::default())?;
    match &options.output {
        None => print(&yaml)?,
        Some(file) => {
            if file.exists() && !options.overwrite {
                bail!("{} is there already: --overwrite replaces it", file.display());
            }
            write_atomically(file, yaml.as_bytes(), 0o600)
                .with_context(|| format!("cannot write {}", file.display()))?;
            print(&format!("wrote {}\n", file.display()))?;
        }
    }
    Ok(())
}

/// In the guide's order and style.
fn config(options: &Options) -> anyhow::Result<String> {
    let path = |path: &PathBuf| scalar(&path.display().to_string());
    let mut lines = vec!["version: v3".to_owned(), "agent:".to_owned()];
    if let Some(dir) = &options.data_dir {
        lines.push(format!("  data_dir: {}", path(dir)));
    }
    lines.push("  join_params:".to_owned());
    lines.push(format!("    token_name: {}", scalar(&options.token)));
    lines.push("    method: bound_keypair".to_owned());
    let credentials = [
        ("registration_secret_path", &options.registration_secret_path),
        ("static_key_path", &options.static_key_path),
    ];
    for (name, file) in credentials {
        if let Some(file) = file {
            lines.push(format!("    bound_keypair:\n      {name}: {}", path(file)));
        }
    }
    lines.push(format!("  proxy_server: {}", scalar(&options.server)));
    if !options.ca_pins.is_empty() {
        lines.push("  ca_pins:".to_owned());
        lines.extend(options.ca_pins.iter().map(|pin| format!("  - {}", scalar(pin))));
    }
    if let Some(file) = &options.ca_file {
        lines.push(format!("  ca_file: {}", path(file)));
    }
    for role in &options.roles {
        lines.push(format!("{}:\n  enabled: true", service_of(role)?));
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// A text as YAML: as it is where that cannot be anything but text, else in double quotes (JSON's are YAML's).
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._:-".contains(c);
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    if starts && !word && !text.ends_with(':') && text.chars().all(plain) {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

fn service_of(role: &str) -> anyhow::Result<&'static str> {
    let lower = role.to_ascii_lowercase();
    let known = SERVICES.iter().find(|(name, _)| *name == lower);
    known.map(|(_, service)| *service).with_context(|| {
        let names: Vec<&str> = SERVICES.iter().map(|(name, _)| *name).collect();
        format!("--role: found `{role}`; allowed: {} (a bot has no role here)", names.join(", "))
    })
}
