//! Codebooks: what the indices of formats with few, unevenly spaced levels stand for.
//!
//! Entries are unsigned bytes, the format's offset more than the level, so that kernels multiply them as they do codes.
//! The levels are those of ggml's `kvalues_iq4nl` and `kvalues_mxfp4` (`ggml-common.h`).

/// Entries of a codebook: as many as a 4-bit index can name.
pub const CODEBOOK_LEN: usize = 16;

/// What each 4-bit index stands for, plus the offset of the format.
pub type Codebook = [u8; CODEBOOK_LEN];

/// The level of each 4-bit index.
pub(super) type Levels = [i8; CODEBOOK_LEN];

/// Levels of `iq4_nl` and `iq4_xs`: denser near zero, where most weights are.
pub(super) const IQ4: Levels = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// Twice the values of E2M1, the 4-bit float of the OCP Microscaling Formats specification (sign, two bits of exponent,
/// one of mantissa). Scales of `mxfp4` and `nvfp4` are halved to make up for it. Both zeros are +0.
pub(super) const E2M1: Levels = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The codebook of these levels; a level below `-offset` or above `255 - offset` does not compile.
pub(super) const fn codebook(levels: Levels, offset: u8) -> Codebook {
    let mut book = [0; CODEBOOK_LEN];
    let mut i = 0;
    while i < CODEBOOK_LEN {
        let entry = levels[i] as i16 + offset as i16;
        assert!(entry >= 0 && entry < 256);
        book[i] = entry as u8;
        i += 1;
    }
    book
}

/// The entry for an index, or the code itself where there is no codebook. Indices beyond the codebook wrap.
#[inline]
pub(crate) fn lookup(codebook: Option<&Codebook>, code: u8) -> i32 {
    i32::from(codebook.map_or(code, |book| book[usize::from(code) % CODEBOOK_LEN]))
}
