//! Whether this process may use the tile registers of AMX.
//!
//! They are 8 KiB of state, which Linux gives a process only where it asks (Linux documentation, "Using XSTATE features in
//! user space applications").

use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

/// CPUID leaf 7, EDX: AMX-TILE and AMX-INT8.
const TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;

/// Asks for the tile state once; the answer holds for all threads that start later.
pub(crate) fn usable() -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    *USABLE.get_or_init(|| has_tiles() && permitted())
}

fn has_tiles() -> bool {
    __cpuid_count(7, 0).edx & TILE_AND_INT8 == TILE_AND_INT8
}

#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call passes two numbers and no pointers; it changes which state the kernel saves for this process.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}
