//! The kernel of one part of a `linear`: panels of a packed weight times all rows of the step, with an epilogue.

use super::dot::{Codes, PanelAddr, TileShape, codes_tile, expand_codes, float_tile};
use super::emit::{F32_BYTES, Q8aRow, at};
use super::epilogue::UnitEpilogue;
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
    /// Rows of a tile.
    pub tile_rows: u32,
    /// Weight vectors of a tile held at once.
    pub tile_groups: u32,
}

impl LinearKernel {
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

    /// Whether tiles of many rows read codes that were first spread to bytes.
    fn expands(&self) -> bool {
        matches!(&self.kind, PanelKind::Codes(c) if c.needs_unpacking())
    }

    fn expanded_panel_bytes(&self) -> u32 {
        PANEL_ROWS as u32 * self.k
    }

    /// Scratch bytes that [`LinearKernel::emit`] uses.
    pub fn scratch_bytes(&self) -> u32 {
        let sums = self.tile_rows * self.sums_bytes();
        let panels = self.panels() * self.weights.len() as u32;
        sums.next_multiple_of(64)
            + if self.expands() {
                panels * self.expanded_panel_bytes()
            } else {
                0
            }
    }

    /// Emits a unit: `rows` rows in tiles, then one by one.
    pub fn emit(&self, b: &mut KernelBuilder, rows: Val, scratch: Buf) {
        let unit = b.unit();
        let first = b.mul_const(unit, i64::from(self.panels() * self.panel.stride));
        let tile = self.tile_rows;
        if tile == 1 {
            let zero = b.index(0);
            return self.row_loop(b, (zero, rows), 1, first, scratch, false);
        }
        let whole = b.div_const(rows, i64::from(tile));
        let whole = b.mul_const(whole, i64::from(tile));
        let zero = b.index(0);
        b.if_else(
            Cmp::Lt,
            zero,
            whole,
            |b| {
                if self.expands() {
                    self.expand(b, first, scratch);
                }
                let zero = b.index(0);
                self.row_loop(b, (zero, whole), tile, first, scratch, self.expands());
            },
            |_| {},
        );
        self.row_loop(b, (whole, rows), 1, first, scratch, false);
    }

    fn row_loop(
        &self,
        b: &mut KernelBuilder,
        (lo, hi): (Val, Val),
        tile: u32,
        first: Val,
        scratch: Buf,
        expanded: bool,
    ) {
        b.for_loop(lo, hi, i64::from(tile), &[], |b, row, _| {
            self.tile(b, row, tile, first, scratch, expanded);
            let rows = b.index(i64::from(tile));
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

    /// Sums of `tile` rows from `row` on, for all panels of the unit.
    fn tile(&self, b: &mut KernelBuilder, row: Val, tile: u32, first: Val, scratch: Buf, expanded: bool) {
        let a = b.mul_const(row, i64::from(self.row_bytes()));
        let a = at(self.input, a);
        for which in 0..self.weights.len() as u32 {
            b.for_const(i64::from(self.panels()), |b, p| {
                let sums = b.mul_const(p, i64::from(PANEL_ROWS as u32 * F32_BYTES));
                let sums = at(scratch, sums).plus((which * self.epilogue.columns * F32_BYTES) as i32);
                let out = |row: u32| sums.plus((row * self.sums_bytes()) as i32);
                let offset = b.mul_const(p, i64::from(self.panel.stride));
                let start = b.add(first, offset);
                let panel = at(self.weights[which as usize], start);
                let groups = if tile == 1 {
                    16 / u32::from(self.lanes)
                } else {
                    self.tile_groups
                };
                let shape = TileShape {
                    lanes: self.lanes,
                    rows: tile,
                    groups,
                    k: self.k,
                };
                match &self.kind {
                    PanelKind::Float(mem) => float_tile(b, *mem, shape, panel, a, out),
                    PanelKind::Codes(codes) => {
                        let mut parts = self.panel_addr(panel);
                        if !expanded {
                            return codes_tile(b, codes, shape, parts, a, out);
                        }
                        parts.codes = self.expanded(b, which, p, scratch);
                        parts.code_stride = EXPANDED_BLOCK;
                        codes_tile(b, &codes.expanded(), shape, parts, a, out);
                    }
                }
            });
        }
    }

    fn panel_addr(&self, panel: Addr) -> PanelAddr {
        PanelAddr {
            codes: panel,
            code_stride: self.panel.record,
            scales: panel.plus(self.panel.scales as i32),
            record: self.panel.record,
        }
    }

    /// Where the expanded codes of panel `p` of weight `which` are.
    fn expanded(&self, b: &mut KernelBuilder, which: u32, p: Val, scratch: Buf) -> Addr {
        let offset = b.mul_const(p, i64::from(self.expanded_panel_bytes()));
        let base = (self.tile_rows * self.sums_bytes()).next_multiple_of(64);
        at(scratch, offset).plus((base + which * self.panels() * self.expanded_panel_bytes()) as i32)
    }

    fn expand(&self, b: &mut KernelBuilder, first: Val, scratch: Buf) {
        let PanelKind::Codes(codes) = &self.kind else {
            return;
        };
        let shape = TileShape {
            lanes: self.lanes,
            rows: 1,
            groups: 1,
            k: self.k,
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
