//! Retries reads: a disk, a network, or a process with too many open files may fail once, and a
//! file that could not be read is not damaged.

use std::io;
use std::time::Duration;

use super::calls::pause;

/// The pause before each further attempt.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(200)];

/// The result of `read`, or the error of the last of three attempts. A file that is missing, or not
/// a file, is not retried.
pub fn again<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for time in PAUSES {
        match read() {
            Err(error) if may_pass(&error) => pause(time),
            result => return result,
        }
    }
    read()
}

fn may_pass(error: &io::Error) -> bool {
    let is_final = matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory
    );
    error.raw_os_error().is_some() && !is_final
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result when `failures` attempts fail before one succeeds.
    fn after(failures: usize, error: fn() -> io::Error) -> (io::Result<()>, usize) {
        let mut attempts = 0;
        let result = again(|| {
            attempts += 1;
            match attempts > failures {
                true => Ok(()),
                false => Err(error()),
            }
        });
        (result, attempts)
    }

    #[test]
    fn what_fails_once_is_read_again_and_what_is_gone_is_not() {
        let disk = || io::Error::from_raw_os_error(5);
        assert!(matches!(after(1, disk), (Ok(()), 2)));
        assert!(matches!(after(9, disk), (Err(_), 3)));
        let gone = || io::Error::from_raw_os_error(2);
        assert!(matches!(after(9, gone), (Err(_), 1)));
    }
}
