//! Blocks of sequences that gave way, and what moving them costs beside computing rows.

use super::content::{read_blocks, write_blocks};
use crate::error::Error;
use crate::schedule::{Move, Ticket};
use lathe_ir::backend::Executable;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The weight of a new measurement.
const NEW: f64 = 0.25;

/// Fewest rows of a step whose time says what a row takes where there are many.
const MANY: usize = 8;

/// When blocks of sequences that give way are kept elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SwapWhen {
    /// Where that took less time so far than computing their rows again.
    #[default]
    Cheaper,
    /// Wherever there is room, so that what happens depends on no clock.
    Always,
}

/// Contents of blocks, and times.
#[derive(Default)]
pub(super) struct SwapStore {
    when: SwapWhen,
    kept: HashMap<Ticket, Vec<Vec<u8>>>,
    /// Seconds that a block takes to go out or come back, and that a row of many takes.
    block: Option<f64>,
    row: Option<f64>,
}

impl SwapStore {
    /// Nothing is kept, and nothing measured.
    pub(super) fn new(when: SwapWhen) -> SwapStore {
        SwapStore {
            when,
            ..SwapStore::default()
        }
    }

    /// Makes a move.
    ///
    /// # Errors
    /// Where the device fails, or nothing is kept under a number.
    pub(super) fn make(&mut self, one: Move, executable: &mut dyn Executable) -> Result<(), Error> {
        let start = Instant::now();
        match one {
            Move::Copy(copy) => {
                executable.copy_block(copy.from.number(), copy.to.number())?;
                if let Some((from, to)) = copy.window {
                    executable.copy_window_block(from.number(), to.number())?;
                }
            }
            Move::Out(ticket, pairs) => {
                self.kept.insert(ticket, read_blocks(executable, &pairs)?);
                note(&mut self.block, start.elapsed(), pairs.len());
            }
            Move::In { ticket, skip, to } => {
                let kept = self.kept.remove(&ticket).ok_or(Error::Lost)?;
                write_blocks(executable, &to, kept.get(skip..).unwrap_or_default())?;
                note(&mut self.block, start.elapsed(), to.len());
            }
            Move::Drop(ticket) => {
                self.kept.remove(&ticket);
            }
        }
        Ok(())
    }

    /// Blocks that are kept.
    pub(super) fn blocks(&self) -> usize {
        self.kept.values().map(Vec::len).sum()
    }

    /// Forgets all blocks: nobody goes on from them.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
    }

    /// Takes the time of a step.
    pub(super) fn note_step(&mut self, time: Duration, rows: usize) {
        if rows >= MANY {
            note(&mut self.row, time, rows);
        }
    }

    /// What it costs to keep a block and put it back, in rows; nothing before both were measured.
    pub(super) fn cost(&self) -> f64 {
        let measured = self.block.zip(self.row);
        let measured = measured.filter(|_| self.when == SwapWhen::Cheaper);
        measured.map_or(0.0, |(block, row)| 2.0 * block / row)
    }
}

/// Mixes the time of one of `count` things into what is known.
fn note(known: &mut Option<f64>, time: Duration, count: usize) {
    if count > 0 {
        let one = time.as_secs_f64() / count as f64;
        *known = Some(known.map_or(one, |known| known + NEW * (one - known)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_follow_what_was_measured() {
        let measured = |when| {
            let mut store = SwapStore::new(when);
            let mut costs = vec![store.cost()];
            note(&mut store.block, Duration::from_millis(30), 10);
            costs.push(store.cost());
            // Too few rows say nothing.
            store.note_step(Duration::from_secs(9), MANY - 1);
            store.note_step(Duration::from_millis(8), 16);
            costs.push(store.cost());
            note(&mut store.block, Duration::from_millis(70), 10);
            costs.push(store.cost());
            costs
        };
        let near = |got: f64, want: f64| (got - want).abs() < 1e-9;
        let costs = measured(SwapWhen::Cheaper);
        assert!(
            costs
                .iter()
                .zip([0.0, 0.0, 12.0, 16.0])
                .all(|(&got, want)| near(got, want)),
            "{costs:?}"
        );
        assert_eq!(measured(SwapWhen::Always), [0.0; 4]);
    }
}
