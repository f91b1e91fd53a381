//! Tests of the kernel IR: text, rules, the meaning of every op, accuracy of composed functions.

mod math;
mod memory;
mod ops;
mod random;
mod rules;
mod stats;
mod text;

use super::builder::Addr;
use super::interp::{InterpError, run};
use super::*;

/// The address of byte 0 of a buffer.
fn start(b: &mut KernelBuilder, buf: Buf) -> Addr {
    Addr {
        buf,
        index: b.index(0),
        disp: 0,
    }
}

/// Runs one unit of a kernel over one input and an output of `size` bytes, and returns the output.
fn run_one(kernel: &Kernel, mut input: Vec<u8>, size: usize) -> Result<Vec<u8>, InterpError> {
    let mut output = vec![0; size];
    run(kernel, &mut [&mut input, &mut output], &[], 0..1)?;
    Ok(output)
}

/// A kernel that loads `mem` as a value of type `from`, applies `body` and stores what it gives as `to`.
fn apply(mem: Mem, from: Ty, to: Mem, body: impl FnOnce(&mut KernelBuilder, Val) -> Val) -> Kernel {
    let mut b = KernelBuilder::new("apply");
    let (x, y) = (b.buf("x", Access::In), b.buf("y", Access::Out));
    let at = start(&mut b, x);
    let value = b.load(mem, at, from);
    let result = body(&mut b, value);
    b.store(to, Addr { buf: y, ..at }, result);
    b.finish()
}

fn bytes_of_floats(xs: &[f32]) -> Vec<u8> {
    xs.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn bytes_of_ints(xs: &[i32]) -> Vec<u8> {
    xs.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let word = |w: &[u8]| u32::from_le_bytes([w[0], w[1], w[2], w[3]]);
    bytes.chunks_exact(4).map(word).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    words(bytes).into_iter().map(f32::from_bits).collect()
}

fn ints(bytes: &[u8]) -> Vec<i32> {
    words(bytes).into_iter().map(|w| w as i32).collect()
}
