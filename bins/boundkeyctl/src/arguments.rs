//! What can be said on the command line.

use std::path::{Path, PathBuf};

use boundkey_client::admin::AdminClient;
use boundkey_console::{CompletionOptions, Format, FormatOption, ManOptions};
use clap::{Args, Parser, Subcommand};

/// Administer a boundkey cluster over its server's local socket.
#[derive(Debug, Parser)]
#[command(
    name = "boundkeyctl",
    version,
    after_help = "Examples:
  boundkeyctl --data-dir ./bk create token.yaml
  boundkeyctl --data-dir ./bk get token/example-token --with-secrets
  boundkeyctl --data-dir ./bk nodes ls

Exit status: 0 done, 1 refused or failed, 2 wrong usage."
)]
pub(crate) struct Arguments {
    /// The server's data directory; its admin.sock is spoken to
    #[arg(
        long,
        global = true,
        help_heading = "The server",
        env = "BOUNDKEY_DATA_DIR",
        hide_env_values = true,
        default_value = "/var/lib/boundkey-server"
    )]
    data_dir: PathBuf,
    /// The socket itself, if it is elsewhere
    #[arg(
        long,
        global = true,
        help_heading = "The server",
        env = "BOUNDKEY_ADMIN_SOCKET",
        hide_env_values = true
    )]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the server is.
pub(crate) struct Context {
    socket: PathBuf,
}

impl Context {
    pub(crate) fn new(arguments: &Arguments) -> Self {
        Self { socket: arguments.socket.clone().unwrap_or_else(|| arguments.data_dir.join("admin.sock")) }
    }

    pub(crate) fn client(&self) -> AdminClient {
        AdminClient::new(&self.socket)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create resources from a file, after all of it was checked
    #[command(visible_alias = "apply")]
    Create(CreateOptions),
    /// Print a resource, or all of a kind
    Get(GetOptions),
    /// Change a resource in your editor
    Edit(EditOptions),
    /// Remove resources
    #[command(visible_alias = "delete")]
    Rm(RmOptions),
    /// Tokens, with their derived state
    Tokens {
        #[command(subcommand)]
        command: TokensCommand,
    },
    /// Hosts that have joined
    Nodes {
        #[command(subcommand)]
        command: NodesCommand,
    },
    /// Bots: machines that are no hosts (CI runners, jobs)
    Bots {
        #[command(subcommand)]
        command: BotsCommand,
    },
    /// Lock a token, bot, host or bot instance out
    Lock(LockOptions),
    /// Act on the keypair that is bound to a token
    BoundKeypair {
        #[command(subcommand)]
        command: KeypairCommand,
    },
    /// Make tokens and finished agent configs for many machines at once
    Enroll(EnrollOptions),
    /// The audit log
    Events {
        #[command(subcommand)]
        command: EventsCommand,
    },
    /// The cluster's certificate authorities
    Ca {
        #[command(subcommand)]
        command: CaCommand,
    },
    /// Print the X.509 revocation list of a CA, in DER
    Crl(CrlOptions),
    /// Print the OpenSSH revoked keys file
    Krl(KrlOptions),
    /// What the server is and how its tokens stand
    #[command(after_help = "Example:\n  boundkeyctl status --format json")]
    Status(FormatOption),
    /// Print the version of this tool
    #[command(after_help = "Example:\n  boundkeyctl version")]
    Version,
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  boundkeyctl completions bash > /etc/bash_completion.d/boundkeyctl")]
    Completions(CompletionOptions),
    /// Write the man pages into a directory, one for each command
    #[command(after_help = "Example:\n  boundkeyctl man /usr/local/share/man/man1")]
    Man(ManOptions),
}

#[derive(Debug, Args)]
pub(crate) struct YesOption {
    /// Do not ask, whomever it cuts off
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  boundkeyctl create token.yaml
  boundkeyctl create -f tokens.yaml      # update those that exist, in place
  generate | boundkeyctl create -

Up to 1,000 resources (4 MiB in all) are applied together or not at all. A longer file is checked
as a whole, then applied in parts of that size, each together or not at all.")]
pub(crate) struct CreateOptions {
    /// Update resources that exist, in place; nothing is ever deleted
    #[arg(short, long)]
    pub(crate) force: bool,
    /// YAML or JSON: resources, lists of them, `kind: List`; `-` reads standard input
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) yes: YesOption,
    #[command(flatten)]
    pub(crate) format: FormatOption,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  boundkeyctl get token/example-token
  boundkeyctl get token/example-token --with-secrets
  boundkeyctl get tokens --format json")]
pub(crate) struct GetOptions {
    /// KIND or KIND/NAME; kinds: token, bot, lock, node (singular or plural)
    pub(crate) resource: String,
    /// Not understood: a resource is written KIND/NAME
    #[arg(hide = true)]
    pub(crate) name: Option<String>,
    /// Print secrets too
    #[arg(long)]
    pub(crate) with_secrets: bool,
    /// How to print; text is YAML
    #[arg(short = 'o', long, alias = "output", value_enum, default_value = "yaml")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "The editor is $VISUAL, else $EDITOR, else vi.

Example:
  boundkeyctl edit token/example-token")]
pub(crate) struct EditOptions {
    /// token/NAME or bot/NAME
    pub(crate) resource: String,
    #[command(flatten)]
    pub(crate) yes: YesOption,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  boundkeyctl rm token/example-token
  boundkeyctl rm token/bound-token --revoke    # cut its machine off, certificates too
  boundkeyctl rm lock/lock-0123456789abcdef")]
pub(crate) struct RmOptions {
    /// KIND/NAME
    #[arg(required = true)]
    pub(crate) resources: Vec<String>,
    #[command(flatten)]
    pub(crate) yes: YesOption,
    /// Revoke the certificates of a removed token too; else they are valid until they expire
    #[arg(long)]
    pub(crate) revoke: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokensCommand {
    /// List tokens
    #[command(visible_alias = "list")]
    Ls(ListOptions),
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodesCommand {
    /// List hosts that have joined
    #[command(visible_alias = "list")]
    Ls(ListOptions),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  boundkeyctl tokens ls --state pending
  boundkeyctl nodes ls --label site=berlin --stale 7d")]
pub(crate) struct ListOptions {
    /// Only those in this state (pending, bound, rotation_due, overdue, locked, expired, ...)
    #[arg(long)]
    pub(crate) state: Option<String>,
    /// Only those with this label, K=V; repeatable, all must fit
    #[arg(long, value_name = "K=V", value_parser = key_value)]
    pub(crate) label: Vec<(String, String)>,
    /// Only those that have not joined for this long (30s, 15m, 24h, 7d)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) stale: Option<std::time::Duration>,
    #[command(flatten)]
    pub(crate) format: FormatOption,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BotsCommand {
    /// Add a bot
    #[command(after_help = "Example:
  boundkeyctl bots add ci --logins deploy,ci --with-token")]
    Add(BotAddOptions),
    /// List bots
    #[command(visible_alias = "list", after_help = "Example:\n  boundkeyctl bots ls --format json")]
    Ls(FormatOption),
    /// Remove a bot; its tokens' joins are denied from then on
    #[command(visible_alias = "delete", after_help = "Example:\n  boundkeyctl bots rm ci")]
    Rm {
        /// The bot
        name: String,
        #[command(flatten)]
        yes: YesOption,
    },
}

#[derive(Debug, Args)]
pub(crate) struct BotAddOptions {
    /// The bot
    pub(crate) name: String,
    /// SSH principals of its certificates (default: its name)
    #[arg(long, value_delimiter = ',')]
    pub(crate) logins: Vec<String>,
    /// Also create a token of the same name for it
    #[arg(long)]
    pub(crate) with_token: bool,
    #[command(flatten)]
    pub(crate) format: FormatOption,
}

#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("target").required(true).multiple(false),
    after_help = "Examples:
  boundkeyctl lock --token example-token --message 'stolen laptop'
  boundkeyctl lock --host 5f0c... --ttl 2h --public-message 'maintenance until noon'
  boundkeyctl rm lock/LOCK-ID             # lifts it"
)]
pub(crate) struct LockOptions {
    /// Lock a token: its machine cannot join
    #[arg(long, alias = "join-token", group = "target")]
    pub(crate) token: Option<String>,
    /// Lock a bot: none of its tokens can join
    #[arg(long, alias = "user", group = "target")]
    pub(crate) bot: Option<String>,
    /// Lock a host by its id
    #[arg(long, alias = "server-id", group = "target")]
    pub(crate) host: Option<String>,
    /// Lock one instance of a bot
    #[arg(long, alias = "bot-instance-id", group = "target")]
    pub(crate) bot_instance: Option<String>,
    /// Why, for administrators: whoever is locked out is never told
    #[arg(long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// What whoever is locked out is told: a thief reads it too
    #[arg(long, value_name = "TEXT")]
    pub(crate) public_message: Option<String>,
    /// How long (30s, 15m, 24h, 7d); without it until it is removed
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) ttl: Option<std::time::Duration>,
    /// Revoke the certificates it holds now
    #[arg(long)]
    pub(crate) revoke: bool,
    #[command(flatten)]
    pub(crate) yes: YesOption,
    #[command(flatten)]
    pub(crate) format: FormatOption,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeypairCommand {
    /// Allow more recoveries
    #[command(after_help = "Example:\n  boundkeyctl bound-keypair grant-recovery example-token")]
    GrantRecovery {
        /// The token
        name: String,
        /// How many from now on
        #[arg(long, default_value_t = 1)]
        count: u32,
    },
    /// Ask for a new key at the next join (which stops a machine with a static key, outside `insecure`)
    #[command(
        visible_alias = "request-rotation",
        after_help = "Example:\n  boundkeyctl bound-keypair rotate example-token --at 2027-01-31T12:00:00Z"
    )]
    Rotate {
        /// The token
        name: String,
        /// Not before this time (RFC 3339)
        #[arg(long, value_name = "TIME", value_parser = rfc3339)]
        at: Option<time::OffsetDateTime>,
    },
    /// Take the holder of the bound key back after a reverted snapshot or an automatic lock
    #[command(after_help = "Example:\n  boundkeyctl bound-keypair resync example-token --ttl 15m")]
    Resync {
        /// The token
        name: String,
        /// How long the grant stays open
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
        ttl: std::time::Duration,
        /// Do not ask for a new key: a machine with a static key makes none
        #[arg(long)]
        keep_key: bool,
    },
    /// Revoke the certificates: the next join is a recovery
    #[command(after_help = "Example:\n  boundkeyctl bound-keypair revoke example-token")]
    Revoke {
        /// The token
        name: String,
        #[command(flatten)]
        yes: YesOption,
    },
    /// Unbind: revoke everything, make a new registration secret
    #[command(after_help = "Examples:
  boundkeyctl bound-keypair reset example-token --with-secrets
  boundkeyctl bound-keypair reset example-token --with-secrets --format json")]
    Reset {
        /// The token
        name: String,
        /// Print the new registration secret
        #[arg(long)]
        with_secrets: bool,
        #[command(flatten)]
        yes: YesOption,
        #[command(flatten)]
        format: FormatOption,
    },
    /// Say what would happen at the next join, why, and what to do
    #[command(after_help = "Example:\n  boundkeyctl bound-keypair explain example-token")]
    Explain {
        /// The token
        name: String,
        #[command(flatten)]
        format: FormatOption,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  boundkeyctl enroll web-1 web-2 --roles Node --expires-in 7d --out configs/
  seq -f 'rack7-%03g' 40 | boundkeyctl enroll - --roles Node --format json")]
pub(crate) struct EnrollOptions {
    /// Names, one token each; `-` reads them from standard input, one a line
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
    /// Roles of every token
    #[arg(long, required = true, value_delimiter = ',')]
    pub(crate) roles: Vec<String>,
    /// The bot, for --roles Bot
    #[arg(long)]
    pub(crate) bot: Option<String>,
    /// A label of every token; repeatable
    #[arg(long, value_name = "K=V", value_parser = key_value)]
    pub(crate) label: Vec<(String, String)>,
    /// Registration is possible for this long (30s, 15m, 24h, 7d)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) expires_in: Option<std::time::Duration>,
    /// HOST:PORT for the agents' configs (default: the server's first public address)
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) server: Option<String>,
    /// Write NAME.yaml for each into this directory (0600)
    #[arg(long, value_name = "OUT", value_parser = new_directory)]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) format: FormatOption,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EventsCommand {
    /// Print events
    #[command(after_help = "Examples:
  boundkeyctl events ls --since 24h --token example-token
  boundkeyctl events ls --code clone_detected
  boundkeyctl events ls --id 3f9c2a7e51d04b86a9b1c2d3e4f50617")]
    #[command(visible_alias = "list")]
    Ls(EventsOptions),
    /// Print events as they happen
    #[command(after_help = "Examples:
  boundkeyctl events watch
  boundkeyctl events watch --format json | jq .detail")]
    Watch(EventsOptions),
}

#[derive(Debug, Args)]
pub(crate) struct EventsOptions {
    /// Not before this time (RFC 3339), or this long ago (15m, 24h)
    #[arg(long)]
    pub(crate) since: Option<String>,
    /// Only of this token
    #[arg(long)]
    pub(crate) token: Option<String>,
    /// Only of this code
    #[arg(long)]
    pub(crate) code: Option<String>,
    /// Only of this correlation id, as an agent's log has it, or of those that begin with it
    #[arg(long, value_name = "CORRELATION")]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) format: FormatOption,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Print a CA: PEM for X.509, a public key line for OpenSSH
    #[command(after_help = "Examples:
  boundkeyctl ca export --type host > host-ca.pem
  boundkeyctl ca export --type ssh-user > /etc/ssh/boundkey_user_ca.pub")]
    Export {
        /// Which CA
        #[arg(long = "type", value_name = "CA", value_parser = ["tls", "host", "bot", "ssh-host", "ssh-user"])]
        kind: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  boundkeyctl crl --ca host --out host.crl")]
pub(crate) struct CrlOptions {
    /// Which CA
    #[arg(long, default_value = "host", value_parser = ["host", "bot"])]
    pub(crate) ca: String,
    /// Write to this file
    #[arg(short, long)]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  boundkeyctl krl --out /etc/ssh/revoked_keys")]
pub(crate) struct KrlOptions {
    /// Write to this file
    #[arg(short, long)]
    pub(crate) out: Option<PathBuf>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "expected K=V".to_owned())
}

pub(crate) fn duration(text: &str) -> Result<std::time::Duration, String> {
    boundkey_document::parse_duration(text)
        .ok_or_else(|| "expected a duration such as 30s, 15m, 24h or 7d".to_owned())
}

/// A directory that is made if it is not there: never one by the name of `~` or of a variable.
fn new_directory(text: &str) -> Result<PathBuf, String> {
    boundkey_document::parse_path(text).map_err(|allowed| format!("allowed: {allowed}"))
}

pub(crate) fn rfc3339(text: &str) -> Result<time::OffsetDateTime, String> {
    time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339)
        .map_err(|_| "expected an RFC 3339 time such as 2027-01-31T12:00:00Z".to_owned())
}

/// A file's name for messages: `-` is standard input.
pub(crate) fn source_name(file: &Path) -> String {
    if file.as_os_str() == "-" { "standard input".to_owned() } else { file.display().to_string() }
}

#[cfg(test)]
mod tests;
