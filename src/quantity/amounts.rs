//! Amounts that people write: `8GiB`, `1h30m`.

/// The bytes in `8GiB`, `512MB` or `4096`; `None` if it is none, or less than one byte.
pub fn read_bytes(text: &str) -> Option<u64> {
    const UNITS: &[(&str, u64)] = &[
        ("", 1),
        ("B", 1),
        ("kB", 1000),
        ("KB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ];
    let (number, unit) = split(text)?;
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
    whole(number * *unit as f64)
}

/// The seconds in `90s`, `30m`, `2h`, `1d`, `1h30m` or `90`; `None` if it is none, or less than one.
pub fn read_seconds(text: &str) -> Option<u64> {
    const UNITS: &[(&str, u64)] = &[("", 1), ("s", 1), ("m", 60), ("h", 3600), ("d", 86400)];
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let after_number =
            rest.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
        let after_unit =
            after_number.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
        let (number, unit) = split(&rest[..rest.len() - after_unit.len()])?;
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total += number * *unit as f64;
        rest = after_unit;
    }
    whole(total)
}

/// Splits a number and its unit.
fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    Some((number.parse().ok()?, unit.trim()))
}

fn whole(number: f64) -> Option<u64> {
    // No machine has an amount beyond 2^63.
    let sensible = (1.0..9.0e18).contains(&number);
    sensible.then_some(number.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_with_their_units() {
        assert_eq!(read_bytes("8GiB"), Some(8 << 30));
        assert_eq!(read_bytes("1.5 kB"), Some(1500));
        assert_eq!(read_seconds("1h30m"), Some(5400));
        assert_eq!(read_seconds("90"), Some(90));
        for text in ["", "0", "x", "8Gib", "1h30", "-1", "1e99", "9x"] {
            let is_time = text == "1h30";
            assert_eq!(read_bytes(text), None, "{text}");
            assert_eq!(read_seconds(text).is_some(), is_time, "{text}");
        }
    }
}
