//! What the processor can do, and the Cranelift target that follows from it.

use crate::Error;
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use std::fmt;

/// An instruction set architecture that kernels are compiled for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Arch {
    /// x86-64 with AVX2 and FMA.
    X86_64,
    /// 64-bit Arm with Advanced SIMD.
    Aarch64,
}

/// How much work the code generator spends on optimization.
///
/// Kernels are scheduled by their generators; Cranelift's own optimizer moves instructions and so lengthens live ranges
/// until registers spill. `None` is the default.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum OptLevel {
    /// Instructions stay in the order of the kernel.
    #[default]
    None,
    /// Cranelift's `speed`.
    Speed,
}

/// One feature: its name in lists, Cranelift's name for it (empty where Cranelift makes no use of it), and whether kernels
/// cannot do without.
struct Feature {
    name: &'static str,
    flag: &'static str,
    required: bool,
}

/// Declares the features of an architecture.
macro_rules! features {
    ($($name:literal $flag:literal $required:literal;)*) => {
        &[$(Feature { name: $name, flag: $flag, required: $required }),*]
    };
}

const X86_64: &[Feature] = features! {
    "sse3" "has_sse3" true;
    "ssse3" "has_ssse3" true;
    "sse4.1" "has_sse41" true;
    "sse4.2" "has_sse42" true;
    "popcnt" "has_popcnt" false;
    "lzcnt" "has_lzcnt" false;
    "bmi1" "has_bmi1" false;
    "bmi2" "has_bmi2" false;
    "avx" "has_avx" true;
    "avx2" "has_avx2" true;
    "fma" "has_fma" true;
    "f16c" "" false;
    "avxvnni" "has_avx_vnni" false;
    "avx512f" "has_avx512f" false;
    "avx512bw" "" false;
    "avx512dq" "has_avx512dq" false;
    "avx512vl" "has_avx512vl" false;
    "avx512vnni" "has_avx512vnni" false;
    "amx-tile" "" false;
    "amx-int8" "" false;
};

const AARCH64: &[Feature] = features! {
    "dotprod" "has_dotprod" false;
    "i8mm" "has_i8mm" false;
};

/// Features that are used only where they are asked for.
const ON_DEMAND: [&str; 2] = ["amx-tile", "amx-int8"];

impl Arch {
    /// The name, as Rust and Cranelift have it.
    pub fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
        }
    }

    /// The architecture that this program runs on, where kernels can be compiled for it.
    pub fn host() -> Option<Arch> {
        if cfg!(target_arch = "x86_64") {
            Some(Arch::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Arch::Aarch64)
        } else {
            None
        }
    }

    fn features(self) -> &'static [Feature] {
        match self {
            Arch::X86_64 => X86_64,
            Arch::Aarch64 => AARCH64,
        }
    }
}

/// An architecture and a set of its features. Prints as `x86_64+avx2+fma+…`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CpuFeatures {
    arch: Arch,
    /// One bit a row of the architecture's table.
    bits: u64,
}

impl CpuFeatures {
    /// What the processor under this program has, but what only `+name` in a list asks for: AMX, which was measured no
    /// faster than AVX-512 with VNNI (see docs/performance.md).
    ///
    /// # Errors
    /// Where the architecture is unknown, or the processor lacks a feature that every kernel needs.
    pub fn host() -> Result<CpuFeatures, Error> {
        let Some(arch) = Arch::host() else {
            let arch = std::env::consts::ARCH;
            return Err(Error::Unsupported {
                arch,
                missing: "code generator".to_owned(),
            });
        };
        let detected = CpuFeatures::of(arch, |name| !ON_DEMAND.contains(&name) && detect(name));
        detected.check()?;
        Ok(detected)
    }

    /// Only what every kernel needs.
    pub fn baseline(arch: Arch) -> CpuFeatures {
        let required = |name: &str| arch.features().iter().any(|f| f.name == name && f.required);
        CpuFeatures::of(arch, required)
    }

    /// Every feature that code can make use of; for compiling only, unless the processor has them all.
    pub fn all(arch: Arch) -> CpuFeatures {
        CpuFeatures::of(arch, |_| true)
    }

    fn of(arch: Arch, has: impl Fn(&str) -> bool) -> CpuFeatures {
        let features = arch.features().iter().enumerate();
        let bits = features
            .filter(|(_, f)| has(f.name))
            .fold(0, |bits, (i, _)| bits | 1 << i);
        CpuFeatures { arch, bits }
    }

    /// The features of a comma-separated list: `avx2,fma` keeps those (and what every kernel needs), `-avx512vnni`
    /// drops one from the whole set, `+amx-int8` adds one that this processor has but the set has not. The empty list
    /// keeps everything.
    ///
    /// # Errors
    /// Where a name is unknown, or asks for a feature that is not in this set.
    pub fn narrowed(&self, list: &str) -> Result<CpuFeatures, Error> {
        let names: Vec<&str> = list.split(',').map(str::trim).filter(|n| !n.is_empty()).collect();
        let keeps = names.iter().any(|n| !n.starts_with(['-', '+']));
        let mut narrowed = if keeps {
            CpuFeatures {
                bits: self.bits & CpuFeatures::baseline(self.arch).bits,
                ..*self
            }
        } else {
            self.clone()
        };
        for name in names {
            let (drop, name) = name.strip_prefix('-').map_or((false, name), |n| (true, n));
            let (add, name) = name.strip_prefix('+').map_or((false, name), |n| (true, n));
            let bit = 1 << self.position(name)?;
            if drop {
                narrowed.bits &= !bit;
            } else if add && self.bits & bit == 0 && Arch::host() == Some(self.arch) && detect(name) {
                narrowed.bits |= bit;
            } else if self.bits & bit == 0 {
                return Err(Error::MissingFeature(name.to_owned()));
            } else {
                narrowed.bits |= bit;
            }
        }
        narrowed.drop_dependents();
        narrowed.check()?;
        Ok(narrowed)
    }

    /// Checks that the processor under this program has all of these features.
    ///
    /// # Errors
    /// Names those that it lacks, or the architecture.
    pub fn check_host(&self) -> Result<(), Error> {
        let lacking = |name: &&str| !detect(name);
        let missing: Vec<&str> = match Arch::host() == Some(self.arch) {
            true => self.names().filter(lacking).collect(),
            false => vec![self.arch.name()],
        };
        match missing.is_empty() {
            true => Ok(()),
            false => Err(Error::MissingFeature(missing.join(", "))),
        }
    }

    /// Drops what means nothing without a feature that was dropped: the rest of AVX-512, or of AMX.
    fn drop_dependents(&mut self) {
        for (base, family) in [("avx512f", "avx512"), ("amx-tile", "amx-")] {
            if self.arch == Arch::X86_64 && !self.has(base) {
                let family = self
                    .arch
                    .features()
                    .iter()
                    .enumerate()
                    .filter(|(_, f)| f.name.starts_with(family));
                self.bits &= !family.fold(0, |bits, (i, _)| bits | 1 << i);
            }
        }
    }

    /// The generator of kernel code and its vectors, for people.
    pub fn code_generator(&self) -> String {
        let lanes = self.vector_lanes();
        let name = match (self.arch, lanes) {
            (Arch::X86_64, 16) => "AVX-512 code,",
            (Arch::X86_64, 8) => "AVX2 code,",
            _ => "Cranelift,",
        };
        let dot4 = match self.has_dot4() {
            true => "one instruction for four int8 products",
            false => "int8 products by widening",
        };
        let matrix = if self.has_matrix_unit() {
            ", AMX for tiles"
        } else {
            ""
        };
        format!("{name} {}-bit vectors, {dot4}{matrix}", 32 * u32::from(lanes))
    }

    fn position(&self, name: &str) -> Result<usize, Error> {
        let features = self.arch.features();
        features
            .iter()
            .position(|f| f.name == name)
            .ok_or_else(|| Error::UnknownFeature {
                name: name.to_owned(),
                arch: self.arch.name(),
                known: features.iter().map(|f| f.name).collect::<Vec<_>>().join(", "),
            })
    }

    fn check(&self) -> Result<(), Error> {
        let missing: Vec<&str> = self
            .arch
            .features()
            .iter()
            .filter(|f| f.required && !self.has(f.name))
            .map(|f| f.name)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::Unsupported {
            arch: self.arch.name(),
            missing: missing.join(", "),
        })
    }

    /// The architecture.
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// Whether the set has the feature with this name.
    pub fn has(&self, name: &str) -> bool {
        self.position(name).is_ok_and(|i| self.bits & 1 << i != 0)
    }

    /// The names of the features in the set.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        let bits = self.bits;
        self.arch
            .features()
            .iter()
            .enumerate()
            .filter(move |(i, _)| bits & 1 << i != 0)
            .map(|(_, f)| f.name)
    }

    /// Whether a `dot4` is one instruction whatever the bits of its unsigned operand.
    pub fn has_dot4(&self) -> bool {
        match self.arch {
            Arch::X86_64 => crate::wide::has_dot4(self)
                .unwrap_or(self.has("avxvnni") || self.has("avx512vnni") && self.has("avx512vl")),
            Arch::Aarch64 => self.has("i8mm"),
        }
    }

    /// Whether there is a unit for products of int8 matrices that kernels make use of: AMX, beside AVX-512 with VNNI.
    pub fn has_matrix_unit(&self) -> bool {
        let names = ["amx-tile", "amx-int8", "avx512vnni"];
        self.arch == Arch::X86_64 && self.vector_lanes() == 16 && names.iter().all(|f| self.has(f))
    }

    /// The widest vector, in f32 lanes, that one instruction of generated code handles.
    pub fn vector_lanes(&self) -> u8 {
        crate::wide::lanes(self).unwrap_or(4)
    }

    /// The Cranelift target with exactly these features.
    pub(crate) fn isa(&self, opt: OptLevel) -> Result<OwnedTargetIsa, Error> {
        let error = |what: String| Error::Target {
            target: self.to_string(),
            what,
        };
        let mut shared = settings::builder();
        let opt_level = match opt {
            OptLevel::None => "none",
            OptLevel::Speed => "speed",
        };
        let verifier = if cfg!(debug_assertions) { "true" } else { "false" };
        let values = [
            ("opt_level", opt_level),
            ("enable_verifier", verifier),
            ("is_pic", "false"),
            ("unwind_info", "false"),
            ("enable_probestack", "false"),
        ];
        for (name, value) in values {
            shared.set(name, value).map_err(|e| error(e.to_string()))?;
        }
        let mut builder = isa::lookup_by_name(self.arch.name()).map_err(|e| error(e.to_string()))?;
        let features = self.arch.features().iter().enumerate();
        for (i, feature) in features.filter(|(_, f)| !f.flag.is_empty()) {
            let value = if self.bits & 1 << i != 0 { "true" } else { "false" };
            builder
                .set(feature.flag, value)
                .map_err(|e| error(e.to_string()))?;
        }
        builder
            .finish(settings::Flags::new(shared))
            .map_err(|e| error(e.to_string()))
    }
}

impl std::str::FromStr for CpuFeatures {
    type Err = Error;

    /// Of the form that it prints in.
    fn from_str(text: &str) -> Result<CpuFeatures, Error> {
        let mut names = text.split('+');
        let name = names.next().unwrap_or_default();
        let arch = [Arch::X86_64, Arch::Aarch64]
            .into_iter()
            .find(|arch| arch.name() == name);
        let mut features = CpuFeatures {
            arch: arch.ok_or_else(|| Error::Target {
                target: text.to_owned(),
                what: "unknown architecture".to_owned(),
            })?,
            bits: 0,
        };
        for name in names {
            features.bits |= 1 << features.position(name)?;
        }
        Ok(features)
    }
}

impl fmt::Display for CpuFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.arch.name())?;
        self.names().try_for_each(|name| write!(f, "+{name}"))
    }
}

#[cfg(target_arch = "x86_64")]
fn detect(name: &str) -> bool {
    // The macro takes literals only.
    macro_rules! any {
        ($($feature:tt)*) => {
            match name {
                "amx-tile" | "amx-int8" => crate::amx::usable(),
                $($feature => std::is_x86_feature_detected!($feature),)*
                _ => false,
            }
        };
    }
    any!(
        "sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "lzcnt" "bmi1" "bmi2" "avx" "avx2" "fma" "f16c" "avxvnni"
        "avx512f" "avx512bw" "avx512dq" "avx512vl" "avx512vnni"
    )
}

#[cfg(target_arch = "aarch64")]
fn detect(name: &str) -> bool {
    match name {
        "dotprod" => std::arch::is_aarch64_feature_detected!("dotprod"),
        "i8mm" => std::arch::is_aarch64_feature_detected!("i8mm"),
        _ => false,
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detect(_name: &str) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_narrow_the_set() {
        let all = CpuFeatures::all(Arch::X86_64);
        assert_eq!(all.narrowed("").unwrap(), all);
        let dropped = all.narrowed("-avx512vnni, -avxvnni").unwrap();
        assert!(!dropped.has_dot4() && dropped.has("avx512vl"));
        let narrow = all.narrowed("-avx512f").unwrap();
        assert!(!narrow.has("avx512vnni") && narrow.has("avxvnni") && narrow.vector_lanes() == 8);
        if let Ok(host) = CpuFeatures::host()
            && host.has("avx512vnni")
        {
            let without = host.narrowed("-avx512vnni").unwrap();
            assert!(without.narrowed("avx512vnni").is_err());
            assert_eq!(without.narrowed("+avx512vnni").unwrap(), host);
        }
        let kept = all.narrowed("avx2,fma").unwrap();
        assert_eq!(kept, CpuFeatures::baseline(Arch::X86_64));
        assert!(
            kept.narrowed("avxvnni")
                .unwrap_err()
                .to_string()
                .contains("avxvnni")
        );
        assert!(all.narrowed("mmx").unwrap_err().to_string().contains("`mmx`"));
        let error = all.narrowed("-fma").unwrap_err().to_string();
        assert_eq!(
            error,
            "this x86_64 processor has no fma, which the compiled kernels need"
        );
    }

    #[test]
    fn sets_print_their_names() {
        let set = CpuFeatures::all(Arch::Aarch64).narrowed("-i8mm").unwrap();
        assert_eq!(set.to_string(), "aarch64+dotprod");
    }
}
