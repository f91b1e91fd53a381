//! Passes keep the meaning of graphs: tiny random models, also with values inside them as further outputs, which forbid
//! fusions over those values, are interpreted before and after every pass.

use lathe_frontend::Model;
use lathe_frontend::testing::{Family, TinyModel};
use lathe_ir::DType;
use lathe_ir::graph::interp::{Inputs, KvCache, eval};
use lathe_ir::graph::{Graph, Value};
use lathe_passes::{PipelineOptions, pipeline, run_passes};
use proptest::prelude::*;
use proptest::sample::Index;

/// Heads, KV heads and elements of a head; rows of attention are whole blocks of 32.
const HEADS: [(u32, u32, u32); 4] = [(4, 2, 16), (2, 1, 32), (4, 4, 8), (3, 1, 32)];
const TYPES: [DType; 4] = [DType::F32, DType::F16, DType::Q8_0, DType::Q4_0];

fn tiny(
    family: Family,
    seed: u64,
    weights: DType,
    (layers, heads): (u32, (u32, u32, u32)),
    width: u32,
) -> Model {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    let recipe = TinyModel {
        seed,
        layers,
        width,
        heads: heads.0,
        kv_heads: heads.1,
        head_dim: heads.2,
        ff: 64,
        ..TinyModel::new(family).with_dtype(weights)
    };
    recipe.write(&path).unwrap();
    Model::load(&path).unwrap()
}

/// The values inside the graph that could be outputs too.
fn inner(graph: &Graph) -> Vec<Value> {
    let results = graph.order.iter().flat_map(|&n| &graph.nodes[n].results);
    results
        .copied()
        .filter(|&v| graph.ty(v).dtype == DType::F32)
        .collect()
}

/// Every output of two steps, the second over what the first has cached: rows of two sequences, some without logits.
fn outputs(graph: &Graph, model: &Model) -> Vec<Vec<f32>> {
    let steps = [
        Inputs::batch(&[5, 9, 2, 7], &[0, 0, 1, 1], &[0, 1, 0, 1], &[3, 1]),
        Inputs::batch(&[11, 4], &[2, 2], &[1, 0], &[1]),
    ];
    let mut cache = KvCache::new();
    steps
        .iter()
        .flat_map(|step| eval(graph, &model.weights, step, &mut cache).unwrap())
        .map(|tensor| tensor.to_f32().unwrap())
        .collect()
}

/// The largest difference of two outputs, relative to the largest finite element of the second.
fn distance(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let largest = want
        .iter()
        .filter(|x| x.is_finite())
        .fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
    let apart = |(g, w): (&f32, &f32)| if g == w { 0.0 } else { (g - w).abs() / largest };
    got.iter().zip(want).map(apart).fold(
        0.0,
        |m, d| {
            if d.is_nan() { f32::INFINITY } else { f32::max(m, d) }
        },
    )
}

/// How far a pass may move an output. What fuses keeps every rounding; numbers that fold and sums in another order differ
/// in the last bits; int8 activations differ by what rounding to 127 steps adds up to over two layers.
fn tolerance(pass: &str) -> f32 {
    match pass {
        "fold-constants" | "rope-half" => 1e-5,
        "quantize-activations" => 0.2,
        _ => 0.0,
    }
}

/// Runs the pipeline pass by pass over the model's graph with further outputs.
fn check(model: &Model, exposed: &[Value]) -> Result<(), String> {
    let mut graph = model.graph.clone();
    graph.outputs.extend(exposed);
    let mut want = outputs(&graph, model);
    for pass in pipeline() {
        let before = graph.clone();
        let options = PipelineOptions {
            verify: true,
            ..PipelineOptions::default()
        };
        run_passes(&mut graph, &[*pass], options).map_err(|e| e.to_string())?;
        if graph == before {
            continue;
        }
        let got = outputs(&graph, model);
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            let far = distance(got, want);
            if far > tolerance(pass.name) {
                return Err(format!("{}: output {i} is {far:e} away", pass.name));
            }
        }
        want = got;
    }
    Ok(())
}

#[test]
fn every_pass_keeps_every_value_that_is_an_output_too() {
    for family in Family::ALL {
        let model = tiny(family, 1, DType::F16, (1, HEADS[0]), 64);
        for value in inner(&model.graph) {
            if let Err(error) = check(&model, &[value]) {
                panic!("{family:?} with {value}: {error}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 32, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn every_pass_keeps_the_meaning(
        family in prop::sample::select(&Family::ALL[..]),
        dtype in prop::sample::select(&TYPES[..]),
        heads in prop::sample::select(&HEADS[..]),
        width in prop::sample::select(&[32u32, 64, 96][..]),
        seed in any::<u64>(),
        picks in prop::collection::vec(any::<Index>(), 0..4),
    ) {
        let model = tiny(family, seed, dtype, (2, heads), width);
        let values = inner(&model.graph);
        let exposed: Vec<Value> = picks.iter().map(|pick| *pick.get(&values)).collect();
        prop_assert_eq!(check(&model, &exposed), Ok(()));
    }
}
