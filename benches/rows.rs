//! Measures steps of few rows: what checking drafts costs, and decoding several sequences, beside a step of one row.
//!
//!     cargo bench --bench rows -- [MODEL] [--rows 1,2,3,4,5,6,8] [--rounds 40] [--context 128] [--threads 2] [--apart]
//!         [--features all] [--profile]
//!
//! MODEL is a GGUF file or a name of the local store (qwen2.5-coder-1.5b where there is none). Steps of all numbers of rows
//! run in turns; times are medians, and ratios medians of the rounds' ratios to one row. Rows are of one sequence, or with
//! `--apart` each of its own. `--profile` prints the time of each kernel, of all steps together.

use lathe::build::{BuildOptions, Built};
use lathe::plans::Source;
use lathe::store::Quiet;
use lathe_ir::backend::{Batch, Executable};
use std::error::Error;
use std::time::Instant;

/// What is asked for.
struct Args {
    model: String,
    rows: Vec<u32>,
    rounds: usize,
    context: u32,
    threads: usize,
    apart: bool,
    features: String,
    profile: bool,
}

impl Args {
    fn read() -> Result<Option<Args>, Box<dyn Error>> {
        let mut args = Args {
            model: "qwen2.5-coder-1.5b".into(),
            rows: vec![1, 2, 3, 4, 5, 6, 8],
            rounds: 40,
            context: 128,
            threads: 2,
            apart: false,
            features: "all".into(),
            profile: false,
        };
        let mut words = std::env::args().skip(1);
        let mut wanted = false;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} lacks its value"));
            match &word[..] {
                "--bench" => continue,
                "--rows" => args.rows = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
                "--rounds" => args.rounds = value()?.parse()?,
                "--context" => args.context = value()?.parse()?,
                "--threads" => args.threads = value()?.parse()?,
                "--features" => args.features = value()?,
                "--apart" => args.apart = true,
                "--profile" => args.profile = true,
                _ => args.model = word,
            }
            wanted = true;
        }
        Ok(wanted.then_some(args))
    }
}

/// A model and what its steps read.
struct Rig {
    executable: Box<dyn Executable>,
    tables: Vec<u32>,
    context: u32,
    apart: bool,
}

impl Rig {
    fn new(args: &Args) -> Result<Rig, Box<dyn Error>> {
        let most = args.rows.iter().copied().max().unwrap_or(1);
        let positions = (args.context + most).next_multiple_of(32);
        let options = BuildOptions {
            threads: args.threads,
            context: Some(positions),
            seqs: most,
            outputs: most,
            kv_positions: Some(positions * most),
            cpu_features: args.features.clone(),
            ..BuildOptions::default()
        };
        let source = Source::find(&args.model, None, &mut Quiet)?;
        let Built { executable, .. } = source.load(&options, None)?;
        let blocks = executable.limits().blocks_per_seq() * most;
        let mut rig = Rig {
            tables: (0..blocks).collect(),
            context: args.context,
            apart: args.apart,
            executable,
        };
        // Keys and values of the context.
        for slot in 0..if rig.apart { most } else { 1 } {
            rig.run((0..args.context).map(|position| (position, slot)))?;
        }
        rig.executable.set_profiling(args.profile);
        Ok(rig)
    }

    fn run(&mut self, rows: impl Iterator<Item = (u32, u32)>) -> Result<(), Box<dyn Error>> {
        let (positions, seqs): (Vec<u32>, Vec<u32>) = rows.unzip();
        let tokens: Vec<u32> = positions.iter().map(|p| 100 + p * 7919 % 1000).collect();
        let limit = self.executable.limits().outputs as usize;
        let outputs: Vec<u32> = (0..tokens.len().min(limit) as u32).collect();
        self.executable.run(&Batch {
            tokens: &tokens,
            positions: &positions,
            seqs: &seqs,
            outputs: &outputs,
            block_tables: &self.tables,
            window_tables: &[],
        })?;
        Ok(())
    }

    /// Milliseconds of a step of so many rows.
    fn step(&mut self, rows: u32) -> Result<f64, Box<dyn Error>> {
        let (context, apart) = (self.context, self.apart);
        let start = Instant::now();
        self.run((0..rows).map(|row| match apart {
            true => (context, row),
            false => (context + row, 0),
        }))?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<(), Box<dyn Error>> {
    let Some(args) = Args::read()? else {
        println!("rows: no model was given, nothing to measure");
        return Ok(());
    };
    let mut rig = Rig::new(&args)?;
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    for _ in 0..args.rounds {
        rounds.push(
            args.rows
                .iter()
                .map(|&rows| rig.step(rows))
                .collect::<Result<_, _>>()?,
        );
    }
    println!("{}", rig.executable.report().target);
    println!("| rows | ms a step | of the first |\n| --- | --- | --- |");
    for (i, rows) in args.rows.iter().enumerate() {
        let time = median(rounds.iter().map(|round| round[i]).collect());
        let ratio = median(rounds.iter().map(|round| round[i] / round[0]).collect());
        println!("| {rows} | {time:.2} | {ratio:.2} |");
    }
    if args.profile {
        print!("{}", rig.executable.profile_text());
    }
    Ok(())
}
