//! A server that answers like a model hub: redirects to another host, entity tags, ranges; and
//! fails where it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What the server does with one request, instead of serving it whole.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    Status(u16),
    /// Sends so many bytes of the body and hangs up.
    Cut(usize),
    /// From now on the file has another content and tag.
    Replace(Vec<u8>),
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub headers: Vec<(String, String)>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

struct State {
    content: Vec<u8>,
    /// Further files, by their names.
    files: BTreeMap<String, Vec<u8>>,
    /// The SHA-256 that the hub names.
    linked: Option<String>,
    token: Option<String>,
    trouble: VecDeque<Trouble>,
    seen: Vec<Seen>,
    storage: u16,
}

/// Two listeners: the hub, and the storage it redirects to.
pub struct Hub {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Hub {
    /// Serves `content` under every path of the repository.
    pub fn serving(content: Vec<u8>) -> Self {
        let front = TcpListener::bind("127.0.0.1:0").unwrap();
        // Another address of this machine: to a client, another host.
        let storage = TcpListener::bind("127.0.0.2:0").unwrap();
        let state = State {
            content,
            files: BTreeMap::new(),
            linked: None,
            token: None,
            trouble: VecDeque::new(),
            seen: Vec::new(),
            storage: storage.local_addr().unwrap().port(),
        };
        let state = Arc::new(Mutex::new(state));
        let endpoint = format!("http://{}", front.local_addr().unwrap());
        for (listener, serve) in [(front, redirect as Serve), (storage, store as Serve)] {
            let state = state.clone();
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = state.clone();
                    thread::spawn(move || answer(stream, &state, serve));
                }
            });
        }
        Self { endpoint, state }
    }

    /// Serves another content under paths that end with `name`.
    pub fn with_file(self, name: &str, content: Vec<u8>) -> Self {
        let mut state = self.state.lock().unwrap();
        state.files.insert(name.to_string(), content);
        drop(state);
        self
    }

    pub fn named(self, sha256: &str) -> Self {
        self.state.lock().unwrap().linked = Some(sha256.to_string());
        self
    }

    pub fn asking_for(self, token: &str) -> Self {
        self.state.lock().unwrap().token = Some(token.to_string());
        self
    }

    /// What happens to the next requests to the storage.
    pub fn troubled(self, trouble: impl IntoIterator<Item = Trouble>) -> Self {
        self.state.lock().unwrap().trouble.extend(trouble);
        self
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }
}

type Serve = fn(&mut TcpStream, &Seen, &Mutex<State>);

fn answer(mut stream: TcpStream, state: &Mutex<State>, serve: Serve) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(first)) = lines.next() else {
        return;
    };
    let path = first.split(' ').nth(1).unwrap_or_default().to_string();
    let headers = lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty());
    let headers = headers.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_string()))
    });
    let seen = Seen {
        path,
        headers: headers.collect(),
    };
    state.lock().unwrap().seen.push(seen.clone());
    serve(&mut stream, &seen, state);
}

fn redirect(stream: &mut TcpStream, seen: &Seen, state: &Mutex<State>) {
    let state = state.lock().unwrap();
    let wanted = state.token.as_ref().map(|token| format!("Bearer {token}"));
    if wanted.is_some() && seen.header("authorization") != wanted.as_deref() {
        return reply(stream, 401, "", &[]);
    }
    if seen.path.contains("absent") {
        return reply(stream, 404, "", &[]);
    }
    let mut headers = format!(
        "Location: http://127.0.0.2:{}/signed{}?for=60\r\nX-Repo-Commit: {}\r\n",
        state.storage,
        seen.path,
        "c".repeat(40)
    );
    if let Some(linked) = &state.linked {
        headers.push_str(&format!("X-Linked-Etag: \"{linked}\"\r\n"));
    }
    reply(stream, 302, &headers, &[]);
}

fn store(stream: &mut TcpStream, seen: &Seen, state: &Mutex<State>) {
    let mut state = state.lock().unwrap();
    let mut cut = None;
    match state.trouble.pop_front() {
        Some(Trouble::Status(status)) => {
            return reply(stream, status, "Retry-After: 0\r\n", &[]);
        }
        Some(Trouble::Cut(bytes)) => cut = Some(bytes),
        Some(Trouble::Replace(content)) => state.content = content,
        None => {}
    }
    let path = seen.path.split('?').next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let content = state.files.get(name).unwrap_or(&state.content);
    let tag = format!("\"{}\"", content.len());
    let from = seen
        .header("range")
        .filter(|_| seen.header("if-range").is_none_or(|given| given == tag))
        .and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse()
                .ok()
        });
    let (status, from) = from.map_or((200, 0), |from: usize| (206, from));
    if from > 0 && from >= content.len() {
        let headers = format!("Content-Range: bytes */{}\r\n", content.len());
        return reply(stream, 416, &headers, &[]);
    }
    let body = &content[from..];
    let mut headers = format!("ETag: {tag}\r\nAccept-Ranges: bytes\r\n");
    if status == 206 {
        let (last, all) = (content.len() - 1, content.len());
        headers.push_str(&format!("Content-Range: bytes {from}-{last}/{all}\r\n"));
    }
    headers.push_str(&format!("Content-Length: {}\r\n", body.len()));
    let end = cut.unwrap_or(body.len()).min(body.len());
    send(stream, status, &headers, &body[..end]);
}

fn reply(stream: &mut TcpStream, status: u16, headers: &str, body: &[u8]) {
    let headers = format!("{headers}Content-Length: {}\r\n", body.len());
    send(stream, status, &headers, body);
}

fn send(stream: &mut TcpStream, status: u16, headers: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {status} X\r\n{headers}Connection: close\r\n\r\n");
    // A client that hangs up is its own business.
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
}
