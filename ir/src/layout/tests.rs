//! Packing against decoding, and the numbers of the layouts.

use super::*;
use crate::quant::{FORMATS, QuantFormat, dequantize, quantize};
use half::f16;
use proptest::prelude::*;

const FLOATS: [DType; 3] = [DType::F32, DType::F16, DType::Bf16];

pub(super) fn all() -> impl Iterator<Item = DType> {
    FLOATS.into_iter().chain(FORMATS.iter().map(|f| f.dtype))
}

/// Bytes without order.
fn random_bytes(n: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb).to_le_bytes()[6]
    };
    (0..n).map(|_| next()).collect()
}

/// Random rows as a file holds them, with f16 scales small enough for effective scales to be finite as f16.
pub(super) fn random_rows(dtype: DType, rows: u64, k: u64, seed: u64) -> Vec<u8> {
    let mut bytes = random_bytes((dtype.row_bytes(k).unwrap() * rows) as usize, seed);
    let halves: &[usize] = match dtype {
        DType::F16 | DType::Bf16 | DType::Q4_0 | DType::Q5_0 | DType::Q8_0 | DType::Iq4Nl | DType::Iq4Xs => {
            &[0]
        }
        DType::Q4_1 | DType::Q5_1 | DType::Q4K | DType::Q5K => &[0, 2],
        DType::Q2K => &[80, 82],
        DType::Q3K => &[108],
        DType::Q6K => &[208],
        _ => &[],
    };
    let block = dtype.block().unwrap().bytes as usize;
    for block in bytes.chunks_exact_mut(block) {
        for &at in halves {
            // An exponent of -12, -8, -4 or 0.
            block[at + 1] = (block[at + 1] & 0xbf) | 0x0c;
        }
        match dtype {
            DType::F32 => block[3] &= 0xbf,
            // Halves of the scales run from the least power of two that f16 holds to the greatest.
            DType::Mxfp4 => block[0] = 104 + block[0] % 40,
            _ => {}
        }
    }
    bytes
}

fn packed(layout: &PackedLayout, dtype: DType, src: &[u8], map: impl Fn(usize) -> usize) -> Vec<u8> {
    let mut out = vec![0xaa; layout.bytes() as usize];
    pack_rows(layout, dtype, src, map, 0..layout.panels(), &mut out).unwrap();
    out
}

/// How far a packed value may be from the decoded one: the rounding of scale and minimum, none where a format stores
/// one f16 of each.
fn bound(format: &QuantFormat, block: &quant::Canonical, i: usize) -> f32 {
    if format.block_len == BLOCK {
        return 0.0;
    }
    let group = i / format.group as usize;
    let error = |v: f32| (f16::from_f32(v).to_f32() - v).abs();
    let steps = format.level(block.codes[i]).abs() as f32;
    let min = if format.has_min { block.mins[group] } else { 0.0 };
    let rounding = (steps * block.scales[group].abs() + min.abs()) * f32::EPSILON;
    steps * error(block.scales[group]) + error(min) + rounding
}

fn check_pack(dtype: DType, rows: u64, k: u64, seed: u64) {
    let src = random_rows(dtype, rows, k, seed);
    let layout = PackedLayout::of(dtype, rows, k).unwrap();
    let reversed = |r: usize| rows as usize - 1 - r;
    let section = packed(&layout, dtype, &src, reversed);
    let (mut got, mut want) = (vec![0.0; k as usize], vec![0.0; k as usize]);
    let row_bytes = dtype.row_bytes(k).unwrap() as usize;
    for row in 0..rows {
        unpack_row(&layout, &section, row, &mut got).unwrap();
        let bytes = &src[reversed(row as usize) * row_bytes..][..row_bytes];
        dequantize(dtype, bytes, &mut want).unwrap();
        let Some(format) = quant::format(dtype) else {
            assert_eq!(bits(&got), bits(&want), "{dtype} row {row}");
            continue;
        };
        let mut block = quant::Canonical::ZERO;
        for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
            if i % format.block_len == 0 {
                format.unpack(
                    &bytes[i / format.block_len * format.block_bytes..][..format.block_bytes],
                    &mut block,
                );
            }
            let bound = bound(format, &block, i % format.block_len);
            assert!(
                (got - want).abs() <= bound,
                "{dtype} row {row} element {i}: {got} against {want} ± {bound}"
            );
        }
    }
    for row in rows..layout.panels() * PANEL_ROWS as u64 {
        unpack_row(&layout, &section, row, &mut got).unwrap();
        assert!(
            got.iter().all(|&v| v == 0.0),
            "{dtype}: padding row {row} isn't zero"
        );
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn packing_then_unpacking_is_decoding(rows in 1u64..40, blocks in 1u64..4, seed: u64) {
        for dtype in all() {
            let len = u64::from(dtype.block().unwrap().len);
            // Floats have no blocks: lengths that are no multiple of anything.
            let k = if len == 1 { blocks * 29 + seed % 100 } else { blocks * len };
            check_pack(dtype, rows, k, seed);
        }
    }

    #[test]
    fn q8a_is_close_and_its_sums_are_right(
        x in proptest::collection::vec(-50f32..50.0, 96),
        zero_block in 0usize..4,
    ) {
        let mut x = x;
        if let Some(block) = x.chunks_mut(BLOCK).nth(zero_block) {
            block.fill(0.0);
        }
        let k = x.len();
        let mut row = vec![0xaa; Q8a::row_stride(k as u64) as usize];
        quantize_row_q8a(&x, &mut row).unwrap();
        let mut back = vec![0.0; k];
        dequantize_row_q8a(&row, &mut back).unwrap();
        let word = |at: u64| i32::from_le_bytes(row[at as usize..at as usize + 4].try_into().unwrap());
        for (b, (x, back)) in x.chunks(BLOCK).zip(back.chunks(BLOCK)).enumerate() {
            let absmax = x.iter().fold(0f32, |a, v| a.max(v.abs()));
            let scale = f32::from_bits(word(Q8a::scale(k as u64) + 4 * b as u64) as u32);
            prop_assert_eq!(scale, absmax / 127.0);
            for (x, back) in x.iter().zip(back) {
                prop_assert!((x - back).abs() <= scale * 0.5001, "{} became {}", x, back);
            }
            let sum = |half: usize| -> i32 {
                row[b * BLOCK + half * 16..][..16].iter().map(|&c| i32::from(c as i8)).sum()
            };
            prop_assert_eq!(word(Q8a::nsum32(k as u64) + 4 * b as u64), -sum(0) - sum(1));
            for half in 0..2 {
                prop_assert_eq!(word(Q8a::nsum16(k as u64) + 4 * (2 * b + half) as u64), -sum(half));
            }
        }
    }
}

/// The layout as its specification in the module's header says it, computed the obvious way, for one format with two
/// planes and groups of 16.
#[test]
fn codes_lie_where_the_specification_says() {
    let (rows, k) = (16, 256);
    let src = random_rows(DType::Q6K, rows, k, 7);
    let layout = PackedLayout::of(DType::Q6K, rows, k).unwrap();
    let section = packed(&layout, DType::Q6K, &src, |r| r);
    let format = quant::format(DType::Q6K).unwrap();
    let mut block = quant::Canonical::ZERO;
    for r in 0..16usize {
        format.unpack(&src[r * 210..][..210], &mut block);
        for (e, &code) in block.codes.iter().enumerate() {
            let (b, j, i) = (e / 32, e % 32 / 4, e % 4);
            let low = section[b * 448 + j / 2 * 64 + r * 4 + i] >> (j % 2 * 4) & 15;
            let high = section[b * 448 + 256 + j / 4 * 64 + r * 4 + i] >> (j % 4 * 2) & 3;
            assert_eq!(low | high << 4, code, "row {r} element {e}");
        }
        for (g, &scale) in block.scales.iter().enumerate() {
            let at = g / 2 * 448 + 384 + g % 2 * 32 + r * 2;
            assert_eq!(
                section[at..at + 2],
                f16::from_f32(scale).to_le_bytes(),
                "row {r} group {g}"
            );
        }
    }
}

#[test]
fn sizes_and_offsets() {
    let q4k = PackedLayout::of(DType::Q4K, 33, 512).unwrap();
    assert_eq!((q4k.panels(), q4k.groups()), (3, 16));
    assert_eq!(
        (q4k.codes_offset(1, 0), q4k.scales_offset(0), q4k.scales_offset(2)),
        (320, 256, 896)
    );
    assert_eq!(
        (q4k.mins_offset(0), q4k.panel_stride(), q4k.bytes()),
        (288, 5120, 15360)
    );
    let q5 = PackedLayout::of(DType::Q5_0, 16, 32).unwrap();
    assert_eq!(
        (q5.codes_offset(0, 1), q5.scales_offset(0), q5.mins_offset(0)),
        (256, 320, 352)
    );
    assert_eq!(q5.panel_stride(), 384);
    let f16 = PackedLayout::of(DType::F16, 1, 3).unwrap();
    assert_eq!((f16.panel_stride(), f16.bytes()), (128, 128));
    assert_eq!(f16.scales_offset(0), 128);
    let k = 64;
    assert_eq!(
        [
            Q8a::codes(k),
            Q8a::scale(k),
            Q8a::nsum32(k),
            Q8a::nsum16(k),
            Q8a::row_stride(k)
        ],
        [0, 64, 72, 80, 96]
    );
}

#[test]
fn a_panel_packs_alone_as_in_its_section() {
    let (rows, k) = (40, 64);
    let src = random_rows(DType::Q5_1, rows, k, 3);
    let layout = PackedLayout::of(DType::Q5_1, rows, k).unwrap();
    let section = packed(&layout, DType::Q5_1, &src, |r| r);
    let stride = layout.panel_stride() as usize;
    let mut panel = vec![0; stride];
    pack_rows(&layout, DType::Q5_1, &src, |r| r, 1..2, &mut panel).unwrap();
    assert_eq!(panel, section[stride..2 * stride]);
}

#[test]
fn bad_shapes_are_refused() {
    let of = PackedLayout::of;
    assert_eq!(
        of(DType::Iq3S, 16, 256),
        Err(QuantError::UnsupportedType(DType::Iq3S))
    );
    for (dtype, k, block) in [(DType::Q4K, 128, 256), (DType::Q8_0, 0, 32), (DType::F32, 0, 1)] {
        assert_eq!(
            of(dtype, 16, k),
            Err(QuantError::Ragged {
                dtype,
                elements: k,
                block
            })
        );
    }
    for (rows, k) in [
        (u64::MAX, 256),
        (16, u64::MAX - 255),
        (1 << 40, 1 << 40),
        (0, 256),
    ] {
        assert!(
            matches!(of(DType::Q4K, rows, k), Err(QuantError::Matrix { .. })),
            "{rows} {k}"
        );
    }
}

#[test]
fn bad_buffers_rows_and_scales_are_refused() {
    let layout = PackedLayout::of(DType::Q8_0, 17, 32).unwrap();
    let src = quantize(DType::Q8_0, &[1.0; 17 * 32]).unwrap();
    let mut out = vec![0; layout.bytes() as usize];
    let range = 0..layout.panels();
    let pack = |src: &[u8], map: usize, dtype, range, out: &mut [u8]| {
        pack_rows(&layout, dtype, src, |r| r + map, range, out).unwrap_err()
    };
    let length = |what, expected, got| QuantError::Length { what, expected, got };
    let short = &src[..src.len() - 1];
    assert_eq!(
        pack(short, 0, DType::Q8_0, range.clone(), &mut out),
        length("bytes of a matrix", 578, 577)
    );
    let beyond = QuantError::OutOfRange {
        what: "row",
        index: 17,
        count: 17,
    };
    assert_eq!(pack(&src, 1, DType::Q8_0, range.clone(), &mut out), beyond);
    let beyond = QuantError::OutOfRange {
        what: "panel",
        index: 2,
        count: 2,
    };
    assert_eq!(pack(&src, 0, DType::Q8_0, 0..3, &mut out), beyond);
    assert!(matches!(
        pack(&src, 0, DType::Q4_0, range.clone(), &mut out),
        QuantError::Matrix { .. }
    ));
    let got = out.len() as u64;
    assert_eq!(
        pack(&src, 0, DType::Q8_0, 0..1, &mut out),
        length("bytes of packed panels", got / 2, got)
    );

    let mut infinite = src.clone();
    infinite[16 * 34..16 * 34 + 2].copy_from_slice(&f16::INFINITY.to_le_bytes());
    let error = pack(&infinite, 0, DType::Q8_0, range, &mut out);
    assert_eq!(
        error,
        QuantError::ScaleRange {
            row: 16,
            column: 0,
            what: "scale",
            value: f32::INFINITY
        }
    );
    assert_eq!(
        error.to_string(),
        "row 16, elements from 0 on: scale inf is beyond the range of f16"
    );

    let mut values = [0.0; 32];
    assert!(unpack_row(&layout, &out, 32, &mut values).is_err());
    assert!(unpack_row(&layout, &out[1..], 0, &mut values).is_err());
    assert!(unpack_row(&layout, &out, 0, &mut values[1..]).is_err());
    assert!(quantize_row_q8a(&values[1..], &mut [0; 48]).is_err());
    assert!(quantize_row_q8a(&values, &mut [0; 47]).is_err());
    assert!(dequantize_row_q8a(&[0; 47], &mut values).is_err());
}

#[test]
fn kv_parts_are_addressed_without_overlap() {
    let kv = KvLayout {
        kv_heads: 3,
        head_dim: 5,
        ty: KvType::F16,
    };
    assert_eq!(
        (kv.head_bytes(), kv.block_bytes(), kv.part_bytes(7)),
        (320, Some(960), Some(6720))
    );
    for offset in [KvLayout::key_offset, KvLayout::value_offset] {
        let mut seen = std::collections::BTreeSet::new();
        for (head, position, d) in
            (0..3).flat_map(|h| (0..32).flat_map(move |p| (0..5).map(move |d| (h, p, d))))
        {
            seen.insert(offset(&kv, head, position, d));
        }
        assert_eq!(
            (seen.len(), seen.first(), seen.last()),
            (480, Some(&0), Some(&958))
        );
    }
    assert_eq!(
        (kv.key_offset(1, 2, 3), kv.value_offset(1, 2, 3)),
        (320 + 2 * (96 + 2), 320 + 2 * (10 + 3))
    );
    assert_eq!(
        KvLayout {
            kv_heads: u32::MAX,
            head_dim: u32::MAX,
            ty: KvType::F16,
        }
        .block_bytes(),
        None
    );
    assert_eq!(kv.part_bytes(u64::MAX), None);
}

/// Codes and scales of both parts: each byte belongs to one thing, and all to the block.
#[test]
fn kv_codes_and_scales_are_addressed_without_overlap() {
    let kv = KvLayout {
        kv_heads: 2,
        head_dim: 33,
        ty: KvType::Q8_0,
    };
    // 33 · 32 bytes of codes, padded to 64, and two groups of scales.
    assert_eq!((kv.code_bytes(), kv.head_bytes()), (1088, 1088 + 2 * 128));
    assert_eq!(kv.part_bytes(3), Some(6 * 1344));
    for offset in [KvLayout::key_offset, KvLayout::value_offset] {
        let mut seen = std::collections::BTreeSet::new();
        let (mut codes, mut scales) = (0, 0);
        for (head, position) in (0..2).flat_map(|h| (0..32).map(move |p| (h, p))) {
            codes += (0..33)
                .filter(|&d| seen.insert(offset(&kv, head, position, d)))
                .count();
            for d in [0, 32] {
                let start = kv.scale_offset(head, position, d);
                scales += (start..start + 4).filter(|&byte| seen.insert(byte)).count();
            }
        }
        assert_eq!((codes, scales), (2 * 32 * 33, 2 * 32 * 2 * 4));
        assert_eq!(seen.last(), Some(&(2 * 1344 - 1)));
    }
    assert_eq!(kv.scale_offset(1, 7, 31), kv.scale_offset(1, 7, 0));
}

/// Two elements share a byte, and each half of a head has groups of its own.
#[test]
fn kv_codes_of_four_bits_are_addressed_in_pairs() {
    let kv = KvLayout {
        kv_heads: 2,
        head_dim: 70,
        ty: KvType::Q4_0,
    };
    // 35 · 32 bytes of codes, padded to 64, and two groups of scales for each half.
    assert_eq!((kv.code_bytes(), kv.head_bytes()), (1152, 1152 + 4 * 128));
    for offset in [KvLayout::key_offset, KvLayout::value_offset] {
        let mut shared = std::collections::BTreeMap::<u64, Vec<u64>>::new();
        let mut scales = std::collections::BTreeSet::new();
        for (head, position, d) in
            (0..2).flat_map(|h| (0..32).flat_map(move |p| (0..70).map(move |d| (h, p, d))))
        {
            shared.entry(offset(&kv, head, position, d)).or_default().push(d);
            scales.insert(kv.scale_offset(head, position, d));
        }
        assert_eq!(shared.len(), 2 * 32 * 35);
        assert!(shared.values().all(|ds| ds.len() == 2 && ds[1] == ds[0] + 35));
        assert_eq!(scales.len(), 2 * 32 * 4);
        assert!(
            scales
                .iter()
                .all(|&at| at % 1664 >= 1152 && !shared.contains_key(&at))
        );
        assert_eq!(scales.last(), Some(&(2 * 1664 - 4)));
    }
    assert_eq!(kv.scale_offset(0, 3, 31), kv.scale_offset(0, 3, 0));
    assert_ne!(kv.scale_offset(0, 3, 34), kv.scale_offset(0, 3, 35));
}

#[test]
fn kv_types_have_names() {
    for ty in KvType::ALL {
        assert_eq!(ty.to_string().parse(), Ok(ty));
    }
    let error = "q5_0".parse::<KvType>().unwrap_err().to_string();
    assert_eq!(
        error,
        "`q5_0` is no type of cached keys and values; f32, f16, bf16, q8_0, q4_0 are"
    );
    let apart = KvTypes {
        k: KvType::F16,
        v: KvType::Q8_0,
    };
    for (types, text) in [(apart, "f16,q8_0"), (KvTypes::both(KvType::Bf16), "bf16")] {
        assert_eq!((types.to_string(), text.parse()), (text.to_owned(), Ok(types)));
    }
    for wrong in ["f16,", ",f16", "f16,q8_0,f16", "f16, f16", ""] {
        assert!(wrong.parse::<KvTypes>().is_err(), "{wrong:?}");
    }
}

/// A scale that f16 would make infinite or zero is an error, with its place; a block of zeros needs no scale.
#[test]
fn scales_beyond_f16_are_refused() {
    let layout = PackedLayout::of(DType::Mxfp4, 2, 64).unwrap();
    let mut out = vec![0; layout.bytes() as usize];
    let mut pack = |exponent: u8, code: u8| {
        let mut src = quantize(DType::Mxfp4, &[1.0; 128]).unwrap();
        src[51..].fill(code);
        src[51] = exponent;
        pack_rows(&layout, DType::Mxfp4, &src, |r| r, 0..1, &mut out)
    };
    for exponent in [0, 103, 144, 255] {
        assert_eq!(
            pack(exponent, 1),
            Err(QuantError::ScaleRange {
                row: 1,
                column: 32,
                what: "scale",
                value: 2f32.powi(i32::from(exponent) - 128)
            })
        );
        assert_eq!(pack(exponent, 0x80), Ok(()), "zeros of either sign");
    }
    for exponent in 104..144 {
        assert_eq!(pack(exponent, 1), Ok(()), "{exponent}");
    }
}

/// Indices, not levels, lie in the plane of a format with a codebook.
#[test]
fn packed_codes_are_indices_into_the_codebook() {
    let layout = PackedLayout::of(DType::Iq4Nl, 16, 32).unwrap();
    let mut src = random_rows(DType::Iq4Nl, 16, 32, 5);
    src[2] = 0x3c;
    let section = packed(&layout, DType::Iq4Nl, &src, |r| r);
    // Elements 0 and 16 of row 0: chunks 0 and 4, which are the low fields of vectors 0 and 2.
    assert_eq!((section[0] & 15, section[128] & 15), (0xc, 0x3));
    let PackedKind::Codes {
        codebook,
        offset,
        bits,
        ..
    } = layout.kind
    else {
        panic!("codes are packed as floats")
    };
    let levels = codebook
        .unwrap()
        .map(|entry| i32::from(entry) - i32::from(offset));
    assert_eq!((levels[0xc], levels[0x3], bits), (53, -65, 4));
}
