//! Prefetches, which Cranelift has no instruction for.
//!
//! On x86-64 a prefetch is lowered to a load of a byte that nobody uses, marked by its source location. In the machine
//! code that is `movzx r32, m8`, opcode `0F B6 /r`; turned into `0F 18 /1` it is `prefetcht0 m8` with the same length
//! and operand (Intel SDM, volume 2, "MOVZX", "PREFETCHh"): it writes no register and never faults. A load that cannot
//! be found again is an error, for it could fault. Other architectures drop the hint.

use super::lower::{Lower, memory_flags};
use crate::target::Arch;
use cranelift_codegen::Final;
use cranelift_codegen::ir::{InstBuilder, SourceLoc, Value, types};
use cranelift_codegen::{CompiledCode, MachSrcLoc};

impl Lower<'_> {
    /// Marks `address + disp` to be prefetched.
    pub(super) fn prefetch(&mut self, address: Value, disp: i32) {
        if self.features.arch() != Arch::X86_64 {
            return;
        }
        // Each has a location of its own, so that each has a range of code of its own.
        self.prefetches += 1;
        self.b.set_srcloc(SourceLoc::new(self.prefetches));
        self.b.ins().uload8(types::I32, memory_flags(), address, disp);
        self.b.set_srcloc(SourceLoc::default());
    }
}

/// The machine code with its marked loads turned into prefetches.
pub(super) fn patch(compiled: &CompiledCode, prefetches: u32) -> Result<Vec<u8>, String> {
    let mut code = compiled.code_buffer().to_vec();
    let marked = compiled
        .buffer
        .get_srclocs_sorted()
        .iter()
        .filter(|range| !range.loc.is_default());
    let mut found = 0;
    for range in marked {
        patch_one(&mut code, range)
            .ok_or_else(|| format!("no load to prefetch with at byte {}", range.start))?;
        found += 1;
    }
    if found == prefetches {
        Ok(code)
    } else {
        Err(format!("{found} of {prefetches} prefetches have code"))
    }
}

/// Rewrites the instruction at the start of a range; `None` where it is not the load.
fn patch_one(code: &mut [u8], range: &MachSrcLoc<Final>) -> Option<()> {
    let code = code.get_mut(range.start as usize..range.end as usize)?;
    // A prefix extends the three register fields; bit 2 belongs to the register that is loaded.
    let rex = usize::from(code.first()? & 0xf0 == 0x40);
    let [0x0f, opcode @ 0xb6, operands] = code.get_mut(rex..rex + 3)? else {
        return None;
    };
    // 3 would be a register instead of memory.
    if *operands >> 6 == 3 {
        return None;
    }
    *opcode = 0x18;
    *operands = *operands & !(7 << 3) | 1 << 3;
    if rex == 1 {
        code[0] &= !(1 << 2);
    }
    Some(())
}
