//! The sizes of the caches, and of working sets that stay in one of them.

/// Bytes of memory that are read to measure it: more than this would take long, less could stay in a cache.
const MEMORY_SETS: (u64, u64) = (64 << 20, 512 << 20);

/// A level of the memory, from the fastest on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Level {
    /// First-level data cache of a core.
    L1,
    /// Second-level cache of a core.
    L2,
    /// Third-level cache, shared by cores.
    L3,
    /// Main memory.
    Memory,
}

impl Level {
    /// All of them, fastest first.
    pub const ALL: [Level; 4] = [Level::L1, Level::L2, Level::L3, Level::Memory];

    /// The name, as tables have it.
    pub fn name(self) -> &'static str {
        match self {
            Level::L1 => "L1",
            Level::L2 => "L2",
            Level::L3 => "L3",
            Level::Memory => "DRAM",
        }
    }
}

/// Bytes of the caches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caches {
    /// Data of a core's first level.
    pub l1: u64,
    /// A core's second level.
    pub l2: u64,
    /// The third level of all cores that share one; 0 where there is none.
    pub l3: u64,
}

impl Caches {
    /// The caches of the first core, as Linux describes them. Where a system doesn't, 32 KiB, 512 KiB and 16 MiB.
    pub fn host() -> Caches {
        let read = |index: u32, file: &str| {
            let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}");
            std::fs::read_to_string(path).ok()
        };
        Caches::from_files(read)
    }

    /// As [`Caches::host`], from the files of each cache: `level`, `type` and `size`.
    fn from_files(read: impl Fn(u32, &str) -> Option<String>) -> Caches {
        let mut sizes = [None; 3];
        for index in 0..16 {
            let field = |file| read(index, file).map(|text| text.trim().to_owned());
            let (Some(level), Some(kind), Some(size)) = (field("level"), field("type"), field("size")) else {
                break;
            };
            let level = level.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
            let slot = level.and_then(|level| sizes.get_mut(level));
            if let (Some(slot), true) = (slot, kind != "Instruction") {
                *slot = parse_size(&size);
            }
        }
        match sizes {
            [Some(l1), Some(l2), l3] => Caches {
                l1,
                l2,
                l3: l3.unwrap_or(0),
            },
            _ => Caches {
                l1: 32 << 10,
                l2: 512 << 10,
                l3: 16 << 20,
            },
        }
    }

    /// Bytes for each of `threads` threads to read that stay in `level` and in no faster one; a multiple of 4096. `None`
    /// where there is no such size.
    pub fn working_set(&self, level: Level, threads: usize) -> Option<u64> {
        let threads = threads.max(1) as u64;
        let bytes = match level {
            Level::L1 => self.l1 / 2,
            Level::L2 => self.l2 / 2,
            Level::L3 => Some(self.l3 / 2 / threads)
                .map(|share| share.min(8 * self.l2))
                .filter(|&share| share >= 2 * self.l2)?,
            Level::Memory => {
                self.l3
                    .max(self.l2)
                    .saturating_mul(4)
                    .clamp(MEMORY_SETS.0, MEMORY_SETS.1)
                    / threads
            }
        };
        let whole = bytes / 4096 * 4096;
        (whole > 0).then_some(whole)
    }

    /// The fastest level that holds `bytes` bytes which `threads` threads share evenly and read again and again.
    pub fn level_of(&self, bytes: u64, threads: usize) -> Level {
        let share = bytes / threads.max(1) as u64;
        if share <= self.l1 {
            Level::L1
        } else if share <= self.l2 {
            Level::L2
        } else if bytes <= self.l3 && self.working_set(Level::L3, threads).is_some() {
            Level::L3
        } else {
            Level::Memory
        }
    }
}

/// A size as the files have it: `32K`, `1M` or a number of bytes.
fn parse_size(text: &str) -> Option<u64> {
    let (digits, unit) = match text.strip_suffix('K') {
        Some(digits) => (digits, 10),
        None => text.strip_suffix('M').map_or((text, 0), |digits| (digits, 20)),
    };
    let size: u64 = digits.parse().ok()?;
    size.checked_mul(1 << unit).filter(|&size| size > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZEN: Caches = Caches {
        l1: 32 << 10,
        l2: 1 << 20,
        l3: 32 << 20,
    };

    #[test]
    fn sizes_are_read_from_the_files_of_each_cache() {
        let caches = [
            ["1", "Data", "48K"],
            ["1", "Instruction", "32K"],
            ["2", "Unified", "2M"],
            ["3", "Unified", "32768K\n"],
        ];
        let read = |index: u32, file: &str| {
            let position = ["level", "type", "size"].iter().position(|f| *f == file)?;
            Some(caches.get(index as usize)?[position].to_owned())
        };
        let want = Caches {
            l1: 48 << 10,
            l2: 2 << 20,
            l3: 32 << 20,
        };
        assert_eq!(Caches::from_files(read), want);
        let two = |index: u32, file: &str| read(index, file).filter(|_| index < 3);
        assert_eq!(Caches::from_files(two).l3, 0);
        assert_eq!(Caches::from_files(|_, _| None).l2, 512 << 10);
        assert_eq!(parse_size("99999999999999999999K"), None);
        assert_eq!(parse_size("18014398509481985K"), None, "the product overflows");
    }

    #[test]
    fn working_sets_stay_in_their_level() {
        for threads in [1, 2, 4] {
            for level in Level::ALL {
                let bytes = ZEN.working_set(level, threads).unwrap();
                assert_eq!(
                    ZEN.level_of(bytes * threads as u64, threads),
                    level,
                    "{threads} threads"
                );
            }
        }
        assert_eq!(
            ZEN.working_set(Level::L3, 64),
            None,
            "a share is smaller than the second level"
        );
        let without = Caches { l3: 0, ..ZEN };
        assert_eq!(without.working_set(Level::L3, 1), None);
        assert_eq!(without.level_of(2 << 20, 1), Level::Memory);
    }
}
