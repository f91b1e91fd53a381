//! `linear` over weights that lie in tiles, for steps of some rows: two launches, the second of which adds what blocks of the
//! first left and does what follows.
//!
//! A strip is 16 tiles of a weight, a unit is a cell of each tile of a strip. The units of all weights, strip by strip, are cut
//! into as many runs of equal length as there are blocks. A warp copies the cells of units, and another their elements of the
//! rows, into a ring in shared memory. Each of the consumers has two tiles: it unpacks some groups of a cell of each, and
//! multiplies them with all rows. What a block has of a strip it leaves in memory; [`JoinProduct`] adds that in the order of
//! blocks, which is that of elements.
//!
//! So weights are read once for all rows. The cut depends on shapes and the device alone, so that the sum of an output has the
//! same order whatever rows are beside it, and whatever number of them the kernel is for.

use super::cells::Cells;
use super::epilogue::{ProductPart, join_params};
use super::stream_cells::SHARE;
use super::stream_text::*;
use super::text::{Lines, Names};
use super::{Kernel, Param, ParamType, row_bytes};
use crate::layout::{GROUP, operand_stride};

/// Tiles of a strip.
const TILES: u32 = 16;
/// Warps that multiply, each two tiles.
const CONSUMERS: u32 = TILES / 2;
/// Groups of a cell.
const GROUPS: u32 = 8;
/// Bytes of a row's elements of a cell.
const ROW_BYTES: u32 = 2 * GROUPS * GROUP;
/// How far it is from row to row in shared memory, so that rows begin in banks of their own.
const ROW_STRIDE: u32 = ROW_BYTES + 32;
/// Most units that the ring holds.
const MOST_SLOTS: u32 = 8;
/// Units on their way at most.
const IN_FLIGHT: u32 = 2;
/// Most warps of a block that joins.
const JOIN_WARPS: u32 = 4;
/// Numbers of rows for which there are kernels of their own; more rows have several tiles of the last.
pub const STREAM_ROWS: [u32; 3] = [16, 32, 64];

/// Products that share their input.
#[derive(Clone, Debug)]
pub struct StreamProduct {
    /// Rows that are multiplied together, a multiple of 8.
    pub rows: u32,
    /// Most tiles of so many rows.
    pub row_tiles: u32,
    /// Blocks that the units are cut for.
    pub processors: u32,
    /// Bytes of shared memory that a block can have.
    pub shared_bytes: u32,
    /// The products, at least one, of equal numbers of inputs.
    pub parts: Vec<ProductPart>,
}

impl StreamProduct {
    /// Whether there is a kernel for such weights.
    pub fn can(parts: &[ProductPart]) -> bool {
        parts
            .iter()
            .all(|p| Cells::can_stream(&p.matrix) && p.columns() <= 16 * p.matrix.tiles())
    }

    /// Whether the shared memory holds enough units.
    pub fn fits(&self) -> bool {
        self.slots() >= 2
    }

    fn k(&self) -> u32 {
        self.parts[0].matrix.k
    }

    /// Runs of eight rows.
    fn columns(&self) -> u32 {
        self.rows / 8
    }

    /// Cells of a tile, and so units of a strip.
    fn cells(&self) -> u32 {
        self.parts[0].matrix.cells()
    }

    /// Strips of a weight of a part.
    fn strips(part: &ProductPart) -> u32 {
        part.matrix.tiles().div_ceil(TILES)
    }

    /// Strips of all weights.
    fn all_strips(&self) -> u32 {
        self.parts.iter().map(|p| p.weights() * Self::strips(p)).sum()
    }

    fn units(&self) -> u32 {
        self.all_strips() * self.cells()
    }

    /// Blocks across.
    pub fn blocks(&self) -> u32 {
        self.processors.min(self.units())
    }

    /// Strips that blocks leave: one more for each place where a strip is cut.
    fn left(&self) -> u32 {
        self.all_strips() + self.blocks()
    }

    /// Bytes of what blocks leave.
    pub fn sum_bytes(&self) -> u64 {
        u64::from(self.row_tiles * self.rows) * u64::from(self.left() * TILES * 16 * 4)
    }

    fn cells_of(part: &ProductPart) -> Cells<'_> {
        Cells {
            suffix: "",
            matrix: &part.matrix,
            spread: false,
        }
    }

    /// Words of sums of operands that a lane has of eight rows.
    fn sum_words(&self) -> u32 {
        let words = self.parts.iter().map(|p| Self::cells_of(p).sum_words());
        words.max().unwrap_or(0)
    }

    /// Where operands begin in a slot of the ring.
    fn operands(&self) -> u32 {
        let cell = self.parts.iter().map(|p| p.matrix.cell_bytes()).max();
        TILES * cell.unwrap_or(0)
    }

    fn sums(&self) -> u32 {
        self.operands() + self.rows * ROW_STRIDE
    }

    fn slot(&self) -> u32 {
        self.sums() + self.columns() * self.sum_words() * 128
    }

    fn slots(&self) -> u32 {
        let barriers = 8 * 4 * MOST_SLOTS;
        (self.shared_bytes.saturating_sub(barriers) / self.slot()).min(MOST_SLOTS)
    }

    pub(super) fn dynamic_shared(&self) -> u32 {
        self.slots() * (self.slot() + 8 * 4)
    }

    /// Consumers, then the warps that copy cells, copy operands, and sum them where that is needed.
    pub(super) fn threads(&self) -> u32 {
        32 * (CONSUMERS + 2 + u32::from(self.sum_words() > 0))
    }

    fn shape(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(ProductPart::name).collect();
        let (rows, tiles, blocks, k) = (self.rows, self.row_tiles, self.blocks(), self.k());
        format!("{rows}x{tiles}r{blocks}b_{k}_{}", parts.join("__"))
    }

    pub(super) fn name(&self) -> String {
        format!("stream{}k_{}", self.shared_bytes >> 10, self.shape())
    }

    pub(super) fn params(&self) -> Vec<Param> {
        let x = Param::rows("x", ParamType::Operands, row_bytes(ParamType::Operands, self.k()));
        let mut params = vec![x];
        for (i, part) in self.parts.iter().enumerate() {
            params.extend(part.weight_params(i));
        }
        params.push(Param::whole("sums", ParamType::F32, self.sum_bytes()).written());
        params
    }

    fn names(&self) -> Names {
        Names::new()
            .with("ROWS", self.rows)
            .with("COLUMNS", self.columns())
            .with("CONSUMERS", CONSUMERS)
            .with("TILES", TILES)
            .with("CELLS", self.cells())
            .with("UNITS", self.units())
            .with("BLOCKS", self.blocks())
            .with("ALL_SLOTS", self.left())
            .with("STRIDE", operand_stride(self.k()))
            .with("ROW_BYTES", ROW_BYTES)
            .with("ROW_STRIDE", ROW_STRIDE)
            .with("SLOTS", self.slots())
            .with("SLOT", self.slot())
            .with("OPERANDS", self.operands())
            .with("SUMS", self.sums())
            .with("BARRIERS", self.slots() * self.slot())
            .with("IN_FLIGHT", IN_FLIGHT.min(self.slots() - 1))
            .with("SHARE", SHARE)
    }

    fn part_names(&self, i: usize, part: &ProductPart) -> Names {
        let before: u32 = self.parts[..i]
            .iter()
            .map(|p| p.weights() * Self::strips(p))
            .sum();
        let strips = Self::strips(part);
        let cells = Self::cells_of(part);
        self.names()
            .with("P", i)
            .with("CELL", part.matrix.cell_bytes())
            .with("PART_TILES", part.matrix.tiles())
            .with("STRIPS", strips)
            .with("STRIPS_BEFORE", before)
            .with("BEFORE", before * self.cells())
            .with("PART_UNITS", part.weights() * strips * self.cells())
            .with("B", cells.operand_words())
            .with("X", cells.sum_words())
            .with("W", format!("w{i}"))
            .with("SECOND", part.second_name(i))
    }

    fn each_part(&self, text: impl Fn(usize, &ProductPart) -> String) -> String {
        let parts = self.parts.iter().enumerate();
        parts.map(|(i, p)| text(i, p)).collect()
    }

    fn role(&self, template: &str, body: String) -> String {
        self.names().with("BODY", body).fill(template)
    }

    pub(super) fn source(&self) -> String {
        let mut text = Lines::new();
        for (i, part) in self.parts.iter().enumerate() {
            let cells = Cells {
                suffix: &i.to_string(),
                ..Self::cells_of(part)
            };
            text.line(cells.stream_functions());
        }
        text.line(self.names().fill(CUT));
        text.line(Kernel::head(&self.name(), self.threads(), &self.params()));
        text.line(self.names().fill(START));
        let part = |template| self.each_part(|i, part| self.part_names(i, part).fill(template));
        text.line(part(RANGE));
        text.line(self.role(COPIER, part(COPY_PART)));
        text.line(self.role(OPERAND_COPIER, part(COPY_OPERANDS)));
        if self.sum_words() > 0 {
            let sum = |i: usize, part: &ProductPart| {
                let sums = match Self::cells_of(part).sum_words() {
                    0 => String::new(),
                    _ => self.part_names(i, part).fill(SUMS_OF_UNIT),
                };
                let names = self.part_names(i, part).with("SUMS_OF_UNIT", sums);
                names.fill(SUM_PART)
            };
            text.line(self.role(SUMMER, self.each_part(sum)));
        }
        text.line(self.each_part(|i, part| self.consumer(i, part)));
        text.line("}");
        text.finish()
    }

    fn consumer(&self, i: usize, part: &ProductPart) -> String {
        let cells = Self::cells_of(part);
        let names = || self.part_names(i, part);
        let shares = (0..GROUPS / SHARE).map(|share| {
            let named = names().with("S", share);
            named.with("PS", format!("{i}_{share}")).fill(CONSUME_SHARE)
        });
        let minima = match cells.sum_words() {
            0 => String::new(),
            _ => names().with("MMA", cells.mma_of_minima("s")).fill(CONSUME_MINIMA),
        };
        let names = names().with("SHARES", shares.collect::<String>());
        let wait = if self.sum_words() > 0 { SUMS_WAIT } else { "" };
        let names = names.with("SUMS_WAIT", wait);
        names.with("MINIMA", minima).fill(CONSUME_PART)
    }
}

/// The second launch of products.
#[derive(Clone, Debug)]
pub struct JoinProduct(
    /// The first.
    pub StreamProduct,
);

impl JoinProduct {
    fn warps(&self) -> u32 {
        self.0.columns().min(JOIN_WARPS)
    }

    pub(super) fn threads(&self) -> u32 {
        32 * self.warps()
    }

    /// Blocks across.
    pub fn blocks(&self) -> u32 {
        self.0.parts.iter().map(|p| p.matrix.tiles()).sum()
    }

    /// Rows of a block.
    pub fn rows(&self) -> u32 {
        8 * self.warps()
    }

    pub(super) fn name(&self) -> String {
        format!("join_{}", self.0.shape())
    }

    pub(super) fn params(&self) -> Vec<Param> {
        join_params(self.0.sum_bytes(), &self.0.parts)
    }

    pub(super) fn source(&self) -> String {
        let names = self.0.names().with("WARPS", self.warps());
        let mut text = Lines::new();
        text.line(names.fill(BLOCK_OF) + &names.fill(ADD));
        text.line(Kernel::signature(&self.name(), self.threads(), &self.params()));
        text.line(names.fill(JOIN_START));
        for (i, part) in self.0.parts.iter().enumerate() {
            let names = self.0.part_names(i, part);
            let (add, value) = match part.paired {
                true => (names.fill(ADD_SECOND), SECOND_VALUE),
                false => (String::new(), ""),
            };
            let names = names.with("ADD_SECOND", add).with("SECOND_VALUE", value);
            text.line(names.with("FINISH", part.finish(i)).fill(JOIN_PART));
        }
        text.line("}");
        text.finish()
    }
}
