//! Plans for GPUs where there is none: their text, their memory, and code of kernels that is kept.
//!
//! What NVRTC compiles is skipped where `LATHE_NVRTC` does not name its folder.

mod support;

use lathe_frontend::testing::Family;
use lathe_ir::DType;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::{TinyFile, json, lathe, lathe_with_cache, refusal, stdout};

/// A plan for a GPU that is not at hand.
const GPU: [&str; 4] = ["--device", "cuda", "--gpu-arch", "sm_90"];
/// A context in which steps have enough rows for weights to be wanted as panels too.
const CTX: [&str; 2] = ["--ctx", "128"];

fn tiny() -> TinyFile {
    TinyFile::new(Family::Llama, DType::Q4K)
}

fn inspect<'a>(file: &'a TinyFile, more: &[&'a str]) -> Vec<&'a str> {
    [&["inspect", file.model()], more].concat()
}

fn has_nvrtc(test: &str) -> bool {
    let there = std::env::var_os("LATHE_NVRTC").is_some();
    if !there {
        eprintln!("skipped: {test} (LATHE_NVRTC names no folder with NVRTC)");
    }
    there
}

#[test]
fn kernels_have_texts_and_launches() {
    let file = tiny();
    let cuda = |more: &[&'static str]| [&["--stage", "cuda"], &CTX[..], more].concat();
    let kernels = json(&inspect(
        &file,
        &cuda(&["--format", "json", "--gpu-arch", "sm_90"]),
    ));
    let kernels = kernels.as_array().unwrap();
    let plan = stdout(&inspect(&file, &[&["--stage", "plan"], &GPU[..], &CTX].concat()));
    let names: BTreeSet<&str> = kernels.iter().map(|k| k["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), kernels.len(), "each kernel once");
    for kernel in kernels {
        let (name, text) = (kernel["name"].as_str().unwrap(), kernel["text"].as_str().unwrap());
        assert!(
            text.contains(&format!("{name}(")) && text.contains("__global__"),
            "{text}"
        );
        assert!(plan.contains(&format!("{name}(")), "{name} is in the plan");
        assert!(
            !kernel["launches"].as_array().unwrap().is_empty(),
            "{name} is launched"
        );
    }
    // The whole is one source.
    let text = stdout(&inspect(&file, &cuda(&["--gpu-arch", "sm_80"])));
    assert!(text.starts_with("// ") && text.contains("sm_80 (A100): 108 multiprocessors"));
    assert!(text.contains("#define DEV"), "what stands before the kernels");
    assert_ne!(text, stdout(&inspect(&file, &cuda(&["--gpu-arch", "sm_90"]))));
    let one = stdout(&inspect(&file, &cuda(&["--kernel", "embed"])));
    assert!(one.matches("__global__").count() == 1 && !one.contains("#define DEV"));
}

#[test]
fn what_gpus_do_not_have_is_refused() {
    let file = tiny();
    let refused = |more: &[&str]| refusal(&inspect(&file, more), 2);
    let line = refused(&["--stage", "cuda", "--kernel", "nothing"]);
    assert!(line.contains("no kernel's name contains `nothing`"), "{line}");
    let line = refused(&["--stage", "asm", "--device", "cuda"]);
    assert!(line.contains("the stages plan, memory, cuda and ptx"), "{line}");
    let wrong = support::run(&inspect(&file, &["--stage", "cuda", "--gpu-arch", "sm_70"]));
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("sm_80, sm_86"));
}

#[test]
fn embeddings_have_plans() {
    let file = tiny();
    let plan = |more: &[&str]| stdout(&inspect(&file, &[&["--stage", "plan"], &GPU[..], more].concat()));
    let (text, embeddings) = (plan(&[]), plan(&["--embeddings"]));
    assert!(
        text.contains("\"linear @token_embd\"")
            && text.contains("largest_320(")
            && !text.contains("embedding ")
    );
    // Each row of a step may be wanted, and nothing makes logits of one.
    assert!(
        embeddings.contains("\n  embedding 256\n") && !embeddings.contains("\"linear @token_embd\""),
        "{embeddings}"
    );
    assert!(!embeddings.contains("largest_"));
}

#[test]
fn memory_is_planned_before_anything_is_loaded() {
    let file = tiny();
    let memory = |more: &[&str]| {
        json(&inspect(
            &file,
            &[&["--stage", "memory", "--format", "json"], &GPU[..], more].concat(),
        ))
    };
    let bytes = |plan: &Value, key: &str| plan[key].as_u64().unwrap();
    let plan = memory(&["--gpu-memory", "1G", "--ctx", "128"]);
    let parts =
        ["weights", "panels", "kv", "buffers", "reserve"].map(|part| bytes(&plan, &format!("{part}_bytes")));
    assert_eq!(parts.iter().sum::<u64>(), bytes(&plan, "total_bytes"));
    assert!(parts.iter().all(|&part| part > 0), "{plan}");
    assert_eq!(bytes(&plan, "kv_positions"), 128);
    // Twice the context takes twice the memory, and what is said to fit does.
    let twice = memory(&["--ctx", "256"]);
    assert_eq!(bytes(&twice, "kv_bytes"), 2 * bytes(&plan, "kv_bytes"));
    // No room for panels: weights are laid out in the arena.
    let without = (bytes(&plan, "total_bytes") - 1).to_string();
    let tight = memory(&["--gpu-memory", &without, "--ctx", "128"]);
    assert_eq!(bytes(&tight, "panels_bytes"), 0);
    assert!(bytes(&tight, "total_bytes") < bytes(&plan, "total_bytes"));
    let least = bytes(&tight, "total_bytes");
    memory(&["--gpu-memory", &least.to_string(), "--ctx", "128"]);
    // One byte less is refused, in numbers, by compile too.
    let less = (least - 1).to_string();
    let more = [&GPU[..], &CTX, &["--gpu-memory", &less]].concat();
    for args in [
        inspect(&file, &[&["--stage", "memory"], &more[..]].concat()),
        [&["compile", file.model(), "--json"], &more[..]].concat(),
    ] {
        let cache = file.beside("cache");
        let out = lathe_with_cache(&cache).args(&args).output().unwrap();
        let line = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2), "{line}");
        assert!(
            line.starts_with("lathe: the CUDA device has ")
                && line.contains("MiB of KV cache, 25")
                && line.lines().count() == 1,
            "{line}"
        );
    }
}

#[test]
fn ptx_is_made_without_a_gpu() {
    let file = tiny();
    let args = inspect(
        &file,
        &[
            "--stage",
            "ptx",
            "--ctx",
            "64",
            "--kernel",
            "embed",
            "--gpu-arch",
            "sm_80",
        ],
    );
    if !has_nvrtc("ptx_is_made_without_a_gpu") {
        return;
    }
    let ptx = stdout(&args);
    assert!(
        ptx.contains(".target sm_80") && ptx.contains(".visible .entry embed_"),
        "{ptx}"
    );
    // Where there is no compiler, a line says so.
    let out = lathe()
        .args(&args)
        .env("LATHE_NVRTC", file.beside("none"))
        .output()
        .unwrap();
    if !out.status.success() {
        let line = String::from_utf8(out.stderr).unwrap();
        assert!(line.contains("NVRTC") && line.lines().count() == 1, "{line}");
        assert_eq!(out.status.code(), Some(2));
    }
}

/// A model and a cache, in which its kernels are compiled.
struct Kept(TinyFile);

impl Kept {
    fn command(&self) -> Command {
        lathe_with_cache(&self.0.beside("cache"))
    }

    /// What compiling says; and stderr.
    fn compile(&self, change: impl FnOnce(&mut Command)) -> (Value, String) {
        let mut command = self.command();
        command
            .args(["compile", self.0.model(), "--json"])
            .args(GPU)
            .env("LATHE_CTX", "128");
        change(&mut command);
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert!(status.success(), "{stderr}");
        (serde_json::from_slice(&stdout).unwrap(), stderr)
    }

    fn compiled(&self, change: impl FnOnce(&mut Command)) -> (u64, String) {
        let (object, stderr) = self.compile(change);
        (object["compiled"].as_u64().unwrap(), stderr)
    }

    fn folder(&self) -> PathBuf {
        self.0.beside("cache").join("compiled/kernels")
    }

    fn entries(&self) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = fs::read_dir(self.folder())
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        found.sort();
        found
    }
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn kernels_are_compiled_once() {
    if !has_nvrtc("kernels_are_compiled_once") {
        return;
    }
    let kept = Kept(tiny());
    let (first, _) = kept.compile(|_| ());
    let kernels = first["kernels"].as_u64().unwrap();
    assert_eq!(first["compiled"], kernels);
    assert_eq!(kept.entries().len() as u64, kernels);
    let cubins = || -> Vec<Vec<u8>> {
        kept.entries()
            .iter()
            .map(|e| fs::read(e.join("cubin")).unwrap())
            .collect()
    };
    let before = cubins();
    assert!(before.iter().all(|c| c.starts_with(b"\x7fELF")));
    // The second time nothing is, and the compiler is not even wanted.
    assert_eq!(kept.compiled(|_| ()).0, 0);
    let none = kept.0.beside("none");
    assert_eq!(kept.compiled(|c| _ = c.env("LATHE_NVRTC", &none)).0, 0);
    assert_eq!(kept.compile(|_| ()).0["code_bytes"], first["code_bytes"]);

    // Plans share what they have in common.
    let (longer, _) = kept.compile(|c| _ = c.args(["--ctx", "256"]));
    let (all, new) = (
        longer["kernels"].as_u64().unwrap(),
        longer["compiled"].as_u64().unwrap(),
    );
    assert!(0 < new && new < all, "{new} of {all}");
    let (other, _) = kept.compile(|c| _ = c.env("LATHE_GPU_ARCH", "sm_80"));
    assert_eq!(other["compiled"], 0, "the flag has the last word");

    // What is damaged is found, set aside and made anew, whatever part it is.
    let entries = kept.entries();
    for name in ["cubin", "manifest"] {
        flip(&entries[0].join(name));
        let (compiled, stderr) = kept.compiled(|_| ());
        let mine = compiled == 1;
        assert!(mine == stderr.contains("damaged"), "{compiled} {stderr}");
        if !mine {
            // It is another plan's.
            let (compiled, _) = kept.compiled(|c| _ = c.args(["--ctx", "256"]));
            assert_eq!(compiled, 1);
        }
    }
    let after: BTreeSet<Vec<u8>> = cubins().into_iter().collect();
    assert!(
        before.iter().all(|cubin| after.contains(cubin)),
        "it is what it was"
    );

    // The verbs of the cache know them.
    let text = |args: &[&str]| {
        let out = kept.command().args(args).output().unwrap();
        (out.status.success(), String::from_utf8(out.stdout).unwrap())
    };
    let (_, list) = text(&["cache", "list"]);
    assert!(list.contains("kernels") && list.lines().count() < 6, "{list}");
    assert!(text(&["cache", "verify"]).0);
    flip(&kept.entries()[0].join("cubin"));
    assert!(!text(&["cache", "verify"]).0);
    assert!(text(&["cache", "clear"]).0 && kept.entries().is_empty());
    assert_eq!(kept.compiled(|_| ()).0, kernels);
}

#[test]
fn a_bound_on_the_cache_keeps_what_is_in_use() {
    if !has_nvrtc("a_bound_on_the_cache_keeps_what_is_in_use") {
        return;
    }
    let kept = Kept(tiny());
    let (compiled, _) = kept.compiled(|c| _ = c.args(["--cache-size", "1K"]));
    assert!(compiled > 0 && kept.entries().len() as u64 == compiled);
    let before: BTreeSet<PathBuf> = kept.entries().into_iter().collect();
    // Of another plan, only what it has too stays.
    let (new, _) = kept.compiled(|c| _ = c.args(["--ctx", "256", "--cache-size", "1K"]));
    let after: BTreeSet<PathBuf> = kept.entries().into_iter().collect();
    assert_eq!(after.difference(&before).count() as u64, new);
    assert!(before.difference(&after).count() > 0);
}

#[test]
fn another_compiler_compiles_anew() {
    if !has_nvrtc("another_compiler_compiles_anew") {
        return;
    }
    let kept = Kept(tiny());
    kept.compile(|_| ());
    // What version 1.0 made, in a manifest that is whole.
    let path = kept.entries()[0].join("manifest");
    let text = fs::read_to_string(&path).unwrap();
    let (_, body) = text.split_once('\n').unwrap();
    let at = body.find("\"nvrtc\"").unwrap();
    let end = at + body[at..].find('\n').unwrap();
    let body = [&body[..at], "\"nvrtc\": \"1.0\"", &body[end..]].concat();
    let digest = lathe_runtime::cache::Digest::of(body.as_bytes());
    fs::write(&path, format!("lathe 1 {digest}\n{body}")).unwrap();
    let (compiled, stderr) = kept.compiled(|_| ());
    assert_eq!(compiled, 1, "{stderr}");
    assert!(stderr.contains("NVRTC 1.0 compiled it"), "{stderr}");
    assert_eq!(kept.compiled(|_| ()).0, 0);
}
