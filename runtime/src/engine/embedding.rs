//! Embeddings: what is asked for, how the engine takes it, and the rows of a text pooled as they come.

use super::{Active, Engine, Event, RequestId};
use crate::error::Error;
use crate::evaluator::check_tokens;
use crate::schedule::{self, Reason};
use lathe_frontend::pooling::Pooling;
use lathe_ir::plan::ModelOutput;
use std::collections::BTreeMap;

/// The embedding of a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EmbeddingRequest {
    /// The text's tokens.
    pub tokens: Vec<u32>,
    /// How the rows of its tokens become one.
    pub pooling: Pooling,
    /// Whether each row of the embedding is scaled to a length of 1.
    pub normalize: bool,
}

/// An embedding.
#[derive(Clone, PartialEq, Debug)]
pub struct Embedding {
    /// `[rows, width]`: one row, or one for each token where nothing is pooled.
    pub values: Vec<f32>,
    /// Elements of a row.
    pub width: usize,
    /// Tokens of the text.
    pub tokens: usize,
}

impl Embedding {
    /// The rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.width.max(1))
    }
}

/// An embedding under way. It takes the rows of the model in the order of their positions, however they are cut into steps,
/// and sums in that order: so the cut changes no bit.
#[derive(Debug)]
pub(super) struct Pooler {
    request: EmbeddingRequest,
    width: usize,
    /// The position of the next row that is not taken yet.
    next: usize,
    /// Rows as they are, one after another; those that pooling keeps.
    rows: Vec<f32>,
    /// The sum of all rows, where the mean is asked for.
    sum: Vec<f64>,
}

impl Pooler {
    pub(super) fn new(request: EmbeddingRequest, width: usize) -> Pooler {
        let sum = if request.pooling == Pooling::Mean {
            width
        } else {
            0
        };
        Pooler {
            request,
            width,
            next: 0,
            rows: Vec::new(),
            sum: vec![0.0; sum],
        }
    }

    /// Takes rows from the position `start` on. Those that a preempted sequence computes again are there already.
    pub(super) fn take<'r>(&mut self, start: usize, rows: impl Iterator<Item = &'r [f32]>) {
        for (position, row) in (start..).zip(rows) {
            if position < self.next {
                continue;
            }
            self.next = position + 1;
            match self.request.pooling {
                Pooling::None => self.rows.extend_from_slice(row),
                Pooling::Mean => add(&mut self.sum, row),
                Pooling::Cls if position > 0 => {}
                Pooling::Cls | Pooling::Last => {
                    self.rows.clear();
                    self.rows.extend_from_slice(row);
                }
            }
        }
    }

    /// What came of it. One that ends by itself has taken the rows of all its tokens.
    pub(super) fn end(mut self, reason: Reason) -> Result<Embedding, Error> {
        if !matches!(reason, Reason::Stopped | Reason::Length) {
            return Err(Error::Cancelled);
        }
        let tokens = self.request.tokens.len();
        if self.request.pooling == Pooling::Mean {
            self.rows = self.sum.iter().map(|sum| (sum / tokens as f64) as f32).collect();
        }
        if self.request.normalize {
            self.rows.chunks_exact_mut(self.width.max(1)).for_each(normalize);
        }
        if !self.rows.iter().all(|value| value.is_finite()) {
            return Err(Error::NotFinite);
        }
        Ok(Embedding {
            values: self.rows,
            width: self.width,
            tokens,
        })
    }
}

impl Engine {
    /// Checks what can be said of a request before it is taken.
    ///
    /// # Errors
    /// No tokens, too many, or one out of range; a model that is compiled for logits.
    pub fn check_embedding(&self, request: &EmbeddingRequest) -> Result<(), Error> {
        self.check_output(ModelOutput::Embeddings)?;
        check_tokens(&request.tokens, self.executable.vocab(), self.context())
    }

    /// Takes a request for an embedding; the steps after that work on it.
    ///
    /// # Errors
    /// As [`Engine::check_embedding`]; a full queue.
    pub fn submit_embedding(&mut self, request: EmbeddingRequest) -> Result<RequestId, Error> {
        self.revive()?;
        self.check_embedding(&request)?;
        let every_row = request.pooling != Pooling::Last;
        let scheduled = schedule::Request {
            every_row,
            ..schedule::Request::new(request.tokens.clone(), 0)
        };
        let id = self.scheduler.submit(scheduled, self.origin.elapsed())?;
        let width = self.executable.width() as usize;
        let pooler = Pooler::new(request, width);
        self.active.insert(id, Active::Embedding(pooler));
        Ok(id)
    }

    /// Embeds texts side by side; the embeddings are in their order.
    ///
    /// # Errors
    /// As [`Engine::submit_embedding`]: all are checked before anything is computed.
    pub fn embed(&mut self, requests: &[EmbeddingRequest]) -> Result<Vec<Embedding>, Error> {
        requests
            .iter()
            .try_for_each(|request| self.check_embedding(request))?;
        let mut embeddings: Vec<Option<Embedding>> = vec![None; requests.len()];
        let mut under_way: BTreeMap<RequestId, usize> = BTreeMap::new();
        let mut left = requests.iter().enumerate();
        let mut failed = None;
        loop {
            while self.load().0 < self.scheduler.config().queue
                && let Some((number, request)) = left.next()
            {
                under_way.insert(self.submit_embedding(request.clone())?, number);
            }
            let more = self.step(&mut |id, event| {
                if let Event::Embedding { result } = event
                    && let Some(number) = under_way.remove(&id)
                {
                    match result {
                        Ok(embedding) => embeddings[number] = Some(embedding),
                        Err(error) => failed = failed.take().or(Some(error)),
                    }
                }
                true
            });
            if let Some(error) = failed {
                under_way.keys().for_each(|&id| self.cancel(id));
                return Err(error);
            }
            if !more && left.len() == 0 {
                return embeddings.into_iter().collect::<Option<_>>().ok_or(Error::Lost);
            }
        }
    }
}

fn add(sum: &mut [f64], row: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(row) {
        *sum += f64::from(*value);
    }
}

/// Scales a row to a Euclidean length of 1; zeros stay.
fn normalize(row: &mut [f32]) {
    let length = row
        .iter()
        .map(|&v| f64::from(v) * f64::from(v))
        .sum::<f64>()
        .sqrt();
    if length > 0.0 {
        row.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [[f32; 3]; 3] = [[3.0, 0.0, 4.0], [1e9, 1.0, 2.0], [-1e9, 5.0, 0.0]];

    fn pooler(pooling: Pooling, normalize: bool) -> Pooler {
        let request = EmbeddingRequest {
            tokens: vec![0; ROWS.len()],
            pooling,
            normalize,
        };
        Pooler::new(request, 3)
    }

    fn rows(from: usize) -> impl Iterator<Item = &'static [f32]> {
        ROWS[from..].iter().map(|row| &row[..])
    }

    #[test]
    fn rows_that_come_again_count_once() {
        for pooling in [Pooling::None, Pooling::Mean, Pooling::Cls, Pooling::Last] {
            let end = |cuts: &[(usize, usize)]| {
                let mut pooler = pooler(pooling, false);
                for &(start, count) in cuts {
                    pooler.take(start, rows(start).take(count));
                }
                pooler.end(Reason::Stopped).unwrap().values
            };
            let whole = end(&[(0, 3)]);
            assert_eq!(end(&[(0, 1), (1, 1), (2, 1)]), whole, "{pooling}");
            assert_eq!(end(&[(0, 2), (0, 1), (1, 2)]), whole, "{pooling}");
            let want: &[f32] = match pooling {
                Pooling::None => ROWS.as_flattened(),
                // In f32 the 3 would be lost.
                Pooling::Mean => &[1.0, 2.0, 2.0],
                Pooling::Cls => &ROWS[0],
                Pooling::Last => &ROWS[2],
            };
            assert_eq!(whole, want, "{pooling}");
        }
    }

    #[test]
    fn rows_are_scaled_to_a_length_of_one() {
        let mut one = pooler(Pooling::Cls, true);
        one.take(0, rows(0));
        assert_eq!(one.end(Reason::Length).unwrap().values, [0.6, 0.0, 0.8]);
        let mut zero = pooler(Pooling::Last, true);
        zero.take(2, std::iter::once(&[0.0f32; 3][..]));
        assert_eq!(zero.end(Reason::Length).unwrap().values, [0.0; 3]);
        let mut bad = pooler(Pooling::Last, true);
        bad.take(2, std::iter::once(&[f32::NAN; 3][..]));
        assert_eq!(bad.end(Reason::Length), Err(Error::NotFinite));
        assert_eq!(
            pooler(Pooling::Mean, true).end(Reason::Cancelled),
            Err(Error::Cancelled)
        );
    }
}
