//! `linear` over weights that lie in tiles: products that share their input, in one launch, on tensor cores.
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
use super::text::{Lines, Names, float, float_name};
use super::{Kernel, Param, ParamType, row_bytes};
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
        format!("product_{rows}r{shared}k{norm}_{k}_{}", parts.join("__"))
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
        params.extend(parts.flat_map(|(i, p)| p.params(i)));
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
        text.line(self.role(FINISHER, self.each_part(|i, part| self.finisher(i, part))));
        let load = match (self.norm, self.resident()) {
            (Some(_), _) => LOAD_AND_NORM,
            (None, true) => LOAD_OPERANDS,
            (None, false) => "",
        };
        let add_groups = self.names().fill(if self.spread() { ADD_LANES } else { ADD_OWN });
        let load = self.names().with("ADD_GROUPS", add_groups).fill(load);
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
            .with(
                "SECOND",
                if part.paired {
                    format!("second{i}")
                } else {
                    format!("w{i}")
                },
            )
    }

    fn copier(&self, i: usize, part: &ProductPart) -> String {
        self.part_names(i, part).fill(COPY_PART)
    }

    fn operand_copier(&self, part: &ProductPart) -> String {
        let i = self.parts.iter().position(|p| std::ptr::eq(p, part)).unwrap_or(0);
        self.part_names(i, part).fill(COPY_OPERANDS)
    }

    fn finisher(&self, i: usize, part: &ProductPart) -> String {
        let second = if part.paired { FINISH_SECOND } else { "" };
        let names = self.part_names(i, part);
        let names = names.with("ADD_SECOND", self.part_names(i, part).fill(second));
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
        let names = match self.resident() {
            true => names().with("ONCE", ready).with("WAIT", "").with("EACH", ""),
            false => names()
                .with("ONCE", "")
                .with("WAIT", OPERANDS_WAIT)
                .with("EACH", names().fill(OPERANDS_OF_STEP) + &ready),
        };
        names.fill(CONSUME_PART)
    }
}

const START: &str = "    SHARED_BYTES(shared);
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const shared_t full = shared_address(shared + $BARRIERS), empty = full + 8 * $SLOTS;
    const shared_t operands_full = empty + 8 * $SLOTS, done = operands_full + 8 * $SLOTS, taken = done + 16;
    const shared_t norm_full = taken + 16, squared = norm_full + 8;
    if (threadIdx.x == 0) {
        for (u32 i = 0; i < $SLOTS; ++i) {
            barrier_init(full + 8 * i, COPY_ARRIVALS);
            barrier_init(empty + 8 * i, $PER_COPY);
            barrier_init(operands_full + 8 * i, COPY_ARRIVALS);
        }
        for (u32 i = 0; i < 2; ++i) {
            barrier_init(done + 8 * i, $DONE);
            barrier_init(taken + 8 * i, 1);
        }
        barrier_init(norm_full, COPY_ARRIVALS);
        barrier_init(squared, $CONSUMERS);
        barriers_ready();
    }
    __syncthreads();
    let_next_begin();
    const u32 row0 = blockIdx.y * $MR;
";

/// Copies cells as far ahead as there is room.
const COPIER: &str = "    if (warp == $CONSUMERS) {
        const u64 policy = read_once();
        u32 copies = 0;
$BODY        return;
    }
";

const COPY_PART: &str = "        for (u32 u = first$P; u < end$P; ++u) {
            const u32 tiles = u * $TILES + $TILES < $PART_TILES ? $TILES : $PART_TILES - u * $TILES;
            for (u32 m = 0; m < $WEIGHTS; ++m) {
                const u8* from = (m == 0 ? $W : $SECOND) + (u64)u * ($TILES * $CELLS * $CELL);
                for (u32 s = 0; s < $STEPS; ++s) {
                    const u32 left = tiles * $CELLS - s * $CONSUMERS, cells = left < $CONSUMERS ? left : $CONSUMERS;
                    for (u32 at = 0; at < $CONSUMERS; at += $PER_COPY, ++copies) {
                        const u32 slot = copies % $SLOTS, turn = copies / $SLOTS;
                        if (copies >= $IN_FLIGHT) {
                            const u32 before = copies - $IN_FLIGHT;
                            barrier_wait(full + 8 * (before % $SLOTS), before / $SLOTS & 1);
                        }
                        barrier_wait(empty + 8 * slot, (turn & 1) ^ 1);
                        const u32 count = at < cells ? (cells - at < $PER_COPY ? cells - at : $PER_COPY) : 0;
                        copy_begin(full + 8 * slot, count * $CELL, lane);
                        copy_piece(shared + slot * $SLOT, from + (s * $CONSUMERS + at) * $CELL, count * $CELL,
                                   full + 8 * slot, lane, policy);
                        copy_end(full + 8 * slot, lane);
                        // A lane that lags would miss the phases that it waits for.
                        __syncwarp();
                    }
                }
            }
        }
";

/// Copies rows of operands, once what made them is done.
const OPERAND_COPIER: &str = "    if (warp == $CONSUMERS + 2) {
        wait_for_previous();
        const u32 all = (u32)*count, rows = row0 >= all ? 0 : (all - row0 < $MR ? all - row0 : $MR);
        const u64 policy = read_often();
        u32 copies = 0;
$BODY        return;
    }
";

const COPY_OPERANDS: &str = "        for (u32 u = first$P; u < end$P; ++u) {
            for (u32 m = 0; m < $WEIGHTS; ++m) {
                for (u32 s = 0; s < $STEPS; ++s) {
                    const u32 left = $CELLS - s * $CONSUMERS, cells = left < $CONSUMERS ? left : $CONSUMERS;
                    for (u32 at = 0; at < $CONSUMERS; at += $PER_COPY, ++copies) {
                        const u32 slot = copies % $SLOTS, turn = copies / $SLOTS;
                        const u32 count = at < cells ? (cells - at < $PER_COPY ? cells - at : $PER_COPY) : 0;
                        const u32 bytes = count * ($ELEMENTS * 2);
                        const shared_t bar = operands_full + 8 * slot;
                        if (copies >= $IN_FLIGHT) {
                            const u32 before = copies - $IN_FLIGHT;
                            barrier_wait(operands_full + 8 * (before % $SLOTS), before / $SLOTS & 1);
                        }
                        barrier_wait(empty + 8 * slot, (turn & 1) ^ 1);
                        copy_begin(bar, rows * bytes, lane);
                        for (u32 t = 0; t < rows; ++t)
                            copy_piece(shared + slot * $SLOT + $OPERANDS + t * $ROW_STRIDE,
                                       (const u8*)(x + (u64)(row0 + t) * $STRIDE + (s * $CONSUMERS + at) * $ELEMENTS), bytes,
                                       bar, lane, policy);
                        copy_end(bar, lane);
                        __syncwarp();
                    }
                }
            }
        }
";

const FINISHER: &str = "    if (warp == $CONSUMERS + 1) {
        wait_for_previous();
        const u32 all = (u32)*count, rows = row0 >= all ? 0 : (all - row0 < $MR ? all - row0 : $MR);
        u32 round = 0;
$BODY        return;
    }
";

const FINISH_PART: &str = "        for (u32 u = first$P; u < end$P; ++u, ++round) {
            const u32 set = round % 2;
            const float* sums = (const float*)(shared + $SUMS + set * $SUMS_BYTES);
            barrier_wait(done + 8 * set, round / 2 & 1);
            for (u32 q = 0; q < $TILES && u * $TILES + q < $PART_TILES; ++q) {
                for (u32 i = lane; i < 16 * rows; i += 32) {
                    const u32 t = i / 16, row = row0 + t, col = (u * $TILES + q) * 16 + i % 16;
                    const float* from = sums + (q * $OF_TILE * $MR + t) * $SUM_STRIDE + i % 16;
                    float v = 0.0f;
#pragma unroll
                    for (u32 w = 0; w < $OF_TILE; ++w) v += from[w * $MR * $SUM_STRIDE];
                    v *= OPERAND_UNIT;
$ADD_SECOND                    $FINISH                }
            }
            __syncwarp();
            if (lane == 0) barrier_arrive(taken + 8 * set);
        }
";

const FINISH_SECOND: &str = "                    float second = 0.0f;
#pragma unroll
                    for (u32 w = 0; w < $OF_TILE; ++w) second += from[($CONSUMERS + w) * $MR * $SUM_STRIDE];
                    second *= OPERAND_UNIT;
";

const CONSUMER_START: &str = "    wait_for_previous();
    const u32 all = (u32)*count, rows = row0 >= all ? 0 : (all - row0 < $MR ? all - row0 : $MR);
    // A column is a row of operands, or a group of the only row.
    const u32 column = lane / 4, loads = $LOADED, of_copy = warp % $PER_COPY;
    // Copies come step by step; where the last of a step is for fewer consumers, the last of them counts for the others.
    u32 copy = warp / $PER_COPY, round = 0;
    const u32 arrives = warp == $CONSUMERS - 1 ? $LAST_ARRIVES : 1;
    u32 from[$WORDS];
";

/// The weights of the norm, before those of the products.
const COPY_NORM: &str = "        copy_begin(norm_full, $NORM_BYTES, lane);
        copy_piece(shared + $NORM + 32 * $CONSUMERS, (const u8*)norm, $NORM_BYTES, norm_full, lane, policy);
        copy_end(norm_full, lane);
";

/// Each consumer reads its part of the rows; sums of squares meet in shared memory.
const LOAD_AND_NORM: &str = "    {
        const u32 first = warp % $OF_TILE * $ELEMENTS + $OF_COLUMN + lane % 4 * 4;
        const float* at = x + (u64)(row0 + loads) * $K + first;
        float own[8 * $OWN], sums_of[$OWN];
#pragma unroll
        for (u32 i = 0; i < 2 * $OWN; ++i) {
            const uint4 v = loads < rows ? load16(at + 16 * i) : make_uint4(0, 0, 0, 0);
            own[4 * i] = __uint_as_float(v.x);
            own[4 * i + 1] = __uint_as_float(v.y);
            own[4 * i + 2] = __uint_as_float(v.z);
            own[4 * i + 3] = __uint_as_float(v.w);
        }
#pragma unroll
        for (u32 i = 0; i < $OWN; ++i) {
            sums_of[i] = 0.0f;
#pragma unroll
            for (u32 j = 0; j < 8; ++j) sums_of[i] = fmaf(own[8 * i + j], own[8 * i + j], sums_of[i]);
        }
$ADD_GROUPS        float sum = sums_of[0];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        float* squares = (float*)(shared + $NORM);
        if (lane % 4 == 0) squares[warp * 8 + column] = sum;
        __syncwarp();
        if (lane == 0) barrier_arrive(squared);
        barrier_wait(squared, 0);
        sum = 0.0f;
#pragma unroll
        for (u32 i = 0; i < $OF_TILE; ++i) sum += squares[i * 8 + column];
        const float by = __fdiv_rn(1.0f, sqrtf(fmaf(sum, $INV_K, $EPS)));
        const float* weights = squares + 8 * $CONSUMERS + first;
        barrier_wait(norm_full, 0);
#pragma unroll
        for (u32 i = 0; i < 2 * $OWN; ++i) {
            const uint4 v = load16(weights + 16 * i);
            const u32 a = to_operand(own[4 * i] * by * __uint_as_float(v.x));
            const u32 b = to_operand(own[4 * i + 1] * by * __uint_as_float(v.y));
            const u32 c = to_operand(own[4 * i + 2] * by * __uint_as_float(v.z));
            const u32 d = to_operand(own[4 * i + 3] * by * __uint_as_float(v.w));
            from[2 * i] = a | b << 16;
            from[2 * i + 1] = c | d << 16;
        }
    }
";

/// Sums of groups are added two and two: those of a lane, or those of the lanes that have one each.
const ADD_OWN: &str = "#pragma unroll
        for (u32 o = 1; o < $OWN; o *= 2) {
#pragma unroll
            for (u32 i = 0; i < $OWN; i += 2 * o) sums_of[i] += sums_of[i + o];
        }
";

const ADD_LANES: &str = "#pragma unroll
        for (u32 o = 4; o < 32; o *= 2) sums_of[0] += __shfl_xor_sync(0xffffffffu, sums_of[0], (int)o);
";

const LOAD_OPERANDS: &str = "    {
        const u16* at = x + (u64)(row0 + loads) * $STRIDE + warp % $OF_TILE * $ELEMENTS + $OF_COLUMN + lane % 4 * 4;
#pragma unroll
        for (u32 i = 0; i < $OWN; ++i) {
            const uint2 a = loads < rows ? load8(at + 32 * i) : make_uint2(0, 0);
            const uint2 b = loads < rows ? load8(at + 32 * i + 16) : make_uint2(0, 0);
            from[4 * i] = a.x;
            from[4 * i + 1] = a.y;
            from[4 * i + 2] = b.x;
            from[4 * i + 3] = b.y;
        }
    }
";

const READY: &str = "        u32 b[$B];
        float x_sums[$X];
        ready_$P(from, column, b, x_sums);
";

const OPERANDS_OF_STEP: &str = "                    const u16* at = (const u16*)(shared + slot * $SLOT + $OPERANDS + loads * $ROW_STRIDE)
                        + of_copy * $ELEMENTS + $OF_COLUMN + lane % 4 * 4;
#pragma unroll
                    for (u32 i = 0; i < $OWN; ++i) {
                        const uint2 a = loads < rows ? load8(at + 32 * i) : make_uint2(0, 0);
                        const uint2 b = loads < rows ? load8(at + 32 * i + 16) : make_uint2(0, 0);
                        from[4 * i] = a.x;
                        from[4 * i + 1] = a.y;
                        from[4 * i + 2] = b.x;
                        from[4 * i + 3] = b.y;
                    }
";

const OPERANDS_WAIT: &str = "                    barrier_wait(operands_full + 8 * slot, turn & 1);
";

const CONSUME_PART: &str = "    {
$ONCE        for (u32 u = first$P; u < end$P; ++u, ++round) {
            const u32 set = round % 2;
            float* sums = (float*)(shared + $SUMS + set * $SUMS_BYTES) + warp * $MR * $SUM_STRIDE;
            for (u32 m = 0; m < $WEIGHTS; ++m) {
                float acc[$A] = {}, total[4];
                for (u32 s = 0; s < $STEPS; ++s, copy += $COPIES) {
                    const u32 slot = copy % $SLOTS, turn = copy / $SLOTS;
                    barrier_wait(full + 8 * slot, turn & 1);
$WAIT                    // In the last step of a tile, and in the last unit of a part, there may be fewer cells.
                    const u32 cell = s * $CONSUMERS + warp;
                    if (cell < $CELLS * ($TILES < $PART_TILES - u * $TILES ? $TILES : $PART_TILES - u * $TILES)) {
$EACH                        cell_$P(shared + slot * $SLOT + of_copy * $CELL, lane, b, x_sums, acc);
                    }
                    __syncwarp();
                    if (lane < arrives) barrier_arrive(empty + 8 * slot);
                }
                if (m == 0) barrier_wait(taken + 8 * set, (round / 2 & 1) ^ 1);
                total_$P(acc, total);
                float* to = sums + m * ($CONSUMERS * $MR * $SUM_STRIDE) + column;
#pragma unroll
                for (u32 i = 0; i < 2; ++i) {
                    const u32 t = 2 * (lane % 4) + i;
                    if (t < rows) {
                        to[t * $SUM_STRIDE] = total[i];
                        to[t * $SUM_STRIDE + 8] = total[2 + i];
                    }
                }
            }
            __syncwarp();
            if (lane == 0) barrier_arrive(done + 8 * set);
        }
    }
";
