//! Files below a folder that others may write to: no link below it is followed, even one that
//! appears during the operation, and only regular files are opened.
//!
//! Each part of a name is opened relative to the open folder before it, so that no part can be
//! replaced by a link in between.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};

use super::calls::{self, File};
use super::random::{is_random_name, random_name};
use super::{Draft, Lock, Stamp, regular};

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// A name leads through a link.
#[derive(Debug, thiserror::Error)]
#[error("{} is a link: links inside of it are not followed", .0.display())]
struct IsLink(PathBuf);

/// Whether this is the error for a name that leads through a link.
pub fn leads_over_link(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<IsLink>())
}

/// An open folder. Names are relative to it, with `/` between their parts.
#[derive(Debug)]
pub struct Beneath {
    folder: OwnedFd,
    path: PathBuf,
    /// The folder in which a folder was made last, by its name: more are made in the same one.
    made_in: Mutex<Option<(String, Arc<OwnedFd>)>>,
}

impl Beneath {
    /// Opens the folder at `root`; links on the way there are followed.
    pub fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            folder: calls::open_at(CWD, root, flags, Mode::empty())?,
            path: root.to_path_buf(),
            made_in: Mutex::new(None),
        })
    }

    /// Opens a regular file for reading.
    pub fn file(&self, name: &str) -> io::Result<File> {
        let (folder, last) = self.above(name)?;
        // Checked before it is opened, because opening a device can have effects.
        self.stat_in(&folder, last, name)?;
        let opened = calls::open_at(&folder, last, FILE, Mode::empty());
        let file = File::from(opened.map_err(|error| self.explain(&folder, last, error))?);
        regular::check_regular(file.metadata()?.file_type())?;
        Ok(file)
    }

    /// The size and times of a regular file.
    pub fn stat(&self, name: &str) -> io::Result<Stat> {
        let (folder, last) = self.above(name)?;
        self.stat_in(&folder, last, name)
    }

    /// The UTF-8 names in a folder, sorted, and which of them are folders. Omits links.
    pub fn names(&self, name: &str) -> io::Result<Vec<(String, bool)>> {
        let folder = self.folder(name)?;
        let mut names = Vec::new();
        for entry in calls::list(&folder)? {
            let entry = entry?;
            let Ok(text) = entry.file_name().to_str() else {
                continue;
            };
            if matches!(text, "." | "..") {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems don't report the type.
                FileType::Unknown => {
                    match calls::stat_at(&folder, text, AtFlags::SYMLINK_NOFOLLOW) {
                        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                        Err(_) => continue,
                    }
                }
                kind => kind,
            };
            if kind != FileType::Symlink {
                names.push((text.to_string(), kind == FileType::Directory));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Creates a folder and its missing parents, each with the permissions of its parent.
    pub fn make_folders(&self, name: &str) -> io::Result<OwnedFd> {
        match self.folder(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_missing(name),
            folder => folder,
        }
    }

    fn make_missing(&self, name: &str) -> io::Result<OwnedFd> {
        let (above, last) = name.rsplit_once('/').unwrap_or(("", name));
        is_part(last)?;
        let above = self.made_in(above)?;
        match calls::create_dir_at(&*above, last, Mode::from_raw_mode(0o777)) {
            Ok(()) => {
                let made = self.enter(&above, last)?;
                open_as(&made, &above);
                Ok(made)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.enter(&above, last),
            Err(error) => Err(error),
        }
    }

    /// As [`Beneath::make_folders`], for a folder that gets another one: without a call where it is the
    /// same as the last time.
    fn made_in(&self, name: &str) -> io::Result<Arc<OwnedFd>> {
        let lock = || self.made_in.lock().unwrap_or_else(|held| held.into_inner());
        let known = lock().clone().filter(|(known, _)| known == name);
        if let Some((_, folder)) = known.filter(|(_, folder)| is_linked(folder)) {
            return Ok(folder);
        }
        let folder = Arc::new(self.make_folders(name)?);
        *lock() = Some((name.to_string(), Arc::clone(&folder)));
        Ok(folder)
    }

    /// Creates a folder, and its missing parents; `None` if there is something of this name.
    pub fn make_new_folder<'a>(&self, name: &'a str) -> io::Result<Option<NewFolder<'a>>> {
        let (above, last) = home(self, name)?;
        match calls::create_dir_at(&above, last, Mode::from_raw_mode(0o777)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            made => made?,
        }
        let wanted = calls::stat_of(&above).map(|above| inherited(&above));
        if !wanted.is_ok_and(is_made_as) {
            open_as(&self.enter(&above, last)?, &above);
        }
        Ok(Some(NewFolder { above, name: last }))
    }

    /// Names a temporary file, replacing an existing file; creates the missing folders. Returns the
    /// stamp of the file under its new name.
    pub fn place(&self, draft: &mut Draft, name: &str) -> io::Result<Stamp> {
        let (folder, last) = home(self, name)?;
        // Renaming replaces a link and does not follow it.
        draft.rename_at(&folder, last)?;
        Ok(Stamp::of(&draft.file().metadata()?))
    }

    /// As [`Beneath::place`]; `None` if the name is taken.
    pub fn place_new(&self, draft: &mut Draft, name: &str) -> io::Result<Option<Stamp>> {
        let (folder, last) = home(self, name)?;
        match draft.rename_new_at(&folder, last) {
            Ok(()) => Ok(Some(Stamp::of(&draft.file().metadata()?))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the folder has not been removed.
    pub fn is_there(&self) -> bool {
        is_linked(&self.folder)
    }

    /// Makes everything on its file system durable.
    #[cfg(target_os = "linux")]
    pub fn sync_filesystem(&self) -> io::Result<()> {
        calls::sync_filesystem(&self.folder)
    }

    /// Removes a file. A missing file is not an error.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.above(name).and_then(|(folder, last)| {
            // Removes the link itself, not its target.
            calls::remove_file_at(&folder, last)
        });
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// A new file in `folder`, which is created if it is missing, with exactly the permission bits
    /// `mode`. The file is locked while it is written, and removed if it is dropped before it has a
    /// name.
    pub fn temporary(&self, folder: &str, mode: u32) -> io::Result<Temporary> {
        let folder = self.make_folders(folder)?;
        let name = random_name()?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let bits = Mode::from_raw_mode(0o600);
        let file = File::from(calls::open_at(&folder, &name, flags, bits)?);
        let temporary = Temporary { folder, name, file };
        // On a file system without locks, the files of killed processes stay.
        let _ = temporary.file.try_lock();
        temporary.file.set_mode(mode)?;
        Ok(temporary)
    }

    /// Removes the temporary files of processes that have died from a folder. Keeps files that
    /// [`Beneath::temporary`] has named if they are younger than `own`, and other ones if they are
    /// younger than `others`.
    pub fn sweep(&self, folder: &str, own: Duration, others: Duration) -> io::Result<()> {
        let names = match self.names(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            names => names?,
        };
        let opened = self.folder(folder)?;
        for (name, is_folder) in names {
            let age = if is_random_name(&name) { own } else { others };
            if !is_folder && is_abandoned(&opened, &name, age) {
                // Another process may be sweeping too.
                let _ = calls::remove_file_at(&opened, &name);
            }
        }
        Ok(())
    }

    /// Opens a folder.
    pub fn folder(&self, name: &str) -> io::Result<OwnedFd> {
        let parts = parts(name)?;
        if !parts.is_empty() {
            match calls::open_folder_beneath(&self.folder, &parts.join("/")) {
                // Once more part by part, which says what is wrong.
                Err(error) if error.kind() != io::ErrorKind::NotFound => {}
                opened => return opened,
            }
        }
        let mut folder = self.folder.try_clone()?;
        for part in parts {
            folder = self.enter(&folder, part)?;
        }
        Ok(folder)
    }

    /// The folder that holds a name, and the last part of the name.
    fn above<'a>(&self, name: &'a str) -> io::Result<(OwnedFd, &'a str)> {
        let (above, last) = name.rsplit_once('/').unwrap_or(("", name));
        is_part(last)?;
        Ok((self.folder(above)?, last))
    }

    fn enter(&self, folder: &OwnedFd, part: &str) -> io::Result<OwnedFd> {
        let opened = calls::open_at(folder, part, FOLDER, Mode::empty());
        opened.map_err(|error| self.explain(folder, part, error))
    }

    fn stat_in(&self, folder: &OwnedFd, last: &str, name: &str) -> io::Result<Stat> {
        let stat = calls::stat_at(folder, last, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(stat),
            FileType::Symlink => Err(self.link(name)),
            FileType::Directory => Err(regular::is_folder()),
            FileType::Fifo => Err(regular::refused("a named pipe")),
            FileType::Socket => Err(regular::refused("a socket")),
            _ => Err(regular::refused("a device")),
        }
    }

    /// Systems use different errors for a link that is not followed.
    fn explain(&self, folder: &OwnedFd, part: &str, error: io::Error) -> io::Error {
        let stat = calls::stat_at(folder, part, AtFlags::SYMLINK_NOFOLLOW);
        let is_link = stat.is_ok_and(|it| FileType::from_raw_mode(it.st_mode) == FileType::Symlink);
        match is_link {
            true => self.link(part),
            false => error,
        }
    }

    fn link(&self, name: &str) -> io::Error {
        io::Error::other(IsLink(self.path.join(name)))
    }
}

/// A folder that did not exist before.
#[derive(Debug)]
pub struct NewFolder<'a> {
    above: OwnedFd,
    name: &'a str,
}

impl NewFolder<'_> {
    /// Names a temporary file in it.
    pub fn place(&self, draft: &mut Draft, name: &str) -> io::Result<()> {
        is_part(name)?;
        draft.rename_at(&self.above, &format!("{}/{name}", self.name))
    }
}

/// A file without its final name.
#[derive(Debug)]
pub struct Temporary {
    folder: OwnedFd,
    name: String,
    file: File,
}

impl Temporary {
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Names it below `root`, replacing an existing file.
    pub fn place(self, root: &Beneath, name: &str) -> io::Result<()> {
        let (folder, last) = home(root, name)?;
        // Renaming replaces a link and does not follow it.
        calls::rename_at(&self.folder, &self.name, &folder, last)
    }

    /// Names it below `root` unless the name is taken; returns whether it did.
    pub fn place_new(self, root: &Beneath, name: &str) -> io::Result<bool> {
        let (folder, last) = home(root, name)?;
        let placed = calls::rename_new_at(&self.folder, &self.name, &folder, last);
        match placed {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Write for Temporary {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing else has this name after the rename: its digits are random.
        let _ = calls::remove_file_at(&self.folder, &self.name);
    }
}

fn is_abandoned(folder: &OwnedFd, name: &str, age: Duration) -> bool {
    let file = calls::open_at(folder, name, FILE, Mode::empty()).map(File::from);
    file.is_ok_and(|file| {
        file.metadata().is_ok_and(|metadata| {
            let since = metadata
                .modified()
                .ok()
                .and_then(|time| time.elapsed().ok());
            metadata.is_file() && since.unwrap_or_default() >= age
        }) && Lock::is_free(&file)
    })
}

/// The folder that a name belongs in, created if it is missing, and the last part of the name.
fn home<'a>(root: &Beneath, name: &'a str) -> io::Result<(OwnedFd, &'a str)> {
    let (above, last) = name.rsplit_once('/').unwrap_or(("", name));
    is_part(last)?;
    Ok((root.make_folders(above)?, last))
}

/// Whether an open folder has not been removed.
fn is_linked(folder: &OwnedFd) -> bool {
    calls::stat_of(folder).is_ok_and(|stat| stat.st_nlink > 0)
}

/// Gives a new folder the permissions of its parent.
fn open_as(folder: &OwnedFd, above: &OwnedFd) {
    if let Ok(stat) = calls::stat_of(above) {
        // Where that is not allowed, the permissions of the umask remain.
        let _ = calls::set_mode_of(folder, inherited(&stat));
    }
}

/// The permissions of a new folder in `above`.
fn inherited(above: &Stat) -> Mode {
    (Mode::from_raw_mode(above.st_mode) & Mode::from_raw_mode(0o2777)) | Mode::RWXU
}

/// Whether a new folder has these permissions from the umask alone.
fn is_made_as(mode: Mode) -> bool {
    static UMASK: OnceLock<Option<u32>> = OnceLock::new();
    let umask = UMASK.get_or_init(|| {
        let status = String::from_utf8(calls::read("/proc/self/status").ok()?).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("Umask:"))?;
        u32::from_str_radix(line.trim(), 8).ok()
    });
    umask.is_some_and(|umask| mode == Mode::from_raw_mode(0o777 & !umask))
}

fn parts(name: &str) -> io::Result<Vec<&str>> {
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
    parts.iter().try_for_each(|part| is_part(part))?;
    Ok(parts)
}

fn is_part(part: &str) -> io::Result<()> {
    match part.is_empty() || matches!(part, "." | "..") || part.contains(['/', '\0']) {
        true => Err(io::ErrorKind::InvalidInput.into()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::io::Read;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn no_link_below_the_folder_is_followed() {
        let space = tempfile::tempdir().unwrap();
        let (root, outside) = (space.path().join("root"), space.path().join("outside"));
        fs::create_dir_all(root.join("a")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "secret").unwrap();
        fs::write(root.join("a/file"), "content").unwrap();
        symlink(outside.join("secret"), root.join("a/link")).unwrap();
        symlink(&outside, root.join("b")).unwrap();
        symlink(&root, space.path().join("to-root")).unwrap();
        let below = Beneath::open(&space.path().join("to-root")).unwrap();
        let mut content = String::new();
        let mut file = below.file("a/file").unwrap();
        file.read_to_string(&mut content).unwrap();
        assert_eq!(content, "content");
        assert_eq!(below.names("a").unwrap(), [("file".to_string(), false)]);
        for name in ["a/link", "b/secret"] {
            assert!(leads_over_link(&below.file(name).unwrap_err()), "{name}");
            assert!(leads_over_link(&below.stat(name).unwrap_err()), "{name}");
        }
        assert!(leads_over_link(&below.names("b").unwrap_err()));
        for name in ["../outside/secret", "a/../a/file", "/etc/passwd", "", "a/."] {
            assert!(below.file(name).is_err(), "{name}");
        }
        // Writes stay below the folder and replace the link.
        let write = |name: &str| below.temporary("tmp", 0o444).unwrap().place(&below, name);
        assert!(leads_over_link(&write("b/new").unwrap_err()));
        write("a/link").unwrap();
        assert!(root.join("a/link").symlink_metadata().unwrap().is_file());
        assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 0);
        symlink(&outside, root.join("c")).unwrap();
        assert!(leads_over_link(&below.remove("c/secret").unwrap_err()));
        assert!(below.temporary("c", 0o444).is_err());
    }

    #[test]
    fn folders_are_open_to_whom_the_one_above_is_open_to() {
        let space = tempfile::tempdir().unwrap();
        fs::set_permissions(space.path(), Permissions::from_mode(0o2775)).unwrap();
        let below = Beneath::open(space.path()).unwrap();
        below.make_folders("x/y").unwrap();
        let mode = fs::metadata(space.path().join("x/y")).unwrap().mode();
        assert_eq!(mode & 0o2777, 0o2775);
    }

    #[test]
    fn what_the_dead_leave_is_swept_and_nothing_else() {
        let space = tempfile::tempdir().unwrap();
        let below = Beneath::open(space.path()).unwrap();
        let at = |name: &str| space.path().join("tmp").join(name);
        let alive = below.temporary("tmp", 0o444).unwrap();
        // Without a lock, as after a kill.
        let dead = "0123456789abcdef01234567";
        for name in [dead, "probe-1", "another"] {
            fs::write(at(name), "half").unwrap();
        }
        let hour = Duration::from_secs(3600);
        below.sweep("tmp", hour, hour).unwrap();
        assert!(at(dead).exists());
        below.sweep("tmp", Duration::ZERO, hour).unwrap();
        assert!(!at(dead).exists());
        assert!(at(&alive.name).exists() && at("probe-1").exists() && at("another").exists());
        below.sweep("tmp", Duration::ZERO, Duration::ZERO).unwrap();
        assert!(at(&alive.name).exists() && !at("probe-1").exists() && !at("another").exists());
        drop(alive);
        assert_eq!(fs::read_dir(space.path().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn one_of_several_gets_a_name_and_the_others_leave_it_alone() {
        let space = tempfile::tempdir().unwrap();
        let below = Beneath::open(space.path()).unwrap();
        for (content, expected) in [("first", true), ("second", false)] {
            let mut file = below.temporary("tmp", 0o444).unwrap();
            file.write_all(content.as_bytes()).unwrap();
            assert_eq!(file.place_new(&below, "a/name").unwrap(), expected);
        }
        assert_eq!(fs::read(space.path().join("a/name")).unwrap(), b"first");
        assert_eq!(fs::read_dir(space.path().join("tmp")).unwrap().count(), 0);
    }
}
