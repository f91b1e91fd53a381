//! Graphs that between them use every kernel: small, of awkward shapes, as text.

use super::{Case, LONG, SOME, STEPS, StepSpec, WIDE};
use lathe_codegen_cuda::PanelsIn;
use lathe_frontend::model::Model;
use lathe_frontend::testing::{Family, TinyModel};
use lathe_ir::DType;
use lathe_ir::graph::{Graph, parse};
use lathe_ir::layout::{KvType, KvTypes};
use lathe_ir::plan::ModelOutput;
use lathe_ir::quant::FORMATS;
use lathe_passes::{Backend, PipelineOptions};

/// Operands of products of 11 bits.
const OPERANDS: f64 = 1e-3;
/// The same, through several layers.
const MODELS: f64 = 2e-3;
/// Sums in f32.
const FLOATS: f64 = 1e-5;

/// How graphs are optimized for a GPU.
pub fn passes() -> PipelineOptions<'static> {
    PipelineOptions {
        backend: Backend::Cuda,
        ..PipelineOptions::default()
    }
}

fn graph(weights: &str, body: &str) -> Graph {
    let text = format!(
        "graph @case (%tok: [tokens]i32, %pos: [tokens]i32, %seq: [tokens]i32, %outputs: [outputs]i32, %kv: kv) {{\n\
         {weights}\n{body}\n}}\n"
    );
    parse::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn case(name: &str, graph: Graph, tolerance: f64) -> Case {
    Case {
        name: name.to_owned(),
        graph,
        steps: STEPS,
        kv_types: KvTypes::default(),
        output: ModelOutput::Logits,
        panels: None,
        tolerance,
    }
}

/// Products with weights of every type, added up, beside weights of f32; and the embedding of such a type. Rows are of one
/// cell, of few, and of more than a block has consumers.
pub fn products() -> Vec<Case> {
    let coded = FORMATS.iter().map(|f| f.dtype);
    let all = coded.chain([DType::F32, DType::F16, DType::Bf16]);
    let few = all.map(|dtype| (dtype, 512));
    let many = [(DType::Q5_0, 1536), (DType::Q6K, 4864), (DType::F16, 4864)];
    few.chain(many)
        .map(|(dtype, k)| {
            let weights = format!(
                "weight @e : [50, {k}]{dtype}\nweight @a : [41, {k}]{dtype}\nweight @b : [70, {k}]f16"
            );
            let body = format!(
                "%0 = embed @e, %tok : [tokens, {k}]f32
                %1 = linear %0 [@a -> f32] : [tokens, 41]f32
                %2, %3 = linear %0 [@b -> f32, @a {{add(%1)}} -> f32] : [tokens, 70]f32, [tokens, 41]f32
                %4 = gather_rows %2, %outputs : [outputs, 70]f32
                %5 = gather_rows %3, %outputs : [outputs, 41]f32
                %6 = linear %4 [@c -> f32] : [outputs, 41]f32
                %7 = add %5, %6 : [outputs, 41]f32
                return %7"
            );
            let weights = format!("{weights}\nweight @c : [41, 70]f32");
            case(
                &format!("products {dtype} of {k}"),
                graph(&weights, &body),
                OPERANDS,
            )
        })
        .collect()
}

/// Products with weights of few bits alone, as fit little shared memory: of few cells, and of many.
pub fn coded() -> Vec<Case> {
    let cases = [512, 4864].map(|k| {
        let weights =
            format!("weight @e : [50, {k}]f32\nweight @a : [41, {k}]q4_k\nweight @b : [70, {k}]q6_k");
        let body = format!(
            "%0 = embed @e, %tok : [tokens, {k}]f32
            %1, %2 = linear %0 [@a -> f32, @b -> f32] : [tokens, 41]f32, [tokens, 70]f32
            %3 = gather_rows %2, %outputs : [outputs, 70]f32
            %4 = gather_rows %1, %outputs : [outputs, 41]f32
            %5 = linear %3 [@c -> f32] : [outputs, 41]f32
            %6 = add %4, %5 : [outputs, 41]f32
            return %6"
        );
        let weights = format!("{weights}\nweight @c : [41, 70]f32");
        case(
            &format!("coded products of {k}"),
            graph(&weights, &body),
            OPERANDS,
        )
    });
    cases.into()
}

/// Every step of an epilogue, and outputs of every kind; rows of operands that end with a tile of outputs, and half a group
/// before theirs.
pub fn epilogues() -> Vec<Case> {
    let of = |gate: DType, m: u32, down: DType| {
        let weights = format!(
            "weight @e : [50, 64]f32\nweight @a : [32, 64]q4_0\nweight @bias : [32]f32\nweight @gate : [{m}, 64]{gate}\n\
             weight @up : [{m}, 64]{gate}\nweight @up2 : [{m}, 64]{gate}\nweight @down : [32, {m}]{down}\nweight @n : [32]f32"
        );
        let body = format!(
            "%0 = embed @e, %tok : [tokens, 64]f32
            %2, %3, %4 = linear %0 [
                @a {{bias(@bias), scale(0.5), act(silu), softcap(3.0)}} -> f32,
                @gate >< @up {{glu(gelu)}} -> f32,
                @gate >< @up2 {{glu(silu)}} -> f32
              ] : [tokens, 32]f32, [tokens, {m}]f32, [tokens, {m}]f32
            %5 = linear %3 [@down {{add(%2)}} -> f32] : [tokens, 32]f32
            %6 = linear %4 [@down {{act(gelu), add(%5)}} -> f32] : [tokens, 32]f32
            %7 = norm_add @n, %6, %2 {{eps = 1e-6}} : [tokens, 32]f32
            %8 = gather_rows %7, %outputs : [outputs, 32]f32
            return %8"
        );
        case(
            &format!("epilogues {gate} {m} {down}"),
            graph(&weights, &body),
            OPERANDS,
        )
    };
    vec![
        of(DType::Q5_0, 96, DType::Q5_1),
        of(DType::Q8_0, 80, DType::F16),
        of(DType::F16, 44, DType::Bf16),
        of(DType::F32, 36, DType::F16),
    ]
}

/// Products of steps of many rows: every step of an epilogue, outputs of every kind and width, inputs of whole steps and not.
pub fn wide() -> Vec<Case> {
    use DType::{Bf16, F16, Q4_0, Q4_1, Q4K, Q5K, Q6K, Q8_0};
    let of = |[a, b, c]: [DType; 3], k: u32, n: u32, m: u32, panels: Option<PanelsIn>| {
        let weights = format!(
            "weight @e : [50, {k}]f32\nweight @a : [{n}, {k}]{a}\nweight @bias : [{n}]f32\nweight @gate : [{m}, {k}]{b}\n\
             weight @up : [{m}, {k}]{b}\nweight @up2 : [{m}, {k}]{b}\nweight @down : [{n}, {m}]{c}"
        );
        let body = format!(
            "%7 = embed @e, %tok : [tokens, {k}]f32
            %0 = scale %7 {{by = 40.0}} : [tokens, {k}]f32
            %1, %2, %3 = linear %0 [
                @a {{bias(@bias), scale(0.5), act(silu), softcap(3.0)}} -> f32,
                @gate >< @up {{glu(gelu)}} -> f32,
                @gate >< @up2 {{glu(silu)}} -> f32
              ] : [tokens, {n}]f32, [tokens, {m}]f32, [tokens, {m}]f32
            %4 = linear %2 [@down {{scale(30.0), add(%1)}} -> f32] : [tokens, {n}]f32
            %5 = linear %3 [@down {{scale(30.0), act(gelu), add(%4)}} -> f32] : [tokens, {n}]f32
            %6 = gather_rows %5, %outputs : [outputs, {n}]f32
            return %6"
        );
        Case {
            steps: WIDE,
            panels,
            ..case(
                &format!("wide {a} {b} {c} {k} to {n} and {m}"),
                graph(&weights, &body),
                OPERANDS,
            )
        }
    };
    vec![
        of([Q4K, Q6K, Q8_0], 256, 136, 160, Some(PanelsIn::Memory)),
        of([F16, Bf16, F16], 72, 40, 320, Some(PanelsIn::Arena)),
        of([Q4_0, Q5K, Q4_1], 768, 514, 96, Some(PanelsIn::Arena)),
        of([F16, Q8_0, F16], 96, 41, 32, Some(PanelsIn::Memory)),
        // Blocks share elements.
        of([Q4K, Q6K, Q8_0], 2048, 520, 64, Some(PanelsIn::Memory)),
        of([F16, Q8_0, Q8_0], 64, 72, 2304, Some(PanelsIn::Memory)),
    ]
}

/// Products of steps of some rows: every step of an epilogue, outputs of every kind, strips of fewer tiles and strips that
/// blocks share, weights with minima beside some without.
pub fn streams() -> Vec<Case> {
    use DType::{Q2K, Q3K, Q4K, Q5K, Q6K};
    let of = |[a, b, c]: [DType; 3], k: u32, n: u32, m: u32| {
        let weights = format!(
            "weight @e : [50, {k}]f32\nweight @a : [{n}, {k}]{a}\nweight @bias : [{n}]f32\nweight @gate : [{m}, {k}]{b}\n\
             weight @up : [{m}, {k}]{b}\nweight @v : [{n}, {k}]{c}\nweight @down : [{n}, {m}]{c}"
        );
        let body = format!(
            "%6 = embed @e, %tok : [tokens, {k}]f32
            %0 = scale %6 {{by = 40.0}} : [tokens, {k}]f32
            %1, %2, %3 = linear %0 [
                @a {{bias(@bias), scale(0.5), act(silu), softcap(3.0)}} -> f32,
                @gate >< @up {{glu(gelu)}} -> f32,
                @v -> f32
              ] : [tokens, {n}]f32, [tokens, {m}]f32, [tokens, {n}]f32
            %4 = linear %2 [@down {{scale(30.0), add(%1)}} -> f32] : [tokens, {n}]f32
            %7 = add %4, %3 : [tokens, {n}]f32
            %5 = gather_rows %7, %outputs : [outputs, {n}]f32
            return %5"
        );
        Case {
            steps: SOME,
            ..case(
                &format!("stream {a} {b} {c} {k} to {n} and {m}"),
                graph(&weights, &body),
                OPERANDS,
            )
        }
    };
    vec![
        of([Q4K, Q6K, Q4K], 1024, 300, 256),
        of([Q6K, Q4K, Q6K], 1280, 250, 256),
        of([Q2K, Q5K, Q3K], 512, 257, 256),
    ]
}

/// Ops that work row by row.
pub fn rows() -> Vec<Case> {
    let weights =
        "weight @e : [50, 352]f16\nweight @w : [352]f32\nweight @v : [352]f32\nweight @a : [40, 352]q8_0";
    let body = "%0 = embed @e, %tok : [tokens, 352]f32
        %1 = rms_norm @w, %0 {eps = 1e-5} : [tokens, 352]f32
        %2 = scale %1 {by = 0.7} : [tokens, 352]f32
        %3 = softcap %2 {cap = 1.5} : [tokens, 352]f32
        %4 = act %3 {func = gelu} : [tokens, 352]f32
        %5 = act %3 {func = silu} : [tokens, 352]f32
        %6 = add %4, %5 : [tokens, 352]f32
        %7 = mul %6, %1 : [tokens, 352]f32
        %8 = dequant @v {order = natural, heads = 0, dims = 0} : [352]f32
        %9 = add %7, %8 : [tokens, 352]f32
        %10 = mul %9, %8 : [tokens, 352]f32
        %11 = rms_norm @w, %10 {eps = 1e-6} : [tokens, 352]f32
        %12 = linear %11 [@a -> f32] : [tokens, 40]f32
        %13 = gather_rows %12, %outputs : [outputs, 40]f32
        return %13";
    vec![case("rows", graph(weights, body), OPERANDS)]
}

/// A layer's attention: heads, KV heads, elements of a head, elements that turn, and what its scores go through.
struct Heads {
    heads: u32,
    kv_heads: u32,
    dim: u32,
    turn: u32,
    how: &'static str,
    types: [KvType; 2],
    steps: &'static [StepSpec],
}

fn attention_case(h: &Heads) -> Case {
    let (q, kv) = (h.heads * h.dim, h.kv_heads * h.dim);
    let weights = format!(
        "weight @e : [50, 64]f32\nweight @q : [{q}, 64]f16\nweight @k : [{kv}, 64]f16\nweight @v : [{kv}, 64]f16\n\
         weight @qn : [{}]f32\nweight @o : [33, {q}]f32\nweight @f : [{}]f32",
        h.dim,
        h.turn / 2
    );
    let turn = h.turn;
    let body = format!(
        "%0 = embed @e, %tok : [tokens, 64]f32
        %1, %2 = linear %0 [
            @q rope_half {{heads({}), head_norm(@qn, 1e-6), rope(%pos, half, {turn}, 10000.0, 1.0, 1.0, @f), scale(4.0)}} -> f32,
            @k rope_half {{heads({}), head_norm(@qn, 1e-6), rope(%pos, half, {turn}, 10000.0, 1.0, 1.0, @f)}} -> kv.k(0, %kv, %pos, %seq),
            @v {{heads({})}} -> kv.v(0, %kv, %pos, %seq)
          ] : [tokens, {}, {}]f32, kv
        %3 = attention.paged %1, %2, %pos, %seq {{layer = 0, kv_heads = {}, {}}} : [tokens, {q}]f32
        %4 = linear %3 [@o -> f32] : [tokens, 33]f32
        %5 = gather_rows %4, %outputs : [outputs, 33]f32
        return %5",
        h.heads, h.kv_heads, h.kv_heads, h.heads, h.dim, h.kv_heads, h.how
    );
    let [k, v] = h.types;
    let tolerance = match h.types {
        [KvType::F16, KvType::F16] | [KvType::F32, KvType::F32] => 1e-3,
        _ => 3e-2,
    };
    Case {
        name: format!("attention {}x{}x{} {k},{v} {}", h.heads, h.kv_heads, h.dim, h.how),
        steps: h.steps,
        panels: Some(PanelsIn::Memory),
        kv_types: KvTypes { k, v },
        ..case("", graph(&weights, &body), tolerance)
    }
}

/// Attention of many shapes, over every type of cache, with windows and soft caps.
pub fn attention() -> Vec<Case> {
    use KvType::{Bf16, F16, F32, Q8_0};
    let of = |heads, kv_heads, dim, turn, how, types, steps| {
        attention_case(&Heads {
            heads,
            kv_heads,
            dim,
            turn,
            how,
            types,
            steps,
        })
    };
    let plain = "scale = 0.25, cap = 0.0, window = 0";
    let window = "scale = 0.2, cap = 0.0, window = 9";
    let mild = "scale = 0.06, cap = 0.0, window = 0";
    let both = "scale = 0.3, cap = 5.0, window = 140";
    vec![
        of(4, 2, 16, 16, plain, [F16, F16], STEPS),
        of(3, 3, 20, 12, window, [F32, F32], STEPS),
        of(12, 1, 64, 64, both, [Bf16, Q8_0], LONG),
        of(7, 1, 80, 80, plain, [Q8_0, Bf16], LONG),
        of(4, 1, 256, 256, both, [F16, F16], LONG),
        of(2, 1, 128, 64, window, [F16, F32], LONG),
        of(1, 1, 36, 36, plain, [Q8_0, Q8_0], STEPS),
        of(4, 2, 16, 16, plain, [F16, F16], WIDE),
        of(3, 1, 32, 16, both, [Bf16, Q8_0], WIDE),
        of(2, 2, 64, 64, window, [F32, F16], WIDE),
        of(20, 1, 48, 32, both, [Q8_0, Bf16], WIDE),
        of(8, 2, 128, 128, mild, [F16, F16], WIDE),
        of(3, 1, 64, 32, both, [F16, F16], WIDE),
        of(2, 2, 64, 64, window, [F16, F16], WIDE),
    ]
}

/// Products of few rows that turn and store heads themselves: rows of few cells and of many, all of a head or some of it.
pub fn heads() -> Vec<Case> {
    use KvType::{Bf16, F16, F32, Q8_0};
    let of = |input: u32, heads: u32, kv_heads: u32, dim: u32, turn: u32, [k, v]: [KvType; 2]| {
        let (q, kv) = (heads * dim, kv_heads * dim);
        let weights = format!(
            "weight @e : [50, {input}]f32\nweight @q : [{q}, {input}]f16\nweight @k : [{kv}, {input}]q8_0\n\
             weight @v : [{kv}, {input}]f16\nweight @qb : [{q}]f32\nweight @kb : [{kv}]f32\nweight @o : [33, {q}]f32"
        );
        let body = format!(
            "%0 = embed @e, %tok : [tokens, {input}]f32
            %1, %2 = linear %0 [
                @q {{bias(@qb), heads({heads}), rope(%pos, adjacent, {turn}, 10000.0, 1.0, 1.0), scale(0.5)}} -> f32,
                @k {{bias(@kb), heads({kv_heads}), rope(%pos, adjacent, {turn}, 10000.0, 1.0, 1.0)}} -> kv.k(0, %kv, %pos, %seq),
                @v {{heads({kv_heads})}} -> kv.v(0, %kv, %pos, %seq)
              ] : [tokens, {heads}, {dim}]f32, kv
            %3 = attention.paged %1, %2, %pos, %seq {{layer = 0, kv_heads = {kv_heads}, scale = 0.2, cap = 0.0, window = 0}} : [tokens, {q}]f32
            %4 = linear %3 [@o -> f32] : [tokens, 33]f32
            %5 = gather_rows %4, %outputs : [outputs, 33]f32
            return %5"
        );
        let tolerance = if k == Bf16 || v == Q8_0 { 3e-2 } else { 1e-3 };
        Case {
            kv_types: KvTypes { k, v },
            ..case(
                &format!("heads {heads}x{kv_heads}x{dim} of {input} turn {turn} {k} {v}"),
                graph(&weights, &body),
                tolerance,
            )
        }
    };
    vec![
        of(1280, 4, 2, 64, 64, [F16, F16]),
        of(64, 3, 1, 32, 20, [F32, F32]),
        of(768, 2, 2, 16, 16, [Bf16, F16]),
        of(96, 4, 1, 48, 48, [F16, Q8_0]),
    ]
}

/// Rows as long as those of models of 8 billion weights.
pub fn large() -> Vec<Case> {
    let weights = "weight @e : [50, 4096]f32\nweight @n : [4096]f32\nweight @gate : [1024, 4096]q4_k\n\
                   weight @up : [1024, 4096]q4_k\nweight @down : [200, 1024]q6_k\nweight @w : [14336, 4096]q4_k\n\
                   weight @x : [200, 14336]q6_k";
    let body = "%0 = embed @e, %tok : [tokens, 4096]f32
        %1 = rms_norm @n, %0 {eps = 1e-5} : [tokens, 4096]f32
        %2 = linear %1 [@gate >< @up {glu(silu)} -> f32] : [tokens, 1024]f32
        %3 = linear %2 [@down -> f32] : [tokens, 200]f32
        %4 = linear %1 [@w -> f32] : [tokens, 14336]f32
        %5 = linear %4 [@x {add(%3)} -> f32] : [tokens, 200]f32
        %6 = gather_rows %5, %outputs : [outputs, 200]f32
        return %6";
    vec![case("large", graph(weights, body), OPERANDS)]
}

/// The layers of tiny models but the last one, which give hidden states of all rows.
pub fn parts() -> Vec<(Case, Model)> {
    let part = |(whole, model): (Case, Model)| {
        let layers = model.config.layers.len() as u32;
        let [mut first, _] = lathe_passes::cut(&model.graph, layers - 1).unwrap();
        lathe_passes::run_pipeline(&mut first, passes()).unwrap();
        let case = Case {
            name: format!("part of {}", whole.name),
            graph: first,
            steps: WIDE,
            output: ModelOutput::Hidden,
            ..whole
        };
        (case, model)
    };
    models().into_iter().map(part).collect()
}

/// Tiny models, with the weights of their files.
pub fn models() -> Vec<(Case, Model)> {
    let all = [
        (Family::Llama, DType::Q4K),
        (Family::Mistral, DType::Q8_0),
        (Family::Qwen2, DType::F16),
        (Family::Gemma3, DType::Q4_0),
    ];
    all.map(|(family, dtype)| model(family, dtype, ModelOutput::Logits))
        .into()
}

/// Tiny models that give embeddings.
pub fn embeddings() -> Vec<(Case, Model)> {
    let all = [(Family::Llama, DType::Q6K), (Family::Gemma3, DType::Q8_0)];
    all.map(|(family, dtype)| model(family, dtype, ModelOutput::Embeddings))
        .into()
}

fn model(family: Family, dtype: DType, output: ModelOutput) -> (Case, Model) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    TinyModel {
        context: 320,
        ..TinyModel::new(family).with_dtype(dtype)
    }
    .write(&path)
    .unwrap();
    let model = Model::load_for(&path, output).unwrap();
    let mut graph = model.graph.clone();
    lathe_passes::run_pipeline(&mut graph, passes()).unwrap();
    let case = Case {
        output,
        ..case(&format!("{output:?} of {family:?} {dtype}"), graph, MODELS)
    };
    (case, model)
}
