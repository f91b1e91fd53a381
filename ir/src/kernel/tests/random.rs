//! Random valid kernels that use every op.

use super::*;

/// A small random generator (xorshift64*; Vigna, "An experimental exploration of Marsaglia's xorshift generators").
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }

    fn choose<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// Bytes of each buffer that the kernel may touch.
pub(super) const BYTES: usize = 4096;

struct Generator {
    b: KernelBuilder,
    rng: Rng,
    /// Values that the next instruction may use.
    pool: Vec<Val>,
    bufs: [Buf; 4],
}

/// A kernel of two inputs (`in`, `inout`), two outputs (`inout`, `out`) with scratch, and one scalar. All accesses lie
/// within [`BYTES`]; what the values are is random, so an op may meet an operand outside of its range.
pub(super) fn kernel(seed: u64) -> Kernel {
    let mut b = KernelBuilder::new(if seed.is_multiple_of(2) {
        "random.k-1"
    } else {
        "a \"random\"\nname"
    });
    let bufs = [
        b.buf("x", Access::In),
        b.buf("x", Access::InOut),
        b.buf("a buffer", Access::Out),
    ];
    let rows = b.scalar("rows");
    let scratch = b.scratch(BYTES as u32);
    let pool = vec![b.unit(), rows];
    let mut g = Generator {
        b,
        rng: Rng(seed | 1),
        pool,
        bufs: [bufs[0], bufs[1], bufs[2], scratch],
    };
    let count = 10 + g.rng.below(60);
    g.insts(count, 0);
    g.b.finish()
}

impl Generator {
    fn insts(&mut self, count: usize, depth: usize) {
        let mark = self.pool.len();
        for _ in 0..count {
            match self.rng.below(12) {
                0 if depth < 3 => self.for_loop(depth),
                1 if depth < 3 => self.if_else(depth),
                2 => self.store(),
                3 => {
                    let at = self.address(0);
                    let disp = self.rng.next() as i32;
                    self.b.prefetch(Addr { disp, ..at });
                }
                _ => {
                    let value = self.op();
                    self.pool.push(value);
                }
            }
        }
        self.pool.truncate(mark);
    }

    fn lanes(&mut self) -> u8 {
        self.rng.choose(&[1, 4, 8, 16])
    }

    /// A value of this type: one at hand, or a new one.
    fn value(&mut self, ty: Ty) -> Val {
        let at_hand: Vec<Val> = self
            .pool
            .iter()
            .copied()
            .filter(|&v| self.b.ty(v) == ty)
            .collect();
        if !at_hand.is_empty() && self.rng.below(4) > 0 {
            return self.rng.choose(&at_hand);
        }
        let value = match ty.elem {
            Elem::I64 => {
                let n = self.rng.choose(&[0, 1, 7, 64, i64::MAX, i64::MIN, -3]);
                self.b.index(n)
            }
            Elem::I32 => {
                let n = self.rng.next() as i32;
                self.b.iconst(n, ty.lanes)
            }
            Elem::F32 => {
                let small = self.rng.next() as i32 as f32 / 1024.0;
                let x = self.rng.choose(&[
                    small,
                    0.0,
                    -0.0,
                    1e-40,
                    -1.5,
                    f32::MAX,
                    f32::INFINITY,
                    -f32::INFINITY,
                ]);
                self.b.fconst(x, ty.lanes)
            }
            Elem::U8 => self.load(Mem::U8, ty),
            Elem::I8 => self.load(Mem::I8, ty),
        };
        self.pool.push(value);
        value
    }

    /// An address with room for `bytes`.
    fn address(&mut self, buf: usize) -> Addr {
        let (base, extra) = (
            self.rng.below(1024) as i64 + 512,
            self.rng.below(1024) as i32 - 512,
        );
        let index = self.b.index(base);
        Addr {
            buf: self.bufs[buf],
            index,
            disp: extra,
        }
    }

    fn load(&mut self, mem: Mem, ty: Ty) -> Val {
        let buf = self.rng.choose(&[0, 1, 3]);
        let at = self.address(buf);
        self.b.load(mem, at, ty)
    }

    fn store(&mut self) {
        let lanes = self.lanes();
        let (mem, ty) = self.rng.choose(&[
            (Mem::I8, Ty::i32(lanes)),
            (Mem::I32, Ty::i32(lanes)),
            (Mem::U8, Ty::u8(lanes)),
            (Mem::F32, Ty::f32(lanes)),
            (Mem::F16, Ty::f32(lanes)),
        ]);
        let buf = self.rng.choose(&[1, 2, 3]);
        let (at, value) = (self.address(buf), self.value(ty));
        self.b.store(mem, at, value);
    }

    fn for_loop(&mut self, depth: usize) {
        let (lo, n) = (self.rng.below(9) as i64 - 4, self.rng.below(4) as i64);
        let (lo, hi) = (self.b.index(lo), self.b.index(lo + n));
        let step = 1 + self.rng.below(3) as i64;
        let types: Vec<Ty> = (0..self.rng.below(4)).map(|_| self.any_type()).collect();
        let init: Vec<Val> = types.iter().map(|&ty| self.value(ty)).collect();
        let count = self.rng.below(8);
        let mark = self.pool.len();
        // The builder lends itself to the body, which needs the generator around it.
        let empty = std::mem::replace(&mut self.b, KernelBuilder::new(""));
        let mut outer = empty;
        let results = outer.for_loop(lo, hi, step, &init, |b, i, carried| {
            std::mem::swap(b, &mut self.b);
            self.pool.push(i);
            self.pool.extend(carried);
            self.insts(count, depth + 1);
            let yields = types.iter().map(|&ty| self.value(ty)).collect();
            std::mem::swap(b, &mut self.b);
            yields
        });
        self.b = outer;
        self.pool.truncate(mark);
        self.pool.extend(results);
    }

    fn if_else(&mut self, depth: usize) {
        let cmp = self.rng.choose(&Cmp::ALL);
        let (x, y) = (self.value(Ty::INDEX), self.value(Ty::INDEX));
        let counts = [1 + self.rng.below(4), self.rng.below(3)];
        let mark = self.pool.len();
        let mut outer = std::mem::replace(&mut self.b, KernelBuilder::new(""));
        let this = std::cell::RefCell::new(self);
        let arm = |b: &mut KernelBuilder, count: usize| {
            let mut this = this.borrow_mut();
            std::mem::swap(b, &mut this.b);
            this.insts(count, depth + 1);
            this.pool.truncate(mark);
            std::mem::swap(b, &mut this.b);
        };
        outer.if_else(cmp, x, y, |b| arm(b, counts[0]), |b| arm(b, counts[1]));
        this.into_inner().b = outer;
    }

    fn any_type(&mut self) -> Ty {
        let lanes = self.lanes();
        self.rng.choose(&[
            Ty::INDEX,
            Ty::i32(lanes),
            Ty::f32(lanes),
            Ty::u8(4 * lanes),
            Ty::i8(4 * lanes),
        ])
    }

    /// Appends an op with a result.
    fn op(&mut self) -> Val {
        let lanes = self.lanes();
        match self.rng.below(6) {
            0 => self.float_op(Ty::f32(lanes)),
            1 => self.int_op(Ty::i32(lanes)),
            2 => self.index_op(),
            3 => self.byte_op(lanes),
            4 => self.lane_op(lanes),
            _ => self.load_op(lanes),
        }
    }

    fn float_op(&mut self, ty: Ty) -> Val {
        let (x, y, z) = (self.value(ty), self.value(ty), self.value(ty));
        let op = self.rng.choose(&[
            KOp::Add,
            KOp::Sub,
            KOp::Mul,
            KOp::Div,
            KOp::Min,
            KOp::Max,
            KOp::Neg,
            KOp::Abs,
            KOp::Sqrt,
            KOp::Round,
            KOp::Fma,
            KOp::Fnma,
        ]);
        self.b.emit(op, &[x, y, z][..op.info().args], ty)
    }

    fn int_op(&mut self, ty: Ty) -> Val {
        let (x, y, by) = (self.value(ty), self.value(ty), self.rng.below(32) as u8);
        let op = self.rng.choose(&[
            KOp::Add,
            KOp::Sub,
            KOp::Mul,
            KOp::Min,
            KOp::Max,
            KOp::And,
            KOp::Or,
            KOp::Neg,
            KOp::Shl(by),
            KOp::Sar(by),
            KOp::Shr(by),
            KOp::Iota,
        ]);
        self.b.emit(op, &[x, y][..op.info().args], ty)
    }

    fn index_op(&mut self) -> Val {
        let (x, y, by) = (
            self.value(Ty::INDEX),
            self.value(Ty::INDEX),
            self.rng.below(64) as u8,
        );
        let n = 1 + self.rng.below(100) as i64;
        let op = self.rng.choose(&[
            KOp::Add,
            KOp::Sub,
            KOp::Mul,
            KOp::Min,
            KOp::Max,
            KOp::And,
            KOp::Or,
            KOp::Shl(by),
            KOp::Sar(by),
            KOp::DivConst(n),
            KOp::RemConst(n),
            KOp::ToIndex,
        ]);
        if op == KOp::ToIndex {
            let x = self.value(Ty::I32);
            return self.b.to_index(x);
        }
        self.b.emit(op, &[x, y][..op.info().args], Ty::INDEX)
    }

    fn byte_op(&mut self, lanes: u8) -> Val {
        let (x, y) = (self.value(Ty::u8(4 * lanes)), self.value(Ty::u8(4 * lanes)));
        let (shift, bits) = (self.rng.below(8) as u8, 1 + self.rng.below(8) as u8);
        match self.rng.below(5) {
            0 => self.b.bits(x, shift, bits.min(8 - shift)),
            3 => {
                let table = std::array::from_fn(|_| self.rng.below(256) as u8);
                let index = self.b.bits(x, shift.min(4), 4);
                self.b.lut(index, table)
            }
            1 => self.b.bshl(x, shift),
            2 => self.b.or(x, y),
            _ => {
                let (acc, a) = (self.value(Ty::i32(lanes)), self.value(Ty::i8(4 * lanes)));
                self.b.dot4(acc, x, a, bits)
            }
        }
    }

    /// Ops between types and across lanes.
    fn lane_op(&mut self, lanes: u8) -> Val {
        let ty = self.rng.choose(&[Ty::f32(lanes), Ty::i32(lanes)]);
        let (x, y) = (self.value(ty), self.value(ty));
        let cmp = self.rng.choose(&Cmp::ALL);
        match self.rng.below(8) {
            0 if ty.elem == Elem::F32 => self.b.cvt_i32(x),
            0 => self.b.cvt_f32(x),
            1 => self.b.bitcast(x),
            2 => {
                let scalar = self.value(Ty { lanes: 1, ..ty });
                self.b.emit(KOp::Splat, &[scalar], ty)
            }
            3 => {
                let lane = self.rng.below(lanes.into()) as u8;
                self.b.extract(x, lane)
            }
            4 => self.b.reduce_add(x),
            5 => self.b.reduce_max(x),
            6 => {
                let index = self.value(Ty::INDEX);
                self.b.to_i32(index)
            }
            _ => {
                let mask = self.b.cmp(cmp, x, y);
                self.b.select(mask, x, y)
            }
        }
    }

    fn load_op(&mut self, lanes: u8) -> Val {
        let (ints, floats) = (Ty::i32(lanes), Ty::f32(lanes));
        let (mem, ty) = self.rng.choose(&[
            (Mem::I8, ints),
            (Mem::U8, ints),
            (Mem::I32, ints),
            (Mem::I32, Ty::INDEX),
            (Mem::F32, floats),
            (Mem::F16, floats),
            (Mem::Bf16, floats),
            (Mem::U8, Ty::u8(4 * lanes)),
            (Mem::I8, Ty::i8(4 * lanes)),
        ]);
        if ty == Ty::INDEX || self.rng.below(2) == 0 {
            return self.load(mem, ty);
        }
        let at = self.address(1);
        self.b.load_splat(mem, at, ty)
    }
}
