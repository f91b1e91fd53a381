//! `linear`: products that share their input, in one launch, each finished with what works element by element.
//!
//! A block computes a tile of `rows` rows of activations by a number of outputs of one part. Each warp takes outputs of the
//! tile one or two at a time; sums go through shared memory to the threads that finish and store them. Steps that need a
//! whole head are left to [`super::Heads`].

use super::dot::Dot;
use super::text::{Lines, Names, float, float_name};
use super::{Kernel, Param, ParamType, row_bytes};
use crate::layout::Matrix;
use lathe_ir::graph::Activation;

/// An elementwise step of an epilogue.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    /// Adds a vector.
    Bias,
    /// Multiplies by a constant.
    Scale(f32),
    /// The activation of the product times that with the second weight.
    Glu(Activation),
    /// An activation function.
    Act(Activation),
    /// `cap · tanh(x / cap)`.
    Softcap(f32),
    /// Adds a value of the same shape.
    Add,
}

impl Step {
    fn name(self) -> String {
        match self {
            Step::Bias => "bias".into(),
            Step::Scale(by) => format!("scale{}", float_name(by)),
            Step::Glu(func) => format!("glu{}", func.keyword()),
            Step::Act(func) => func.keyword().into(),
            Step::Softcap(cap) => format!("cap{}", float_name(cap)),
            Step::Add => "add".into(),
        }
    }

    /// Its statement, on the element `v` of column `col` of row `row`, for a part whose parameters end in `suffix`.
    pub(super) fn statement(self, suffix: &str, n: u32) -> String {
        match self {
            Step::Bias => format!("v += bias{suffix}[col];"),
            Step::Scale(by) => format!("v *= {};", float(by)),
            Step::Glu(func) => format!("v = {}(v) * second;", func.keyword()),
            Step::Act(func) => format!("v = {}(v);", func.keyword()),
            Step::Softcap(cap) => format!("v = softcap({}, v);", float(cap)),
            Step::Add => format!("v += add{suffix}[(u64)row * {n} + col];"),
        }
    }

    pub(super) fn names(steps: &[Step]) -> String {
        steps.iter().map(|s| format!("_{}", s.name())).collect()
    }
}

/// One product.
#[derive(Clone, Debug)]
pub struct ProductPart {
    /// The weight.
    pub matrix: Matrix,
    /// Whether there is a second weight of the same layout, for [`Step::Glu`].
    pub paired: bool,
    /// What happens to sums.
    pub steps: Vec<Step>,
    /// Whether the output is q8a rather than f32.
    pub quantize: bool,
}

/// Products that share their input.
#[derive(Clone, Debug)]
pub struct Product {
    /// Rows of a tile: 1, 2, 4 or 8.
    pub rows: u32,
    /// Whether the input is q8a rather than f32.
    pub quantized: bool,
    /// The products, at least one, of equal [`Matrix::k`].
    pub parts: Vec<ProductPart>,
}

/// Rows of the tiles that there are; steps of more rows have several tiles of the last.
pub const TILE_ROWS: [u32; 4] = [1, 2, 4, 8];

impl ProductPart {
    fn has(&self, step: fn(&Step) -> bool) -> bool {
        self.steps.iter().any(step)
    }

    fn name(&self) -> String {
        let steps = Step::names(&self.steps);
        let out = if self.quantize { "_q8a" } else { "" };
        format!("{}_{}{steps}{out}", self.matrix.dtype, self.matrix.rows)
    }
}

impl Product {
    fn k(&self) -> u32 {
        self.parts.first().map_or(0, |p| p.matrix.k)
    }

    /// Warps of a block.
    pub fn warps(&self) -> u32 {
        if self.tile() == 32 { 16 } else { 8 }
    }

    /// Outputs of a tile: 32 where they are quantized together, and where many rows share them.
    pub fn tile(&self) -> u32 {
        if self.rows > 2 || self.parts.iter().any(|p| p.quantize) {
            32
        } else {
            8
        }
    }

    /// Tiles of outputs of all parts.
    pub fn tiles(&self) -> u32 {
        self.parts
            .iter()
            .map(|p| p.matrix.rows.div_ceil(self.tile()))
            .sum()
    }

    pub(super) fn name(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(ProductPart::name).collect();
        let x = if self.quantized { "q8a" } else { "f32" };
        format!("product_{}r_{x}_{}_{}", self.rows, self.k(), parts.join("__"))
    }

    pub(super) fn params(&self) -> Vec<Param> {
        let x = match self.quantized {
            true => ParamType::Q8a,
            false => ParamType::F32,
        };
        let mut params = vec![Param::rows("x", x, row_bytes(x, self.k()))];
        for (i, part) in self.parts.iter().enumerate() {
            let n = part.matrix.rows;
            let f32_row = row_bytes(ParamType::F32, n);
            let weight =
                |name: &str| Param::whole(format!("{name}{i}"), ParamType::Bytes, part.matrix.bytes());
            params.push(weight("w"));
            params.extend(part.paired.then(|| weight("second")));
            if part.has(|s| *s == Step::Bias) {
                params.push(Param::whole(format!("bias{i}"), ParamType::F32, f32_row));
            }
            if part.has(|s| *s == Step::Add) {
                params.push(Param::rows(format!("add{i}"), ParamType::F32, f32_row));
            }
            let out = match part.quantize {
                true => ParamType::Q8a,
                false => ParamType::F32,
            };
            params.push(Param::rows(format!("out{i}"), out, row_bytes(out, n)).written());
        }
        params
    }

    pub(super) fn source(&self) -> String {
        let mut text = Lines::new();
        let mut bodies = Lines::new();
        let mut first_tile = 0;
        for (i, part) in self.parts.iter().enumerate() {
            text.line(self.functions(i, part));
            let tiles = part.matrix.rows.div_ceil(self.tile());
            let end = first_tile + tiles;
            bodies.line(format_args!("    if (tile < {end}) {{"));
            bodies.line(format_args!(
                "        const u32 n0 = (tile - {first_tile}) * {};",
                self.tile()
            ));
            bodies.line(self.part(i, part));
            bodies.line("        return;\n    }");
            first_tile = end;
        }
        let signature = Kernel::signature(&self.name(), 32 * self.warps(), &self.params());
        let start = Names::new()
            .with("MR", self.rows)
            .with("TILE", self.tile())
            .with("SECOND", u32::from(self.parts.iter().any(|p| p.paired)) + 1)
            .fill(START);
        format!("{}{signature}{start}{}}}\n", text.finish(), bodies.finish())
    }

    /// Outputs that a warp computes together where nothing else is computed with them.
    fn together(&self) -> u32 {
        if self.rows == 8 { 2 } else { 1 }
    }

    fn functions(&self, i: usize, part: &ProductPart) -> String {
        Dot {
            suffix: &i.to_string(),
            matrix: &part.matrix,
            quantized: self.quantized,
            outputs: if part.paired { 2 } else { self.together() },
            rows: self.rows,
        }
        .functions()
    }

    /// What a block does for a tile of a part.
    fn part(&self, i: usize, part: &ProductPart) -> String {
        let n = part.matrix.rows;
        let names = || {
            Names::new()
                .with("P", i)
                .with("N", n)
                .with("MR", self.rows)
                .with("TILE", self.tile())
                .with("WARPS", self.warps())
                .with("T", self.together())
                .with("W", vec![format!("w{i}"); self.together() as usize].join(", "))
        };
        let sums = names().fill(if part.paired { PAIR } else { ONE });
        let second = match part.paired {
            true => "            const float second = sums[1][t][o];\n",
            false => "",
        };
        let suffix = i.to_string();
        let steps: Vec<String> = part
            .steps
            .iter()
            .map(|s| format!("            {}\n", s.statement(&suffix, n)))
            .collect();
        let store = if part.quantize { QUANTIZE } else { STORE };
        let store = names()
            .with("STEPS", format!("{second}{}", steps.concat()))
            .fill(store);
        sums + &store
    }
}

const START: &str = "    __shared__ float sums[$SECOND][$MR][$TILE];
    const u32 rows = (u32)*count, row0 = blockIdx.x * $MR, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 at[$MR];
#pragma unroll
    for (u32 t = 0; t < $MR; ++t) at[t] = row0 + t < rows ? row0 + t : rows - 1;
";

const ONE: &str = "        for (u32 o = warp * $T; o < $TILE; o += $WARPS * $T) {
            const u8* const w[$T] = {$W};
            u32 n[$T];
            float acc[$T][$MR] = {};
#pragma unroll
            for (u32 r = 0; r < $T; ++r) n[r] = n0 + o + r < $N ? n0 + o + r : $N - 1;
            dot_$P(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < $T; ++r) {
#pragma unroll
                for (u32 t = 0; t < $MR; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
";

const PAIR: &str = "        for (u32 o = warp; o < $TILE; o += $WARPS) {
            const u8* const w[2] = {w$P, second$P};
            const u32 row = n0 + o < $N ? n0 + o : $N - 1;
            const u32 n[2] = {row, row};
            float acc[2][$MR] = {};
            dot_$P(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 t = 0; t < $MR; ++t) {
                const float one = warp_sum(acc[0][t]), two = warp_sum(acc[1][t]);
                if (lane == 0) sums[0][t][o] = one;
                if (lane == 0) sums[1][t][o] = two;
            }
        }
";

const STORE: &str = "        __syncthreads();
        for (u32 i = threadIdx.x; i < $MR * $TILE; i += 32 * $WARPS) {
            const u32 t = i / $TILE, o = i % $TILE, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= $N) continue;
            float v = sums[0][t][o];
$STEPS            out$P[(u64)row * $N + col] = v;
        }";

const QUANTIZE: &str = "        __syncthreads();
        for (u32 t = warp; t < $MR && row0 + t < rows; t += $WARPS) {
            const u32 o = lane, row = row0 + t, col = n0 + o;
            float v = sums[0][t][o];
$STEPS            quantize32(v, out$P + (u64)row * ($N + $N / 2), $N, n0 / 32, lane);
        }";
