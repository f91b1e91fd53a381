cuda plan "tiny-llama" {
  limits tokens=150 outputs=24 seqs=3 ctx=320
  vocab 320
  kv 0: heads=2 dim=64 k=f16 v=f16
  kv 1: heads=2 dim=64 k=f16 v=f16
  tiles of 64 rows
  section s0: matrix @token_embd [320, 256]q4_k
  section s1: vector @blk.0.attn_norm [256]f32
  section s2: matrix @blk.0.attn_q [256, 256]q4_k
  section s3: matrix @blk.0.attn_k [128, 256]q4_k
  section s4: matrix @blk.0.attn_v [128, 256]q4_k
  section s5: panels @blk.0.attn_q [256, 256]q4_k
  section s6: panels @blk.0.attn_k [128, 256]q4_k
  section s7: panels @blk.0.attn_v [128, 256]q4_k
  section s8: matrix @blk.0.attn_output [256, 256]q4_k
  section s9: panels @blk.0.attn_output [256, 256]q4_k
  section s10: vector @blk.0.ffn_norm [256]f32
  section s11: matrix @blk.0.ffn_gate [512, 256]q4_k
  section s12: matrix @blk.0.ffn_up [512, 256]q4_k
  section s13: paired panels @blk.0.ffn_gate [512, 256]q4_k
  section s14: matrix @blk.0.ffn_down [256, 512]q4_k
  section s15: panels @blk.0.ffn_down [256, 512]q4_k
  section s16: vector @blk.1.attn_norm [256]f32
  section s17: matrix @blk.1.attn_q [256, 256]q4_k
  section s18: matrix @blk.1.attn_k [128, 256]q4_k
  section s19: matrix @blk.1.attn_v [128, 256]q4_k
  section s20: panels @blk.1.attn_q [256, 256]q4_k
  section s21: panels @blk.1.attn_k [128, 256]q4_k
  section s22: panels @blk.1.attn_v [128, 256]q4_k
  section s23: matrix @blk.1.attn_output [256, 256]q4_k
  section s24: vector @blk.1.ffn_norm [256]f32
  section s25: matrix @blk.1.ffn_gate [512, 256]q4_k
  section s26: matrix @blk.1.ffn_up [512, 256]q4_k
  section s27: matrix @blk.1.ffn_down [256, 512]q4_k
  section s28: vector @output_norm [256]f32
  rope r0: adjacent dims=64 base=100000.0 freq_scale=1.0 magnitude=1.0
  arena 969216
  buffer b0 "embed": 153600 at 393216
  buffer b1 "operands": 76800 at 700416
  buffer b2 "linear": 153600 at 546816
  buffer b3 "rope": 38400 at 930816
  buffer b4 "heads": 76800 at 777216
  buffer b5 "heads": 76800 at 854016
  buffer b6 "sums": 393216 at 0
  buffer b7 "operands": 76800 at 208896
  buffer b8 "attention states": 208896 at 0
  buffer b9 "linear": 153600 at 546816
  buffer b10 "sums": 131072 at 0
  buffer b11 "operands": 76800 at 458752
  buffer b12 "operands": 153600 at 700416
  buffer b13 "sums": 458752 at 0
  buffer b14 "linear": 153600 at 393216
  buffer b15 "sums": 196608 at 0
  buffer b16 "operands": 76800 at 700416
  buffer b17 "linear": 153600 at 546816
  buffer b18 "heads": 76800 at 777216
  buffer b19 "heads": 76800 at 854016
  buffer b20 "sums": 393216 at 0
  buffer b21 "attention.paged": 153600 at 208896
  buffer b22 "attention states": 208896 at 0
  buffer b23 "gather_rows": 24576 at 0
  buffer b24 "gather_rows": 24576 at 65536
  buffer b25 "operands": 12288 at 90112
  buffer b26 "linear": 24576 at 229376
  buffer b27 "sums": 65536 at 0
  buffer b28 "operands": 12288 at 278528
  buffer b29 "operands": 24576 at 253952
  buffer b30 "sums": 229376 at 0
  buffer b31 "linear": 24576 at 161792
  buffer b32 "sums": 98304 at 0
  buffer b33 "operands": 12288 at 186368
  buffer b34 "linear": 30720 at 131072
  buffer b35 "sums": 131072 at 0
  logits b34
  once 65..: unpack_q4_k_256x256(s2, s5) grid=4x1x1 threads=128
  once 65..: unpack_q4_k_128x256(s3, s6) grid=2x1x1 threads=128
  once 65..: unpack_q4_k_128x256(s4, s7) grid=2x1x1 threads=128
  once 65..: unpack_q4_k_256x256(s8, s9) grid=4x1x1 threads=128
  once 65..: unpack_q4_k_512x256_pair(s11, s12, s13) grid=8x2x1 threads=128
  once 65..: unpack_q4_k_256x512(s14, s15) grid=8x1x1 threads=128
  once 65..: unpack_q4_k_256x256(s17, s20) grid=4x1x1 threads=128
  once 65..: unpack_q4_k_128x256(s18, s21) grid=2x1x1 threads=128
  once 65..: unpack_q4_k_128x256(s19, s22) grid=2x1x1 threads=128
  launch 0 "embed @token_embd" over tokens {
    embed_q4_k_320x256(s0, in.tokens, b0) grid=tokensx1x1 threads=128
  }
  launch 1 "rms_norm @blk.0.attn_norm" over tokens {
    9..: norm_op_1em5_256(s1, b0, b1) grid=tokensx1x1 threads=256
  }
  launch 2 "linear @blk.0.attn_q" over tokens {
    rope_table_64_1p0(r0, in.positions, b3) grid=tokensx1x1 threads=128
  }
  launch 3 "linear @blk.0.attn_q" over tokens {
    1: product_1r227k_norm1em5_256_q4_k_256__q4_k_128__q4_k_128_heads_4x64_adjacent64__2x64_adjacent64_kf16__2x64_vf16_t10(b0, s1, in.positions, in.seqs, in.block_tables, s2, b2, b3, s3, kv.k.0, b3, s4, kv.v.0) grid=3xtokensx1 threads=576 shared=174856
    2..8: product_8r227k_norm1em5_256_q4_k_256__q4_k_128__q4_k_128_heads_4x64_adjacent64__2x64_adjacent64_kf16__2x64_vf16_t10(b0, s1, in.positions, in.seqs, in.block_tables, s2, b2, b3, s3, kv.k.0, b3, s4, kv.v.0) grid=3xtokens/8x1 threads=576 shared=173808
    9..16: stream227k_16x1r3b_256_q4_k_256__q4_k_128__q4_k_128(b1, s2, s3, s4, b6) grid=3xtokens/16x1 threads=352 shared=188544
    17..32: stream227k_32x1r3b_256_q4_k_256__q4_k_128__q4_k_128(b1, s2, s3, s4, b6) grid=3xtokens/32x1 threads=352 shared=225408
    33..64: stream227k_64x1r3b_256_q4_k_256__q4_k_128__q4_k_128(b1, s2, s3, s4, b6) grid=3xtokens/64x1 threads=352 shared=224352
    65..: wide_wgmma4_256_256_q4_k_256__q4_k_128__q4_k_128(b1, s5, b2, s6, b4, s7, b5) grid=3x1x1 threads=384 shared=198656
  }
  launch 4 "linear @blk.0.attn_q" over tokens {
    9..16: join_16x1r3b_256_q4_k_256__q4_k_128__q4_k_128(b6, b2, b4, b5) grid=32xtokens/16x1 threads=64
    17..32: join_32x1r3b_256_q4_k_256__q4_k_128__q4_k_128(b6, b2, b4, b5) grid=32xtokens/32x1 threads=128
    33..64: join_64x1r3b_256_q4_k_256__q4_k_128__q4_k_128(b6, b2, b4, b5) grid=32xtokens/32x1 threads=128
  }
  launch 5 "linear @blk.0.attn_q" over tokens {
    9..: heads_4x64_adjacent64__2x64_adjacent64_kf16__2x64_vf16_t10(in.positions, in.seqs, in.block_tables, b2, b3, b4, kv.k.0, b3, b5, kv.v.0) grid=2xtokensx1 threads=128
  }
  launch 6 "attention.paged layer 0" over tokens {
    1..64: split_4x2x64_0p125_t10_s3_op(b2, kv.k.0, kv.v.0, in.positions, in.seqs, in.block_tables, b8, b7) grid=splits<=3x2xtokens threads=128
    65..: attention_wgmma64x128_op_4x2x64_kf16_vf16_0p125_t10(b2, kv.k.0, kv.v.0, in.positions, in.seqs, in.block_tables, tiles, b7) grid=2xtilesx1 threads=384 shared=83968
  }
  launch 7 "attention.paged layer 0" over tokens {
    1..64: join_4x2x64_0p125_t10_s3_op(b8, in.positions, b7) grid=4xtokensx1 threads=128
  }
  launch 8 "linear @blk.0.attn_output" over tokens {
    1: product_1r227k_256_q4_k_256_add(b7, s8, b0, b9) grid=3xtokensx1 threads=576 shared=173320
    2..8: product_8r227k_256_q4_k_256_add(b7, s8, b0, b9) grid=3xtokens/8x1 threads=576 shared=172272
    9..16: stream227k_16x1r1b_256_q4_k_256_add(b7, s8, b10) grid=1xtokens/16x1 threads=352 shared=188544
    17..32: stream227k_32x1r1b_256_q4_k_256_add(b7, s8, b10) grid=1xtokens/32x1 threads=352 shared=225408
    33..64: stream227k_64x1r1b_256_q4_k_256_add(b7, s8, b10) grid=1xtokens/64x1 threads=352 shared=224352
    65..: wide_wgmma6_128_256_q4_k_256_add(b7, s9, b0, b9) grid=3x1x1 threads=384 shared=198656
  }
  launch 9 "linear @blk.0.attn_output" over tokens {
    9..16: join_16x1r1b_256_q4_k_256_add(b10, b0, b9) grid=16xtokens/16x1 threads=64
    17..32: join_32x1r1b_256_q4_k_256_add(b10, b0, b9) grid=16xtokens/32x1 threads=128
    33..64: join_64x1r1b_256_q4_k_256_add(b10, b0, b9) grid=16xtokens/32x1 threads=128
  }
  launch 10 "rms_norm @blk.0.ffn_norm" over tokens {
    9..: norm_op_1em5_256(s10, b9, b11) grid=tokensx1x1 threads=256
  }
  launch 11 "linear @blk.0.ffn_gate" over tokens {
    1: product_1r227k_norm1em5_256_q4_k_512_glusilu_op(b9, s10, s11, s12, b12) grid=3xtokensx1 threads=576 shared=158448
    2..8: product_8r227k_norm1em5_256_q4_k_512_glusilu_op(b9, s10, s11, s12, b12) grid=3xtokens/8x1 threads=576 shared=156352
    9..16: stream227k_16x1r3b_256_q4_k_512_glusilu_op(b11, s11, s12, b13) grid=3xtokens/16x1 threads=352 shared=188544
    17..32: stream227k_32x1r3b_256_q4_k_512_glusilu_op(b11, s11, s12, b13) grid=3xtokens/32x1 threads=352 shared=225408
    33..64: stream227k_64x1r3b_256_q4_k_512_glusilu_op(b11, s11, s12, b13) grid=3xtokens/64x1 threads=352 shared=224352
    65..: wide_wgmma6_128_256_q4_k_512_glusilu_op(b11, s13, b12) grid=3x1x1 threads=384 shared=198656
  }
  launch 12 "linear @blk.0.ffn_gate" over tokens {
    9..16: join_16x1r3b_256_q4_k_512_glusilu_op(b13, b12) grid=32xtokens/16x1 threads=64
    17..32: join_32x1r3b_256_q4_k_512_glusilu_op(b13, b12) grid=32xtokens/32x1 threads=128
    33..64: join_64x1r3b_256_q4_k_512_glusilu_op(b13, b12) grid=32xtokens/32x1 threads=128
  }
  launch 13 "linear @blk.0.ffn_down" over tokens {
    1: product_1r227k_512_q4_k_256_add(b12, s14, b9, b14) grid=3xtokensx1 threads=576 shared=173320
    2..8: product_8r227k_512_q4_k_256_add(b12, s14, b9, b14) grid=3xtokens/8x1 threads=576 shared=172272
    9..16: stream227k_16x1r2b_512_q4_k_256_add(b12, s14, b15) grid=2xtokens/16x1 threads=352 shared=188544
    17..32: stream227k_32x1r2b_512_q4_k_256_add(b12, s14, b15) grid=2xtokens/32x1 threads=352 shared=225408
    33..64: stream227k_64x1r2b_512_q4_k_256_add(b12, s14, b15) grid=2xtokens/64x1 threads=352 shared=224352
    65..: wide_wgmma6_128_512_q4_k_256_add(b12, s15, b9, b14) grid=3x1x1 threads=384 shared=198656
  }
  launch 14 "linear @blk.0.ffn_down" over tokens {
    9..16: join_16x1r2b_512_q4_k_256_add(b15, b9, b14) grid=16xtokens/16x1 threads=64
    17..32: join_32x1r2b_512_q4_k_256_add(b15, b9, b14) grid=16xtokens/32x1 threads=128
    33..64: join_64x1r2b_512_q4_k_256_add(b15, b9, b14) grid=16xtokens/32x1 threads=128
  }
  launch 15 "rms_norm @blk.1.attn_norm" over tokens {
    9..: norm_op_1em5_256(s16, b14, b16) grid=tokensx1x1 threads=256
  }
  launch 16 "linear @blk.1.attn_q" over tokens {
    1: product_1r227k_norm1em5_256_q4_k_256__q4_k_128__q4_k_128_heads_4x64_adjacent64__2x64_adjacent64_kf16__2x64_vf16_t10(b14, s16, in.positions, in.seqs, in.block_tables, s17, b17, b3, s18, kv.k.1, b3, s19, kv.v.1) grid=3xtokensx1 threads=576 shared=174856
    2..8: product_8r227k_norm1em5_256_q4_k_256__q4_k_128__q4_k_128_heads_4x64_adjacent64__2x64_adjacent64_kf16__2x64_vf16_t10(b14, s16, in.positions, in.seqs, in.block_tables, s17, b17, b3, s18, kv.k.1, b3, s19, kv.v.1) grid=3xtokens/8x1 threads=576 shared=173808
    9..16: stream227k_16x1r3b_256_q4_k_256__q4_k_128__q4_k_128(b16, s17, s18, s19, b20) grid=3xtokens/16x1 threads=352 shared=188544
    17..32: stream227k_32x1r3b_256_q4_k_256__q4_k_128__q4_k_128(b16, s17, s18, s19, b20) grid=3xtokens/32x1 threads=352 shared=225408
    33..64: stream227k_64x1r3b_256_q4_k_256__q4_k_128__q4_k_128(b16, s17, s18, s19, b20) grid=3xtokens/64x1 threads=352 shared=224352
    65..: wide_wgmma4_256_256_q4_k_256__q4_k_128__q4_k_128(b16, s20, b17, s21, b18, s22, b19) grid=3x1x1 threads=384 shared=198656
  }
  launch 17 "linear @blk.1.attn_q" over tokens {
    9..16: join_16x1r3b_256_q4_k_256__q4_k_128__q4_k_128(b20, b17, b18, b19) grid=32xtokens/16x1 threads=64
    17..32: join_32x1r3b_256_q4_k_256__q4_k_128__q4_k_128(b20, b17, b18, b19) grid=32xtokens/32x1 threads=128
    33..64: join_64x1r3b_256_q4_k_256__q4_k_128__q4_k_128(b20, b17, b18, b19) grid=32xtokens/32x1 threads=128
  }
  launch 18 "linear @blk.1.attn_q" over tokens {
    9..: heads_4x64_adjacent64__2x64_adjacent64_kf16__2x64_vf16_t10(in.positions, in.seqs, in.block_tables, b17, b3, b18, kv.k.1, b3, b19, kv.v.1) grid=2xtokensx1 threads=128
  }
  launch 19 "attention.paged layer 1" over tokens {
    1..64: split_4x2x64_0p125_t10_s3(b17, kv.k.1, kv.v.1, in.positions, in.seqs, in.block_tables, b22, b21) grid=splits<=3x2xtokens threads=128
    65..: attention_wgmma64x128_4x2x64_kf16_vf16_0p125_t10(b17, kv.k.1, kv.v.1, in.positions, in.seqs, in.block_tables, tiles, b21) grid=2xtilesx1 threads=384 shared=83968
  }
  launch 20 "attention.paged layer 1" over tokens {
    1..64: join_4x2x64_0p125_t10_s3(b22, in.positions, b21) grid=4xtokensx1 threads=128
  }
  launch 21 "gather_rows" over outputs {
    gather_256(b21, in.outputs, b23) grid=1xoutputsx1 threads=256
  }
  launch 22 "gather_rows" over outputs {
    gather_256(b14, in.outputs, b24) grid=1xoutputsx1 threads=256
  }
  launch 23 "linear @blk.1.attn_output" over outputs {
    operands_256(b23, b25) grid=1xoutputsx1 threads=256
  }
  launch 24 "linear @blk.1.attn_output" over outputs {
    1: product_1r227k_256_q4_k_256_add(b25, s23, b24, b26) grid=3xoutputsx1 threads=576 shared=173320
    2..8: product_8r227k_256_q4_k_256_add(b25, s23, b24, b26) grid=3xoutputs/8x1 threads=576 shared=172272
    9..16: stream227k_16x1r1b_256_q4_k_256_add(b25, s23, b27) grid=1xoutputs/16x1 threads=352 shared=188544
    17..: stream227k_32x1r1b_256_q4_k_256_add(b25, s23, b27) grid=1xoutputs/32x1 threads=352 shared=225408
  }
  launch 25 "linear @blk.1.attn_output" over outputs {
    9..16: join_16x1r1b_256_q4_k_256_add(b27, b24, b26) grid=16xoutputs/16x1 threads=64
    17..: join_32x1r1b_256_q4_k_256_add(b27, b24, b26) grid=16xoutputs/32x1 threads=128
  }
  launch 26 "rms_norm @blk.1.ffn_norm" over outputs {
    9..: norm_op_1em5_256(s24, b26, b28) grid=outputsx1x1 threads=256
  }
  launch 27 "linear @blk.1.ffn_gate" over outputs {
    1: product_1r227k_norm1em5_256_q4_k_512_glusilu_op(b26, s24, s25, s26, b29) grid=3xoutputsx1 threads=576 shared=158448
    2..8: product_8r227k_norm1em5_256_q4_k_512_glusilu_op(b26, s24, s25, s26, b29) grid=3xoutputs/8x1 threads=576 shared=156352
    9..16: stream227k_16x1r3b_256_q4_k_512_glusilu_op(b28, s25, s26, b30) grid=3xoutputs/16x1 threads=352 shared=188544
    17..: stream227k_32x1r3b_256_q4_k_512_glusilu_op(b28, s25, s26, b30) grid=3xoutputs/32x1 threads=352 shared=225408
  }
  launch 28 "linear @blk.1.ffn_gate" over outputs {
    9..16: join_16x1r3b_256_q4_k_512_glusilu_op(b30, b29) grid=32xoutputs/16x1 threads=64
    17..: join_32x1r3b_256_q4_k_512_glusilu_op(b30, b29) grid=32xoutputs/32x1 threads=128
  }
  launch 29 "linear @blk.1.ffn_down" over outputs {
    1: product_1r227k_512_q4_k_256_add(b29, s27, b26, b31) grid=3xoutputsx1 threads=576 shared=173320
    2..8: product_8r227k_512_q4_k_256_add(b29, s27, b26, b31) grid=3xoutputs/8x1 threads=576 shared=172272
    9..16: stream227k_16x1r2b_512_q4_k_256_add(b29, s27, b32) grid=2xoutputs/16x1 threads=352 shared=188544
    17..: stream227k_32x1r2b_512_q4_k_256_add(b29, s27, b32) grid=2xoutputs/32x1 threads=352 shared=225408
  }
  launch 30 "linear @blk.1.ffn_down" over outputs {
    9..16: join_16x1r2b_512_q4_k_256_add(b32, b26, b31) grid=16xoutputs/16x1 threads=64
    17..: join_32x1r2b_512_q4_k_256_add(b32, b26, b31) grid=16xoutputs/32x1 threads=128
  }
  launch 31 "rms_norm @output_norm" over outputs {
    9..: norm_op_1em5_256(s28, b31, b33) grid=outputsx1x1 threads=256
  }
  launch 32 "linear @token_embd" over outputs {
    1: product_1r227k_norm1em5_256_q4_k_320(b31, s28, s0, b34) grid=3xoutputsx1 threads=576 shared=174856
    2..8: product_8r227k_norm1em5_256_q4_k_320(b31, s28, s0, b34) grid=3xoutputs/8x1 threads=576 shared=173808
    9..16: stream227k_16x1r2b_256_q4_k_320(b33, s0, b35) grid=2xoutputs/16x1 threads=352 shared=188544
    17..: stream227k_32x1r2b_256_q4_k_320(b33, s0, b35) grid=2xoutputs/32x1 threads=352 shared=225408
  }
  launch 33 "linear @token_embd" over outputs {
    9..16: join_16x1r2b_256_q4_k_320(b35, b34) grid=20xoutputs/16x1 threads=64
    17..: join_32x1r2b_256_q4_k_320(b35, b34) grid=20xoutputs/32x1 threads=128
  }
  largest "largest logits" over outputs {
    largest_320(b34, keys) grid=1xoutputsx1 threads=256
  }
}


// embed_q4_k_320x256
namespace n_embed_q4_k_320x256 {

template <class To> DEV void decode_t(const u8* cell, u32 lane, bool upper, u32 k0, u32 end, To to) {
    u32 p0[16];
    { const uint4 v = load16(cell + 0 + lane * 16); p0[0] = v.x; p0[1] = v.y; p0[2] = v.z; p0[3] = v.w; }
    { const uint4 v = load16(cell + 512 + lane * 16); p0[4] = v.x; p0[5] = v.y; p0[6] = v.z; p0[7] = v.w; }
    { const uint4 v = load16(cell + 1024 + lane * 16); p0[8] = v.x; p0[9] = v.y; p0[10] = v.z; p0[11] = v.w; }
    { const uint4 v = load16(cell + 1536 + lane * 16); p0[12] = v.x; p0[13] = v.y; p0[14] = v.z; p0[15] = v.w; }

    if (!upper) {
    u32 s0[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 0) * 16 + 0); s0[0] = v.x; s0[1] = v.y; s0[2] = v.z; s0[3] = v.w; }
    const u32 f0 = load4(cell + 2304 + (lane / 4 + 0) * 4);
    const float d0 = from_half(f0 & 0xffffu), e0 = from_half(f0 >> 16);

    {
        const u32 a00 = half2_sub(and_or(p0[0], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[0], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[0] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[0] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 0 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a00 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a00 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a01 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a01 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7441u)) - 8388608.0f));
        put4(to, k0 + 16 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a02 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a02 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a03 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a03 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7441u)) - 8388608.0f));
    }

    {
        const u32 a00 = half2_sub(and_or(p0[2], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[2], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[2] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[2] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 32 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a00 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a00 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a01 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a01 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7443u)) - 8388608.0f));
        put4(to, k0 + 48 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a02 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a02 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a03 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a03 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7443u)) - 8388608.0f));
    }

    {
        const u32 a00 = half2_sub(and_or(p0[4], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[4], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[4] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[4] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 64 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a00 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a00 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a01 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a01 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7441u)) - 8388608.0f));
        put4(to, k0 + 80 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a02 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a02 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a03 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a03 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7441u)) - 8388608.0f));
    }

    {
        const u32 a00 = half2_sub(and_or(p0[6], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[6], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[6] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[6] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 96 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a00 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a00 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a01 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a01 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7443u)) - 8388608.0f));
        put4(to, k0 + 112 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a02 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a02 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a03 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a03 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7443u)) - 8388608.0f));
    }

    {
        const u32 a00 = half2_sub(and_or(p0[8], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[8], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[8] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[8] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 128 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a00 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a00 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a01 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a01 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7441u)) - 8388608.0f));
        put4(to, k0 + 144 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a02 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a02 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a03 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a03 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7441u)) - 8388608.0f));
    }

    {
        const u32 a00 = half2_sub(and_or(p0[10], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[10], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[10] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[10] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 160 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a00 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a00 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a01 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a01 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7443u)) - 8388608.0f));
        put4(to, k0 + 176 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a02 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a02 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a03 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a03 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7443u)) - 8388608.0f));
    }

    {
        const u32 a00 = half2_sub(and_or(p0[12], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[12], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[12] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[12] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 192 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a00 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a00 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a01 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a01 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7441u)) - 8388608.0f));
        put4(to, k0 + 208 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a02 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a02 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a03 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a03 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7441u)) - 8388608.0f));
    }

    {
        const u32 a00 = half2_sub(and_or(p0[14], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[14], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[14] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[14] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 224 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a00 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a00 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a01 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a01 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7443u)) - 8388608.0f));
        put4(to, k0 + 240 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a02 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a02 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a03 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a03 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7443u)) - 8388608.0f));
    }

    } else {
    u32 s1[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 8) * 16 + 0); s1[0] = v.x; s1[1] = v.y; s1[2] = v.z; s1[3] = v.w; }
    const u32 f1 = load4(cell + 2304 + (lane / 4 + 8) * 4);
    const float d1 = from_half(f1 & 0xffffu), e1 = from_half(f1 >> 16);

    {
        const u32 a10 = half2_sub(and_or(p0[1], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[1], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[1] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[1] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 0 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a10 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a10 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a11 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a11 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7441u)) - 8388608.0f));
        put4(to, k0 + 16 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a12 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a12 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a13 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a13 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7441u)) - 8388608.0f));
    }

    {
        const u32 a10 = half2_sub(and_or(p0[3], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[3], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[3] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[3] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 32 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a10 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a10 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a11 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a11 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7443u)) - 8388608.0f));
        put4(to, k0 + 48 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a12 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a12 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a13 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a13 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7443u)) - 8388608.0f));
    }

    {
        const u32 a10 = half2_sub(and_or(p0[5], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[5], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[5] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[5] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 64 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a10 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a10 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a11 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a11 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7441u)) - 8388608.0f));
        put4(to, k0 + 80 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a12 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a12 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a13 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a13 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7441u)) - 8388608.0f));
    }

    {
        const u32 a10 = half2_sub(and_or(p0[7], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[7], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[7] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[7] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 96 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a10 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a10 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a11 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a11 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7443u)) - 8388608.0f));
        put4(to, k0 + 112 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a12 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a12 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a13 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a13 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7443u)) - 8388608.0f));
    }

    {
        const u32 a10 = half2_sub(and_or(p0[9], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[9], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[9] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[9] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 128 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a10 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a10 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a11 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a11 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7441u)) - 8388608.0f));
        put4(to, k0 + 144 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a12 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a12 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a13 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a13 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7441u)) - 8388608.0f));
    }

    {
        const u32 a10 = half2_sub(and_or(p0[11], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[11], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[11] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[11] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 160 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a10 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a10 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a11 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a11 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7443u)) - 8388608.0f));
        put4(to, k0 + 176 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a12 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a12 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a13 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a13 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7443u)) - 8388608.0f));
    }

    {
        const u32 a10 = half2_sub(and_or(p0[13], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[13], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[13] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[13] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 192 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a10 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a10 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a11 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a11 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7441u)) - 8388608.0f));
        put4(to, k0 + 208 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a12 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a12 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a13 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a13 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7441u)) - 8388608.0f));
    }

    {
        const u32 a10 = half2_sub(and_or(p0[15], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[15], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[15] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[15] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 224 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a10 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a10 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a11 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a11 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7443u)) - 8388608.0f));
        put4(to, k0 + 240 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a12 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a12 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a13 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a13 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7443u)) - 8388608.0f));
    }

    }
}
extern "C" __global__ void __launch_bounds__(128, 1) embed_q4_k_320x256(
    const int* count
    , const u8* w
    , const int* ids
    , float* out
) {
    let_next_begin();
    wait_for_previous();
    const u32 row = blockIdx.x;
    if (row >= *count) return;
    const u32 n = (u32)ids[row];
    for (u32 i = threadIdx.x; i < 1 * 4; i += 128) {
        const u8* cell = w + ((u64)(n / 16) * 1 + i / 4) * 2368;
        decode_t(cell, n % 8 * 4 + i % 4, n % 16 >= 8, i / 4 * 256, 256, out + (u64)row * 256);
    }
}
}


// norm_op_1em5_256
namespace n_norm_op_1em5_256 {
constexpr u32 N = 256;
DEV void load_row(const float* p, float (&f)[4]) {
    const uint4 l = load16(p);
    f[0] = __uint_as_float(l.x);
    f[1] = __uint_as_float(l.y);
    f[2] = __uint_as_float(l.z);
    f[3] = __uint_as_float(l.w);
}
extern "C" __global__ void __launch_bounds__(256, 1) norm_op_1em5_256(
    const int* count
    , const float* w
    , const float* x
    , u16* out
) {
    let_next_begin();
    wait_for_previous();
    __shared__ float sums[8];
    const u32 row = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= *count) return;
    const float* from = x + (u64)row * N;
    float own[1][4], sum = 0.0f;
#pragma unroll
    for (u32 n = 0; n < 1; ++n) {
        const u32 i = (n * 256 + threadIdx.x) * 4;
#pragma unroll
        for (u32 j = 0; j < 4; ++j) own[n][j] = 0.0f;
        if (i < N) load_row(from + i, own[n]);
    }
#pragma unroll
    for (u32 n = 0; n < 1; ++n) {
#pragma unroll
        for (u32 j = 0; j < 4; ++j) sum = fmaf(own[n][j], own[n][j], sum);
    }
    sum = warp_sum(sum);
    if (lane == 0) sums[warp] = sum;
    __syncthreads();
    sum = 0.0f;
#pragma unroll
    for (u32 i = 0; i < 8; ++i) sum += sums[i];
    const float by = __fdiv_rn(1.0f, sqrtf(fmaf(sum, 0.00390625f, 1e-5f)));
#pragma unroll
    for (u32 n = 0; n < 1; ++n) {
        const u32 i = (n * 256 + threadIdx.x) * 4;
        if (i >= N) continue;
        float scaled[4], weights[4];
        load_row(w + i, weights);
#pragma unroll
        for (u32 j = 0; j < 4; ++j) scaled[j] = own[n][j] * by * weights[j];
        *(uint2*)(out + (u64)row * 256 + i) = make_uint2(to_operand(scaled[0]) | to_operand(scaled[1]) << 16, to_operand(scaled[2]) | to_operand(scaled[3]) << 16);
    }
}
}


// rope_table_64_1p0
namespace n_rope_table_64_1p0 {
extern "C" __global__ void __launch_bounds__(128, 1) rope_table_64_1p0(
    const int* count
    , const double* angles
    , const int* positions
    , float* out
) {
    let_next_begin();
    wait_for_previous();
    const u32 row = blockIdx.x;
    if (row >= *count) return;
    float* to = out + (u64)row * 2 * 32;
    for (u32 i = threadIdx.x; i < 32; i += 128) {
        double sine, cosine;
        sincos((double)positions[row] * angles[i], &sine, &cosine);
        to[i] = (float)(cosine * (double)1.0f);
        to[32 + i] = (float)(sine * (double)1.0f);
    }
}
}


// product_1r227k_norm1em5_256_q4_k_256__q4_k_128__q4_k_128_heads_4x64_adjacent64__2x64_adjacent64_kf16__2x64_vf16_t10
namespace n_product_1r227k_norm1em5_256_q4_k_256__q4_k_128__q4_k_128_heads_4x64_adjacent64__2x64_adjacent64_kf16__2x64_vf16_t10 {

DEV void ready_0(const u32 (&from)[4], u32 column, u32 (&b)[32], float (&x)[2]) {
#pragma unroll
    for (u32 i = 0; i < 32; ++i) b[i] = (column == i / 4 ? from[i % 4] : 0);
    float d[4] = {}, e[4] = {};
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[0], b[1]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[2], b[3]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[4], b[5]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[6], b[7]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[8], b[9]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[10], b[11]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[12], b[13]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[14], b[15]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[16], b[17]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[18], b[19]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[20], b[21]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[22], b[23]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[24], b[25]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[26], b[27]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[28], b[29]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[30], b[31]);
    x[0] = d[0]; x[1] = d[1];

}

DEV void cell_0(const u8* cell, u32 lane, const u32 (&b)[32], const float (&x)[2], float (&acc)[4]) {
    u32 p0[16];
    { const uint4 v = load16(cell + 0 + lane * 16); p0[0] = v.x; p0[1] = v.y; p0[2] = v.z; p0[3] = v.w; }
    { const uint4 v = load16(cell + 512 + lane * 16); p0[4] = v.x; p0[5] = v.y; p0[6] = v.z; p0[7] = v.w; }
    { const uint4 v = load16(cell + 1024 + lane * 16); p0[8] = v.x; p0[9] = v.y; p0[10] = v.z; p0[11] = v.w; }
    { const uint4 v = load16(cell + 1536 + lane * 16); p0[12] = v.x; p0[13] = v.y; p0[14] = v.z; p0[15] = v.w; }

    u32 s0[1];
    s0[0] = load4(cell + 2048 + (lane / 4 + 0) * 16 + lane % 4 * 4 + 0);
    const u32 f0 = load4(cell + 2304 + (lane / 4 + 0) * 4);
    const float d0 = from_half(f0 & 0xffffu), e0 = from_half(f0 >> 16);
    u32 s1[1];
    s1[0] = load4(cell + 2048 + (lane / 4 + 8) * 16 + lane % 4 * 4 + 0);
    const u32 f1 = load4(cell + 2304 + (lane / 4 + 8) * 4);
    const float d1 = from_half(f1 & 0xffffu), e1 = from_half(f1 >> 16);

    float d[4] = {}, e[4] = {}, sum[4] = {}, low[4] = {};
    {
        const u32 a00 = half2_sub(and_or(p0[0], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[0], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[0] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[0] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[1], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[1], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[1] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[1] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[0], b[1]);
        mma_f16(d, a02, a12, a03, a13, b[2], b[3]);

    }
    {
        const u32 a00 = half2_sub(and_or(p0[2], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[2], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[2] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[2] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[3], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[3], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[3] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[3] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[4], b[5]);
        mma_f16(d, a02, a12, a03, a13, b[6], b[7]);

    }
    {
        const u32 a00 = half2_sub(and_or(p0[4], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[4], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[4] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[4] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[5], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[5], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[5] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[5] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[8], b[9]);
        mma_f16(d, a02, a12, a03, a13, b[10], b[11]);

    }
    {
        const u32 a00 = half2_sub(and_or(p0[6], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[6], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[6] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[6] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[7], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[7], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[7] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[7] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[12], b[13]);
        mma_f16(d, a02, a12, a03, a13, b[14], b[15]);

    }
    {
        const u32 a00 = half2_sub(and_or(p0[8], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[8], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[8] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[8] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[9], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[9], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[9] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[9] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[16], b[17]);
        mma_f16(d, a02, a12, a03, a13, b[18], b[19]);

    }
    {
        const u32 a00 = half2_sub(and_or(p0[10], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[10], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[10] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[10] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[11], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[11], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[11] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[11] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[20], b[21]);
        mma_f16(d, a02, a12, a03, a13, b[22], b[23]);

    }
    {
        const u32 a00 = half2_sub(and_or(p0[12], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[12], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[12] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[12] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[13], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[13], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[13] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[13] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[24], b[25]);
        mma_f16(d, a02, a12, a03, a13, b[26], b[27]);

    }
    {
        const u32 a00 = half2_sub(and_or(p0[14], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[14], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[14] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[14] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[15], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[15], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[15] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[15] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[28], b[29]);
        mma_f16(d, a02, a12, a03, a13, b[30], b[31]);

    }
        {
            const float by0 = (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7440u)) - 8388736.0f);
            const float min0 = (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7441u)) - 8388608.0f);
            const float by1 = (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7440u)) - 8388736.0f);
            const float min1 = (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7441u)) - 8388608.0f);
            sum[0] = fmaf(by0, d[0], sum[0]);
            low[0] = fmaf(min0, x[0], low[0]);
            sum[2] = fmaf(by1, d[2], sum[2]);
            low[2] = fmaf(min1, x[0], low[2]);
        }

        {
            const float by0 = (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7442u)) - 8388736.0f);
            const float min0 = (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7443u)) - 8388608.0f);
            const float by1 = (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7442u)) - 8388736.0f);
            const float min1 = (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7443u)) - 8388608.0f);
            sum[0] = fmaf(by0, d[1], sum[0]);
            low[0] = fmaf(min0, x[1], low[0]);
            sum[2] = fmaf(by1, d[3], sum[2]);
            low[2] = fmaf(min1, x[1], low[2]);
        }

        acc[0] = fmaf(-e0, low[0], fmaf(d0, sum[0], acc[0]));
        acc[2] = fmaf(-e1, low[2], fmaf(d1, sum[2], acc[2]));

}
DEV void total_0(const float (&acc)[4], float (&total)[4]) {
    total[0] = (acc[0]);
    total[0] += __shfl_xor_sync(0xffffffffu, total[0], 1);
    total[0] += __shfl_xor_sync(0xffffffffu, total[0], 2);
    total[1] = (acc[1]);
    total[2] = (acc[2]);
    total[2] += __shfl_xor_sync(0xffffffffu, total[2], 1);
    total[2] += __shfl_xor_sync(0xffffffffu, total[2], 2);
    total[3] = (acc[3]);
}



DEV void ready_1(const u32 (&from)[4], u32 column, u32 (&b)[32], float (&x)[2]) {
#pragma unroll
    for (u32 i = 0; i < 32; ++i) b[i] = (column == i / 4 ? from[i % 4] : 0);
    float d[4] = {}, e[4] = {};
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[0], b[1]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[2], b[3]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[4], b[5]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[6], b[7]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[8], b[9]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[10], b[11]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[12], b[13]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[14], b[15]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[16], b[17]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[18], b[19]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[20], b[21]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[22], b[23]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[24], b[25]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[26], b[27]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[28], b[29]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[30], b[31]);
    x[0] = d[0]; x[1] = d[1];

}

DEV void cell_1(const u8* cell, u32 lane, const u32 (&b)[32], const float (&x)[2], float (&acc)[4]) {
    u32 p0[16];
    { const uint4 v = load16(cell + 0 + lane * 16); p0[0] = v.x; p0[1] = v.y; p0[2] = v.z; p0[3] = v.w; }
    { const uint4 v = load16(cell + 512 + lane * 16); p0[4] = v.x; p0[5] = v.y; p0[6] = v.z; p0[7] = v.w; }
    { const uint4 v = load16(cell + 1024 + lane * 16); p0[8] = v.x; p0[9] = v.y; p0[10] = v.z; p0[11] = v.w; }
    { const uint4 v = load16(cell + 1536 + lane * 16); p0[12] = v.x; p0[13] = v.y; p0[14] = v.z; p0[15] = v.w; }

    u32 s0[1];
    s0[0] = load4(cell + 2048 + (lane / 4 + 0) * 16 + lane % 4 * 4 + 0);
    const u32 f0 = load4(cell + 2304 + (lane / 4 + 0) * 4);
    const float d0 = from_half(f0 & 0xffffu), e0 = from_half(f0 >> 16);
    u32 s1[1];
    s1[0] = load4(cell + 2048 + (lane / 4 + 8) * 16 + lane % 4 * 4 + 0);
    const u32 f1 = load4(cell + 2304 + (lane / 4 + 8) * 4);
    const float d1 = from_half(f1 & 0xffffu), e1 = from_half(f1 >> 16);

    float d[4] = {}, e[4] = {}, sum[4] = {}, low[4] = {};
    {
        const u32 a00 = half2_sub(and_or(p0[0], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[0], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[0] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[0] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[1], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[1], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[1] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[1] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[0], b[1]);
        mma_f16(d, a02, a12, a03, a13, b[2], b[3]);

    }
    {
        const u32 a00 = half2_sub(and_or(p0[2], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[2], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[2] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[2] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[3], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[3], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[3] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[3] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[4], b[5]);
        mma_f16(d, a02, a12, a03, a13, b[6], b[7]);

    }
    {
        const u32 a00 = half2_sub(and_or(p0[4], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[4], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[4] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[4] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[5], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[5], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[5] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[5] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[8], b[9]);
        mma_f16(d, a02, a12, a03, a13, b[10], b[11]);

    }
    {
        const u32 a00 = half2_sub(and_or(p0[6], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[6], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[6] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[6] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[7], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[7], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[7] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[7] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[12], b[13]);
        mma_f16(d, a02, a12, a03, a13, b[14], b[15]);

    }
    {
        const u32 a00 = half2_sub(and_or(p0[8], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[8], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[8] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[8] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[9], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[9], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[9] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[9] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[16], b[17]);
        mma_f16(d, a02, a12, a03, a13, b[18], b[19]);

    }
    {
        const u32 a00 = half2_sub(and_or(p0[10], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[10], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[10] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[10] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[11], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[11], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[11] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[11] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[20], b[21]);
        mma_f16(d, a02, a12, a03, a13, b[22], b[23]);

    }
    {
        const u32 a00 = half2_sub(and_or(p0[12], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[12], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[12] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[12] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[13], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[13], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[13] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[13] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[24], b[25]);
        mma_f16(d, a02, a12, a03, a13, b[26], b[27]);

    }
    {
        const u32 a00 = half2_sub(and_or(p0[14], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[14], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[14] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[14] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[15], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[15], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[15] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[15] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[28], b[29]);
        mma_f16(d, a02, a12, a03, a13, b[30], b[31]);

    }
        {
            const float by0 = (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7440u)) - 8388736.0f);
            const float min0 = (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7441u)) - 8388608.0f);
            const float by1 = (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7440u)) - 8388736.0f);
            const float min1 = (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7441u)) - 8388608.0f);
            sum[0] = fmaf(by0, d[0], sum[0]);
            low[0] = fmaf(min0, x[0], low[0]);
            sum[2] = fmaf(by1, d[2], sum[2]);
            low[2] = fmaf(min1, x[0], low[2]);
        }

        {
            const float by0 = (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7442u)) - 8388736.0f);
            const float min0 = (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7443u)) - 8388608.0f);
            const float by1 = (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7442u)) - 8388736.0f);
            const float min1 = (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7443u)) - 8388608.0f);
            sum[0] = fmaf(by0, d[1], sum[0]);
            low[0] = fmaf(min0, x[1], low[0]);
            sum[2] = fmaf(by1, d[3], sum[2]);
            low[2] = fmaf(min1, x[1], low[2]);
        }

        acc[0] = fmaf(-e0, low[0], fmaf(d0, sum[0], acc[0]));
        acc[2] = fmaf(-e1, low[2], fmaf(d1, sum[2], acc[2]));

}
DEV void total_1(const float (&acc)[4], float (&total)[4]) {
    total[0] = (acc[0]);
    total[0] += __shfl_xor_sync(0xffffffffu, total[0], 1);
    total[0] += __shfl_xor_sync(0xffffffffu, total[0], 2);
    total[1] = (acc[1]);
    total[2] = (acc[2]);
    total[2] += __shfl_xor_sync(0xffffffffu, total[2], 1);
    total[2] += __shfl_xor_sync(0xffffffffu, total[2], 2);
    total[3] = (acc[3]);
}



DEV void ready_2(const u32 (&from)[4], u32 column, u32 (&b)[32], float (&x)[2]) {
#pragma unroll
    for (u32 i = 0; i < 32; ++i) b[i] = (column == i / 4 ? from[i % 4] : 0);
    float d[4] = {}, e[4] = {};
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[0], b[1]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[2], b[3]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[4], b[5]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[6], b[7]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[8], b[9]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[10], b[11]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[12], b[13]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[14], b[15]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[16], b[17]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[18], b[19]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[20], b[21]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[22], b[23]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[24], b[25]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[26], b[27]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[28], b[29]);
    mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[30], b[31]);
    x[0] = d[0]; x[1] = d[1];

}

DEV void cell_2(const u8* cell, u32 lane, const u32 (&b)[32], const float (&x)[2], float (&acc)[4]) {
    u32 p0[16];
    { const uint4 v = load16(cell + 0 + lane * 16); p0[0] = v.x; p0[1] = v.y; p0[2] = v.z; p0[3] = v.w; }
    { const uint4 v = load16(cell + 512 + lane * 16); p0[4] = v.x; p0[5] = v.y; p0[6] = v.z; p0[7] = v.w; }
    { const uint4 v = load16(cell + 1024 + lane * 16); p0[8] = v.x; p0[9] = v.y; p0[10] = v.z; p0[11] = v.w; }
    { const uint4 v = load16(cell + 1536 + lane * 16); p0[12] = v.x; p0[13] = v.y; p0[14] = v.z; p0[15] = v.w; }

    u32 s0[1];
    s0[0] = load4(cell + 2048 + (lane / 4 + 0) * 16 + lane % 4 * 4 + 0);
    const u32 f0 = load4(cell + 2304 + (lane / 4 + 0) * 4);
    const float d0 = from_half(f0 & 0xffffu), e0 = from_half(f0 >> 16);
    u32 s1[1];
    s1[0] = load4(cell + 2048 + (lane / 4 + 8) * 16 + lane % 4 * 4 + 0);
    const u32 f1 = load4(cell + 2304 + (lane / 4 + 8) * 4);
    const float d1 = from_half(f1 & 0xffffu), e1 = from_half(f1 >> 16);

    float d[4] = {}, e[4] = {}, sum[4] = {}, low[4] = {};
    {
        const u32 a00 = half2_sub(and_or(p0[0], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[0], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[0] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[0] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[1], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[1], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[1] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[1] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[0], b[1]);
        mma_f16(d, a02, a12, a03, a13, b[2], b[3]);

    }
    {
        const u32 a00 = half2_sub(and_or(p0[2], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[2], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[2] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[2] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[3], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[3], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[3] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[3] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[4], b[5]);
        mma_f16(d, a02, a12, a03, a13, b[6], b[7]);

    }
    {
        const u32 a00 = half2_sub(and_or(p0[4], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[4], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[4] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[4] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[5], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[5], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[5] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[5] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[8], b[9]);
        mma_f16(d, a02, a12, a03, a13, b[10], b[11]);

    }
    {
        const u32 a00 = half2_sub(and_or(p0[6], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[6], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[6] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[6] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[7], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[7], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[7] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[7] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[12], b[13]);
        mma_f16(d, a02, a12, a03, a13, b[14], b[15]);

    }
    {
        const u32 a00 = half2_sub(and_or(p0[8], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[8], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[8] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[8] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[9], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[9], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[9] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[9] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[16], b[17]);
        mma_f16(d, a02, a12, a03, a13, b[18], b[19]);

    }
    {
        const u32 a00 = half2_sub(and_or(p0[10], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[10], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[10] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[10] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[11], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[11], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[11] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[11] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[20], b[21]);
        mma_f16(d, a02, a12, a03, a13, b[22], b[23]);

    }
    {
        const u32 a00 = half2_sub(and_or(p0[12], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[12], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[12] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[12] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[13], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[13], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[13] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[13] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[24], b[25]);
        mma_f16(d, a02, a12, a03, a13, b[26], b[27]);

    }
    {
        const u32 a00 = half2_sub(and_or(p0[14], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[14], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[14] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[14] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a10 = half2_sub(and_or(p0[15], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[15], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[15] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[15] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        mma_f16(d, a00, a10, a01, a11, b[28], b[29]);
        mma_f16(d, a02, a12, a03, a13, b[30], b[31]);

    }
        {
            const float by0 = (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7440u)) - 8388736.0f);
            const float min0 = (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7441u)) - 8388608.0f);
            const float by1 = (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7440u)) - 8388736.0f);
            const float min1 = (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7441u)) - 8388608.0f);
            sum[0] = fmaf(by0, d[0], sum[0]);
            low[0] = fmaf(min0, x[0], low[0]);
            sum[2] = fmaf(by1, d[2], sum[2]);
            low[2] = fmaf(min1, x[0], low[2]);
        }

        {
            const float by0 = (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7442u)) - 8388736.0f);
            const float min0 = (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7443u)) - 8388608.0f);
            const float by1 = (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7442u)) - 8388736.0f);
            const float min1 = (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7443u)) - 8388608.0f);
            sum[0] = fmaf(by0, d[1], sum[0]);
            low[0] = fmaf(min0, x[1], low[0]);
            sum[2] = fmaf(by1, d[3], sum[2]);
            low[2] = fmaf(min1, x[1], low[2]);
        }

        acc[0] = fmaf(-e0, low[0], fmaf(d0, sum[0], acc[0]));
        acc[2] = fmaf(-e1, low[2], fmaf(d1, sum[2], acc[2]));

}
DEV void total_2(const float (&acc)[4], float (&total)[4]) {
    total[0] = (acc[0]);
    total[0] += __shfl_xor_sync(0xffffffffu, total[0], 1);
    total[0] += __shfl_xor_sync(0xffffffffu, total[0], 2);
    total[1] = (acc[1]);
    total[2] = (acc[2]);
    total[2] += __shfl_xor_sync(0xffffffffu, total[2], 1);
    total[2] += __shfl_xor_sync(0xffffffffu, total[2], 2);
    total[3] = (acc[3]);
}


extern "C" __global__ void __launch_bounds__(576, 1) product_1r227k_norm1em5_256_q4_k_256__q4_k_128__q4_k_128_heads_4x64_adjacent64__2x64_adjacent64_kf16__2x64_vf16_t10(
    const int* count
    , const float* x
    , const float* norm
    , const int* positions
    , const int* seqs
    , const int* tables
    , const u8* w0
    , float* out0
    , const float* rope0
    , const u8* w1
    , u8* kv1
    , const float* rope1
    , const u8* w2
    , u8* kv2
) {

    SHARED_BYTES(shared);
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const shared_t full = shared_address(shared + 174592), empty = full + 8 * 9;
    const shared_t operands_full = empty + 8 * 9, done = operands_full + 8 * 9, taken = done + 16;
    const shared_t norm_full = taken + 16, squared = norm_full + 8;
    if (threadIdx.x == 0) {
        for (u32 i = 0; i < 9; ++i) {
            barrier_init(full + 8 * i, COPY_ARRIVALS);
            barrier_init(empty + 8 * i, 8);
            barrier_init(operands_full + 8 * i, COPY_ARRIVALS);
        }
        for (u32 i = 0; i < 2; ++i) {
            barrier_init(done + 8 * i, 16);
            barrier_init(taken + 8 * i, 1);
        }
        barrier_init(norm_full, COPY_ARRIVALS);
        barrier_init(squared, 16);
        barriers_ready();
    }
    __syncthreads();
    let_next_begin();
    const u32 row0 = blockIdx.y * 1;

    const u64 low = 113664ull * blockIdx.x / gridDim.x, high = 113664ull * (blockIdx.x + 1) / gridDim.x;
    const u32 first0 = units_before(low, 0ull, 37888ull, 1);
    const u32 end0 = units_before(high, 0ull, 37888ull, 1);
    const u32 first1 = units_before(low, 37888ull, 37888ull, 1);
    const u32 end1 = units_before(high, 37888ull, 37888ull, 1);
    const u32 first2 = units_before(low, 75776ull, 37888ull, 1);
    const u32 end2 = units_before(high, 75776ull, 37888ull, 1);

    if (warp == 16) {
        const u64 policy = read_once();
        u32 copies = 0;
        copy_begin(norm_full, 1024, lane);
        copy_piece(shared + 173056 + 32 * 16, (const u8*)norm, 1024, norm_full, lane, policy);
        copy_end(norm_full, lane);
        for (u32 u = first0; u < end0; ++u) {
            const u32 tiles = u * 16 + 16 < 16 ? 16 : 16 - u * 16;
            for (u32 m = 0; m < 1; ++m) {
                const u8* from = (m == 0 ? w0 : w0) + (u64)u * (16 * 1 * 2368);
                for (u32 s = 0; s < 1; ++s) {
                    const u32 left = tiles * 1 - s * 16, cells = left < 16 ? left : 16;
                    for (u32 at = 0; at < 16; at += 8, ++copies) {
                        const u32 slot = copies % 9, turn = copies / 9;
                        if (copies >= 3) {
                            const u32 before = copies - 3;
                            barrier_wait(full + 8 * (before % 9), before / 9 & 1);
                        }
                        barrier_wait(empty + 8 * slot, (turn & 1) ^ 1);
                        const u32 count = at < cells ? (cells - at < 8 ? cells - at : 8) : 0;
                        copy_begin(full + 8 * slot, count * 2368, lane);
                        copy_piece(shared + slot * 18944, from + (s * 16 + at) * 2368, count * 2368,
                                   full + 8 * slot, lane, policy);
                        copy_end(full + 8 * slot, lane);
                        // A lane that lags would miss the phases that it waits for.
                        __syncwarp();
                    }
                }
            }
        }
        for (u32 u = first1; u < end1; ++u) {
            const u32 tiles = u * 16 + 16 < 8 ? 16 : 8 - u * 16;
            for (u32 m = 0; m < 1; ++m) {
                const u8* from = (m == 0 ? w1 : w1) + (u64)u * (16 * 1 * 2368);
                for (u32 s = 0; s < 1; ++s) {
                    const u32 left = tiles * 1 - s * 16, cells = left < 16 ? left : 16;
                    for (u32 at = 0; at < 16; at += 8, ++copies) {
                        const u32 slot = copies % 9, turn = copies / 9;
                        if (copies >= 3) {
                            const u32 before = copies - 3;
                            barrier_wait(full + 8 * (before % 9), before / 9 & 1);
                        }
                        barrier_wait(empty + 8 * slot, (turn & 1) ^ 1);
                        const u32 count = at < cells ? (cells - at < 8 ? cells - at : 8) : 0;
                        copy_begin(full + 8 * slot, count * 2368, lane);
                        copy_piece(shared + slot * 18944, from + (s * 16 + at) * 2368, count * 2368,
                                   full + 8 * slot, lane, policy);
                        copy_end(full + 8 * slot, lane);
                        // A lane that lags would miss the phases that it waits for.
                        __syncwarp();
                    }
                }
            }
        }
        for (u32 u = first2; u < end2; ++u) {
            const u32 tiles = u * 16 + 16 < 8 ? 16 : 8 - u * 16;
            for (u32 m = 0; m < 1; ++m) {
                const u8* from = (m == 0 ? w2 : w2) + (u64)u * (16 * 1 * 2368);
                for (u32 s = 0; s < 1; ++s) {
                    const u32 left = tiles * 1 - s * 16, cells = left < 16 ? left : 16;
                    for (u32 at = 0; at < 16; at += 8, ++copies) {
                        const u32 slot = copies % 9, turn = copies / 9;
                        if (copies >= 3) {
                            const u32 before = copies - 3;
                            barrier_wait(full + 8 * (before % 9), before / 9 & 1);
                        }
                        barrier_wait(empty + 8 * slot, (turn & 1) ^ 1);
                        const u32 count = at < cells ? (cells - at < 8 ? cells - at : 8) : 0;
                        copy_begin(full + 8 * slot, count * 2368, lane);
                        copy_piece(shared + slot * 18944, from + (s * 16 + at) * 2368, count * 2368,
                                   full + 8 * slot, lane, policy);
                        copy_end(full + 8 * slot, lane);
                        // A lane that lags would miss the phases that it waits for.
                        __syncwarp();
                    }
                }
            }
        }
        return;
    }

    if (warp == 16 + 1) {
        wait_for_previous();
        const u32 all = (u32)*count, rows = row0 >= all ? 0 : (all - row0 < 1 ? all - row0 : 1);
        u32 round = 0;
        u32 position[1], block[1];
#pragma unroll
        for (u32 r = 0; r < 1; ++r) {
            const u32 t = 2 * r + lane / 16, row = row0 + t;
            position[r] = t < rows ? (u32)positions[row] : 0;
            block[r] = t < rows ? (u32)tables[(u64)seqs[row] * 10 + position[r] / 32] : 0;
        }
        for (u32 u = first0; u < end0; ++u, ++round) {
            const u32 set = round % 2;
            const float* sums = (const float*)(shared + 170496 + set * 1280);
            barrier_wait(done + 8 * set, round / 2 & 1);
#pragma unroll
            for (u32 q = 0; q < 16; ++q) {
                if (u * 16 + q >= 16) break;
#pragma unroll
                for (u32 r = 0; r < 1; ++r) {
                    if (2 * r >= rows) break;
                    const u32 t = 2 * r + lane / 16, row = row0 + t, col = (u * 16 + q) * 16 + lane % 16;
                    const float* from = sums + (q * 1 * 1 + (t < rows ? t : rows - 1)) * 20 + lane % 16;
                    float v = 0.0f;
#pragma unroll
                    for (u32 w = 0; w < 1; ++w) v += from[w * 1 * 20];
                    v *= OPERAND_UNIT;
                    const float other = __shfl_xor_sync(0xffffffffu, v, 1);
                    if (t < rows && col % 64 < 64) {
                        const float* turn = rope0 + (u64)row * 64 + col % 64 / 2;
                        v = col % 2 == 0 ? fmaf(v, turn[0], -(other * turn[64 / 2])) : fmaf(other, turn[64 / 2], v * turn[0]);
                    }
                    
                    if (t < rows) out0[(u64)row * 256 + col] = v;
                }
            }
            __syncwarp();
            if (lane == 0) barrier_arrive(taken + 8 * set);
        }
        for (u32 u = first1; u < end1; ++u, ++round) {
            const u32 set = round % 2;
            const float* sums = (const float*)(shared + 170496 + set * 1280);
            barrier_wait(done + 8 * set, round / 2 & 1);
#pragma unroll
            for (u32 q = 0; q < 16; ++q) {
                if (u * 16 + q >= 8) break;
#pragma unroll
                for (u32 r = 0; r < 1; ++r) {
                    if (2 * r >= rows) break;
                    const u32 t = 2 * r + lane / 16, row = row0 + t, col = (u * 16 + q) * 16 + lane % 16;
                    const float* from = sums + (q * 1 * 1 + (t < rows ? t : rows - 1)) * 20 + lane % 16;
                    float v = 0.0f;
#pragma unroll
                    for (u32 w = 0; w < 1; ++w) v += from[w * 1 * 20];
                    v *= OPERAND_UNIT;
                    const float other = __shfl_xor_sync(0xffffffffu, v, 1);
                    if (t < rows && col % 64 < 64) {
                        const float* turn = rope1 + (u64)row * 64 + col % 64 / 2;
                        v = col % 2 == 0 ? fmaf(v, turn[0], -(other * turn[64 / 2])) : fmaf(other, turn[64 / 2], v * turn[0]);
                    }
                    
                    if (t < rows) {
                        u8* to = kv1 + ((u64)block[r] * 2 + col / 64) * 4096;
                        ((u16*)to)[position[r] % 32 * 64 + col % 64] = (u16)to_half(fminf(fmaxf(v, -65504.0f), 65504.0f));
                    }
                }
            }
            __syncwarp();
            if (lane == 0) barrier_arrive(taken + 8 * set);
        }
        for (u32 u = first2; u < end2; ++u, ++round) {
            const u32 set = round % 2;
            const float* sums = (const float*)(shared + 170496 + set * 1280);
            barrier_wait(done + 8 * set, round / 2 & 1);
#pragma unroll
            for (u32 q = 0; q < 16; ++q) {
                if (u * 16 + q >= 8) break;
#pragma unroll
                for (u32 r = 0; r < 1; ++r) {
                    if (2 * r >= rows) break;
                    const u32 t = 2 * r + lane / 16, row = row0 + t, col = (u * 16 + q) * 16 + lane % 16;
                    const float* from = sums + (q * 1 * 1 + (t < rows ? t : rows - 1)) * 20 + lane % 16;
                    float v = 0.0f;
#pragma unroll
                    for (u32 w = 0; w < 1; ++w) v += from[w * 1 * 20];
                    v *= OPERAND_UNIT;
                    
                    if (t < rows) {
                        u8* to = kv2 + ((u64)block[r] * 2 + col / 64) * 4096;
                        ((u16*)to)[position[r] % 32 * 64 + col % 64] = (u16)to_half(fminf(fmaxf(v, -65504.0f), 65504.0f));
                    }
                }
            }
            __syncwarp();
            if (lane == 0) barrier_arrive(taken + 8 * set);
        }
        return;
    }

    wait_for_previous();
    const u32 all = (u32)*count, rows = row0 >= all ? 0 : (all - row0 < 1 ? all - row0 : 1);
    // A column is a row of operands, or a group of the only row.
    const u32 column = lane / 4, loads = 0, of_copy = warp % 8;
    // Copies come step by step; where the last of a step is for fewer consumers, the last of them counts for the others.
    u32 copy = warp / 8, round = 0;
    const u32 arrives = warp == 16 - 1 ? 1 : 1;
    u32 from[4];
    {
        const u32 first = warp % 1 * 256 + 32 * column + lane % 4 * 4;
        const float* at = x + (u64)(row0 + loads) * 256 + first;
        float own[8 * 1], sums_of[1];
#pragma unroll
        for (u32 i = 0; i < 2 * 1; ++i) {
            const uint4 v = loads < rows ? load16(at + 16 * i) : make_uint4(0, 0, 0, 0);
            own[4 * i] = __uint_as_float(v.x);
            own[4 * i + 1] = __uint_as_float(v.y);
            own[4 * i + 2] = __uint_as_float(v.z);
            own[4 * i + 3] = __uint_as_float(v.w);
        }
#pragma unroll
        for (u32 i = 0; i < 1; ++i) {
            sums_of[i] = 0.0f;
#pragma unroll
            for (u32 j = 0; j < 8; ++j) sums_of[i] = fmaf(own[8 * i + j], own[8 * i + j], sums_of[i]);
        }
#pragma unroll
        for (u32 o = 4; o < 32; o *= 2) sums_of[0] += __shfl_xor_sync(0xffffffffu, sums_of[0], (int)o);
        float sum = sums_of[0];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        float* squares = (float*)(shared + 173056);
        if (lane % 4 == 0) squares[warp * 8 + column] = sum;
        __syncwarp();
        if (lane == 0) barrier_arrive(squared);
        barrier_wait(squared, 0);
        sum = 0.0f;
#pragma unroll
        for (u32 i = 0; i < 1; ++i) sum += squares[i * 8 + column];
        const float by = __fdiv_rn(1.0f, sqrtf(fmaf(sum, 0.00390625f, 1e-5f)));
        const float* weights = squares + 8 * 16 + first;
        barrier_wait(norm_full, 0);
#pragma unroll
        for (u32 i = 0; i < 2 * 1; ++i) {
            const uint4 v = load16(weights + 16 * i);
            const u32 a = to_operand(own[4 * i] * by * __uint_as_float(v.x));
            const u32 b = to_operand(own[4 * i + 1] * by * __uint_as_float(v.y));
            const u32 c = to_operand(own[4 * i + 2] * by * __uint_as_float(v.z));
            const u32 d = to_operand(own[4 * i + 3] * by * __uint_as_float(v.w));
            from[2 * i] = a | b << 16;
            from[2 * i + 1] = c | d << 16;
        }
    }

    {
        u32 b[32];
        float x_sums[2];
        ready_0(from, column, b, x_sums);
        for (u32 u = first0; u < end0; ++u, ++round) {
            const u32 set = round % 2;
            float* sums = (float*)(shared + 170496 + set * 1280) + warp * 1 * 20;
            for (u32 m = 0; m < 1; ++m) {
                float acc[4] = {}, total[4];
                for (u32 s = 0; s < 1; ++s, copy += 2) {
                    const u32 slot = copy % 9, turn = copy / 9;
                    barrier_wait(full + 8 * slot, turn & 1);
                    // In the last step of a tile, and in the last unit of a part, there may be fewer cells.
                    const u32 cell = s * 16 + warp;
                    if (cell < 1 * (16 < 16 - u * 16 ? 16 : 16 - u * 16)) {
                        cell_0(shared + slot * 18944 + of_copy * 2368, lane, b, x_sums, acc);
                    }
                    __syncwarp();
                    if (lane < arrives) barrier_arrive(empty + 8 * slot);
                }
                if (m == 0) barrier_wait(taken + 8 * set, (round / 2 & 1) ^ 1);
                total_0(acc, total);
                float* to = sums + m * (16 * 1 * 20) + column;
#pragma unroll
                for (u32 i = 0; i < 2; ++i) {
                    const u32 t = 2 * (lane % 4) + i;
                    if (t < rows) {
                        to[t * 20] = total[i];
                        to[t * 20 + 8] = total[2 + i];
                    }
                }
            }
            __syncwarp();
            if (lane == 0) barrier_arrive(done + 8 * set);
        }
    }
    {
        u32 b[32];
        float x_sums[2];
        ready_1(from, column, b, x_sums);
        for (u32 u = first1; u < end1; ++u, ++round) {
            const u32 set = round % 2;
            float* sums = (float*)(shared + 170496 + set * 1280) + warp * 1 * 20;
            for (u32 m = 0; m < 1; ++m) {
                float acc[4] = {}, total[4];
                for (u32 s = 0; s < 1; ++s, copy += 2) {
                    const u32 slot = copy % 9, turn = copy / 9;
                    barrier_wait(full + 8 * slot, turn & 1);
                    // In the last step of a tile, and in the last unit of a part, there may be fewer cells.
                    const u32 cell = s * 16 + warp;
                    if (cell < 1 * (16 < 8 - u * 16 ? 16 : 8 - u * 16)) {
                        cell_1(shared + slot * 18944 + of_copy * 2368, lane, b, x_sums, acc);
                    }
                    __syncwarp();
                    if (lane < arrives) barrier_arrive(empty + 8 * slot);
                }
                if (m == 0) barrier_wait(taken + 8 * set, (round / 2 & 1) ^ 1);
                total_1(acc, total);
                float* to = sums + m * (16 * 1 * 20) + column;
#pragma unroll
                for (u32 i = 0; i < 2; ++i) {
                    const u32 t = 2 * (lane % 4) + i;
                    if (t < rows) {
                        to[t * 20] = total[i];
                        to[t * 20 + 8] = total[2 + i];
                    }
                }
            }
            __syncwarp();
            if (lane == 0) barrier_arrive(done + 8 * set);
        }
    }
    {
        u32 b[32];
        float x_sums[2];
        ready_2(from, column, b, x_sums);
        for (u32 u = first2; u < end2; ++u, ++round) {
            const u32 set = round % 2;
            float* sums = (float*)(shared + 170496 + set * 1280) + warp * 1 * 20;
            for (u32 m = 0; m < 1; ++m) {
                float acc[4] = {}, total[4];
                for (u32 s = 0; s < 1; ++s, copy += 2) {
                    const u32 slot = copy % 9, turn = copy / 9;
                    barrier_wait(full + 8 * slot, turn & 1);
                    // In the last step of a tile, and in the last unit of a part, there may be fewer cells.
                    const u32 cell = s * 16 + warp;
                    if (cell < 1 * (16 < 8 - u * 16 ? 16 : 8 - u * 16)) {
                        cell_2(shared + slot * 18944 + of_copy * 2368, lane, b, x_sums, acc);
                    }
                    __syncwarp();
                    if (lane < arrives) barrier_arrive(empty + 8 * slot);
                }
                if (m == 0) barrier_wait(taken + 8 * set, (round / 2 & 1) ^ 1);
                total_2(acc, total);
                float* to = sums + m * (16 * 1 * 20) + column;
#pragma unroll
                for (u32 i = 0; i < 2; ++i) {
                    const u32 t = 2 * (lane % 4) + i;
                    if (t < rows) {
                        to[t * 20] = total[i];
                        to[t * 20 + 8] = total[2 + i];
                    }
                }
            }
            __syncwarp();
            if (lane == 0) barrier_arrive(done + 8 * set);
        }
    }

}
}


// unpack_q4_k_256x256
namespace n_unpack_q4_k_256x256 {

template <class To> DEV void decode_w(const u8* cell, u32 lane, bool upper, u32 k0, u32 end, To to) {
    u32 p0[16];
    { const uint4 v = load16(cell + 0 + lane * 16); p0[0] = v.x; p0[1] = v.y; p0[2] = v.z; p0[3] = v.w; }
    { const uint4 v = load16(cell + 512 + lane * 16); p0[4] = v.x; p0[5] = v.y; p0[6] = v.z; p0[7] = v.w; }
    { const uint4 v = load16(cell + 1024 + lane * 16); p0[8] = v.x; p0[9] = v.y; p0[10] = v.z; p0[11] = v.w; }
    { const uint4 v = load16(cell + 1536 + lane * 16); p0[12] = v.x; p0[13] = v.y; p0[14] = v.z; p0[15] = v.w; }

    if (!upper) {
    u32 s0[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 0) * 16 + 0); s0[0] = v.x; s0[1] = v.y; s0[2] = v.z; s0[3] = v.w; }
    const u32 f0 = load4(cell + 2304 + (lane / 4 + 0) * 4);
    const float d0 = from_half(f0 & 0xffffu), e0 = from_half(f0 >> 16);

    {
        const u32 a00 = half2_sub(and_or(p0[0], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[0], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[0] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[0] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 0 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a00 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a00 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a01 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a01 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7441u)) - 8388608.0f));
        put4(to, k0 + 16 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a02 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a02 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a03 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a03 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7441u)) - 8388608.0f));
    }

    {
        const u32 a00 = half2_sub(and_or(p0[2], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[2], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[2] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[2] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 32 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a00 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a00 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a01 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a01 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7443u)) - 8388608.0f));
        put4(to, k0 + 48 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a02 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a02 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a03 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a03 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[0], 0x4b000000u, 0x7443u)) - 8388608.0f));
    }

    {
        const u32 a00 = half2_sub(and_or(p0[4], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[4], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[4] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[4] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 64 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a00 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a00 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a01 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a01 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7441u)) - 8388608.0f));
        put4(to, k0 + 80 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a02 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a02 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a03 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a03 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7441u)) - 8388608.0f));
    }

    {
        const u32 a00 = half2_sub(and_or(p0[6], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[6], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[6] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[6] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 96 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a00 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a00 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a01 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a01 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7443u)) - 8388608.0f));
        put4(to, k0 + 112 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a02 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a02 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a03 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a03 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[1], 0x4b000000u, 0x7443u)) - 8388608.0f));
    }

    {
        const u32 a00 = half2_sub(and_or(p0[8], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[8], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[8] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[8] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 128 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a00 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a00 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a01 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a01 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7441u)) - 8388608.0f));
        put4(to, k0 + 144 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a02 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a02 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a03 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a03 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7441u)) - 8388608.0f));
    }

    {
        const u32 a00 = half2_sub(and_or(p0[10], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[10], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[10] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[10] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 160 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a00 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a00 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a01 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a01 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7443u)) - 8388608.0f));
        put4(to, k0 + 176 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a02 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a02 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a03 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a03 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[2], 0x4b000000u, 0x7443u)) - 8388608.0f));
    }

    {
        const u32 a00 = half2_sub(and_or(p0[12], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[12], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[12] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[12] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 192 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a00 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a00 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a01 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a01 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7441u)) - 8388608.0f));
        put4(to, k0 + 208 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a02 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a02 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a03 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a03 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7441u)) - 8388608.0f));
    }

    {
        const u32 a00 = half2_sub(and_or(p0[14], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a01 = half2_fma(and_or(p0[14], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a02 = half2_sub(and_or((p0[14] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a03 = half2_fma(and_or((p0[14] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 224 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a00 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a00 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a01 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a01 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7443u)) - 8388608.0f));
        put4(to, k0 + 240 + 4 * (lane % 4), end, (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a02 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a02 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a03 >> 0) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a03 >> 16) & 0xffffu) - e0 * (__uint_as_float(__byte_perm(s0[3], 0x4b000000u, 0x7443u)) - 8388608.0f));
    }

    } else {
    u32 s1[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 8) * 16 + 0); s1[0] = v.x; s1[1] = v.y; s1[2] = v.z; s1[3] = v.w; }
    const u32 f1 = load4(cell + 2304 + (lane / 4 + 8) * 4);
    const float d1 = from_half(f1 & 0xffffu), e1 = from_half(f1 >> 16);

    {
        const u32 a10 = half2_sub(and_or(p0[1], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[1], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[1] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[1] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 0 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a10 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a10 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a11 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a11 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7441u)) - 8388608.0f));
        put4(to, k0 + 16 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a12 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a12 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a13 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a13 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7441u)) - 8388608.0f));
    }

    {
        const u32 a10 = half2_sub(and_or(p0[3], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[3], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[3] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[3] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 32 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a10 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a10 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a11 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a11 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7443u)) - 8388608.0f));
        put4(to, k0 + 48 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a12 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a12 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a13 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a13 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[0], 0x4b000000u, 0x7443u)) - 8388608.0f));
    }

    {
        const u32 a10 = half2_sub(and_or(p0[5], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[5], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[5] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[5] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 64 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a10 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a10 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a11 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a11 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7441u)) - 8388608.0f));
        put4(to, k0 + 80 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a12 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a12 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a13 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a13 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7441u)) - 8388608.0f));
    }

    {
        const u32 a10 = half2_sub(and_or(p0[7], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[7], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[7] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[7] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 96 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a10 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a10 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a11 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a11 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7443u)) - 8388608.0f));
        put4(to, k0 + 112 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a12 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a12 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a13 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a13 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[1], 0x4b000000u, 0x7443u)) - 8388608.0f));
    }

    {
        const u32 a10 = half2_sub(and_or(p0[9], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[9], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[9] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[9] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 128 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a10 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a10 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a11 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a11 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7441u)) - 8388608.0f));
        put4(to, k0 + 144 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a12 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a12 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a13 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a13 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7441u)) - 8388608.0f));
    }

    {
        const u32 a10 = half2_sub(and_or(p0[11], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[11], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[11] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[11] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 160 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a10 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a10 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a11 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a11 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7443u)) - 8388608.0f));
        put4(to, k0 + 176 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a12 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a12 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a13 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a13 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[2], 0x4b000000u, 0x7443u)) - 8388608.0f));
    }

    {
        const u32 a10 = half2_sub(and_or(p0[13], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[13], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[13] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[13] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 192 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a10 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a10 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a11 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a11 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7441u)) - 8388608.0f));
        put4(to, k0 + 208 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a12 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a12 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a13 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7441u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7440u)) - 8388736.0f)) * from_half((a13 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7441u)) - 8388608.0f));
    }

    {
        const u32 a10 = half2_sub(and_or(p0[15], 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a11 = half2_fma(and_or(p0[15], 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);
        const u32 a12 = half2_sub(and_or((p0[15] >> 8), 0x000f000fu, 0x64006400u), 0x64006400u);
        const u32 a13 = half2_fma(and_or((p0[15] >> 8), 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd400d400u);

        put4(to, k0 + 224 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a10 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a10 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a11 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a11 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7443u)) - 8388608.0f));
        put4(to, k0 + 240 + 4 * (lane % 4), end, (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a12 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a12 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a13 >> 0) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7443u)) - 8388608.0f), (d1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7442u)) - 8388736.0f)) * from_half((a13 >> 16) & 0xffffu) - e1 * (__uint_as_float(__byte_perm(s1[3], 0x4b000000u, 0x7443u)) - 8388608.0f));
    }

    }
}
struct Row {
    u8* start;
    u32 flip;
};
DEV void put4(const Row& to, u32 k, u32, float a, float b, float c, float d) {
    u8* at = to.start + (u64)(k / 64) * 16384 + ((k % 64 / 8) ^ to.flip) * 16 + k % 8 * 2;
    *(uint2*)at = make_uint2(half_pair(saturated(a), saturated(b)), half_pair(saturated(c), saturated(d)));
}
extern "C" __global__ void __launch_bounds__(128, 1) unpack_q4_k_256x256(
    const int* count
    , const u8* w
    , u8* out
) {
    let_next_begin();
    wait_for_previous();
    const u32 unit = blockIdx.x * (128 / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (unit >= 16 * 1) return;
    const u32 tile = unit / 1, c = unit % 1;
    const u8* cell = (blockIdx.y == 0 ? w : w) + (u64)unit * 2368;
    for (u32 half = 0; half < 2; ++half) {
        const u32 r = tile * 16 + half * 8 + lane / 4;
        const u32 row = r;
        const Row to = {out + (u64)(row / 128) * ((u64)4 * 16384) + row % 128 * 128, row % 8};
        decode_w(cell, lane, half == 1, c * 256, 256, to);
        if (c + 1 < 1) continue;
        for (u32 k = 256 + lane % 4 * 4; k < 4 * 64; k += 16) put4(to, k, 0, 0.0f, 0.0f, 0.0f, 0.0f);
    }
}
}


// wide_wgmma4_256_256_q4_k_256__q4_k_128__q4_k_128
namespace n_wide_wgmma4_256_256_q4_k_256__q4_k_128__q4_k_128 {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
DEV void multiply_tiles(float (&d)[32][4], const u8* a, const u8* b, u32 k, bool add) {
    asm volatile(
        "{ .reg .pred p; setp.ne.b32 p, %130, 0; "
        "wgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127}, %128, %129, p, 1, 1, 0, 0; }"
        : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]), "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]), "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3]), "+f"(d[8][0]), "+f"(d[8][1]), "+f"(d[8][2]), "+f"(d[8][3]), "+f"(d[9][0]), "+f"(d[9][1]), "+f"(d[9][2]), "+f"(d[9][3]), "+f"(d[10][0]), "+f"(d[10][1]), "+f"(d[10][2]), "+f"(d[10][3]), "+f"(d[11][0]), "+f"(d[11][1]), "+f"(d[11][2]), "+f"(d[11][3]), "+f"(d[12][0]), "+f"(d[12][1]), "+f"(d[12][2]), "+f"(d[12][3]), "+f"(d[13][0]), "+f"(d[13][1]), "+f"(d[13][2]), "+f"(d[13][3]), "+f"(d[14][0]), "+f"(d[14][1]), "+f"(d[14][2]), "+f"(d[14][3]), "+f"(d[15][0]), "+f"(d[15][1]), "+f"(d[15][2]), "+f"(d[15][3]), "+f"(d[16][0]), "+f"(d[16][1]), "+f"(d[16][2]), "+f"(d[16][3]), "+f"(d[17][0]), "+f"(d[17][1]), "+f"(d[17][2]), "+f"(d[17][3]), "+f"(d[18][0]), "+f"(d[18][1]), "+f"(d[18][2]), "+f"(d[18][3]), "+f"(d[19][0]), "+f"(d[19][1]), "+f"(d[19][2]), "+f"(d[19][3]), "+f"(d[20][0]), "+f"(d[20][1]), "+f"(d[20][2]), "+f"(d[20][3]), "+f"(d[21][0]), "+f"(d[21][1]), "+f"(d[21][2]), "+f"(d[21][3]), "+f"(d[22][0]), "+f"(d[22][1]), "+f"(d[22][2]), "+f"(d[22][3]), "+f"(d[23][0]), "+f"(d[23][1]), "+f"(d[23][2]), "+f"(d[23][3]), "+f"(d[24][0]), "+f"(d[24][1]), "+f"(d[24][2]), "+f"(d[24][3]), "+f"(d[25][0]), "+f"(d[25][1]), "+f"(d[25][2]), "+f"(d[25][3]), "+f"(d[26][0]), "+f"(d[26][1]), "+f"(d[26][2]), "+f"(d[26][3]), "+f"(d[27][0]), "+f"(d[27][1]), "+f"(d[27][2]), "+f"(d[27][3]), "+f"(d[28][0]), "+f"(d[28][1]), "+f"(d[28][2]), "+f"(d[28][3]), "+f"(d[29][0]), "+f"(d[29][1]), "+f"(d[29][2]), "+f"(d[29][3]), "+f"(d[30][0]), "+f"(d[30][1]), "+f"(d[30][2]), "+f"(d[30][3]), "+f"(d[31][0]), "+f"(d[31][1]), "+f"(d[31][2]), "+f"(d[31][3])
        : "l"(tile_descriptor(a, k)), "l"(tile_descriptor(b, k)), "r"((u32)add));
}
#endif
extern "C" __global__ void __launch_bounds__(384, 1) wide_wgmma4_256_256_q4_k_256__q4_k_128__q4_k_128(
    const int* count
    , const u16* x
    , const u8* w0
    , float* out0
    , const u8* w1
    , float* out1
    , const u8* w2
    , float* out2
) {
    let_next_begin();
    wait_for_previous();
#if defined(LATHE_EMULATOR) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
    SHARED_BYTES(shared);
    u8* const ring = shared + (1024 - ((u32)shared_address(shared) & 1023)) % 1024;
    const u32 rows = (u32)*count, tall = (rows + 128 - 1) / 128, tiles = tall * (3 * 1);
    const u32 lane = threadIdx.x % 32;
    const u8* from;
    u32 first;
    const shared_t full = shared_address(ring + 4 * 49152), empty = full + 8 * 4;
    if (threadIdx.x == 0) {
        for (u32 i = 0; i < 4; ++i) {
            barrier_init(full + 8 * i, 4 + COPY_ARRIVALS);
            barrier_init(empty + 8 * i, 8);
        }
        barriers_ready();
    }
    __syncthreads();
    u32 it = 0;
    if (threadIdx.x < 128) {
        give_registers<40>();
        const u32 run = threadIdx.x % 8, row0 = threadIdx.x / 8;
        const u64 policy = read_often();
        // What this thread copied for step `i` has come: the tensor cores may see it.
        const auto arrive = [&](u32 i) {
            show_to_copies();
            __syncwarp();
            if (lane == 0) barrier_arrive(full + 8 * (i % 4));
        };
        for (u32 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const u32 tm = tile % tall, tn = tile / tall, begin = 0, end = 4;
            const u32 top = tm * 128;
        if (tn < 1) {
            first = (tn - 0) * 256;
            from = w0;
        }
        else if (tn < 2) {
            first = (tn - 1) * 256;
            from = w1;
        }
        else if (tn < 3) {
            first = (tn - 2) * 256;
            from = w2;
        }

            from += (u64)(first / 128) * 4 * 16384;
            const u16* const operands = x + (u64)(top + row0) * 256 + run * 8;
            for (u32 step = begin; step < end; ++step, ++it) {
                const u32 slot = it % 4;
                barrier_wait(empty + 8 * slot, (it / 4 & 1) ^ 1);
                u8* const stage = ring + slot * 49152;
                if (threadIdx.x < 32) {
                    const shared_t bar = full + 8 * slot;
                    copy_begin(bar, 2 * 16384, lane);
                    for (u32 p = 0; p < 2; ++p)
                        copy_piece(stage + 16384 + p * 16384, from + ((u64)p * 4 + step) * 16384, 16384, bar, lane,
                                   policy);
                    copy_end(bar, lane);
                }
                u8* const to = stage + row0 * 128 + (run ^ row0 % 8) * 16;
                const bool inside = step * 64 + run * 8 < 256;
#pragma unroll
                for (u32 i = 0; i < 8; ++i)
                    copy16(to + i * 2048, operands + (u64)(16 * i) * 256 + step * 64, inside && top + row0 + 16 * i < rows);
                commit_copies();
                if (it < 2) continue;
                wait_copies<2>();
                arrive(it - 2);
            }
        }
        wait_copies<0>();
        if (it > 1) arrive(it - 2);
        if (it > 0) arrive(it - 1);
        return;
    }
    take_registers<232>();
    const u32 group = threadIdx.x / 128 - 1, warp = threadIdx.x % 128 / 32;
    for (u32 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const u32 tm = tile % tall, tn = tile / tall, begin = 0, end = 4;
        float d[1][32][4];
        for (u32 step = begin; step < end; ++step, ++it) {
            const u32 slot = it % 4;
            barrier_wait(full + 8 * slot, it / 4 & 1);
            const u8* const stage = ring + slot * 49152;
            begin_products();
#pragma unroll
            for (u32 k = 0; k < 4; ++k)
                multiply_tiles(d[0], stage + group * 8192, stage + 16384, k, step > begin || k > 0);
            commit_products();
            wait_products<1>();
            if (step == begin) continue;
            __syncwarp();
            if (lane == 0) barrier_arrive(empty + 8 * ((it - 1) % 4));
        }
        wait_products<0>();
        settle(d[0]);
        __syncwarp();
        if (lane == 0) barrier_arrive(empty + 8 * ((it - 1) % 4));
        const u32 top = tm * 128 + group * 64 + warp * 16, left = 0;
        if (tn < 1) {
            first = (tn - 0) * 256;
#pragma unroll
            for (u32 m = 0; m < 1; ++m) {
#pragma unroll
                for (u32 h = 0; h < 2; ++h) {
                    const u32 row = top + 16 * m + 8 * h + lane / 4;
                    if (row >= rows) continue;
#pragma unroll
                    for (u32 j0 = 0; j0 < 32; j0 += 8) {
                        const u32 c0 = (first + left) / 1 + 8 * j0 + lane % 4 * 2;
#pragma unroll
                        for (u32 b = 0; b < 8; ++b) {
                            const u32 j = j0 + b, c = c0 + 8 * b;
                            if (c >= 256) continue;
                            float pair[2];
#pragma unroll
                            for (u32 i = 0; i < 2; ++i) {
                                const u32 col = c + i;
                                float v = d[m][1 * j][2 * h + i] * OPERAND_UNIT;
                                
                                
                                pair[i] = v;
                            }
                            *(float2*)(out0 + (u64)row * 256 + c) = make_float2(pair[0], pair[1]);
                        }
                    }
                }
            }
        }
        else if (tn < 2) {
            first = (tn - 1) * 256;
#pragma unroll
            for (u32 m = 0; m < 1; ++m) {
#pragma unroll
                for (u32 h = 0; h < 2; ++h) {
                    const u32 row = top + 16 * m + 8 * h + lane / 4;
                    if (row >= rows) continue;
#pragma unroll
                    for (u32 j0 = 0; j0 < 32; j0 += 8) {
                        const u32 c0 = (first + left) / 1 + 8 * j0 + lane % 4 * 2;
#pragma unroll
                        for (u32 b = 0; b < 8; ++b) {
                            const u32 j = j0 + b, c = c0 + 8 * b;
                            if (c >= 128) continue;
                            float pair[2];
#pragma unroll
                            for (u32 i = 0; i < 2; ++i) {
                                const u32 col = c + i;
                                float v = d[m][1 * j][2 * h + i] * OPERAND_UNIT;
                                
                                
                                pair[i] = v;
                            }
                            *(float2*)(out1 + (u64)row * 128 + c) = make_float2(pair[0], pair[1]);
                        }
                    }
                }
            }
        }
        else if (tn < 3) {
            first = (tn - 2) * 256;
#pragma unroll
            for (u32 m = 0; m < 1; ++m) {
#pragma unroll
                for (u32 h = 0; h < 2; ++h) {
                    const u32 row = top + 16 * m + 8 * h + lane / 4;
                    if (row >= rows) continue;
#pragma unroll
                    for (u32 j0 = 0; j0 < 32; j0 += 8) {
                        const u32 c0 = (first + left) / 1 + 8 * j0 + lane % 4 * 2;
#pragma unroll
                        for (u32 b = 0; b < 8; ++b) {
                            const u32 j = j0 + b, c = c0 + 8 * b;
                            if (c >= 128) continue;
                            float pair[2];
#pragma unroll
                            for (u32 i = 0; i < 2; ++i) {
                                const u32 col = c + i;
                                float v = d[m][1 * j][2 * h + i] * OPERAND_UNIT;
                                
                                
                                pair[i] = v;
                            }
                            *(float2*)(out2 + (u64)row * 128 + c) = make_float2(pair[0], pair[1]);
                        }
                    }
                }
            }
        }

    }
#endif
}
}


// stream227k_16x1r3b_256_q4_k_256__q4_k_128__q4_k_128
namespace n_stream227k_16x1r3b_256_q4_k_256__q4_k_128__q4_k_128 {

DEV void levels_0_0(const u8* cell, u32 lane, u32 (&a)[32]) {
    u32 p0[16];
    { const uint4 v = load16(cell + 0 + lane * 16); p0[0] = v.x; p0[1] = v.y; p0[2] = v.z; p0[3] = v.w; }
    { const uint4 v = load16(cell + 512 + lane * 16); p0[4] = v.x; p0[5] = v.y; p0[6] = v.z; p0[7] = v.w; }
    { const uint4 v = load16(cell + 1024 + lane * 16); p0[8] = v.x; p0[9] = v.y; p0[10] = v.z; p0[11] = v.w; }
    { const uint4 v = load16(cell + 1536 + lane * 16); p0[12] = v.x; p0[13] = v.y; p0[14] = v.z; p0[15] = v.w; }
    u32 s0[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 0) * 16 + 0); s0[0] = v.x; s0[1] = v.y; s0[2] = v.z; s0[3] = v.w; }
    const u32 f0 = load4(cell + 2304 + (lane / 4 + 0) * 4);
    const float d0 = from_half(f0 & 0xffffu), e0 = from_half(f0 >> 16);
    u32 s1[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 8) * 16 + 0); s1[0] = v.x; s1[1] = v.y; s1[2] = v.z; s1[3] = v.w; }
    const u32 f1 = load4(cell + 2304 + (lane / 4 + 8) * 4);
    const float d1 = from_half(f1 & 0xffffu), e1 = from_half(f1 >> 16);

    {
        const u32 k00 = half2_sub(__byte_perm(s0[0], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[0], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[0], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[0] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[0] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[0] = a00;
        a[2] = a01;
        a[4] = a02;
        a[6] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[0], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[1], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[1], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[1] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[1] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[1] = a10;
        a[3] = a11;
        a[5] = a12;
        a[7] = a13;
    }
    {
        const u32 k00 = half2_sub(__byte_perm(s0[0], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[2], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[2], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[2] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[2] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[8] = a00;
        a[10] = a01;
        a[12] = a02;
        a[14] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[0], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[3], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[3], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[3] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[3] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[9] = a10;
        a[11] = a11;
        a[13] = a12;
        a[15] = a13;
    }
    {
        const u32 k00 = half2_sub(__byte_perm(s0[1], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[4], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[4], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[4] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[4] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[16] = a00;
        a[18] = a01;
        a[20] = a02;
        a[22] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[1], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[5], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[5], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[5] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[5] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[17] = a10;
        a[19] = a11;
        a[21] = a12;
        a[23] = a13;
    }
    {
        const u32 k00 = half2_sub(__byte_perm(s0[1], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[6], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[6], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[6] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[6] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[24] = a00;
        a[26] = a01;
        a[28] = a02;
        a[30] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[1], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[7], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[7], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[7] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[7] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[25] = a10;
        a[27] = a11;
        a[29] = a12;
        a[31] = a13;
    }
}
DEV void levels_0_1(const u8* cell, u32 lane, u32 (&a)[32]) {
    u32 p0[16];
    { const uint4 v = load16(cell + 0 + lane * 16); p0[0] = v.x; p0[1] = v.y; p0[2] = v.z; p0[3] = v.w; }
    { const uint4 v = load16(cell + 512 + lane * 16); p0[4] = v.x; p0[5] = v.y; p0[6] = v.z; p0[7] = v.w; }
    { const uint4 v = load16(cell + 1024 + lane * 16); p0[8] = v.x; p0[9] = v.y; p0[10] = v.z; p0[11] = v.w; }
    { const uint4 v = load16(cell + 1536 + lane * 16); p0[12] = v.x; p0[13] = v.y; p0[14] = v.z; p0[15] = v.w; }
    u32 s0[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 0) * 16 + 0); s0[0] = v.x; s0[1] = v.y; s0[2] = v.z; s0[3] = v.w; }
    const u32 f0 = load4(cell + 2304 + (lane / 4 + 0) * 4);
    const float d0 = from_half(f0 & 0xffffu), e0 = from_half(f0 >> 16);
    u32 s1[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 8) * 16 + 0); s1[0] = v.x; s1[1] = v.y; s1[2] = v.z; s1[3] = v.w; }
    const u32 f1 = load4(cell + 2304 + (lane / 4 + 8) * 4);
    const float d1 = from_half(f1 & 0xffffu), e1 = from_half(f1 >> 16);

    {
        const u32 k00 = half2_sub(__byte_perm(s0[2], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[8], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[8], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[8] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[8] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[0] = a00;
        a[2] = a01;
        a[4] = a02;
        a[6] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[2], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[9], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[9], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[9] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[9] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[1] = a10;
        a[3] = a11;
        a[5] = a12;
        a[7] = a13;
    }
    {
        const u32 k00 = half2_sub(__byte_perm(s0[2], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[10], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[10], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[10] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[10] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[8] = a00;
        a[10] = a01;
        a[12] = a02;
        a[14] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[2], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[11], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[11], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[11] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[11] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[9] = a10;
        a[11] = a11;
        a[13] = a12;
        a[15] = a13;
    }
    {
        const u32 k00 = half2_sub(__byte_perm(s0[3], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[12], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[12], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[12] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[12] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[16] = a00;
        a[18] = a01;
        a[20] = a02;
        a[22] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[3], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[13], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[13], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[13] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[13] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[17] = a10;
        a[19] = a11;
        a[21] = a12;
        a[23] = a13;
    }
    {
        const u32 k00 = half2_sub(__byte_perm(s0[3], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[14], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[14], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[14] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[14] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[24] = a00;
        a[26] = a01;
        a[28] = a02;
        a[30] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[3], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[15], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[15], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[15] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[15] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[25] = a10;
        a[27] = a11;
        a[29] = a12;
        a[31] = a13;
    }
}
DEV void factors_0(const u8* cell, u32 lane, float (&d)[2]) {
    u32 s0[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 0) * 16 + 0); s0[0] = v.x; s0[1] = v.y; s0[2] = v.z; s0[3] = v.w; }
    const u32 f0 = load4(cell + 2304 + (lane / 4 + 0) * 4);
    const float d0 = from_half(f0 & 0xffffu), e0 = from_half(f0 >> 16);
    u32 s1[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 8) * 16 + 0); s1[0] = v.x; s1[1] = v.y; s1[2] = v.z; s1[3] = v.w; }
    const u32 f1 = load4(cell + 2304 + (lane / 4 + 8) * 4);
    const float d1 = from_half(f1 & 0xffffu), e1 = from_half(f1 >> 16);
    d[0] = d0; d[1] = d1;
}
DEV void minima_0(const u8* cell, u32 lane, u32 (&m)[4], float (&e)[2]) {
    u32 s0[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 0) * 16 + 0); s0[0] = v.x; s0[1] = v.y; s0[2] = v.z; s0[3] = v.w; }
    const u32 f0 = load4(cell + 2304 + (lane / 4 + 0) * 4);
    const float d0 = from_half(f0 & 0xffffu), e0 = from_half(f0 >> 16);
    u32 s1[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 8) * 16 + 0); s1[0] = v.x; s1[1] = v.y; s1[2] = v.z; s1[3] = v.w; }
    const u32 f1 = load4(cell + 2304 + (lane / 4 + 8) * 4);
    const float d1 = from_half(f1 & 0xffffu), e1 = from_half(f1 >> 16);

    const u32 w0 = load4(cell + 2048 + (lane / 4 + 0) * 16 + lane % 4 * 4);
    m[0] = half2_sub(__byte_perm(w0, 0x64646464u, 0x4341u), 0x64006400u);
    m[2] = half2_sub(__byte_perm(w0, 0x64646464u, 0x4341u), 0x64006400u);
    e[0] = -16.0f * e0;
    const u32 w1 = load4(cell + 2048 + (lane / 4 + 8) * 16 + lane % 4 * 4);
    m[1] = half2_sub(__byte_perm(w1, 0x64646464u, 0x4341u), 0x64006400u);
    m[3] = half2_sub(__byte_perm(w1, 0x64646464u, 0x4341u), 0x64006400u);
    e[1] = -16.0f * e1;
}

DEV void sums_0(const u32 (&b)[32], u32 column, u32 (&x)[2]) {
    float d[4] = {};
    { const u32 one = column == 0 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[0], b[1]);
    mma_f16(d, one, 0, one, 0, b[2], b[3]);
    }
    { const u32 one = column == 1 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[4], b[5]);
    mma_f16(d, one, 0, one, 0, b[6], b[7]);
    }
    { const u32 one = column == 2 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[8], b[9]);
    mma_f16(d, one, 0, one, 0, b[10], b[11]);
    }
    { const u32 one = column == 3 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[12], b[13]);
    mma_f16(d, one, 0, one, 0, b[14], b[15]);
    }
    { const u32 one = column == 4 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[16], b[17]);
    mma_f16(d, one, 0, one, 0, b[18], b[19]);
    }
    { const u32 one = column == 5 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[20], b[21]);
    mma_f16(d, one, 0, one, 0, b[22], b[23]);
    }
    { const u32 one = column == 6 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[24], b[25]);
    mma_f16(d, one, 0, one, 0, b[26], b[27]);
    }
    { const u32 one = column == 7 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[28], b[29]);
    mma_f16(d, one, 0, one, 0, b[30], b[31]);
    }

    split_pair(d[0], d[1], x[0], x[1]);
    x[0] = transposed(x[0]);
    x[1] = transposed(x[1]);
}



DEV void levels_1_0(const u8* cell, u32 lane, u32 (&a)[32]) {
    u32 p0[16];
    { const uint4 v = load16(cell + 0 + lane * 16); p0[0] = v.x; p0[1] = v.y; p0[2] = v.z; p0[3] = v.w; }
    { const uint4 v = load16(cell + 512 + lane * 16); p0[4] = v.x; p0[5] = v.y; p0[6] = v.z; p0[7] = v.w; }
    { const uint4 v = load16(cell + 1024 + lane * 16); p0[8] = v.x; p0[9] = v.y; p0[10] = v.z; p0[11] = v.w; }
    { const uint4 v = load16(cell + 1536 + lane * 16); p0[12] = v.x; p0[13] = v.y; p0[14] = v.z; p0[15] = v.w; }
    u32 s0[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 0) * 16 + 0); s0[0] = v.x; s0[1] = v.y; s0[2] = v.z; s0[3] = v.w; }
    const u32 f0 = load4(cell + 2304 + (lane / 4 + 0) * 4);
    const float d0 = from_half(f0 & 0xffffu), e0 = from_half(f0 >> 16);
    u32 s1[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 8) * 16 + 0); s1[0] = v.x; s1[1] = v.y; s1[2] = v.z; s1[3] = v.w; }
    const u32 f1 = load4(cell + 2304 + (lane / 4 + 8) * 4);
    const float d1 = from_half(f1 & 0xffffu), e1 = from_half(f1 >> 16);

    {
        const u32 k00 = half2_sub(__byte_perm(s0[0], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[0], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[0], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[0] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[0] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[0] = a00;
        a[2] = a01;
        a[4] = a02;
        a[6] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[0], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[1], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[1], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[1] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[1] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[1] = a10;
        a[3] = a11;
        a[5] = a12;
        a[7] = a13;
    }
    {
        const u32 k00 = half2_sub(__byte_perm(s0[0], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[2], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[2], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[2] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[2] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[8] = a00;
        a[10] = a01;
        a[12] = a02;
        a[14] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[0], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[3], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[3], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[3] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[3] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[9] = a10;
        a[11] = a11;
        a[13] = a12;
        a[15] = a13;
    }
    {
        const u32 k00 = half2_sub(__byte_perm(s0[1], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[4], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[4], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[4] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[4] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[16] = a00;
        a[18] = a01;
        a[20] = a02;
        a[22] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[1], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[5], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[5], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[5] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[5] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[17] = a10;
        a[19] = a11;
        a[21] = a12;
        a[23] = a13;
    }
    {
        const u32 k00 = half2_sub(__byte_perm(s0[1], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[6], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[6], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[6] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[6] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[24] = a00;
        a[26] = a01;
        a[28] = a02;
        a[30] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[1], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[7], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[7], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[7] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[7] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[25] = a10;
        a[27] = a11;
        a[29] = a12;
        a[31] = a13;
    }
}
DEV void levels_1_1(const u8* cell, u32 lane, u32 (&a)[32]) {
    u32 p0[16];
    { const uint4 v = load16(cell + 0 + lane * 16); p0[0] = v.x; p0[1] = v.y; p0[2] = v.z; p0[3] = v.w; }
    { const uint4 v = load16(cell + 512 + lane * 16); p0[4] = v.x; p0[5] = v.y; p0[6] = v.z; p0[7] = v.w; }
    { const uint4 v = load16(cell + 1024 + lane * 16); p0[8] = v.x; p0[9] = v.y; p0[10] = v.z; p0[11] = v.w; }
    { const uint4 v = load16(cell + 1536 + lane * 16); p0[12] = v.x; p0[13] = v.y; p0[14] = v.z; p0[15] = v.w; }
    u32 s0[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 0) * 16 + 0); s0[0] = v.x; s0[1] = v.y; s0[2] = v.z; s0[3] = v.w; }
    const u32 f0 = load4(cell + 2304 + (lane / 4 + 0) * 4);
    const float d0 = from_half(f0 & 0xffffu), e0 = from_half(f0 >> 16);
    u32 s1[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 8) * 16 + 0); s1[0] = v.x; s1[1] = v.y; s1[2] = v.z; s1[3] = v.w; }
    const u32 f1 = load4(cell + 2304 + (lane / 4 + 8) * 4);
    const float d1 = from_half(f1 & 0xffffu), e1 = from_half(f1 >> 16);

    {
        const u32 k00 = half2_sub(__byte_perm(s0[2], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[8], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[8], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[8] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[8] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[0] = a00;
        a[2] = a01;
        a[4] = a02;
        a[6] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[2], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[9], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[9], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[9] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[9] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[1] = a10;
        a[3] = a11;
        a[5] = a12;
        a[7] = a13;
    }
    {
        const u32 k00 = half2_sub(__byte_perm(s0[2], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[10], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[10], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[10] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[10] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[8] = a00;
        a[10] = a01;
        a[12] = a02;
        a[14] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[2], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[11], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[11], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[11] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[11] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[9] = a10;
        a[11] = a11;
        a[13] = a12;
        a[15] = a13;
    }
    {
        const u32 k00 = half2_sub(__byte_perm(s0[3], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[12], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[12], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[12] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[12] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[16] = a00;
        a[18] = a01;
        a[20] = a02;
        a[22] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[3], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[13], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[13], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[13] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[13] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[17] = a10;
        a[19] = a11;
        a[21] = a12;
        a[23] = a13;
    }
    {
        const u32 k00 = half2_sub(__byte_perm(s0[3], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[14], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[14], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[14] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[14] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[24] = a00;
        a[26] = a01;
        a[28] = a02;
        a[30] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[3], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[15], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[15], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[15] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[15] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[25] = a10;
        a[27] = a11;
        a[29] = a12;
        a[31] = a13;
    }
}
DEV void factors_1(const u8* cell, u32 lane, float (&d)[2]) {
    u32 s0[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 0) * 16 + 0); s0[0] = v.x; s0[1] = v.y; s0[2] = v.z; s0[3] = v.w; }
    const u32 f0 = load4(cell + 2304 + (lane / 4 + 0) * 4);
    const float d0 = from_half(f0 & 0xffffu), e0 = from_half(f0 >> 16);
    u32 s1[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 8) * 16 + 0); s1[0] = v.x; s1[1] = v.y; s1[2] = v.z; s1[3] = v.w; }
    const u32 f1 = load4(cell + 2304 + (lane / 4 + 8) * 4);
    const float d1 = from_half(f1 & 0xffffu), e1 = from_half(f1 >> 16);
    d[0] = d0; d[1] = d1;
}
DEV void minima_1(const u8* cell, u32 lane, u32 (&m)[4], float (&e)[2]) {
    u32 s0[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 0) * 16 + 0); s0[0] = v.x; s0[1] = v.y; s0[2] = v.z; s0[3] = v.w; }
    const u32 f0 = load4(cell + 2304 + (lane / 4 + 0) * 4);
    const float d0 = from_half(f0 & 0xffffu), e0 = from_half(f0 >> 16);
    u32 s1[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 8) * 16 + 0); s1[0] = v.x; s1[1] = v.y; s1[2] = v.z; s1[3] = v.w; }
    const u32 f1 = load4(cell + 2304 + (lane / 4 + 8) * 4);
    const float d1 = from_half(f1 & 0xffffu), e1 = from_half(f1 >> 16);

    const u32 w0 = load4(cell + 2048 + (lane / 4 + 0) * 16 + lane % 4 * 4);
    m[0] = half2_sub(__byte_perm(w0, 0x64646464u, 0x4341u), 0x64006400u);
    m[2] = half2_sub(__byte_perm(w0, 0x64646464u, 0x4341u), 0x64006400u);
    e[0] = -16.0f * e0;
    const u32 w1 = load4(cell + 2048 + (lane / 4 + 8) * 16 + lane % 4 * 4);
    m[1] = half2_sub(__byte_perm(w1, 0x64646464u, 0x4341u), 0x64006400u);
    m[3] = half2_sub(__byte_perm(w1, 0x64646464u, 0x4341u), 0x64006400u);
    e[1] = -16.0f * e1;
}

DEV void sums_1(const u32 (&b)[32], u32 column, u32 (&x)[2]) {
    float d[4] = {};
    { const u32 one = column == 0 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[0], b[1]);
    mma_f16(d, one, 0, one, 0, b[2], b[3]);
    }
    { const u32 one = column == 1 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[4], b[5]);
    mma_f16(d, one, 0, one, 0, b[6], b[7]);
    }
    { const u32 one = column == 2 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[8], b[9]);
    mma_f16(d, one, 0, one, 0, b[10], b[11]);
    }
    { const u32 one = column == 3 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[12], b[13]);
    mma_f16(d, one, 0, one, 0, b[14], b[15]);
    }
    { const u32 one = column == 4 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[16], b[17]);
    mma_f16(d, one, 0, one, 0, b[18], b[19]);
    }
    { const u32 one = column == 5 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[20], b[21]);
    mma_f16(d, one, 0, one, 0, b[22], b[23]);
    }
    { const u32 one = column == 6 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[24], b[25]);
    mma_f16(d, one, 0, one, 0, b[26], b[27]);
    }
    { const u32 one = column == 7 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[28], b[29]);
    mma_f16(d, one, 0, one, 0, b[30], b[31]);
    }

    split_pair(d[0], d[1], x[0], x[1]);
    x[0] = transposed(x[0]);
    x[1] = transposed(x[1]);
}



DEV void levels_2_0(const u8* cell, u32 lane, u32 (&a)[32]) {
    u32 p0[16];
    { const uint4 v = load16(cell + 0 + lane * 16); p0[0] = v.x; p0[1] = v.y; p0[2] = v.z; p0[3] = v.w; }
    { const uint4 v = load16(cell + 512 + lane * 16); p0[4] = v.x; p0[5] = v.y; p0[6] = v.z; p0[7] = v.w; }
    { const uint4 v = load16(cell + 1024 + lane * 16); p0[8] = v.x; p0[9] = v.y; p0[10] = v.z; p0[11] = v.w; }
    { const uint4 v = load16(cell + 1536 + lane * 16); p0[12] = v.x; p0[13] = v.y; p0[14] = v.z; p0[15] = v.w; }
    u32 s0[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 0) * 16 + 0); s0[0] = v.x; s0[1] = v.y; s0[2] = v.z; s0[3] = v.w; }
    const u32 f0 = load4(cell + 2304 + (lane / 4 + 0) * 4);
    const float d0 = from_half(f0 & 0xffffu), e0 = from_half(f0 >> 16);
    u32 s1[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 8) * 16 + 0); s1[0] = v.x; s1[1] = v.y; s1[2] = v.z; s1[3] = v.w; }
    const u32 f1 = load4(cell + 2304 + (lane / 4 + 8) * 4);
    const float d1 = from_half(f1 & 0xffffu), e1 = from_half(f1 >> 16);

    {
        const u32 k00 = half2_sub(__byte_perm(s0[0], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[0], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[0], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[0] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[0] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[0] = a00;
        a[2] = a01;
        a[4] = a02;
        a[6] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[0], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[1], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[1], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[1] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[1] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[1] = a10;
        a[3] = a11;
        a[5] = a12;
        a[7] = a13;
    }
    {
        const u32 k00 = half2_sub(__byte_perm(s0[0], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[2], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[2], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[2] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[2] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[8] = a00;
        a[10] = a01;
        a[12] = a02;
        a[14] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[0], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[3], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[3], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[3] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[3] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[9] = a10;
        a[11] = a11;
        a[13] = a12;
        a[15] = a13;
    }
    {
        const u32 k00 = half2_sub(__byte_perm(s0[1], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[4], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[4], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[4] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[4] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[16] = a00;
        a[18] = a01;
        a[20] = a02;
        a[22] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[1], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[5], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[5], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[5] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[5] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[17] = a10;
        a[19] = a11;
        a[21] = a12;
        a[23] = a13;
    }
    {
        const u32 k00 = half2_sub(__byte_perm(s0[1], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[6], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[6], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[6] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[6] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[24] = a00;
        a[26] = a01;
        a[28] = a02;
        a[30] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[1], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[7], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[7], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[7] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[7] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[25] = a10;
        a[27] = a11;
        a[29] = a12;
        a[31] = a13;
    }
}
DEV void levels_2_1(const u8* cell, u32 lane, u32 (&a)[32]) {
    u32 p0[16];
    { const uint4 v = load16(cell + 0 + lane * 16); p0[0] = v.x; p0[1] = v.y; p0[2] = v.z; p0[3] = v.w; }
    { const uint4 v = load16(cell + 512 + lane * 16); p0[4] = v.x; p0[5] = v.y; p0[6] = v.z; p0[7] = v.w; }
    { const uint4 v = load16(cell + 1024 + lane * 16); p0[8] = v.x; p0[9] = v.y; p0[10] = v.z; p0[11] = v.w; }
    { const uint4 v = load16(cell + 1536 + lane * 16); p0[12] = v.x; p0[13] = v.y; p0[14] = v.z; p0[15] = v.w; }
    u32 s0[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 0) * 16 + 0); s0[0] = v.x; s0[1] = v.y; s0[2] = v.z; s0[3] = v.w; }
    const u32 f0 = load4(cell + 2304 + (lane / 4 + 0) * 4);
    const float d0 = from_half(f0 & 0xffffu), e0 = from_half(f0 >> 16);
    u32 s1[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 8) * 16 + 0); s1[0] = v.x; s1[1] = v.y; s1[2] = v.z; s1[3] = v.w; }
    const u32 f1 = load4(cell + 2304 + (lane / 4 + 8) * 4);
    const float d1 = from_half(f1 & 0xffffu), e1 = from_half(f1 >> 16);

    {
        const u32 k00 = half2_sub(__byte_perm(s0[2], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[8], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[8], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[8] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[8] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[0] = a00;
        a[2] = a01;
        a[4] = a02;
        a[6] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[2], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[9], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[9], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[9] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[9] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[1] = a10;
        a[3] = a11;
        a[5] = a12;
        a[7] = a13;
    }
    {
        const u32 k00 = half2_sub(__byte_perm(s0[2], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[10], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[10], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[10] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[10] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[8] = a00;
        a[10] = a01;
        a[12] = a02;
        a[14] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[2], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[11], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[11], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[11] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[11] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[9] = a10;
        a[11] = a11;
        a[13] = a12;
        a[15] = a13;
    }
    {
        const u32 k00 = half2_sub(__byte_perm(s0[3], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[12], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[12], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[12] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[12] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[16] = a00;
        a[18] = a01;
        a[20] = a02;
        a[22] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[3], 0x64646464u, 0x4040u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[13], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[13], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[13] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[13] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[17] = a10;
        a[19] = a11;
        a[21] = a12;
        a[23] = a13;
    }
    {
        const u32 k00 = half2_sub(__byte_perm(s0[3], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a00 = half2_fma(and_or(p0[14], 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a01 = half2_fma(and_or(p0[14], 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));
        const u32 a02 = half2_fma(and_or((p0[14] >> 8), 0x000f000fu, 0x64006400u), k00, half2_fma(k00, 0xe400e400u, 0));
        const u32 a03 = half2_fma(and_or((p0[14] >> 8), 0x00f000f0u, 0x54005400u), k00, half2_fma(k00, 0xd400d400u, 0));

        a[24] = a00;
        a[26] = a01;
        a[28] = a02;
        a[30] = a03;
        const u32 k10 = half2_sub(__byte_perm(s1[3], 0x64646464u, 0x4242u), 0x64806480u);
        const u32 a10 = half2_fma(and_or(p0[15], 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a11 = half2_fma(and_or(p0[15], 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));
        const u32 a12 = half2_fma(and_or((p0[15] >> 8), 0x000f000fu, 0x64006400u), k10, half2_fma(k10, 0xe400e400u, 0));
        const u32 a13 = half2_fma(and_or((p0[15] >> 8), 0x00f000f0u, 0x54005400u), k10, half2_fma(k10, 0xd400d400u, 0));

        a[25] = a10;
        a[27] = a11;
        a[29] = a12;
        a[31] = a13;
    }
}
DEV void factors_2(const u8* cell, u32 lane, float (&d)[2]) {
    u32 s0[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 0) * 16 + 0); s0[0] = v.x; s0[1] = v.y; s0[2] = v.z; s0[3] = v.w; }
    const u32 f0 = load4(cell + 2304 + (lane / 4 + 0) * 4);
    const float d0 = from_half(f0 & 0xffffu), e0 = from_half(f0 >> 16);
    u32 s1[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 8) * 16 + 0); s1[0] = v.x; s1[1] = v.y; s1[2] = v.z; s1[3] = v.w; }
    const u32 f1 = load4(cell + 2304 + (lane / 4 + 8) * 4);
    const float d1 = from_half(f1 & 0xffffu), e1 = from_half(f1 >> 16);
    d[0] = d0; d[1] = d1;
}
DEV void minima_2(const u8* cell, u32 lane, u32 (&m)[4], float (&e)[2]) {
    u32 s0[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 0) * 16 + 0); s0[0] = v.x; s0[1] = v.y; s0[2] = v.z; s0[3] = v.w; }
    const u32 f0 = load4(cell + 2304 + (lane / 4 + 0) * 4);
    const float d0 = from_half(f0 & 0xffffu), e0 = from_half(f0 >> 16);
    u32 s1[4];
    { const uint4 v = load16(cell + 2048 + (lane / 4 + 8) * 16 + 0); s1[0] = v.x; s1[1] = v.y; s1[2] = v.z; s1[3] = v.w; }
    const u32 f1 = load4(cell + 2304 + (lane / 4 + 8) * 4);
    const float d1 = from_half(f1 & 0xffffu), e1 = from_half(f1 >> 16);

    const u32 w0 = load4(cell + 2048 + (lane / 4 + 0) * 16 + lane % 4 * 4);
    m[0] = half2_sub(__byte_perm(w0, 0x64646464u, 0x4341u), 0x64006400u);
    m[2] = half2_sub(__byte_perm(w0, 0x64646464u, 0x4341u), 0x64006400u);
    e[0] = -16.0f * e0;
    const u32 w1 = load4(cell + 2048 + (lane / 4 + 8) * 16 + lane % 4 * 4);
    m[1] = half2_sub(__byte_perm(w1, 0x64646464u, 0x4341u), 0x64006400u);
    m[3] = half2_sub(__byte_perm(w1, 0x64646464u, 0x4341u), 0x64006400u);
    e[1] = -16.0f * e1;
}

DEV void sums_2(const u32 (&b)[32], u32 column, u32 (&x)[2]) {
    float d[4] = {};
    { const u32 one = column == 0 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[0], b[1]);
    mma_f16(d, one, 0, one, 0, b[2], b[3]);
    }
    { const u32 one = column == 1 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[4], b[5]);
    mma_f16(d, one, 0, one, 0, b[6], b[7]);
    }
    { const u32 one = column == 2 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[8], b[9]);
    mma_f16(d, one, 0, one, 0, b[10], b[11]);
    }
    { const u32 one = column == 3 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[12], b[13]);
    mma_f16(d, one, 0, one, 0, b[14], b[15]);
    }
    { const u32 one = column == 4 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[16], b[17]);
    mma_f16(d, one, 0, one, 0, b[18], b[19]);
    }
    { const u32 one = column == 5 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[20], b[21]);
    mma_f16(d, one, 0, one, 0, b[22], b[23]);
    }
    { const u32 one = column == 6 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[24], b[25]);
    mma_f16(d, one, 0, one, 0, b[26], b[27]);
    }
    { const u32 one = column == 7 ? 0x2c002c00u : 0;
    mma_f16(d, one, 0, one, 0, b[28], b[29]);
    mma_f16(d, one, 0, one, 0, b[30], b[31]);
    }

    split_pair(d[0], d[1], x[0], x[1]);
    x[0] = transposed(x[0]);
    x[1] = transposed(x[1]);
}


DEV u32 first_unit(u32 block) { return (u32)((u64)3 * block / 3); }

extern "C" __global__ void __launch_bounds__(352, 1) stream227k_16x1r3b_256_q4_k_256__q4_k_128__q4_k_128(
    const int* count
    , const u16* x
    , const u8* w0
    , const u8* w1
    , const u8* w2
    , float* sums
) {

    SHARED_BYTES(shared);
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const shared_t full = shared_address(shared + 188416), empty = full + 8 * 4;
    const shared_t operands_full = empty + 8 * 4, summed = operands_full + 8 * 4;
    if (threadIdx.x == 0) {
        for (u32 i = 0; i < 4; ++i) {
            barrier_init(full + 8 * i, COPY_ARRIVALS);
            barrier_init(empty + 8 * i, 8);
            barrier_init(operands_full + 8 * i, COPY_ARRIVALS);
            barrier_init(summed + 8 * i, 1);
        }
        barriers_ready();
    }
    __syncthreads();
    let_next_begin();
    const u32 row0 = blockIdx.y * 16;
    const u32 low = first_unit(blockIdx.x), high = first_unit(blockIdx.x + 1);
    u32 copies = 0;

    const u32 first0 = units_before(low, 0, 1, 1), end0 = units_before(high, 0, 1, 1);
    const u32 first1 = units_before(low, 1, 1, 1), end1 = units_before(high, 1, 1, 1);
    const u32 first2 = units_before(low, 2, 1, 1), end2 = units_before(high, 2, 1, 1);

    if (warp == 8) {
        const u64 policy = read_once();
        for (u32 u = first0; u < end0; ++u, ++copies) {
            const u32 slot = copies % 4, turn = copies / 4, strip = u / 1;
            const u32 tile = strip % 1 * 16, tiles = 16 - tile < 16 ? 16 - tile : 16;
            const u8* from = (strip < 1 ? w0 : w0) + ((u64)tile * 1 + u % 1) * 2368;
            if (copies >= 2) {
                const u32 before = copies - 2;
                barrier_wait(full + 8 * (before % 4), before / 4 & 1);
            }
            barrier_wait(empty + 8 * slot, (turn & 1) ^ 1);
            copy_begin(full + 8 * slot, tiles * 2368, lane);
            copy_pieces(shared + slot * 47104, 2368, from, 1 * 2368, tiles, 2368, full + 8 * slot, lane, policy);
            copy_end(full + 8 * slot, lane);
            // A lane that lags would miss the phases that it waits for.
            __syncwarp();
        }
        for (u32 u = first1; u < end1; ++u, ++copies) {
            const u32 slot = copies % 4, turn = copies / 4, strip = u / 1;
            const u32 tile = strip % 1 * 16, tiles = 8 - tile < 16 ? 8 - tile : 16;
            const u8* from = (strip < 1 ? w1 : w1) + ((u64)tile * 1 + u % 1) * 2368;
            if (copies >= 2) {
                const u32 before = copies - 2;
                barrier_wait(full + 8 * (before % 4), before / 4 & 1);
            }
            barrier_wait(empty + 8 * slot, (turn & 1) ^ 1);
            copy_begin(full + 8 * slot, tiles * 2368, lane);
            copy_pieces(shared + slot * 47104, 2368, from, 1 * 2368, tiles, 2368, full + 8 * slot, lane, policy);
            copy_end(full + 8 * slot, lane);
            // A lane that lags would miss the phases that it waits for.
            __syncwarp();
        }
        for (u32 u = first2; u < end2; ++u, ++copies) {
            const u32 slot = copies % 4, turn = copies / 4, strip = u / 1;
            const u32 tile = strip % 1 * 16, tiles = 8 - tile < 16 ? 8 - tile : 16;
            const u8* from = (strip < 1 ? w2 : w2) + ((u64)tile * 1 + u % 1) * 2368;
            if (copies >= 2) {
                const u32 before = copies - 2;
                barrier_wait(full + 8 * (before % 4), before / 4 & 1);
            }
            barrier_wait(empty + 8 * slot, (turn & 1) ^ 1);
            copy_begin(full + 8 * slot, tiles * 2368, lane);
            copy_pieces(shared + slot * 47104, 2368, from, 1 * 2368, tiles, 2368, full + 8 * slot, lane, policy);
            copy_end(full + 8 * slot, lane);
            // A lane that lags would miss the phases that it waits for.
            __syncwarp();
        }
        return;
    }

    wait_for_previous();
    const u32 all = (u32)*count, rows = row0 >= all ? 0 : (all - row0 < 16 ? all - row0 : 16);
    if (warp == 8 + 1) {
        const u64 policy = read_often();
        for (u32 u = first0; u < end0; ++u, ++copies) {
            const u32 slot = copies % 4, turn = copies / 4;
            barrier_wait(empty + 8 * slot, (turn & 1) ^ 1);
            copy_begin(operands_full + 8 * slot, rows * 512, lane);
            copy_pieces(shared + slot * 47104 + 37888, 544,
                        (const u8*)(x + (u64)row0 * 256) + u % 1 * 512, 2 * 256, rows, 512,
                        operands_full + 8 * slot, lane, policy);
            copy_end(operands_full + 8 * slot, lane);
            __syncwarp();
        }
        for (u32 u = first1; u < end1; ++u, ++copies) {
            const u32 slot = copies % 4, turn = copies / 4;
            barrier_wait(empty + 8 * slot, (turn & 1) ^ 1);
            copy_begin(operands_full + 8 * slot, rows * 512, lane);
            copy_pieces(shared + slot * 47104 + 37888, 544,
                        (const u8*)(x + (u64)row0 * 256) + u % 1 * 512, 2 * 256, rows, 512,
                        operands_full + 8 * slot, lane, policy);
            copy_end(operands_full + 8 * slot, lane);
            __syncwarp();
        }
        for (u32 u = first2; u < end2; ++u, ++copies) {
            const u32 slot = copies % 4, turn = copies / 4;
            barrier_wait(empty + 8 * slot, (turn & 1) ^ 1);
            copy_begin(operands_full + 8 * slot, rows * 512, lane);
            copy_pieces(shared + slot * 47104 + 37888, 544,
                        (const u8*)(x + (u64)row0 * 256) + u % 1 * 512, 2 * 256, rows, 512,
                        operands_full + 8 * slot, lane, policy);
            copy_end(operands_full + 8 * slot, lane);
            __syncwarp();
        }
        return;
    }

    if (warp == 8 + 2) {
        for (u32 u = first0; u < end0; ++u, ++copies) {
            const u32 slot = copies % 4, turn = copies / 4;
            barrier_wait(operands_full + 8 * slot, turn & 1);
            u8* start = shared + slot * 47104;
            for (u32 n = 0; n < 2 && 8 * n < rows; ++n) {
                const u8* at = start + 37888 + (8 * n + lane / 4) * 544 + lane % 4 * 8;
                u32 b[32], x[2];
#pragma unroll
                for (u32 i = 0; i < 32 / 2; ++i) {
                    const uint2 pair = load8(at + 32 * i);
                    b[2 * i] = pair.x;
                    b[2 * i + 1] = pair.y;
                }
                sums_0(b, lane / 4, x);
#pragma unroll
                for (u32 i = 0; i < 2; ++i) *(u32*)(start + 46592 + (n * 2 + i) * 128 + lane * 4) = x[i];
            }
            __syncwarp();
            if (lane == 0) barrier_arrive(summed + 8 * slot);
        }
        for (u32 u = first1; u < end1; ++u, ++copies) {
            const u32 slot = copies % 4, turn = copies / 4;
            barrier_wait(operands_full + 8 * slot, turn & 1);
            u8* start = shared + slot * 47104;
            for (u32 n = 0; n < 2 && 8 * n < rows; ++n) {
                const u8* at = start + 37888 + (8 * n + lane / 4) * 544 + lane % 4 * 8;
                u32 b[32], x[2];
#pragma unroll
                for (u32 i = 0; i < 32 / 2; ++i) {
                    const uint2 pair = load8(at + 32 * i);
                    b[2 * i] = pair.x;
                    b[2 * i + 1] = pair.y;
                }
                sums_1(b, lane / 4, x);
#pragma unroll
                for (u32 i = 0; i < 2; ++i) *(u32*)(start + 46592 + (n * 2 + i) * 128 + lane * 4) = x[i];
            }
            __syncwarp();
            if (lane == 0) barrier_arrive(summed + 8 * slot);
        }
        for (u32 u = first2; u < end2; ++u, ++copies) {
            const u32 slot = copies % 4, turn = copies / 4;
            barrier_wait(operands_full + 8 * slot, turn & 1);
            u8* start = shared + slot * 47104;
            for (u32 n = 0; n < 2 && 8 * n < rows; ++n) {
                const u8* at = start + 37888 + (8 * n + lane / 4) * 544 + lane % 4 * 8;
                u32 b[32], x[2];
#pragma unroll
                for (u32 i = 0; i < 32 / 2; ++i) {
                    const uint2 pair = load8(at + 32 * i);
                    b[2 * i] = pair.x;
                    b[2 * i + 1] = pair.y;
                }
                sums_2(b, lane / 4, x);
#pragma unroll
                for (u32 i = 0; i < 2; ++i) *(u32*)(start + 46592 + (n * 2 + i) * 128 + lane * 4) = x[i];
            }
            __syncwarp();
            if (lane == 0) barrier_arrive(summed + 8 * slot);
        }
        return;
    }

    for (u32 u = first0; u < end0;) {
        const u32 strip = u / 1, stop = (strip + 1) * 1 < end0 ? (strip + 1) * 1 : end0;
        float acc[2][2][4] = {};
        for (; u < stop; ++u, ++copies) {
            const u32 slot = copies % 4, turn = copies / 4;
            const u8* start = shared + slot * 47104;
            const u8* cells = start + warp * (2 * 2368);
            const u8* at = start + 37888 + lane / 4 * 544 + lane % 4 * 8;
            float d[2][2];
            barrier_wait(full + 8 * slot, turn & 1);
            factors_0(cells, lane, d[0]);
            factors_0(cells + 2368, lane, d[1]);
            barrier_wait(operands_full + 8 * slot, turn & 1);
            {
                u32 a[2][8 * 4];
                levels_0_0(cells, lane, a[0]);
                levels_0_0(cells + 2368, lane, a[1]);
#pragma unroll
                for (u32 n = 0; n < 2; ++n) {
                    uint2 b[2 * 4];
#pragma unroll
                    for (u32 i = 0; i < 2 * 4; ++i) b[i] = load8(at + n * (8 * 544) + 64 * 4 * 0 + 32 * i);
#pragma unroll
                    for (u32 j = 0; j < 2; ++j) {
                        float s[4] = {};
#pragma unroll
                        for (u32 i = 0; i < 2 * 4; ++i)
                            mma_f16(s, a[j][4 * i], a[j][4 * i + 1], a[j][4 * i + 2], a[j][4 * i + 3], b[i].x, b[i].y);
#pragma unroll
                        for (u32 i = 0; i < 4; ++i) acc[j][n][i] = fmaf(d[j][i / 2], s[i], acc[j][n][i]);
                    }
                }
            }
            {
                u32 a[2][8 * 4];
                levels_0_1(cells, lane, a[0]);
                levels_0_1(cells + 2368, lane, a[1]);
#pragma unroll
                for (u32 n = 0; n < 2; ++n) {
                    uint2 b[2 * 4];
#pragma unroll
                    for (u32 i = 0; i < 2 * 4; ++i) b[i] = load8(at + n * (8 * 544) + 64 * 4 * 1 + 32 * i);
#pragma unroll
                    for (u32 j = 0; j < 2; ++j) {
                        float s[4] = {};
#pragma unroll
                        for (u32 i = 0; i < 2 * 4; ++i)
                            mma_f16(s, a[j][4 * i], a[j][4 * i + 1], a[j][4 * i + 2], a[j][4 * i + 3], b[i].x, b[i].y);
#pragma unroll
                        for (u32 i = 0; i < 4; ++i) acc[j][n][i] = fmaf(d[j][i / 2], s[i], acc[j][n][i]);
                    }
                }
            }
            barrier_wait(summed + 8 * slot, turn & 1);
#pragma unroll
            for (u32 j = 0; j < 2; ++j) {
                u32 m[4];
                float e[2];
                minima_0(cells + j * 2368, lane, m, e);
#pragma unroll
                for (u32 n = 0; n < 2; ++n) {
                    u32 x[2];
#pragma unroll
                    for (u32 i = 0; i < 2; ++i) x[i] = load4(start + 46592 + (n * 2 + i) * 128 + lane * 4);
                    float s[4] = {};
                    mma_f16(s, m, x[0], x[1]);
#pragma unroll
                    for (u32 i = 0; i < 4; ++i) acc[j][n][i] = fmaf(e[i / 2], s[i], acc[j][n][i]);
                }
            }
            __syncwarp();
            if (lane == 0) barrier_arrive(empty + 8 * slot);
        }
        for (u32 j = 0; j < 2; ++j) {
            const u32 tile = warp * 2 + j;
            u32* to = (u32*)sums + ((((u64)blockIdx.y * 6 + 0 + strip + blockIdx.x) * 16 + tile)
                                    * 2 * 32 + lane) * 4;
            if (strip % 1 * 16 + tile >= 16) continue;
#pragma unroll
            for (u32 n = 0; n < 2; ++n) {
                if (8 * n >= rows) break;
                *(uint4*)(to + 128 * n) =
                    make_uint4(__float_as_uint(acc[j][n][0]), __float_as_uint(acc[j][n][1]), __float_as_uint(acc[j][n][2]),
                               __float_as_uint(acc[j][n][3]));
            }
        }
    }
    for (u32 u = first1; u < end1;) {
        const u32 strip = u / 1, stop = (strip + 1) * 1 < end1 ? (strip + 1) * 1 : end1;
        float acc[2][2][4] = {};
        for (; u < stop; ++u, ++copies) {
            const u32 slot = copies % 4, turn = copies / 4;
            const u8* start = shared + slot * 47104;
            const u8* cells = start + warp * (2 * 2368);
            const u8* at = start + 37888 + lane / 4 * 544 + lane % 4 * 8;
            float d[2][2];
            barrier_wait(full + 8 * slot, turn & 1);
            factors_1(cells, lane, d[0]);
            factors_1(cells + 2368, lane, d[1]);
            barrier_wait(operands_full + 8 * slot, turn & 1);
            {
                u32 a[2][8 * 4];
                levels_1_0(cells, lane, a[0]);
                levels_1_0(cells + 2368, lane, a[1]);
#pragma unroll
                for (u32 n = 0; n < 2; ++n) {
                    uint2 b[2 * 4];
#pragma unroll
                    for (u32 i = 0; i < 2 * 4; ++i) b[i] = load8(at + n * (8 * 544) + 64 * 4 * 0 + 32 * i);
#pragma unroll
                    for (u32 j = 0; j < 2; ++j) {
                        float s[4] = {};
#pragma unroll
                        for (u32 i = 0; i < 2 * 4; ++i)
                            mma_f16(s, a[j][4 * i], a[j][4 * i + 1], a[j][4 * i + 2], a[j][4 * i + 3], b[i].x, b[i].y);
#pragma unroll
                        for (u32 i = 0; i < 4; ++i) acc[j][n][i] = fmaf(d[j][i / 2], s[i], acc[j][n][i]);
                    }
                }
            }
            {
                u32 a[2][8 * 4];
                levels_1_1(cells, lane, a[0]);
                levels_1_1(cells + 2368, lane, a[1]);
#pragma unroll
                for (u32 n = 0; n < 2; ++n) {
                    uint2 b[2 * 4];
#pragma unroll
                    for (u32 i = 0; i < 2 * 4; ++i) b[i] = load8(at + n * (8 * 544) + 64 * 4 * 1 + 32 * i);
#pragma unroll
                    for (u32 j = 0; j < 2; ++j) {
                        float s[4] = {};
#pragma unroll
                        for (u32 i = 0; i < 2 * 4; ++i)
                            mma_f16(s, a[j][4 * i], a[j][4 * i + 1], a[j][4 * i + 2], a[j][4 * i + 3], b[i].x, b[i].y);
#pragma unroll
                        for (u32 i = 0; i < 4; ++i) acc[j][n][i] = fmaf(d[j][i / 2], s[i], acc[j][n][i]);
                    }
                }
            }
            barrier_wait(summed + 8 * slot, turn & 1);
#pragma unroll
            for (u32 j = 0; j < 2; ++j) {
                u32 m[4];
                float e[2];
                minima_1(cells + j * 2368, lane, m, e);
#pragma unroll
                for (u32 n = 0; n < 2; ++n) {
                    u32 x[2];
#pragma unroll
                    for (u32 i = 0; i < 2; ++i) x[i] = load4(start + 46592 + (n * 2 + i) * 128 + lane * 4);
                    float s[4] = {};
                    mma_f16(s, m, x[0], x[1]);
#pragma unroll
                    for (u32 i = 0; i < 4; ++i) acc[j][n][i] = fmaf(e[i / 2], s[i], acc[j][n][i]);
                }
            }
            __syncwarp();
            if (lane == 0) barrier_arrive(empty + 8 * slot);
        }
        for (u32 j = 0; j < 2; ++j) {
            const u32 tile = warp * 2 + j;
            u32* to = (u32*)sums + ((((u64)blockIdx.y * 6 + 1 + strip + blockIdx.x) * 16 + tile)
                                    * 2 * 32 + lane) * 4;
            if (strip % 1 * 16 + tile >= 8) continue;
#pragma unroll
            for (u32 n = 0; n < 2; ++n) {
                if (8 * n >= rows) break;
                *(uint4*)(to + 128 * n) =
                    make_uint4(__float_as_uint(acc[j][n][0]), __float_as_uint(acc[j][n][1]), __float_as_uint(acc[j][n][2]),
                               __float_as_uint(acc[j][n][3]));
            }
        }
    }
    for (u32 u = first2; u < end2;) {
        const u32 strip = u / 1, stop = (strip + 1) * 1 < end2 ? (strip + 1) * 1 : end2;
        float acc[2][2][4] = {};
        for (; u < stop; ++u, ++copies) {
            const u32 slot = copies % 4, turn = copies / 4;
            const u8* start = shared + slot * 47104;
            const u8* cells = start + warp * (2 * 2368);
            const u8* at = start + 37888 + lane / 4 * 544 + lane % 4 * 8;
            float d[2][2];
            barrier_wait(full + 8 * slot, turn & 1);
            factors_2(cells, lane, d[0]);
            factors_2(cells + 2368, lane, d[1]);
            barrier_wait(operands_full + 8 * slot, turn & 1);
            {
                u32 a[2][8 * 4];
                levels_2_0(cells, lane, a[0]);
                levels_2_0(cells + 2368, lane, a[1]);
#pragma unroll
                for (u32 n = 0; n < 2; ++n) {
                    uint2 b[2 * 4];
#pragma unroll
                    for (u32 i = 0; i < 2 * 4; ++i) b[i] = load8(at + n * (8 * 544) + 64 * 4 * 0 + 32 * i);
#pragma unroll
                    for (u32 j = 0; j < 2; ++j) {
                        float s[4] = {};
#pragma unroll
                        for (u32 i = 0; i < 2 * 4; ++i)
                            mma_f16(s, a[j][4 * i], a[j][4 * i + 1], a[j][4 * i + 2], a[j][4 * i + 3], b[i].x, b[i].y);
#pragma unroll
                        for (u32 i = 0; i < 4; ++i) acc[j][n][i] = fmaf(d[j][i / 2], s[i], acc[j][n][i]);
                    }
                }
            }
            {
                u32 a[2][8 * 4];
                levels_2_1(cells, lane, a[0]);
                levels_2_1(cells + 2368, lane, a[1]);
#pragma unroll
                for (u32 n = 0; n < 2; ++n) {
                    uint2 b[2 * 4];
#pragma unroll
                    for (u32 i = 0; i < 2 * 4; ++i) b[i] = load8(at + n * (8 * 544) + 64 * 4 * 1 + 32 * i);
#pragma unroll
                    for (u32 j = 0; j < 2; ++j) {
                        float s[4] = {};
#pragma unroll
                        for (u32 i = 0; i < 2 * 4; ++i)
                            mma_f16(s, a[j][4 * i], a[j][4 * i + 1], a[j][4 * i + 2], a[j][4 * i + 3], b[i].x, b[i].y);
#pragma unroll
                        for (u32 i = 0; i < 4; ++i) acc[j][n][i] = fmaf(d[j][i / 2], s[i], acc[j][n][i]);
                    }
                }
            }
            barrier_wait(summed + 8 * slot, turn & 1);
#pragma unroll
            for (u32 j = 0; j < 2; ++j) {
                u32 m[4];
                float e[2];
                minima_2(cells + j * 2368, lane, m, e);
#pragma unroll
                for (u32 n = 0; n < 2; ++n) {
                    u32 x[2];
#pragma unroll
                    for (u32 i = 0; i < 2; ++i) x[i] = load4(start + 46592 + (n * 2 + i) * 128 + lane * 4);
                    float s[4] = {};
                    mma_f16(s, m, x[0], x[1]);
#pragma unroll
                    for (u32 i = 0; i < 4; ++i) acc[j][n][i] = fmaf(e[i / 2], s[i], acc[j][n][i]);
                }
            }
            __syncwarp();
            if (lane == 0) barrier_arrive(empty + 8 * slot);
        }
        for (u32 j = 0; j < 2; ++j) {
            const u32 tile = warp * 2 + j;
            u32* to = (u32*)sums + ((((u64)blockIdx.y * 6 + 2 + strip + blockIdx.x) * 16 + tile)
                                    * 2 * 32 + lane) * 4;
            if (strip % 1 * 16 + tile >= 8) continue;
#pragma unroll
            for (u32 n = 0; n < 2; ++n) {
                if (8 * n >= rows) break;
                *(uint4*)(to + 128 * n) =
                    make_uint4(__float_as_uint(acc[j][n][0]), __float_as_uint(acc[j][n][1]), __float_as_uint(acc[j][n][2]),
                               __float_as_uint(acc[j][n][3]));
            }
        }
    }

}
}


// join_16x1r3b_256_q4_k_256__q4_k_128__q4_k_128
namespace n_join_16x1r3b_256_q4_k_256__q4_k_128__q4_k_128 {
DEV u32 block_of(u32 unit) { return (u32)(((unit + 1ull) * 3 - 1) / (u64)3); }
DEV void add_sums(const u32* at, u32 strip, float (&sum)[4]) {
    const u32 first = block_of(strip * 1), last = block_of(strip * 1 + 1 - 1);
#pragma unroll
    for (u32 i = 0; i < 4; ++i) sum[i] = 0.0f;
#pragma unroll 4
    for (u32 b = first; b <= last; ++b) {
        const uint4 v = load16(at + (u64)(strip + b) * (16 * 2 * 128));
        sum[0] += __uint_as_float(v.x);
        sum[1] += __uint_as_float(v.y);
        sum[2] += __uint_as_float(v.z);
        sum[3] += __uint_as_float(v.w);
    }
}

extern "C" __global__ void __launch_bounds__(64, 1) join_16x1r3b_256_q4_k_256__q4_k_128__q4_k_128(
    const int* count
    , const float* sums
    , float* out0
    , float* out1
    , float* out2
) {
    let_next_begin();
    wait_for_previous();

    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, all = (u32)*count;
    const u32 n = blockIdx.y * 2 + warp;
    if (8 * n >= all) return;
    u32 tile = blockIdx.x;
    const u32* at = (const u32*)sums + ((u64)(n / 2) * (6 * 16 * 2) + n % 2) * 128 + lane * 4;

    if (tile < 16) {
        float sum[4];
        add_sums(at + tile % 16 * (2 * 128), 0 + tile / 16, sum);
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            const u32 row = 8 * n + lane % 4 * 2 + i % 2, col = 16 * tile + lane / 4 + i / 2 * 8;
            if (row >= all) continue;
            float v = sum[i] * OPERAND_UNIT;
            if (col < 256) {  out0[(u64)row * 256 + col] = v; }
        }
        return;
    }
    tile -= 16;

    if (tile < 8) {
        float sum[4];
        add_sums(at + tile % 16 * (2 * 128), 1 + tile / 16, sum);
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            const u32 row = 8 * n + lane % 4 * 2 + i % 2, col = 16 * tile + lane / 4 + i / 2 * 8;
            if (row >= all) continue;
            float v = sum[i] * OPERAND_UNIT;
            if (col < 128) {  out1[(u64)row * 128 + col] = v; }
        }
        return;
    }
    tile -= 8;

    if (tile < 8) {
        float sum[4];
        add_sums(at + tile % 16 * (2 * 128), 2 + tile / 16, sum);
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            const u32 row = 8 * n + lane % 4 * 2 + i % 2, col = 16 * tile + lane / 4 + i / 2 * 8;
            if (row >= all) continue;
            float v = sum[i] * OPERAND_UNIT;
            if (col < 128) {  out2[(u64)row * 128 + col] = v; }
        }
        return;
    }
    tile -= 8;

}
}


// heads_4x64_adjacent64__2x64_adjacent64_kf16__2x64_vf16_t10
namespace n_heads_4x64_adjacent64__2x64_adjacent64_kf16__2x64_vf16_t10 {
extern "C" __global__ void __launch_bounds__(128, 1) heads_4x64_adjacent64__2x64_adjacent64_kf16__2x64_vf16_t10(
    const int* count
    , const int* positions
    , const int* seqs
    , const int* tables
    , float* x0
    , const float* rope0
    , const float* x1
    , u8* kv1
    , const float* rope1
    , const float* x2
    , u8* kv2
) {
    let_next_begin();
    wait_for_previous();
    __shared__ float heads[4][64];
    const u32 row = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u32 unit = blockIdx.x * 4 + warp;
    if (row >= *count || unit >= 8) return;
    float* h = heads[warp];
    if (unit < 4) {
        const u32 head = unit - 0;
        const float* from = x0 + (u64)row * 256 + head * 64;
        float own[2];
#pragma unroll
        for (u32 e = 0; e < 2; ++e) own[e] = 32 * e + lane < 64 ? from[32 * e + lane] : 0.0f;
        const float* turn = rope0 + (u64)row * 2 * 32;
        float cosines[1], sines[1];
#pragma unroll
        for (u32 e = 0; e < 1; ++e) {
            const u32 i = 32 * e + lane < 32 ? 32 * e + lane : 0;
            cosines[e] = turn[i];
            sines[e] = turn[32 + i];
        }
#pragma unroll
        for (u32 e = 0; e < 2; ++e) {
            if (32 * e + lane < 64) h[32 * e + lane] = own[e];
        }
        __syncwarp();
#pragma unroll
        for (u32 e = 0; e < 1; ++e) {
            const u32 i = 32 * e + lane;
            if (i >= 32) continue;
            const float a = h[2 * i], b = h[2 * i + 1], c = cosines[e], s = sines[e];
            h[2 * i] = fmaf(a, c, -(b * s));
            h[2 * i + 1] = fmaf(a, s, b * c);
        }
        __syncwarp();
        for (u32 i = lane; i < 64; i += 32) x0[(u64)row * 256 + head * 64 + i] = h[i];
        return;
    }
    if (unit < 6) {
        const u32 head = unit - 4;
        const float* from = x1 + (u64)row * 128 + head * 64;
        float own[2];
#pragma unroll
        for (u32 e = 0; e < 2; ++e) own[e] = 32 * e + lane < 64 ? from[32 * e + lane] : 0.0f;
        const float* turn = rope1 + (u64)row * 2 * 32;
        float cosines[1], sines[1];
#pragma unroll
        for (u32 e = 0; e < 1; ++e) {
            const u32 i = 32 * e + lane < 32 ? 32 * e + lane : 0;
            cosines[e] = turn[i];
            sines[e] = turn[32 + i];
        }
        const u32 position = (u32)positions[row];
        const u32 block = (u32)tables[(u64)seqs[row] * 10 + position / 32];
        u8* to = kv1 + ((u64)block * 2 + head) * 4096;
#pragma unroll
        for (u32 e = 0; e < 2; ++e) {
            if (32 * e + lane < 64) h[32 * e + lane] = own[e];
        }
        __syncwarp();
#pragma unroll
        for (u32 e = 0; e < 1; ++e) {
            const u32 i = 32 * e + lane;
            if (i >= 32) continue;
            const float a = h[2 * i], b = h[2 * i + 1], c = cosines[e], s = sines[e];
            h[2 * i] = fmaf(a, c, -(b * s));
            h[2 * i + 1] = fmaf(a, s, b * c);
        }
        __syncwarp();
        u16* out = (u16*)to + (position % 32) * 64;
        for (u32 i = lane; i < 64; i += 32) out[i] = (u16)to_half(fminf(fmaxf(h[i], -65504.0f), 65504.0f));
        return;
    }
    if (unit < 8) {
        const u32 head = unit - 6;
        const float* from = x2 + (u64)row * 128 + head * 64;
        float own[2];
#pragma unroll
        for (u32 e = 0; e < 2; ++e) own[e] = 32 * e + lane < 64 ? from[32 * e + lane] : 0.0f;
        const u32 position = (u32)positions[row];
        const u32 block = (u32)tables[(u64)seqs[row] * 10 + position / 32];
        u8* to = kv2 + ((u64)block * 2 + head) * 4096;
#pragma unroll
        for (u32 e = 0; e < 2; ++e) {
            if (32 * e + lane < 64) h[32 * e + lane] = own[e];
        }
        __syncwarp();
        u16* out = (u16*)to + (position % 32) * 64;
        for (u32 i = lane; i < 64; i += 32) out[i] = (u16)to_half(fminf(fmaxf(h[i], -65504.0f), 65504.0f));
        return;
    }
}
}


// attention_wgmma64x128_op_4x2x64_kf16_vf16_0p125_t10
namespace n_attention_wgmma64x128_op_4x2x64_kf16_vf16_0p125_t10 {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
DEV void multiply_tiles(float (&d)[16][4], const u8* a, const u8* b, u32 k, bool add) {
    asm volatile(
        "{ .reg .pred p; setp.ne.b32 p, %66, 0; "
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, %64, %65, p, 1, 1, 0, 0; }"
        : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]), "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]), "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3]), "+f"(d[8][0]), "+f"(d[8][1]), "+f"(d[8][2]), "+f"(d[8][3]), "+f"(d[9][0]), "+f"(d[9][1]), "+f"(d[9][2]), "+f"(d[9][3]), "+f"(d[10][0]), "+f"(d[10][1]), "+f"(d[10][2]), "+f"(d[10][3]), "+f"(d[11][0]), "+f"(d[11][1]), "+f"(d[11][2]), "+f"(d[11][3]), "+f"(d[12][0]), "+f"(d[12][1]), "+f"(d[12][2]), "+f"(d[12][3]), "+f"(d[13][0]), "+f"(d[13][1]), "+f"(d[13][2]), "+f"(d[13][3]), "+f"(d[14][0]), "+f"(d[14][1]), "+f"(d[14][2]), "+f"(d[14][3]), "+f"(d[15][0]), "+f"(d[15][1]), "+f"(d[15][2]), "+f"(d[15][3])
        : "l"(tile_descriptor(a, k)), "l"(tile_descriptor(b, k)), "r"((u32)add));
}
#endif
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
DEV void multiply_values(float (&d)[8][4], const u32 (&a)[4], const u8* values, u32 k) {
    const u64 at = (shared_address(values) + 2048 * k & 0x3ffffu) >> 4;
    const u64 b = at | (u64)(128 * 128 / 16) << 16 | 64ull << 32 | 1ull << 62;
    asm volatile("{ .reg .pred p; setp.ne.b32 p, %37, 0; "
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, {%32,%33,%34,%35}, %36, p, 1, 1, 1; }"
                 : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]), "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]), "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1));
}
#elif defined(LATHE_EMULATOR)
template <int R> DEV void multiply_values(float (&d)[R][4], const u32 (&a)[4], const u8* values, u32 k) {
    multiply_transposed(d, a, values, k, 128);
}
#endif
extern "C" __global__ void __launch_bounds__(384, 1) attention_wgmma64x128_op_4x2x64_kf16_vf16_0p125_t10(
    const int* count
    , const float* q
    , const u8* keys
    , const u8* values
    , const int* positions
    , const int* seqs
    , const int* tables
    , const int* tiles
    , u16* out
) {
    let_next_begin();
    wait_for_previous();
#if defined(LATHE_EMULATOR) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
    SHARED_BYTES(shared);
    const u32 lane = threadIdx.x % 32;
    const u32 row0 = (u32)tiles[2 * blockIdx.y], tall = (u32)tiles[2 * blockIdx.y + 1];
    if (row0 >= *count) return;
    const u32 kvh = blockIdx.x / 1, g0 = blockIdx.x % 1 * 2;
    const u32 head0 = kvh * 2 + g0, heads = 2 - g0 < 2 ? 2 - g0 : 2;
    const u32 start = (u32)positions[row0], last = start + tall - 1;
    const int* blocks = tables + (u64)seqs[row0] * 10;
    u32 base;
    {
        const u32 position = start;
        base = 0u / 128 * 128;
    }
    u8* const queries = shared + (1024 - ((u32)shared_address(shared) & 1023)) % 1024;
    u8* const ring = queries + 128 * 64 * 2;
    const shared_t full = shared_address(ring + 4 * 16384), empty = full + 8 * 4;
    if (threadIdx.x == 0) {
        for (u32 i = 0; i < 4; ++i) {
            barrier_init(full + 8 * i, 4);
            barrier_init(empty + 8 * i, 8);
        }
        barriers_ready();
    }
    for (u32 i = threadIdx.x; i < 128 * (64 / 8); i += 384) {
        const u32 m = i / (64 / 8), run = i % (64 / 8), r = m / 2, g = m % 2;
        uint4 pairs = {0, 0, 0, 0};
        if (r < tall && g < heads) {
            const float* from = q + ((u64)(row0 + r) * 4 + head0 + g) * 64 + 8 * run;
            const float4 a = *(const float4*)from, b = *(const float4*)(from + 4);
            pairs.x = half_pair(saturated(a.x * 0.125f), saturated(a.y * 0.125f));
            pairs.y = half_pair(saturated(a.z * 0.125f), saturated(a.w * 0.125f));
            pairs.z = half_pair(saturated(b.x * 0.125f), saturated(b.y * 0.125f));
            pairs.w = half_pair(saturated(b.z * 0.125f), saturated(b.w * 0.125f));
        }
        *(uint4*)(queries + run / 8 * (128 * 128) + m * 128 + (run % 8 ^ m % 8) * 16) = pairs;
    }
    show_to_copies();
    __syncthreads();
    if (threadIdx.x < 128) {
        give_registers<56>();
        const u32 run = threadIdx.x % (64 / 8), first = threadIdx.x / (64 / 8);
        constexpr u32 EACH = 128 / (64 / 8);
        const auto arrive = [&](u32 i) {
            show_to_copies();
            __syncwarp();
            if (lane == 0) barrier_arrive(full + 8 * (i % 4));
        };
        u32 it = 0;
        for (u32 at = base; at <= last; at += 128) {
            u32 block[128 / 32];
#pragma unroll
            for (u32 b = 0; b < 128 / 32; ++b) block[b] = (u32)blocks[(at + 32 * b <= last ? at + 32 * b : at) / 32];
#pragma unroll 1
            for (u32 half = 0; half < 2; ++half, ++it) {
                const u32 slot = it % 4;
                barrier_wait(empty + 8 * slot, (it / 4 & 1) ^ 1);
                u8* const to = ring + slot * 16384 + run / 8 * (128 * 128);
#pragma unroll
                for (u32 b = 0; b < 128 / 32; ++b) {
                    const u8* head = (half == 0 ? keys : values) + ((u64)block[b] * 2 + kvh) * 4096;
#pragma unroll
                    for (u32 i = 0; i < 32 / EACH; ++i) {
                        const u32 in_block = first + EACH * i, row = 32 * b + in_block;
                        copy16(to + row * 128 + (run % 8 ^ row % 8) * 16, head + (in_block * 64 + 8 * run) * 2, at + row <= last);
                    }
                }
                commit_copies();
                if (it == 0) continue;
                wait_copies<1>();
                arrive(it - 1);
            }
        }
        wait_copies<0>();
        arrive(it - 1);
        return;
    }
    const float nothing = __uint_as_float(0xff800000u);
    float sums[1][64 / 8][4] = {}, top[1][2], total[1][2] = {};
#pragma unroll
    for (u32 m = 0; m < 1; ++m) top[m][0] = top[m][1] = nothing;
    take_registers<224>();
    const u32 group = threadIdx.x / 128 - 1, bottom = 16 * (threadIdx.x / 32 - 4);
    const bool works = group * 64 < tall * 2;
    u32 it = 0;
    const auto taken = [&]() {
        __syncwarp();
        if (lane == 0) barrier_arrive(empty + 8 * (it % 4));
        ++it;
    };
    for (; base <= last; base += 128) {
        if (!works) {
            for (u32 half = 0; half < 2; ++half) {
                barrier_wait(full + 8 * (it % 4), it / 4 & 1);
                taken();
            }
            continue;
        }
        float s[1][128 / 8][4];
        barrier_wait(full + 8 * (it % 4), it / 4 & 1);
        begin_products();
#pragma unroll
        for (u32 k = 0; k < 64 / 16; ++k)
            multiply_tiles(s[0], queries + k / 4 * (128 * 128) + group * 8192, ring + it % 4 * 16384 + k / 4 * (128 * 128),
                           k % 4, k > 0);
        commit_products();
        wait_products<0>();
        settle(s[0]);
        taken();
        const bool partly = base + 128 - 1 > start || false;
        bool higher = false;
        float factor[1][2];
#pragma unroll
        for (u32 m = 0; m < 1; ++m) {
#pragma unroll
            for (u32 h = 0; h < 2; ++h) {
                const u32 position = start + (bottom + 16 * m + 8 * h + lane / 4) / 2;
                float most = top[m][h];
#pragma unroll
                for (u32 n = 0; n < 128 / 8; ++n) {
#pragma unroll
                    for (u32 i = 0; i < 2; ++i) {
                        float& x = s[m][n][2 * h + i];
                        
                        if (partly) {
                            const u32 at = base + 8 * n + lane % 4 * 2 + i;
                            x = at <= position ? x : nothing;
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
                for (u32 n = 0; n < 128 / 8; ++n) {
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
            for (u32 m = 0; m < 1; ++m) {
#pragma unroll
                for (u32 n = 0; n < 64 / 8; ++n) {
#pragma unroll
                    for (u32 i = 0; i < 4; ++i) sums[m][n][i] *= factor[m][i / 2];
                }
            }
        }
        u32 weights[128 / 16][4];
#pragma unroll
        for (u32 k = 0; k < 128 / 16; ++k) {
#pragma unroll
            for (u32 i = 0; i < 4; ++i)
                weights[k][i] = half_pair(s[0][2 * k + i / 2][i % 2 * 2], s[0][2 * k + i / 2][i % 2 * 2 + 1]);
        }
        barrier_wait(full + 8 * (it % 4), it / 4 & 1);
        settle(sums[0]);
        begin_products();
#pragma unroll
        for (u32 k = 0; k < 128 / 16; ++k) multiply_values(sums[0], weights[k], ring + it % 4 * 16384, k);
        commit_products();
        wait_products<0>();
        settle(sums[0]);
        taken();
    }
#pragma unroll
    for (u32 m = 0; m < 1; ++m) {
#pragma unroll
        for (u32 h = 0; h < 2; ++h) {
            float all = total[m][h];
            all += __shfl_xor_sync(0xffffffffu, all, 1);
            all += __shfl_xor_sync(0xffffffffu, all, 2);
            const u32 at = bottom + 16 * m + 8 * h + lane / 4, r = at / 2, g = at % 2;
            if (r >= tall || g >= heads) continue;
            const float by = __fdiv_rn(1.0f, all);
            auto* to = out + ((u64)(row0 + r) * 4 + head0 + g) * 64 + lane % 4 * 2;
#pragma unroll
            for (u32 n = 0; n < 64 / 8; ++n) {
                const float a = sums[m][n][2 * h] * by, b = sums[m][n][2 * h + 1] * by;
                *(u32*)(to + 8 * n) = operand_pair(a, b);
            }
        }
    }
#endif
}
}


// split_4x2x64_0p125_t10_s3_op
namespace n_split_4x2x64_0p125_t10_s3_op {
struct Keys { u32 of[2][2][2][4]; };
struct Values { u32 of[2][4][1][4]; };
DEV void take(u32 (&to)[4], const u8* from, bool there) {
    const uint4 v = there ? load16(from) : make_uint4(0, 0, 0, 0);
    to[0] = v.x;
    to[1] = v.y;
    to[2] = v.z;
    to[3] = v.w;
}
DEV void load_keys(Keys& k, const u8* block, u32 last, u32 lane) {
#pragma unroll
    for (u32 t = 0; t < 2; ++t) {
#pragma unroll
        for (u32 half = 0; half < 2; ++half) {
            const u32 at = 16 * t + 8 * half + lane / 4;
            const u8* row = block + (at < last ? at : last) * (64 * 2);
#pragma unroll
            for (u32 i = 0; i < 2; ++i) {
                const u32 d = 32 * i + lane % 4 * 8;
                take(k.of[t][half][i], row + 2 * d, d < 64);
            }
        }
    }
}
DEV void load_values(Values& v, const u8* block, u32 last, u32 lane) {
#pragma unroll
    for (u32 t = 0; t < 2; ++t) {
#pragma unroll
        for (u32 j = 0; j < 4; ++j) {
            const u32 at = 16 * t + 4 * j + lane % 4;
            const u8* row = block + (at < last ? at : last) * (64 * 2);
#pragma unroll
            for (u32 h = 0; h < 1; ++h) {
                const u32 d = 64 * h + lane / 4 * 8;
                take(v.of[t][j][h], row + 2 * d, d < 64);
            }
        }
    }
}
// Two values as two f16, and what that leaves.
DEV void parts_of(float a, float b, u32& high, u32& low) {
    high = half_pair(a, b);
    low = half_pair(a - from_half(high & 0xffffu), b - from_half(high >> 16));
}
extern "C" __global__ void __launch_bounds__(128, 1) split_4x2x64_0p125_t10_s3_op(
    const int* count
    , const float* q
    , const u8* keys
    , const u8* values
    , const int* positions
    , const int* seqs
    , const int* tables
    , float* states
    , u16* out
) {
    __shared__ float weights[4][32 * 8], sums[4][2][64], top_of[4][8], total_of[4][8];
    let_next_begin();
    const u32 row = blockIdx.z, split = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u32 rows = (u32)*count;
    if (row >= rows) return;
    const u32 position = (u32)positions[row], first = 0u;
    const u32 seg0 = first / 128, segments = position / 128 - seg0 + 1, each = (segments + 3 - 1) / 3;
    if (split * each >= segments) return;
    const u32 begin = seg0 + split * each, end = begin + each < seg0 + segments ? begin + each : seg0 + segments;
    const u32 kvh = blockIdx.y / 1, g0 = blockIdx.y % 1 * 2;
    const u32 heads = 2 - g0 < 2 ? 2 - g0 : 2, head0 = kvh * 2 + g0;
    const int seq = seqs[row];
    const int* blocks = tables + (u64)(u32)seq * 10;
    // The first position that this step writes.
    float newest = (float)position;
    for (u32 i = lane; i < rows; i += 32) newest = seqs[i] == seq ? fminf(newest, (float)positions[i]) : newest;
    newest = -warp_max(-newest);
    Keys k;
    Values v;
    // Where a warp has no position that is seen, it has nothing to do in that segment.
    const auto there = [&](u32 seg) {
        const u32 from = seg * 128 + warp * 32;
        return seg < end && from <= position && from + 32 > first;
    };
    const auto place = [&](const u8* half, u32 seg) {
        return half + ((u64)(u32)blocks[seg * 4 + warp] * 2 + kvh) * 4096;
    };
    const auto last = [&](u32 seg) { return position - (seg * 128 + warp * 32); };
    const bool early = there(begin) && (float)(begin * 128 + warp * 32 + 32) <= newest;
    if (early) {
        load_keys(k, place(keys, begin), last(begin), lane);
        load_values(v, place(values, begin), last(begin), lane);
    }
    wait_for_previous();
    if (!early && there(begin)) {
        load_keys(k, place(keys, begin), last(begin), lane);
        load_values(v, place(values, begin), last(begin), lane);
    }
    u32 q_high[2][4], q_low[2][4];
    {
        const u32 head = lane / 4;
        const float* from = q + ((u64)row * 4 + head0 + (head < heads ? head : 0)) * 64;
#pragma unroll
        for (u32 i = 0; i < 2; ++i) {
            const u32 d = 32 * i + lane % 4 * 8;
            float own[8];
#pragma unroll
            for (u32 e = 0; e < 8; ++e) own[e] = d < 64 ? saturated(from[d + e]) : 0.0f;
#pragma unroll
            for (u32 w = 0; w < 4; ++w) parts_of(own[2 * w], own[2 * w + 1], q_high[i][w], q_low[i][w]);
        }
    }
    float top[2] = {-1e30f, -1e30f}, total[2] = {}, mix[1][4][4] = {};
    for (u32 seg = begin; seg < end; ++seg) {
        if (!there(seg)) {
            if (there(seg + 1)) {
                load_keys(k, place(keys, seg + 1), last(seg + 1), lane);
                load_values(v, place(values, seg + 1), last(seg + 1), lane);
            }
            continue;
        }
        float x_of[2][4];
#pragma unroll
        for (u32 t = 0; t < 2; ++t) {
            float high[4] = {}, low[4] = {};
#pragma unroll
            for (u32 i = 0; i < 2; ++i) {
#pragma unroll
                for (u32 w = 0; w < 4; w += 2) {
                    const u32 a0 = k.of[t][0][i][w], a1 = k.of[t][1][i][w];
                    const u32 a2 = k.of[t][0][i][w + 1], a3 = k.of[t][1][i][w + 1];
                    mma_f16(high, a0, a1, a2, a3, q_high[i][w], q_high[i][w + 1]);
                    mma_f16(low, a0, a1, a2, a3, q_low[i][w], q_low[i][w + 1]);
                }
            }
#pragma unroll
            for (u32 n = 0; n < 4; ++n) {
                const u32 at = seg * 128 + warp * 32 + 16 * t + n / 2 * 8 + lane / 4;
                const float x = (high[n] + low[n]) * 0.125f;
                x_of[t][n] = at <= position && at >= first ? x : __uint_as_float(0xff800000u);
            }
        }
        if (there(seg + 1)) load_keys(k, place(keys, seg + 1), last(seg + 1), lane);
        float by[2];
#pragma unroll
        for (u32 n = 0; n < 2; ++n) {
            float most = fmaxf(fmaxf(x_of[0][n], x_of[0][n + 2]), fmaxf(x_of[1][n], x_of[1][n + 2]));
#pragma unroll
            for (int o = 4; o < 32; o *= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, o));
            most = fmaxf(most, top[n]);
            by[n] = expf(top[n] - most);
            top[n] = most;
#pragma unroll
            for (u32 t = 0; t < 2; ++t) {
                x_of[t][n] = expf(x_of[t][n] - most);
                x_of[t][n + 2] = expf(x_of[t][n + 2] - most);
            }
            const float all = (x_of[0][n] + x_of[0][n + 2]) + (x_of[1][n] + x_of[1][n + 2]);
            total[n] = fmaf(total[n], by[n], all);
        }
        float* own = weights[warp];
        __syncwarp();
#pragma unroll
        for (u32 t = 0; t < 2; ++t) {
#pragma unroll
            for (u32 n = 0; n < 4; ++n)
                own[(16 * t + n / 2 * 8 + lane / 4) * 8 + lane % 4 * 2 + n % 2] = x_of[t][n];
        }
        __syncwarp();
#pragma unroll
        for (u32 h = 0; h < 1; ++h) {
#pragma unroll
            for (u32 w = 0; w < 4; ++w) {
#pragma unroll
                for (u32 n = 0; n < 4; ++n) mix[h][w][n] *= by[n % 2];
            }
        }
#pragma unroll
        for (u32 t = 0; t < 2; ++t) {
            float p[4];
#pragma unroll
            for (u32 j = 0; j < 4; ++j) p[j] = own[(16 * t + 4 * j + lane % 4) * 8 + lane / 4];
            u32 high[2], low[2];
            parts_of(p[0], p[1], high[0], low[0]);
            parts_of(p[2], p[3], high[1], low[1]);
#pragma unroll
            for (u32 h = 0; h < 1; ++h) {
#pragma unroll
                for (u32 w = 0; w < 4; ++w) {
                    const u32 a0 = __byte_perm(v.of[t][0][h][w], v.of[t][1][h][w], 0x5410u);
                    const u32 a1 = __byte_perm(v.of[t][0][h][w], v.of[t][1][h][w], 0x7632u);
                    const u32 a2 = __byte_perm(v.of[t][2][h][w], v.of[t][3][h][w], 0x5410u);
                    const u32 a3 = __byte_perm(v.of[t][2][h][w], v.of[t][3][h][w], 0x7632u);
                    mma_f16(mix[h][w], a0, a1, a2, a3, high[0], high[1]);
                    mma_f16(mix[h][w], a0, a1, a2, a3, low[0], low[1]);
                }
            }
        }
        if (there(seg + 1)) load_values(v, place(values, seg + 1), last(seg + 1), lane);
    }
#pragma unroll
    for (u32 n = 0; n < 2; ++n) {
        const u32 head = lane % 4 * 2 + n;
        float all = total[n];
#pragma unroll
        for (int o = 4; o < 32; o *= 2) all += __shfl_xor_sync(0xffffffffu, all, o);
        if (lane < 4) {
            top_of[warp][head] = top[n];
            total_of[warp][head] = all;
        }
        if (head < heads) {
#pragma unroll
            for (u32 h = 0; h < 1; ++h) {
#pragma unroll
                for (u32 w = 0; w < 4; ++w) {
                    const u32 d = 64 * h + lane / 4 * 8 + 2 * w;
                    if (d < 64) {
                        sums[warp][head][d] = mix[h][w][n];
                        sums[warp][head][d + 1] = mix[h][w][n + 2];
                    }
                }
            }
        }
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < heads * 64; i += 32 * 4) {
        const u32 g = i / 64, d = i % 64;
        float most = top_of[0][g], l = 0.0f, x = 0.0f;
#pragma unroll
        for (u32 w = 1; w < 4; ++w) most = fmaxf(most, top_of[w][g]);
#pragma unroll
        for (u32 w = 0; w < 4; ++w) {
            const float by = expf(top_of[w][g] - most);
            l = fmaf(total_of[w][g], by, l);
            x = fmaf(sums[w][g][d], by, x);
        }
        if (each >= segments) {
            const float v = __fdiv_rn(x, l);
            out[((u64)row * 4 + head0 + g) * 64 + d] = (u16)to_operand(v);
            continue;
        }
        float* state = states + (((u64)row * 4 + head0 + g) * 3 + split) * 68;
        state[d] = x;
        if (d == 0) {
            state[64] = most;
            state[64 + 1] = l;
        }
    }
}
}


// join_4x2x64_0p125_t10_s3_op
namespace n_join_4x2x64_0p125_t10_s3_op {
extern "C" __global__ void __launch_bounds__(128, 1) join_4x2x64_0p125_t10_s3_op(
    const int* count
    , const float* states
    , const int* positions
    , u16* out
) {
    let_next_begin();
    wait_for_previous();
    __shared__ float by_of[4][32];
    __shared__ float parts[8][64];
    const u32 head = blockIdx.x, row = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= *count) return;
    const u32 position = (u32)positions[row], first = 0u;
    const u32 segments = position / 128 - first / 128 + 1, each = (segments + 3 - 1) / 3;
    const u32 splits = (segments + each - 1) / each;
    if (splits == 1) return;
    const float* from = states + ((u64)row * 4 + head) * (3 * 68);
    const u32 part = threadIdx.x / 16, d = threadIdx.x % 16 * 4;
    uint4 own[1];
#pragma unroll
    for (u32 i = 0; i < 1; ++i) {
        const u32 split = i * 8 + part;
        own[i] = part < 8 && split < splits ? load16(from + split * 68 + d) : make_uint4(0, 0, 0, 0);
    }
    const bool counts = lane < splits;
    const float top = counts ? from[lane * 68 + 64] : -1e30f, l = counts ? from[lane * 68 + 64 + 1] : 0.0f;
    const float by = expf(top - warp_max(top)), total = warp_sum(l * by);
    by_of[warp][lane] = by;
    __syncwarp();
    float x[4] = {};
#pragma unroll
    for (u32 i = 0; i < 1; ++i) {
        const float f = by_of[warp][(i * 8 + part) % 32];
        x[0] = fmaf(__uint_as_float(own[i].x), f, x[0]);
        x[1] = fmaf(__uint_as_float(own[i].y), f, x[1]);
        x[2] = fmaf(__uint_as_float(own[i].z), f, x[2]);
        x[3] = fmaf(__uint_as_float(own[i].w), f, x[3]);
    }
    if (part < 8) {
#pragma unroll
        for (u32 e = 0; e < 4; ++e) parts[part][d + e] = x[e];
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < 64; i += 32 * 4) {
        float all = 0.0f;
#pragma unroll
        for (u32 p = 0; p < 8; ++p) all += parts[p][i];
        const float v = __fdiv_rn(all, total);
        out[((u64)row * 4 + head) * 64 + i] = (u16)to_operand(v);
    }
}
}


// largest_320
namespace n_largest_320 {
DEV u64 key_of(float x, u32 place) {
    const u32 bits = __float_as_uint(x + 0.0f);
    if ((bits & 0x7f800000u) == 0x7f800000u) return 0;
    const u32 value = bits >> 31 ? ~bits : bits | 0x80000000u;
    return (u64)value << 32 | (u32)~place;
}
DEV u64 larger(u64 a, u64 b) { return a > b ? a : b; }
DEV void load_some(const float* p, float (&f)[4]) {
    const uint4 l = load16(p);
    f[0] = __uint_as_float(l.x);
    f[1] = __uint_as_float(l.y);
    f[2] = __uint_as_float(l.z);
    f[3] = __uint_as_float(l.w);
}
extern "C" __global__ void __launch_bounds__(256, 1) largest_320(
    const int* count
    , const float* x
    , u64* keys
) {
    let_next_begin();
    wait_for_previous();
    __shared__ u64 keys_of_warps[8];
    const u32 row = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= *count) return;
    const float* from = x + (u64)row * 320;
    u64 key = 0;
#pragma unroll
    for (u32 i = 0; i < 8192; i += 256 * 4) {
        const u32 place = blockIdx.x * 8192 + i + threadIdx.x * 4;
        if (place >= 320) continue;
        float v[4];
        load_some(from + place, v);
#pragma unroll
        for (u32 j = 0; j < 4; ++j) key = larger(key, key_of(v[j], place + j));
    }
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) key = larger(key, __shfl_xor_sync(0xffffffffu, key, o));
    if (lane == 0) keys_of_warps[warp] = key;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (u32 i = 1; i < 8; ++i) key = larger(key, keys_of_warps[i]);
    atomicMax(keys + row, key);
}
}

