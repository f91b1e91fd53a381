//! The largest of a row of logits.

use super::{Batch, ExecError, Executable};

/// Logits that are looked through together.
const RUN: usize = 256;

/// The first of the largest finite logits; `None` where none is finite.
pub fn argmax(logits: &[f32]) -> Option<u32> {
    let peak = peak(logits);
    if !peak.is_finite() {
        return None;
    }
    // Run by run, so that a vector instruction compares many.
    let has_peak = |run: &[f32]| run.iter().fold(false, |any, &logit| any | (logit == peak));
    let first = logits.chunks(RUN).position(has_peak)? * RUN;
    let place = logits[first..].iter().position(|&logit| logit == peak)?;
    Some((first + place) as u32)
}

/// The largest finite logit; `-inf` where there is none.
pub fn peak(logits: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a && b < f32::INFINITY { b } else { a };
    // Several maxima side by side, so that a vector instruction compares many.
    let mut best = [f32::NEG_INFINITY; 32];
    let (chunks, rest) = logits.as_chunks::<32>();
    for chunk in chunks {
        for (best, &logit) in best.iter_mut().zip(chunk) {
            *best = larger(*best, logit);
        }
    }
    best.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
}

/// [`Executable::run_largest`] by the logits of the step.
///
/// # Errors
/// As [`Executable::run`].
pub fn largest_of_rows<E: Executable + ?Sized>(
    executable: &mut E,
    batch: &Batch,
    largest: &mut Vec<Option<u32>>,
) -> Result<(), ExecError> {
    let width = executable.width().max(1) as usize;
    let logits = executable.run(batch)?;
    largest.extend(logits.chunks_exact(width).map(argmax));
    Ok(())
}
