//! One panel of a block format: 16 rows as they are in a file to records.
//!
//! Works on a tile of 256 elements of 16 rows at a time, in the nearest cache. Each row is decoded to codes and folded
//! into words of its planes, which are what the panel holds of one row; then words and scales of all rows are transposed
//! together. All but decoding is the same for every format.

use super::dispatch::{Isa, Lanes, TILE_WORDS, TileRows, Work};
use super::pack::PanelRows;
use super::{BLOCK, PANEL_ROWS};
use crate::quant::{BlockFormat, Canonical, FormatVisitor, MAX_BLOCK_LEN, QuantError};
use std::marker::PhantomData;

/// Elements of a row in a tile.
const TILE: usize = MAX_BLOCK_LEN;
/// Blocks of the packed layout in a tile.
const TILE_BLOCKS: usize = TILE / BLOCK;

/// How many elements ahead of the tile rows are prefetched.
const AHEAD: usize = 2 * TILE;

/// A panel to be packed. Visits the format of its rows.
pub(super) struct Panel<'a> {
    /// The rows that the panel holds; `None` for padding.
    pub rows: PanelRows<'a>,
    /// The rows that the next panel will hold, which are prefetched.
    pub next: PanelRows<'a>,
    /// Elements of a row.
    pub k: usize,
    /// The packed panel, as long as the layout's stride.
    pub out: &'a mut [u8],
}

impl FormatVisitor for Panel<'_> {
    type Out = Result<(), QuantError>;

    fn visit<F: BlockFormat>(self) -> Result<(), QuantError> {
        super::dispatch::dispatch(PanelOf::<F>(self, PhantomData))
    }
}

/// A panel of format `F`.
struct PanelOf<'a, F>(Panel<'a>, PhantomData<F>);

impl<F: BlockFormat> Work for PanelOf<'_, F> {
    type Out = Result<(), QuantError>;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> Result<(), QuantError> {
        let Panel { rows, next, k, out } = self.0;
        let record = record_bytes::<F>();
        let (records, padding) = out.split_at_mut(k / BLOCK * record);
        padding.fill(0);
        let mut tile = Tile::ZERO;
        for (n, records) in records.chunks_mut(TILE_BLOCKS * record).enumerate() {
            let from = n * TILE;
            let to = from + records.len() / record * BLOCK;
            let (ahead, at) = match from + AHEAD < k {
                true => (&rows, from + AHEAD),
                false => (&next, from + AHEAD - k),
            };
            for (lane, row) in rows.iter().enumerate() {
                if let Some((_, row)) = ahead[lane] {
                    isa.prefetch(stretch(row, at / F::LEN * F::BYTES, TILE / F::LEN * F::BYTES));
                }
                if let Some((_, row)) = row {
                    tile.decode::<F>(&row[from / F::LEN * F::BYTES..to / F::LEN * F::BYTES], lane);
                }
            }
            tile.put_codes::<F, I>(isa, records);
            tile.put_scales::<F, I>(isa, records)
                .map_err(|lost| QuantError::ScaleRange {
                    row: rows[lost.lane].map_or(0, |(row, _)| row),
                    column: (from + lost.group * F::GROUP) as u64,
                    what: lost.what,
                    value: lost.value,
                })?;
        }
        Ok(())
    }
}

/// Bytes from `at` on, fewer where there aren't as many.
#[inline(always)]
pub(super) fn stretch(row: &[u8], at: usize, len: usize) -> &[u8] {
    let at = at.min(row.len());
    &row[at..(at + len).min(row.len())]
}

/// Bits of a code.
const fn bits<F: BlockFormat>() -> usize {
    let (mut sum, mut i) = (0, 0);
    while i < F::PLANES.len() {
        sum += F::PLANES[i] as usize;
        i += 1;
    }
    sum
}

/// Bytes of the codes of a record.
const fn code_bytes<F: BlockFormat>() -> usize {
    2 * BLOCK * bits::<F>()
}

/// Bytes of the scales of a record; of the minima too, where there are any.
const fn scale_bytes<F: BlockFormat>() -> usize {
    BLOCK / F::GROUP * 2 * PANEL_ROWS
}

const fn record_bytes<F: BlockFormat>() -> usize {
    code_bytes::<F>() + scale_bytes::<F>() * if F::HAS_MIN { 2 } else { 1 }
}

/// What the rows of a tile decode to. Rows that are never decoded are zeros.
struct Tile {
    /// Words of each row: plane after plane, in each plane block after block.
    words: TileRows,
    /// Scales of the groups of each row, as bits.
    scales: TileRows,
    /// Minima.
    mins: TileRows,
    /// The last block that was decoded.
    block: Canonical,
    /// Codes of a row, where blocks are shorter than the tile.
    codes: [u8; TILE],
    /// What was transposed last: words or scales, and minima.
    lanes: [[Lanes; TILE_WORDS]; 2],
}

/// A scale or minimum that f16 can't hold.
struct Lost {
    lane: usize,
    /// The group in the tile.
    group: usize,
    what: &'static str,
    value: f32,
}

impl Tile {
    const ZERO: Tile = Tile {
        words: [[0; TILE_WORDS]; PANEL_ROWS],
        scales: [[0; TILE_WORDS]; PANEL_ROWS],
        mins: [[0; TILE_WORDS]; PANEL_ROWS],
        block: Canonical::ZERO,
        codes: [0; TILE],
        lanes: [[[0; PANEL_ROWS]; TILE_WORDS]; 2],
    };

    /// Decodes the blocks of a row.
    #[inline(always)]
    fn decode<F: BlockFormat>(&mut self, blocks: &[u8], lane: usize) {
        let groups = F::LEN / F::GROUP;
        for (n, bytes) in blocks.chunks_exact(F::BYTES).take(TILE / F::LEN).enumerate() {
            F::unpack(bytes, &mut self.block);
            if F::LEN < TILE {
                self.codes[n * F::LEN..][..F::LEN].copy_from_slice(&self.block.codes[..F::LEN]);
            }
            let scales = &mut self.scales[lane][n * groups..][..groups];
            scales
                .iter_mut()
                .zip(&self.block.scales)
                .for_each(|(to, scale)| *to = scale.to_bits());
            if F::HAS_MIN {
                let mins = &mut self.mins[lane][n * groups..][..groups];
                mins.iter_mut()
                    .zip(&self.block.mins)
                    .for_each(|(to, min)| *to = min.to_bits());
            }
        }
        let codes = if F::LEN < TILE {
            &self.codes
        } else {
            &self.block.codes
        };
        fold_planes::<F>(codes, &mut self.words[lane]);
    }

    /// Writes the codes of the records.
    #[inline(always)]
    fn put_codes<F: BlockFormat, I: Isa>(&mut self, isa: I, records: &mut [u8]) {
        let lanes = &mut self.lanes[0];
        isa.transpose(&self.words, TILE_BLOCKS * bits::<F>(), lanes);
        for (b, record) in records
            .chunks_exact_mut(record_bytes::<F>())
            .take(TILE_BLOCKS)
            .enumerate()
        {
            let (vectors, _) = record[..code_bytes::<F>()].as_chunks_mut::<64>();
            let mut before = 0;
            for &w in F::PLANES {
                let w = usize::from(w);
                let from = &lanes[TILE_BLOCKS * before + b * w..][..w];
                for (vector, lanes) in vectors[before..before + w].iter_mut().zip(from) {
                    put_lanes(lanes, vector);
                }
                before += w;
            }
        }
    }

    /// Writes the scales and minima of the records; the first that f16 can't hold is the error.
    #[inline(always)]
    fn put_scales<F: BlockFormat, I: Isa>(&mut self, isa: I, records: &mut [u8]) -> Result<(), Lost> {
        let [scales, mins] = &mut self.lanes;
        isa.transpose(&self.scales, TILE / F::GROUP, scales);
        if F::HAS_MIN {
            isa.transpose(&self.mins, TILE / F::GROUP, mins);
        }
        for (b, record) in records
            .chunks_exact_mut(record_bytes::<F>())
            .take(TILE_BLOCKS)
            .enumerate()
        {
            let ends = &mut record[code_bytes::<F>()..];
            for n in 0..BLOCK / F::GROUP {
                let (group, at) = (b * BLOCK / F::GROUP + n, n * 2 * PANEL_ROWS);
                let lost = |what| {
                    move |(lane, value)| Lost {
                        lane,
                        group,
                        what,
                        value,
                    }
                };
                put_halves(isa, &scales[group], &mut ends[at..]).map_err(lost("scale"))?;
                if F::HAS_MIN {
                    let ends = &mut ends[scale_bytes::<F>() + at..];
                    put_halves(isa, &mins[group], ends).map_err(lost("minimum"))?;
                }
            }
        }
        Ok(())
    }
}

#[inline(always)]
fn put_lanes(lanes: &Lanes, out: &mut [u8; 64]) {
    for (out, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(lanes) {
        *out = word.to_le_bytes();
    }
}

/// Rounds 16 values, given as bits, to f16; the first that is not finite then, or zero and was not, is the error.
#[inline(always)]
fn put_halves<I: Isa>(isa: I, values: &Lanes, out: &mut [u8]) -> Result<(), (usize, f32)> {
    let mut any = 0;
    for &value in values {
        any |= u32::from(is_lost(value));
    }
    if any != 0 {
        let lane = values.iter().position(|&value| is_lost(value)).unwrap_or(0);
        return Err((lane, f32::from_bits(values[lane])));
    }
    let halves = isa.halves(&values.map(f32::from_bits));
    for (out, half) in out.as_chunks_mut::<2>().0.iter_mut().zip(halves) {
        *out = half.to_le_bytes();
    }
    Ok(())
}

/// Whether an f32, given as bits, is not finite as f16, or zero and was not.
#[inline(always)]
fn is_lost(value: u32) -> bool {
    // Half of the smallest f16 is rounded to the even zero, and the middle between the largest and infinity to infinity.
    const ZEROS: u32 = 0x3300_0000;
    const INFINITE: u32 = 0x477f_f000;
    let magnitude = value & 0x7fff_ffff;
    // Zero itself wraps to the end of the range.
    magnitude.wrapping_sub(1) < ZEROS || magnitude >= INFINITE
}

/// The codes of a row of a tile to the words of its planes.
#[inline(always)]
fn fold_planes<F: BlockFormat>(codes: &[u8; TILE], words: &mut [u32; TILE_WORDS]) {
    let (mut at, mut shift) = (0, 0);
    for &w in F::PLANES {
        let words = &mut words[at..at + TILE_BLOCKS * usize::from(w)];
        let mask = 0x0101_0101 * ((1u32 << w) - 1);
        let mut fields = [0; TILE / 4];
        for (field, codes) in fields.iter_mut().zip(codes.as_chunks::<4>().0) {
            *field = (u32::from_le_bytes(*codes) >> shift) & mask;
        }
        match w {
            8 => words.copy_from_slice(&fields),
            4 => words.copy_from_slice(&fold::<64, 32>(fields, 4)),
            2 => words.copy_from_slice(&fold::<32, 16>(fold::<64, 32>(fields, 2), 4)),
            1 => words.copy_from_slice(&fold::<16, 8>(fold::<32, 16>(fold::<64, 32>(fields, 1), 2), 4)),
            _ => unreachable!("widths of planes divide 8"),
        }
        at += words.len();
        shift += u32::from(w);
    }
}

/// Neighbouring words into one, the second shifted beside the first.
#[inline(always)]
fn fold<const N: usize, const HALF: usize>(words: [u32; N], by: u32) -> [u32; HALF] {
    let mut out = [0; HALF];
    for (out, [low, high]) in out.iter_mut().zip(words.as_chunks::<2>().0) {
        *out = low | high << by;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::is_lost;
    use half::f16;

    #[test]
    fn lost_values_are_those_that_f16_makes_zero_or_infinite() {
        let ends = [
            0x3300_0000u32,
            0x477f_f000,
            0x7f80_0000,
            0x0080_0000,
            0x3f80_0000,
            0x3880_0000,
        ];
        let near = ends.iter().flat_map(|&end| end - 3..end + 3);
        for bits in near.chain(0..4).chain((0..0x7fff_ffff).step_by(0x1_0001)) {
            for bits in [bits, bits | 1 << 31] {
                let (value, half) = (f32::from_bits(bits), f16::from_f32(f32::from_bits(bits)));
                let lost = !half.is_finite() || (half == f16::ZERO && value != 0.0);
                assert_eq!(is_lost(bits), lost, "{value:e} ({bits:#x})");
            }
        }
    }
}
