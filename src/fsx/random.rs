//! Names that nothing else has.

use std::io;

const RANDOM: usize = 12;

pub(super) fn random_name() -> io::Result<String> {
    let mut bytes = [0; RANDOM];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    Ok(digits.collect())
}

pub(super) fn is_random_name(name: &str) -> bool {
    name.len() == 2 * RANDOM && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}
