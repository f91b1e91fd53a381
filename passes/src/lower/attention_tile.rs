//! A tile of attention: the state of its slots in scratch memory, and the walk over the blocks that its rows see.

use super::attention::AttentionKernel;
use super::attention_block::{BlockPlace, FLOOR};
use super::emit::{F32_BYTES, at, for_lanes};
use super::epilogue::KvAddress;
use lathe_ir::kernel::builder::Addr;
use lathe_ir::kernel::{Access, Buf, KernelBuilder, Mem, Ty, Val};
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
}

impl Buffers {
    /// Declares them, in the order of the call's arguments.
    pub fn declare(b: &mut KernelBuilder) -> Buffers {
        Buffers {
            q: b.buf("q", Access::In),
            k: b.buf("k", Access::In),
            v: b.buf("v", Access::In),
            positions: b.buf("positions", Access::In),
            seqs: b.buf("seqs", Access::In),
            tables: b.buf("tables", Access::In),
            out: b.buf("out", Access::Out),
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
    /// `[slots][head_dim]f32`: weighted sums of values.
    pub sums: u32,
    /// `[slots][lanes]f32`: sums of weights by lane.
    pub totals: u32,
    /// `[slots]f32` each: running maximum of scores, that of the block, and the factor that old sums shrink by.
    pub peak: u32,
    pub block_peak: u32,
    pub shrink: u32,
    /// `[slots]i32`: position of the slot's row.
    pub position: u32,
    bytes: u32,
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
        let scratch = Scratch {
            q: array(slots * kernel.head_dim),
            scores: array(slots * KV_BLOCK),
            sums: array(slots * kernel.head_dim),
            totals: array(slots * lanes),
            peak: array(padded),
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

    /// Emits the whole of the work of the tile at `place`, whose rows are of one sequence and have the positions `span`.
    pub fn emit(&self, b: &mut KernelBuilder, bufs: Buffers, scratch: Buf, place: Place, span: Span) {
        let kernel = &self.kernel;
        self.begin(b, bufs, scratch, place);
        let group = kernel.heads / kernel.kv_heads;
        let kv_head = b.div_const(place.head, i64::from(group));
        let head_bytes = kernel.layout().head_bytes() as i64;
        let head_offset = b.mul_const(kv_head, head_bytes);
        let kv = KvAddress {
            position: span.last,
            seq: span.seq,
        };
        let lo = kernel.first_block_position(b, span.first);
        let hi = b.add_const(span.last, 1);
        b.for_loop(lo, hi, i64::from(KV_BLOCK), &[], |b, first, _| {
            let block = kv.block(b, bufs.tables, kernel.blocks_per_seq, first);
            let start = b.mul_const(block, i64::from(kernel.kv_heads) * head_bytes);
            let start = b.add(start, head_offset);
            let place = BlockPlace {
                keys: at(bufs.k, start),
                values: at(bufs.v, start),
                first,
            };
            self.block(b, scratch, place, span);
            Vec::new()
        });
        self.finish(b, bufs, scratch, place);
    }

    /// Calls `f` for each slot with the slot's number and row, and the byte offset of its head in a row-major array of
    /// all heads.
    fn for_slots(
        &self,
        b: &mut KernelBuilder,
        place: Place,
        f: impl FnOnce(&mut KernelBuilder, Val, Val, Val),
    ) {
        let head_bytes = i64::from(self.kernel.head_dim * F32_BYTES);
        let row_bytes = i64::from(self.kernel.heads) * head_bytes;
        let head_start = b.mul_const(place.head, head_bytes);
        b.for_const(i64::from(self.rows), |b, r| {
            let row = b.add(place.row, r);
            let first = b.mul_const(r, i64::from(self.kernel.tile));
            let start = b.mul_const(row, row_bytes);
            let start = b.add(start, head_start);
            b.for_const(i64::from(self.kernel.tile), |b, h| {
                let slot = b.add(first, h);
                let head = b.mul_const(h, head_bytes);
                let head = b.add(start, head);
                f(b, slot, row, head);
            });
        });
    }

    /// State of slots that have seen nothing; queries, scaled, and positions.
    fn begin(&self, b: &mut KernelBuilder, bufs: Buffers, scratch: Buf, place: Place) {
        let (kernel, s) = (&self.kernel, self.scratch);
        let (slots, lanes) = (self.slots(), u32::from(kernel.lanes));
        for (offset, elements, value) in [
            (s.sums, slots * kernel.head_dim, 0.0),
            (s.totals, slots * lanes, 0.0),
            (s.peak, slots.next_multiple_of(lanes), FLOOR),
            (s.block_peak, slots.next_multiple_of(lanes), FLOOR),
        ] {
            for_lanes(b, elements, kernel.lanes, |b, i, lanes| {
                let value = b.fconst(value, lanes);
                b.store(Mem::F32, at(scratch, i).plus(offset as i32), value);
            });
        }
        self.for_slots(b, place, |b, slot, row, head| {
            let row4 = b.shl(row, 2);
            let position = b.load(Mem::I32, at(bufs.positions, row4), Ty::I32);
            let slot4 = b.shl(slot, 2);
            b.store(Mem::I32, at(scratch, slot4).plus(s.position as i32), position);
            let to = b.mul_const(slot, i64::from(kernel.head_dim * F32_BYTES));
            for_lanes(b, kernel.head_dim, kernel.lanes, |b, i, lanes| {
                let from = b.add(head, i);
                let q = b.load(Mem::F32, at(bufs.q, from), Ty::f32(lanes));
                let scale = b.fconst(kernel.scale, lanes);
                let q = b.mul(q, scale);
                let to = b.add(to, i);
                b.store(Mem::F32, at(scratch, to).plus(s.q as i32), q);
            });
        });
    }

    /// Divides by the totals and stores. Adding zero makes sums of −0 those of +0: their sign would tell whether a block
    /// that the row can't see went by.
    fn finish(&self, b: &mut KernelBuilder, bufs: Buffers, scratch: Buf, place: Place) {
        let (kernel, s) = (&self.kernel, self.scratch);
        let total_bytes = i64::from(u32::from(kernel.lanes) * F32_BYTES);
        self.for_slots(b, place, |b, slot, _, head| {
            let total = b.mul_const(slot, total_bytes);
            let total = at(scratch, total).plus(s.totals as i32);
            let total = b.load(Mem::F32, total, Ty::f32(kernel.lanes));
            let total = b.reduce_add(total);
            let one = b.fconst(1.0, 1);
            let inverse = b.div(one, total);
            let sums = b.mul_const(slot, i64::from(kernel.head_dim * F32_BYTES));
            for_lanes(b, kernel.head_dim, kernel.lanes, |b, i, lanes| {
                let from = b.add(sums, i);
                let sum = b.load(Mem::F32, at(scratch, from).plus(s.sums as i32), Ty::f32(lanes));
                let (inverse, zero) = (b.splat(inverse, lanes), b.fconst(0.0, lanes));
                let mean = b.fma(sum, inverse, zero);
                let to = b.add(head, i);
                b.store(Mem::F32, at(bufs.out, to), mean);
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
