//! A file that changes whenever a process of a shared run has noted something that others may wait for.
//! A process with nothing to do looks at this one file instead of every journal.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::fsx::calls::File;
use crate::fsx::{self, Locks};

/// In the folder of a run.
const BELL: &str = "bell";

/// The bell of a run, as one process knows it.
pub struct Bell {
    path: PathBuf,
    /// Open for writing since this process first rang.
    file: Option<File>,
    /// Whether others see what is written to an open file.
    is_local: bool,
    /// Its size and time when this process last looked.
    heard: Option<(u64, SystemTime)>,
}

impl Bell {
    /// The bell of the run in `folder`, whose processes see these locks.
    pub fn of(folder: &Path, locks: &Locks) -> Self {
        Self {
            path: folder.join(BELL),
            file: None,
            is_local: !locks.reach_other_hosts(),
            heard: None,
        }
    }

    /// Tells the others that something is new.
    pub fn ring(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(fsx::append_shared(&self.path)?),
        };
        file.write_all(b".")?;
        match self.is_local {
            true => Ok(()),
            // A file server gets what is written only now.
            false => file.sync_data(),
        }
    }

    /// Whether this process has rung it.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Whether a process has ever rung it.
    pub fn is_there(&self) -> bool {
        self.is_open() || fsx::may_exist(&self.path)
    }

    /// Whether it has rung since the last call, or was removed after this process rang it. Opening the
    /// file asks a file server anew.
    pub fn has_rung(&mut self) -> bool {
        let found = fsx::open_plain(&self.path).and_then(|file| file.metadata());
        let found = found.and_then(|metadata| Ok((metadata.len(), metadata.modified()?)));
        let found = found.ok();
        let is_removed = found.is_none() && self.is_open();
        is_removed || found != std::mem::replace(&mut self.heard, found)
    }
}
