//! Options of a remote besides its URL.

use std::fmt;

use crate::fetch::pace::Limits;

/// Options of a remote.
#[derive(Clone, Default)]
pub struct Options {
    /// The server of a bucket, if it is not the default: `https://s3.lab.example`.
    pub endpoint: Option<String>,
    /// The region of an S3 bucket.
    pub region: Option<String>,
    /// The bearer token for a web server.
    pub token: Option<String>,
    pub limits: Limits,
}

impl fmt::Debug for Options {
    /// Omits the token, which must not end up in a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("limits", &self.limits)
            .finish()
    }
}
