//! Fetches a large object in parts over several connections. A note beside the file lists the
//! complete parts, so that a later process fetches only the rest.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::fsx;
use crate::fsx::calls::{self, File};
use crate::remote::transport::{Part, Remote, RemoteError};

/// Bytes of a part: one second at 130 Mbit/s.
const PART: u64 = 16 << 20;
/// Connections for one object.
const WIDTH: usize = 6;

/// A file that is filled part by part.
pub struct Parts {
    file: File,
    note: PathBuf,
    bytes: u64,
    missing: Vec<u64>,
}

/// A failure of the remote, or of the disk here.
pub type Failure = Result<RemoteError, io::Error>;

impl Parts {
    /// The file at `path`, which will have `bytes` bytes, with the parts that exist already.
    pub fn open(path: &Path, bytes: u64) -> io::Result<Self> {
        let note = path.with_extension("parts");
        fsx::unlink_if_link(path)?;
        fsx::unlink_if_link(&note)?;
        fsx::give_way(&note);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        let file = File::open_with(path, &options)?;
        let known = file.metadata()?.len() == bytes;
        file.set_len(bytes)?;
        let noted = match known {
            true => fsx::read_regular_text(&note).unwrap_or_default(),
            false => String::new(),
        };
        if !known {
            calls::write(&note, "")?;
        }
        let done: Vec<u64> = noted.lines().filter_map(|line| line.parse().ok()).collect();
        let all = 0..bytes.div_ceil(PART);
        Ok(Self {
            file,
            note,
            bytes,
            missing: all.filter(|index| !done.contains(index)).collect(),
        })
    }

    /// Fetches the missing parts, and removes the note.
    pub fn fetch(
        self,
        remote: &dyn Remote,
        name: &str,
        received: &AtomicU64,
    ) -> Result<(), Failure> {
        let next = AtomicUsize::new(0);
        let failed: Mutex<Option<Failure>> = Mutex::new(None);
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        let note = File::open_with(&self.note, &options);
        let note = Mutex::new(note.map_err(Err)?);
        std::thread::scope(|scope| {
            for _ in 0..WIDTH.min(self.missing.len()) {
                scope.spawn(|| {
                    while let Some(index) = self.missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if locked(&failed).is_some() {
                            return;
                        }
                        match self.part(remote, name, *index) {
                            Ok(count) => {
                                received.fetch_add(count, Ordering::Relaxed);
                                // The note only saves time for a later process.
                                let _ = writeln!(locked(&note), "{index}");
                            }
                            Err(failure) => {
                                locked(&failed).get_or_insert(failure);
                            }
                        }
                    }
                });
            }
        });
        match failed.into_inner().unwrap_or_else(|held| held.into_inner()) {
            Some(failure) => Err(failure),
            None => {
                let _ = calls::remove_file(&self.note);
                Ok(())
            }
        }
    }

    fn part(&self, remote: &dyn Remote, name: &str, index: u64) -> Result<u64, Failure> {
        let from = index * PART;
        let part = Part {
            from,
            most: PART.min(self.bytes - from),
        };
        let mut at = At {
            file: &self.file,
            position: from,
        };
        let count = remote.get(name, part, &mut at).map_err(Ok)?;
        match count == part.most {
            true => Ok(count),
            false => Err(Ok(RemoteError::Wrong {
                remote: remote.shown().to_string(),
                name: name.to_string(),
                why: format!("it ends before byte {}", from + part.most),
            })),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|held| held.into_inner())
}

/// Writes at its own position.
struct At<'a> {
    file: &'a File,
    position: u64,
}

impl Write for At<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write_at(bytes, self.position)?;
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
