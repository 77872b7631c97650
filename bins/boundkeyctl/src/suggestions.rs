//! What is suggested for a word that is not known: never what cuts a machine off. Whoever mistypes a harmless verb must not
//! be led to its most dangerous neighbour.

use clap::Error;
use clap::error::{ContextKind, ContextValue};

/// Verbs and flags that are never suggested.
const CUT_OFF: [&str; 7] = ["reset", "revoke", "rm", "delete", "lock", "--revoke", "--yes"];

/// The error without such suggestions.
pub(crate) fn harmless(mut error: Error) -> Error {
    for kind in [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg] {
        let kept: Vec<String> = match error.remove(kind) {
            Some(ContextValue::String(word)) => vec![word],
            Some(ContextValue::Strings(words)) => words,
            Some(_) | None => continue,
        };
        let kept: Vec<String> = kept.into_iter().filter(|word| !CUT_OFF.contains(&word.as_str())).collect();
        match (kind, kept.as_slice()) {
            (_, []) => {}
            (ContextKind::SuggestedArg, [word]) => {
                drop(error.insert(kind, ContextValue::String(word.clone())))
            }
            _ => drop(error.insert(kind, ContextValue::Strings(kept))),
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::{CUT_OFF, harmless};
    use crate::arguments::Arguments;

    #[test]
    fn no_suggestion_proposes_what_cuts_a_machine_off() {
        for typed in [
            "bound-keypair rese web",
            "bound-keypair rset web",
            "bound-keypair revok web",
            "bound-keypair request web",
            "bots rmm ci",
            "bots delet ci",
            "lok --token web",
            "lck --token web",
            "delet token/web",
            "rm token/web --revok",
            "rm token/web --ye",
            "bound-keypair reset web --yess",
        ] {
            let words = std::iter::once("boundkeyctl").chain(typed.split(' '));
            let Err(error) = Arguments::try_parse_from(words) else { panic!("{typed} is understood") };
            let said = harmless(error).to_string();
            let tips: Vec<&str> = said.lines().filter(|line| line.contains("similar")).collect();
            for word in CUT_OFF {
                assert!(!tips.iter().any(|tip| tip.contains(&format!("'{word}'"))), "{typed}: {said}");
            }
        }
    }

    #[test]
    fn what_harms_nobody_is_suggested() {
        for (typed, wanted) in [
            ("bound-keypair rotat web", "'rotate'"),
            ("tokns ls", "'tokens'"),
            ("get x --with-secret", "'--with-secrets'"),
        ] {
            let words = std::iter::once("boundkeyctl").chain(typed.split(' '));
            let Err(error) = Arguments::try_parse_from(words) else { panic!("{typed} is understood") };
            let said = harmless(error).to_string();
            assert!(said.contains(wanted), "{typed}: {said}");
        }
    }
}
