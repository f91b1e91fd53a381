//! Times how weights are laid out for a GPU: `pack [THREADS]`, 4096 rows of 14336 elements of each type.

use lathe_codegen_cuda::pack::pack;
use lathe_codegen_cuda::plan::{Form, SectionDecl};
use lathe_ir::DType;
use lathe_ir::backend::{WeightData, WeightSource};
use lathe_ir::graph::RowOrder;
use lathe_ir::types::{Dim, TensorType};
use std::borrow::Cow;
use std::time::Instant;

const ROWS: u64 = 4096;
const COLUMNS: u64 = 14336;

/// One matrix, of blocks that are the same.
struct One {
    dtype: DType,
    bytes: Vec<u8>,
}

impl WeightSource for One {
    fn weight(&self, _name: &str) -> Option<WeightData<'_>> {
        Some(WeightData {
            dtype: self.dtype,
            rows: ROWS,
            columns: COLUMNS,
            bytes: Cow::Borrowed(&self.bytes),
        })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let threads = match std::env::args().nth(1) {
        Some(threads) => threads.parse()?,
        None => 2,
    };
    for dtype in [
        DType::Q4_0,
        DType::Q8_0,
        DType::Q4K,
        DType::Q6K,
        DType::Iq4Xs,
        DType::F16,
    ] {
        let values: Vec<f32> = (0..COLUMNS).map(|i| (i as f32 * 0.7).sin() * 0.1).collect();
        let row = lathe_ir::quant::quantize(dtype, &values)?;
        let one = One {
            dtype,
            bytes: row.repeat(ROWS as usize),
        };
        let decl = SectionDecl {
            weight: "w".into(),
            ty: TensorType::new([Dim::Const(ROWS), Dim::Const(COLUMNS)], dtype),
            form: Form::Matrix,
            order: RowOrder::Natural,
            heads: 0,
            dims: 0,
        };
        let (mut times, mut packed): (Vec<f64>, Vec<u8>) = Default::default();
        for _ in 0..3 {
            let start = Instant::now();
            pack(&decl, &one, threads, &mut packed)?;
            times.push(start.elapsed().as_secs_f64());
        }
        let best = times.into_iter().fold(f64::INFINITY, f64::min);
        let gbps = one.bytes.len() as f64 / 1e9 / best;
        println!("{dtype}: {gbps:.2} GB/s of the file with {threads} threads");
    }
    Ok(())
}
