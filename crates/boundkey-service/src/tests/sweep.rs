//! Many revoked by one small write, and what comes behind it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use boundkey_api::VerbRequest;
use boundkey_keys::MasterKey;
use boundkey_lifecycle::{CaKind, Identity};
use boundkey_proto::JoinKindName;
use boundkey_store::records::{EnrolmentRecord, InstanceEntry, Record};
use boundkey_store::{
    Batch, CommitError, Committed, Entry, Measure, MemoryStore, Range, Revision, Store, StoreError, Watch,
    Write, keys,
};
use boundkey_store_sqlite::SqliteStore;
use time::OffsetDateTime;
use time::macros::datetime;

use super::fixture::{CLUSTER, Counted, Fixture, Machine, now};
use crate::admin::{carry_out_verb, remove_token};
use crate::sweep::{Progress, Sweep, WRITES};
use crate::{InPlace, ManualClock, Parts, Service, ServiceConfig, join};

/// A store that remembers how large commits were.
pub(super) struct Weighed {
    store: Arc<dyn Store>,
    commits: Mutex<Vec<usize>>,
}

impl Weighed {
    pub(super) fn over(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { store, commits: Mutex::default() })
    }

    /// Writes of each commit since it was asked last.
    pub(super) fn commits(&self) -> Vec<usize> {
        std::mem::take(&mut self.commits.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Store for Weighed {
    async fn get_many(&self, keys: &[&str], at: OffsetDateTime) -> Result<Vec<Option<Entry>>, StoreError> {
        self.store.get_many(keys, at).await
    }

    async fn commit(&self, batch: Batch, at: OffsetDateTime) -> Result<Committed, CommitError> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).push(batch.writes.len());
        self.store.commit(batch, at).await
    }

    async fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: OffsetDateTime,
    ) -> Result<Range, StoreError> {
        self.store.range(prefix, after, limit, at).await
    }

    async fn measure(&self, prefix: &str, now: OffsetDateTime) -> Result<Measure, StoreError> {
        self.store.measure(prefix, now).await
    }

    async fn drop_first(&self, prefix: &str, before: &str, at_most: usize) -> Result<usize, StoreError> {
        self.store.drop_first(prefix, before, at_most).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.store.watch(prefix, after).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.store.revision().await
    }
}

async fn served(store: Arc<dyn Store>, config: ServiceConfig, first: u64) -> Fixture {
    let clock = Arc::new(ManualClock::new(datetime!(2026-05-01 12:00 UTC)));
    let service = Service::start(Parts {
        store,
        master: MasterKey::new(1, [7; 32]),
        config,
        clock: clock.clone(),
        entropy: Arc::new(Counted::from(first)),
        stretch: Arc::new(InPlace),
    })
    .await
    .expect("this cluster");
    Fixture { service, store: Arc::new(MemoryStore::new()), clock }
}

/// As `Fixture::node_token`, in a runtime.
async fn apply(fixture: &Fixture, yaml: &str) {
    let resources = boundkey_token::read_resources(yaml.as_bytes()).expect("good resources");
    let (service, context) = (&fixture.service, fixture.service.own_context());
    crate::admin::apply_resources(service, &context, &resources, true).await.expect("applied");
}

fn ci(key: &str) -> String {
    format!(
        "kind: token\nversion: v2\nmetadata: {{name: ci}}\nspec:\n  roles: [Node]\n  join_method: bound_keypair\n  \
         bound_keypair:\n    onboarding: {{initial_public_key: \"{key}\"}}\n    recovery: {{mode: insecure}}\n"
    )
}

/// The client of this number, with the one static key.
fn client(number: u16) -> Machine {
    let mut machine = Machine::new("ci", 5, None);
    machine.attempt.0[..2].copy_from_slice(&number.to_be_bytes());
    machine.attempt.0[2] = 0xc1;
    machine
}

async fn joins(fixture: &Fixture, machine: &mut Machine) -> JoinKindName {
    let mut challenge = join::begin(&fixture.service, fixture.service.now()).challenge;
    for _ in 0..4 {
        let (body, context) = (machine.body(&challenge), machine.context(fixture));
        match join::complete(&fixture.service, &body, &context, fixture.service.now()).await {
            Ok(boundkey_proto::JoinAnswer::Admitted(result)) => {
                machine.store(&result);
                return result.kind;
            }
            Ok(boundkey_proto::JoinAnswer::Confirm { challenge: fresh }) => challenge = fresh,
            other => panic!("{other:?}"),
        }
    }
    panic!("no end of confirm")
}

async fn count(store: &dyn Store, prefix: &str) -> u64 {
    // Before all times: also what has expired and is not dropped yet.
    store.measure(prefix, OffsetDateTime::UNIX_EPOCH).await.expect("a measure").entries
}

/// So many clients more, copied from one that joined: each with an id and serials of its own.
async fn copy_clients(store: &dyn Store, copies: u64, at: OffsetDateTime) {
    let page = store.range("instance/", None, 1, at).await.expect("a range");
    let [entry] = page.entries.as_slice() else { panic!("one client has to be there") };
    let uid = entry.key.split('/').nth(1).expect("a uid").to_owned();
    let client = InstanceEntry::decode(&entry.value).expect("a client");
    let numbers: Vec<u64> = (0..copies).collect();
    for numbers in numbers.chunks(5000) {
        let writes = numbers.iter().map(|number| {
            let mut copy = client.clone();
            let id = format!("{number:08x}-0000-8000-8000-000000000000");
            copy.record.identity = Identity::Host(id.clone());
            for certificate in &mut copy.record.issued {
                let digits = certificate.serial.len();
                certificate.serial = format!("{:0digits$x}", number + 1).replacen('0', "5", 1);
            }
            Write::PutUntil {
                key: keys::instance(&uid, &id),
                value: copy.encode(),
                expires: copy.record.certificates_expire_at + crate::revocation::INSTANCE_KEPT,
            }
        });
        let batch = Batch { conditions: Vec::new(), writes: writes.collect() };
        store.commit(batch, at).await.expect("room");
    }
}

async fn sweep_to_its_end(fixture: &Fixture) -> usize {
    let mut sweep = Sweep::default();
    for pages in 0..100_000 {
        if sweep.step(&fixture.service, fixture.service.now()).await.expect("a page") == Progress::Nothing {
            return pages;
        }
    }
    panic!("no end of pages")
}

fn open(directory: &Path) -> Arc<Weighed> {
    let store = SqliteStore::open(&directory.join("store.sqlite")).expect("a store");
    Weighed::over(Arc::new(store))
}

/// What a leaked static key makes in an hour. On the code before it, the verb's one commit had three writes for each client,
/// and no other join got through before it was done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_of_twenty_thousand_clients_is_one_small_write_and_joins_go_on_while_they_are_listed() {
    const COPIES: u64 = 20_000;
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let fixture = Arc::new(served(store.clone(), ServiceConfig::new(CLUSTER), 1).await);
    let at = fixture.service.now();
    apply(&fixture, &ci(&client(0).bound.public_key().to_openssh())).await;
    for number in 0..2 {
        assert_eq!(
            joins(&fixture, &mut client(number)).await,
            [JoinKindName::Registered, JoinKindName::Recovered][usize::from(number)]
        );
    }
    let other = "kind: token\nversion: v2\nmetadata: {name: other}\nspec:\n  roles: [Node]\n  join_method: bound_keypair\n";
    apply(&fixture, &format!("{other}  bound_keypair: {{recovery: {{mode: insecure}}, onboarding: {{initial_public_key: \"{}\"}}}}\n", Machine::new("other", 6, None).bound.public_key().to_openssh())).await;
    let mut machine = Machine::new("other", 6, None);
    joins(&fixture, &mut machine).await;
    copy_clients(&*store, COPIES, at).await;
    let before = count(&*store, "instance/").await;
    store.commits();

    let done = Arc::new(AtomicBool::new(false));
    let others = tokio::spawn({
        let (fixture, done) = (Arc::clone(&fixture), Arc::clone(&done));
        async move {
            let mut joined = 0;
            while !done.load(Ordering::Relaxed) {
                joins(&fixture, &mut machine).await;
                joined += 1;
            }
            joined
        }
    });
    let request = VerbRequest::default();
    let answer =
        carry_out_verb(&fixture.service, &fixture.service.own_context(), "ci", "reset", &request).await;
    let answer = answer.unwrap();
    assert!(answer.changed && answer.message.contains("`boundkeyctl status`"), "{}", answer.message);
    // One that registers with the new secret while the old ones are being listed.
    let mut next =
        Machine::new("ci", 9, Some(boundkey_keys::Secret::new(answer.registration_secret.unwrap())));
    assert_eq!(joins(&fixture, &mut next).await, JoinKindName::Registered);
    let mut fellow = Machine::new("ci", 9, None);
    fellow.attempt.0[0] = 0xfe;
    joins(&fixture, &mut fellow).await;
    let pages = sweep_to_its_end(&fixture).await;
    done.store(true, Ordering::Relaxed);
    let joined: usize = others.await.unwrap();

    assert!(pages > 10, "{pages} pages");
    assert!(joined > pages / 4, "{joined} joins of others during {pages} pages");
    let largest = store.commits().into_iter().max().unwrap();
    assert!((1000..=WRITES + 100).contains(&largest), "the largest commit has {largest} writes");
    // All that were, but the client that is new; and every certificate of theirs is listed.
    assert_eq!(count(&*store, "instance/").await, 2, "those of the other token and of the new one");
    let expected = 2 * (before + 1 - 1);
    let listed = count(&*store, "revoked/").await;
    assert!(listed >= expected, "{listed} of {expected}");
    assert_eq!((count(&*store, "void/").await, count(&*store, "swept/").await), (0, 0));
    for machine in [&mut next, &mut fellow] {
        assert_eq!(joins(&fixture, machine).await, JoinKindName::Renewed, "it was not revoked");
    }
    let lists = fixture.service.revocation_lists().await.unwrap();
    assert!(lists.crl(CaKind::Host).len() > 20 * usize::try_from(COPIES).unwrap());
}

#[tokio::test]
async fn a_server_that_is_killed_between_two_pages_goes_on_after_its_start() {
    const COPIES: u64 = 3000;
    let directory = tempfile::tempdir().unwrap();
    let at;
    {
        let store = open(directory.path());
        let fixture = served(store.clone(), ServiceConfig::new(CLUSTER), 1).await;
        at = fixture.service.now();
        apply(&fixture, &ci(&client(0).bound.public_key().to_openssh())).await;
        joins(&fixture, &mut client(0)).await;
        joins(&fixture, &mut client(1)).await;
        copy_clients(&*store, COPIES, at).await;
        let request = VerbRequest::default();
        let context = fixture.service.own_context();
        carry_out_verb(&fixture.service, &context, "ci", "revoke", &request).await.unwrap();
        let mut sweep = Sweep::default();
        assert_eq!(sweep.step(&fixture.service, at).await.unwrap(), Progress::Page);
    }
    let store = open(directory.path());
    let left = count(&*store, "instance/").await;
    assert!((1..COPIES).contains(&left), "{left}");
    let fixture = served(store.clone(), ServiceConfig::new(CLUSTER), 1 << 40).await;
    assert_eq!(joins(&fixture, &mut client(7)).await, JoinKindName::Recovered, "a new client meanwhile");
    sweep_to_its_end(&fixture).await;
    assert_eq!(count(&*store, "instance/").await, 1);
    assert_eq!(count(&*store, "revoked/").await, 2 * (COPIES + 2));
    let events = store.range(keys::EVENT, None, 100, at).await.unwrap().entries;
    let told: Vec<String> = events
        .iter()
        .map(|event| String::from_utf8_lossy(&event.value).into_owned())
        .filter(|event| event.contains("\"certificates_revoked\"") && event.contains("machines="))
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(&format!("machines={}", COPIES + 1)), "{}", told[0]);
    assert!(told[0].contains(&format!("certificates={}", 2 * (COPIES + 1))), "{}", told[0]);
}

fn shared() -> (Fixture, Vec<Machine>) {
    let fixture = Fixture::new();
    let mut machines: Vec<Machine> = (0..3).map(client).collect();
    fixture.apply(&ci(&machines[0].bound.public_key().to_openssh()));
    for machine in &mut machines {
        machine.join(&fixture).expect("one of many");
    }
    (fixture, machines)
}

fn listed(fixture: &Fixture) -> BTreeSet<String> {
    let page = now(fixture.store.range("revoked/", None, 10_000, fixture.service.now())).unwrap();
    page.entries.into_iter().map(|entry| entry.key.rsplit('/').next().unwrap().to_owned()).collect()
}

/// An automatic lock and a narrowing set the mark and wait for the sweep, as does whatever a killed server left.
#[test]
fn a_client_that_comes_back_before_its_page_is_a_new_one_and_what_it_held_is_listed() {
    let (fixture, mut machines) = shared();
    let uid = fixture.enrolment("ci").uid;
    let mark = crate::revocation::void_clients(uid, "ci", fixture.service.now(), "c-1");
    now(fixture.store.commit(Batch::new().write(mark), fixture.service.now())).unwrap();
    let id = machines[1].join(&fixture).expect("comes back").identity.id().to_owned();
    assert_eq!(listed(&fixture).len(), 2, "the two of the one that came back, by itself");
    let key = keys::instance(&uid.to_string(), &id);
    let held = now(fixture.service.load::<InstanceEntry>(&key, fixture.service.now())).unwrap().unwrap();
    assert_eq!(held.record.record.issued.len(), 2, "it holds what it was given now, and no more");
    fixture.sweep();
    assert_eq!(listed(&fixture).len(), 4, "and of the third client (the first one's are the lineage's)");
    assert_eq!(fixture.count("instance/"), 1);
    assert_eq!(machines[1].join(&fixture).expect("goes on").identity.id(), id);
    let fresh = held.record.record.issued;
    assert!(fresh.iter().all(|certificate| !listed(&fixture).contains(&certificate.serial)));
}

#[test]
fn two_sweeps_at_once_do_each_other_no_harm_and_a_clock_that_is_ahead_hides_nothing() {
    let (fixture, _) = shared();
    let uid = fixture.enrolment("ci").uid;
    now(copy_clients(&*fixture.store, 2000, fixture.service.now()));
    let mark = crate::revocation::void_clients(uid, "ci", fixture.service.now(), "c-1");
    now(fixture.store.commit(Batch::new().write(mark), fixture.service.now())).unwrap();
    let at = fixture.service.now();
    fixture.clock.advance(time::Duration::days(400));
    let (mut one, mut other) = (Sweep::default(), Sweep::default());
    for _ in 0..20 {
        now(one.step(&fixture.service, fixture.service.now())).unwrap();
        now(other.step(&fixture.service, fixture.service.now())).unwrap();
    }
    fixture.clock.set(at);
    assert_eq!((fixture.count("instance/"), fixture.count("void/")), (0, 0));
    assert_eq!(now(count(&*fixture.store, "revoked/")), 2 * 2002);
}

#[test]
fn a_removed_token_lists_its_clients_if_it_revokes_and_else_lets_them_expire() {
    for revoke in [true, false] {
        let (fixture, _) = shared();
        now(copy_clients(&*fixture.store, 2000, fixture.service.now()));
        now(remove_token(&fixture.service, &fixture.service.own_context(), "ci", revoke)).unwrap();
        fixture.sweep();
        let left = now(count(&*fixture.store, "instance/"));
        assert_eq!((left, fixture.count("void/")), (if revoke { 0 } else { 2002 }, 0));
        assert_eq!(now(count(&*fixture.store, "revoked/")), if revoke { 2 * 2003 } else { 0 });
    }
}

#[test]
fn a_new_client_above_the_bound_is_told_to_come_later_and_those_on_record_go_on() {
    let mut config = ServiceConfig::new(CLUSTER);
    config.limits.clients_per_token = 3;
    let fixture = Fixture::with(config);
    let mut machines: Vec<Machine> = (0..6).map(client).collect();
    fixture.apply(&ci(&machines[0].bound.public_key().to_openssh()));
    // The first one is the lineage's own; three more have a record each.
    for machine in &mut machines[..4] {
        machine.join(&fixture).expect("there is room");
    }
    let problem = machines[4].join(&fixture).unwrap_err();
    assert_eq!((problem.status, problem.code.as_str(), problem.is_final()), (503, "too_many_clients", false));
    assert!((60..120).contains(&problem.retry_after.unwrap()), "{problem:?}");
    for machine in &mut machines[1..4] {
        machine.join(&fixture).expect("is on record");
    }
    now(join::flush_refusals(&fixture.service, fixture.service.now())).unwrap();
    assert_eq!(fixture.event_codes().iter().filter(|code| *code == "denied_too_many_clients").count(), 1);
    assert_eq!(fixture.count("instance/"), 3);
    // Records that are gone make room.
    let context = fixture.service.own_context();
    now(carry_out_verb(&fixture.service, &context, "ci", "revoke", &VerbRequest::default())).unwrap();
    machines[4].join(&fixture).expect("there is room again");
    assert_eq!(fixture.count("instance/"), 1);
}

#[tokio::test]
async fn status_and_explain_tell_what_is_still_to_be_listed_and_how_many_clients_there_are() {
    let mut config = ServiceConfig::new(CLUSTER);
    config.limits.clients_per_token = 2003;
    let fixture = Fixture::with(config);
    let mut machines: Vec<Machine> = (0..4).map(client).collect();
    fixture.apply(&ci(&machines[0].bound.public_key().to_openssh()));
    for machine in &mut machines[..2] {
        machine.join(&fixture).expect("one of many");
    }
    copy_clients(&*fixture.store, 2000, fixture.service.now()).await;
    machines[2].join(&fixture).expect("there is room");
    let get = async |path: &str| fixture.get(path).await.ok();
    let explained = fixture.post("/v1/tokens/ci/explain", serde_json::json!({})).await.ok();
    assert!(explained["reasons"].to_string().contains("2002 of 2003 clients"), "{explained}");
    assert!(explained["warnings"].to_string().contains("did the key leak?"), "{explained}");
    machines[3].join(&fixture).expect("there is room for one more");
    let row = get("/v1/tokens?view=summary").await["items"][0].clone();
    assert!(row["runs_out"].to_string().contains("2003 of 2003 clients"), "{row}");
    let explained = fixture.post("/v1/tokens/ci/explain", serde_json::json!({})).await.ok();
    assert!(explained["next_join"].as_str().unwrap().contains("a new one has to wait"), "{explained}");

    assert_eq!(get("/v1/status").await["being_listed"], serde_json::json!([]));
    fixture.post("/v1/tokens/ci/revoke?confirm=true", serde_json::json!({})).await.ok();
    let told = get("/v1/status").await["being_listed"][0].clone();
    let (done, left) = (told["machines"].as_u64().unwrap(), told["clients_left"].as_u64().unwrap());
    assert_eq!(
        (told["kind"].as_str(), told["name"].as_str(), done + left),
        (Some("token"), Some("ci"), 2003)
    );
    assert!((500..1000).contains(&done), "{told}");
    fixture.sweep();
    assert_eq!(get("/v1/status").await["being_listed"], serde_json::json!([]));
}

fn bots(fixture: &Fixture, tokens: usize) -> Vec<Machine> {
    fixture.apply("kind: bot\nversion: v1\nmetadata: {name: robot}\nspec: {}\n");
    let mut machines = Vec::new();
    for number in 0..tokens {
        let name = format!("b{number:05}");
        fixture.apply(&format!(
            "kind: token\nversion: v2\nmetadata: {{name: {name}}}\nspec:\n  roles: [Bot]\n  bot_name: robot\n  \
             join_method: bound_keypair\n  bound_keypair: {{recovery: {{limit: 9}}}}\n"
        ));
        if number == 0 || number + 2 >= tokens {
            let seed = u8::try_from(machines.len()).unwrap() + 1;
            let mut machine = Machine::new(&name, seed, Some(fixture.generated_secret(&name)));
            machine.roles = boundkey_token::RoleSet::new([boundkey_token::Role::Bot]);
            machine.join(fixture).expect("registers");
            machines.push(machine);
        } else {
            // As if it had joined, with a certificate of its own.
            let mut record = fixture.enrolment("b00000");
            record.uid = fixture.enrolment(&name).uid;
            for certificate in &mut record.enrolment.issued {
                certificate.serial = format!("{number:016x}");
            }
            let write = crate::put::<EnrolmentRecord>(keys::enrolment(&name), &record);
            now(fixture.store.commit(Batch::new().write(write), fixture.service.now())).unwrap();
        }
    }
    machines
}

/// A machine joins after the lock was lifted and before its token's page: what it held before is listed all the same, and
/// what it has now is not.
#[tokio::test]
async fn a_lock_on_a_bot_that_revokes_is_one_small_write_and_spares_who_joins_after_it() {
    const TOKENS: usize = 1500;
    let memory = Arc::new(MemoryStore::new());
    let store = Weighed::over(memory.clone());
    let served = served(store.clone(), ServiceConfig::new(CLUSTER), 1).await;
    let fixture = Fixture { store: memory, ..served };
    let mut machines = bots(&fixture, TOKENS);
    store.commits();
    let router = fixture.service.admin_router();
    let ask = async |query: &str| {
        use tower::ServiceExt as _;
        let body = serde_json::json!({ "target": { "user": "robot" }, "revoke": true }).to_string();
        let request =
            axum::http::Request::post(format!("/v1/locks{query}")).body(axum::body::Body::from(body));
        let answer = router.clone().oneshot(request.unwrap()).await.unwrap();
        let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()
    };
    let (asked, again) = (ask("").await, ask("").await);
    let told = &asked["confirmation"];
    assert_eq!((told["machines"].as_u64(), told["affected"].as_array().unwrap().len()), (Some(1500), 20));
    assert_eq!(told["tag"], again["confirmation"]["tag"]);
    assert!(asked["detail"].as_str().unwrap().contains("1500 machines of 1500 tokens"), "{asked}");
    let set = ask(&format!("?confirm={}", told["tag"].as_str().unwrap())).await;
    let commits = store.commits();
    assert!(commits[0] <= 6 && commits.iter().all(|writes| *writes <= WRITES + 100), "{commits:?}");
    let [first, late, last] = machines.as_mut_slice() else { panic!("three are real") };
    assert_eq!(late.join(&fixture).unwrap_err().code, "locked");

    // The page that came with the answer has a part of them; the last ones wait.
    let waiting = format!("b{:05}", TOKENS - 1);
    assert!(!fixture.enrolment(&waiting).enrolment.certificates_revoked, "{commits:?}");
    let id = set["lock"]["metadata"]["name"].as_str().unwrap().to_owned();
    crate::admin::remove_lock(&fixture.service, &fixture.service.own_context(), &id).await.unwrap();
    let before = listed(&fixture).len();
    assert_eq!(late.join(&fixture).expect("the lock is lifted").kind, JoinKindName::Recovered);
    assert_eq!(listed(&fixture).len(), before + 2, "what it held is listed with its join");
    sweep_to_its_end(&fixture).await;
    assert!(fixture.enrolment(&waiting).enrolment.certificates_revoked);
    assert_eq!(now(count(&*fixture.store, "revoked/")), 2 * TOKENS as u64);
    assert_eq!(fixture.count("void/"), 0);
    assert_eq!(late.join(&fixture).expect("was not revoked again").kind, JoinKindName::Renewed);
    for machine in [first, last] {
        assert_eq!(machine.join(&fixture).expect("was revoked").kind, JoinKindName::Recovered);
    }
}
