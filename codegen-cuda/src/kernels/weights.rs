//! Text that reads weights: codes and scales of a block of a quantized format, or elements of a row of floats.

use super::text::{Lines, Names};
use crate::layout::{Element, Matrix, field, record_bytes};
use lathe_ir::quant::{Codebook, QuantFormat};

/// The part of names that tells matrices apart: type and shape.
pub fn matrix_name(m: &Matrix) -> String {
    format!("{}_{}x{}", m.dtype, m.rows, m.k)
}

/// `codes_P(w, i, c)`: the eight dwords of block `i` (a row's number times blocks of a row, plus the block); with a codebook,
/// what stands there. `scales_P(w, i, s, m)`: scale and minimum of each group of the block.
pub fn block_functions(suffix: &str, m: &Matrix, format: &QuantFormat) -> String {
    let mut text = Lines::new();
    if let Some(book) = format.codebook {
        text.line(lookup(suffix, book));
    }
    text.line(format_args!(
        "DEV void codes_{suffix}(const u8* w, u32 i, u32 (&c)[8]) {{"
    ));
    for (n, &bits) in format.planes.iter().enumerate() {
        let base = format!("w + {}ull + (u64)i * {}", m.plane(format, n), 4 * u32::from(bits));
        load_plane(&mut text, n, bits, &base);
    }
    for t in 0..8 {
        text.line(format_args!("    c[{t}] = {};", dword(format, t)));
    }
    if format.codebook.is_some() {
        text.line("#pragma unroll");
        text.line(format_args!(
            "    for (int t = 0; t < 8; ++t) c[t] = lookup_{suffix}(c[t]);"
        ));
    }
    text.line("}");
    text.line(scales(suffix, m, format));
    text.finish()
}

/// Loads the words of a plane into `pN_0`, `pN_1`, …
fn load_plane(text: &mut Lines, n: usize, bits: u8, base: &str) {
    match bits {
        1 => text.line(format_args!("    const u32 p{n}_0 = load4({base});")),
        2 => {
            text.line(format_args!("    const uint2 l{n} = load8({base});"));
            text.line(format_args!("    const u32 p{n}_0 = l{n}.x, p{n}_1 = l{n}.y;"));
        }
        _ => {
            for half in 0..u32::from(bits) / 4 {
                let (a, q) = (4 * half, 16 * half);
                text.line(format_args!(
                    "    const uint4 l{n}_{half} = load16({base} + {q});"
                ));
                let word = |i: u32, field: char| format!("p{n}_{} = l{n}_{half}.{field}", a + i);
                text.line(format_args!(
                    "    const u32 {}, {}, {}, {};",
                    word(0, 'x'),
                    word(1, 'y'),
                    word(2, 'z'),
                    word(3, 'w')
                ));
            }
        }
    }
}

/// Four codes, one a byte.
fn dword(format: &QuantFormat, t: u32) -> String {
    let mut below = 0;
    let mut terms = Vec::new();
    for (n, &bits) in format.planes.iter().enumerate() {
        let bits = u32::from(bits);
        let (word, shift) = field(bits, t);
        let mask = ((1u32 << bits) - 1) * 0x0101_0101;
        let mut term = match shift {
            0 => format!("p{n}_{word}"),
            shift => format!("(p{n}_{word} >> {shift})"),
        };
        if bits < 8 {
            term = format!("({term} & 0x{mask:08x}u)");
        }
        if below > 0 {
            term = format!("({term} << {below})");
        }
        terms.push(term);
        below += bits;
    }
    terms.join(" | ")
}

/// A function from four indices, one a byte, to four entries of a codebook of 16 bytes.
fn lookup(suffix: &str, book: &Codebook) -> String {
    let words: Vec<String> = book
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| format!("0x{:08x}u", u32::from_le_bytes(*b)))
        .collect();
    Names::new()
        .with("P", suffix)
        .with("A", &words[0])
        .with("B", &words[1])
        .with("C", &words[2])
        .with("D", &words[3])
        .fill(LOOKUP)
}

const LOOKUP: &str = "DEV u32 lookup_$P(u32 c) {
    const u32 pairs = c | (c >> 4);
    const u32 nibbles = __byte_perm(pairs, 0u, 0x4420u);
    const u32 low = __byte_perm($A, $B, nibbles & 0x7777u);
    const u32 high = __byte_perm($C, $D, nibbles & 0x7777u);
    const u32 mask = ((c >> 3) & 0x01010101u) * 255u;
    return (low & ~mask) | (high & mask);
}";

fn scales(suffix: &str, m: &Matrix, format: &QuantFormat) -> String {
    let groups = 32 / format.group;
    let mut text = Lines::new();
    text.line(format_args!(
        "DEV void scales_{suffix}(const u8* w, u32 i, float (&s)[{groups}], float (&m)[{groups}]) {{"
    ));
    let bytes = record_bytes(format);
    let base = format!("w + {}ull + (u64)i * {bytes}", m.records(format));
    match bytes {
        2 => text.line(format_args!("    const u32 r0 = load2({base});")),
        4 => text.line(format_args!("    const u32 r0 = load4({base});")),
        _ => text.line(format_args!(
            "    const uint2 r = load8({base}); const u32 r0 = r.x, r1 = r.y;"
        )),
    }
    let half = |n: u32| match n % 2 {
        0 => format!("from_half(r{} & 0xffffu)", n / 2),
        _ => format!("from_half(r{} >> 16)", n / 2),
    };
    for g in 0..groups {
        let (scale, min) = match format.has_min {
            true => (half(2 * g), half(2 * g + 1)),
            false => (half(g), "0.0f".to_owned()),
        };
        text.line(format_args!("    s[{g}] = {scale}; m[{g}] = {min};"));
    }
    text.line("}");
    text.finish()
}

/// Elements of a row of floats that a lane reads at once: they divide the row and take 16 bytes at most.
pub fn float_vector(m: &Matrix) -> u32 {
    let most = if matches!(m.element, Element::F32) { 4 } else { 8 };
    let fits = |&v: &u32| v <= most && m.k.is_multiple_of(v);
    [8, 4, 2].into_iter().find(fits).unwrap_or(1)
}

/// `floats_P(w, n, i, f)`: elements i.. of row n.
pub fn float_functions(suffix: &str, m: &Matrix) -> String {
    let v = float_vector(m);
    let mut text = Lines::new();
    text.line(format_args!(
        "DEV void floats_{suffix}(const u8* w, u32 n, u32 i, float (&f)[{v}]) {{"
    ));
    let bytes = if matches!(m.element, Element::F32) { 4 } else { 2 };
    text.line(format_args!(
        "    const u8* p = w + ((u64)n * {} + i) * {bytes};",
        m.k
    ));
    text.line(load_floats(&m.element, v, "p", "f"));
    text.line("}");
    text.finish()
}

/// Statements that load `v` elements at `p` into the array `f`.
pub fn load_floats(element: &Element, v: u32, p: &str, f: &str) -> String {
    let (bytes, convert) = match element {
        Element::F32 => (4 * v, "__uint_as_float"),
        Element::Bf16 => (2 * v, "from_bf16"),
        Element::F16 | Element::Codes(_) => (2 * v, "from_half"),
    };
    let mut text = Lines::new();
    let words: Vec<String> = match bytes {
        16 => ["x", "y", "z", "w"].map(|c| format!("l.{c}")).to_vec(),
        8 => ["x", "y"].map(|c| format!("l.{c}")).to_vec(),
        _ => vec!["l".to_owned()],
    };
    text.line(match bytes {
        16 => format!("    const uint4 l = load16({p});"),
        8 => format!("    const uint2 l = load8({p});"),
        4 => format!("    const u32 l = load4({p});"),
        _ => format!("    const u32 l = load2({p});"),
    });
    for i in 0..v {
        let bits = match bytes / v {
            4 => words[i as usize].clone(),
            _ if i % 2 == 0 => format!("{} & 0xffffu", words[i as usize / 2]),
            _ => format!("{} >> 16", words[i as usize / 2]),
        };
        text.line(format_args!("    {f}[{i}] = {convert}({bits});"));
    }
    text.finish()
}
