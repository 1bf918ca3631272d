//! Names of runs and of log files.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::digest::Digest;

/// Longer node ids are truncated in file names.
const LOG_NAME: usize = 150;

/// A file name for the log of node `id`: readable, valid on any file system, and unique.
pub fn log_name(id: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_+-.=,".contains(letter);
    let name: String = id
        .chars()
        .filter(|letter| *letter != ']')
        .map(|letter| match letter {
            '[' => '.',
            letter if plain(letter) => letter,
            _ => '_',
        })
        .take(LOG_NAME)
        .collect();
    // Only an id in the usual form is unique after sanitising.
    let usual = id.len() <= LOG_NAME
        && id
            .chars()
            .all(|letter| plain(letter) || "[]".contains(letter))
        && id
            .split('[')
            .next()
            .is_some_and(|stage| !stage.contains('.'));
    match usual {
        true => format!("{name}.log"),
        false => format!("{name}-{}.log", Digest::of(id.as_bytes()).short()),
    }
}

/// The id of a run, or the name of a worker: that of its folder.
pub fn name_of(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// `20261123-203541-127-<random>`: the time in UTC to the millisecond, and a suffix that
/// distinguishes runs of the same millisecond.
pub fn run_id(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = since.as_secs();
    let (year, month, day) = civil(seconds / 86400);
    let clock = seconds % 86400;
    let seed = format!("{} {}", std::process::id(), since.as_nanos());
    format!(
        "{year:04}{month:02}{day:02}-{:02}{:02}{:02}-{:03}-{}",
        clock / 3600,
        clock / 60 % 60,
        clock % 60,
        since.subsec_millis(),
        &Digest::of(seed.as_bytes()).to_hex()[..6]
    )
}

/// The date `days` after 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms",
/// `civil_from_days`, for non-negative days).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + 400 * era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_named_by_their_time() {
        let leap_day = UNIX_EPOCH + Duration::from_millis(1_709_210_096_789);
        assert!(run_id(leap_day).starts_with("20240229-123456-789-"));
        assert!(run_id(UNIX_EPOCH).starts_with("19700101-000000-000-"));
    }

    #[test]
    fn logs_are_named_by_their_node() {
        let usual = "tuned[source=rich,domain=r,seed=0.5]";
        assert_eq!(log_name(usual), "tuned.source=rich,domain=r,seed=0.5.log");
        assert_ne!(log_name("a/b"), log_name("a_b"));
        assert_ne!(log_name("a.b"), log_name("a[b]"));
        assert!(log_name(&"x".repeat(4000)).len() < 255);
    }
}
