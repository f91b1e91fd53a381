//! Attention over the paged cache, in place: one unit is a tile of rows and query heads that share one KV head.
//!
//! Blocks of 32 positions in order, online softmax (Milakov & Gimelshein, "Online normalizer calculation"; Dao et al.,
//! "FlashAttention"). Keys lie transposed in a block, so that scores are vectors over positions; values lie by position,
//! so that sums are vectors over the head.
//!
//! A row and a head are a *slot*. Consecutive rows of one sequence are walked as a tile: each vector of keys or values is
//! loaded and converted once for as many slots as the registers hold. Rows that have no such neighbours are walked alone,
//! by the same code with a tile of one row. A slot's state takes the same float operations in both, so that the bits of
//! a row do not depend on its neighbours: see [`super::attention_block`] for what a block that a row can't see does.

use super::attention_tile::{Buffers, Piece, Place, Span, Tile};
use lathe_ir::graph::KvPart;
use lathe_ir::kernel::{Cmp, Kernel, KernelBuilder, Mem, Ty, Val};
use lathe_ir::layout::{KvLayout, KvTypes};
use lathe_ir::plan::KV_BLOCK;

use super::emit::{F32_BYTES, at};

/// Most slots of a tile of more than one row: with more, conversion is no smaller part of the work.
const MOST_SLOTS: u32 = 32;

/// Most bytes of queries and sums of a tile of more than one row: with a block of keys or values they should stay in the
/// first-level cache.
const MOST_STATE: u32 = 32 << 10;

/// Positions of a segment: sums over positions are cut there, whoever adds them up. A multiple of the block.
pub const SEGMENT: u32 = 256;

/// Attention of `heads` query heads that share `kv_heads`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionKernel {
    /// Query heads.
    pub heads: u32,
    /// KV heads.
    pub kv_heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// How keys and values are stored.
    pub types: KvTypes,
    /// Query heads of a unit; divides `heads / kv_heads`.
    pub tile: u32,
    /// Rows of a tile.
    pub rows: u32,
    /// Multiplies scores.
    pub scale: f32,
    /// Soft cap of scores; 0 for none.
    pub cap: f32,
    /// Sliding window; 0 for none.
    pub window: u32,
    /// Entries of a row of the block tables.
    pub blocks_per_seq: u32,
    /// Positions of a segment, a multiple of [`KV_BLOCK`].
    pub segment: u32,
    /// Vector width.
    pub lanes: u8,
}

/// Rows of a tile for `tile` heads of `head_dim`: a power of two, because steps of many rows are such.
pub fn rows_of_tile(tile: u32, head_dim: u32) -> u32 {
    let state = 2 * head_dim * F32_BYTES;
    let slots = (MOST_STATE / state).min(MOST_SLOTS);
    let rows = (slots / tile).max(1);
    1 << rows.ilog2()
}

/// What a unit does.
struct UnitPlace {
    /// First query head.
    head: Val,
    /// First row of the unit's tile.
    tile_row: Val,
    /// Number of the unit among those of its tile and heads.
    member: Val,
    /// The row of the unit where it works on one row.
    own_row: Val,
    /// Rows of the tile: 0 where the unit belongs to none.
    tile_rows: Val,
}

impl AttentionKernel {
    /// Where keys or values lie.
    pub fn layout(&self, part: KvPart) -> KvLayout {
        KvLayout {
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            ty: self.types.of(part),
        }
    }

    /// Units a row.
    pub fn units_per_row(&self) -> u32 {
        self.heads / self.tile
    }

    /// Whether the registers hold what `slots` slots need of `vectors` vectors of keys or values: these, a sum of each for
    /// each slot, and one query or weight.
    pub fn registers_hold(&self, slots: u32, vectors: u32) -> bool {
        let registers = if self.lanes == 16 { 32 } else { 16 };
        vectors * (slots + 1) + 1 < registers
    }

    /// Slots of a pass over a block: as many as registers hold with two vectors of keys or values, but few enough for
    /// two passes to be a tile of rows.
    pub fn slots_at_once(&self) -> u32 {
        (1..=12)
            .rev()
            .find(|&slots| self.registers_hold(slots, 2))
            .unwrap_or(1)
    }

    /// Segments of the longest context.
    pub fn segments(&self) -> u32 {
        (self.blocks_per_seq * KV_BLOCK).div_ceil(self.segment)
    }

    /// Most segments that a row sees some of.
    pub fn segments_of_row(&self) -> u32 {
        match self.window {
            0 => self.segments(),
            window => self.segments().min((window - 1).div_ceil(self.segment) + 1),
        }
    }

    /// What kernels of this shape have in their names.
    pub fn shape_name(&self) -> String {
        format!(
            "{}.h{}.kv{}.d{}.t{}x{}.s{:e}.c{:e}.win{}.n{}.seg{}.w{}",
            self.types,
            self.heads,
            self.kv_heads,
            self.head_dim,
            self.rows,
            self.tile,
            self.scale,
            self.cap,
            self.window,
            self.blocks_per_seq,
            self.segment,
            self.lanes
        )
    }

    /// Buffers: q, k, v, positions, seqs, tables, out. Scalar: the number of rows. Units: rows times
    /// [`AttentionKernel::units_per_row`]. Where contexts have several segments, also a buffer for states of segments
    /// ([`super::attention_merge::Parts`]) and the number of pieces that the work of each unit is cut into, which there are
    /// so many times the units for. With one piece units give results; with more, states for
    /// [`AttentionKernel::build_merge`].
    ///
    /// Each tile has as many units as it has rows and tiles of heads. Where its rows belong to one sequence, the first
    /// unit of each tile of heads does the work of all and the others none; else each does a row. Rows after the last
    /// whole tile are done one by one.
    pub fn build(self) -> Kernel {
        let mut b = KernelBuilder::new(format!("attention.{}", self.shape_name()));
        let bufs = Buffers::declare(&mut b, self.segments());
        let rows = b.scalar("rows");
        let many = Tile::new(self, self.rows);
        let scratch = b.scratch(many.scratch_bytes());
        let (unit, piece) = self.unit_piece(&mut b);
        let place = self.unit_place(&mut b, unit, rows);
        let span = self.span(&mut b, &bufs, &place);
        let shared = self.is_shared(&mut b, &place, &span);
        let one = b.index(1);
        b.if_else(
            Cmp::Eq,
            shared,
            one,
            |b| {
                let zero = b.index(0);
                let place_of_tile = Place {
                    row: place.tile_row,
                    head: place.head,
                };
                let tile = |b: &mut KernelBuilder| many.emit(b, bufs, scratch, (place_of_tile, span), piece);
                b.if_else(Cmp::Eq, place.member, zero, tile, |_| {});
            },
            |b| {
                let alone = Place {
                    row: place.own_row,
                    head: place.head,
                };
                let span = Span::of_row(b, &bufs, alone.row);
                Tile::new(self, 1).emit(b, bufs, scratch, (alone, span), piece);
            },
        );
        b.finish()
    }

    /// The number of the unit among those that are not cut into pieces, and which piece of that it is.
    fn unit_piece(&self, b: &mut KernelBuilder) -> (Val, Option<Piece>) {
        let unit = b.unit();
        if self.segments() == 1 {
            return (unit, None);
        }
        let of = b.scalar("pieces");
        let whole = b.div(unit, of);
        let before = b.mul(whole, of);
        let number = b.sub(unit, before);
        (whole, Some(Piece { number, of }))
    }

    /// Which rows and heads the unit may work on.
    fn unit_place(&self, b: &mut KernelBuilder, unit: Val, rows: Val) -> UnitPlace {
        let (per_row, tile_rows) = (i64::from(self.units_per_row()), i64::from(self.rows));
        let tiles = b.div_const(rows, tile_rows);
        let in_tiles = b.mul_const(tiles, tile_rows * per_row);
        let left = b.sub(in_tiles, unit);
        let in_tile = bit(b, left);

        let number = b.div_const(unit, tile_rows * per_row);
        let number = from_both_ends(b, number, tiles);
        let tile_row = b.mul_const(number, tile_rows);
        let within = b.rem_const(unit, tile_rows * per_row);
        let head = b.div_const(within, tile_rows);
        let member = b.rem_const(within, tile_rows);
        let row = b.add(tile_row, member);

        let tail_row = b.div_const(unit, per_row);
        let tail_head = b.rem_const(unit, per_row);
        let head = choose(b, in_tile, head, tail_head);
        UnitPlace {
            head: b.mul_const(head, i64::from(self.tile)),
            tile_row,
            member,
            own_row: choose(b, in_tile, row, tail_row),
            tile_rows: b.mul_const(in_tile, tile_rows),
        }
    }

    /// Positions and sequences of the rows of the unit's tile. Where it has none, nothing is read.
    fn span(&self, b: &mut KernelBuilder, bufs: &Buffers, place: &UnitPlace) -> Span {
        let end = b.add(place.tile_row, place.tile_rows);
        let (most, none) = (b.index(i64::from(i32::MAX)), b.index(0));
        let init = [most, none, most, none];
        let found = b.for_loop(place.tile_row, end, 1, &init, |b, row, known| {
            let offset = b.shl(row, 2);
            let position = b.load(Mem::I32, at(bufs.positions, offset), Ty::INDEX);
            let seq = b.load(Mem::I32, at(bufs.seqs, offset), Ty::INDEX);
            let (first, last) = (b.min(known[0], position), b.max(known[1], position));
            let (low, high) = (b.min(known[2], seq), b.max(known[3], seq));
            vec![first, last, low, high]
        });
        Span {
            first: found[0],
            last: found[1],
            seq: found[2],
            last_seq: found[3],
        }
    }

    /// 1 where the unit has a tile whose rows belong to one sequence, else 0.
    fn is_shared(&self, b: &mut KernelBuilder, place: &UnitPlace, span: &Span) -> Val {
        let apart = b.sub(span.last_seq, span.seq);
        let apart = bit(b, apart);
        let one = b.index(1);
        let same = b.sub(one, apart);
        let has_rows = bit(b, place.tile_rows);
        b.and(same, has_rows)
    }

    /// The first position of the first block that a row at `position` can see.
    pub fn first_block_position(&self, b: &mut KernelBuilder, position: Val) -> Val {
        let zero = b.index(0);
        if self.window == 0 {
            return zero;
        }
        let oldest = b.add_const(position, 1 - i64::from(self.window));
        let oldest = b.max(oldest, zero);
        let block = b.div_const(oldest, i64::from(KV_BLOCK));
        b.mul_const(block, i64::from(KV_BLOCK))
    }
}

/// 1 where an index is positive, else 0.
pub fn bit(b: &mut KernelBuilder, v: Val) -> Val {
    let (zero, one) = (b.index(0), b.index(1));
    let v = b.max(v, zero);
    b.min(v, one)
}

/// `then` where `bit` is 1, `otherwise` where it is 0.
pub fn choose(b: &mut KernelBuilder, bit: Val, then: Val, otherwise: Val) -> Val {
    let by = b.sub(then, otherwise);
    let by = b.mul(bit, by);
    b.add(otherwise, by)
}

/// The element `i` of 0, n − 1, 1, n − 2, …: late tiles see more positions than early ones, and threads get ranges of
/// units, which should cost the same.
fn from_both_ends(b: &mut KernelBuilder, i: Val, n: Val) -> Val {
    let odd = b.rem_const(i, 2);
    let half = b.sar(i, 1);
    let back = b.sub(n, half);
    let back = b.add_const(back, -1);
    choose(b, odd, back, half)
}
