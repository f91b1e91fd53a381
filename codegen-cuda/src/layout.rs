//! How weights, keys and values lie in device memory.
//!
//! A matrix of f32 is rows as in the file. Any other lies as the tensor cores take it: in tiles of 16 rows, and each tile in
//! cells of as many groups of 32 elements as divide a row, 8 at most. Rows and elements beyond the last are zero.
//!
//! ```text
//! section = [tiles][cells]; a cell is its planes, then its scales, then what multiplies them
//! plane   = [runs of 4, 2 or 1 words][32 lanes][words of the run], a word has 32 bits
//! scales  = [16 rows][groups] of scale, then minimum where there are any: f16, or bytes where scales have two levels
//! factors = [16 rows] of f16 d, then dmin where there are minima; only where scales have two levels
//! ```
//!
//! Lane 4·i + t has elements 4t..4t+4 and 16+4t..16+4t+4 of each group of 32, of rows i and i + 8 of the tile: four pairs a
//! group and row, which are what a lane gives `mma.m16n8k16` of that row. A plane of w bits has of each pair one field in
//! the low and one in the high half of a word; see [`Matrix::field`]. A code is the sum over planes of field << bits of the
//! planes before. Signed scales of two levels are stored 128 higher. Floats are a plane of 16 bits and have no scales.
//!
//! Keys and values are `[blocks][kv_heads]` heads of [`KvHead`].

use lathe_ir::DType;
use lathe_ir::layout::KvType;
use lathe_ir::quant::{self, FormatScales, QuantFormat};

/// Elements of a group of a row.
pub const GROUP: u32 = 32;
/// Rows of a tile.
pub const TILE: u32 = 16;
/// Alignment of sections.
pub const ALIGN: u64 = 256;
/// Most groups of a cell.
pub(crate) const MOST_GROUPS: u32 = 8;
/// Added to signed scales.
pub const SCALE_BIAS: u8 = 128;

/// What the elements of a matrix are.
#[derive(Clone, Copy, Debug)]
pub enum Element {
    /// Codes of a quantized format.
    Codes(&'static QuantFormat),
    /// f32.
    F32,
    /// f16.
    F16,
    /// bfloat16.
    Bf16,
}

/// A matrix in device memory.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    /// Its elements.
    pub element: Element,
    /// Type in the file.
    pub dtype: DType,
    /// Rows: outputs of a product.
    pub rows: u32,
    /// Elements of a row: inputs of a product.
    pub k: u32,
}

/// Where a pair of elements is in a plane: the word of the lane, and the shift in each half of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// The word.
    pub word: u32,
    /// The shift.
    pub shift: u32,
}

/// The scales of a row of a cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scales {
    /// How many levels.
    pub levels: FormatScales,
    /// Whether there are minima.
    pub has_min: bool,
    /// Scales of the row.
    pub count: u32,
}

impl Scales {
    /// Bytes of a row's scales and minima.
    pub fn row_bytes(&self) -> u32 {
        let each = match self.levels {
            FormatScales::One => 2,
            FormatScales::Two => 1,
        };
        self.count * each * (1 + u32::from(self.has_min))
    }

    /// Bytes of a row's factors.
    pub fn factor_bytes(&self) -> u32 {
        match self.levels {
            FormatScales::One => 0,
            FormatScales::Two => 2 * (1 + u32::from(self.has_min)),
        }
    }
}

impl Matrix {
    /// The layout of a weight; `None` where no kernel reads such a type, rows are no whole groups of codes, or there are
    /// none.
    pub fn of(dtype: DType, rows: u64, k: u64) -> Option<Matrix> {
        let element = match dtype {
            DType::F32 => Element::F32,
            DType::F16 => Element::F16,
            DType::Bf16 => Element::Bf16,
            _ => Element::Codes(quant::format(dtype)?),
        };
        let whole = match element {
            Element::Codes(format) => k.is_multiple_of(format.block_len as u64),
            _ => true,
        };
        let (rows, k) = (u32::try_from(rows).ok()?, u32::try_from(k).ok()?);
        // So that numbers of bytes in a tile fit 32 bits.
        (whole && rows > 0 && k > 0 && k < 1 << 24).then_some(Matrix {
            element,
            dtype,
            rows,
            k,
        })
    }

    /// Whether it lies in tiles.
    pub fn tiled(&self) -> bool {
        !matches!(self.element, Element::F32)
    }

    /// Groups of 32 of a row, the last filled up.
    pub fn groups(&self) -> u32 {
        self.k.div_ceil(GROUP)
    }

    /// Groups of a cell.
    pub fn cell_groups(&self) -> u32 {
        let groups = self.groups();
        let mut n = MOST_GROUPS;
        while !groups.is_multiple_of(n) {
            n /= 2;
        }
        n
    }

    /// Cells of a tile.
    pub fn cells(&self) -> u32 {
        self.groups() / self.cell_groups()
    }

    /// Tiles of 16 rows, the last filled up.
    pub fn tiles(&self) -> u32 {
        self.rows.div_ceil(TILE)
    }

    /// Bits of each plane of a cell.
    pub fn planes(&self) -> &'static [u8] {
        match self.element {
            Element::Codes(format) => format.planes,
            _ => &[16],
        }
    }

    /// Words that a lane has of a plane of so many bits, in a cell.
    pub fn plane_words(&self, bits: u8) -> u32 {
        (self.cell_groups() * 8 * u32::from(bits)).div_ceil(16)
    }

    /// Where plane `n` of a cell begins.
    pub fn plane(&self, n: usize) -> u32 {
        self.planes()[..n]
            .iter()
            .map(|&bits| 128 * self.plane_words(bits))
            .sum()
    }

    /// Where, in a plane of so many bits, pair `pair` of group `group` is, of row i (`half` 0) or i + 8 (1).
    pub fn field(bits: u8, group: u32, half: u32, pair: u32) -> Field {
        let bits = u32::from(bits);
        let (number, of_word) = ((group * 2 + half) * 4 + pair, 16 / bits);
        Field {
            word: number / of_word,
            shift: number % of_word * bits,
        }
    }

    /// The scales, if it has any.
    pub fn scales(&self) -> Option<Scales> {
        match self.element {
            Element::Codes(format) => Some(Scales {
                levels: format.scale_levels(),
                has_min: format.has_min,
                count: self.cell_groups() * GROUP / format.group,
            }),
            _ => None,
        }
    }

    /// Where the scales of a cell begin.
    pub fn scale_offset(&self) -> u32 {
        self.plane(self.planes().len())
    }

    /// Where the factors of a cell begin.
    pub fn factor_offset(&self) -> u32 {
        self.scale_offset() + self.scales().map_or(0, |s| TILE * s.row_bytes())
    }

    /// Bytes of a cell, a multiple of 16.
    pub fn cell_bytes(&self) -> u32 {
        self.factor_offset() + self.scales().map_or(0, |s| TILE * s.factor_bytes())
    }

    /// Bytes of the section.
    pub fn bytes(&self) -> u64 {
        match self.tiled() {
            true => u64::from(self.tiles()) * u64::from(self.cells()) * u64::from(self.cell_bytes()),
            false => 4 * u64::from(self.rows) * u64::from(self.k),
        }
    }
}

/// Rows of a panel.
pub const PANEL_ROWS: u32 = 128;
/// Elements of a row of a panel.
pub const PANEL_STEP: u32 = 64;
/// Bytes of a panel.
pub const PANEL_BYTES: u32 = 2 * PANEL_ROWS * PANEL_STEP;

/// A matrix, or two of the same shape, as f16 for products with many rows: `[panels of 128 rows][steps of 64 elements]`, an
/// even number of panels, of `[128 rows][64]f16` each. Of the eight runs of 8 elements of a row, run `c` of row `r` is where
/// run `c ^ r % 8` would be: so shared memory gives a column of runs without conflicts, and `wgmma` takes them. Of two
/// matrices, eight rows of one follow eight of the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Panels {
    /// Rows of a matrix.
    pub rows: u32,
    /// Elements of a row.
    pub k: u32,
    /// Whether there are two matrices.
    pub paired: bool,
}

impl Panels {
    /// Rows of both matrices, those that fill up the last run of eight included.
    pub fn all_rows(&self) -> u32 {
        match self.paired {
            true => 2 * self.rows.next_multiple_of(8),
            false => self.rows,
        }
    }

    /// Steps of a row.
    pub fn steps(&self) -> u32 {
        self.k.div_ceil(PANEL_STEP)
    }

    /// Bytes of all.
    pub fn bytes(&self) -> u64 {
        let panels = 2 * self.all_rows().div_ceil(2 * PANEL_ROWS);
        u64::from(panels) * u64::from(self.steps()) * u64::from(PANEL_BYTES)
    }
}

/// Runs of words that a lane reads at once, of so many: the first word and the length of each.
pub fn runs(words: u32) -> Vec<(u32, u32)> {
    let mut runs = Vec::new();
    let mut first = 0;
    while first < words {
        let left = words - first;
        let run = if left >= 4 { 4 } else { 1 << left.ilog2() };
        runs.push((first, run));
        first += run;
    }
    runs
}

/// Where a word of a lane is in a plane of so many words a lane, in words.
pub fn word_place(words: u32, lane: u32, word: u32) -> u32 {
    let (first, run) = runs(words)
        .into_iter()
        .find(|(first, run)| (*first..first + run).contains(&word))
        .unwrap_or((0, 1));
    32 * first + lane * run + (word - first)
}

/// f16 elements of a row of operands: those of the row, filled up with zeros.
pub fn operand_stride(n: u32) -> u32 {
    n.next_multiple_of(GROUP)
}

/// The keys or values of a head in a block of the cache: `[32 positions][head_dim]` elements; where the type has scales,
/// `[32 positions][groups]` f32 follow the codes, a group being 32 elements or what is left of the head.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KvHead {
    /// Elements of a head.
    pub head_dim: u32,
    /// How elements are stored.
    pub ty: KvType,
}

impl KvHead {
    /// Groups of elements with a scale of their own.
    pub fn groups(&self) -> u32 {
        match self.ty.has_scales() {
            true => self.head_dim.div_ceil(GROUP),
            false => 0,
        }
    }

    /// Bytes of the elements, and so the offset of the scales; a multiple of 16.
    pub fn code_bytes(&self) -> u64 {
        let bytes = u64::from(self.head_dim) * u64::from(GROUP) * u64::from(self.ty.element_bytes());
        bytes.next_multiple_of(16)
    }

    /// Bytes of the head, a multiple of 16.
    pub fn bytes(&self) -> u64 {
        self.code_bytes() + u64::from(self.groups()) * u64::from(GROUP) * 4
    }

    /// Elements that a thread loads at once: they divide the head, lie in one group and take 16 bytes at most.
    pub fn vector(&self) -> u32 {
        let most = 16 / self.ty.element_bytes();
        let fits = |&v: &u32| v <= most && self.head_dim.is_multiple_of(v);
        [8, 4, 2].into_iter().find(fits).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_cover_every_bit_of_a_plane_once() {
        for (bits, groups) in [(1u8, 8), (2, 8), (4, 8), (8, 4), (16, 2), (1, 2), (2, 1)] {
            let words = groups * 8 * u32::from(bits) / 16;
            let mut seen = vec![0u32; words as usize];
            for (group, half, pair) in (0..groups * 8).map(|n| (n / 8, n / 4 % 2, n % 4)) {
                let field = Matrix::field(bits, group, half, pair);
                let at = (((1u64 << bits) - 1) as u32 * 0x0001_0001) << field.shift;
                let word = &mut seen[field.word as usize];
                assert_eq!(*word & at, 0, "{bits} bits, group {group}, pair {pair}");
                *word |= at;
            }
            assert!(seen.iter().all(|&word| word == u32::MAX));
        }
    }

    #[test]
    fn words_of_a_plane_have_places_of_their_own() {
        for words in 1..20 {
            let all = (0..words).flat_map(|w| (0..32).map(move |lane| word_place(words, lane, w)));
            let mut places: Vec<u32> = all.collect();
            places.sort_unstable();
            assert!(places.into_iter().eq(0..32 * words), "{words} words");
        }
    }

    #[test]
    fn cells_hold_planes_then_scales_then_factors() {
        let m = Matrix::of(DType::Q6K, 10, 512).unwrap();
        assert_eq!((m.tiles(), m.cells(), m.cell_groups()), (1, 2, 8));
        assert_eq!(
            (m.plane(1), m.scale_offset(), m.factor_offset()),
            (2048, 3072, 3328)
        );
        // As many bits as in the file.
        assert_eq!(m.bytes(), 16 * 2 * 210);
        let m = Matrix::of(DType::Q4_1, 16, 576).unwrap();
        assert_eq!((m.cells(), m.cell_groups(), m.cell_bytes()), (9, 2, 16 * 40));
        assert!(Matrix::of(DType::Q4_0, 4, 40).is_none() && Matrix::of(DType::I8, 4, 32).is_none());
        assert_eq!(Matrix::of(DType::F16, 3, 5).unwrap().bytes(), 16 * 32 * 2);
        assert_eq!(Matrix::of(DType::F32, 3, 5).unwrap().bytes(), 60);
    }

    #[test]
    fn vectors_divide_heads() {
        let vector = |head_dim, ty| KvHead { head_dim, ty }.vector();
        assert_eq!(vector(128, KvType::F16), 8);
        assert_eq!(vector(128, KvType::F32), 4);
        assert_eq!(vector(20, KvType::Q8_0), 4);
        assert_eq!(vector(7, KvType::Bf16), 1);
    }
}
