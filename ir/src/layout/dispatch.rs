//! Code for the vectors of the processor it runs on, chosen when it runs.
//!
//! [`dispatch`] compiles a [`Work`] once for every kind of processor it knows and runs the best that this one can. The
//! work itself is safe code without any intrinsics, which the compiler vectorizes for each; what it can't be trusted to
//! find, an [`Isa`] provides. A value of such a type exists only where the processor has the instructions, which is what
//! makes calls of its functions sound.

use super::PANEL_ROWS;
use half::f16;
use half::slice::HalfFloatSliceExt;

/// Most words of a row that are transposed at a time.
pub(super) const TILE_WORDS: usize = 64;
/// Words of 16 rows.
pub(super) type TileRows = [[u32; TILE_WORDS]; PANEL_ROWS];
/// A word of each of 16 rows.
pub(super) type Lanes = [u32; PANEL_ROWS];

/// What instruction sets differ in.
pub(super) trait Isa: Copy {
    /// The first `words` words of 16 rows, a multiple of 8, by words.
    fn transpose(self, rows: &TileRows, words: usize, out: &mut [Lanes; TILE_WORDS]);

    /// Rounds to f16, the nearest, ties to even.
    fn halves(self, values: &[f32; PANEL_ROWS]) -> [u16; PANEL_ROWS];

    /// Begins to bring bytes near that are read soon.
    fn prefetch(self, bytes: &[u8]);
}

/// Something to do that is worth compiling for several instruction sets.
pub(super) trait Work {
    /// Its result.
    type Out;

    /// Does it. Implementations and what they call must be `#[inline(always)]`: only code that ends up inside of the
    /// functions of this module is compiled for their instruction sets.
    fn run<I: Isa>(self, isa: I) -> Self::Out;
}

/// Does the work with the widest vectors that this processor has.
pub(super) fn dispatch<W: Work>(work: W) -> W::Out {
    #[cfg(test)]
    if PORTABLE.get() {
        return work.run(Portable);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(isa) = x86::Avx2::detect() {
        return isa.run(work);
    }
    work.run(Portable)
}

#[cfg(test)]
std::thread_local! {
    static PORTABLE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs `f` as on a processor that no [`Isa`] but [`Portable`] is for.
#[cfg(test)]
pub(super) fn portably<T>(f: impl FnOnce() -> T) -> T {
    PORTABLE.set(true);
    let out = f();
    PORTABLE.set(false);
    out
}

/// Any processor.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Isa for Portable {
    #[inline(always)]
    fn transpose(self, rows: &TileRows, words: usize, out: &mut [Lanes; TILE_WORDS]) {
        for (r, row) in rows.iter().enumerate() {
            for (out, word) in out.iter_mut().zip(&row[..words]) {
                out[r] = *word;
            }
        }
    }

    #[inline(always)]
    fn halves(self, values: &[f32; PANEL_ROWS]) -> [u16; PANEL_ROWS] {
        let mut halves = [f16::ZERO; PANEL_ROWS];
        halves.convert_from_f32_slice(values);
        halves.map(f16::to_bits)
    }

    /// Left to the processor.
    #[inline(always)]
    fn prefetch(self, _bytes: &[u8]) {}
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Isa, Lanes, PANEL_ROWS, TILE_WORDS, TileRows, Work};
    use std::arch::x86_64::*;

    /// Proof that the processor has AVX2, BMI2 and F16C.
    #[derive(Clone, Copy)]
    pub(super) struct Avx2(());

    impl Avx2 {
        pub(super) fn detect() -> Option<Avx2> {
            let has = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("f16c");
            has.then_some(Avx2(()))
        }

        pub(super) fn run<W: Work>(self, work: W) -> W::Out {
            // SAFETY: `self` exists, so the processor has the features that the function is compiled for.
            unsafe { run(work, self) }
        }
    }

    #[target_feature(enable = "avx2,bmi2,f16c")]
    fn run<W: Work>(work: W, isa: Avx2) -> W::Out {
        work.run(isa)
    }

    impl Isa for Avx2 {
        #[inline(always)]
        fn transpose(self, rows: &TileRows, words: usize, out: &mut [Lanes; TILE_WORDS]) {
            // SAFETY: `self` exists, so the processor has the features that the function is compiled for.
            unsafe { transpose(rows, words, out) }
        }

        #[inline(always)]
        fn halves(self, values: &[f32; PANEL_ROWS]) -> [u16; PANEL_ROWS] {
            // SAFETY: `self` exists, so the processor has the features that the function is compiled for.
            unsafe { halves(values) }
        }

        #[inline(always)]
        fn prefetch(self, bytes: &[u8]) {
            for line in bytes.chunks(64) {
                // SAFETY: the address is that of a slice, and every x86-64 processor has the instruction.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) }
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(words: &[u32; 8]) -> __m256i {
        // SAFETY: the reference is to 32 bytes; the load has no alignment to keep.
        unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn store(words: &mut [u32; 8], value: __m256i) {
        // SAFETY: the reference is to 32 bytes that nothing else refers to; the store has no alignment to keep.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), value) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn transpose(rows: &TileRows, words: usize, out: &mut [Lanes; TILE_WORDS]) {
        for (n, out) in out.as_chunks_mut::<8>().0[..words / 8].iter_mut().enumerate() {
            for half in 0..2 {
                let square = std::array::from_fn(|r| load(&rows[8 * half + r].as_chunks::<8>().0[n]));
                for (out, lanes) in out.iter_mut().zip(transpose_8x8(square)) {
                    store(&mut out.as_chunks_mut::<8>().0[half], lanes);
                }
            }
        }
    }

    /// Pairs of words, then pairs of pairs, within the halves of registers; then the halves change places.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn transpose_8x8(rows: [__m256i; 8]) -> [__m256i; 8] {
        let [a, b, c, d, e, f, g, h] = rows;
        let quads = |a, b, c, d| {
            let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
            let (ab_high, cd_high) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
            [
                _mm256_unpacklo_epi64(ab, cd),
                _mm256_unpackhi_epi64(ab, cd),
                _mm256_unpacklo_epi64(ab_high, cd_high),
                _mm256_unpackhi_epi64(ab_high, cd_high),
            ]
        };
        let (upper, lower) = (quads(a, b, c, d), quads(e, f, g, h));
        std::array::from_fn(|i| {
            let (u, l) = (upper[i % 4], lower[i % 4]);
            if i < 4 {
                _mm256_permute2x128_si256::<0x20>(u, l)
            } else {
                _mm256_permute2x128_si256::<0x31>(u, l)
            }
        })
    }

    #[inline]
    #[target_feature(enable = "avx,f16c")]
    fn halves(values: &[f32; PANEL_ROWS]) -> [u16; PANEL_ROWS] {
        let mut out = [0; PANEL_ROWS];
        for (values, out) in values.as_chunks::<8>().0.iter().zip(out.as_chunks_mut::<8>().0) {
            // SAFETY: the references are to 32 and to 16 bytes; load and store have no alignment to keep.
            unsafe {
                let values = _mm256_loadu_ps(values.as_ptr());
                let halves = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values);
                _mm_storeu_si128(out.as_mut_ptr().cast(), halves);
            }
        }
        out
    }
}
