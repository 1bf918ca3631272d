//! `resources:`: what a node requires of a machine, and the units.

use serde_json::Value;

use super::graph::Resources;
use crate::diag::Problems;
use crate::yaml::Entry;

const NAMES: &[&str] = &[
    "cpus", "mem", "gpus", "gpu_mem", "time", "retries", "timeout", "grace",
];

/// Reports fields that `resources` does not have.
pub fn check_names(entries: &[&Entry], problems: &mut Problems) {
    for entry in entries {
        if !NAMES.contains(&entry.key.as_str()) {
            let message = format!("`resources` has no field `{}`", entry.key);
            let found = problems.error(entry.key_place, "unknown-field", message);
            found.suggest(&entry.key, "fields", NAMES.iter().copied());
        }
    }
}

/// Sets one field; the error says what is expected.
pub fn set(resources: &mut Resources, name: &str, value: &Value) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    match name {
        "cpus" => resources.cpus = Some(count(value, 1)?),
        "gpus" => resources.gpus = Some(count(value, 0)?),
        "retries" => resources.retries = count(value, 0)?,
        "mem" => resources.mem = Some(bytes(value)?),
        "gpu_mem" => resources.gpu_mem = Some(bytes(value)?),
        "time" => resources.time = Some(seconds(value)?),
        "timeout" => resources.timeout = Some(seconds(value)?),
        "grace" => resources.grace = Some(seconds_or_none(value)?),
        // Reported when the stage was compiled.
        _ => {}
    }
    Ok(())
}

fn count(value: &Value, least: u32) -> Result<u32, String> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.filter(|number| *number >= least).ok_or_else(|| {
        format!(
            "a whole number from {least} on is expected, not `{}`",
            shown(value)
        )
    })
}

/// `8GiB`, `512MB`, or a number of bytes.
pub fn bytes(value: &Value) -> Result<u64, String> {
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
    let expected = || {
        format!(
            "an amount of memory such as `8GiB` is expected, not `{}`",
            shown(value)
        )
    };
    let text = shown(value);
    let (number, unit) = split(&text).ok_or_else(expected)?;
    let unit = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(expected)?;
    whole(number * unit.1 as f64).ok_or_else(expected)
}

/// As [`seconds`], or `0` for no time.
fn seconds_or_none(value: &Value) -> Result<u64, String> {
    match shown(value).as_str() {
        "0" | "0s" => Ok(0),
        _ => seconds(value),
    }
}

/// `90s`, `30m`, `2h`, `1d`, `1h30m`, or a number of seconds.
pub fn seconds(value: &Value) -> Result<u64, String> {
    const UNITS: &[(&str, u64)] = &[("", 1), ("s", 1), ("m", 60), ("h", 3600), ("d", 86400)];
    let expected = || {
        format!(
            "a time such as `90s`, `30m` or `2h` is expected, not `{}`",
            shown(value)
        )
    };
    let text = shown(value);
    let mut rest = text.as_str();
    let mut total = 0.0;
    while !rest.is_empty() {
        let after_number =
            rest.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
        let after_unit =
            after_number.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
        let (number, unit) = split(&rest[..rest.len() - after_unit.len()]).ok_or_else(expected)?;
        let unit = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(expected)?;
        total += number * unit.1 as f64;
        rest = after_unit;
    }
    whole(total).ok_or_else(expected)
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

fn shown(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_string)
}
