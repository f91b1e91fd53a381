//! What happens to heads of products: norm and rotation of each, and the store into the cache. One warp a head of a row.

use super::epilogue::Step;
use super::text::{Lines, Names, float, float_name};
use super::{Kernel, Param, ParamType, row_bytes};
use crate::layout::KvHead;
use lathe_ir::graph::{KvPart, RopePairs};
use lathe_ir::layout::KvType;

/// Largest magnitude of a cached element, so that no infinity or NaN gets into a block.
const MOST: f32 = 3e38;
/// Largest magnitude of an element in f16.
const MOST_F16: f32 = 65504.0;
/// The least that counts as a group's largest magnitude: its inverse must be finite. Codes of smaller groups are zero.
const LEAST_PEAK: f32 = 1e-30;

/// Where heads go.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum HeadOut {
    /// Back to where they come from, a value of f32.
    InPlace,
    /// The cache.
    Kv {
        /// Keys or values, for the name.
        part: KvPart,
        /// How they are stored.
        ty: KvType,
    },
}

/// The heads of one product.
#[derive(Clone, PartialEq, Debug)]
pub struct HeadPart {
    /// Heads of a row.
    pub heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// RMS norm of each head, and what is added to the mean of squares.
    pub norm: Option<f32>,
    /// Rotation of pairs of the first elements.
    pub rope: Option<(RopePairs, u32)>,
    /// What follows, element by element.
    pub steps: Vec<Step>,
    /// Where they go.
    pub out: HeadOut,
}

/// Heads of the products of one launch.
#[derive(Clone, PartialEq, Debug)]
pub struct Heads {
    /// The products, at least one.
    pub parts: Vec<HeadPart>,
    /// Entries of a sequence's row of the block table.
    pub blocks_per_seq: u32,
}

/// Warps of a block.
const WARPS: u32 = 4;
/// Most pairs of a cosine and a sine that a lane of a product's finisher reads ahead.
const MOST_AHEAD: u32 = 8;

impl HeadPart {
    fn name(&self) -> String {
        let norm = self
            .norm
            .map_or(String::new(), |eps| format!("_norm{}", float_name(eps)));
        let rope = self.rope.map_or(String::new(), |(pairs, dims)| {
            format!("_{}{dims}", pairs.keyword())
        });
        let out = match self.out {
            HeadOut::InPlace => String::new(),
            HeadOut::Kv { part, ty } => format!("_{}{ty}", part.keyword()),
        };
        let steps = Step::names(&self.steps);
        format!("{}x{}{norm}{rope}{steps}{out}", self.heads, self.head_dim)
    }

    fn kv(&self) -> Option<KvHead> {
        match self.out {
            HeadOut::InPlace => None,
            HeadOut::Kv { ty, .. } => Some(KvHead {
                head_dim: self.head_dim,
                ty,
            }),
        }
    }

    /// Whether a product can do it element by element: neighbours rotate together, and elements are stored by themselves.
    fn can_finish(&self) -> bool {
        let rotates = !matches!(self.rope, Some((RopePairs::Half, _)));
        let alone = self.kv().is_none_or(|head| head.groups() == 0);
        let whole = (self.heads * self.head_dim).is_multiple_of(16) && self.head_dim.is_multiple_of(2);
        rotates && alone && whole && self.norm.is_none()
    }

    /// The parameter for the cache, of a block of which it has the bytes, if heads go there.
    fn cache_param(&self, i: usize) -> Option<Param> {
        let bytes = self.kv()?.bytes() * u64::from(self.heads);
        Some(Param::whole(format!("kv{i}"), ParamType::Bytes, bytes).written())
    }

    /// The parameter for cosines and sines, if heads turn.
    fn rope_param(&self, i: usize) -> Option<Param> {
        let bytes = row_bytes(ParamType::F32, self.rope?.1);
        Some(Param::rows(format!("rope{i}"), ParamType::F32, bytes))
    }

    /// Parameters of a product that does it, `out` being that of its result.
    pub(super) fn finish_params(&self, i: usize, out: Option<Param>) -> Vec<Param> {
        let to = self.cache_param(i).or(out);
        to.into_iter().chain(self.rope_param(i)).collect()
    }

    /// Names for how an element is stored by itself: its type, the conversion to it, the largest magnitude.
    fn element_names(&self, names: Names) -> Names {
        let ty = self.kv().map(|head| head.ty);
        let (element, convert, most) = match ty {
            Some(KvType::F16) => ("u16", "(u16)to_half", MOST_F16),
            Some(KvType::Bf16) => ("u16", "(u16)to_bf16", MOST),
            _ => ("float", "", MOST),
        };
        names
            .with("ELEMENT", element)
            .with("CONVERT", convert)
            .with("MOST", float(most))
    }

    /// Statements that put a head where it goes.
    fn store(&self, i: usize) -> String {
        let names = Names::new()
            .with("P", i)
            .with("D", self.head_dim)
            .with("N", self.heads * self.head_dim);
        let Some(head) = self.kv() else {
            return names.fill(IN_PLACE);
        };
        let names = self.element_names(names);
        match head.ty {
            KvType::F32 | KvType::F16 | KvType::Bf16 => names.fill(STORE),
            KvType::Q8_0 => names
                .with("SCALES", head.code_bytes())
                .with("GROUPS", head.groups())
                .with("LEAST", float(LEAST_PEAK))
                .fill(STORE_CODES),
            KvType::Q4_0 => unreachable!("refused by the lowering"),
        }
    }
}

impl Heads {
    /// Whether a product of few rows can do all of it, element by element.
    pub fn can_finish(&self) -> bool {
        self.parts.iter().all(HeadPart::can_finish)
    }

    /// Parameters that say where in the cache rows go.
    pub(super) fn place_params(&self) -> Vec<Param> {
        match self.stores_kv() {
            false => Vec::new(),
            true => vec![
                Param::rows("positions", ParamType::I32, 4),
                Param::rows("seqs", ParamType::I32, 4),
                Param::whole("tables", ParamType::I32, 0),
            ],
        }
    }

    /// Statements of a product's finisher that find that out, for each row that a lane has elements of.
    pub(super) fn places(&self, rows: u32) -> String {
        let names = Names::new()
            .with("ROUNDS", rows.div_ceil(2))
            .with("TABLE", self.blocks_per_seq);
        match self.stores_kv() {
            true => names.fill(PLACES),
            false => String::new(),
        }
    }

    /// Statements of a product's finisher for part `i`, whose names are given.
    pub(super) fn finisher(&self, i: usize, names: Names, tiles: u32, rows: u32) -> String {
        let part = &self.parts[i];
        let ahead = tiles * rows.div_ceil(2) <= MOST_AHEAD;
        let (head, dims) = (part.kv(), part.rope.map_or(0, |(_, dims)| dims));
        let names = part
            .element_names(names)
            .with("ROUNDS", rows.div_ceil(2))
            .with("D", part.head_dim)
            .with("N", part.heads * part.head_dim)
            .with("HEADS", part.heads)
            .with("HEAD_BYTES", head.map_or(0, |h| h.bytes()))
            .with("DIMS", dims);
        let (turns, turn) = match (dims, ahead) {
            (0, _) => (String::new(), String::new()),
            (_, true) => (names.fill(LOAD_TURN), names.fill(TURN)),
            (_, false) => (String::new(), names.fill(LOAD_AND_TURN)),
        };
        let store = names.fill(if head.is_some() {
            STORE_ELEMENT
        } else {
            STORE_FLOAT
        });
        let steps: Vec<String> = part.steps.iter().map(|s| s.statement("", 0)).collect();
        let names = names.with("TURNS", turns).with("TURN", turn);
        let names = names.with("STEPS_AFTER", steps.join(" "));
        names.with("STORE", store).fill(FINISH_HEADS)
    }

    /// Units of a row: heads of all parts.
    pub fn units(&self) -> u32 {
        self.parts.iter().map(|p| p.heads).sum()
    }

    /// Blocks that do the units of a row.
    pub fn blocks(&self) -> u32 {
        self.units().div_ceil(WARPS)
    }

    /// Whether some go to the cache.
    pub fn stores_kv(&self) -> bool {
        self.parts.iter().any(|p| p.out != HeadOut::InPlace)
    }

    pub(super) fn name(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(HeadPart::name).collect();
        let tables = match self.stores_kv() {
            true => format!("_t{}", self.blocks_per_seq),
            false => String::new(),
        };
        format!("heads_{}{tables}", parts.join("__"))
    }

    pub(super) fn params(&self) -> Vec<Param> {
        let mut params = self.place_params();
        for (i, part) in self.parts.iter().enumerate() {
            let row = row_bytes(ParamType::F32, part.heads * part.head_dim);
            let data = Param::rows(format!("x{i}"), ParamType::F32, row);
            match part.cache_param(i) {
                None => params.push(data.written()),
                Some(cache) => params.extend([data, cache]),
            }
            if part.norm.is_some() {
                let bytes = row_bytes(ParamType::F32, part.head_dim);
                params.push(Param::whole(format!("norm{i}"), ParamType::F32, bytes));
            }
            params.extend(part.rope_param(i));
        }
        params
    }

    pub(super) fn source(&self) -> String {
        let mut bodies = Lines::new();
        let mut first = 0;
        for (i, part) in self.parts.iter().enumerate() {
            let end = first + part.heads;
            bodies.line(format_args!("    if (unit < {end}) {{"));
            bodies.line(format_args!("        const u32 head = unit - {first};"));
            bodies.line(self.part(i, part));
            bodies.line("        return;\n    }");
            first = end;
        }
        let most = self.parts.iter().map(|p| p.head_dim).max().unwrap_or(1);
        let start = Names::new()
            .with("WARPS", WARPS)
            .with("D", most)
            .with("UNITS", self.units())
            .fill(START);
        let signature = Kernel::signature(&self.name(), 32 * WARPS, &self.params());
        format!("{signature}{start}{}}}\n", bodies.finish())
    }

    fn part(&self, i: usize, part: &HeadPart) -> String {
        let names = || {
            Names::new()
                .with("P", i)
                .with("D", part.head_dim)
                .with("N", part.heads * part.head_dim)
                .with("EACH", part.head_dim.div_ceil(32))
                .with("INV_D", float(1.0 / part.head_dim as f32))
        };
        let turns = |dims: u32| {
            names()
                .with("PAIRS", dims / 2)
                .with("TURNS", (dims / 2).div_ceil(32))
        };
        let mut text = names().fill(LOAD);
        if let Some((_, dims)) = part.rope {
            text += &turns(dims).fill(LOAD_TURNS);
        }
        if let Some(head) = part.kv() {
            text += &names()
                .with("TABLE", self.blocks_per_seq)
                .with("HEADS", part.heads)
                .with("HEAD_BYTES", head.bytes())
                .fill(PLACE);
        }
        text += &names().fill(KEEP);
        if let Some(eps) = part.norm {
            text += &names().with("EPS", float(eps)).fill(NORM);
        }
        if let Some((pairs, dims)) = part.rope {
            let (a, b) = match pairs {
                RopePairs::Adjacent => ("2 * i".to_owned(), "2 * i + 1".to_owned()),
                RopePairs::Half => ("i".to_owned(), format!("i + {}", dims / 2)),
            };
            text += &turns(dims).with("A", a).with("B", b).fill(ROPE);
        }
        if !part.steps.is_empty() {
            let steps: Vec<String> = part
                .steps
                .iter()
                .map(|s| format!(" {}", s.statement("", 0)))
                .collect();
            text += &names().with("STEPS", steps.concat()).fill(STEPS);
        }
        text + &part.store(i)
    }
}

/// Of element `lane % 16` of a tile and row `lane / 16`, then every second row.
const PLACES: &str = "        u32 position[$ROUNDS], block[$ROUNDS];
#pragma unroll
        for (u32 r = 0; r < $ROUNDS; ++r) {
            const u32 t = 2 * r + lane / 16, row = row0 + t;
            position[r] = t < rows ? (u32)positions[row] : 0;
            block[r] = t < rows ? (u32)tables[(u64)seqs[row] * $TABLE + position[r] / 32] : 0;
        }
";

const LOAD_TURN: &str = "            float cosines[$TILES][$ROUNDS], sines[$TILES][$ROUNDS];
#pragma unroll
            for (u32 q = 0; q < $TILES; ++q) {
#pragma unroll
                for (u32 r = 0; r < $ROUNDS; ++r) {
                    const u32 t = 2 * r + lane / 16, at = ((u * $TILES + q) * 16 + lane % 16) % $D;
                    const bool turns = t < rows && at < $DIMS;
                    const float* turn = rope$P + (u64)(row0 + t) * $DIMS + at / 2;
                    cosines[q][r] = turns ? turn[0] : 1.0f;
                    sines[q][r] = turns ? turn[$DIMS / 2] : 0.0f;
                }
            }
";

/// The same where there are too many to be read ahead.
const LOAD_AND_TURN: &str = "                    const float other = __shfl_xor_sync(0xffffffffu, v, 1);
                    if (t < rows && col % $D < $DIMS) {
                        const float* turn = rope$P + (u64)row * $DIMS + col % $D / 2;
                        v = col % 2 == 0 ? fmaf(v, turn[0], -(other * turn[$DIMS / 2])) : fmaf(other, turn[$DIMS / 2], v * turn[0]);
                    }
";

/// The other element of a pair is the neighbour's.
const TURN: &str = "                    const float other = __shfl_xor_sync(0xffffffffu, v, 1), c = cosines[q][r], s = sines[q][r];
                    if (col % $D < $DIMS) v = col % 2 == 0 ? fmaf(v, c, -(other * s)) : fmaf(other, s, v * c);
";

const STORE_FLOAT: &str = "out$P[(u64)row * $N + col] = v;";

const STORE_ELEMENT: &str = "{
                        u8* to = kv$P + ((u64)block[r] * $HEADS + col / $D) * $HEAD_BYTES;
                        (($ELEMENT*)to)[position[r] % 32 * $D + col % $D] = $CONVERT(fminf(fmaxf(v, -$MOST), $MOST));
                    }";

/// What a product's finisher does where heads follow: a warp has two rows of a tile at a time.
const FINISH_HEADS: &str = "        for (u32 u = first$P; u < end$P; ++u, ++round) {
            const u32 set = round % 2;
            const float* sums = (const float*)(shared + $SUMS + set * $SUMS_BYTES);
$TURNS            barrier_wait(done + 8 * set, round / 2 & 1);
#pragma unroll
            for (u32 q = 0; q < $TILES; ++q) {
                if (u * $TILES + q >= $PART_TILES) break;
#pragma unroll
                for (u32 r = 0; r < $ROUNDS; ++r) {
                    if (2 * r >= rows) break;
                    const u32 t = 2 * r + lane / 16, row = row0 + t, col = (u * $TILES + q) * 16 + lane % 16;
                    const float* from = sums + (q * $OF_TILE * $MR + (t < rows ? t : rows - 1)) * $SUM_STRIDE + lane % 16;
                    float v = 0.0f;
#pragma unroll
                    for (u32 w = 0; w < $OF_TILE; ++w) v += from[w * $MR * $SUM_STRIDE];
                    v *= OPERAND_UNIT;$STEPS_OF
$TURN                    $STEPS_AFTER
                    if (t < rows) $STORE
                }
            }
            __syncwarp();
            if (lane == 0) barrier_arrive(taken + 8 * set);
        }
";

const START: &str = "    __shared__ float heads[$WARPS][$D];
    const u32 row = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u32 unit = blockIdx.x * $WARPS + warp;
    if (row >= *count || unit >= $UNITS) return;
    float* h = heads[warp];
";

/// All loads of a head are on their way before the first is needed: a head is short, and what follows it waits for each.
const LOAD: &str = "        const float* from = x$P + (u64)row * $N + head * $D;
        float own[$EACH];
#pragma unroll
        for (u32 e = 0; e < $EACH; ++e) own[e] = 32 * e + lane < $D ? from[32 * e + lane] : 0.0f;
";

const LOAD_TURNS: &str = "        const float* turn = rope$P + (u64)row * 2 * $PAIRS;
        float cosines[$TURNS], sines[$TURNS];
#pragma unroll
        for (u32 e = 0; e < $TURNS; ++e) {
            const u32 i = 32 * e + lane < $PAIRS ? 32 * e + lane : 0;
            cosines[e] = turn[i];
            sines[e] = turn[$PAIRS + i];
        }
";

const KEEP: &str = "#pragma unroll
        for (u32 e = 0; e < $EACH; ++e) {
            if (32 * e + lane < $D) h[32 * e + lane] = own[e];
        }
        __syncwarp();
";

const NORM: &str = "        {
            float sum = 0.0f;
            for (u32 i = lane; i < $D; i += 32) sum = fmaf(h[i], h[i], sum);
            const float by = __fdiv_rn(1.0f, sqrtf(fmaf(warp_sum(sum), $INV_D, $EPS)));
            for (u32 i = lane; i < $D; i += 32) h[i] = h[i] * by * norm$P[i];
            __syncwarp();
        }
";

const ROPE: &str = "#pragma unroll
        for (u32 e = 0; e < $TURNS; ++e) {
            const u32 i = 32 * e + lane;
            if (i >= $PAIRS) continue;
            const float a = h[$A], b = h[$B], c = cosines[e], s = sines[e];
            h[$A] = fmaf(a, c, -(b * s));
            h[$B] = fmaf(a, s, b * c);
        }
        __syncwarp();
";

const STEPS: &str = "        for (u32 i = lane; i < $D; i += 32) { float v = h[i];$STEPS h[i] = v; }
        __syncwarp();
";

const IN_PLACE: &str =
    "        for (u32 i = lane; i < $D; i += 32) x$P[(u64)row * $N + head * $D + i] = h[i];";

const PLACE: &str = "        const u32 position = (u32)positions[row];
        const u32 block = (u32)tables[(u64)seqs[row] * $TABLE + position / 32];
        u8* to = kv$P + ((u64)block * $HEADS + head) * $HEAD_BYTES;
";

const STORE: &str = "        $ELEMENT* out = ($ELEMENT*)to + (position % 32) * $D;
        for (u32 i = lane; i < $D; i += 32) out[i] = $CONVERT(fminf(fmaxf(h[i], -$MOST), $MOST));";

const STORE_CODES: &str = "        float* scales = (float*)(to + $SCALES) + (position % 32) * $GROUPS;
        for (u32 g = 0; g < $GROUPS; ++g) {
            const u32 i = 32 * g + lane;
            const float v = i < $D ? fminf(fmaxf(h[i], -$MOST), $MOST) : 0.0f;
            const float peak = warp_max(fabsf(v));
            const float inverse = peak < $LEAST ? 0.0f : __fdiv_rn(127.0f, peak);
            if (i < $D) to[(position % 32) * $D + i] = (u8)__float2int_rn(v * inverse);
            if (lane == 0) scales[g] = peak < $LEAST ? 0.0f : __fdiv_rn(peak, 127.0f);
        }";
