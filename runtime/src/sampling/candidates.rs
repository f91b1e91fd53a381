//! The tokens under consideration, and what drops some of them.

/// A token under consideration.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Candidate {
    pub(super) token: u32,
    pub(super) logit: f32,
    /// The probability times some constant, once temperature was applied.
    pub(super) weight: f32,
}

impl Candidate {
    /// Most likely first; equal logits by token.
    pub(super) fn order(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
        b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
    }
}

/// The candidates of one token. Which ones are kept never depends on their order in memory; each step says what it leaves.
#[derive(Clone, Default, Debug)]
pub struct Candidates {
    list: Vec<Candidate>,
    /// Room for the typical set: distance from the expected surprise.
    distances: Vec<(f64, Candidate)>,
    /// Whether the list is in order of likelihood; else it is in order of token.
    sorted: bool,
}

impl Candidates {
    /// All tokens with a finite logit that `allowed` keeps, in order of token.
    pub(super) fn fill(&mut self, logits: &[f32], allowed: impl Fn(u32) -> bool) {
        self.list.clear();
        self.sorted = false;
        let tokens = logits.iter().enumerate().map(|(i, &logit)| (i as u32, logit));
        let kept = tokens.filter(|&(token, logit)| logit.is_finite() && allowed(token));
        self.list.extend(kept.map(|(token, logit)| Candidate {
            token,
            logit,
            weight: 0.0,
        }));
    }

    pub(super) fn list(&self) -> &[Candidate] {
        &self.list
    }

    /// The logit of a token, while candidates are in order of token.
    pub(super) fn logit_of(&mut self, token: u32) -> Option<&mut f32> {
        debug_assert!(!self.sorted, "candidates are searched by token");
        let at = self.list.binary_search_by_key(&token, |c| c.token).ok()?;
        Some(&mut self.list[at].logit)
    }

    /// Drops tokens whose logit is not finite any more.
    pub(super) fn drop_banned(&mut self) {
        self.list.retain(|c| c.logit.is_finite());
    }

    /// The most likely one.
    pub(super) fn best(&self) -> Option<u32> {
        let best = self.list.iter().min_by(|a, b| Candidate::order(a, b));
        best.map(|c| c.token)
    }

    fn peak(&self) -> f32 {
        let peak = self.list.iter().map(|c| c.logit);
        peak.fold(f32::NEG_INFINITY, f32::max)
    }

    fn total(&self) -> f64 {
        self.list.iter().map(|c| f64::from(c.weight)).sum()
    }

    /// Sets weights to the exponential of logits over `temperature`, 1 for the most likely.
    pub(super) fn soften(&mut self, temperature: f32) {
        let peak = self.peak();
        for c in &mut self.list {
            c.weight = ((c.logit - peak) / temperature).exp();
        }
    }

    fn sort(&mut self) {
        if !self.sorted {
            self.list.sort_unstable_by(Candidate::order);
            self.sorted = true;
        }
    }

    /// Keeps the `k` most likely, in order of likelihood.
    pub(super) fn top_k(&mut self, k: usize) {
        if !self.sorted && k < self.list.len() {
            self.list.select_nth_unstable_by(k, Candidate::order);
            self.list.truncate(k);
        }
        self.sort();
        self.list.truncate(k);
    }

    /// Keeps logits less than `n` standard deviations of all logits below the largest.
    pub(super) fn top_n_sigma(&mut self, n: f32) {
        let count = self.list.len() as f64;
        let mean = self.list.iter().map(|c| f64::from(c.logit)).sum::<f64>() / count;
        let squares = self.list.iter().map(|c| (f64::from(c.logit) - mean).powi(2));
        let sigma = (squares.sum::<f64>() / count).sqrt();
        let least = f64::from(self.peak()) - f64::from(n) * sigma;
        self.list.retain(|c| f64::from(c.logit) >= least);
    }

    /// Keeps the most likely ones whose probabilities sum to at least `p`, one at least, in order of likelihood.
    pub(super) fn top_p(&mut self, p: f32) {
        let wanted = self.total() * f64::from(p);
        // Most of a vocabulary is never looked at: the head is sorted, and a longer one where it does not do.
        let mut head = 256;
        while !self.sorted && head < self.list.len() {
            self.list.select_nth_unstable_by(head, Candidate::order);
            let weights = self.list[..head].iter().map(|c| f64::from(c.weight));
            if weights.sum::<f64>() >= wanted {
                self.list.truncate(head);
                break;
            }
            head *= 4;
        }
        self.sort();
        let mut sum = 0.0;
        let reached = self.list.iter().position(|c| {
            sum += f64::from(c.weight);
            sum >= wanted
        });
        self.list.truncate(reached.map_or(usize::MAX, |i| i + 1));
    }

    /// Drops those less likely than `p` times the most likely one.
    pub(super) fn min_p(&mut self, p: f32) {
        let best = self.list.iter().map(|c| c.weight).fold(0.0, f32::max);
        self.list.retain(|c| c.weight >= p * best);
    }

    /// Keeps those whose surprise is nearest to the expected one and whose probabilities sum to at least `p`, one at
    /// least, in order of likelihood.
    pub(super) fn typical(&mut self, p: f32) {
        let total = self.total();
        let surprise = |c: &Candidate| -(f64::from(c.weight) / total).ln();
        let likely = self.list.iter().filter(|c| c.weight > 0.0);
        let expected: f64 = likely.map(|c| f64::from(c.weight) / total * surprise(c)).sum();
        let distances = self.list.iter().map(|c| ((surprise(c) - expected).abs(), *c));
        self.distances.clear();
        self.distances.extend(distances);
        self.distances
            .sort_unstable_by(|(a, x), (b, y)| a.total_cmp(b).then(Candidate::order(x, y)));
        let wanted = total * f64::from(p);
        let mut sum = 0.0;
        let reached = self.distances.iter().position(|(_, c)| {
            sum += f64::from(c.weight);
            sum >= wanted
        });
        self.distances.truncate(reached.map_or(usize::MAX, |i| i + 1));
        self.list.clear();
        self.list.extend(self.distances.iter().map(|(_, c)| *c));
        self.sorted = false;
        self.sort();
    }

    /// Drops all that have at least the probability `threshold` but the least likely of them.
    pub(super) fn exclude_top(&mut self, threshold: f32) {
        let least = self.total() * f64::from(threshold);
        let top = |c: &&Candidate| f64::from(c.weight) >= least;
        let last = self.list.iter().filter(top).max_by(|a, b| Candidate::order(a, b));
        if let Some(&last) = last {
            self.list
                .retain(|c| f64::from(c.weight) < least || c.token == last.token);
        }
    }

    /// Drops those with a surprise of more than `bits`, but the most likely one; in order of likelihood.
    pub(super) fn within_surprise(&mut self, bits: f64) {
        let least = self.total() * (-bits).exp2();
        self.sort();
        let kept = self.list.partition_point(|c| f64::from(c.weight) >= least);
        self.list.truncate(kept.max(1));
    }

    /// The candidate at `point`, in `[0, 1)`, of the line of all probabilities, and its probability. Where there are
    /// none, token 0.
    pub(super) fn at(&self, point: f64) -> (u32, f64) {
        let total = self.total();
        let mut left = point * total;
        let chosen = self.list.iter().find(|c| {
            left -= f64::from(c.weight);
            left < 0.0
        });
        // Rounding may leave a little at the end.
        let last = || self.list.iter().rfind(|c| c.weight > 0.0);
        match chosen.or_else(last) {
            Some(c) => (c.token, f64::from(c.weight) / total),
            None => (0, 1.0),
        }
    }
}
