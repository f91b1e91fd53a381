//! Sessions: what one process saved of a sequence, another goes on from, bit for bit; what does not belong is refused.

mod support;

use lathe::build::{BuildOptions, Windows, build};
use lathe::session::ModelVocabulary;
use lathe_frontend::testing::Family;
use lathe_ir::DType;
use lathe_runtime::engine::SavedPrefix;
use lathe_runtime::{Completion, Engine, Request};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use support::{TinyFile, lathe_with_cache};

fn engine(path: &Path, windows: Windows, kv_type: &str) -> Engine {
    let options = BuildOptions {
        context: Some(224),
        chunk: 16,
        kv_positions: Some(256),
        windows,
        kv_types: Some(kv_type.parse().unwrap()),
        ..BuildOptions::default()
    };
    let built = build(path, &options).unwrap();
    let vocabulary = ModelVocabulary::new(&built.text).unwrap();
    Engine::new(built.executable, Arc::new(vocabulary))
}

fn complete(engine: &mut Engine, prompt: &[u32], max_tokens: usize) -> Completion {
    let request = Request {
        prompt: prompt.to_vec(),
        max_tokens: Some(max_tokens),
        ignore_stop_tokens: true,
        logprobs: Some(3),
        ..Request::default()
    };
    engine.generate(&request, &mut |_| true).unwrap()
}

/// Tokens, and the bits of their log-probabilities.
fn bits(completion: &Completion) -> Vec<(u32, u32)> {
    let made = completion.logprobs.iter();
    made.map(|l| (l.picked.token, l.picked.logprob.to_bits()))
        .collect()
}

#[test]
fn a_sequence_goes_on_in_another_engine() {
    for (family, windows, kv_type) in [
        (Family::Llama, Windows::All, "f16"),
        (Family::Qwen2, Windows::All, "q8_0,q4_0"),
        (Family::Gemma3, Windows::All, "f32"),
        (Family::Gemma3, Windows::Blocks(0), "f16"),
    ] {
        let file = TinyFile::new(family, DType::Q8_0);
        let mut first = engine(&file.path, windows, kv_type);
        let mut tokens: Vec<u32> = (0..77).map(|i| (i * 37 + 11) % 250).collect();
        let made = complete(&mut first, &tokens, 60);
        tokens.extend(&made.tokens);
        let saved = first.save_prefix(&tokens).unwrap();
        assert_eq!(saved.tokens, tokens[..128], "full blocks of what was computed");
        tokens.extend([3, 4, 5]);
        let want = complete(&mut first, &tokens, 50);

        let mut second = engine(&file.path, windows, kv_type);
        second.restore_prefix(&saved).unwrap();
        let (free, all) = second.blocks();
        assert_eq!(free, all, "nobody holds it");
        // Again: it is there already.
        second.restore_prefix(&saved).unwrap();
        assert_eq!(second.save_prefix(&tokens).unwrap(), saved);
        let got = complete(&mut second, &tokens, 50);
        assert_eq!(
            (got.cached_tokens, bits(&got)),
            (128, bits(&want)),
            "{family:?} {kv_type}"
        );
        assert_eq!(
            bits(&complete(&mut engine(&file.path, windows, kv_type), &tokens, 50)),
            bits(&want)
        );
        assert_eq!(second.blocks().0, all);
    }
}

#[test]
fn what_can_not_be_restored_changes_nothing() {
    let file = TinyFile::new(Family::Gemma3, DType::F32);
    let mut engine = engine(&file.path, Windows::Blocks(0), "f16");
    let tokens: Vec<u32> = (0..100).collect();
    complete(&mut engine, &tokens, 1);
    let saved = engine.save_prefix(&tokens).unwrap();
    assert_eq!(saved.blocks.len(), 3);
    engine.reset();
    let mut refused = |change: &dyn Fn(&mut SavedPrefix), part: &str| {
        let mut changed = saved.clone();
        change(&mut changed);
        let error = engine.restore_prefix(&changed).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        let (free, all) = engine.blocks();
        assert_eq!(free, all);
        assert!(
            engine.save_prefix(&changed.tokens).unwrap().blocks.is_empty(),
            "nothing is known"
        );
    };
    refused(&|s| s.tokens.truncate(70), "its tokens do not fill its blocks");
    refused(
        &|s| s.tokens[5] = 1 << 20,
        "a token that the vocabulary does not have",
    );
    refused(&|s| s.blocks[2].truncate(10), "bytes of a block");
    refused(&|s| s.blocks[1].clear(), "bytes of a block");
    let long = |s: &mut SavedPrefix| {
        s.tokens = vec![1; 32 * 200];
        s.blocks = vec![s.blocks[2].clone(); 200];
    };
    refused(&long, "but the context holds 224");
    engine.restore_prefix(&saved).unwrap();
    engine.restore_prefix(&SavedPrefix::default()).unwrap();
    assert_eq!(complete(&mut engine, &tokens, 1).cached_tokens, 96);
}

/// Runs a command that must succeed and gives its stdout.
fn ok(command: &mut Command) -> String {
    let out = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{stderr}");
    String::from_utf8(out.stdout).unwrap()
}

/// The line of a refusal.
fn refusal(command: &mut Command) -> String {
    let out = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(
        (out.status.code(), stderr.lines().count()),
        (Some(2), 1),
        "{stderr}"
    );
    stderr
}

#[test]
fn runs_leave_a_session() {
    let file = TinyFile::new(Family::Llama, DType::F32);
    let other = TinyFile::new(Family::Llama, DType::Q8_0);
    let cache = file.beside("cache");
    let path = file.beside("a session");
    let session = path.to_str().unwrap();
    let prompt = "the cat sat on the mat and the dog sat on the log ".repeat(3);
    let run = |model: &str, prompt: &str, more: &[&str]| {
        let mut command = lathe_with_cache(&cache);
        command.args(["run", model, "-p", prompt, "-n", "40", "--json", "--ignore-eos"]);
        command.args(["--temp", "0.8", "--seed", "4", "--logprobs", "1"]);
        command.args(more);
        command
    };
    let json = |command: &mut Command| -> serde_json::Value { serde_json::from_str(&ok(command)).unwrap() };
    let with = ["--session", session];

    let first = json(&mut run(file.model(), &prompt, &with));
    assert_eq!(first["cached_tokens"], 0);
    let longer = format!("{prompt}{}", first["text"].as_str().unwrap());
    for prompt in [&prompt, &longer] {
        let want = json(&mut run(file.model(), prompt, &[]));
        let got = json(&mut run(file.model(), prompt, &with));
        assert!(got["cached_tokens"].as_u64().unwrap() >= 32, "{got}");
        for field in ["text", "tokens", "logprobs"] {
            assert_eq!(got[field], want[field], "{field}");
        }
    }

    for (command, part) in [
        (&mut run(other.model(), &prompt, &with), "it is of another model"),
        (
            &mut run(
                file.model(),
                &prompt,
                &[&with[..], &["--kv-type", "q8_0"]].concat(),
            ),
            "are f16, not q8_0",
        ),
        (
            &mut run(file.model(), &prompt, &[&with[..], &["--ctx", "64"]].concat()),
            "the context holds 64",
        ),
        (
            &mut run(file.model(), &prompt, &[&with[..], &["--no-cache"]].concat()),
            "needs a compiled plan",
        ),
        (
            &mut run(file.model(), &prompt, &["--session", file.model()]),
            "is no session",
        ),
        (
            &mut run(
                file.model(),
                &prompt,
                &["--session", file.beside("").to_str().unwrap()],
            ),
            "can't be read",
        ),
    ] {
        let line = refusal(command);
        assert!(line.contains(part), "{line}");
    }
    let whole = std::fs::read(&path).unwrap();
    for cut in [0, 20, 200, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let line = refusal(&mut run(file.model(), &prompt, &with));
        assert!(line.contains("a session"), "{line}");
        assert_eq!(std::fs::read(&path).unwrap().len(), cut, "it is left as it was");
    }
}

#[test]
fn a_conversation_goes_on() {
    let file = TinyFile::new(Family::Qwen2, DType::F32);
    let cache = file.beside("cache");
    let path = file.beside("talk");
    let talk = |input: &str, session: bool| -> (String, String) {
        let mut command = lathe_with_cache(&cache);
        command.args(["chat", file.model(), "-n", "12"]);
        if session {
            command.arg("--session").arg(&path);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(out.stdout), text(out.stderr))
    };
    let (whole, _) = talk("/system be brief\nthe cat\nsat on the mat\n", false);
    let (first, _) = talk("/system be brief\nthe cat\n", true);
    let (second, told) = talk("sat on the mat\n/stats\n", true);
    assert_eq!(first + &second, whole);
    assert!(told.contains("known)"), "keys and values came along: {told}");
    // Nothing is said, and nothing is lost.
    let (third, _) = talk("", true);
    assert_eq!(third, "");
    let (_, told) = talk("/retry\n/stats\n", true);
    assert!(told.contains("known)"), "{told}");
}
