//! Servers that keep to nothing: slow, boundless, wrong, or leading elsewhere.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ribflow::fetch::pace::Limits;
use ribflow::remote::address::{Options, open};
use ribflow::remote::transport::{Content, Part, read};
use ribflow::remote::{Remote, RemoteError};

use crate::remotes::{RECORD, bytes, failure, hurried, in_own_process, is_left, limits, part};
use crate::servers::{KEY, SECRET};

/// A server that answers every request with what `answer` writes, and remembers what was asked.
pub struct Odd {
    pub url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Odd {
    pub fn serving(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let (answer, kept) = (Arc::new(answer), seen.clone());
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (answer, kept) = (answer.clone(), kept.clone());
                thread::spawn(move || {
                    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    let head: Vec<String> = lines
                        .map_while(Result::ok)
                        .take_while(|line| !line.is_empty())
                        .collect();
                    let head = head.join("\n").to_ascii_lowercase();
                    kept.lock().unwrap().push(head.clone());
                    answer(&head, &mut stream);
                });
            }
        });
        Self { url, seen }
    }

    fn remote(&self, limits: Limits) -> Box<dyn Remote> {
        let options = Options {
            limits,
            token: Some("hunter2".to_string()),
            ..Options::default()
        };
        open(&self.url, &options).unwrap()
    }

    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// Writes a head and a body, and closes; whoever hangs up meanwhile may.
pub fn reply(stream: &mut TcpStream, head: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
}

/// Writes a byte now and then for as long as anybody reads.
fn drip(stream: &mut TcpStream, head: &str) {
    let _ = stream.write_all(head.as_bytes());
    while stream.write_all(b"a").is_ok() {
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn servers_that_drip_are_left() {
    let head = Odd::serving(|_, stream| drip(stream, "HTTP/1.1 200 X\r\nX-Long: "));
    let silent = Odd::serving(|_, _| thread::sleep(Duration::from_secs(600)));
    let body = Odd::serving(|head, stream| {
        let status = match head.starts_with("get") && head.contains("range: ") {
            true => "206 X\r\nContent-Range: bytes 0-999999/1000000",
            false => "503 X",
        };
        let rest = "ETag: \"x\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT";
        drip(
            stream,
            &format!("HTTP/1.1 {status}\r\nContent-Length: 1000000\r\n{rest}\r\n\r\n"),
        );
    });
    // All at once: each waits most of the time.
    thread::scope(|scope| {
        for server in [&head, &silent, &body] {
            scope.spawn(|| is_left(&*server.remote(hurried())));
            scope.spawn(|| {
                let environment = [
                    ("RIBFLOW_TEST_ENDPOINT", server.url.as_str()),
                    ("AWS_ACCESS_KEY_ID", KEY),
                    ("AWS_SECRET_ACCESS_KEY", SECRET),
                ];
                in_own_process("slow", &environment);
            });
        }
    });
}

#[test]
fn no_more_is_taken_than_asked_for() {
    // Whatever part is asked for, it sends everything, and a list without an end.
    let server = Odd::serving(|head, stream| match head.starts_with("get /records/") {
        true => {
            reply(stream, "200 X", b"[\"a\"");
            while stream.write_all(&[b' '; 1 << 16]).is_ok() {}
        }
        false => reply(stream, "200 X", &bytes(1 << 20)),
    });
    let remote = server.remote(limits());
    let content = bytes(1 << 20);
    assert_eq!(part(&*remote, "objects/ab/x", 0, 10), content[..10]);
    let from = 700_001;
    assert_eq!(
        part(&*remote, "objects/ab/x", from as u64, 100_000),
        content[from..from + 100_000]
    );
    assert!(part(&*remote, "objects/ab/x", 2 << 20, 10).is_empty());
    let endless = failure(remote.list("records"));
    assert!(matches!(endless, RemoteError::Wrong { .. }), "{endless}");
    // It has no sizes to tell, for many or for one.
    let sizes = failure(remote.sizes(&["objects/ab/x".to_string()]));
    assert!(matches!(sizes, RemoteError::Wrong { .. }), "{sizes}");
}

#[test]
fn parts_that_were_not_asked_for_are_not_taken() {
    for (head, expected) in [
        ("206 X\r\nContent-Range: bytes 0-9/100", "a different part"),
        ("206 X", "without its range"),
        ("206 X\r\nContent-Range: bytes 5-14/100", "10 of 50 bytes"),
        ("403 X\r\nContent-Type: text/plain", "\u{fffd}[2Jno no"),
        (
            "302 X\r\nLocation: file:///etc/passwd",
            "file:///etc/passwd",
        ),
        ("302 X\r\nLocation: /around", "circles"),
    ] {
        let server = Odd::serving(move |_, stream| match head.starts_with("403") {
            true => reply(stream, head, b"\xff\x1b[2Jno\nno"),
            false => reply(stream, head, b"0123456789"),
        });
        let remote = server.remote(limits());
        let part = Part { from: 5, most: 50 };
        let error = failure(remote.get(RECORD, part, &mut Vec::new()));
        let text = error.to_string().replace(" [2J", "[2J");
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains('\u{1b}'));
    }
}

#[test]
fn a_token_stays_with_its_server() {
    let other = Odd::serving(|_, stream| reply(stream, "200 X\r\nContent-Length: 2", b"{}"));
    let place = format!("302 X\r\nLocation: {}/elsewhere", other.url);
    let server = Odd::serving(move |_, stream| reply(stream, &place, b""));
    let remote = server.remote(limits());
    assert_eq!(read(&*remote, "records/a+b.json", 10).unwrap(), b"{}");
    let refused = failure(remote.put(RECORD, Content::Bytes(b"{}")));
    assert!(refused.to_string().contains("it redirects to"), "{refused}");
    let (seen, elsewhere) = (server.seen(), other.seen());
    assert!(
        seen[0].starts_with("get /records/a%2bb.json "),
        "{}",
        seen[0]
    );
    assert!(seen.iter().all(|head| head.contains("bearer hunter2")));
    assert!(!elsewhere.is_empty());
    assert!(elsewhere.iter().all(|head| !head.contains("hunter2")));
}

#[test]
fn many_sizes_are_one_question() {
    let server = Odd::serving(|head, stream| match head.starts_with("post /has ") {
        true => reply(stream, "200 X", b"[3,null,0]"),
        false => reply(stream, "500 X", b""),
    });
    let remote = server.remote(limits());
    let names = ["a", "b", "c"].map(str::to_string);
    assert_eq!(remote.sizes(&names).unwrap(), [Some(3), None, Some(0)]);
    assert_eq!(server.seen().len(), 1);
    let short = failure(remote.sizes(&names[..2]));
    assert!(matches!(short, RemoteError::Wrong { .. }), "{short}");
}
