//! One test for each scenario: what may happen in it, and how often.

use boundkey_token::RecoveryMode::{Insecure, Relaxed, Standard};

use crate::scenario::{Budget, Scenario};

/// So many new attempts of the honest client.
fn honest(attempts: u8) -> Budget {
    Budget { attempts: [attempts, 0, 0], ..Budget::default() }
}

/// A thief, too.
fn theft(honest: u8, thief: u8) -> Budget {
    Budget { attempts: [honest, 0, thief], steals: 2, ..Budget::default() }
}

#[test]
fn lossy_network() {
    Scenario::new("lossy_network", Budget { own_rotations: 4, ..honest(12) }).check();
}

#[test]
fn rotation() {
    Scenario::new("rotation", Budget { rotates: 4, own_rotations: 2, ..honest(9) }).check();
}

#[test]
fn clone_used() {
    Scenario::new("clone_used", theft(4, 3)).check();
}

#[test]
fn clone_used_in_relaxed_mode() {
    let budget = Budget { rotates: 1, clocks: 1, ..theft(3, 3) };
    Scenario { mode: Relaxed, limit: 1, ..Scenario::new("clone_used_in_relaxed_mode", budget) }.check();
}

/// The copy is of an attempt that is on its way, with or without a new key.
#[test]
fn clone_mid_attempt() {
    let budget = Budget { own_rotations: 2, rotates: 1, steals: 3, ..theft(3, 3) };
    Scenario::new("clone_mid_attempt", budget).check();
}

#[test]
fn clone_during_registration() {
    let budget = Budget { own_rotations: 1, steals: 1, ..theft(2, 4) };
    Scenario::new("clone_during_registration", budget).check();
}

#[test]
fn clone_of_a_preregistered_key() {
    let budget = Budget { own_rotations: 1, rotates: 1, resets: 1, ..theft(3, 3) };
    let scenario = Scenario::new("clone_of_a_preregistered_key", budget);
    Scenario { initial_key: Some(0), ..scenario }.check();
}

#[test]
fn stolen_secret() {
    let budget = Budget { steals: 0, backups: 1, restores: 2, resets: 1, ..theft(4, 4) };
    let scenario = Scenario::new("stolen_secret", budget);
    Scenario { thief_knows_secret: true, backup_before_registration: true, ..scenario }.check();
}

#[test]
fn restore() {
    let budget = Budget { backups: 2, restores: 3, rotates: 2, own_rotations: 1, ..honest(6) };
    Scenario::new("restore", budget).check();
}

#[test]
fn restore_to_before_registration() {
    let budget = Budget { backups: 1, restores: 3, rotates: 1, resyncs: 1, clocks: 1, ..honest(5) };
    let scenario = Scenario::new("restore_to_before_registration", budget);
    Scenario { backup_before_registration: true, ..scenario }.check();
}

#[test]
fn restore_with_clone() {
    let budget = Budget { backups: 1, restores: 2, ..theft(4, 3) };
    Scenario { backup_before_registration: true, ..Scenario::new("restore_with_clone", budget) }.check();
}

/// There and back again: the second backup is of a history that the first restore ended.
#[test]
fn abandoned_branch() {
    let budget = Budget { backups: 2, restores: 4, rotates: 1, steals: 1, ..theft(4, 2) };
    Scenario::new("abandoned_branch", budget).check();
}

#[test]
fn resync() {
    let budget = Budget { resyncs: 2, clocks: 1, ..theft(4, 3) };
    Scenario::new("resync", budget).check();
}

#[test]
fn resync_and_restore() {
    let budget = Budget { resyncs: 2, backups: 1, restores: 2, steals: 1, ..theft(3, 2) };
    Scenario::new("resync_and_restore", budget).check();
}

/// A grant joins two histories: its holder is known in both.
#[test]
fn resync_and_abandoned_branches() {
    let budget = Budget { resyncs: 2, backups: 2, restores: 4, steals: 1, ..theft(4, 2) };
    Scenario::new("resync_and_abandoned_branches", budget).check();
}

#[test]
fn revoke_and_recover() {
    let budget =
        Budget { revokes: 2, grants: 2, clocks: 2, backups: 1, restores: 1, rotates: 1, ..honest(6) };
    Scenario { limit: 2, ..Scenario::new("revoke_and_recover", budget) }.check();
}

#[test]
fn insecure_and_back() {
    let budget = Budget { attempts: [4, 3, 0], modes: 3, revokes: 1, clocks: 1, ..Budget::default() };
    let scenario = Scenario::new("insecure_and_back", budget);
    Scenario {
        mode: Insecure,
        clients: 2,
        initial_key: Some(0),
        is_static: true,
        modes: &[Standard, Insecure],
        ..scenario
    }
    .check();
}

/// Two clients of one static key, whose mode changes; whatever else may happen.
fn of_two(name: &'static str, budget: Budget) -> Scenario {
    let scenario = Scenario::new(name, Budget { modes: 2, ..budget });
    let modes = &[Standard, Insecure];
    Scenario { mode: Insecure, clients: 2, initial_key: Some(0), is_static: true, modes, ..scenario }
}

/// There and back again, too.
fn two_and_restores() -> Budget {
    Budget { attempts: [4, 4, 0], backups: 2, restores: 3, ..Budget::default() }
}

/// Nothing lost, nothing late and one of each: small enough to be looked at whole.
#[test]
fn two_clients_and_a_restore() {
    let budget = Budget { backups: 1, restores: 1, ..two_and_restores() };
    Scenario { is_orderly: true, ..of_two("two_clients_and_a_restore", budget) }.check();
}

#[test]
fn two_clients_and_restores() {
    of_two("two_clients_and_restores", two_and_restores()).check();
}

/// Nothing lost and nothing late, so it gets further.
#[test]
fn two_clients_and_restores_in_order() {
    let scenario = of_two("two_clients_and_restores_in_order", two_and_restores());
    Scenario { is_orderly: true, ..scenario }.check();
}

#[test]
fn two_clients_that_begin_alone() {
    let scenario = of_two("two_clients_that_begin_alone", two_and_restores());
    Scenario { mode: Standard, is_orderly: true, budget: Budget { modes: 3, ..scenario.budget }, ..scenario }
        .check();
}

#[test]
fn two_clients_and_a_resync() {
    let budget = Budget { attempts: [4, 4, 0], resyncs: 2, backups: 1, restores: 2, ..Budget::default() };
    of_two("two_clients_and_a_resync", budget).check();
}

#[test]
fn two_bots_and_restores() {
    let budget = Budget { clocks: 2, revokes: 1, ..two_and_restores() };
    Scenario { is_bot: true, limit: 3, ..of_two("two_bots_and_restores", budget) }.check();
}

#[test]
fn two_clients_and_a_thief() {
    let budget = Budget { attempts: [3, 3, 2], steals: 2, ..Budget::default() };
    of_two("two_clients_and_a_thief", budget).check();
}

#[test]
fn two_clients_a_thief_and_restores() {
    let budget = Budget { attempts: [3, 3, 2], steals: 2, ..two_and_restores() };
    of_two("two_clients_a_thief_and_restores", budget).check();
}

#[test]
fn two_clients_a_thief_and_restores_in_order() {
    let budget = Budget { attempts: [3, 3, 2], steals: 2, ..two_and_restores() };
    Scenario { is_orderly: true, ..of_two("two_clients_a_thief_and_restores_in_order", budget) }.check();
}

#[test]
fn two_clients_and_clock_steps() {
    let budget = Budget { attempts: [4, 3, 0], clocks: 3, revokes: 1, ..Budget::default() };
    Scenario { limit: 2, ..of_two("two_clients_and_clock_steps", budget) }.check();
}

#[test]
fn clock_steps_through_insecure() {
    let budget = Budget { modes: 2, clocks: 3, ..honest(5) };
    Scenario {
        limit: 1,
        modes: &[Insecure, Standard],
        ..Scenario::new("clock_steps_through_insecure", budget)
    }
    .check();
}

#[test]
fn clock_steps_and_restores() {
    let budget = Budget { clocks: 3, backups: 1, restores: 2, revokes: 1, ..honest(6) };
    Scenario { limit: 1, ..Scenario::new("clock_steps_and_restores", budget) }.check();
}

#[test]
fn a_machine_alone_through_insecure() {
    let budget = Budget { modes: 3, rotates: 1, own_rotations: 1, backups: 1, restores: 2, ..honest(5) };
    Scenario::new("a_machine_alone_through_insecure", budget).check();
}

#[test]
fn clone_in_insecure() {
    let budget = Budget { modes: 2, ..theft(3, 3) };
    Scenario { modes: &[Insecure, Standard], ..Scenario::new("clone_in_insecure", budget) }.check();
}

/// Its name changes with each recovery, in each history.
#[test]
fn clone_of_a_bot_in_insecure() {
    let budget = Budget { modes: 2, clocks: 2, backups: 1, restores: 1, ..theft(3, 2) };
    let scenario = Scenario::new("clone_of_a_bot_in_insecure", budget);
    Scenario { is_bot: true, modes: &[Insecure, Standard], ..scenario }.check();
}

#[test]
fn reset() {
    let budget = Budget { resets: 2, own_rotations: 1, backups: 1, restores: 2, ..theft(4, 2) };
    Scenario::new("reset", budget).check();
}

#[test]
fn clock_steps() {
    let budget = Budget { clocks: 5, revokes: 1, rotates: 1, ..honest(7) };
    Scenario { limit: 3, ..Scenario::new("clock_steps", budget) }.check();
}

#[test]
fn clock_steps_of_a_bot() {
    let budget = Budget { clocks: 4, backups: 1, restores: 2, ..honest(6) };
    Scenario { limit: 3, is_bot: true, ..Scenario::new("clock_steps_of_a_bot", budget) }.check();
}

#[test]
fn lock_by_hand() {
    let budget = Budget { locks: 2, backups: 1, restores: 2, resyncs: 1, steals: 1, ..theft(3, 2) };
    Scenario::new("lock_by_hand", budget).check();
}
