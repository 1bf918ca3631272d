//! Logs of workers, for messages.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::fsx;

/// The last bytes of a log, for a message; empty if there is none.
pub fn tail(log: &Path) -> String {
    /// Some twenty lines.
    const LONGEST: u64 = 2000;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = fsx::open_regular(log)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(LONGEST)))?;
        let mut bytes = Vec::new();
        file.take(LONGEST).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    text.trim().to_string()
}
