//! The walk over a kernel: regions, loops and branches become Cranelift blocks, ops go to their own files.
//!
//! Instructions keep their order. Loops are rotated: the test stands at the end of the body, and a guard before it where
//! the bounds are not constants.

use super::hoist::{VectorConstant, lanes32};
use super::reuse::Reuse;
use super::value::{Pieces, piece_count, piece_type};
use crate::Error;
use crate::target::CpuFeatures;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::immediates::Offset32;
use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, ConstantData, Function, InstBuilder, MemFlagsData, Signature, Type,
    UserFuncName, Value, types,
};
use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use lathe_ir::Id;
use lathe_ir::kernel::{Buf, Cmp, Inst, KOp, Kernel, Region, Ty, Val};

/// Lowers one kernel. The function's parameters, all 64-bit: a table of buffer pointers, a table of scalars, the first
/// unit, the unit after the last, and the thread's scratch memory.
pub(super) fn lower_kernel(
    kernel: &Kernel,
    features: &CpuFeatures,
    isa: &dyn TargetIsa,
) -> Result<Function, Error> {
    let mut signature = Signature::new(isa.default_call_conv());
    signature.params.extend([AbiParam::new(types::I64); 5]);
    let mut function = Function::with_name_signature(UserFuncName::user(0, 0), signature);
    let mut context = FunctionBuilderContext::new();
    let mut lower = Lower {
        b: FunctionBuilder::new(&mut function, &mut context),
        kernel,
        features,
        values: vec![Pieces::new(); kernel.values.len()],
        constants: vec![None; kernel.values.len()],
        bufs: Vec::new(),
        hoisted: Vec::new(),
        reuse: Reuse::default(),
    };
    lower.function()?;
    lower.b.seal_all_blocks();
    lower.b.finalize(isa.frontend_config());
    Ok(function)
}

/// The state of one lowering.
pub(super) struct Lower<'a> {
    /// The Cranelift function under construction.
    pub(super) b: FunctionBuilder<'a>,
    pub(super) kernel: &'a Kernel,
    /// What the processor has.
    pub(super) features: &'a CpuFeatures,
    /// Pieces by kernel value; empty until defined.
    values: Vec<Pieces>,
    /// Index constants by kernel value.
    constants: Vec<Option<i64>>,
    /// Start of each buffer, the scratch memory last.
    bufs: Vec<Value>,
    /// Constants that are in registers where the lowering stands.
    pub(super) hoisted: Vec<(VectorConstant, Value)>,
    /// What memory accesses of the region at hand share.
    pub(super) reuse: Reuse,
}

impl Lower<'_> {
    fn function(&mut self) -> Result<(), Error> {
        let entry = self.b.create_block();
        self.b.append_block_params_for_function_params(entry);
        self.b.switch_to_block(entry);
        let [bufs, scalars, lo, hi, scratch] = *self.b.block_params(entry) else {
            unreachable!("the signature has five parameters")
        };
        for i in 0..self.kernel.bufs.len() {
            let pointer = self.load_at(types::I64, bufs, 8 * i as i32);
            self.bufs.push(pointer);
        }
        self.bufs.push(scratch);
        let kernel = self.kernel;
        for (id, scalar) in kernel.scalars.iter() {
            let value = self.load_at(types::I64, scalars, 8 * id.index() as i32);
            self.set(scalar.value, vec![value]);
        }
        let (body, exit) = (self.b.create_block(), self.b.create_block());
        let unit = self.b.append_block_param(body, types::I64);
        let some = self.b.ins().icmp(IntCC::SignedLessThan, lo, hi);
        self.b.ins().brif(some, body, &[lo.into()], exit, &[]);
        self.b.switch_to_block(body);
        if let Some(value) = kernel.unit {
            self.set(value, vec![unit]);
        }
        self.region(&kernel.body)?;
        let next = self.b.ins().iadd_imm_s(unit, 1);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, next, hi);
        self.b.ins().brif(more, body, &[next.into()], exit, &[]);
        self.b.switch_to_block(exit);
        self.b.ins().return_(&[]);
        Ok(())
    }

    fn region(&mut self, region: &Region) -> Result<(), Error> {
        let reuse = self.reuse_in(region);
        let outer = std::mem::replace(&mut self.reuse, reuse);
        region.insts.iter().try_for_each(|inst| self.inst(inst))?;
        self.reuse = outer;
        Ok(())
    }

    fn inst(&mut self, inst: &Inst) -> Result<(), Error> {
        match inst.op {
            KOp::For { step } => {
                self.forget_addresses();
                self.for_loop(inst, step)
            }
            KOp::If(cmp) => {
                self.forget_addresses();
                self.branch(inst, cmp)
            }
            // Cranelift has no prefetch instruction, and hardware follows streams that run on without gaps just as well.
            KOp::Prefetch { .. } => Ok(()),
            KOp::Store { mem, buf, disp } => {
                let (address, disp) = self.address(buf, inst.args[0], disp);
                self.store(mem, address, disp, inst.args[1])
            }
            KOp::Load { mem, buf, disp } => {
                let (address, disp) = self.address(buf, inst.args[0], disp);
                let pieces = self.load(mem, address, disp, self.ty(inst.results[0]))?;
                self.set(inst.results[0], pieces);
                Ok(())
            }
            KOp::LoadSplat { mem, buf, disp } => {
                let (address, disp) = self.address(buf, inst.args[0], disp);
                let result = inst.results[0];
                let ty = self.ty(result);
                let pieces = match self.shared_word(result, address, disp) {
                    Some(word) => vec![word; piece_count(ty)],
                    None => self.load_splat(mem, address, disp, ty)?,
                };
                self.set(result, pieces);
                Ok(())
            }
            _ => {
                let result = inst.results[0];
                if let KOp::IConst(n) = inst.op
                    && self.ty(result) == Ty::INDEX
                {
                    self.constants[result.index()] = Some(n);
                }
                let pieces = self.compute(inst.op, &inst.args, self.ty(result))?;
                self.set(result, pieces);
                Ok(())
            }
        }
    }

    fn for_loop(&mut self, inst: &Inst, step: i64) -> Result<(), Error> {
        let region = &inst.regions[0];
        let (lo, hi) = (self.one(inst.args[0]), self.one(inst.args[1]));
        let (body, exit) = (self.b.create_block(), self.b.create_block());
        let i = self.b.append_block_param(body, types::I64);
        self.set(region.params[0], vec![i]);
        for (&param, &result) in region.params[1..].iter().zip(&inst.results) {
            let (inside, outside) = (self.block_params(body, param), self.block_params(exit, result));
            self.set(param, inside);
            self.set(result, outside);
        }
        let init = self.block_args(&inst.args[2..]);
        let outer_constants = self.hoist_constants(region);
        let enter: Vec<BlockArg> = std::iter::once(lo.into()).chain(init.iter().copied()).collect();
        match (self.constant(inst.args[0]), self.constant(inst.args[1])) {
            (Some(lo), Some(hi)) if lo < hi => {
                self.b.ins().jump(body, &enter);
            }
            _ => {
                let some = self.b.ins().icmp(IntCC::SignedLessThan, lo, hi);
                self.b.ins().brif(some, body, &enter, exit, &init);
            }
        }
        self.b.switch_to_block(body);
        self.region(region)?;
        let yields = self.block_args(&region.yields);
        let next = self.b.ins().iadd_imm_s(i, step);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, next, hi);
        let again: Vec<BlockArg> = std::iter::once(next.into())
            .chain(yields.iter().copied())
            .collect();
        self.b.ins().brif(more, body, &again, exit, &yields);
        self.b.switch_to_block(exit);
        self.hoisted.truncate(outer_constants);
        Ok(())
    }

    fn branch(&mut self, inst: &Inst, cmp: Cmp) -> Result<(), Error> {
        let (a, b) = (self.one(inst.args[0]), self.one(inst.args[1]));
        let (then, otherwise, after) = (
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
        );
        let holds = self.b.ins().icmp(int_condition(cmp), a, b);
        self.b.ins().brif(holds, then, &[], otherwise, &[]);
        for (block, region) in [then, otherwise].into_iter().zip(&inst.regions) {
            self.b.switch_to_block(block);
            self.region(region)?;
            self.b.ins().jump(after, &[]);
        }
        self.b.switch_to_block(after);
        Ok(())
    }

    fn block_params(&mut self, block: Block, value: Val) -> Pieces {
        let ty = self.ty(value);
        (0..piece_count(ty))
            .map(|_| self.b.append_block_param(block, piece_type(ty)))
            .collect()
    }

    fn block_args(&self, values: &[Val]) -> Vec<BlockArg> {
        values
            .iter()
            .flat_map(|v| &self.values[v.index()])
            .map(|&v| v.into())
            .collect()
    }

    /// The address of `buf + index` and the displacement to add to it. On x86, a fresh sum at each use lets every memory
    /// access take it into its own addressing mode.
    fn address(&mut self, buf: Buf, index: Val, disp: i32) -> (Value, i32) {
        let base = self.bufs[buf.index()];
        let folded = self
            .constant(index)
            .and_then(|n| i32::try_from(n + i64::from(disp)).ok());
        match folded {
            Some(disp) => (base, disp),
            None => (self.sum_of_address(buf, index, base), disp),
        }
    }

    /// A load of one Cranelift value; memory is valid by the caller's contract and of any alignment.
    pub(super) fn load_at(&mut self, ty: Type, address: Value, disp: i32) -> Value {
        self.b
            .ins()
            .load(ty, memory_flags(), address, Offset32::new(disp))
    }

    /// A 128-bit constant.
    pub(super) fn vconst(&mut self, ty: Type, bytes: [u8; 16]) -> Value {
        let constant = self.b.func.dfg.constants.insert(ConstantData::from(&bytes[..]));
        self.b.ins().vconst(ty, constant)
    }

    /// The same 32 bits in four lanes.
    pub(super) fn vconst32(&mut self, ty: Type, bits: u32) -> Value {
        self.vector_constant(lanes32(ty, bits))
    }

    /// A value's bits seen as another type of the same size.
    pub(super) fn cast(&mut self, ty: Type, value: Value) -> Value {
        if self.b.func.dfg.value_type(value) == ty {
            value
        } else {
            self.b.ins().bitcast(ty, little_endian(), value)
        }
    }

    /// The type of a kernel value.
    pub(super) fn ty(&self, value: Val) -> Ty {
        self.kernel.values[value]
    }

    /// The pieces of a defined value.
    pub(super) fn pieces(&self, value: Val) -> Pieces {
        self.values[value.index()].clone()
    }

    /// The only piece of a scalar.
    pub(super) fn one(&self, value: Val) -> Value {
        self.values[value.index()][0]
    }

    fn set(&mut self, value: Val, pieces: Pieces) {
        self.values[value.index()] = pieces;
    }

    /// An index that is known.
    pub(super) fn constant(&self, value: Val) -> Option<i64> {
        self.constants[value.index()]
    }

    /// The error that `op` cannot be lowered for operands of `ty`.
    pub(super) fn unsupported<T>(&self, op: &'static str, ty: Ty) -> Result<T, Error> {
        Err(Error::Op {
            kernel: self.kernel.name.clone(),
            op,
            ty: ty.to_string(),
        })
    }
}

/// Flags of every memory access: no traps are described, nothing is said of alignment.
pub(super) fn memory_flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

fn little_endian() -> MemFlagsData {
    MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little)
}

/// The signed comparison.
pub(super) fn int_condition(cmp: Cmp) -> IntCC {
    match cmp {
        Cmp::Eq => IntCC::Equal,
        Cmp::Ne => IntCC::NotEqual,
        Cmp::Lt => IntCC::SignedLessThan,
        Cmp::Le => IntCC::SignedLessThanOrEqual,
    }
}
