//! How fast packing is, on one thread: `cargo test -p lathe-ir --release -- --ignored --nocapture pack_speed`.

use super::tests::{all, random_rows};
use super::{PANEL_ROWS, PackedLayout, pack_rows};
use crate::dtype::DType;
use std::time::{Duration, Instant};

/// Elements of a row, as in the matrices of models.
const K: u64 = 4096;
/// Bytes of a matrix in a file: one that stays in the second cache, and one that no cache holds.
const SOURCES: [u64; 2] = [256 << 10, 32 << 20];

#[test]
#[ignore = "a measurement, for release builds"]
fn pack_speed() {
    println!("GB/s of what is read, from the cache and from memory");
    for dtype in all() {
        let rates = SOURCES.map(|bytes| rate(dtype, bytes));
        println!("{:>8}  {:>6.2}  {:>6.2}", dtype.to_string(), rates[0], rates[1]);
    }
}

/// GB/s, the best of several runs.
fn rate(dtype: DType, bytes: u64) -> f64 {
    let panel = dtype.row_bytes(K).unwrap() * PANEL_ROWS as u64;
    let panels = (bytes / panel).max(1);
    let src = random_rows(dtype, PANEL_ROWS as u64, K, 1).repeat(panels as usize);
    let layout = PackedLayout::of(dtype, panels * PANEL_ROWS as u64, K).unwrap();
    let mut out = vec![1; layout.bytes() as usize];
    let mut best = Duration::MAX;
    for _ in 0..(256 << 20) / src.len() {
        let start = Instant::now();
        pack_rows(&layout, dtype, &src, |r| r, 0..layout.panels(), &mut out).unwrap();
        best = best.min(start.elapsed());
    }
    src.len() as f64 / best.as_secs_f64() / 1e9
}
