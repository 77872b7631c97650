//! `ids.json`: state ids, positions and hashes that every replica derives the same; opaque to clients.

use boundkey_lifecycle::{AttemptId, Position, StateId, Uid};
use serde_json::{Value, json};

use crate::scene::unb64;
use crate::vectors::{cases, frame, text};

fn id(text: &str) -> [u8; 16] {
    unb64(text).try_into().expect("16 bytes")
}

fn derived(case: &Value) -> Value {
    let uid: Uid = text(case, "uid").parse().expect("a uid");
    let generation = u32::try_from(case["generation"].as_u64().expect("a number")).expect("32 bits");
    let sequence = case["sequence"].as_u64().expect("a number");
    let previous = case["previous"].as_str().map(|text| StateId(id(text)));
    let attempt = AttemptId(id(text(case, "attempt")));
    let state = StateId::derive(uid, generation, previous, attempt);
    json!({
        "state_id": state,
        "position_before": Position::derive(uid, generation, sequence, previous),
        "position_after": Position::derive(uid, generation, sequence + 1, Some(state)),
    })
}

pub(crate) fn file() -> Value {
    let (uid, attempt) = (Uid([0xd1; 16]), AttemptId([0xa7; 16]));
    let previous = StateId([0xe1; 16]);
    let inputs = [
        ("first join", 0, 0, None, attempt),
        ("second join", 0, 1, Some(previous), attempt),
        ("second join by another attempt", 0, 1, Some(previous), AttemptId([0xa8; 16])),
        ("first join after a reset", 1, 0, None, attempt),
        ("a long history", 7, (1 << 53) - 2, Some(previous), attempt),
    ];
    let all = inputs.map(|(name, generation, sequence, previous, attempt): (_, _, u64, _, _)| {
        let mut case = json!({
            "name": name, "uid": uid, "generation": generation, "sequence": sequence, "attempt": attempt,
        });
        if let Some(previous) = previous {
            case["previous"] = json!(previous);
        }
        case["expect"] = derived(&case);
        case
    });
    frame(
        "What an admitted attempt makes of a lineage: its state id, and the positions before and after it. `sequence` \
         and `previous` (a state id, absent before the first join) are those before the join.",
        json!({}),
        all.into(),
    )
}

#[test]
fn ids_are_derived_as_the_file_says() {
    for case in cases("ids.json") {
        assert_eq!(derived(&case), case["expect"], "{}", case["name"]);
    }
}
