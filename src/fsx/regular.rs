//! Opens files of unknown origin without blocking: the path may refer to a named pipe, which blocks
//! until another process writes to it, to a device, or to a socket.

use std::fs::{FileType, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::calls::{self, File};
use super::is_link;

/// Why a path can't be read as a file.
#[derive(Debug, thiserror::Error)]
#[error("it is {0}, not a file")]
struct NotRegular(&'static str);

/// Opens a regular file for reading; links are followed.
///
/// # Errors
/// A folder, a named pipe, a socket or a device is an error that names its type; none of them
/// blocks.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // Checked before it is opened, because opening a device can have effects.
    let metadata = calls::metadata(path).map_err(|error| {
        // An entry is there, so the caller must not take it for missing.
        match error.kind() == io::ErrorKind::NotFound && is_link(path) {
            true => refused("a link to nothing"),
            false => error,
        }
    })?;
    check_regular(metadata.file_type())?;
    let file = open_unless_waiting(path)?;
    // Checked again: it may have been replaced in between.
    check_regular(file.metadata()?.file_type())?;
    Ok(file)
}

/// Opens an entry that was listed as a regular file. A named pipe that has replaced it reads as an
/// empty file and does not block.
pub fn open_unless_waiting(path: &Path) -> io::Result<File> {
    match open(path, OFlags::NONBLOCK) {
        // Another program holds a lease on it, which a plain open waits for.
        Err(error) if error.raw_os_error() == Some(Errno::WOULDBLOCK.raw_os_error()) => {
            open(path, OFlags::empty())
        }
        file => file,
    }
}

/// The content of a regular file; see [`open_regular`].
pub fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open_regular(path)?;
    let mut bytes = Vec::with_capacity(size_hint(file.metadata()));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The content of a regular file of at most `most` bytes; see [`open_regular`].
///
/// # Errors
/// `FileTooLarge` for a larger file.
pub fn read_regular_within(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = open_regular(path)?;
    file.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("the file has more than {most} bytes"),
        )),
        false => Ok(bytes),
    }
}

/// The text of a regular file; see [`open_regular`].
pub fn read_regular_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open_regular(path)?.read_to_string(&mut text)?;
    Ok(text)
}

fn size_hint(metadata: io::Result<Metadata>) -> usize {
    // Reserves at most this: the reported size may be sparse or wrong.
    const MOST: u64 = 64 << 20;
    metadata.map_or(0, |metadata| metadata.len().min(MOST) as usize)
}

fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOCTTY | OFlags::CLOEXEC;
    let options = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .clone();
    File::open_with(path, &options)
}

/// An error for everything other than a regular file.
pub fn check_regular(kind: FileType) -> io::Result<()> {
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => return Err(is_folder()),
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () if kind.is_char_device() || kind.is_block_device() => "a device",
        () => "something else",
    };
    Err(refused(what))
}

pub(super) fn is_folder() -> io::Error {
    io::Error::new(io::ErrorKind::IsADirectory, NotRegular("a folder"))
}

/// The error for a path that is not a file.
pub(super) fn refused(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, NotRegular(what))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_regular_files_are_opened_and_none_of_the_others_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "content").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        let status = std::process::Command::new("mkfifo")
            .arg(at("pipe"))
            .status();
        assert!(status.unwrap().success());
        std::os::unix::fs::symlink(at("pipe"), at("link-to-pipe")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for name in ["file", "link"] {
            assert_eq!(read_regular(&at(name)).unwrap(), b"content");
        }
        std::os::unix::fs::symlink(at("nothing"), at("link-to-nothing")).unwrap();
        let missing = read_regular(&at("nothing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        for (name, expected) in [
            ("link-to-nothing", "a link to nothing"),
            ("pipe", "a named pipe"),
            ("link-to-pipe", "a named pipe"),
            ("socket", "a socket"),
            (".", "a folder"),
        ] {
            let error = open_regular(&at(name)).unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
        let error = open_regular(Path::new("/dev/null")).unwrap_err();
        assert!(error.to_string().contains("a device"), "{error}");
        let error = open_regular(&at("none")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
