//! Property 1 of the lifecycle: kill the agent at any instant, lose any message: it gets back in by itself, and no attempt
//! advances the lineage twice.

use boundkey_proto::JoinKindName;
use boundkey_service::admin::{apply_resources, remove_lock};
use boundkey_token::read_resources;

use super::world::{Crash, START, TOKEN, World};

/// Every instant of a join with up to five messages and saves.
fn instants() -> impl Iterator<Item = Crash> {
    (1..=5).flat_map(|n| {
        [Crash::BeforeSave(n), Crash::AfterSave(n), Crash::BeforeMessage(n), Crash::AfterMessage(n)]
    })
}

#[tokio::test]
async fn a_registration_survives_a_crash_at_any_instant() {
    let mut crashed = 0;
    for crash in instants() {
        let mut world = World::new().await;
        crashed += usize::from(world.join_and_crash(crash).await);
        let joined = world.join().await.unwrap_or_else(|error| panic!("{crash:?}: {error}"));
        let enrolment = world.enrolment().await;
        // The join after a crash that came after the last save is a renewal; all others end the first attempt.
        let expected = if joined.kind == JoinKindName::Renewed { 2 } else { 1 };
        assert_eq!((enrolment.sequence, enrolment.recovery_count), (expected, 1), "{crash:?}");
        world.clock.advance(time::Duration::hours(8));
        world.join().await.unwrap_or_else(|error| panic!("{crash:?}, renewal: {error}"));
        assert_eq!(world.enrolment().await.sequence, expected + 1, "{crash:?}");
        assert!(!world.is_locked().await, "{crash:?}");
    }
    // Two saves (before and after) and two messages, each before and after.
    assert_eq!(crashed, 8);
}

#[tokio::test]
async fn a_rotation_survives_a_crash_at_any_instant() {
    let mut crashed = 0;
    for crash in instants() {
        let mut world = World::new().await;
        world.join().await.unwrap();
        world.clock.advance(time::Duration::hours(1));
        world
            .change(|enrolment| enrolment.rotate_requested_at = Some(START + time::Duration::minutes(30)))
            .await;
        crashed += usize::from(world.join_and_crash(crash).await);
        world.join().await.unwrap_or_else(|error| panic!("{crash:?}: {error}"));
        let enrolment = world.enrolment().await;
        let state = world.state();
        let bound = state.bound_key.as_ref().unwrap().public_key();
        assert_eq!(
            enrolment.bound_public_key.as_ref(),
            Some(bound),
            "{crash:?}: both sides hold the same key"
        );
        assert!(state.superseded.len() == 1, "{crash:?}: rotated once");
        world.clock.advance(time::Duration::hours(8));
        world.join().await.unwrap_or_else(|error| panic!("{crash:?}, renewal: {error}"));
        assert!(!world.is_locked().await, "{crash:?}");
        assert_eq!(world.enrolment().await.recovery_count, 1, "{crash:?}");
    }
    // Three saves and three messages.
    assert_eq!(crashed, 12);
}

#[tokio::test]
async fn an_answer_that_comes_after_its_certificates_expired_costs_one_more_join_at_once() {
    let mut world = World::new().await;
    world.join().await.unwrap();
    world.clock.advance(time::Duration::hours(8));
    assert!(world.join_and_crash(Crash::AfterMessage(2)).await);
    assert_eq!(world.enrolment().await.sequence, 2, "the server admitted it");
    // Within the renewal grace, so that no recovery is needed.
    world.clock.advance(time::Duration::days(3));
    let joined = world.join().await.unwrap();
    assert_eq!(joined.kind, JoinKindName::Renewed);
    assert_eq!(world.wire.sent.len(), 4, "a provisional result, then a new attempt");
    let enrolment = world.enrolment().await;
    assert_eq!((enrolment.sequence, enrolment.recovery_count), (3, 1));
    assert!(!world.is_locked().await);
}

#[tokio::test]
async fn a_crash_between_a_provisional_result_and_the_attempt_after_it_is_survived() {
    let mut crashed = 0;
    for crash in instants() {
        let mut world = World::new().await;
        world.join().await.unwrap();
        world.clock.advance(time::Duration::hours(8));
        assert!(world.join_and_crash(Crash::AfterMessage(2)).await);
        world.clock.advance(time::Duration::days(3));
        crashed += usize::from(world.join_and_crash(crash).await);
        world.join().await.unwrap_or_else(|error| panic!("{crash:?}: {error}"));
        let state = world.state();
        assert!(state.pending.is_none(), "{crash:?}");
        assert!(!world.is_locked().await, "{crash:?}");
        assert_eq!(world.enrolment().await.recovery_count, 1, "{crash:?}");
    }
    assert_eq!(crashed, 16);
}

#[tokio::test]
async fn an_attempt_outlives_a_denial_while_an_earlier_try_is_still_on_its_way() {
    let mut world = World::new().await;
    world.join().await.unwrap();
    assert!(world.join_and_crash(Crash::BeforeMessage(2)).await);
    let late = world.wire.bodies.pop().unwrap();
    let context = world.service.own_context();
    let lock = format!(
        "kind: lock\nversion: v2\nmetadata: {{name: repair}}\nspec: {{target: {{join_token: {TOKEN}}}}}\n"
    );
    let lock = read_resources(lock.as_bytes()).unwrap();
    apply_resources(&world.service, &context, &lock, false).await.unwrap();
    assert_eq!(world.join().await.err().unwrap().code(), Some("locked"));
    remove_lock(&world.service, &context, "repair").await.unwrap();
    // Only now the earlier try arrives, and it is admitted: the next one is told its result, for it is the same attempt.
    let now = world.service.now();
    boundkey_service::join::complete(&world.service, &late, &context, now).await.unwrap();
    assert_eq!(world.join().await.unwrap().kind, JoinKindName::Retried);
    assert_eq!(world.join().await.unwrap().kind, JoinKindName::Renewed);
    let enrolment = world.enrolment().await;
    assert_eq!((enrolment.sequence, enrolment.recovery_count), (3, 1));
    assert!(!world.is_locked().await);
}
