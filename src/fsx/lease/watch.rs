//! How long the beats of other processes have been seen unchanged. No clock of another host is
//! read: only this process's own monotonic time counts.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Of the time between two looks at most this share of what a lease lasts counts. An observer that
/// was suspended itself, or that waited for a server which had stopped for all, begins to count when
/// it goes on.
const LOOKS: u32 = 6;

/// What one process has seen.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<HashMap<String, Seen>>);

#[derive(Debug)]
struct Seen {
    beats: String,
    /// The last look.
    at: Instant,
    /// For how long it has been unchanged.
    unchanged: Duration,
}

impl Watch {
    /// Notes the beats of the holder `id`; returns whether they have been unchanged for `lasts`.
    pub fn is_over(&self, id: &str, beats: &str, lasts: Duration) -> bool {
        self.look(id, beats, lasts, Instant::now())
    }

    fn look(&self, id: &str, beats: &str, lasts: Duration, now: Instant) -> bool {
        let mut all = self.0.lock().unwrap_or_else(|held| held.into_inner());
        let seen = all.entry(id.to_string()).or_insert_with(|| Seen {
            beats: beats.to_string(),
            at: now,
            unchanged: Duration::ZERO,
        });
        let since = now.saturating_duration_since(seen.at).min(lasts / LOOKS);
        seen.at = now;
        if seen.beats == beats {
            seen.unchanged += since;
        } else {
            seen.beats = beats.to_string();
            seen.unchanged = Duration::ZERO;
        }
        seen.unchanged >= lasts
    }

    /// Forgets a holder that is gone.
    pub fn forget(&self, id: &str) {
        let mut all = self.0.lock().unwrap_or_else(|held| held.into_inner());
        all.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTS: Duration = Duration::from_secs(90);

    /// The look at which the beats count as over, if the holder beats at these looks.
    fn over_at(every: Duration, beats: impl Fn(u64) -> u64) -> Option<u64> {
        let (watch, start) = (Watch::default(), Instant::now());
        (0..1000).find(|look| {
            let now = start + every * u32::try_from(*look).unwrap();
            watch.look("a", &beats(*look).to_string(), LASTS, now)
        })
    }

    #[test]
    fn beats_are_over_once_they_were_seen_unchanged_for_long_enough() {
        let second = Duration::from_secs(1);
        assert_eq!(over_at(second, |_| 0), Some(90));
        assert_eq!(over_at(second, |look| look / 15), None);
        // The last beat came with the look of second 45.
        assert_eq!(over_at(second, |look| look.min(45)), Some(135));
    }

    #[test]
    fn time_in_which_the_observer_did_not_look_does_not_count() {
        // Six gaps of 15 seconds each, however long they were.
        let hour = Duration::from_secs(3600);
        assert_eq!(over_at(hour, |_| 0), Some(6));
        let (watch, start) = (Watch::default(), Instant::now());
        assert!(!watch.look("a", "1", LASTS, start));
        assert!(!watch.look("a", "1", LASTS, start + hour));
        assert!(!watch.look("a", "2", LASTS, start + hour));
    }
}
