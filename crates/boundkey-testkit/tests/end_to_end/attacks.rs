//! Attackers of a small server: honest machines join and the administrator sees `status` all the while, and neither memory
//! nor the audit log grows beyond what `docs/operations.md` says.

use std::time::Duration;

use boundkey_testkit::attack::{
    Attack, Flood, Flooder, Loot, Measured, Names, Pace, Settings, Silence, Silent, SlowReader, Stall, Thief,
    WrongProof, run,
};

/// The small server's.
const CONNECTIONS: usize = 256;
const MESSAGE_MEMORY_MIB: usize = 4;
/// The parts of the bound on memory, as they are written in `docs/operations.md`.
const BASE_MIB: usize = 30;
const CONNECTION_KIB: usize = 64;
/// Honest ones wait no longer, on a busy machine and without optimisation.
const PATIENCE: Duration = Duration::from_secs(10);
/// Who takes all places does not let go before honest ones must have been in.
const SIEGE: Duration = Duration::from_secs(6);
/// Rows that refusals may leave in the audit log at once, by `docs/operations.md`, and a few seconds more of them. A join
/// that is admitted is an event of its own: how long the log is kept bounds those.
const ROWS: u64 = 210;

fn limits(connections: usize) -> String {
    format!(
        "limits:\n  connections: {connections}\n  message_memory_mib: {MESSAGE_MEMORY_MIB}\n  handshake_timeout: 3s\n  \
         read_timeout: 2s\n"
    )
}

fn memory_bound(connections: usize) -> usize {
    (BASE_MIB << 20) + connections * (CONNECTION_KIB << 10) + (MESSAGE_MEMORY_MIB << 20)
}

/// One attack of two seconds, and all that it must not come to.
fn holds(attack: impl Attack) {
    holds_for(attack, CONNECTIONS, Duration::from_secs(2));
}

#[expect(clippy::print_stdout, reason = "the figures of a test")]
fn holds_for(mut attack: impl Attack, connections: usize, during: Duration) {
    let settings = Settings {
        config: limits(connections),
        machines: 40,
        pace: Pace { lanes: 2, pause: Duration::from_millis(40), patience: PATIENCE },
        before: Duration::from_millis(300),
        during,
        warm_up: Duration::from_secs(8),
    };
    let measured = run(&mut attack, &settings);
    let Measured { during, status, .. } = &measured;
    let mut broken = Vec::new();
    let mut wanted = |holds: bool, what: String| {
        if !holds {
            broken.push(what);
        }
    };
    wanted(during.failures == 0, format!("{} joins failed: {:?}", during.failures, during.cause));
    wanted(during.count() > 0, "no machine joined".to_owned());
    wanted(status.failures == 0, format!("{} looks at `status` failed: {:?}", status.failures, status.cause));
    wanted(status.count() > 0, "nobody saw `status`".to_owned());
    let bound = memory_bound(connections);
    wanted(
        measured.resident <= bound,
        format!("{} MiB of memory, {} allowed", measured.resident >> 20, bound >> 20),
    );
    let allowed = ROWS + measured.admitted;
    wanted(
        measured.events <= allowed,
        format!("{} rows in the audit log, {allowed} allowed", measured.events),
    );
    assert!(measured.effort.0 > 0, "the attacker did nothing");
    println!(
        "{}: {} connections, {} requests; joins {:?} of {}, {} again; status {:?} of {}; {} MiB, {} rows; {}",
        measured.name,
        measured.effort.0,
        measured.effort.1,
        during.longest(),
        during.count(),
        during.retried,
        status.longest(),
        status.count(),
        measured.resident >> 20,
        measured.events,
        measured.note
    );
    assert!(broken.is_empty(), "{}: {broken:#?}", measured.name);
}

/// A place is its holder's for a second: who takes more places a second than there are keeps others out. So there are more
/// than this attacker takes, as there are by default.
const BESIEGED: usize = 640;

/// Each place is a network's own: so they take the reserve too.
fn siege(how: Silence) {
    let places = BESIEGED + 64;
    holds_for(Silent { how, places, networks: places, descriptors: None }, BESIEGED, SIEGE);
}

fn slow(stall: Stall) -> SlowReader {
    SlowReader { stall, readers: 100, networks: 20, revoked: 80_000 }
}

fn flood(flood: Flood) -> Flooder {
    Flooder { flood, connections: 32, networks: 8 }
}

#[test]
fn the_bound_on_memory_is_the_one_that_is_written_down() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let page = std::fs::read_to_string(page).expect("the page is there");
    let written = format!("{BASE_MIB} MiB + `connections` x {CONNECTION_KIB} KiB + `message_memory_mib`");
    assert!(page.contains(&written), "docs/operations.md says nothing of `{written}`");
}

#[test]
fn silent_connections_of_one_address_stop_nobody_who_has_few_descriptors() {
    let attack = Silent { how: Silence::Tls, places: 400, networks: 1, descriptors: Some(300) };
    holds_for(attack, 2000, SIEGE);
}

#[test]
fn connections_that_say_nothing_stop_nobody() {
    siege(Silence::Tcp);
}

#[test]
fn handshakes_after_which_nothing_comes_stop_nobody() {
    siege(Silence::Tls);
}

#[test]
fn half_a_preface_of_http2_stops_nobody() {
    siege(Silence::HalfPreface);
}

#[test]
fn a_head_that_comes_by_drops_stops_nobody() {
    siege(Silence::Drip);
}

#[test]
fn readers_who_do_not_read_take_no_memory_beyond_the_bound() {
    holds(slow(Stall::Never));
}

#[test]
fn readers_who_read_by_drops_take_no_memory_beyond_the_bound() {
    holds(slow(Stall::Trickle));
}

#[test]
fn streams_that_nobody_reads_take_no_memory_beyond_the_bound() {
    holds(slow(Stall::Streams));
}

#[test]
fn streams_without_windows_take_no_memory_beyond_the_bound() {
    holds(slow(Stall::Windows));
}

#[test]
fn streams_that_are_reset_at_once_stop_nobody() {
    holds(flood(Flood::RapidReset));
}

#[test]
fn pings_whose_answers_nobody_reads_stop_nobody() {
    holds(flood(Flood::Ping));
}

#[test]
fn settings_whose_answers_nobody_reads_stop_nobody() {
    holds(flood(Flood::Settings));
}

#[test]
fn a_head_without_an_end_stops_nobody() {
    holds(flood(Flood::Continuation));
}

#[test]
fn bodies_that_never_come_take_no_memory_beyond_the_bound() {
    holds(flood(Flood::Bodies));
}

#[test]
fn large_heads_take_no_memory_beyond_the_bound() {
    holds(flood(Flood::Heads));
}

#[test]
fn wrong_proofs_for_known_names_fill_no_log() {
    holds(WrongProof::new(Names::Known, 60, 40));
}

#[test]
fn wrong_proofs_for_invented_names_fill_no_log() {
    holds(WrongProof::new(Names::Invented, 60, 40));
}

#[test]
fn the_holder_of_a_locked_key_fills_no_log() {
    holds(Thief::new(Loot::LockedKey, 0));
}

#[test]
fn the_holder_of_a_used_secret_fills_no_log() {
    holds(Thief::new(Loot::UsedSecret, 0));
}

#[test]
fn a_machine_that_joins_all_the_time_fills_no_log() {
    holds(Thief::new(Loot::OwnMachine, 0));
}

#[test]
fn a_leaked_static_key_makes_no_clients_without_end() {
    holds(Thief::new(Loot::StaticKey, 0));
}

#[test]
fn a_reset_of_many_clients_stops_nobody() {
    holds(Thief::new(Loot::StaticKeyReset, 20_000));
}
