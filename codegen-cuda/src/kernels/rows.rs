//! Kernels that work row by row: norms, operands of products, elementwise steps, the choice of rows.

use super::cells::load_floats;
use super::text::{Names, float, float_name};
use super::{Kernel, Param, ParamType, row_bytes};
use crate::layout::{Element, operand_stride};
use lathe_ir::graph::Activation;

/// What is done with a row.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum RowOp {
    /// Copies the rows with given numbers.
    Gather,
    /// Makes operands of products.
    Operands,
    /// RMS norm.
    Norm {
        /// Added to the mean of squares.
        eps: f32,
        /// Adds another row to the result.
        add: bool,
        /// Whether the result is operands of products rather than f32.
        operands: bool,
    },
    /// Multiplies by a constant.
    Scale(f32),
    /// `cap · tanh(x / cap)`.
    Softcap(f32),
    /// An activation function.
    Act(Activation),
    /// The sum with another row.
    Add,
    /// The product with another row.
    Mul,
    /// The sum with one vector.
    AddVector,
    /// The product with one vector.
    MulVector,
}

/// A [`RowOp`] on rows of `n` f32.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RowKernel {
    /// What is done.
    pub op: RowOp,
    /// Elements of a row.
    pub n: u32,
}

/// One thread an element.
const THREADS: u32 = 256;
/// A norm has one block a row: as many threads as share it well, and as have room beside a product.
const NORM_THREADS: u32 = 256;

impl RowKernel {
    pub(super) fn threads(&self) -> u32 {
        match self.op {
            RowOp::Norm { .. } => NORM_THREADS,
            _ => THREADS,
        }
    }

    pub(super) fn name(&self) -> String {
        let op = match self.op {
            RowOp::Gather => "gather".to_owned(),
            RowOp::Operands => "operands".to_owned(),
            RowOp::Norm { eps, add, operands } => {
                let (add, operands) = (if add { "_add" } else { "" }, if operands { "_op" } else { "" });
                format!("norm{add}{operands}_{}", float_name(eps))
            }
            RowOp::Scale(by) => format!("scale_{}", float_name(by)),
            RowOp::Softcap(cap) => format!("softcap_{}", float_name(cap)),
            RowOp::Act(func) => func.keyword().to_owned(),
            RowOp::Add => "add".to_owned(),
            RowOp::Mul => "mul".to_owned(),
            RowOp::AddVector => "add_vector".to_owned(),
            RowOp::MulVector => "mul_vector".to_owned(),
        };
        format!("{op}_{}", self.n)
    }

    fn output(&self) -> ParamType {
        match self.op {
            RowOp::Operands | RowOp::Norm { operands: true, .. } => ParamType::Operands,
            _ => ParamType::F32,
        }
    }

    pub(super) fn params(&self) -> Vec<Param> {
        let row = |name: &str| Param::rows(name, ParamType::F32, row_bytes(ParamType::F32, self.n));
        let vector = |name: &str| Param::whole(name, ParamType::F32, row_bytes(ParamType::F32, self.n));
        let mut params = match self.op {
            // Any row of the input may be asked for.
            RowOp::Gather => vec![
                Param::whole("x", ParamType::F32, 0),
                Param::rows("ids", ParamType::I32, 4),
            ],
            RowOp::Norm { add, .. } => {
                let mut params = vec![vector("w"), row("x")];
                params.extend(add.then(|| row("y")));
                params
            }
            RowOp::Add | RowOp::Mul => vec![row("x"), row("y")],
            RowOp::AddVector | RowOp::MulVector => vec![row("x"), vector("y")],
            _ => vec![row("x")],
        };
        params.push(Param::rows("out", self.output(), row_bytes(self.output(), self.n)).written());
        params
    }

    pub(super) fn source(&self) -> String {
        let names = Names::new()
            .with("N", self.n)
            .with("WARPS", self.threads() / 32)
            .with("THREADS", self.threads());
        let mut functions = String::new();
        let body = match self.op {
            RowOp::Operands => names.with("STRIDE", operand_stride(self.n)).fill(OPERANDS),
            RowOp::Norm { eps, add, operands } => {
                let vector = if self.n.is_multiple_of(4) { 4 } else { 1 };
                let fill_up = if operands && operand_stride(self.n) > self.n {
                    FILL_UP
                } else {
                    ""
                };
                let names = names
                    .with("STRIDE", operand_stride(self.n))
                    .with("EPS", float(eps))
                    .with("INV_N", float(1.0 / self.n as f32))
                    .with("V", vector)
                    .with("EACH", self.n.div_ceil(vector * self.threads()))
                    .with("ADD", if add { " + y[(u64)row * N + i + j]" } else { "" })
                    .with("LOAD", load_floats(&Element::F32, vector, "p", "f"));
                let store = names.fill(&norm_store(operands, vector));
                functions = names.fill(LOAD_ROW);
                names.with("STORE", store).fill(&format!("{NORM}{fill_up}"))
            }
            op => {
                let value = match op {
                    RowOp::Scale(by) => format!("from[i] * {}", float(by)),
                    RowOp::Softcap(cap) => format!("softcap({}, from[i])", float(cap)),
                    RowOp::Act(func) => format!("{}(from[i])", func.keyword()),
                    RowOp::Add => "from[i] + y[(u64)row * N + i]".to_owned(),
                    RowOp::Mul => "from[i] * y[(u64)row * N + i]".to_owned(),
                    RowOp::AddVector => "from[i] + y[i]".to_owned(),
                    RowOp::MulVector => "from[i] * y[i]".to_owned(),
                    RowOp::Gather | RowOp::Operands | RowOp::Norm { .. } => "from[i]".to_owned(),
                };
                let from = if op == RowOp::Gather { "ids[row]" } else { "row" };
                names.with("FROM", from).with("VALUE", value).fill(ELEMENTS)
            }
        };
        let signature = Kernel::signature(&self.name(), self.threads(), &self.params());
        format!("constexpr u32 N = {};\n{functions}{signature}{body}}}\n", self.n)
    }
}

const ELEMENTS: &str = "    const u32 row = blockIdx.y;
    const u32 i = blockIdx.x * $THREADS + threadIdx.x;
    if (row >= *count || i >= N) return;
    const float* from = x + (u64)$FROM * N;
    out[(u64)row * N + i] = $VALUE;
";

const OPERANDS: &str = "    const u32 row = blockIdx.y, i = blockIdx.x * $THREADS + threadIdx.x;
    if (row >= *count || i >= $STRIDE) return;
    out[(u64)row * $STRIDE + i] = (u16)to_operand(i < N ? x[(u64)row * N + i] : 0.0f);
";

/// A row stays in registers between its two walks.
const NORM: &str = "    __shared__ float sums[$WARPS];
    const u32 row = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= *count) return;
    const float* from = x + (u64)row * N;
    float own[$EACH][$V], sum = 0.0f;
#pragma unroll
    for (u32 n = 0; n < $EACH; ++n) {
        const u32 i = (n * $THREADS + threadIdx.x) * $V;
#pragma unroll
        for (u32 j = 0; j < $V; ++j) own[n][j] = 0.0f;
        if (i < N) load_row(from + i, own[n]);
    }
#pragma unroll
    for (u32 n = 0; n < $EACH; ++n) {
#pragma unroll
        for (u32 j = 0; j < $V; ++j) sum = fmaf(own[n][j], own[n][j], sum);
    }
    sum = warp_sum(sum);
    if (lane == 0) sums[warp] = sum;
    __syncthreads();
    sum = 0.0f;
#pragma unroll
    for (u32 i = 0; i < $WARPS; ++i) sum += sums[i];
    const float by = __fdiv_rn(1.0f, sqrtf(fmaf(sum, $INV_N, $EPS)));
#pragma unroll
    for (u32 n = 0; n < $EACH; ++n) {
        const u32 i = (n * $THREADS + threadIdx.x) * $V;
        if (i >= N) continue;
        float scaled[$V], weights[$V];
        load_row(w + i, weights);
#pragma unroll
        for (u32 j = 0; j < $V; ++j) scaled[j] = own[n][j] * by * weights[j]$ADD;
$STORE    }
";

const LOAD_ROW: &str = "DEV void load_row(const float* p, float (&f)[$V]) {
$LOAD}
";

/// Operands that fill up a row.
const FILL_UP: &str =
    "    for (u32 i = N + threadIdx.x; i < $STRIDE; i += $THREADS) out[(u64)row * $STRIDE + i] = 0;
";

/// Stores elements as they are, or as operands, several at once.
fn norm_store(operands: bool, vector: u32) -> String {
    match (operands, vector) {
        (false, 4) => "        *(float4*)(out + (u64)row * N + i) = make_float4(scaled[0], scaled[1], scaled[2], scaled[3]);\n".into(),
        (false, _) => "        for (u32 j = 0; j < $V; ++j) out[(u64)row * N + i + j] = scaled[j];\n".into(),
        (true, 4) => "        *(uint2*)(out + (u64)row * $STRIDE + i) = make_uint2(to_operand(scaled[0]) | to_operand(scaled[1]) << 16, to_operand(scaled[2]) | to_operand(scaled[3]) << 16);\n".into(),
        (true, _) => "        for (u32 j = 0; j < $V; ++j) out[(u64)row * $STRIDE + i + j] = (u16)to_operand(scaled[j]);\n".into(),
    }
}
