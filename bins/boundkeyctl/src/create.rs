//! `create [-f] FILE|-`

use std::io::{IsTerminal, Read};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use boundkey_api::{Applied, MAX_CHOSEN_SECRETS};
use boundkey_console::{Format, print, say};
use boundkey_token::{MAX_RESOURCE_FILE, Resource, ResourceError, ResourceFile, read_resources};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::arguments::{Context, CreateOptions, source_name};
use crate::confirm::{beforehand, confirmed, halfway};
use crate::output;

/// Resources of one request, each request all or nothing.
const PAGE: usize = 1000;
/// A request of large resources holds fewer of them; the server takes twice as much.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

pub(crate) async fn run(context: Context, options: CreateOptions) -> Result<()> {
    let source = source_name(&options.file);
    let text = read(&options.file)?;
    let file = ResourceFile::check(text).or_else(|error| refuse(error, &source))?;
    output::warnings(&file.warnings());
    let total = file.len();
    let mut client = context.client();
    let mut shown = Vec::new();
    let mut done = 0;
    let mut pages = pages(file);
    while let Some(page) = pages.recv().await {
        for batch in batches(page) {
            let count = batch.len();
            let send =
                async |confirm: &str| client.apply_confirmed(batch.clone(), options.force, confirm).await;
            let answer = confirmed(beforehand(options.yes.yes), send).await;
            let answer = answer.map_err(|error| match done {
                0 => error,
                _ => halfway(error, &unfinished(done, count, total, &source)),
            })?;
            done += count;
            for applied in &answer.applied {
                output::warnings(&applied.warnings);
            }
            match options.format.format {
                Format::Text => print(&answer.applied.iter().map(line).collect::<String>())?,
                _ => shown.extend(answer.applied.into_iter().map(|applied| applied.resource)),
            }
            progress(done, total, PAGE, "applied");
        }
    }
    match options.format.format {
        Format::Text => Ok(()),
        format => output::resource(Value::Array(shown), format),
    }
}

fn unfinished(done: usize, count: usize, total: usize, source: &str) -> String {
    format!(
        "{done} of {total} resources of {source} were applied, the {count} after them and the rest were not; mend the cause \
         (to a question, `--yes` is the answer) and apply the whole file again with `create -f`, which changes nothing twice"
    )
}

fn line(applied: &Applied) -> String {
    let verb = match (applied.created, applied.changed) {
        (true, _) => "created",
        (false, true) => "updated",
        (false, false) => "unchanged",
    };
    format!("{} {verb}\n", identify(&applied.resource))
}

/// For whoever waits at a terminal, of more than `few`.
pub(crate) fn progress(done: usize, total: usize, few: usize, what: &str) {
    if total > few && std::io::stderr().is_terminal() {
        let end = if done == total { "\n" } else { "" };
        say(&format!("\r{done} of {total} {what}{end}"));
    }
}

/// The file is read on while the server works; a page at most is in between.
fn pages(file: ResourceFile) -> mpsc::Receiver<Vec<Resource>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::task::spawn_blocking(move || file.pages(PAGE, |page| sender.blocking_send(page)));
    receiver
}

fn batches(page: Vec<Resource>) -> Vec<Vec<Value>> {
    let mut batches = vec![Vec::new()];
    let (mut bytes, mut chosen) = (0, 0);
    for resource in &page {
        let value = sent(resource);
        let size = value.to_string().len();
        let is_chosen = matches!(resource, Resource::Token(token) if token.has_chosen_secret());
        if (bytes + size > PAGE_BYTES && bytes > 0) || (is_chosen && chosen == MAX_CHOSEN_SECRETS) {
            batches.push(Vec::new());
            (bytes, chosen) = (0, 0);
        }
        bytes += size;
        chosen += usize::from(is_chosen);
        if let Some(batch) = batches.last_mut() {
            batch.push(value);
        }
    }
    batches
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let source = source_name(file);
    let reader: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => Box::new(std::fs::File::open(file).with_context(|| format!("cannot read {source}"))?),
    };
    let mut text = Vec::new();
    reader
        .take(MAX_RESOURCE_FILE as u64 + 1)
        .read_to_end(&mut text)
        .with_context(|| format!("cannot read {source}"))?;
    if text.len() > MAX_RESOURCE_FILE {
        bail!("{source} is larger than {MAX_RESOURCE_FILE} bytes; split it into several files");
    }
    Ok(text)
}

/// Every fault of the file, with its place.
pub(crate) fn check(text: &[u8], source: &str) -> Result<Vec<Resource>> {
    read_resources(text).or_else(|error| refuse(error, source))
}

fn refuse<T>(error: ResourceError, source: &str) -> Result<T> {
    match error {
        ResourceError::Syntax(error) => bail!("{source}: {error}"),
        ResourceError::Violations(violations) => {
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
