//! Finds special and added tokens in text: leftmost first, and of those that start there the longest.

use super::vocab::{TokenKind, Vocab};

/// A piece of the text to encode.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fragment<'a> {
    /// Plain text, not empty.
    Text(&'a str),
    /// A special or added token.
    Token(u32),
}

/// A byte trie over the texts of special and added tokens.
pub(super) struct Matcher {
    nodes: Vec<Node>,
    /// Node for each first byte; 0, the unused root, where no token starts so.
    first: [u32; 256],
}

#[derive(Default)]
struct Node {
    /// Sorted by byte.
    children: Vec<(u8, u32)>,
    /// The token that ends here, and whether it is only for text that may hold control tokens.
    token: Option<(u32, bool)>,
}

impl Matcher {
    pub(super) fn new(vocab: &Vocab) -> Self {
        let mut matcher = Matcher {
            nodes: vec![Node::default()],
            first: [0; 256],
        };
        let special = |kind| matches!(kind, TokenKind::Control | TokenKind::Unknown);
        for id in vocab.of_kind(|kind| kind == TokenKind::UserDefined || special(kind)) {
            if let (Some(text), Some(kind)) = (vocab.text(id), vocab.kind(id)) {
                matcher.insert(text, id, special(kind));
            }
        }
        matcher
    }

    fn insert(&mut self, text: &str, id: u32, special: bool) {
        let Some((&head, tail)) = text.as_bytes().split_first() else {
            return;
        };
        if self.first[usize::from(head)] == 0 {
            self.first[usize::from(head)] = self.add_node();
        }
        let mut node = self.first[usize::from(head)];
        for &byte in tail {
            node = match self.find_child(node, byte) {
                Ok(child) => child,
                Err(at) => {
                    let child = self.add_node();
                    self.nodes[node as usize].children.insert(at, (byte, child));
                    child
                }
            };
        }
        // Of a text that the vocabulary has twice the first id counts.
        self.nodes[node as usize].token.get_or_insert((id, special));
    }

    fn add_node(&mut self) -> u32 {
        self.nodes.push(Node::default());
        (self.nodes.len() - 1) as u32
    }

    fn find_child(&self, node: u32, byte: u8) -> Result<u32, usize> {
        let children = &self.nodes[node as usize].children;
        children
            .binary_search_by_key(&byte, |(b, _)| *b)
            .map(|at| children[at].1)
    }

    /// The longest token at the start of `text`: its id and length in bytes.
    fn longest(&self, text: &[u8], parse_special: bool) -> Option<(u32, usize)> {
        let mut node = self.first[usize::from(*text.first()?)];
        let mut best = None;
        for len in 1..=text.len() {
            if node == 0 {
                break;
            }
            if let Some((id, special)) = self.nodes[node as usize].token
                && (parse_special || !special)
            {
                best = Some((id, len));
            }
            let Some(&byte) = text.get(len) else { break };
            node = self.find_child(node, byte).unwrap_or(0);
        }
        best
    }

    /// Cuts `text` at its added tokens, and with `parse_special` also at its control tokens.
    pub(super) fn split<'a>(&self, text: &'a str, parse_special: bool, mut emit: impl FnMut(Fragment<'a>)) {
        let bytes = text.as_bytes();
        let (mut start, mut at) = (0, 0);
        while at < bytes.len() {
            match self.longest(&bytes[at..], parse_special) {
                // Tokens are UTF-8 and start at a first byte, so both ends are character boundaries.
                Some((id, len)) => {
                    if start < at {
                        emit(Fragment::Text(&text[start..at]));
                    }
                    emit(Fragment::Token(id));
                    at += len;
                    start = at;
                }
                None => at += 1,
            }
        }
        if start < bytes.len() {
            emit(Fragment::Text(&text[start..]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::testing::metadata;

    fn split(text: &str, parse_special: bool) -> String {
        let tokens = [
            ("<a>", 3),
            ("<ab>", 3),
            ("\n\n", 4),
            ("\n\n\n", 4),
            ("é<", 4),
            ("x", 1),
        ];
        let vocab = Vocab::from_metadata(&metadata("none", &tokens)).unwrap();
        let mut out = String::new();
        Matcher::new(&vocab).split(text, parse_special, |fragment| match fragment {
            Fragment::Text(text) => out.push_str(&format!("{text:?} ")),
            Fragment::Token(id) => out.push_str(&format!("{id} ")),
        });
        out
    }

    #[test]
    fn the_leftmost_longest_token_wins() {
        assert_eq!(split("x<a><ab><ax", true), "\"x\" 0 1 \"<ax\" ");
        assert_eq!(split("\n\n\n\n\n\n\nx", true), "3 3 \"\\nx\" ");
        assert_eq!(split("é<a>", true), "4 \"a>\" ");
        assert_eq!(split("", true), "");
    }

    #[test]
    fn control_tokens_need_permission() {
        assert_eq!(split("<a>\n\n<ab", false), "\"<a>\" 2 \"<ab\" ");
    }
}
