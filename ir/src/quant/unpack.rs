//! Decoders: one block of each format into canonical form.
//!
//! Packing a model is bound by them. Fields of bytes are taken eight bytes a word, so that no processor handles them one
//! by one; in and out go arrays by value, which the compiler knows not to overlap, and everything is inlined wherever it
//! is called, to be compiled for the vectors of the caller. A block that is not as long as its format says is a bug of
//! the caller.

use super::Canonical;
use half::f16;

#[inline(always)]
pub(super) fn block_of<const N: usize>(block: &[u8]) -> &[u8; N] {
    block.try_into().expect("a block is as long as its format says")
}

#[inline(always)]
fn f16_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// 8·N bytes as words.
#[inline(always)]
pub(super) fn words<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// Writes the bytes of words.
#[inline(always)]
fn put<const N: usize>(words: [u64; N], out: &mut [u8]) {
    for (out, word) in out[..8 * N].as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *out = word.to_le_bytes();
    }
}

/// The byte in all bytes of a word.
pub(super) const fn each(byte: u8) -> u64 {
    0x0101_0101_0101_0101 * byte as u64
}

/// `(byte >> shift) & mask` of each byte.
#[inline(always)]
pub(super) fn field<const N: usize>(words: [u64; N], shift: u32, mask: u8) -> [u64; N] {
    words.map(|w| (w >> shift) & each(mask))
}

/// `low | high << shift` of each byte; no bit may leave its byte.
#[inline(always)]
fn join<const N: usize>(low: [u64; N], high: [u64; N], shift: u32) -> [u64; N] {
    std::array::from_fn(|i| low[i] | high[i] << shift)
}

/// `factor · byte` of eight bytes.
#[inline(always)]
fn times(bytes: u64, factor: f32, out: &mut [f32]) {
    for (out, byte) in out[..8].iter_mut().zip(bytes.to_le_bytes()) {
        *out = factor * f32::from(byte);
    }
}

/// `factor · byte` of eight signed bytes.
#[inline(always)]
fn times_signed(bytes: u64, factor: f32, out: &mut [f32]) {
    for (out, byte) in out[..8].iter_mut().zip(bytes.to_le_bytes()) {
        *out = factor * f32::from(byte as i8);
    }
}

/// 16 bytes to 32 codes: all low nibbles, then all high nibbles.
#[inline(always)]
fn nibbles(bytes: &[u8; 16]) -> [u64; 4] {
    let [a, b] = words(bytes);
    let ([a_low, b_low], [a_high, b_high]) = (field([a, b], 0, 15), field([a, b], 4, 15));
    [a_low, b_low, a_high, b_high]
}

/// Bit i of the little-endian mask as bit 4 of byte i.
#[inline(always)]
fn fifth_bits(mask: &[u8; 4]) -> [u64; 4] {
    mask.map(|bits| {
        // Bit i alone in byte i, then, as any such byte plus 0x7f has its top bit set, the top bit of byte i.
        let apart = (each(1) * u64::from(bits)) & 0x8040_2010_0804_0201;
        ((apart + each(0x7f)) & each(0x80)) >> 3
    })
}

/// `f16 d; u8 nibbles[16]`.
#[inline(always)]
pub fn q4_0(block: &[u8], out: &mut Canonical) {
    let block = block_of::<18>(block);
    out.scales[0] = f16_at(block, 0);
    put(nibbles(array(&block[2..])), &mut out.codes);
}

/// `f16 d, m; u8 nibbles[16]`.
#[inline(always)]
pub fn q4_1(block: &[u8], out: &mut Canonical) {
    let block = block_of::<20>(block);
    out.scales[0] = f16_at(block, 0);
    out.mins[0] = -f16_at(block, 2);
    put(nibbles(array(&block[4..])), &mut out.codes);
}

/// `f16 d; u32 fifth bits; u8 nibbles[16]`.
#[inline(always)]
pub fn q5_0(block: &[u8], out: &mut Canonical) {
    let block = block_of::<22>(block);
    out.scales[0] = f16_at(block, 0);
    let codes = join(nibbles(array(&block[6..])), fifth_bits(array(&block[2..6])), 0);
    put(codes, &mut out.codes);
}

/// `f16 d, m; u32 fifth bits; u8 nibbles[16]`.
#[inline(always)]
pub fn q5_1(block: &[u8], out: &mut Canonical) {
    let block = block_of::<24>(block);
    out.scales[0] = f16_at(block, 0);
    out.mins[0] = -f16_at(block, 2);
    let codes = join(nibbles(array(&block[8..])), fifth_bits(array(&block[4..8])), 0);
    put(codes, &mut out.codes);
}

/// `f16 d; i8 values[32]`.
#[inline(always)]
pub fn q8_0(block: &[u8], out: &mut Canonical) {
    let block = block_of::<34>(block);
    out.scales[0] = f16_at(block, 0);
    put(words::<4>(&block[2..]).map(|w| w ^ each(0x80)), &mut out.codes);
}

/// `u8 scales[16] (4 bits scale, 4 bits min); u8 pairs[64]; f16 d, dmin`.
#[inline(always)]
pub fn q2_k(block: &[u8], out: &mut Canonical) {
    let block = block_of::<84>(block);
    let (d, dmin) = (f16_at(block, 80), f16_at(block, 82));
    let packed: [u64; 2] = words(&block[..16]);
    let (scales, mins) = (field(packed, 0, 15), field(packed, 4, 15));
    for half in 0..2 {
        times(scales[half], d, &mut out.scales[8 * half..]);
        times(mins[half], dmin, &mut out.mins[8 * half..]);
    }
    for (n, codes) in pairs(array(&block[16..80])).into_iter().enumerate() {
        put(codes, &mut out.codes[32 * n..]);
    }
}

/// `u8 third bits[32]; u8 pairs[64]; u8 scales[12] (6 bits, less 32); f16 d`. Scales have their low nibbles in the
/// nibbles of the first eight bytes, and their upper two bits in the pairs of the other four.
#[inline(always)]
pub fn q3_k(block: &[u8], out: &mut Canonical) {
    let block = block_of::<110>(block);
    let d = f16_at(block, 108);
    for (half, scales) in q3_k_scales(array(&block[96..108])).into_iter().enumerate() {
        times_signed(scales, d, &mut out.scales[8 * half..]);
    }
    let third: [u64; 4] = words(&block[..32]);
    for (n, codes) in pairs(array(&block[32..96])).into_iter().enumerate() {
        put(
            join(codes, field(third, n as u32, 1), 2),
            &mut out.codes[32 * n..],
        );
    }
}

/// The 16 scales of `q3_k` as signed bytes.
#[inline(always)]
pub(super) fn q3_k_scales(packed: &[u8; 12]) -> [u64; 2] {
    let [low]: [u64; 1] = words(&packed[..8]);
    let high = u64::from(u32::from_le_bytes(*array(&packed[8..])));
    // The pairs of groups 0–3 and 4–7, or of 8–11 and 12–15 beside one another.
    let high = [high | high << 30, high >> 4 | high << 26];
    let scales = join([low, low >> 4].map(|w| w & each(15)), field(high, 0, 3), 4);
    // Bytes less 32, which leaves no byte: the top bit is set before, and flipped after.
    scales.map(|w| ((w | each(0x80)) - each(32)) ^ each(0x80))
}

/// `f16 d, dmin; u8 scales[12]; u8 nibbles[128]`.
#[inline(always)]
pub fn q4_k(block: &[u8], out: &mut Canonical) {
    let block = block_of::<144>(block);
    scales_and_mins(f16_at(block, 0), f16_at(block, 2), array(&block[4..16]), out);
    for (n, codes) in long_nibbles(array(&block[16..])).into_iter().enumerate() {
        put(codes, &mut out.codes[32 * n..]);
    }
}

/// `f16 d, dmin; u8 scales[12]; u8 fifth bits[32]; u8 nibbles[128]`.
#[inline(always)]
pub fn q5_k(block: &[u8], out: &mut Canonical) {
    let block = block_of::<176>(block);
    scales_and_mins(f16_at(block, 0), f16_at(block, 2), array(&block[4..16]), out);
    let fifth: [u64; 4] = words(&block[16..48]);
    for (n, codes) in long_nibbles(array(&block[48..])).into_iter().enumerate() {
        put(
            join(codes, field(fifth, n as u32, 1), 4),
            &mut out.codes[32 * n..],
        );
    }
}

/// `u8 nibbles[128]; u8 pairs[64]; i8 scales[16]; f16 d`.
#[inline(always)]
pub fn q6_k(block: &[u8], out: &mut Canonical) {
    let block = block_of::<210>(block);
    let d = f16_at(block, 208);
    for (half, scales) in words::<2>(&block[192..208]).into_iter().enumerate() {
        times_signed(scales, d, &mut out.scales[8 * half..]);
    }
    for half in 0..2 {
        let low: [[u64; 4]; 2] = [0, 32].map(|at| words(&block[64 * half + at..]));
        let high: [u64; 4] = words(&block[128 + 32 * half..]);
        for j in 0..4 {
            let nibbles = field(low[j % 2], j as u32 / 2 * 4, 15);
            let codes = join(nibbles, field(high, 2 * j as u32, 3), 4);
            put(codes, &mut out.codes[128 * half + 32 * j..]);
        }
    }
}

/// `f16 d; u8 nibbles[16]`.
#[inline(always)]
pub fn iq4_nl(block: &[u8], out: &mut Canonical) {
    let block = block_of::<18>(block);
    out.scales[0] = f16_at(block, 0);
    put(nibbles(array(&block[2..])), &mut out.codes);
}

/// `f16 d; u16 upper two bits of scales; u8 lower four[4]; u8 nibbles[128]`; scales are less 32.
#[inline(always)]
pub fn iq4_xs(block: &[u8], out: &mut Canonical) {
    let block = block_of::<136>(block);
    let d = f16_at(block, 0);
    for g in 0..8 {
        out.scales[g] = d * f32::from(iq4_xs_scale(block, g));
        put(
            nibbles(array(&block[8 + 16 * g..24 + 16 * g])),
            &mut out.codes[32 * g..],
        );
    }
}

/// The scale of group `g` of `iq4_xs`.
#[inline(always)]
pub(super) fn iq4_xs_scale(block: &[u8; 136], g: usize) -> i8 {
    let high = u16::from_le_bytes([block[2], block[3]]);
    let low = (block[4 + g / 2] >> (4 * (g % 2))) & 15;
    (low | ((high >> (2 * g)) as u8 & 3) << 4) as i8 - 32
}

/// `u8 exponent; u8 nibbles[16]`. In a block of zeros the scale is 0, whatever its exponent: writers leave that at the
/// end of its range, where no packed scale can follow.
#[inline(always)]
pub fn mxfp4(block: &[u8], out: &mut Canonical) {
    let block = block_of::<17>(block);
    put(nibbles(array(&block[1..])), &mut out.codes);
    // Of an E2M1 zero, no bit but the sign is set.
    let zeros = field(words::<2>(&block[1..]), 0, 0x77) == [0, 0];
    out.scales[0] = if zeros { 0.0 } else { half_of_e8m0(block[0]) };
}

/// `u8 scales[4]; u8 nibbles[32]`: of every 8 bytes the low nibbles, then the high ones.
#[inline(always)]
pub fn nvfp4(block: &[u8], out: &mut Canonical) {
    let block = block_of::<36>(block);
    for (scale, byte) in out.scales.iter_mut().zip(&block[..4]) {
        *scale = half_of_ue4m3(*byte);
    }
    for (g, bytes) in words::<4>(&block[4..]).into_iter().enumerate() {
        put(
            [bytes & each(15), (bytes >> 4) & each(15)],
            &mut out.codes[16 * g..],
        );
    }
}

/// Half of an E8M0 scale: 2^(e − 128), of which the two smallest are subnormal. 255, a NaN in E8M0, is 2^127.
#[inline(always)]
pub(super) fn half_of_e8m0(e: u8) -> f32 {
    f32::from_bits(match e {
        0 | 1 => 1 << (21 + e),
        _ => u32::from(e - 1) << 23,
    })
}

/// Half of an unsigned E4M3 scale (exponents are biased by 7, the top bit means nothing). 0x7f, a NaN in E4M3, is 0.
#[inline(always)]
pub(super) fn half_of_ue4m3(scale: u8) -> f32 {
    // Exponent and mantissa where those of an f32 end, which is biased by 127; the product is exact.
    const HALF_OF_BIAS: f32 = f32::from_bits((127 + 127 - 7 - 1) << 23);
    let bits = if scale == 0x7f {
        0
    } else {
        u32::from(scale & 0x7f) << 20
    };
    f32::from_bits(bits) * HALF_OF_BIAS
}

/// 64 bytes to eight times 32 codes of two bits: byte 32n + l holds elements 128n + 32j + l.
#[inline(always)]
fn pairs(bytes: &[u8; 64]) -> [[u64; 4]; 8] {
    let bytes: [[u64; 4]; 2] = [words(&bytes[..32]), words(&bytes[32..])];
    std::array::from_fn(|n| field(bytes[n / 4], n as u32 % 4 * 2, 3))
}

/// 128 bytes to eight times 32 codes: of every 32 bytes the low nibbles, then the high ones.
#[inline(always)]
fn long_nibbles(bytes: &[u8; 128]) -> [[u64; 4]; 8] {
    std::array::from_fn(|n| field(words(&bytes[n / 2 * 32..]), n as u32 % 2 * 4, 15))
}

#[inline(always)]
fn scales_and_mins(d: f32, dmin: f32, packed: &[u8; 12], out: &mut Canonical) {
    let [scales, mins] = six_bits(packed);
    times(scales, d, &mut out.scales);
    times(mins, dmin, &mut out.mins);
}

/// Eight scales and eight minima of six bits in 12 bytes: the low six bits of bytes 0–3 and 4–7 are those of groups 0–3;
/// groups 4–7 have their low nibbles in bytes 8–11 and their upper two bits atop bytes 0–3 and 4–7.
#[inline(always)]
pub(super) fn six_bits(packed: &[u8; 12]) -> [u64; 2] {
    let word = |at: usize| u64::from(u32::from_le_bytes(*array(&packed[at..at + 4])));
    let (first, low) = ([word(0), word(4)], [word(8), word(8) >> 4]);
    [0, 1].map(|i| {
        let upper = (first[i] >> 6 & 0x0303_0303) << 4 | (low[i] & 0x0f0f_0f0f);
        first[i] & 0x3f3f_3f3f | upper << 32
    })
}

#[inline(always)]
pub(super) fn array<const N: usize>(bytes: &[u8]) -> &[u8; N] {
    bytes
        .try_into()
        .expect("the parts of a block have constant lengths")
}
