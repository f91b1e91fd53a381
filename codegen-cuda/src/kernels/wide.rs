//! `linear` for steps of many rows: products of operands with panels of f16, in one launch.
//!
//! A block for each multiprocessor takes tiles of 128 rows by [`WideProduct::columns`] rows of panels, those of one panel one
//! after another, so that blocks that run at a time share panels. Tiles go through a ring of steps of 64 elements in shared
//! memory. [`Core::Wgmma`]: four warps fill the ring, two groups of four have half of the rows each and give the ring to the
//! tensor cores as it is. [`Core::Mma`]: eight warps fill the ring and multiply in turn. Each sum runs over elements in order,
//! whatever is beside it.
//!
//! Where there are fewer tiles than multiprocessors, the elements of a tile are shared among several blocks
//! ([`WideProduct::splits`]): each leaves its sums, and [`super::JoinWide`] adds them in the order of elements.

use super::epilogue::{ProductPart, Step};
use super::text::{Lines, Names};
use super::{Kernel, Param, ParamType, row_bytes};
use crate::layout::{PANEL_BYTES, PANEL_ROWS, PANEL_STEP, Panels, operand_stride};

/// How matrices are multiplied.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Core {
    /// By warps, from registers.
    Mma,
    /// By groups of four warps, from shared memory: sm_90 alone.
    Wgmma,
}

impl Core {
    pub(super) fn keyword(self) -> &'static str {
        match self {
            Core::Mma => "mma",
            Core::Wgmma => "wgmma",
        }
    }
}

/// Rows of a tile.
pub const ROWS: u32 = 128;
/// Most rows of a step of which the elements are shared.
pub const SPLIT_ROWS: u32 = 256;
/// Bytes of the rows of a step in shared memory.
const ROW_BYTES: u32 = 2 * ROWS * PANEL_STEP;
/// Runs of columns that are finished together.
const BATCH: u32 = 8;
/// Shared memory that is not for the ring: barriers, and what it takes to begin at a multiple of 1024.
const REST: u32 = 2048;

/// Products that share their input.
#[derive(Clone, Debug)]
pub struct WideProduct {
    /// How they are multiplied.
    pub core: Core,
    /// Rows of panels of a tile: 128 or, with [`Core::Wgmma`], 256.
    pub columns: u32,
    /// Blocks that share the elements of a tile.
    pub splits: u32,
    /// Bytes of shared memory that a block can have.
    pub shared_bytes: u32,
    /// The products, at least one, of equal numbers of inputs.
    pub parts: Vec<ProductPart>,
}

impl ProductPart {
    /// Its weights as panels.
    pub fn panels(&self) -> Panels {
        Panels {
            rows: self.matrix.rows,
            k: self.matrix.k,
            paired: self.paired,
        }
    }

    /// Whether its outputs can be stored two by two.
    fn in_pairs(&self) -> bool {
        self.matrix
            .rows
            .is_multiple_of(if self.operands { 32 } else { 2 })
    }
}

impl WideProduct {
    /// Whether there is a kernel for such products.
    pub fn fits(&self) -> bool {
        let kinds = self.parts.iter().all(|p| p.matrix.tiled() && p.in_pairs());
        kinds && self.stages() >= 3
    }

    fn k(&self) -> u32 {
        self.parts[0].matrix.k
    }

    /// Bytes of a step of the ring.
    fn stage(&self) -> u32 {
        ROW_BYTES + self.columns / PANEL_ROWS * PANEL_BYTES
    }

    /// Steps of the ring.
    fn stages(&self) -> u32 {
        (self.shared_bytes.saturating_sub(REST) / self.stage()).min(6)
    }

    pub(super) fn dynamic_shared(&self) -> u32 {
        self.stages() * self.stage() + REST
    }

    pub(super) fn threads(&self) -> u32 {
        match self.core {
            Core::Mma => 256,
            Core::Wgmma => 384,
        }
    }

    /// Tiles of a part beside each other.
    fn part_tiles(&self, part: &ProductPart) -> u32 {
        part.panels().all_rows().div_ceil(self.columns)
    }

    /// Tiles of all parts beside each other.
    pub fn tiles(&self) -> u32 {
        self.parts.iter().map(|p| self.part_tiles(p)).sum()
    }

    /// Steps of 64 elements.
    pub fn steps(&self) -> u32 {
        self.k().div_ceil(PANEL_STEP)
    }

    /// Floats of a row of the sums that blocks leave.
    pub(super) fn sum_row(&self) -> u32 {
        self.tiles() * self.columns
    }

    /// Bytes of those sums.
    pub fn sum_bytes(&self) -> u64 {
        u64::from(self.splits * SPLIT_ROWS) * u64::from(4 * self.sum_row())
    }

    /// The first tile of a part.
    pub(super) fn first_tile(&self, part: usize) -> u32 {
        self.parts[..part].iter().map(|p| self.part_tiles(p)).sum()
    }

    pub(super) fn shape(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(ProductPart::name).collect();
        let splits = match self.splits {
            1 => String::new(),
            n => format!("s{n}"),
        };
        format!("{}{splits}_{}_{}", self.columns, self.k(), parts.join("__"))
    }

    pub(super) fn name(&self) -> String {
        format!("wide_{}{}_{}", self.core.keyword(), self.stages(), self.shape())
    }

    pub(super) fn params(&self) -> Vec<Param> {
        let x = Param::rows("x", ParamType::Operands, row_bytes(ParamType::Operands, self.k()));
        let mut params = vec![x];
        for (i, part) in self.parts.iter().enumerate() {
            params.push(Param::whole(
                format!("w{i}"),
                ParamType::Panels,
                part.panels().bytes(),
            ));
            if self.splits == 1 {
                params.extend(part.finish_params(i));
            }
        }
        if self.splits > 1 {
            params.push(Param::whole("sums", ParamType::F32, self.sum_bytes()).written());
        }
        params
    }

    /// Runs of eight columns that a thread has in a row, and rows of 16 by which it has them.
    fn runs(&self) -> (u32, u32) {
        match self.core {
            Core::Mma => (4, 4),
            Core::Wgmma => (self.columns / 8, 1),
        }
    }

    pub(super) fn source(&self) -> String {
        let (runs, matrices) = self.runs();
        let choose = self.each_part(|i, _| format!("            from = w{i};\n"));
        let finish = match self.splits {
            1 => self.each_part(|i, part| part.finish_pairs(i, runs, matrices)),
            _ => Names::new()
                .with("RUNS", runs)
                .with("MATRICES", matrices)
                .with("COLUMNS", self.columns)
                .with("SPLIT_ROWS", SPLIT_ROWS)
                .with("SUM_ROW", self.sum_row())
                .fill(LEAVE),
        };
        let tile = match self.splits {
            1 => WHOLE_TILE,
            _ => SHARED_TILE,
        };
        let tile = Names::new()
            .with("STEPS", self.steps())
            .with("SPLITS", self.splits)
            .fill(tile);
        let names = Names::new()
            .with("STRIDE", operand_stride(self.k()))
            .with("STEPS", self.steps())
            .with("SPLITS", self.splits)
            .with("TILE_OF", tile)
            .with("ROWS", ROWS)
            .with("PANELS", self.columns / PANEL_ROWS)
            .with("PANEL", PANEL_BYTES)
            .with("ROW_BYTES", ROW_BYTES)
            .with("STAGE", self.stage())
            .with("STAGES", self.stages())
            .with("TILES", self.tiles())
            .with("RUNS", runs)
            .with("CHOOSE", choose)
            .with("FINISH", finish);
        let signature = Kernel::signature(&self.name(), self.threads(), &self.params());
        let start = names.fill(START);
        match self.core {
            Core::Mma => format!("{signature}{start}{}}}\n", names.fill(MMA)),
            Core::Wgmma => format!(
                "{}{signature}{HOPPER_ONLY}{start}{}#endif\n}}\n",
                multiply_tiles(self.columns),
                names.fill(WGMMA)
            ),
        }
    }

    /// Text for the part that tile `tn` is of; there, `first` is the first row of the tile among those of its panels.
    fn each_part(&self, text: impl Fn(usize, &ProductPart) -> String) -> String {
        let mut all = Lines::new();
        let mut before = 0;
        for (i, part) in self.parts.iter().enumerate() {
            let end = before + self.part_tiles(part);
            let or = if i > 0 { "else " } else { "" };
            all.line(format_args!("        {or}if (tn < {end}) {{"));
            all.line(format_args!(
                "            first = (tn - {before}) * {};",
                self.columns
            ));
            all.line(text(i, part) + "        }");
            before = end;
        }
        all.finish()
    }
}

impl ProductPart {
    /// Statements that finish and store the sums of a tile, two columns at a time.
    fn finish_pairs(&self, suffix: usize, runs: u32, matrices: u32) -> String {
        let n = self.matrix.rows;
        let steps: Vec<String> = self
            .steps
            .iter()
            .map(|s| match s {
                Step::Add => "v += i == 0 ? added[b].x : added[b].y;".to_owned(),
                step => step.statement(&suffix.to_string(), n),
            })
            .collect();
        let added = match self.has(|s| *s == Step::Add) {
            true => LOAD_ADDED,
            false => "",
        };
        let (each, second) = match self.paired {
            true => (
                2,
                "const float second = d[m][2 * j + 1][2 * h + i] * OPERAND_UNIT;",
            ),
            false => (1, ""),
        };
        let store = match self.operands {
            true => format!(
                "*(u32*)(out{suffix} + (u64)row * {} + c) = operand_pair(pair[0], pair[1]);",
                operand_stride(n)
            ),
            false => {
                format!("*(float2*)(out{suffix} + (u64)row * {n} + c) = make_float2(pair[0], pair[1]);")
            }
        };
        let names = Names::new()
            .with("P", suffix)
            .with("N", n)
            .with("EACH", each)
            .with("BATCH", (runs / each).min(BATCH));
        let added = names.fill(added);
        names
            .with("MATRICES", matrices)
            .with("COUNT", runs / each)
            .with("SECOND", second)
            .with("ADDED", added)
            .with("EVERY", steps.join(" "))
            .with("STORE", store)
            .fill(FINISH)
    }
}

const START: &str = "    SHARED_BYTES(shared);
    u8* const ring = shared + (1024 - ((u32)shared_address(shared) & 1023)) % 1024;
    const u32 rows = (u32)*count, tall = (rows + $ROWS - 1) / $ROWS, tiles = tall * ($TILES * $SPLITS);
    const u32 lane = threadIdx.x % 32;
    const u8* from;
    u32 first;
";

/// Text that other architectures have no instructions for.
pub(super) const HOPPER_ONLY: &str = "#if defined(LATHE_EMULATOR) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
";

/// A step of rows is 128 bytes of each; the eight runs of 16 bytes lie as those of a panel.
const WGMMA: &str = "    const shared_t full = shared_address(ring + $STAGES * $STAGE), empty = full + 8 * $STAGES;
    if (threadIdx.x == 0) {
        for (u32 i = 0; i < $STAGES; ++i) {
            barrier_init(full + 8 * i, 4 + COPY_ARRIVALS);
            barrier_init(empty + 8 * i, 8);
        }
        barriers_ready();
    }
    __syncthreads();
    u32 it = 0;
    if (threadIdx.x < 128) {
        give_registers<40>();
        const u32 run = threadIdx.x % 8, row0 = threadIdx.x / 8;
        const u64 policy = read_often();
        // What this thread copied for step `i` has come: the tensor cores may see it.
        const auto arrive = [&](u32 i) {
            show_to_copies();
            __syncwarp();
            if (lane == 0) barrier_arrive(full + 8 * (i % $STAGES));
        };
        for (u32 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
$TILE_OF            const u32 top = tm * $ROWS;
$CHOOSE
            from += (u64)(first / 128) * $STEPS * $PANEL;
            const u16* const operands = x + (u64)(top + row0) * $STRIDE + run * 8;
            for (u32 step = begin; step < end; ++step, ++it) {
                const u32 slot = it % $STAGES;
                barrier_wait(empty + 8 * slot, (it / $STAGES & 1) ^ 1);
                u8* const stage = ring + slot * $STAGE;
                if (threadIdx.x < 32) {
                    const shared_t bar = full + 8 * slot;
                    copy_begin(bar, $PANELS * $PANEL, lane);
                    for (u32 p = 0; p < $PANELS; ++p)
                        copy_piece(stage + $ROW_BYTES + p * $PANEL, from + ((u64)p * $STEPS + step) * $PANEL, $PANEL, bar, lane,
                                   policy);
                    copy_end(bar, lane);
                }
                u8* const to = stage + row0 * 128 + (run ^ row0 % 8) * 16;
                const bool inside = step * 64 + run * 8 < $STRIDE;
#pragma unroll
                for (u32 i = 0; i < 8; ++i)
                    copy16(to + i * 2048, operands + (u64)(16 * i) * $STRIDE + step * 64, inside && top + row0 + 16 * i < rows);
                commit_copies();
                if (it < 2) continue;
                wait_copies<2>();
                arrive(it - 2);
            }
        }
        wait_copies<0>();
        if (it > 1) arrive(it - 2);
        if (it > 0) arrive(it - 1);
        return;
    }
    take_registers<232>();
    const u32 group = threadIdx.x / 128 - 1, warp = threadIdx.x % 128 / 32;
    for (u32 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
$TILE_OF        float d[1][$RUNS][4];
        for (u32 step = begin; step < end; ++step, ++it) {
            const u32 slot = it % $STAGES;
            barrier_wait(full + 8 * slot, it / $STAGES & 1);
            const u8* const stage = ring + slot * $STAGE;
            begin_products();
#pragma unroll
            for (u32 k = 0; k < 4; ++k)
                multiply_tiles(d[0], stage + group * 8192, stage + $ROW_BYTES, k, step > begin || k > 0);
            commit_products();
            wait_products<1>();
            if (step == begin) continue;
            __syncwarp();
            if (lane == 0) barrier_arrive(empty + 8 * ((it - 1) % $STAGES));
        }
        wait_products<0>();
        settle(d[0]);
        __syncwarp();
        if (lane == 0) barrier_arrive(empty + 8 * ((it - 1) % $STAGES));
        const u32 top = tm * $ROWS + group * 64 + warp * 16, left = 0;
$FINISH
    }
";

const MMA: &str = "    const u32 warp = threadIdx.x / 32;
    for (u32 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
$TILE_OF$CHOOSE
        from += (u64)(first / 128) * $STEPS * $PANEL;
        const u32 run = threadIdx.x % 8, row0 = threadIdx.x / 8;
        const auto fetch = [&](u32 step) {
            u8* const stage = ring + step % $STAGES * $STAGE;
            const bool inside = step * 64 + run * 8 < $STRIDE;
#pragma unroll
            for (u32 i = 0; i < 4; ++i) {
                const u32 row = row0 + 32 * i, at = tm * $ROWS + row;
                copy16(stage + row * 128 + (run ^ row % 8) * 16, x + (u64)at * $STRIDE + step * 64 + run * 8, inside && at < rows);
                const u32 byte = (threadIdx.x + 256 * i) * 16;
                copy16(stage + $ROW_BYTES + byte, from + (u64)step * $PANEL + byte, true);
            }
        };
        for (u32 step = begin; step < begin + $STAGES - 1; ++step) {
            if (step < end) fetch(step);
            commit_copies();
        }
        const u32 right = warp % 4 * 32, down = warp / 4 * 64;
        float d[4][4][4] = {};
        for (u32 step = begin; step < end; ++step) {
            wait_copies<$STAGES - 2>();
            __syncthreads();
            if (step + $STAGES - 1 < end) fetch(step + $STAGES - 1);
            commit_copies();
            const u8* const stage = ring + step % $STAGES * $STAGE;
#pragma unroll
            for (u32 k = 0; k < 4; ++k) {
                u32 a[4][4], b[2][4];
#pragma unroll
                for (u32 m = 0; m < 4; ++m)
                    load_matrices(a[m], stage + (down + 16 * m + lane % 16) * 128 + ((2 * k + lane / 16) ^ lane % 8) * 16);
#pragma unroll
                for (u32 n = 0; n < 2; ++n)
                    load_matrices(b[n], stage + $ROW_BYTES + (right + 16 * n + lane % 8 + lane / 16 * 8) * 128 +
                                            ((2 * k + lane / 8 % 2) ^ lane % 8) * 16);
#pragma unroll
                for (u32 m = 0; m < 4; ++m) {
#pragma unroll
                    for (u32 n = 0; n < 4; ++n) mma_f16(d[m][n], a[m], b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
                }
            }
        }
        wait_copies<0>();
        __syncthreads();
        const u32 top = tm * $ROWS + down, left = right;
$FINISH
    }
";

const WHOLE_TILE: &str = "        const u32 tm = tile % tall, tn = tile / tall, begin = 0, end = $STEPS;
";

/// Blocks that share a tile run at a time.
const SHARED_TILE: &str =
    "        const u32 split = tile % $SPLITS, tm = tile / $SPLITS % tall, tn = tile / $SPLITS / tall;
        const u32 begin = $STEPS * split / $SPLITS, end = $STEPS * (split + 1) / $SPLITS;
";

/// Leaves the sums of a tile.
const LEAVE: &str = "#pragma unroll
            for (u32 m = 0; m < $MATRICES; ++m) {
#pragma unroll
                for (u32 h = 0; h < 2; ++h) {
                    const u32 row = top + 16 * m + 8 * h + lane / 4;
                    if (row >= rows) continue;
                    float* to = sums + (u64)(split * $SPLIT_ROWS + row) * $SUM_ROW + tn * $COLUMNS + left + lane % 4 * 2;
#pragma unroll
                    for (u32 j = 0; j < $RUNS; ++j) *(float2*)(to + 8 * j) = make_float2(d[m][j][2 * h], d[m][j][2 * h + 1]);
                }
            }
";

const FINISH: &str = "#pragma unroll
            for (u32 m = 0; m < $MATRICES; ++m) {
#pragma unroll
                for (u32 h = 0; h < 2; ++h) {
                    const u32 row = top + 16 * m + 8 * h + lane / 4;
                    if (row >= rows) continue;
#pragma unroll
                    for (u32 j0 = 0; j0 < $COUNT; j0 += $BATCH) {
                        const u32 c0 = (first + left) / $EACH + 8 * j0 + lane % 4 * 2;
$ADDED#pragma unroll
                        for (u32 b = 0; b < $BATCH; ++b) {
                            const u32 j = j0 + b, c = c0 + 8 * b;
                            if (c >= $N) continue;
                            float pair[2];
#pragma unroll
                            for (u32 i = 0; i < 2; ++i) {
                                const u32 col = c + i;
                                float v = d[m][$EACH * j][2 * h + i] * OPERAND_UNIT;
                                $SECOND
                                $EVERY
                                pair[i] = v;
                            }
                            $STORE
                        }
                    }
                }
            }
";

/// Loads come before stores, which the compiler can't tell from them.
const LOAD_ADDED: &str = "                        float2 added[$BATCH];
#pragma unroll
                        for (u32 b = 0; b < $BATCH; ++b) {
                            const u32 c = c0 + 8 * b;
                            added[b] = c < $N ? *(const float2*)(add$P + (u64)row * $N + c) : make_float2(0.0f, 0.0f);
                        }
";

/// `multiply_tiles`: adds the products of 64 rows with `columns` rows of panels over 16 elements, or sets the sums to them.
pub(super) fn multiply_tiles(columns: u32) -> String {
    let count = columns / 2;
    let (list, outputs) = registers(columns);
    Names::new()
        .with("SHAPE", format!("m64n{columns}k16"))
        .with("RUNS", columns / 8)
        .with("LIST", list)
        .with("A", format!("%{count}"))
        .with("B", format!("%{}", count + 1))
        .with("ADD", format!("%{}", count + 2))
        .with("OUTPUTS", outputs)
        .fill(MULTIPLY)
}

/// Sums of 64 rows and so many columns as registers of an instruction, and as its outputs.
pub(super) fn registers(columns: u32) -> (String, String) {
    let all = 0..columns / 2;
    let list: Vec<String> = all.clone().map(|i| format!("%{i}")).collect();
    let outputs: Vec<String> = all.map(|i| format!("\"+f\"(d[{}][{}])", i / 4, i % 4)).collect();
    (list.join(","), outputs.join(", "))
}

const MULTIPLY: &str = "#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
DEV void multiply_tiles(float (&d)[$RUNS][4], const u8* a, const u8* b, u32 k, bool add) {
    asm volatile(
        \"{ .reg .pred p; setp.ne.b32 p, $ADD, 0; \"
        \"wgmma.mma_async.sync.aligned.$SHAPE.f32.f16.f16 {$LIST}, $A, $B, p, 1, 1, 0, 0; }\"
        : $OUTPUTS
        : \"l\"(tile_descriptor(a, k)), \"l\"(tile_descriptor(b, k)), \"r\"((u32)add));
}
#endif
";
