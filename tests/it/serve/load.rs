//! A thousand clients that are slow on purpose: what they cost the server, and others.

use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

/// A request's head that never ends, a download that nobody reads, an upload that stops.
const HEADS: usize = 800;
const READERS: usize = 100;
const WRITERS: usize = 100;
const LARGE: usize = 32 << 20;
/// How long the server may take to give memory back.
const PATIENCE: Duration = Duration::from_secs(60);

/// The peak memory of a process in MiB, and what it has now.
fn memory(child: &Child) -> [u64; 2] {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    ["VmHWM:", "VmRSS:"].map(|key| {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib >> 10
    })
}

/// Each client is an open file of this process.
fn allow_many_files() {
    const WANTED: u64 = 4096;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.map(|limit| limit.max(WANTED));
    let raised = Rlimit {
        current: enough(current),
        maximum: enough(maximum),
    };
    let raised = setrlimit(Resource::Nofile, raised);
    assert!(raised.is_ok() || current.is_none_or(|limit| limit >= 2048));
}

impl Serving {
    /// Connects, sends the beginning of a request, and leaves it there.
    fn stuck(&self, text: &str) -> TcpStream {
        let mut stream = self.connect();
        // A connection in the queue takes what fits into the system's buffers.
        stream.write_all(text.as_bytes()).unwrap();
        stream
    }
}

#[test]
fn a_thousand_slow_clients_cost_little_memory_and_others_are_served() {
    allow_many_files();
    let lab = Lab::new(1);
    let record = lab.publish("one", &[&vec![7; LARGE], b"a few bytes"]);
    let large = names::object(&Digest::of(&vec![7; LARGE]));
    let small = names::object(&Digest::of(b"a few bytes"));
    let serving = Serving::writable(&lab, &[]);
    // Both blobs are hashed once.
    assert_eq!(serving.has(&[&large, &small]), json!([LARGE, 11]));
    let [before, _] = memory(&serving.child);
    let get = format!("GET /{large} HTTP/1.1\r\nHost: test\r\n\r\n");
    let (name, value) = BEARER;
    let other = names::object(&Digest::of(b"another blob"));
    let put = format!(
        "PUT /{other} HTTP/1.1\r\nHost: test\r\n{name}: {value}\r\nContent-Length: 1000000\r\n\r\nsome"
    );
    let mut stuck = Vec::new();
    stuck.extend((0..READERS).map(|_| serving.stuck(&get)));
    stuck.extend((0..WRITERS).map(|_| serving.stuck(&put)));
    stuck.extend((0..HEADS).map(|_| serving.stuck("GET /objects/")));
    let mut delays = Vec::new();
    for _ in 0..50 {
        let begun = Instant::now();
        assert_eq!(serving.get(&small).body, b"a few bytes");
        assert_eq!(serving.get(&record_name(&record)).status, 200);
        delays.push(begun.elapsed());
    }
    delays.sort();
    let grown = memory(&serving.child)[0] - before;
    println!(
        "serve: {} slow clients, {before} MiB before, {grown} MiB more; two requests of another client take \
         {:?} in the median, {:?} at most",
        stuck.len(),
        delays[delays.len() / 2],
        delays[delays.len() - 1],
    );
    // 256 connections at once, each with the pieces of one transfer: about a MiB.
    assert!(grown < 256, "{grown} MiB");
    drop(stuck);
    // The peak is given back, while others are served: seldom enough for idle threads to end.
    let begun = Instant::now();
    while memory(&serving.child)[1] > before + grown / 4 {
        assert_eq!(serving.get(&small).body, b"a few bytes");
        let [_, now] = memory(&serving.child);
        assert!(begun.elapsed() < PATIENCE, "{now} MiB stay of the peak");
        std::thread::sleep(Duration::from_millis(20));
    }
    serving.stop();
    assert_eq!(uploads(&lab.store), 0);
}
