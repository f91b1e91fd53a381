//! The simulated model: what it says depends on every token before, and on nothing else.

use crate::schedule::Reason;

/// The state of the model after a token; 0 before the first.
pub(super) fn fold(state: u64, token: u32) -> u64 {
    let mixed = (state ^ u64::from(token)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// What the model says after the tokens of `state`, and whether it stops there.
pub(super) fn say(state: u64, choice: u32, forced: bool) -> ([u32; 3], usize, bool) {
    let seen = fold(state, choice.wrapping_add(77));
    let token = |shift: u64| (seen >> shift) as u32 % 50;
    let count = if forced && seen.is_multiple_of(7) { 3 } else { 1 };
    (
        [token(3), token(11), token(19)],
        count,
        (seen >> 33).is_multiple_of(40),
    )
}

/// All that a choice says, alone.
pub(super) fn expected(prompt: &[u32], choice: u32, max_new: usize, forced: bool) -> (Vec<u32>, Reason) {
    let mut state = prompt.iter().fold(0, |s, &t| fold(s, t));
    let mut made = Vec::new();
    while made.len() < max_new {
        let (tokens, count, done) = say(state, choice, forced);
        for &token in &tokens[..count.min(max_new - made.len())] {
            made.push(token);
            state = fold(state, token);
        }
        if done {
            return (made, Reason::Stopped);
        }
    }
    (made, Reason::Length)
}

/// The tokens that follow: accepted drafts, then what the model says instead of the first wrong one.
pub(super) fn accept(said: &[u64], drafts: &[u32], choice: u32, forced: bool) -> (Vec<u32>, bool) {
    let mut tokens = Vec::new();
    for (row, &state) in said.iter().enumerate() {
        let (more, count, done) = say(state, choice, forced);
        tokens.extend_from_slice(&more[..count]);
        if done {
            return (tokens, true);
        }
        if count > 1 || drafts.get(row) != Some(&more[0]) {
            break;
        }
    }
    (tokens, false)
}
