//! Machine code of kernels: which lowering makes it, sets of compiled kernels, and the call into them.
//!
//! On x86-64 with AVX2 and F16C or with AVX-512, [`wide`] makes the code of every kernel whose vectors fit its registers; on
//! other processors (and on these where their features are narrowed), Cranelift does, in 128-bit vectors.

use crate::code_memory::{CodeMemory, join};
use crate::target::{CpuFeatures, OptLevel};
use crate::{Error, clif, wide};
use cranelift_codegen::isa::TargetIsa;
use lathe_ir::kernel::Kernel;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The machine code of one kernel.
pub(crate) struct Code {
    /// Code, and constants behind it.
    pub(crate) bytes: Vec<u8>,
    /// The instructions, where asked for.
    pub(crate) assembly: Option<String>,
    /// The Cranelift IR, where asked for and where Cranelift made the code.
    pub(crate) clif: Option<String>,
}

/// Compiles one kernel; `text` asks for its printed forms.
fn compile(kernel: &Kernel, features: &CpuFeatures, isa: &dyn TargetIsa, text: bool) -> Result<Code, Error> {
    if !wide::takes(kernel, features) {
        return clif::compile(kernel, features, isa, text);
    }
    let code = wide::compile(kernel, features)?;
    let assembly = text.then(|| code.listing());
    Ok(Code {
        bytes: code.bytes,
        assembly,
        clif: None,
    })
}

/// The signature of a compiled kernel: buffers, scalars, first unit, unit after the last, scratch.
type Entry = unsafe extern "C" fn(*const *mut u8, *const i64, i64, i64, *mut u8);

/// Kernels in executable memory, numbered as they were given.
pub struct CompiledKernels {
    code: CodeMemory,
    /// Buffers and scalars of each kernel, to check calls by.
    arity: Vec<(usize, usize)>,
}

impl CompiledKernels {
    /// Compiles kernels for a processor with `features` on up to `threads` threads.
    ///
    /// # Errors
    /// Where a kernel cannot be lowered (naming it and its op), or the system gives no executable memory.
    pub fn compile(
        kernels: &[&Kernel],
        features: &CpuFeatures,
        opt: OptLevel,
        threads: usize,
    ) -> Result<CompiledKernels, Error> {
        let isa = features.isa(opt)?;
        let results: Mutex<Vec<Option<Result<Code, Error>>>> =
            Mutex::new(kernels.iter().map(|_| None).collect());
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                let Some(kernel) = kernels.get(i) else { break };
                let code = compile(kernel, features, &*isa, false);
                results.lock().expect("no thread panics while it holds the lock")[i] = Some(code);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.min(kernels.len()) {
                scope.spawn(work);
            }
            work();
        });
        let results = results
            .into_inner()
            .expect("no thread panics while it holds the lock");
        let code = results
            .into_iter()
            .map(|r| r.expect("every kernel was taken").map(|c| c.bytes));
        let code: Vec<Vec<u8>> = code.collect::<Result<_, _>>()?;
        let (image, entries) = join(&code);
        Ok(CompiledKernels {
            code: CodeMemory::new(&image, entries)?,
            arity: arity(kernels),
        })
    }

    /// The machine code of all kernels: position-independent, without relocations; with the start of each kernel.
    pub fn image(&self) -> (&[u8], &[u64]) {
        (self.code.image(), self.code.entries())
    }

    /// Kernels from an image that was made earlier.
    ///
    /// # Errors
    /// Where the image has not as many entries as there are kernels, an entry is outside of it, or the system gives no
    /// executable memory.
    ///
    /// # Safety
    /// The image was made for these kernels, by this version, and for a processor with no other features than this one
    /// has.
    pub unsafe fn from_image(
        kernels: &[&Kernel],
        image: &[u8],
        entries: &[u64],
    ) -> Result<CompiledKernels, Error> {
        let inside = |&entry: &u64| entry < image.len() as u64;
        if entries.len() != kernels.len() || !entries.iter().all(inside) {
            return Err(Error::Image {
                kernels: kernels.len(),
                entries: entries.len(),
                bytes: image.len(),
            });
        }
        Ok(CompiledKernels {
            code: CodeMemory::new(image, entries.to_vec())?,
            arity: arity(kernels),
        })
    }

    /// How many kernels there are.
    pub fn len(&self) -> usize {
        self.code.len()
    }

    /// Whether there is no kernel.
    pub fn is_empty(&self) -> bool {
        self.code.len() == 0
    }

    /// Bytes of machine code.
    pub fn code_bytes(&self) -> u64 {
        self.code.bytes()
    }

    /// Runs units of a kernel.
    ///
    /// # Panics
    /// Where the number of buffers or scalars differs from the kernel's.
    ///
    /// # Safety
    /// The code was compiled for features that this processor has. Every buffer is valid for the reads and writes that
    /// the kernel does for these units with these scalars, `scratch` for the kernel's scratch bytes, and no other
    /// thread accesses what the kernel writes, or writes what it reads, meanwhile.
    pub unsafe fn call(
        &self,
        index: usize,
        bufs: &[*mut u8],
        scalars: &[i64],
        units: Range<i64>,
        scratch: *mut u8,
    ) {
        assert_eq!(
            self.arity[index],
            (bufs.len(), scalars.len()),
            "arguments of kernel {index}"
        );
        // SAFETY: the bytes at the entry are a function with this signature, compiled from a kernel; the caller vouches
        // for what it touches.
        unsafe {
            let entry: Entry = std::mem::transmute(self.code.entry(index));
            entry(bufs.as_ptr(), scalars.as_ptr(), units.start, units.end, scratch);
        }
    }
}

/// Buffers and scalars of each kernel.
fn arity(kernels: &[&Kernel]) -> Vec<(usize, usize)> {
    kernels.iter().map(|k| (k.bufs.len(), k.scalars.len())).collect()
}

/// The machine code of a kernel: position-independent bytes without relocations that begin with the entry, a function
/// of a table of buffers, a table of scalars, the first unit, the unit after the last, and scratch memory of the
/// kernel's size, aligned to 64 bytes. They may run on any processor with `features`, whatever compiled them.
///
/// # Errors
/// Where the kernel cannot be lowered.
pub fn kernel_code(kernel: &Kernel, features: &CpuFeatures, opt: OptLevel) -> Result<Vec<u8>, Error> {
    Ok(compile(kernel, features, &*features.isa(opt)?, false)?.bytes)
}

/// A kernel's printed forms.
pub struct KernelText {
    /// Cranelift IR; a note where Cranelift did not make the code.
    pub clif: String,
    /// Machine code.
    pub assembly: String,
    /// Bytes of machine code.
    pub bytes: usize,
}

/// Compiles a kernel and prints what became of it.
///
/// # Errors
/// Where the kernel cannot be lowered.
pub fn kernel_text(kernel: &Kernel, features: &CpuFeatures, opt: OptLevel) -> Result<KernelText, Error> {
    let code = compile(kernel, features, &*features.isa(opt)?, true)?;
    Ok(KernelText {
        clif: code
            .clif
            .unwrap_or_else(|| "; wide x86 code: no Cranelift IR\n".to_owned()),
        assembly: code.assembly.unwrap_or_default(),
        bytes: code.bytes.len(),
    })
}
