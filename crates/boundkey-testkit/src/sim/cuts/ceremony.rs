//! The ceremonies that are cut: what led up to each, and what it has to come to.

use boundkey_api::VerbRequest;
use boundkey_token::{RecoveryMode, Role, RoleSet};

use crate::sim::clock::{DAY, HOUR, MINUTE, Micros, START};
use crate::sim::plan::{Onboard, TokenPlan, name};
use crate::sim::world::World;

/// A machine that joins, up to its being in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ceremony {
    /// By secret.
    Register,
    /// By a preregistered key.
    RegisterByKey,
    /// By a preregistered key that has to be replaced at once.
    RegisterAndRotate,
    /// A bot, by secret.
    RegisterBot,
    /// A bot, by a preregistered key.
    RegisterBotByKey,
    /// Within the certificates' life.
    Renew,
    /// As a rotation was asked for.
    RenewAndRotate,
    /// A bot, which stays the instance that it is.
    RenewBot,
    /// A bot, as a rotation was asked for.
    RenewBotAndRotate,
    /// After expiry and grace.
    Recover,
    /// The same, as a rotation was asked for.
    RecoverAndRotate,
    /// As what it had was revoked.
    RecoverRevoked,
    /// By a granted recovery, after it was refused one.
    RecoverByGrant,
    /// The same, as a rotation was asked for.
    GrantAndRotate,
    /// A bot, which becomes a new instance.
    RecoverBot,
    /// A bot, as a rotation was asked for.
    RecoverBotAndRotate,
    /// A bot, as what it had was revoked.
    RecoverBotRevoked,
    /// A bot, by a granted recovery.
    RecoverBotByGrant,
    /// After a resync grant, by a machine that was reverted to a snapshot.
    Resync,
    /// The same, and the key is replaced.
    ResyncAndRotate,
    /// The same for a bot, which becomes a new instance.
    ResyncBot,
    /// The first of the clients of one static key.
    RegisterStatic,
    /// The same client, by what it was given.
    JoinStatic,
    /// Another one, for the first time.
    JoinStaticFellow,
    /// A bot in the place of a host.
    JoinStaticBot,
    /// As every client's certificates were revoked.
    JoinStaticRevoked,
    /// The mode is `standard` now, and the client is the first to come.
    Adopt,
    /// The client is one that never moved the lineage.
    AdoptFellow,
    /// The client is a bot.
    AdoptBot,
    /// The client comes after expiry and grace.
    AdoptLate,
    /// A bot comes after expiry and grace.
    AdoptBotLate,
    /// The client holds a key of its own, and a rotation was asked for.
    AdoptAndRotate,
    /// A client was adopted, went on for months, was alone in `insecure` for one join, and comes back from there.
    AdoptAgain,
    /// A machine's mode is `insecure` now.
    Share,
    /// A bot's mode is `insecure` now.
    ShareBot,
    /// The mode is `insecure` again, and the client is the one that was adopted.
    ShareAgain,
}

/// Who a machine is once it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lives {
    /// It never was anybody.
    First,
    /// Whoever it was.
    On,
    /// Somebody new: a bot that recovered.
    Anew,
}

/// Which of the joins that a ceremony took move the lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moves {
    Each,
    /// The first one makes it a shared one.
    Once,
    /// A client of a shared token writes its own record.
    Not,
}

/// What happened before.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// The machine of this number is in.
    Joins(usize),
    /// It is refused with this code, and goes on with the attempt later.
    Refused(usize, &'static str),
    Passes(Micros),
    /// The machine is as it was before its last join.
    Reverted,
    Verb(&'static str),
    Resync {
        keep_key: bool,
    },
    Mode(RecoveryMode),
}

/// Of a ceremony, everything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    onboard: Onboard,
    is_bot: bool,
    limit: u32,
    rotates_at_once: bool,
    before: &'static [Act],
    /// Who joins.
    pub(super) machine: usize,
    pub(super) recoveries: u32,
    pub(super) lives: Lives,
    pub(super) moves: Moves,
    /// A fellow client that is shut out by it.
    pub(super) leaves: Option<usize>,
    /// Records of single clients in the end.
    pub(super) instances: usize,
}

const LATE: Act = Act::Passes(40 * DAY);
/// After expiry, within the grace.
const MONTH: Act = Act::Passes(28 * DAY);
const SOON: Act = Act::Passes(HOUR);
const ROTATE: Act = Act::Verb("rotate");
const REVERTED: &[Act] =
    &[Act::Joins(0), Act::Reverted, Act::Refused(0, "clone_detected"), Act::Resync { keep_key: true }];
const REVERTED_COPIED: &[Act] =
    &[Act::Joins(0), Act::Reverted, Act::Refused(0, "clone_detected"), Act::Resync { keep_key: false }];
const OUT_OF_RECOVERIES: &[Act] =
    &[Act::Joins(0), LATE, Act::Refused(0, "recovery_limit_reached"), Act::Verb("grant-recovery")];
const SHARED: &[Act] = &[Act::Joins(0), Act::Joins(1), SOON];
const LEFT: &[Act] = &[Act::Joins(0), Act::Joins(1), SOON, Act::Mode(RecoveryMode::Standard)];
const LEFT_LONG_AGO: &[Act] = &[Act::Joins(0), Act::Joins(1), LATE, Act::Mode(RecoveryMode::Standard)];

const REGISTER: Course = Course {
    onboard: Onboard::Secret,
    is_bot: false,
    limit: 2,
    rotates_at_once: false,
    before: &[],
    machine: 0,
    recoveries: 1,
    lives: Lives::First,
    moves: Moves::Each,
    leaves: None,
    instances: 0,
};
const RENEW: Course = Course { before: &[Act::Joins(0), SOON], recoveries: 0, lives: Lives::On, ..REGISTER };
const RECOVER: Course = Course { before: &[Act::Joins(0), LATE], recoveries: 1, ..RENEW };
const GRANT: Course = Course { before: OUT_OF_RECOVERIES, limit: 1, ..RECOVER };
const RESYNC: Course = Course { before: REVERTED, ..RENEW };
const STATIC: Course =
    Course { onboard: Onboard::Static, before: SHARED, moves: Moves::Not, instances: 2, ..RENEW };
const ADOPT: Course = Course { before: LEFT, moves: Moves::Each, leaves: Some(1), instances: 0, ..STATIC };

impl Ceremony {
    /// Every one.
    pub const ALL: [Self; 36] = [
        Self::Register,
        Self::RegisterByKey,
        Self::RegisterAndRotate,
        Self::RegisterBot,
        Self::RegisterBotByKey,
        Self::Renew,
        Self::RenewAndRotate,
        Self::RenewBot,
        Self::RenewBotAndRotate,
        Self::Recover,
        Self::RecoverAndRotate,
        Self::RecoverRevoked,
        Self::RecoverByGrant,
        Self::GrantAndRotate,
        Self::RecoverBot,
        Self::RecoverBotAndRotate,
        Self::RecoverBotRevoked,
        Self::RecoverBotByGrant,
        Self::Resync,
        Self::ResyncAndRotate,
        Self::ResyncBot,
        Self::RegisterStatic,
        Self::JoinStatic,
        Self::JoinStaticFellow,
        Self::JoinStaticBot,
        Self::JoinStaticRevoked,
        Self::Adopt,
        Self::AdoptFellow,
        Self::AdoptBot,
        Self::AdoptLate,
        Self::AdoptBotLate,
        Self::AdoptAndRotate,
        Self::AdoptAgain,
        Self::Share,
        Self::ShareBot,
        Self::ShareAgain,
    ];

    pub(super) fn course(self) -> Course {
        let bot = |course: Course| Course { is_bot: true, ..course };
        let anew = |course: Course| Course { is_bot: true, lives: Lives::Anew, ..course };
        let then_rotate = |before| Course { before, ..RENEW };
        match self {
            Self::Register => REGISTER,
            Self::RegisterByKey => Course { onboard: Onboard::Key, ..REGISTER },
            Self::RegisterAndRotate => Course { onboard: Onboard::Key, rotates_at_once: true, ..REGISTER },
            Self::RegisterBot => bot(REGISTER),
            Self::RegisterBotByKey => Course { onboard: Onboard::Key, ..bot(REGISTER) },
            Self::Renew => RENEW,
            Self::RenewAndRotate => then_rotate(&[Act::Joins(0), SOON, ROTATE]),
            Self::RenewBot => bot(RENEW),
            Self::RenewBotAndRotate => bot(then_rotate(&[Act::Joins(0), SOON, ROTATE])),
            Self::Recover => RECOVER,
            Self::RecoverAndRotate => Course { before: &[Act::Joins(0), LATE, ROTATE], ..RECOVER },
            Self::RecoverRevoked => Course { before: &[Act::Joins(0), SOON, Act::Verb("revoke")], ..RECOVER },
            Self::RecoverByGrant => GRANT,
            Self::GrantAndRotate => Course {
                before: &[
                    Act::Joins(0),
                    LATE,
                    ROTATE,
                    Act::Refused(0, "recovery_limit_reached"),
                    Act::Verb("grant-recovery"),
                ],
                ..GRANT
            },
            Self::RecoverBot => anew(RECOVER),
            Self::RecoverBotAndRotate => anew(Self::RecoverAndRotate.course()),
            Self::RecoverBotRevoked => anew(Self::RecoverRevoked.course()),
            Self::RecoverBotByGrant => anew(GRANT),
            Self::Resync => RESYNC,
            Self::ResyncAndRotate => Course { before: REVERTED_COPIED, ..RESYNC },
            Self::ResyncBot => anew(RESYNC),
            Self::RegisterStatic => Course {
                before: &[],
                recoveries: 1,
                lives: Lives::First,
                moves: Moves::Once,
                instances: 1,
                ..STATIC
            },
            Self::JoinStatic => STATIC,
            Self::JoinStaticFellow => {
                Course { before: &[Act::Joins(0)], machine: 1, lives: Lives::First, instances: 1, ..STATIC }
            }
            Self::JoinStaticBot => bot(STATIC),
            Self::JoinStaticRevoked => Course {
                before: &[Act::Joins(0), Act::Joins(1), SOON, Act::Verb("revoke")],
                instances: 1,
                ..STATIC
            },
            Self::Adopt => ADOPT,
            // (Its own record outlives its certificates by a day.)
            Self::AdoptFellow => Course { machine: 1, leaves: Some(0), instances: 1, ..ADOPT },
            Self::AdoptBot => bot(ADOPT),
            Self::AdoptLate => Course { before: LEFT_LONG_AGO, recoveries: 1, ..ADOPT },
            Self::AdoptBotLate => anew(Self::AdoptLate.course()),
            Self::AdoptAndRotate => then_rotate(&[
                Act::Joins(0),
                Act::Mode(RecoveryMode::Insecure),
                Act::Joins(0),
                SOON,
                Act::Mode(RecoveryMode::Standard),
                ROTATE,
            ]),
            Self::AdoptAgain => Course {
                before: &[
                    Act::Joins(0),
                    Act::Joins(1),
                    SOON,
                    Act::Mode(RecoveryMode::Standard),
                    Act::Joins(1),
                    MONTH,
                    Act::Joins(1),
                    MONTH,
                    Act::Joins(1),
                    SOON,
                    Act::Mode(RecoveryMode::Insecure),
                    Act::Joins(1),
                    SOON,
                    Act::Mode(RecoveryMode::Standard),
                ],
                limit: 1,
                machine: 1,
                leaves: Some(0),
                ..ADOPT
            },
            Self::Share => Course {
                before: &[Act::Joins(0), SOON, Act::Mode(RecoveryMode::Insecure)],
                moves: Moves::Once,
                instances: 1,
                ..RENEW
            },
            Self::ShareBot => bot(Self::Share.course()),
            Self::ShareAgain => Course {
                before: &[
                    Act::Joins(0),
                    Act::Joins(1),
                    SOON,
                    Act::Mode(RecoveryMode::Standard),
                    Act::Joins(0),
                    SOON,
                    Act::Mode(RecoveryMode::Insecure),
                ],
                moves: Moves::Once,
                instances: 1,
                ..STATIC
            },
        }
    }
}

impl Course {
    fn plan(&self) -> TokenPlan {
        let mode = match self.onboard {
            Onboard::Static => RecoveryMode::Insecure,
            _ => RecoveryMode::Standard,
        };
        let mut plan = TokenPlan::plain(self.onboard, mode, self.limit);
        let spec = &mut plan.token.spec;
        if self.rotates_at_once {
            spec.bound_keypair.rotate_after = Some(START);
        }
        if self.is_bot {
            spec.roles = RoleSet::new([Role::Bot]);
            spec.bot_name = Some(name("b0"));
        }
        plan.machines = if self.onboard == Onboard::Static { 2 } else { 1 };
        plan
    }

    /// A world in which the next thing to happen is the ceremony.
    pub(super) fn prepare(&self) -> Result<World, String> {
        let mut world = World::with_tokens(1, vec![self.plan()], 2, false);
        for machine in 0..world.actors.len() {
            world.actors[machine].lives = false;
            world.process_dies(machine, 0);
        }
        self.before.iter().try_for_each(|act| act.happens(&mut world))?;
        Ok(world)
    }
}

impl Act {
    fn happens(self, world: &mut World) -> Result<(), String> {
        let request = VerbRequest::default();
        match self {
            Self::Joins(machine) => return world.must_join(machine),
            Self::Refused(machine, code) => return world.must_be_refused(machine, code),
            Self::Passes(time) => world.pass(time),
            Self::Reverted => {
                world.snapshot(0);
                world.must_join(0)?;
                world.revert(0, 0);
            }
            Self::Verb(verb) => world.verb(verb, 0, request),
            Self::Resync { keep_key } => world.verb("resync", 0, VerbRequest { keep_key, ..request }),
            Self::Mode(mode) => {
                world.tokens[0].token.spec.bound_keypair.recovery.mode = mode;
                world.apply(0);
            }
        }
        world.pass(2 * MINUTE);
        Ok(())
    }
}
