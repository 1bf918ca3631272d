//! Measures times: a warm-up, then rounds, of which the minimum, the median and the maximum are
//! reported. On a busy machine, the minimum says most about the program.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Result, Work};

/// The minimum number of rounds, regardless of their duration.
const LEAST_ROUNDS: usize = 3;
/// Short work is called often enough in a round that the clock's resolution does not matter.
const LEAST_ROUND_SECONDS: f64 = 2e-3;

/// An amount of work.
#[derive(Clone, Copy, Debug)]
pub struct Throughput {
    count: f64,
    unit: &'static str,
    /// The unit of the rate, and the amount in that unit.
    rate: (&'static str, f64),
}

impl Throughput {
    /// Images, iterations, nodes: `images` and `images/s`.
    pub fn of(count: usize, unit: &'static str, rate: &'static str) -> Self {
        Self {
            count: count as f64,
            unit,
            rate: (rate, 1.0),
        }
    }

    /// Additions and multiplications of floats.
    pub fn operations(count: usize) -> Self {
        Self {
            count: count as f64,
            unit: "operations",
            rate: ("GF/s", 1e9),
        }
    }

    pub fn bytes(count: usize) -> Self {
        Self {
            count: count as f64,
            unit: "bytes",
            rate: ("GB/s", 1e9),
        }
    }
}

/// Milliseconds of one call.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub largest: f64,
}

/// The result of a measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    pub name: String,
    pub rounds: usize,
    pub wall_ms: Spread,
    /// Processor time of one call, of all threads and child processes, as the mean over all rounds;
    /// `None` if the system does not provide it.
    pub cpu_ms: Option<f64>,
    /// The amount of work of one call.
    pub amount: f64,
    pub unit: String,
    /// Based on the median.
    pub rate: f64,
    pub rate_unit: String,
    /// The peak memory of the process, including preparation.
    pub peak_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Measures `work` for at least `seconds`.
pub(super) fn measure(name: &str, mut work: Work, seconds: f64) -> Result<Measured> {
    let calls = warm_up(&mut work)?;
    let mut rounds = Vec::new();
    let (begin, cpu) = (Instant::now(), processor_seconds());
    while rounds.len() < LEAST_ROUNDS || begin.elapsed().as_secs_f64() < seconds {
        let round = Instant::now();
        for _ in 0..calls {
            (work.run)()?;
        }
        rounds.push(1e3 * round.elapsed().as_secs_f64() / calls as f64);
    }
    let spent = processor_seconds().zip(cpu).map(|(end, begin)| end - begin);
    let wall = spread(&mut rounds);
    let Throughput { count, unit, rate } = work.amount;
    Ok(Measured {
        name: name.to_string(),
        rounds: rounds.len(),
        wall_ms: wall,
        cpu_ms: spent.map(|spent| 1e3 * spent / (rounds.len() * calls) as f64),
        amount: count,
        unit: unit.to_string(),
        rate: count / rate.1 / (1e-3 * wall.median),
        rate_unit: rate.0.to_string(),
        peak_bytes: peak_bytes(),
        digest: work.digest,
    })
}

/// Brings memory and caches into the state of later calls; returns the number of calls in a round.
fn warm_up(work: &mut Work) -> Result<usize> {
    let mut seconds = LEAST_ROUND_SECONDS;
    // A first call is slower than the others, which matters only if it was short.
    for _ in 0..2 {
        let begin = Instant::now();
        (work.run)()?;
        seconds = begin.elapsed().as_secs_f64().max(1e-9);
        if seconds > 10.0 * LEAST_ROUND_SECONDS {
            return Ok(1);
        }
    }
    Ok((LEAST_ROUND_SECONDS / seconds).ceil().max(1.0) as usize)
}

fn spread(rounds: &mut [f64]) -> Spread {
    rounds.sort_by(f64::total_cmp);
    let half = rounds.len() / 2;
    let median = match rounds.len() % 2 {
        0 => 0.5 * (rounds[half - 1] + rounds[half]),
        _ => rounds[half],
    };
    Spread {
        least: rounds[0],
        median,
        largest: rounds[rounds.len() - 1],
    }
}

/// User and system time of this process and of the children it has waited for.
fn processor_seconds() -> Option<f64> {
    // Linux uses hundredths of a second here, regardless of the kernel's clock.
    const TICK: f64 = 0.01;
    const TIMES: std::ops::Range<usize> = 11..15;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks = fields.get(TIMES)?.iter().map(|field| field.parse::<f64>());
    Some(TICK * ticks.sum::<std::result::Result<f64, _>>().ok()?)
}

fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(1024 * kib)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_of_rounds_is_between_two() {
        let found = spread(&mut [4.0, 1.0, 9.0, 2.0]);
        assert_eq!((found.least, found.median, found.largest), (1.0, 3.0, 9.0));
        assert_eq!(spread(&mut [5.0, 3.0, 4.0]).median, 4.0);
    }
}
