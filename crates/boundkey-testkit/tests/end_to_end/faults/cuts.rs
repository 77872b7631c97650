//! The connection is cut at every byte of what the server answers, and of what the client sends: the same attempt goes
//! on and is admitted once. The agent's own code drives the joins, in this process, against the real server.
//!
//! `BOUNDKEY_CUT_EVERY`: at each how many bytes of a renewal (1: at every one); what costs an administrator's
//! command each time (registrations, rotations, recoveries, resyncs) at each so many times `SPARSE`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use boundkey_client::config::{AgentConfig, Environment};
use boundkey_client::join::{JoinError, JoinPlan, Joined, Joiner};
use boundkey_client::{HttpsTransport, SystemClock, SystemEntropy, Timeouts, Transport as _};
use boundkey_keystore::{FileKeystore, Keystore as _};
use boundkey_testkit::{Administrator, Agent, Cluster, Direction, Proxy};

use super::judge::{assert_one_honest_lineage, from_environment, refusals, sequence_held};
use crate::{facts, node_token};

/// How many machines share the positions of a renewal.
const MACHINES: u64 = 3;
/// What costs an administrator's command is cut so many times less often.
const SPARSE: u64 = 97;
/// A renewal is let through after so many cuts of it.
const CUTS_OF_ONE: u64 = 16;

/// A machine whose connections go through a proxy.
struct Machine {
    agent: Agent,
    proxy: Proxy,
    plan: JoinPlan,
    keystore: FileKeystore,
    transport: HttpsTransport,
    runtime: tokio::runtime::Runtime,
}

impl Machine {
    fn new(cluster: &Cluster, token: &str) -> Self {
        let agent = cluster.agent(token);
        let proxy = Proxy::start(cluster.address());
        let text = std::fs::read_to_string(agent.config()).expect("a config");
        let text = text.replace(cluster.address(), proxy.address());
        let mut config = AgentConfig::parse(text.as_bytes(), "agent.yaml", Environment::default())
            .unwrap_or_else(|error| panic!("{error}"));
        let trust = config.trust.load().expect("pins");
        let clock = Arc::new(SystemClock);
        let transport = HttpsTransport::new(config.server.clone(), trust, clock, Timeouts::default());
        let plan = JoinPlan::of_config(&mut config, "test");
        let keystore = FileKeystore::open(&config.data_dir).expect("a state");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { agent, proxy, plan, keystore, transport, runtime }
    }

    fn join(&mut self) -> Result<Joined, JoinError> {
        let mut joiner = Joiner {
            keystore: &mut self.keystore,
            transport: &mut self.transport,
            plan: &self.plan,
            clock: &SystemClock,
            entropy: &SystemEntropy::new(),
        };
        let outcome = self.runtime.block_on(joiner.join());
        self.transport.disconnect();
        // The connection's task ends before the next one begins.
        self.runtime.block_on(tokio::task::yield_now());
        outcome
    }

    /// A join that is cut: it fails, unless nothing that it needed was behind the cut.
    fn cut(&mut self, direction: Direction, at: u64) {
        self.proxy.cut_next(direction, at);
        match self.join() {
            Ok(_) => {}
            Err(JoinError::Transport(_)) => {
                assert!(self.keystore.load().expect("a state").pending.is_some(), "the attempt is kept");
            }
            Err(error) => panic!("cut {direction:?} at {at}: {error}"),
        }
    }

    /// The attempt under way, undisturbed.
    #[track_caller]
    fn finish(&mut self) -> Joined {
        self.join().unwrap_or_else(|error| panic!("{error}"))
    }
}

/// How long the streams of one whole join are, and where the last answer begins.
struct Length {
    to_server: u64,
    to_client: u64,
    answer: u64,
}

fn measure(machine: &mut Machine) -> Length {
    machine.finish();
    let length = Length {
        to_server: machine.proxy.passed(Direction::ToServer),
        to_client: machine.proxy.passed(Direction::ToClient),
        answer: machine.proxy.last_answer_from(),
    };
    assert!(
        length.answer > 1000 && length.to_client > length.answer + 1000,
        "{} {}",
        length.answer,
        length.to_client
    );
    length
}

#[test]
fn a_renewal_cut_at_every_byte_is_admitted_once_for_each_attempt() {
    let every = from_environment("BOUNDKEY_CUT_EVERY", 1);
    let cluster = Cluster::start("cuts");
    let (again, anew, cuts) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for number in 0..MACHINES {
            let (cluster, again, anew, cuts) = (&cluster, &again, &anew, &cuts);
            scope.spawn(move || {
                let token = format!("web-{number}");
                create(cluster, &token);
                let mut machine = Machine::new(cluster, &token);
                machine.finish();
                let length = measure(&mut machine);
                let mut sequence = sequence_held(&machine.agent);
                // The lengths vary by a few bytes: signatures of P-256 do.
                for (direction, end) in
                    [(Direction::ToClient, length.to_client + 8), (Direction::ToServer, length.to_server + 8)]
                {
                    let positions =
                        (number * every..end).step_by(usize::try_from(MACHINES * every).expect("small"));
                    for (count, at) in positions.enumerate() {
                        let before = sequence_held(&machine.agent);
                        machine.cut(direction, at);
                        cuts.fetch_add(1, Ordering::Relaxed);
                        if sequence_held(&machine.agent) != before {
                            // Nothing was left to cut: it went through.
                            sequence += 1;
                        } else if (count as u64).is_multiple_of(CUTS_OF_ONE) {
                            let joined = machine.finish();
                            sequence += 1;
                            let counter = if joined.kind == boundkey_proto::JoinKindName::Retried {
                                again
                            } else {
                                anew
                            };
                            counter.fetch_add(1, Ordering::Relaxed);
                        }
                        assert_eq!(sequence_held(&machine.agent), sequence, "cut {direction:?} at {at}");
                    }
                }
                if machine.keystore.load().expect("a state").pending.is_some() {
                    machine.finish();
                    sequence += 1;
                }
                assert_eq!(assert_one_honest_lineage(cluster, &token), sequence);
                assert_eq!(refusals(cluster, &token), Vec::<String>::new());
                assert_eq!(facts(cluster, &token)["recovery_count"], 1);
            });
        }
    });
    let (again, anew) = (again.into_inner(), anew.into_inner());
    println!(
        "{} cuts; of the attempts finished afterwards {again} had been admitted and {anew} had not",
        cuts.into_inner()
    );
    assert!(again > 0 && anew > 0);
}

fn create(cluster: &Cluster, token: &str) {
    let file = cluster.path(&format!("{token}.yaml"));
    std::fs::write(&file, node_token(token)).expect("written");
    cluster.ctl(&["create", &file.display().to_string()]).success();
}

#[test]
fn a_registration_cut_anywhere_binds_the_machine_once() {
    let every = from_environment("BOUNDKEY_CUT_EVERY", 1) * SPARSE;
    let cluster = Cluster::start("cuts-register");
    create(&cluster, "first");
    let mut first = Machine::new(&cluster, "first");
    let length = measure(&mut first);
    let cases: Vec<(Direction, u64)> =
        [(Direction::ToClient, length.to_client), (Direction::ToServer, length.to_server)]
            .into_iter()
            .flat_map(|(direction, end)| {
                (0..end).step_by(usize::try_from(every).expect("small")).map(move |at| (direction, at))
            })
            .chain([(Direction::ToClient, length.answer), (Direction::ToClient, length.to_client - 1)])
            .collect();
    let names: Vec<String> = (0..cases.len()).map(|number| format!("web-{number}")).collect();
    let tokens: Vec<String> = names.iter().map(|name| node_token(name)).collect();
    cluster.create(&tokens.join("---\n"));
    let mut again = 0;
    for (name, (direction, at)) in names.iter().zip(cases) {
        let mut machine = Machine::new(&cluster, name);
        machine.cut(direction, at);
        if machine.keystore.load().expect("a state").pending.is_some() {
            again += u64::from(machine.finish().kind == boundkey_proto::JoinKindName::Retried);
        }
        assert_eq!(sequence_held(&machine.agent), 1, "cut {direction:?} at {at}");
        assert_eq!(machine.finish().kind, boundkey_proto::JoinKindName::Renewed, "and it is in");
        assert_eq!(assert_one_honest_lineage(&cluster, name), 2);
        assert_eq!(refusals(&cluster, name), Vec::<String>::new());
    }
    println!("{} registrations cut, of which {again} had been admitted", names.len());
    assert!(again > 0);
}

/// A join that `prepare` makes special, cut at every so many bytes of either direction and at the ends of the answer; once
/// it is through, the lineage has moved by one, and `check` says what else must hold. Returns how often.
fn cut_anywhere(
    machine: &mut Machine,
    mut prepare: impl FnMut(&mut Machine),
    mut check: impl FnMut(&mut Machine, &str),
) -> u64 {
    let every = from_environment("BOUNDKEY_CUT_EVERY", 1) * SPARSE;
    prepare(machine);
    let length = measure(machine);
    let first = sequence_held(&machine.agent);
    let mut sequence = first;
    for (direction, end) in [(Direction::ToClient, length.to_client), (Direction::ToServer, length.to_server)]
    {
        let last = [length.answer.min(end), end - 1];
        for at in (0..end).step_by(usize::try_from(every).expect("small")).chain(last) {
            prepare(machine);
            machine.cut(direction, at);
            if machine.keystore.load().expect("a state").pending.is_some() {
                machine.finish();
            }
            sequence += 1;
            let place = format!("cut {direction:?} at {at}");
            assert_eq!(sequence_held(&machine.agent), sequence, "{place}");
            check(machine, &place);
        }
    }
    sequence - first + 1
}

#[test]
fn a_rotation_cut_anywhere_changes_the_key_once() {
    let cluster = Cluster::start("cuts-rotate");
    create(&cluster, "web");
    let administrator = cluster.administrator();
    let mut machine = Machine::new(&cluster, "web");
    machine.finish();
    let rotations = cut_anywhere(
        &mut machine,
        |_| rule(&administrator, &["rotate", "web"]),
        |machine, place| {
            let key = machine.keystore.load().expect("a state").bound_key.expect("a key");
            assert_eq!(facts(&cluster, "web")["bound_public_key"], key.public_key().to_openssh(), "{place}");
        },
    );
    assert_eq!(assert_one_honest_lineage(&cluster, "web"), rotations + 1);
    assert_eq!(refusals(&cluster, "web"), Vec::<String>::new());
    let events = cluster.events("web");
    let rotated = events
        .iter()
        .filter(|event| event["notes"].as_array().is_some_and(|notes| notes.contains(&"rotated".into())));
    assert_eq!(rotated.count() as u64, rotations, "one new key for each request");
}

#[test]
fn a_recovery_cut_anywhere_uses_one_recovery() {
    let cluster = Cluster::start("cuts-recover");
    cluster.create(&format!("{}  bound_keypair: {{recovery: {{limit: 100000}}}}\n", node_token("web")));
    let administrator = cluster.administrator();
    let mut machine = Machine::new(&cluster, "web");
    machine.finish();
    let recoveries = cut_anywhere(
        &mut machine,
        |_| rule(&administrator, &["revoke", "web", "--yes"]),
        |machine, place| {
            let used = facts(&cluster, "web")["recovery_count"].as_u64();
            assert_eq!(used, Some(sequence_held(&machine.agent)), "{place}");
        },
    );
    assert_eq!(facts(&cluster, "web")["recovery_count"], recoveries + 1, "and the registration");
    assert_eq!(refusals(&cluster, "web"), Vec::<String>::new());
}

#[test]
fn a_resync_cut_anywhere_takes_the_grant_once_and_uses_no_recovery() {
    let cluster = Cluster::start("cuts-resync");
    create(&cluster, "web");
    let administrator = cluster.administrator();
    let mut machine = Machine::new(&cluster, "web");
    machine.finish();
    let grants = cut_anywhere(
        &mut machine,
        |machine| {
            // It has lost its join state, and nothing else.
            let mut state = machine.keystore.load().expect("a state");
            state.join_state = None;
            machine.keystore.save(&state).expect("it can be written");
            rule(&administrator, &["resync", "web", "--keep-key"]);
        },
        |_, place| {
            assert_eq!(facts(&cluster, "web")["recovery_count"], 1, "{place}");
        },
    );
    let events = cluster.events("web");
    let by_grant = events
        .iter()
        .filter(|event| event["notes"].as_array().is_some_and(|notes| notes.contains(&"by_grant".into())));
    assert_eq!(by_grant.count() as u64, grants);
    assert_eq!(refusals(&cluster, "web"), Vec::<String>::new());
    assert_eq!(machine.finish().kind, boundkey_proto::JoinKindName::Renewed, "and it is in");
}

fn rule(administrator: &Administrator, verb: &[&str]) {
    administrator.ctl(&[&["bound-keypair"], verb].concat()).success();
}

/// The answer is lost while the server's clock is years ahead: what it signed is not valid for years once it is right.
#[test]
fn an_answer_lost_under_a_wrong_clock_is_made_good_when_it_is_right() {
    let mut cluster = Cluster::prepare("cuts-clock");
    let Some(clock) = boundkey_testkit::SteppedClock::new(cluster.path("server.clock")) else {
        println!("SKIP: libfaketime is not installed (Debian: faketime)");
        return;
    };
    cluster.wrap_server(&clock.words());
    cluster.start_server(&[]);
    cluster.create(&format!("{}  bound_keypair: {{recovery: {{limit: 2}}}}\n", node_token("web")));
    let mut machine = Machine::new(&cluster, "web");
    let length = measure(&mut machine);
    clock.set(9 * 365 * 24 * 3600);
    machine.cut(Direction::ToClient, length.answer + 10);
    clock.set(0);
    assert_eq!(facts(&cluster, "web")["recovery_count"], 2, "it was admitted, years late");
    let joined = machine.finish();
    assert_eq!(joined.kind, boundkey_proto::JoinKindName::Renewed);
    assert_eq!(assert_one_honest_lineage(&cluster, "web"), 3);
}
