//! On which processors the calling thread may run: asked of the system, and set.

use std::io;

/// A thread's former processors, to which it returns when this is dropped.
pub(crate) struct Pinned {
    former: Mask,
}

impl Pinned {
    /// Moves the calling thread to processor `cpu` alone.
    ///
    /// # Errors
    /// The system has no such processor or does not let the thread go there.
    pub(crate) fn to(cpu: usize) -> io::Result<Pinned> {
        let former = get()?;
        pin(cpu)?;
        Ok(Pinned { former })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // The mask was the thread's own a moment ago; where the system has taken its processors away since, it has given
        // the thread others.
        let _ = set(&self.former);
    }
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    use std::io;

    pub(super) type Mask = CpuSet;

    pub(super) fn get() -> io::Result<Mask> {
        Ok(sched_getaffinity(None)?)
    }

    pub(super) fn set(mask: &Mask) -> io::Result<()> {
        Ok(sched_setaffinity(None, mask)?)
    }

    /// Moves the calling thread, and the threads that it starts from now on, to processor `cpu` alone.
    ///
    /// # Errors
    /// The system has no such processor or does not let the thread go there.
    pub(crate) fn pin(cpu: usize) -> io::Result<()> {
        if cpu >= CpuSet::MAX_CPU {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut mask = CpuSet::new();
        mask.set(cpu);
        set(&mask)
    }

    /// The processors on which the calling thread may run.
    ///
    /// # Errors
    /// The system does not say, or has more than a mask holds.
    pub(crate) fn allowed() -> io::Result<Vec<usize>> {
        let mask = get()?;
        Ok((0..CpuSet::MAX_CPU).filter(|&cpu| mask.is_set(cpu)).collect())
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;

    pub(super) type Mask = ();

    pub(super) fn get() -> io::Result<Mask> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn set(_mask: &Mask) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// No other system is asked yet.
    pub(crate) fn pin(_cpu: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// No other system is asked yet.
    pub(crate) fn allowed() -> io::Result<Vec<usize>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

use system::{Mask, get, set};
pub(crate) use system::{allowed, pin};

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_pinned_and_freed_again() {
        let before = allowed().unwrap();
        for &cpu in before.iter().take(4) {
            let pinned = Pinned::to(cpu).unwrap();
            assert_eq!(allowed().unwrap(), [cpu]);
            assert_eq!(rustix::thread::sched_getcpu(), cpu);
            drop(pinned);
            assert_eq!(allowed().unwrap(), before);
        }
        assert!(Pinned::to(1023).is_err() || before.contains(&1023));
        assert!(Pinned::to(1 << 20).is_err());
        assert_eq!(allowed().unwrap(), before);
    }
}
