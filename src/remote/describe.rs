//! What a server says of a file, without the file.

use super::download::{DownloadError, Fetched, Request, agent, linked, shown};

/// The commit and the SHA-256 that a hub names for `request`; `bytes` stays 0.
///
/// # Errors
/// Where there is no answer, or none that says that the file is there.
pub fn describe(request: &Request) -> Result<Fetched, DownloadError> {
    let mut call = agent().head(&request.url);
    if let Some(token) = &request.token {
        call = call.header("authorization", format!("Bearer {token}"));
    }
    let url = || shown(&request.url);
    let response = call.call().map_err(|error| DownloadError::Unreachable {
        url: url(),
        why: error.to_string(),
    })?;
    let status = response.status();
    if !status.is_success() && !status.is_redirection() {
        return Err(DownloadError::Refused {
            url: url(),
            status: status.as_u16(),
        });
    }
    let mut told = Fetched::default();
    linked(&response, &mut told);
    Ok(told)
}
