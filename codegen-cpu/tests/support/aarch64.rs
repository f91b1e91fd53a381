//! Runs aarch64 machine code on any machine: under qemu's user mode, in a small C program (`aarch64.c`).
//!
//! `LATHE_TEST_AARCH64=1` switches it on; then a missing tool is an error. It needs `aarch64-linux-gnu-gcc` with a
//! static C library, and `qemu-aarch64`.
#![allow(dead_code)]

use lathe_codegen_cpu::{Arch, CpuFeatures, OptLevel, kernel_code};
use lathe_ir::kernel::Kernel;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const SOURCE: &str = include_str!("aarch64.c");
const COMPILER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";

/// Feature sets that lead to different code.
pub fn feature_sets() -> [CpuFeatures; 3] {
    let all = CpuFeatures::all(Arch::Aarch64);
    let dotprod = all.narrowed("dotprod").unwrap();
    [CpuFeatures::baseline(Arch::Aarch64), dotprod, all]
}

/// Whether aarch64 code is to be run; says that `what` is skipped where it is not.
pub fn enabled(what: &str) -> bool {
    let on = std::env::var("LATHE_TEST_AARCH64").is_ok_and(|v| v == "1");
    if !on {
        eprintln!("skipped: {what} (set LATHE_TEST_AARCH64=1)");
    }
    on
}

/// One call of a kernel.
pub struct Run<'a> {
    pub kernel: &'a Kernel,
    /// Which of the codes it runs.
    pub code: usize,
    pub bufs: &'a [Vec<u8>],
    pub scalars: &'a [i64],
    pub units: Range<i64>,
}

/// Compiles kernels, on two threads.
pub fn compile(kernels: &[&Kernel], features: &CpuFeatures, opt: OptLevel) -> Vec<Vec<u8>> {
    let compile = |part: &[&Kernel]| -> Vec<Vec<u8>> {
        let code = part.iter().map(|k| kernel_code(k, features, opt));
        code.collect::<Result<_, _>>().unwrap()
    };
    let (first, second) = kernels.split_at(kernels.len() / 2);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| compile(second));
        let mut all = compile(first);
        all.extend(second.join().expect("kernels compile"));
        all
    })
}

/// Executes calls, in one process, and gives the buffers that each leaves.
///
/// # Errors
/// Where code faults, or writes outside of a buffer: names the kernel.
pub fn execute(codes: &[Vec<u8>], runs: &[Run]) -> Result<Vec<Vec<Vec<u8>>>, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let (cases, results) = (folder.path().join("cases"), folder.path().join("results"));
    std::fs::write(&cases, encode(codes, runs)).map_err(|e| e.to_string())?;
    // `max` is a processor with every feature that the emulator knows.
    let mut command = Command::new(EMULATOR);
    command
        .args(["-cpu", "max"])
        .arg(harness())
        .arg(&cases)
        .arg(&results);
    let output = command.output().map_err(|e| format!("{EMULATOR}: {e}"))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let number = message
            .strip_prefix("case ")
            .and_then(|m| m.split(':').next()?.parse().ok());
        let kernel = number
            .and_then(|n: usize| runs.get(n))
            .map_or("?", |r| &r.kernel.name);
        return Err(format!("@{kernel}: {} ({message})", output.status));
    }
    decode(&std::fs::read(&results).map_err(|e| e.to_string())?, runs)
}

/// The program that calls the code, compiled once by each test process.
fn harness() -> &'static Path {
    static HARNESS: OnceLock<PathBuf> = OnceLock::new();
    HARNESS.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let program = folder.join("aarch64-harness");
        let fresh = folder.join(format!("aarch64-harness.{}", std::process::id()));
        let mut command = Command::new(COMPILER);
        command.args([
            "-std=gnu11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-static",
            "-O1",
            "-x",
            "c",
            "-",
            "-o",
        ]);
        let compiler = command.arg(&fresh).stdin(Stdio::piped()).spawn();
        let mut compiler = compiler.unwrap_or_else(|e| panic!("{COMPILER}: {e}"));
        let mut input = compiler.stdin.take().expect("the input is piped");
        input.write_all(SOURCE.as_bytes()).unwrap();
        drop(input);
        assert!(compiler.wait().unwrap().success(), "{COMPILER} refuses aarch64.c");
        // Another test process may run the old one.
        std::fs::rename(&fresh, &program).unwrap();
        program
    })
}

/// The file of cases; `aarch64.c` describes it.
fn encode(codes: &[Vec<u8>], runs: &[Run]) -> Vec<u8> {
    let mut file = Vec::new();
    word(&mut file, runs.len() as u64);
    for (n, run) in runs.iter().enumerate() {
        let code = &codes[run.code];
        for count in [code.len(), run.scalars.len(), run.bufs.len()] {
            word(&mut file, count as u64);
        }
        word(&mut file, run.units.start as u64);
        word(&mut file, run.units.end as u64);
        word(&mut file, run.kernel.scratch.into());
        bytes(&mut file, code);
        run.scalars.iter().for_each(|&s| word(&mut file, s as u64));
        for (i, buf) in run.bufs.iter().enumerate() {
            word(&mut file, buf.len() as u64);
            word(&mut file, slack(n, i));
            bytes(&mut file, buf);
        }
    }
    file
}

/// Bytes from the end of a buffer to the page without access: none for half of the buffers, odd for the others.
fn slack(run: usize, buf: usize) -> u64 {
    match run + buf {
        even if even.is_multiple_of(2) => 0,
        odd => (odd * 5) as u64 % 64,
    }
}

fn word(file: &mut Vec<u8>, word: u64) {
    file.extend(word.to_le_bytes());
}

fn bytes(file: &mut Vec<u8>, bytes: &[u8]) {
    file.extend(bytes);
    file.resize(file.len().next_multiple_of(8), 0);
}

/// The buffers of each case.
fn decode(mut file: &[u8], runs: &[Run]) -> Result<Vec<Vec<Vec<u8>>>, String> {
    let mut take = |bytes: usize| -> Result<&[u8], String> {
        let padded = bytes.next_multiple_of(8);
        let (taken, rest) = file.split_at_checked(padded).ok_or("the results end too early")?;
        file = rest;
        Ok(&taken[..bytes])
    };
    let mut results = Vec::new();
    for run in runs {
        let status = take(8)?.try_into().map_or(0, u64::from_le_bytes);
        let bufs = run.bufs.iter().map(|buf| take(buf.len()).map(<[u8]>::to_vec));
        let bufs: Vec<Vec<u8>> = bufs.collect::<Result<_, _>>()?;
        if status != 0 {
            let decl = run.kernel.bufs.values().nth(status as usize - 1);
            let name = decl.map_or("scratch", |d| &d.name);
            return Err(format!("@{} wrote outside of ${name}", run.kernel.name));
        }
        results.push(bufs);
    }
    Ok(results)
}
