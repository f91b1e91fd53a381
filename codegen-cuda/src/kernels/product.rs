//! `linear` over weights that lie in tiles: products that share their input, in one launch, on tensor cores. For few rows;
//! more are tiles of 8, each of which reads all weights ([`super::StreamProduct`] does not).
//!
//! A block for each multiprocessor walks a stretch of the tiles of all parts. A warp copies their cells, in the order in
//! which they lie, into a ring in shared memory, as far ahead as it holds them: weights depend on nothing, so that this begins
//! while the launch before still runs. A step is a cell for each of the consumers, warps that multiply it with their operands;
//! of a tile with more cells, a consumer has every so-manieth. A step comes in several copies, each for some of the
//! consumers. When a tile ends, consumers leave their sums to the finisher, a warp that adds them in the order of consumers,
//! does what follows element by element, and stores.
//!
//! So the sum of an output has the same order whatever the number of blocks, and whatever rows are beside it. A product that
//! norms its input sums squares in another order than [`super::RowOp::Norm`]: steps of up to 8 rows share their bits, and
//! steps of more.

use super::cells::Cells;
use super::epilogue::ProductPart;
use super::product_text::*;
use super::text::{Lines, Names, float, float_name};
use super::{Heads, Kernel, Param, ParamType, row_bytes};
use crate::layout::{GROUP, Matrix, operand_stride};
use lathe_ir::DType;

/// Most consumers.
const MOST_CONSUMERS: u32 = 16;
/// Bytes that a copy should have: fewer take too long to begin, more keep too many consumers waiting.
const COPY: u32 = 20 << 10;
/// Copies on their way at most: more make all other accesses slower.
const IN_FLIGHT: u32 = 3;
/// Shared memory left to the kernels that run beside, where there is enough: those between two products are small.
const BESIDE: u32 = 56 << 10;
/// Bytes of the cells of a step that has several tiles side by side.
const MOST_STEP: u32 = 64 << 10;
/// Bytes of shared memory that are not little.
const LITTLE: u32 = 200 << 10;
/// Most copies that the ring holds.
const MOST_SLOTS: u32 = 16;
/// Floats between rows of sums in shared memory, so that lanes write to banks of their own.
const SUM_STRIDE: u32 = 20;
/// Rows of tiles of operands.
const ROWS: u32 = 8;
/// Numbers of rows for which there are kernels of their own; more rows have several tiles of the last.
pub const PRODUCT_ROWS: [u32; 2] = [1, ROWS];

/// Products that share their input.
#[derive(Clone, Debug)]
pub struct Product {
    /// Rows of operands that the ring has room for, of 8 that are multiplied together.
    pub rows: u32,
    /// Bytes of shared memory that a block can have.
    pub shared_bytes: u32,
    /// What is added to the mean of squares where the input is f32 rows that are normed first, by each block for itself:
    /// a launch less. Only where [`Product::can_norm`].
    pub norm: Option<f32>,
    /// The products, at least one, of equal numbers of inputs; see [`Matrix::tiled`].
    pub parts: Vec<ProductPart>,
    /// What happens to the heads of each part before they are stored; [`Heads::can_finish`].
    pub heads: Option<Heads>,
}

/// How the work of a tile is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cut {
    /// Cells of a tile.
    cells: u32,
    /// Groups of a cell.
    groups: u32,
    /// Steps of the ring that a tile takes.
    steps: u32,
    /// Consumers of a tile.
    of_tile: u32,
    /// Tiles that a step has side by side.
    tiles: u32,
}

impl Cut {
    /// How tiles of such a matrix are cut, side by side with others as far as cells of so many bytes leave room. Where there
    /// is little shared memory, steps that bring operands too are half as large.
    fn new(m: &Matrix, cell: u32, shared_bytes: u32) -> Cut {
        let cells = m.cells();
        let steps = match cells.div_ceil(MOST_CONSUMERS) {
            1 => 1,
            steps if shared_bytes < LITTLE => 2 * steps,
            steps => steps,
        };
        let of_tile = cells.div_ceil(steps);
        let beside = (MOST_STEP / (of_tile * cell)).clamp(1, MOST_CONSUMERS / of_tile);
        Cut {
            cells,
            groups: m.cell_groups(),
            steps,
            of_tile,
            tiles: if steps == 1 { beside } else { 1 },
        }
    }

    fn consumers(&self) -> u32 {
        self.of_tile * self.tiles
    }

    /// Elements of a cell.
    fn elements(&self) -> u32 {
        self.groups * GROUP
    }
}

/// Shared memory of a block: a ring of copies, sums, barriers.
struct Shared {
    /// Consumers that a copy is for.
    per_copy: u32,
    /// Copies of a step.
    copies: u32,
    /// Bytes of a copy's cells.
    cells: u32,
    /// How far it is from a row of a copy's operands to the next; 0 where consumers keep them.
    operand_stride: u32,
    /// Bytes of a copy.
    slot: u32,
    /// Copies that the ring holds.
    slots: u32,
    /// Where sums begin.
    sums: u32,
    /// Bytes of a set of sums, of two.
    sums_bytes: u32,
    /// Where sums of squares begin, one a consumer and row, and after them the weights of the norm.
    norm: u32,
    /// Where barriers begin.
    barriers: u32,
    /// Bytes in all.
    bytes: u32,
}

impl Shared {
    /// Whether the ring is long enough. Consumers tell turns of a slot by their parity, so that an earlier turn must have
    /// ended when one is waited for, though its copy is for others: when a consumer has done a copy, those are there that
    /// are `in_flight` before it, and its next is a step later.
    fn fits(&self) -> bool {
        self.slots > self.copies
    }

    /// Copies on their way at most.
    fn in_flight(&self) -> u32 {
        IN_FLIGHT.min(self.slots.saturating_sub(self.copies))
    }
}

impl Product {
    fn matrix(&self) -> &Matrix {
        &self.parts[0].matrix
    }

    fn k(&self) -> u32 {
        self.matrix().k
    }

    /// Bytes of the largest cell.
    fn cell(&self) -> u32 {
        let cells = self.parts.iter().map(|p| p.matrix.cell_bytes());
        cells.max().unwrap_or(1)
    }

    fn cut(&self) -> Cut {
        Cut::new(self.matrix(), self.cell(), self.shared_bytes)
    }

    /// Whether the operands of a step are the same in every step, so that consumers keep them in registers.
    fn resident(&self) -> bool {
        self.cut().steps == 1
    }

    /// Whether a row is alone, and its groups are the columns of products.
    fn spread(&self) -> bool {
        self.rows == 1 && self.parts.iter().all(|p| Cells::can_spread(&p.matrix))
    }

    /// Consumers, then the warps that copy cells, finish, and copy operands.
    fn warps(&self) -> u32 {
        self.cut().consumers() + if self.resident() { 2 } else { 3 }
    }

    pub(super) fn threads(&self) -> u32 {
        32 * self.warps()
    }

    /// The largest copies of which the ring holds enough.
    fn shared(&self) -> Shared {
        let cell = self.cell();
        let mut per_copy = (COPY / cell).clamp(1, self.cut().consumers());
        let mut shared = self.shared_for(cell, per_copy);
        while !shared.fits() && per_copy > 1 {
            per_copy -= 1;
            shared = self.shared_for(cell, per_copy);
        }
        shared
    }

    /// Shared memory where a copy is for so many consumers.
    fn shared_for(&self, cell: u32, per_copy: u32) -> Shared {
        let cut = self.cut();
        let cells = per_copy * cell;
        // Rows begin in banks of their own.
        let operand_stride = match self.resident() {
            true => 0,
            false => 2 * cut.elements() * per_copy + 32,
        };
        let weights = self.parts.iter().map(ProductPart::weights).max().unwrap_or(1);
        let slot = cells + self.rows * operand_stride;
        let sums_bytes = 4 * weights * cut.consumers() * self.rows * SUM_STRIDE;
        let barriers = |slots: u32| 8 * (3 * slots + 6);
        let norm_bytes = match self.norm {
            Some(_) => 4 * (cut.consumers() * ROWS + self.k()),
            None => 0,
        };
        let others = 2 * sums_bytes + norm_bytes + barriers(MOST_SLOTS);
        let left = self.shared_bytes.saturating_sub(others);
        let copies = cut.consumers().div_ceil(per_copy);
        let roomy = left.saturating_sub(BESIDE) / slot;
        let slots = roomy.max((left / slot).min(copies + IN_FLIGHT)).min(MOST_SLOTS);
        let sums = slots * slot;
        let norm = sums + 2 * sums_bytes;
        let at = norm + norm_bytes;
        Shared {
            per_copy,
            copies,
            cells,
            operand_stride,
            slot,
            slots,
            sums,
            sums_bytes,
            norm,
            barriers: at,
            bytes: at + barriers(slots),
        }
    }

    /// Whether rows of so many elements can be normed by the product.
    pub fn can_norm(k: u32) -> bool {
        k.is_multiple_of(GROUP)
            && matches!(Matrix::of(DType::F16, 1, k.into()), Some(m) if Cut::new(&m, m.cell_bytes(), LITTLE).steps == 1)
    }

    /// Whether the shared memory holds enough copies, and what follows them.
    pub fn fits(&self) -> bool {
        self.shared().fits()
    }

    /// Bytes of shared memory.
    pub(super) fn dynamic_shared(&self) -> u32 {
        self.shared().bytes
    }

    pub(super) fn name(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(ProductPart::name).collect();
        let norm = self
            .norm
            .map_or(String::new(), |eps| format!("_norm{}", float_name(eps)));
        let (rows, shared, k) = (self.rows, self.shared_bytes >> 10, self.k());
        let heads = self
            .heads
            .as_ref()
            .map_or(String::new(), |h| format!("_{}", h.name()));
        format!("product_{rows}r{shared}k{norm}_{k}_{}{heads}", parts.join("__"))
    }

    pub(super) fn params(&self) -> Vec<Param> {
        let f32_row = row_bytes(ParamType::F32, self.k());
        let mut params = match self.norm {
            Some(_) => vec![
                Param::rows("x", ParamType::F32, f32_row),
                Param::whole("norm", ParamType::F32, f32_row),
            ],
            None => vec![Param::rows(
                "x",
                ParamType::Operands,
                row_bytes(ParamType::Operands, self.k()),
            )],
        };
        let parts = self.parts.iter().enumerate();
        match &self.heads {
            None => params.extend(parts.flat_map(|(i, p)| p.params(i))),
            Some(heads) => {
                params.extend(heads.place_params());
                for (i, part) in parts {
                    params.extend(part.params(i));
                    let out = params.pop();
                    params.extend(heads.parts[i].finish_params(i, out));
                }
            }
        }
        params
    }

    fn names(&self) -> Names {
        let (cut, shared) = (self.cut(), self.shared());
        let own = if self.spread() { 1 } else { cut.groups };
        Names::new()
            .with("MR", self.rows)
            .with("CONSUMERS", cut.consumers())
            .with("OF_TILE", cut.of_tile)
            .with("CELLS", cut.cells)
            .with("STEPS", cut.steps)
            .with("TILES", cut.tiles)
            .with("GROUPS", cut.groups)
            .with("WORDS", 4 * own)
            .with("OWN", own)
            .with("OF_COLUMN", if self.spread() { "32 * column" } else { "0" })
            .with("LOADED", if self.spread() { "0" } else { "column" })
            .with("ELEMENTS", cut.elements())
            .with("STRIDE", operand_stride(self.k()))
            .with("COPIES", shared.copies)
            .with("PER_COPY", shared.per_copy)
            .with(
                "LAST_ARRIVES",
                shared.per_copy * shared.copies - cut.consumers() + 1,
            )
            .with("SLOTS", shared.slots)
            .with("SLOT", shared.slot)
            .with("ROW_STRIDE", shared.operand_stride)
            .with("OPERANDS", shared.cells)
            .with("SUMS", shared.sums)
            .with("SUMS_BYTES", shared.sums_bytes)
            .with("SUM_STRIDE", SUM_STRIDE)
            .with("NORM", shared.norm)
            .with("NORM_BYTES", 4 * self.k())
            .with("K", self.k())
            .with("INV_K", float(1.0 / self.k() as f32))
            .with("EPS", float(self.norm.unwrap_or(0.0)))
            .with("BARRIERS", shared.barriers)
            .with("IN_FLIGHT", shared.in_flight())
            .with("DONE", cut.consumers())
    }

    pub(super) fn source(&self) -> String {
        let mut text = Lines::new();
        for (i, part) in self.parts.iter().enumerate() {
            let cells = Cells {
                suffix: &i.to_string(),
                matrix: &part.matrix,
                spread: self.spread(),
            };
            text.line(cells.product_functions());
        }
        text.line(Kernel::head(&self.name(), self.threads(), &self.params()));
        text.line(self.names().fill(START));
        text.line(self.ranges());
        let first = match self.norm {
            Some(_) => self.names().fill(COPY_NORM),
            None => String::new(),
        };
        text.line(self.role(COPIER, first + &self.each_part(|i, part| self.copier(i, part))));
        if !self.resident() {
            text.line(self.role(
                OPERAND_COPIER,
                self.each_part(|_, part| self.operand_copier(part)),
            ));
        }
        let finish = self.each_part(|i, part| self.finisher(i, part));
        text.line(match &self.heads {
            None => self.role(FINISHER, finish),
            Some(heads) => self.role(FINISHER, heads.places(self.rows) + &finish),
        });
        let load = match (self.norm, self.resident()) {
            (Some(_), _) => LOAD_AND_NORM,
            (None, true) => LOAD_OPERANDS,
            (None, false) => "",
        };
        let add_groups = self.names().fill(if self.spread() { ADD_LANES } else { ADD_OWN });
        let names = self.names().with("ADD_GROUPS", add_groups);
        let load = names.with("LOAD_WORDS", self.names().fill(LOAD_WORDS)).fill(load);
        text.line(self.names().fill(CONSUMER_START) + &load);
        text.line(self.each_part(|i, part| self.consumer(i, part)));
        text.line("}");
        text.finish()
    }

    fn role(&self, template: &str, body: String) -> String {
        self.names().with("BODY", body).fill(template)
    }

    fn each_part(&self, text: impl Fn(usize, &ProductPart) -> String) -> String {
        let parts = self.parts.iter().enumerate();
        parts.map(|(i, p)| text(i, p)).collect()
    }

    /// The units of each part that this block walks: those that begin in its share of the bytes of all. A unit is the
    /// tiles that lie side by side, of one weight or of two.
    fn ranges(&self) -> String {
        let tiles = self.cut().tiles;
        let unit =
            |p: &ProductPart| u64::from(p.weights() * p.matrix.cells() * p.matrix.cell_bytes() * tiles);
        let units = |p: &ProductPart| p.matrix.tiles().div_ceil(tiles);
        let all: u64 = self.parts.iter().map(|p| unit(p) * u64::from(units(p))).sum();
        let mut text = Lines::new();
        text.line(format_args!(
            "    const u64 low = {all}ull * blockIdx.x / gridDim.x, high = {all}ull * (blockIdx.x + 1) / gridDim.x;"
        ));
        let mut before = 0u64;
        for (i, part) in self.parts.iter().enumerate() {
            for (name, at) in [("first", "low"), ("end", "high")] {
                text.line(format_args!(
                    "    const u32 {name}{i} = units_before({at}, {before}ull, {}ull, {});",
                    unit(part),
                    units(part)
                ));
            }
            before += unit(part) * u64::from(units(part));
        }
        text.finish()
    }

    fn part_names(&self, i: usize, part: &ProductPart) -> Names {
        self.names()
            .with("P", i)
            .with("CELL", part.matrix.cell_bytes())
            .with("PART_TILES", part.matrix.tiles())
            .with("WEIGHTS", part.weights())
            .with("W", format!("w{i}"))
            .with("SECOND", part.second_name(i))
    }

    fn copier(&self, i: usize, part: &ProductPart) -> String {
        self.part_names(i, part).fill(COPY_PART)
    }

    fn operand_copier(&self, part: &ProductPart) -> String {
        let i = self.parts.iter().position(|p| std::ptr::eq(p, part)).unwrap_or(0);
        self.part_names(i, part).fill(COPY_OPERANDS)
    }

    fn finisher(&self, i: usize, part: &ProductPart) -> String {
        if let Some(heads) = &self.heads {
            let steps: Vec<String> = part
                .steps
                .iter()
                .map(|step| format!(" {}", step.statement(&i.to_string(), part.matrix.rows)))
                .collect();
            let names = self.part_names(i, part).with("STEPS_OF", steps.concat());
            return heads.finisher(i, names, self.cut().tiles, self.rows);
        }
        let second = if part.paired { FINISH_SECOND } else { "" };
        let names = self.part_names(i, part);
        let names = names.with("ADD_SECOND", self.part_names(i, part).fill(second));
        let columns = part.columns();
        let fill_up = match columns > 16 * part.matrix.tiles() {
            true => self.part_names(i, part).with("OUT_STRIDE", columns).fill(FILL_UP),
            false => String::new(),
        };
        let names = names.with("FILL_UP", fill_up);
        names.with("FINISH", part.finish(i)).fill(FINISH_PART)
    }

    fn consumer(&self, i: usize, part: &ProductPart) -> String {
        let cells = Cells {
            suffix: "",
            matrix: &part.matrix,
            spread: self.spread(),
        };
        let names = || {
            self.part_names(i, part)
                .with("B", cells.operand_words())
                .with("X", cells.operand_sums())
                .with("A", cells.sums())
        };
        let ready = names().fill(READY);
        let words = || names().with("LOAD_WORDS", self.names().fill(LOAD_WORDS));
        let names = match self.resident() {
            true => names().with("ONCE", ready).with("WAIT", "").with("EACH", ""),
            false => names()
                .with("ONCE", "")
                .with("WAIT", OPERANDS_WAIT)
                .with("EACH", words().fill(OPERANDS_OF_STEP) + &ready),
        };
        names.fill(CONSUME_PART)
    }
}
