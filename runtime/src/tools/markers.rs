//! Which parts of a text look like tokens of their own: `<…>`, `[…]` and `｜…｜`.

/// The marker at the beginning of a text.
pub(super) fn at(text: &str) -> Option<&str> {
    let end = match text.chars().next()? {
        '<' => '>',
        '[' => ']',
        '｜' => '｜',
        _ => return None,
    };
    let (at, _) = text.char_indices().skip(1).find(|&(_, c)| c == end)?;
    let marker = &text[..at + end.len_utf8()];
    (!marker.contains(char::is_whitespace)).then_some(marker)
}

/// All markers in a text, those within others too.
pub(super) fn all(text: &str) -> impl Iterator<Item = &str> {
    text.char_indices().filter_map(|(i, _)| at(&text[i..]))
}
