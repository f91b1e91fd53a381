//! NVRTC: CUDA C++ text to machine code for one architecture, or to PTX. Needs no GPU.

use crate::arch::Arch;
use crate::code::Version;
use crate::error::Error;
use crate::kernels::{Kernel, prelude};
use cudarc::nvrtc::sys::{self, nvrtcProgram, nvrtcResult};
use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::sync::OnceLock;

/// The variable that names the folder of the library.
pub const FOLDER: &str = "LATHE_NVRTC";

/// What a text is compiled to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// Machine code of one architecture.
    Cubin,
    /// The assembly language that drivers compile for this and later architectures.
    Ptx,
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

/// The library's version.
///
/// # Errors
/// Where it is missing.
pub fn version() -> Result<Version, Error> {
    find()?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the library is there, and writes two numbers.
    match unsafe { sys::nvrtcVersion(&mut major, &mut minor) } {
        nvrtcResult::NVRTC_SUCCESS => Ok(Version {
            major: major as u32,
            minor: minor as u32,
        }),
        error => Err(Error::Driver {
            call: "nvrtcVersion".into(),
            what: format!("{error:?}"),
        }),
    }
}

/// Options for an architecture and a form.
fn options(arch: Arch, form: Form) -> [String; 2] {
    let kind = match form {
        Form::Cubin => "sm",
        Form::Ptx => "compute",
    };
    [
        format!("--gpu-architecture={kind}_{}", arch.number()),
        "--std=c++17".to_owned(),
    ]
}

/// The options with which machine code for an architecture is made.
pub fn cubin_options(arch: Arch) -> [String; 2] {
    options(arch, Form::Cubin)
}

/// The whole text that a kernel is compiled from.
pub fn text(kernel: &Kernel) -> String {
    prelude().to_owned() + &kernel.source()
}

/// Compiles a kernel's [`text`] to machine code, as the driver loads it.
///
/// # Errors
/// Where the library is missing, or does not take the text.
pub fn cubin(kernel: &Kernel, arch: Arch) -> Result<Vec<u8>, Error> {
    compile(kernel, arch, Form::Cubin)
}

/// Compiles a kernel's [`text`] to PTX.
///
/// # Errors
/// As [`cubin`].
pub fn ptx(kernel: &Kernel, arch: Arch) -> Result<String, Error> {
    let mut bytes = compile(kernel, arch, Form::Ptx)?;
    // It ends with zero.
    bytes.truncate(bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len()));
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn compile(kernel: &Kernel, arch: Arch, form: Form) -> Result<Vec<u8>, Error> {
    find()?;
    compile_text(&text(kernel), &options(arch, form), form).map_err(|log| Error::Compile {
        kernel: kernel.name(),
        arch: arch.to_string(),
        log,
    })
}

/// What a text is compiled to, or the first line of the log that says what is wrong. [`find`] has found the library.
fn compile_text(text: &str, options: &[String], form: Form) -> Result<Vec<u8>, String> {
    let text = CString::new(text).map_err(|e| e.to_string())?;
    let options: Vec<CString> = options
        .iter()
        .map(|o| CString::new(&o[..]).map_err(|e| e.to_string()))
        .collect::<Result<_, _>>()?;
    let options: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
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
        nvrtcResult::NVRTC_SUCCESS => output(program, form),
        error => Err(first_error(program).unwrap_or_else(|| format!("{error:?}"))),
    };
    // SAFETY: it is alive, and nothing uses it afterwards.
    unsafe { sys::nvrtcDestroyProgram(&mut program) };
    result
}

/// What a compiled program was compiled to.
fn output(program: nvrtcProgram, form: Form) -> Result<Vec<u8>, String> {
    let mut size = 0;
    // SAFETY: the program is alive and compiled.
    let result = unsafe {
        match form {
            Form::Cubin => sys::nvrtcGetCUBINSize(program, &mut size),
            Form::Ptx => sys::nvrtcGetPTXSize(program, &mut size),
        }
    };
    if result != nvrtcResult::NVRTC_SUCCESS || size == 0 {
        return Err(format!("no {form:?}: {result:?}"));
    }
    let mut bytes = vec![0u8; size];
    // SAFETY: as above; the buffer is as long as the library says.
    let result = unsafe {
        match form {
            Form::Cubin => sys::nvrtcGetCUBIN(program, bytes.as_mut_ptr().cast()),
            Form::Ptx => sys::nvrtcGetPTX(program, bytes.as_mut_ptr().cast()),
        }
    };
    match result {
        nvrtcResult::NVRTC_SUCCESS => Ok(bytes),
        result => Err(format!("no {form:?}: {result:?}")),
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
