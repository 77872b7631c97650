//! `create [-f] FILE|-`

use std::io::Read;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use boundkey_console::{Format, print};
use boundkey_token::{Resource, ResourceError, read_resources};
use serde_json::Value;

use crate::arguments::{Context, CreateOptions, source_name};
use crate::confirm::{beforehand, confirmed};
use crate::output;

/// A file of resources is read whole, and no more than this.
const MAX_FILE: u64 = 8 * 1024 * 1024;

pub(crate) async fn run(context: Context, options: CreateOptions) -> Result<()> {
    let source = source_name(&options.file);
    let text = read(&options.file)?;
    let resources = check(&text, &source)?;
    let values: Vec<Value> = resources.iter().map(sent).collect();
    let mut client = context.client();
    let send = async |confirm: &str| client.apply_confirmed(values.clone(), options.force, confirm).await;
    let answer = confirmed(beforehand(options.yes.yes), send).await?;
    for applied in &answer.applied {
        output::warnings(&applied.warnings);
    }
    match options.format.format {
        Format::Text => {
            for applied in &answer.applied {
                let verb = match (applied.created, applied.changed) {
                    (true, _) => "created",
                    (false, true) => "updated",
                    (false, false) => "unchanged",
                };
                print(&format!("{} {verb}\n", identify(&applied.resource)))?;
            }
            Ok(())
        }
        format => {
            output::resource(answer.applied.into_iter().map(|applied| applied.resource).collect(), format)
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let source = source_name(file);
    let reader: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => Box::new(std::fs::File::open(file).with_context(|| format!("cannot read {source}"))?),
    };
    let mut text = Vec::new();
    reader.take(MAX_FILE + 1).read_to_end(&mut text).with_context(|| format!("cannot read {source}"))?;
    if text.len() as u64 > MAX_FILE {
        bail!("{source} is larger than {MAX_FILE} bytes; split it into several files");
    }
    Ok(text)
}

/// Every fault of the file, with its place.
pub(crate) fn check(text: &[u8], source: &str) -> Result<Vec<Resource>> {
    match read_resources(text) {
        Ok(resources) => Ok(resources),
        Err(ResourceError::Syntax(error)) => bail!("{source}: {error}"),
        Err(ResourceError::Violations(violations)) => {
            let count = violations.len();
            let lines: Vec<String> =
                violations.iter().map(|fault| fault.in_source(source).to_string()).collect();
            let plural = if count == 1 { "" } else { "s" };
            bail!("{count} fault{plural} in {source}, nothing was changed\n{}", lines.join("\n"))
        }
    }
}

/// A resource as it is sent: with its secret and the revision that the file named.
pub(crate) fn sent(resource: &Resource) -> Value {
    let (mut value, revision) = match resource {
        Resource::Token(token) => (token.to_json(true), &token.revision),
        Resource::Bot(bot) => (bot.to_json(), &bot.revision),
        Resource::Lock(lock) => (lock.to_json(), &lock.revision),
    };
    if let Some(revision) = revision {
        value["metadata"]["revision"] = revision.as_str().into();
    }
    value
}

pub(crate) fn identify(resource: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    format!("{}/{}", text(&resource["kind"]), text(&resource["metadata"]["name"]))
}
