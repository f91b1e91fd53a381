//! Codebooks: what the indices of formats with few, unevenly spaced levels stand for.
//!
//! Entries are unsigned bytes, [`CODEBOOK_OFFSET`] more than the level, so that kernels multiply them as they do 8-bit
//! codes. The levels are those of ggml's `kvalues_iq4nl` and `kvalues_mxfp4` (`ggml-common.h`).

/// Entries of a codebook: as many as a 4-bit index can name.
pub const CODEBOOK_LEN: usize = 16;
/// What is subtracted from an entry to get its level.
pub const CODEBOOK_OFFSET: u8 = 128;

/// What each 4-bit index stands for, plus [`CODEBOOK_OFFSET`].
pub type Codebook = [u8; CODEBOOK_LEN];

/// Levels of `iq4_nl` and `iq4_xs`: denser near zero, where most weights are.
pub static IQ4: Codebook = entries([
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
]);

/// Twice the values of E2M1, the 4-bit float of the OCP Microscaling Formats specification (sign, two bits of exponent,
/// one of mantissa). Scales of `mxfp4` and `nvfp4` are halved to make up for it. Both zeros are +0.
pub static E2M1: Codebook = entries([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]);

const fn entries(levels: [i8; CODEBOOK_LEN]) -> Codebook {
    let mut book = [0; CODEBOOK_LEN];
    let mut i = 0;
    while i < CODEBOOK_LEN {
        book[i] = levels[i].cast_unsigned() ^ CODEBOOK_OFFSET;
        i += 1;
    }
    book
}

/// The entry for an index, or the code itself where there is no codebook. Indices beyond the codebook wrap.
#[inline]
pub(crate) fn lookup(codebook: Option<&Codebook>, code: u8) -> i32 {
    i32::from(codebook.map_or(code, |book| book[usize::from(code) % CODEBOOK_LEN]))
}
