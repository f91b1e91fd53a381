//! Compiled models against exact reference logits, which stand beside a checkout where they are at all: tiny models of
//! each architecture, and real models on a page of text.

mod support;

use serde_json::Value;
use std::fs;
use std::path::Path;
use support::{json, model, shared, stdout};

/// The rows of a float32 .npy file, `columns` values each.
fn npy(path: &Path, columns: usize) -> Vec<Vec<f32>> {
    let bytes = fs::read(path).unwrap();
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let values: Vec<f32> = bytes[start..]
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    assert!(values.len().is_multiple_of(columns));
    values.chunks_exact(columns).map(<[f32]>::to_vec).collect()
}

fn logits(model: &Path, tokens: &Value, columns: usize) -> Vec<Vec<f32>> {
    let dir = tempfile::tempdir().unwrap();
    let (list, out) = (dir.path().join("tokens"), dir.path().join("o.npy"));
    let ids: Vec<String> = tokens.as_array().unwrap().iter().map(Value::to_string).collect();
    fs::write(&list, ids.join(" ")).unwrap();
    let text = |p: &Path| p.to_str().unwrap().to_owned();
    stdout(&[
        "logits",
        &text(model),
        "--tokens-file",
        &text(&list),
        "--output",
        &text(&out),
    ]);
    npy(&out, columns)
}

#[test]
fn tiny_models_have_the_exact_logits() {
    let Some(folder) = shared("tiny_models_have_the_exact_logits", "conformance") else {
        return;
    };
    let index: Value = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    for name in ["llama-dense", "mistral3-dense", "qwen2-dense", "gemma3-dense"] {
        let case = format!("{name}.f16");
        let got = logits(&folder.join(format!("{case}.gguf")), &index[&case]["tokens"], 128);
        let want = npy(&folder.join(format!("{case}.logits.npy")), 128);
        assert_eq!(got.len(), want.len());
        let pairs = || {
            got.iter()
                .flatten()
                .zip(want.iter().flatten())
                .map(|(g, w)| (f64::from(*g), f64::from(*w)))
        };
        let error: f64 = pairs().map(|(g, w)| (g - w).powi(2)).sum();
        let norm: f64 = pairs().map(|(_, w)| w.powi(2)).sum();
        assert!(error / norm <= 1e-6, "{name}: nmse {:.1e}", error / norm);
    }
}

/// KL divergence of one row from a reference that has its largest logits and the logarithm of its sum.
fn divergence(row: &[f32], ids: &[Value], tops: &[Value], norm: f64) -> f64 {
    let peak = f64::from(row.iter().copied().fold(f32::MIN, f32::max));
    let own_norm = peak + row.iter().map(|&x| (f64::from(x) - peak).exp()).sum::<f64>().ln();
    let (mut kl, mut rest_p, mut rest_q) = (0.0, 1.0, 1.0);
    for (id, top) in ids.iter().zip(tops) {
        let p = top.as_f64().unwrap() - norm;
        let q = f64::from(row[id.as_u64().unwrap() as usize]) - own_norm;
        kl += p.exp() * (p - q);
        rest_p -= p.exp();
        rest_q -= q.exp();
    }
    let (p, q) = (f64::max(rest_p, 1e-9), f64::max(rest_q, 1e-9));
    kl + p * (p / q).ln()
}

#[test]
fn real_models_are_as_close_to_exact_as_llama_cpp() {
    let test = "real_models_are_as_close_to_exact_as_llama_cpp";
    let Some(folder) = shared(test, "golden") else {
        return;
    };
    for (name, file) in [
        ("smollm2-135m", "smollm2-135m-q4_1"),
        ("gemma3-270m", "gemma3-270m-q4_k_m"),
        ("qwen2.5-coder-0.5b", "qwen25-0.5b-q4_k_m"),
    ] {
        let Some(path) = model(test, name) else { return };
        let golden = folder.join(format!("{file}.dev.golden.json"));
        let golden: Value = serde_json::from_slice(&fs::read(golden).unwrap()).unwrap();
        let card = json(&["show", name, "--json"]);
        let rows = logits(
            &path,
            &golden["tokens"],
            card["vocabulary"].as_u64().unwrap() as usize,
        );
        let list = |key: &str, i: usize| golden[key][i].as_array().unwrap().clone();
        let row_kl = |(i, row): (usize, &Vec<f32>)| {
            let norm = golden["logsumexp"][i].as_f64().unwrap();
            divergence(row, &list("top_ids", i), &list("top_logits", i), norm)
        };
        let kl = rows.iter().enumerate().map(row_kl).sum::<f64>() / rows.len() as f64;
        let theirs = golden["llama_cpp"]["kl"].as_f64().unwrap();
        println!("{name}: KL {kl:.2e}, llama.cpp {theirs:.2e}");
        assert!(
            kl > 0.0 && kl <= 1.05 * theirs,
            "{name}: KL {kl:.2e} is above llama.cpp's {theirs:.2e}"
        );
    }
}
