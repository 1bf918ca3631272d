//! Numbers, durations and sizes for people, in text and on the report page, and as people write them.

mod amounts;

pub use amounts::{read_bytes, read_seconds};

/// `4 ms`, `0.42 s`, `3.2 s`, `48 s`, `3 min 20 s`, `2 h 05 min`, `3 d 4 h`.
pub fn duration(seconds: f64) -> String {
    // An empty sum is -0.
    let seconds = seconds.max(0.0) + 0.0;
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 0.0995 => format!("{:.0} ms", seconds * 1000.0),
        _ if seconds < 1.0 => format!("{seconds:.2} s"),
        _ if seconds < 9.95 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3600..86400 => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86400, whole % 86400 / 3600),
    }
}

/// `1 node`, `495 nodes`, `18,439 nodes`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), ending(number))
}

fn ending(number: usize) -> &'static str {
    if number == 1 { "" } else { "s" }
}

/// `1 node is`, `495 nodes are`.
pub fn are(number: usize, noun: &str) -> String {
    let verb = if number == 1 { "is" } else { "are" };
    format!("{} {verb}", count(number, noun))
}

/// Digits in groups of three: `18,439`.
pub fn grouped(number: usize) -> String {
    separated(number, ',')
}

fn separated(number: usize, separator: char) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(separator);
        }
        text.push(digit);
    }
    text
}

/// `812 B`, `4.1 KiB`, `1.5 GiB`.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = number as f64;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{number} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

/// Counts on the report page. Groups of digits are separated by a narrow no-break space, as the SI
/// recommends: the page shows many decimals, and a comma could be read as a decimal mark. Text uses
/// commas, which are ASCII.
pub mod page {
    use super::{ending, separated};

    /// `1 node`, `18 439 nodes`.
    pub fn count(number: usize, noun: &str) -> String {
        format!("{} {noun}{}", grouped(number), ending(number))
    }

    /// `18 439`.
    pub fn grouped(number: usize) -> String {
        separated(number, '\u{202f}')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well_at_every_size() {
        let shown: Vec<String> = [
            std::iter::empty::<f64>().sum(),
            0.004,
            0.42,
            3.21,
            9.96,
            48.0,
            59.7,
            200.0,
            7500.0,
            277_200.0,
        ]
        .into_iter()
        .map(duration)
        .collect();
        assert_eq!(
            shown,
            [
                "0 ms",
                "4 ms",
                "0.42 s",
                "3.2 s",
                "10 s",
                "48 s",
                "1 min 00 s",
                "3 min 20 s",
                "2 h 05 min",
                "3 d 5 h"
            ]
        );
    }

    #[test]
    fn counts_and_sizes() {
        assert_eq!(count(1, "node"), "1 node");
        assert_eq!(count(18_439, "node"), "18,439 nodes");
        assert_eq!(grouped(1_000_000), "1,000,000");
        assert_eq!(page::count(18_439, "node"), "18\u{202f}439 nodes");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1 << 20), "1.0 MiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
    }
}
