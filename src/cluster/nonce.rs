//! Names that no other submission has.

use std::time::{SystemTime, UNIX_EPOCH};

/// Eight hexadecimal digits.
pub fn nonce() -> String {
    let mut bytes = [0; 4];
    if getrandom::fill(&mut bytes).is_err() {
        // No source of randomness: the time differs between any two submissions of a user.
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanoseconds = now.map_or(0, |age| age.as_nanos());
        bytes = (nanoseconds as u32).to_le_bytes();
    }
    format!("{:08x}", u32::from_le_bytes(bytes))
}
