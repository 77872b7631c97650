//! `enroll NAME...|-`: one token each, with the finished agent config.

use std::io::BufRead;

use anyhow::{Context as _, Result, bail};
use boundkey_api::ServerStatus;
use boundkey_client::ServerAddress;
use boundkey_client::admin::{AdminClient, encode};
use boundkey_client::config::{AgentConfig, Environment};
use boundkey_console::{Format, print};
use boundkey_token::{Role, Violation, check_resource};
use serde::Serialize;
use serde_json::{Value, json};

use crate::arguments::{Context, EnrollOptions};
use crate::create::{progress, sent};
use crate::failure::usage;
use crate::output;
use crate::show::now;

/// Tokens of one request, each request all or nothing.
const BATCH: usize = 200;
/// So many are enrolled before anybody wonders.
const FEW: usize = 20;

#[derive(Serialize)]
struct Enrolled {
    name: String,
    secret: String,
    server: String,
    ca_pins: Vec<String>,
    config: String,
}

pub(crate) async fn run(context: Context, options: EnrollOptions) -> Result<()> {
    let names = names(&options.names)?;
    let mut client = context.client();
    let status: ServerStatus = client.get("/v1/status").await?;
    let server = server(&options, &status)?;
    if let Some(out) = &options.out {
        // There will be secrets in it.
        let private = std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
            .recursive(true)
            .create(out);
        private.with_context(|| format!("cannot make {}", out.display()))?;
        for name in &names {
            let file = out.join(format!("{name}.yaml"));
            if file.exists() {
                bail!("{} exists; nothing was created (choose another --out, or remove it)", file.display());
            }
        }
    }
    let tokens = tokens(&names, &options)?;
    for name in &names {
        // What is written must be what the agent accepts; the secret alone is not known yet.
        let text = config(name, "not made yet", &server, &status, &options);
        AgentConfig::parse(
            text.as_bytes(),
            &format!("the agent's config for {name}"),
            Environment::default(),
        )?;
    }
    let mut enrolled = Vec::with_capacity(names.len());
    let mut outcome = Ok(());
    for (batch, names) in tokens.chunks(BATCH).zip(names.chunks(BATCH)) {
        outcome =
            enrol(&mut client, batch, names, (&server, &status), &options, &mut enrolled, tokens.len()).await;
        if outcome.is_err() {
            break;
        }
    }
    if enrolled.is_empty() {
        return outcome;
    }
    // Whatever was done is told, also when a later batch failed.
    finish(&enrolled, &options)?;
    outcome.with_context(|| format!("{} of {} were enrolled", enrolled.len(), tokens.len()))
}

async fn enrol(
    client: &mut AdminClient,
    batch: &[Value],
    names: &[String],
    (server, status): (&str, &ServerStatus),
    options: &EnrollOptions,
    enrolled: &mut Vec<Enrolled>,
    total: usize,
) -> Result<()> {
    for applied in client.apply(batch.to_vec(), false).await?.applied {
        output::warnings(&applied.warnings);
    }
    for name in names {
        let done = one(client, name, server, status, options).await?;
        progress(enrolled.len() + 1, total, FEW, "enrolled");
        if let Some(out) = &options.out {
            boundkey_files::write_atomically(
                &out.join(format!("{name}.yaml")),
                done.config.as_bytes(),
                0o600,
            )?;
        }
        enrolled.push(done);
    }
    Ok(())
}

fn finish(enrolled: &[Enrolled], options: &EnrollOptions) -> Result<()> {
    match (&options.out, options.format.format) {
        (Some(out), Format::Text) => {
            let tokens = output::counted(enrolled.len(), "token");
            print(&format!("{tokens} created; agent configs in {}\n", out.display()))
        }
        (Some(out), format) => {
            // The secrets are in the files; they are not printed a second time.
            let names: Vec<Value> = enrolled
                .iter()
                .map(|e| json!({ "name": e.name, "config_path": out.join(format!("{}.yaml", e.name)) }))
                .collect();
            output::resource(Value::Array(names), format)
        }
        (None, Format::Text) => {
            enrolled.iter().try_for_each(|e| print(&format!("# {}\n{}\n", e.name, e.config)))
        }
        (None, format) => output::resource(serde_json::to_value(enrolled)?, format),
    }
}

fn names(words: &[String]) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for word in words {
        if word == "-" {
            for line in std::io::stdin().lock().lines() {
                let line = line.context("cannot read names from standard input")?;
                names.extend(
                    Some(line.trim().to_owned()).filter(|line| !line.is_empty() && !line.starts_with('#')),
                );
            }
        } else {
            names.push(word.clone());
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
        bail!("{twice} is named twice; nothing was created");
    }
    if names.is_empty() {
        bail!("no names were given");
    }
    Ok(names)
}

fn server(options: &EnrollOptions, status: &ServerStatus) -> Result<String> {
    let known = options.server.clone().or_else(|| status.public_addrs.first().cloned());
    let server = known.unwrap_or_else(|| status.listen.clone());
    if server.is_empty() || server.starts_with("0.0.0.0") || server.starts_with("[::]") {
        bail!("the server has no public address; name the one that agents use: --server HOST:PORT");
    }
    // As the agent reads it.
    if let Err(error) = server.parse::<ServerAddress>() {
        match options.server {
            Some(_) => usage!("--server: {error}"),
            None => bail!("the server's own public address: {error}; name another with --server HOST:PORT"),
        }
    }
    Ok(server)
}

fn tokens(names: &[String], options: &EnrollOptions) -> Result<Vec<Value>> {
    let labels: serde_json::Map<String, Value> =
        options.label.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    let mut tokens = Vec::with_capacity(names.len());
    for name in names {
        let mut token = json!({
            "kind": "token", "version": "v2", "metadata": { "name": name, "labels": labels },
            "spec": { "roles": options.roles, "join_method": "bound_keypair" },
        });
        if let Some(bot) = &options.bot {
            token["spec"]["bot_name"] = bot.as_str().into();
        }
        if let Some(expires_in) = options.expires_in {
            let until = now().checked_add(expires_in.try_into()?).context("--expires-in is too long")?;
            let until = boundkey_document::format_time(until.replace_nanosecond(0)?);
            token["spec"]["bound_keypair"] = json!({ "onboarding": { "must_register_before": until } });
        }
        match check_resource(&boundkey_document::Document::from_json_value(&token)) {
            Ok(resource) => tokens.push(sent(&resource)),
            Err(violations) => {
                let lines: Vec<String> = violations.iter().map(|fault| of_argument(fault, name)).collect();
                usage!("{}; nothing was created", lines.join("\n"));
            }
        }
    }
    Ok(tokens)
}

/// A fault of the token at the argument that it came from.
fn of_argument(fault: &Violation, name: &str) -> String {
    let arguments = [
        ("metadata.name", "the name"),
        ("metadata.labels", "--label"),
        ("spec.roles", "--roles"),
        ("spec.bot_name", "--bot"),
        ("spec.bound_keypair", "--expires-in"),
    ];
    let argument = arguments.iter().find(|(path, _)| fault.path.starts_with(path));
    let place = argument.map_or_else(
        || format!("token {}", boundkey_document::quoted(name)),
        |(_, argument)| (*argument).to_owned(),
    );
    format!("{place}: found {}; allowed: {}", fault.found, fault.allowed)
}

async fn one(
    client: &mut AdminClient,
    name: &str,
    server: &str,
    status: &ServerStatus,
    options: &EnrollOptions,
) -> Result<Enrolled> {
    let token: Value = client.get(&format!("/v1/tokens/{}?secrets=true", encode(name))).await?;
    let secret = token["status"]["bound_keypair"]["registration_secret"]
        .as_str()
        .with_context(|| format!("token/{name} has no registration secret"))?;
    Ok(Enrolled {
        name: name.to_owned(),
        secret: secret.to_owned(),
        server: server.to_owned(),
        ca_pins: status.ca_pins.clone(),
        config: config(name, secret, server, status, options),
    })
}

/// The agent's finished configuration.
fn config(name: &str, secret: &str, server: &str, status: &ServerStatus, options: &EnrollOptions) -> String {
    let mut config = json!({
        "version": "v3",
        "agent": {
            "join_params": {
                "token_name": name,
                "method": "bound_keypair",
                "bound_keypair": { "registration_secret_value": secret },
            },
            "proxy_server": server,
            "ca_pins": status.ca_pins,
        },
    });
    for role in &options.roles {
        if let Some(service) = role.parse::<Role>().ok().and_then(service) {
            config[service] = json!({ "enabled": true });
        }
    }
    boundkey_document::to_yaml(&config)
}

/// The section of an agent's config that asks for a role.
fn service(role: Role) -> Option<&'static str> {
    Some(match role {
        Role::Node => "ssh_service",
        Role::Proxy => "proxy_service",
        Role::App => "app_service",
        Role::Kube => "kubernetes_service",
        Role::Db => "db_service",
        Role::WindowsDesktop => "windows_desktop_service",
        Role::Bot => return None,
    })
}
