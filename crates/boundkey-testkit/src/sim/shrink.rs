//! Makes a failing world small and its list of steps short, while what is left still breaks a promise.

use super::run::{Failure, Replay, Scenario};

/// The shortest scenario that was found within `tries` runs of a small world, and its failure. Any broken promise counts,
/// since a shorter list often shows the same fault by another symptom.
pub fn shrink(failure: &Failure, how: Replay, tries: usize) -> Failure {
    let how = Replay { traced: false, ..how };
    let mut best = failure.clone();
    // Steps after the one that failed never happened.
    best.scenario.steps.truncate(best.step + 1);
    let mut left = tries;
    // Fewer tokens first: every later run is the quicker for it.
    let mut tokens = best.scenario.tokens.unwrap_or(1);
    while tokens > 1 && left > 0 {
        tokens = tokens.div_ceil(4);
        let candidate = Scenario { tokens: Some(tokens), ..best.scenario.clone() };
        left = left.saturating_sub(cost(&candidate));
        match candidate.run(how) {
            Err(found) => best = *found,
            Ok(_) => break,
        }
    }
    best.scenario.steps.truncate(best.step + 1);
    let mut chunk = best.scenario.steps.len().div_ceil(2).max(1);
    while left > 0 {
        let mut shorter = false;
        let mut from = 0;
        while from < best.scenario.steps.len() && left > 0 {
            let mut candidate = best.scenario.clone();
            let to = (from + chunk).min(candidate.steps.len());
            let removed: Vec<_> = candidate.steps.drain(from..to).collect();
            left = left.saturating_sub(cost(&candidate));
            let mut failed = candidate.run(how).err();
            if failed.is_none() && left > 0 {
                // The time that they took may be what matters.
                let waited: i64 = removed.iter().map(|step| step.after).sum();
                if let Some(next) = candidate.steps.get_mut(from) {
                    next.after += waited;
                    left = left.saturating_sub(cost(&candidate));
                    failed = candidate.run(how).err();
                }
            }
            match failed {
                Some(found) => {
                    best = *found;
                    best.scenario.steps.truncate(best.step + 1);
                    shorter = true;
                }
                None => from += chunk,
            }
        }
        if !shorter && chunk == 1 {
            break;
        }
        chunk = (chunk / 2).max(1);
    }
    best
}

/// In runs of a small world.
fn cost(scenario: &Scenario) -> usize {
    1 + scenario.tokens.unwrap_or(0) / 33
}
