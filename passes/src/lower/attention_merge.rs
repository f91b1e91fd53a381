//! Attention over contexts of several segments: the state that each segment leaves, and the merge of such states.
//!
//! A context is cut into segments of a fixed number of positions, counted from position 0. Each is walked from a state
//! that has seen nothing, and states are merged in the order of positions; so it doesn't matter who walks which segment,
//! or whether a state went through memory on its way. Merging a segment of which a row sees nothing changes nothing, and
//! neither does merging into a state that has seen nothing, but for the sign of zeros, which [`Tile::finish`] levels.

use super::attention::AttentionKernel;
use super::attention_block::FLOOR;
use super::attention_tile::{Buffers, Place, StateArrays, Tile};
use super::emit::{F32_BYTES, at, for_lanes, shift};
use lathe_ir::kernel::builder::Addr;
use lathe_ir::kernel::{Access, Buf, Kernel, KernelBuilder, Mem, Ty, Val, math};

/// States of segments in memory, `[rows][heads][segments]`: `[head_dim]f32` weighted sums of values, padded to 64 bytes;
/// then the sum of weights, and the maximum of scores that both refer to.
#[derive(Clone, Copy)]
pub struct Parts {
    total: u32,
    peak: u32,
    /// Bytes of a state, a multiple of 64.
    pub stride: u32,
}

impl Parts {
    /// States of a kernel's heads.
    pub fn new(kernel: &AttentionKernel) -> Parts {
        let total = (kernel.head_dim * F32_BYTES).next_multiple_of(64);
        Parts {
            total,
            peak: total + F32_BYTES,
            stride: total + 64,
        }
    }

    /// The state of head and row `number` (heads within rows) for `segment`.
    fn at(
        &self,
        b: &mut KernelBuilder,
        kernel: &AttentionKernel,
        parts: Buf,
        number: Val,
        segment: Val,
    ) -> Addr {
        let first = b.mul_const(number, i64::from(kernel.segments()));
        let part = b.add(first, segment);
        let start = b.mul_const(part, i64::from(self.stride));
        at(parts, start)
    }
}

/// What a merge makes of maxima and sums of weights: `peak` is the greater maximum; all sums of the older state shrink by
/// e^(its maximum − peak), and those of the newer one count e^(its maximum − peak) times.
struct Merged {
    peak: Val,
    total: Val,
    shrink: Val,
    weight: Val,
}

impl Merged {
    /// Of `(peak, total)` of two states, in lanes or not.
    fn new(b: &mut KernelBuilder, old: (Val, Val), new: (Val, Val)) -> Merged {
        let peak = b.max(old.0, new.0);
        let (by_old, by_new) = (b.sub(old.0, peak), b.sub(new.0, peak));
        let (shrink, weight) = (math::exp(b, by_old), math::exp(b, by_new));
        let total = b.mul(old.1, shrink);
        let total = b.fma(new.1, weight, total);
        Merged {
            peak,
            total,
            shrink,
            weight,
        }
    }
}

impl Tile {
    /// Makes states of `arrays` those that have seen nothing.
    pub fn forget(&self, b: &mut KernelBuilder, scratch: Buf, arrays: StateArrays) {
        let padded = self.slots().next_multiple_of(self.kernel.lanes.into());
        self.fill(b, scratch, arrays.sums, self.slots() * self.kernel.head_dim, 0.0);
        self.fill(b, scratch, arrays.total, padded, 0.0);
        self.fill(b, scratch, arrays.peak, padded, FLOOR);
    }

    /// Starts the sums of weights by lane anew.
    pub fn forget_lane_totals(&self, b: &mut KernelBuilder, scratch: Buf) {
        let elements = self.slots() * u32::from(self.kernel.lanes);
        self.fill(b, scratch, self.scratch.lane_totals, elements, 0.0);
    }

    fn fill(&self, b: &mut KernelBuilder, scratch: Buf, array: u32, elements: u32, value: f32) {
        for_lanes(b, elements, self.kernel.lanes, |b, i, lanes| {
            let value = b.fconst(value, lanes);
            b.store(Mem::F32, at(scratch, i).plus(array as i32), value);
        });
    }

    /// Makes one sum of each slot's sums of weights by lane.
    pub fn add_lane_totals(&self, b: &mut KernelBuilder, scratch: Buf) {
        let (s, lanes) = (self.scratch, self.kernel.lanes);
        b.for_const(i64::from(self.slots()), |b, slot| {
            let from = self.of_slot(b, scratch, s.lane_totals, slot, u32::from(lanes) * F32_BYTES);
            let total = b.load(Mem::F32, from, Ty::f32(lanes));
            let total = b.reduce_add(total);
            let to = self.of_slot(b, scratch, s.state.total, slot, F32_BYTES);
            b.store(Mem::F32, to, total);
        });
    }

    /// Merges the states of a segment that was just walked into those of the segments before it. The arrays of maxima of
    /// blocks and of their factors hold the factors of the merge meanwhile.
    pub fn merge_walked(&self, b: &mut KernelBuilder, scratch: Buf) {
        let (s, lanes) = (self.scratch, self.kernel.lanes);
        let padded = self.slots().next_multiple_of(lanes.into());
        for_lanes(b, padded, lanes, |b, slot4, lanes| {
            let array = |array: u32| at(scratch, slot4).plus(array as i32);
            let load = |b: &mut KernelBuilder, from| b.load(Mem::F32, array(from), Ty::f32(lanes));
            let old = (load(b, s.merged.peak), load(b, s.merged.total));
            let new = (load(b, s.state.peak), load(b, s.state.total));
            let merged = Merged::new(b, old, new);
            for (to, value) in [
                (s.merged.peak, merged.peak),
                (s.merged.total, merged.total),
                (s.shrink, merged.shrink),
                (s.block_peak, merged.weight),
            ] {
                b.store(Mem::F32, array(to), value);
            }
        });
        let row_bytes = self.kernel.head_dim * F32_BYTES;
        b.for_const(i64::from(self.slots()), |b, slot| {
            let factor = |b: &mut KernelBuilder, array| {
                let from = self.of_slot(b, scratch, array, slot, F32_BYTES);
                b.load(Mem::F32, from, Ty::F32)
            };
            let factors = (factor(b, s.shrink), factor(b, s.block_peak));
            let from = self.of_slot(b, scratch, s.state.sums, slot, row_bytes);
            let into = self.of_slot(b, scratch, s.merged.sums, slot, row_bytes);
            self.merge_sums(b, from, into, factors);
        });
    }

    /// `into = into · shrink + from · weight`, for the elements of a head.
    fn merge_sums(&self, b: &mut KernelBuilder, from: Addr, into: Addr, (shrink, weight): (Val, Val)) {
        for_lanes(b, self.kernel.head_dim, self.kernel.lanes, |b, i, lanes| {
            let (from, into) = (shift(b, from, i), shift(b, into, i));
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
        let state = self.scratch.state;
        let row_bytes = kernel.head_dim * F32_BYTES;
        self.for_slots(b, place, |b, slot, _, number| {
            let to = layout.at(b, kernel, parts, number, segment);
            let sums = self.of_slot(b, scratch, state.sums, slot, row_bytes);
            for_lanes(b, kernel.head_dim, kernel.lanes, |b, i, lanes| {
                let (from, to) = (shift(b, sums, i), shift(b, to, i));
                let x = b.load(Mem::F32, from, Ty::f32(lanes));
                b.store(Mem::F32, to, x);
            });
            for (array, offset) in [(state.total, layout.total), (state.peak, layout.peak)] {
                let from = self.of_slot(b, scratch, array, slot, F32_BYTES);
                let x = b.load(Mem::F32, from, Ty::F32);
                b.store(Mem::F32, to.plus(offset as i32), x);
            }
        });
    }

    /// Merges the states of segments `first` to before `end` from memory, in order.
    fn merge_parts(
        &self,
        b: &mut KernelBuilder,
        parts: Buf,
        scratch: Buf,
        place: Place,
        (first, end): (Val, Val),
    ) {
        let (kernel, layout, merged) = (&self.kernel, Parts::new(&self.kernel), self.scratch.merged);
        self.for_slots(b, place, |b, slot, _, number| {
            let into = self.of_slot(b, scratch, merged.sums, slot, kernel.head_dim * F32_BYTES);
            let nothing = [b.fconst(FLOOR, 1), b.fconst(0.0, 1)];
            let found = b.for_loop(first, end, 1, &nothing, |b, segment, old| {
                let from = layout.at(b, kernel, parts, number, segment);
                let peak = b.load(Mem::F32, from.plus(layout.peak as i32), Ty::F32);
                let total = b.load(Mem::F32, from.plus(layout.total as i32), Ty::F32);
                let both = Merged::new(b, (old[0], old[1]), (peak, total));
                self.merge_sums(b, from, into, (both.shrink, both.weight));
                vec![both.peak, both.total]
            });
            let total = self.of_slot(b, scratch, merged.total, slot, F32_BYTES);
            b.store(Mem::F32, total, found[1]);
        });
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
        tile.merge_parts(&mut b, parts, scratch, place, (first, end));
        let one = b.index(1);
        tile.finish(&mut b, out, scratch, place, one);
        b.finish()
    }
}
