//! Machine instructions with registers to bytes, through iced.
//!
//! The function follows the System V calling convention. Constants stand behind the code and are addressed relative to
//! it: the whole is position-independent and needs no relocations.

use super::alloc::{Allocation, GPRS};
use super::isa::{Level, VOp, Width};
use super::mir::*;
use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, Instruction, InstructionBlock, MemoryOperand, Register,
};
use std::collections::HashMap;

/// Registers that belong to the caller.
const SAVED: [Register; 6] = [
    Register::RBX,
    Register::RBP,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

/// Registers that hold the arguments.
const ARGS: [Register; 5] = [
    Register::RDI,
    Register::RSI,
    Register::RDX,
    Register::RCX,
    Register::R8,
];

type Iced<T> = Result<T, iced_x86::IcedError>;

/// Where things lie in the frame, in bytes from rsp.
struct Frame {
    slots: Vec<i32>,
    saved_rsp: i32,
    bytes: i32,
}

impl Frame {
    fn new(slots: &[u32]) -> Frame {
        let mut end = 0u32;
        let offsets = slots.iter().map(|&bytes| {
            let at = end.next_multiple_of(bytes);
            end = at + bytes;
            at as i32
        });
        let slots = offsets.collect();
        let saved_rsp = end.next_multiple_of(8);
        Frame {
            slots,
            saved_rsp: saved_rsp as i32,
            bytes: (saved_rsp + 8).next_multiple_of(64) as i32,
        }
    }
}

/// The bytes of a function, code and constants, and how many are code.
pub(super) fn emit(function: &Function, allocation: &Allocation, level: Level) -> Iced<(Vec<u8>, usize)> {
    let mut emitter = Emitter {
        function,
        allocation,
        level,
        frame: Frame::new(&function.slots),
        out: Vec::new(),
        labels: HashMap::new(),
        pending: Vec::new(),
    };
    emitter.prologue()?;
    for inst in &function.code {
        emitter.inst(inst)?;
    }
    emitter.finish()
}

/// Identity of the first constant, until its place is known.
const POOL_IP: u64 = 1 << 40;
/// Identity of a label as a jump's target until it is known.
const LABEL_IP: u64 = 1 << 41;
/// Identity of the first instruction.
const INST_IP: u64 = 1 << 42;

struct Emitter<'a> {
    function: &'a Function,
    allocation: &'a Allocation,
    level: Level,
    frame: Frame,
    out: Vec<Instruction>,
    /// The instruction that a label stands before.
    labels: HashMap<Label, u64>,
    /// Labels that wait for the next instruction.
    pending: Vec<Label>,
}

/// A source as an operand.
enum Operand {
    Register(Register),
    Memory(MemoryOperand),
}

impl Emitter<'_> {
    fn push(&mut self, mut inst: Instruction) {
        let ip = INST_IP + self.out.len() as u64;
        for label in self.pending.drain(..) {
            self.labels.insert(label, ip);
        }
        inst.set_ip(ip);
        self.out.push(inst);
    }

    fn prologue(&mut self) -> Iced<()> {
        for register in SAVED {
            self.push(Instruction::with1(Code::Push_r64, register)?);
        }
        let (rsp, rax) = (Register::RSP, Register::RAX);
        self.push(Instruction::with2(Code::Mov_r64_rm64, rax, rsp)?);
        self.push(Instruction::with2(Code::And_rm64_imm8, rsp, -64i32)?);
        self.push(Instruction::with2(Code::Sub_rm64_imm32, rsp, self.frame.bytes)?);
        let saved = MemoryOperand::with_base_displ(rsp, self.frame.saved_rsp.into());
        self.push(Instruction::with2(Code::Mov_rm64_r64, saved, rax)?);
        for (i, register) in ARGS.into_iter().enumerate() {
            let slot = MemoryOperand::with_base_displ(rsp, self.frame.slots[i].into());
            self.push(Instruction::with2(Code::Mov_rm64_r64, slot, register)?);
        }
        Ok(())
    }

    fn epilogue(&mut self) -> Iced<()> {
        self.push(Instruction::with(Code::VEX_Vzeroupper));
        let saved = MemoryOperand::with_base_displ(Register::RSP, self.frame.saved_rsp.into());
        self.push(Instruction::with2(Code::Mov_r64_rm64, Register::RSP, saved)?);
        for register in SAVED.into_iter().rev() {
            self.push(Instruction::with1(Code::Pop_r64, register)?);
        }
        self.push(Instruction::with(Code::Retnq));
        Ok(())
    }

    fn gpr(&self, r: VReg) -> Register {
        let number = GPRS[usize::from(self.allocation.registers[r as usize])];
        Register::RAX + u32::from(number)
    }

    fn vec(&self, r: VReg, width: Width) -> Register {
        let first = match width {
            Width::X => Register::XMM0,
            Width::Y => Register::YMM0,
            Width::Z => Register::ZMM0,
        };
        first + u32::from(self.allocation.registers[r as usize])
    }

    fn register(&self, r: VReg, width: Width) -> Register {
        match self.function.vregs[r as usize].class {
            Class::Gpr => self.gpr(r),
            Class::Vec => self.vec(r, width),
        }
    }

    fn memory(&self, m: MemRef) -> MemoryOperand {
        let base = m.base.map_or(Register::None, |r| self.gpr(r));
        let index = m.index.map_or(Register::None, |r| self.gpr(r));
        let size = u32::from(m.disp != 0 || m.base.is_none());
        MemoryOperand::new(
            base,
            index,
            u32::from(m.scale),
            m.disp.into(),
            size,
            false,
            Register::None,
        )
    }

    fn slot(&self, slot: Slot) -> MemoryOperand {
        MemoryOperand::with_base_displ(Register::RSP, self.frame.slots[slot as usize].into())
    }

    fn pool(&self, offset: PoolOffset) -> MemoryOperand {
        MemoryOperand::with_base_displ(Register::RIP, (POOL_IP + u64::from(offset)) as i64)
    }

    /// A source of an instruction that reads registers of `width`.
    fn source(&self, src: Src, width: Width) -> Option<Operand> {
        let splat = |mut m: MemoryOperand| {
            m.is_broadcast = true;
            m
        };
        Some(match src {
            Src::None => return None,
            Src::Reg(r) => Operand::Register(self.register(r, width)),
            Src::Mem(m) => Operand::Memory(self.memory(m)),
            Src::Splat(m) => Operand::Memory(splat(self.memory(m))),
            Src::Pool(offset) => Operand::Memory(self.pool(offset)),
            Src::PoolSplat(offset) => Operand::Memory(splat(self.pool(offset))),
            Src::Slot(slot) => Operand::Memory(self.slot(slot)),
        })
    }

    fn inst(&mut self, inst: &MInst) -> Iced<()> {
        match inst.op {
            MOp::V(op) => self.vector(op, inst),
            MOp::Label(label) => {
                self.pending.push(label);
                Ok(())
            }
            MOp::Jump(label) => {
                self.push(Instruction::with_branch(
                    Code::Jmp_rel32_64,
                    LABEL_IP + u64::from(label),
                )?);
                Ok(())
            }
            MOp::Branch(cond, label) => self.branch(cond, label, inst),
            MOp::Return => self.epilogue(),
            // Into the second level: hints for the first would take the buffers that loads wait in.
            MOp::Prefetch => self.one(Code::Prefetcht1_m8, inst),
            MOp::TileConfig => self.one(Code::VEX_Ldtilecfg_m512, inst),
            MOp::TileRelease => {
                self.push(Instruction::with(Code::VEX_Tilerelease));
                Ok(())
            }
            MOp::TileDot => self.tile_dot(inst),
            MOp::Mov => self.copy(inst),
            MOp::Zero => self.zero(inst),
            MOp::Spill | MOp::Reload => self.frame_access(inst),
            _ => self.scalar(inst),
        }
    }

    /// An instruction of one memory operand.
    fn one(&mut self, code: Code, inst: &MInst) -> Iced<()> {
        if let Some(Operand::Memory(m)) = self.source(inst.src[0], inst.width) {
            self.push(Instruction::with1(code, m)?);
        }
        Ok(())
    }

    /// A register minus itself, which processors know as zero without executing anything.
    fn zero(&mut self, inst: &MInst) -> Iced<()> {
        if let Some(dst) = inst.dst {
            let code = VOp::Xor.code(self.level, inst.width);
            let dst = self.vec(dst, inst.width);
            self.push(Instruction::with3(code, dst, dst, dst)?);
        }
        Ok(())
    }

    fn copy(&mut self, inst: &MInst) -> Iced<()> {
        let (Some(dst), Src::Reg(src)) = (inst.dst, inst.src[0]) else {
            return Ok(());
        };
        let registers = &self.allocation.registers;
        if registers[dst as usize] == registers[src as usize] {
            return Ok(());
        }
        let (code, width) = match self.function.vregs[dst as usize].class {
            Class::Gpr => (Code::Mov_r64_rm64, Width::X),
            Class::Vec => (VOp::MovUps.code(self.level, inst.width), inst.width),
        };
        let (dst, src) = (self.register(dst, width), self.register(src, width));
        self.push(Instruction::with2(code, dst, src)?);
        Ok(())
    }

    fn frame_access(&mut self, inst: &MInst) -> Iced<()> {
        let (register, slot, store) = match (inst.op, inst.dst, inst.src) {
            (MOp::Reload, Some(dst), [Src::Slot(slot), ..]) => (dst, slot, false),
            (_, None, [Src::Reg(value), Src::Slot(slot), _]) => (value, slot, true),
            _ => return Ok(()),
        };
        let class = self.function.vregs[register as usize].class;
        // The frame keeps whole registers: what shares a place may differ in width.
        let width = match self.level {
            Level::Avx2 => Width::Y,
            Level::Avx512 => Width::Z,
        };
        let code = match (class, store) {
            (Class::Gpr, true) => Code::Mov_rm64_r64,
            (Class::Gpr, false) => Code::Mov_r64_rm64,
            (Class::Vec, true) => VOp::StoreUps.code(self.level, width),
            (Class::Vec, false) => VOp::MovUps.code(self.level, width),
        };
        let (register, memory) = (self.register(register, width), self.slot(slot));
        self.push(match store {
            true => Instruction::with2(code, memory, register)?,
            false => Instruction::with2(code, register, memory)?,
        });
        Ok(())
    }

    /// Zeros a tile, adds the product of two loaded ones, and stores it.
    fn tile_dot(&mut self, inst: &MInst) -> Iced<()> {
        let memory = |s: &Self, i: usize| match inst.src[i] {
            Src::Mem(m) => Some(s.memory(m)),
            _ => None,
        };
        let (Some(out), Some(a), Some(w)) = (memory(self, 0), memory(self, 1), memory(self, 2)) else {
            return Ok(());
        };
        let (sums, left, right) = (Register::TMM0, Register::TMM1, Register::TMM2);
        self.push(Instruction::with1(Code::VEX_Tilezero_tmm, sums)?);
        self.push(Instruction::with2(Code::VEX_Tileloadd_tmm_sibmem, left, a)?);
        self.push(Instruction::with2(Code::VEX_Tileloadd_tmm_sibmem, right, w)?);
        self.push(Instruction::with3(
            Code::VEX_Tdpbsud_tmm_tmm_tmm,
            sums,
            left,
            right,
        )?);
        self.push(Instruction::with2(Code::VEX_Tilestored_sibmem_tmm, out, sums)?);
        Ok(())
    }

    fn branch(&mut self, cond: Cond, label: Label, inst: &MInst) -> Iced<()> {
        let Src::Reg(a) = inst.src[0] else { return Ok(()) };
        let a = self.gpr(a);
        self.push(match inst.src[1] {
            Src::Reg(b) => Instruction::with2(Code::Cmp_r64_rm64, a, self.gpr(b))?,
            _ => Instruction::with2(Code::Cmp_rm64_imm32, a, inst.imm as i32)?,
        });
        let code = match cond {
            Cond::Eq => Code::Je_rel32_64,
            Cond::Ne => Code::Jne_rel32_64,
            Cond::Lt => Code::Jl_rel32_64,
            Cond::Le => Code::Jle_rel32_64,
            Cond::Ge => Code::Jge_rel32_64,
            Cond::Gt => Code::Jg_rel32_64,
        };
        self.push(Instruction::with_branch(code, LABEL_IP + u64::from(label))?);
        Ok(())
    }

    /// Instructions on general registers.
    fn scalar(&mut self, inst: &MInst) -> Iced<()> {
        let dst = match inst.dst {
            Some(dst) => self.gpr(dst),
            None => return Ok(()),
        };
        let imm = inst.imm;
        let src = self.source(inst.src[0], Width::X);
        let two = |code: Code| match &src {
            Some(Operand::Register(r)) => Instruction::with2(code, dst, *r),
            Some(Operand::Memory(m)) => Instruction::with2(code, dst, *m),
            None => Instruction::with2(code, dst, imm as i32),
        };
        let built = match inst.op {
            MOp::Const => match i32::try_from(imm) {
                Ok(imm) => Instruction::with2(Code::Mov_rm64_imm32, dst, imm)?,
                Err(_) => Instruction::with2(Code::Mov_r64_imm64, dst, imm as u64)?,
            },
            MOp::Lea => two(Code::Lea_r64_m)?,
            MOp::Load64 => two(Code::Mov_r64_rm64)?,
            MOp::LoadI32 => two(Code::Movsxd_r64_rm32)?,
            MOp::LoadU16 => two(Code::Movzx_r64_rm16)?,
            MOp::LoadU8 => two(Code::Movzx_r64_rm8)?,
            MOp::LoadI8 => two(Code::Movsx_r64_rm8)?,
            MOp::AddImm => Instruction::with2(Code::Add_rm64_imm32, dst, imm as i32)?,
            MOp::Sub => two(Code::Sub_r64_rm64)?,
            MOp::And if src.is_none() => Instruction::with2(Code::And_rm64_imm32, dst, imm as i32)?,
            MOp::And => two(Code::And_r64_rm64)?,
            MOp::Or => two(Code::Or_r64_rm64)?,
            MOp::Mul => two(Code::Imul_r64_rm64)?,
            MOp::MulImm => match src {
                Some(Operand::Register(r)) => {
                    Instruction::with3(Code::Imul_r64_rm64_imm32, dst, r, imm as i32)?
                }
                Some(Operand::Memory(m)) => {
                    Instruction::with3(Code::Imul_r64_rm64_imm32, dst, m, imm as i32)?
                }
                None => return Ok(()),
            },
            MOp::Shl => Instruction::with2(Code::Shl_rm64_imm8, dst, imm as i32)?,
            MOp::Sar => Instruction::with2(Code::Sar_rm64_imm8, dst, imm as i32)?,
            MOp::Min | MOp::Max => {
                let compare = two(Code::Cmp_r64_rm64)?;
                let take = two(match inst.op {
                    MOp::Min => Code::Cmovg_r64_rm64,
                    _ => Code::Cmovl_r64_rm64,
                })?;
                self.push(compare);
                take
            }
            MOp::Div => return self.divide(dst, inst.src),
            MOp::MulHigh(shift) => return self.mul_high(dst, src, imm, shift),
            MOp::FromVec => return self.lowest_lane(dst, inst.src[0]),
            _ => return Ok(()),
        };
        self.push(built);
        Ok(())
    }

    fn mul_high(&mut self, dst: Register, src: Option<Operand>, by: i64, shift: u8) -> Iced<()> {
        let Some(Operand::Register(src)) = src else {
            return Ok(());
        };
        self.push(Instruction::with2(Code::Mov_r64_imm64, Register::RAX, by as u64)?);
        self.push(Instruction::with1(Code::Mul_rm64, src)?);
        if shift > 0 {
            self.push(Instruction::with2(
                Code::Shr_rm64_imm8,
                Register::RDX,
                i32::from(shift),
            )?);
        }
        self.push(Instruction::with2(Code::Mov_r64_rm64, dst, Register::RDX)?);
        Ok(())
    }

    fn divide(&mut self, dst: Register, src: [Src; 3]) -> Iced<()> {
        let [Src::Reg(a), Src::Reg(b), _] = src else {
            return Ok(());
        };
        let (a, b) = (self.gpr(a), self.gpr(b));
        self.push(Instruction::with2(Code::Mov_r64_rm64, Register::RAX, a)?);
        self.push(Instruction::with2(
            Code::Xor_r32_rm32,
            Register::EDX,
            Register::EDX,
        )?);
        self.push(Instruction::with1(Code::Div_rm64, b)?);
        self.push(Instruction::with2(Code::Mov_r64_rm64, dst, Register::RAX)?);
        Ok(())
    }

    fn lowest_lane(&mut self, dst: Register, src: Src) -> Iced<()> {
        let Src::Reg(src) = src else { return Ok(()) };
        let code = match self.level {
            Level::Avx2 => Code::VEX_Vmovd_rm32_xmm,
            Level::Avx512 => Code::EVEX_Vmovd_rm32_xmm,
        };
        let low = Register::EAX + (dst as u32 - Register::RAX as u32);
        self.push(Instruction::with2(code, low, self.vec(src, Width::X))?);
        self.push(Instruction::with2(Code::Movsxd_r64_rm32, dst, low)?);
        Ok(())
    }

    /// A vector instruction: operands in the order destination, sources, immediate.
    fn vector(&mut self, op: VOp, inst: &MInst) -> Iced<()> {
        use VOp::*;
        let (width, imm) = (inst.width, inst.imm as i32);
        let code = op.code(self.level, width);
        // Widths of registers that differ from the instruction's.
        let (dst_width, src_width) = match op {
            Extract256 => (Width::Y, width),
            Extract128 => (Width::X, width),
            CvtPhPs | MovZxWd => (width, narrower(width)),
            MovSxBd | MovZxBd | BroadcastD => (width, Width::X),
            StorePh => (narrower(width), width),
            StoreSdb => (Width::X, width),
            _ => (width, width),
        };
        let dst = match (op, inst.dst) {
            (CmpPs | CmpD | MaskToK, None) => Some(Operand::Register(Register::K1)),
            (_, Some(dst)) => Some(Operand::Register(self.vec(dst, dst_width))),
            // Stores: the destination is the second source.
            (_, None) => self.source(inst.src[1], width),
        };
        let Some(dst) = dst else { return Ok(()) };
        let store = inst.dst.is_none() && !matches!(op, CmpPs | CmpD | MaskToK);
        let a = match op {
            KToMask => Some(Operand::Register(Register::K1)),
            MovFromGpr => match inst.src[0] {
                Src::Reg(r) => {
                    let low = Register::EAX + (self.gpr(r) as u32 - Register::RAX as u32);
                    Some(Operand::Register(low))
                }
                _ => None,
            },
            _ => self.source(inst.src[0], src_width),
        };
        let Some(a) = a else { return Ok(()) };
        let b = if store {
            None
        } else {
            self.source(inst.src[1], src_width)
        };
        let has_imm = matches!(
            op,
            RoundPs
                | ShuffleD
                | SllD
                | SrlD
                | SraD
                | SllW
                | SrlW
                | CmpPs
                | CmpD
                | Extract256
                | Extract128
                | StorePh
                | StoreB
                | StoreW
        );
        let mut built = match (dst, a, b, has_imm) {
            (Operand::Register(d), Operand::Register(a), Some(b), _) => {
                self.three(op, code, (d, a), b, has_imm.then_some(imm), inst)?
            }
            (Operand::Register(d), Operand::Register(a), None, true) => Instruction::with3(code, d, a, imm)?,
            (Operand::Register(d), Operand::Register(a), None, false) => Instruction::with2(code, d, a)?,
            (Operand::Register(d), Operand::Memory(a), None, true) => Instruction::with3(code, d, a, imm)?,
            (Operand::Register(d), Operand::Memory(a), None, false) => {
                let mut a = a;
                // A broadcasting load says so by its name.
                a.is_broadcast &= op != BroadcastD;
                Instruction::with2(code, d, a)?
            }
            (Operand::Memory(d), Operand::Register(a), _, true) => Instruction::with3(code, d, a, imm)?,
            (Operand::Memory(d), Operand::Register(a), _, false) => Instruction::with2(code, d, a)?,
            _ => return Ok(()),
        };
        if op == BlendK {
            built.set_op_mask(Register::K1);
        }
        self.push(built);
        Ok(())
    }

    fn three(
        &self,
        op: VOp,
        code: Code,
        (d, a): (Register, Register),
        b: Operand,
        imm: Option<i32>,
        inst: &MInst,
    ) -> Iced<Instruction> {
        if op == VOp::BlendV
            && let Src::Reg(mask) = inst.src[2]
        {
            let mask = self.vec(mask, inst.width);
            return match b {
                Operand::Register(b) => Instruction::with4(code, d, a, b, mask),
                Operand::Memory(b) => Instruction::with4(code, d, a, b, mask),
            };
        }
        match (b, imm) {
            (Operand::Register(b), None) => Instruction::with3(code, d, a, b),
            (Operand::Memory(b), None) => Instruction::with3(code, d, a, b),
            (Operand::Register(b), Some(imm)) => Instruction::with4(code, d, a, b, imm),
            (Operand::Memory(b), Some(imm)) => Instruction::with4(code, d, a, b, imm),
        }
    }

    /// Resolves labels, puts the constants behind the code, and encodes: all bytes, and how many of them are code.
    fn finish(mut self) -> Iced<(Vec<u8>, usize)> {
        for inst in &mut self.out {
            let target = inst.near_branch_target();
            if (LABEL_IP..INST_IP).contains(&target) {
                let label = (target - LABEL_IP) as Label;
                inst.set_near_branch64(self.labels.get(&label).copied().unwrap_or(target));
            }
        }
        let code = self.encode(0)?;
        // Constants are aligned from the function's start, which is aligned by the code memory.
        let base = (code.len() as u64).next_multiple_of(64);
        let mut bytes = self.encode(base)?;
        bytes.resize(base as usize, 0xcc);
        bytes.extend_from_slice(&self.function.pool.bytes);
        Ok((bytes, code.len()))
    }

    /// Encodes the instructions with the constants at `pool` bytes from the start. Every encoding has one length.
    fn encode(&self, pool: u64) -> Iced<Vec<u8>> {
        let mut instructions = self.out.clone();
        for inst in &mut instructions {
            if inst.memory_base() == Register::RIP {
                let offset = inst.memory_displacement64() - POOL_IP;
                inst.set_memory_displacement64(pool + offset);
            }
        }
        let block = InstructionBlock::new(&instructions, 0);
        let options = BlockEncoderOptions::DONT_FIX_BRANCHES;
        Ok(BlockEncoder::encode(64, block, options)?.code_buffer)
    }
}

/// Half as wide.
fn narrower(width: Width) -> Width {
    match width {
        Width::Z => Width::Y,
        _ => Width::X,
    }
}
