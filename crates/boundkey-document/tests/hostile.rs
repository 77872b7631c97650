//! What is no document is refused with its line, before it costs much.

use boundkey_document::{MAX_YAML_BYTES, Node, SyntaxProblem, parse_json, parse_yaml};

fn refusal(text: &[u8]) -> String {
    match parse_yaml(text) {
        Ok(documents) => panic!("read {} documents of {:?}", documents.len(), String::from_utf8_lossy(text)),
        Err(error) => error.to_string(),
    }
}

fn json_refusal(text: &[u8]) -> String {
    parse_json(text, 64 * 1024).expect_err("refused").to_string()
}

#[test]
fn faults_of_syntax_say_line_and_column() {
    let table: &[(&str, &str)] = &[
        ("", "line 1, column 1: no document: the text is empty or holds only comments"),
        (
            "# nothing\n---\n---\n~\n",
            "line 1, column 1: no document: the text is empty or holds only comments",
        ),
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: the key `a` stands twice in the same mapping"),
        ("a:\n  b: {c: 1, c: 1}\n", "line 2, column 13: the key `c` stands twice in the same mapping"),
        ("a: 1\n\"a\": 1\n", "line 2, column 1: the key `a` stands twice in the same mapping"),
        ("a: 1\n1: a\n", "line 2, column 1: a key that is a number; allowed: text (put it in quotes)"),
        ("true: 1\n", "line 1, column 1: a key that is a truth value; allowed: text (put it in quotes)"),
        ("~: 1\n", "line 1, column 1: a key that is empty; allowed: text (put it in quotes)"),
        ("? [a]\n: 1\n", "line 1, column 3: a key that is a list; allowed: text (put it in quotes)"),
        ("{a: 1}: 1\n", "line 1, column 1: a key that is a mapping; allowed: text (put it in quotes)"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "line 3, column 3: a merge key (`<<`); allowed: keys written out"),
        ("a: !secret x\n", "line 1, column 4: a tag (`!...`); allowed: plain values without tags"),
        ("a: !x\n  b: 1\n", "line 1, column 4: a tag (`!...`); allowed: plain values without tags"),
        ("a: *nowhere\n", "line 1, column 4: unknown anchor"),
        ("a: &x [*x]\n", "line 1, column 4: lists and mappings nested too deeply; allowed: 64 levels"),
        ("a: b: c\n", "line 1, column 5: mapping values are not allowed in this context"),
        ("a: [1, 2\nb: 3\n", "line 2, column 2: did not find expected ',' or ']'"),
        ("a: \"x\n", "line 2, column 1: found unexpected end of stream"),
        (
            "a:\n\tb: 1\n",
            "line 2, column 1: found character that cannot start any token (a tab cannot indent YAML: use spaces)",
        ),
        ("a:\n  b: 1\n\tc: 1\n", "line 3, column 1: found a tab character that violates indentation"),
        (
            "a: x\0y\n",
            "line 1, column 5: the control character U+0000; allowed: text without control characters",
        ),
        (
            "a: 1\nb: \u{1b}[31m\n",
            "line 2, column 4: the control character U+001B; allowed: text without control characters",
        ),
        ("a: 1\n---\nb: 1\nb: 2\n", "line 4, column 1: the key `b` stands twice in the same mapping"),
        ("%YAML 3.0\n---\na: 1\n", "line 1, column 1: found incompatible YAML document"),
        ("a: @b\n", "line 1, column 4: found character that cannot start any token"),
    ];
    let found: Vec<(&str, String)> =
        table.iter().map(|(text, _)| (*text, refusal(text.as_bytes()))).collect();
    let expected: Vec<(&str, String)> =
        table.iter().map(|(text, error)| (*text, (*error).to_owned())).collect();
    assert_eq!(found, expected);
}

#[test]
fn bytes_that_are_not_utf8_are_refused_at_their_place() {
    assert_eq!(
        refusal(b"a: 1\nb: caf\xe9\n"),
        "line 2, column 7: a byte that is not UTF-8; allowed: UTF-8 text"
    );
    let utf16: Vec<u8> = "a: 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(
        refusal(&utf16),
        "line 1, column 1: UTF-16 text; allowed: UTF-8 (save the file in that encoding)"
    );
}

#[test]
fn a_text_over_the_limit_is_refused_unread() {
    let line = b"# a comment of some length, again and again and again\n";
    let text: Vec<u8> = line.iter().copied().cycle().take(300 * 1024).collect();
    let expected_line = MAX_YAML_BYTES / line.len() + 1;
    assert_eq!(
        refusal(&text),
        format!(
            "line {expected_line}, column 1: the text goes on after 262144 bytes (it has 307200); allowed: 262144"
        )
    );
    assert_eq!(
        json_refusal(&vec![b' '; 70_000]),
        "line 1, column 1: the text goes on after 65536 bytes (it has 70000); allowed: 65536"
    );
}

#[test]
fn a_single_huge_text_is_refused() {
    let text = format!("a: 1\nb: {}\n", "x".repeat(100_000));
    assert_eq!(refusal(text.as_bytes()), "line 2, column 4: a text of 100000 bytes; allowed: 65536");
    let key = format!("{}: 1\n", "x".repeat(100_000));
    assert!(refusal(key.as_bytes()).starts_with("line 1"), "{}", refusal(key.as_bytes()));
}

#[test]
fn an_alias_bomb_stops_before_it_fills_memory() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", below.trim_end_matches(", ")));
    }
    let error = parse_yaml(bomb.as_bytes()).expect_err("refused");
    assert_eq!(error.problem, SyntaxProblem::Expansion);

    // One long list, many references: few jumps, much memory.
    let wide = format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(40_000), "*a,".repeat(40_000));
    assert_eq!(parse_yaml(wide.as_bytes()).expect_err("refused").problem, SyntaxProblem::Expansion);

    // One long text, many references.
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(60_000), "*a,".repeat(40_000));
    assert_eq!(parse_yaml(long.as_bytes()).expect_err("refused").problem, SyntaxProblem::Expansion);
}

#[test]
fn ordinary_aliases_are_read() {
    let documents = parse_yaml(b"a: &a {x: 1}\nb: *a\n").unwrap();
    let inner = Node::Map(vec![("x".to_owned(), Node::Integer(1))]);
    assert_eq!(
        documents[0].root(),
        &Node::Map(vec![("a".to_owned(), inner.clone()), ("b".to_owned(), inner)])
    );
}

#[test]
fn a_hundred_thousand_open_brackets_are_refused_before_the_scanner() {
    for open in ["[", "{", "[\n", "{\"a\":", "[ # ]]]]\n", "\n["] {
        let text = open.repeat(100_000.min(MAX_YAML_BYTES / open.len()));
        let error = parse_yaml(text.as_bytes()).expect_err("refused");
        assert_eq!(error.problem, SyntaxProblem::TooDeep { allowed: 64 }, "{open:?}");
    }
    let flat = "[],".repeat(30_000);
    let error = parse_yaml(format!("a: [{flat}]\n").as_bytes()).expect_err("refused");
    assert_eq!(error.problem, SyntaxProblem::TooManyBrackets { allowed: 20_000 });
    // As JSON the same text is harmless.
    assert!(parse_json(format!("{{\"a\": [{flat} []]}}").as_bytes(), 256 * 1024).is_ok());
}

#[test]
fn deep_nesting_is_refused_in_every_style() {
    let block: String = (0..200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let lists = "- ".repeat(100_000);
    let complex = "? ".repeat(100_000);
    for text in [block, lists, complex] {
        let error = refusal(text.as_bytes());
        assert!(
            error.starts_with("line ")
                && (error.contains("nested too deeply") || error.contains("a key that is a mapping")),
            "{error}"
        );
    }
    assert!(parse_yaml(format!("{}{}", "[".repeat(64), "]".repeat(64)).as_bytes()).is_ok());
    assert_eq!(
        refusal(format!("{}{}", "[".repeat(65), "]".repeat(65)).as_bytes()),
        "line 1, column 65: lists and mappings nested too deeply; allowed: 64 levels"
    );
    assert_eq!(
        json_refusal("[".repeat(65).as_bytes()),
        "line 1, column 65: lists and mappings nested too deeply; allowed: 64 levels"
    );
    assert!(json_refusal("[".repeat(60_000).as_bytes()).contains("nested too deeply"));
}

#[test]
fn brackets_in_comments_and_quoted_texts_do_not_count() {
    let text = format!("# {}\na: \"{}\"\nb: '{}'\n", "[".repeat(5000), "{".repeat(5000), "[".repeat(5000));
    assert!(parse_yaml(text.as_bytes()).is_ok());
}

#[test]
fn json_is_strict() {
    let table: &[(&str, &str)] = &[
        ("", "line 1, column 1: EOF while parsing a value"),
        ("{\"a\": 1,\n \"a\": 2}", "line 2, column 4: the key `a` stands twice in the same mapping"),
        ("{\"a\": 1,}", "line 1, column 9: trailing comma"),
        ("{\"a\": 1} x", "line 1, column 10: trailing characters"),
        ("{a: 1}", "line 1, column 2: key must be a string"),
        ("{\"a\": 01}", "line 1, column 8: invalid number"),
        ("{\"a\": NaN}", "line 1, column 7: expected value"),
        ("{\"a\": \"x", "line 1, column 8: EOF while parsing a string"),
        ("{\"a\": \"\\ud800\"}", "line 1, column 14: unexpected end of hex escape"),
        ("// c\n{}", "line 1, column 1: a comment in JSON, which has none; in YAML comments start with `#`"),
        ("'a'", "line 1, column 1: expected value"),
    ];
    let found: Vec<(&str, String)> =
        table.iter().map(|(text, _)| (*text, json_refusal(text.as_bytes()))).collect();
    let expected: Vec<(&str, String)> =
        table.iter().map(|(text, error)| (*text, (*error).to_owned())).collect();
    assert_eq!(found, expected);
    assert_eq!(
        json_refusal(b"{\"a\": \"\xff\"}"),
        "line 1, column 8: a byte that is not UTF-8; allowed: UTF-8 text"
    );
}

#[test]
fn debug_shows_keys_but_no_values() {
    let documents = parse_yaml(b"secret: hunter22\nlist: [hunter22, 22]\n").unwrap();
    assert_eq!(
        format!("{:?}", documents[0]),
        "Document { index: 0, root: {\"secret\": Text(..), \"list\": [Text(..), Integer(..)]}, .. }"
    );
}
