//! Measures constraints on real schemas: what is accepted, how long compiling and masks take.
//!
//!     cargo bench --bench constraints -- SCHEMAS [MODEL]
//!
//! SCHEMAS is a folder of JSON files, each `{"schema": …, "tests": [{"data": …, "valid": …}]}`; MODEL a GGUF file or a
//! name of the local store (qwen2.5-coder-0.5b where there is none), whose vocabulary is used.

use lathe::plans::Source;
use lathe::store::Quiet;
use lathe_frontend::tokenizer::{EncodeOptions, Tokenizer};
use lathe_runtime::constrain::{Constraint, Grammars, Guide, Start};
use serde_json::Value;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What came of the instances, and the times.
#[derive(Default)]
struct Tally {
    schemas: usize,
    refused: BTreeMap<String, usize>,
    /// By whether it is valid and whether it was accepted.
    instances: [[usize; 2]; 2],
    not_accepted: Vec<String>,
    compile: Vec<Duration>,
    first_mask: Vec<Duration>,
    masks: Vec<Duration>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let Some(folder) = args.next() else {
        println!("constraints: no folder of schemas was given, nothing to measure");
        return Ok(());
    };
    let model = args.next().unwrap_or_else(|| "qwen2.5-coder-0.5b".into());
    let text = Source::find(&model, None, &mut Quiet)?.text(None)?;
    let tokenizer = text.tokenizer?;
    let (bytes, tokens) = (Grammars::of_bytes(), Grammars::new(tokenizer.clone()));
    let start = Instant::now();
    tokens.compile(&Constraint::JsonObject)?;
    println!(
        "vocabulary of {model}: {} tokens, read in {} ms",
        tokenizer.vocab_size(),
        start.elapsed().as_millis()
    );
    let mut tally = Tally::default();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|e| e.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
    {
        let file: Value = serde_json::from_slice(&std::fs::read(path)?)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        measure(&file, &name, (&bytes, &tokens), &tokenizer, &mut tally)?;
    }
    print(tally);
    Ok(())
}

fn measure(
    file: &Value,
    name: &str,
    (bytes, tokens): (&Grammars, &Grammars),
    tokenizer: &Arc<Tokenizer>,
    tally: &mut Tally,
) -> Result<(), Box<dyn Error>> {
    tally.schemas += 1;
    let constraint = Constraint::JsonSchema(file["schema"].clone());
    let start = Instant::now();
    let compiled = tokens.compile(&constraint);
    tally.compile.push(start.elapsed());
    let grammar = match compiled {
        Ok(grammar) => grammar,
        Err(error) => {
            let reason = error
                .message
                .split('`')
                .nth(1)
                .map_or(error.message.clone(), |k| format!("`{k}`"));
            *tally
                .refused
                .entry(reason.chars().take(60).collect())
                .or_default() += 1;
            return Ok(());
        }
    };
    Guide::new(&grammar, &Start::Now).mask()?;
    tally.first_mask.push(start.elapsed());
    let of_bytes = bytes.compile(&constraint)?;
    for test in file["tests"].as_array().into_iter().flatten() {
        let (text, valid) = (test["data"].to_string(), test["valid"] == Value::Bool(true));
        let accepted = of_bytes.accepts(text.as_bytes())?;
        tally.instances[usize::from(valid)][usize::from(accepted.is_ok())] += 1;
        if valid != accepted.is_ok() {
            tally.not_accepted.push(format!(
                "{name}: valid is {valid}, left at {accepted:?} of {}",
                text.len()
            ));
        }
        if !valid || accepted.is_err() {
            continue;
        }
        let mut guide = Guide::new(&grammar, &Start::Now);
        for token in tokenizer.encode(&text, EncodeOptions::PLAIN) {
            let start = Instant::now();
            let mask = guide.mask()?.unwrap_or_default();
            tally.masks.push(start.elapsed());
            assert!(
                mask[token as usize / 32] >> (token % 32) & 1 == 1,
                "{name}: a token of a valid text is masked"
            );
            guide.take(token, tokenizer.token_bytes(token).unwrap_or_default())?;
        }
    }
    Ok(())
}

fn print(mut tally: Tally) {
    let refused: usize = tally.refused.values().sum();
    let [[rejected, wrong], [lost, accepted]] = tally.instances;
    println!(
        "{} of {} schemas compiled, {refused} refused",
        tally.schemas - refused,
        tally.schemas
    );
    println!("valid instances: {accepted} of {} accepted", accepted + lost);
    println!("invalid instances: {rejected} of {} rejected", rejected + wrong);
    tally.not_accepted.iter().for_each(|line| println!("  {line}"));
    println!("\n| time | median, µs | 99 %, µs | longest, µs |\n| --- | --- | --- | --- |");
    for (what, times) in [
        ("compile or refuse", &mut tally.compile),
        ("to the first mask, with compiling", &mut tally.first_mask),
        ("mask of a token", &mut tally.masks),
    ] {
        times.sort();
        let at = |share: f64| {
            times
                .get((times.len() as f64 * share) as usize)
                .map_or(0.0, |t| t.as_secs_f64() * 1e6)
        };
        let longest = times.last().map_or(0.0, |t| t.as_secs_f64() * 1e6);
        println!(
            "| {what} ({}) | {:.0} | {:.0} | {longest:.0} |",
            times.len(),
            at(0.5),
            at(0.99)
        );
    }
    println!("\n| refused for | schemas |\n| --- | --- |");
    tally
        .refused
        .iter()
        .for_each(|(reason, count)| println!("| {reason} | {count} |"));
}
