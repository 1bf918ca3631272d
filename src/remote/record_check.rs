//! Validates records from outside, regardless of their source.

use crate::diag::terminal::steers;
use crate::digest::Digest;
use crate::store::Record;
use crate::store::record::RECORD_FORMAT;

/// The size limit of a record, which contains metrics and tables.
pub const MOST_RECORD: u64 = 64 << 20;

/// The record in `bytes`, if it matches its name `digest` and its key `key`.
///
/// # Errors
/// A sentence that describes the problem.
pub fn record(bytes: &[u8], key: &Digest, digest: &Digest) -> Result<Record, String> {
    let wrong = |why: &str| Err(why.to_string());
    if Digest::of(bytes) != *digest {
        return wrong("its content does not match the digest in its name");
    }
    let record: Record = serde_json::from_slice(bytes)
        .map_err(|error| shown(&format!("it is not a record: {error}")))?;
    if record.format > RECORD_FORMAT {
        return wrong("a newer ribflow wrote it");
    }
    if record.key != *key || record.recipe.key() != *key {
        return wrong("it has another key");
    }
    if record.to_bytes() != bytes {
        return wrong("it is not in canonical form");
    }
    artifacts(&record).map(|()| record)
}

/// Text that may contain outside input, made safe for a terminal.
pub fn shown(words: &str) -> String {
    const MOST: usize = 300;
    let letters = words.chars().take(MOST);
    letters
        .map(|letter| match steers(letter) {
            true => char::REPLACEMENT_CHARACTER,
            false => letter,
        })
        .collect()
}

/// Checks the digests of the record's inline artifacts.
fn artifacts(record: &Record) -> Result<(), String> {
    for (name, port) in &record.ports {
        if let Some(artifact) = &port.inline
            && Digest::of(&artifact.to_bytes()) != port.digest
        {
            let name = shown(name);
            return Err(format!("its output `{name}` does not match its digest"));
        }
        // A build that supports only this format would lose part of the output.
        if let Some(artifact) = &port.inline
            && artifact.format() > record.format
        {
            let name = shown(name);
            return Err(format!("its format is too old for its output `{name}`"));
        }
    }
    Ok(())
}
