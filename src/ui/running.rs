//! The progress of one running node, phase by phase.

/// The least share of a node that says how long the whole takes: the first steps are slow.
const TELLING: f64 = 0.05;

/// The unit of a phase before the work itself.
const DECODED: &str = "images decoded";

/// A running node. Times are seconds since the start of the run; work is in core seconds.
#[derive(Clone, Debug)]
pub struct Running {
    since: f64,
    pub threads: f64,
    /// The time of the last report, or of the start.
    reported: f64,
    phase: Option<Phase>,
}

/// A node reports its progress in phases, such as decoding, training and testing. Each phase counts
/// from 0 to its own total.
#[derive(Clone, Debug)]
struct Phase {
    since: f64,
    done: u64,
    total: u64,
    unit: String,
}

impl Running {
    pub fn new(since: f64, threads: usize) -> Self {
        Self {
            since,
            threads: threads.max(1) as f64,
            reported: since,
            phase: None,
        }
    }

    pub fn report(&mut self, now: f64, done: u64, total: u64, unit: &str) {
        let goes_on = |phase: &&mut Phase| {
            phase.unit == unit && phase.total == total && phase.done <= done && phase.done < total
        };
        match self.phase.as_mut().filter(goes_on) {
            Some(phase) => phase.done = done,
            None => {
                self.phase = Some(Phase {
                    since: self.reported,
                    done,
                    total,
                    unit: unit.to_string(),
                });
            }
        }
        self.reported = now;
    }

    /// The work done so far.
    pub fn spent(&self, now: f64) -> f64 {
        (now - self.since) * self.threads
    }

    /// The done part of the phase, from 0 to 1; 0 if its total is unknown.
    pub fn share(&self) -> f64 {
        let phase = self.phase.as_ref().filter(|phase| phase.total > 0);
        phase.map_or(0.0, |phase| {
            (phase.done as f64 / phase.total as f64).min(1.0)
        })
    }

    /// The remaining work at its own pace, if its phase says that.
    pub fn left(&self, now: f64) -> Option<f64> {
        let phase = self.phase.as_ref()?;
        let share = self.share();
        let tells = phase.unit != DECODED && (TELLING..=1.0).contains(&share);
        tells.then(|| (now - phase.since) * self.threads * (1.0 - share) / share)
    }
}
