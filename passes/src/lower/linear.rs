//! The kernel of one part of a `linear`: panels of a packed weight times all rows of the step, with an epilogue.

use super::dot::{Codes, PanelAddr, TileShape, codes_tile, expand_codes, float_tile};
use super::emit::{F32_BYTES, Q8aRow, at};
use super::epilogue::UnitEpilogue;
use super::matrix::{MATRIX_ROWS, MATRIX_SCRATCH, matrix_tile};
use lathe_ir::kernel::builder::Addr;
use lathe_ir::kernel::{Buf, Cmp, KernelBuilder, Mem, Val};
use lathe_ir::layout::PANEL_ROWS;

/// Bytes of a block of a panel whose codes were spread to bytes.
const EXPANDED_BLOCK: u32 = 32 * PANEL_ROWS as u32;

/// What a panel holds.
#[derive(Clone, Debug, PartialEq)]
pub enum PanelKind {
    /// Codes, multiplied with q8a rows.
    Codes(Codes),
    /// Floats of this type, multiplied with f32 rows.
    Float(Mem),
}

/// Byte geometry of a panel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PanelGeometry {
    /// Bytes from one panel to the next.
    pub stride: u32,
    /// Bytes from one block of 32 to the next.
    pub record: u32,
    /// Offset of the scales in a block.
    pub scales: u32,
}

/// Everything that the generator needs to know of a product.
#[derive(Clone, Debug)]
pub struct LinearKernel {
    /// What panels hold.
    pub kind: PanelKind,
    /// How they lie.
    pub panel: PanelGeometry,
    /// Length of a row.
    pub k: u32,
    /// The weights: one, or gate and up.
    pub weights: Vec<Buf>,
    /// The activations.
    pub input: Buf,
    /// What happens to the sums.
    pub epilogue: UnitEpilogue,
    /// Vector width.
    pub lanes: u8,
    /// How it is tiled.
    pub tile: Tile,
    /// Whether tiles of sixteen rows are for the matrix unit.
    pub matrix: bool,
}

/// How a product is tiled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tile {
    /// Rows of the largest tile.
    pub rows: u32,
    /// Weight vectors of a tile of many rows held at once.
    pub groups: u32,
    /// Whether tiles of many rows read codes that were first spread to bytes.
    pub expand: bool,
    /// Bytes ahead that single rows prefetch weights; 0 for none.
    pub prefetch: u32,
}

/// Rows that are left to tiles of few rows.
const LEFT: u32 = 16;

/// Rows of the largest tile of few rows.
const FEW: u32 = 8;

/// How far ahead tiles of few rows prefetch weights, and the bytes of a block for each row from which on they don't: hints
/// bring at most two thirds of what hardware does where rows are so few that it keeps up, and it falls behind where they
/// take longer for a block.
const AHEAD: u32 = 8192;
const HARDWARE_KEEPS_UP: u32 = 128;

/// One size of tile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Size {
    /// Rows of a tile.
    pub rows: u32,
    /// Weight vectors held at once.
    pub groups: u32,
    /// Bytes ahead that weights are prefetched.
    pub prefetch: u32,
}

/// The sizes of a product's tiles.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sizes {
    /// Tiles of a fixed number of rows in their order: what one leaves over goes to the next.
    pub large: Vec<Size>,
    /// Rows that the first of them leaves over at least, where there are as many.
    pub left: u32,
    /// Tiles of 1, 2, … rows for what is left then, in chunks of as many rows as the largest has.
    pub few: Vec<Size>,
}

impl Sizes {
    /// The sizes of a product. With 512-bit vectors, codes have tiles of their own for few rows, as in decoding of several
    /// sequences and in checking drafts: one tile for all rows, which reads each panel once and in one stream.
    ///
    /// `record` is the bytes of a block of a panel of codes; `None` for floats.
    pub(super) fn new(tile: &Tile, lanes: u8, record: Option<u32>, matrix: bool) -> Sizes {
        let size = |rows, groups, prefetch| Size {
            rows,
            groups,
            prefetch,
        };
        let main = size(tile.rows, tile.groups, 0);
        let few = match lanes == 16 && record.is_some() && tile.rows > 1 {
            true => FEW,
            false => 1,
        };
        let mut large: Vec<Size> = matrix.then_some(size(MATRIX_ROWS, 0, 0)).into_iter().collect();
        if few == 1 {
            let smaller = [main, size(2, tile.groups, 0)];
            large.extend(smaller.into_iter().filter(|s| s.rows > 1 && s.rows <= tile.rows));
            large.dedup();
        } else if !matrix {
            large.push(main);
        }
        let few = (1..=few).map(|rows| match rows {
            1 => size(1, tile.groups, tile.prefetch),
            _ if record.is_some_and(|bytes| bytes > HARDWARE_KEEPS_UP * rows) => size(rows, 1, 0),
            _ => size(rows, 1, AHEAD),
        });
        let few: Vec<Size> = few.collect();
        let left = if few.len() > 1 && !matrix { LEFT } else { 0 };
        Sizes { large, left, few }
    }

    /// Rows of the largest tile.
    fn most(&self) -> u32 {
        let all = self.large.iter().chain(&self.few);
        all.map(|size| size.rows).max().unwrap_or(1)
    }

    /// Rows that tile number `number` of the large ones leaves over at least.
    fn left_by(&self, number: usize) -> u32 {
        if number == 0 { self.left } else { 0 }
    }

    /// The tiles of `rows` rows in their order: sizes, and how many of each.
    pub(super) fn tiles(&self, rows: u32) -> Vec<(Size, u32)> {
        let (mut left, mut tiles) = (rows, Vec::new());
        for (number, &size) in self.large.iter().enumerate() {
            let count = match self.left_by(number) {
                0 => left / size.rows,
                leaves => left.saturating_sub(leaves).div_ceil(size.rows),
            };
            left -= count * size.rows;
            tiles.push((size, count));
        }
        let most = self.few.len() as u32;
        tiles.push((self.few[most as usize - 1], left / most));
        let rest = (left % most) as usize;
        tiles.extend(rest.checked_sub(1).map(|rest| (self.few[rest], 1)));
        tiles.retain(|&(_, count)| count > 0);
        tiles
    }
}

impl LinearKernel {
    fn sizes(&self) -> Sizes {
        let record = matches!(self.kind, PanelKind::Codes(_)).then_some(self.panel.record);
        Sizes::new(&self.tile, self.lanes, record, self.matrix)
    }

    /// Panels of each weight in a unit.
    fn panels(&self) -> u32 {
        self.epilogue.columns / PANEL_ROWS as u32
    }

    fn row_bytes(&self) -> u32 {
        match self.kind {
            PanelKind::Codes(_) => Q8aRow::new(self.k).stride,
            PanelKind::Float(_) => self.k * F32_BYTES,
        }
    }

    /// Bytes of one row of sums of a unit.
    fn sums_bytes(&self) -> u32 {
        self.epilogue.columns * self.weights.len() as u32 * F32_BYTES
    }

    fn expands(&self) -> bool {
        let wanted = self.tile.expand || self.matrix;
        matches!(&self.kind, PanelKind::Codes(c) if wanted && c.needs_unpacking())
    }

    fn expanded_panel_bytes(&self) -> u32 {
        PANEL_ROWS as u32 * self.k
    }

    /// Scratch bytes that [`LinearKernel::emit`] uses.
    pub fn scratch_bytes(&self) -> u32 {
        let panels = self.panels() * self.weights.len() as u32;
        self.expanded_start()
            + if self.expands() {
                panels * self.expanded_panel_bytes()
            } else {
                0
            }
    }

    /// Scratch holds the sums of a tile, then what the matrix unit leaves, then codes that were spread to bytes.
    fn matrix_start(&self) -> u32 {
        (self.sizes().most() * self.sums_bytes()).next_multiple_of(64)
    }

    fn expanded_start(&self) -> u32 {
        self.matrix_start() + if self.matrix { MATRIX_SCRATCH } else { 0 }
    }

    fn matrix_sums(&self, scratch: Buf, zero: Val) -> Addr {
        at(scratch, zero).plus(self.matrix_start() as i32)
    }

    /// Emits a unit: `rows` rows in tiles, largest first.
    pub fn emit(&self, b: &mut KernelBuilder, rows: Val, scratch: Buf) {
        let unit = b.unit();
        let first = b.mul_const(unit, i64::from(self.panels() * self.panel.stride));
        let sizes = self.sizes();
        let mut done = b.index(0);
        for (number, &size) in sizes.large.iter().enumerate() {
            let mut left = b.sub(rows, done);
            let leaves = sizes.left_by(number);
            if leaves > 0 {
                // Rounded up: no more are left than that.
                let most = b.add_const(left, i64::from(size.rows - 1) - i64::from(leaves));
                let none = b.index(0);
                left = b.max(most, none);
            }
            let tiles = b.div_const(left, i64::from(size.rows));
            let whole = b.mul_const(tiles, i64::from(size.rows));
            let (from, to) = (done, b.add(done, whole));
            let expanded = self.expands() && number == 0;
            if expanded {
                let skip = |_: &mut KernelBuilder| {};
                let expand = |b: &mut KernelBuilder| self.expand(b, first, scratch);
                b.if_else(Cmp::Lt, from, to, expand, skip);
            }
            b.for_loop(from, to, i64::from(size.rows), &[], |b, row, _| {
                self.tile(b, row, size, first, scratch, expanded);
                let count = b.index(i64::from(size.rows));
                self.finish(b, row, count, scratch);
                Vec::new()
            });
            done = to;
        }
        self.few_rows(b, (done, rows), &sizes.few, first, scratch);
    }

    /// The rows from `done` on, in chunks that take the tile of as many rows as they have.
    fn few_rows(
        &self,
        b: &mut KernelBuilder,
        (done, rows): (Val, Val),
        few: &[Size],
        first: Val,
        scratch: Buf,
    ) {
        b.for_loop(done, rows, few.len() as i64, &[], |b, row, _| {
            let left = b.sub(rows, row);
            let most = b.index(few.len() as i64);
            let count = b.min(left, most);
            self.tile_of(b, count, row, few, first, scratch);
            self.finish(b, row, count, scratch);
            Vec::new()
        });
    }

    /// The tile of `count` rows among `few`, by halving them.
    fn tile_of(&self, b: &mut KernelBuilder, count: Val, row: Val, few: &[Size], first: Val, scratch: Buf) {
        let (lower, upper) = few.split_at(few.len() / 2);
        if lower.is_empty() {
            return self.tile(b, row, few[0], first, scratch, false);
        }
        let bound = b.index(i64::from(upper[0].rows));
        b.if_else(
            Cmp::Lt,
            count,
            bound,
            |b| self.tile_of(b, count, row, lower, first, scratch),
            |b| self.tile_of(b, count, row, upper, first, scratch),
        );
    }

    /// The epilogue of `count` rows from `row` on, whose sums are in scratch memory.
    fn finish(&self, b: &mut KernelBuilder, row: Val, count: Val, scratch: Buf) {
        let (zero, unit) = (b.index(0), b.unit());
        b.for_loop(zero, count, 1, &[], |b, m, _| {
            let sums = b.mul_const(m, i64::from(self.sums_bytes()));
            let row = b.add(row, m);
            self.epilogue.emit(b, at(scratch, sums), row, unit);
            Vec::new()
        });
    }

    /// Sums of a tile of rows from `row` on, for all panels of the unit.
    fn tile(&self, b: &mut KernelBuilder, row: Val, size: Size, first: Val, scratch: Buf, expanded: bool) {
        let a = b.mul_const(row, i64::from(self.row_bytes()));
        let a = at(self.input, a);
        let vectors = PANEL_ROWS as u32 / u32::from(self.lanes);
        // A single row streams a panel at a time; tiles of rows share their activations among as many as are held.
        let matrix = self.matrix && size.rows == MATRIX_ROWS;
        let groups = if size.rows == 1 || matrix {
            vectors
        } else {
            size.groups
        };
        let at_once = (groups / vectors).clamp(1, self.panels());
        let whole = self.panels() / at_once * at_once;
        for which in 0..self.weights.len() as u32 {
            for (lo, hi, panels) in [(0, whole, at_once), (whole, self.panels(), 1)] {
                if lo < hi {
                    let shape = TileShape {
                        lanes: self.lanes,
                        rows: size.rows,
                        panels,
                        groups,
                        k: self.k,
                        prefetch: size.prefetch,
                    };
                    let (lo, hi) = (b.index(i64::from(lo)), b.index(i64::from(hi)));
                    b.for_loop(lo, hi, i64::from(panels), &[], |b, p, _| {
                        self.panel_tile(b, shape, which, p, a, first, scratch, expanded);
                        Vec::new()
                    });
                }
            }
        }
    }

    /// Sums of a tile for the panels from number `p` of the unit on.
    #[allow(clippy::too_many_arguments)]
    fn panel_tile(
        &self,
        b: &mut KernelBuilder,
        shape: TileShape,
        which: u32,
        p: Val,
        a: Addr,
        first: Val,
        scratch: Buf,
        expanded: bool,
    ) {
        let sums = b.mul_const(p, i64::from(PANEL_ROWS as u32 * F32_BYTES));
        let sums = at(scratch, sums).plus((which * self.epilogue.columns * F32_BYTES) as i32);
        let out = |row: u32| sums.plus((row * self.sums_bytes()) as i32);
        let offset = b.mul_const(p, i64::from(self.panel.stride));
        let start = b.add(first, offset);
        let panel = at(self.weights[which as usize], start);
        match &self.kind {
            PanelKind::Float(mem) => float_tile(b, *mem, shape, (panel, self.panel.stride), a, out),
            PanelKind::Codes(codes) => {
                let mut parts = self.panel_addr(panel);
                let mut codes = codes.clone();
                if expanded {
                    parts.codes = self.expanded(b, which, p, scratch);
                    parts.code_stride = EXPANDED_BLOCK;
                    parts.code_panel = self.expanded_panel_bytes();
                    codes = codes.expanded();
                }
                if self.matrix && shape.rows == MATRIX_ROWS {
                    let zero = b.index(0);
                    matrix_tile(b, &codes, shape, parts, a, self.matrix_sums(scratch, zero), out);
                } else {
                    codes_tile(b, &codes, shape, parts, a, out);
                }
            }
        }
    }

    fn panel_addr(&self, panel: Addr) -> PanelAddr {
        PanelAddr {
            codes: panel,
            code_stride: self.panel.record,
            code_panel: self.panel.stride,
            scale_panel: self.panel.stride,
            scales: panel.plus(self.panel.scales as i32),
            record: self.panel.record,
        }
    }

    /// Where the expanded codes of panel `p` of weight `which` are.
    fn expanded(&self, b: &mut KernelBuilder, which: u32, p: Val, scratch: Buf) -> Addr {
        let offset = b.mul_const(p, i64::from(self.expanded_panel_bytes()));
        at(scratch, offset)
            .plus((self.expanded_start() + which * self.panels() * self.expanded_panel_bytes()) as i32)
    }

    fn expand(&self, b: &mut KernelBuilder, first: Val, scratch: Buf) {
        let PanelKind::Codes(codes) = &self.kind else {
            return;
        };
        let shape = TileShape {
            lanes: self.lanes,
            rows: 1,
            panels: 1,
            groups: 1,
            k: self.k,
            prefetch: 0,
        };
        for which in 0..self.weights.len() as u32 {
            b.for_const(i64::from(self.panels()), |b, p| {
                let offset = b.mul_const(p, i64::from(self.panel.stride));
                let start = b.add(first, offset);
                let from = self.panel_addr(at(self.weights[which as usize], start));
                let to = self.expanded(b, which, p, scratch);
                expand_codes(b, codes, shape, from, to);
            });
        }
    }
}
