//! What `ribflow bench` measures: kernels and models, images, transport, hashing, the store, a run
//! with nothing to do, and commands. Times the other modules and prints nothing.
//!
//! A benchmark is a name. Families accept more names than they list: batch sizes, shapes and
//! precisions are part of a name, so that a script can request exactly what it compares. Names are
//! resolved before anything starts; only the benchmark that runs is prepared.

mod commands;
mod data;
mod error;
mod gemm;
mod hashing;
pub mod machine;
pub mod measure;
mod models;
mod noop;
mod numbers;
mod ops;
mod store;
mod transport;

use std::path::PathBuf;

use candle_core::Device;

pub use error::BenchError;
pub use measure::Measured;

use self::measure::Throughput;
use crate::diag::nearest;
use crate::ml::ops::parallel;

type Result<T> = std::result::Result<T, BenchError>;

/// The settings of a benchmark.
#[derive(Clone, Debug)]
pub struct Setting {
    pub threads: usize,
    /// The minimum duration of all rounds.
    pub seconds: f64,
    /// Where models run; everything else is measured on the CPU.
    pub device: Device,
    /// A folder of photographs to use instead of generated ones.
    pub images: Option<PathBuf>,
}

/// A benchmark, ready to run.
struct Work {
    /// The call that is timed.
    run: Box<dyn FnMut() -> Result<()>>,
    /// The amount of work of one call.
    amount: Throughput,
    /// SHA-256 of the result, if it can be compared with another program.
    digest: Option<String>,
}

impl Work {
    fn new(amount: Throughput, run: impl FnMut() -> Result<()> + 'static) -> Self {
        Self {
            run: Box::new(run),
            amount,
            digest: None,
        }
    }
}

/// Prepares a benchmark.
type Prepare = Box<dyn FnOnce(&Setting) -> Result<Work> + Send>;

/// The benchmarks whose names begin with the same word.
struct Family {
    /// The syntax of the names.
    pub form: &'static str,
    pub about: &'static str,
    /// The names that are listed.
    pub names: fn() -> Vec<String>,
    /// The benchmarks that run by default.
    pub usual: &'static [&'static str],
    /// Interprets the parts of a name after the first word.
    pub find: fn(&[&str]) -> Option<Prepare>,
}

const FAMILIES: &[(&str, Family)] = &[
    ("gemm", gemm::FAMILY),
    ("op", ops::FAMILY),
    ("model", models::FAMILY),
    ("data", data::FAMILY),
    ("ot", transport::FAMILY),
    ("hash", hashing::FAMILY),
    ("store", store::FAMILY),
    ("noop", noop::FAMILY),
    ("command", commands::FAMILY),
];

/// A family, for display.
pub struct Description {
    pub form: &'static str,
    pub about: &'static str,
    /// Each with whether it runs by default.
    pub names: Vec<(String, bool)>,
}

/// All families with the names they list.
pub fn families() -> Vec<Description> {
    let described = |(_, family): &(&str, Family)| Description {
        form: family.form,
        about: family.about,
        names: (family.names)()
            .into_iter()
            .map(|name| {
                let usual = family.usual.contains(&name.as_str());
                (name, usual)
            })
            .collect(),
    };
    FAMILIES.iter().map(described).collect()
}

/// The benchmarks that `patterns` select, without duplicates and in the requested order; without
/// patterns the default ones. A pattern is a name, a prefix of listed names up to a `/`, or
/// contains a `*` for any text.
pub fn select(patterns: &[String]) -> Result<Vec<String>> {
    if patterns.is_empty() {
        let usual = FAMILIES.iter().flat_map(|(_, family)| family.usual);
        return Ok(usual.map(|name| name.to_string()).collect());
    }
    let listed: Vec<String> = FAMILIES
        .iter()
        .flat_map(|(_, family)| (family.names)())
        .collect();
    let mut chosen: Vec<String> = Vec::new();
    for pattern in patterns {
        let found = match find(pattern) {
            Some(_) => vec![pattern.clone()],
            None => listed
                .iter()
                .filter(|name| matches(pattern, name))
                .cloned()
                .collect(),
        };
        if found.is_empty() {
            return Err(unknown(pattern, &listed));
        }
        for name in found {
            if !chosen.contains(&name) {
                chosen.push(name);
            }
        }
    }
    Ok(chosen)
}

fn find(name: &str) -> Option<Prepare> {
    let parts: Vec<&str> = name.split('/').collect();
    let (first, rest) = parts.split_first()?;
    let (_, family) = FAMILIES.iter().find(|(word, _)| word == first)?;
    (family.find)(rest)
}

fn unknown(name: &str, listed: &[String]) -> BenchError {
    let hint = match nearest(name, listed.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`ribflow bench --list` lists them".to_string(),
    };
    BenchError::Unknown {
        name: name.to_string(),
        hint,
    }
}

/// Whether `name` matches `pattern`, or continues it with a `/`.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern = pattern.trim_end_matches('/');
    let Some((before, after)) = pattern.split_once('*') else {
        let rest = name.strip_prefix(pattern);
        return rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    };
    let Some(rest) = name.strip_prefix(before) else {
        return false;
    };
    let places = rest.char_indices().map(|(place, _)| place);
    let mut places = places.chain([rest.len()]);
    places.any(|place| matches(after, &rest[place..]))
}

/// Prepares and measures the benchmark `name`.
pub fn run(name: &str, setting: &Setting) -> Result<Measured> {
    let prepare = find(name).ok_or_else(|| unknown(name, &[]))?;
    parallel::scope(setting.threads, || {
        let work = prepare(setting)?;
        measure::measure(name, work, setting.seconds)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_name_is_understood_and_patterns_choose_among_them() {
        for family in families() {
            for (name, _) in &family.names {
                assert!(find(name).is_some(), "{name}");
            }
        }
        for (_, family) in FAMILIES {
            for name in family.usual {
                assert!((family.names)().iter().any(|it| it == name), "{name}");
            }
        }
        let chosen = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|it| it.to_string()).collect();
            select(&patterns)
        };
        let names = chosen(&["model/resnet18", "model/*18/train"]).unwrap();
        assert!(names.len() > 3 && names.iter().all(|name| name.starts_with("model/resnet18/")));
        assert_eq!(
            chosen(&["model/resnet50/train/b3/bf16", "gemm/2x3x4"]).unwrap(),
            ["model/resnet50/train/b3/bf16", "gemm/2x3x4"]
        );
        for wrong in [
            "gem",
            "model/resnet18/train/b0",
            "gemm/2x3",
            "op*/nothing",
            "",
        ] {
            assert!(chosen(&[wrong]).is_err(), "{wrong}");
        }
    }
}
