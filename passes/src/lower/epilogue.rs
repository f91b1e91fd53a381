//! What happens to a row of sums before it leaves the core: bias, head norm, RoPE, activation, residual, and the store.
//!
//! A unit's sums lie in scratch memory, one f32 row a token. Steps run over that row in place; the last one stores it.

use super::emit::{F32_BYTES, Q8aRow, at, for_lanes, inverse_rms, quantize_block, sum_of_squares};
use lathe_ir::graph::{Activation, KvPart};
use lathe_ir::kernel::builder::Addr;
use lathe_ir::kernel::{Buf, KernelBuilder, Mem, Ty, Val, math};
use lathe_ir::layout::KvType;
use lathe_ir::plan::KV_BLOCK;

/// A step of an epilogue, with the buffers it reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StepKind {
    /// Adds a vector of all columns.
    Bias(Buf),
    /// RMS norm of the unit's columns (one head).
    HeadNorm {
        /// The weight.
        weight: Buf,
        /// Added to the mean of squares.
        eps: f32,
    },
    /// Rotates the first `dims` columns of the unit (one head), pairs in halves.
    Rope {
        /// The table of rotations.
        table: Buf,
        /// Columns rotated.
        dims: u32,
    },
    /// Multiplies by a constant.
    Scale(f32),
    /// Applies a function and multiplies by the second product, which lies `columns` behind the first.
    Glu(Activation),
    /// Applies a function.
    Act(Activation),
    /// `cap · tanh(x / cap)`.
    Softcap(f32),
    /// Adds a value of the same shape.
    Add(Buf),
}

/// Where rows go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sink {
    /// f32 rows of `n`.
    F32(Buf),
    /// q8a rows of `n`.
    Q8A(Buf),
    /// The KV cache; the unit is one head.
    Kv {
        /// Keys or values.
        part: KvPart,
        /// How they are stored.
        ty: KvType,
        /// The layer's part of the cache.
        cache: Buf,
        /// Positions.
        positions: Buf,
        /// Sequence slots.
        seqs: Buf,
        /// Block tables.
        tables: Buf,
        /// Entries of a row of the block tables.
        blocks_per_seq: u32,
    },
}

/// The epilogue of a unit of `columns` outputs out of `n`.
#[derive(Clone, Debug)]
pub struct UnitEpilogue {
    /// Steps in order.
    pub steps: Vec<StepKind>,
    /// Where rows go.
    pub sink: Sink,
    /// Outputs of a unit; the last unit may have fewer where `n` is no multiple.
    pub columns: u32,
    /// Outputs of the product.
    pub n: u32,
    /// Vector width.
    pub lanes: u8,
}

impl UnitEpilogue {
    /// Emits the epilogue of one row: sums at `sums`, row number `row`, unit number `unit`.
    pub fn emit(&self, b: &mut KernelBuilder, sums: Addr, row: Val, unit: Val) {
        let tail = self.n % self.columns;
        if tail == 0 {
            return self.emit_columns(b, sums, row, unit, self.columns);
        }
        let last = b.index(i64::from(self.n / self.columns));
        b.if_else(
            lathe_ir::kernel::Cmp::Lt,
            unit,
            last,
            |b| self.emit_columns(b, sums, row, unit, self.columns),
            |b| self.emit_columns(b, sums, row, unit, tail),
        );
    }

    fn emit_columns(&self, b: &mut KernelBuilder, sums: Addr, row: Val, unit: Val, columns: u32) {
        let unit_bytes = b.mul_const(unit, i64::from(self.columns * F32_BYTES));
        let row_bytes = b.mul_const(row, i64::from(self.n * F32_BYTES));
        let row_unit = b.add(row_bytes, unit_bytes);
        let place = Place {
            sums,
            row,
            unit,
            unit_bytes,
            row_unit,
            columns,
        };
        let mut pending: Vec<StepKind> = Vec::new();
        for &step in &self.steps {
            match step {
                StepKind::HeadNorm { weight, eps } => {
                    self.pointwise(b, &place, &std::mem::take(&mut pending));
                    self.head_norm(b, &place, weight, eps);
                }
                StepKind::Rope { table, dims } => {
                    self.pointwise(b, &place, &std::mem::take(&mut pending));
                    self.rope(b, &place, table, dims);
                }
                other => pending.push(other),
            }
        }
        match self.sink {
            Sink::F32(out) => for_lanes(b, columns, self.lanes, |b, i, lanes| {
                let v = self.point(b, &place, &pending, i, lanes);
                let index = b.add(place.row_unit, i);
                b.store(Mem::F32, at(out, index), v);
            }),
            Sink::Q8A(out) => self.store_q8a(b, &place, &pending, out),
            Sink::Kv { .. } => {
                self.pointwise(b, &place, &pending);
                self.store_kv(b, &place);
            }
        }
    }

    /// Applies pointwise steps in place.
    fn pointwise(&self, b: &mut KernelBuilder, place: &Place, steps: &[StepKind]) {
        if steps.is_empty() {
            return;
        }
        for_lanes(b, place.columns, self.lanes, |b, i, lanes| {
            let v = self.point(b, place, steps, i, lanes);
            let index = b.add(place.sums.index, i);
            b.store(Mem::F32, Addr { index, ..place.sums }, v);
        });
    }

    /// The sums at byte `i` of the unit, after the pointwise steps.
    fn point(&self, b: &mut KernelBuilder, place: &Place, steps: &[StepKind], i: Val, lanes: u8) -> Val {
        let index = b.add(place.sums.index, i);
        let from = Addr { index, ..place.sums };
        let mut v = b.load(Mem::F32, from, Ty::f32(lanes));
        for step in steps {
            v = match *step {
                StepKind::Bias(bias) => {
                    let index = b.add(place.unit_bytes, i);
                    let w = b.load(Mem::F32, at(bias, index), Ty::f32(lanes));
                    b.add(v, w)
                }
                StepKind::Add(other) => {
                    let index = b.add(place.row_unit, i);
                    let y = b.load(Mem::F32, at(other, index), Ty::f32(lanes));
                    b.add(v, y)
                }
                StepKind::Scale(by) => {
                    let by = b.fconst(by, lanes);
                    b.mul(v, by)
                }
                StepKind::Act(func) => activation(b, func, v),
                StepKind::Glu(func) => {
                    let up = b.load(
                        Mem::F32,
                        from.plus((self.columns * F32_BYTES) as i32),
                        Ty::f32(lanes),
                    );
                    let gate = activation(b, func, v);
                    b.mul(gate, up)
                }
                StepKind::Softcap(cap) => softcap(b, v, cap),
                StepKind::HeadNorm { .. } | StepKind::Rope { .. } => unreachable!("not pointwise"),
            };
        }
        v
    }

    fn head_norm(&self, b: &mut KernelBuilder, place: &Place, weight: Buf, eps: f32) {
        let sum = sum_of_squares(b, place.sums, place.columns, self.lanes);
        let factor = inverse_rms(b, sum, place.columns, eps);
        for_lanes(b, place.columns, self.lanes, |b, i, lanes| {
            let index = b.add(place.sums.index, i);
            let x = b.load(Mem::F32, Addr { index, ..place.sums }, Ty::f32(lanes));
            let w = b.load(Mem::F32, at(weight, i), Ty::f32(lanes));
            let factor = b.splat(factor, lanes);
            let x = b.mul(x, factor);
            let x = b.mul(x, w);
            b.store(Mem::F32, Addr { index, ..place.sums }, x);
        });
    }

    fn rope(&self, b: &mut KernelBuilder, place: &Place, table: Buf, dims: u32) {
        let half = dims / 2;
        let half_bytes = (half * F32_BYTES) as i32;
        let table_row = b.mul_const(place.row, i64::from(dims * F32_BYTES));
        for_lanes(b, half, self.lanes, |b, i, lanes| {
            let index = b.add(place.sums.index, i);
            let low = Addr { index, ..place.sums };
            let angle = at(table, b.add(table_row, i));
            let x0 = b.load(Mem::F32, low, Ty::f32(lanes));
            let x1 = b.load(Mem::F32, low.plus(half_bytes), Ty::f32(lanes));
            let cos = b.load(Mem::F32, angle, Ty::f32(lanes));
            let sin = b.load(Mem::F32, angle.plus(half_bytes), Ty::f32(lanes));
            let y0 = b.mul(x0, cos);
            let y0 = b.fnma(x1, sin, y0);
            let y1 = b.mul(x1, cos);
            let y1 = b.fma(x0, sin, y1);
            b.store(Mem::F32, low, y0);
            b.store(Mem::F32, low.plus(half_bytes), y1);
        });
    }

    fn store_q8a(&self, b: &mut KernelBuilder, place: &Place, steps: &[StepKind], out: Buf) {
        let q8a = Q8aRow::new(self.n);
        let row = b.mul_const(place.row, i64::from(q8a.stride));
        let blocks = place.columns / 32;
        let first = b.mul_const(place.unit, i64::from(self.columns / 32));
        for block in 0..blocks {
            let values: Vec<Val> = (0..32 / u32::from(self.lanes))
                .map(|v| {
                    let i = b.index(i64::from((block * 32 + v * u32::from(self.lanes)) * F32_BYTES));
                    self.point(b, place, steps, i, self.lanes)
                })
                .collect();
            let number = b.add_const(first, i64::from(block));
            let block4 = b.shl(number, 2);
            quantize_block(b, &values, at(out, row), q8a, block4);
        }
    }
}

/// Where a row of a unit is.
pub(super) struct Place {
    /// The sums, f32.
    pub sums: Addr,
    /// Number of the row.
    pub row: Val,
    /// Number of the unit.
    pub unit: Val,
    /// Byte offset of the unit's columns in an f32 row.
    unit_bytes: Val,
    /// Byte offset of the unit's columns of this row in f32 rows of n.
    row_unit: Val,
    columns: u32,
}

/// The position and sequence of a row, as indices.
pub struct KvAddress {
    /// Position.
    pub position: Val,
    /// Sequence slot.
    pub seq: Val,
}

impl KvAddress {
    /// Loads them for `row`.
    pub fn new(b: &mut KernelBuilder, row: Val, positions: Buf, seqs: Buf) -> KvAddress {
        let offset = b.shl(row, 2);
        let position = b.load(Mem::I32, at(positions, offset), Ty::INDEX);
        let seq = b.load(Mem::I32, at(seqs, offset), Ty::INDEX);
        KvAddress { position, seq }
    }

    /// The block that holds `position` of the row's sequence.
    pub fn block(&self, b: &mut KernelBuilder, tables: Buf, blocks_per_seq: u32, position: Val) -> Val {
        let row = b.mul_const(self.seq, i64::from(blocks_per_seq * 4));
        let entry = b.div_const(position, i64::from(KV_BLOCK));
        let entry = b.shl(entry, 2);
        let index = b.add(row, entry);
        b.load(Mem::I32, at(tables, index), Ty::INDEX)
    }
}

/// An activation function of vector lanes.
pub fn activation(b: &mut KernelBuilder, func: Activation, x: Val) -> Val {
    match func {
        Activation::Silu => math::silu(b, x),
        Activation::Gelu => math::gelu_tanh(b, x),
    }
}

/// `cap · tanh(x / cap)`.
pub fn softcap(b: &mut KernelBuilder, x: Val, cap: f32) -> Val {
    let lanes = b.ty(x).lanes;
    let (cap_v, inv) = (b.fconst(cap, lanes), b.fconst(1.0 / cap, lanes));
    let x = b.mul(x, inv);
    let t = math::tanh(b, x);
    b.mul(t, cap_v)
}
