//! `ribflow serve`, asked by a client that keeps to no rule.

mod load;
mod python;
mod reading;
mod sharing;
mod writing;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use ribflow::digest::Digest;
use ribflow::remote::names;
use ribflow::remote::signing::SecretKey;
use ribflow::remote::statement::{Revocation, Revoked};
use ribflow::store::{Record, Store};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::lab::{Lab, outcome};
use crate::space::TestSpace;

const TOKEN: &str = "correct-horse-battery-staple";
const BEARER: (&str, &str) = ("Authorization", "Bearer correct-horse-battery-staple");

/// A server over the store `cache/` of a space.
struct Serving {
    _space: TestSpace,
    child: Child,
    port: u16,
}

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Serving {
    /// A read-only server over what `lab` holds.
    fn of(lab: &Lab) -> Self {
        Self::start(lab, &[])
    }

    /// One that takes uploads.
    fn writable(lab: &Lab, arguments: &[&str]) -> Self {
        Self::start(lab, &[&["--tokens", "tokens"], arguments].concat())
    }

    fn start(lab: &Lab, arguments: &[&str]) -> Self {
        let space = TestSpace::new();
        space.write("tokens", format!("# ours\n{TOKEN}\n"));
        space.write("readers", "a-token-that-reads-only\n");
        let store = lab.store.root().display().to_string();
        let fixed = [
            "serve",
            "--json",
            "-v",
            "--address",
            "127.0.0.1:0",
            "--store",
            &store,
        ];
        let mut child = space
            .command(&[&fixed, arguments].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).expect("a line of JSON");
        let port = ready["port"].as_u64().unwrap().try_into().unwrap();
        assert_eq!(ready["url"], format!("http://127.0.0.1:{port}"));
        Self {
            _space: space,
            child,
            port,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        // Only so that a test that fails ends.
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream
    }

    /// Sends exactly these bytes, and reads the answer.
    fn raw(&self, head: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(head.as_bytes()).unwrap();
        // What is refused early may be cut off.
        let _ = stream.write_all(body);
        answer(&mut stream)
    }

    fn ask(&self, method: &str, name: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} /{name} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
        for (header, value) in headers {
            head += &format!("{header}: {value}\r\n");
        }
        if method != "GET" && method != "HEAD" {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        self.raw(&(head + "\r\n"), body)
    }

    fn get(&self, name: &str) -> Answer {
        self.ask("GET", name, &[], b"")
    }

    fn put(&self, name: &str, body: &[u8]) -> u16 {
        self.ask("PUT", name, &[BEARER], body).status
    }

    fn has(&self, names: &[&str]) -> Value {
        let names = json!(names).to_string();
        self.ask("POST", "has", &[], names.as_bytes()).json()
    }

    /// Ends it with a signal; what it wrote to standard error.
    fn stop(mut self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        let mut log = String::new();
        let stderr = self.child.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut log).unwrap();
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn words(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

fn answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    // A connection that is cut off after the answer is as good as one that ends.
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let Some(end) = end else {
        return Answer {
            status: 0,
            headers: BTreeMap::new(),
            body: Vec::new(),
        };
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    Answer {
        status: status.parse().unwrap(),
        headers: headers
            .map(|(name, value)| (name.to_lowercase(), value.to_string()))
            .collect(),
        body: bytes[end + 4..].to_vec(),
    }
}

/// Every file of a store that means something, with its content.
fn files(store: &Store) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            match path.is_dir() {
                true => walk(root, &path, files),
                false => drop(files.insert(name, fs::read(&path).unwrap())),
            }
        }
    }
    let mut all = BTreeMap::new();
    for folder in ["objects", "records", "revocations"] {
        let folder = store.root().join(folder);
        if folder.exists() {
            walk(store.root(), &folder, &mut all);
        }
    }
    all
}

/// Files of uploads that are under way.
fn uploads(store: &Store) -> usize {
    let tmp = store.root().join("tmp");
    let sessions = fs::read_dir(tmp).unwrap().flatten();
    let files = sessions.filter_map(|session| fs::read_dir(session.path()).ok());
    let names = files.flatten().flatten().map(|entry| entry.file_name());
    names.filter(|name| name != "lock").count()
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

fn record_name(record: &Record) -> String {
    names::record(&record.key, &record.digest())
}
