//! Attention of steps of many rows, on tensor cores, after FlashAttention-2.
//!
//! A block has a tile of rows of one sequence ([`crate::tiles`] lists them) with query heads of one KV head: row by row and
//! head by head the rows of its matrices. It walks the context in steps of [`keys`](TiledAttention::keys) positions counted
//! from 0: scores, softmax over what was seen so far, weighted values, in registers. The keys and values of the next step are
//! on their way meanwhile. What a row does not see adds nothing to it, to the bit: it is free which rows share a tile.
//! Queries, keys, weights of values are rounded to f16, sums are f32.

mod mma;
mod wgmma;

use super::attention::{Attention, AttentionOut, first_position};
use super::text::{Names, float, float_name};
use super::wide::{Core, HOPPER_ONLY};
use super::{Kernel, Param, ParamType};
use crate::device::Target;
use crate::layout::KvHead;

/// Rows of the matrices of a block: rows of the step times heads.
const MATRIX_ROWS: u32 = 128;
/// Most elements of a head.
const MOST_DIM: u32 = 256;

/// Attention of one layer, for tiles of rows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TiledAttention {
    /// What is computed.
    pub of: Attention,
    /// Rows of the step in a tile, at most [`MATRIX_ROWS`].
    pub rows: u32,
    /// Positions that a block takes at once.
    pub keys: u32,
    /// How matrices are multiplied.
    pub core: Core,
}

/// Rows of a tile that suit attention with groups of so many query heads.
pub fn tile_rows(group: u32) -> u32 {
    MATRIX_ROWS / group.min(MATRIX_ROWS / 8)
}

impl TiledAttention {
    /// The kernel for a device; `None` where shared memory holds too little, or heads are of a size that no matrices are cut
    /// to.
    pub fn new(of: Attention, rows: u32, target: Target) -> Option<TiledAttention> {
        let cut = of.head_dim.is_multiple_of(16) && of.head_dim <= MOST_DIM;
        let forms = [
            (Core::Wgmma, wgmma::KEYS, target.wgmma && wgmma::fits(&of)),
            (Core::Mma, 64, cut),
            (Core::Mma, 32, cut),
        ];
        forms.into_iter().find_map(|(core, keys, fits)| {
            let kernel = TiledAttention { of, rows, keys, core };
            (fits && kernel.dynamic_shared() <= target.shared_bytes).then_some(kernel)
        })
    }

    /// Query heads of a KV head that a block has.
    fn together(&self) -> u32 {
        self.of.group().min(MATRIX_ROWS / self.rows)
    }

    /// Blocks of a tile.
    pub fn blocks(&self) -> u32 {
        self.of.kv_heads * self.of.group().div_ceil(self.together())
    }

    /// Threads of a block.
    pub(super) fn threads(&self) -> u32 {
        match self.core {
            Core::Mma => mma::threads(self.of.head_dim),
            Core::Wgmma => wgmma::THREADS,
        }
    }

    pub(super) fn dynamic_shared(&self) -> u32 {
        match self.core {
            Core::Mma => mma::shared(self.of.head_dim, self.keys),
            Core::Wgmma => wgmma::shared(self.of.head_dim),
        }
    }

    /// Whether rows are stored as operands of products.
    fn operands(&self) -> bool {
        self.of.out == AttentionOut::Rows { operands: true }
    }

    pub(super) fn name(&self) -> String {
        let of = &self.of;
        let cap = match of.cap {
            0.0 => String::new(),
            cap => format!("_cap{}", float_name(cap)),
        };
        let out = if self.operands() { "_op" } else { "" };
        let window = match of.window {
            0 => String::new(),
            window => format!("_w{window}"),
        };
        format!(
            "attention_{}{}x{}{out}_{}x{}x{}_k{}_v{}_{}{cap}{window}_t{}",
            self.core.keyword(),
            self.rows,
            self.keys,
            of.heads,
            of.kv_heads,
            of.head_dim,
            of.types.k,
            of.types.v,
            float_name(of.scale),
            of.blocks_per_seq,
        )
    }

    pub(super) fn params(&self) -> Vec<Param> {
        let mut params = self.of.params();
        let out = params.len() - 1;
        params.insert(out, Param::whole("tiles", ParamType::I32, 0));
        params
    }

    pub(super) fn source(&self) -> String {
        let of = &self.of;
        let head = |ty| KvHead {
            head_dim: of.head_dim,
            ty,
        };
        let capped = match of.cap {
            0.0 => String::new(),
            cap => format!("x = softcap({}, x);", float(cap)),
        };
        let seen = match of.window {
            0 => "at <= position".to_owned(),
            window => format!("at <= position && at + {window}u > position"),
        };
        let unseen_before = match of.window {
            0 => "false".to_owned(),
            window => format!("base + {window}u <= last"),
        };
        let matrices = match self.core {
            Core::Mma => mma::matrices(of.head_dim),
            Core::Wgmma => 1,
        };
        let names = Names::new()
            .with("SLOTS", wgmma::SLOTS)
            .with("SLOT", wgmma::slot(of.head_dim))
            .with("H", of.heads)
            .with("KVH", of.kv_heads)
            .with("G", of.group())
            .with("GC", self.together())
            .with("CHUNKS", of.group().div_ceil(self.together()))
            .with("D", of.head_dim)
            .with("STRIDE", mma::stride(of.head_dim))
            .with("KEYS", self.keys)
            .with("M", MATRIX_ROWS)
            .with("MT", matrices)
            .with("THREADS", self.threads())
            .with("TABLE", of.blocks_per_seq)
            .with("KB", head(of.types.k).bytes())
            .with("VB", head(of.types.v).bytes())
            .with("SCALE", float(of.scale))
            .with("CAPPED", capped)
            .with("SEEN", seen)
            .with("UNSEEN_BEFORE", unseen_before)
            .with("FIRST", first_position(of.window));
        let store = match self.operands() {
            true => STORE_OPERANDS,
            false => STORE_FLOATS,
        };
        let names = names.with("STORED", store);
        let signature = Kernel::signature(&self.name(), self.threads(), &self.params());
        let body = |parts: &[&str]| parts.iter().map(|part| names.fill(part)).collect::<String>();
        match self.core {
            Core::Mma => {
                let parts = [
                    START,
                    mma::QUERIES,
                    STATE,
                    mma::WALK,
                    mma::SCORES,
                    SOFTMAX,
                    mma::VALUES,
                    STORE,
                ];
                format!("{}{signature}{}}}\n", mma::functions(self), body(&parts))
            }
            Core::Wgmma => {
                let parts = [
                    START,
                    wgmma::QUERIES,
                    wgmma::COPY,
                    STATE,
                    wgmma::SCORES,
                    SOFTMAX,
                    wgmma::VALUES,
                    STORE,
                ];
                let functions = wgmma::functions(self);
                format!("{functions}{signature}{HOPPER_ONLY}{}#endif\n}}\n", body(&parts))
            }
        }
    }
}

const START: &str = "    SHARED_BYTES(shared);
    const u32 lane = threadIdx.x % 32;
    const u32 row0 = (u32)tiles[2 * blockIdx.y], tall = (u32)tiles[2 * blockIdx.y + 1];
    if (row0 >= *count) return;
    const u32 kvh = blockIdx.x / $CHUNKS, g0 = blockIdx.x % $CHUNKS * $GC;
    const u32 head0 = kvh * $G + g0, heads = $G - g0 < $GC ? $G - g0 : $GC;
    const u32 start = (u32)positions[row0], last = start + tall - 1;
    const int* blocks = tables + (u64)seqs[row0] * $TABLE;
    u32 base;
    {
        const u32 position = start;
        base = $FIRST / $KEYS * $KEYS;
    }
";

const STATE: &str = "    const float nothing = __uint_as_float(0xff800000u);
    float sums[$MT][$D / 8][4] = {}, top[$MT][2], total[$MT][2] = {};
#pragma unroll
    for (u32 m = 0; m < $MT; ++m) top[m][0] = top[m][1] = nothing;
";

/// Four lanes share a row.
const SOFTMAX: &str = "        const bool partly = base + $KEYS - 1 > start || $UNSEEN_BEFORE;
        bool higher = false;
        float factor[$MT][2];
#pragma unroll
        for (u32 m = 0; m < $MT; ++m) {
#pragma unroll
            for (u32 h = 0; h < 2; ++h) {
                const u32 position = start + (bottom + 16 * m + 8 * h + lane / 4) / $GC;
                float most = top[m][h];
#pragma unroll
                for (u32 n = 0; n < $KEYS / 8; ++n) {
#pragma unroll
                    for (u32 i = 0; i < 2; ++i) {
                        float& x = s[m][n][2 * h + i];
                        $CAPPED
                        if (partly) {
                            const u32 at = base + 8 * n + lane % 4 * 2 + i;
                            x = $SEEN ? x : nothing;
                        }
                        most = fmaxf(most, x);
                    }
                }
                most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
                most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
                // A row that has seen nothing yet has no maximum to measure from.
                const float from = most == nothing ? 0.0f : most;
                const float low = -1.4426950408889634f * from;
                factor[m][h] = power_of_two(1.4426950408889634f * (top[m][h] - from));
                higher |= most != top[m][h];
                top[m][h] = most;
                float sum = 0.0f;
#pragma unroll
                for (u32 n = 0; n < $KEYS / 8; ++n) {
#pragma unroll
                    for (u32 i = 0; i < 2; ++i) {
                        float& x = s[m][n][2 * h + i];
                        x = power_of_two(fmaf(x, 1.4426950408889634f, low));
                        sum += x;
                    }
                }
                total[m][h] = fmaf(total[m][h], factor[m][h], sum);
            }
        }
        if (warp_any(higher)) {
#pragma unroll
            for (u32 m = 0; m < $MT; ++m) {
#pragma unroll
                for (u32 n = 0; n < $D / 8; ++n) {
#pragma unroll
                    for (u32 i = 0; i < 4; ++i) sums[m][n][i] *= factor[m][i / 2];
                }
            }
        }
";

const STORE: &str = "#pragma unroll
    for (u32 m = 0; m < $MT; ++m) {
#pragma unroll
        for (u32 h = 0; h < 2; ++h) {
            float all = total[m][h];
            all += __shfl_xor_sync(0xffffffffu, all, 1);
            all += __shfl_xor_sync(0xffffffffu, all, 2);
            const u32 at = bottom + 16 * m + 8 * h + lane / 4, r = at / $GC, g = at % $GC;
            if (r >= tall || g >= heads) continue;
            const float by = __fdiv_rn(1.0f, all);
            auto* to = out + ((u64)(row0 + r) * $H + head0 + g) * $D + lane % 4 * 2;
#pragma unroll
            for (u32 n = 0; n < $D / 8; ++n) {
                const float a = sums[m][n][2 * h] * by, b = sums[m][n][2 * h + 1] * by;
                $STORED
            }
        }
    }
";

const STORE_FLOATS: &str = "*(uint2*)(to + 8 * n) = {__float_as_uint(a), __float_as_uint(b)};";
const STORE_OPERANDS: &str = "*(u32*)(to + 8 * n) = operand_pair(a, b);";
