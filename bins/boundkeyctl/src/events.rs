//! `events ls|watch`

use anyhow::Result;
use boundkey_api::{EVENT_CODES, Event, Page};
use boundkey_client::admin::encode;
use boundkey_console::{Format, Usage, stream};

use crate::arguments::{Context, EventsCommand, EventsOptions, duration, rfc3339};
use crate::listing::Listing;
use crate::output;
use crate::show::{known, now};

/// Seconds of one long poll.
const WAIT: u64 = 30;

pub(crate) async fn run(context: Context, command: EventsCommand) -> Result<()> {
    let (options, watch) = match command {
        EventsCommand::Ls(options) => (options, false),
        EventsCommand::Watch(options) => (options, true),
    };
    if let Some(code) = &options.code {
        known("code of events", code, EVENT_CODES)?;
    }
    let filter = filter(&options, watch)?;
    let mut client = context.client();
    if !watch {
        let header = &["TIME", "CODE", "TOKEN", "ACTOR", "ID", "DETAIL"];
        let listing = Listing::of_rows(options.format.format, header, row);
        return listing.run(&mut client, &format!("/v1/events?{filter}"), |_| None).await;
    }
    let mut after: Option<String> = None;
    loop {
        let cursor = after.as_ref().map(|after| format!("&after={}", encode(after))).unwrap_or_default();
        let page: Page<Event> = client.get(&format!("/v1/events?wait={WAIT}&{filter}{cursor}")).await?;
        for event in page.items {
            if !stream(&line(&event, options.format.format)?)? {
                return Ok(());
            }
            after = Some(event.cursor);
        }
    }
}

fn row(event: &Event) -> Vec<String> {
    let subject = event.token.as_deref().or(event.identity.as_deref());
    let at = output::time(Some(event.at));
    vec![at, event.code.clone(), output::dash(subject), event.actor.clone(), id(event), event.detail.clone()]
}

/// Digits of a correlation id that are shown, and enough to ask by.
const ID: usize = 12;

/// How its correlation id begins; of counted refusals those of the first and the last.
fn id(event: &Event) -> String {
    let short = |id: &str| id.chars().take(ID).collect::<String>();
    let last = short(&event.correlation_id);
    match event.first_correlation_id.as_deref().map(short) {
        Some(first) if first != last => format!("{first}..{last}"),
        _ => last,
    }
}

/// One event on one line, for a stream.
fn line(event: &Event, format: Format) -> Result<String> {
    Ok(match format {
        Format::Json => serde_json::to_string(event)? + "\n",
        Format::Yaml => format!("---\n{}", boundkey_document::to_yaml(&serde_json::to_value(event)?)),
        Format::Text => {
            let subject = output::dash(event.token.as_deref().or(event.identity.as_deref()));
            let at = output::time(Some(event.at));
            format!("{at}  {}  {subject}  {}  {}  {}\n", event.code, event.actor, id(event), event.detail)
        }
    })
}

fn filter(options: &EventsOptions, watch: bool) -> Result<String> {
    let mut parts = Vec::new();
    let since = match &options.since {
        Some(text) => Some(match duration(text) {
            Ok(ago) => now()
                .checked_sub(ago.try_into()?)
                .ok_or_else(|| Usage(format!("--since {text}: too long ago")))?,
            Err(_) => rfc3339(text).map_err(|_| {
                Usage(format!(
                    "--since {text}: expected an RFC 3339 time, or how long ago (30s, 15m, 24h, 7d)"
                ))
            })?,
        }),
        None => watch.then(now),
    };
    if let Some(since) = since {
        parts.push(format!("since={}", encode(&boundkey_document::format_time(since))));
    }
    parts.extend(options.token.as_ref().map(|token| format!("token={}", encode(token))));
    parts.extend(options.code.as_ref().map(|code| format!("code={}", encode(code))));
    parts.extend(options.id.as_ref().map(|id| format!("id={}", encode(id))));
    Ok(parts.join("&"))
}
