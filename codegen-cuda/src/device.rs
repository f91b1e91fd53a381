//! What an executable needs of a device: memory, kernels, launches. [`crate::driver::Gpu`] is one; tests have another that
//! runs the same text on the CPU.

use crate::error::Error;
use crate::kernels::Kernel;
use std::time::Duration;

/// An address in device memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Address(pub u64);

impl Address {
    /// The address this many bytes on.
    pub fn plus(self, bytes: u64) -> Address {
        Address(self.0 + bytes)
    }
}

/// A launch with nothing left to decide.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BoundLaunch {
    /// The kernel's number among those loaded.
    pub kernel: usize,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of shared memory that it asks for.
    pub shared: u32,
    /// Where the arguments are.
    pub args: Vec<Address>,
}

/// What a plan is made for: kernels are cut to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// Multiprocessors.
    pub processors: u32,
    /// Bytes of shared memory that a block can have.
    pub shared_bytes: u32,
    /// Whether it has the instructions of sm_90 that multiply matrices in shared memory.
    pub wgmma: bool,
}

/// Bytes that a device is asked for, by what they are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Needs {
    /// Weights.
    pub weights: u64,
    /// Weights once more, for products with many rows.
    pub panels: u64,
    /// The KV cache.
    pub kv: u64,
    /// The arena and tables.
    pub rest: u64,
}

/// A device with memory of its own, one queue of work, and kernels.
pub trait Device: Send {
    /// What it is, for people.
    fn describe(&self) -> String;

    /// What plans for it are made for.
    fn target(&self) -> Target;

    /// Says whether so much memory can be had, before any is asked for.
    ///
    /// # Errors
    /// [`Error::Memory`] where it can't.
    fn check(&self, needs: &Needs) -> Result<(), Error>;

    /// Memory, zeroed.
    ///
    /// # Errors
    /// Where there is none.
    fn allocate(&mut self, bytes: u64) -> Result<Address, Error>;

    /// Compiles and loads kernels; their numbers are their places. Bytes of machine code.
    ///
    /// # Errors
    /// Where one does not compile.
    fn load(&mut self, kernels: &[&Kernel], threads: usize) -> Result<u64, Error>;

    /// Copies bytes to the device, in the order of the queue. They may be changed when this returns.
    ///
    /// # Errors
    /// Where the device fails.
    fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<(), Error>;

    /// Copies bytes within the device, in the order of the queue.
    ///
    /// # Errors
    /// Where the device fails.
    fn copy(&mut self, from: Address, to: Address, bytes: u64) -> Result<(), Error>;

    /// Runs launches in order. Launches with the same `key` are always the same, so that they may be recorded; `None` for
    /// launches that hardly come again.
    ///
    /// # Errors
    /// Where the device fails.
    fn run(&mut self, key: Option<u64>, launches: &dyn Fn() -> Vec<BoundLaunch>) -> Result<(), Error>;

    /// Waits for all work, then copies so many f32 from the device to where [`Device::downloaded`] finds them.
    ///
    /// # Errors
    /// Where the device fails.
    fn download(&mut self, from: Address, floats: usize) -> Result<(), Error>;

    /// Starts or stops timing each launch by itself, where the device can; steps are slower then.
    fn set_profiling(&mut self, on: bool) {
        let _ = on;
    }

    /// Launches that were timed, and their time together, by kernel; empty where none was.
    fn profile(&self) -> Vec<(u64, Duration)> {
        Vec::new()
    }

    /// What the last [`Device::download`] brought.
    fn downloaded(&self) -> &[f32];
}
