//! A tiny plan that touches every kind of argument: two weights, rotations, the KV cache, the inputs.
//!
//! For each row: the token's number times the vector `scale`, plus the first cosine and sine of the row's rotation, goes
//! to the values of the cache; a second kernel sums the row's values over the positions of its sequence; a third picks
//! the outputs. Logits have as many columns as the vector has elements.
#![allow(dead_code)]

use lathe_ir::DType;
use lathe_ir::backend::{WeightData, WeightSource};
use lathe_ir::graph::{KvPart, RopePairs, RopeSpec, RowOrder};
use lathe_ir::kernel::builder::Addr;
use lathe_ir::kernel::{Access, Buf, Kernel, KernelBuilder, Mem, Ty, Val};
use lathe_ir::layout::KvTypes;
use lathe_ir::plan::*;
use lathe_ir::types::{Sym, TensorType};
use std::borrow::Cow;

/// Columns.
pub const N: u32 = 8;
pub const CTX: u32 = 64;

/// Weights by name, f32.
pub struct Weights(pub Vec<(&'static str, Vec<u64>, Vec<f32>)>);

impl WeightSource for Weights {
    fn weight(&self, name: &str) -> Option<WeightData<'_>> {
        let (_, dims, values) = self.0.iter().find(|w| w.0 == name)?;
        let (rows, columns) = if dims.len() == 2 {
            (dims[0], dims[1])
        } else {
            (1, dims[0])
        };
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Some(WeightData {
            dtype: DType::F32,
            rows,
            columns,
            bytes: Cow::Owned(bytes),
        })
    }
}

/// The weights that the plan wants: `scale[i] = i + 1`, `matrix[r][c] = 100 r + c`.
pub fn weights() -> Weights {
    let scale = (1..=N).map(|i| i as f32).collect();
    let matrix = (0..20 * 4).map(|i| (100 * (i / 4) + i % 4) as f32).collect();
    Weights(vec![
        ("scale", vec![N.into()], scale),
        ("matrix", vec![20, 4], matrix),
    ])
}

fn at(buf: Buf, index: Val) -> Addr {
    Addr { buf, index, disp: 0 }
}

/// Address in the values of the cache of the row that sequence `seq` has at `position`.
fn value_at(b: &mut KernelBuilder, v: Buf, tables: Buf, seq: Val, position: Val) -> Addr {
    let row = b.mul_const(seq, i64::from(4 * CTX / KV_BLOCK));
    let entry = b.div_const(position, i64::from(KV_BLOCK));
    let entry = b.shl(entry, 2);
    let entry = b.add(row, entry);
    let block = b.load(Mem::I32, at(tables, entry), Ty::INDEX);
    let block = b.mul_const(block, i64::from(N * KV_BLOCK * 2));
    let slot = b.rem_const(position, i64::from(KV_BLOCK));
    let slot = b.mul_const(slot, i64::from(N * 2));
    let index = b.add(block, slot);
    at(v, index)
}

fn fill_kernel() -> Kernel {
    let mut b = KernelBuilder::new("fill");
    let names = ["tokens", "positions", "seqs", "tables", "scale", "matrix", "rope"];
    let [tokens, positions, seqs, tables, scale, matrix, rope] = names.map(|n| b.buf(n, Access::In));
    let v = b.buf("v", Access::InOut);
    let unit = b.unit();
    let offset = b.shl(unit, 2);
    let token = b.load_splat(Mem::I32, at(tokens, offset), Ty::i32(4));
    let token = b.cvt_f32(token);
    let position = b.load(Mem::I32, at(positions, offset), Ty::INDEX);
    let seq = b.load(Mem::I32, at(seqs, offset), Ty::INDEX);
    let to = value_at(&mut b, v, tables, seq, position);
    // Two angles a row: cosines at 0 and 4, sines at 8 and 12.
    let row = b.shl(unit, 4);
    let cos = b.load_splat(Mem::F32, at(rope, row), Ty::f32(4));
    let sin = b.load_splat(Mem::F32, at(rope, row).plus(8), Ty::f32(4));
    let turn = b.add(cos, sin);
    // Packed row 17 of the matrix is lane 1 of the second panel; its element 2 is in vector 2.
    let zero = b.index(0);
    let panel = 16 * 4 * 4;
    let picked = b.load_splat(Mem::F32, at(matrix, zero).plus(panel + 2 * 64 + 4), Ty::f32(4));
    let turn = b.add(turn, picked);
    for part in 0..N as i32 / 4 {
        let factor = b.load(Mem::F32, at(scale, zero).plus(16 * part), Ty::f32(4));
        let value = b.fma(token, factor, turn);
        b.store(Mem::F16, to.plus(8 * part), value);
    }
    b.finish()
}

fn sum_kernel() -> Kernel {
    let mut b = KernelBuilder::new("sum");
    let [positions, seqs, tables, v] = ["positions", "seqs", "tables", "v"].map(|n| b.buf(n, Access::In));
    let out = b.buf("out", Access::Out);
    let rows = b.scalar("rows");
    let scratch = b.scratch(64);
    let unit = b.unit();
    let offset = b.shl(unit, 2);
    let position = b.load(Mem::I32, at(positions, offset), Ty::INDEX);
    let seq = b.load(Mem::I32, at(seqs, offset), Ty::INDEX);
    let (zero, end) = (b.index(0), b.add_const(position, 1));
    let none = b.fconst(0.0, N as u8);
    let sums = b.for_loop(zero, end, 1, &[none], |b, i, sums| {
        let from = value_at(b, v, tables, seq, i);
        let value = b.load(Mem::F16, from, Ty::f32(N as u8));
        vec![b.add(sums[0], value)]
    });
    b.store(Mem::F32, at(scratch, zero), sums[0]);
    let sum = b.load(Mem::F32, at(scratch, zero), Ty::f32(N as u8));
    // The number of rows shows that scalars arrive.
    let rows = b.to_i32(rows);
    let rows = b.cvt_f32(rows);
    let rows = b.splat(rows, N as u8);
    let sum = b.add(sum, rows);
    let to = b.mul_const(unit, i64::from(N * 4));
    b.store(Mem::F32, at(out, to), sum);
    b.finish()
}

fn pick_kernel() -> Kernel {
    let mut b = KernelBuilder::new("pick");
    let [x, rows] = ["x", "rows"].map(|n| b.buf(n, Access::In));
    let out = b.buf("out", Access::Out);
    let unit = b.unit();
    let offset = b.shl(unit, 2);
    let row = b.load(Mem::I32, at(rows, offset), Ty::INDEX);
    let from = b.mul_const(row, i64::from(N * 4));
    let to = b.mul_const(unit, i64::from(N * 4));
    let value = b.load(Mem::F32, at(x, from), Ty::f32(N as u8));
    b.store(Mem::F32, at(out, to), value);
    b.finish()
}

/// The plan, for up to `tokens` rows and 2 sequences.
pub fn plan(tokens: u32) -> Plan {
    let mut plan = Plan {
        name: "tiny".into(),
        vocab: N,
        ..Plan::default()
    };
    plan.limits = Limits {
        tokens,
        outputs: tokens,
        seqs: 2,
        ctx: CTX,
    };
    let bytes = u64::from(tokens * N * 4);
    let stride = bytes.next_multiple_of(64);
    let x = plan.buffers.push(BufferDecl {
        name: "x".into(),
        offset: 0,
        bytes,
    });
    let logits = plan.buffers.push(BufferDecl {
        name: "logits".into(),
        offset: stride,
        bytes,
    });
    plan.arena_bytes = 2 * stride;
    plan.output = Some(logits);
    plan.kv_layers = vec![KvLayer {
        kv_heads: 1,
        head_dim: N,
        types: KvTypes::default(),
        window: 0,
    }];
    let section = |weight: &str, ty, form| SectionDecl {
        weight: weight.into(),
        ty,
        form,
        order: RowOrder::Natural,
        heads: 0,
        dims: 0,
    };
    let scale = TensorType::new([u64::from(N)], DType::F32);
    let scale = plan.sections.push(section("scale", scale, SectionForm::Vector));
    let matrix = TensorType::matrix(20u64, 4, DType::F32);
    let matrix = plan.sections.push(section("matrix", matrix, SectionForm::Panels));
    let spec = RopeSpec {
        pairs: RopePairs::Half,
        dims: 4,
        base: 10000.0,
        freq_scale: 1.0,
        magnitude: 1.0,
    };
    let rope = plan.ropes.push(RopeDecl { spec, factors: None });
    let [fill, sum, pick] = [fill_kernel(), sum_kernel(), pick_kernel()].map(|k| plan.kernels.push(k));
    let v = Arg::Kv(KvPart::V, 0);
    let inputs = [Input::Positions, Input::Seqs, Input::BlockTables].map(Arg::Input);
    let mut fill_args = vec![Arg::Input(Input::Tokens)];
    fill_args.extend(inputs);
    fill_args.extend([Arg::Section(scale), Arg::Section(matrix), Arg::Rope(rope), v]);
    let mut sum_args = inputs.to_vec();
    sum_args.extend([v, Arg::Buffer(x)]);
    let pick_args = vec![Arg::Buffer(x), Arg::Input(Input::Outputs), Arg::Buffer(logits)];
    let rows = Count::per(Sym::Tokens, 1);
    let outputs = Count::per(Sym::Outputs, 1);
    for (kernel, args, scalars, units) in [
        (fill, fill_args, vec![], rows),
        (sum, sum_args, vec![rows], rows),
        (pick, pick_args, vec![], outputs),
    ] {
        let label = plan.kernels[kernel].name.clone();
        plan.steps.push(Step {
            label,
            calls: vec![Call {
                kernel,
                args,
                scalars,
                units,
                cost: 10,
            }],
        });
    }
    plan
}

/// What the logits of a row are: `history` has the token of each position of its sequence up to its own.
pub fn expected(history: &[u32], rows: usize) -> Vec<f32> {
    let mut sums = vec![0.0f32; N as usize];
    for (position, &token) in history.iter().enumerate() {
        let (sin, cos) = (position as f64).sin_cos();
        let turn = (cos as f32 + sin as f32) + 1702.0;
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum += half::f16::from_f32((token as f32).mul_add(i as f32 + 1.0, turn)).to_f32();
        }
    }
    sums.iter().map(|s| s + rows as f32).collect()
}
