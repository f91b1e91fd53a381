//! The first kernels of a step: rows of an embedding, and cosines and sines of the rows' positions.

use super::text::{Names, float, float_name};
use super::weights::{block_functions, float_functions, float_vector, matrix_name};
use super::{Kernel, Param, ParamType, row_bytes};
use crate::layout::{Element, Matrix};

/// Rows of a table of weights, decoded.
#[derive(Clone, Copy, Debug)]
pub struct Embed {
    /// The table.
    pub table: Matrix,
}

impl Embed {
    pub(super) fn name(&self) -> String {
        format!("embed_{}", matrix_name(&self.table))
    }

    pub(super) fn params(&self) -> Vec<Param> {
        vec![
            Param::whole("w", ParamType::Bytes, self.table.bytes()),
            Param::rows("ids", ParamType::I32, 4),
            Param::rows("out", ParamType::F32, row_bytes(ParamType::F32, self.table.k)).written(),
        ]
    }

    pub(super) fn source(&self) -> String {
        let signature = Kernel::signature(&self.name(), 128, &self.params());
        let names = Names::new().with("K", self.table.k);
        let (functions, body) = match self.table.element {
            Element::Codes(format) => (
                block_functions("t", &self.table, format),
                names
                    .with("KB", self.table.blocks())
                    .with("GROUPS", 32 / format.group)
                    .with("GROUP_DWORDS", format.group / 4)
                    .with("OFFSET", format.offset)
                    .fill(CODES),
            ),
            _ => (
                float_functions("t", &self.table),
                names.with("V", float_vector(&self.table)).fill(FLOATS),
            ),
        };
        format!("{functions}{signature}{body}}}\n")
    }
}

const CODES: &str = "    const u32 row = blockIdx.x;
    if (row >= *count) return;
    const u32 n = (u32)ids[row];
    for (u32 b = threadIdx.x; b < $KB; b += 128) {
        u32 c[8];
        float s[$GROUPS], m[$GROUPS];
        codes_t(w, n * $KB + b, c);
        scales_t(w, n * $KB + b, s, m);
        float* to = out + (u64)row * $K + 32 * b;
#pragma unroll
        for (int t = 0; t < 8; ++t) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float level = (float)((int)((c[t] >> (8 * i)) & 255u) - $OFFSET);
                to[4 * t + i] = s[t / $GROUP_DWORDS] * level - m[t / $GROUP_DWORDS];
            }
        }
    }
";

const FLOATS: &str = "    const u32 row = blockIdx.x;
    if (row >= *count) return;
    const u32 n = (u32)ids[row];
    for (u32 i = threadIdx.x * $V; i < $K; i += 128 * $V) {
        float f[$V];
        floats_t(w, n, i, f);
#pragma unroll
        for (int j = 0; j < $V; ++j) out[(u64)row * $K + i + j] = f[j];
    }
";

/// Cosines, then sines, of the angles of `dims/2` pairs at each row's position, times the magnitude.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RopeTable {
    /// Elements of a head that rotate.
    pub dims: u32,
    /// Multiplies cosine and sine.
    pub magnitude: f32,
}

impl RopeTable {
    pub(super) fn name(&self) -> String {
        format!("rope_table_{}_{}", self.dims, float_name(self.magnitude))
    }

    pub(super) fn params(&self) -> Vec<Param> {
        vec![
            Param::whole("angles", ParamType::F64, u64::from(self.dims) / 2 * 8),
            Param::rows("positions", ParamType::I32, 4),
            Param::rows("out", ParamType::F32, row_bytes(ParamType::F32, self.dims)).written(),
        ]
    }

    pub(super) fn source(&self) -> String {
        let signature = Kernel::signature(&self.name(), 128, &self.params());
        let body = Names::new()
            .with("PAIRS", self.dims / 2)
            .with("MAGNITUDE", float(self.magnitude))
            .fill(TABLE);
        format!("{signature}{body}}}\n")
    }
}

const TABLE: &str = "    const u32 row = blockIdx.x;
    if (row >= *count) return;
    float* to = out + (u64)row * 2 * $PAIRS;
    for (u32 i = threadIdx.x; i < $PAIRS; i += 128) {
        double sine, cosine;
        sincos((double)positions[row] * angles[i], &sine, &cosine);
        to[i] = (float)(cosine * (double)$MAGNITUDE);
        to[$PAIRS + i] = (float)(sine * (double)$MAGNITUDE);
    }
";
