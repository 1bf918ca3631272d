//! Servers that accept and never answer: what they may cost in all.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use ribflow::fetch::pace::Limits;
use ribflow::fetch::web::silence;
use ribflow::remote::address::{Options, open};
use ribflow::remote::patience::{Patience, Patient};
use ribflow::remote::transport::Content;
use ribflow::remote::{Remote, RemoteError};

use crate::odd_servers::{Odd, reply};
use crate::remotes::{RECORD, failure, run_apart};
use crate::servers::{KEY, SECRET};
use crate::space::TestSpace;

/// A server that has not answered gets one second in all; others get long.
fn short() -> Limits {
    Limits {
        connect: Duration::from_secs(30),
        answer: Duration::from_secs(60),
        window: Duration::from_secs(60),
        least: 1,
        first: Duration::from_secs(1),
        notice: Duration::from_millis(200),
    }
}

fn silent() -> Odd {
    Odd::serving(|_, _| std::thread::sleep(Duration::from_secs(3600)))
}

fn every_call_is_silent(remote: &dyn Remote) {
    for _ in 0..3 {
        for error in [
            failure(remote.list("records")),
            failure(remote.sizes(&[RECORD.to_string()])),
            failure(remote.put(RECORD, Content::Bytes(b"{}"))),
        ] {
            assert!(matches!(error, RemoteError::Silent { .. }), "{error}");
            assert!(error.to_string().contains("has not responded"), "{error}");
        }
    }
}

#[test]
fn one_that_has_answered_has_the_time_that_all_have() {
    let server = Odd::serving(|head, stream| {
        if head.starts_with("get /records/") {
            std::thread::sleep(Duration::from_secs(3));
        }
        reply(stream, "200 X\r\nContent-Length: 2", b"[]");
    });
    let options = Options {
        limits: short(),
        ..Options::default()
    };
    let remote = open(&server.url, &options).unwrap();
    assert!(remote.list("revocations").unwrap().is_empty());
    assert!(remote.list("records").unwrap().is_empty());
}

/// The address of the silent server, for the process of its own that a test starts: what is known
/// of a server belongs to the process, where an earlier test may have had one at the same port. S3's
/// credentials are read from the environment, too.
const INNER: &str = "RIBFLOW_TEST_SILENT";

fn in_a_process(test: &str, server: &Odd) {
    let address = (INNER, server.url.as_str());
    let credentials = [
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
    ];
    run_apart(test, &[&[address], &credentials[..]].concat());
}

#[test]
fn a_web_server_that_never_answered_costs_its_time_once() {
    let server = silent();
    in_a_process("silence::web", &server);
    assert_eq!(server.seen().len(), 1, "{:?}", server.seen());
}

#[test]
#[ignore = "part of another test"]
fn web() {
    let Ok(url) = std::env::var(INNER) else {
        return;
    };
    let options = Options {
        limits: short(),
        ..Options::default()
    };
    let begun = Instant::now();
    let remote = Patient::new(open(&url, &options).unwrap(), Patience::default());
    assert!(matches!(
        failure(remote.list("records")),
        RemoteError::Silent { .. }
    ));
    assert!(remote.is_down());
    every_call_is_silent(&*open(&url, &options).unwrap());
    // Also by another name.
    every_call_is_silent(&*open(&format!("{url}/lab"), &options).unwrap());
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_bucket_that_never_answered_costs_its_time_once() {
    let server = silent();
    in_a_process("silence::bucket", &server);
    assert!(server.seen().len() <= 2, "{:?}", server.seen());
}

#[test]
#[ignore = "part of another test"]
fn bucket() {
    let Ok(endpoint) = std::env::var(INNER) else {
        return;
    };
    let options = Options {
        endpoint: Some(endpoint),
        limits: short(),
        ..Options::default()
    };
    let begun = Instant::now();
    every_call_is_silent(&*open("s3://bucket", &options).unwrap());
    assert!(begun.elapsed() < Duration::from_secs(20));
}

/// The promise as it stands, at the price of its half minute: the coordinator's word spares the
/// workers.
#[test]
fn a_command_waits_half_a_minute_in_all_and_says_so_soon() {
    let server = silent();
    let space = TestSpace::new();
    space.write(
        "w.yaml",
        "ribflow: 1\nname: hang\nstages:\n  a: { use: command, with: { run: \"echo x > out/r\", \
         outputs: [r] } }\n  b: { use: command, needs: { r: a.r }, with: { run: \"cat r > out/q\", \
         outputs: [q] } }\n",
    );
    space.run(&["key", "generate", "--name", "me"]).ok();
    space
        .run(&["remote", "add", "lab", &server.url, "--write"])
        .ok();
    let begun = Instant::now();
    let run = space.run(&["run", "w.yaml", "--remote", "lab"]).expect(0);
    let took = begun.elapsed();
    assert!(run.stderr.contains("has not responded yet"), "{run}");
    assert!(run.stderr.contains("has not responded for 30 s"), "{run}");
    // Half a minute, and what two nodes take on a machine that is busy.
    assert!(took < Duration::from_secs(90), "{took:?}");
    assert_eq!(server.seen().len(), 1, "{:?}", server.seen());
}

/// Writes a byte now and then for as long as anybody reads.
fn drip(stream: &mut TcpStream, head: &str) {
    let _ = stream.write_all(head.as_bytes());
    while stream.write_all(b"a").is_ok() {
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// A command in the background whose first line about `server` is waited for; then it is ended.
fn first_line(space: &TestSpace, arguments: &[&str], server: &Odd) -> String {
    let mut command = space.command(arguments);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    let line = lines.find(|line| line.contains(&server.url));
    let _ = child.kill();
    let _ = child.wait();
    line.unwrap_or_default()
}

/// Whatever of an answer drips, the head, a list or an object, a line says so before the limits
/// end it.
#[test]
fn a_server_that_drips_is_named_before_its_time_is_over() {
    let body = "HTTP/1.1 200 X\r\nContent-Length: 1000000\r\n\r\n";
    let head = Odd::serving(|_, stream| drip(stream, "HTTP/1.1 200 X\r\nX-Long: "));
    let list = Odd::serving(move |_, stream| drip(stream, body));
    let object = Odd::serving(
        move |head, stream| match head.starts_with("get /records/") {
            true => drip(stream, body),
            false => reply(stream, "404 X\r\nContent-Length: 0", b""),
        },
    );
    let is_named = |server: &Odd| {
        let space = TestSpace::new();
        space.write(
            "w.yaml",
            "ribflow: 1\nname: drip\nstages:\n  a: { use: command, with: { run: \"echo x > \
             out/r\", outputs: [r] } }\n",
        );
        let line = first_line(&space, &["pull", "w.yaml", "--remote", &server.url], server);
        assert!(line.contains("has not responded yet"), "{line:?}");
    };
    // All at once: each waits most of the time.
    std::thread::scope(|scope| {
        for server in [&head, &list, &object] {
            scope.spawn(|| is_named(server));
        }
    });
}

/// What moves at the pace is no silence, and neither are many short answers.
#[test]
fn one_that_keeps_the_pace_is_not_named() {
    let limits = Limits {
        notice: Duration::from_secs(1),
        ..short()
    };
    let server = silence::of("https://steady.example.org");
    let step = Duration::from_millis(50);
    let many = |answers: u32, bytes: u64| {
        for _ in 0..answers {
            let expected = server.expect(&limits);
            std::thread::sleep(step);
            match bytes {
                0 => expected.has_arrived(),
                bytes => expected.moved(bytes),
            }
        }
    };
    many(30, 0);
    many(30, limits.least_in(limits.notice));
    assert!(!server.was_reported());
    let expected = server.expect(&limits);
    let begun = Instant::now();
    while !server.was_reported() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(step);
    }
    drop(expected);
}
