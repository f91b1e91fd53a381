//! Architectures of GPUs: how NVRTC names them, and what plans are cut to where the GPU itself is not at hand.

use crate::device::Target;
use crate::error::Error;
use std::fmt;
use std::str::FromStr;

/// A compute capability.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Arch {
    /// Before the point.
    pub major: u32,
    /// Behind it.
    pub minor: u32,
}

/// A GPU that stands for its architecture.
struct Example {
    arch: Arch,
    gpu: &'static str,
    processors: u32,
    shared_kib: u32,
}

const fn example(major: u32, minor: u32, gpu: &'static str, processors: u32, shared_kib: u32) -> Example {
    Example {
        arch: Arch { major, minor },
        gpu,
        processors,
        shared_kib,
    }
}

/// Multiprocessors are those of the GPU; shared memory of a block is the same for all GPUs of an architecture.
const EXAMPLES: &[Example] = &[
    example(8, 0, "A100", 108, 163),
    example(8, 6, "RTX A6000", 84, 99),
    example(8, 9, "RTX 4090", 128, 99),
    example(9, 0, "H100 SXM", 132, 227),
    example(10, 0, "B200", 148, 227),
    example(12, 0, "RTX 5090", 170, 99),
];

impl Arch {
    /// The oldest that kernels are written for.
    pub const OLDEST: Arch = Arch { major: 8, minor: 0 };
    /// What stands for GPUs where nobody names one.
    pub const USUAL: Arch = Arch { major: 9, minor: 0 };

    /// Whether it has the instructions of sm_90 that multiply matrices in shared memory; later ones have others.
    pub fn wgmma(self) -> bool {
        self.major == 9
    }

    /// What plans are made for where a GPU of this architecture is not at hand.
    pub fn target(self) -> Option<Target> {
        let example = EXAMPLES.iter().find(|e| e.arch == self)?;
        Some(Target {
            processors: example.processors,
            shared_bytes: example.shared_kib << 10,
            wgmma: self.wgmma(),
        })
    }

    /// The GPU that stands for this architecture.
    pub fn example(self) -> Option<&'static str> {
        EXAMPLES.iter().find(|e| e.arch == self).map(|e| e.gpu)
    }

    /// Its number as options of NVRTC name it: what only it can run is allowed where kernels use that.
    pub(crate) fn number(self) -> String {
        let only = if self.wgmma() { "a" } else { "" };
        format!("{}{}{only}", self.major, self.minor)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}{}", self.major, self.minor)
    }
}

impl FromStr for Arch {
    type Err = Error;

    /// Reads the name of an architecture that has an example, such as `sm_90`.
    fn from_str(name: &str) -> Result<Arch, Error> {
        let found = EXAMPLES.iter().find(|e| e.arch.to_string() == name);
        found.map(|e| e.arch).ok_or_else(|| Error::Arch {
            name: name.to_owned(),
            known: EXAMPLES
                .iter()
                .map(|e| e.arch.to_string())
                .collect::<Vec<_>>()
                .join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_have_targets() {
        for example in EXAMPLES {
            let arch: Arch = example.arch.to_string().parse().unwrap();
            assert_eq!(arch, example.arch);
            assert!(arch >= Arch::OLDEST && arch.target().unwrap().processors > 0);
        }
        for wrong in ["sm_70", "sm_90a", "90", ""] {
            let message = wrong.parse::<Arch>().unwrap_err().to_string();
            assert!(message.contains("sm_80, sm_86"), "{message}");
        }
    }

    #[test]
    fn only_sm_90_is_compiled_for_itself_alone() {
        let number = |name: &str| name.parse::<Arch>().unwrap().number();
        assert_eq!(number("sm_90"), "90a");
        assert_eq!(number("sm_80"), "80");
        assert_eq!(number("sm_120"), "120");
    }
}
