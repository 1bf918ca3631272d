//! Translates failures of a bucket into errors of a remote.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

use super::super::transport::RemoteError;
use crate::fetch::sanitize;
use crate::fetch::web::silence::Silent;

/// Why a request to a bucket failed.
pub enum Failure {
    Store(Error),
    Slow(String),
    Silent(Silent),
    /// Reading or writing a local file.
    Local(PathBuf, io::Error),
}

/// A response with a status for which `object_store` has no error.
#[derive(Debug, thiserror::Error)]
#[error("it responds with {status}{}", sanitize::after(said))]
pub struct UnusualStatus {
    pub status: u16,
    /// The text of the body.
    pub said: String,
}

impl UnusualStatus {
    /// As an error without retry here: [`super::super::patience`] does the retries.
    pub fn into_error(self) -> HttpError {
        HttpError::new(HttpErrorKind::Unknown, self)
    }

    /// The error code in the response of S3 or Azure, or the status.
    fn code(&self) -> String {
        let code = self
            .said
            .split_once("<Code>")
            .and_then(|(_, rest)| rest.split_once("</Code>"));
        code.map_or(self.status.to_string(), |(code, _)| sanitize::clear(code))
    }
}

impl Failure {
    /// The status of an unusual response.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Store(error) => found::<UnusualStatus>(error).map(|answered| answered.status),
            _ => None,
        }
    }

    /// As an error of a [`Remote`](super::Remote).
    pub fn into_remote_error(self, remote: &str, name: &str) -> RemoteError {
        let error = match self {
            Self::Store(error) => error,
            Self::Slow(why) => return passing(remote, why),
            Self::Silent(silent) => {
                return RemoteError::Silent {
                    remote: remote.to_string(),
                    why: silent.to_string(),
                };
            }
            Self::Local(path, source) => return RemoteError::Io { path, source },
        };
        let refused = |why: String| RemoteError::Refused {
            remote: remote.to_string(),
            why,
        };
        if error.to_string().contains("NoSuchBucket") {
            return refused("there is no such bucket".to_string());
        }
        if let Error::NotFound { .. } = error {
            return RemoteError::Missing {
                remote: remote.to_string(),
                name: name.to_string(),
            };
        }
        if is_search_for_credentials(&error) {
            return refused(format!("no credentials were found; {CREDENTIALS}"));
        }
        if let Some(answered) = found::<UnusualStatus>(&error) {
            return match answered.status {
                401 | 403 => refused(format!("{name}: {}; {CREDENTIALS}", answered.code())),
                status if sanitize::is_passing(status) => passing(remote, answered.to_string()),
                _ => refused(format!("{name}: {answered}")),
            };
        }
        match found::<HttpError>(&error) {
            Some(_) => passing(remote, innermost(&error)),
            None if is_busy(&error) => passing(remote, "it is busy".to_string()),
            None => RemoteError::Wrong {
                remote: remote.to_string(),
                name: name.to_string(),
                why: sanitize::clear(&innermost(&error)),
            },
        }
    }

    /// A short message.
    pub fn clear(self) -> String {
        match self {
            Self::Store(error) => sanitize::clear(&innermost(&error)),
            Self::Slow(why) => why,
            Self::Silent(silent) => silent.to_string(),
            Self::Local(path, source) => format!("{}: {source}", path.display()),
        }
    }
}

const CREDENTIALS: &str = "are these the credentials of this bucket, and do they permit this? S3 reads \
     AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_PROFILE (AWS_SKIP_SIGNATURE=true uses \
     none), Google GOOGLE_APPLICATION_CREDENTIALS, Azure AZURE_STORAGE_ACCOUNT_NAME and \
     AZURE_STORAGE_ACCOUNT_KEY";

fn passing(remote: &str, why: String) -> RemoteError {
    RemoteError::Transient {
        remote: remote.to_string(),
        why: sanitize::clear(&why),
    }
}

/// Without credentials, `object_store` asks for the machine's own at an address that only exists in
/// a cloud.
fn is_search_for_credentials(error: &Error) -> bool {
    let text = error.to_string();
    ["169.254.169.254", "metadata.google.internal"]
        .iter()
        .any(|host| text.contains(host))
}

/// S3 can report this with a status of success.
fn is_busy(error: &Error) -> bool {
    let text = error.to_string();
    text.contains("SlowDown") || text.contains("InternalError")
}

/// The first error of this type in the chain.
fn found<T: StdError + 'static>(error: &Error) -> Option<&T> {
    chain(error).find_map(|error| error.downcast_ref())
}

fn innermost(error: &Error) -> String {
    chain(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn chain(error: &Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let first: &(dyn StdError + 'static) = error;
    std::iter::successors(Some(first), |error| (*error).source())
}
