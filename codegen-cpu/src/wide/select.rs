//! Instruction selection: kernel IR to machine instructions, one walk over the regions.
//!
//! Lanes of 32 bits and bytes live in vector registers, scalars of 32 bits in the lowest lane of one; indices live in
//! general registers. Loads that one instruction reads are left to it as memory operands; sums of an index and a
//! constant that only addresses read are folded into them; vector constants are loaded once, before the first unit.

use super::isa::{Level, VOp, Width};
use super::mir::*;
use crate::Error;
use crate::target::CpuFeatures;
use lathe_ir::Id;
use lathe_ir::kernel::{Buf, Cmp, Elem, Inst, KOp, Kernel, Mem, Region, Ty, Val};
use std::collections::HashMap;

/// What is known of a kernel value where the walk stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    /// Not defined yet.
    None,
    /// In a register.
    Reg(VReg),
    /// A known index.
    Index(i64),
    /// An index in a register and a constant; addresses only.
    Sum(VReg, i32),
    /// The same 32 bits in every lane.
    Bits(u32),
    /// A load that its one reader will do.
    Load(Deferred),
    /// A comparison that its readers will do.
    Compare(Cmp, Val, Val),
}

/// A load that was put off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deferred {
    pub(super) mem: Mem,
    pub(super) at: MemRef,
    pub(super) splat: bool,
    pub(super) ty: Ty,
}

/// The state of a selection.
pub(super) struct Select<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) level: Level,
    /// Whether `dot4` is one instruction.
    pub(super) dot: bool,
    /// Whether `tile_dot` is for the matrix unit.
    pub(super) amx: bool,
    /// The shape of tiles that the matrix unit is set to.
    pub(super) tile_shape: Option<(u8, u8)>,
    pub(super) function: Function,
    /// What runs once, before the first unit.
    pub(super) prologue: Vec<MInst>,
    pub(super) values: Vec<Value>,
    /// How often each value is read.
    reads: Vec<u32>,
    /// Reads that are still to come.
    left: Vec<u32>,
    /// Whether addresses alone read a value.
    address_only: Vec<bool>,
    /// The region that a value was defined in.
    region_of: Vec<u32>,
    region: u32,
    regions: u32,
    /// Values with loads put off in this region.
    deferred: Vec<Val>,
    constants: HashMap<u32, VReg>,
    /// Registers of constants whose lanes differ.
    vectors: HashMap<PoolOffset, VReg>,
    bufs: Vec<VReg>,
    labels: Label,
    depth: u8,
}

/// Selects instructions for `kernel`.
pub(super) fn select(kernel: &Kernel, features: &CpuFeatures, level: Level) -> Result<Function, Error> {
    let count = kernel.values.len();
    let dot = super::has_dot4(features) == Some(true);
    let mut select = Select {
        kernel,
        level,
        dot,
        amx: level == Level::Avx512 && features.has_matrix_unit(),
        tile_shape: None,
        function: Function {
            code: Vec::new(),
            vregs: Vec::new(),
            pool: Pool::default(),
            slots: vec![8; 5],
        },
        prologue: Vec::new(),
        values: vec![Value::None; count],
        reads: vec![0; count],
        left: Vec::new(),
        address_only: vec![true; count],
        region_of: vec![0; count],
        region: 0,
        regions: 0,
        deferred: Vec::new(),
        constants: HashMap::new(),
        vectors: HashMap::new(),
        bufs: Vec::new(),
        labels: 0,
        depth: 0,
    };
    select.count_reads(&kernel.body);
    select.left = select.reads.clone();
    select.function()?;
    Ok(select.function)
}

impl Select<'_> {
    fn count_reads(&mut self, region: &Region) {
        for inst in &region.insts {
            let memory = matches!(
                inst.op,
                KOp::Load { .. } | KOp::LoadSplat { .. } | KOp::Store { .. } | KOp::Prefetch { .. }
            );
            let tile = matches!(inst.op, KOp::TileDot(_));
            for (i, v) in inst.args.iter().enumerate() {
                self.reads[v.index()] += 1;
                self.address_only[v.index()] &= tile || memory && i == 0;
            }
            inst.regions.iter().for_each(|r| self.count_reads(r));
        }
        for v in &region.yields {
            self.reads[v.index()] += 1;
            self.address_only[v.index()] = false;
        }
    }

    fn function(&mut self) -> Result<(), Error> {
        let kernel = self.kernel;
        let argument = |s: &mut Self, slot: Slot| {
            let r = s.gpr();
            s.emit(
                MOp::Load64,
                Some(r),
                false,
                [Src::Slot(slot), Src::None, Src::None],
                0,
            );
            r
        };
        let bufs = argument(self, 0);
        for i in 0..kernel.bufs.len() {
            let r = self.gpr();
            self.scalar_op(
                MOp::Load64,
                r,
                false,
                Src::Mem(MemRef::based(bufs, 8 * i as i32)),
                0,
            );
            self.bufs.push(r);
        }
        let scratch = argument(self, 4);
        self.bufs.push(scratch);
        let scalars = argument(self, 1);
        for (id, scalar) in kernel.scalars.iter() {
            let r = self.gpr();
            let at = MemRef::based(scalars, 8 * id.index() as i32);
            self.scalar_op(MOp::Load64, r, false, Src::Mem(at), 0);
            self.values[scalar.value.index()] = Value::Reg(r);
        }
        let (unit, hi) = (argument(self, 2), argument(self, 3));
        let (body, exit) = (self.label(), self.label());
        self.branch(Cond::Ge, unit, Src::Reg(hi), 0, exit);
        let constants_at = self.function.code.len();
        self.place(body);
        if let Some(value) = kernel.unit {
            self.values[value.index()] = Value::Reg(unit);
        }
        self.depth = 1;
        self.walk(&kernel.body)?;
        self.scalar_op(MOp::AddImm, unit, true, Src::None, 1);
        self.branch(Cond::Lt, unit, Src::Reg(hi), 0, body);
        self.depth = 0;
        if self.tile_shape.is_some() {
            self.emit(MOp::TileRelease, None, false, [Src::None; 3], 0);
        }
        self.place(exit);
        self.emit(MOp::Return, None, false, [Src::None; 3], 0);
        let constants = std::mem::take(&mut self.prologue);
        self.function.code.splice(constants_at..constants_at, constants);
        Ok(())
    }

    /// The instructions of a region, with what it put off done.
    fn walk(&mut self, region: &Region) -> Result<(), Error> {
        self.regions += 1;
        let outer = std::mem::replace(&mut self.region, self.regions);
        for &v in &region.params {
            self.region_of[v.index()] = self.region;
        }
        for inst in &region.insts {
            for &v in &inst.results {
                self.region_of[v.index()] = self.region;
            }
            self.inst(inst)?;
        }
        self.flush()?;
        self.region = outer;
        Ok(())
    }

    fn inst(&mut self, inst: &Inst) -> Result<(), Error> {
        let unread = inst.results.iter().all(|r| self.reads[r.index()] == 0);
        match inst.op {
            KOp::For { step } => self.for_loop(inst, step),
            KOp::If(cmp) => self.if_else(inst, cmp),
            KOp::Prefetch { buf, disp } => {
                let at = self.address(buf, inst.args[0], disp)?;
                self.emit(
                    MOp::Prefetch,
                    None,
                    false,
                    [Src::Mem(at), Src::None, Src::None],
                    0,
                );
                Ok(())
            }
            KOp::TileDot(tile) => {
                self.flush()?;
                self.tile_dot(tile, &inst.args)
            }
            KOp::Store { mem, buf, disp } => {
                self.flush()?;
                let at = self.address(buf, inst.args[0], disp)?;
                self.store(mem, at, inst.args[1])
            }
            _ if unread => Ok(()),
            KOp::Load { mem, buf, disp } => self.load(inst, mem, buf, disp, false),
            KOp::LoadSplat { mem, buf, disp } => self.load(inst, mem, buf, disp, true),
            op if self.ty(inst.results[0]) == Ty::INDEX => self.index_op(op, inst),
            op => {
                let value = self.compute(op, inst)?;
                self.set(inst.results[0], value);
                Ok(())
            }
        }
    }

    /// A load: put off where one instruction of this region reads it, before any store.
    fn load(&mut self, inst: &Inst, mem: Mem, buf: Buf, disp: i32, splat: bool) -> Result<(), Error> {
        let result = inst.results[0];
        let at = self.address(buf, inst.args[0], disp)?;
        let ty = self.ty(result);
        let load = Deferred { mem, at, splat, ty };
        let value = if self.reads[result.index()] == 1 && ty != Ty::INDEX {
            self.deferred.push(result);
            Value::Load(load)
        } else {
            Value::Reg(self.load_now(load)?)
        };
        self.set(result, value);
        Ok(())
    }

    /// Does the loads that were put off.
    fn flush(&mut self) -> Result<(), Error> {
        for v in std::mem::take(&mut self.deferred) {
            if let Value::Load(load) = self.values[v.index()] {
                let r = self.load_now(load)?;
                self.set(v, Value::Reg(r));
            }
        }
        Ok(())
    }

    fn for_loop(&mut self, inst: &Inst, step: i64) -> Result<(), Error> {
        self.flush()?;
        let region = &inst.regions[0];
        let (lo, hi) = (
            self.values[inst.args[0].index()],
            self.values[inst.args[1].index()],
        );
        let bound = self.index_operand(inst.args[1])?;
        self.read(inst.args[0]);
        let i = self.gpr();
        match lo {
            Value::Index(n) => self.scalar_op(MOp::Const, i, false, Src::None, n),
            _ => {
                let from = self.gpr_of(inst.args[0])?;
                self.copy(i, from);
            }
        }
        self.set(region.params[0], Value::Reg(i));
        let mut carried = Vec::new();
        for (&init, &param) in inst.args[2..].iter().zip(&region.params[1..]) {
            let r = self.fresh(self.ty(param))?;
            let from = self.register(init)?;
            self.copy(r, from);
            self.set(param, Value::Reg(r));
            carried.push(r);
        }
        let (body, exit) = (self.label(), self.label());
        let runs = matches!((lo, hi), (Value::Index(lo), Value::Index(hi)) if lo < hi);
        if !runs {
            self.branch(Cond::Ge, i, bound.0, bound.1, exit);
        }
        self.place(body);
        self.depth += 1;
        self.walk(region)?;
        self.advance(&region.yields, &carried)?;
        self.scalar_op(MOp::AddImm, i, true, Src::None, step);
        self.branch(Cond::Lt, i, bound.0, bound.1, body);
        self.depth -= 1;
        self.place(exit);
        for (&result, &r) in inst.results.iter().zip(&carried) {
            self.set(result, Value::Reg(r));
        }
        Ok(())
    }

    /// Copies what an iteration yields to the carried registers, all at once.
    fn advance(&mut self, yields: &[Val], carried: &[VReg]) -> Result<(), Error> {
        let mut moves = Vec::new();
        for (&value, &to) in yields.iter().zip(carried) {
            let from = self.register(value)?;
            if from != to {
                moves.push((from, to));
            }
        }
        let written: Vec<VReg> = moves.iter().map(|m| m.1).collect();
        for (from, _) in &mut moves {
            if written.contains(from) {
                let info = self.function.vregs[*from as usize];
                let saved = self.vreg(info.class, info.width);
                self.copy(saved, *from);
                *from = saved;
            }
        }
        for (from, to) in moves {
            self.copy(to, from);
        }
        Ok(())
    }

    fn if_else(&mut self, inst: &Inst, cmp: Cmp) -> Result<(), Error> {
        self.flush()?;
        let cond = match cmp {
            Cmp::Eq => Cond::Eq,
            Cmp::Ne => Cond::Ne,
            Cmp::Lt => Cond::Lt,
            Cmp::Le => Cond::Le,
        };
        let (a, b) = (inst.args[0], inst.args[1]);
        let (otherwise, end) = (self.label(), self.label());
        if let (Value::Index(_), Value::Reg(_)) = (self.values[a.index()], self.values[b.index()]) {
            let (right, bound) = (self.gpr_of(b)?, self.index_operand(a)?);
            self.branch(cond.swapped().not(), right, bound.0, bound.1, otherwise);
        } else {
            let (left, bound) = (self.gpr_of(a)?, self.index_operand(b)?);
            self.branch(cond.not(), left, bound.0, bound.1, otherwise);
        }
        self.read(a);
        self.read(b);
        self.walk(&inst.regions[0])?;
        self.emit(MOp::Jump(end), None, false, [Src::None; 3], 0);
        self.place(otherwise);
        self.walk(&inst.regions[1])?;
        self.place(end);
        Ok(())
    }

    /// The address of byte `index + disp` of a buffer.
    pub(super) fn address(&mut self, buf: Buf, index: Val, disp: i32) -> Result<MemRef, Error> {
        self.read(index);
        let base = self.bufs[buf.index()];
        let (index, more) = match self.values[index.index()] {
            Value::Index(n) => (None, n),
            Value::Sum(r, n) => (Some(r), i64::from(n)),
            _ => (Some(self.gpr_of(index)?), 0),
        };
        let far = more + i64::from(disp);
        if let Ok(disp) = i32::try_from(far) {
            return Ok(MemRef {
                base: Some(base),
                index,
                scale: 1,
                disp,
            });
        }
        let r = self.gpr();
        self.scalar_op(MOp::Const, r, false, Src::None, far);
        if let Some(index) = index {
            let sum = MemRef {
                base: Some(r),
                index: Some(index),
                scale: 1,
                disp: 0,
            };
            let r = self.gpr();
            self.scalar_op(MOp::Lea, r, false, Src::Mem(sum), 0);
            return Ok(MemRef {
                base: Some(base),
                index: Some(r),
                scale: 1,
                disp: 0,
            });
        }
        Ok(MemRef {
            base: Some(base),
            index: Some(r),
            scale: 1,
            disp: 0,
        })
    }

    /// Whether only addresses read a value, so that a constant can be added there.
    pub(super) fn folds_into_addresses(&self, v: Val) -> bool {
        self.address_only[v.index()]
    }

    /// Counts a read of a value.
    pub(super) fn read(&mut self, v: Val) {
        let left = &mut self.left[v.index()];
        *left = left.saturating_sub(1);
    }

    /// Whether the next `times` reads of a value are the last, of a value that this region defines.
    pub(super) fn last_reads(&self, v: Val, times: u32) -> bool {
        self.left[v.index()] <= times && self.region_of[v.index()] == self.region
    }

    /// How often a value is read.
    pub(super) fn reads(&self, v: Val) -> u32 {
        self.reads[v.index()]
    }

    /// The type of a kernel value.
    pub(super) fn ty(&self, v: Val) -> Ty {
        self.kernel.values[v]
    }

    /// Says what a kernel value is.
    pub(super) fn set(&mut self, v: Val, value: Value) {
        self.values[v.index()] = value;
    }

    /// A new register.
    pub(super) fn vreg(&mut self, class: Class, width: Width) -> VReg {
        self.function.vregs.push(VRegInfo {
            class,
            width,
            constant: None,
            short: false,
        });
        self.function.vregs.len() as VReg - 1
    }

    /// A new general register.
    pub(super) fn gpr(&mut self) -> VReg {
        self.vreg(Class::Gpr, Width::X)
    }

    /// A new register for a value of this type.
    pub(super) fn fresh(&mut self, ty: Ty) -> Result<VReg, Error> {
        if ty.elem == Elem::I64 {
            return Ok(self.gpr());
        }
        let width = self.width(ty)?;
        Ok(self.vreg(Class::Vec, width))
    }

    /// The width of instructions on values of this type.
    pub(super) fn width(&self, ty: Ty) -> Result<Width, Error> {
        if ty.bytes() > self.level.bytes() {
            return Err(self.unsupported("vector", ty));
        }
        Ok(Width::of_bytes(ty.bytes()))
    }

    /// Appends an instruction at 128 bits.
    pub(super) fn emit(&mut self, op: MOp, dst: Option<VReg>, tied: bool, src: [Src; 3], imm: i64) {
        self.emit_wide(op, Width::X, dst, tied, src, imm);
    }

    /// Appends an instruction.
    pub(super) fn emit_wide(
        &mut self,
        op: MOp,
        width: Width,
        dst: Option<VReg>,
        tied: bool,
        src: [Src; 3],
        imm: i64,
    ) {
        self.function.code.push(MInst {
            op,
            width,
            dst,
            tied,
            src,
            imm,
            depth: self.depth,
        });
    }

    /// Appends an instruction on general registers.
    pub(super) fn scalar_op(&mut self, op: MOp, dst: VReg, tied: bool, src: Src, imm: i64) {
        self.emit(op, Some(dst), tied, [src, Src::None, Src::None], imm);
    }

    /// Appends a copy.
    pub(super) fn copy(&mut self, dst: VReg, src: VReg) {
        let width = self.function.vregs[dst as usize].width;
        self.emit_wide(
            MOp::Mov,
            width,
            Some(dst),
            false,
            [Src::Reg(src), Src::None, Src::None],
            0,
        );
    }

    fn label(&mut self) -> Label {
        self.labels += 1;
        self.labels
    }

    fn place(&mut self, label: Label) {
        self.emit(MOp::Label(label), None, false, [Src::None; 3], 0);
    }

    fn branch(&mut self, cond: Cond, a: VReg, b: Src, imm: i64, to: Label) {
        self.emit(
            MOp::Branch(cond, to),
            None,
            false,
            [Src::Reg(a), b, Src::None],
            imm,
        );
    }

    /// A register with the same 32 bits in every lane, loaded before the first unit.
    pub(super) fn constant(&mut self, bits: u32) -> VReg {
        if let Some(&known) = self.constants.get(&bits) {
            return known;
        }
        let place = self.function.pool.place32(bits);
        let r = self.hoisted(Constant::Splat(bits), VOp::BroadcastD, Src::PoolSplat(place));
        self.constants.insert(bits, r);
        r
    }

    /// A register with these bytes, as many as it has, loaded before the first unit.
    pub(super) fn vector_constant(&mut self, bytes: &[u8]) -> VReg {
        let place = self.function.pool.place(bytes);
        if let Some(&known) = self.vectors.get(&place) {
            return known;
        }
        let r = self.hoisted(Constant::Full(place), VOp::MovUps, Src::Pool(place));
        self.vectors.insert(place, r);
        r
    }

    /// A register with a constant that instructions before the first unit load.
    pub(super) fn hoisted(&mut self, constant: Constant, op: VOp, from: Src) -> VReg {
        let width = Width::of_bytes(self.level.bytes());
        let r = self.vreg(Class::Vec, width);
        self.function.vregs[r as usize].constant = Some(constant);
        self.prologue.push(MInst {
            op: MOp::V(op),
            width,
            dst: Some(r),
            tied: false,
            src: [from, Src::None, Src::None],
            imm: 0,
            depth: 0,
        });
        r
    }

    /// The error that there is no code for an op.
    pub(super) fn unsupported(&self, op: &'static str, ty: Ty) -> Error {
        Error::Op {
            kernel: self.kernel.name.clone(),
            op,
            ty: ty.to_string(),
        }
    }
}
