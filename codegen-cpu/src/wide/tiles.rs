//! Selection of `tile_dot`: the matrix unit (AMX) where there is one, else one vector dot product a row and four bytes.

use super::isa::{VOp, Width};
use super::mir::*;
use super::select::Select;
use crate::Error;
use lathe_ir::kernel::{TileDot, Ty, Val};

/// Bytes from one row to the next of sums and of codes.
const ROW: i64 = 64;

impl Select<'_> {
    /// Sums of products of rows and a panel, in memory.
    pub(super) fn tile_dot(&mut self, tile: TileDot, args: &[Val]) -> Result<(), Error> {
        let out = self.address(tile.out.0, args[0], tile.out.1)?;
        let a = self.address(tile.a.0, args[1], tile.a.1)?;
        let w = self.address(tile.w.0, args[2], tile.w.1)?;
        if self.amx {
            return self.matrix_unit(tile, [out, a, w]);
        }
        if !self.dot || self.level.bytes() != 64 {
            return Err(self.unsupported("tile_dot", Ty::i32(16)));
        }
        let width = Width::Z;
        for row in 0..i32::from(tile.rows) {
            let sum = self.vreg(Class::Vec, width);
            self.emit_wide(MOp::Zero, width, Some(sum), false, [Src::None; 3], 0);
            for j in 0..i32::from(tile.k) / 4 {
                let codes = self.v1(VOp::MovUps, width, Src::Mem(moved(w, 64 * j)), 0);
                let x = Src::Splat(moved(a, row * tile.stride as i32 + 4 * j));
                let src = [Src::Reg(codes), x, Src::None];
                self.emit_wide(MOp::V(VOp::Dot), width, Some(sum), true, src, 0);
            }
            let src = [Src::Reg(sum), Src::Mem(moved(out, 64 * row)), Src::None];
            self.emit_wide(MOp::V(VOp::StoreUps), width, None, false, src, 0);
        }
        Ok(())
    }

    fn matrix_unit(&mut self, tile: TileDot, places: [MemRef; 3]) -> Result<(), Error> {
        let shape = (tile.rows, tile.k);
        match self.tile_shape {
            None => self.configure(shape),
            Some(known) if known == shape => {}
            // One kernel has one shape of tiles; a second one would need the unit to be set anew in between.
            Some(_) => return Err(self.unsupported("tile_dot", Ty::i32(16))),
        }
        let strides = [ROW, tile.stride.into(), ROW];
        let mut src = [Src::None; 3];
        for (i, (place, stride)) in places.into_iter().zip(strides).enumerate() {
            let (base, by) = (self.gpr(), self.gpr());
            self.scalar_op(MOp::Lea, base, false, Src::Mem(place), 0);
            self.scalar_op(MOp::Const, by, false, Src::None, stride);
            src[i] = Src::Mem(MemRef {
                base: Some(base),
                index: Some(by),
                scale: 1,
                disp: 0,
            });
        }
        self.emit(MOp::TileDot, None, false, src, 0);
        Ok(())
    }

    /// Sets the tile registers once, before the first unit: 0 for sums, 1 for rows, 2 for codes. The 64 bytes are palette
    /// 1, then from byte 16 the bytes a row of each register (16 bits), from byte 48 its rows (Intel's manual, LDTILECFG).
    fn configure(&mut self, (rows, k): (u8, u8)) {
        self.tile_shape = Some((rows, k));
        let mut config = [0u8; 64];
        config[0] = 1;
        for (register, (bytes, rows)) in [(64, rows), (k, rows), (64, k / 4)].into_iter().enumerate() {
            config[16 + 2 * register] = bytes;
            config[48 + register] = rows;
        }
        let at = self.function.pool.place(&config);
        self.prologue.push(MInst {
            op: MOp::TileConfig,
            width: Width::X,
            dst: None,
            tied: false,
            src: [Src::Pool(at), Src::None, Src::None],
            imm: 0,
            depth: 0,
        });
    }
}

/// The place so many bytes further on.
fn moved(at: MemRef, bytes: i32) -> MemRef {
    MemRef {
        disp: at.disp + bytes,
        ..at
    }
}
