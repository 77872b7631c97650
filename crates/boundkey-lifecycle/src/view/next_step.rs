//! What an administrator does next: a sentence, and the commands to type.

use boundkey_token::RecoveryMode;

use super::{LifecycleState, View, text};
use crate::decide::in_force;
use crate::{LockOrigin, OnboardingInForce};

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NextStep {
    /// A sentence. Where nothing is to be done, it says so.
    pub text: String,
    /// In this order; as typed into a shell. Once they have done what they ask for, the next join is admitted.
    pub commands: Vec<String>,
}

impl NextStep {
    fn nothing(why: impl AsRef<str>) -> Self {
        Self { text: format!("nothing is to be done: {}", why.as_ref()), commands: Vec::new() }
    }
}

/// One thing that stands in the way of the next join.
struct Obstacle {
    text: String,
    command: String,
}

impl View<'_> {
    pub(super) fn next_step(&self) -> NextStep {
        let obstacles = self.obstacles();
        if !obstacles.is_empty() {
            let texts: Vec<&str> = obstacles.iter().map(|obstacle| obstacle.text.as_str()).collect();
            return NextStep {
                text: texts.join("; then "),
                commands: obstacles.into_iter().map(|obstacle| obstacle.command).collect(),
            };
        }
        match self.state() {
            LifecycleState::Pending => self.registration(),
            LifecycleState::Shared if self.is_insecure() => {
                NextStep::nothing("every holder of the key is admitted")
            }
            LifecycleState::Shared => NextStep::nothing(
                "the first machine to come back keeps the token; give each of the others a token of its own",
            ),
            LifecycleState::Overdue if self.renews() => NextStep::nothing(format!(
                "the machine is let in when it comes; it has not been back, so look at `boundkey-agent status` on it{}",
                self.window().map(|end| format!(" before {}", text(end))).unwrap_or_default()
            )),
            LifecycleState::Overdue => NextStep::nothing(
                "the machine is let in when it comes; if it should have been back, look at `boundkey-agent status` on it",
            ),
            LifecycleState::RotationDue => NextStep::nothing("the agent makes the new key at its next join"),
            _ => NextStep::nothing("the agent renews by itself"),
        }
    }

    fn registration(&self) -> NextStep {
        let name = &self.token.name;
        match self.enrolment.onboarding(self.token) {
            OnboardingInForce::InitialKey(_) => NextStep {
                text: "start the agent that holds the private key of initial_public_key".to_owned(),
                commands: Vec::new(),
            },
            _ => NextStep {
                text: "give the registration secret to the machine and start its agent".to_owned(),
                commands: vec![format!("boundkeyctl get token/{name} --with-secrets")],
            },
        }
    }

    /// In the order of the rules. Names are resource names, which a shell takes as they are.
    fn obstacles(&self) -> Vec<Obstacle> {
        let name = &self.token.name;
        let mut out = Vec::new();
        if self.token.expires.is_some_and(|end| end <= self.now) {
            out.push(Obstacle {
                text: "set a later metadata.expires, or remove the token if nothing is to join with it"
                    .to_owned(),
                command: format!("boundkeyctl edit token/{name}"),
            });
        }
        if let Some(bot) = self.missing_bot() {
            out.push(match self.bot {
                Some(_) => Obstacle {
                    text: "set a later metadata.expires of the bot".to_owned(),
                    command: format!("boundkeyctl edit bot/{bot}"),
                },
                None => Obstacle {
                    text: "add the bot".to_owned(),
                    command: format!("boundkeyctl bots add {bot}"),
                },
            });
        }
        let resyncs = self.locks(&mut out);
        let e = self.enrolment;
        if !e.is_bound() && self.registration_ended().is_some() {
            out.push(Obstacle {
                text: "set a later spec.bound_keypair.onboarding.must_register_before".to_owned(),
                command: format!("boundkeyctl edit token/{name}"),
            });
        }
        // The grant of a resync stands in for the recovery.
        let granted = resyncs && self.mode() != RecoveryMode::Insecure;
        let spent =
            e.is_bound() && !e.shared && !self.renews() && !self.recovery_left() && !self.comes_by_grant();
        if spent && !granted {
            out.push(Obstacle {
                text: "allow another recovery, if the machine is the right one".to_owned(),
                command: format!("boundkeyctl bound-keypair grant-recovery {name}"),
            });
        }
        out
    }

    /// True: one of the steps is a resync.
    fn locks(&self, out: &mut Vec<Obstacle>) -> bool {
        let name = &self.token.name;
        let mut resyncs = false;
        for lock in in_force(self.locks, self.now) {
            match &lock.origin {
                LockOrigin::ByHand => {
                    let ends = lock.expires.map(|end| format!(" (it ends by itself at {})", text(end)));
                    out.push(Obstacle {
                        text: format!("lift the lock when its cause is gone{}", ends.unwrap_or_default()),
                        command: format!("boundkeyctl rm lock/{}", lock.id),
                    });
                }
                LockOrigin::Automatic(_) if resyncs => {}
                LockOrigin::Automatic(_) => {
                    resyncs = true;
                    out.push(Obstacle {
                        text: "find out which machine is the right one and take it back (one with a static key: with \
                               --keep-key)"
                            .to_owned(),
                        command: format!("boundkeyctl bound-keypair resync {name}"),
                    });
                }
            }
        }
        resyncs
    }
}
