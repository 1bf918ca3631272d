//! Proxies as the environment names them, for web servers, buckets and downloads.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::servers;
use crate::space::{Outcome, TestSpace};

/// A forward proxy: it answers what is asked of it by the whole URL itself, as a server with an
/// empty store would that takes everything, and refuses tunnels to other ports than 443.
struct Proxy {
    url: String,
    port: u16,
    /// Heads of requests, and how long their bodies were.
    seen: Arc<Mutex<Vec<(String, usize)>>>,
}

impl Proxy {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<(String, usize)>>> = Arc::default();
        let kept = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                thread::spawn(move || while serve(&stream, &kept).is_some() {});
            }
        });
        Self {
            url: format!("http://127.0.0.1:{port}"),
            port,
            seen,
        }
    }

    fn seen(&self) -> Vec<(String, usize)> {
        self.seen.lock().unwrap().clone()
    }

    fn lines(&self) -> Vec<String> {
        let seen = self.seen();
        seen.iter()
            .map(|(head, _)| head.lines().next().unwrap().to_string())
            .collect()
    }
}

/// One request over a connection that is kept; `None` at its end.
fn serve(stream: &TcpStream, seen: &Mutex<Vec<(String, usize)>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    loop {
        let before = head.len();
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
        if head[before..].trim_end().is_empty() {
            break;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    let expects = head.to_ascii_lowercase().contains("expect: 100-continue");
    let mut writer = stream;
    if expects {
        writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    seen.lock().unwrap().push((head.clone(), body.len()));
    let method = head.split(' ').next().unwrap_or_default();
    let target = head.split(' ').nth(1).unwrap_or_default();
    let is_whole = target.starts_with("http://");
    let answer = match method {
        "CONNECT" => "403 Forbidden\r\nContent-Length: 0",
        // Relative, as to a server: no proxy knows where that goes.
        _ if !is_whole => "400 Bad Request\r\nContent-Length: 0",
        "GET" if target.ends_with('/') => "200 OK\r\nContent-Length: 2",
        "PUT" => "201 Created\r\nContent-Length: 0",
        _ => "404 Not Found\r\nContent-Length: 0",
    };
    let body = if answer.ends_with('2') { "[]" } else { "" };
    write!(writer, "HTTP/1.1 {answer}\r\n\r\n{body}").ok()
}

const WORKFLOW: &str = "\
ribflow: 1
name: proxies
stages:
  a:
    use: command
    with: { run: \"head -c 200000 /dev/urandom > out/r\", outputs: [r] }
";

fn lab() -> TestSpace {
    let space = TestSpace::new();
    space.write("w.yaml", WORKFLOW);
    space.run(&["key", "generate", "--name", "me"]).ok();
    space.run(&["run", "w.yaml"]).ok();
    space
}

fn push(lab: &TestSpace, remote: &str, environment: &[(&str, &str)]) -> Outcome {
    let mut command = lab.command(&["push", "w.yaml", "--remote", remote]);
    lab.finish(command.envs(environment.iter().copied()))
}

#[test]
fn plain_http_is_asked_of_a_proxy_by_the_whole_url() {
    let lab = lab();
    for variable in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        let proxy = Proxy::new();
        // A name that only the proxy could know.
        let pushed = push(&lab, "http://lab.invalid/store", &[(variable, &proxy.url)]).expect(0);
        let seen = proxy.seen();
        let puts = seen.iter().filter(|(head, _)| head.starts_with("PUT "));
        assert_eq!(puts.count(), 3, "{variable}: {pushed}");
        for (head, _) in &seen {
            let mut words = head.split(' ');
            let (_, target) = (words.next(), words.next().unwrap());
            assert!(target.starts_with("http://lab.invalid/store/"), "{head}");
            assert!(
                head.to_ascii_lowercase().contains("host: lab.invalid\r\n"),
                "{head}"
            );
        }
        // The body behind a head that was asked about first is sent as it is.
        assert!(seen.iter().any(|(_, body)| *body == 200_000));
    }
}

#[test]
fn a_proxy_is_shown_its_password_and_nobody_else_is() {
    let lab = lab();
    let proxy = Proxy::new();
    let url = format!("http://Aladdin:open%20sesame@127.0.0.1:{}", proxy.port);
    push(&lab, "http://lab.invalid/", &[("http_proxy", &url)]).ok();
    let shown = "proxy-authorization: basic qwxhzgrpbjpvcgvuihnlc2ftzq==";
    for (head, _) in proxy.seen() {
        assert!(head.to_ascii_lowercase().contains(shown), "{head}");
    }
}

#[test]
fn tunnels_are_for_tls_alone() {
    let lab = lab();
    let proxy = Proxy::new();
    let refused = push(&lab, "https://lab.invalid/", &[("https_proxy", &proxy.url)]);
    assert_eq!(refused.code, Some(1), "{refused}");
    let lines = proxy.lines();
    assert!(!lines.is_empty());
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with("CONNECT lab.invalid:443 ")),
        "{lines:?}"
    );
}

#[test]
fn exceptions_go_there_directly() {
    let lab = lab();
    let proxy = Proxy::new();
    // Another that is asked by the whole URL only if it is taken for a proxy.
    let server = Proxy::new();
    let (port, address) = (server.port, "127.0.0.1");
    for except in [
        "*".to_string(),
        address.to_string(),
        "127.0.0.0/8".to_string(),
        format!("other.example, {address}:{port}"),
    ] {
        for variable in ["no_proxy", "NO_PROXY"] {
            let environment = [("http_proxy", proxy.url.as_str()), (variable, &except)];
            let _ = push(&lab, &format!("http://{address}:{port}/"), &environment);
            let lines = server.lines();
            assert!(
                lines.last().unwrap().starts_with("GET /"),
                "{except}: {lines:?}"
            );
        }
    }
    assert!(proxy.seen().is_empty(), "{:?}", proxy.lines());
    let other = format!("{address}:{}", port.wrapping_add(1));
    let environment = [("http_proxy", proxy.url.as_str()), ("no_proxy", &other)];
    push(&lab, &format!("http://{address}:{port}/"), &environment).ok();
    assert!(!proxy.seen().is_empty());
}

#[test]
fn buckets_and_downloads_go_through_the_same_proxy() {
    let lab = lab();
    let bucket = |environment: &[(&str, &str)]| {
        let mut all = vec![
            ("AWS_ACCESS_KEY_ID", servers::KEY),
            ("AWS_SECRET_ACCESS_KEY", servers::SECRET),
            ("AWS_ENDPOINT_URL", "http://s3.invalid:9000"),
            ("AWS_ALLOW_HTTP", "true"),
        ];
        all.extend(environment);
        push(&lab, "s3://bucket/lab", &all)
    };
    for variable in ["http_proxy", "HTTP_PROXY", "ALL_PROXY"] {
        let proxy = Proxy::new();
        let _ = bucket(&[(variable, &proxy.url)]);
        let lines = proxy.lines();
        let is_right = |line: &String| line.contains(" http://s3.invalid:9000/bucket");
        assert!(lines.iter().any(is_right), "{variable}: {lines:?}");
    }
    let proxy = Proxy::new();
    let _ = bucket(&[("http_proxy", &proxy.url), ("NO_PROXY", "s3.invalid:9000")]);
    assert!(proxy.seen().is_empty(), "{:?}", proxy.lines());

    let space = TestSpace::new();
    space.write(
        "c.yaml",
        "ribflow: 1\nname: c\nstages:\n  a: { use: checkpoint, with: { arch: vit_mini, hub: \
         lab/model, revision: 0123456789abcdef0123456789abcdef01234567, file: m.safetensors } }\n",
    );
    let mut command = space.command(&["run", "c.yaml"]);
    let _ = space.finish(
        command
            .env("http_proxy", &proxy.url)
            .env("HF_ENDPOINT", "http://hub.invalid"),
    );
    let lines = proxy.lines();
    let is_right = |line: &String| line.starts_with("GET http://hub.invalid/lab/model/resolve/");
    assert!(lines.iter().any(is_right), "{lines:?}");
}
