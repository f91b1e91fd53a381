//! Codes of a cell as the planes that lanes read: a pair of elements is a field in either half of a word.

use crate::layout::{GROUP, Matrix, TILE, word_place};

/// Elements of a group in bytes of codes.
const GROUP_BYTES: usize = GROUP as usize;
/// Lanes that share a row.
const LANES: usize = 4;

/// Writes one plane of cells.
pub(super) struct Plane {
    /// Bits of an element.
    bits: u32,
    /// Bits of the planes before.
    below: u32,
    /// Where the plane begins in a cell, in bytes.
    start: usize,
    /// Of each word of lane 0 the place in the plane, and how far it is to the next lane's, in words.
    words: Vec<(usize, usize)>,
}

impl Plane {
    /// Those of a matrix.
    pub(super) fn all(m: &Matrix) -> Vec<Plane> {
        let plane = |(n, &bits): (usize, &u8)| {
            let count = m.plane_words(bits);
            let place = |lane, word| word_place(count, lane, word) as usize;
            Plane {
                bits: bits.into(),
                below: m.planes()[..n].iter().map(|&b| u32::from(b)).sum(),
                start: m.plane(n) as usize,
                words: (0..count)
                    .map(|word| (place(0, word), place(1, word) - place(0, word)))
                    .collect(),
            }
        };
        m.planes().iter().enumerate().map(plane).collect()
    }

    /// Adds codes to a cell whose plane is zero: `[rows][groups][32]`, of 16 rows at most.
    pub(super) fn put_codes(&self, cell: &mut [u8], codes: &[u8], groups: usize) {
        match self.bits {
            1 => self.put_codes_of::<1>(cell, codes, groups),
            2 => self.put_codes_of::<2>(cell, codes, groups),
            4 => self.put_codes_of::<4>(cell, codes, groups),
            _ => self.put_codes_of::<8>(cell, codes, groups),
        }
    }

    fn put_codes_of<const BITS: u32>(&self, cell: &mut [u8], codes: &[u8], groups: usize) {
        let mask = ((1u32 << BITS) - 1) * 0x0101_0101;
        self.put::<BITS, GROUP_BYTES>(cell, codes, groups, |group| {
            let halves = [0, GROUP_BYTES / 2].map(|at| four_words(&group[at..]));
            let mut pairs = [[0; LANES]; 4];
            for t in 0..LANES {
                let [low, high] = halves.map(|words| words[t] >> self.below & mask);
                // Bytes 0 and 1, and 2 and 3, as the low and the high half of a word.
                let two = |x: u32| (x & 0xff) | (x & 0xff00) << 8;
                let lane = [two(low), two(low >> 16), two(high), two(high >> 16)];
                (0..4).for_each(|n| pairs[n][t] = lane[n]);
            }
            pairs
        });
    }

    /// Adds floats of 16 bits to a cell whose plane is zero: `[rows][groups][32]`, of 16 rows at most.
    pub(super) fn put_floats(&self, cell: &mut [u8], floats: &[u8], groups: usize) {
        self.put::<16, { 2 * GROUP_BYTES }>(cell, floats, groups, |group| {
            let words = [0, 1, 2, 3].map(|n| four_words(&group[4 * LANES * n..]));
            let mut pairs = [[0; LANES]; 4];
            for t in 0..LANES {
                for (n, pair) in pairs.iter_mut().enumerate() {
                    let word = 2 * t + n % 2;
                    pair[t] = words[n / 2 * 2 + word / LANES][word % LANES];
                }
            }
            pairs
        });
    }

    /// Adds the pairs that `pairs_of` finds in the bytes of a group of a row: of each of four lanes, four.
    fn put<const BITS: u32, const BYTES: usize>(
        &self,
        cell: &mut [u8],
        rows: &[u8],
        groups: usize,
        pairs_of: impl Fn(&[u8; BYTES]) -> [[u32; LANES]; 4],
    ) {
        let of_word = (16 / BITS) as usize;
        // Pairs of a group that lie in one word.
        let together = of_word.min(4);
        for (row, row_groups) in rows.as_chunks::<BYTES>().0.chunks_exact(groups).enumerate() {
            let (half, first) = (row / (TILE as usize / 2), row % (TILE as usize / 2) * LANES);
            for (group, bytes) in row_groups.iter().enumerate() {
                let pairs = pairs_of(bytes);
                for (n, some) in pairs.chunks_exact(together).enumerate() {
                    let number = (group * 2 + half) * 4 + n * together;
                    let (at, step) = self.words[number / of_word];
                    let shift = (number % of_word) as u32 * BITS;
                    let mut fields = [0; LANES];
                    for pair in some.iter().rev() {
                        (0..LANES).for_each(|t| fields[t] = (fields[t] << (BITS % 16)) | pair[t]);
                    }
                    let words = cell[self.start + 4 * (at + first * step)..]
                        .as_chunks_mut::<4>()
                        .0;
                    for (word, fields) in words.iter_mut().step_by(step).zip(fields) {
                        let old = u32::from_le_bytes(*word);
                        *word = (old | fields << shift).to_le_bytes();
                    }
                }
            }
        }
    }
}

/// The first 16 bytes as words.
fn four_words(bytes: &[u8]) -> [u32; LANES] {
    let words = &bytes[..4 * LANES].as_chunks::<4>().0;
    std::array::from_fn(|t| u32::from_le_bytes(words[t]))
}
