//! Kernel IR to machine code for wide x86 vectors, through the iced assembler.
//!
//! Cranelift makes 128-bit vectors; this makes 256-bit ones (AVX2, with AVX-VNNI where there is one) and 512-bit ones
//! (AVX-512) of the same kernels. [`select`] turns the ops into machine instructions over virtual registers, [`live`] and
//! [`alloc`] give them registers, and [`emit`] encodes them. Instructions keep the order of the kernel: generators
//! schedule. Kernels call nothing, and results equal the definition of the ops bit for bit.

mod alloc;
mod emit;
mod index;
mod isa;
mod lanes;
mod live;
mod memory;
mod mir;
mod select;
mod text;
mod tiles;
mod vector;

use crate::Error;
use crate::target::{Arch, CpuFeatures};
use isa::Level;
use lathe_ir::kernel::Kernel;

/// What AVX-512 code needs.
const AVX512: [&str; 5] = ["avx512f", "avx512bw", "avx512dq", "avx512vl", "f16c"];

/// The widest level that the features allow.
fn level(features: &CpuFeatures) -> Option<Level> {
    let has = |names: &[&str]| features.arch() == Arch::X86_64 && names.iter().all(|f| features.has(f));
    if has(&AVX512) {
        Some(Level::Avx512)
    } else if has(&["avx2", "fma", "f16c"]) {
        Some(Level::Avx2)
    } else {
        None
    }
}

/// Whether `dot4` is one instruction in this lowering's code; `None` where it makes none for these features.
pub(crate) fn has_dot4(features: &CpuFeatures) -> Option<bool> {
    level(features).map(|level| match level {
        Level::Avx2 => features.has("avxvnni"),
        Level::Avx512 => features.has("avx512vnni"),
    })
}

/// Lanes of f32 in the widest vector, or `None` where the processor has no vectors that this lowering makes.
pub(crate) fn lanes(features: &CpuFeatures) -> Option<u8> {
    level(features).map(|level| (level.bytes() / 4) as u8)
}

/// Whether this lowering makes a kernel's code: there is a level, and every vector of the kernel fits it.
pub(crate) fn takes(kernel: &Kernel, features: &CpuFeatures) -> bool {
    let fits = |level: Level| kernel.values.values().all(|ty| ty.bytes() <= level.bytes());
    level(features).is_some_and(fits)
}

/// The code of a kernel and how many values its registers did not hold.
pub(crate) struct WideCode {
    /// Code and constants.
    pub(crate) bytes: Vec<u8>,
    /// Bytes of code.
    pub(crate) code: usize,
    /// Instructions that move values between registers and the frame.
    pub(crate) frame_accesses: usize,
}

impl WideCode {
    /// The instructions, for people.
    pub(crate) fn listing(&self) -> String {
        let instructions = text::disassemble(&self.bytes[..self.code]);
        format!(
            "; {} accesses of the frame by values without a register\n{instructions}",
            self.frame_accesses
        )
    }
}

/// Compiles a kernel for the widest level of `features`.
///
/// # Errors
/// Where there is none, or the kernel has vectors that are wider.
pub(crate) fn compile(kernel: &Kernel, features: &CpuFeatures) -> Result<WideCode, Error> {
    let error = |what: String| Error::Compile {
        kernel: kernel.name.clone(),
        what,
    };
    let level = level(features).ok_or_else(|| error("no wide vectors".into()))?;
    let mut function = select::select(kernel, features, level)?;
    let allocation = alloc::allocate(&mut function, level)
        .ok_or_else(|| error("an instruction needs more registers than there are".into()))?;
    let (bytes, code) = emit::emit(&function, &allocation, level).map_err(|e| error(e.to_string()))?;
    Ok(WideCode {
        bytes,
        code,
        frame_accesses: allocation.spills,
    })
}
