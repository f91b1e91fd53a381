//! Random contents of a part of the KV cache, such as stores leave them.

use lathe_frontend::testing::Rng;
use lathe_ir::DType;
use lathe_ir::layout::{KvLayout, KvType};
use lathe_ir::quant::quantize;

/// `blocks` blocks of keys or values of about unit size.
pub fn random(layout: KvLayout, blocks: u32, rng: &mut Rng) -> Vec<u8> {
    let bytes = layout.part_bytes(blocks.into()).unwrap() as usize;
    let mut floats = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.normal()).collect() };
    match layout.ty {
        KvType::F32 => quantize(DType::F32, &floats(bytes / 4)).unwrap(),
        KvType::F16 => quantize(DType::F16, &floats(bytes / 2)).unwrap(),
        KvType::Bf16 => quantize(DType::Bf16, &floats(bytes / 2)).unwrap(),
        KvType::Q8_0 | KvType::Q4_0 => {
            let (head, codes) = (layout.head_bytes() as usize, layout.code_bytes() as usize);
            let mut heads = Vec::with_capacity(bytes);
            while heads.len() < bytes {
                heads.extend(floats(codes).iter().map(|x| (x * 40.0) as i8 as u8));
                let scales = floats((head - codes) / 4);
                heads.extend(scales.iter().flat_map(|x| (x.abs() / 40.0).to_le_bytes()));
            }
            heads
        }
    }
}
