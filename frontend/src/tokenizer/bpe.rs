//! Byte-level BPE (`gpt2` vocabularies): pieces of the pre-tokenizer, spelled in GPT-2's byte alphabet, whose neighbouring
//! tokens are merged in the order of the merges' ranks, leftmost first (Sennrich et al. 2016).
//!
//! The `tokenizers` crate does the same, but builds three hash maps at each start, which takes longer than everything else
//! that a compiled plan does until its first token. Here merges are a flat table ([`View`]) that is used where it lies.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::bytes::BYTE_CHARS;
use super::pre::Splitter;
use super::pre_list::{self, PreTokenizer};
use super::tables::{Sections, View, mix};
use super::vocab::{TOKENS, Vocab};
use crate::Error;
use crate::error::shown;
use crate::gguf::Metadata;

const MERGES: &str = "tokenizer.ggml.merges";
const PRE: &str = "tokenizer.ggml.pre";
/// Up to how many tokens the best merge of a piece is looked for in all of them; longer pieces keep a queue.
const SHORT: usize = 48;

/// The merges of a vocabulary with its pre-tokenizer.
pub(super) struct ByteLevelBpe {
    merges: Merges,
    /// The token of each byte, where there is one: other bytes are dropped from text.
    bytes: Vec<Option<u32>>,
    splitter: Splitter,
    /// A name of the pre-tokenizer.
    pre: &'static str,
    ignore_merges: bool,
}

/// The pre-tokenizer that the file names; one without a name has the default of llama.cpp.
pub(super) fn pre_tokenizer(metadata: &Metadata) -> Result<&'static PreTokenizer, Error> {
    let name = metadata.opt_str(PRE)?.unwrap_or("default");
    pre_list::find(name).ok_or_else(|| {
        let known: Vec<_> = pre_list::names().collect();
        metadata.reject(
            PRE,
            format!(
                "unknown pre-tokenizer `{}` (known: {})",
                shown(name),
                known.join(", ")
            ),
        )
    })
}

impl ByteLevelBpe {
    pub(super) fn new(metadata: &Metadata, vocab: &Vocab, pre: &'static PreTokenizer) -> Result<Self, Error> {
        check_alphabet(metadata, vocab)?;
        let merges = Merges::new(&read_merges(metadata, vocab)?, vocab.seed());
        ByteLevelBpe::of_merges(merges, vocab, pre).map_err(|error| metadata.reject(PRE, error.to_string()))
    }

    fn of_merges(merges: Merges, vocab: &Vocab, pre: &'static PreTokenizer) -> Result<Self, regex::Error> {
        let token = |c: &char| vocab.id(c.encode_utf8(&mut [0; 4]));
        Ok(ByteLevelBpe {
            merges,
            bytes: BYTE_CHARS.iter().map(token).collect(),
            splitter: Splitter::new(pre)?,
            pre: pre.names.first().copied().unwrap_or_default(),
            ignore_merges: pre.ignore_merges,
        })
    }

    /// What [`ByteLevelBpe::read`] reads.
    pub(super) fn sections(&self) -> [&[u8]; 1] {
        [self.merges.slots.bytes()]
    }

    /// A name of the pre-tokenizer.
    pub(super) fn pre(&self) -> &'static str {
        self.pre
    }

    /// Of tables, and the name of a pre-tokenizer.
    pub(super) fn read(sections: &mut Sections, vocab: &Vocab, pre: &str) -> Result<Self, Error> {
        let pre =
            pre_list::find(pre).ok_or_else(|| Error::Tables(format!("unknown pre-tokenizer `{pre}`")))?;
        let (seed, slots) = (vocab.seed(), sections.next()?);
        if !(slots.len() / SLOT).is_power_of_two() {
            return Err(Error::Tables("merges whose table has no whole size".into()));
        }
        let merges = Merges { seed, slots };
        ByteLevelBpe::of_merges(merges, vocab, pre).map_err(|error| Error::Tables(error.to_string()))
    }

    /// Appends the ids of `text`.
    pub(super) fn encode(&self, vocab: &Vocab, text: &str, out: &mut Vec<u32>) {
        let (mut spelled, mut tokens) = (String::new(), Vec::new());
        for piece in self.splitter.split(text) {
            if self.ignore_merges {
                spelled.clear();
                spelled.extend(piece.bytes().map(|byte| BYTE_CHARS[usize::from(byte)]));
                if let Some(id) = vocab.id(&spelled) {
                    out.push(id);
                    continue;
                }
            }
            tokens.clear();
            tokens.extend(piece.bytes().filter_map(|byte| self.bytes[usize::from(byte)]));
            if tokens.len() <= SHORT {
                self.merges.apply(&mut tokens);
                out.extend(&tokens);
            } else {
                self.merges.apply_long(&tokens, out);
            }
        }
    }
}

/// u32 of a slot: left token + 1 (0 marks a free slot), right token, rank, merged token.
const SLOT: usize = 4;

/// A merge: its left and right token, and what they become. Its rank is its place in the list.
type Merge = [u32; 3];

/// Open-addressing table from two tokens to their merge.
struct Merges {
    seed: u64,
    slots: View,
}

impl Merges {
    fn new(merges: &[Merge], seed: u64) -> Merges {
        let len = (merges.len() * 3 / 2 + 1).next_power_of_two();
        let mut slots = vec![[0u32; SLOT]; len];
        for (rank, &[left, right, merged]) in (0u32..).zip(merges) {
            let mut at = start(seed, left, right);
            // Of a merge that is listed twice the last rank counts, as in the `tokenizers` crate.
            loop {
                let slot = &mut slots[at & (len - 1)];
                if slot[0] == 0 || slot[..2] == [left + 1, right] {
                    *slot = [left + 1, right, rank, merged];
                    break;
                }
                at += 1;
            }
        }
        let slots = slots.into_iter().flatten().collect();
        Merges { seed, slots }
    }

    /// Rank and result of the merge of two tokens, where there is one.
    fn get(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        let (len, start) = (self.slots.len() / SLOT, start(self.seed, left, right));
        for step in 0..len {
            match self.slots.record::<SLOT>(start.wrapping_add(step) & (len - 1))? {
                [0, ..] => return None,
                [l, r, rank, merged] if l - 1 == left && r == right => return Some((rank, merged)),
                _ => {}
            }
        }
        None
    }

    /// Merges a few tokens in place.
    fn apply(&self, tokens: &mut Vec<u32>) {
        let rank = |tokens: &[u32], at: usize| match tokens.get(at + 1) {
            Some(&right) => self.get(tokens[at], right),
            None => None,
        };
        let mut ranks: [Option<(u32, u32)>; SHORT] = [None; SHORT];
        for (at, slot) in ranks.iter_mut().enumerate().take(tokens.len()) {
            *slot = rank(tokens, at);
        }
        loop {
            let pairs = ranks.iter().take(tokens.len()).enumerate();
            let best = pairs
                .filter_map(|(at, pair)| Some((pair.as_ref()?.0, at, pair.as_ref()?.1)))
                .min();
            let Some((_, at, merged)) = best else { return };
            tokens[at] = merged;
            tokens.remove(at + 1);
            ranks.copy_within(at + 2.., at + 1);
            ranks[at] = rank(tokens, at);
            if at > 0 {
                ranks[at - 1] = rank(tokens, at - 1);
            }
        }
    }

    /// Appends many tokens, merged; in time that grows with n · log n.
    fn apply_long(&self, tokens: &[u32], out: &mut Vec<u32>) {
        const NONE: usize = usize::MAX;
        // A token that was merged into its left neighbour is `None`.
        let mut tokens: Vec<Option<u32>> = tokens.iter().copied().map(Some).collect();
        let len = tokens.len();
        let mut next: Vec<usize> = (1..=len).map(|n| if n == len { NONE } else { n }).collect();
        let mut prev: Vec<usize> = (0..len).map(|n| n.wrapping_sub(1)).collect();
        let mut queue = BinaryHeap::new();
        let pair = |tokens: &[Option<u32>], next: &[usize], at: usize| {
            let (left, right) = (tokens[at]?, *tokens.get(next[at])?);
            let (rank, merged) = self.get(left, right?)?;
            Some(Reverse((rank, at, left, right?, merged)))
        };
        queue.extend((0..len).filter_map(|at| pair(&tokens, &next, at)));
        while let Some(Reverse((_, at, left, right, merged))) = queue.pop() {
            let after = next[at];
            // Out of date where either has been merged with another since.
            if tokens[at] != Some(left) || tokens.get(after) != Some(&Some(right)) {
                continue;
            }
            tokens[at] = Some(merged);
            tokens[after] = None;
            next[at] = next[after];
            if next[at] != NONE {
                prev[next[at]] = at;
            }
            queue.extend(pair(&tokens, &next, at));
            if prev[at] != NONE {
                queue.extend(pair(&tokens, &next, prev[at]));
            }
        }
        out.extend(tokens.into_iter().flatten());
    }
}

/// Where the search for a pair begins.
fn start(seed: u64, left: u32, right: u32) -> usize {
    mix(seed ^ (u64::from(left) << 32 | u64::from(right))) as usize
}

/// A byte-level vocabulary spells at least ASCII text. Real ones lack some other bytes, and those are dropped from text,
/// as llama.cpp drops them.
fn check_alphabet(metadata: &Metadata, vocab: &Vocab) -> Result<(), Error> {
    for byte in 0x20..=0x7eu8 {
        let c = BYTE_CHARS[usize::from(byte)];
        if vocab.id(c.encode_utf8(&mut [0; 4])).is_none() {
            return Err(metadata.reject(TOKENS, format!("no token for the byte 0x{byte:02X} (`{c}`)")));
        }
    }
    Ok(())
}

fn read_merges(metadata: &Metadata, vocab: &Vocab) -> Result<Vec<Merge>, Error> {
    let mut joined = String::new();
    let merge = |(rank, text): (usize, &str)| {
        // The left side is never empty, so the space that parts the sides is not the first character.
        let space = text
            .char_indices()
            .skip(1)
            .find(|(_, c)| *c == ' ')
            .map(|(at, _)| at);
        let (left, right) = match space.map(|at| (&text[..at], &text[at + 1..])) {
            Some((left, right)) if !right.is_empty() => (left, right),
            _ => {
                let problem = format!("merge {rank} `{}` is not two tokens", shown(text));
                return Err(metadata.reject(MERGES, problem));
            }
        };
        joined.clear();
        joined.extend([left, right]);
        let token = |part: &str| {
            vocab.id(part).ok_or_else(|| {
                let problem = format!("merge {rank}: `{}` is no token of the vocabulary", shown(part));
                metadata.reject(MERGES, problem)
            })
        };
        Ok([token(left)?, token(right)?, token(&joined)?])
    };
    metadata
        .str_array(MERGES)?
        .iter()
        .enumerate()
        .map(merge)
        .collect()
}
