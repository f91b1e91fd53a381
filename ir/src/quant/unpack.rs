//! Decoders: one block of each format into canonical form.
//!
//! The loops run over whole runs of 16 or 32 bytes so that the compiler vectorizes them: packing a model is bound by
//! them. A block that is not as long as its format says is a bug of the caller.

use super::Canonical;
use half::f16;

#[inline]
fn block_of<const N: usize>(block: &[u8]) -> &[u8; N] {
    block.try_into().expect("a block is as long as its format says")
}

#[inline]
fn f16_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// 16 bytes to 32 codes: all low nibbles, then all high nibbles.
#[inline]
fn nibbles(bytes: &[u8; 16], codes: &mut [u8]) {
    for (i, &b) in bytes.iter().enumerate() {
        codes[i] = b & 15;
        codes[i + 16] = b >> 4;
    }
}

/// Sets bit 4 of code i to bit i of the little-endian mask.
#[inline]
fn fifth_bits(mask: &[u8; 4], codes: &mut [u8]) {
    let mask = u32::from_le_bytes(*mask);
    for (i, code) in codes[..32].iter_mut().enumerate() {
        *code |= ((mask >> i) as u8 & 1) << 4;
    }
}

/// `f16 d; u8 nibbles[16]`.
pub fn q4_0(block: &[u8], out: &mut Canonical) {
    let block = block_of::<18>(block);
    out.scales[0] = f16_at(block, 0);
    nibbles(array(&block[2..]), &mut out.codes);
}

/// `f16 d, m; u8 nibbles[16]`.
pub fn q4_1(block: &[u8], out: &mut Canonical) {
    let block = block_of::<20>(block);
    out.scales[0] = f16_at(block, 0);
    out.mins[0] = -f16_at(block, 2);
    nibbles(array(&block[4..]), &mut out.codes);
}

/// `f16 d; u32 fifth bits; u8 nibbles[16]`.
pub fn q5_0(block: &[u8], out: &mut Canonical) {
    let block = block_of::<22>(block);
    out.scales[0] = f16_at(block, 0);
    nibbles(array(&block[6..]), &mut out.codes);
    fifth_bits(array(&block[2..6]), &mut out.codes);
}

/// `f16 d, m; u32 fifth bits; u8 nibbles[16]`.
pub fn q5_1(block: &[u8], out: &mut Canonical) {
    let block = block_of::<24>(block);
    out.scales[0] = f16_at(block, 0);
    out.mins[0] = -f16_at(block, 2);
    nibbles(array(&block[8..]), &mut out.codes);
    fifth_bits(array(&block[4..8]), &mut out.codes);
}

/// `f16 d; i8 values[32]`.
pub fn q8_0(block: &[u8], out: &mut Canonical) {
    let block = block_of::<34>(block);
    out.scales[0] = f16_at(block, 0);
    for (code, &value) in out.codes.iter_mut().zip(&block[2..]) {
        *code = value ^ 0x80;
    }
}

/// `u8 scales[16] (4 bits scale, 4 bits min); u8 pairs[64]; f16 d, dmin`.
pub fn q2_k(block: &[u8], out: &mut Canonical) {
    let block = block_of::<84>(block);
    let (d, dmin) = (f16_at(block, 80), f16_at(block, 82));
    for (g, b) in block[..16].iter().enumerate() {
        out.scales[g] = d * f32::from(b & 15);
        out.mins[g] = dmin * f32::from(b >> 4);
    }
    pairs(array(&block[16..80]), &mut out.codes);
}

/// `u8 third bits[32]; u8 pairs[64]; u8 scales[12] (6 bits, less 32); f16 d`.
pub fn q3_k(block: &[u8], out: &mut Canonical) {
    let block = block_of::<110>(block);
    let d = f16_at(block, 108);
    let packed: &[u8; 12] = array(&block[96..108]);
    for g in 0..16 {
        let low = if g < 8 { packed[g] & 15 } else { packed[g - 8] >> 4 };
        let high = (packed[8 + g % 4] >> (2 * (g / 4))) & 3;
        out.scales[g] = d * (f32::from(low | high << 4) - 32.0);
    }
    pairs(array(&block[32..96]), &mut out.codes);
    let third: &[u8; 32] = array(&block[..32]);
    for (n, codes) in out.codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (code, bits) in codes.iter_mut().zip(third) {
            *code |= ((bits >> n) & 1) << 2;
        }
    }
}

/// `f16 d, dmin; u8 scales[12]; u8 nibbles[128]`.
pub fn q4_k(block: &[u8], out: &mut Canonical) {
    let block = block_of::<144>(block);
    scales_and_mins(f16_at(block, 0), f16_at(block, 2), array(&block[4..16]), out);
    long_nibbles(array(&block[16..]), &mut out.codes);
}

/// `f16 d, dmin; u8 scales[12]; u8 fifth bits[32]; u8 nibbles[128]`.
pub fn q5_k(block: &[u8], out: &mut Canonical) {
    let block = block_of::<176>(block);
    scales_and_mins(f16_at(block, 0), f16_at(block, 2), array(&block[4..16]), out);
    long_nibbles(array(&block[48..]), &mut out.codes);
    let fifth: &[u8; 32] = array(&block[16..48]);
    for (n, codes) in out.codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (code, bits) in codes.iter_mut().zip(fifth) {
            *code |= ((bits >> n) & 1) << 4;
        }
    }
}

/// `u8 nibbles[128]; u8 pairs[64]; i8 scales[16]; f16 d`.
pub fn q6_k(block: &[u8], out: &mut Canonical) {
    let block = block_of::<210>(block);
    let d = f16_at(block, 208);
    for g in 0..16 {
        out.scales[g] = d * f32::from(block[192 + g] as i8);
    }
    for (half, codes) in out.codes.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        let low = &block[half * 64..half * 64 + 64];
        let high: &[u8; 32] = array(&block[128 + half * 32..160 + half * 32]);
        for (j, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let low: &[u8; 32] = array(&low[j % 2 * 32..][..32]);
            let (nibble, pair) = (j / 2 * 4, 2 * j);
            for ((code, low), high) in codes.iter_mut().zip(low).zip(high) {
                *code = ((low >> nibble) & 15) | ((high >> pair) & 3) << 4;
            }
        }
    }
}

/// `f16 d; u8 nibbles[16]`.
pub fn iq4_nl(block: &[u8], out: &mut Canonical) {
    let block = block_of::<18>(block);
    out.scales[0] = f16_at(block, 0);
    nibbles(array(&block[2..]), &mut out.codes);
}

/// `f16 d; u16 upper two bits of scales; u8 lower four[4]; u8 nibbles[128]`; scales are less 32.
pub fn iq4_xs(block: &[u8], out: &mut Canonical) {
    let block = block_of::<136>(block);
    let d = f16_at(block, 0);
    let high = u16::from_le_bytes([block[2], block[3]]);
    for g in 0..8 {
        let low = (block[4 + g / 2] >> (4 * (g % 2))) & 15;
        let scale = low | ((high >> (2 * g)) as u8 & 3) << 4;
        out.scales[g] = d * (f32::from(scale) - 32.0);
        nibbles(array(&block[8 + 16 * g..24 + 16 * g]), &mut out.codes[32 * g..]);
    }
}

/// `u8 exponent; u8 nibbles[16]`. In a block of zeros the scale is 0, whatever its exponent: writers leave that at the
/// end of its range, where no packed scale can follow.
pub fn mxfp4(block: &[u8], out: &mut Canonical) {
    let block = block_of::<17>(block);
    nibbles(array(&block[1..]), &mut out.codes);
    // Of an E2M1 zero, no bit but the sign is set.
    let zeros = block[1..].iter().all(|nibbles| nibbles & 0x77 == 0);
    out.scales[0] = if zeros { 0.0 } else { half_of_e8m0(block[0]) };
}

/// `u8 scales[4]; u8 nibbles[32]`: of every 8 bytes the low nibbles, then the high ones.
pub fn nvfp4(block: &[u8], out: &mut Canonical) {
    let block = block_of::<36>(block);
    for g in 0..4 {
        out.scales[g] = half_of_ue4m3(block[g]);
        let bytes: &[u8; 8] = array(&block[4 + 8 * g..12 + 8 * g]);
        for (i, &b) in bytes.iter().enumerate() {
            out.codes[16 * g + i] = b & 15;
            out.codes[16 * g + 8 + i] = b >> 4;
        }
    }
}

/// Half of an E8M0 scale: 2^(e − 128), of which the two smallest are subnormal. 255, a NaN in E8M0, is 2^127.
pub(super) fn half_of_e8m0(e: u8) -> f32 {
    f32::from_bits(match e {
        0 | 1 => 1 << (21 + e),
        _ => u32::from(e - 1) << 23,
    })
}

/// Half of an unsigned E4M3 scale (exponents are biased by 7, the top bit means nothing). 0x7f, a NaN in E4M3, is 0.
pub(super) fn half_of_ue4m3(scale: u8) -> f32 {
    const SMALLEST: f32 = 1.0 / 1024.0;
    let (exponent, mantissa) = ((scale >> 3) & 15, scale & 7);
    match (scale, exponent) {
        (0x7f, _) => 0.0,
        (_, 0) => f32::from(mantissa) * SMALLEST,
        (_, e) => f32::from(8 + mantissa) * f32::from(1u16 << (e - 1)) * SMALLEST,
    }
}

/// 64 bytes to 256 codes of two bits: byte 32n + l holds elements 128n + 32j + l.
#[inline]
fn pairs(bytes: &[u8; 64], codes: &mut [u8; 256]) {
    for (bytes, codes) in bytes
        .as_chunks::<32>()
        .0
        .iter()
        .zip(codes.as_chunks_mut::<128>().0)
    {
        for (j, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (code, b) in codes.iter_mut().zip(bytes) {
                *code = (b >> (2 * j)) & 3;
            }
        }
    }
}

/// 128 bytes to 256 codes: of every 32 bytes the low nibbles, then the high ones.
#[inline]
fn long_nibbles(bytes: &[u8; 128], codes: &mut [u8; 256]) {
    for (bytes, codes) in bytes
        .as_chunks::<32>()
        .0
        .iter()
        .zip(codes.as_chunks_mut::<64>().0)
    {
        for i in 0..32 {
            codes[i] = bytes[i] & 15;
            codes[i + 32] = bytes[i] >> 4;
        }
    }
}

/// Eight scales and eight minima of six bits in 12 bytes: the low six bits of bytes 0–3 and 4–7 are those of groups 0–3;
/// groups 4–7 have their low nibbles in bytes 8–11 and their upper two bits atop bytes 0–3 and 4–7.
#[inline]
fn scales_and_mins(d: f32, dmin: f32, packed: &[u8; 12], out: &mut Canonical) {
    for g in 0..4 {
        out.scales[g] = d * f32::from(packed[g] & 63);
        out.mins[g] = dmin * f32::from(packed[g + 4] & 63);
        out.scales[g + 4] = d * f32::from((packed[g + 8] & 15) | (packed[g] >> 6) << 4);
        out.mins[g + 4] = dmin * f32::from((packed[g + 8] >> 4) | (packed[g + 4] >> 6) << 4);
    }
}

#[inline]
fn array<const N: usize>(bytes: &[u8]) -> &[u8; N] {
    bytes
        .try_into()
        .expect("the parts of a block have constant lengths")
}
