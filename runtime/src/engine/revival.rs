//! A device that failed is opened anew: everything on it is lost, and what comes after starts from nothing.

use super::drafter::Drafter;
use super::{Engine, Show};
use crate::error::Error;
use lathe_ir::backend::{Batch, BuildReport, ExecError, Executable, WindowPool};
use lathe_ir::plan::{Limits, ModelOutput};
use std::time::{Duration, Instant};

/// How long requests are refused after a device could not be opened, before that is tried again.
const PAUSE: Duration = Duration::from_secs(2);

/// What stands in for executables that were lost.
pub struct Reopened {
    /// The model, with the bounds that it had.
    pub model: Box<dyn Executable>,
    /// The smaller model that writes ahead, where there was one.
    pub draft: Option<Box<dyn Executable>>,
}

/// Opens the device anew, told why it failed; or says why that can't be done now. What was on the device is gone by then.
pub type Reopen = dyn FnMut(&str) -> Result<Reopened, String> + Send;

/// How to get over a failure of the device.
pub(super) struct Revival {
    reopen: Box<Reopen>,
    lost: Option<Lost>,
}

struct Lost {
    why: String,
    /// Whether there was a smaller model too.
    draft: bool,
    /// When to try again.
    next: Instant,
}

impl Revival {
    /// Tries to open the device that was lost, unless that was tried just now.
    fn revive(&mut self, gone: &dyn Executable) -> Result<Option<Reopened>, Error> {
        let Some(lost) = &mut self.lost else {
            return Ok(None);
        };
        if Instant::now() < lost.next {
            return Err(Error::Device(lost.why.clone()));
        }
        let reopened = (self.reopen)(&lost.why).and_then(|new| {
            let same = Gone::of(gone).is_like(new.model.as_ref()) && new.draft.is_some() == lost.draft;
            same.then_some(new)
                .ok_or_else(|| "the model that was opened anew has other bounds".to_owned())
        });
        match reopened {
            Ok(new) => {
                self.lost = None;
                Ok(Some(new))
            }
            Err(why) => {
                lost.next = Instant::now() + PAUSE;
                lost.why = why.clone();
                Err(Error::Device(why))
            }
        }
    }
}

impl Engine {
    /// The same with a way to open the device anew when it fails. Until that is done, requests are refused.
    pub fn with_revival(self, reopen: Box<Reopen>) -> Engine {
        let revival = Revival { reopen, lost: None };
        Engine {
            revival: Some(revival),
            ..self
        }
    }

    /// Opens the device anew, if it was lost.
    pub(super) fn revive(&mut self) -> Result<(), Error> {
        let Some(revival) = &mut self.revival else {
            return Ok(());
        };
        if let Some(new) = revival.revive(self.executable.as_ref())? {
            self.executable = new.model;
            self.drafter = new.draft.map(Drafter::new);
        }
        Ok(())
    }

    /// Where an error says that the device failed, lets go of all that was on it, and opens it anew, if there is a way.
    /// Nothing is under way any more.
    pub(super) fn get_over(&mut self, error: &Error, show: &mut Show) {
        let (Error::Step(ExecError::Device(why)), Some(revival)) = (error, &mut self.revival) else {
            return;
        };
        revival.lost = Some(Lost {
            why: why.clone(),
            draft: self.drafter.is_some(),
            next: Instant::now(),
        });
        self.ahead = None;
        self.drafter = None;
        // Memory of the device is free before it is opened again.
        self.executable = Box::new(Gone::of(self.executable.as_ref()));
        self.scheduler.schedule(self.origin.elapsed());
        self.scheduler.drain_moves().for_each(drop);
        self.close(show);
        self.scheduler.forget_prefixes();
        // Where it fails, requests hear of it.
        let _ = self.revive();
    }
}

/// Stands where an executable was: it has its bounds, and computes nothing.
pub(super) struct Gone {
    limits: Limits,
    vocab: u32,
    gives: ModelOutput,
    width: u32,
    kv_blocks: u32,
    windows: Option<WindowPool>,
    report: BuildReport,
}

impl Gone {
    pub(super) fn of(executable: &dyn Executable) -> Gone {
        Gone {
            limits: executable.limits(),
            vocab: executable.vocab(),
            gives: executable.gives(),
            width: executable.width(),
            kv_blocks: executable.kv_blocks(),
            windows: executable.windows(),
            report: executable.report().clone(),
        }
    }

    /// Whether an executable has the same bounds: the scheduler goes by them.
    fn is_like(&self, other: &dyn Executable) -> bool {
        (other.limits(), other.vocab(), other.gives(), other.width())
            == (self.limits, self.vocab, self.gives, self.width)
            && (other.kv_blocks(), other.windows()) == (self.kv_blocks, self.windows)
    }

    fn error() -> ExecError {
        ExecError::Device("the device is gone".into())
    }
}

impl Executable for Gone {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn vocab(&self) -> u32 {
        self.vocab
    }

    fn gives(&self) -> ModelOutput {
        self.gives
    }

    fn width(&self) -> u32 {
        self.width
    }

    fn kv_blocks(&self) -> u32 {
        self.kv_blocks
    }

    fn windows(&self) -> Option<WindowPool> {
        self.windows
    }

    fn run(&mut self, _: &Batch) -> Result<&[f32], ExecError> {
        Err(Gone::error())
    }

    fn copy_block(&mut self, _: u32, _: u32) -> Result<(), ExecError> {
        Err(Gone::error())
    }

    fn output(&self) -> &[f32] {
        &[]
    }

    fn weight_bytes_per_step(&self) -> Option<u64> {
        None
    }

    fn report(&self) -> &BuildReport {
        &self.report
    }
}
