//! How long joins wait while very many clients of a leaked static key are thrown out. Prints figures; judges nothing.
//!
//! `cargo run --release -p boundkey-service --example mass_revocation [CLIENTS [DIRECTORY]]`

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "to print figures is what it is for")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use boundkey_api::VerbRequest;
use boundkey_keys::PrivateKey;
use boundkey_lifecycle::{AttemptId, Identity, MachineFacts};
use boundkey_proto::{JoinAnswer, PROTOCOL_VERSION, Request, build_complete, read_challenge};
use boundkey_service::admin::{apply_resources, carry_out_verb};
use boundkey_service::{
    InPlace, MasterKey, Parts, RequestContext, Service, ServiceConfig, SystemClock, SystemEntropy, join,
    sweep,
};
use boundkey_store::records::{InstanceEntry, Record};
use boundkey_store::{Batch, Write, keys};
use boundkey_store_sqlite::SqliteStore;
use boundkey_token::{RequestedNames, Role, RoleSet};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const CLUSTER: &str = "example.com";

/// A client of a static key.
struct Client {
    token: &'static str,
    key: PrivateKey,
    state: Option<String>,
    attempt: u64,
}

impl Client {
    fn new(token: &'static str, seed: u8, attempt: u64) -> Self {
        Self { token, key: PrivateKey::ed25519_from_seed(&[seed; 32]), state: None, attempt }
    }

    async fn join(&mut self, service: &Service) -> Outcome<()> {
        self.attempt += 1;
        let mut attempt = AttemptId([0; 16]);
        attempt.0[..8].copy_from_slice(&self.attempt.to_be_bytes());
        let roles = RoleSet::new([Role::Node]);
        let request = Request {
            version: PROTOCOL_VERSION,
            token: self.token.parse()?,
            roles: roles.clone(),
            attempt,
            bound_key: self.key.public_key().clone(),
            new_key: None,
            tls_key: PrivateKey::ed25519_from_seed(&[7; 32]).public_key().clone(),
            ssh_key: Some(PrivateKey::ed25519_from_seed(&[8; 32]).public_key().clone()),
            names: RequestedNames::default(),
            ttl_seconds: None,
            join_state: self.state.clone(),
            facts: MachineFacts { hostname: "runner".to_owned(), roles, ..MachineFacts::default() },
        };
        let mut challenge = join::begin(service, service.now()).challenge;
        for _ in 0..4 {
            let view = read_challenge(&challenge, Some(CLUSTER))?;
            let complete = build_complete(&challenge, &view, &request, &self.key, None, None)?;
            let context = RequestContext::new(service.entropy(), None, "public");
            let body = serde_json::to_vec(&complete)?;
            match join::complete(service, &body, &context, service.now()).await {
                Ok(JoinAnswer::Admitted(result)) => {
                    self.state = Some(result.join_state);
                    return Ok(());
                }
                Ok(JoinAnswer::Confirm { challenge: fresh }) => challenge = fresh,
                Ok(JoinAnswer::RotationRequired {}) => return Err("a rotation is asked for".into()),
                Err(refused) => return Err(refused.refusal.into()),
            }
        }
        Err("no end of confirm".into())
    }
}

async fn token(service: &Service, client: &Client) -> Outcome<()> {
    let yaml = format!(
        "kind: token\nversion: v2\nmetadata: {{name: {}}}\nspec:\n  roles: [Node]\n  join_method: bound_keypair\n  \
         bound_keypair:\n    onboarding: {{initial_public_key: \"{}\"}}\n    recovery: {{mode: insecure}}\n",
        client.token,
        client.key.public_key().to_openssh()
    );
    let resources =
        boundkey_token::read_resources(yaml.as_bytes()).map_err(|faults| format!("{faults:?}"))?;
    apply_resources(service, &service.own_context(), &resources, false).await?;
    Ok(())
}

/// Copies of a client that joined, each with an id and serials of its own.
async fn copy_clients(service: &Service, copies: u64) -> Outcome<()> {
    let (store, now) = (service.store(), service.now());
    let page = store.range("instance/", None, 1, now).await?;
    let entry = page.entries.first().ok_or("no client has joined")?;
    let uid = entry.key.split('/').nth(1).ok_or("a key without a uid")?.to_owned();
    let client = InstanceEntry::decode(&entry.value)?;
    for first in (0..copies).step_by(10_000) {
        let writes = (first..copies.min(first + 10_000)).map(|number| {
            let mut copy = client.clone();
            let id = format!("{number:08x}-0000-8000-8000-000000000000");
            copy.record.identity = Identity::Host(id.clone());
            for certificate in &mut copy.record.issued {
                let digits = certificate.serial.len();
                certificate.serial = format!("{:0digits$x}", number + 1).replacen('0', "5", 1);
            }
            let expires = copy.record.certificates_expire_at + boundkey_service::revocation::INSTANCE_KEPT;
            Write::PutUntil { key: keys::instance(&uid, &id), value: copy.encode(), expires }
        });
        store.commit(Batch { conditions: Vec::new(), writes: writes.collect() }, now).await?;
    }
    Ok(())
}

/// Joins one after the other until it is done; how long each took.
async fn keep_joining(service: Service, mut client: Client, done: Arc<AtomicBool>) -> Outcome<Vec<Duration>> {
    let mut took = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let asked = Instant::now();
        client.join(&service).await?;
        took.push(asked.elapsed());
    }
    Ok(took)
}

fn report(name: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |share: f64| took.get(((took.len().saturating_sub(1)) as f64 * share) as usize).copied();
    let shown = |share| at(share).unwrap_or_default();
    println!(
        "{name:<34} {:>8} joins   p50 {:>9.1?}   p99 {:>9.1?}   longest {:>9.1?}",
        took.len(),
        shown(0.5),
        shown(0.99),
        shown(1.0)
    );
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args_os().skip(1);
    let copies = arguments.next().and_then(|text| text.to_str()?.parse().ok()).unwrap_or(1_000_000);
    let base = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(base)?;
    let service = Service::start(Parts {
        store: Arc::new(SqliteStore::open(&directory.path().join("store.sqlite"))?),
        master: MasterKey::new(1, [42; 32]),
        config: ServiceConfig::new(CLUSTER),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy::new()),
        stretch: Arc::new(InPlace),
    })
    .await?;
    let (mut ci, mut other) = (Client::new("ci", 1, 0), Client::new("other", 2, 0));
    token(&service, &ci).await?;
    token(&service, &other).await?;
    ci.join(&service).await?;
    Client::new("ci", 1, 1 << 40).join(&service).await?;
    other.join(&service).await?;
    copy_clients(&service, copies).await?;
    println!("{copies} clients of one token; joins of another one, without a pause:");

    let joining = |client: Client| {
        let done = Arc::new(AtomicBool::new(false));
        (tokio::spawn(keep_joining(service.clone(), client, done.clone())), done)
    };
    let (joins, done) = joining(Client::new("other", 2, 1 << 41));
    tokio::time::sleep(Duration::from_secs(5)).await;
    done.store(true, Ordering::Relaxed);
    report("before", joins.await??);

    let (joins, done) = joining(Client::new("other", 2, 1 << 42));
    let background = tokio::spawn(sweep::run(service.clone()));
    let asked = Instant::now();
    carry_out_verb(&service, &service.own_context(), "ci", "reset", &VerbRequest::default()).await?;
    println!("reset answered after {:.1?}", asked.elapsed());
    while !service.store().range(keys::VOID, None, 1, service.now()).await?.entries.is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let swept = asked.elapsed();
    done.store(true, Ordering::Relaxed);
    background.abort();
    report("while the old ones are listed", joins.await??);
    let listed = service.store().measure("revoked/").await?.entries;
    println!(
        "{listed} certificates listed in {swept:.1?}: {:.0} clients a second",
        copies as f64 / swept.as_secs_f64()
    );
    Ok(())
}
