//! Text from outside, made safe to show: on a terminal, in a log, in `status`, in an event.
//!
//! ```
//! use boundkey_text::clean;
//!
//! // A server that lies could clear the screen, forge a log line, or turn a name round.
//! assert_eq!(clean("no\u{1b}[2J such\ntoken", 64), "no\\u{1b}[2J such\\ntoken");
//! assert_eq!(clean("web-1\u{202e}gpj.exe", 64), "web-1\\u{202e}gpj.exe");
//! assert_eq!(clean("çà 東京", 64), "çà 東京");
//! assert_eq!(clean("too long", 3), "too...");
//! ```
//!
//! Whoever reads a text from a peer, a child process or another program's file cleans it there, once. From then on it may
//! be logged, printed and stored.
//!
//! What it does **not** do: it judges no text (a name that must be plain is refused by its own parser, which asks
//! [`is_plain`]), it hides no secret, and it does not tell letters apart that look alike.

/// Whether a character shows itself and moves nothing: no control character, no mark that is invisible or turns the
/// direction of writing (general categories Cc, Cf, Cs, Co, Cn, Zl, Zp), and no blank but U+0020.
///
/// The classes are those of the standard library's `escape_debug`.
pub fn is_plain(character: char) -> bool {
    match character {
        '"' | '\'' | '\\' => true,
        other => {
            // Alone, a combining mark would be escaped too; behind a letter it shows itself.
            let mut pair = [0; 5];
            pair[0] = b'x';
            let length = other.encode_utf8(&mut pair[1..]).len();
            let pair = std::str::from_utf8(&pair[..=length]).unwrap_or_default();
            pair.escape_debug().count() == 2
        }
    }
}

/// At most `most` characters of a text, on one line; what is not [plain](is_plain) is escaped (`\n`, `\u{202e}`).
///
/// Three dots say that it was longer. The result is at most `10 * most + 3` bytes long.
pub fn clean(text: &str, most: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(most));
    for (count, character) in text.chars().enumerate() {
        if count == most {
            shown.push_str("...");
            break;
        }
        if is_plain(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_debug());
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_cursor_or_hides_is_escaped() {
        for (character, shown) in [
            ('\0', "\\0"),
            ('\t', "\\t"),
            ('\r', "\\r"),
            ('\u{7f}', "\\u{7f}"),
            ('\u{85}', "\\u{85}"),
            ('\u{9b}', "\\u{9b}"),
            ('\u{ad}', "\\u{ad}"),
            ('\u{a0}', "\\u{a0}"),
            ('\u{200b}', "\\u{200b}"),
            ('\u{2028}', "\\u{2028}"),
            ('\u{2029}', "\\u{2029}"),
            ('\u{2066}', "\\u{2066}"),
            ('\u{feff}', "\\u{feff}"),
            ('\u{e0041}', "\\u{e0041}"),
        ] {
            assert!(!is_plain(character), "{shown}");
            assert_eq!(clean(&character.to_string(), 8), shown);
        }
    }

    #[test]
    fn letters_of_all_scripts_and_their_marks_stay() {
        for text in ["plain text", "e\u{301}", "हिन्दी", "東京", "Ω≈ç√", "`'\"\\"] {
            assert_eq!(clean(text, 64), text);
        }
    }

    #[test]
    fn cleaning_twice_changes_nothing_more() {
        let every = (0..=0x10_ffff).filter_map(char::from_u32);
        for character in every {
            let once = clean(&character.to_string(), 1);
            assert!(once.chars().all(is_plain), "{once}");
        }
    }

    #[test]
    fn the_bound_counts_characters() {
        assert_eq!(clean("東京都", 3), "東京都");
        assert_eq!(clean("東京都", 2), "東京...");
        assert_eq!(clean("x", 0), "...");
        assert_eq!(clean("", 0), "");
    }
}
