//! `tokens ls`, `nodes ls`, `status`

use std::collections::BTreeMap;
use std::time::SystemTime;

use anyhow::Result;
use boundkey_api::{BeingListed, Node, ServerStatus, TOKEN_STATES, TokenSummary};
use boundkey_client::admin::encode;
use boundkey_console::{Format, FormatOption, print};
use time::OffsetDateTime;

use crate::arguments::{Context, ListOptions};
use crate::failure::usage;
use crate::listing::{Listed, Listing};
use crate::output;

/// Refuses a state that is none, before the server is asked.
fn check_state(options: &ListOptions) -> Result<()> {
    match options.state.as_deref() {
        Some(state) => known("state", state, TOKEN_STATES),
        None => Ok(()),
    }
}

/// Refuses a word that is none of those known.
pub(crate) fn known(what: &str, word: &str, words: &[&str]) -> Result<()> {
    if words.contains(&word) {
        return Ok(());
    }
    let hint = boundkey_document::nearest(word, words.iter().copied());
    let hint = hint.map(|nearest| format!(" (did you mean `{nearest}`?)")).unwrap_or_default();
    usage!("`{word}` is not a {what}; allowed: {}{hint}", words.join(", "))
}

/// `2 bound, 1 locked`: one way of counting for all who count.
fn by_state(states: &BTreeMap<String, u64>) -> String {
    let counts: Vec<String> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    counts.join(", ")
}

pub(crate) async fn tokens(context: Context, options: ListOptions) -> Result<()> {
    check_state(&options)?;
    let header = &[
        "NAME",
        "STATE",
        "ROLES",
        "MODE",
        "RECOVERIES LEFT",
        "MACHINE",
        "LAST JOINED",
        "CERTIFICATES UNTIL",
        "RUNS OUT",
    ];
    let row = |token: &TokenSummary| {
        vec![
            token.name.clone(),
            token.state.clone(),
            token.roles.join(","),
            token.mode.clone(),
            token
                .recoveries_left
                .map_or_else(|| "-".to_owned(), |left| format!("{left}/{}", token.recovery_limit)),
            output::dash(token.hostname.as_deref().or(token.bot_name.as_deref())),
            output::time(token.last_joined_at),
            output::time(token.certificates_expire_at),
            output::dash(Some(&token.runs_out.join(", "))),
        ]
    };
    let path = format!("/v1/tokens?view=summary{}", filters(&options));
    let summary = |listed: &Listed| {
        let mut summary = counted(listed, "token");
        if !listed.states.is_empty() {
            summary.push_str(&format!(": {}", by_state(&listed.states)));
        }
        Some(summary)
    };
    Listing::of_rows(options.format.format, header, row).run(&mut context.client(), &path, summary).await
}

pub(crate) async fn nodes(context: Context, options: ListOptions) -> Result<()> {
    check_state(&options)?;
    let header =
        &["HOSTNAME", "STATE", "HOST ID", "TOKEN", "ROLES", "VERSION", "LAST JOINED", "CERTIFICATES UNTIL"];
    let row = |node: &Node| {
        vec![
            output::dash(Some(&node.hostname)),
            output::dash(Some(&node.state)),
            node.host_id.clone(),
            node.token.clone(),
            node.roles.join(","),
            output::dash(Some(&node.version)),
            output::time(Some(node.last_joined_at)),
            output::time(node.certificates_expire_at),
        ]
    };
    let path = format!("/v1/nodes?{}", filters(&options));
    let summary = |listed: &Listed| Some(counted(listed, "node"));
    Listing::of_rows(options.format.format, header, row).run(&mut context.client(), &path, summary).await
}

/// `3 of 20 tokens`
fn counted(listed: &Listed, noun: &str) -> String {
    let total = listed.states.values().sum::<u64>();
    format!("{} of {}", listed.shown, output::counted(usize::try_from(total).unwrap_or(usize::MAX), noun))
}

/// As the server knows them.
fn filters(options: &ListOptions) -> String {
    let state = options.state.iter().map(|state| format!("&state={}", encode(state)));
    let labels =
        options.label.iter().map(|(key, value)| format!("&label={}", encode(&format!("{key}={value}"))));
    let stale = options.stale.iter().map(|stale| format!("&stale={}", stale.as_secs()));
    state.chain(labels).chain(stale).collect()
}

pub(crate) fn now() -> OffsetDateTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "a command line is an edge; filters compare with the present"
    )]
    let now = SystemTime::now();
    now.into()
}

/// A line for what was revoked together, and is not on the revocation lists in full yet.
fn being_listed(listed: &BeingListed) -> String {
    let left = match listed.clients_left {
        Some(left) => format!(", {left} clients on record"),
        None => String::new(),
    };
    format!(
        "listing  what {}/{} held until {}: {} certificates of {} machines so far{left}\n",
        listed.kind,
        listed.name,
        output::time(Some(listed.revoked_at)),
        listed.certificates,
        listed.machines
    )
}

pub(crate) async fn status(context: Context, options: FormatOption) -> Result<()> {
    let status: ServerStatus = context.client().get("/v1/status").await?;
    match options.format {
        Format::Text => {
            let addresses = match status.public_addrs.is_empty() {
                true => status.listen.clone(),
                false => format!("{} (listens on {})", status.public_addrs.join(", "), status.listen),
            };
            print(&format!(
                "cluster  {}\nversion  {}\nserver   {addresses}\nCA pin   {}\nstore    {}\nup since {}\ntokens   {}{}\n{}",
                status.cluster_name,
                status.server_version,
                status.ca_pins.join(", "),
                status.store,
                output::time(Some(status.started_at)),
                status.tokens,
                if status.states.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", by_state(&status.states))
                },
                status.being_listed.iter().map(being_listed).collect::<String>(),
            ))
        }
        format => output::resource(serde_json::to_value(&status)?, format),
    }
}
