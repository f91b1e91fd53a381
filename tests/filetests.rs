//! Runs the IR tests of `tests/filetests`: each file is a graph or kernel, what to do with it, and what must come of it.
//!
//! A file begins with `; test: passes NAME,NAME…` (the graph after them), `; test: verify` (errors of an invalid graph),
//! `; test: verify-kernel`, or `; test: parse` (the error of a text that is no graph); then, for passes, `; fires: yes`
//! or `; fires: no`, which is checked too. `; test: cut N` gives the two parts of a graph cut after N layers. What must come of it follows a line `; ---- expect`.
//! `UPDATE_FILETESTS=1` writes what came.

use lathe_ir::graph::{parse, print, verify};
use lathe_passes::{PipelineOptions, cut, passes_by_name, pipeline, run_passes};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/filetests");
const EXPECT: &str = "; ---- expect\n";

fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from(FOLDER)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false if path.extension().is_some_and(|e| e == "lir") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

/// The value of `; key: value` in the lines before the graph.
fn header<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let lines = text.lines().take_while(|l| l.starts_with(';'));
    lines
        .filter_map(|l| l.strip_prefix("; ")?.strip_prefix(key)?.strip_prefix(": "))
        .next()
}

/// What comes of a file, or why its test is wrong.
fn outcome(text: &str) -> Result<String, String> {
    let input = text.split(EXPECT).next().unwrap_or_default();
    let test = header(text, "test").ok_or("no `; test:` line")?;
    let (kind, names) = test.split_once(' ').unwrap_or((test, ""));
    match kind {
        "parse" => match parse::parse(input) {
            Ok(_) => Err("the text parses".into()),
            Err(error) => Ok(format!("; {error}\n")),
        },
        "verify-kernel" => {
            let kernel = lathe_ir::kernel::parse::parse(input).map_err(|e| e.to_string())?;
            let errors = lathe_ir::kernel::verify::verify(&kernel)
                .err()
                .ok_or("the kernel verifies")?;
            Ok(errors.iter().map(|e| format!("; {e}\n")).collect())
        }
        "verify" => {
            let graph = parse::parse(input).map_err(|e| e.to_string())?;
            let errors = verify::verify(&graph).err().ok_or("the graph verifies")?;
            Ok(errors.iter().map(|e| format!("; {e}\n")).collect())
        }
        "passes" => passes(input, names, header(text, "fires")),
        "cut" => cut_after(input, names),
        other => Err(format!("no test is named `{other}`")),
    }
}

/// The parts of a graph, or why it can't be cut.
fn cut_after(input: &str, layers: &str) -> Result<String, String> {
    let graph = parse::parse(input).map_err(|e| e.to_string())?;
    verify::verify(&graph).map_err(|e| e[0].to_string())?;
    let layers = layers.parse().map_err(|_| "`cut` takes a number of layers")?;
    match cut(&graph, layers) {
        Err(error) => Ok(format!("; {error}\n")),
        Ok(parts) => {
            for part in &parts {
                verify::verify(part).map_err(|e| e[0].to_string())?;
            }
            Ok(parts.each_ref().map(print::print).join("\n"))
        }
    }
}

fn passes(input: &str, names: &str, fires: Option<&str>) -> Result<String, String> {
    let mut graph = parse::parse(input).map_err(|e| e.to_string())?;
    verify::verify(&graph).map_err(|e| e[0].to_string())?;
    let before = print::print(&graph);
    let passes = match names {
        "all" => pipeline().to_vec(),
        names => passes_by_name(&names.split(',').collect::<Vec<_>>()).map_err(|e| e.to_string())?,
    };
    run_passes(
        &mut graph,
        &passes,
        PipelineOptions {
            verify: true,
            ..PipelineOptions::default()
        },
    )
    .map_err(|e| e.to_string())?;
    let after = print::print(&graph);
    match (fires, after == before) {
        (Some("yes"), false) | (Some("no"), true) => Ok(after),
        (Some("yes"), true) => Err("nothing changed".into()),
        (Some("no"), false) => Err(format!("it changed into\n{after}")),
        _ => Err("`; fires:` must be yes or no".into()),
    }
}

/// The first line in which two texts differ.
fn difference(got: &str, want: &str) -> String {
    let (got, want): (Vec<&str>, Vec<&str>) = (got.lines().collect(), want.lines().collect());
    let at = (0..got.len().max(want.len()))
        .find(|&i| got.get(i) != want.get(i))
        .unwrap_or(0);
    let line = |text: &[&str]| text.get(at).map_or("(the end)".to_owned(), |l| (*l).to_owned());
    format!(
        "line {} is\n    {}\nbut must be\n    {}",
        at + 1,
        line(&got),
        line(&want)
    )
}

#[test]
fn every_file_gives_what_it_expects() {
    let update = std::env::var("UPDATE_FILETESTS").is_ok_and(|v| v == "1");
    let mut failures = Vec::new();
    for path in files() {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(FOLDER).unwrap().display().to_string();
        let (input, want) = text.split_once(EXPECT).unwrap_or((&text, ""));
        match outcome(&text) {
            Err(error) => failures.push(format!("{name}: {error}")),
            Ok(got) if got != want && update => fs::write(&path, format!("{input}{EXPECT}{got}")).unwrap(),
            Ok(got) if got != want => failures.push(format!("{name}: {}", difference(&got, want))),
            Ok(_) => {}
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn every_pass_has_a_file_where_it_fires_and_one_where_it_must_not() {
    let mut seen = BTreeSet::new();
    for path in files() {
        let text = fs::read_to_string(&path).unwrap();
        let names = header(&text, "test").and_then(|t| t.strip_prefix("passes "));
        // The pass under test is the last of the list: those before it prepare the graph.
        if let (Some(names), Some(fires)) = (names, header(&text, "fires")) {
            seen.insert((names.rsplit(',').next().unwrap().to_owned(), fires.to_owned()));
        }
    }
    let missing: Vec<String> = pipeline()
        .iter()
        .flat_map(|p| ["yes", "no"].map(|fires| (p.name.to_owned(), fires.to_owned())))
        .filter(|pair| !seen.contains(pair))
        .map(|(name, fires)| format!("{name} (fires: {fires})"))
        .collect();
    assert!(missing.is_empty(), "no file for {}", missing.join(", "));
}

#[test]
fn files_are_found() {
    assert!(files().len() > 30 && Path::new(FOLDER).is_dir());
}
