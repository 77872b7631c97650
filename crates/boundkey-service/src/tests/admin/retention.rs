//! The end of the audit log: what goes, when, and what goes on meanwhile.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use boundkey_store::records::{EventRecord, Record as _};
use boundkey_store::{Batch, Store as _, Write, keys};
use serde_json::json;

use super::token;
use crate::tests::fixture::{CLUSTER, Fixture};
use crate::{AuditKeep, Retention, ServiceConfig, Trimmed};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: time::Duration = time::Duration::DAY;

fn keeping(age: Option<Duration>, bytes: Option<u64>) -> Fixture {
    Fixture::with(ServiceConfig { audit: AuditKeep { age, bytes }, ..ServiceConfig::new(CLUSTER) })
}

impl Fixture {
    /// So many events, from `days` ago on, a minute between them.
    async fn fill(&self, count: usize, days: i64) {
        let from = self.service.now() - DAY * i32::try_from(days).expect("days");
        for part in (0..count).collect::<Vec<_>>().chunks(1000) {
            let writes = part.iter().map(|number| {
                let at = from + time::Duration::minutes(i64::try_from(*number).expect("a number"));
                let id = format!("{number:032x}-000");
                let event = EventRecord {
                    at,
                    code: "renewed".to_owned(),
                    token: Some("old".to_owned()),
                    identity: Some("0".repeat(36)),
                    source: Some("192.0.2.1".to_owned()),
                    correlation_id: id.clone(),
                    detail: "joined as somebody".repeat(10),
                    actor: "join".to_owned(),
                    notes: Vec::new(),
                    count: 0,
                    counted: None,
                };
                Write::Put { key: keys::event(at.unix_timestamp_nanos() / 1000, &id), value: event.encode() }
            });
            let batch = Batch { conditions: Vec::new(), writes: writes.collect() };
            self.store.commit(batch, self.service.now()).await.expect("committed");
        }
    }

    async fn bytes(&self) -> u64 {
        self.store.measure(keys::EVENT, self.service.now()).await.expect("a measure").bytes
    }
}

/// Looks once a minute, as the server does, the clocks going on together.
async fn minutes(fixture: &Fixture, retention: &mut Retention, instant: &mut Instant, count: u32) -> Trimmed {
    let mut all = Trimmed::default();
    for _ in 0..count {
        fixture.clock.advance(time::Duration::MINUTE);
        *instant += HOUR / 60;
        let trimmed = retention.look(&fixture.service, *instant).await.expect("the store answers");
        all.by_age += trimmed.by_age;
        all.by_size += trimmed.by_size;
    }
    all
}

#[tokio::test]
async fn events_go_a_day_after_their_age_and_not_before_the_server_has_run_for_an_hour() {
    let fixture = keeping(Some(HOUR * 24 * 90), None);
    fixture.fill(1000, 100).await;
    fixture.fill(500, 50).await;
    let (mut retention, mut instant) = (Retention::default(), Instant::now());
    assert_eq!(minutes(&fixture, &mut retention, &mut instant, 60).await, Trimmed::default());
    assert_eq!(fixture.count_events(), 1500);
    let trimmed = minutes(&fixture, &mut retention, &mut instant, 1).await;
    assert_eq!(trimmed, Trimmed { by_age: 1000, by_size: 0 });
    let oldest = fixture.events().remove(0).at;
    assert!(oldest > fixture.service.now() - DAY * 91);
    assert_eq!(fixture.count_events(), 500, "no row tells of what went as was promised");
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_for_less_than_an_hour_drops_no_event() {
    let fixture = keeping(Some(HOUR * 24 * 90), None);
    fixture.fill(300, 50).await;
    let (mut retention, mut instant) = (Retention::default(), Instant::now());
    for _ in 0..5 {
        minutes(&fixture, &mut retention, &mut instant, 70).await;
        fixture.clock.advance(DAY * 3650);
        minutes(&fixture, &mut retention, &mut instant, 59).await;
        fixture.clock.advance(-DAY * 3650);
    }
    assert_eq!(fixture.count_events(), 300);
}

#[tokio::test]
async fn a_log_that_is_too_large_loses_its_oldest_events_and_says_so_once_a_day() {
    let most = 256 * 1024;
    let fixture = keeping(None, Some(most));
    fixture.fill(1000, 300).await;
    assert!(fixture.bytes().await > most);
    let (mut retention, mut instant) = (Retention::default(), Instant::now());
    let trimmed = minutes(&fixture, &mut retention, &mut instant, 1).await;
    assert!(trimmed.by_size > 0 && trimmed.by_age == 0, "{trimmed:?}");
    let left = fixture.bytes().await;
    assert!((most * 85 / 100..most * 92 / 100).contains(&left), "{left} of {most}");
    let events = fixture.all_events();
    assert_eq!(events.len() as u64, 1000 - trimmed.by_size + 1);
    let told = events.last().unwrap();
    assert_eq!((told.code.as_str(), told.actor.as_str()), ("audit_trimmed", "server"));
    let until = crate::rfc3339(events[0].at);
    assert!(
        told.detail.contains(&format!("{} events of before {until} were dropped", trimmed.by_size)),
        "{}",
        told.detail
    );

    // It grows on: it is cut again, and told of the next day. (Such an event may go with the next cut.)
    let mut told = BTreeSet::from([told.correlation_id.clone()]);
    for growth in 0..4 {
        fixture.clock.advance(if growth == 3 { DAY } else { time::Duration::ZERO });
        fixture.fill(200, 1).await;
        assert!(minutes(&fixture, &mut retention, &mut instant, 11).await.by_size > 0);
        let events = fixture.all_events().into_iter().filter(|event| event.code == "audit_trimmed");
        told.extend(events.map(|event| event.correlation_id));
        assert_eq!(told.len(), if growth == 3 { 2 } else { 1 });
    }
}

#[tokio::test]
async fn nothing_is_dropped_where_everything_is_to_be_kept() {
    let fixture = keeping(None, None);
    fixture.fill(1000, 5000).await;
    minutes(&fixture, &mut Retention::default(), &mut Instant::now(), 200).await;
    assert_eq!(fixture.count_events(), 1000);
}

#[tokio::test]
async fn readers_of_the_log_go_on_when_events_vanish() {
    let fixture = keeping(Some(HOUR * 24 * 90), None);
    fixture.fill(600, 100).await;
    let page = fixture.get("/v1/events?limit=2").await.ok();
    let cursor = page["items"][1]["cursor"].as_str().unwrap().to_owned();
    let (mut retention, mut instant) = (Retention::default(), Instant::now());
    let path = format!("/v1/events?token=new&after={cursor}&wait=30");
    let (waited, ()) = tokio::join!(fixture.get(&path), async {
        tokio::task::yield_now().await;
        assert_eq!(minutes(&fixture, &mut retention, &mut instant, 62).await.by_age, 600);
        fixture.create(false, vec![token("new", json!({}))]).await.ok();
    });
    assert_eq!(waited.ok()["items"][0]["code"], "token_created", "who waited hears what comes next");
    // The event of the cursor is gone, and what came after it is found.
    let page = fixture.get(&format!("/v1/events?after={cursor}")).await.ok();
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    let page = fixture.get("/v1/events?since=2001-01-01T00:00:00Z").await.ok();
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
}
