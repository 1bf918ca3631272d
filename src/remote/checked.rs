//! What a record must be before it is anything, whoever hands it in.

use crate::diag::terminal::steers;
use crate::digest::Digest;
use crate::store::Record;
use crate::store::record::RECORD_FORMAT;

/// Largest record that is looked at. Metrics and tables stand in it.
pub const MOST_RECORD: u64 = 64 << 20;

/// The record in `bytes`, if it is what its name `digest` and its place under `key` say.
///
/// # Errors
/// Says in words what is wrong with it.
pub fn record(bytes: &[u8], key: &Digest, digest: &Digest) -> Result<Record, String> {
    let wrong = |why: &str| Err(why.to_string());
    if Digest::of(bytes) != *digest {
        return wrong("its content does not have its name's digest");
    }
    let record: Record = serde_json::from_slice(bytes)
        .map_err(|error| shown(&format!("it is no record: {error}")))?;
    if record.format > RECORD_FORMAT {
        return wrong("a newer ribflow wrote it");
    }
    if record.key != *key || record.recipe.key() != *key {
        return wrong("it is of another key");
    }
    if record.to_bytes() != bytes {
        return wrong("it is not in canonical form");
    }
    artifacts(&record).map(|()| record)
}

/// Words in which something from outside may stand, fit for a terminal.
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

/// That what stands in the record itself has the digests that it says.
fn artifacts(record: &Record) -> Result<(), String> {
    for (name, port) in &record.ports {
        if let Some(artifact) = &port.inline
            && Digest::of(&artifact.to_bytes()) != port.digest
        {
            let name = shown(name);
            return Err(format!("its output `{name}` does not have its digest"));
        }
        // A build that knows this format only would lose part of the output.
        if let Some(artifact) = &port.inline
            && artifact.format() > record.format
        {
            let name = shown(name);
            return Err(format!("its format is too old for its output `{name}`"));
        }
    }
    Ok(())
}
