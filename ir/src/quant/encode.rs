//! Encoders: one block of each format from f32, every value to the nearest code of simply chosen scales.
//!
//! Scales come from the extreme values of a group and are rounded to how the format stores them before codes are
//! chosen, so that the error of a code is at most half a step plus what clamping costs.

use super::codebook::Levels;
use super::unpack::{half_of_e8m0, half_of_ue4m3};
use super::{E2M1, IQ4};
use half::f16;

/// Rounds to f16 and back.
fn half_rounded(x: f32) -> f32 {
    f16::from_f32(x).to_f32()
}

fn put_f16(out: &mut [u8], at: usize, x: f32) {
    out[at..at + 2].copy_from_slice(&f16::from_f32(x).to_le_bytes());
}

/// The code of the value that is nearest to `x` among `scale · (code − offset) − min`, code from 0 to `max`.
fn code(x: f32, scale: f32, min: f32, offset: f32, max: f32) -> u8 {
    if scale == 0.0 {
        return offset as u8;
    }
    ((x + min) / scale + offset).round_ties_even().clamp(0.0, max) as u8
}

fn extreme(x: &[f32]) -> f32 {
    x.iter()
        .fold(0.0, |a: f32, &v| if v.abs() > a.abs() { v } else { a })
}

/// Scale and negated lower bound of a group whose codes run from 0 to `max`.
fn range(x: &[f32], max: f32) -> (f32, f32) {
    let low = x.iter().fold(f32::INFINITY, |a, &v| a.min(v));
    let high = x.iter().fold(f32::NEG_INFINITY, |a, &v| a.max(v));
    ((high - low) / max, -low)
}

/// Writes a 32-element block of four or five bits with one f16 scale, and a minimum where `offset` is 0.
fn short_block(x: &[f32], out: &mut [u8], max: u8, offset: u8) {
    let (scale, min) = match offset {
        0 => range(x, f32::from(max)),
        _ => (extreme(x) / -f32::from(offset), 0.0),
    };
    let (scale, min) = (half_rounded(scale), half_rounded(min));
    put_f16(out, 0, scale);
    let mut at = 2;
    if offset == 0 {
        put_f16(out, at, -min);
        at += 2;
    }
    let codes: [u8; 32] = std::array::from_fn(|i| code(x[i], scale, min, f32::from(offset), f32::from(max)));
    if max > 15 {
        let fifth = codes
            .iter()
            .enumerate()
            .fold(0u32, |mask, (i, c)| mask | u32::from(c >> 4) << i);
        out[at..at + 4].copy_from_slice(&fifth.to_le_bytes());
        at += 4;
    }
    for i in 0..16 {
        out[at + i] = (codes[i] & 15) | codes[i + 16] << 4;
    }
}

pub fn q4_0(x: &[f32], out: &mut [u8]) {
    short_block(x, out, 15, 8);
}

pub fn q4_1(x: &[f32], out: &mut [u8]) {
    short_block(x, out, 15, 0);
}

pub fn q5_0(x: &[f32], out: &mut [u8]) {
    short_block(x, out, 31, 16);
}

pub fn q5_1(x: &[f32], out: &mut [u8]) {
    short_block(x, out, 31, 0);
}

pub fn q8_0(x: &[f32], out: &mut [u8]) {
    let scale = half_rounded(extreme(x).abs() / 127.0);
    put_f16(out, 0, scale);
    for (out, &x) in out[2..].iter_mut().zip(x) {
        *out = code(x, scale, 0.0, 128.0, 255.0) ^ 0x80;
    }
}

/// A 256-element block of two levels: group g has scale `d · scales[g]` and minimum `dmin · mins[g]`.
struct TwoLevel {
    d: f32,
    dmin: f32,
    scales: [i8; 16],
    mins: [i8; 16],
    codes: [u8; 256],
}

impl TwoLevel {
    fn choose(groups: &[(f32, f32)], levels: f32) -> TwoLevel {
        let largest = |of: fn(&(f32, f32)) -> f32| groups.iter().fold(0f32, |a, g| a.max(of(g).abs()));
        let (d, dmin) = (
            half_rounded(largest(|g| g.0) / levels),
            half_rounded(largest(|g| g.1) / levels),
        );
        let level = |v: f32, d: f32| {
            if d == 0.0 {
                0
            } else {
                (v / d).round_ties_even().clamp(-levels, levels) as i8
            }
        };
        let mut block = TwoLevel {
            d,
            dmin,
            scales: [0; 16],
            mins: [0; 16],
            codes: [0; 256],
        };
        for (g, &(scale, min)) in groups.iter().enumerate() {
            block.scales[g] = level(scale, d);
            block.mins[g] = level(min, dmin);
        }
        block
    }

    fn fill(&mut self, x: &[f32], group: usize, offset: u8, max: u8) {
        for (i, &x) in x.iter().enumerate() {
            let scale = self.d * f32::from(self.scales[i / group]);
            let min = self.dmin * f32::from(self.mins[i / group]);
            self.codes[i] = code(x, scale, min, f32::from(offset), f32::from(max));
        }
    }

    /// Groups with minima: these can't be negative, so that codes of a group of positive values start at 0.
    fn with_mins(x: &[f32], group: usize, max: u8, levels: u8) -> TwoLevel {
        let of_group = |x: &[f32]| {
            let low = x.iter().fold(0f32, |a, &v| a.min(v));
            let high = x.iter().fold(low, |a, &v| a.max(v));
            ((high - low) / f32::from(max), -low)
        };
        let groups: Vec<_> = x.chunks_exact(group).map(of_group).collect();
        let mut block = TwoLevel::choose(&groups, f32::from(levels));
        block.fill(x, group, 0, max);
        block
    }

    /// Groups of 16 with a signed scale whose codes are centered on `offset`.
    fn centered(x: &[f32], offset: u8, levels: u8) -> TwoLevel {
        let groups: Vec<_> = x
            .chunks_exact(16)
            .map(|x| (extreme(x) / -f32::from(offset), 0.0))
            .collect();
        let mut block = TwoLevel::choose(&groups, f32::from(levels));
        block.fill(x, 16, offset, 2 * offset - 1);
        block
    }

    /// The low two bits of the codes; see `unpack::pairs`.
    fn put_pairs(&self, shift: u8, out: &mut [u8]) {
        for (i, &code) in self.codes.iter().enumerate() {
            out[i / 128 * 32 + i % 32] |= ((code >> shift) & 3) << (2 * (i / 32 % 4));
        }
    }

    fn put_long_nibbles(&self, out: &mut [u8]) {
        for (i, &code) in self.codes.iter().enumerate() {
            out[i / 64 * 32 + i % 32] |= (code & 15) << (4 * (i / 32 % 2));
        }
    }

    /// Bit `bit` of the codes: that of element 32n + l is bit n of byte l.
    fn put_top_bits(&self, bit: u8, out: &mut [u8]) {
        for (i, &code) in self.codes.iter().enumerate() {
            out[i % 32] |= ((code >> bit) & 1) << (i / 32);
        }
    }

    /// `d`, `dmin` and the 12 bytes of `unpack::scales_and_mins`.
    fn put_scales_and_mins(&self, out: &mut [u8]) {
        put_f16(out, 0, self.d);
        put_f16(out, 2, self.dmin);
        let (scales, mins) = (self.scales.map(|s| s as u8), self.mins.map(|m| m as u8));
        for g in 0..4 {
            out[4 + g] = scales[g] | (scales[g + 4] >> 4) << 6;
            out[8 + g] = mins[g] | (mins[g + 4] >> 4) << 6;
            out[12 + g] = (scales[g + 4] & 15) | (mins[g + 4] & 15) << 4;
        }
    }
}

pub fn q2_k(x: &[f32], out: &mut [u8]) {
    let block = TwoLevel::with_mins(x, 16, 3, 15);
    out.fill(0);
    for ((out, &scale), &min) in out.iter_mut().zip(&block.scales).zip(&block.mins) {
        *out = scale as u8 | (min as u8) << 4;
    }
    block.put_pairs(0, &mut out[16..80]);
    put_f16(out, 80, block.d);
    put_f16(out, 82, block.dmin);
}

pub fn q3_k(x: &[f32], out: &mut [u8]) {
    let block = TwoLevel::centered(x, 4, 31);
    out.fill(0);
    block.put_top_bits(2, &mut out[..32]);
    block.put_pairs(0, &mut out[32..96]);
    for g in 0..16 {
        let stored = (block.scales[g] + 32) as u8;
        out[96 + g % 8] |= (stored & 15) << (4 * (g / 8));
        out[104 + g % 4] |= (stored >> 4) << (2 * (g / 4));
    }
    put_f16(out, 108, block.d);
}

pub fn q4_k(x: &[f32], out: &mut [u8]) {
    let block = TwoLevel::with_mins(x, 32, 15, 63);
    out.fill(0);
    block.put_scales_and_mins(out);
    block.put_long_nibbles(&mut out[16..]);
}

pub fn q5_k(x: &[f32], out: &mut [u8]) {
    let block = TwoLevel::with_mins(x, 32, 31, 63);
    out.fill(0);
    block.put_scales_and_mins(out);
    block.put_top_bits(4, &mut out[16..48]);
    block.put_long_nibbles(&mut out[48..]);
}

pub fn q6_k(x: &[f32], out: &mut [u8]) {
    let block = TwoLevel::centered(x, 32, 127);
    out.fill(0);
    for (i, &code) in block.codes.iter().enumerate() {
        out[i / 128 * 64 + i % 64] |= (code & 15) << (4 * (i / 64 % 2));
    }
    block.put_pairs(4, &mut out[128..192]);
    for (out, scale) in out[192..208].iter_mut().zip(block.scales) {
        *out = scale as u8;
    }
    put_f16(out, 208, block.d);
}

/// The index of the level that is nearest to `x / scale`.
fn nearest(levels: &Levels, x: f32, scale: f32) -> u8 {
    let distance = |index: u8| (x - scale * f32::from(levels[usize::from(index)])).abs();
    (1..16).fold(0, |best, index| {
        if distance(index) < distance(best) {
            index
        } else {
            best
        }
    })
}

/// Indices of the elements as nibbles: the low ones of all bytes, then the high ones.
fn put_nearest(levels: &Levels, x: &[f32], scale: f32, out: &mut [u8]) {
    let (low, high) = x.split_at(x.len() / 2);
    for ((out, &low), &high) in out.iter_mut().zip(low).zip(high) {
        *out = nearest(levels, low, scale) | nearest(levels, high, scale) << 4;
    }
}

/// The scale at which the first level, the most negative one, is the extreme element.
fn iq4_scale(x: &[f32]) -> f32 {
    extreme(x) / f32::from(IQ4[0])
}

pub fn iq4_nl(x: &[f32], out: &mut [u8]) {
    let scale = half_rounded(iq4_scale(x));
    put_f16(out, 0, scale);
    put_nearest(&IQ4, x, scale, &mut out[2..]);
}

pub fn iq4_xs(x: &[f32], out: &mut [u8]) {
    let groups: Vec<_> = x.chunks_exact(32).map(|x| (iq4_scale(x), 0.0)).collect();
    let block = TwoLevel::choose(&groups, 31.0);
    out.fill(0);
    put_f16(out, 0, block.d);
    for (g, x) in x.chunks_exact(32).enumerate() {
        let stored = (block.scales[g] + 32) as u8;
        out[2 + g / 4] |= (stored >> 4) << (2 * (g % 4));
        out[4 + g / 2] |= (stored & 15) << (4 * (g % 2));
        let scale = block.d * f32::from(block.scales[g]);
        put_nearest(&IQ4, x, scale, &mut out[8 + 16 * g..24 + 16 * g]);
    }
}

/// The least scale of `0..=last` whose largest level reaches all elements, or the last one.
fn e2m1_scale(x: &[f32], last: u8, value: fn(u8) -> f32) -> u8 {
    let (largest, top) = (extreme(x).abs(), f32::from(E2M1[7]));
    (0..=last).find(|&s| top * value(s) >= largest).unwrap_or(last)
}

pub fn mxfp4(x: &[f32], out: &mut [u8]) {
    out[0] = e2m1_scale(x, 254, half_of_e8m0);
    put_nearest(&E2M1, x, half_of_e8m0(out[0]), &mut out[1..]);
}

pub fn nvfp4(x: &[f32], out: &mut [u8]) {
    for (g, x) in x.chunks_exact(16).enumerate() {
        out[g] = e2m1_scale(x, 0x7e, half_of_ue4m3);
        put_nearest(&E2M1, x, half_of_ue4m3(out[g]), &mut out[4 + 8 * g..12 + 8 * g]);
    }
}
