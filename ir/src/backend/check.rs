//! Checks a batch against the bounds of the plan before anything is written.

use super::{Batch, ExecError, WindowPool};
use crate::plan::{KV_BLOCK, Limits};

/// Checks batches; owns what that needs, so that checking allocates nothing.
pub struct BatchCheck {
    limits: Limits,
    vocab: u32,
    kv_blocks: u32,
    windows: Option<WindowPool>,
    /// For each sequence slot, how many entries of its block table were found in range.
    checked: Vec<u32>,
}

impl BatchCheck {
    /// Of a plan with these limits, so many token ids, and a pool of so many KV blocks.
    pub fn new(limits: Limits, vocab: u32, kv_blocks: u32) -> BatchCheck {
        BatchCheck {
            limits,
            vocab,
            kv_blocks,
            windows: None,
            checked: vec![0; limits.seqs as usize],
        }
    }

    /// The same, with a pool for layers with a sliding window.
    pub fn with_windows(self, windows: Option<WindowPool>) -> BatchCheck {
        BatchCheck { windows, ..self }
    }

    /// Looks for a bound that the batch breaks.
    ///
    /// # Errors
    /// The first such bound.
    pub fn check(&mut self, batch: &Batch) -> Result<(), ExecError> {
        let (rows, limits) = (batch.tokens.len(), self.limits);
        at_most("rows", rows, limits.tokens)?;
        at_most("outputs", batch.outputs.len(), limits.outputs)?;
        for (what, got) in [
            ("positions", batch.positions.len()),
            ("sequence slots", batch.seqs.len()),
        ] {
            if got != rows {
                return Err(ExecError::Length {
                    what,
                    got,
                    want: rows,
                });
            }
        }
        let width = limits.blocks_per_seq() as usize;
        let seqs = batch.block_tables.len().checked_div(width).unwrap_or(0);
        if batch.block_tables.len() != seqs * width {
            let want = (seqs + 1) * width;
            return Err(ExecError::Length {
                what: "block table entries",
                got: batch.block_tables.len(),
                want,
            });
        }
        at_most("block tables", seqs, limits.seqs)?;
        if self.windows.is_some() && batch.window_tables.len() != batch.block_tables.len() {
            return Err(ExecError::Length {
                what: "window table entries",
                got: batch.window_tables.len(),
                want: batch.block_tables.len(),
            });
        }
        self.checked.fill(0);
        for row in 0..rows {
            below("token", row, batch.tokens[row], self.vocab)?;
            below("position", row, batch.positions[row], limits.ctx)?;
            below("sequence slot", row, batch.seqs[row], seqs as u32)?;
            self.check_blocks(batch, row, width)?;
            self.check_windows(batch, row, width)?;
        }
        batch
            .outputs
            .iter()
            .enumerate()
            .try_for_each(|(i, &row)| below("output row", i, row, rows as u32))
    }

    /// Looks for a block of a copy that there is not.
    ///
    /// # Errors
    /// The first such block.
    pub fn check_copy(&self, from: u32, to: u32) -> Result<(), ExecError> {
        let mut blocks = [from, to].into_iter().enumerate();
        blocks.try_for_each(|(row, block)| below("the KV block", row, block, self.kv_blocks))
    }

    /// As [`BatchCheck::check_copy`], of the pool of layers with a sliding window.
    ///
    /// # Errors
    /// The first such block.
    pub fn check_window_copy(&self, from: u32, to: u32) -> Result<(), ExecError> {
        let limit = self.windows.map_or(0, |pool| pool.blocks);
        let mut blocks = [from, to].into_iter().enumerate();
        blocks.try_for_each(|(row, block)| below("the window block", row, block, limit))
    }

    /// The blocks that hold the positions that the row sees through a window.
    fn check_windows(&self, batch: &Batch, row: usize, width: usize) -> Result<(), ExecError> {
        let Some(pool) = self.windows else { return Ok(()) };
        let (seq, position) = (batch.seqs[row] as usize, batch.positions[row]);
        let first = (position + 1).saturating_sub(pool.positions) / KV_BLOCK;
        let table = &batch.window_tables[seq * width..][..width];
        let seen = &table[first as usize..=(position / KV_BLOCK) as usize];
        seen.iter()
            .try_for_each(|&block| below("window block", row, block, pool.blocks))
    }

    /// The blocks that hold the positions up to the row's own.
    fn check_blocks(&mut self, batch: &Batch, row: usize, width: usize) -> Result<(), ExecError> {
        let seq = batch.seqs[row] as usize;
        let needed = batch.positions[row] / KV_BLOCK + 1;
        let table = &batch.block_tables[seq * width..(seq + 1) * width];
        for &block in table
            .iter()
            .take(needed as usize)
            .skip(self.checked[seq] as usize)
        {
            below("KV block", row, block, self.kv_blocks)?;
        }
        self.checked[seq] = self.checked[seq].max(needed);
        Ok(())
    }
}

fn at_most(what: &'static str, got: usize, limit: u32) -> Result<(), ExecError> {
    let limit = limit as usize;
    if got <= limit {
        Ok(())
    } else {
        Err(ExecError::TooMany { what, got, limit })
    }
}

fn below(what: &'static str, row: usize, got: u32, limit: u32) -> Result<(), ExecError> {
    if got < limit {
        Ok(())
    } else {
        Err(ExecError::Range {
            what,
            row,
            got: got.into(),
            limit: limit.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 4 rows, 2 outputs, 2 sequences of 64 positions, 10 tokens, 5 blocks.
    fn check(batch: &Batch) -> Result<(), String> {
        let limits = Limits {
            tokens: 4,
            outputs: 2,
            seqs: 2,
            ctx: 64,
        };
        BatchCheck::new(limits, 10, 5)
            .check(batch)
            .map_err(|e| e.to_string())
    }

    const GOOD: Batch = Batch {
        tokens: &[1, 9],
        positions: &[31, 32],
        seqs: &[1, 1],
        outputs: &[1],
        block_tables: &[99, 99, 4, 0],
        window_tables: &[],
    };

    #[test]
    fn a_batch_within_bounds_passes() {
        assert_eq!(check(&GOOD), Ok(()));
        assert_eq!(
            check(&Batch {
                positions: &[0, 31],
                block_tables: &[99, 99, 4, 77],
                ..GOOD
            }),
            Ok(())
        );
    }

    #[test]
    fn windows_are_checked_as_far_as_rows_see() {
        let limits = Limits {
            tokens: 4,
            outputs: 2,
            seqs: 1,
            ctx: 128,
        };
        let windows = Some(WindowPool {
            blocks: 3,
            positions: 33,
        });
        let check = |positions: &[u32], window_tables: &[u32]| {
            let batch = Batch {
                tokens: &[1, 1],
                positions,
                seqs: &[0, 0],
                outputs: &[],
                block_tables: &[0; 4],
                window_tables,
            };
            let checked = BatchCheck::new(limits, 10, 5).with_windows(windows).check(&batch);
            checked.map_err(|e| e.to_string())
        };
        // Position 96 sees 64 and those after it.
        assert_eq!(check(&[96, 97], &[9, 9, 2, 0]), Ok(()));
        assert_eq!(
            check(&[95, 96], &[9, 9, 2, 0]),
            Err("window block 9 of row 0 is not below 3".to_owned())
        );
        assert_eq!(
            check(&[0, 1], &[0; 3]),
            Err("the step has 3 window table entries, but 4 were expected".to_owned())
        );
    }

    #[test]
    fn every_broken_bound_is_named() {
        let cases: [(Batch, &str); 10] = [
            (
                Batch {
                    tokens: &[0; 5],
                    ..GOOD
                },
                "the step has 5 rows, more than the plan's 4",
            ),
            (
                Batch {
                    outputs: &[0, 1, 0],
                    ..GOOD
                },
                "the step has 3 outputs, more than the plan's 2",
            ),
            (
                Batch {
                    positions: &[1],
                    ..GOOD
                },
                "the step has 1 positions, but 2 were expected",
            ),
            (
                Batch { seqs: &[1], ..GOOD },
                "the step has 1 sequence slots, but 2 were expected",
            ),
            (
                Batch {
                    block_tables: &[1; 3],
                    ..GOOD
                },
                "the step has 3 block table entries, but 4 were expected",
            ),
            (
                Batch {
                    block_tables: &[1; 6],
                    ..GOOD
                },
                "the step has 3 block tables, more than the plan's 2",
            ),
            (
                Batch {
                    tokens: &[1, 10],
                    ..GOOD
                },
                "token 10 of row 1 is not below 10",
            ),
            (
                Batch {
                    positions: &[64, 1],
                    ..GOOD
                },
                "position 64 of row 0 is not below 64",
            ),
            (
                Batch {
                    seqs: &[1, 2],
                    ..GOOD
                },
                "sequence slot 2 of row 1 is not below 2",
            ),
            (
                Batch {
                    outputs: &[2],
                    ..GOOD
                },
                "output row 2 of row 0 is not below 2",
            ),
        ];
        for (batch, error) in cases {
            assert_eq!(check(&batch), Err(error.to_owned()));
        }
        let bad_block = Batch {
            block_tables: &[0, 0, 4, 5],
            ..GOOD
        };
        assert_eq!(
            check(&bad_block),
            Err("KV block 5 of row 1 is not below 5".to_owned())
        );
    }
}
