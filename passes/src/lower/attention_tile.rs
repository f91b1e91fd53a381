//! A tile of attention: the state of its slots in scratch memory, and the walk over the blocks that its rows see.

use super::attention::{AttentionKernel, bit, choose};
use super::attention_block::{BlockPlace, FLOOR};
use super::emit::{F32_BYTES, at, for_lanes};
use super::epilogue::KvAddress;
use lathe_ir::graph::KvPart;
use lathe_ir::kernel::builder::Addr;
use lathe_ir::kernel::{Access, Buf, Cmp, KernelBuilder, Mem, Ty, Val};
use lathe_ir::layout::KvTypes;
use lathe_ir::plan::KV_BLOCK;

/// Buffers of an attention kernel.
#[derive(Clone, Copy)]
pub struct Buffers {
    q: Buf,
    k: Buf,
    v: Buf,
    /// Position of each row.
    pub positions: Buf,
    /// Sequence of each row.
    pub seqs: Buf,
    tables: Buf,
    out: Buf,
    /// States of segments, where there may be several.
    pub parts: Option<Buf>,
}

impl Buffers {
    /// Declares them, in the order of the call's arguments.
    pub fn declare(b: &mut KernelBuilder, segments: u32) -> Buffers {
        Buffers {
            q: b.buf("q", Access::In),
            k: b.buf("k", Access::In),
            v: b.buf("v", Access::In),
            positions: b.buf("positions", Access::In),
            seqs: b.buf("seqs", Access::In),
            tables: b.buf("tables", Access::In),
            out: b.buf("out", Access::Out),
            parts: (segments > 1).then(|| b.buf("parts", Access::Out)),
        }
    }
}

/// Where a tile starts.
#[derive(Clone, Copy)]
pub struct Place {
    /// First row.
    pub row: Val,
    /// First query head.
    pub head: Val,
}

/// Which segments of its context a unit walks: from the first that its rows see on, those whose numbers leave `number`
/// when divided by `of`.
#[derive(Clone, Copy)]
pub struct Piece {
    /// The unit's number among the pieces.
    pub number: Val,
    /// Pieces.
    pub of: Val,
}

/// Positions and sequences of some rows, as indices.
#[derive(Clone, Copy)]
pub struct Span {
    /// Lowest position.
    pub first: Val,
    /// Highest position.
    pub last: Val,
    /// Lowest sequence.
    pub seq: Val,
    /// Highest sequence.
    pub last_seq: Val,
}

impl Span {
    /// That of one row.
    pub fn of_row(b: &mut KernelBuilder, bufs: &Buffers, row: Val) -> Span {
        let kv = KvAddress::new(b, row, bufs.positions, bufs.seqs);
        Span {
            first: kv.position,
            last: kv.position,
            seq: kv.seq,
            last_seq: kv.seq,
        }
    }
}

/// Offsets in scratch memory. Arrays of one element a slot are as long as whole vectors need.
#[derive(Clone, Copy)]
pub struct Scratch {
    /// `[slots][head_dim]f32`: queries times the scale of scores.
    pub q: u32,
    /// `[slots][32]f32`: scores of a block, then weights.
    pub scores: u32,
    /// The running state. Its totals are known at the end of a segment.
    pub state: StateArrays,
    /// `[slots][lanes]f32`: sums of weights by lane.
    pub lane_totals: u32,
    /// That of the segments before, where there may be several.
    pub merged: StateArrays,
    /// `[slots]f32` each: maximum of a block's scores, and the factor that old sums shrink by.
    pub block_peak: u32,
    pub shrink: u32,
    /// `[slots]i32`: position of the slot's row.
    pub position: u32,
    bytes: u32,
}

/// Offsets of the states of all slots.
#[derive(Clone, Copy)]
pub struct StateArrays {
    /// `[slots][head_dim]f32`: weighted sums of values.
    pub sums: u32,
    /// `[slots]f32` each: sums of weights, and maximum of scores.
    pub total: u32,
    pub peak: u32,
}

/// A tile of rows and query heads.
#[derive(Clone, Copy)]
pub struct Tile {
    /// The kernel.
    pub kernel: AttentionKernel,
    /// Rows.
    pub rows: u32,
    /// Where things lie.
    pub scratch: Scratch,
}

impl Tile {
    /// `rows` rows of the kernel's heads.
    pub fn new(kernel: AttentionKernel, rows: u32) -> Tile {
        let slots = rows * kernel.tile;
        let mut bytes = 0u32;
        let mut array = |elements: u32| {
            let offset = bytes;
            bytes += (elements * F32_BYTES).next_multiple_of(64);
            offset
        };
        let lanes = u32::from(kernel.lanes);
        let padded = slots.next_multiple_of(lanes);
        let (q, scores) = (array(slots * kernel.head_dim), array(slots * KV_BLOCK));
        let mut states = || StateArrays {
            sums: array(slots * kernel.head_dim),
            total: array(padded),
            peak: array(padded),
        };
        let state = states();
        let scratch = Scratch {
            q,
            scores,
            state,
            merged: if kernel.segments() > 1 { states() } else { state },
            lane_totals: array(slots * lanes),
            block_peak: array(padded),
            shrink: array(padded),
            position: array(padded),
            bytes: 0,
        };
        let scratch = Scratch { bytes, ..scratch };
        Tile {
            kernel,
            rows,
            scratch,
        }
    }

    /// Slots.
    pub fn slots(&self) -> u32 {
        self.rows * self.kernel.tile
    }

    /// Bytes of scratch memory.
    pub fn scratch_bytes(&self) -> u32 {
        self.scratch.bytes
    }

    /// Emits the whole of the work of the tile at `place`, whose rows are of one sequence and have the positions `span`;
    /// or a piece of it, whose results are states of segments where there are several pieces.
    pub fn emit(
        &self,
        b: &mut KernelBuilder,
        bufs: Buffers,
        scratch: Buf,
        (place, span): (Place, Span),
        piece: Option<Piece>,
    ) {
        let first = self.kernel.first_block_position(b, span.first);
        let end = b.add_const(span.last, 1);
        let Some(piece) = piece else {
            self.begin(b, bufs, scratch, place);
            self.walk(b, bufs, scratch, (place, span), (first, end));
            let zero = b.index(0);
            return self.finish(b, bufs.out, scratch, place, zero);
        };
        let (zero, one, size) = (b.index(0), b.index(1), i64::from(self.kernel.segment));
        let own = b.div_const(first, size);
        let own = b.add(own, piece.number);
        let last = b.div_const(span.last, size);
        let further = b.sub(last, own);
        let emit = |b: &mut KernelBuilder| {
            let others = b.sub(piece.of, one);
            let others = bit(b, others);
            let several = bit(b, further);
            let several = choose(b, others, zero, several);
            let count = b.div(further, piece.of);
            let count = b.add(count, one);
            self.begin(b, bufs, scratch, place);
            let forget = |b: &mut KernelBuilder| self.forget(b, scratch, self.scratch.merged);
            b.if_else(Cmp::Eq, several, one, forget, |_| {});
            b.for_loop(zero, count, 1, &[], |b, i, _| {
                let segment = b.mul(i, piece.of);
                let segment = b.add(own, segment);
                let from = b.mul_const(segment, size);
                let to = b.add_const(from, size);
                let (from, to) = (b.max(from, first), b.min(to, end));
                self.walk(b, bufs, scratch, (place, span), (from, to));
                let merge = |b: &mut KernelBuilder| self.merge_walked(b, scratch);
                b.if_else(Cmp::Eq, several, one, merge, |_| {});
                let store = |b: &mut KernelBuilder| self.store_parts(b, bufs, scratch, place, segment);
                b.if_else(Cmp::Eq, others, one, store, |_| {});
                Vec::new()
            });
            let finish = |b: &mut KernelBuilder| self.finish(b, bufs.out, scratch, place, several);
            b.if_else(Cmp::Eq, others, zero, finish, |_| {});
        };
        b.if_else(Cmp::Le, zero, further, emit, |_| {});
    }

    /// Walks blocks of positions from `lo` to before `hi`: the running states are what they leave.
    fn walk(
        &self,
        b: &mut KernelBuilder,
        bufs: Buffers,
        scratch: Buf,
        (place, span): (Place, Span),
        (lo, hi): (Val, Val),
    ) {
        let kernel = &self.kernel;
        let group = kernel.heads / kernel.kv_heads;
        let kv_head = b.div_const(place.head, i64::from(group));
        let head_bytes = |part| kernel.layout(part).head_bytes() as i64;
        let kv = KvAddress {
            position: span.last,
            seq: span.seq,
        };
        self.forget(b, scratch, self.scratch.state);
        self.forget_lane_totals(b, scratch);
        b.for_loop(lo, hi, i64::from(KV_BLOCK), &[], |b, first, _| {
            let block = kv.block(b, bufs.tables, kernel.blocks_per_seq, first);
            let head = b.mul_const(block, i64::from(kernel.kv_heads));
            let head = b.add(head, kv_head);
            let keys = b.mul_const(head, head_bytes(KvPart::K));
            let values = match kernel.types {
                KvTypes { k, v } if k == v => keys,
                _ => b.mul_const(head, head_bytes(KvPart::V)),
            };
            let place = BlockPlace {
                keys: at(bufs.k, keys),
                values: at(bufs.v, values),
                first,
            };
            self.block(b, scratch, place, span);
            Vec::new()
        });
        self.add_lane_totals(b, scratch);
    }

    /// Calls `f` for each slot with the slot's number and row, and the number of its head among the heads of all rows.
    pub fn for_slots(
        &self,
        b: &mut KernelBuilder,
        place: Place,
        f: impl FnOnce(&mut KernelBuilder, Val, Val, Val),
    ) {
        b.for_const(i64::from(self.rows), |b, r| {
            let row = b.add(place.row, r);
            let first = b.mul_const(r, i64::from(self.kernel.tile));
            let start = b.mul_const(row, i64::from(self.kernel.heads));
            let start = b.add(start, place.head);
            b.for_const(i64::from(self.kernel.tile), |b, h| {
                let (slot, number) = (b.add(first, h), b.add(start, h));
                f(b, slot, row, number);
            });
        });
    }

    /// Queries, scaled, positions, and maxima of blocks where no slot is.
    fn begin(&self, b: &mut KernelBuilder, bufs: Buffers, scratch: Buf, place: Place) {
        let (kernel, s) = (&self.kernel, self.scratch);
        let padded = self.slots().next_multiple_of(kernel.lanes.into());
        for_lanes(b, padded, kernel.lanes, |b, i, lanes| {
            let value = b.fconst(FLOOR, lanes);
            b.store(Mem::F32, at(scratch, i).plus(s.block_peak as i32), value);
        });
        self.for_slots(b, place, |b, slot, row, number| {
            let row4 = b.shl(row, 2);
            let position = b.load(Mem::I32, at(bufs.positions, row4), Ty::I32);
            let slot4 = b.shl(slot, 2);
            b.store(Mem::I32, at(scratch, slot4).plus(s.position as i32), position);
            let head_bytes = i64::from(kernel.head_dim * F32_BYTES);
            let (from, to) = (b.mul_const(number, head_bytes), b.mul_const(slot, head_bytes));
            for_lanes(b, kernel.head_dim, kernel.lanes, |b, i, lanes| {
                let from = b.add(from, i);
                let q = b.load(Mem::F32, at(bufs.q, from), Ty::f32(lanes));
                let scale = b.fconst(kernel.scale, lanes);
                let q = b.mul(q, scale);
                let to = b.add(to, i);
                b.store(Mem::F32, at(scratch, to).plus(s.q as i32), q);
            });
        });
    }

    /// Divides by the totals and stores: of the running states, or of the merged ones where `merged` is 1 and not 0. Adding
    /// zero makes sums of −0 those of +0: their sign would tell whether a block or a segment that the row can't see went
    /// by.
    pub fn finish(&self, b: &mut KernelBuilder, out: Buf, scratch: Buf, place: Place, merged: Val) {
        let (kernel, s) = (&self.kernel, self.scratch);
        let apart = s.merged.sums - s.state.sums;
        debug_assert_eq!(apart, s.merged.total - s.state.total);
        let states = b.mul_const(merged, apart.into());
        self.for_slots(b, place, |b, slot, _, number| {
            let total = b.shl(slot, 2);
            let total = b.add(states, total);
            let total = b.load(Mem::F32, at(scratch, total).plus(s.state.total as i32), Ty::F32);
            let one = b.fconst(1.0, 1);
            let inverse = b.div(one, total);
            let head_bytes = i64::from(kernel.head_dim * F32_BYTES);
            let (sums, to) = (b.mul_const(slot, head_bytes), b.mul_const(number, head_bytes));
            let sums = b.add(states, sums);
            for_lanes(b, kernel.head_dim, kernel.lanes, |b, i, lanes| {
                let from = b.add(sums, i);
                let sum = at(scratch, from).plus(s.state.sums as i32);
                let sum = b.load(Mem::F32, sum, Ty::f32(lanes));
                let (inverse, zero) = (b.splat(inverse, lanes), b.fconst(0.0, lanes));
                let mean = b.fma(sum, inverse, zero);
                let to = b.add(to, i);
                b.store(Mem::F32, at(out, to), mean);
            });
        });
    }

    /// Calls `f` for passes over the slots, with the number of the first slot of the pass and how many it has: as many
    /// as registers hold, about equally many in each.
    pub fn for_passes(&self, b: &mut KernelBuilder, f: impl Fn(&mut KernelBuilder, Val, u32)) {
        let slots = self.slots();
        let passes = slots.div_ceil(self.kernel.slots_at_once());
        let (size, larger) = (slots / passes, slots % passes);
        let whole = larger * (size + 1);
        for (lo, hi, size) in [(0, whole, size + 1), (whole, slots, size)] {
            if lo < hi {
                let (lo, hi) = (b.index(i64::from(lo)), b.index(i64::from(hi)));
                b.for_loop(lo, hi, i64::from(size), &[], |b, slot, _| {
                    f(b, slot, size);
                    Vec::new()
                });
            }
        }
    }

    /// The address of an array's part for `slot`, `bytes` a slot.
    pub fn of_slot(&self, b: &mut KernelBuilder, scratch: Buf, array: u32, slot: Val, bytes: u32) -> Addr {
        let offset = b.mul_const(slot, i64::from(bytes));
        at(scratch, offset).plus(array as i32)
    }
}
