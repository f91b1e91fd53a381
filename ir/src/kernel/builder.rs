//! Builds kernels: every method appends one instruction to the innermost open region and returns its result.
//!
//! Result types follow from the operands; a wrong operand type is a bug of the generator and panics in
//! [`KernelBuilder::finish`], which runs the verifier.

use super::*;

/// A kernel under construction.
pub struct KernelBuilder {
    kernel: Kernel,
    open: Vec<Region>,
}

/// The address of an element: a buffer, an index value in bytes, and a constant.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Addr {
    /// Buffer.
    pub buf: Buf,
    /// Byte offset.
    pub index: Val,
    /// Constant byte offset.
    pub disp: i32,
}

impl Addr {
    /// The address `bytes` further on.
    pub fn plus(self, bytes: i32) -> Addr {
        Addr {
            disp: self.disp + bytes,
            ..self
        }
    }
}

impl KernelBuilder {
    /// Starts the kernel `name`. Declare buffers, scalars and scratch before the first instruction.
    pub fn new(name: impl Into<String>) -> KernelBuilder {
        let mut kernel = Kernel {
            name: name.into(),
            ..Kernel::default()
        };
        kernel.unit = Some(kernel.values.push(Ty::INDEX));
        KernelBuilder {
            kernel,
            open: vec![Region::default()],
        }
    }

    /// Gives the kernel its name, where it was not known at the start.
    pub fn rename(&mut self, name: impl Into<String>) {
        self.kernel.name = name.into();
    }

    /// Declares the next buffer. Where another has its name, a number is added to it.
    pub fn buf(&mut self, name: impl Into<String>, access: Access) -> Buf {
        let base = name.into();
        let taken = |name: &str| self.kernel.bufs.values().any(|b| b.name == name);
        let numbered = (2..).map(|n| format!("{base}.{n}"));
        let name = std::iter::once(base.clone())
            .chain(numbered)
            .find(|name| !taken(name));
        self.kernel.bufs.push(BufDecl {
            name: name.unwrap_or(base),
            access,
        })
    }

    /// Declares the next index parameter and returns the value that holds it.
    pub fn scalar(&mut self, name: impl Into<String>) -> Val {
        let value = self.kernel.values.push(Ty::INDEX);
        self.kernel.scalars.push(ScalarDecl {
            name: name.into(),
            value,
        });
        value
    }

    /// Reserves scratch bytes and returns the scratch buffer. Call after the last [`KernelBuilder::buf`].
    pub fn scratch(&mut self, bytes: u32) -> Buf {
        self.kernel.scratch = bytes;
        self.kernel.scratch_buf()
    }

    /// The number of the unit.
    pub fn unit(&self) -> Val {
        self.kernel.unit.expect("set in `new`")
    }

    /// The type of a value.
    pub fn ty(&self, v: Val) -> Ty {
        self.kernel.values[v]
    }

    fn push(&mut self, op: KOp, args: Vec<Val>, results: Vec<Val>, regions: Vec<Region>) {
        let region = self.open.last_mut().expect("a region is open until `finish`");
        region.insts.push(Inst {
            op,
            args,
            results,
            regions,
        });
    }

    /// Appends an instruction with one result of type `ty`.
    pub fn emit(&mut self, op: KOp, args: &[Val], ty: Ty) -> Val {
        let result = self.kernel.values.push(ty);
        self.push(op, args.to_vec(), vec![result], Vec::new());
        result
    }

    fn like(&mut self, op: KOp, args: &[Val]) -> Val {
        let ty = self.ty(args[0]);
        self.emit(op, args, ty)
    }

    /// An index constant.
    pub fn index(&mut self, n: i64) -> Val {
        self.emit(KOp::IConst(n), &[], Ty::INDEX)
    }
    /// An i32 constant in every lane.
    pub fn iconst(&mut self, n: i32, lanes: u8) -> Val {
        self.emit(KOp::IConst(i64::from(n)), &[], Ty::i32(lanes))
    }
    /// A float constant in every lane.
    pub fn fconst(&mut self, x: f32, lanes: u8) -> Val {
        self.emit(KOp::FConst(x), &[], Ty::f32(lanes))
    }
    /// `0, 1, 2, …`.
    pub fn iota(&mut self, lanes: u8) -> Val {
        self.emit(KOp::Iota, &[], Ty::i32(lanes))
    }
    /// `a + b`.
    pub fn add(&mut self, a: Val, b: Val) -> Val {
        self.like(KOp::Add, &[a, b])
    }
    /// `a + n` of an index.
    pub fn add_const(&mut self, a: Val, n: i64) -> Val {
        let n = self.index(n);
        self.add(a, n)
    }
    /// `a − b`.
    pub fn sub(&mut self, a: Val, b: Val) -> Val {
        self.like(KOp::Sub, &[a, b])
    }
    /// `a · b`.
    pub fn mul(&mut self, a: Val, b: Val) -> Val {
        self.like(KOp::Mul, &[a, b])
    }
    /// `a · n` of an index.
    pub fn mul_const(&mut self, a: Val, n: i64) -> Val {
        let n = self.index(n);
        self.mul(a, n)
    }
    /// `a / b`.
    pub fn div(&mut self, a: Val, b: Val) -> Val {
        self.like(KOp::Div, &[a, b])
    }
    /// `⌊a / n⌋` of an index.
    pub fn div_const(&mut self, a: Val, n: i64) -> Val {
        self.like(KOp::DivConst(n), &[a])
    }
    /// `a mod n` of an index.
    pub fn rem_const(&mut self, a: Val, n: i64) -> Val {
        self.like(KOp::RemConst(n), &[a])
    }
    /// The lesser.
    pub fn min(&mut self, a: Val, b: Val) -> Val {
        self.like(KOp::Min, &[a, b])
    }
    /// The greater.
    pub fn max(&mut self, a: Val, b: Val) -> Val {
        self.like(KOp::Max, &[a, b])
    }
    /// Bitwise and.
    pub fn and(&mut self, a: Val, b: Val) -> Val {
        self.like(KOp::And, &[a, b])
    }
    /// Bitwise or.
    pub fn or(&mut self, a: Val, b: Val) -> Val {
        self.like(KOp::Or, &[a, b])
    }
    /// Shift left.
    pub fn shl(&mut self, a: Val, by: u8) -> Val {
        self.like(KOp::Shl(by), &[a])
    }
    /// Arithmetic shift right.
    pub fn sar(&mut self, a: Val, by: u8) -> Val {
        self.like(KOp::Sar(by), &[a])
    }
    /// Logical shift right.
    pub fn shr(&mut self, a: Val, by: u8) -> Val {
        self.like(KOp::Shr(by), &[a])
    }
    /// A field of each byte.
    pub fn bits(&mut self, a: Val, shift: u8, width: u8) -> Val {
        self.like(KOp::Bits { shift, width }, &[a])
    }
    /// Shift left of each byte.
    pub fn bshl(&mut self, a: Val, by: u8) -> Val {
        self.like(KOp::BShl(by), &[a])
    }
    /// `table[a]` of each byte, `a < 16`.
    pub fn lut(&mut self, a: Val, table: [u8; 16]) -> Val {
        self.like(KOp::Lut(table), &[a])
    }
    /// `−a`.
    pub fn neg(&mut self, a: Val) -> Val {
        self.like(KOp::Neg, &[a])
    }
    /// `|a|`.
    pub fn abs(&mut self, a: Val) -> Val {
        self.like(KOp::Abs, &[a])
    }
    /// `√a`.
    pub fn sqrt(&mut self, a: Val) -> Val {
        self.like(KOp::Sqrt, &[a])
    }
    /// To the nearest integer, ties to even.
    pub fn round(&mut self, a: Val) -> Val {
        self.like(KOp::Round, &[a])
    }
    /// `a·b + c`.
    pub fn fma(&mut self, a: Val, b: Val, c: Val) -> Val {
        self.like(KOp::Fma, &[a, b, c])
    }
    /// `c − a·b`.
    pub fn fnma(&mut self, a: Val, b: Val, c: Val) -> Val {
        self.like(KOp::Fnma, &[a, b, c])
    }
    /// `acc + Σ₄ u·a`, `u < 2^bits`.
    pub fn dot4(&mut self, acc: Val, u: Val, a: Val, bits: u8) -> Val {
        self.like(KOp::Dot4 { bits }, &[acc, u, a])
    }
    /// i32 to f32.
    pub fn cvt_f32(&mut self, a: Val) -> Val {
        let ty = Ty::f32(self.ty(a).lanes);
        self.emit(KOp::CvtF32, &[a], ty)
    }
    /// f32 to i32.
    pub fn cvt_i32(&mut self, a: Val) -> Val {
        let ty = Ty::i32(self.ty(a).lanes);
        self.emit(KOp::CvtI32, &[a], ty)
    }
    /// i32 scalar to index.
    pub fn to_index(&mut self, a: Val) -> Val {
        self.emit(KOp::ToIndex, &[a], Ty::INDEX)
    }
    /// Index to i32 scalar.
    pub fn to_i32(&mut self, a: Val) -> Val {
        self.emit(KOp::ToI32, &[a], Ty::I32)
    }
    /// f32 lanes as i32 lanes or the reverse.
    pub fn bitcast(&mut self, a: Val) -> Val {
        let from = self.ty(a);
        let elem = if from.elem == Elem::F32 {
            Elem::I32
        } else {
            Elem::F32
        };
        self.emit(KOp::Bitcast, &[a], Ty { elem, ..from })
    }
    /// A scalar in every lane.
    pub fn splat(&mut self, a: Val, lanes: u8) -> Val {
        let ty = Ty { lanes, ..self.ty(a) };
        if lanes == 1 {
            a
        } else {
            self.emit(KOp::Splat, &[a], ty)
        }
    }
    /// One lane.
    pub fn extract(&mut self, a: Val, lane: u8) -> Val {
        let ty = Ty {
            lanes: 1,
            ..self.ty(a)
        };
        self.emit(KOp::Extract(lane), &[a], ty)
    }
    /// Sum of the lanes.
    pub fn reduce_add(&mut self, a: Val) -> Val {
        let ty = Ty {
            lanes: 1,
            ..self.ty(a)
        };
        self.emit(KOp::ReduceAdd, &[a], ty)
    }
    /// Maximum of the lanes.
    pub fn reduce_max(&mut self, a: Val) -> Val {
        let ty = Ty {
            lanes: 1,
            ..self.ty(a)
        };
        self.emit(KOp::ReduceMax, &[a], ty)
    }
    /// Lane-wise comparison.
    pub fn cmp(&mut self, cmp: Cmp, a: Val, b: Val) -> Val {
        let ty = Ty::i32(self.ty(a).lanes);
        self.emit(KOp::Cmp(cmp), &[a, b], ty)
    }
    /// `mask ? a : b`.
    pub fn select(&mut self, mask: Val, a: Val, b: Val) -> Val {
        let ty = self.ty(a);
        self.emit(KOp::Select, &[mask, a, b], ty)
    }
    /// Loads a value of type `ty`.
    pub fn load(&mut self, mem: Mem, at: Addr, ty: Ty) -> Val {
        self.emit(
            KOp::Load {
                mem,
                buf: at.buf,
                disp: at.disp,
            },
            &[at.index],
            ty,
        )
    }
    /// Loads one element into every lane.
    pub fn load_splat(&mut self, mem: Mem, at: Addr, ty: Ty) -> Val {
        self.emit(
            KOp::LoadSplat {
                mem,
                buf: at.buf,
                disp: at.disp,
            },
            &[at.index],
            ty,
        )
    }
    /// Stores a value.
    pub fn store(&mut self, mem: Mem, at: Addr, value: Val) {
        self.push(
            KOp::Store {
                mem,
                buf: at.buf,
                disp: at.disp,
            },
            vec![at.index, value],
            Vec::new(),
            Vec::new(),
        );
    }
    /// Hints that memory will be read.
    pub fn prefetch(&mut self, at: Addr) {
        self.push(
            KOp::Prefetch {
                buf: at.buf,
                disp: at.disp,
            },
            vec![at.index],
            Vec::new(),
            Vec::new(),
        );
    }

    /// Products of `rows` rows of `k` signed bytes, `stride` apart, with the codes of a panel, to rows of 16 i32.
    pub fn tile_dot(&mut self, (rows, k, stride): (u8, u8, u32), out: Addr, a: Addr, w: Addr) {
        let tile = TileDot {
            rows,
            k,
            stride,
            out: (out.buf, out.disp),
            a: (a.buf, a.disp),
            w: (w.buf, w.disp),
        };
        let args = vec![out.index, a.index, w.index];
        self.push(KOp::TileDot(tile), args, Vec::new(), Vec::new());
    }

    /// `for i in lo..hi step s` with carried values; `body` gets the builder, `i` and the carried values and returns
    /// their next values. Returns the values after the last iteration.
    pub fn for_loop(
        &mut self,
        lo: Val,
        hi: Val,
        step: i64,
        init: &[Val],
        body: impl FnOnce(&mut Self, Val, &[Val]) -> Vec<Val>,
    ) -> Vec<Val> {
        let i = self.kernel.values.push(Ty::INDEX);
        let carried: Vec<Val> = init.iter().map(|&v| self.copy_type(v)).collect();
        let params = std::iter::once(i).chain(carried.iter().copied()).collect();
        self.open.push(Region {
            params,
            ..Region::default()
        });
        let yields = body(self, i, &carried);
        let mut region = self.open.pop().expect("pushed above");
        region.yields = yields;
        let results: Vec<Val> = init.iter().map(|&v| self.copy_type(v)).collect();
        let args = [lo, hi].into_iter().chain(init.iter().copied()).collect();
        self.push(KOp::For { step }, args, results.clone(), vec![region]);
        results
    }

    /// `for i in 0..n`, nothing carried.
    pub fn for_const(&mut self, n: i64, body: impl FnOnce(&mut Self, Val)) {
        let (lo, hi) = (self.index(0), self.index(n));
        self.for_loop(lo, hi, 1, &[], |b, i, _| {
            body(b, i);
            Vec::new()
        });
    }

    /// Runs `then` where the comparison of two indices holds, else `otherwise`.
    pub fn if_else(
        &mut self,
        cmp: Cmp,
        a: Val,
        b: Val,
        then: impl FnOnce(&mut Self),
        otherwise: impl FnOnce(&mut Self),
    ) {
        self.open.push(Region::default());
        then(self);
        let first = self.open.pop().expect("pushed above");
        self.open.push(Region::default());
        otherwise(self);
        let second = self.open.pop().expect("pushed above");
        self.push(KOp::If(cmp), vec![a, b], Vec::new(), vec![first, second]);
    }

    fn copy_type(&mut self, v: Val) -> Val {
        let ty = self.ty(v);
        self.kernel.values.push(ty)
    }

    /// Closes the kernel.
    ///
    /// # Panics
    /// Where the verifier finds an error: the generator that called the builder is wrong.
    pub fn finish(mut self) -> Kernel {
        assert_eq!(self.open.len(), 1, "`finish` inside a region");
        self.kernel.body = self.open.pop().expect("one region is open");
        if let Err(errors) = verify::verify(&self.kernel) {
            panic!("generated kernel @{} is invalid: {}", self.kernel.name, errors[0]);
        }
        self.kernel
    }
}
