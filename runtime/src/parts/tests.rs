//! Two parts that keep a number for each block: which of them runs, and what a failure or a bad number leaves behind.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const LIMITS: Limits = Limits {
    tokens: 4,
    outputs: 2,
    seqs: 1,
    ctx: 64,
};

/// What a test sees and decides of a part.
#[derive(Clone, Default)]
struct Handle {
    runs: Arc<AtomicU32>,
    fails: Arc<AtomicBool>,
}

/// A part: the first gives two elements a row, its token and twice that; the rest adds the elements of a row. A block holds
/// one number, and as many window blocks as there are hold another each.
struct Part {
    takes: Option<u32>,
    limits: Limits,
    blocks: Vec<u8>,
    windows: Vec<u8>,
    output: Vec<f32>,
    handle: Handle,
    report: BuildReport,
}

impl Part {
    fn new(takes: Option<u32>, blocks: u32, windows: u32) -> Part {
        Part {
            takes,
            limits: LIMITS,
            blocks: (0..blocks as u8).collect(),
            windows: (100..100 + windows as u8).collect(),
            output: Vec::new(),
            handle: Handle::default(),
            report: BuildReport {
                stages: vec![("pack".into(), Default::default())],
                kv_bytes: 5,
                target: "a machine".into(),
                ..BuildReport::default()
            },
        }
    }
}

impl Executable for Part {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn vocab(&self) -> u32 {
        10
    }

    fn gives(&self) -> ModelOutput {
        match self.takes {
            None => ModelOutput::Hidden,
            Some(_) => ModelOutput::Logits,
        }
    }

    fn width(&self) -> u32 {
        if self.takes.is_none() { 2 } else { 1 }
    }

    fn kv_blocks(&self) -> u32 {
        self.blocks.len() as u32
    }

    fn windows(&self) -> Option<WindowPool> {
        let blocks = self.windows.len() as u32;
        (blocks > 0).then_some(WindowPool { blocks, positions: 8 })
    }

    fn takes(&self) -> Option<u32> {
        self.takes
    }

    fn run(&mut self, batch: &Batch) -> Result<&[f32], ExecError> {
        self.run_on(batch, &[])
    }

    fn run_on(&mut self, batch: &Batch, hidden: &[f32]) -> Result<&[f32], ExecError> {
        self.handle.runs.fetch_add(1, Ordering::Relaxed);
        if self.handle.fails.load(Ordering::Relaxed) {
            return Err(ExecError::Device("it is tired".into()));
        }
        self.output = match self.takes {
            None => batch
                .tokens
                .iter()
                .flat_map(|&t| [t as f32, 2.0 * t as f32])
                .collect(),
            Some(_) => {
                let row = |&row: &u32| hidden[2 * row as usize..][..2].iter().sum();
                batch.outputs.iter().map(row).collect()
            }
        };
        Ok(&self.output)
    }

    fn copy_block(&mut self, from: u32, to: u32) -> Result<(), ExecError> {
        self.blocks[to as usize] = self.blocks[from as usize];
        Ok(())
    }

    fn copy_window_block(&mut self, from: u32, to: u32) -> Result<(), ExecError> {
        self.windows[to as usize] = self.windows[from as usize];
        Ok(())
    }

    fn block_bytes(&self) -> Option<u64> {
        Some(1 + u64::from(!self.windows.is_empty()))
    }

    fn read_block(&mut self, block: u32, window: Option<u32>, out: &mut Vec<u8>) -> Result<(), ExecError> {
        out.push(self.blocks[block as usize]);
        out.extend(window.map(|window| self.windows[window as usize]));
        Ok(())
    }

    fn write_block(&mut self, block: u32, window: Option<u32>, bytes: &[u8]) -> Result<(), ExecError> {
        self.blocks[block as usize] = bytes[0];
        if let Some(window) = window {
            self.windows[window as usize] = bytes[1];
        }
        Ok(())
    }

    fn output(&self) -> &[f32] {
        &self.output
    }

    fn weight_bytes_per_step(&self) -> Option<u64> {
        Some(7)
    }

    fn report(&self) -> &BuildReport {
        &self.report
    }
}

const BATCH: Batch = Batch {
    tokens: &[3, 4],
    positions: &[0, 1],
    seqs: &[0, 0],
    outputs: &[1],
    block_tables: &[2, 0],
    window_tables: &[0, 0],
};

fn parts(first: Part, rest: Part) -> Result<Parts, PartsError> {
    Parts::new(Box::new(first), Box::new(rest), ["layer 0", "layers 1-2"])
}

/// A first part with 4 blocks, and a rest with 3 and 2 window blocks.
fn uneven() -> (Parts, [Handle; 2]) {
    let (first, rest) = (Part::new(None, 4, 0), Part::new(Some(2), 3, 2));
    let handles = [first.handle.clone(), rest.handle.clone()];
    (parts(first, rest).unwrap(), handles)
}

#[test]
fn the_rest_goes_on_with_the_rows_of_the_first() {
    let (mut parts, _) = uneven();
    assert_eq!((parts.kv_blocks(), parts.vocab(), parts.width()), (3, 10, 1));
    assert_eq!((parts.gives(), parts.takes()), (ModelOutput::Logits, None));
    assert!(parts.output().is_empty());
    assert_eq!(parts.run(&BATCH).unwrap(), [12.0]);
    assert_eq!(parts.output(), [12.0]);
    assert_eq!(parts.weight_bytes_per_step(), Some(14));
    let report = parts.report();
    assert_eq!(report.kv_bytes, 10);
    assert_eq!(report.stages[1].0, "pack, layers 1-2");
    assert_eq!(report.target, "layer 0: a machine; layers 1-2: a machine");
}

#[test]
fn a_batch_out_of_bounds_runs_nothing() {
    let (mut parts, handles) = uneven();
    parts.run(&BATCH).unwrap();
    // A block that the first part has and the rest has not.
    let bad = Batch {
        block_tables: &[3, 0],
        ..BATCH
    };
    let error = parts.run(&bad).unwrap_err();
    assert_eq!(error.to_string(), "KV block 3 of row 0 is not below 3");
    assert!(parts.copy_block(0, 3).is_err() && parts.copy_window_block(0, 2).is_err());
    assert_eq!(parts.output(), [12.0]);
    assert_eq!(handles.map(|h| h.runs.load(Ordering::Relaxed)), [1, 1]);
}

#[test]
fn a_part_that_fails_leaves_no_result() {
    for failing in 0..2 {
        let (mut parts, handles) = uneven();
        parts.run(&BATCH).unwrap();
        handles[failing].fails.store(true, Ordering::Relaxed);
        let error = parts.run(&BATCH).unwrap_err();
        assert_eq!(error, ExecError::Device("it is tired".into()));
        assert!(parts.output().is_empty());
        assert_eq!(handles[1].runs.load(Ordering::Relaxed), 1 + failing as u32);
        handles[failing].fails.store(false, Ordering::Relaxed);
        assert_eq!(parts.run(&BATCH).unwrap(), [12.0]);
    }
}

#[test]
fn blocks_are_copied_read_and_written_in_both() {
    let (mut parts, _) = uneven();
    let read = |parts: &mut Parts, block, window| {
        let mut bytes = Vec::new();
        parts.read_block(block, window, &mut bytes).unwrap();
        bytes
    };
    assert_eq!(parts.block_bytes(), Some(3));
    parts.copy_block(2, 1).unwrap();
    parts.copy_window_block(1, 0).unwrap();
    assert_eq!(read(&mut parts, 1, Some(0)), [2, 2, 101]);
    assert_eq!(read(&mut parts, 1, None), [2, 2]);
    parts.write_block(0, Some(1), &[7, 8, 9]).unwrap();
    assert_eq!(read(&mut parts, 0, Some(1)), [7, 8, 9]);
    parts.write_block(0, None, &[5, 6]).unwrap();
    assert_eq!(read(&mut parts, 0, Some(1)), [5, 6, 9]);
    // Too few bytes for the rest: the first part keeps its own.
    let error = parts.write_block(0, Some(1), &[1, 1]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the step has 2 bytes of a block, but 3 were expected"
    );
    assert!(parts.write_block(0, Some(2), &[1, 1, 1]).is_err());
    assert_eq!(read(&mut parts, 0, Some(1)), [5, 6, 9]);
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let refused = |first, rest| parts(first, rest).err().map(|e| e.to_string());
    let wide = refused(Part::new(None, 4, 0), Part::new(Some(3), 4, 0));
    assert_eq!(
        wide.unwrap(),
        "the first part gives 2 elements of hidden states, and the rest takes 3"
    );
    assert!(refused(Part::new(Some(2), 4, 0), Part::new(Some(2), 4, 0)).is_some());
    assert!(refused(Part::new(None, 4, 0), Part::new(None, 4, 0)).is_some());
    let mut shorter = Part::new(Some(2), 4, 0);
    shorter.limits.ctx = 32;
    assert_eq!(
        refused(Part::new(None, 4, 0), shorter).unwrap(),
        "the parts of the model have different bounds"
    );
    let both = parts(Part::new(None, 4, 3), Part::new(Some(2), 4, 2)).unwrap();
    assert_eq!(both.windows().map(|w| w.blocks), Some(2));
}
