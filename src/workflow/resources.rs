//! `resources:`: what a node requires of a machine, and the units.

use serde_json::Value;

use super::graph::Resources;
use crate::diag::Problems;
use crate::quantity::{read_bytes, read_seconds};
use crate::yaml::Entry;

const NAMES: &[&str] = &[
    "cpus",
    "mem",
    "gpus",
    "gpu_mem",
    "time",
    "retries",
    "timeout",
    "grace",
    "dedicated",
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
        "dedicated" => resources.dedicated = flag(value)?,
        // Reported when the stage was compiled.
        _ => {}
    }
    Ok(())
}

fn flag(value: &Value) -> Result<bool, String> {
    let flag = value.as_bool();
    flag.ok_or_else(|| format!("`true` or `false` is expected, not `{}`", shown(value)))
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
    let text = shown(value);
    read_bytes(&text)
        .ok_or_else(|| format!("an amount of memory such as `8GiB` is expected, not `{text}`"))
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
    let text = shown(value);
    read_seconds(&text)
        .ok_or_else(|| format!("a time such as `90s`, `30m` or `2h` is expected, not `{text}`"))
}

fn shown(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_string)
}
