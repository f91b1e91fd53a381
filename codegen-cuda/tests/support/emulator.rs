//! A device that runs the text of kernels on the CPU: g++ compiles it against `emu/emulator.hpp`, and a process of its own
//! has the memory and takes launches.

use lathe_codegen_cuda::code::CodeStore;
use lathe_codegen_cuda::device::{Address, BoundLaunch, Device, Loaded, Needs, Target};
use lathe_codegen_cuda::error::Error;
use lathe_codegen_cuda::kernels::{Kernel, prelude};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// Whether there is a compiler; says so where there is none.
pub fn available() -> bool {
    if std::env::var("LATHE_TEST_SLOW").as_deref() != Ok("1") {
        eprintln!("skipped: kernels under the emulator (set LATHE_TEST_SLOW=1)");
        return false;
    }
    let found = Command::new("g++")
        .arg("--version")
        .output()
        .is_ok_and(|o| o.status.success());
    assert!(found, "kernels are run with g++, which is not there");
    true
}

/// The emulated device. Memory is that of the process, which [`Device::load`] starts: what is asked for before that is
/// refused.
pub struct Emulator {
    target: Target,
    folder: TempDir,
    process: Option<Process>,
    downloaded: Vec<f32>,
}

struct Process {
    child: Child,
    commands: ChildStdin,
    answers: ChildStdout,
}

fn failed(call: &str, what: impl ToString) -> Error {
    Error::Driver {
        call: call.to_owned(),
        what: what.to_string(),
    }
}

impl Emulator {
    pub fn new(target: Target) -> Emulator {
        Emulator {
            target,
            folder: tempfile::tempdir().unwrap(),
            process: None,
            downloaded: Vec::new(),
        }
    }

    fn send(&mut self, command: u8, numbers: &[u64], bytes: &[u8]) -> Result<(), Error> {
        let process = self
            .process
            .as_mut()
            .ok_or_else(|| failed("send", "no kernels are loaded"))?;
        let mut text = vec![command];
        text.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
        let sent = process
            .commands
            .write_all(&text)
            .and_then(|()| process.commands.write_all(bytes));
        sent.and_then(|()| process.commands.flush())
            .map_err(|e| failed("send", e))
    }

    fn answer(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        let process = self
            .process
            .as_mut()
            .ok_or_else(|| failed("answer", "no kernels are loaded"))?;
        process.answers.read_exact(bytes).map_err(|e| failed("answer", e))
    }
}

/// The program that has these kernels.
pub fn program(kernels: &[&Kernel]) -> String {
    let header = |name: &str| format!("{}/emu/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut text = format!(
        "#include \"{}\"\n#include \"{}\"\n{}",
        header("emulator.hpp"),
        header("tensor.hpp"),
        prelude()
    );
    let mut table = String::new();
    for (i, kernel) in kernels.iter().enumerate() {
        text += &kernel.source();
        let args: Vec<String> = kernel
            .params()
            .iter()
            .enumerate()
            .map(|(n, p)| format!("({}*)a[{}]", p.ty.c_type(), n + 1))
            .collect();
        let name = kernel.name();
        let args = args.join(", ");
        writeln!(
            text,
            "static void l{i}(const uint64_t* a) {{ n_{name}::{name}((const int*)a[0], {args}); }}"
        )
        .unwrap();
        write!(table, "l{i}, ").unwrap();
    }
    writeln!(text, "static void (*launches[])(const uint64_t*) = {{{table}}};").unwrap();
    writeln!(text, "#include \"{}\"", header("main.hpp")).unwrap();
    text
}

impl Device for Emulator {
    fn describe(&self) -> String {
        "emulator".into()
    }

    fn target(&self) -> Target {
        self.target
    }

    fn check(&self, _needs: &Needs) -> Result<(), Error> {
        Ok(())
    }

    fn allocate(&mut self, bytes: u64) -> Result<Address, Error> {
        self.send(b'A', &[bytes], &[])?;
        let mut address = [0; 8];
        self.answer(&mut address)?;
        Ok(Address(u64::from_le_bytes(address)))
    }

    fn load(
        &mut self,
        kernels: &[&Kernel],
        _threads: usize,
        _store: &dyn CodeStore,
    ) -> Result<Loaded, Error> {
        let (source, binary) = (self.folder.path().join("k.cpp"), self.folder.path().join("k"));
        std::fs::write(&source, program(kernels)).unwrap();
        let made = Command::new("g++")
            .args([
                "-std=c++20",
                "-O1",
                "-w",
                "-ffp-contract=off",
                "-fno-strict-aliasing",
                "-o",
            ])
            .args([&binary, &source])
            .output()
            .unwrap();
        if !made.status.success() {
            let log = String::from_utf8_lossy(&made.stderr);
            let line = log.lines().find(|l| l.contains("error")).unwrap_or_default();
            return Err(failed("g++", line));
        }
        let mut child = Command::new(&binary)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        self.process = Some(Process {
            commands: child.stdin.take().unwrap(),
            answers: child.stdout.take().unwrap(),
            child,
        });
        Ok(Loaded {
            compiled: kernels.len(),
            bytes: 0,
        })
    }

    fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<(), Error> {
        self.send(b'W', &[to.0, bytes.len() as u64], bytes)
    }

    fn copy(&mut self, from: Address, to: Address, bytes: u64) -> Result<(), Error> {
        self.send(b'C', &[from.0, to.0, bytes], &[])
    }

    fn run(&mut self, _key: Option<u64>, launches: &dyn Fn() -> Vec<BoundLaunch>) -> Result<(), Error> {
        for launch in launches() {
            let mut numbers = vec![launch.kernel as u32];
            numbers.extend(launch.grid);
            numbers.extend([launch.threads, launch.args.len() as u32]);
            let mut bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
            bytes.extend(launch.args.iter().flat_map(|a| a.0.to_le_bytes()));
            self.send(b'L', &[], &bytes)?;
        }
        Ok(())
    }

    fn download(&mut self, from: Address, floats: usize) -> Result<(), Error> {
        self.send(b'R', &[from.0, 4 * floats as u64], &[])?;
        let mut bytes = vec![0; 4 * floats];
        self.answer(&mut bytes)?;
        self.downloaded = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        Ok(())
    }

    fn downloaded(&self) -> &[f32] {
        &self.downloaded
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
