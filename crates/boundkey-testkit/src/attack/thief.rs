//! Whoever holds something that is, or was, good, and uses it in a loop.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use boundkey_keys::{PrivateKey, Secret};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::wire::Claim;
use super::{Attack, Effort, Forger, Stage, Target, add, network};
use crate::cluster::Administrator;

/// What he holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loot {
    /// The present key and state of a token that is locked by hand.
    LockedKey,
    /// A registration secret that was used.
    UsedSecret,
    /// His own machine's key: an ordinary one, which joins all the time.
    OwnMachine,
    /// A static key that many may use (mode `insecure`): each join is a new client.
    StaticKey,
    /// The same; then the token is reset.
    StaticKeyReset,
}

impl Loot {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::LockedKey, Self::UsedSecret, Self::OwnMachine, Self::StaticKey, Self::StaticKeyReset];
}

/// Who uses it.
pub struct Thief {
    loot: Loot,
    instances: usize,
    secret: Option<Secret>,
    administrator: Option<Administrator>,
}

const TOKEN: &str = "stolen";
/// The static key's.
const SEED: [u8; 32] = [42; 32];
const LANES: usize = 8;

impl Thief {
    /// `instances`: clients that a static key is to have made already when its token is reset.
    pub fn new(loot: Loot, instances: usize) -> Self {
        Self { loot, instances, secret: None, administrator: None }
    }

    fn claim(&self) -> Claim {
        let key = PrivateKey::ed25519_from_seed(&SEED);
        Claim {
            token: TOKEN.to_owned(),
            key,
            secret: self.secret.as_ref().map(Secret::duplicate),
            state: None,
        }
    }

    fn create(&mut self, stage: &Stage) {
        let shared = matches!(self.loot, Loot::StaticKey | Loot::StaticKeyReset);
        let key = PrivateKey::ed25519_from_seed(&SEED).public_key().to_openssh();
        let more = format!(
            "  bound_keypair:\n    onboarding: {{initial_public_key: \"{key}\"}}\n    recovery: {{mode: insecure}}\n"
        );
        stage.cluster.create(&format!(
            "kind: token\nversion: v2\nmetadata: {{name: {TOKEN}}}\nspec:\n  roles: [Node]\n  join_method: \
             bound_keypair\n{}",
            if shared { &more } else { "" }
        ));
        if !shared {
            let token = stage.cluster.token(TOKEN);
            let secret = token["status"]["bound_keypair"]["registration_secret"].as_str();
            self.secret = Some(Secret::new(secret.expect("an unused secret").to_owned()));
        }
    }
}

#[async_trait(?Send)]
impl Attack for Thief {
    fn name(&self) -> String {
        match self.loot {
            Loot::StaticKeyReset => format!("thief StaticKey: reset of {} clients", self.instances),
            loot => format!("thief {loot:?}: {LANES} connections"),
        }
    }

    fn arm(&mut self, stage: &mut Stage) {
        self.create(stage);
        if self.loot == Loot::StaticKeyReset {
            let target = Target::of(&stage.cluster);
            let mut claim = self.claim();
            super::run::block_on(async {
                let mut forger = Forger::connect(&target, network(0)).await.expect("a connection");
                // The first is the token's own; the others are clients of it.
                for _ in 0..3 {
                    claim.state = None;
                    forger.join(&mut claim).await.expect("an answer").expect("a client");
                }
            });
            stage.multiply_instances(self.instances);
        }
        self.administrator = Some(stage.cluster.administrator());
    }

    async fn run(&self, target: Target, effort: Rc<Effort>) {
        let codes = Rc::new(std::cell::RefCell::new(BTreeMap::<String, u64>::new()));
        let mut mine = self.claim();
        if matches!(self.loot, Loot::LockedKey | Loot::UsedSecret | Loot::OwnMachine) {
            let mut forger = Forger::connect(&target, network(0)).await.expect("a connection");
            forger.join(&mut mine).await.expect("an answer").expect("a registration");
        }
        if self.loot == Loot::LockedKey {
            let administrator = self.administrator.clone().expect("armed");
            let lock = move || administrator.ctl(&["lock", "--token", TOKEN, "--yes"]).success();
            tokio::task::spawn_blocking(lock).await.expect("a lock");
        }
        let lanes = if self.loot == Loot::OwnMachine { 1 } else { LANES };
        let mut lanes_of = JoinSet::new();
        for lane in 0..lanes {
            let (target, effort, codes) = (target.clone(), Rc::clone(&effort), Rc::clone(&codes));
            let mut claim = self.claim();
            claim.state.clone_from(&mine.state);
            let loot = self.loot;
            lanes_of.spawn_local(async move {
                loop {
                    if let Ok(mut forger) = Forger::connect(&target, network(lane)).await {
                        add(&effort.connections, 1);
                        loop {
                            match loot {
                                Loot::LockedKey => {}
                                Loot::OwnMachine => claim.secret = None,
                                Loot::UsedSecret => {
                                    claim.state = None;
                                    claim.key = Claim::made_up(TOKEN, false).key;
                                }
                                Loot::StaticKey | Loot::StaticKeyReset => claim.state = None,
                            }
                            let Ok(answer) = forger.join(&mut claim).await else { break };
                            add(&effort.requests, 1);
                            add(&effort.admitted, u64::from(answer.is_ok()));
                            *codes.borrow_mut().entry(answer.err().unwrap_or_default()).or_default() += 1;
                            effort.note.replace(told(&codes.borrow()));
                        }
                    }
                    add(&effort.ended, 1);
                    sleep(Duration::from_millis(100)).await;
                }
            });
        }
        effort.ready.set(self.loot != Loot::StaticKeyReset);
        if self.loot == Loot::StaticKeyReset {
            sleep(Duration::from_secs(1)).await;
            let note = self.reset().await;
            drop(lanes_of);
            effort.note.replace(note);
            effort.ready.set(true);
        }
        std::future::pending::<()>().await;
    }
}

impl Thief {
    async fn reset(&self) -> String {
        let administrator = self.administrator.clone().expect("armed");
        let said = Arc::new(Mutex::new(String::new()));
        let told = Arc::clone(&said);
        let resetting = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let ran = administrator.ctl(&["bound-keypair", "reset", TOKEN, "--yes"]);
            *told.lock().unwrap_or_else(PoisonError::into_inner) =
                format!("reset: {:.1?}, status {:?} {}", began.elapsed(), ran.code, ran.stderr.trim());
        });
        if resetting.await.is_err() {
            return "reset: no answer within a minute".to_owned();
        }
        said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How often each answer came; joins have no code.
fn told(codes: &BTreeMap<String, u64>) -> String {
    let each = codes.iter().map(|(code, count)| match code.as_str() {
        "" => format!("{count} joined"),
        code => format!("{count} {code}"),
    });
    each.collect::<Vec<_>>().join(", ")
}
