//! Machine code of kernels for GPUs in the cache: an entry each, so that plans share what they have in common.
//!
//! An entry is found by everything that decides the code but the version of NVRTC, which its manifest names. What another
//! version made is compiled anew; where NVRTC is not there, it is taken as it is.

use super::format::{CUBIN, KernelData};
use lathe_codegen_cuda::Error;
use lathe_codegen_cuda::code::{CodeStore, Make, Recipe, Version};
use lathe_runtime::cache::{Bundle, Cache, CacheError, Kind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Keeps code of kernels in a cache.
pub struct Kernels<'a> {
    cache: &'a Cache,
    notice: &'a (dyn Fn(&str) + Sync),
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Folders of entries that were used.
    used: Vec<PathBuf>,
    /// Whether one was made.
    made: bool,
    /// Whether somebody was told that code can't be kept.
    told: bool,
}

/// Why there is no entry.
enum Fault {
    /// The kernel does not compile.
    Make(Error),
    /// Its code can't be kept.
    Cache(CacheError),
}

impl From<CacheError> for Fault {
    fn from(error: CacheError) -> Fault {
        Fault::Cache(error)
    }
}

impl<'a> Kernels<'a> {
    /// Keeps code in `cache`, and tells `notice` where that fails.
    pub fn new(cache: &'a Cache, notice: &'a (dyn Fn(&str) + Sync)) -> Kernels<'a> {
        Kernels {
            cache,
            notice,
            state: Mutex::default(),
        }
    }

    fn id(recipe: &Recipe) -> String {
        let [first, second] = &recipe.options;
        Cache::id(&["kernel", &recipe.arch.to_string(), first, second, &recipe.text])
    }

    /// The code that is kept, unless another compiler than that at hand made it.
    fn find(&self, id: &str, compiler: Option<Version>) -> Result<Option<Vec<u8>>, CacheError> {
        let Some(entry) = self.cache.get(Kind::Kernel, id)? else {
            return Ok(None);
        };
        match read(&entry, compiler) {
            Ok(code) => {
                self.note(entry.folder(), false);
                Ok(Some(code))
            }
            Err(error) if error.is_of_entry() => {
                self.cache.quarantine(Kind::Kernel, id, &error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Compiles and keeps, unless another process was faster.
    fn make(
        &self,
        recipe: &Recipe,
        id: &str,
        compiler: Option<Version>,
        make: &mut Make,
    ) -> Result<Vec<u8>, Fault> {
        let mut code = None;
        let made = self.cache.get_or_add(Kind::Kernel, id, |writer| {
            let cubin = code.insert(make().map_err(Fault::Make)?);
            writer.write(CUBIN, cubin)?;
            Ok(KernelData {
                kernel: recipe.kernel.clone(),
                arch: recipe.arch.to_string(),
                // What can be compiled has a compiler.
                nvrtc: compiler.map(|v| v.to_string()).unwrap_or_default(),
            })
        });
        match (made, code) {
            (Ok(entry), Some(code)) => {
                self.note(entry.folder(), true);
                Ok(code)
            }
            (Ok(entry), None) => Ok(entry.read(CUBIN)?),
            // It is compiled, and that is what was asked for.
            (Err(Fault::Cache(error)), Some(code)) => {
                self.tell(&error);
                Ok(code)
            }
            (Err(fault), _) => Err(fault),
        }
    }

    fn note(&self, folder: &Path, made: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.used.push(folder.to_owned());
        state.made |= made;
    }

    /// Says once that code can't be kept.
    fn tell(&self, error: &CacheError) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut state.told, true) {
            (self.notice)(&format!("code of kernels can't be kept: {error}"));
        }
    }
}

/// The code of an entry.
fn read(entry: &Bundle, compiler: Option<Version>) -> Result<Vec<u8>, CacheError> {
    let data: KernelData = entry.data()?;
    match compiler.map(|v| v.to_string()).filter(|v| *v != data.nvrtc) {
        Some(version) => Err(CacheError::Version {
            path: entry.folder().to_owned(),
            what: format!("NVRTC {} compiled it, and this is NVRTC {version}", data.nvrtc),
        }),
        None => entry.read(CUBIN),
    }
}

impl CodeStore for Kernels<'_> {
    fn get_or_make(
        &self,
        recipe: &Recipe,
        compiler: Option<Version>,
        make: &mut Make,
    ) -> Result<Vec<u8>, Error> {
        let id = Kernels::id(recipe);
        let found = match self.find(&id, compiler) {
            Ok(Some(code)) => return Ok(code),
            Ok(None) => self.make(recipe, &id, compiler, make),
            Err(error) => Err(Fault::Cache(error)),
        };
        match found {
            Ok(code) => Ok(code),
            Err(Fault::Make(error)) => Err(error),
            Err(Fault::Cache(error)) => {
                self.tell(&error);
                make()
            }
        }
    }

    fn settle(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.made {
            let used: Vec<&Path> = state.used.iter().map(PathBuf::as_path).collect();
            self.cache.shrink(&used);
        }
    }
}
