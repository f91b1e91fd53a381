//! Packing the obvious way, an element at a time, which the packer must equal in every byte.

use super::tests::{all, random_rows};
use super::{BLOCK, PANEL_ROWS, PackedKind, PackedLayout, dispatch, float_bytes, pack_rows};
use crate::dtype::DType;
use crate::quant::{self, Canonical, QuantError, QuantFormat};
use half::f16;
use proptest::prelude::*;

/// All panels of a matrix; rows of the file in the order of `rows`.
fn pack(layout: &PackedLayout, dtype: DType, src: &[u8], rows: &[usize]) -> Vec<u8> {
    let mut out = vec![0; layout.bytes() as usize];
    let row_bytes = dtype.row_bytes(layout.k).unwrap() as usize;
    for (packed, &row) in rows.iter().enumerate() {
        let panel = &mut out[packed / PANEL_ROWS * layout.panel_stride() as usize..];
        let (row, lane) = (&src[row * row_bytes..][..row_bytes], packed % PANEL_ROWS);
        match layout.kind {
            PackedKind::Codes { .. } => pack_codes(layout, quant::format(dtype).unwrap(), row, lane, panel),
            PackedKind::Float(dtype) => {
                let size = float_bytes(dtype) as usize;
                for (i, element) in row.chunks_exact(size).enumerate() {
                    panel[(i * PANEL_ROWS + lane) * size..][..size].copy_from_slice(element);
                }
            }
        }
    }
    out
}

fn pack_codes(layout: &PackedLayout, format: &QuantFormat, row: &[u8], lane: usize, panel: &mut [u8]) {
    let mut block = Canonical::ZERO;
    for (n, bytes) in row.chunks_exact(format.block_bytes).enumerate() {
        format.unpack(bytes, &mut block);
        for (i, &code) in block.codes[..format.block_len].iter().enumerate() {
            let (b, chunk, byte) = ((n * format.block_len + i) / BLOCK, i % BLOCK / 4, i % 4);
            let mut rest = code;
            for (plane, &w) in format.planes.iter().enumerate() {
                let fields = 8 / usize::from(w);
                let at =
                    layout.codes_offset(b as u64, plane) as usize + chunk / fields * 64 + lane * 4 + byte;
                let field = u16::from(rest) & ((1 << w) - 1);
                panel[at] |= (field as u8) << (chunk % fields * usize::from(w));
                rest = (u16::from(rest) >> w) as u8;
            }
            assert_eq!(rest, 0, "the planes hold all bits of a code");
        }
        for g in 0..format.groups() {
            let group = (n * format.groups() + g) as u64;
            let mut put = |at: u64, v: f32| {
                let half = f16::from_f32(v);
                panel[at as usize + 2 * lane..][..2].copy_from_slice(&half.to_le_bytes());
            };
            put(layout.scales_offset(group), block.scales[g]);
            if format.has_min {
                put(layout.mins_offset(group), block.mins[g]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whole tiles, parts of tiles, panels without padding and with it.
    #[test]
    fn packing_is_what_the_specification_says(rows in 1usize..40, blocks in 1u64..20, seed: u64) {
        let order: Vec<usize> = (0..rows).map(|r| (r * 7 + seed as usize % 40) % rows).collect();
        for dtype in all() {
            let len = u64::from(dtype.block().unwrap().len);
            let k = if len == 1 { blocks * 29 + seed % 100 } else { blocks * len };
            let src = random_rows(dtype, rows as u64, k, seed);
            let layout = PackedLayout::of(dtype, rows as u64, k).unwrap();
            let want = pack(&layout, dtype, &src, &order);
            for portable in [false, true] {
                let mut got = vec![0xaa; layout.bytes() as usize];
                let mut run = || pack_rows(&layout, dtype, &src, |r| order[r], 0..layout.panels(), &mut got);
                if portable { dispatch::portably(run) } else { run() }.unwrap();
                let differs = got.iter().zip(&want).position(|(a, b)| a != b);
                prop_assert_eq!(differs, None, "{} [{}, {}], portable: {}", dtype, rows, k, portable);
            }
        }
    }

    /// Of several scales and minima that f16 can't hold, the error names the first of the first group.
    #[test]
    fn the_first_bad_scale_is_reported(bad in proptest::collection::vec((0usize..16, 0usize..12, 0usize..2), 1..4)) {
        let (dtype, k) = (DType::Q4_1, 12 * 32);
        let mut src = random_rows(dtype, 16, k, 3);
        for &(row, block, what) in &bad {
            src[row * 240 + block * 20 + 2 * what..][..2].copy_from_slice(&f16::INFINITY.to_le_bytes());
        }
        let layout = PackedLayout::of(dtype, 16, k).unwrap();
        let mut out = vec![0; layout.bytes() as usize];
        let (block, what, row) = bad.iter().map(|&(row, block, what)| (block, what, row)).min().unwrap();
        let value = if what == 0 { f32::INFINITY } else { -f32::INFINITY };
        let want = QuantError::ScaleRange {
            row: row as u64,
            column: block as u64 * 32,
            what: ["scale", "minimum"][what],
            value,
        };
        prop_assert_eq!(pack_rows(&layout, dtype, &src, |r| r, 0..1, &mut out), Err(want));
    }
}
