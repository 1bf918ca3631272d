//! A remote that means harm: it serves a store's folder, but for what it was told to do otherwise.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What it does in place of serving.
#[derive(Clone, Debug)]
pub enum Misdeed {
    /// The right length, and one bit is wrong.
    WrongBytes,
    /// A whole answer with half of the content.
    Truncated,
    /// Half of the content, then the connection ends.
    CutOff,
    /// Half of the content, one bit of it wrong, then the connection ends.
    CutOffWrong,
    /// The content of another name.
    Swapped(String),
    /// These bytes.
    Instead(Vec<u8>),
    NotThere,
    /// Says that it has more bytes than there are disks, and ends.
    Enormous,
    /// Bytes that never end.
    Endless,
    /// The right bytes, one now and then.
    Drip,
    /// A redirect to itself.
    Circle,
    /// A redirect to this place.
    Elsewhere(String),
    Status(u16),
    /// Ends the connection at once.
    HangUp,
    /// Never answers.
    Silence,
}

struct State {
    folder: PathBuf,
    /// By a part of the path; the first that fits.
    misdeeds: Vec<(String, Misdeed)>,
    seen: Vec<String>,
}

/// The server. It lives until the test ends.
pub struct Adversary {
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl Adversary {
    /// Serves the store at `folder`, honestly for now.
    pub fn serving(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            folder: folder.to_path_buf(),
            misdeeds: Vec::new(),
            seen: Vec::new(),
        }));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                // A client that goes away is no reason to fail.
                thread::spawn(move || drop(answer(stream, &state)));
            }
        });
        Self { url, state }
    }

    /// From now on does `misdeed` where a path has `part` in it.
    pub fn does(&self, part: &str, misdeed: Misdeed) {
        let mut state = self.state.lock().unwrap();
        state.misdeeds.insert(0, (part.to_string(), misdeed));
    }

    /// From now on serves honestly.
    pub fn repents(&self) {
        self.state.lock().unwrap().misdeeds.clear();
    }

    /// The paths that were asked for.
    pub fn seen(&self) -> Vec<String> {
        self.state.lock().unwrap().seen.clone()
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut words = first.split(' ');
    let method = words.next().unwrap_or_default().to_string();
    let path = words.next().unwrap_or_default().to_string();
    let mut range = None;
    for line in lines {
        let line = line?.to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(asked) = line.strip_prefix("range: bytes=") {
            range = asked.split('-').next().and_then(|from| from.parse().ok());
        }
    }
    let (folder, misdeed) = {
        let mut state = state.lock().unwrap();
        state.seen.push(path.clone());
        let found = state.misdeeds.iter().find(|(part, _)| path.contains(part));
        (
            state.folder.clone(),
            found.map(|(_, misdeed)| misdeed.clone()),
        )
    };
    let content = content(&folder, path.trim_start_matches('/'));
    let from = range.unwrap_or(0_usize);
    if !["GET", "HEAD"].contains(&method.as_str()) {
        return respond(&mut stream, 405, None, b"");
    }
    match misdeed {
        Some(misdeed) => do_harm(&mut stream, misdeed, &folder, &path, content, from),
        None => serve(&mut stream, content, from),
    }
}

/// A file, or a list of a folder as nginx writes it.
fn content(folder: &Path, name: &str) -> Option<Vec<u8>> {
    let path = folder.join(name);
    if !name.ends_with('/') {
        return fs::read(path).ok();
    }
    let names = fs::read_dir(path).ok()?.flatten();
    let names = names.map(|entry| entry.file_name().into_string().unwrap());
    let listed: Vec<_> = names
        .map(|name| serde_json::json!({ "name": name, "type": "file" }))
        .collect();
    Some(serde_json::to_vec(&listed).unwrap())
}

fn respond(
    stream: &mut TcpStream,
    status: u16,
    range: Option<(usize, usize)>,
    body: &[u8],
) -> io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status} So\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    )?;
    if let Some((from, whole)) = range {
        let last = (from + body.len()).saturating_sub(1);
        write!(stream, "Content-Range: bytes {from}-{last}/{whole}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(body)
}

fn serve(stream: &mut TcpStream, content: Option<Vec<u8>>, from: usize) -> io::Result<()> {
    match content {
        None => respond(stream, 404, None, b""),
        Some(content) if from > 0 && from >= content.len() => respond(stream, 416, None, b""),
        Some(content) if from > 0 => {
            let range = Some((from, content.len()));
            respond(stream, 206, range, &content[from..])
        }
        Some(content) => respond(stream, 200, None, &content),
    }
}

fn do_harm(
    stream: &mut TcpStream,
    misdeed: Misdeed,
    folder: &Path,
    path: &str,
    content: Option<Vec<u8>>,
    from: usize,
) -> io::Result<()> {
    let mut honest = content.clone().unwrap_or_default();
    let half = honest.len() / 2;
    let flip = |bytes: &mut Vec<u8>| {
        if let Some(byte) = bytes.first_mut() {
            *byte ^= 1;
        }
    };
    match misdeed {
        Misdeed::NotThere => respond(stream, 404, None, b""),
        // Only what is there can be wrong.
        _ if content.is_none() && !matches!(misdeed, Misdeed::Instead(_)) => {
            respond(stream, 404, None, b"")
        }
        Misdeed::WrongBytes => {
            flip(&mut honest);
            serve(stream, Some(honest), from)
        }
        Misdeed::Truncated => serve(stream, Some(honest[..half].to_vec()), from),
        Misdeed::CutOff | Misdeed::CutOffWrong => {
            if matches!(misdeed, Misdeed::CutOffWrong) {
                flip(&mut honest);
            }
            let length = honest.len();
            write!(
                stream,
                "HTTP/1.1 200 So\r\nContent-Length: {length}\r\n\r\n"
            )?;
            stream.write_all(&honest[..half])
        }
        Misdeed::Swapped(name) => serve(stream, self::content(folder, &name), from),
        Misdeed::Instead(bytes) => serve(stream, Some(bytes), from),
        Misdeed::Enormous => {
            let length = u64::MAX / 2;
            write!(
                stream,
                "HTTP/1.1 200 So\r\nContent-Length: {length}\r\n\r\n"
            )?;
            stream.write_all(&honest)
        }
        Misdeed::Endless => {
            stream.write_all(b"HTTP/1.1 200 So\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            let chunk = [b"10000\r\n", &[b' '; 0x10000][..], b"\r\n"].concat();
            loop {
                stream.write_all(&chunk)?;
            }
        }
        Misdeed::Drip => {
            stream.write_all(b"HTTP/1.1 200 So\r\nContent-Length: 100000\r\n\r\n")?;
            for byte in honest.iter().cycle() {
                stream.write_all(&[*byte])?;
                thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        }
        Misdeed::Circle => redirect(stream, path),
        Misdeed::Elsewhere(place) => redirect(stream, &place),
        Misdeed::Status(status) => respond(stream, status, None, b"no\x1b[31m\r\nreason"),
        Misdeed::HangUp => Ok(()),
        Misdeed::Silence => stream.read_to_end(&mut Vec::new()).map(|_| ()),
    }
}

fn redirect(stream: &mut TcpStream, place: &str) -> io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 302 So\r\nConnection: close\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n"
    )
}
