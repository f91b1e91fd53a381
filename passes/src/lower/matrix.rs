//! Dot-product tiles for a matrix unit: sixteen rows times one panel, a block of 32 at a time.
//!
//! The unit leaves the exact sums of a block in scratch memory. They are read a block later: what it stores takes longer
//! to reach other instructions than ordinary stores, and the next block's products can run meanwhile. Float operations
//! are those of the other tiles, in the same order.

use super::dot::{BLOCK_LEN, Block, Codes, PanelAddr, TileShape};
use super::emit::{F32_BYTES, Q8aRow, shift};
use lathe_ir::kernel::builder::Addr;
use lathe_ir::kernel::{KernelBuilder, Mem, Ty, Val};
use lathe_ir::layout::PANEL_ROWS;

/// Rows of a tile.
pub const MATRIX_ROWS: u32 = 16;
/// Bytes of the sums of a group: `[16][16]i32`.
const SUMS_BYTES: u32 = MATRIX_ROWS * PANEL_ROWS as u32 * F32_BYTES;
/// Scratch bytes that [`matrix_tile`] uses: two blocks of at most two groups each.
pub const MATRIX_SCRATCH: u32 = 4 * SUMS_BYTES;

/// What a tile is made from.
struct MatrixTile<'a> {
    codes: &'a Codes,
    shape: TileShape,
    panel: PanelAddr,
    a: Addr,
    sums: Addr,
}

/// As [`super::dot::codes_tile`], for sixteen rows, one panel of codes that are bytes, and vectors of sixteen; `sums` is the
/// scratch memory of the unit.
pub fn matrix_tile(
    b: &mut KernelBuilder,
    codes: &Codes,
    shape: TileShape,
    panel: PanelAddr,
    a: Addr,
    sums: Addr,
    out: impl Fn(u32) -> Addr,
) {
    let tile = MatrixTile {
        codes,
        shape,
        panel,
        a,
        sums,
    };
    let zero = b.fconst(0.0, shape.lanes);
    let first = b.index(0);
    tile.multiply(b, first);
    let last = b.index(i64::from(shape.k - BLOCK_LEN));
    let totals = b.for_loop(
        first,
        last,
        BLOCK_LEN.into(),
        &vec![zero; shape.rows as usize],
        |b, i, totals| {
            let next = b.add_const(i, BLOCK_LEN.into());
            tile.multiply(b, next);
            tile.add(b, i, totals)
        },
    );
    let totals = tile.add(b, last, &totals);
    for (row, &total) in (0..).zip(&totals) {
        b.store(Mem::F32, out(row), total);
    }
}

impl MatrixTile<'_> {
    fn block(&self, b: &mut KernelBuilder, i: Val) -> Block<'_> {
        Block::new(
            b,
            self.codes,
            self.shape,
            Q8aRow::new(self.shape.k),
            self.panel,
            self.a,
            i,
        )
    }

    fn groups(&self) -> u32 {
        BLOCK_LEN / self.codes.group
    }

    /// Where the sums of the block at element `i` are: blocks take turns.
    fn place(&self, b: &mut KernelBuilder, i: Val) -> Addr {
        let block = b.index(BLOCK_LEN.into());
        let turn = b.and(i, block);
        let offset = b.mul_const(turn, i64::from(self.groups() * SUMS_BYTES / BLOCK_LEN));
        shift(b, self.sums, offset)
    }

    /// The unit's part of the block at element `i`.
    fn multiply(&self, b: &mut KernelBuilder, i: Val) {
        let block = self.block(b, i);
        let to = self.place(b, i);
        for group in 0..self.groups() {
            let (a, w) = block.group(group);
            let shape = (MATRIX_ROWS as u8, self.codes.group as u8, block.stride());
            b.tile_dot(shape, to.plus((group * SUMS_BYTES) as i32), a, w);
        }
    }

    /// Adds the scaled sums of the block at element `i` to the totals of each row.
    fn add(&self, b: &mut KernelBuilder, i: Val, totals: &[Val]) -> Vec<Val> {
        let block = self.block(b, i);
        let from = self.place(b, i);
        let mut totals = totals.to_vec();
        for group in 0..self.groups() {
            let dots: Vec<Val> = (0..MATRIX_ROWS)
                .map(|row| {
                    let place = from.plus((group * SUMS_BYTES + row * 64) as i32);
                    let dot = b.load(Mem::I32, place, Ty::i32(self.shape.lanes));
                    match block.start(b, row, group) {
                        Some(start) => b.add(dot, start),
                        None => dot,
                    }
                })
                .collect();
            block.accumulate(b, group, &(0..1), &dots, |b, row, f| {
                totals[row] = f(b, totals[row])
            });
        }
        totals
    }
}
