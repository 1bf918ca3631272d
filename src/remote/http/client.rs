//! Sends requests to one server and interprets its responses.

use std::io::{self, Read};
use std::sync::Arc;

use ureq::http::{Method, Request, Response, Uri};
use ureq::{AsSendBody, Body, SendBody};

use super::super::options::Options;
use super::super::transport::RemoteError;
use crate::fetch::pace::{Limits, Paced};
use crate::fetch::sanitize;
use crate::fetch::urls::{encoded, is_same_host, is_web, joined, without_secrets as shown};
use crate::fetch::web::silence::{self, Server};
use crate::fetch::web::{Web, WebError};
use crate::fsx::calls::File;

const MOST_REDIRECTS: usize = 5;
/// The number of bytes that are read of the body of an error response.
const LARGEST_REFUSAL: u64 = 4096;

/// A client of one server.
pub struct HttpClient {
    web: Web,
    /// Ends with `/`.
    root: String,
    pub shown: String,
    token: Option<String>,
    limits: Limits,
}

/// A response whose body has not been read.
pub struct Answer {
    pub status: u16,
    /// The path that responded, after redirects.
    pub path: String,
    /// The final URL, if it differs from the requested one.
    pub elsewhere: Option<String>,
    response: Response<Body>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The stated length of its body.
    pub fn length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// The start of a partial response, and the total length if known.
    pub fn range(&self) -> Option<(u64, Option<u64>)> {
        let range = self.header("content-range")?.trim().strip_prefix("bytes")?;
        let (part, total) = range.trim_start().split_once('/')?;
        let (first, _) = part.split_once('-')?;
        Some((first.trim().parse().ok()?, total.trim().parse().ok()))
    }

    /// Whether its body is declared to be HTML.
    pub fn is_page(&self) -> bool {
        self.header("content-type")
            .is_some_and(|kind| kind.to_ascii_lowercase().contains("html"))
    }

    /// The body, read with the minimum pace.
    pub fn reader(self, limits: Limits) -> impl Read {
        Paced::new(self.response.into_body().into_reader(), limits)
    }
}

impl HttpClient {
    pub fn new(url: &str, options: &Options) -> Self {
        let root = format!("{}/", url.trim_end_matches('/'));
        Self {
            web: Web::new(options.limits),
            shown: root.trim_end_matches('/').to_string(),
            root,
            token: options.token.clone(),
            limits: options.limits,
        }
    }

    /// A request without a body. Follows redirects; sends the token only to its own host.
    pub fn ask(
        &self,
        method: &Method,
        name: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, RemoteError> {
        let first = format!("{}{}", self.root, encoded(name));
        let mut url = first.clone();
        for _ in 0..=MOST_REDIRECTS {
            let is_home = is_same_host(&url, &first);
            let mut answer = self.call(method, &url, headers, is_home, ())?;
            answer.elsewhere = (url != first).then(|| shown(&url));
            let place = answer.header("location").map(str::to_string);
            let (300..=399, Some(place)) = (answer.status, place) else {
                return Ok(answer);
            };
            if ![Method::GET, Method::HEAD].contains(method) {
                return Err(self.redirected(&place));
            }
            url = joined(&url, &place);
            if !is_web(&url) {
                return Err(self.redirected(&place));
            }
        }
        Err(self.refused("it redirects in circles".to_string()))
    }

    /// A request with a body in memory.
    pub fn send(
        &self,
        method: &Method,
        name: &str,
        headers: &[(&str, &str)],
        bytes: &[u8],
    ) -> Result<Answer, RemoteError> {
        let url = format!("{}{}", self.root, encoded(name));
        let answer = self.call(method, &url, headers, true, bytes)?;
        self.unless_redirected(answer)
    }

    /// A request with the `size` bytes of a file as its body.
    pub fn stream(
        &self,
        method: &Method,
        name: &str,
        headers: &[(&str, &str)],
        file: File,
        size: u64,
    ) -> Result<Answer, RemoteError> {
        let url = format!("{}{}", self.root, encoded(name));
        let length = size.to_string();
        let mut headers = headers.to_vec();
        headers.push(("content-length", &length));
        let mut body = Sent {
            file: Paced::new(file, self.limits),
            server: silence::of_url(&url),
            limits: self.limits,
        };
        let answer = self.call(
            method,
            &url,
            &headers,
            true,
            SendBody::from_reader(&mut body),
        )?;
        self.unless_redirected(answer)
    }

    fn call(
        &self,
        method: &Method,
        url: &str,
        headers: &[(&str, &str)],
        is_home: bool,
        body: impl AsSendBody,
    ) -> Result<Answer, RemoteError> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let (Some(token), true) = (&self.token, is_home) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request
            .body(body)
            .map_err(|error| self.refused(format!("the request is invalid: {error}")))?;
        let path = request.uri().path().to_string();
        let response = self.web.run(request).map_err(|error| self.failed(error))?;
        Ok(Answer {
            status: response.status().as_u16(),
            path,
            elsewhere: None,
            response,
        })
    }

    fn unless_redirected(&self, answer: Answer) -> Result<Answer, RemoteError> {
        match (answer.status, answer.header("location")) {
            (300..=399, Some(place)) => Err(self.redirected(place)),
            _ => Ok(answer),
        }
    }

    fn redirected(&self, place: &str) -> RemoteError {
        let place = sanitize::clear(place.split('?').next().unwrap_or_default());
        self.refused(format!(
            "it redirects to {place}: configure that URL's root instead, if you trust it"
        ))
    }

    /// Translates a failure before the response.
    fn failed(&self, error: WebError) -> RemoteError {
        let error = match error {
            WebError::Silent(silent) => {
                return RemoteError::Silent {
                    remote: self.shown.clone(),
                    why: silent.to_string(),
                };
            }
            WebError::Proxy(why) => return self.refused(why),
            WebError::Request(error) => error,
        };
        let why = sanitize::clear(&error.to_string());
        if why.contains("invalid peer certificate") {
            let hint = "SSL_CERT_FILE can add certificate authorities";
            return self.refused(format!("it is not trusted: {why}; {hint}"));
        }
        match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => self.refused(why),
            _ => self.passing(why),
        }
    }

    /// Translates a failure while reading the body of a response.
    pub fn broke(&self, error: io::Error) -> RemoteError {
        self.passing(sanitize::clear(&error.to_string()))
    }

    pub fn passing(&self, why: String) -> RemoteError {
        RemoteError::Transient {
            remote: self.shown.clone(),
            why,
        }
    }

    fn refused(&self, why: String) -> RemoteError {
        RemoteError::Refused {
            remote: self.shown.clone(),
            why,
        }
    }

    /// Translates an error response.
    pub fn refusal(&self, name: &str, answer: Answer) -> RemoteError {
        let status = answer.status;
        let said = match answer.is_page() {
            true => String::new(),
            false => self.beginning(answer),
        };
        let why = format!("{name}: {status}{}", sanitize::after(&said));
        match sanitize::is_passing(status) {
            true => self.passing(why),
            false => self.refused(format!("{why}{}", self.advice(status, name))),
        }
    }

    fn beginning(&self, answer: Answer) -> String {
        let mut bytes = Vec::new();
        // Ignore read errors: the text is only an explanation.
        let _ = answer
            .reader(self.limits)
            .take(LARGEST_REFUSAL)
            .read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn advice(&self, status: u16, name: &str) -> &'static str {
        match (status, &self.token) {
            (401 | 403, None) if name.ends_with('/') => {
                "; it requires a token, or does not list folders (nginx: `autoindex on`)"
            }
            (401 | 403, None) => "; it requires a token, or is read-only",
            (401, Some(_)) => "; the token is refused: is it the right one?",
            (403, Some(_)) => "; the token does not permit this",
            (405 | 501, _) => "; this server is read-only",
            (409, _) => "; nginx needs `create_full_put_path on`",
            (413, _) => "; the upload exceeds the server's limit (nginx: `client_max_body_size`)",
            _ => "",
        }
    }
}

/// A file during upload: sent bytes count as activity.
struct Sent {
    file: Paced<File>,
    server: Arc<Server>,
    limits: Limits,
}

impl Read for Sent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.server.moved(count as u64, &self.limits);
        Ok(count)
    }
}

/// Whether a URL consists of a host and an optional path.
pub fn is_plain(url: &str) -> bool {
    url.parse::<Uri>()
        .is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()) && uri.query().is_none())
}
