//! Kernels whose unit is one row: norms, quantization, elementwise ops, row gathers.

use super::emit::{F32_BYTES, Q8aRow, at, for_lanes, inverse_rms, quantize_block, sum_of_squares};
use super::epilogue::{activation, softcap};
use lathe_ir::graph::Activation;
use lathe_ir::kernel::builder::Addr;
use lathe_ir::kernel::{Access, Kernel, KernelBuilder, Mem, Ty, Val};

/// `x / rms(x) · w`, to f32 or q8a, optionally with a second input added.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormKernel {
    /// Elements of a row.
    pub n: u32,
    /// Added to the mean of squares.
    pub eps: f32,
    /// Whether a row of a second input is added to the normed row.
    pub add: bool,
    /// Whether the output is q8a.
    pub quantize: bool,
    /// Vector width.
    pub lanes: u8,
}

impl NormKernel {
    /// Buffers: w, x, \[y,\] out. Units: rows.
    pub fn build(self) -> Kernel {
        let name = match (self.add, self.quantize) {
            (true, _) => "norm_add",
            (_, true) => "norm_quant",
            _ => "rms_norm",
        };
        let mut b = KernelBuilder::new(format!("{name}.{}.eps{:e}.w{}", self.n, self.eps, self.lanes));
        let (w, x) = (b.buf("w", Access::In), b.buf("x", Access::In));
        let y = self.add.then(|| b.buf("y", Access::In));
        let out = b.buf("out", Access::Out);
        let unit = b.unit();
        let row = b.mul_const(unit, i64::from(self.n * F32_BYTES));
        let sum = sum_of_squares(&mut b, at(x, row), self.n, self.lanes);
        let factor = inverse_rms(&mut b, sum, self.n, self.eps);
        let normed = |b: &mut KernelBuilder, i: Val, lanes: u8| {
            let index = b.add(row, i);
            let v = b.load(Mem::F32, at(x, index), Ty::f32(lanes));
            let weight = b.load(Mem::F32, at(w, i), Ty::f32(lanes));
            let factor = b.splat(factor, lanes);
            let v = b.mul(v, factor);
            let v = b.mul(v, weight);
            y.map_or(v, |y| {
                let other = b.load(Mem::F32, at(y, index), Ty::f32(lanes));
                b.add(v, other)
            })
        };
        if self.quantize {
            let q8a = Q8aRow::new(self.n);
            let out_row = b.mul_const(unit, i64::from(q8a.stride));
            quantize_row(&mut b, self.n, self.lanes, at(out, out_row), normed);
        } else {
            for_lanes(&mut b, self.n, self.lanes, |b, i, lanes| {
                let v = normed(b, i, lanes);
                let index = b.add(row, i);
                b.store(Mem::F32, at(out, index), v);
            });
        }
        b.finish()
    }
}

/// Quantizes a row of `n` values that `value(byte offset in an f32 row, lanes)` gives.
fn quantize_row(
    b: &mut KernelBuilder,
    n: u32,
    lanes: u8,
    out: Addr,
    value: impl Fn(&mut KernelBuilder, Val, u8) -> Val,
) {
    let q8a = Q8aRow::new(n);
    let (lo, hi) = (b.index(0), b.index(i64::from(n / 8)));
    // The loop counts 4 a block: the offset of the block's scale, an eighth of the offset of its f32 values over 4.
    b.for_loop(lo, hi, 4, &[], |b, block4, _| {
        let first = b.shl(block4, 5);
        let values: Vec<Val> = (0..32 / u32::from(lanes))
            .map(|v| {
                let i = b.add_const(first, i64::from(v * u32::from(lanes) * F32_BYTES));
                value(b, i, lanes)
            })
            .collect();
        quantize_block(b, &values, out, q8a, block4);
        Vec::new()
    });
}

/// f32 rows of `n` to q8a. Buffers: x, out. Units: rows.
pub fn quantize_kernel(n: u32, lanes: u8) -> Kernel {
    let mut b = KernelBuilder::new(format!("quantize.{n}.w{lanes}"));
    let (x, out) = (b.buf("x", Access::In), b.buf("out", Access::Out));
    let unit = b.unit();
    let row = b.mul_const(unit, i64::from(n * F32_BYTES));
    let out_row = b.mul_const(unit, i64::from(Q8aRow::new(n).stride));
    quantize_row(&mut b, n, lanes, at(out, out_row), |b, i, lanes| {
        let index = b.add(row, i);
        b.load(Mem::F32, at(x, index), Ty::f32(lanes))
    });
    b.finish()
}

/// An elementwise op on rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RowOp {
    /// Multiplies by a constant.
    Scale(f32),
    /// `cap · tanh(x / cap)`.
    Softcap(f32),
    /// An activation function.
    Act(Activation),
    /// Adds a second input, a row for each row.
    Add,
    /// Adds a vector to every row.
    AddVector,
    /// Multiplies by a second input.
    Mul,
    /// Multiplies every row by a vector.
    MulVector,
}

/// Applies `op` to f32 rows of `n`. Buffers: x, \[y,\] out. Units: rows.
pub fn row_op_kernel(op: RowOp, n: u32, lanes: u8) -> Kernel {
    let name = match op {
        RowOp::Scale(by) => format!("scale.{by:e}"),
        RowOp::Softcap(cap) => format!("softcap.{cap:e}"),
        RowOp::Act(func) => func.keyword().to_owned(),
        RowOp::Add => "add".to_owned(),
        RowOp::AddVector => "add_vector".to_owned(),
        RowOp::Mul => "mul".to_owned(),
        RowOp::MulVector => "mul_vector".to_owned(),
    };
    let mut b = KernelBuilder::new(format!("{name}.{n}.w{lanes}"));
    let x = b.buf("x", Access::In);
    let binary = matches!(op, RowOp::Add | RowOp::AddVector | RowOp::Mul | RowOp::MulVector);
    let y = binary.then(|| b.buf("y", Access::In));
    let out = b.buf("out", Access::Out);
    let unit = b.unit();
    let row = b.mul_const(unit, i64::from(n * F32_BYTES));
    for_lanes(&mut b, n, lanes, |b, i, lanes| {
        let index = b.add(row, i);
        let v = b.load(Mem::F32, at(x, index), Ty::f32(lanes));
        let other = |b: &mut KernelBuilder| {
            let vector = matches!(op, RowOp::AddVector | RowOp::MulVector);
            let y = y.expect("declared for binary ops");
            b.load(Mem::F32, at(y, if vector { i } else { index }), Ty::f32(lanes))
        };
        let v = match op {
            RowOp::Scale(by) => {
                let by = b.fconst(by, lanes);
                b.mul(v, by)
            }
            RowOp::Softcap(cap) => softcap(b, v, cap),
            RowOp::Act(func) => activation(b, func, v),
            RowOp::Add | RowOp::AddVector => {
                let y = other(b);
                b.add(v, y)
            }
            RowOp::Mul | RowOp::MulVector => {
                let y = other(b);
                b.mul(v, y)
            }
        };
        b.store(Mem::F32, at(out, index), v);
    });
    b.finish()
}

/// Copies f32 rows of `n` by number. Buffers: x, rows, out. Units: outputs.
pub fn gather_kernel(n: u32, lanes: u8) -> Kernel {
    let mut b = KernelBuilder::new(format!("gather_rows.{n}.w{lanes}"));
    let (x, rows, out) = (
        b.buf("x", Access::In),
        b.buf("rows", Access::In),
        b.buf("out", Access::Out),
    );
    let unit = b.unit();
    let entry = b.shl(unit, 2);
    let from = b.load(Mem::I32, at(rows, entry), Ty::INDEX);
    let from = b.mul_const(from, i64::from(n * F32_BYTES));
    let to = b.mul_const(unit, i64::from(n * F32_BYTES));
    for_lanes(&mut b, n, lanes, |b, i, lanes| {
        let index = b.add(from, i);
        let v = b.load(Mem::F32, at(x, index), Ty::f32(lanes));
        let index = b.add(to, i);
        b.store(Mem::F32, at(out, index), v);
    });
    b.finish()
}
