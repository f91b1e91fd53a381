//! What every op means, lane by lane: the oracle that compiled kernels are compared with.
//!
//! A lane is 64 bits that hold an index, or 32 or 8 bits in their low part. Accesses outside of a buffer are errors.

use lathe_ir::Id;
use lathe_ir::kernel::{Buf, Cmp, Elem, Inst, KOp, Kernel, Mem, Region, Val};
use std::ops::Range;

/// Runs units of a kernel.
pub fn run(
    kernel: &Kernel,
    bufs: &mut [&mut [u8]],
    scalars: &[i64],
    units: Range<i64>,
) -> Result<(), String> {
    let values = vec![Vec::new(); kernel.values.len()];
    let mut machine = Machine {
        kernel,
        values,
        bufs,
        scratch: Vec::new(),
    };
    for (decl, &value) in kernel.scalars.values().zip(scalars) {
        machine.values[decl.value.index()] = vec![value as u64];
    }
    for unit in units {
        if let Some(value) = kernel.unit {
            machine.values[value.index()] = vec![unit as u64];
        }
        // Poison: no unit may rely on what another left behind.
        machine.scratch = vec![0xcd; kernel.scratch as usize];
        machine.region(&kernel.body)?;
    }
    Ok(())
}

struct Machine<'a, 'b> {
    kernel: &'a Kernel,
    values: Vec<Vec<u64>>,
    bufs: &'a mut [&'b mut [u8]],
    scratch: Vec<u8>,
}

fn float(lane: u64) -> f32 {
    f32::from_bits(lane as u32)
}

fn int(lane: u64) -> i32 {
    lane as i32
}

fn of_float(x: f32) -> u64 {
    x.to_bits().into()
}

fn of_int(x: i32) -> u64 {
    (x as u32).into()
}

fn holds<T: PartialOrd>(cmp: Cmp, x: T, y: T) -> bool {
    match cmp {
        Cmp::Eq => x == y,
        Cmp::Ne => x != y,
        Cmp::Lt => x < y,
        Cmp::Le => x <= y,
    }
}

/// A binary op on two lanes.
fn binary(op: KOp, elem: Elem, x: u64, y: u64) -> u64 {
    match elem {
        Elem::F32 => {
            let (x, y) = (float(x), float(y));
            of_float(match op {
                KOp::Add | KOp::ReduceAdd => x + y,
                KOp::Sub => x - y,
                KOp::Mul => x * y,
                KOp::Div => x / y,
                KOp::Min => {
                    if x < y {
                        x
                    } else {
                        y
                    }
                }
                KOp::Max | KOp::ReduceMax => {
                    if x > y {
                        x
                    } else {
                        y
                    }
                }
                _ => unreachable!("{op:?} of floats"),
            })
        }
        _ => {
            let wide = |lane: u64| {
                if elem == Elem::I64 {
                    lane as i64
                } else {
                    i64::from(int(lane))
                }
            };
            let (x, y) = (wide(x), wide(y));
            let result = match op {
                KOp::Add | KOp::ReduceAdd => x.wrapping_add(y),
                KOp::Sub => x.wrapping_sub(y),
                KOp::Mul => x.wrapping_mul(y),
                KOp::Div => x / y,
                KOp::Min => x.min(y),
                KOp::Max | KOp::ReduceMax => x.max(y),
                KOp::And => x & y,
                KOp::Or => x | y,
                _ => unreachable!("{op:?} of integers"),
            };
            if elem == Elem::I64 {
                result as u64
            } else {
                of_int(result as i32)
            }
        }
    }
}

/// A unary op on one lane.
fn unary(op: KOp, elem: Elem, x: u64) -> u64 {
    match (op, elem) {
        (KOp::Shl(n), Elem::I64) => x << n,
        (KOp::Shl(n), _) => of_int(int(x) << n),
        (KOp::Sar(n), Elem::I64) => (x as i64 >> n) as u64,
        (KOp::Sar(n), _) => of_int(int(x) >> n),
        (KOp::Shr(n), _) => u64::from(x as u32 >> n),
        (KOp::Bits { shift, width }, _) => x >> shift & ((1 << width) - 1),
        (KOp::BShl(n), _) => x << n & 0xff,
        (KOp::Lut(table), _) => table[x as usize].into(),
        (KOp::Neg, Elem::F32) => of_float(-float(x)),
        (KOp::Neg, _) => of_int(int(x).wrapping_neg()),
        (KOp::Abs, _) => of_float(float(x).abs()),
        (KOp::Sqrt, _) => of_float(float(x).sqrt()),
        (KOp::Round, _) => of_float(float(x).round_ties_even()),
        (KOp::CvtF32, _) => of_float(int(x) as f32),
        (KOp::CvtI32, _) => of_int(float(x).round_ties_even() as i32),
        (KOp::ToIndex, _) => i64::from(int(x)) as u64,
        (KOp::ToI32, _) => of_int(x as i32),
        (KOp::DivConst(n), _) => (x as i64 / n) as u64,
        (KOp::RemConst(n), _) => (x as i64 % n) as u64,
        (KOp::Bitcast, _) => x,
        _ => unreachable!("{op:?}"),
    }
}

fn reduce(op: KOp, elem: Elem, mut lanes: Vec<u64>) -> u64 {
    while lanes.len() > 1 {
        let upper = lanes.split_off(lanes.len() / 2);
        lanes = lanes
            .into_iter()
            .zip(upper)
            .map(|(x, y)| binary(op, elem, x, y))
            .collect();
    }
    lanes[0]
}

fn dot4(acc: u64, codes: &[u64], activations: &[u64]) -> u64 {
    let product = |(u, a): (&u64, &u64)| i32::from(*u as u8) * i32::from(*a as u8 as i8);
    let sum: i32 = codes.iter().zip(activations).map(product).sum();
    of_int(int(acc).wrapping_add(sum))
}

impl Machine<'_, '_> {
    fn region(&mut self, region: &Region) -> Result<(), String> {
        region.insts.iter().try_for_each(|inst| self.inst(inst))
    }

    fn lanes(&self, value: Val) -> Vec<u64> {
        self.values[value.index()].clone()
    }

    fn index(&self, value: Val) -> i64 {
        self.values[value.index()][0] as i64
    }

    fn inst(&mut self, inst: &Inst) -> Result<(), String> {
        match inst.op {
            KOp::Store { mem, buf, disp } => {
                let at = self.index(inst.args[0]) + i64::from(disp);
                self.store(mem, buf, at, &self.lanes(inst.args[1]))
            }
            KOp::Prefetch { .. } => Ok(()),
            KOp::For { step } => self.for_loop(inst, step),
            KOp::If(cmp) => {
                let first = holds(cmp, self.index(inst.args[0]), self.index(inst.args[1]));
                self.region(&inst.regions[usize::from(!first)])
            }
            _ => {
                let result = self.compute(inst)?;
                self.values[inst.results[0].index()] = result;
                Ok(())
            }
        }
    }

    fn for_loop(&mut self, inst: &Inst, step: i64) -> Result<(), String> {
        let region = &inst.regions[0];
        let (mut i, hi) = (self.index(inst.args[0]), self.index(inst.args[1]));
        let mut carried: Vec<Vec<u64>> = inst.args[2..].iter().map(|&v| self.lanes(v)).collect();
        while i < hi {
            self.values[region.params[0].index()] = vec![i as u64];
            for (param, lanes) in region.params[1..].iter().zip(carried) {
                self.values[param.index()] = lanes;
            }
            self.region(region)?;
            carried = region.yields.iter().map(|&v| self.lanes(v)).collect();
            i += step;
        }
        for (result, lanes) in inst.results.iter().zip(carried) {
            self.values[result.index()] = lanes;
        }
        Ok(())
    }

    fn compute(&mut self, inst: &Inst) -> Result<Vec<u64>, String> {
        let ty = self.kernel.values[inst.results[0]];
        let n = usize::from(ty.lanes);
        let args: Vec<Vec<u64>> = match inst.op {
            KOp::Load { .. } | KOp::LoadSplat { .. } => Vec::new(),
            _ => inst.args.iter().map(|&v| self.lanes(v)).collect(),
        };
        let elem = inst.args.first().map_or(ty.elem, |&v| self.kernel.values[v].elem);
        Ok(match inst.op {
            KOp::IConst(c) => vec![
                if ty.elem == Elem::I64 {
                    c as u64
                } else {
                    of_int(c as i32)
                };
                n
            ],
            KOp::FConst(x) => vec![of_float(x); n],
            KOp::Iota => (0..n as u64).collect(),
            KOp::Fma => (0..n)
                .map(|i| fma(float(args[0][i]), args[1][i], args[2][i]))
                .collect(),
            KOp::Fnma => (0..n)
                .map(|i| fma(-float(args[0][i]), args[1][i], args[2][i]))
                .collect(),
            KOp::Dot4 { .. } => {
                let quads = args[1].chunks(4).zip(args[2].chunks(4));
                args[0]
                    .iter()
                    .zip(quads)
                    .map(|(&acc, (u, a))| dot4(acc, u, a))
                    .collect()
            }
            KOp::Splat => vec![args[0][0]; n],
            KOp::Extract(lane) => vec![args[0][usize::from(lane)]],
            KOp::ReduceAdd | KOp::ReduceMax => vec![reduce(inst.op, elem, args[0].clone())],
            KOp::Cmp(cmp) => {
                let lane = |(&x, &y): (&u64, &u64)| match elem {
                    Elem::F32 => holds(cmp, float(x), float(y)),
                    _ => holds(cmp, int(x), int(y)),
                };
                args[0]
                    .iter()
                    .zip(&args[1])
                    .map(|pair| of_int(-i32::from(lane(pair))))
                    .collect()
            }
            KOp::Select => (0..n)
                .map(|i| if args[0][i] != 0 { args[1][i] } else { args[2][i] })
                .collect(),
            KOp::Load { mem, buf, disp } => self.load(inst, mem, buf, disp, n, n)?,
            KOp::LoadSplat { mem, buf, disp } => {
                let period = if matches!(ty.elem, Elem::I8 | Elem::U8) {
                    4
                } else {
                    1
                };
                self.load(inst, mem, buf, disp, n, period)?
            }
            op if args.len() == 2 => args[0]
                .iter()
                .zip(&args[1])
                .map(|(&x, &y)| binary(op, elem, x, y))
                .collect(),
            op => args[0].iter().map(|&x| unary(op, elem, x)).collect(),
        })
    }

    fn bytes(&mut self, buf: Buf, at: i64, len: usize) -> Result<&mut [u8], String> {
        let scratch = buf == self.kernel.scratch_buf();
        let memory: &mut [u8] = if scratch {
            &mut self.scratch
        } else {
            self.bufs[buf.index()]
        };
        let size = memory.len();
        let range = usize::try_from(at)
            .ok()
            .and_then(|start| memory.get_mut(start..start + len));
        range.ok_or_else(|| format!("{len} bytes at {at} of {buf}, which has {size}"))
    }

    /// Loads `n` lanes, of which lane i is element `i mod period`.
    fn load(
        &mut self,
        inst: &Inst,
        mem: Mem,
        buf: Buf,
        disp: i32,
        n: usize,
        period: usize,
    ) -> Result<Vec<u64>, String> {
        let start = self.index(inst.args[0]) + i64::from(disp);
        let elem = self.kernel.values[inst.results[0]].elem;
        let size = mem.bytes() as usize;
        (0..n)
            .map(|i| {
                let mut word = [0; 4];
                word[..size].copy_from_slice(self.bytes(buf, start + (i % period * size) as i64, size)?);
                let bits = u32::from_le_bytes(word);
                Ok(match (mem, elem) {
                    (Mem::I8, Elem::I32) => of_int(i32::from(bits as u8 as i8)),
                    (Mem::I32, Elem::I64) => i64::from(bits as i32) as u64,
                    (Mem::F16, _) => of_float(half::f16::from_bits(bits as u16).to_f32()),
                    (Mem::Bf16, _) => of_float(half::bf16::from_bits(bits as u16).to_f32()),
                    _ => bits.into(),
                })
            })
            .collect()
    }

    fn store(&mut self, mem: Mem, buf: Buf, start: i64, lanes: &[u64]) -> Result<(), String> {
        let size = mem.bytes() as usize;
        for (i, &lane) in lanes.iter().enumerate() {
            let bits = match mem {
                Mem::I8 => int(lane).clamp(-128, 127) as u32,
                Mem::F16 => half::f16::from_f32(float(lane)).to_bits().into(),
                Mem::Bf16 => half::bf16::from_f32(float(lane)).to_bits().into(),
                _ => lane as u32,
            };
            self.bytes(buf, start + (i * size) as i64, size)?
                .copy_from_slice(&bits.to_le_bytes()[..size]);
        }
        Ok(())
    }
}

fn fma(a: f32, b: u64, c: u64) -> u64 {
    of_float(a.mul_add(float(b), float(c)))
}
