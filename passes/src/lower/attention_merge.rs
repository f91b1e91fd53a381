//! Attention over contexts of several segments: the state that each segment leaves, and the merge of such states.
//!
//! A context is cut into segments of a fixed number of positions, counted from position 0. Each is walked from a state
//! that has seen nothing, and states are merged in the order of positions; so it doesn't matter who walks which segment,
//! or whether a state went through memory on its way. Merging a segment of which a row sees nothing changes nothing, and
//! neither does merging into a state that has seen nothing, but for the sign of zeros, which [`Tile::finish`] levels.

use super::attention::AttentionKernel;
use super::attention_block::FLOOR;
use super::attention_tile::{Buffers, Place, Scratch, StateArrays, Tile};
use super::emit::{F32_BYTES, at, for_lanes};
use lathe_ir::kernel::builder::Addr;
use lathe_ir::kernel::{Access, Buf, Kernel, KernelBuilder, Mem, Ty, Val, math};

/// Where a slot's state is: `[head_dim]f32` weighted sums of values, `[lanes]f32` sums of weights by lane, and the maximum
/// of scores that both refer to.
#[derive(Clone, Copy)]
pub struct State {
    sums: Addr,
    totals: Addr,
    peak: Addr,
}

/// States of segments in memory, `[rows][heads][segments]`.
#[derive(Clone, Copy)]
pub struct Parts {
    totals: u32,
    peak: u32,
    /// Bytes of a state, a multiple of 64.
    pub stride: u32,
}

impl Parts {
    /// States of a kernel's heads.
    pub fn new(kernel: &AttentionKernel) -> Parts {
        let padded = |elements: u32| (elements * F32_BYTES).next_multiple_of(64);
        let totals = padded(kernel.head_dim);
        let peak = totals + padded(kernel.lanes.into());
        Parts {
            totals,
            peak,
            stride: peak + padded(1),
        }
    }

    /// The state of head and row `number` (heads within rows) for `segment`.
    fn state(
        &self,
        b: &mut KernelBuilder,
        kernel: &AttentionKernel,
        parts: Buf,
        number: Val,
        segment: Val,
    ) -> State {
        let first = b.mul_const(number, i64::from(kernel.segments()));
        let part = b.add(first, segment);
        let start = b.mul_const(part, i64::from(self.stride));
        let start = at(parts, start);
        State {
            sums: start,
            totals: start.plus(self.totals as i32),
            peak: start.plus(self.peak as i32),
        }
    }
}

impl Tile {
    fn state(&self, b: &mut KernelBuilder, scratch: Buf, arrays: StateArrays, slot: Val) -> State {
        let (head_dim, lanes) = (self.kernel.head_dim, u32::from(self.kernel.lanes));
        State {
            sums: self.of_slot(b, scratch, arrays.sums, slot, head_dim * F32_BYTES),
            totals: self.of_slot(b, scratch, arrays.totals, slot, lanes * F32_BYTES),
            peak: self.of_slot(b, scratch, arrays.peak, slot, F32_BYTES),
        }
    }

    /// Makes states of `arrays` those that have seen nothing.
    pub fn forget(&self, b: &mut KernelBuilder, scratch: Buf, arrays: StateArrays) {
        let (slots, lanes) = (self.slots(), u32::from(self.kernel.lanes));
        for (offset, elements, value) in [
            (arrays.sums, slots * self.kernel.head_dim, 0.0),
            (arrays.totals, slots * lanes, 0.0),
            (arrays.peak, slots.next_multiple_of(lanes), FLOOR),
        ] {
            for_lanes(b, elements, self.kernel.lanes, |b, i, lanes| {
                let value = b.fconst(value, lanes);
                b.store(Mem::F32, at(scratch, i).plus(offset as i32), value);
            });
        }
    }

    /// Merges the states of a segment that was just walked into those of the segments before it.
    pub fn merge_walked(&self, b: &mut KernelBuilder, scratch: Buf, Scratch { state, merged, .. }: Scratch) {
        b.for_const(i64::from(self.slots()), |b, slot| {
            let from = self.state(b, scratch, state, slot);
            let into = self.state(b, scratch, merged, slot);
            self.merge(b, from, into);
        });
    }

    /// Stores the states of a segment that was just walked.
    pub fn store_parts(
        &self,
        b: &mut KernelBuilder,
        bufs: Buffers,
        scratch: Buf,
        place: Place,
        segment: Val,
    ) {
        let Some(parts) = bufs.parts else { return };
        let (kernel, layout) = (&self.kernel, Parts::new(&self.kernel));
        self.for_slots(b, place, |b, slot, _, number| {
            let from = self.state(b, scratch, self.scratch.state, slot);
            let to = layout.state(b, kernel, parts, number, segment);
            for (from, to, elements) in [
                (from.sums, to.sums, kernel.head_dim),
                (from.totals, to.totals, kernel.lanes.into()),
                (from.peak, to.peak, 1),
            ] {
                for_lanes(b, elements, kernel.lanes, |b, i, lanes| {
                    let (from, to) = (moved(b, from, i), moved(b, to, i));
                    let x = b.load(Mem::F32, from, Ty::f32(lanes));
                    b.store(Mem::F32, to, x);
                });
            }
        });
    }

    /// `into = into · e^(peak of into − peak) + from · e^(peak of from − peak)`, where `peak` is the greater of theirs.
    fn merge(&self, b: &mut KernelBuilder, from: State, into: State) {
        let (old, new) = (
            b.load(Mem::F32, into.peak, Ty::F32),
            b.load(Mem::F32, from.peak, Ty::F32),
        );
        let peak = b.max(old, new);
        b.store(Mem::F32, into.peak, peak);
        let (old, new) = (b.sub(old, peak), b.sub(new, peak));
        let (shrink, weight) = (math::exp(b, old), math::exp(b, new));
        let kernel = &self.kernel;
        for (from, into, elements) in [
            (from.totals, into.totals, kernel.lanes.into()),
            (from.sums, into.sums, kernel.head_dim),
        ] {
            for_lanes(b, elements, kernel.lanes, |b, i, lanes| {
                let (from, into) = (moved(b, from, i), moved(b, into, i));
                let (old, new) = (
                    b.load(Mem::F32, into, Ty::f32(lanes)),
                    b.load(Mem::F32, from, Ty::f32(lanes)),
                );
                let (shrink, weight) = (b.splat(shrink, lanes), b.splat(weight, lanes));
                let old = b.mul(old, shrink);
                let both = b.fma(new, weight, old);
                b.store(Mem::F32, into, both);
            });
        }
    }
}

/// The address `by` bytes further on.
fn moved(b: &mut KernelBuilder, from: Addr, by: Val) -> Addr {
    Addr {
        index: b.add(from.index, by),
        ..from
    }
}

impl AttentionKernel {
    /// The kernel that merges the states which [`AttentionKernel::build`]'s units left of pieces of a context. Buffers:
    /// parts, positions, out. Units: rows times [`AttentionKernel::units_per_row`].
    pub fn build_merge(self) -> Kernel {
        let mut b = KernelBuilder::new(format!("attention_merge.{}", self.shape_name()));
        let parts = b.buf("parts", Access::In);
        let positions = b.buf("positions", Access::In);
        let out = b.buf("out", Access::Out);
        let tile = Tile::new(self, 1);
        let scratch = b.scratch(tile.scratch_bytes());
        let unit = b.unit();
        let row = b.div_const(unit, self.units_per_row().into());
        let head = b.rem_const(unit, self.units_per_row().into());
        let place = Place {
            row,
            head: b.mul_const(head, self.tile.into()),
        };
        let row4 = b.shl(row, 2);
        let position = b.load(Mem::I32, at(positions, row4), Ty::INDEX);
        let first = self.first_block_position(&mut b, position);
        let first = b.div_const(first, self.segment.into());
        let last = b.div_const(position, self.segment.into());
        let end = b.add_const(last, 1);
        tile.forget(&mut b, scratch, tile.scratch.merged);
        let layout = Parts::new(&self);
        tile.for_slots(&mut b, place, |b, slot, _, number| {
            let into = tile.state(b, scratch, tile.scratch.merged, slot);
            b.for_loop(first, end, 1, &[], |b, segment, _| {
                let from = layout.state(b, &self, parts, number, segment);
                tile.merge(b, from, into);
                Vec::new()
            });
        });
        let one = b.index(1);
        tile.finish(&mut b, out, scratch, place, one);
        b.finish()
    }
}
