//! Pre-tokenization: how a byte-level BPE vocabulary cuts text into the pieces that merges never cross.
//!
//! Nearly all patterns end in `\s+(?!\S)|\s+`: a run of spaces leaves its last one to the word after it. That is the
//! only look-ahead among them, so it is done here by hand ([`Tail`]), and the rest runs on automata in linear time
//! whatever the text.

use regex::Regex;

use super::pre_list::{PreTokenizer, Tail};

/// A compiled pre-tokenizer.
pub(super) struct Splitter {
    stages: Vec<(Regex, Tail)>,
}

impl Splitter {
    /// Compiles the patterns; they are part of the program, so the only error is a mistake in the list.
    pub(super) fn new(pre: &PreTokenizer) -> Result<Self, regex::Error> {
        let stages = pre
            .patterns
            .iter()
            .map(|(pattern, tail)| Ok((Regex::new(pattern)?, *tail)));
        Ok(Splitter {
            stages: stages.collect::<Result<_, regex::Error>>()?,
        })
    }

    /// The pieces of `text`, in order; together they are the text.
    pub(super) fn split<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let mut pieces = vec![text];
        for (regex, tail) in &self.stages {
            let mut next = Vec::with_capacity(pieces.len());
            for piece in pieces {
                split_piece(regex, *tail, piece, &mut next);
            }
            pieces = next;
        }
        pieces
    }
}

fn split_piece<'a>(regex: &Regex, tail: Tail, text: &'a str, out: &mut Vec<&'a str>) {
    let mut at = 0;
    while let Some(found) = regex.find_at(text, at) {
        if found.start() > at {
            out.push(&text[at..found.start()]);
        }
        let end = found.start() + kept_len(tail, found.as_str(), found.end() == text.len());
        out.push(&text[found.start()..end]);
        at = end;
    }
    if at < text.len() {
        out.push(&text[at..]);
    }
}

/// Length of a match once a final run of white space has left its last character to what follows.
fn kept_len(tail: Tail, found: &str, at_end: bool) -> usize {
    let Some(last) = found.chars().next_back() else {
        return found.len();
    };
    let is_tail = match tail {
        Tail::None => false,
        Tail::Space => last.is_whitespace(),
        Tail::SpaceNotNewline => last.is_whitespace() && !matches!(last, '\r' | '\n'),
    };
    let shorter = found.len() - last.len_utf8();
    if is_tail && !at_end && shorter > 0 {
        shorter
    } else {
        found.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::pre_list::{KNOWN, find, names};
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn split<'a>(name: &str, text: &'a str) -> Vec<&'a str> {
        Splitter::new(find(name).unwrap()).unwrap().split(text)
    }

    #[test]
    fn known_names_are_unique_and_compile() {
        let all: Vec<_> = names().collect();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        for known in KNOWN {
            Splitter::new(known).unwrap_or_else(|error| panic!("{:?}: {error}", known.names));
        }
        assert!(find("no such").is_none());
    }

    #[test]
    fn gpt2_cuts_words_and_leaves_one_space() {
        assert_eq!(
            split("gpt-2", "I'm  a 12\n\n b  "),
            ["I", "'m", " ", " a", " 12", "\n\n", " b", "  "]
        );
        assert_eq!(split("gpt-2", "a\t\tb"), ["a", "\t", "\t", "b"]);
    }

    #[test]
    fn llama3_groups_digits_and_line_breaks() {
        assert_eq!(
            split("llama-bpe", "1234 a\n \n\n  b!\n"),
            ["123", "4", " a", "\n \n\n", " ", " b", "!\n"]
        );
        assert_eq!(split("qwen2", "12'LL x"), ["1", "2", "'LL", " x"]);
    }

    #[test]
    fn o200k_cuts_at_case_and_kimi_at_han() {
        assert_eq!(
            split("gpt-4o", "helloWorld's HTTPServer"),
            ["hello", "World's", " HTTPServer"]
        );
        assert_eq!(split("tekken", "helloWorld's"), ["hello", "World", "'s"]);
        assert_eq!(split("kimi-k2", "ab漢字cd"), ["ab", "漢字", "cd"]);
    }

    #[test]
    fn deepseek_and_falcon_apply_their_patterns_in_turn() {
        assert_eq!(
            split("deepseek-coder", "a1 b.\n漢"),
            ["a", "1", " b", ".", "\n", "漢"]
        );
        assert_eq!(split("deepseek-v3", "x漢12345 y"), ["x", "漢", "123", "45", " y"]);
        assert_eq!(split("falcon", "a==1234"), ["a", "==", "123", "4"]);
    }

    #[test]
    fn a_bare_look_ahead_agrees() {
        // The tail rule against a direct reading of `\s+(?!\S)|\s+` on runs of mixed white space.
        for text in ["   ", "  a", " a", "\n\n a", "a \u{3000}b", " \n"] {
            let expected: Vec<String> = naive_gpt2_spaces(text);
            assert_eq!(split("gpt-2", text), expected, "{text:?}");
        }
    }

    fn naive_gpt2_spaces(text: &str) -> Vec<String> {
        let chars: Vec<char> = text.chars().collect();
        let (mut out, mut at) = (Vec::new(), 0);
        while at < chars.len() {
            let run = chars[at..].iter().take_while(|c| c.is_whitespace()).count();
            let word = |from: usize| chars[from..].iter().take_while(|c| !c.is_whitespace()).count();
            let len = match run {
                0 => word(at),
                1 if chars[at] == ' ' && at + 1 < chars.len() => 1 + word(at + 1),
                1 => 1,
                _ if at + run == chars.len() => run,
                _ => run - 1,
            };
            out.push(chars[at..at + len].iter().collect());
            at += len;
        }
        out
    }

    proptest! {
        #[test]
        fn pieces_are_the_text(text in "(\\PC|[ \n\t\r]|[a-zA-Z0-9'.]){0,40}", pick in any::<prop::sample::Index>()) {
            let known = &KNOWN[pick.index(KNOWN.len())];
            let splitter = Splitter::new(known).unwrap();
            let pieces = splitter.split(&text);
            prop_assert!(text.is_empty() || pieces.iter().all(|piece| !piece.is_empty()));
            prop_assert_eq!(pieces.concat(), text);
        }
    }
}
