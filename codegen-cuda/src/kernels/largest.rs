//! The largest of a row's logits, so that a step of which nothing else is wanted leaves no row to copy to the host.

use super::cells::load_floats;
use super::text::Names;
use super::{Kernel, Param, ParamType, row_bytes};
use crate::layout::Element;

/// Of each row of `n` f32, the first of the largest finite ones, as a key: see [`Largest::place`]. Blocks share a row and
/// meet in the key, which must be 0 before.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Largest {
    /// Elements of a row.
    pub n: u32,
}

pub(super) const THREADS: u32 = 256;
/// Elements that a block looks through.
const SHARE: u32 = 32 * THREADS;

impl Largest {
    /// Blocks of a row.
    pub fn blocks(&self) -> u32 {
        self.n.div_ceil(SHARE)
    }

    /// The place that a key names; `None` where no element is finite. Above the place, which is complemented so that the
    /// first of equal ones is the largest key, is the element with its bits in the order of its value.
    pub fn place(key: u64) -> Option<u32> {
        (key != 0).then_some(!(key as u32))
    }

    pub(super) fn name(&self) -> String {
        format!("largest_{}", self.n)
    }

    pub(super) fn params(&self) -> Vec<Param> {
        vec![
            Param::rows("x", ParamType::F32, row_bytes(ParamType::F32, self.n)),
            Param::rows("keys", ParamType::Keys, row_bytes(ParamType::Keys, 1)).written(),
        ]
    }

    pub(super) fn source(&self) -> String {
        // A row begins at a multiple of what is read at once.
        let vector = if self.n.is_multiple_of(4) { 4 } else { 1 };
        let load = Names::new()
            .with("V", vector)
            .with("LOAD", load_floats(&Element::F32, vector, "p", "f"));
        let load = load.fill(LOAD_SOME);
        let names = Names::new()
            .with("V", vector)
            .with("N", self.n)
            .with("SHARE", SHARE)
            .with("THREADS", THREADS)
            .with("WARPS", THREADS / 32);
        let signature = Kernel::signature(&self.name(), THREADS, &self.params());
        format!("{KEY}{load}{signature}{}}}\n", names.fill(BODY))
    }
}

/// Zeros have one key; what is not finite has none.
const KEY: &str = "DEV u64 key_of(float x, u32 place) {
    const u32 bits = __float_as_uint(x + 0.0f);
    if ((bits & 0x7f800000u) == 0x7f800000u) return 0;
    const u32 value = bits >> 31 ? ~bits : bits | 0x80000000u;
    return (u64)value << 32 | (u32)~place;
}
DEV u64 larger(u64 a, u64 b) { return a > b ? a : b; }
";

const LOAD_SOME: &str = "DEV void load_some(const float* p, float (&f)[$V]) {
$LOAD}
";

const BODY: &str = "    __shared__ u64 keys_of_warps[$WARPS];
    const u32 row = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= *count) return;
    const float* from = x + (u64)row * $N;
    u64 key = 0;
#pragma unroll
    for (u32 i = 0; i < $SHARE; i += $THREADS * $V) {
        const u32 place = blockIdx.x * $SHARE + i + threadIdx.x * $V;
        if (place >= $N) continue;
        float v[$V];
        load_some(from + place, v);
#pragma unroll
        for (u32 j = 0; j < $V; ++j) key = larger(key, key_of(v[j], place + j));
    }
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) key = larger(key, __shfl_xor_sync(0xffffffffu, key, o));
    if (lane == 0) keys_of_warps[warp] = key;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (u32 i = 1; i < $WARPS; ++i) key = larger(key, keys_of_warps[i]);
    atomicMax(keys + row, key);
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_places() {
        assert_eq!(Largest::place(0), None);
        assert_eq!(Largest::place(0x8000_0000_0000_0000 | u64::from(!7u32)), Some(7));
        assert_eq!(Largest { n: 128_256 }.blocks(), 16);
    }
}
