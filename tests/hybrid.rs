//! Models cut between two layers, each part an executable of its own: they give the bits of the whole, wherever they are
//! cut. Both parts run on the processor here, where the arithmetic is the same.

mod support;

use lathe::build::{BuildError, BuildOptions, Cut, Device, Windows, build};
use lathe::session::ModelVocabulary;
use lathe_frontend::testing::{Family, TinyModel};
use lathe_ir::DType;
use lathe_ir::backend::{Batch, Executable};
use lathe_runtime::sampling::TokenLogprob;
use lathe_runtime::{Engine, Evaluator, Event, Request, RequestId, SamplingParams, SwapWhen};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::{TinyFile, json, refusal, stdout};

/// Families with the types of their matrices, whose products round differently.
const MODELS: [(Family, DType); 5] = [
    (Family::Llama, DType::Q4_0),
    (Family::Mistral, DType::F32),
    (Family::Qwen2, DType::Q8_0),
    (Family::Gemma3, DType::Q8_0),
    (Family::Gemma3, DType::F16),
];

/// A tiny model of a few layers, in a folder.
fn tiny(folder: &Path, family: Family, dtype: DType) -> (PathBuf, u32) {
    let model = TinyModel::new(family).with_dtype(dtype);
    let model = TinyModel {
        layers: model.layers.max(3),
        context: 640,
        ..model
    };
    let path = folder.join(format!("{family:?}-{dtype}.gguf"));
    model.write(&path).unwrap();
    (path, model.layers)
}

/// The whole model, or the same cut after some layers.
fn options(layers: Option<u32>) -> BuildOptions {
    BuildOptions {
        cut: layers.map(|layers| Cut {
            layers,
            device: Device::Cpu,
        }),
        threads: 2,
        context: Some(640),
        chunk: 64,
        seqs: 3,
        outputs: 8,
        kv_positions: Some(1280),
        windows: Windows::All,
        verify: true,
        ..BuildOptions::default()
    }
}

fn executable(path: &Path, options: &BuildOptions) -> Box<dyn Executable> {
    build(path, options).unwrap().executable
}

fn bits(row: &[f32]) -> Vec<u32> {
    row.iter().map(|x| x.to_bits()).collect()
}

/// Prompts of several sequences in chunks, some rows of each step without a result, a block that is copied for a sequence
/// that goes on from it, and single rows; the bits of all results.
fn play(executable: &mut dyn Executable) -> Vec<Vec<u32>> {
    let width = executable.limits().blocks_per_seq() as usize;
    let mut tables = vec![0; 3 * width];
    for (seq, table) in tables.chunks_mut(width).enumerate() {
        let blocks = (0..4).map(|i| (i * 3 + seq as u32) % 12);
        table.iter_mut().zip(blocks).for_each(|(to, block)| *to = block);
    }
    let mut results = Vec::new();
    let mut step = |executable: &mut dyn Executable, rows: &[(u32, u32)], outputs: &[u32]| {
        let column = |of: fn(&(u32, u32)) -> u32| rows.iter().map(of).collect::<Vec<_>>();
        let (seqs, positions) = (column(|r| r.0), column(|r| r.1));
        // The third sequence repeats the first one's beginning.
        let tokens = column(|&(seq, at)| (at * 37 + if seq == 1 { 5 } else { 11 }) % 250);
        let batch = Batch {
            tokens: &tokens,
            positions: &positions,
            seqs: &seqs,
            outputs,
            block_tables: &tables,
            window_tables: &[],
        };
        results.push(bits(executable.run(&batch).unwrap()));
        assert_eq!(results.last(), Some(&bits(executable.output())));
    };
    let rows = |seq: u32, range: std::ops::Range<u32>| range.map(move |at| (seq, at));
    step(executable, &rows(0, 0..33).collect::<Vec<_>>(), &[]);
    let both: Vec<_> = rows(0, 33..40).chain(rows(1, 0..50)).collect();
    step(executable, &both, &[56, 6, 5]);
    // Block 0 of the first sequence becomes that of the third, whose own number is 2.
    executable.copy_block(tables_block(0), tables_block(2)).unwrap();
    step(executable, &rows(2, 32..35).collect::<Vec<_>>(), &[2]);
    step(executable, &[(0, 40), (1, 50), (2, 35)], &[0, 1, 2]);
    step(executable, &[(1, 51)], &[0]);
    results
}

/// The first block of a sequence in the tables of [`play`].
fn tables_block(seq: u32) -> u32 {
    seq
}

#[test]
fn parts_give_the_bits_of_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    for (family, dtype) in MODELS {
        let (path, layers) = tiny(folder.path(), family, dtype);
        let want = play(executable(&path, &options(None)).as_mut());
        assert!(want[1].len() > 3 && want[1].iter().any(|&x| x != 0));
        // Cut after no layer or after the last, it is one executable.
        for cut in 0..=layers {
            let got = play(executable(&path, &options(Some(cut))).as_mut());
            assert!(
                got == want,
                "{family:?} {dtype}: cut after layer {cut}, it differs"
            );
        }
    }
}

/// Layers with a sliding window have few blocks of their own in one part, in both, or in none, as the cut decides.
#[test]
fn long_prompts_through_windows_give_the_bits_of_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (path, layers) = tiny(folder.path(), Family::Gemma3, DType::Q8_0);
    let tokens: Vec<u32> = (0..590).map(|i| (i * 37 + 11) % 250).collect();
    let run = |cut: Option<u32>, chunk: u32| {
        let options = BuildOptions {
            chunk,
            windows: Windows::Blocks(0),
            ..options(cut)
        };
        let executable = executable(&path, &options);
        let windows = executable.windows();
        let mut evaluator = Evaluator::new(executable);
        evaluator.begin(&tokens).unwrap();
        (bits(evaluator.forward().unwrap()), windows)
    };
    let want = run(None, 64);
    assert!(want.1.is_some_and(|pool| pool.blocks < 20), "few blocks");
    for (cut, chunk) in (1..layers).map(|cut| (cut, [64, 7][cut as usize % 2])) {
        let (got, windows) = run(Some(cut), chunk);
        assert!(got == want.0, "cut after layer {cut}, in steps of {chunk}");
        assert_eq!(windows.is_some(), want.1.is_some(), "cut after layer {cut}");
    }
}

/// Tokens that requests get, with the bits of their log-probabilities: texts with choices that fork, sequences that give way and come back, with prefixes that are found.
fn answers(path: &Path, options: &BuildOptions) -> BTreeMap<(RequestId, u32), Vec<(u32, u32)>> {
    let built = build(path, options).unwrap();
    let vocabulary = Arc::new(ModelVocabulary::new(&built.text).unwrap());
    let swap = 40 * built.executable.block_bytes().unwrap();
    let mut engine = Engine::new(built.executable, vocabulary).with_swap_space(swap, SwapWhen::Always);
    for number in 0..12u32 {
        let shared = (0..40).map(|i| (i * 7 + number % 2) % 250);
        let own = (0..number * 5 % 23).map(|i| (i * 11 + number) % 250);
        let request = Request {
            prompt: shared.chain(own).collect(),
            max_tokens: Some(30 + number as usize),
            ignore_stop_tokens: true,
            choices: 1 + number % 3,
            logprobs: Some(0),
            sampling: SamplingParams {
                temperature: 1.0,
                seed: number.into(),
                ..SamplingParams::default()
            },
            ..Request::default()
        };
        engine.submit(request).unwrap();
    }
    let mut done = BTreeMap::new();
    while engine.step(&mut |id, event| {
        match event {
            Event::Token { choice, logprobs } => {
                let TokenLogprob { token, logprob } = logprobs.picked;
                let tokens: &mut Vec<_> = done.entry((id, choice)).or_default();
                tokens.push((token, logprob.to_bits()));
            }
            Event::Done { result, .. } => _ = result.unwrap(),
            _ => {}
        }
        true
    }) {}
    done
}

#[test]
fn requests_get_what_the_whole_gives() {
    let folder = tempfile::tempdir().unwrap();
    for (family, cut) in [(Family::Llama, 1), (Family::Gemma3, 2), (Family::Gemma3, 5)] {
        let (path, _) = tiny(folder.path(), family, DType::Q8_0);
        let options = |cut| BuildOptions {
            context: Some(128),
            chunk: 24,
            seqs: 8,
            outputs: 12,
            // So few blocks that sequences give way.
            kv_positions: Some(256),
            windows: Windows::Blocks(0),
            ..options(cut)
        };
        let want = answers(&path, &options(None));
        assert_eq!(want.len(), 24);
        assert!(
            answers(&path, &options(Some(cut))) == want,
            "{family:?} cut after {cut}"
        );
    }
}

#[test]
fn reports_are_of_both_parts() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = tiny(folder.path(), Family::Gemma3, DType::Q8_0);
    let whole = executable(&path, &options(None));
    let parts = executable(&path, &options(Some(2)));
    let report = parts.report();
    assert_eq!(report.kv_bytes, whole.report().kv_bytes);
    assert_eq!(parts.block_bytes(), whole.block_bytes());
    let target = &report.target;
    assert!(
        target.contains("layers 0-1: ") && target.contains("; layers 2-5: "),
        "{target}"
    );
    let stage = |part: &str| {
        report
            .stages
            .iter()
            .any(|(name, _)| name.starts_with("pack") && name.ends_with(part))
    };
    assert!(
        stage(", layers 0-1") && stage(", layers 2-5"),
        "{:?}",
        report.stages
    );
}

#[test]
fn what_cant_be_cut_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, layers) = tiny(folder.path(), Family::Llama, DType::F32);
    let error = |options: &BuildOptions| build(&path, options).err().map(|e: BuildError| e.to_string());
    assert_eq!(
        error(&options(Some(layers + 1))).unwrap(),
        "4 layers on the GPU are more than the model's 3"
    );
    let error = error(&options(Some(1)).for_embeddings()).unwrap();
    assert!(error.contains("embeddings are made by whole models"), "{error}");
}

#[test]
fn the_command_places_layers() {
    let file = TinyFile::new(Family::Llama, DType::Q8_0);
    let model = file.model();
    let run = ["run", model, "-p", "the cat", "-n", "8", "-q", "--ctx", "128"];
    let with = |more: &[&'static str]| [&run[..], more].concat();
    // No layer on the GPU is the processor's plan.
    assert_eq!(
        stdout(&with(&["--device", "cuda", "--gpu-layers", "0"])),
        stdout(&run)
    );
    let line = refusal(&with(&["--device", "cuda", "--gpu-layers", "3"]), 2);
    assert!(
        line.contains("3 layers on the GPU are more than the model's 2"),
        "{line}"
    );
    let line = refusal(&with(&["--gpu-layers", "1"]), 2);
    assert!(line.contains("--gpu-layers 1 goes with --device cuda"), "{line}");
    let hybrid = ["--device", "cuda", "--gpu-layers", "1"];
    let compile = [&["compile", model], &hybrid[..]].concat();
    assert!(refusal(&compile, 2).contains("leave out --gpu-layers"));
    let inspect = [&["inspect", model, "--stage", "plan"], &hybrid[..]].concat();
    assert!(refusal(&inspect, 2).contains("leave out --gpu-layers"));
    let embed = [&["embed", model, "the cat"], &hybrid[..]].concat();
    assert!(refusal(&embed, 2).contains("leave out --gpu-layers"));
    if lathe_codegen_cuda::driver::Gpu::open().is_err() {
        let cuda = refusal(&with(&["--device", "cuda"]), 2);
        assert!(cuda.contains("CUDA"), "{cuda}");
        assert_eq!(refusal(&with(&hybrid), 2), cuda);
        assert_eq!(
            refusal(&with(&["--device", "cuda", "--gpu-layers", "2"]), 2),
            cuda
        );
        return;
    }
    let bench = ["bench", model, "-p", "8", "-n", "8", "--json"];
    let report = json(&[&bench[..], &hybrid[..]].concat());
    assert!(
        report["target"].as_str().unwrap().contains("layer 1: "),
        "{report}"
    );
}
