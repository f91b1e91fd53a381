//! Machine code of kernels: kept code where a [`CodeStore`] has it, else what NVRTC makes of their texts, on several threads.
//!
//! Kernels are compiled one by one. That takes a little longer than several in one source, but a kernel that two plans
//! share is then compiled once, whatever else is in them.

use crate::arch::Arch;
use crate::error::Error;
use crate::kernels::Kernel;
use crate::nvrtc;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// The version of a compiler, or that which a driver supports.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version {
    /// Before the point.
    pub major: u32,
    /// Behind it.
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Everything that decides the machine code of a kernel, but the compiler's version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipe {
    /// The kernel's name, for people.
    pub kernel: String,
    /// The architecture.
    pub arch: Arch,
    /// Options of the compiler.
    pub options: [String; 2],
    /// The text.
    pub text: String,
}

/// Makes the machine code of a recipe.
pub type Make<'a> = dyn FnMut() -> Result<Vec<u8>, Error> + 'a;

/// Keeps machine code from one process to the next.
pub trait CodeStore: Send + Sync {
    /// The machine code of a recipe: what is kept, or what `make` makes, which is kept then. Where there is a `compiler`,
    /// nothing that another version made is taken.
    ///
    /// # Errors
    /// Those of `make`. That code can't be kept is none.
    fn get_or_make(
        &self,
        recipe: &Recipe,
        compiler: Option<Version>,
        make: &mut Make,
    ) -> Result<Vec<u8>, Error>;

    /// Told when all kernels of a plan are there.
    fn settle(&self) {}
}

/// Keeps nothing.
pub struct NoStore;

impl CodeStore for NoStore {
    fn get_or_make(&self, _: &Recipe, _: Option<Version>, make: &mut Make) -> Result<Vec<u8>, Error> {
        make()
    }
}

/// Machine code of kernels.
pub struct Code {
    /// Of each kernel, in their order.
    pub cubins: Vec<Vec<u8>>,
    /// How many were compiled now.
    pub compiled: usize,
}

impl Code {
    /// Bytes of all.
    pub fn bytes(&self) -> u64 {
        self.cubins.iter().map(|c| c.len() as u64).sum()
    }
}

/// Machine code of kernels for an architecture. The compiler need not be there where everything is kept.
///
/// # Errors
/// Where the compiler is there and `fits` refuses it; where it is wanted and missing, or does not take the text of a kernel.
pub fn load(
    kernels: &[&Kernel],
    arch: Arch,
    threads: usize,
    store: &dyn CodeStore,
    fits: &dyn Fn(Version) -> Result<(), Error>,
) -> Result<Code, Error> {
    let compiler = nvrtc::version().ok();
    compiler.map_or(Ok(()), fits)?;
    let compiled = AtomicUsize::new(0);
    let cubins = on_threads(kernels, threads, |kernel| {
        let recipe = Recipe {
            kernel: kernel.name(),
            arch,
            options: nvrtc::cubin_options(arch),
            text: nvrtc::text(kernel),
        };
        store.get_or_make(&recipe, compiler, &mut || {
            compiled.fetch_add(1, Ordering::Relaxed);
            nvrtc::cubin(kernel, arch)
        })
    })?;
    store.settle();
    Ok(Code {
        cubins,
        compiled: compiled.into_inner(),
    })
}

/// PTX of kernels for an architecture.
///
/// # Errors
/// Where the compiler is missing, or does not take the text of a kernel.
pub fn ptx(kernels: &[&Kernel], arch: Arch, threads: usize) -> Result<Vec<String>, Error> {
    nvrtc::find()?;
    on_threads(kernels, threads, |kernel| nvrtc::ptx(kernel, arch))
}

/// Does something for each kernel, on several threads; after the first error nothing is begun.
fn on_threads<T: Send>(
    kernels: &[&Kernel],
    threads: usize,
    work: impl Fn(&Kernel) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(kernels.len()));
    let threads = threads.clamp(1, kernels.len().max(1));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((number, kernel)) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    kernels.get(number).map(|kernel| (number, *kernel))
                } {
                    let result = work(kernel);
                    if result.is_err() {
                        next.store(kernels.len(), Ordering::Relaxed);
                    }
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((number, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}
