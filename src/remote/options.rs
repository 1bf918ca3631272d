//! What belongs to a remote besides its URL.

use std::fmt;

use super::pace::Limits;

/// What belongs to a remote beside its URL.
#[derive(Clone, Default)]
pub struct Options {
    /// Where a bucket's server is, if not where its kind has it: `https://s3.lab.example`.
    pub endpoint: Option<String>,
    /// The region of an S3 bucket.
    pub region: Option<String>,
    /// What a web server wants to be shown.
    pub token: Option<String>,
    pub limits: Limits,
}

impl fmt::Debug for Options {
    /// Without the token, which must not end in a log.
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
