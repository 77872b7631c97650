use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use boundkey_client::agent::{Agent, Command, Event};
use boundkey_client::config::{AgentConfig, Environment};
use boundkey_client::{SystemClock, SystemEntropy};
use boundkey_console::{Notice, need_descriptors, tell_service_manager};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::arguments::DEFAULT_CONFIG;

#[derive(Debug, Args)]
#[command(
    after_help = "Proxies: the server is reached by way of the proxy that https_proxy, HTTPS_PROXY, all_proxy or ALL_PROXY names \
                        (http://[USER:PASSWORD@]HOST:PORT, by CONNECT), unless no_proxy or NO_PROXY lists it. An empty \
                        variable is unset.\n\nSignals: SIGUSR1 renews now, SIGHUP reads the configuration again, SIGTERM and SIGINT stop.\n\n\
                        Examples:\n  boundkey-agent start -c boundkey.yaml\n  boundkey-agent start -c boundkey.yaml --oneshot"
)]
pub(crate) struct Options {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Join exactly once, write the outputs, and exit
    #[arg(long)]
    oneshot: bool,
    /// With --oneshot: how long the join may take, tries after transient failures included
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// Take over the state of another machine (its disk was moved here, and it is gone). Where machine ids do not
    /// last, set `machine_check: off` in the configuration instead
    #[arg(long)]
    accept_machine: bool,
}

/// Of the runtime, the signals, the state and one connection.
const DESCRIPTORS: usize = 24;

fn duration(text: &str) -> Result<Duration, String> {
    boundkey_client::parse_duration(text).ok_or_else(|| "allowed: a duration such as 30s or 5m".to_owned())
}

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    need_descriptors(DESCRIPTORS)?;
    let config = load(options)?;
    let clock = Arc::new(SystemClock);
    let entropy = Arc::new(SystemEntropy::new());
    let mut agent = Agent::open(config, env!("CARGO_PKG_VERSION"), options.accept_machine, clock, entropy)?;
    if std::process::id() == 1 {
        agent.adopt_orphans();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        if options.oneshot {
            once(&mut agent, options.timeout).await
        } else {
            until_stopped(&mut agent, options).await
        }
    });
    // A directory service that is still being asked is not waited for.
    runtime.shutdown_background();
    outcome?;
    Ok(ExitCode::SUCCESS)
}

fn load(options: &Options) -> anyhow::Result<AgentConfig> {
    Ok(AgentConfig::load(&options.config, Environment::of_process())?)
}

const STOPPED: &str = "stopped by a signal; what is stored goes on at the next start";

async fn once(agent: &mut Agent, timeout: Duration) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        joined = agent.join_within(timeout) => joined?.log(),
        // What is under way is given up, a reload command with all its children.
        _ = terminate.recv() => bail!(STOPPED),
        _ = interrupt.recv() => bail!(STOPPED),
    }
    // Whoever waits for the exit status wants the files; a failed reload command is in the log.
    let notes = agent.notes();
    let identity = notes.identity_error.iter().map(|error| format!("the identity directory: {error}"));
    let outputs = notes
        .outputs
        .iter()
        .filter_map(|output| Some(format!("output {}: {}", output.path.display(), output.error.as_ref()?)));
    let failed: Vec<String> = identity.chain(outputs).collect();
    if !failed.is_empty() {
        bail!("joined, but {}", failed.join("; "));
    }
    Ok(())
}

async fn until_stopped(agent: &mut Agent, options: &Options) -> anyhow::Result<()> {
    let (sender, commands) = mpsc::channel(8);
    let mut renew = signal(SignalKind::user_defined1())?;
    let mut reload = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let signals = async {
        loop {
            let command = tokio::select! {
                _ = renew.recv() => Command::Renew,
                _ = terminate.recv() => Command::Stop,
                _ = interrupt.recv() => Command::Stop,
                _ = reload.recv() => match load(options) {
                    Ok(config) => Command::Reload(Box::new(config)),
                    Err(error) => {
                        tracing::error!("the configuration stays as it was: {error:#}");
                        continue;
                    }
                },
            };
            let last = matches!(command, Command::Stop);
            if sender.send(command).await.is_err() || last {
                // The agent ends by itself: wait for it.
                std::future::pending::<()>().await;
            }
        }
    };
    tracing::info!(data_dir = %agent.data_dir().display(), version = env!("CARGO_PKG_VERSION"), "agent started");
    let outcome = tokio::select! {
        outcome = agent.run(commands, tell) => outcome,
        () = signals => Ok(()),
    };
    tell_service_manager(Notice::Stopping);
    tracing::info!("agent stopped");
    Ok(outcome?)
}

fn tell(event: Event) {
    match event {
        Event::Ready => tell_service_manager(Notice::Ready),
        Event::Status(text) => tell_service_manager(Notice::Status(&text)),
    }
}
