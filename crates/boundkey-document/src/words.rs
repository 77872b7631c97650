/// The known word nearest to a misspelt one, if it is near enough to suggest. Letter case, `-` and `_` do not count.
///
/// ```
/// use boundkey_document::nearest;
/// assert_eq!(nearest("standrad", ["standard", "relaxed", "insecure"]), Some("standard"));
/// assert_eq!(nearest("JoinMethod", ["join_method", "roles"]), Some("join_method"));
/// assert_eq!(nearest("banana", ["standard", "relaxed", "insecure"]), None);
/// ```
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = folded(word);
    if word.is_empty() || word.len() > 64 {
        return None;
    }
    known
        .into_iter()
        .map(|candidate| {
            let folded = folded(candidate);
            let tolerance = word.len().max(folded.len()).div_ceil(4).clamp(1, 3);
            (distance(&word, &folded), tolerance, candidate)
        })
        .filter(|(distance, tolerance, _)| distance <= tolerance)
        .min_by_key(|(distance, _, _)| *distance)
        .map(|(_, _, candidate)| candidate)
}

/// A text as error messages show it: in backquotes, cleaned, cut after 60 characters.
pub fn quoted(text: &str) -> String {
    format!("`{}`", boundkey_text::clean(text, 60))
}

/// Words as a sentence lists them: `a, b or c`.
pub fn either<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match words.as_slice() {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// What is allowed, with the suggestion if there is one.
pub(crate) fn with_suggestion(allowed: String, suggestion: Option<&str>) -> String {
    match suggestion {
        Some(word) => format!("{allowed} (did you mean `{word}`?)"),
        None => allowed,
    }
}

fn folded(word: &str) -> Vec<char> {
    word.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).take(65).collect()
}

/// Edits between two words: insert, delete, replace, swap of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, right) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(left != right)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *left == b[j - 1] && a[i - 1] == *right {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}
