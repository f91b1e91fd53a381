//! The store of a head of keys or values into the paged cache: rounded to the cache's floats, or quantized in groups of
//! 32 elements. What is stored of a row depends on that row alone.

use super::attention_block::kv_mem;
use super::emit::{F32_BYTES, at, for_lanes, shift};
use super::epilogue::{KvAddress, Place, Sink, UnitEpilogue};
use lathe_ir::graph::KvPart;
use lathe_ir::kernel::builder::Addr;
use lathe_ir::kernel::{Buf, Cmp, KernelBuilder, Mem, Ty, Val};
use lathe_ir::layout::{KvLayout, KvType};
use lathe_ir::plan::KV_BLOCK;

/// Largest magnitude of an element: near the end of the range of f32, but products of a scale with a code stay finite, and
/// so does what is rounded to bf16.
const MOST: f32 = 3e38;

/// Largest magnitude of an element in f16.
const MOST_F16: f32 = 65504.0;

/// The least that counts as a group's largest magnitude: its inverse must be finite. Codes of smaller groups are zero.
const LEAST_PEAK: f32 = 1e-30;

/// The head of one row on its way into the cache.
struct Head {
    part: KvPart,
    layout: KvLayout,
    /// The f32 elements.
    from: Addr,
    /// The cache at the first byte of the block's KV head.
    block: Addr,
    /// Position in the block.
    position: Val,
    /// Vector width.
    lanes: u8,
}

impl UnitEpilogue {
    /// Stores the unit's columns, which are a head.
    pub(super) fn store_kv(&self, b: &mut KernelBuilder, place: &Place) {
        let Sink::Kv {
            part,
            ty,
            cache,
            positions,
            seqs,
            tables,
            blocks_per_seq,
        } = self.sink
        else {
            unreachable!("called for KV sinks only")
        };
        let layout = KvLayout {
            kv_heads: self.n / self.columns,
            head_dim: self.columns,
            ty,
        };
        let kv = KvAddress::new(b, place.row, positions, seqs);
        let block = kv.block(b, tables, blocks_per_seq, kv.position);
        let head = Head {
            part,
            layout,
            from: place.sums,
            block: self.head_of_block(b, cache, layout, block, place.unit),
            position: b.rem_const(kv.position, i64::from(KV_BLOCK)),
            lanes: self.lanes,
        };
        match ty {
            KvType::F16 => head.store_floats(b, MOST_F16),
            KvType::F32 | KvType::Bf16 => head.store_floats(b, MOST),
            KvType::Q8_0 | KvType::Q4_0 => head.store_codes(b),
        }
    }

    fn head_of_block(
        &self,
        b: &mut KernelBuilder,
        cache: Buf,
        layout: KvLayout,
        block: Val,
        head: Val,
    ) -> Addr {
        let head_bytes = layout.head_bytes() as i64;
        let start = b.mul_const(block, i64::from(layout.kv_heads) * head_bytes);
        let head = b.mul_const(head, head_bytes);
        at(cache, b.add(start, head))
    }
}

impl Head {
    /// Lanes of the vectors that are stored: elements of a key lie apart.
    fn stored_lanes(&self) -> u8 {
        match self.part {
            KvPart::K => 1,
            KvPart::V => self.lanes,
        }
    }

    /// The address of the element whose f32 is `i` bytes into the row, or into its plane.
    fn element(&self, b: &mut KernelBuilder, i: Val) -> Addr {
        let (bytes, d) = (self.layout.ty.element_bytes(), b.sar(i, 2));
        let (by_element, by_position) = match self.part {
            KvPart::K => (KV_BLOCK * bytes, bytes),
            KvPart::V => (bytes, self.layout.plane_dim() * bytes),
        };
        let element = b.mul_const(d, i64::from(by_element));
        let position = b.mul_const(self.position, i64::from(by_position));
        let offset = b.add(element, position);
        shift(b, self.block, offset)
    }

    /// `lanes` elements from byte `i` of the row on, within `most` of zero, so that no infinity or NaN gets into a block:
    /// a masked position still adds 0 · value.
    fn load(&self, b: &mut KernelBuilder, i: Val, lanes: u8, most: f32) -> Val {
        let index = b.add(self.from.index, i);
        let v = b.load(Mem::F32, Addr { index, ..self.from }, Ty::f32(lanes));
        let (low, high) = (b.fconst(-most, lanes), b.fconst(most, lanes));
        let v = b.max(v, low);
        b.min(v, high)
    }

    fn store_floats(&self, b: &mut KernelBuilder, most: f32) {
        for_lanes(b, self.layout.head_dim, self.stored_lanes(), |b, i, lanes| {
            let v = self.load(b, i, lanes, most);
            let to = self.element(b, i);
            b.store(kv_mem(self.layout.ty), to, v);
        });
    }

    fn store_codes(&self, b: &mut KernelBuilder) {
        let elements = self.layout.plane_dim();
        let (whole, rest) = (elements / KvLayout::GROUP, elements % KvLayout::GROUP);
        let store = match self.layout.ty.planes() {
            1 => Head::store_group,
            _ => Head::store_pairs,
        };
        if whole > 0 {
            b.for_const(i64::from(whole), |b, group| {
                store(self, b, group, KvLayout::GROUP)
            });
        }
        if rest > 0 {
            let last = b.index(i64::from(whole));
            store(self, b, last, rest);
        }
    }

    /// Stores `size` elements of a group as codes with a scale.
    fn store_group(&self, b: &mut KernelBuilder, group: Val, size: u32) {
        let first = b.mul_const(group, i64::from(KvLayout::GROUP * F32_BYTES));
        let (limit, least) = (b.fconst(127.0, 1), b.fconst(LEAST_PEAK, 1));
        let peak = self.largest(b, first, size, |b, v| b.abs(v));
        let peak = b.max(peak, least);
        let (inverse, scale) = (b.div(limit, peak), b.div(peak, limit));
        for_lanes(b, size, self.stored_lanes(), |b, i, lanes| {
            let i = b.add(first, i);
            let v = self.load(b, i, lanes, MOST);
            let inverse = if lanes > 1 {
                b.splat(inverse, lanes)
            } else {
                inverse
            };
            let scaled = b.mul(v, inverse);
            let code = b.cvt_i32(scaled);
            let to = self.element(b, i);
            b.store(Mem::I8, to, code);
        });
        self.store_scale(b, group, 0, scale);
    }

    /// Stores `size` elements of a group of each half of the head: two codes a byte.
    fn store_pairs(&self, b: &mut KernelBuilder, group: Val, size: u32) {
        let first = b.mul_const(group, i64::from(KvLayout::GROUP * F32_BYTES));
        let half = self.layout.plane_dim() * F32_BYTES;
        let starts = [first, b.add_const(first, i64::from(half))];
        let inverses = [0, 1].map(|plane| {
            let scale = self.signed_scale(b, starts[plane], size);
            self.store_scale(b, group, plane as u32, scale);
            let one = b.fconst(1.0, 1);
            b.div(one, scale)
        });
        for_lanes(b, size, self.stored_lanes(), |b, i, lanes| {
            let [low, high] = [0, 1].map(|plane| {
                let i = b.add(starts[plane], i);
                self.nibble(b, i, inverses[plane], lanes)
            });
            let mask = b.iconst(15, lanes);
            let (low, high) = (b.and(low, mask), b.shl(high, 4));
            let pair = b.or(low, high);
            let i = b.add(first, i);
            let to = self.element(b, i);
            b.store(Mem::I8, to, pair);
        });
    }

    /// The 4-bit codes of `lanes` elements from byte `i` of the row on.
    fn nibble(&self, b: &mut KernelBuilder, i: Val, inverse: Val, lanes: u8) -> Val {
        let v = self.load(b, i, lanes, MOST);
        let inverse = if lanes > 1 {
            b.splat(inverse, lanes)
        } else {
            inverse
        };
        let scaled = b.mul(v, inverse);
        let most = b.fconst(7.0, lanes);
        let scaled = b.min(scaled, most);
        b.cvt_i32(scaled)
    }

    /// The scale that makes code -8 of the element of the largest magnitude, among `size` from byte `first` of the row on.
    fn signed_scale(&self, b: &mut KernelBuilder, first: Val, size: u32) -> Val {
        let top = self.largest(b, first, size, |_, v| v);
        let bottom = self.largest(b, first, size, |b, v| b.neg(v));
        let (least, eighth) = (b.fconst(LEAST_PEAK, 1), b.fconst(0.125, 1));
        let peak = b.max(top, bottom);
        let peak = b.max(peak, least);
        let scale = b.mul(peak, eighth);
        let negative = b.neg(scale);
        let is_positive = b.cmp(Cmp::Lt, bottom, top);
        b.select(is_positive, negative, scale)
    }

    fn store_scale(&self, b: &mut KernelBuilder, group: Val, plane: u32, scale: Val) {
        let row = b.mul_const(group, i64::from(KV_BLOCK));
        let number = b.add(row, self.position);
        let offset = b.shl(number, 2);
        let to = shift(b, self.block, offset);
        let start = self.layout.code_bytes() + u64::from(plane) * self.layout.plane_scale_bytes();
        b.store(Mem::F32, to.plus(start as i32), scale);
    }

    /// The largest of what `of` makes of `size` elements from byte `first` of the row on.
    fn largest(
        &self,
        b: &mut KernelBuilder,
        first: Val,
        size: u32,
        of: impl Fn(&mut KernelBuilder, Val) -> Val,
    ) -> Val {
        let mut peak: Option<Val> = None;
        let mut done = 0;
        for lanes in [self.lanes, 4, 1] {
            let mut of_lanes: Option<Val> = None;
            while done + u32::from(lanes) <= size {
                let i = b.add_const(first, i64::from(done * F32_BYTES));
                let v = self.load(b, i, lanes, MOST);
                let v = of(b, v);
                of_lanes = Some(of_lanes.map_or(v, |known| b.max(known, v)));
                done += u32::from(lanes);
            }
            let Some(found) = of_lanes else { continue };
            let found = if lanes > 1 { b.reduce_max(found) } else { found };
            peak = Some(peak.map_or(found, |known| b.max(known, found)));
        }
        peak.expect("a group has elements")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lathe_ir::DType;
    use lathe_ir::kernel::{Access, interp};
    use lathe_ir::quant::dequantize;
    use proptest::prelude::*;
    use proptest::sample::select;

    /// Blocks of the cache.
    const BLOCKS: u64 = 3;

    /// What lies in bytes of the cache that nothing was stored to.
    const UNTOUCHED: u8 = 0xa5;

    /// The cache after one row of all heads was stored at `position` of a sequence that has blocks 2, 0.
    fn stored(part: KvPart, layout: KvLayout, lanes: u8, position: u32, x: &[f32]) -> Vec<u8> {
        let mut b = KernelBuilder::new("store");
        let from = b.buf("x", Access::In);
        let sink = Sink::Kv {
            part,
            ty: layout.ty,
            cache: b.buf("cache", Access::Out),
            positions: b.buf("positions", Access::In),
            seqs: b.buf("seqs", Access::In),
            tables: b.buf("tables", Access::In),
            blocks_per_seq: 2,
        };
        let epilogue = UnitEpilogue {
            steps: Vec::new(),
            sink,
            columns: layout.head_dim,
            n: layout.head_dim * layout.kv_heads,
            lanes,
        };
        let unit = b.unit();
        let row = b.index(0);
        let head = b.mul_const(unit, i64::from(layout.head_dim * F32_BYTES));
        epilogue.emit(&mut b, at(from, head), row, unit);
        let words = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|w| w.to_le_bytes()).collect() };
        let mut bufs = [
            x.iter().flat_map(|x| x.to_le_bytes()).collect(),
            vec![UNTOUCHED; layout.part_bytes(BLOCKS).unwrap() as usize],
            words(&[position]),
            words(&[1]),
            words(&[1, 1, 2, 0]),
        ];
        let mut slices: Vec<&mut [u8]> = bufs.iter_mut().map(Vec::as_mut_slice).collect();
        interp::run(&b.finish(), &mut slices, &[], 0..i64::from(layout.kv_heads)).unwrap();
        std::mem::take(&mut bufs[1])
    }

    /// An element as stored, its scale (1 where there is none), and the bytes of both.
    fn element(cache: &[u8], layout: KvLayout, at: u64, scale_at: u64, d: u64) -> (f32, f32, Vec<usize>) {
        let bytes = |at: u64, n: usize| &cache[at as usize..at as usize + n];
        let places = |at: u64, n: usize| at as usize..at as usize + n;
        match layout.ty {
            KvType::F32 | KvType::F16 | KvType::Bf16 => {
                let dtype = match layout.ty {
                    KvType::F32 => DType::F32,
                    KvType::F16 => DType::F16,
                    _ => DType::Bf16,
                };
                let (mut x, size) = ([0.0], layout.ty.element_bytes() as usize);
                dequantize(dtype, bytes(at, size), &mut x).unwrap();
                (x[0], 1.0, places(at, size).collect())
            }
            KvType::Q8_0 | KvType::Q4_0 => {
                let scale = f32::from_le_bytes(bytes(scale_at, 4).try_into().unwrap());
                let byte = cache[at as usize] as i8;
                let code = match layout.ty {
                    KvType::Q8_0 => byte,
                    _ if d < u64::from(layout.plane_dim()) => (byte << 4) >> 4,
                    _ => byte >> 4,
                };
                let x = f32::from(code) * scale;
                (x, scale, places(at, 1).chain(places(scale_at, 4)).collect())
            }
        }
    }

    /// The largest error that a type may make of `x` in a group with this scale.
    fn tolerance(ty: KvType, x: f32, scale: f32) -> f32 {
        match ty {
            KvType::F32 => 0.0,
            KvType::F16 => (x.abs() / 2048.0).max(3e-8),
            KvType::Bf16 => (x.abs() / 256.0).max(5e-41),
            KvType::Q8_0 => 0.501 * scale,
            // The element opposite to the largest would have code 8.
            KvType::Q4_0 => 1.001 * scale.abs(),
        }
    }

    /// Stores `x` and checks each element, and that nothing else was written.
    fn check(part: KvPart, layout: KvLayout, lanes: u8, position: u32, x: &[f32]) {
        let cache = stored(part, layout, lanes, position, x);
        let block = [2, 0][(position / KV_BLOCK) as usize] * layout.block_bytes().unwrap();
        let slot = u64::from(position % KV_BLOCK);
        let mut written = std::collections::BTreeSet::new();
        for (i, &want) in x.iter().enumerate() {
            let (head, d) = (
                i as u64 / u64::from(layout.head_dim),
                i as u64 % u64::from(layout.head_dim),
            );
            let at = match part {
                KvPart::K => layout.key_offset(head, slot, d),
                KvPart::V => layout.value_offset(head, slot, d),
            };
            let scale_at = block + layout.scale_offset(head, slot, d);
            let (got, scale, bytes) = element(&cache, layout, block + at, scale_at, d);
            let error = (got - want).abs();
            assert!(
                error <= tolerance(layout.ty, want, scale),
                "{part:?} {layout:?} element {i}: {got} for {want}"
            );
            written.extend(bytes);
        }
        let others = cache.iter().enumerate().filter(|(i, _)| !written.contains(i));
        assert!(
            others.into_iter().all(|(_, &byte)| byte == UNTOUCHED),
            "{part:?} {layout:?}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn heads_are_stored_where_and_as_they_should(
            (ty, part) in (select(&KvType::ALL[..]), select(vec![KvPart::K, KvPart::V])),
            (kv_heads, head_dim) in (1..3u32, select(vec![16u32, 20, 36, 64, 80])),
            lanes in select(vec![4u8, 8, 16]),
            (position, magnitude) in (0..64u32, select(vec![1e-3f32, 1.0, 300.0])),
            elements in prop::collection::vec(-1.0f32..1.0, 160),
        ) {
            let layout = KvLayout { kv_heads, head_dim, ty };
            let x: Vec<f32> = elements.iter().take((kv_heads * head_dim) as usize).map(|x| x * magnitude).collect();
            check(part, layout, lanes, position, &x);
        }
    }

    /// The largest magnitude of a group is code 127 of either sign; a group of zeros is one of zeros; what a type can't
    /// hold is brought into its range.
    #[test]
    fn extremes_stay_finite() {
        for ty in KvType::ALL {
            let layout = KvLayout {
                kv_heads: 1,
                head_dim: 64,
                ty,
            };
            for extreme in [
                0.0,
                1e-42,
                -1e-30,
                7e4,
                f32::MAX,
                -f32::MAX,
                f32::INFINITY,
                f32::NEG_INFINITY,
            ] {
                let mut x = vec![0.0; 64];
                x[5] = extreme;
                let cache = stored(KvPart::V, layout, 8, 0, &x);
                let block = 2 * layout.block_bytes().unwrap();
                for d in 0..64 {
                    let (at, scale_at) = (layout.value_offset(0, 0, d), layout.scale_offset(0, 0, d));
                    let (got, scale, _) = element(&cache, layout, block + at, block + scale_at, d);
                    let want = if d == 5 { extreme } else { 0.0 };
                    assert!(got.is_finite() && scale.is_finite(), "{ty} {extreme}: {got}");
                    let most = if ty == KvType::F16 { 65504.0 } else { 2.9e38 };
                    let right = (got - want).abs() <= tolerance(ty, want, scale) || got.abs() >= most;
                    assert!(
                        right && (want == 0.0) <= (got == 0.0),
                        "{ty} {extreme}: {got} at {d}"
                    );
                }
            }
        }
    }
}
