//! What is done to a template's source before it is compiled, for two things that minijinja has no hook for:
//!
//! - the `{% generation %}…{% endgeneration %}` tag, with which `transformers` marks what the assistant wrote (for
//!   masks in training): for a prompt it is only a scope, so its tags become `{% with %}…{% endwith %}`;
//! - `Markup` strings: in Python `"<"|safe + x` escapes `x` even with autoescaping off (`~` does not), so an expression
//!   with a `safe` filter and a `+` is wrapped in an `autoescape` block, and printed as it is.
//!
//! The rewrite knows just enough of Jinja's lexer to leave text, comments and raw blocks alone. It keeps every line
//! where it was, so that line numbers in errors stay true.

/// Returns the source to compile in place of `source`.
pub(super) fn rewrite(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find('{') {
        let (text, tag) = rest.split_at(at);
        out.push_str(text);
        let (len, replacement) = match tag.as_bytes().get(1) {
            Some(b'#') => (tag.find("#}").map_or(tag.len(), |end| end + 2), None),
            Some(b'{') => {
                let len = code_len(tag, b"}}");
                (len, markup_expression(&tag[..len]))
            }
            Some(b'%') => {
                let len = code_len(tag, b"%}");
                match tag_word(&tag[..len]) {
                    Some("generation") => (len, Some(tag[..len].replacen("generation", "with", 1))),
                    Some("endgeneration") => (len, Some(tag[..len].replacen("endgeneration", "endwith", 1))),
                    Some("raw") => (raw_len(tag, len), None),
                    _ => (len, None),
                }
            }
            _ => (1, None),
        };
        out.push_str(replacement.as_deref().unwrap_or(&tag[..len]));
        rest = &tag[len..];
    }
    out.push_str(rest);
    out
}

/// Length of the tag at the start of `tag` up to and with `close`, which does not count inside string literals nor, as
/// in Jinja, inside brackets.
fn code_len(tag: &str, close: &[u8]) -> usize {
    let bytes = tag.as_bytes();
    let (mut at, mut depth) = (2, 0usize);
    while at < bytes.len() {
        match bytes[at] {
            b'"' | b'\'' => at = string_end(bytes, at),
            _ if depth == 0 && bytes[at..].starts_with(close) => return at + close.len(),
            b'(' | b'[' | b'{' => {
                depth += 1;
                at += 1;
            }
            b')' | b']' | b'}' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Position after the string literal that starts at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != bytes[start] {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// Length of a raw block whose opening tag takes `open` bytes, up to and with its closing tag.
fn raw_len(tag: &str, open: usize) -> usize {
    let mut at = open;
    while let Some(found) = tag[at..].find("{%") {
        let start = at + found;
        let end = tag[start..].find("%}").map_or(tag.len(), |end| start + end + 2);
        if tag_word(&tag[start..end]) == Some("endraw") {
            return end;
        }
        at = start + 2;
    }
    tag.len()
}

/// The single word that a `{% … %}` tag consists of, if it is one.
fn tag_word(tag: &str) -> Option<&str> {
    let inner = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    let inner = inner.strip_suffix(['-', '+']).unwrap_or(inner).trim();
    let is_word = !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    is_word.then_some(inner)
}

/// For `{{ expression }}` that adds strings with a `safe` filter: the same in an `autoescape` block. The tags
/// carry the expression's whitespace marks, or `+` so that they take no whitespace of their own away.
fn markup_expression(tag: &str) -> Option<String> {
    let inner = tag.strip_prefix("{{")?.strip_suffix("}}")?;
    if !adds_markup(inner) {
        return None;
    }
    let (open, inner) = inner.strip_prefix('-').map_or(("+", inner), |inner| ("-", inner));
    let (close, inner) = inner.strip_suffix('-').map_or(("+", inner), |inner| ("-", inner));
    Some(format!(
        "{{%{open} autoescape true +%}}{{{{ ({inner})|safe }}}}{{%+ endautoescape {close}%}}"
    ))
}

/// Whether code has `|safe` and `+` and no `~`, all outside string literals.
fn adds_markup(code: &str) -> bool {
    let bytes = code.as_bytes();
    let (mut at, mut safe, mut adds) = (0, false, false);
    while at < bytes.len() {
        match bytes[at] {
            b'"' | b'\'' => at = string_end(bytes, at),
            b'|' => {
                let name = code[at + 1..].trim_start();
                let tail = name.strip_prefix("safe");
                safe |= tail.is_some_and(|t| !t.starts_with(|c: char| c.is_alphanumeric() || c == '_'));
                at += 1;
            }
            b'~' => return false,
            byte => {
                adds |= byte == b'+';
                at += 1;
            }
        }
    }
    safe && adds
}

#[cfg(test)]
mod tests {
    use super::rewrite;
    use crate::template::{ChatTemplate, RenderInput};
    use proptest::prelude::*;

    #[test]
    fn generation_tags_become_scopes_and_keep_their_whitespace_marks() {
        assert_eq!(
            rewrite("a {%- generation -%}\nb{% endgeneration +%} c"),
            "a {%- with -%}\nb{% endwith +%} c"
        );
        assert_eq!(
            rewrite("{%generation%}{%\nendgeneration\n%}"),
            "{%with%}{%\nendwith\n%}"
        );
        assert_eq!(
            rewrite("{% raw %}'{% endraw %}{% generation %}"),
            "{% raw %}'{% endraw %}{% with %}"
        );
    }

    #[test]
    fn nothing_else_changes() {
        for source in [
            "generation {# {% generation %} #}",
            "{{ '{% generation %}' }} {% set x = \"{% generation %}\\\" %}\" %}",
            "{{ {'a': {'b': 1}} }}{% set x = {'%}': '{% generation %}'} %}",
            "{% raw %}{% generation %} ' {% endgeneration %}{{ {# {% endraw %}",
            "{% set generation = 1 %}{% if generation %}{% endif %}",
            "{{ x|safe }}{{ x|safely + 1 }}{{ '|safe' + x }}{{ '<'|safe ~ x }}",
            "{% generation",
            "{",
            "{{ 'unclosed",
            "{{ 'unclosed\\",
        ] {
            assert_eq!(rewrite(source), source);
        }
    }

    fn render(source: &str) -> String {
        let mut input = RenderInput::default();
        input.extra.insert("x".into(), "<a> & \"b'\"".into());
        ChatTemplate::new(source, "", "").unwrap().render(&input).unwrap()
    }

    #[test]
    fn joining_plain_text_to_markup_escapes_it() {
        assert_eq!(
            render("{{ '<'|safe + x + '>' }}"),
            "<&lt;a&gt; &amp; &#34;b&#39;&#34;&gt;"
        );
        assert_eq!(render("{{ '<' + x|safe }}"), "&lt;<a> & \"b'\"");
        assert_eq!(render("{{ x|safe if false else x + '!' }}"), "<a> & \"b'\"!");
        assert_eq!(render("{{ x|safe }}{{ x + '' }}"), "<a> & \"b'\"<a> & \"b'\"");
    }

    #[test]
    fn markup_expressions_keep_whitespace_rules() {
        let plain = "a\n  {{ x + '' }}\nb {{- x + '' -}} c\n";
        assert_eq!(
            render(&plain.replace("x + ''", "x|safe + ''|safe")),
            render(plain)
        );
    }

    proptest! {
        #[test]
        fn text_without_the_words_is_kept(source in "[{}%#'\"\\\\a é\n()|+-]{0,60}") {
            prop_assert_eq!(rewrite(&source), source);
        }
    }
}
