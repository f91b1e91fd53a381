//! `lathe perplexity`: how well a model predicts a text, and how far its predictions are from reference logits.

use super::args::{ModelArg, RunArgs};
use super::error::{CliError, read_text};
use super::logits::{ROWS, for_each_row};
use super::npy::{self, Matrix};
use clap::Args;
use lathe_runtime::Evaluator;
use serde_json::json;
use std::path::PathBuf;

#[derive(Args, Debug)]
#[command(after_help = "Example: lathe perplexity smollm2-135m --file book.txt --ctx 1024")]
pub struct Perplexity {
    #[command(flatten)]
    model: ModelArg,
    /// The text
    #[arg(long, short = 'f')]
    file: PathBuf,
    /// Reference logits, float32 [tokens, vocab], of the text's first window: also print the mean KL divergence from them
    #[arg(long)]
    reference: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    run: RunArgs,
}

/// Sums over predicted tokens.
#[derive(Default)]
struct Sums {
    /// −ln p of the tokens that came.
    nll: f64,
    predicted: usize,
    divergence: f64,
    compared: usize,
}

impl Perplexity {
    pub fn run(&self) -> Result<(), CliError> {
        let text = read_text(&self.file)?;
        let reference = self.reference.as_deref().map(npy::read).transpose()?;
        let mut options = self.run.build_options()?;
        options.chunk = options.chunk.min(ROWS);
        options.outputs = options.chunk;
        let built = self.model.load(&self.run, &options)?;
        let tokens = crate::session::prompt_tokens(&built.text, &text, false).map_err(CliError::input)?;
        if tokens.len() < 2 {
            return Err(CliError::input(format!(
                "{} has fewer than 2 tokens",
                self.file.display()
            )));
        }
        let mut evaluator = Evaluator::new(built.executable);
        let vocab = evaluator.executable().vocab() as usize;
        if let Some(Matrix { columns, rows, .. }) = &reference
            && (*columns != vocab || *rows > tokens.len())
        {
            let what = format!(
                "the reference is {rows}×{columns}, the text {} tokens of {vocab}",
                tokens.len()
            );
            return Err(CliError::input(what));
        }
        let mut sums = Sums::default();
        let window = evaluator.context();
        for (n, part) in tokens.chunks(window).enumerate() {
            let reference = reference.as_ref().filter(|_| n == 0);
            for_each_row(&mut evaluator, part, |first, rows| {
                for (i, logits) in rows.chunks_exact(vocab).enumerate() {
                    sums.add(logits, part.get(first + i + 1).copied(), reference, first + i);
                }
                Ok(())
            })?;
        }
        self.print(&sums, tokens.len())
    }

    fn print(&self, sums: &Sums, tokens: usize) -> Result<(), CliError> {
        let perplexity = (sums.nll / sums.predicted as f64).exp();
        let divergence = (sums.compared > 0).then(|| sums.divergence / sums.compared as f64);
        if self.json {
            outln!(
                "{}",
                json!({"perplexity": perplexity, "tokens": tokens, "kl": divergence})
            );
            return Ok(());
        }
        outln!("perplexity {perplexity:.4} over {} predictions", sums.predicted);
        if let Some(kl) = divergence {
            outln!(
                "mean KL divergence from the reference {kl:.3e} nats over {} positions",
                sums.compared
            );
        }
        Ok(())
    }
}

impl Sums {
    fn add(&mut self, logits: &[f32], next: Option<u32>, reference: Option<&Matrix>, row: usize) {
        let norm = log_sum_exp(logits);
        if let Some(next) = next {
            self.nll += norm - f64::from(logits[next as usize]);
            self.predicted += 1;
        }
        let Some(r) = reference.filter(|r| row < r.rows) else {
            return;
        };
        let wanted = &r.values[row * r.columns..(row + 1) * r.columns];
        let wanted_norm = log_sum_exp(wanted);
        let terms = wanted.iter().zip(logits).map(|(w, l)| {
            let log_p = f64::from(*w) - wanted_norm;
            log_p.exp() * (log_p - (f64::from(*l) - norm))
        });
        self.divergence += terms.sum::<f64>();
        self.compared += 1;
    }
}

/// `ln Σ eˣ`.
fn log_sum_exp(x: &[f32]) -> f64 {
    let peak = f64::from(x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    peak + x.iter().map(|&v| (f64::from(v) - peak).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_logits_diverge_by_nothing() {
        let reference = Matrix {
            rows: 1,
            columns: 3,
            values: vec![1.0, 2.0, 3.0],
        };
        let mut sums = Sums::default();
        sums.add(&[1.5, 2.5, 3.5], Some(2), Some(&reference), 0);
        assert!(sums.divergence.abs() < 1e-9);
        let p = 3f64.exp() / (1f64.exp() + 2f64.exp() + 3f64.exp());
        assert!((sums.nll + p.ln()).abs() < 1e-6);
        sums.add(&[3.0, 2.0, 1.0], None, Some(&reference), 0);
        assert!(sums.divergence > 0.5);
    }
}
