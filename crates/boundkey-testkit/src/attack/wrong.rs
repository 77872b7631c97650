//! Strangers who prove nothing, from many networks.

use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::wire::{Claim, drawn};
use super::{Attack, Effort, Forger, Stage, Target, add, network};

/// Whose names they use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Of tokens that exist and wait for their machine.
    Known,
    /// Invented, each time another one.
    Invented,
}

impl Names {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Known, Self::Invented];
}

/// Who sends wrong proofs: a key that was made up, then a secret.
#[derive(Debug, Clone)]
pub struct WrongProof {
    names: Names,
    tokens: usize,
    networks: usize,
}

impl WrongProof {
    /// For so many tokens, from so many networks, with two connections each.
    pub fn new(names: Names, tokens: usize, networks: usize) -> Self {
        Self { names, tokens, networks }
    }
}

#[async_trait(?Send)]
impl Attack for WrongProof {
    fn name(&self) -> String {
        let Self { names, tokens, networks } = self;
        format!("wrong proofs, {names:?} names: {tokens} from {networks} networks")
    }

    fn arm(&mut self, stage: &mut Stage) {
        if self.names == Names::Invented {
            return;
        }
        let mut resources = String::new();
        for number in 0..self.tokens {
            let token =
                "kind: token\nversion: v2\nspec: {roles: [Node], join_method: bound_keypair}\nmetadata:";
            writeln!(resources, "---\n{token} {{name: known-{number}}}").expect("a String takes it");
        }
        stage.cluster.create(&resources);
    }

    async fn run(&self, target: Target, effort: Rc<Effort>) {
        let mut strangers = JoinSet::new();
        for number in 0..self.networks * 2 {
            let (target, effort) = (target.clone(), Rc::clone(&effort));
            let Self { names, tokens, networks } = *self;
            strangers.spawn_local(async move {
                let from = network(number % networks);
                loop {
                    if let Ok(mut forger) = Forger::connect(&target, from).await {
                        add(&effort.connections, 1);
                        // Each begins with another name.
                        for at in number.. {
                            let name = match names {
                                Names::Known => format!("known-{}", at % tokens),
                                Names::Invented => format!("invented-{}", u64::from_be_bytes(drawn())),
                            };
                            if forger.send(&Claim::made_up(&name, at / tokens % 2 == 0)).await.is_err() {
                                break;
                            }
                            add(&effort.requests, 1);
                        }
                    }
                    add(&effort.ended, 1);
                    sleep(Duration::from_millis(100)).await;
                }
            });
        }
        effort.ready.set(true);
        std::future::pending::<()>().await;
    }
}
