//! Transcripts of the command line: arguments, status, standard output, standard error.

#[test]
fn transcripts() {
    // What the machine's own environment says must not show.
    let cases = trycmd::TestCases::new();
    cases.env("COLUMNS", "100").env("BOUNDKEY_DATA_DIR", "/nonexistent/bk").env("NO_COLOR", "1");
    cases.case("tests/cmd/*.trycmd").case("tests/cmd/help/*.trycmd");
}
