//! The real client, and a verifier that accepts everything: what answers can do whose signatures all hold. `liar` makes
//! the answers and knows which of them a client may take, `judge` looks at every write of the state.

mod judge;
mod liar;
mod said;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use boundkey_client::config::{Credential, SecretSource};
use boundkey_client::join::{JoinError, JoinPlan, Joiner, SshWish};
use boundkey_client::{Channel, Clock, Source};
use boundkey_keys::Secret;
use boundkey_keys::testing::AcceptEverything;
use boundkey_keystore::{AgentState, FileError, Keystore, KeystoreError, MemoryKeystore};
use boundkey_token::{Role, RoleSet};
use time::OffsetDateTime;

use self::liar::{Lineage, Wire};
use self::said::TLS;
use super::world::{Counted, SECRET, poll};
use super::{Choices, say};
use crate::scene::{CLUSTER, NOW};

const MOST: usize = 160;

/// A long life of one machine: results bent in any member and certified all the same, challenges, refusals, provisional
/// results, rotations, answers of earlier attempts; and a disk that dies at any save.
pub fn client_accepts_all(data: &[u8]) {
    let _all = AcceptEverything::on_this_thread();
    let mut choices = Choices { most: MOST, ..Choices::new(data) };
    let mut machine = Machine::new(choices.byte());
    while choices.more() {
        match choices.below(8) {
            0..=5 => machine.join(&mut choices, true),
            6 => machine.join(&mut choices, false),
            _ => {
                let minutes = i64::from(choices.byte()).pow(2);
                machine.now += time::Duration::minutes(if choices.flag() { minutes } else { -minutes });
            }
        }
    }
    machine.comes_back();
}

struct Machine {
    plan: JoinPlan,
    disk: Disk,
    entropy: Counted,
    lineage: Lineage,
    now: OffsetDateTime,
}

struct Time(OffsetDateTime);

impl Clock for Time {
    fn now(&self) -> OffsetDateTime {
        self.0
    }

    fn since_boot(&self) -> Duration {
        Duration::ZERO
    }
}

/// What was on the disk before a join, and every state that was written since.
type Written = Arc<Mutex<Vec<AgentState>>>;

fn locked(written: &Written) -> MutexGuard<'_, Vec<AgentState>> {
    written.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The agent's disk.
struct Disk {
    keystore: MemoryKeystore,
    written: Written,
    saves: usize,
    /// Dies at this save: before it or after it.
    dies: Option<(usize, bool)>,
}

impl Keystore for Disk {
    fn load(&mut self) -> Result<AgentState, KeystoreError> {
        self.keystore.load()
    }

    fn save(&mut self, state: &AgentState) -> Result<(), KeystoreError> {
        let dead = || KeystoreError::from(FileError::DiskFull { path: PathBuf::from("(crash)") });
        self.saves += 1;
        if self.dies == Some((self.saves, false)) {
            return Err(dead());
        }
        self.keystore.save(state)?;
        let again = self.keystore.load().expect("what was written is read");
        assert_eq!(again.to_json(), state.to_json(), "what was written is read as something else");
        locked(&self.written).push(again);
        if self.dies == Some((self.saves, true)) { Err(dead()) } else { Ok(()) }
    }
}

impl Machine {
    fn new(kind: u8) -> Self {
        let plan = JoinPlan {
            token: "web-1".parse().expect("a name"),
            credential: Credential::Secret(SecretSource::Given(Secret::new(SECRET.to_owned()))),
            roles: RoleSet::new([Role::Node]),
            names: Default::default(),
            ttl: None,
            ssh: if kind & 1 == 1 { SshWish::Host } else { SshWish::None },
            reuse_tls_key: kind & 6 != 6,
            facts: Default::default(),
            machine: Some("machine".to_owned()),
            accept_machine: false,
        };
        let disk =
            Disk { keystore: MemoryKeystore::default(), written: Written::default(), saves: 0, dies: None };
        Self { plan, disk, entropy: Counted::default(), lineage: Lineage::default(), now: NOW }
    }

    fn join(&mut self, choices: &mut Choices<'_>, lies: bool) {
        let save = choices.below(12);
        self.disk.dies = (lies && save < 4).then(|| (save + 1, choices.flag()));
        let channel = match choices.below(8) {
            0 => Channel { source: Source::System, root_key: None, cluster: None },
            1 => channel(Source::CaFile, 1),
            2 => channel(Source::Bundle, 2),
            _ => channel(Source::Pin, 0),
        };
        drop(self.run(choices, lies, channel));
    }

    fn run(&mut self, choices: &mut Choices<'_>, lies: bool, channel: Channel) -> Result<(), JoinError> {
        self.disk.saves = 0;
        let before = self.disk.load().expect("the state is read");
        let stored = before.ca_bundle.clone();
        *locked(&self.disk.written) = vec![before];
        let rest = std::mem::take(&mut choices.rest);
        let (lineage, written) = (std::mem::take(&mut self.lineage), self.disk.written.clone());
        let mut wire = Wire::new(Choices::new(rest), lineage, lies, channel, stored, written);
        let clock = Time(self.now);
        let mut joiner = Joiner {
            keystore: &mut self.disk,
            transport: &mut wire,
            plan: &self.plan,
            clock: &clock,
            entropy: &self.entropy,
        };
        let outcome = poll(joiner.join()).map(drop);
        say(outcome.as_ref().err().map(ToString::to_string));
        choices.rest = wire.choices.rest;
        self.lineage = std::mem::take(&mut wire.lineage);
        self.judge(&wire, &outcome);
        outcome
    }

    /// No lies any more: the machine gets in by itself, unless it took another cluster for its own.
    fn comes_back(&mut self) {
        self.disk.dies = None;
        for _ in 0..2 {
            let outcome = self.run(&mut Choices::new(&[]), false, channel(Source::Pin, 0));
            if !self.lineage.misled {
                let error = outcome.err().map(|error| error.to_string());
                assert_eq!(error, None, "a machine is kept out");
            }
        }
    }
}

fn channel(source: Source, root: usize) -> Channel {
    let root_key = Some(TLS[root].key().public_key().clone());
    Channel { source, root_key, cluster: Some(CLUSTER.to_owned()) }
}
