//! `http://`, `https://`: a web server as a remote. Any server can be read; writing needs PUT
//! (nginx with DAV, `ribflow serve`). It handles requests and listings; `exchange` verifies the
//! content.

mod client;
pub mod listing;

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use ureq::http::Method;

use super::options::Options;
use super::transport::{Content, Created, Part, Remote, RemoteError};
use crate::digest::Digest;
use crate::fetch::pace::Limits;
use crate::fetch::sanitize;
use crate::fsx::calls::File;
use client::{Answer, HttpClient};

pub use client::is_plain;

/// The size limit of a list: a hundred thousand names.
const LARGEST_LISTING: u64 = 64 << 20;
/// Names in one request for sizes.
const BATCH: usize = 1000;
/// Concurrent requests for sizes.
const HEADS_AT_ONCE: usize = 16;
/// Larger bodies are sent only after the server has accepted the request headers.
const LARGEST_UNASKED: u64 = 64 * 1024;
const BUFFER: usize = 1 << 16;

/// A web server.
pub struct HttpRemote {
    client: HttpClient,
    limits: Limits,
    /// Whether it has rejected `PROPFIND` as unsupported.
    lists_no_dav: AtomicBool,
    /// Whether it has rejected `POST /has` as unsupported.
    counts_no_batches: AtomicBool,
    /// Whether it has reported something as missing.
    is_honest: AtomicBool,
}

impl HttpRemote {
    /// The remote at `url`.
    pub fn new(url: &str, options: &Options) -> Self {
        Self {
            client: HttpClient::new(url, options),
            limits: options.limits,
            lists_no_dav: AtomicBool::new(false),
            counts_no_batches: AtomicBool::new(false),
            is_honest: AtomicBool::new(false),
        }
    }

    fn wrong(&self, name: &str, why: impl ToString) -> RemoteError {
        RemoteError::Wrong {
            remote: self.shown().to_string(),
            name: name.to_string(),
            why: why.to_string(),
        }
    }

    fn no_store(&self, name: &str, why: String) -> RemoteError {
        RemoteError::NoStore {
            remote: self.shown().to_string(),
            name: name.to_string(),
            why,
        }
    }

    /// A complete response of at most `most` bytes.
    fn whole(&self, name: &str, answer: Answer, most: u64) -> Result<Vec<u8>, RemoteError> {
        let mut bytes = Vec::new();
        answer
            .reader(self.limits)
            .take(most.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| self.client.broke(error))?;
        match bytes.len() as u64 > most {
            false => Ok(bytes),
            true => Err(self.wrong(name, format!("its response has more than {most} bytes"))),
        }
    }

    /// Lists a folder by DAV; without DAV, interprets `refusal`.
    fn list_by_dav(&self, folder: &str, refusal: Answer) -> Result<Vec<String>, RemoteError> {
        let is_absent = refusal.status == 404;
        if !self.lists_no_dav.load(Ordering::Relaxed) {
            let name = as_folder(folder);
            let method =
                Method::from_bytes(b"PROPFIND").map_err(|error| self.wrong(folder, error))?;
            let headers = [("depth", "1"), ("accept", "application/xml, text/xml")];
            let answer = self.client.ask(&method, &name, &headers)?;
            match answer.status {
                200 | 207 => return self.listed(folder, answer),
                404 => return Ok(Vec::new()),
                405 | 501 => self.lists_no_dav.store(true, Ordering::Relaxed),
                _ => {}
            }
        }
        match is_absent {
            true => Ok(Vec::new()),
            false => Err(self.client.refusal(&as_folder(folder), refusal)),
        }
    }

    fn listed(&self, folder: &str, answer: Answer) -> Result<Vec<String>, RemoteError> {
        let (path, elsewhere) = (answer.path.clone(), answer.elsewhere.clone());
        let body = self.whole(folder, answer, LARGEST_LISTING)?;
        listing::names(&String::from_utf8_lossy(&body), &path).map_err(|what| {
            let redirected = match elsewhere {
                Some(place) => format!("it redirects to {place}, which  "),
                None => "it ".to_string(),
            };
            let why = format!("{redirected}responds with {what} instead of a list of names");
            // One message for many folders of a kind.
            let kind = folder.split('/').next().unwrap_or_default();
            self.no_store(&as_folder(kind), sanitize::clear(&why))
        })
    }

    /// Checks that the server does not report success for an impossible name, as a login page or a
    /// catch-all page does. Such responses mean nothing.
    fn check_honest(&self) -> Result<(), RemoteError> {
        if self.is_honest.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut digest = [0; 32];
        getrandom::fill(&mut digest).map_err(|error| self.wrong("objects/", error))?;
        let name = super::names::object(&Digest::from_bytes(digest));
        let answer = self.client.ask(&Method::HEAD, &name, &[])?;
        match answer.status {
            200..=299 => Err(self.no_store(
                "objects/",
                format!(
                    "it responds with {} for an impossible name, so it is not a store but perhaps \
                     a login page",
                    answer.status
                ),
            )),
            status if sanitize::is_passing(status) => Err(self.client.refusal(&name, answer)),
            _ => {
                self.is_honest.store(true, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// The sizes of many names in one request; `None` if the server does not support that.
    fn batch(&self, names: &[String]) -> Result<Option<Vec<Option<u64>>>, RemoteError> {
        if self.counts_no_batches.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let question = serde_json::to_vec(names).map_err(|error| self.wrong("has", error))?;
        let headers = [("content-type", "application/json")];
        let answer = self
            .client
            .send(&Method::POST, "has", &headers, &question)?;
        let is_known = match answer.status {
            200 => true,
            401 | 408 | 429 => return Err(self.client.refusal("has", answer)),
            500 | 502.. => return Err(self.client.refusal("has", answer)),
            _ => false,
        };
        // A web server may respond to anything with a page.
        let sizes: Option<Vec<Option<u64>>> = match is_known {
            true => serde_json::from_slice(&self.whole("has", answer, LARGEST_LISTING)?).ok(),
            false => None,
        };
        match sizes {
            Some(sizes) if sizes.len() == names.len() => Ok(Some(sizes)),
            Some(_) => Err(self.wrong("has", "it responds for other names than requested")),
            None => {
                self.counts_no_batches.store(true, Ordering::Relaxed);
                Ok(None)
            }
        }
    }

    /// The size of one name, by a HEAD request.
    fn size(&self, name: &str) -> Result<Option<u64>, RemoteError> {
        let answer = self.client.ask(&Method::HEAD, name, &[])?;
        match answer.status {
            200 => match answer.length() {
                Some(length) => Ok(Some(length)),
                None => Err(self.wrong(name, "it does not report the size")),
            },
            404 | 410 => Ok(None),
            _ => Err(self.client.refusal(name, answer)),
        }
    }

    fn sizes_one_by_one(&self, names: &[String]) -> Result<Vec<Option<u64>>, RemoteError> {
        let next = AtomicUsize::new(0);
        let sizes = Mutex::new(vec![None; names.len()]);
        let failed = Mutex::new(None);
        let work = || {
            while let Some((at, name)) = numbered(names, next.fetch_add(1, Ordering::Relaxed)) {
                match self.size(name) {
                    Ok(size) => held(&sizes)[at] = size,
                    Err(error) => {
                        // The other threads stop at the next name.
                        next.store(names.len(), Ordering::Relaxed);
                        held(&failed).get_or_insert(error);
                    }
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..HEADS_AT_ONCE.min(names.len()) {
                scope.spawn(work);
            }
            work();
        });
        match failed.into_inner().unwrap_or_else(|it| it.into_inner()) {
            Some(error) => Err(error),
            None => {
                let sizes = sizes.into_inner().unwrap_or_else(|it| it.into_inner());
                match sizes.iter().all(Option::is_none) {
                    true => Ok(sizes),
                    false => self.check_honest().map(|()| sizes),
                }
            }
        }
    }

    /// Skips `skipped` bytes, then copies at most `most` bytes.
    fn copy(
        &self,
        name: &str,
        answer: Answer,
        skipped: u64,
        most: u64,
        into: &mut dyn Write,
    ) -> Result<u64, RemoteError> {
        let mut reader = answer.reader(self.limits);
        let mut buffer = vec![0; BUFFER];
        let (mut skip, mut copied) = (skipped, 0);
        while copied < most {
            let wanted = (skip + (most - copied).min(BUFFER as u64)).min(BUFFER as u64);
            let count = match reader.read(&mut buffer[..wanted as usize]) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => return Err(self.client.broke(error)),
            };
            let begin = skip.min(count as u64);
            skip -= begin;
            let piece = &buffer[begin as usize..count];
            into.write_all(piece).map_err(|source| RemoteError::Io {
                path: PathBuf::from(name),
                source,
            })?;
            copied += piece.len() as u64;
        }
        Ok(copied)
    }

    fn upload(
        &self,
        name: &str,
        content: Content,
        headers: &[(&str, &str)],
    ) -> Result<Answer, RemoteError> {
        let path = match content {
            Content::Bytes(bytes) => return self.client.send(&Method::PUT, name, headers, bytes),
            Content::File(path) => path,
        };
        let local = |source: io::Error| RemoteError::Io {
            path: path.to_path_buf(),
            source,
        };
        let size = content.size().map_err(local)?;
        let file = File::open(path).map_err(local)?;
        let mut headers = headers.to_vec();
        if size > LARGEST_UNASKED {
            headers.push(("expect", "100-continue"));
        }
        self.client.stream(&Method::PUT, name, &headers, file, size)
    }

    /// Creates the parent folders of a name, as DAV requires.
    fn make_folders(&self, name: &str) -> Result<(), RemoteError> {
        let Ok(method) = Method::from_bytes(b"MKCOL") else {
            return Ok(());
        };
        for (end, _) in name.match_indices('/') {
            // Most of them exist already, which is not a failure; other failures show in the write.
            self.client.ask(&method, &name[..=end], &[])?;
        }
        Ok(())
    }

    /// Writes, and returns the status if the server wrote the object or has it already.
    fn write(
        &self,
        name: &str,
        content: Content,
        headers: &[(&str, &str)],
    ) -> Result<Created, RemoteError> {
        let mut answer = self.upload(name, content, headers)?;
        if answer.status == 409 {
            self.make_folders(name)?;
            answer = self.upload(name, content, headers)?;
        }
        match answer.status {
            200 | 201 | 204 => self.check_honest().map(|()| Created::New),
            412 if !headers.is_empty() => Ok(Created::There),
            _ => Err(self.client.refusal(name, answer)),
        }
    }
}

/// The name of a folder in a URL; the root already ends with a slash.
fn as_folder(folder: &str) -> String {
    match folder {
        "" => String::new(),
        folder => format!("{folder}/"),
    }
}

fn numbered(names: &[String], at: usize) -> Option<(usize, &str)> {
    names.get(at).map(|name| (at, name.as_str()))
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Remote for HttpRemote {
    fn shown(&self) -> &str {
        &self.client.shown
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, RemoteError> {
        let name = as_folder(folder);
        let headers = [("accept", "application/json, text/html;q=0.5")];
        let answer = self.client.ask(&Method::GET, &name, &headers)?;
        match answer.status {
            200 => self.listed(folder, answer),
            403..=405 => self.list_by_dav(folder, answer),
            _ => Err(self.client.refusal(&name, answer)),
        }
    }

    fn sizes(&self, names: &[String]) -> Result<Vec<Option<u64>>, RemoteError> {
        let mut sizes = Vec::with_capacity(names.len());
        for some in names.chunks(BATCH) {
            match self.batch(some)? {
                Some(answers) => sizes.extend(answers),
                None => sizes.extend(self.sizes_one_by_one(some)?),
            }
        }
        Ok(sizes)
    }

    fn intact(&self, _: &str, _: &Digest) -> Result<Option<bool>, RemoteError> {
        Ok(None)
    }

    fn get(&self, name: &str, part: Part, into: &mut dyn Write) -> Result<u64, RemoteError> {
        if part.most == 0 {
            return Ok(0);
        }
        let range = match part.from.checked_add(part.most - 1) {
            Some(last) if last < 1 << 48 => format!("bytes={}-{last}", part.from),
            _ => format!("bytes={}-", part.from),
        };
        let headers = [("range", range.as_str())];
        let answer = self.client.ask(&Method::GET, name, &headers)?;
        if answer.is_page() && matches!(answer.status, 200 | 206) {
            self.check_honest()?;
        }
        match answer.status {
            206 => {
                let Some((first, total)) = answer.range() else {
                    return Err(self.wrong(name, "it sends a part without its range"));
                };
                if first != part.from {
                    return Err(self.wrong(name, "it sends a different part than requested"));
                }
                let copied = self.copy(name, answer, 0, part.most, into)?;
                let whole = total.map(|total| total.saturating_sub(first).min(part.most));
                match whole.filter(|whole| copied < *whole) {
                    Some(whole) => Err(self
                        .client
                        .passing(format!("received {copied} of {whole} bytes"))),
                    None => Ok(copied),
                }
            }
            // The server does not support ranges, and sends everything from the start.
            200 => self.copy(name, answer, part.from, part.most, into),
            // The object ends before the part begins.
            416 => Ok(0),
            404 | 410 => Err(RemoteError::Missing {
                remote: self.shown().to_string(),
                name: name.to_string(),
            }),
            _ => Err(self.client.refusal(name, answer)),
        }
    }

    fn put(&self, name: &str, content: Content) -> Result<(), RemoteError> {
        self.write(name, content, &[]).map(|_| ())
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, RemoteError> {
        self.write(name, Content::Bytes(bytes), &[("if-none-match", "*")])
    }

    fn remove(&self, name: &str) -> Result<(), RemoteError> {
        let answer = self.client.ask(&Method::DELETE, name, &[])?;
        match answer.status {
            200 | 202 | 204 | 404 | 410 => Ok(()),
            _ => Err(self.client.refusal(name, answer)),
        }
    }
}
