//! A registration secret as people hand it over: in a file, a variable, a YAML value.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::{PublicKey, Secret};

/// The longest secret, in bytes.
const LONGEST: usize = 1024;

/// Why a text cannot be a registration secret; it says what was found, and never a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSecret {
    /// Nothing but blanks.
    #[error("nothing")]
    Nothing,
    /// UTF-16, as some editors and shells write files.
    #[error("UTF-16 text; allowed: UTF-8")]
    Utf16,
    /// Not UTF-8.
    #[error("bytes that are no text")]
    NoText,
    /// A private key.
    #[error("a private key (not shown): it is no secret to register with")]
    PrivateKey,
    /// A public key.
    #[error("a public key: it belongs to the token's `initial_public_key`")]
    PublicKey,
    /// A certificate or another PEM block.
    #[error("a certificate or another PEM block")]
    Pem,
    /// More than one line.
    #[error("more than one line")]
    SeveralLines,
    /// A control character, or one that does not show.
    #[error("a control character, or one that does not show")]
    Invisible,
    /// Too long.
    #[error("{0} bytes; allowed: {LONGEST}")]
    TooLong(usize),
    /// Quotes of a shell, YAML or JSON.
    #[error("a secret with quotes round it; leave the quotes out")]
    Quotes,
    /// A whole line of a configuration, or more words than the secret.
    #[error("a name before the secret, as in `key: value` or `KEY=value`; leave the name out")]
    KeyValue,
    /// JSON or YAML.
    #[error("a list or mapping, where the secret alone should stand")]
    Structure,
    /// What an example has in the secret's place.
    #[error("a placeholder, where the secret itself should stand")]
    Placeholder,
    /// A variable or template that nobody filled in.
    #[error("a variable or template that was not filled in")]
    Template,
    /// A file's name.
    #[error("a file's name, where the secret itself should stand")]
    Path,
    /// An address.
    #[error("an address (URL), where the secret itself should stand")]
    Url,
    /// Base64 of a text.
    #[error("base64 of the secret or of a key; give the text that it stands for (`base64 -d`)")]
    Encoded,
}

impl Secret {
    /// The secret in a text that a person or a tool wrote: the byte order mark and what is blank at both ends are dropped.
    ///
    /// ```
    /// use boundkey_keys::{NoSecret, Secret};
    ///
    /// assert_eq!(Secret::from_written(b"\xef\xbb\xbf correct horse battery\r\n").unwrap().expose(), "correct horse battery");
    /// assert_eq!(Secret::from_written(b"\"correct horse battery\""), Err(NoSecret::Quotes));
    /// assert_eq!(Secret::from_written(b"<secret value here>"), Err(NoSecret::Placeholder));
    /// ```
    ///
    /// # Errors
    /// [`NoSecret`], if it plainly is something else. Tokens refuse the same texts, so no secret of a token is refused here.
    pub fn from_written(bytes: &[u8]) -> Result<Self, NoSecret> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) if text.contains('\0') && is_utf16(bytes) => return Err(NoSecret::Utf16),
            Ok(text) => tidy(text),
            Err(_) if is_utf16(bytes) => return Err(NoSecret::Utf16),
            Err(_) => return Err(NoSecret::NoText),
        };
        let secret = Self::new(text.to_owned());
        match mistake(text) {
            // One in so many generated secrets looks like something else.
            _ if secret.is_generated_form() => Ok(secret),
            Some(mistake) => Err(mistake),
            None => Ok(secret),
        }
    }
}

/// A text of one line without what editors, shells and YAML leave at its ends: blanks, line ends, the byte order mark.
pub fn tidy(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || !boundkey_text::is_plain(c))
}

fn mistake(text: &str) -> Option<NoSecret> {
    let inside = |c: char| !boundkey_text::is_plain(c) || c == '\u{fffd}';
    Some(match text {
        "" => NoSecret::Nothing,
        _ if text.contains("PRIVATE KEY-----") || text.contains("PuTTY-User-Key-File") => {
            NoSecret::PrivateKey
        }
        _ if text.contains("-----BEGIN ") => NoSecret::Pem,
        _ if PublicKey::from_openssh(text).is_ok() => NoSecret::PublicKey,
        _ if text.contains(['\n', '\r', '\u{2028}', '\u{2029}', '\u{85}']) => NoSecret::SeveralLines,
        _ if text.contains(inside) => NoSecret::Invisible,
        _ if text.len() > LONGEST => NoSecret::TooLong(text.len()),
        _ if is_quoted(text) => NoSecret::Quotes,
        _ if is_template(text) => NoSecret::Template,
        _ if is_url(text) => NoSecret::Url,
        _ if is_key_value(text) => NoSecret::KeyValue,
        _ if is_path(text) => NoSecret::Path,
        _ if is_placeholder(text) => NoSecret::Placeholder,
        _ if is_structure(text) => NoSecret::Structure,
        _ if is_encoded(text) => NoSecret::Encoded,
        _ => return None,
    })
}

/// With a mark, or with every second byte zero.
fn is_utf16(bytes: &[u8]) -> bool {
    let zeros = |parity: usize| bytes.iter().skip(parity).step_by(2).filter(|byte| **byte == 0).count();
    let marked = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    marked && bytes.len() > 2 || bytes.len() >= 4 && zeros(0).max(zeros(1)) * 4 >= bytes.len()
}

fn is_quoted(text: &str) -> bool {
    const PAIRS: [(char, char); 7] =
        [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('„', '“'), ('‘', '’'), ('«', '»')];
    PAIRS
        .iter()
        .any(|(open, close)| text.chars().count() > 1 && text.starts_with(*open) && text.ends_with(*close))
}

/// What the guide, and most examples, have in a secret's place.
fn is_placeholder(text: &str) -> bool {
    const WORDS: [&str; 27] = [
        "changeme",
        "changethis",
        "changeit",
        "replaceme",
        "replacethis",
        "replacewithsecret",
        "fillme",
        "fillmein",
        "placeholder",
        "todo",
        "tbd",
        "fixme",
        "secret",
        "thesecret",
        "yoursecret",
        "yoursecrethere",
        "secrethere",
        "secretvalue",
        "secretvaluehere",
        "yoursecretvalue",
        "registrationsecret",
        "theregistrationsecret",
        "yourregistrationsecret",
        "insertsecrethere",
        "null",
        "none",
        "undefined",
    ];
    let bare: String = text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    let first = text.chars().next();
    let one_character = text.chars().all(|c| Some(c) == first) && text.chars().count() > 2;
    let repeated = one_character && first.is_some_and(|c| ".…*xX-_?#•".contains(c));
    let brackets = text.starts_with('<') && text.ends_with('>')
        || text.starts_with('[') && text.ends_with(']') && bare.contains("secret");
    repeated || brackets || matches!(text, "…" | "..") || WORDS.contains(&bare.as_str())
}

/// `${SECRET}`, `$SECRET`, `$(cat file)`, `{{ .secret }}`, `%SECRET%`, whole.
fn is_template(text: &str) -> bool {
    let name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
            && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    text.starts_with("${") && text.ends_with('}')
        || text.starts_with("$(") && text.ends_with(')')
        || text.starts_with("{{") && text.ends_with("}}")
        || text.starts_with("<%") && text.ends_with("%>")
        || text.strip_prefix('$').is_some_and(name)
        || text.strip_prefix('%').and_then(|rest| rest.strip_suffix('%')).is_some_and(name)
}

fn is_structure(text: &str) -> bool {
    text.starts_with('{') && text.ends_with('}') || text.starts_with('[') && text.ends_with(']')
}

fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        (2..=16).contains(&scheme.len())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    })
}

/// `word: value`; `KEY=value` and `key:value` where the word says so, or a generated secret follows; `Bearer SECRET`.
fn is_key_value(text: &str) -> bool {
    const TELLING: [&str; 5] = ["secret", "token", "password", "boundkey", "key"];
    let is_word = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "_.-\"'".contains(c))
    };
    let generated = |word: &str| Secret::new(word.trim_matches(['"', '\'']).to_owned()).is_generated_form();
    let named = text.split_once([':', '=']).is_some_and(|(before, after)| {
        let word = before.trim().trim_start_matches("export ").trim();
        let lower = word.to_ascii_lowercase();
        let value = after.trim_start_matches('=').trim();
        let yaml = after.starts_with([' ', '\t']) && text[before.len()..].starts_with(':');
        let telling = lower.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| TELLING.contains(&part));
        is_word(word) && !value.is_empty() && (yaml || telling || generated(value))
    });
    named || text.split_whitespace().nth(1).is_some() && text.split_whitespace().any(generated)
}

/// A path from the root, from here, from home; or a name with the ending of a text or key file. What `base64` prints may
/// begin with a slash too: such a text is a path only if it names a usual directory, or has no capital letter in it.
fn is_path(text: &str) -> bool {
    const ROOTS: [&str; 20] = [
        "bin", "boot", "data", "dev", "etc", "home", "lib", "media", "mnt", "opt", "path", "proc", "root",
        "run", "secrets", "srv", "sys", "tmp", "usr", "var",
    ];
    const ENDINGS: [&str; 7] = [".txt", ".pem", ".key", ".secret", ".yaml", ".yml", ".json"];
    if text.contains(char::is_whitespace) {
        return false;
    }
    let absolute = text.strip_prefix('/').is_some_and(|rest| {
        let usual = rest.split_once('/').is_some_and(|(first, _)| ROOTS.contains(&first));
        usual || rest.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "/._-".contains(c))
    });
    let drive = text.get(1..3) == Some(":\\");
    let relative = ["./", "../", "~/", "file:", "@/", "@./"].iter().any(|start| text.starts_with(start));
    absolute || drive || relative || ENDINGS.iter().any(|ending| text.ends_with(ending))
}

/// Base64 of a generated secret or of PEM. That of another text may be a secret that somebody made in this way.
fn is_encoded(text: &str) -> bool {
    let Ok(bytes) = STANDARD.decode(text).map(Zeroizing::new) else { return false };
    let Ok(inner) = std::str::from_utf8(&bytes).map(tidy) else { return false };
    inner.contains("-----BEGIN ") || Secret::new(inner.to_owned()).is_generated_form()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<String, NoSecret> {
        Secret::from_written(bytes).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn what_stands_round_a_secret_is_dropped() {
        for around in [
            "hush hush\n",
            "hush hush\r\n",
            " hush hush ",
            "\u{feff}hush hush",
            "\n\nhush hush\n\n",
            "\thush hush\0",
            "\u{a0}hush hush\u{200b}",
        ] {
            assert_eq!(read(around.as_bytes()), Ok("hush hush".to_owned()), "{around:?}");
        }
    }

    #[test]
    fn what_plainly_is_no_secret_is_named() {
        let generated = "A".repeat(42) + "b";
        let encoded = STANDARD.encode(&generated);
        let labelled = format!("registration_secret={generated}");
        let bearer = format!("Bearer {generated}");
        let exported = format!("export BOUNDKEY_REGISTRATION_SECRET={generated}");
        let long = "a1".repeat(600);
        let table: &[(&str, NoSecret)] = &[
            ("", NoSecret::Nothing),
            (" \r\n", NoSecret::Nothing),
            ("one\ntwo", NoSecret::SeveralLines),
            ("one\u{2028}two", NoSecret::SeveralLines),
            ("hush\u{7}hush", NoSecret::Invisible),
            ("hush\u{200b}hush", NoSecret::Invisible),
            ("'hush hush'", NoSecret::Quotes),
            ("“hush hush”\n", NoSecret::Quotes),
            ("registration_secret_value: hush hush", NoSecret::KeyValue),
            ("key: value", NoSecret::KeyValue),
            ("secret:hushhush", NoSecret::KeyValue),
            (&labelled, NoSecret::KeyValue),
            (&exported, NoSecret::KeyValue),
            (&bearer, NoSecret::KeyValue),
            ("{\"secret\": \"hush\"}", NoSecret::Structure),
            ("<secret value here>", NoSecret::Placeholder),
            ("<the secret>", NoSecret::Placeholder),
            ("...", NoSecret::Placeholder),
            ("REPLACE_ME", NoSecret::Placeholder),
            ("change-me", NoSecret::Placeholder),
            ("XXXXXXXX", NoSecret::Placeholder),
            ("********", NoSecret::Placeholder),
            ("your secret here", NoSecret::Placeholder),
            ("${SECRET}", NoSecret::Template),
            ("$BOUNDKEY_REGISTRATION_SECRET", NoSecret::Template),
            ("$(cat /run/secret)", NoSecret::Template),
            ("{{ .Values.secret }}", NoSecret::Template),
            (
                "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n",
                NoSecret::PrivateKey,
            ),
            ("-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n", NoSecret::Pem),
            ("/etc/boundkey/Secret", NoSecret::Path),
            ("/srv/x", NoSecret::Path),
            ("/no/such/directory", NoSecret::Path),
            ("~/secret", NoSecret::Path),
            ("./secret", NoSecret::Path),
            ("secret.txt", NoSecret::Path),
            ("https://vault.example.com/secret", NoSecret::Url),
            (&encoded, NoSecret::Encoded),
            (&long, NoSecret::TooLong(1200)),
        ];
        let wrong: Vec<_> = table
            .iter()
            .map(|(text, no)| (text, read(text.as_bytes()), no))
            .filter(|(_, found, no)| *found != Err(**no))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn texts_in_other_encodings_are_named() {
        let utf16 = |text: &str, mark: &[u8]| {
            mark.iter().copied().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect::<Vec<u8>>()
        };
        assert_eq!(read(&utf16("hush hush\r\n", &[0xff, 0xfe])), Err(NoSecret::Utf16));
        assert_eq!(read(&utf16("hush hush", &[])), Err(NoSecret::Utf16));
        assert_eq!(read(&[0xe9; 12]), Err(NoSecret::NoText));
    }

    #[test]
    fn secrets_that_people_and_tools_make_are_taken_as_they_are() {
        for text in [
            "correct horse battery staple",
            "hunter2hunter2",
            "p@ss:w0rd=x",
            "/k3JdQ+9fJ2mV7sW1aXxT0bC4nE6yRzLhGpUoKiDqYw=",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQ",
            "Tr0ub4dor&3\"",
            "a secret, with: no key",
            "wrong",
        ] {
            assert_eq!(read(text.as_bytes()), Ok(text.to_owned()), "{text}");
        }
        for seed in 0..=255 {
            let secret = Secret::generated([seed; 32]);
            assert_eq!(Secret::from_written(secret.expose().as_bytes()), Ok(secret.duplicate()));
        }
    }
}
