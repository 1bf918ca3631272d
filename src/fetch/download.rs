//! Downloads one file over HTTP. A download resumes after an interruption, even of an earlier
//! process; transient failures are retried; the length is checked against the server's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ureq::http::request::Builder;
use ureq::http::{Method, Request as WebRequest, Response, StatusCode};

use super::pace::Limits;
use super::sanitize;
pub use super::urls::without_secrets as shown;
use super::urls::{is_same_host, is_web, joined};
use super::web::silence::Silent;
use super::web::{Web, WebError};
use crate::fsx;

const MOST_REDIRECTS: usize = 10;
/// Consecutive attempts without progress.
const MOST_FAILURES: u32 = 5;
const BUFFER: usize = 1 << 16;
/// A connection without data for this long is closed.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// What to fetch.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub url: String,
    /// Sent only to the host of `url`, over the same protocol, never to a redirect target.
    pub token: Option<String>,
    /// The pause before the first retry; it doubles each time.
    pub pause: Duration,
}

/// What the server reported about the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    pub bytes: u64,
    /// The SHA-256 that a Hugging Face hub reports for large files, in hexadecimal.
    pub sha256: Option<String>,
    /// The commit that the hub resolved a revision to.
    pub commit: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error("{url} is not an http or https URL{}", if url.starts_with("file:") {
        "; use `path` for a local file"
    } else {
        ""
    })]
    Scheme { url: String },
    #[error("{url} responded with {status}{}", advice(*.status))]
    Refused { url: String, status: u16 },
    #[error("{url} redirects in circles")]
    Redirects { url: String },
    #[error("{url} failed {MOST_FAILURES} times in a row: {last}")]
    Exhausted { url: String, last: String },
    #[error("{url} can't be reached: {silent}")]
    Silent { url: String, silent: Silent },
    #[error("{url} can't be reached: {why}")]
    Unreachable { url: String, why: String },
    #[error("{url} is not trusted: {why}; SSL_CERT_FILE can add certificate authorities")]
    Untrusted { url: String, why: String },
    #[error("interrupted")]
    Cancelled,
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => ": it requires a token (HF_TOKEN), or acceptance of the terms on its page",
        404 => ": there is no such file",
        _ => "",
    }
}

/// Receives the progress of a download; `false` stops it.
pub type Watch<'a> = &'a dyn Fn(u64, Option<u64>) -> bool;

/// Fetches `request` into `target`.
///
/// Content at `target` counts as the start of the file if an earlier call left a note with the
/// server's metadata beside it. The download resumes there if the server still has the same file.
pub fn download(request: &Request, target: &Path, watch: Watch) -> Result<Fetched, DownloadError> {
    if !is_web(&request.url) {
        let url = shown(&request.url);
        return Err(DownloadError::Scheme { url });
    }
    fsx::give_way(target);
    fsx::give_way(&Note::place(target));
    let Note {
        reported,
        tag,
        total,
    } = Note::beside(target).unwrap_or_default();
    let mut transfer = Transfer {
        web: web(),
        request,
        target,
        watch,
        fetched: reported,
        tag,
        total,
    };
    if transfer.tag.is_none() {
        transfer.start_again()?;
    }
    let mut failures = 0;
    loop {
        let before = transfer.fetched.bytes;
        let Pause { asked, why } = match transfer.attempt()? {
            Attempt::Done => {
                Note::remove(target);
                return Ok(transfer.fetched);
            }
            Attempt::Again(pause) => pause,
        };
        failures = match transfer.fetched.bytes > before {
            true => 0,
            false => failures + 1,
        };
        if failures >= MOST_FAILURES {
            let url = shown(&request.url);
            return Err(DownloadError::Exhausted { url, last: why });
        }
        let doubled = request.pause.saturating_mul(1 << failures.min(10));
        transfer.wait(asked.unwrap_or(doubled))?;
    }
}

/// A client with a download's limits.
pub(super) fn web() -> Web {
    Web::new(Limits {
        connect: Duration::from_secs(30),
        answer: Duration::from_secs(60),
        window: LONGEST_SILENCE,
        ..Limits::default()
    })
}

/// A request without a body, with the token if there is one.
pub(super) fn request(method: Method, url: &str, token: Option<&str>) -> Builder {
    let request = WebRequest::builder().method(method).uri(url);
    match token {
        Some(token) => request.header("authorization", format!("Bearer {token}")),
        None => request,
    }
}

/// Why to retry, and the delay that the server asks for.
struct Pause {
    asked: Option<Duration>,
    why: String,
}

enum Attempt {
    Done,
    Again(Pause),
}

fn again(why: impl ToString) -> Attempt {
    Attempt::Again(Pause {
        asked: None,
        why: why.to_string(),
    })
}

/// The metadata beside an incomplete file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    /// The name in files of earlier versions.
    #[serde(rename = "told")]
    reported: Fetched,
    tag: Option<String>,
    total: Option<u64>,
}

impl Note {
    fn place(target: &Path) -> PathBuf {
        let mut name = target.as_os_str().to_owned();
        name.push(".note");
        name.into()
    }

    /// The note of an earlier call, with the current size of the file.
    fn beside(target: &Path) -> Option<Self> {
        let bytes = fs::metadata(target).ok()?.len();
        let mut note: Self =
            serde_json::from_slice(&fsx::read_regular(&Self::place(target)).ok()?).ok()?;
        note.reported.bytes = bytes;
        Some(note)
    }

    /// If the note can't be written, a later process downloads everything again; nothing else is
    /// lost.
    fn keep(&self, target: &Path) {
        if let Ok(bytes) = serde_json::to_vec(self) {
            let _ = fs::write(Self::place(target), bytes);
        }
    }

    fn remove(target: &Path) {
        let _ = fs::remove_file(Self::place(target));
    }
}

struct Transfer<'a> {
    web: Web,
    request: &'a Request,
    target: &'a Path,
    watch: Watch<'a>,
    fetched: Fetched,
    /// The entity tag of the data so far.
    tag: Option<String>,
    total: Option<u64>,
}

impl Transfer<'_> {
    fn attempt(&mut self) -> Result<Attempt, DownloadError> {
        let response = match self.answer()? {
            Ok(response) => response,
            Err(pause) => return Ok(Attempt::Again(pause)),
        };
        let status = response.status();
        match status {
            StatusCode::PARTIAL_CONTENT if self.continues(&response) => {}
            StatusCode::OK => self.start_again()?,
            StatusCode::RANGE_NOT_SATISFIABLE if self.is_whole(&response) => {
                return Ok(Attempt::Done);
            }
            // The server has another file now, or sent a different range than requested.
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                self.start_again()?;
                return Ok(again("the file changed on the server"));
            }
            status if is_passing(status) => {
                let seconds = header(&response, "retry-after").and_then(|it| it.parse().ok());
                return Ok(Attempt::Again(Pause {
                    asked: seconds.map(Duration::from_secs),
                    why: status.to_string(),
                }));
            }
            status => {
                return Err(DownloadError::Refused {
                    url: shown(&self.request.url),
                    status: status.as_u16(),
                });
            }
        }
        self.tag = header(&response, "etag").filter(|tag| !tag.starts_with("W/"));
        if status == StatusCode::OK {
            self.total = header(&response, "content-length").and_then(|it| it.parse().ok());
        }
        let note = Note {
            reported: self.fetched.clone(),
            tag: self.tag.clone(),
            total: self.total,
        };
        note.keep(self.target);
        self.receive(response)
    }

    /// The response after redirects; a failure on the way leads to a retry.
    fn answer(&mut self) -> Result<Result<Response<ureq::Body>, Pause>, DownloadError> {
        let mut url = self.request.url.clone();
        for _ in 0..MOST_REDIRECTS {
            let is_home = is_same_host(&url, &self.request.url);
            let token = self.request.token.as_deref().filter(|_| is_home);
            let mut call = request(Method::GET, &url, token);
            if let (Some(tag), true) = (&self.tag, self.fetched.bytes > 0) {
                call = call.header("range", format!("bytes={}-", self.fetched.bytes));
                call = call.header("if-range", tag);
            }
            let call = match call.body(()) {
                Ok(call) => call,
                Err(error) => return self.failed(&url, error.to_string()).map(Err),
            };
            let response = match self.web.run(call) {
                Ok(response) => response,
                Err(WebError::Silent(silent)) => {
                    let url = shown(&url);
                    return Err(DownloadError::Silent { url, silent });
                }
                Err(error) => return self.failed(&url, error.to_string()).map(Err),
            };
            self.note(&response);
            let place = header(&response, "location");
            match (response.status().is_redirection(), place) {
                (true, Some(place)) => url = self.followed(&url, &place)?,
                _ => return Ok(Ok(response)),
            }
        }
        let url = shown(&self.request.url);
        Err(DownloadError::Redirects { url })
    }

    /// A retry may help, except after a certificate error.
    fn failed(&self, url: &str, why: String) -> Result<Pause, DownloadError> {
        let why = sanitize::clear(&why);
        if why.contains("invalid peer certificate") {
            let url = shown(url);
            return Err(DownloadError::Untrusted { url, why });
        }
        Ok(Pause { asked: None, why })
    }

    fn followed(&self, url: &str, place: &str) -> Result<String, DownloadError> {
        match joined(url, place) {
            url if is_web(&url) => Ok(url),
            url => Err(DownloadError::Scheme { url: shown(&url) }),
        }
    }

    /// Records what a hub reports about the file, in a redirect or the final response.
    fn note(&mut self, response: &Response<ureq::Body>) {
        linked(response, &mut self.fetched);
    }

    /// Whether a partial response begins where the local file ends.
    fn continues(&self, response: &Response<ureq::Body>) -> bool {
        let range = header(response, "content-range").unwrap_or_default();
        range.starts_with(&format!("bytes {}-", self.fetched.bytes))
    }

    /// Whether the server reports that the local file is complete.
    fn is_whole(&self, response: &Response<ureq::Body>) -> bool {
        let range = header(response, "content-range").unwrap_or_default();
        self.total == Some(self.fetched.bytes) && range == format!("bytes */{}", self.fetched.bytes)
    }

    fn start_again(&mut self) -> Result<(), DownloadError> {
        File::create(self.target).map_err(io_error(self.target))?;
        self.fetched.bytes = 0;
        self.tag = None;
        self.total = None;
        Ok(())
    }

    fn receive(&mut self, response: Response<ureq::Body>) -> Result<Attempt, DownloadError> {
        let mut file = OpenOptions::new()
            .append(true)
            .open(self.target)
            .map_err(io_error(self.target))?;
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; BUFFER];
        loop {
            if !(self.watch)(self.fetched.bytes, self.total) {
                return Err(DownloadError::Cancelled);
            }
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => return Ok(again(error)),
            };
            let bytes = &buffer[..count];
            file.write_all(bytes).map_err(io_error(self.target))?;
            self.fetched.bytes += count as u64;
        }
        match self.total {
            Some(total) if self.fetched.bytes != total => Ok(again(format!(
                "received {} of {total} bytes",
                self.fetched.bytes
            ))),
            _ => Ok(Attempt::Done),
        }
    }

    /// Sleeps, and checks regularly whether to stop.
    fn wait(&self, time: Duration) -> Result<(), DownloadError> {
        let step = Duration::from_millis(100);
        let mut left = time.min(Duration::from_secs(120));
        while !left.is_zero() {
            if !(self.watch)(self.fetched.bytes, self.total) {
                return Err(DownloadError::Cancelled);
            }
            let now = left.min(step);
            std::thread::sleep(now);
            left -= now;
        }
        Ok(())
    }
}

fn header(response: &Response<ureq::Body>, name: &str) -> Option<String> {
    let value = response.headers().get(name)?;
    value.to_str().ok().map(str::to_string)
}

/// Whether the same request may succeed later.
fn is_passing(status: StatusCode) -> bool {
    let busy = [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT];
    busy.contains(&status) || status.is_server_error()
}

/// Records what a hub reports about a file in the headers of a response.
pub(super) fn linked(response: &Response<ureq::Body>, reported: &mut Fetched) {
    if let Some(tag) = header(response, "x-linked-etag") {
        let tag = tag.trim_matches('"').to_ascii_lowercase();
        let is_sha256 = tag.len() == 64 && tag.chars().all(|it| it.is_ascii_hexdigit());
        reported.sha256 = is_sha256.then_some(tag);
    }
    if let Some(commit) = header(response, "x-repo-commit") {
        reported.commit = Some(commit);
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> DownloadError {
    let path = path.to_path_buf();
    move |source| DownloadError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_web_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let request = Request {
            url: "file:///etc/passwd".to_string(),
            ..Request::default()
        };
        let target = folder.path().join("x");
        let refused = download(&request, &target, &|_, _| true).unwrap_err();
        assert!(refused.to_string().contains("`path`"), "{refused}");
        assert!(!target.exists());
    }
}
