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
