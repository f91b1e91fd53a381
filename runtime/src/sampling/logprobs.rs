//! Log-probabilities of the distribution as the model has it, before anything of the sampling chain.

/// A token and the natural logarithm of its probability.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TokenLogprob {
    /// The token.
    pub token: u32,
    /// Its log-probability.
    pub logprob: f32,
}

/// What the model thought of a token that was picked.
#[derive(Clone, PartialEq, Debug)]
pub struct Logprobs {
    /// The token picked.
    pub picked: TokenLogprob,
    /// The most likely tokens, the likeliest first; equal ones by token.
    pub top: Vec<TokenLogprob>,
}

/// The log-probability of `token` and of the `top` most likely tokens, from a row of logits. Logits that are not finite
/// have no probability.
pub fn logprobs(logits: &[f32], token: u32, top: usize) -> Logprobs {
    let finite = || logits.iter().filter(|l| l.is_finite());
    let peak = finite().copied().fold(f32::NEG_INFINITY, f32::max);
    // In f64: of 150,000 small numbers, an f32 would lose the last ones.
    let total: f64 = finite().map(|&l| f64::from(l - peak).exp()).sum();
    let log_total = f64::from(peak) + total.ln();
    let of = |token: u32| TokenLogprob {
        token,
        logprob: match logits.get(token as usize) {
            Some(&l) if l.is_finite() => (f64::from(l) - log_total) as f32,
            _ => f32::NEG_INFINITY,
        },
    };
    Logprobs {
        picked: of(token),
        top: most_likely(logits, top).into_iter().map(of).collect(),
    }
}

/// The `n` tokens of largest finite logit, the largest first.
fn most_likely(logits: &[f32], n: usize) -> Vec<u32> {
    let order = |&a: &u32, &b: &u32| {
        let (x, y) = (logits[a as usize], logits[b as usize]);
        y.total_cmp(&x).then(a.cmp(&b))
    };
    let mut best: Vec<u32> = Vec::with_capacity(n + 1);
    for token in (0..logits.len() as u32).filter(|&t| logits[t as usize].is_finite()) {
        let worse = |last: &u32| order(&token, last).is_ge();
        if n == 0 || (best.len() == n && best.last().is_some_and(worse)) {
            continue;
        }
        let at = best.partition_point(|b| order(b, &token).is_lt());
        best.insert(at, token);
        best.truncate(n);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_of_the_softmax() {
        let logits = [1.0f32, 3.0, f32::NAN, 2.0, 3.0, f32::NEG_INFINITY];
        let total = (1f64.exp() + 2f64.exp() + 2.0 * 3f64.exp()).ln();
        let found = logprobs(&logits, 3, 3);
        let near = |a: f32, b: f64| (f64::from(a) - b).abs() < 1e-6;
        assert!(near(found.picked.logprob, 2.0 - total));
        let tokens: Vec<u32> = found.top.iter().map(|t| t.token).collect();
        assert_eq!(tokens, [1, 4, 3]);
        assert!(near(found.top[0].logprob, 3.0 - total));
        assert_eq!(logprobs(&logits, 2, 0).picked.logprob, f32::NEG_INFINITY);
        assert_eq!(
            logprobs(&logits, 0, 99).top.len(),
            4,
            "only what has a probability"
        );
    }

    #[test]
    fn large_vocabularies_add_up() {
        let logits: Vec<f32> = (0..150_000).map(|i| (i as f32 * 0.37).sin() * 8.0).collect();
        let sum: f64 = (0..logits.len() as u32)
            .step_by(1000)
            .map(|t| f64::from(logprobs(&logits, t, 0).picked.logprob).exp())
            .sum();
        let all: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        let some: f64 = logits.iter().step_by(1000).map(|&l| f64::from(l).exp()).sum();
        assert!((sum - some / all).abs() < 1e-9, "{sum} against {}", some / all);
    }
}
