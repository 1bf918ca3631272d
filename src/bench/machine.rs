//! The machine of a measurement: times on one machine say nothing about another.

use std::fs;
use std::num::NonZeroUsize;

use serde::Serialize;

use crate::engine::device_class;

/// The properties of a machine that matter to a measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's own name.
    pub processor: String,
    pub cores: usize,
    /// The widest instructions that the matrix kernels of this build use here.
    pub device_class: String,
    pub os: String,
    pub ribflow: &'static str,
    /// The load average of the last minute: other activity on the machine.
    pub load: Option<f64>,
}

impl Machine {
    pub fn here() -> Self {
        Self {
            processor: processor().unwrap_or_else(|| std::env::consts::ARCH.to_string()),
            cores: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            device_class: device_class(),
            os: os(),
            ribflow: env!("CARGO_PKG_VERSION"),
            load: load(),
        }
    }
}

fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

fn os() -> String {
    let system = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    format!("{} {}", text(system.sysname()), text(system.release()))
}

fn load() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}
