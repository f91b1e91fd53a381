//! Runs kernels: the meaning of every op, and the oracle that compiled kernels are compared with, bit by bit.
//!
//! Floats are IEEE single precision; `fma` rounds once. Memory is checked: every access lies in its buffer. So are the
//! bounds on operands that [`KOp`] names (the sign of a dividend, the range of codes …): a kernel that breaks one has
//! no meaning, so it is an error here where compiled code would go on. Scratch is filled with a pattern before each
//! unit (as floats it is a NaN), so that a kernel which reads what it did not write shows it.

mod lanes;
mod memory;

use super::verify::{VerifyError, verify};
use super::*;
use crate::id::Id;
use lanes::{holds, int};
use memory::Memory;
use std::ops::Range;

/// A kernel could not run.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InterpError {
    /// The kernel breaks a rule of the IR.
    #[error("kernel @{kernel} is invalid: {error}")]
    Invalid {
        /// Its name.
        kernel: String,
        /// The first broken rule.
        error: VerifyError,
    },
    /// It was called with another number of buffers or scalars than it declares.
    #[error("kernel @{kernel} takes {want} {what}, not {got}")]
    Arguments {
        /// Its name.
        kernel: String,
        /// Buffers or scalars.
        what: &'static str,
        /// Declared.
        want: usize,
        /// Passed.
        got: usize,
    },
    /// An access outside of a buffer.
    #[error("kernel @{kernel}, unit {unit}: `{op}` of {bytes} bytes at {offset} of ${buf}, which has {len}")]
    OutOfBounds {
        /// The kernel's name.
        kernel: String,
        /// The unit that ran.
        unit: i64,
        /// Keyword of the op.
        op: &'static str,
        /// The buffer's name.
        buf: String,
        /// Byte offset of the access.
        offset: i64,
        /// Bytes of the access.
        bytes: usize,
        /// Bytes of the buffer.
        len: usize,
    },
    /// An operand outside of the range that the op's documentation gives.
    #[error("kernel @{kernel}, unit {unit}: `{op}` {what}")]
    Operand {
        /// The kernel's name.
        kernel: String,
        /// The unit that ran.
        unit: i64,
        /// Keyword of the op.
        op: &'static str,
        /// What is wrong with it.
        what: String,
    },
}

/// Why an instruction cannot run, without the kernel and unit around it.
enum Fault {
    OutOfBounds {
        buf: String,
        offset: i64,
        bytes: usize,
        len: usize,
    },
    Operand(String),
}

/// Runs units of a kernel. `bufs` and `scalars` are in the order of their declarations.
///
/// # Errors
/// Where the kernel is invalid or the arguments are not what it declares; else the first access outside of a buffer or
/// operand outside of its range, in which case earlier instructions have had their effect.
pub fn run(
    kernel: &Kernel,
    bufs: &mut [&mut [u8]],
    scalars: &[i64],
    units: Range<i64>,
) -> Result<(), InterpError> {
    check(kernel, bufs.len(), scalars.len())?;
    let mut slots = Vec::with_capacity(kernel.values.len());
    let mut end = 0;
    for ty in kernel.values.values() {
        slots.push(end);
        end += usize::from(ty.lanes);
    }
    let memory = Memory::new(kernel, bufs);
    let mut machine = Machine {
        kernel,
        slots,
        lanes: vec![0; end],
        memory,
        next: Vec::new(),
        op: "",
    };
    for (decl, &value) in kernel.scalars.values().zip(scalars) {
        machine.set_index(decl.value, value);
    }
    for unit in units {
        if let Some(value) = kernel.unit {
            machine.set_index(value, unit);
        }
        machine.memory.poison();
        if let Err(fault) = machine.region(&kernel.body) {
            return Err(error(kernel.name.clone(), unit, machine.op, fault));
        }
    }
    Ok(())
}

fn check(kernel: &Kernel, bufs: usize, scalars: usize) -> Result<(), InterpError> {
    let name = || kernel.name.clone();
    if let Err(errors) = verify(kernel) {
        return match errors.into_iter().next() {
            Some(error) => Err(InterpError::Invalid {
                kernel: name(),
                error,
            }),
            None => Ok(()),
        };
    }
    let counts = [
        ("buffers", kernel.bufs.len(), bufs),
        ("scalars", kernel.scalars.len(), scalars),
    ];
    match counts.into_iter().find(|(_, want, got)| want != got) {
        Some((what, want, got)) => Err(InterpError::Arguments {
            kernel: name(),
            what,
            want,
            got,
        }),
        None => Ok(()),
    }
}

fn error(kernel: String, unit: i64, op: &'static str, fault: Fault) -> InterpError {
    match fault {
        Fault::OutOfBounds {
            buf,
            offset,
            bytes,
            len,
        } => InterpError::OutOfBounds {
            kernel,
            unit,
            op,
            buf,
            offset,
            bytes,
            len,
        },
        Fault::Operand(what) => InterpError::Operand {
            kernel,
            unit,
            op,
            what,
        },
    }
}

/// The state of a run. A lane is 64 bits: an index, or 32 or 8 bits in its low part and zeros above.
struct Machine<'a, 'b> {
    kernel: &'a Kernel,
    /// Where the lanes of each value start.
    slots: Vec<usize>,
    lanes: Vec<u64>,
    memory: Memory<'a, 'b>,
    /// Lanes of values on their way from one iteration to the next.
    next: Vec<u64>,
    /// Keyword of the instruction that runs.
    op: &'static str,
}

impl Machine<'_, '_> {
    fn range(&self, v: Val) -> Range<usize> {
        let start = self.slots[v.index()];
        start..start + usize::from(self.kernel.values[v].lanes)
    }

    fn value(&self, v: Val) -> &[u64] {
        &self.lanes[self.range(v)]
    }

    fn index(&self, v: Val) -> i64 {
        self.lanes[self.slots[v.index()]] as i64
    }

    fn set_index(&mut self, v: Val, to: i64) {
        self.lanes[self.slots[v.index()]] = to as u64;
    }

    /// Copies values at once: no target is read.
    fn copy(&mut self, from: &[Val], to: &[Val]) {
        let mut next = std::mem::take(&mut self.next);
        next.clear();
        from.iter().for_each(|&v| next.extend_from_slice(self.value(v)));
        let mut rest = &next[..];
        for &v in to {
            let range = self.range(v);
            let (lanes, after) = rest.split_at(range.len());
            self.lanes[range].copy_from_slice(lanes);
            rest = after;
        }
        self.next = next;
    }

    fn region(&mut self, region: &Region) -> Result<(), Fault> {
        for inst in &region.insts {
            self.op = inst.op.info().keyword;
            match inst.op {
                KOp::For { step } => self.for_loop(inst, step)?,
                KOp::If(cmp) => {
                    let first = holds(cmp, self.index(inst.args[0]), self.index(inst.args[1]));
                    self.region(&inst.regions[usize::from(!first)])?;
                }
                KOp::Prefetch { .. } => {}
                KOp::TileDot(tile) => self.tile_dot(tile, &inst.args)?,
                KOp::Load { .. } | KOp::LoadSplat { .. } | KOp::Store { .. } => self.access(inst)?,
                op => self.compute(op, inst)?,
            }
        }
        Ok(())
    }

    fn for_loop(&mut self, inst: &Inst, step: i64) -> Result<(), Fault> {
        let region = &inst.regions[0];
        let (index, carried) = (region.params[0], &region.params[1..]);
        let (lo, hi) = (self.index(inst.args[0]), self.index(inst.args[1]));
        self.copy(&inst.args[2..], carried);
        let mut next = Some(lo);
        while let Some(i) = next.filter(|&i| i < hi) {
            self.set_index(index, i);
            self.region(region)?;
            self.copy(&region.yields, carried);
            next = i.checked_add(step);
        }
        self.copy(carried, &inst.results);
        Ok(())
    }

    fn access(&mut self, inst: &Inst) -> Result<(), Fault> {
        let at = self.index(inst.args[0]);
        match inst.op {
            KOp::Store { mem, buf, disp } => {
                let range = self.range(inst.args[1]);
                self.memory
                    .store(mem, buf, at.saturating_add(disp.into()), &self.lanes[range])
            }
            KOp::Load { mem, buf, disp } | KOp::LoadSplat { mem, buf, disp } => {
                let ty = self.kernel.values[inst.results[0]];
                let period = match inst.op {
                    KOp::Load { .. } => usize::from(ty.lanes),
                    _ if ty.elem.is_byte() => 4,
                    _ => 1,
                };
                let range = self.range(inst.results[0]);
                let at = at.saturating_add(disp.into());
                self.memory
                    .load(mem, buf, at, ty.elem, &mut self.lanes[range.clone()][..period])?;
                for i in range.start + period..range.end {
                    self.lanes[i] = self.lanes[i - period];
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn tile_dot(&mut self, tile: TileDot, args: &[Val]) -> Result<(), Fault> {
        let start = |i: usize, disp: i32| self.index(args[i]).saturating_add(disp.into());
        let (out, a, w) = (start(0, tile.out.1), start(1, tile.a.1), start(2, tile.w.1));
        let k = usize::from(tile.k);
        let mut codes = vec![0; 16 * k];
        self.memory.load(Mem::U8, tile.w.0, w, Elem::U8, &mut codes)?;
        let mut sums = Vec::new();
        for row in 0..i64::from(tile.rows) {
            let mut bytes = vec![0; k];
            let at = a.saturating_add(row * i64::from(tile.stride));
            self.memory.load(Mem::I8, tile.a.0, at, Elem::I8, &mut bytes)?;
            for column in 0..16 {
                let products = (0..k).map(|j| {
                    let code = codes[j / 4 * 64 + column * 4 + j % 4];
                    code as i32 * i32::from(bytes[j] as u8 as i8)
                });
                sums.push(int(products.sum()));
            }
        }
        // All is read before anything is written.
        self.memory.store(Mem::I32, tile.out.0, out, &sums)
    }

    /// Ops that are no loops, branches or accesses.
    fn compute(&mut self, op: KOp, inst: &Inst) -> Result<(), Fault> {
        let result = inst.results[0];
        let elem = inst
            .args
            .first()
            .map_or(Elem::I32, |&a| self.kernel.values[a].elem);
        let to = self.range(result);
        let starts = [0, 1, 2].map(|i| inst.args.get(i).map_or(0, |v| self.slots[v.index()]));
        let [x, y, z] = starts;
        match op {
            KOp::IConst(n) => {
                let bits = if self.kernel.values[result].elem == Elem::I64 {
                    n as u64
                } else {
                    int(n as i32)
                };
                self.lanes[to].fill(bits);
            }
            KOp::FConst(v) => self.lanes[to].fill(v.to_bits().into()),
            KOp::Iota => self.lanes[to].iter_mut().zip(0..).for_each(|(lane, i)| *lane = i),
            KOp::Splat => {
                let lane = self.lanes[x];
                self.lanes[to].fill(lane);
            }
            KOp::Extract(lane) => self.lanes[to.start] = self.lanes[x + usize::from(lane)],
            KOp::ReduceAdd | KOp::ReduceMax => {
                self.lanes[to.start] = lanes::reduce(op, elem, self.value(inst.args[0]).to_vec());
            }
            KOp::Dot4 { bits } => {
                for i in 0..to.len() {
                    let (u, a) = (&self.lanes[y + 4 * i..][..4], &self.lanes[z + 4 * i..][..4]);
                    self.lanes[to.start + i] = lanes::dot4(bits, self.lanes[x + i], u, a)?;
                }
            }
            _ => {
                for i in 0..to.len() {
                    self.lanes[to.start + i] = match inst.args.len() {
                        1 => lanes::unary(op, elem, self.lanes[x + i])?,
                        2 if op == KOp::Div && elem == Elem::I64 => {
                            lanes::quotient(self.lanes[x + i], self.lanes[y + i])?
                        }
                        2 => lanes::binary(op, elem, self.lanes[x + i], self.lanes[y + i]),
                        _ => lanes::ternary(op, self.lanes[x + i], self.lanes[y + i], self.lanes[z + i])?,
                    };
                }
            }
        }
        Ok(())
    }
}
