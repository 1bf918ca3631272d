//! Reads files of folders that another user may have created. Such folders may hold links, and
//! pipes that never answer: these functions open only regular files, and follow no links.

use super::again::again;
use super::calls::{self, File};
use std::fs::FileType;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Opens a pipe without blocking; it is refused afterwards.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens `path` for reading if it is a regular file, not a link to one.
pub fn open_plain(path: &Path) -> io::Result<File> {
    regular(calls::open_at(rustix::fs::CWD, path, FILE, Mode::empty()))
}

/// The content of `path` if it is a regular file, not a link to one.
pub fn read_plain(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_plain(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn regular(opened: io::Result<OwnedFd>) -> io::Result<File> {
    let opened = match opened {
        Err(error) => match Errno::from_io_error(&error) {
            // A socket.
            Some(Errno::NXIO) => return Err(io::Error::other("it is not a regular file")),
            Some(Errno::LOOP) => return Err(link()),
            _ => return Err(error),
        },
        Ok(opened) => opened,
    };
    let stat = calls::stat_of(&opened)?;
    match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::RegularFile => {}
        rustix::fs::FileType::Directory => return Err(io::ErrorKind::IsADirectory.into()),
        _ => return Err(io::Error::other("it is not a regular file")),
    }
    Ok(File::from(opened))
}

fn link() -> io::Error {
    io::Error::other("it is a link, and links are not followed here")
}

/// Refuses `path` if a folder between `root` and it is a link, so that a file is written where its
/// name says. Missing folders are allowed.
pub fn refuse_links(root: &Path, path: &Path) -> io::Result<()> {
    let above = path.ancestors().skip(1);
    for folder in above.take_while(|folder| *folder != root && folder.starts_with(root)) {
        if is_link(folder) {
            let message = format!(
                "{} is a link, and links are not followed here",
                folder.display()
            );
            return Err(io::Error::other(message));
        }
    }
    Ok(())
}

/// Removes a link at a path that is about to be opened for writing; the target of the link belongs
/// to someone else.
pub fn unlink_if_link(path: &Path) -> io::Result<()> {
    match is_link(path) {
        true => calls::remove_file(path),
        false => Ok(()),
    }
}

/// Whether `path` is a link, including a broken one.
pub fn is_link(path: &Path) -> bool {
    calls::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

/// Whether `path` is a link to something that is not there, or to itself.
pub fn leads_nowhere(path: &Path) -> bool {
    is_link(path) && calls::metadata(path).is_err()
}

/// Whether there may be something at `path`: also if that can't be determined.
pub fn may_exist(path: &Path) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    let found = again(|| calls::symlink_metadata(path));
    !found.is_err_and(|error| matches!(error.kind(), NotFound | NotADirectory))
}

/// Whether `path` is a folder, not a link to one.
pub fn is_folder(path: &Path) -> bool {
    calls::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// The paths of the entries of a folder, sorted, without links; empty if the folder is missing.
pub fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    listed(folder, |kind| !kind.is_symlink())
}

/// The paths of the folders in a folder, sorted; empty if the folder is missing.
pub fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    listed(folder, FileType::is_dir)
}

fn listed(folder: &Path, is_meant: impl Fn(&FileType) -> bool) -> io::Result<Vec<PathBuf>> {
    let listed = match calls::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed?,
    };
    let mut paths = Vec::new();
    for entry in listed {
        let entry = entry?;
        if is_meant(&entry.file_type()?) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use std::fs;

    use super::*;

    #[test]
    fn links_below_the_folder_are_not_followed() {
        let space = tempfile::tempdir().unwrap();
        let path = |name: &str| space.path().join(name);
        fs::create_dir_all(path("real/inner")).unwrap();
        fs::write(path("real/inner/file"), "content").unwrap();
        fs::write(path("secret"), "secret").unwrap();
        symlink(path("real"), path("root")).unwrap();
        symlink("inner", path("real/linked")).unwrap();
        symlink(path("secret"), path("real/inner/leak")).unwrap();
        assert_eq!(read_plain(&path("real/inner/file")).unwrap(), b"content");
        assert!(open_plain(&path("real/inner/leak")).is_err());
        assert!(refuse_links(&path("real"), &path("real/linked/new")).is_err());
        assert!(refuse_links(&path("root"), &path("root/inner/new")).is_ok());
        let names = entries(&path("real/inner")).unwrap();
        assert_eq!(names, [path("real/inner/file")]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_pipe_is_refused_at_once() {
        let space = tempfile::tempdir().unwrap();
        let pipe = space.path().join("pipe");
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(open_plain(&pipe).is_err());
    }
}
