//! The verbs that no other test runs, on a tiny model.

mod support;

use lathe_frontend::testing::Family;
use lathe_ir::DType;
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;
use support::{TinyFile, json, refusal, stdout};

/// A tiny model of 8-bit matrices.
fn tiny_model(family: Family) -> TinyFile {
    TinyFile::new(family, DType::Q8_0)
}

fn beside(model: &TinyFile, name: &str) -> String {
    model.beside(name).to_str().unwrap().to_owned()
}

#[test]
fn text_becomes_tokens_and_text_again() {
    for family in Family::ALL {
        let tiny = tiny_model(family);
        let text = "the cat sat — héllo\n  on <mat>";
        let ids = stdout(&["tokenize", tiny.model(), text, "--no-special"]);
        let back = json(&["detokenize", tiny.model(), ids.trim(), "--json"]);
        assert_eq!(back, text, "{family:?}");
        let file = beside(&tiny, "text.txt");
        std::fs::write(&file, text).unwrap();
        assert_eq!(
            stdout(&["tokenize", tiny.model(), "--file", &file, "--no-special"]),
            ids
        );
    }
}

#[test]
fn a_model_agrees_with_its_own_logits() {
    let tiny = tiny_model(Family::Qwen2);
    let (file, reference) = (beside(&tiny, "text.txt"), beside(&tiny, "ref.npy"));
    std::fs::write(&file, "a b c d the cat sat on the mat and the dog sat too").unwrap();
    let ids = stdout(&["tokenize", tiny.model(), "--file", &file])
        .trim()
        .replace(' ', ",");
    stdout(&["logits", tiny.model(), "--tokens", &ids, "--output", &reference]);
    let compare = |model: &TinyFile, more: &[&str]| {
        let arguments = [
            "perplexity",
            model.model(),
            "--file",
            &file,
            "--reference",
            &reference,
            "--json",
        ];
        json(&[&arguments[..], more].concat())
    };
    let result = compare(&tiny, &[]);
    assert!(result["kl"].as_f64().unwrap().abs() < 1e-9, "{result}");
    let perplexity = result["perplexity"].as_f64().unwrap();
    assert!(
        (10.0..10_000.0).contains(&perplexity),
        "a random model knows nothing: {perplexity}"
    );
    let coarse = compare(&tiny, &["--kv-type", "q8_0"]);
    let kl = coarse["kl"].as_f64().unwrap().abs();
    assert!((1e-9..1e-2).contains(&kl), "int8 keys and values: {coarse}");
    let finer = compare(&tiny, &["--kv-type", "f32,q8_0"])["kl"].as_f64().unwrap();
    assert!(finer.abs() < kl, "int8 values alone: {finer} against {kl}");
    let other = tiny_model(Family::Llama);
    let result = compare(&other, &[]);
    assert!(result["kl"].as_f64().unwrap() > 1e-3, "{result}");
    std::fs::write(&file, "a").unwrap();
    refusal(
        &[
            "perplexity",
            tiny.model(),
            "--file",
            &file,
            "--reference",
            &reference,
        ],
        2,
    );
}

#[test]
fn benchmarks_and_runs_report_in_json() {
    let tiny = tiny_model(Family::Gemma3);
    let bench = json(&["bench", tiny.model(), "-p", "32", "-n", "4", "-t", "1", "--json"]);
    for key in [
        "pp_tps",
        "tg_tps",
        "bytes_per_token",
        "stream_gbps",
        "share_of_limit",
        "weight_bytes",
        "kv_bytes",
        "peak_bytes",
    ] {
        assert!(bench[key].as_f64().is_some_and(|v| v > 0.0), "{key} of {bench}");
    }
    let pinned = json(&[
        "bench",
        tiny.model(),
        "-p",
        "32",
        "-n",
        "4",
        "-t",
        "1",
        "--pin",
        "--json",
    ]);
    assert!(pinned["target"].as_str().unwrap().contains("pinned"), "{pinned}");
    let message = refusal(&["bench", tiny.model(), "-t", "1024", "--pin"], 2);
    assert!(message.contains("--pin keeps 1024 threads"), "{message}");
    let run = |seed: &str| {
        let args = [
            "run",
            tiny.model(),
            "-p",
            "the cat",
            "-n",
            "12",
            "--temp",
            "0.9",
            "--seed",
            seed,
            "--json",
        ];
        json(&args)["tokens"].clone()
    };
    assert_eq!(run("4").as_array().unwrap().len(), 12);
    assert!(run("4") == run("4") && run("4") != run("5"));
    let plain = stdout(&["run", tiny.model(), "-p", "the cat", "-n", "5", "-q"]);
    let text = json(&["run", tiny.model(), "-p", "the cat", "-n", "5", "--json"])["text"].clone();
    assert_eq!(
        plain.trim_end_matches('\n'),
        text.as_str().unwrap().trim_end_matches('\n')
    );
}

#[test]
fn the_machine_is_described() {
    let doctor = json(&["doctor", "--json"]);
    assert!(doctor["stream_gbps"].as_f64().unwrap() > 0.1 && doctor["threads"].as_u64().unwrap() > 0);
    assert!(
        doctor["choice"].as_str().unwrap().contains("int8 products"),
        "{doctor}"
    );
}

#[test]
fn a_synthetic_model_is_benched_without_a_file() {
    let args = ["--synthetic", "smollm2-135m:q8_0", "-p", "8", "-n", "1", "--json"];
    let bench = json(&[&["bench"], &args[..]].concat());
    assert!(bench["tg_tps"].as_f64().unwrap() > 0.0, "{bench}");
    // 134.5 million weights of 34 bytes in 32, of which the packed form is a little larger.
    let bytes = bench["bytes_per_token"].as_f64().unwrap();
    assert!((1.40e8..1.55e8).contains(&bytes), "{bench}");
    let message = refusal(&["bench", "--synthetic", "smollm2-135m:q3"], 2);
    assert!(
        message.contains("llama-3.1-8b") && message.contains("q4_k_m"),
        "{message}"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let tiny = tiny_model(Family::Llama);
    for args in [
        &["show", tiny.model()][..],
        &["inspect", tiny.model(), "--stage", "kernels"],
        &["doctor"],
    ] {
        let mut child = support::lathe()
            .args(args)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let out = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && stderr.is_empty(), "{args:?}: {stderr}");
    }
}

#[test]
fn tokens_are_picked_as_asked_and_reported() {
    let tiny = tiny_model(Family::Llama);
    let run = |more: &[&str]| {
        let args = [
            "run",
            tiny.model(),
            "-p",
            "the cat",
            "-n",
            "12",
            "--ctx",
            "64",
            "--json",
        ];
        json(&[&args, more].concat())
    };
    let plain = run(&["--logprobs", "3", "--ignore-eos"]);
    let tokens: Vec<u64> = plain["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t.as_u64().unwrap())
        .collect();
    assert_eq!(tokens.len(), 12);
    let thoughts = plain["logprobs"].as_array().unwrap();
    for (thought, token) in thoughts.iter().zip(&tokens) {
        assert_eq!(
            (&thought["token"], &thought["top"][0]["token"]),
            (&(*token).into(), &(*token).into())
        );
        let sum: f64 = thought["top"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["logprob"].as_f64().unwrap().exp())
            .sum();
        assert!(thought["logprob"].as_f64() < Some(0.0) && sum < 1.0);
    }
    assert_eq!(thoughts.len(), 12);
    let first = format!("{}=-inf", tokens[0]);
    let banned = run(&["--logit-bias", &first, "--ignore-eos"]);
    assert!(
        banned["tokens"]
            .as_array()
            .unwrap()
            .iter()
            .all(|t| t.as_u64() != Some(tokens[0]))
    );
    let seeded = |seed: &str| {
        run(&[
            "--temp",
            "2",
            "--typical-p",
            "0.9",
            "--xtc-probability",
            "0.5",
            "--dry-multiplier",
            "1",
            "--seed",
            seed,
        ])["text"]
            .clone()
    };
    assert_eq!(seeded("1"), seeded("1"));
    assert_ne!(seeded("1"), seeded("2"));
    let line = refusal(&["run", tiny.model(), "-p", "x", "--xtc-threshold", "2"], 2);
    assert!(line.contains("xtc_threshold is 2"), "{line}");
}

#[test]
fn sampling_flags_reach_the_sampler() {
    let tiny = tiny_model(Family::Qwen2);
    let tokens = |more: &[&str]| {
        let args = [
            "run",
            tiny.model(),
            "-p",
            "the cat",
            "-n",
            "24",
            "--ctx",
            "64",
            "--json",
            "--ignore-eos",
        ];
        json(&[&args, more].concat())["tokens"].clone()
    };
    let greedy = tokens(&[]);
    let sampled = |more: &[&str]| tokens(&[&["--temp", "4", "--seed", "3"], more].concat());
    assert_ne!(sampled(&[]), greedy);
    // Truncations that leave the most likely token.
    for one in [
        &["--top-k", "1"][..],
        &["--top-p", "0"],
        &["--min-p", "1"],
        &["--top-n-sigma", "1e-6"],
        &["--mirostat-tau", "0"],
    ] {
        assert_eq!(sampled(one), greedy, "{one:?}");
    }
    for other in [
        &["--typical-p", "0.1"][..],
        &["--xtc-probability", "1", "--xtc-threshold", "0.001"],
        &["--mirostat-tau", "3"],
        &["--mirostat-tau", "3", "--mirostat-eta", "1"],
    ] {
        assert_ne!(sampled(other), sampled(&[]), "{other:?}");
    }
    assert_ne!(
        sampled(&["--mirostat-tau", "3"]),
        sampled(&["--mirostat-tau", "3", "--mirostat-eta", "1"])
    );
    // The tiny model repeats itself; these turn it away.
    let dry = ["--dry-multiplier", "50", "--dry-allowed-length", "1"];
    let plain = tokens(&dry);
    assert_ne!(plain, greedy);
    assert_ne!(tokens(&[&dry[..], &["--dry-last-n", "3"]].concat()), plain);
    let growing = |base| {
        tokens(&[
            "--dry-multiplier",
            "0.05",
            "--dry-allowed-length",
            "1",
            "--dry-base",
            base,
        ])
    };
    assert_ne!(growing("1"), growing("4"));
    let breakers: Vec<String> = (0..=255u8)
        .filter(u8::is_ascii)
        .map(|b| char::from(b).to_string())
        .collect();
    let breakers = breakers
        .iter()
        .filter(|b| b.as_str() > "\u{20}")
        .flat_map(|b| ["--dry-breaker", b]);
    let breakers: Vec<&str> = breakers.collect();
    assert_ne!(
        tokens(&[&dry[..], &breakers].concat()),
        plain,
        "nothing is left to repeat"
    );
    for penalty in ["--repeat-penalty", "--frequency-penalty", "--presence-penalty"] {
        assert_ne!(tokens(&[penalty, "9"]), greedy, "{penalty}");
    }
}

#[test]
fn guesses_change_the_steps_and_not_the_text() {
    let tiny = tiny_model(Family::Llama);
    let run = |lookup: &str| {
        json(&[
            "run",
            tiny.model(),
            "-p",
            "the cat the cat",
            "-n",
            "60",
            "--ctx",
            "128",
            "--json",
            "--ignore-eos",
            "--lookup",
            lookup,
        ])
    };
    let (plain, guessed) = (run("0"), run("8"));
    assert_eq!(plain["tokens"], guessed["tokens"]);
    assert_eq!(plain["guesses"], 0);
    assert!(guessed["right_guesses"].as_u64() > Some(0), "{guessed}");
}

#[test]
fn sequences_side_by_side_are_timed_together() {
    let tiny = tiny_model(Family::Gemma3);
    let bench = json(&[
        "bench",
        tiny.model(),
        "-p",
        "20",
        "-n",
        "40",
        "-t",
        "1",
        "-b",
        "20",
        "--ctx",
        "64",
        "--json",
    ]);
    assert_eq!(bench["batch"], 20);
    assert!(
        bench["pp_tps"].as_f64() > Some(0.0) && bench["tg_tps"].as_f64() > Some(0.0),
        "{bench}"
    );
}

#[test]
fn a_draft_model_changes_the_steps_and_not_the_text() {
    let tiny = tiny_model(Family::Llama);
    let args = [
        "run",
        tiny.model(),
        "-p",
        "the cat",
        "-n",
        "60",
        "--ctx",
        "128",
        "--json",
        "--ignore-eos",
    ];
    let plain = json(&args);
    let long = json(&[&args[..], &["--draft", tiny.model()]].concat());
    let short = json(&[&args[..], &["--draft", tiny.model(), "--draft-len", "1"]].concat());
    assert_eq!(
        (&plain["tokens"], &plain["guesses"]),
        (&long["tokens"], &json!(0))
    );
    assert_eq!(plain["tokens"], short["tokens"]);
    // Its own model is always right; one token ahead, at most every second one is a guess.
    let right = |run: &Value| run["right_guesses"].as_u64().unwrap();
    assert_eq!(long["guesses"], long["right_guesses"]);
    assert!(
        right(&long) > 0 && (1..=30).contains(&right(&short)),
        "{long} {short}"
    );
    let other = tiny_model(Family::Gemma3);
    for verb in [&["run", "-p", "x"][..], &["serve", "--port", "0"]] {
        let line = refusal(
            &[
                &verb[..1],
                &[tiny.model()],
                &verb[1..],
                &["--draft", other.model()],
            ]
            .concat(),
            2,
        );
        assert!(line.contains("can't be the draft model"), "{line}");
    }
}

#[test]
fn conversations_go_on() {
    let tiny = tiny_model(Family::Llama);
    let talk = |lines: &str, more: &[&str]| {
        let mut command = support::lathe();
        let args = ["chat", tiny.model(), "--ctx", "128", "-n", "6"];
        let mut child = command
            .args(args)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(out.stdout), text(out.stderr))
    };
    let (first, _) = talk("the cat\n", &[]);
    let (twice, _) = talk("the cat\n/reset\nthe cat\n", &[]);
    assert_eq!(twice, first.repeat(2), "nothing of a conversation is left");
    let (undone, said) = talk("the cat\n/undo\nthe cat\n/stats\n/what\n", &[]);
    assert_eq!(undone, first.repeat(2));
    assert!(
        said.contains("6 tokens at") && said.contains("there is no command /what"),
        "{said}"
    );
    let (drafted, _) = talk("the cat\n", &["--draft", tiny.model()]);
    assert_eq!(drafted, first);
    let (told, _) = talk("the cat\n", &["--system", "on the mat"]);
    let (told_later, _) = talk("/system on the mat\nthe cat\n", &[]);
    assert!(told != first && told_later == told, "{first}{told}");
    let (again, _) = talk("the cat\n/retry\n", &["--temp", "2"]);
    let [one, other] = again.lines().collect::<Vec<_>>()[..] else {
        panic!("{again}")
    };
    assert_ne!(one, other);
    // A conversation that is too long for the context loses a message, and nothing else.
    let long = format!("{}\nthe cat\n", "the cat ".repeat(200));
    let (left, said) = talk(&long, &[]);
    assert_eq!(left, format!("\n{first}"));
    assert!(said.contains("the context holds 128"), "{said}");
    let (help, _) = talk("/help\n/quit\nthe cat\n", &[]);
    assert!(help.starts_with("/help") && help.ends_with("input)\n"), "{help}");
}
