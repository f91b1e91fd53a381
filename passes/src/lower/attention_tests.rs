//! Attention kernels in the interpreter: against softmax in f64, and tiles of rows against single rows, bit for bit.

use super::attention::{AttentionKernel, rows_of_tile};
use super::attention_merge::Parts;
use lathe_ir::DType;
use lathe_ir::graph::KvPart;
use lathe_ir::kernel::interp;
use lathe_ir::layout::{KvType, KvTypes};
use lathe_ir::quant::quantize;
use proptest::prelude::*;
use proptest::sample::select;

/// Blocks of a sequence in the tables of all tests.
const BLOCKS: u32 = 4;
/// A value that no written position holds; far from it, a leak of one into a result shows.
const UNWRITTEN: f32 = 60000.0;

/// Rows of a step and the cache that they see.
struct Step {
    positions: Vec<u32>,
    seqs: Vec<u32>,
    /// `[rows][heads][head_dim]`.
    q: Vec<f32>,
    /// `[seqs][kv_heads][positions][head_dim]`, exact in the cache.
    k: Vec<f32>,
    v: Vec<f32>,
    /// Block of each sequence and entry.
    tables: Vec<u32>,
}

fn kernel(heads: u32, kv_heads: u32, head_dim: u32, lanes: u8) -> AttentionKernel {
    AttentionKernel {
        heads,
        kv_heads,
        head_dim,
        types: KvTypes::default(),
        tile: heads / kv_heads,
        rows: rows_of_tile(heads / kv_heads, head_dim),
        scale: 1.0 / (head_dim as f32).sqrt(),
        cap: 0.0,
        window: 0,
        blocks_per_seq: BLOCKS,
        segment: 64,
        lanes,
    }
}

/// The scale of all codes of tests: elements are multiples of it, but for those that nothing wrote.
const SCALE: f32 = 1.0 / 32.0;

/// The same of codes of 4 bits.
const SCALE_4: f32 = 0.25;

/// The nearest numbers that the cache holds exactly.
fn storable(ty: KvType, numbers: Vec<f32>) -> Vec<f32> {
    match ty {
        KvType::F32 | KvType::F16 => numbers,
        KvType::Bf16 => numbers.iter().map(|x| (x * 64.0).round() / 64.0).collect(),
        KvType::Q8_0 => numbers.iter().map(|x| (x / SCALE).round() * SCALE).collect(),
        KvType::Q4_0 => numbers
            .iter()
            .map(|x| (x / SCALE_4).round().min(7.0) * SCALE_4)
            .collect(),
    }
}

/// Stores one element at byte `to` of a part of the cache, where two share it in half `plane`.
fn store(ty: KvType, part: &mut [u8], (to, plane): (u64, u64), scale: u64, x: f32) {
    let (to, scale) = (to as usize, scale as usize);
    match ty {
        KvType::F32 => part[to..to + 4].copy_from_slice(&x.to_le_bytes()),
        KvType::F16 => part[to..to + 2].copy_from_slice(&quantize(DType::F16, &[x]).unwrap()),
        KvType::Bf16 => part[to..to + 2].copy_from_slice(&quantize(DType::Bf16, &[x]).unwrap()),
        KvType::Q8_0 => {
            let unit = if x.abs() == UNWRITTEN { UNWRITTEN } else { SCALE };
            let code = (x / unit) as i8;
            assert_eq!(f32::from(code) * unit, x, "no multiple of the scale");
            part[to] = code as u8;
            part[scale..scale + 4].copy_from_slice(&unit.to_le_bytes());
        }
        KvType::Q4_0 => {
            let unit = if x.abs() == UNWRITTEN { UNWRITTEN } else { SCALE_4 };
            let code = (x / unit) as i8;
            assert!(
                (-8..8).contains(&code) && f32::from(code) * unit == x,
                "no multiple of the scale"
            );
            part[to] |= (code as u8 & 15) << (4 * plane);
            part[scale..scale + 4].copy_from_slice(&unit.to_le_bytes());
        }
    }
}

/// Numbers of about unit size, multiples of 1/256, the same for the same seed.
fn numbers(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) % 1024) as f32 / 256.0 - 2.0
    };
    (0..n).map(|_| next()).collect()
}

fn positions_of_seq() -> usize {
    (BLOCKS * 32) as usize
}

impl Step {
    fn new(kernel: &AttentionKernel, rows: &[(u32, u32)], seed: u64) -> Step {
        let (positions, seqs): (Vec<u32>, Vec<u32>) = rows.iter().copied().unzip();
        let count = seqs.iter().max().map_or(1, |s| s + 1);
        let head_dim = kernel.head_dim as usize;
        let cache = count as usize * kernel.kv_heads as usize * positions_of_seq() * head_dim;
        let mut step = Step {
            q: numbers(seed, rows.len() * kernel.heads as usize * head_dim),
            k: storable(kernel.types.k, numbers(seed + 1, cache)),
            v: storable(kernel.types.v, numbers(seed + 2, cache)),
            tables: (0..count * BLOCKS).rev().collect(),
            positions,
            seqs,
        };
        for seq in 0..count {
            let seen = rows.iter().filter(|r| r.1 == seq).map(|r| r.0 + 1).max();
            for position in seen.unwrap_or(0) as usize..positions_of_seq() {
                for kv_head in 0..kernel.kv_heads {
                    let at = step.cached(kernel, seq, kv_head, position);
                    step.k[at..at + head_dim].fill(UNWRITTEN);
                    step.v[at..at + head_dim].fill(-UNWRITTEN);
                }
            }
        }
        step
    }

    /// Where a cached head starts in `k` and `v`.
    fn cached(&self, kernel: &AttentionKernel, seq: u32, kv_head: u32, position: usize) -> usize {
        let head = (seq * kernel.kv_heads + kv_head) as usize;
        (head * positions_of_seq() + position) * kernel.head_dim as usize
    }

    /// The cache as the kernel reads it: keys, then values.
    fn paged(&self, kernel: &AttentionKernel) -> [Vec<u8>; 2] {
        [(KvPart::K, &self.k), (KvPart::V, &self.v)].map(|(part, elements)| {
            let layout = kernel.layout(part);
            let block_bytes = layout.block_bytes().unwrap();
            let mut bytes = vec![0u8; layout.part_bytes(self.tables.len() as u64).unwrap() as usize];
            for (entry, &block) in self.tables.iter().enumerate() {
                let (seq, entry) = (entry as u32 / BLOCKS, entry as u64 % u64::from(BLOCKS));
                let block = u64::from(block) * block_bytes;
                for (kv_head, i) in (0..kernel.kv_heads).flat_map(|h| (0..32).map(move |i| (h, i))) {
                    let from = self.cached(kernel, seq, kv_head, (entry * 32 + i) as usize);
                    for d in 0..u64::from(kernel.head_dim) {
                        let offset = match part {
                            KvPart::K => layout.key_offset(kv_head.into(), i, d),
                            KvPart::V => layout.value_offset(kv_head.into(), i, d),
                        };
                        let scale = block + layout.scale_offset(kv_head.into(), i, d);
                        let x = elements[from + d as usize];
                        let plane = d / u64::from(layout.plane_dim());
                        store(layout.ty, &mut bytes, (block + offset, plane), scale, x);
                    }
                }
            }
            bytes
        })
    }

    /// What the kernel makes of the rows with these numbers, as one step whose contexts are in one piece.
    fn run(&self, kernel: AttentionKernel, rows: std::ops::Range<usize>) -> Vec<f32> {
        self.run_pieces(kernel, rows, 1)
    }

    /// The same with contexts in so many pieces.
    fn run_pieces(&self, kernel: AttentionKernel, rows: std::ops::Range<usize>, pieces: i64) -> Vec<f32> {
        let row = (kernel.heads * kernel.head_dim) as usize;
        let words = |values: &[u32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
        let [k, v] = self.paged(&kernel);
        let q = &self.q[rows.start * row..rows.end * row];
        let mut bufs = vec![
            q.iter().flat_map(|x| x.to_le_bytes()).collect(),
            k,
            v,
            words(&self.positions[rows.clone()]),
            words(&self.seqs[rows.clone()]),
            words(&self.tables),
            vec![0xff; rows.len() * row * 4],
        ];
        let mut scalars = vec![rows.len() as i64];
        if kernel.segments() > 1 {
            let states = rows.len() as u32 * kernel.heads * kernel.segments();
            bufs.push(vec![0xff; (states * Parts::new(&kernel).stride) as usize]);
            scalars.push(pieces);
        }
        let mut slices: Vec<&mut [u8]> = bufs.iter_mut().map(Vec::as_mut_slice).collect();
        let units = rows.len() as i64 * i64::from(kernel.units_per_row());
        interp::run(&kernel.build(), &mut slices, &scalars, 0..units * pieces).unwrap();
        if pieces > 1 {
            let [_, _, _, positions, _, _, out, parts] = &mut slices[..] else {
                panic!("contexts of one segment have no pieces")
            };
            let mut slices = [&mut parts[..], &mut positions[..], &mut out[..]];
            interp::run(&kernel.build_merge(), &mut slices, &[], 0..units).unwrap();
        }
        let out = bufs[6].chunks_exact(4);
        out.map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    /// The definition, in f64.
    fn expected(&self, kernel: &AttentionKernel) -> Vec<f64> {
        let head_dim = kernel.head_dim as usize;
        let mut out = Vec::new();
        for (row, (&position, &seq)) in self.positions.iter().zip(&self.seqs).enumerate() {
            let first = match kernel.window {
                0 => 0,
                window => (position + 1).saturating_sub(window),
            };
            for head in 0..kernel.heads {
                let q = &self.q[(row * kernel.heads as usize + head as usize) * head_dim..][..head_dim];
                let kv_head = head / (kernel.heads / kernel.kv_heads);
                let places = first..=position;
                let places: Vec<usize> = places
                    .map(|p| self.cached(kernel, seq, kv_head, p as usize))
                    .collect();
                let score = |at: &usize| {
                    let products = q
                        .iter()
                        .zip(&self.k[*at..])
                        .map(|(&a, &b)| f64::from(a) * f64::from(b));
                    let score = products.sum::<f64>() * f64::from(kernel.scale);
                    let cap = f64::from(kernel.cap);
                    if cap == 0.0 {
                        score
                    } else {
                        cap * (score / cap).tanh()
                    }
                };
                let scores: Vec<f64> = places.iter().map(score).collect();
                let peak = scores.iter().copied().fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - peak).exp()).collect();
                let total: f64 = weights.iter().sum();
                out.extend((0..head_dim).map(|d| {
                    let sums = places
                        .iter()
                        .zip(&weights)
                        .map(|(at, w)| w * f64::from(self.v[at + d]));
                    sums.sum::<f64>() / total
                }));
            }
        }
        out
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Checks the kernel with every type of cache, and with keys of one and values of another; in all sizes of tiles and
/// numbers of pieces with f16.
fn check(kernel: AttentionKernel, rows: &[(u32, u32)], seed: u64) {
    let apart = KvTypes {
        k: KvType::F16,
        v: KvType::Q8_0,
    };
    for types in KvType::ALL.map(KvTypes::both).into_iter().chain([apart]) {
        check_types(AttentionKernel { types, ..kernel }, rows, seed);
    }
}

/// The kernel gives what the definition says, and the same bits for each row alone and in tiles of other sizes.
fn check_types(kernel: AttentionKernel, rows: &[(u32, u32)], seed: u64) {
    let step = Step::new(&kernel, rows, seed);
    let got = step.run(kernel, 0..rows.len());
    for (i, (got, want)) in got.iter().zip(step.expected(&kernel)).enumerate() {
        let error = (f64::from(*got) - want).abs();
        assert!(
            error < 1e-5,
            "{kernel:?}, {rows:?}, element {i}: {got} for {want}"
        );
    }
    let all = kernel.types == KvTypes::default();
    let (tiles, most_pieces) = if all {
        (&[1, 2, 3, 5][..], 3)
    } else {
        (&[2][..], 2)
    };
    for &tile in tiles {
        let other = AttentionKernel { rows: tile, ..kernel };
        let other = step.run(other, 0..rows.len());
        assert!(
            bits(&other) == bits(&got),
            "{kernel:?}, {rows:?}: tiles of {tile} rows differ"
        );
    }
    for pieces in 2..=most_pieces {
        let other = step.run_pieces(kernel, 0..rows.len(), pieces);
        assert!(
            bits(&other) == bits(&got),
            "{kernel:?}, {rows:?}: {pieces} pieces differ"
        );
    }
    let row = got.len() / rows.len();
    for i in (0..rows.len()).filter(|_| all) {
        let alone = step.run(kernel, i..i + 1);
        assert!(
            bits(&alone) == bits(&got[i * row..][..row]),
            "{kernel:?}, {rows:?}: row {i} alone differs"
        );
    }
}

/// So many rows of sequence `seq` from position `first` on.
fn prompt(first: u32, rows: u32, seq: u32) -> Vec<(u32, u32)> {
    (first..first + rows).map(|position| (position, seq)).collect()
}

#[test]
fn heads_of_every_shape() {
    for (heads, kv_heads, head_dim) in [
        (7, 1, 64),
        (6, 2, 80),
        (3, 1, 128),
        (4, 1, 256),
        (2, 2, 16),
        (13, 1, 36),
    ] {
        for lanes in [4, 8, 16] {
            check(kernel(heads, kv_heads, head_dim, lanes), &prompt(29, 6, 0), 5);
        }
    }
}

#[test]
fn windows_and_caps() {
    for (window, cap) in [(1, 0.0), (7, 0.0), (33, 3.0), (40, 0.0), (0, 3.0)] {
        for lanes in [4, 8, 16] {
            let kernel = AttentionKernel {
                window,
                cap,
                ..kernel(4, 2, 32, lanes)
            };
            check(kernel, &prompt(60, 9, 0), 6);
            // Far apart: whole blocks lie before the window of the one and after the other.
            check(kernel, &[(100, 0), (0, 0), (35, 0), (127, 0)], 7);
        }
    }
}

#[test]
fn rows_of_several_sequences() {
    for lanes in [4, 8, 16] {
        let kernel = kernel(6, 2, 32, lanes);
        check(kernel, &[(33, 0), (5, 1), (64, 2), (31, 0), (90, 1)], 8);
        let mut rows = prompt(20, 17, 1);
        rows.extend(prompt(62, 4, 0));
        check(kernel, &rows, 9);
    }
}

#[test]
fn part_of_the_heads_of_a_kv_head() {
    for lanes in [4, 8, 16] {
        let kernel = AttentionKernel {
            tile: 2,
            ..kernel(4, 1, 64, lanes)
        };
        check(kernel, &prompt(0, 35, 0), 10);
    }
}

/// A negative sum that shrinks to −0 stays so while blocks go by that the row can see, and becomes +0 where a block goes
/// by for a later row of the tile. The result must not tell.
#[test]
fn sums_that_vanish_have_no_sign() {
    for lanes in [4, 8, 16] {
        let kernel = AttentionKernel {
            scale: 1.0,
            ..kernel(1, 1, 16, lanes)
        };
        let mut step = Step::new(&kernel, &[(95, 0), (127, 0)], 11);
        step.q.fill(1.0);
        for position in 0..positions_of_seq() {
            let at = position * 16;
            // Scores of −80, 0 and 80 by block: each block leaves nearly nothing of the one before.
            let score = (position / 32).min(2) as f32 * 80.0 - 80.0;
            step.k[at..at + 16].fill(score / 16.0);
            let value = [-6e-8, -0.0, -0.0, 1.0][position / 32];
            step.v[at..at + 16].fill(value);
        }
        let together = step.run(AttentionKernel { rows: 2, ..kernel }, 0..2);
        let alone = step.run(kernel, 0..1);
        assert_eq!(bits(&together[..16]), bits(&alone));
        assert_eq!(alone[0], 0.0);
    }
}

#[test]
fn no_rows_are_no_work() {
    let kernel = kernel(4, 2, 32, 8);
    let step = Step::new(&kernel, &[(3, 0)], 12);
    assert!(step.run(kernel, 0..0).is_empty());
}

/// A row sees as many segments as its window can touch.
#[test]
fn windows_bound_segments() {
    for (window, segments) in [(0, 8), (1, 1), (2, 2), (257, 2), (258, 3), (512, 3), (4096, 8)] {
        let kernel = AttentionKernel {
            window,
            blocks_per_seq: 64,
            segment: 256,
            ..kernel(1, 1, 64, 8)
        };
        assert_eq!(kernel.segments_of_row(), segments, "window {window}");
        let touched = |position: u32| position / 256 - (position + 1 - window.min(position + 1)) / 256 + 1;
        let most = (0..2048).filter(|_| window > 0).map(touched).max();
        assert_eq!(most.unwrap_or(segments), segments, "window {window}");
    }
}

#[test]
fn tiles_fit_the_cache() {
    // (query heads of a KV head, elements of a head, rows)
    for (tile, head_dim, rows) in [
        (7, 64, 4),
        (3, 64, 8),
        (6, 128, 4),
        (8, 128, 4),
        (2, 256, 8),
        (1, 128, 32),
        (71, 64, 1),
    ] {
        assert_eq!(rows_of_tile(tile, head_dim), rows, "{tile} heads of {head_dim}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_rows_at_any_positions(
        rows in prop::collection::vec((0..128u32, 0..2u32), 1..12),
        one_sequence: bool,
        (group, kv_heads) in (1..6u32, 1..3u32),
        (head_dim, lanes) in (select(vec![16u32, 32, 48, 20]), select(vec![4u8, 8, 16])),
        (window, cap) in (select(vec![0u32, 5, 50]), select(vec![0.0f32, 4.0])),
        seed: u32,
    ) {
        let kernel = AttentionKernel { window, cap, ..kernel(group * kv_heads, kv_heads, head_dim, lanes) };
        let rows: Vec<(u32, u32)> = rows.iter().map(|&(p, s)| (p, if one_sequence { 0 } else { s })).collect();
        check(kernel, &rows, seed.into());
    }
}
