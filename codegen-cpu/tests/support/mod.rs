//! What the tests of compiled kernels share: random data, and a run of the reference next to runs of the code.
#![allow(dead_code)]

pub mod aarch64;
mod reference;

use lathe_codegen_cpu::{Arch, CompiledKernels, CpuFeatures, OptLevel};
use lathe_ir::kernel::Kernel;
use std::ops::Range;

/// A small random generator (xorshift64*; Vigna, "An experimental exploration of Marsaglia's xorshift generators").
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| (self.next() >> 40) as u8).collect()
    }

    /// Floats of every magnitude, zeros, subnormals, ties and whole numbers; all finite.
    pub fn f32(&mut self) -> f32 {
        let r = self.next();
        match r % 8 {
            0 => [
                0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -2.5, 1e-40, -3e-42, 65504.0, 65519.0, 6e-8, 3e-8,
            ][r as usize / 8 % 13],
            1 => (r >> 32) as i32 as f32,
            2 => ((r >> 40) as i8 as f32) / 2.0,
            _ => {
                let exponent = 127 - 20 + (r >> 8) as u32 % 40;
                f32::from_bits((r >> 32) as u32 & 0x807f_ffff | exponent << 23)
            }
        }
    }

    pub fn f32_bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).flat_map(|_| self.f32().to_le_bytes()).collect()
    }
}

/// Feature sets of this machine that lead to different code.
pub fn feature_sets() -> Vec<CpuFeatures> {
    let host = CpuFeatures::host().expect("the tests need a processor that kernels can be compiled for");
    let mut sets = vec![host.clone()];
    if host.arch() == Arch::X86_64 {
        // 512-bit vectors without VNNI, 256-bit ones with and without, 128-bit ones with and without.
        for narrower in ["-avxvnni,-avx512vnni", "-avx512f", "-avx512f,-avxvnni", "-f16c"] {
            sets.push(host.narrowed(narrower).unwrap());
        }
        sets.push(CpuFeatures::baseline(Arch::X86_64));
        sets.dedup();
    } else {
        sets.push(CpuFeatures::baseline(host.arch()));
    }
    sets
}

/// Bytes after each buffer that code must leave alone.
const GUARD: [u8; 64] = [0xa5; 64];

/// A kernel with its arguments.
pub struct Case {
    pub kernel: Kernel,
    pub bufs: Vec<Vec<u8>>,
    pub scalars: Vec<i64>,
    pub units: Range<i64>,
}

impl Case {
    /// The buffers after the reference ran.
    pub fn interpret(&self) -> Vec<Vec<u8>> {
        let mut bufs = self.bufs.clone();
        let mut slices: Vec<&mut [u8]> = bufs.iter_mut().map(Vec::as_mut_slice).collect();
        reference::run(&self.kernel, &mut slices, &self.scalars, self.units.clone())
            .unwrap_or_else(|e| panic!("@{}: {e}", self.kernel.name));
        bufs
    }

    /// The buffers after compiled code ran.
    fn execute(&self, kernels: &CompiledKernels, index: usize) -> Vec<Vec<u8>> {
        let mut bufs = self.bufs.clone();
        bufs.iter_mut().for_each(|b| b.extend(GUARD));
        let pointers: Vec<*mut u8> = bufs.iter_mut().map(|b| b.as_mut_ptr()).collect();
        let mut scratch = vec![0x7fu8; self.kernel.scratch as usize + 64];
        let start = scratch.as_ptr().align_offset(64);
        let scratch = scratch[start..].as_mut_ptr();
        // SAFETY: the reference ran the same kernel on buffers of the same lengths and found no access outside.
        unsafe { kernels.call(index, &pointers, &self.scalars, self.units.clone(), scratch) };
        for buf in &mut bufs {
            let end = buf.len() - GUARD.len();
            assert_eq!(buf[end..], GUARD, "@{} wrote past a buffer", self.kernel.name);
            buf.truncate(end);
        }
        bufs
    }

    /// The same call for the emulator, of the code with this number.
    pub fn run(&self, code: usize) -> aarch64::Run<'_> {
        aarch64::Run {
            kernel: &self.kernel,
            code,
            bufs: &self.bufs,
            scalars: &self.scalars,
            units: self.units.clone(),
        }
    }

    /// Panics at the first word of a buffer that is not what it should be.
    fn compare(&self, got: &[Vec<u8>], want: &[Vec<u8>], nan_equal: bool, target: &str) {
        for (number, (got, want)) in got.iter().zip(want).enumerate() {
            if let Some(word) = first_difference(got, want, nan_equal) {
                let at = 4 * word..(4 * word + 4).min(got.len());
                panic!(
                    "@{} on {target}: buffer {number}, bytes {at:?} are {:02x?}, not {:02x?}",
                    self.kernel.name,
                    &got[at.clone()],
                    &want[at.clone()]
                );
            }
        }
    }
}

/// Runs cases in the reference and compiled for each feature set; all results must agree to the bit. `nan_equal`
/// lets any NaN stand for any other in buffers of f32.
pub fn check(cases: &[Case], nan_equal: bool) {
    let kernels: Vec<&Kernel> = cases.iter().map(|c| &c.kernel).collect();
    let expected: Vec<Vec<Vec<u8>>> = cases.iter().map(Case::interpret).collect();
    for features in feature_sets() {
        for opt in [OptLevel::None, OptLevel::Speed] {
            let compiled = CompiledKernels::compile(&kernels, &features, opt, 2).unwrap();
            for (i, case) in cases.iter().enumerate() {
                let target = format!("{features}, {opt:?}");
                case.compare(&case.execute(&compiled, i), &expected[i], nan_equal, &target);
            }
        }
    }
    if aarch64::enabled("the same kernels on aarch64") {
        check_aarch64(cases, &expected, nan_equal);
    }
}

/// Runs cases compiled for each aarch64 feature set, under an emulator.
fn check_aarch64(cases: &[Case], expected: &[Vec<Vec<u8>>], nan_equal: bool) {
    let kernels: Vec<&Kernel> = cases.iter().map(|c| &c.kernel).collect();
    for features in aarch64::feature_sets() {
        for opt in [OptLevel::None, OptLevel::Speed] {
            let codes = aarch64::compile(&kernels, &features, opt);
            let runs: Vec<_> = cases.iter().enumerate().map(|(i, case)| case.run(i)).collect();
            let target = format!("{features}, {opt:?}");
            let results = aarch64::execute(&codes, &runs).unwrap_or_else(|e| panic!("{e} on {target}"));
            for ((case, got), want) in cases.iter().zip(&results).zip(expected) {
                case.compare(got, want, nan_equal, &target);
            }
        }
    }
}

fn first_difference(got: &[u8], want: &[u8], nan_equal: bool) -> Option<usize> {
    let is_nan = |word: &[u8]| word.try_into().is_ok_and(|w| f32::from_le_bytes(w).is_nan());
    let differ = |(g, w): (&[u8], &[u8])| g != w && !(nan_equal && is_nan(g) && is_nan(w));
    got.chunks(4).zip(want.chunks(4)).position(differ)
}

/// Compiles kernels for processors that this machine may not be.
pub fn check_cross_compiles(kernels: &[&Kernel]) {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        for features in [CpuFeatures::all(arch), CpuFeatures::baseline(arch)] {
            CompiledKernels::compile(kernels, &features, OptLevel::None, 2).unwrap();
        }
    }
}
