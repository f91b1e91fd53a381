//! Decoders against reference vectors, encoders against the decoders.

use super::*;
use crate::dtype::DType;

const FLOATS: [DType; 3] = [DType::F32, DType::F16, DType::Bf16];

fn all() -> impl Iterator<Item = DType> {
    FLOATS.into_iter().chain(FORMATS.iter().map(|f| f.dtype))
}

fn data(file: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/quants/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Values without order or symmetry, from −1 to 1.
fn noise(n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| ((i as f32 * 12.9898).sin() * 43_758.547).fract())
        .collect()
}

#[test]
fn reference_vectors_decode_bit_exact() {
    for dtype in all().filter(|t| *t != DType::F32) {
        let blocks = data(&format!("{dtype}.blocks"));
        let expected: Vec<u32> = data(&format!("{dtype}.f32"))
            .as_chunks()
            .0
            .iter()
            .map(|b| u32::from_le_bytes(*b))
            .collect();
        let mut out = vec![0.0; expected.len()];
        dequantize(dtype, &blocks, &mut out).unwrap();
        for (i, (got, &want)) in out.iter().zip(&expected).enumerate() {
            assert_eq!(
                got.to_bits(),
                want,
                "{dtype}, element {i}: {got} against {}",
                f32::from_bits(want)
            );
        }
    }
}

#[test]
fn table_agrees_with_the_gguf_types() {
    for f in FORMATS {
        let block = f.dtype.block().unwrap();
        assert_eq!(
            (f.block_len, f.block_bytes),
            (block.len as usize, block.bytes as usize),
            "{}",
            f.dtype
        );
        assert_eq!(f.planes.iter().sum::<u8>(), f.bits, "{}", f.dtype);
        assert!(f.offset == 0 || f.offset.is_power_of_two());
        assert!(f.block_len <= MAX_BLOCK_LEN && f.groups() <= 16);
    }
}

#[test]
fn types_without_an_entry_are_named() {
    for &dtype in DType::GGUF.iter().filter(|t| !is_supported(**t)) {
        let error = dequantize(dtype, &[], &mut []).unwrap_err();
        assert_eq!(error, QuantError::UnsupportedType(dtype));
        assert!(error.to_string().contains(&format!("`{dtype}`")));
        assert_eq!(quantize(dtype, &[]), Err(QuantError::UnsupportedType(dtype)));
    }
}

#[test]
fn lengths_are_checked() {
    let ragged = QuantError::Ragged {
        dtype: DType::Q4K,
        elements: 32,
        block: 256,
    };
    assert_eq!(dequantize(DType::Q4K, &[0; 18], &mut [0.0; 32]), Err(ragged));
    let short = dequantize(DType::Q8_0, &[0; 33], &mut [0.0; 32]);
    assert_eq!(
        short,
        Err(QuantError::Length {
            what: "bytes to dequantize",
            expected: 34,
            got: 33
        })
    );
}

#[test]
fn decoding_an_encoding_is_close() {
    for (scale, shift) in [(1.0, 0.0), (0.02, 0.0), (3.0, -0.5), (0.0, 0.0)] {
        let values: Vec<f32> = noise(1024).iter().map(|v| v * scale + shift * scale).collect();
        for dtype in all() {
            let bytes = quantize(dtype, &values).unwrap();
            let mut decoded = vec![0.0; values.len()];
            dequantize(dtype, &bytes, &mut decoded).unwrap();
            let peak = values.iter().fold(0f32, |a, v| a.max(v.abs()));
            // Half a step of a code, and in two-level formats as much again for the rounding of scales and minima.
            let steps = match dtype {
                DType::F32 => f32::INFINITY,
                DType::F16 | DType::Bf16 => 128.0,
                // Half the widest gap between levels, 8 to 12, where the scale of the largest is up to twice as large as
                // it need be.
                DType::Mxfp4 | DType::Nvfp4 => 3.0,
                _ => f32::from((1u16 << (format(dtype).unwrap().bits - 1)) - 1),
            };
            let bound = peak / steps * if dtype == DType::Q2K { 0.6 } else { 1.05 };
            for (v, d) in values.iter().zip(&decoded) {
                assert!(
                    (v - d).abs() <= bound,
                    "{dtype}: {v} became {d}, more than {bound} away"
                );
            }
        }
    }
}

#[test]
fn codebooks_have_the_levels_of_their_formats() {
    let levels = |dtype| -> Vec<i32> { (0..16).map(|code| format(dtype).unwrap().level(code)).collect() };
    let (iq4, e2m1) = (levels(DType::Iq4Xs), levels(DType::Nvfp4));
    assert_eq!((iq4[0], iq4[8], iq4[15]), (-127, 1, 113));
    assert!(iq4.is_sorted());
    // Sign, two bits of exponent with a bias of 1, one of mantissa; twice the value.
    for (code, &level) in e2m1.iter().enumerate() {
        let (exponent, mantissa) = (code >> 1 & 3, (code & 1) as i32);
        let magnitude = if exponent == 0 {
            mantissa
        } else {
            (2 + mantissa) << (exponent - 1)
        };
        assert_eq!(
            level,
            if code > 7 { -magnitude } else { magnitude },
            "index {code}"
        );
    }
    assert_eq!(levels(DType::Q4_0), (-8..8).collect::<Vec<_>>());
}

/// Element 0 of a block with this first scale whose first element is the level 1 of E2M1 and all others are zero.
fn first_element(dtype: DType, scale: u8) -> f32 {
    let f = format(dtype).unwrap();
    let mut block = vec![0; f.block_bytes];
    block[0] = scale;
    block[f.block_bytes - f.block_len / 2] = 1;
    let mut out = vec![0.0; f.block_len];
    dequantize(dtype, &block, &mut out).unwrap();
    assert!(out[1..].iter().all(|v| v.to_bits() == 0), "{dtype} {scale}");
    out[0]
}

#[test]
fn scales_of_one_byte_decode_over_their_whole_range() {
    for e in 0..=255 {
        assert_eq!(
            f64::from(first_element(DType::Mxfp4, e)),
            2f64.powi(i32::from(e) - 128),
            "{e}"
        );
    }
    for s in 0..=255u8 {
        let (exponent, mantissa) = (i32::from(s >> 3 & 15), f64::from(s & 7));
        let value = match (s, exponent) {
            (0x7f, _) => 0.0,
            (_, 0) => mantissa / 8.0 * 2f64.powi(-6),
            _ => (1.0 + mantissa / 8.0) * 2f64.powi(exponent - 7),
        };
        assert_eq!(f64::from(first_element(DType::Nvfp4, s)), value / 2.0, "{s}");
    }
}
