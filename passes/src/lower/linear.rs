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

/// Rows that are left to tiles for few rows.
const FEW: u32 = 16;

/// Bytes ahead that tiles of a few rows prefetch weights, which come from memory then; hardware does not prefetch across
/// pages.
const AHEAD: u32 = 2048;

/// One size of tile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Size {
    /// Rows of a tile.
    pub rows: u32,
    /// Weight vectors held at once.
    pub groups: u32,
    /// Rows that this size leaves over at least, where there are as many.
    pub leaves: u32,
    /// Bytes ahead that weights are prefetched.
    pub prefetch: u32,
}

impl Size {
    /// Tiles of this size for the last `rows` rows.
    pub(super) fn tiles(&self, rows: u32) -> u32 {
        match self.leaves {
            0 => rows / self.rows,
            leaves => rows.saturating_sub(leaves).div_ceil(self.rows),
        }
    }
}

/// Sizes of tiles in their order: what one leaves over goes to the next. A product of codes that are unpacked on the way
/// with 512-bit vectors has tiles of its own for few rows, as in decoding of several sequences: they unpack a vector of
/// codes for eight rows, where larger tiles hold more vectors for fewer.
pub(super) fn sizes(tile: &Tile, lanes: u8, codes: bool, matrix: bool) -> Vec<Size> {
    let size = |rows, groups, prefetch| Size {
        rows,
        groups,
        leaves: 0,
        prefetch,
    };
    let (main, one) = (
        size(tile.rows, tile.groups, 0),
        size(1, tile.groups, tile.prefetch),
    );
    let mut sizes = Vec::new();
    if lanes == 16 && codes && !matrix && !tile.expand && tile.rows > 1 {
        sizes.push(Size { leaves: FEW, ..main });
        sizes.extend([
            size(8, 1, AHEAD),
            size(4, 2, AHEAD),
            size(2, tile.groups, AHEAD),
            one,
        ]);
        return sizes;
    }
    sizes.extend(matrix.then_some(size(MATRIX_ROWS, 0, 0)));
    sizes.push(if tile.rows == 1 { one } else { main });
    let smaller = [size(2, tile.groups, 0), one].into_iter();
    sizes.extend(smaller.filter(|s| s.rows < tile.rows));
    sizes
}

impl LinearKernel {
    fn sizes(&self) -> Vec<Size> {
        let codes = matches!(self.kind, PanelKind::Codes(_));
        sizes(&self.tile, self.lanes, codes, self.matrix)
    }

    fn most_rows(&self) -> u32 {
        self.sizes().iter().map(|size| size.rows).max().unwrap_or(1)
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
        (self.most_rows() * self.sums_bytes()).next_multiple_of(64)
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
        let mut done = b.index(0);
        for size in self.sizes() {
            let whole = match size.rows {
                1 => rows,
                n => {
                    let mut left = b.sub(rows, done);
                    if size.leaves > 0 {
                        // Rounded up: no more are left than that.
                        let most = b.add_const(left, i64::from(n - 1) - i64::from(size.leaves));
                        let none = b.index(0);
                        left = b.max(most, none);
                    }
                    let tiles = b.div_const(left, i64::from(n));
                    let whole = b.mul_const(tiles, i64::from(n));
                    b.add(done, whole)
                }
            };
            if self.expands() && size.rows == self.most_rows() && size.rows > 1 {
                let from = done;
                b.if_else(
                    Cmp::Lt,
                    from,
                    whole,
                    |b| {
                        self.expand(b, first, scratch);
                        self.row_loop(b, (from, whole), size, first, scratch, true);
                    },
                    |_| {},
                );
            } else {
                self.row_loop(b, (done, whole), size, first, scratch, false);
            }
            done = whole;
        }
    }

    fn row_loop(
        &self,
        b: &mut KernelBuilder,
        (lo, hi): (Val, Val),
        size: Size,
        first: Val,
        scratch: Buf,
        expanded: bool,
    ) {
        b.for_loop(lo, hi, i64::from(size.rows), &[], |b, row, _| {
            self.tile(b, row, size, first, scratch, expanded);
            let rows = b.index(i64::from(size.rows));
            let (zero, unit) = (b.index(0), b.unit());
            b.for_loop(zero, rows, 1, &[], |b, m, _| {
                let sums = b.mul_const(m, i64::from(self.sums_bytes()));
                let row = b.add(row, m);
                self.epilogue.emit(b, at(scratch, sums), row, unit);
                Vec::new()
            });
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
