//! Every kernel that tiny models and awkward shapes need: machine code against the interpreter, bit for bit.

#[path = "../codegen-cpu/tests/support/aarch64.rs"]
mod aarch64;
#[path = "support/cache.rs"]
mod cache;

use lathe::build::optimize;
use lathe_codegen_cpu::{Arch, CompiledKernels, CpuFeatures, OptLevel};
use lathe_frontend::Model;
use lathe_frontend::testing::{Family, Rng, TinyModel};
use lathe_ir::DType;
use lathe_ir::kernel::{Kernel, interp};
use lathe_ir::layout::{KvType, KvTypes, PackedLayout, pack_rows};
use lathe_ir::plan::{Arg, Call, Input, KV_BLOCK, Limits, Plan, SectionForm};
use lathe_ir::quant::quantize;
use lathe_ir::types::Sym;
use lathe_passes::lower::{LowerOptions, lower};
use std::collections::BTreeMap;
use std::ops::Range;

const LIMITS: Limits = Limits {
    tokens: 9,
    outputs: 9,
    seqs: 2,
    ctx: 288,
};

fn plan(family: Family, dtype: DType, lanes: u8) -> Plan {
    lowered(family, dtype, &LowerOptions::for_width(LIMITS, lanes))
}

fn lowered(family: Family, dtype: DType, options: &LowerOptions) -> Plan {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    TinyModel::new(family).with_dtype(dtype).write(&path).unwrap();
    let model = Model::load(&path).unwrap();
    lower(&optimize(&model.graph, true).unwrap(), options).unwrap()
}

/// Random contents of a buffer, such as the plan means it to hold; `q8a` for a buffer of int8 activations.
fn contents(plan: &Plan, arg: Arg, q8a: bool, rng: &mut Rng) -> Vec<u8> {
    let floats = |n: usize, rng: &mut Rng| -> Vec<f32> { (0..n).map(|_| rng.normal()).collect() };
    let words = |values: &[u32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
    // One number a row, over and over.
    let rows = |values: &[u32]| -> Vec<u8> {
        let rows = values.iter().cycle().take(plan.limits.tokens as usize);
        rows.flat_map(|v| v.to_le_bytes()).collect()
    };
    match arg {
        Arg::Section(id) => {
            let decl = &plan.sections[id];
            let dims: Vec<u64> = decl.ty.dims.iter().map(|d| d.constant().unwrap()).collect();
            let values = floats(dims.iter().product::<u64>() as usize, rng);
            if decl.form == SectionForm::Vector {
                return quantize(DType::F32, &values).unwrap();
            }
            let layout = PackedLayout::of(decl.ty.dtype, dims[0], dims[1]).unwrap();
            let source = quantize(decl.ty.dtype, &values).unwrap();
            let mut packed = vec![0; layout.bytes() as usize];
            pack_rows(
                &layout,
                decl.ty.dtype,
                &source,
                |r| r,
                0..layout.panels(),
                &mut packed,
            )
            .unwrap();
            packed
        }
        Arg::Kv(part, layer) => {
            let kv = plan.kv_layers[layer as usize];
            cache::random(kv.layout(part), LIMITS.blocks_per_seq() * LIMITS.seqs, rng)
        }
        Arg::Rope(id) => {
            let n = plan.ropes[id].spec.dims as usize * plan.limits.tokens as usize;
            quantize(DType::F32, &floats(n, rng)).unwrap()
        }
        Arg::Hidden => {
            let n = plan.limits.tokens * plan.takes.unwrap();
            quantize(DType::F32, &floats(n as usize, rng)).unwrap()
        }
        Arg::Input(Input::Tokens) => rows(&[3, 1, 4, 15, 9, 2, 6, 5, 35]),
        Arg::Input(Input::Positions) => rows(&[254, 255, 256, 257, 258, 0, 1, 2, 287]),
        Arg::Input(Input::Seqs) => rows(&[0, 0, 0, 0, 0, 1, 1, 1, 1]),
        Arg::Input(Input::Outputs) => rows(&[8, 0, 3, 1, 1, 2, 7, 6, 5]),
        Arg::Input(Input::BlockTables | Input::WindowTables) => {
            words(&(0..18).map(|i| (i * 5 + 3) % 18).collect::<Vec<_>>())
        }
        Arg::Buffer(id) => {
            let bytes = plan.buffers[id].bytes as usize;
            if !q8a {
                return quantize(DType::F32, &floats(bytes / 4, rng)).unwrap();
            }
            let k = bytes / plan.limits.tokens as usize * 2 / 3;
            let mut rows = vec![0; bytes];
            for row in rows.chunks_exact_mut(k + k / 2) {
                lathe_ir::layout::quantize_row_q8a(&floats(k, rng), row).unwrap();
            }
            rows
        }
    }
}

/// The arguments of a call for some number of rows, and the buffers that the interpreter leaves.
struct Example<'a> {
    kernel: &'a Kernel,
    /// The number of the kernel in the plan.
    number: usize,
    rows: u64,
    bufs: Vec<Vec<u8>>,
    scalars: Vec<i64>,
    units: Range<i64>,
    want: Vec<Vec<u8>>,
}

impl Example<'_> {
    fn new<'a>(plan: &'a Plan, call: &Call, rows: u64, rng: &mut Rng) -> Example<'a> {
        let kernel = &plan.kernels[call.kernel];
        // The input of a product with a quantized weight must hold int8 activations.
        let coded = kernel.name.starts_with("linear.") && kernel.name.contains(".q8a");
        let decls = kernel.bufs.values();
        let bufs: Vec<Vec<u8>> = decls
            .zip(&call.args)
            .map(|(decl, &arg)| contents(plan, arg, coded && decl.name == "x", rng))
            .collect();
        let mut want = bufs.clone();
        let sizes = |sym| match sym {
            Sym::Ctx => LIMITS.ctx.into(),
            _ => rows,
        };
        let units = 0..call.units.at(sizes) as i64;
        let scalars: Vec<i64> = call.scalars.iter().map(|c| c.at(sizes) as i64).collect();
        let mut slices: Vec<&mut [u8]> = want.iter_mut().map(Vec::as_mut_slice).collect();
        interp::run(kernel, &mut slices, &scalars, units.clone()).unwrap();
        Example {
            kernel,
            number: lathe_ir::Id::index(call.kernel),
            rows,
            bufs,
            scalars,
            units,
            want,
        }
    }

    /// Panics where code that was compiled for `features` left another buffer than the interpreter.
    fn compare(&self, got: &[Vec<u8>], features: &CpuFeatures) {
        for (i, (got, want)) in got.iter().zip(&self.want).enumerate() {
            let decl = self.kernel.bufs.values().nth(i).unwrap();
            assert!(
                got == want,
                "@{} on {features}, {} rows: ${} differs",
                self.kernel.name,
                self.rows,
                decl.name
            );
        }
    }
}

/// A call of every kernel of the plan for several numbers of rows.
fn examples<'a>(plan: &'a Plan, rng: &mut Rng) -> Vec<Example<'a>> {
    let mut seen = Vec::new();
    let mut examples = Vec::new();
    for call in plan.steps.iter().flat_map(|s| &s.calls) {
        if !seen.contains(&call.kernel) {
            seen.push(call.kernel);
            examples.extend([0, 1, 4, 9].map(|rows| Example::new(plan, call, rows, rng)));
        }
    }
    assert_eq!(seen.len(), plan.kernels.len(), "every kernel is called");
    examples
}

/// Runs compiled code and compares every buffer.
fn check(example: &Example, compiled: &CompiledKernels, features: &CpuFeatures) {
    let kernel = example.kernel;
    let mut bufs = example.bufs.clone();
    let mut scratch = vec![0u64; kernel.scratch as usize / 8 + 16];
    let start = scratch.as_mut_ptr().cast::<u8>();
    let pointers: Vec<*mut u8> = bufs.iter_mut().map(|b| b.as_mut_ptr()).collect();
    // SAFETY: the features are those of this machine; the interpreter just ran the same units on buffers of these sizes
    // with every access checked, and the scratch memory is as large as the kernel says, with room to align it.
    unsafe {
        let scratch = start.add(start.align_offset(64));
        let units = example.units.clone();
        compiled.call(example.number, &pointers, &example.scalars, units, scratch);
    }
    example.compare(&bufs, features);
}

/// Levels of this processor that have their own vectors or their own dot product.
fn levels() -> Vec<CpuFeatures> {
    let host = CpuFeatures::host().unwrap();
    let mut levels = vec![host.clone()];
    if host.arch() == Arch::X86_64 {
        let narrower = ["-avx512vnni,-avxvnni", "-avx512f", "-f16c"];
        levels.extend(narrower.map(|list| host.narrowed(list).unwrap()));
    }
    levels.push(CpuFeatures::baseline(host.arch()));
    levels.dedup();
    levels
}

/// Models that have, among them, every family and every weight type.
const MODELS: [(Family, DType); 17] = [
    (Family::Llama, DType::Q4_1),
    (Family::Llama, DType::F16),
    (Family::Mistral, DType::Q5_0),
    (Family::Mistral, DType::Bf16),
    (Family::Qwen2, DType::Q8_0),
    (Family::Qwen2, DType::F32),
    (Family::Gemma3, DType::Q4_0),
    (Family::Gemma3, DType::Q5_1),
    (Family::Llama, DType::Q2K),
    (Family::Llama, DType::Q3K),
    (Family::Llama, DType::Q4K),
    (Family::Llama, DType::Q5K),
    (Family::Qwen2, DType::Q6K),
    (Family::Gemma3, DType::Iq4Nl),
    (Family::Llama, DType::Iq4Xs),
    (Family::Mistral, DType::Mxfp4),
    (Family::Llama, DType::Nvfp4),
];

#[test]
fn machine_code_equals_the_interpreter() {
    let levels = levels();
    let mut rng = Rng::new(7);
    for (family, dtype) in MODELS {
        for features in &levels {
            let plan = plan(family, dtype, features.vector_lanes());
            let kernels: Vec<&Kernel> = plan.kernels.values().collect();
            let compiled = CompiledKernels::compile(&kernels, features, OptLevel::default(), 2).unwrap();
            for example in examples(&plan, &mut rng) {
                check(&example, &compiled, features);
            }
        }
    }
}

/// Stores into caches of every type, and attention with them.
#[test]
fn caches_of_every_type_equal_the_interpreter() {
    let mut rng = Rng::new(9);
    for (family, ty) in [Family::Qwen2, Family::Gemma3]
        .into_iter()
        .flat_map(|family| KvType::ALL.map(|ty| (family, ty)))
    {
        for features in &levels() {
            let options =
                LowerOptions::for_width(LIMITS, features.vector_lanes()).with_kv_types(KvTypes::both(ty));
            let plan = lowered(family, DType::Q8_0, &options);
            let kernels: Vec<&Kernel> = plan.kernels.values().collect();
            let compiled = CompiledKernels::compile(&kernels, features, OptLevel::default(), 2).unwrap();
            let is_of_cache = |e: &&Example| {
                e.kernel
                    .bufs
                    .values()
                    .any(|b| ["cache", "k"].contains(&b.name.as_str()))
            };
            let examples = examples(&plan, &mut rng);
            let of_cache: Vec<_> = examples.iter().filter(is_of_cache).collect();
            assert!(of_cache.len() >= 3, "keys, values and attention");
            for example in of_cache {
                assert!(
                    example.kernel.name.contains(ty.keyword()),
                    "{}",
                    example.kernel.name
                );
                check(example, &compiled, features);
            }
        }
    }
}

#[test]
fn aarch64_code_equals_the_interpreter() {
    if !aarch64::enabled("aarch64_code_equals_the_interpreter") {
        return;
    }
    let mut rng = Rng::new(8);
    for (family, dtype) in MODELS {
        let plan = plan(family, dtype, 4);
        let kernels: Vec<&Kernel> = plan.kernels.values().collect();
        let examples = examples(&plan, &mut rng);
        for features in aarch64::feature_sets() {
            let codes = aarch64::compile(&kernels, &features, OptLevel::default());
            let runs = examples.iter().map(|example| aarch64::Run {
                kernel: example.kernel,
                code: example.number,
                bufs: &example.bufs,
                scalars: &example.scalars,
                units: example.units.clone(),
            });
            let results = aarch64::execute(&codes, &runs.collect::<Vec<_>>());
            let results = results.unwrap_or_else(|e| panic!("{e} on {features}"));
            for (example, got) in examples.iter().zip(&results) {
                example.compare(got, &features);
            }
        }
    }
}

/// Products with 4-bit codes take the signed dot product, with 8-bit codes that of mixed signs where there is one.
#[test]
fn aarch64_products_use_the_dot_instruction() {
    for (dtype, instructions) in [
        (DType::Q4_0, ["", "sdot", "sdot"]),
        (DType::Q8_0, ["", "sdot", "usdot"]),
    ] {
        let plan = plan(Family::Llama, dtype, 4);
        let is_product = |k: &&Kernel| k.name.starts_with("linear.") && k.name.contains(".q8a");
        let products: Vec<&Kernel> = plan.kernels.values().filter(is_product).collect();
        assert!(!products.is_empty());
        for (features, wanted) in aarch64::feature_sets().iter().zip(instructions) {
            for kernel in &products {
                let text = lathe_codegen_cpu::kernel_text(kernel, features, OptLevel::default()).unwrap();
                let mut opcodes = text.assembly.lines().filter_map(|l| l.split_whitespace().next());
                let found = opcodes.find(|o| o.ends_with("dot")).unwrap_or_default();
                assert_eq!(found, wanted, "@{} on {features}", kernel.name);
            }
        }
    }
}

/// Runs each kernel whose name ends in `suffix`, of a model of this type, with these numbers of rows.
fn check_rows(dtype: DType, options: &LowerOptions, suffix: &str, rows: &[u64], levels: &[CpuFeatures]) {
    let mut rng = Rng::new(11);
    let plan = lowered(Family::Llama, dtype, options);
    let calls = plan.steps.iter().flat_map(|s| &s.calls).filter(|call| {
        let name = &plan.kernels[call.kernel].name;
        name.starts_with("linear.") && name.ends_with(suffix)
    });
    let calls: BTreeMap<_, _> = calls.map(|call| (call.kernel, call)).collect();
    assert!(!calls.is_empty(), "{dtype}: no product");
    let all = calls
        .values()
        .flat_map(|&call| rows.iter().map(move |&r| (call, r)));
    let examples: Vec<Example> = all
        .map(|(call, r)| Example::new(&plan, call, r, &mut rng))
        .collect();
    let kernels: Vec<&Kernel> = plan.kernels.values().collect();
    for features in levels {
        let compiled = CompiledKernels::compile(&kernels, features, OptLevel::default(), 2).unwrap();
        examples
            .iter()
            .for_each(|example| check(example, &compiled, features));
    }
}

/// Limits of steps that take tiles of every size.
const MANY: Limits = Limits {
    tokens: 35,
    outputs: 35,
    ..LIMITS
};

/// Every number of rows takes tiles of its own, up to where those of many rows begin.
#[test]
fn products_of_every_few_rows_equal_the_interpreter() {
    let wide: Vec<CpuFeatures> = levels().into_iter().filter(|f| f.vector_lanes() == 16).collect();
    let rows: Vec<u64> = (1..=17).chain([35]).collect();
    let options = LowerOptions::for_width(MANY, 16);
    for dtype in [DType::Q4K, DType::Q5_0, DType::Q6K, DType::Q8_0] {
        check_rows(dtype, &options, "", &rows, &wide);
    }
}

/// Tiles of sixteen rows: by the matrix unit where this processor has one, else by its vectors.
#[test]
fn products_for_a_matrix_unit_equal_the_interpreter() {
    let host = CpuFeatures::host().unwrap();
    let host = host.narrowed("+amx-tile,+amx-int8").unwrap_or(host);
    if host.vector_lanes() != 16 || !host.has_dot4() {
        return eprintln!("skipped: no AVX-512 with VNNI here");
    }
    let options = LowerOptions::for_width(MANY, 16).with_matrix_unit(true);
    for dtype in [DType::Q4_1, DType::Q8_0, DType::Q5_0, DType::Q6K] {
        check_rows(
            dtype,
            &options,
            ".matrix",
            &[15, 16, 35],
            std::slice::from_ref(&host),
        );
    }
}

#[test]
fn the_text_of_kernels_reads_back() {
    for family in Family::ALL {
        for kernel in plan(family, DType::Q5_1, 8).kernels.values() {
            let text = kernel.to_string();
            let back = lathe_ir::kernel::parse::parse(&text).unwrap();
            assert_eq!(back.to_string(), text);
            assert_eq!(back, kernel.compact());
            assert_eq!(LIMITS.ctx % KV_BLOCK, 0);
        }
    }
}

#[test]
fn aarch64_code_is_made_for_every_kernel() {
    let arm = CpuFeatures::all(lathe_codegen_cpu::Arch::Aarch64);
    for (family, dtype) in [
        (Family::Gemma3, DType::Q5_1),
        (Family::Qwen2, DType::F16),
        (Family::Llama, DType::Q6K),
        (Family::Llama, DType::Nvfp4),
    ] {
        for kernel in plan(family, dtype, 4).kernels.values() {
            let text = lathe_codegen_cpu::kernel_text(kernel, &arm, OptLevel::default()).unwrap();
            assert!(
                text.bytes > 0 && text.assembly.contains("ret"),
                "@{}",
                kernel.name
            );
        }
    }
}
