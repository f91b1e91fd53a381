//! The first kernels of a step: rows of an embedding, and cosines and sines of the rows' positions.

use super::cells::{Cells, matrix_name};
use super::text::{Names, float, float_name};
use super::{Kernel, Param, ParamType, row_bytes};
use crate::layout::{GROUP, Matrix};

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
        let m = &self.table;
        let names = Names::new()
            .with("K", m.k)
            .with("CELLS", m.cells())
            .with("CELL", m.cell_bytes())
            .with("ELEMENTS", m.cell_groups() * GROUP);
        let cells = Cells {
            suffix: "t",
            matrix: m,
            spread: false,
        };
        let (functions, body) = match m.tiled() {
            true => (cells.decode_functions(), names.fill(CELLS)),
            false => (String::new(), names.fill(FLOATS)),
        };
        format!("{functions}{signature}{body}}}\n")
    }
}

/// Four lanes a cell: those that have the row.
const CELLS: &str = "    const u32 row = blockIdx.x;
    if (row >= *count) return;
    const u32 n = (u32)ids[row];
    for (u32 i = threadIdx.x; i < $CELLS * 4; i += 128) {
        const u8* cell = w + ((u64)(n / 16) * $CELLS + i / 4) * $CELL;
        decode_t(cell, n % 8 * 4 + i % 4, n % 16 >= 8, i / 4 * $ELEMENTS, $K, out + (u64)row * $K);
    }
";

const FLOATS: &str = "    const u32 row = blockIdx.x;
    if (row >= *count) return;
    const float* from = (const float*)w + (u64)(u32)ids[row] * $K;
    for (u32 i = threadIdx.x; i < $K; i += 128) out[(u64)row * $K + i] = from[i];
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
