//! Asks a server about a file without fetching it.

use ureq::http::Method;

use super::download::{self, DownloadError, Fetched, Request, linked, shown, web};
use super::sanitize;
use super::web::WebError;

/// The commit and the SHA-256 that a hub reports for `request`; `bytes` stays 0.
///
/// # Errors
/// There is no response, or it does not confirm that the file exists.
pub fn describe(request: &Request) -> Result<Fetched, DownloadError> {
    let url = || shown(&request.url);
    let unreachable = |why: String| DownloadError::Unreachable {
        url: url(),
        why: sanitize::clear(&why),
    };
    let call = download::request(Method::HEAD, &request.url, request.token.as_deref());
    let call = call
        .body(())
        .map_err(|error| unreachable(error.to_string()))?;
    let response = web().run(call).map_err(|error| match error {
        WebError::Silent(silent) => DownloadError::Silent { url: url(), silent },
        error => unreachable(error.to_string()),
    })?;
    let status = response.status();
    if !status.is_success() && !status.is_redirection() {
        return Err(DownloadError::Refused {
            url: url(),
            status: status.as_u16(),
        });
    }
    let mut reported = Fetched::default();
    linked(&response, &mut reported);
    Ok(reported)
}
