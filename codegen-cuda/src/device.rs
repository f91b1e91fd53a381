//! What an executable needs of a device: memory, kernels, launches. [`crate::driver::Gpu`] is one; tests have another that
//! runs the same text on the CPU.

use crate::code::CodeStore;
use crate::error::Error;
use crate::kernels::Kernel;
use lathe_ir::plan::KV_BLOCK;
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
    /// Blocks of the KV cache.
    pub kv_blocks: u32,
}

/// Bytes of a device that are left to the driver.
pub const RESERVE: u64 = 256 << 20;

impl Needs {
    /// All of it, and what is left to the driver.
    pub fn total(&self) -> u64 {
        self.weights + self.panels + self.kv + self.rest + RESERVE
    }

    /// The largest KV cache, in positions, that there is room for in so many bytes.
    pub fn most_positions(&self, free: u64) -> u64 {
        let block = (self.kv / u64::from(self.kv_blocks.max(1))).max(1);
        let left = free.saturating_sub(self.total() - self.kv);
        left / block * u64::from(KV_BLOCK)
    }

    /// Says whether so many bytes are enough.
    ///
    /// # Errors
    /// [`Error::Memory`] where they are not.
    pub fn check(&self, free: u64) -> Result<(), Error> {
        if self.total() <= free {
            return Ok(());
        }
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let room = match self.most_positions(free) {
            0 => String::new(),
            positions => format!("; there is room for a KV cache of {positions} positions"),
        };
        Err(Error::Memory {
            free: free >> 20,
            need: mib(self.total()),
            weights: mib(self.weights + self.panels),
            kv: mib(self.kv),
            rest: mib(self.rest + RESERVE),
            room,
        })
    }
}

/// What loading kernels came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// Kernels that were compiled now.
    pub compiled: usize,
    /// Bytes of machine code.
    pub bytes: u64,
}

impl Loaded {
    /// What was done, of so many kernels.
    pub fn stage(&self, kernels: usize) -> String {
        match self.compiled {
            0 => format!("load {kernels} kernels"),
            n if n == kernels => format!("compile {n} kernels"),
            n => format!("compile {n} of {kernels} kernels"),
        }
    }
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

    /// Loads kernels, which are compiled, on so many threads, where `store` does not keep their code; their numbers are
    /// their places.
    ///
    /// # Errors
    /// Where one does not compile.
    fn load(&mut self, kernels: &[&Kernel], threads: usize, store: &dyn CodeStore) -> Result<Loaded, Error>;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_numbers() {
        let needs = Needs {
            weights: 100 << 20,
            panels: 20 << 20,
            kv: 64 << 20,
            rest: 10 << 20,
            kv_blocks: 64,
        };
        let total = (100 + 20 + 64 + 10 + 256) << 20;
        assert_eq!(needs.total(), total);
        needs.check(total).unwrap();
        let message = needs.check(total - 1).unwrap_err().to_string();
        assert_eq!(
            message,
            "the CUDA device has 449 MiB free, but 450 MiB are needed: 120 MiB of weights, 64 MiB of KV cache, 266 MiB of \
             buffers; there is room for a KV cache of 2016 positions"
        );
        // A block more or less decides.
        assert_eq!(needs.most_positions(total), 64 * 32);
        assert_eq!(needs.most_positions(total - (1 << 20)), 63 * 32);
        let message = needs.check(300 << 20).unwrap_err().to_string();
        assert!(message.ends_with("266 MiB of buffers"), "{message}");
    }

    #[test]
    fn stages_say_what_was_compiled() {
        let stage = |compiled| Loaded { compiled, bytes: 1 }.stage(3);
        assert_eq!(
            [0, 2, 3].map(stage),
            ["load 3 kernels", "compile 2 of 3 kernels", "compile 3 kernels"]
        );
    }
}
