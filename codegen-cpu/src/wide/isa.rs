//! The table of vector instructions: one row an operation, one column an encoding and width.

use iced_x86::Code;

/// How instructions are encoded, and so which registers there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Level {
    /// AVX2, FMA, F16C: VEX encodings, 16 registers of 256 bits.
    Avx2,
    /// AVX-512 F, BW, DQ, VL: EVEX encodings at every width, 32 registers of 512 bits, broadcasts from memory.
    Avx512,
}

impl Level {
    /// Vector registers.
    pub(super) fn registers(self) -> usize {
        match self {
            Level::Avx2 => 16,
            Level::Avx512 => 32,
        }
    }

    /// Bytes of a register.
    pub(super) fn bytes(self) -> u32 {
        match self {
            Level::Avx2 => 32,
            Level::Avx512 => 64,
        }
    }
}

/// The width that an instruction works at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Width {
    /// 128 bits.
    X,
    /// 256 bits.
    Y,
    /// 512 bits.
    Z,
}

impl Width {
    /// The narrowest width of at least so many bytes.
    pub(super) fn of_bytes(bytes: u32) -> Width {
        match bytes {
            0..=16 => Width::X,
            17..=32 => Width::Y,
            _ => Width::Z,
        }
    }

    /// Bytes of a register of this width.
    pub(super) fn bytes(self) -> u32 {
        match self {
            Width::X => 16,
            Width::Y => 32,
            Width::Z => 64,
        }
    }
}

macro_rules! vector_ops {
    ($($(#[$doc:meta])* $name:ident: $vx:ident, $vy:ident, $ex:ident, $ey:ident, $ez:ident;)*) => {
        /// A vector instruction. Sources are in the order of the instruction's operands.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum VOp {
            $($(#[$doc])* $name,)*
        }

        impl VOp {
            /// The encoding at a level and width; `Code::INVALID` where there is none.
            pub(super) fn code(self, level: Level, width: Width) -> Code {
                match (self, level, width) {
                    $(
                        (VOp::$name, Level::Avx2, Width::X) => Code::$vx,
                        (VOp::$name, Level::Avx2, Width::Y) => Code::$vy,
                        (VOp::$name, Level::Avx512, Width::X) => Code::$ex,
                        (VOp::$name, Level::Avx512, Width::Y) => Code::$ey,
                        (VOp::$name, Level::Avx512, Width::Z) => Code::$ez,
                    )*
                    (_, Level::Avx2, Width::Z) => Code::INVALID,
                }
            }
        }
    };
}

// Columns: VEX 128 and 256 bits; EVEX 128, 256 and 512 bits.
#[rustfmt::skip]
vector_ops! {
    /// f32 sum.
    AddPs: VEX_Vaddps_xmm_xmm_xmmm128, VEX_Vaddps_ymm_ymm_ymmm256,
        EVEX_Vaddps_xmm_k1z_xmm_xmmm128b32, EVEX_Vaddps_ymm_k1z_ymm_ymmm256b32, EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er;
    /// f32 difference.
    SubPs: VEX_Vsubps_xmm_xmm_xmmm128, VEX_Vsubps_ymm_ymm_ymmm256,
        EVEX_Vsubps_xmm_k1z_xmm_xmmm128b32, EVEX_Vsubps_ymm_k1z_ymm_ymmm256b32, EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er;
    /// f32 product.
    MulPs: VEX_Vmulps_xmm_xmm_xmmm128, VEX_Vmulps_ymm_ymm_ymmm256,
        EVEX_Vmulps_xmm_k1z_xmm_xmmm128b32, EVEX_Vmulps_ymm_k1z_ymm_ymmm256b32, EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er;
    /// f32 quotient.
    DivPs: VEX_Vdivps_xmm_xmm_xmmm128, VEX_Vdivps_ymm_ymm_ymmm256,
        EVEX_Vdivps_xmm_k1z_xmm_xmmm128b32, EVEX_Vdivps_ymm_k1z_ymm_ymmm256b32, EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er;
    /// `a < b ? a : b`.
    MinPs: VEX_Vminps_xmm_xmm_xmmm128, VEX_Vminps_ymm_ymm_ymmm256,
        EVEX_Vminps_xmm_k1z_xmm_xmmm128b32, EVEX_Vminps_ymm_k1z_ymm_ymmm256b32, EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae;
    /// `a > b ? a : b`.
    MaxPs: VEX_Vmaxps_xmm_xmm_xmmm128, VEX_Vmaxps_ymm_ymm_ymmm256,
        EVEX_Vmaxps_xmm_k1z_xmm_xmmm128b32, EVEX_Vmaxps_ymm_k1z_ymm_ymmm256b32, EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae;
    /// i32 sum.
    AddD: VEX_Vpaddd_xmm_xmm_xmmm128, VEX_Vpaddd_ymm_ymm_ymmm256,
        EVEX_Vpaddd_xmm_k1z_xmm_xmmm128b32, EVEX_Vpaddd_ymm_k1z_ymm_ymmm256b32, EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32;
    /// i32 difference.
    SubD: VEX_Vpsubd_xmm_xmm_xmmm128, VEX_Vpsubd_ymm_ymm_ymmm256,
        EVEX_Vpsubd_xmm_k1z_xmm_xmmm128b32, EVEX_Vpsubd_ymm_k1z_ymm_ymmm256b32, EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32;
    /// i32 product.
    MulD: VEX_Vpmulld_xmm_xmm_xmmm128, VEX_Vpmulld_ymm_ymm_ymmm256,
        EVEX_Vpmulld_xmm_k1z_xmm_xmmm128b32, EVEX_Vpmulld_ymm_k1z_ymm_ymmm256b32, EVEX_Vpmulld_zmm_k1z_zmm_zmmm512b32;
    /// Signed minimum.
    MinD: VEX_Vpminsd_xmm_xmm_xmmm128, VEX_Vpminsd_ymm_ymm_ymmm256,
        EVEX_Vpminsd_xmm_k1z_xmm_xmmm128b32, EVEX_Vpminsd_ymm_k1z_ymm_ymmm256b32, EVEX_Vpminsd_zmm_k1z_zmm_zmmm512b32;
    /// Signed maximum.
    MaxD: VEX_Vpmaxsd_xmm_xmm_xmmm128, VEX_Vpmaxsd_ymm_ymm_ymmm256,
        EVEX_Vpmaxsd_xmm_k1z_xmm_xmmm128b32, EVEX_Vpmaxsd_ymm_k1z_ymm_ymmm256b32, EVEX_Vpmaxsd_zmm_k1z_zmm_zmmm512b32;
    /// Bitwise and.
    And: VEX_Vpand_xmm_xmm_xmmm128, VEX_Vpand_ymm_ymm_ymmm256,
        EVEX_Vpandd_xmm_k1z_xmm_xmmm128b32, EVEX_Vpandd_ymm_k1z_ymm_ymmm256b32, EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32;
    /// Bitwise or.
    Or: VEX_Vpor_xmm_xmm_xmmm128, VEX_Vpor_ymm_ymm_ymmm256,
        EVEX_Vpord_xmm_k1z_xmm_xmmm128b32, EVEX_Vpord_ymm_k1z_ymm_ymmm256b32, EVEX_Vpord_zmm_k1z_zmm_zmmm512b32;
    /// Bitwise exclusive or.
    Xor: VEX_Vpxor_xmm_xmm_xmmm128, VEX_Vpxor_ymm_ymm_ymmm256,
        EVEX_Vpxord_xmm_k1z_xmm_xmmm128b32, EVEX_Vpxord_ymm_k1z_ymm_ymmm256b32, EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32;
    /// Pairs of u8 · i8 summed to i16, saturating.
    MaddUbs: VEX_Vpmaddubsw_xmm_xmm_xmmm128, VEX_Vpmaddubsw_ymm_ymm_ymmm256,
        EVEX_Vpmaddubsw_xmm_k1z_xmm_xmmm128, EVEX_Vpmaddubsw_ymm_k1z_ymm_ymmm256, EVEX_Vpmaddubsw_zmm_k1z_zmm_zmmm512;
    /// Pairs of i16 · i16 summed to i32.
    MaddW: VEX_Vpmaddwd_xmm_xmm_xmmm128, VEX_Vpmaddwd_ymm_ymm_ymmm256,
        EVEX_Vpmaddwd_xmm_k1z_xmm_xmmm128, EVEX_Vpmaddwd_ymm_k1z_ymm_ymmm256, EVEX_Vpmaddwd_zmm_k1z_zmm_zmmm512;
    /// Four u8 · i8 added to an i32 (tied to the first source).
    Dot: VEX_Vpdpbusd_xmm_xmm_xmmm128, VEX_Vpdpbusd_ymm_ymm_ymmm256,
        EVEX_Vpdpbusd_xmm_k1z_xmm_xmmm128b32, EVEX_Vpdpbusd_ymm_k1z_ymm_ymmm256b32, EVEX_Vpdpbusd_zmm_k1z_zmm_zmmm512b32;
    /// Bytes of each 128-bit lane picked by number.
    ShuffleB: VEX_Vpshufb_xmm_xmm_xmmm128, VEX_Vpshufb_ymm_ymm_ymmm256,
        EVEX_Vpshufb_xmm_k1z_xmm_xmmm128, EVEX_Vpshufb_ymm_k1z_ymm_ymmm256, EVEX_Vpshufb_zmm_k1z_zmm_zmmm512;
    /// dst = a · b + dst.
    Fma231: VEX_Vfmadd231ps_xmm_xmm_xmmm128, VEX_Vfmadd231ps_ymm_ymm_ymmm256,
        EVEX_Vfmadd231ps_xmm_k1z_xmm_xmmm128b32, EVEX_Vfmadd231ps_ymm_k1z_ymm_ymmm256b32, EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er;
    /// dst = a · dst + b.
    Fma213: VEX_Vfmadd213ps_xmm_xmm_xmmm128, VEX_Vfmadd213ps_ymm_ymm_ymmm256,
        EVEX_Vfmadd213ps_xmm_k1z_xmm_xmmm128b32, EVEX_Vfmadd213ps_ymm_k1z_ymm_ymmm256b32, EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er;
    /// dst = dst − a · b.
    Fnma231: VEX_Vfnmadd231ps_xmm_xmm_xmmm128, VEX_Vfnmadd231ps_ymm_ymm_ymmm256,
        EVEX_Vfnmadd231ps_xmm_k1z_xmm_xmmm128b32, EVEX_Vfnmadd231ps_ymm_k1z_ymm_ymmm256b32, EVEX_Vfnmadd231ps_zmm_k1z_zmm_zmmm512b32_er;
    /// dst = b − a · dst.
    Fnma213: VEX_Vfnmadd213ps_xmm_xmm_xmmm128, VEX_Vfnmadd213ps_ymm_ymm_ymmm256,
        EVEX_Vfnmadd213ps_xmm_k1z_xmm_xmmm128b32, EVEX_Vfnmadd213ps_ymm_k1z_ymm_ymmm256b32, EVEX_Vfnmadd213ps_zmm_k1z_zmm_zmmm512b32_er;
    /// f32 square root.
    SqrtPs: VEX_Vsqrtps_xmm_xmmm128, VEX_Vsqrtps_ymm_ymmm256,
        EVEX_Vsqrtps_xmm_k1z_xmmm128b32, EVEX_Vsqrtps_ymm_k1z_ymmm256b32, EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er;
    /// i32 to f32.
    CvtDqPs: VEX_Vcvtdq2ps_xmm_xmmm128, VEX_Vcvtdq2ps_ymm_ymmm256,
        EVEX_Vcvtdq2ps_xmm_k1z_xmmm128b32, EVEX_Vcvtdq2ps_ymm_k1z_ymmm256b32, EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er;
    /// f32 to i32, ties to even.
    CvtPsDq: VEX_Vcvtps2dq_xmm_xmmm128, VEX_Vcvtps2dq_ymm_ymmm256,
        EVEX_Vcvtps2dq_xmm_k1z_xmmm128b32, EVEX_Vcvtps2dq_ymm_k1z_ymmm256b32, EVEX_Vcvtps2dq_zmm_k1z_zmmm512b32_er;
    /// f16 to f32.
    CvtPhPs: VEX_Vcvtph2ps_xmm_xmmm64, VEX_Vcvtph2ps_ymm_xmmm128,
        EVEX_Vcvtph2ps_xmm_k1z_xmmm64, EVEX_Vcvtph2ps_ymm_k1z_xmmm128, EVEX_Vcvtph2ps_zmm_k1z_ymmm256_sae;
    /// f32 to an integer.
    RoundPs: VEX_Vroundps_xmm_xmmm128_imm8, VEX_Vroundps_ymm_ymmm256_imm8,
        EVEX_Vrndscaleps_xmm_k1z_xmmm128b32_imm8, EVEX_Vrndscaleps_ymm_k1z_ymmm256b32_imm8, EVEX_Vrndscaleps_zmm_k1z_zmmm512b32_imm8_sae;
    /// 32-bit lanes of each 128-bit lane picked by number.
    ShuffleD: VEX_Vpshufd_xmm_xmmm128_imm8, VEX_Vpshufd_ymm_ymmm256_imm8,
        EVEX_Vpshufd_xmm_k1z_xmmm128b32_imm8, EVEX_Vpshufd_ymm_k1z_ymmm256b32_imm8, EVEX_Vpshufd_zmm_k1z_zmmm512b32_imm8;
    /// i8 to i32.
    MovSxBd: VEX_Vpmovsxbd_xmm_xmmm32, VEX_Vpmovsxbd_ymm_xmmm64,
        EVEX_Vpmovsxbd_xmm_k1z_xmmm32, EVEX_Vpmovsxbd_ymm_k1z_xmmm64, EVEX_Vpmovsxbd_zmm_k1z_xmmm128;
    /// u8 to i32.
    MovZxBd: VEX_Vpmovzxbd_xmm_xmmm32, VEX_Vpmovzxbd_ymm_xmmm64,
        EVEX_Vpmovzxbd_xmm_k1z_xmmm32, EVEX_Vpmovzxbd_ymm_k1z_xmmm64, EVEX_Vpmovzxbd_zmm_k1z_xmmm128;
    /// u16 to i32.
    MovZxWd: VEX_Vpmovzxwd_xmm_xmmm64, VEX_Vpmovzxwd_ymm_xmmm128,
        EVEX_Vpmovzxwd_xmm_k1z_xmmm64, EVEX_Vpmovzxwd_ymm_k1z_xmmm128, EVEX_Vpmovzxwd_zmm_k1z_ymmm256;
    /// One 32-bit lane in every lane.
    BroadcastD: VEX_Vpbroadcastd_xmm_xmmm32, VEX_Vpbroadcastd_ymm_xmmm32,
        EVEX_Vpbroadcastd_xmm_k1z_xmmm32, EVEX_Vpbroadcastd_ymm_k1z_xmmm32, EVEX_Vpbroadcastd_zmm_k1z_xmmm32;
    /// A load, or a copy of a register.
    MovUps: VEX_Vmovups_xmm_xmmm128, VEX_Vmovups_ymm_ymmm256,
        EVEX_Vmovups_xmm_k1z_xmmm128, EVEX_Vmovups_ymm_k1z_ymmm256, EVEX_Vmovups_zmm_k1z_zmmm512;
    /// i32 lanes shifted left.
    SllD: VEX_Vpslld_xmm_xmm_imm8, VEX_Vpslld_ymm_ymm_imm8,
        EVEX_Vpslld_xmm_k1z_xmmm128b32_imm8, EVEX_Vpslld_ymm_k1z_ymmm256b32_imm8, EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8;
    /// i32 lanes shifted right, zeros in.
    SrlD: VEX_Vpsrld_xmm_xmm_imm8, VEX_Vpsrld_ymm_ymm_imm8,
        EVEX_Vpsrld_xmm_k1z_xmmm128b32_imm8, EVEX_Vpsrld_ymm_k1z_ymmm256b32_imm8, EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8;
    /// i32 lanes shifted right, signs in.
    SraD: VEX_Vpsrad_xmm_xmm_imm8, VEX_Vpsrad_ymm_ymm_imm8,
        EVEX_Vpsrad_xmm_k1z_xmmm128b32_imm8, EVEX_Vpsrad_ymm_k1z_ymmm256b32_imm8, EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8;
    /// 16-bit lanes shifted left.
    SllW: VEX_Vpsllw_xmm_xmm_imm8, VEX_Vpsllw_ymm_ymm_imm8,
        EVEX_Vpsllw_xmm_k1z_xmmm128_imm8, EVEX_Vpsllw_ymm_k1z_ymmm256_imm8, EVEX_Vpsllw_zmm_k1z_zmmm512_imm8;
    /// 16-bit lanes shifted right, zeros in.
    SrlW: VEX_Vpsrlw_xmm_xmm_imm8, VEX_Vpsrlw_ymm_ymm_imm8,
        EVEX_Vpsrlw_xmm_k1z_xmmm128_imm8, EVEX_Vpsrlw_ymm_k1z_ymmm256_imm8, EVEX_Vpsrlw_zmm_k1z_zmmm512_imm8;
    /// A store.
    StoreUps: VEX_Vmovups_xmmm128_xmm, VEX_Vmovups_ymmm256_ymm,
        EVEX_Vmovups_xmmm128_k1z_xmm, EVEX_Vmovups_ymmm256_k1z_ymm, EVEX_Vmovups_zmmm512_k1z_zmm;
    /// f32 to f16, to memory or a register.
    StorePh: VEX_Vcvtps2ph_xmmm64_xmm_imm8, VEX_Vcvtps2ph_xmmm128_ymm_imm8,
        EVEX_Vcvtps2ph_xmmm64_k1z_xmm_imm8, EVEX_Vcvtps2ph_xmmm128_k1z_ymm_imm8, EVEX_Vcvtps2ph_ymmm256_k1z_zmm_imm8_sae;
    /// i32 to i8, saturating, to memory or a register.
    StoreSdb: INVALID, INVALID,
        EVEX_Vpmovsdb_xmmm32_k1z_xmm, EVEX_Vpmovsdb_xmmm64_k1z_ymm, EVEX_Vpmovsdb_xmmm128_k1z_zmm;
    /// i32 to i16, saturating, to memory.
    StoreSdw: INVALID, INVALID,
        EVEX_Vpmovsdw_xmmm64_k1z_xmm, EVEX_Vpmovsdw_xmmm128_k1z_ymm, EVEX_Vpmovsdw_ymmm256_k1z_zmm;
    /// f32 comparison: to lanes of ones (VEX), to k1 (EVEX).
    CmpPs: VEX_Vcmpps_xmm_xmm_xmmm128_imm8, VEX_Vcmpps_ymm_ymm_ymmm256_imm8,
        EVEX_Vcmpps_kr_k1_xmm_xmmm128b32_imm8, EVEX_Vcmpps_kr_k1_ymm_ymmm256b32_imm8, EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae;
    /// i32 comparison to k1.
    CmpD: INVALID, INVALID,
        EVEX_Vpcmpd_kr_k1_xmm_xmmm128b32_imm8, EVEX_Vpcmpd_kr_k1_ymm_ymmm256b32_imm8, EVEX_Vpcmpd_kr_k1_zmm_zmmm512b32_imm8;
    /// i32 equality to lanes of ones.
    CmpEqD: VEX_Vpcmpeqd_xmm_xmm_xmmm128, VEX_Vpcmpeqd_ymm_ymm_ymmm256,
        INVALID, INVALID, INVALID;
    /// i32 order to lanes of ones.
    CmpGtD: VEX_Vpcmpgtd_xmm_xmm_xmmm128, VEX_Vpcmpgtd_ymm_ymm_ymmm256,
        INVALID, INVALID, INVALID;
    /// Lanes of b where the mask (third source) has its sign, else of a.
    BlendV: VEX_Vblendvps_xmm_xmm_xmmm128_xmm, VEX_Vblendvps_ymm_ymm_ymmm256_ymm,
        INVALID, INVALID, INVALID;
    /// Lanes of b where k1 is set, else of a.
    BlendK: INVALID, INVALID,
        EVEX_Vblendmps_xmm_k1z_xmm_xmmm128b32, EVEX_Vblendmps_ymm_k1z_ymm_ymmm256b32, EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32;
    /// Signs of lanes to k1.
    MaskToK: INVALID, INVALID,
        EVEX_Vpmovd2m_kr_xmm, EVEX_Vpmovd2m_kr_ymm, EVEX_Vpmovd2m_kr_zmm;
    /// k1 to lanes of ones.
    KToMask: INVALID, INVALID,
        EVEX_Vpmovm2d_xmm_kr, EVEX_Vpmovm2d_ymm_kr, EVEX_Vpmovm2d_zmm_kr;
    /// Half of a 512-bit register.
    Extract256: INVALID, INVALID,
        INVALID, INVALID, EVEX_Vextracti64x4_ymmm256_k1z_zmm_imm8;
    /// A 128-bit part of a register.
    Extract128: INVALID, VEX_Vextracti128_xmmm128_ymm_imm8,
        INVALID, EVEX_Vextracti32x4_xmmm128_k1z_ymm_imm8, EVEX_Vextracti32x4_xmmm128_k1z_zmm_imm8;
    /// A load of 32 bits.
    LoadSs: VEX_Vmovss_xmm_m32, INVALID,
        EVEX_Vmovss_xmm_k1z_m32, INVALID, INVALID;
    /// A store of 32 bits.
    StoreSs: VEX_Vmovss_m32_xmm, INVALID,
        EVEX_Vmovss_m32_k1_xmm, INVALID, INVALID;
    /// A load of 64 bits.
    LoadQ: VEX_Vmovq_xmm_xmmm64, INVALID,
        EVEX_Vmovq_xmm_xmmm64, INVALID, INVALID;
    /// A store of 64 bits.
    StoreQ: VEX_Vmovq_xmmm64_xmm, INVALID,
        EVEX_Vmovq_xmmm64_xmm, INVALID, INVALID;
    /// 32 bits of a general register.
    MovFromGpr: VEX_Vmovd_xmm_rm32, INVALID,
        EVEX_Vmovd_xmm_rm32, INVALID, INVALID;
    /// A store of a byte.
    StoreB: VEX_Vpextrb_r32m8_xmm_imm8, INVALID,
        EVEX_Vpextrb_r32m8_xmm_imm8, INVALID, INVALID;
    /// A store of 16 bits.
    StoreW: VEX_Vpextrw_r32m16_xmm_imm8, INVALID,
        EVEX_Vpextrw_r32m16_xmm_imm8, INVALID, INVALID;
    /// i32 to i16, saturating.
    PackSsDw: VEX_Vpackssdw_xmm_xmm_xmmm128, INVALID,
        EVEX_Vpackssdw_xmm_k1z_xmm_xmmm128b32, INVALID, INVALID;
    /// i16 to i8, saturating.
    PackSsWb: VEX_Vpacksswb_xmm_xmm_xmmm128, INVALID,
        EVEX_Vpacksswb_xmm_k1z_xmm_xmmm128, INVALID, INVALID;
}

impl VOp {
    /// Whether a source in memory may be one 32-bit element for all lanes (EVEX only).
    pub(super) fn broadcasts(self) -> bool {
        use VOp::*;
        matches!(
            self,
            AddPs
                | SubPs
                | MulPs
                | DivPs
                | MinPs
                | MaxPs
                | AddD
                | SubD
                | MulD
                | MinD
                | MaxD
                | And
                | Or
                | Xor
                | Dot
                | Fma231
                | Fma213
                | Fnma231
                | Fnma213
                | SqrtPs
                | CvtDqPs
                | CvtPsDq
                | RoundPs
                | CmpPs
                | CmpD
                | BlendK
        )
    }

    /// Bytes that a source in memory has at this width, where it is no broadcast.
    pub(super) fn memory_bytes(self, width: Width) -> u32 {
        use VOp::*;
        match self {
            CvtPhPs | MovZxWd => width.bytes() / 2,
            MovSxBd | MovZxBd => width.bytes() / 4,
            BroadcastD | LoadSs => 4,
            LoadQ => 8,
            _ => width.bytes(),
        }
    }
}
