//! NVRTC: CUDA C++ text to machine code for one architecture. Needs no GPU.

use crate::error::Error;
use crate::kernels::{Kernel, prelude};
use cudarc::nvrtc::sys::{self, nvrtcProgram, nvrtcResult};
use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::sync::{Mutex, OnceLock};

/// Kernels that are compiled as one source: fewer make more threads busy, more share the start of a compilation.
const KERNELS_OF_A_SOURCE: usize = 4;

/// The variable that names the folder of the library.
pub const FOLDER: &str = "LATHE_NVRTC";

/// Kernels compiled together.
pub struct Module {
    /// Machine code, as the driver loads it.
    pub cubin: Vec<u8>,
    /// Numbers of its kernels among all.
    pub kernels: Vec<usize>,
}

/// Looks for the library: in the folder that `LATHE_NVRTC` names, then where the system looks.
///
/// # Errors
/// Where it is nowhere.
pub fn find() -> Result<(), Error> {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let found = *FOUND.get_or_init(|| {
        if let Some(folder) = std::env::var_os(FOLDER) {
            open_folder(Path::new(&folder));
        }
        // SAFETY: opens a library by its name and closes it; what it does when it is opened is NVIDIA's.
        unsafe { sys::is_culib_present() }
    });
    if found { Ok(()) } else { Err(Error::NoNvrtc) }
}

/// Opens the libraries of a folder and keeps them open, so that opening them by name finds them. The compiler looks for its
/// builtins by name when it runs.
fn open_folder(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let mut names: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    // Builtins first: the compiler must find them open.
    names.sort_by_key(|p| !p.to_string_lossy().contains("builtins"));
    for path in names {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
        let is_library = name.is_some_and(|n| n.starts_with("libnvrtc") && !n.contains(".alt."));
        if !is_library {
            continue;
        }
        // SAFETY: as above. It stays open to the end of the process.
        if let Ok(library) = unsafe { libloading::Library::new(&path) } {
            std::mem::forget(library);
        }
    }
}

/// Compiles kernels for an architecture such as `sm_90`, in sources of a few, on several threads.
///
/// # Errors
/// Where the library is missing, or does not take the text of a kernel.
pub fn compile(kernels: &[&Kernel], arch: &str, threads: usize) -> Result<Vec<Module>, Error> {
    find()?;
    let numbers: Vec<usize> = (0..kernels.len()).collect();
    let sources: Vec<&[usize]> = numbers.chunks(KERNELS_OF_A_SOURCE).collect();
    let state = Mutex::new((sources.into_iter(), Vec::new(), None));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let next = || {
                    state
                        .lock()
                        .ok()
                        .filter(|s| s.2.is_none())
                        .and_then(|mut s| s.0.next())
                };
                while let Some(numbers) = next() {
                    let made = module(kernels, numbers, arch);
                    let Ok(mut state) = state.lock() else { return };
                    match made {
                        Ok(module) => state.1.push(module),
                        Err(error) => state.2 = Some(error),
                    }
                }
            });
        }
    });
    match state.into_inner() {
        Ok((_, modules, None)) => Ok(modules),
        Ok((_, _, Some(error))) => Err(error),
        Err(_) => Err(Error::Driver {
            call: "compile".into(),
            what: "a thread panicked".into(),
        }),
    }
}

fn module(kernels: &[&Kernel], numbers: &[usize], arch: &str) -> Result<Module, Error> {
    let mut text = prelude().to_owned();
    for &n in numbers {
        text += &kernels[n].source();
    }
    let names: Vec<String> = numbers.iter().map(|&n| kernels[n].name()).collect();
    let cubin = compile_text(&text, arch).map_err(|log| Error::Compile {
        kernel: names.join(", "),
        arch: arch.to_owned(),
        log,
    })?;
    Ok(Module {
        cubin,
        kernels: numbers.to_vec(),
    })
}

/// Machine code of a text, or the first line of the log that says what is wrong. [`find`] has found the library.
fn compile_text(text: &str, arch: &str) -> Result<Vec<u8>, String> {
    let text = CString::new(text).map_err(|e| e.to_string())?;
    let arch = CString::new(format!("--gpu-architecture={arch}")).map_err(|e| e.to_string())?;
    let options: [*const c_char; 2] = [arch.as_ptr(), c"--std=c++17".as_ptr()];
    let mut program: nvrtcProgram = std::ptr::null_mut();
    // SAFETY: the texts end with zero and outlive the calls; the program is destroyed once, below.
    let made = unsafe {
        sys::nvrtcCreateProgram(
            &mut program,
            text.as_ptr(),
            c"kernels.cu".as_ptr(),
            0,
            std::ptr::null(),
            std::ptr::null(),
        )
    };
    if made != nvrtcResult::NVRTC_SUCCESS {
        return Err(format!("{made:?}"));
    }
    // SAFETY: the program is alive, and the options are as many as said.
    let done = unsafe { sys::nvrtcCompileProgram(program, options.len() as i32, options.as_ptr()) };
    let result = match done {
        nvrtcResult::NVRTC_SUCCESS => cubin(program),
        error => Err(first_error(program).unwrap_or_else(|| format!("{error:?}"))),
    };
    // SAFETY: it is alive, and nothing uses it afterwards.
    unsafe { sys::nvrtcDestroyProgram(&mut program) };
    result
}

fn cubin(program: nvrtcProgram) -> Result<Vec<u8>, String> {
    let mut size = 0;
    // SAFETY: the program is alive and compiled; the buffer is as long as the library says.
    unsafe {
        let result = sys::nvrtcGetCUBINSize(program, &mut size);
        if result != nvrtcResult::NVRTC_SUCCESS || size == 0 {
            return Err(format!("no machine code: {result:?}"));
        }
        let mut code = vec![0u8; size];
        let result = sys::nvrtcGetCUBIN(program, code.as_mut_ptr().cast());
        if result != nvrtcResult::NVRTC_SUCCESS {
            return Err(format!("no machine code: {result:?}"));
        }
        Ok(code)
    }
}

/// The first line of a log that says error, else the first.
fn first_error(program: nvrtcProgram) -> Option<String> {
    let mut size = 0;
    // SAFETY: the program is alive; the buffer is as long as the library says and ends with zero.
    let log = unsafe {
        if sys::nvrtcGetProgramLogSize(program, &mut size) != nvrtcResult::NVRTC_SUCCESS {
            return None;
        }
        let mut log = vec![0u8; size.max(1)];
        if sys::nvrtcGetProgramLog(program, log.as_mut_ptr().cast()) != nvrtcResult::NVRTC_SUCCESS {
            return None;
        }
        log
    };
    let log = CStr::from_bytes_until_nul(&log)
        .ok()?
        .to_string_lossy()
        .into_owned();
    let line = log.lines().find(|l| l.contains("error")).or(log.lines().next())?;
    Some(line.trim().to_owned())
}
