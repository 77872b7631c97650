//! One static key in many hands: hundreds of joins at once, on the embedded store.

use std::collections::BTreeSet;
use std::sync::Arc;

use boundkey_keys::{MasterKey, PrivateKey};
use boundkey_store::{MemoryStore, keys};
use boundkey_store_sqlite::SqliteStore;
use time::macros::datetime;

use super::fixture::{CLUSTER, Counted, Fixture, Machine};
use crate::admin::apply_resources;
use crate::{InPlace, ManualClock, Parts, Service, ServiceConfig, join};

const CLIENTS: u16 = 300;

fn client(number: u16) -> Machine {
    let mut machine = Machine::new("ci", 5, None);
    machine.attempt.0[..2].copy_from_slice(&number.to_be_bytes());
    machine
}

/// All at once, each in a task of its own; what each was told.
async fn all(fixture: &Arc<Fixture>, clients: Vec<Machine>) -> Vec<Machine> {
    let mut tasks = tokio::task::JoinSet::new();
    for mut machine in clients {
        let fixture = Arc::clone(fixture);
        tasks.spawn(async move {
            let challenge = join::begin(&fixture.service, fixture.service.now()).challenge;
            let mut body = machine.body(&challenge);
            for _ in 0..3 {
                let context = machine.context(&fixture);
                let answer = join::complete(&fixture.service, &body, &context, fixture.service.now()).await;
                match answer.unwrap_or_else(|refused| panic!("{}", refused.refusal)) {
                    boundkey_proto::JoinAnswer::Admitted(result) => {
                        machine.store(&result);
                        return (result.identity.id().to_owned(), machine);
                    }
                    boundkey_proto::JoinAnswer::Confirm { challenge } => body = machine.body(&challenge),
                    other @ boundkey_proto::JoinAnswer::RotationRequired {} => panic!("{other:?}"),
                }
            }
            panic!("no end of confirm")
        });
    }
    let joined = tasks.join_all().await;
    let ids: BTreeSet<&String> = joined.iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), usize::from(CLIENTS), "each is its own");
    joined.into_iter().map(|(_, machine)| machine).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_share_one_token_at_once_and_a_due_rotation_stops_none() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&directory.path().join("store.sqlite")).unwrap());
    let clock = Arc::new(ManualClock::new(datetime!(2026-05-01 12:00 UTC)));
    let service = Service::start(Parts {
        store: store.clone(),
        master: MasterKey::new(1, [7; 32]),
        config: ServiceConfig::new(CLUSTER),
        clock: clock.clone(),
        entropy: Arc::new(Counted::from(1)),
        stretch: Arc::new(InPlace),
    })
    .await
    .unwrap();
    let fixture = Arc::new(Fixture { service, store: Arc::new(MemoryStore::new()), clock: clock.clone() });
    let key = PrivateKey::ed25519_from_seed(&[5; 32]).public_key().to_openssh();
    let yaml = format!(
        "kind: token\nversion: v2\nmetadata: {{name: ci}}\nspec:\n  roles: [Node]\n  join_method: bound_keypair\n  \
         bound_keypair:\n    rotate_after: 2026-05-01T13:00:00Z\n    onboarding: {{initial_public_key: \"{key}\"}}\n    \
         recovery: {{mode: insecure}}\n"
    );
    let resources = boundkey_token::read_resources(yaml.as_bytes()).unwrap();
    apply_resources(&fixture.service, &fixture.service.own_context(), &resources, false).await.unwrap();

    let mut clients = all(&fixture, (0..CLIENTS).map(client).collect()).await;
    let count = async |prefix: &str| {
        let page =
            boundkey_store::Store::range(&*store, prefix, None, 1000, clock_now(&clock)).await.unwrap();
        page.entries
    };
    let uid_records = count("instance/").await.len();
    assert!(uid_records + 1 >= usize::from(CLIENTS), "{uid_records} records");
    let before = count(keys::ENROLMENT).await[0].revision;

    // Two hours later the rotation is overdue: everybody renews all the same, and nobody touches the enrolment.
    clock.advance(time::Duration::hours(2));
    for (number, machine) in (0..).zip(&mut clients) {
        machine.attempt.0[..2].copy_from_slice(&u16::to_be_bytes(number));
    }
    all(&fixture, clients).await;
    assert_eq!(count("instance/").await.len(), usize::from(CLIENTS));
    assert_eq!(count(keys::ENROLMENT).await[0].revision, before, "each wrote its own record alone");
    let events = count(keys::EVENT).await;
    let overdue =
        events.iter().filter(|event| String::from_utf8_lossy(&event.value).contains("rotation_overdue"));
    assert_eq!(overdue.count(), usize::from(CLIENTS));
}

fn clock_now(clock: &ManualClock) -> time::OffsetDateTime {
    crate::Clock::now(clock)
}
