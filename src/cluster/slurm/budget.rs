//! How often Slurm is called: a controller serves all users of a cluster. Pure.

/// How many calls there may be. In any hour there are at most `burst + per_hour`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calls {
    /// Calls for which there is room after a time of rest.
    pub burst: f64,
    /// Calls for which an hour makes room.
    pub per_hour: f64,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            burst: 30.0,
            per_hour: 60.0,
        }
    }
}

/// Room for calls.
#[derive(Clone, Debug)]
pub struct Budget {
    calls: Calls,
    room: f64,
    at: f64,
}

impl Budget {
    pub fn new(calls: Calls) -> Self {
        Self {
            calls,
            room: calls.burst,
            at: 0.0,
        }
    }

    /// Takes the room for a call at `now` (seconds) if that leaves room for `others` more.
    pub fn take(&mut self, now: f64, others: f64) -> bool {
        let gained = (now - self.at).max(0.0) * self.calls.per_hour / 3600.0;
        self.room = (self.room + gained).min(self.calls.burst);
        self.at = now.max(self.at);
        let is_room = self.room >= 1.0 + others;
        if is_room {
            self.room -= 1.0;
        }
        is_room
    }
}

/// When the queue is asked: soon after a change, then ever less often.
#[derive(Clone, Debug)]
pub struct Rhythm {
    shortest: f64,
    longest: f64,
    interval: f64,
    next: f64,
}

impl Rhythm {
    /// `longest`: seconds between two questions when nothing changes.
    pub fn new(longest: f64) -> Self {
        let shortest = longest.min(15.0);
        Self {
            shortest,
            longest,
            interval: shortest,
            next: 0.0,
        }
    }

    pub fn is_due(&self, now: f64) -> bool {
        now >= self.next
    }

    /// The queue was asked. `changed`: its answer was news.
    pub fn asked(&mut self, now: f64, changed: bool) {
        self.interval = match changed {
            true => self.shortest,
            false => (self.interval * 2.0).min(self.longest),
        };
        self.next = now + self.interval;
    }

    /// Something was submitted.
    pub fn hurry(&mut self, now: f64) {
        self.interval = self.shortest;
        self.next = self.next.min(now + self.shortest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hour_has_more_calls_than_the_limit() {
        // A run that asks every second for three hours.
        let mut budget = Budget::new(Calls::default());
        let calls: Vec<u32> = (0..3 * 3600)
            .filter(|second| budget.take(f64::from(*second), 0.0))
            .collect();
        let within = |from: u32| {
            calls
                .iter()
                .filter(move |at| (from..from + 3600).contains(*at))
        };
        assert!((0..7200).all(|from| within(from).count() <= 91));
        assert_eq!(within(3600).count(), 60);
    }

    #[test]
    fn a_queue_that_does_not_change_is_asked_less_and_less() {
        let mut rhythm = Rhythm::new(60.0);
        let mut times = Vec::new();
        for second in 0..3600 {
            let now = f64::from(second);
            if rhythm.is_due(now) {
                rhythm.asked(now, second == 0);
                times.push(second);
            }
        }
        assert_eq!(times[..5], [0, 15, 45, 105, 165]);
        assert_eq!(times.len(), 62);
        rhythm.hurry(3600.0);
        assert!(rhythm.is_due(3615.0));
    }
}
