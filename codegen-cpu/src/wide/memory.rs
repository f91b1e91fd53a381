//! Selection of loads and stores.

use super::isa::{Level, VOp, Width};
use super::mir::*;
use super::select::{Deferred, Select};
use crate::Error;
use lathe_ir::kernel::{Elem, Mem, Ty, Val};

impl Select<'_> {
    /// Does a load.
    pub(super) fn load_now(&mut self, load: Deferred) -> Result<VReg, Error> {
        let Deferred { mem, at, splat, ty } = load;
        let width = self.width(ty)?;
        let at = Src::Mem(at);
        let lanes32 = matches!(mem, Mem::F32 | Mem::I32);
        if ty == Ty::INDEX {
            return Ok(self.scalar_load(MOp::LoadI32, at));
        }
        if splat && ty.lanes > 1 {
            if lanes32 || ty.elem.is_byte() {
                return Ok(self.v1(VOp::BroadcastD, width, at, 0));
            }
            let one = self.load_now(Deferred {
                splat: false,
                ty: Ty { lanes: 1, ..ty },
                ..load
            })?;
            return Ok(self.v1(VOp::BroadcastD, width, Src::Reg(one), 0));
        }
        Ok(match (mem, ty.elem, ty.lanes) {
            (Mem::F32 | Mem::I32, _, 1) => self.v1(VOp::LoadSs, Width::X, at, 0),
            (Mem::F32 | Mem::I32, ..) => self.v1(VOp::MovUps, width, at, 0),
            (Mem::F16, _, 1) => {
                let bits = self.through_gpr(MOp::LoadU16, at);
                self.v1(VOp::CvtPhPs, Width::X, Src::Reg(bits), 0)
            }
            (Mem::F16, ..) => self.v1(VOp::CvtPhPs, width, at, 0),
            (Mem::Bf16, _, 1) => {
                let bits = self.through_gpr(MOp::LoadU16, at);
                self.v1(VOp::SllD, Width::X, Src::Reg(bits), 16)
            }
            (Mem::Bf16, ..) => {
                let bits = self.v1(VOp::MovZxWd, width, at, 0);
                self.v1(VOp::SllD, width, Src::Reg(bits), 16)
            }
            (Mem::I8, Elem::I32, 1) => self.through_gpr(MOp::LoadI8, at),
            (Mem::U8, Elem::I32, 1) => self.through_gpr(MOp::LoadU8, at),
            (Mem::I8, Elem::I32, _) => self.v1(VOp::MovSxBd, width, at, 0),
            (Mem::U8, Elem::I32, _) => self.v1(VOp::MovZxBd, width, at, 0),
            (Mem::I8 | Mem::U8, _, 1) => self.through_gpr(MOp::LoadU8, at),
            (Mem::I8 | Mem::U8, _, 4) => self.v1(VOp::LoadSs, Width::X, at, 0),
            (Mem::I8 | Mem::U8, _, 8) => self.v1(VOp::LoadQ, Width::X, at, 0),
            (Mem::I8 | Mem::U8, ..) => self.v1(VOp::MovUps, width, at, 0),
        })
    }

    fn scalar_load(&mut self, op: MOp, at: Src) -> VReg {
        let r = self.gpr();
        self.scalar_op(op, r, false, at, 0);
        r
    }

    /// A scalar that is loaded to a general register and moved to a vector register.
    fn through_gpr(&mut self, op: MOp, at: Src) -> VReg {
        let r = self.scalar_load(op, at);
        self.v1(VOp::MovFromGpr, Width::X, Src::Reg(r), 0)
    }

    /// Stores a value at an address.
    pub(super) fn store(&mut self, mem: Mem, at: MemRef, value: Val) -> Result<(), Error> {
        let ty = self.ty(value);
        let width = self.width(ty)?;
        let r = self.register(value)?;
        match (mem, ty.elem, ty.lanes) {
            (Mem::F32, Elem::F32, 1) | (Mem::I32, Elem::I32, 1) => self.put(VOp::StoreSs, Width::X, r, at, 0),
            (Mem::F32, Elem::F32, _) | (Mem::I32, Elem::I32, _) => self.put(VOp::StoreUps, width, r, at, 0),
            (Mem::F16, Elem::F32, 1) => {
                let half = self.v1(VOp::StorePh, Width::X, Src::Reg(r), 0);
                self.put(VOp::StoreW, Width::X, half, at, 0);
            }
            (Mem::F16, Elem::F32, _) => self.put(VOp::StorePh, width, r, at, 0),
            (Mem::Bf16, Elem::F32, lanes) => self.store_bf16(r, lanes, width, at),
            (Mem::I8, Elem::I32, lanes) => self.store_saturated(r, lanes, width, at),
            (Mem::U8, Elem::U8, lanes) => self.store_bytes(r, lanes, width, at),
            _ => return Err(self.unsupported("store", ty)),
        }
        Ok(())
    }

    fn put(&mut self, op: VOp, width: Width, value: VReg, at: MemRef, imm: i64) {
        self.emit_wide(
            MOp::V(op),
            width,
            None,
            false,
            [Src::Reg(value), Src::Mem(at), Src::None],
            imm,
        );
    }

    fn store_bytes(&mut self, r: VReg, lanes: u8, width: Width, at: MemRef) {
        match lanes {
            1 => self.put(VOp::StoreB, Width::X, r, at, 0),
            4 => self.put(VOp::StoreSs, Width::X, r, at, 0),
            8 => self.put(VOp::StoreQ, Width::X, r, at, 0),
            _ => self.put(VOp::StoreUps, width, r, at, 0),
        }
    }

    /// The nearest bf16, ties to even: half a unit of its last place is added, less where the place is even. Shifts let
    /// signs in, so that the words do not saturate.
    fn store_bf16(&mut self, r: VReg, lanes: u8, width: Width, at: MemRef) {
        let place = self.v1(VOp::SrlD, width, Src::Reg(r), 16);
        let one = Src::Reg(self.constant(1));
        let parity = self.v2(VOp::And, width, place, one);
        let half = Src::Reg(self.constant(0x7fff));
        let rounded = self.v2(VOp::AddD, width, r, half);
        let rounded = self.v2(VOp::AddD, width, rounded, Src::Reg(parity));
        let words = self.v1(VOp::SraD, width, Src::Reg(rounded), 16);
        match (lanes, self.level) {
            (1, _) => self.put(VOp::StoreW, Width::X, words, at, 0),
            (_, Level::Avx512) => self.put(VOp::StoreSdw, width, words, at, 0),
            _ => {
                let packed = self.pack_words(words, lanes);
                self.store_bytes(packed, 2 * lanes, Width::X, at);
            }
        }
    }

    /// Four or eight i32 as i16, saturating.
    fn pack_words(&mut self, r: VReg, lanes: u8) -> VReg {
        let high = if lanes == 8 {
            let high = self.vreg(Class::Vec, Width::X);
            let src = [Src::Reg(r), Src::None, Src::None];
            self.emit_wide(MOp::V(VOp::Extract128), Width::Y, Some(high), false, src, 1);
            high
        } else {
            r
        };
        self.v2(VOp::PackSsDw, Width::X, r, Src::Reg(high))
    }

    fn store_saturated(&mut self, r: VReg, lanes: u8, width: Width, at: MemRef) {
        if self.level == Level::Avx512 && lanes > 1 {
            return self.put(VOp::StoreSdb, width, r, at, 0);
        }
        let words = self.pack_words(r, lanes);
        let bytes = self.v2(VOp::PackSsWb, Width::X, words, Src::Reg(words));
        self.store_bytes(bytes, lanes, Width::X, at);
    }
}
