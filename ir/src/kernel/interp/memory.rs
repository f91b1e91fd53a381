//! Buffers and scratch of a run, with every access checked.

use super::super::{Buf, Elem, Kernel, Mem};
use super::Fault;
use super::lanes::int;
use crate::id::Id;
use half::{bf16, f16};

/// What scratch memory holds at the start of a unit: a float NaN, and no small number.
const POISON: [u8; 4] = [0xa5, 0x5a, 0xc5, 0x7f];

pub(super) struct Memory<'a, 'b> {
    kernel: &'a Kernel,
    bufs: &'a mut [&'b mut [u8]],
    scratch: Vec<u8>,
}

impl<'a, 'b> Memory<'a, 'b> {
    pub(super) fn new(kernel: &'a Kernel, bufs: &'a mut [&'b mut [u8]]) -> Self {
        Memory {
            kernel,
            bufs,
            scratch: vec![0; kernel.scratch as usize],
        }
    }

    /// Makes scratch memory unlike anything that a unit left there.
    pub(super) fn poison(&mut self) {
        for (byte, poison) in self.scratch.iter_mut().zip(POISON.iter().cycle()) {
            *byte = *poison;
        }
    }

    fn bytes(&mut self, buf: Buf, offset: i64, bytes: usize) -> Result<&mut [u8], Fault> {
        let memory: &mut [u8] = match self.bufs.get_mut(buf.index()) {
            Some(memory) => memory,
            None => &mut self.scratch,
        };
        let len = memory.len();
        let end = usize::try_from(offset)
            .ok()
            .and_then(|start| Some(start..start.checked_add(bytes)?));
        match end.and_then(|range| memory.get_mut(range)) {
            Some(slice) => Ok(slice),
            None => {
                let buf = self
                    .kernel
                    .bufs
                    .get(buf)
                    .map_or("scratch", |b| &b.name)
                    .to_owned();
                Err(Fault::OutOfBounds {
                    buf,
                    offset,
                    bytes,
                    len,
                })
            }
        }
    }

    /// Reads as many elements as there are lanes.
    pub(super) fn load(
        &mut self,
        mem: Mem,
        buf: Buf,
        offset: i64,
        elem: Elem,
        lanes: &mut [u64],
    ) -> Result<(), Fault> {
        let size = mem.bytes() as usize;
        let bytes = self.bytes(buf, offset, size * lanes.len())?;
        for (lane, element) in lanes.iter_mut().zip(bytes.chunks_exact(size)) {
            let mut word = [0; 4];
            word[..size].copy_from_slice(element);
            *lane = widen(mem, elem, u32::from_le_bytes(word))?;
        }
        Ok(())
    }

    /// Writes the lanes as elements.
    pub(super) fn store(&mut self, mem: Mem, buf: Buf, offset: i64, lanes: &[u64]) -> Result<(), Fault> {
        let size = mem.bytes() as usize;
        let bytes = self.bytes(buf, offset, size * lanes.len())?;
        for (&lane, element) in lanes.iter().zip(bytes.chunks_exact_mut(size)) {
            element.copy_from_slice(&narrow(mem, lane as u32)?.to_le_bytes()[..size]);
        }
        Ok(())
    }
}

/// The lane of an element with these bits.
fn widen(mem: Mem, elem: Elem, bits: u32) -> Result<u64, Fault> {
    Ok(match (mem, elem) {
        (Mem::I8, Elem::I32) => int(i32::from(bits as u8 as i8)),
        (Mem::I32, Elem::I64) => i64::from(bits as i32) as u64,
        (Mem::F16, _) => u64::from(finite(f16::from_bits(bits as u16).to_f32())?.to_bits()),
        (Mem::Bf16, _) => u64::from(bf16::from_bits(bits as u16).to_f32().to_bits()),
        _ => u64::from(bits),
    })
}

/// The bits of the element that a lane is stored as.
fn narrow(mem: Mem, lane: u32) -> Result<u32, Fault> {
    Ok(match mem {
        Mem::I8 => (lane as i32).clamp(-128, 127) as u32,
        Mem::F16 => {
            let x = f32::from_bits(lane);
            let stored = f16::from_f32(x);
            if !stored.is_finite() {
                return Err(Fault::Operand(format!("of {x} as f16, which has no such number")));
            }
            u32::from(stored.to_bits())
        }
        Mem::Bf16 => {
            let x = f32::from_bits(lane);
            if x.is_nan() {
                return Err(Fault::Operand("of a NaN as bf16".to_owned()));
            }
            u32::from(bf16::from_f32(x).to_bits())
        }
        _ => lane,
    })
}

fn finite(x: f32) -> Result<f32, Fault> {
    if x.is_finite() {
        Ok(x)
    } else {
        Err(Fault::Operand(format!("of the f16 {x}")))
    }
}
