//! A file that changes whenever a process of a shared run has noted something that others may wait for.
//! A process with nothing to do looks at this one file instead of every journal.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::fsx;

/// In the folder of a run.
const BELL: &str = "bell";

/// The bell of a run, as one process knows it.
pub struct Bell {
    path: PathBuf,
    /// Its size and time when this process last looked.
    heard: Option<(u64, SystemTime)>,
}

impl Bell {
    /// The bell of the run in `folder`.
    pub fn of(folder: &Path) -> Self {
        Self {
            path: folder.join(BELL),
            heard: None,
        }
    }

    /// Tells the others that something is new. Closing the file sends it to a file server.
    pub fn ring(&self) -> io::Result<()> {
        fsx::append_shared(&self.path)?.write_all(b".")
    }

    /// Whether it has rung since the last call. Opening the file asks a file server anew.
    pub fn has_rung(&mut self) -> bool {
        let found = fsx::open_plain(&self.path).and_then(|file| file.metadata());
        let found = found.and_then(|metadata| Ok((metadata.len(), metadata.modified()?)));
        let found = found.ok();
        found != std::mem::replace(&mut self.heard, found)
    }
}
