//! One panel of floats: 16 rows of K elements to K times 16.

use super::PANEL_ROWS;
use super::dispatch::{Isa, Lanes, TILE_WORDS, Work};
use super::panel::{Panel, stretch};

/// Bytes of a row that are transposed at a time.
const TILE_BYTES: usize = 4 * TILE_WORDS;
/// How many bytes ahead of the tile rows are prefetched.
const AHEAD: usize = 2 * TILE_BYTES;

/// A panel of elements of `N` bytes, 2 or 4.
pub(super) struct Floats<'a, const N: usize>(pub Panel<'a>);

impl<const N: usize> Work for Floats<'_, N> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Panel { rows, next, k, out } = self.0;
        let (out, padding) = out.split_at_mut(k * PANEL_ROWS * N);
        padding.fill(0);
        let mut words = [[0; TILE_WORDS]; PANEL_ROWS];
        let mut lanes = [[0; PANEL_ROWS]; TILE_WORDS];
        for (n, out) in out.chunks_mut(TILE_BYTES * PANEL_ROWS).enumerate() {
            let from = n * TILE_BYTES;
            let (ahead, at) = match from + AHEAD < k * N {
                true => (&rows, from + AHEAD),
                false => (&next, from + AHEAD - k * N),
            };
            for (lane, row) in rows.iter().enumerate() {
                if let Some((_, row)) = ahead[lane] {
                    isa.prefetch(stretch(row, at, TILE_BYTES));
                }
                if let Some((_, row)) = row {
                    read(stretch(row, from, TILE_BYTES), &mut words[lane]);
                }
            }
            isa.transpose(&words, TILE_WORDS, &mut lanes);
            write::<N>(&lanes, out);
        }
    }
}

/// Bytes as words; the last one may have fewer than four, and words beyond stay as they are.
#[inline(always)]
fn read(bytes: &[u8], words: &mut [u32; TILE_WORDS]) {
    let (whole, rest) = bytes.as_chunks::<4>();
    for (word, bytes) in words.iter_mut().zip(whole) {
        *word = u32::from_le_bytes(*bytes);
    }
    if let (Some(word), [low, high]) = (words.get_mut(whole.len()), rest) {
        *word = u32::from(u16::from_le_bytes([*low, *high]));
    }
}

/// Words of all rows as elements of all rows, as many as `out` has room for.
#[inline(always)]
fn write<const N: usize>(lanes: &[Lanes; TILE_WORDS], out: &mut [u8]) {
    for (out, lanes) in out.chunks_mut(4 * PANEL_ROWS).zip(lanes) {
        if N == 4 {
            for (out, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(lanes) {
                *out = word.to_le_bytes();
            }
            continue;
        }
        // Two elements of each row: all first ones, then all second ones.
        for (element, out) in out.chunks_exact_mut(2 * PANEL_ROWS).enumerate() {
            for (out, word) in out.as_chunks_mut::<2>().0.iter_mut().zip(lanes) {
                *out = ((word >> (16 * element)) as u16).to_le_bytes();
            }
        }
    }
}
