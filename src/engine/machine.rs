//! The resources of this machine.

use std::num::NonZeroUsize;

use super::decide::Capacity;

/// The resources available to a run on this machine: `threads` cores, the memory of the machine (or
/// of the control group, if that is less), and one GPU if the run's device is one.
pub(super) fn capacity(threads: usize, device: &str) -> Capacity {
    Capacity {
        cores: threads.max(1),
        mem: memory(),
        gpus: u32::from(device.starts_with("cuda")),
    }
}

/// The cores that this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Bytes.
fn memory() -> u64 {
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").unwrap_or_default();
    let limit = limit.trim().parse().unwrap_or(u64::MAX);
    installed().min(limit)
}

#[cfg(target_os = "linux")]
fn installed() -> u64 {
    let machine = rustix::system::sysinfo();
    #[allow(clippy::useless_conversion)] // the field is narrower on 32-bit machines
    let units = u64::from(machine.totalram);
    units.saturating_mul(u64::from(machine.mem_unit))
}

#[cfg(not(target_os = "linux"))]
fn installed() -> u64 {
    u64::MAX
}
