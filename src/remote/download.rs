//! One file over HTTP: resumed where it broke off, tried again where that may help, checked
//! against what the server says of its length.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;
use ureq::http::{Response, StatusCode, Uri};
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

const MOST_REDIRECTS: usize = 10;
/// Attempts in a row that bring nothing.
const MOST_FAILURES: u32 = 5;
const BUFFER: usize = 1 << 16;
/// A body that takes longer is asked for again from where it is.
const LONGEST_BODY: Duration = Duration::from_secs(1800);

/// What to fetch.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub url: String,
    /// Sent to the host of `url` alone, never to where it redirects.
    pub token: Option<String>,
    /// The first pause before another attempt; each further one is twice as long.
    pub pause: Duration,
}

/// What the server said of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    pub bytes: u64,
    /// The SHA-256 that a Hugging Face hub names for large files, in hexadecimal.
    pub sha256: Option<String>,
    /// The commit that the hub resolved a revision to.
    pub commit: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error("{url} is no http or https URL")]
    Scheme { url: String },
    #[error("{url} says {status}{}", advice(*.status))]
    Refused { url: String, status: u16 },
    #[error("{url} redirects in circles")]
    Redirects { url: String },
    #[error("{url} failed {MOST_FAILURES} times in a row: {last}")]
    Exhausted { url: String, last: String },
    #[error("interrupted")]
    Cancelled,
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => ": it asks for a token (HF_TOKEN), or for accepting its terms on its page",
        404 => ": there is no such file",
        _ => "",
    }
}

/// Told how far a download is; `false` ends it.
pub type Watch<'a> = &'a dyn Fn(u64, Option<u64>) -> bool;

/// Fetches `request` into `target`. What lies at `target` already counts as its beginning only
/// within one call, where the server can tell that the file is still the same.
pub fn download(request: &Request, target: &Path, watch: Watch) -> Result<Fetched, DownloadError> {
    if !request.url.starts_with("http://") && !request.url.starts_with("https://") {
        let url = request.url.clone();
        return Err(DownloadError::Scheme { url });
    }
    let file = File::create(target).map_err(io_error(target))?;
    drop(file);
    let mut transfer = Transfer {
        agent: agent(),
        request,
        target,
        watch,
        fetched: Fetched::default(),
        tag: None,
        total: None,
    };
    let mut failures = 0;
    loop {
        let before = transfer.fetched.bytes;
        let Pause { asked, why } = match transfer.attempt()? {
            Attempt::Done => return Ok(transfer.fetched),
            Attempt::Again(pause) => pause,
        };
        failures = match transfer.fetched.bytes > before {
            true => 0,
            false => failures + 1,
        };
        if failures >= MOST_FAILURES {
            let url = request.url.clone();
            return Err(DownloadError::Exhausted { url, last: why });
        }
        let doubled = request.pause.saturating_mul(1 << failures.min(10));
        transfer.wait(asked.unwrap_or(doubled))?;
    }
}

fn agent() -> Agent {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::PlatformVerifier)
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_recv_body(Some(LONGEST_BODY))
        .user_agent(concat!("ribflow/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

/// Why to try again, and when the server wants that.
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

struct Transfer<'a> {
    agent: Agent,
    request: &'a Request,
    target: &'a Path,
    watch: Watch<'a>,
    fetched: Fetched,
    /// The entity tag of what was fetched so far.
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
            // The server has another file by now, or gave a part that was not asked for.
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                self.start_again()?;
                self.tag = None;
                return Ok(again("the file changed on the server"));
            }
            status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                let seconds = header(&response, "retry-after").and_then(|it| it.parse().ok());
                return Ok(Attempt::Again(Pause {
                    asked: seconds.map(Duration::from_secs),
                    why: status.to_string(),
                }));
            }
            status => {
                return Err(DownloadError::Refused {
                    url: self.request.url.clone(),
                    status: status.as_u16(),
                });
            }
        }
        self.tag = header(&response, "etag").filter(|tag| !tag.starts_with("W/"));
        if status == StatusCode::OK {
            self.total = header(&response, "content-length").and_then(|it| it.parse().ok());
        }
        self.receive(response)
    }

    /// The answer after redirects; a failure on the way is a reason to try again.
    fn answer(&mut self) -> Result<Result<Response<ureq::Body>, Pause>, DownloadError> {
        let mut url = self.request.url.clone();
        for _ in 0..MOST_REDIRECTS {
            let mut call = self.agent.get(&url);
            if let (Some(token), true) = (&self.request.token, self.same_host(&url)) {
                call = call.header("authorization", format!("Bearer {token}"));
            }
            if let (Some(tag), true) = (&self.tag, self.fetched.bytes > 0) {
                call = call.header("range", format!("bytes={}-", self.fetched.bytes));
                call = call.header("if-range", tag);
            }
            let response = match call.call() {
                Ok(response) => response,
                Err(error) => {
                    return Ok(Err(Pause {
                        asked: None,
                        why: error.to_string(),
                    }));
                }
            };
            self.note(&response);
            let place = header(&response, "location");
            match (response.status().is_redirection(), place) {
                (true, Some(place)) => url = joined(&url, &place),
                _ => return Ok(Ok(response)),
            }
        }
        let url = self.request.url.clone();
        Err(DownloadError::Redirects { url })
    }

    /// What a hub says of the file, on the way or at the end.
    fn note(&mut self, response: &Response<ureq::Body>) {
        if let Some(tag) = header(response, "x-linked-etag") {
            let tag = tag.trim_matches('"').to_ascii_lowercase();
            let is_sha256 = tag.len() == 64 && tag.chars().all(|it| it.is_ascii_hexdigit());
            self.fetched.sha256 = is_sha256.then_some(tag);
        }
        if let Some(commit) = header(response, "x-repo-commit") {
            self.fetched.commit = Some(commit);
        }
    }

    fn same_host(&self, url: &str) -> bool {
        let host = |url: &str| Some(url.parse::<Uri>().ok()?.authority()?.to_string());
        host(url).is_some() && host(url) == host(&self.request.url)
    }

    /// Whether a partial answer begins where the file ends.
    fn continues(&self, response: &Response<ureq::Body>) -> bool {
        let range = header(response, "content-range").unwrap_or_default();
        range.starts_with(&format!("bytes {}-", self.fetched.bytes))
    }

    fn start_again(&mut self) -> Result<(), DownloadError> {
        File::create(self.target).map_err(io_error(self.target))?;
        self.fetched.bytes = 0;
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
                "{} of {total} bytes came",
                self.fetched.bytes
            ))),
            _ => Ok(Attempt::Done),
        }
    }

    /// Sleeps, looking up now and then whether to stop.
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

/// Where a `Location` leads: it may be absolute, or begin at the root of the host.
fn joined(url: &str, place: &str) -> String {
    if place.contains("://") {
        return place.to_string();
    }
    let host_ends = url
        .find("://")
        .and_then(|scheme| url[scheme + 3..].find('/').map(|at| scheme + 3 + at))
        .unwrap_or(url.len());
    match place.strip_prefix('/') {
        Some(_) => format!("{}{place}", &url[..host_ends]),
        None => {
            let folder = url.rfind('/').filter(|at| *at >= host_ends);
            format!("{}/{place}", &url[..folder.unwrap_or(host_ends)])
        }
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
    fn locations_are_joined_as_browsers_do() {
        let from = "https://hub.example/a/resolve/main/model.bin";
        for (place, expected) in [
            ("https://cdn.example/x", "https://cdn.example/x"),
            ("/y?z=1", "https://hub.example/y?z=1"),
            ("other.bin", "https://hub.example/a/resolve/main/other.bin"),
        ] {
            assert_eq!(joined(from, place), expected);
        }
        assert_eq!(joined("http://h", "/y"), "http://h/y");
        assert_eq!(joined("http://h", "y"), "http://h/y");
    }

    #[test]
    fn only_the_web_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let request = Request {
            url: "file:///etc/passwd".to_string(),
            ..Request::default()
        };
        let refused = download(&request, &folder.path().join("x"), &|_, _| true);
        assert!(matches!(refused, Err(DownloadError::Scheme { .. })));
    }
}
