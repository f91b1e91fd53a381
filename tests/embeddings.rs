//! Embeddings: what is computed against the interpreter and a plain recomputation; that nothing else under way changes a
//! bit of them; the verb and its refusals.

mod support;

use lathe::build::{BuildOptions, Built, build, optimize};
use lathe::session::ModelVocabulary;
use lathe::{Embedder, Pooling};
use lathe_frontend::Model;
use lathe_frontend::testing::{Family, Rng};
use lathe_ir::DType;
use lathe_ir::graph::interp::{Inputs, KvCache, eval};
use lathe_ir::plan::{ModelOutput, Plan};
use lathe_runtime::{Embedding, EmbeddingRequest, Engine, Error, Event, Request, RequestId};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use support::{TinyFile, lathe, refusal, stdout};

const POOLINGS: [Pooling; 4] = [Pooling::None, Pooling::Mean, Pooling::Cls, Pooling::Last];

/// Bounds of an engine.
#[derive(Clone, Copy, Debug)]
struct Machine {
    seqs: u32,
    chunk: u32,
    kv_positions: u32,
    threads: usize,
}

/// One request at a time, whole.
const ALONE: Machine = Machine {
    seqs: 1,
    chunk: 128,
    kv_positions: 128,
    threads: 1,
};

const MACHINES: [Machine; 4] = [
    Machine {
        seqs: 1,
        chunk: 7,
        kv_positions: 128,
        threads: 2,
    },
    Machine {
        seqs: 8,
        chunk: 24,
        kv_positions: 192,
        threads: 2,
    },
    Machine {
        seqs: 32,
        chunk: 64,
        kv_positions: 2048,
        threads: 1,
    },
    Machine {
        seqs: 32,
        chunk: 1,
        kv_positions: 256,
        threads: 1,
    },
];

fn options(machine: Machine) -> BuildOptions {
    BuildOptions {
        threads: machine.threads,
        context: Some(128),
        chunk: machine.chunk,
        seqs: machine.seqs,
        kv_positions: Some(machine.kv_positions),
        ..BuildOptions::default()
    }
    .for_embeddings()
}

fn engine(path: &Path, machine: Machine) -> Engine {
    engine_of(build(path, &options(machine)).unwrap())
}

fn engine_of(built: Built) -> Engine {
    let vocabulary = ModelVocabulary::new(&built.text).unwrap();
    Engine::new(built.executable, Arc::new(vocabulary))
}

fn request(tokens: &[u32], pooling: Pooling, normalize: bool) -> EmbeddingRequest {
    EmbeddingRequest {
        tokens: tokens.to_vec(),
        pooling,
        normalize,
    }
}

fn embed(engine: &mut Engine, request: &EmbeddingRequest) -> Embedding {
    let mut all = engine.embed(std::slice::from_ref(request)).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// The squared error of `got`, relative to the squares of `want`.
fn nmse(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |x: f64| x * x;
    let pairs = got.iter().zip(want).map(|(&g, &w)| (f64::from(g), f64::from(w)));
    let (error, norm) = pairs.fold((0.0, 0.0), |(error, norm), (g, w)| {
        (error + square(g - w), norm + square(w))
    });
    error / norm
}

/// The rows of all tokens by the interpreter, of the graph as optimized or as the frontend built it.
fn interpreted(model: &Model, tokens: &[u32], optimized: bool) -> Vec<f32> {
    let graph = match optimized {
        true => optimize(&model.graph, true).unwrap(),
        false => model.graph.clone(),
    };
    let rows: Vec<u32> = (0..tokens.len() as u32).collect();
    let inputs = Inputs::batch(tokens, &rows, &vec![0; tokens.len()], &rows);
    let outputs = eval(&graph, &model.weights, &inputs, &mut KvCache::new()).unwrap();
    outputs[0].to_f32().unwrap()
}

#[test]
fn rows_are_those_of_the_interpreter() {
    let tokens: Vec<u32> = (0..19).map(|i| (i * 37 + 104) % 250).collect();
    for family in Family::ALL {
        for dtype in [DType::F32, DType::F16, DType::Q8_0, DType::Q4_0] {
            let file = TinyFile::new(family, dtype);
            let model = Model::load_for(&file.path, ModelOutput::Embeddings).unwrap();
            let mut engine = engine(&file.path, MACHINES[1]);
            let got = embed(&mut engine, &request(&tokens, Pooling::None, false));
            assert_eq!(
                (got.width, got.tokens, got.rows().len()),
                (model.config.width as usize, 19, 19)
            );
            // As for logits: a sum on the other side of a rounding boundary makes another code, or another f16 in the KV
            // cache, and then all rows after it differ. The first row has no such sum before it.
            let (bar, first) = match dtype.is_block_quantized() {
                true => (2e-3, 2e-3),
                false => (1e-7, 1e-11),
            };
            for optimized in [true, false] {
                let want = interpreted(&model, &tokens, optimized);
                let error = nmse(&got.values, &want);
                let of_first = nmse(&got.values[..got.width], &want[..got.width]);
                assert!(
                    error <= bar && of_first <= first,
                    "{family:?} {dtype}, {optimized}: nmse {error:.1e}, {of_first:.1e} of the first row"
                );
            }
        }
    }
}

/// The embedding that `pooling` makes of rows, by the definition.
fn pooled(rows: &[&[f32]], pooling: Pooling, normalize: bool) -> Vec<f32> {
    let mean = |column: usize| {
        let sum = rows.iter().fold(0.0, |sum, row| sum + f64::from(row[column]));
        (sum / rows.len() as f64) as f32
    };
    let pooled: Vec<Vec<f32>> = match pooling {
        Pooling::None => rows.iter().map(|row| row.to_vec()).collect(),
        Pooling::Mean => vec![(0..rows[0].len()).map(mean).collect()],
        Pooling::Cls => vec![rows[0].to_vec()],
        Pooling::Last => vec![rows[rows.len() - 1].to_vec()],
    };
    let scaled = pooled.into_iter().flat_map(|row| {
        let squares = row.iter().fold(0.0, |sum, &v| sum + f64::from(v) * f64::from(v));
        let length = if normalize { squares.sqrt() } else { 1.0 };
        row.into_iter().map(move |v| (f64::from(v) / length) as f32)
    });
    scaled.collect()
}

#[test]
fn pooling_is_what_its_name_says() {
    let tokens: Vec<u32> = (0..50).map(|i| (i * 31 + 20) % 250).collect();
    for family in Family::ALL {
        let file = TinyFile::new(family, DType::Q8_0);
        let mut engine = engine(&file.path, MACHINES[1]);
        let rows = embed(&mut engine, &request(&tokens, Pooling::None, false));
        let rows: Vec<&[f32]> = rows.rows().collect();
        for pooling in POOLINGS {
            for normalize in [false, true] {
                let got = embed(&mut engine, &request(&tokens, pooling, normalize));
                assert!(
                    got.values == pooled(&rows, pooling, normalize),
                    "{family:?}, {pooling}, {normalize}"
                );
            }
        }
    }
}

fn below(rng: &mut Rng, n: u64) -> u64 {
    rng.next_u64() % n
}

/// Texts that share prefixes, with every pooling.
fn requests(rng: &mut Rng) -> Vec<EmbeddingRequest> {
    let make = |number: u32| {
        let shared = [0, 31, 32, 33, 64, 80][below(rng, 6) as usize];
        let own = 1 + below(rng, 40) as u32;
        let mut tokens: Vec<u32> = (0..shared).map(|i| 10 + i * 7 % 200).collect();
        tokens.extend((0..own).map(|i| 20 + (i * 31 + number * 17) % 250));
        request(
            &tokens,
            POOLINGS[below(rng, 4) as usize],
            !number.is_multiple_of(3),
        )
    };
    (0..40).map(make).collect()
}

/// Submits requests in random order while steps run, cancels some, and returns what came of them.
fn play(engine: &mut Engine, all: &[EmbeddingRequest], rng: &mut Rng) -> Vec<(usize, Embedding)> {
    let mut to_come: Vec<usize> = (0..20).map(|_| below(rng, all.len() as u64) as usize).collect();
    let mut live: BTreeMap<RequestId, usize> = BTreeMap::new();
    let mut made = Vec::new();
    for step in 0.. {
        assert!(step < 20_000, "the trace does not end");
        for _ in 0..below(rng, 5) {
            if let Some(which) = to_come.pop() {
                live.insert(engine.submit_embedding(all[which].clone()).unwrap(), which);
            }
        }
        if below(rng, 15) == 0 && !live.is_empty() {
            let at = below(rng, live.len() as u64) as usize;
            engine.cancel(*live.keys().nth(at).unwrap());
        }
        let more = engine.step(&mut |id, event| {
            let Event::Embedding { result } = event else {
                panic!("{event:?}")
            };
            let which = live.remove(&id).expect("a request ends once");
            match result {
                Ok(embedding) => made.push((which, embedding)),
                Err(error) => assert_eq!(error, Error::Cancelled),
            }
            true
        });
        if !more && to_come.is_empty() {
            break;
        }
    }
    assert!(live.is_empty() && engine.is_idle());
    made
}

#[test]
fn an_embedding_is_the_same_bits_in_any_company() {
    let mut compared = 0;
    for (n, family) in Family::ALL.into_iter().enumerate() {
        let dtype = [DType::F32, DType::Q8_0][n % 2];
        let file = TinyFile::new(family, dtype);
        let mut rng = Rng::new(77 + n as u64);
        let all = requests(&mut rng);
        let mut alone = engine(&file.path, ALONE);
        let want: Vec<Embedding> = all
            .iter()
            .map(|request| {
                alone.reset();
                embed(&mut alone, request)
            })
            .collect();
        for machine in MACHINES {
            let mut engine = engine(&file.path, machine);
            for _ in 0..10 {
                for (which, embedding) in play(&mut engine, &all, &mut rng) {
                    assert!(
                        embedding == want[which],
                        "{family:?}, {machine:?}, request {which}: {:?}",
                        all[which].pooling
                    );
                    compared += 1;
                }
            }
            let together = engine.embed(&all).unwrap();
            assert!(together == want, "{family:?}, {machine:?}: all at once");
        }
    }
    assert!(compared > 2000, "{compared} embeddings compared");
}

#[test]
fn nothing_of_the_head_is_compiled_or_packed() {
    for family in Family::ALL {
        let file = TinyFile::new(family, DType::Q8_0);
        let bytes = |options: &BuildOptions| {
            build(&file.path, options)
                .unwrap()
                .executable
                .report()
                .weight_bytes
        };
        let plan = |output, options: &BuildOptions| {
            let model = Model::load_for(&file.path, output).unwrap();
            lathe::build::plan(&model, options).unwrap()
        };
        let (for_logits, for_embeddings) =
            (BuildOptions::default(), BuildOptions::default().for_embeddings());
        let logits = plan(ModelOutput::Logits, &for_logits);
        let embeddings = plan(ModelOutput::Embeddings, &for_embeddings);
        let sections =
            |plan: &Plan| -> Vec<String> { plan.sections.values().map(|s| s.weight.clone()).collect() };
        let (with, without) = (sections(&logits), sections(&embeddings));
        let head = |names: &[String]| names.iter().any(|name| name == "output");
        assert!(!head(&without), "{family:?}: {without:?}");
        if head(&with) {
            assert!(bytes(&for_embeddings) < bytes(&for_logits));
        }
        assert_eq!(embeddings.steps.len() + 1, logits.steps.len(), "{family:?}");
        let (plan, vocab) = (embeddings, logits.vocab);
        assert_eq!((plan.gives(), plan.vocab), (ModelOutput::Embeddings, vocab));
        assert_eq!((plan.width(), logits.width()), (64, vocab));
        let text = plan.to_string();
        assert!(text.contains("\n  embedding 64\n"), "{text}");
        assert_eq!(lathe_ir::plan::parse::parse(&text).unwrap().to_string(), text);
    }
}

#[test]
fn an_engine_refuses_what_it_was_not_compiled_for() {
    let file = TinyFile::new(Family::Llama, DType::F32);
    let mut embedder = engine(&file.path, ALONE);
    let generation = Request {
        prompt: vec![1, 2],
        ..Request::default()
    };
    let message = embedder.submit(generation.clone()).unwrap_err().to_string();
    assert_eq!(message, "the model is compiled for embeddings: it gives no text");
    let mut writer = engine_of(build(&file.path, &BuildOptions::default()).unwrap());
    let message = writer.submit_embedding(request(&[1], Pooling::Last, true));
    assert_eq!(
        message.unwrap_err().to_string(),
        "the model is compiled for text: it gives no embeddings"
    );
    for (tokens, part) in [
        (vec![], "is empty"),
        (vec![7; 129], "the context holds 128"),
        (vec![5, 1 << 20], "token 1 of the prompt is 1048576"),
    ] {
        let bad = [
            request(&[1], Pooling::Mean, true),
            request(&tokens, Pooling::Mean, true),
        ];
        let message = embedder.embed(&bad).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
        assert!(embedder.is_idle(), "nothing is computed where one is refused");
    }
}

/// The numbers of a line of the verb.
fn numbers(line: &str) -> Vec<f32> {
    line.split(' ').map(|number| number.parse().unwrap()).collect()
}

#[test]
fn the_verb_prints_what_the_library_gives() {
    let file = TinyFile::new(Family::Gemma3, DType::Q8_0);
    let texts = ["the cat sat", "a dog", "the cat sat on the mat"];
    let mut embedder = Embedder::new(build(&file.path, &options(ALONE)).unwrap()).unwrap();
    assert_eq!(embedder.pooling(), Pooling::Last);
    let want = embedder.embed(&texts).unwrap();
    let out = stdout(&[&["embed", file.model()], &texts[..]].concat());
    let got: Vec<Vec<f32>> = out.lines().map(numbers).collect();
    assert!(got.iter().eq(want.iter().map(|e| &e.values)), "{out}");
    let length = got[0].iter().map(|v| v * v).sum::<f32>();
    assert!((length - 1.0).abs() < 1e-5, "{length}");

    let lines = file.beside("lines.txt");
    std::fs::write(&lines, texts.join("\n") + "\n").unwrap();
    let lines = lines.to_str().unwrap();
    assert_eq!(
        stdout(&["embed", file.model(), "--file", lines, "--chunk", "3"]),
        out
    );

    let mut embedder = embedder.with_pooling(Pooling::Mean).with_normalize(false);
    let want = embedder.embed(&texts).unwrap();
    let arguments = [
        "embed",
        file.model(),
        "--file",
        lines,
        "--pooling",
        "mean",
        "--no-normalize",
        "--json",
    ];
    let out = stdout(&arguments);
    for ((index, line), want) in out.lines().enumerate().zip(&want) {
        let object: Value = serde_json::from_str(line).unwrap();
        let values: Vec<f32> = serde_json::from_value(object["embedding"].clone()).unwrap();
        assert_eq!(
            (object["index"].as_u64(), object["tokens"].as_u64()),
            (Some(index as u64), Some(want.tokens as u64))
        );
        assert!(values == want.values, "{line}");
    }
    assert_eq!(out.lines().count(), 3);

    let out = stdout(&["embed", file.model(), "the cat", "a", "--pooling", "none"]);
    let rows: Vec<usize> = out
        .split("\n\n")
        .map(|text| text.trim().lines().count())
        .collect();
    let tokens = |text| {
        stdout(&["tokenize", file.model(), text])
            .split_whitespace()
            .count()
    };
    assert_eq!(rows, [tokens("the cat"), tokens("a")]);
    let object = stdout(&["embed", file.model(), "a", "--pooling", "none", "--json"]);
    let object: Value = serde_json::from_str(&object).unwrap();
    assert_eq!(object["embedding"].as_array().unwrap().len(), tokens("a"));
}

#[test]
fn bad_input_gets_one_line() {
    let file = TinyFile::new(Family::Llama, DType::F32);
    let lines = file.beside("lines.txt");
    std::fs::write(&lines, "one\n\nthree\n").unwrap();
    let empty = file.beside("empty.txt");
    std::fs::write(&empty, "").unwrap();
    let long = "word ".repeat(400);
    let cases: [(&[&str], &str); 4] = [
        (
            &["--file", lines.to_str().unwrap()],
            "line 2: the prompt is empty",
        ),
        (&["--file", empty.to_str().unwrap()], "no line"),
        (&["fine", &long], "text 2: the prompt has"),
        (&["--file", "nowhere.txt"], "can't be read"),
    ];
    for (arguments, part) in cases {
        let message = refusal(&[&["embed", file.model()], arguments].concat(), 2);
        assert!(message.contains(part), "{message}");
    }
    let pooling = lathe()
        .args(["embed", file.model(), "a", "--pooling", "max"])
        .output()
        .unwrap();
    assert_eq!(pooling.status.code(), Some(2));
    let message = String::from_utf8(pooling.stderr).unwrap();
    assert!(message.contains("none, mean, cls, last"), "{message}");
}

#[test]
fn a_plan_is_for_one_of_them() {
    let file = TinyFile::new(Family::Qwen2, DType::Q8_0);
    let (cache, folder) = (file.beside("cache"), file.beside("plan"));
    let folder = folder.to_str().unwrap();
    let run = |arguments: &[&str]| {
        let out = support::lathe_with_cache(&cache)
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (out.status.code(), text(out.stdout), text(out.stderr))
    };
    let (status, report, _) = run(&["compile", file.model(), "--embeddings", "-o", folder, "--json"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((status, &report["embeddings"]), (Some(0), &Value::Bool(true)));
    let (_, want, _) = run(&["embed", file.model(), "the cat"]);
    assert_eq!(run(&["embed", folder, "the cat"]), (Some(0), want, String::new()));
    let (status, plans, _) = run(&["cache", "list"]);
    assert!(
        status == Some(0) && plans.contains("embeddings (last)"),
        "{plans}"
    );
    assert_eq!(
        plans.matches("  plan ").count(),
        1,
        "the verb found what was compiled: {plans}"
    );

    let (status, _, message) = run(&["run", folder, "-p", "the"]);
    assert_eq!((status, message.lines().count()), (Some(2), 1), "{message}");
    assert!(
        message.contains("compiled for its output as embeddings, not logits"),
        "{message}"
    );
    // The same model has a plan of its own for text.
    assert_eq!(
        run(&["run", file.model(), "-p", "the", "-n", "2", "-q"]).0,
        Some(0)
    );
    let (_, plans, _) = run(&["cache", "list"]);
    assert_eq!(plans.matches("  plan ").count(), 2, "{plans}");
    let (_, plan, _) = run(&["inspect", file.model(), "--embeddings", "--stage", "plan"]);
    assert!(
        plan.contains("\n  embedding 64\n") && !plan.contains("@output "),
        "{plan}"
    );
}
