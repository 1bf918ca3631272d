//! Caps the instruction sets that this process uses.
//!
//! Our kernels, `gemm`, `pulp` and `faer` each choose their code by the features that the standard
//! library detects, which it caches at the first query. So the cap applies to that first query:
//! while the library queries the processor, Linux makes `cpuid` trap (`arch_prctl`,
//! ARCH_SET_CPUID), and the handler omits features beyond the cap. A processor at or below the cap
//! needs none of this. [`hold`] is called before anything else; afterwards the device class is that
//! of the cap, and so are all bits that depend on it.
//!
//! The cap does not affect code that queries the processor itself: hashes and ciphers, whose bits
//! are the same on every processor, and the C library's copies and elementary functions (no kernel
//! calls the latter). This is the only place that handles a signal.

use std::fmt;

/// The variable that names the cap.
pub const VARIABLE: &str = "RIBFLOW_ISA";

/// A level of the x86-64 psABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Up to SSE4.2.
    V2,
    /// With AVX2, FMA, F16C and BMI2.
    V3,
    /// With AVX-512 F, BW, CD, DQ and VL.
    V4,
}

impl Level {
    pub const ALL: [Self; 3] = [Self::V2, Self::V3, Self::V4];

    pub fn name(self) -> &'static str {
        match self {
            Self::V2 => "x86-64-v2",
            Self::V3 => "x86-64-v3",
            Self::V4 => "x86-64-v4",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Why a cap can't be applied.
#[derive(Debug, thiserror::Error)]
pub enum IsaError {
    #[error("{VARIABLE}={0} is not an instruction set: {levels} is expected", levels = levels())]
    Unknown(String),
    #[error("{VARIABLE}={0} is for x86-64, and this processor is {arch}", arch = std::env::consts::ARCH)]
    OtherProcessor(Level),
    #[error(
        "{VARIABLE}={0} can't be held here: this processor has more, and it or its kernel does not \
         let a program hide that (cpuid faulting: {1})"
    )]
    Unheld(Level, std::io::Error),
    #[error("{VARIABLE}={0} came too late: the processor has been asked already")]
    Late(Level),
}

fn levels() -> String {
    let names = Level::ALL.map(|level| format!("`{level}`"));
    names.join(" or ")
}

/// The cap in the environment.
///
/// # Errors
/// The value is not a known level.
pub fn wanted() -> Result<Option<Level>, IsaError> {
    let Some(value) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let name = value.to_string_lossy();
    let found = Level::ALL.into_iter().find(|level| level.name() == name);
    match found {
        Some(level) => Ok(Some(level)),
        None => Err(IsaError::Unknown(name.into_owned())),
    }
}

/// Applies the cap in the environment, if any. Must be called once, before another thread is
/// started and before anything queries the processor's features.
///
/// # Errors
/// The value is not a known level, or the cap can't be applied.
pub fn hold() -> Result<(), IsaError> {
    match wanted()? {
        Some(level) => processor::hold(level),
        None => Ok(()),
    }
}

/// The level of this process: that of the processor and of this build, or the cap if that is lower;
/// the architecture's name if it has no levels.
pub fn level() -> &'static str {
    processor::level()
}

#[cfg(target_arch = "x86_64")]
mod processor {
    use std::arch::is_x86_feature_detected as has;

    use super::{IsaError, Level};

    pub fn level() -> &'static str {
        detected().name()
    }

    fn detected() -> Level {
        let v3 = has!("avx2") && has!("fma") && has!("bmi2") && has!("f16c");
        let v4 = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
        match (v3, v4 && cfg!(feature = "avx512")) {
            (true, true) => Level::V4,
            (true, false) => Level::V3,
            (false, _) => Level::V2,
        }
    }

    /// Whether the standard library detects a feature beyond `level`.
    fn exceeds(level: Level) -> bool {
        let beyond_v4 = has!("avx512bf16") || has!("avx512vnni") || has!("avxvnni");
        match level {
            Level::V4 => beyond_v4,
            Level::V3 => beyond_v4 || has!("avx512f"),
            Level::V2 => beyond_v4 || has!("avx512f") || has!("avx") || has!("fma"),
        }
    }

    #[cfg(target_os = "linux")]
    pub fn hold(level: Level) -> Result<(), IsaError> {
        super::trap::answering(level, || exceeds(level)).map_or_else(
            |error| match error {
                // First query: the answer shows whether there is anything to hide.
                _ if !exceeds(level) => Ok(()),
                error => Err(IsaError::Unheld(level, error)),
            },
            |exceeds| match exceeds {
                true => Err(IsaError::Late(level)),
                false => Ok(()),
            },
        )
    }

    #[cfg(not(target_os = "linux"))]
    pub fn hold(level: Level) -> Result<(), IsaError> {
        match exceeds(level) {
            true => Err(IsaError::Unheld(
                level,
                std::io::ErrorKind::Unsupported.into(),
            )),
            false => Ok(()),
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod processor {
    use super::{IsaError, Level};

    pub fn level() -> &'static str {
        std::env::consts::ARCH
    }

    pub fn hold(level: Level) -> Result<(), IsaError> {
        Err(IsaError::OtherProcessor(level))
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod trap;

/// Applies the cap before `main` in a test binary, so that tests obey the same cap as the program.
#[doc(hidden)]
pub extern "C" fn hold_or_exit() {
    if let Err(error) = hold() {
        eprintln!("{error}");
        std::process::exit(2);
    }
}

#[cfg(all(test, target_os = "linux"))]
#[used]
#[unsafe(link_section = ".init_array")]
static HOLD: extern "C" fn() = hold_or_exit;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_goes_by_its_name() {
        assert_eq!(
            Level::ALL.map(Level::name),
            ["x86-64-v2", "x86-64-v3", "x86-64-v4"]
        );
        let message = IsaError::Unknown("avx3".to_string()).to_string();
        assert!(message.contains("`x86-64-v3`"), "{message}");
    }

    /// Under a cap, kernels see only the features of the cap.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_cap_of_the_environment_is_held() {
        use std::arch::is_x86_feature_detected as has;
        let Some(cap) = wanted().unwrap() else { return };
        assert!(
            Level::ALL
                .iter()
                .any(|it| it.name() == level() && *it <= cap)
        );
        assert!(cap >= Level::V4 || !(has!("avx512f") || has!("avx512bw")));
        assert!(cap >= Level::V3 || !(has!("avx") || has!("fma")));
        assert!(!has!("avx512bf16") && !has!("avxvnni") && !has!("gfni"));
        let arch = format!("{:?}", pulp::Arch::new());
        assert_eq!(
            arch.contains("V4"),
            cap >= Level::V4 && has!("avx512f"),
            "{arch}"
        );
    }
}
