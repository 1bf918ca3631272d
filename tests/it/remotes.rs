//! One contract, kept by every remote there is. (Servers that keep to nothing: `odd_servers`.)

use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ribflow::fetch::pace::Limits;
use ribflow::remote::address::{Options, open};
use ribflow::remote::patience::{Patience, Patient};
use ribflow::remote::probe::{Abilities, probe};
use ribflow::remote::transport::{Content, Created, Part, read};
use ribflow::remote::{Remote, RemoteError};

use crate::servers::{self, BUCKET, KEY, Nginx, SECRET};
use crate::space::TestSpace;

/// What a server is good for beyond the contract.
#[derive(Clone, Copy)]
struct Conditions {
    /// It leaves alone what is to be created and is there.
    keeps: bool,
    /// Of many that create the same at once, one wins.
    one_wins: bool,
    /// It takes names as long as those of signatures.
    long_names: bool,
}

impl Conditions {
    const ALL: Self = Self {
        keeps: true,
        one_wins: true,
        long_names: true,
    };
}

pub const RECORD: &str = "records/ab/ab12/cd34.json";

/// Digits that are not the same everywhere.
pub fn bytes(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

pub fn part(remote: &dyn Remote, name: &str, from: u64, most: u64) -> Vec<u8> {
    let mut into = Vec::new();
    let count = remote.get(name, Part { from, most }, &mut into).unwrap();
    assert_eq!(count, into.len() as u64);
    into
}

fn keeps_the_contract(remote: &dyn Remote, conditions: Conditions) {
    absent_things(remote);
    whole_objects_and_parts(remote);
    lists(remote, conditions);
    large_files(remote);
    creation(remote, conditions);
    let abilities = probe(remote).unwrap();
    let expected = Abilities {
        writes: true,
        conditional: conditions.keeps,
        lists: true,
        why: Vec::new(),
    };
    assert_eq!(abilities, expected);
    let left = remote.list("tmp").unwrap();
    assert!(
        !left.iter().any(|name| name.starts_with("probe")),
        "{left:?}"
    );
}

fn absent_things(remote: &dyn Remote) {
    let missing = remote.get(RECORD, Part { from: 0, most: 9 }, &mut Vec::new());
    assert!(
        matches!(missing, Err(RemoteError::Missing { .. })),
        "{missing:?}"
    );
    assert!(remote.list("records/ab/ab12").unwrap().is_empty());
    assert!(remote.list("revocations").unwrap().is_empty());
    assert_eq!(remote.sizes(&[RECORD.to_string()]).unwrap(), [None]);
    assert!(remote.sizes(&[]).unwrap().is_empty());
    remote.remove(RECORD).unwrap();
}

fn whole_objects_and_parts(remote: &dyn Remote) {
    let name = "objects/ab/cdef";
    let content = bytes(100_000);
    remote.put(name, Content::Bytes(&content)).unwrap();
    assert_eq!(read(remote, name, 100_000).unwrap(), content);
    assert!(matches!(
        read(remote, name, 99_999),
        Err(RemoteError::Wrong { .. })
    ));
    assert_eq!(part(remote, name, 0, 10), content[..10]);
    assert_eq!(part(remote, name, 70_000, 20), content[70_000..70_020]);
    assert_eq!(part(remote, name, 99_990, 1000), content[99_990..]);
    assert_eq!(part(remote, name, 3, u64::MAX), content[3..]);
    assert!(part(remote, name, 100_000, 10).is_empty());
    assert!(part(remote, name, 5, 0).is_empty());

    remote.put(name, Content::Bytes(b"other")).unwrap();
    assert_eq!(read(remote, name, 10).unwrap(), b"other");
    remote.put("objects/ab/empty", Content::Bytes(b"")).unwrap();
    assert!(read(remote, "objects/ab/empty", 10).unwrap().is_empty());

    let names = ["objects/ab/none", name, "objects/ab/empty"].map(str::to_string);
    let sizes = remote.sizes(&names).unwrap();
    assert_eq!(sizes, [None, Some(5), Some(0)]);
    let many: Vec<String> = (0..200).map(|at| format!("objects/00/{at:02x}")).collect();
    assert!(remote.sizes(&many).unwrap().iter().all(Option::is_none));

    remote.remove(name).unwrap();
    remote.remove(name).unwrap();
    assert_eq!(remote.sizes(&names).unwrap(), [None, None, Some(0)]);
}

fn lists(remote: &dyn Remote, conditions: Conditions) {
    // Names as the store makes them, with what is special in them.
    let digits = if conditions.long_names { 4 } else { 1 };
    let hex = "0123456789abcdef".repeat(digits);
    let key = format!("records/{}/{hex}", &hex[..2]);
    let names = [
        format!("{hex}.{hex}.sig"),
        format!("{hex}.json"),
        "chosen".to_string(),
    ];
    for name in &names {
        let name = format!("{key}/{name}");
        remote.put(&name, Content::Bytes(b"{}")).unwrap();
    }
    assert_eq!(remote.list(&key).unwrap(), names);
    // One level, folders among them.
    assert_eq!(remote.list("records/01").unwrap(), [hex.as_str()]);
    let object = "objects/cd/ef01.zst";
    remote.put(object, Content::Bytes(b"z")).unwrap();
    assert_eq!(remote.list("objects/cd").unwrap(), ["ef01.zst"]);
    let root = remote.list("").unwrap();
    for folder in ["objects", "records"] {
        assert!(root.iter().any(|name| name == folder), "{root:?}");
    }
    // A prefix of a name is no folder.
    assert!(remote.list(&key[..key.len() - 1]).unwrap().is_empty());
}

fn large_files(remote: &dyn Remote) {
    let space = TestSpace::new();
    let content = bytes(40 << 20);
    let path = space.write("large", &content);
    let name = "objects/ee/large";
    remote.put(name, Content::File(&path)).unwrap();
    let size = Some(content.len() as u64);
    assert_eq!(remote.sizes(&[name.to_string()]).unwrap(), [size]);
    assert!(part(remote, name, 0, u64::MAX) == content);
    let from = content.len() - 70_000;
    assert!(part(remote, name, from as u64, 60_000) == content[from..from + 60_000]);
    let small = space.write("small", &content[..1000]);
    remote
        .put("objects/ee/small", Content::File(&small))
        .unwrap();
    assert_eq!(part(remote, "objects/ee/small", 0, 2000), content[..1000]);
    assert!(matches!(
        remote.put("objects/ee/none", Content::File(&space.path("none"))),
        Err(RemoteError::Io { .. })
    ));
}

fn creation(remote: &dyn Remote, conditions: Conditions) {
    let name = "records/ab/ab12/first.json";
    assert_eq!(remote.create(name, b"first").unwrap(), Created::New);
    let again = remote.create(name, b"second").unwrap();
    if conditions.keeps {
        assert_eq!(again, Created::There);
        assert_eq!(read(remote, name, 10).unwrap(), b"first");
    }
    for round in 0..4 {
        let name = format!("records/ab/ab12/race-{round}.json");
        let won = AtomicUsize::new(0);
        thread::scope(|scope| {
            for writer in 0..8_u8 {
                let (won, name) = (&won, &name);
                scope.spawn(move || {
                    let content = vec![writer; 50_000];
                    if remote.create(name, &content).unwrap() == Created::New {
                        won.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        // Whoever won, it is there whole.
        let there = read(remote, &name, 100_000).unwrap();
        assert_eq!(there.len(), 50_000);
        assert!(there.iter().all(|byte| *byte == there[0]));
        let won = won.into_inner();
        assert!(won >= 1);
        assert!(!conditions.one_wins || won == 1, "{won} won");
    }
}

/// Short enough for a test, and long enough for a machine that is busy.
pub fn limits() -> Limits {
    Limits {
        connect: Duration::from_secs(10),
        answer: Duration::from_secs(60),
        window: Duration::from_secs(30),
        least: 1024,
        ..Limits::default()
    }
}

fn options() -> Options {
    Options {
        limits: limits(),
        ..Options::default()
    }
}

/// The refusal or failure of an address that must have one.
pub fn failure<T>(result: Result<T, RemoteError>) -> RemoteError {
    match result {
        Err(error) => error,
        Ok(_) => panic!("it succeeded"),
    }
}

#[test]
fn folders() {
    let space = TestSpace::new();
    let url = format!("file://{}/lab%20a", space.root().display());
    let remote = open(&url, &options()).unwrap();
    keeps_the_contract(&*remote, Conditions::ALL);
    assert!(space.path("lab a/objects/ee/large").is_file());
}

/// Which part of a test runs in a process of its own, where the environment is the test's: S3's
/// credentials are read from it.
const INNER: &str = "RIBFLOW_TEST_INNER";

/// Runs [`inner`] as `part` with this environment and nothing else of S3's.
pub fn in_own_process(part: &str, environment: &[(&str, &str)]) {
    run_apart("remotes::inner", &[&[(INNER, part)], environment].concat());
}

/// Runs a test of this binary in a process of its own, with this environment and nothing else of
/// S3's.
pub fn run_apart(test: &str, environment: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--include-ignored", "--nocapture"]);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    // No credentials file of whoever runs this.
    command.env("HOME", "/nonexistent");
    command.envs(environment.iter().copied());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{test} {environment:?}:\n{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

/// Does nothing unless [`in_own_process`] runs it.
#[test]
fn inner() {
    let Some(part) = std::env::var_os(INNER) else {
        return;
    };
    if part == "slow" {
        return is_left(&*bucket("/x", hurried()));
    }
    let remote = bucket("/lab%20a/shared", limits());
    if part == "refused" {
        let refused = [
            failure(remote.list("records")),
            failure(remote.put(RECORD, Content::Bytes(b"{}"))),
            failure(remote.create(RECORD, b"{}")),
            failure(read(&*remote, RECORD, 10)),
            failure(remote.sizes(&[RECORD.to_string()])),
        ];
        for error in refused {
            let text = error.to_string();
            assert!(matches!(error, RemoteError::Refused { .. }), "{error:?}");
            assert!(text.contains("AWS_SECRET_ACCESS_KEY"), "{text}");
            assert!(!text.contains("wrong-secret"), "{text}");
        }
        let abilities = probe(&*remote).unwrap();
        assert!(!abilities.writes && !abilities.lists, "{abilities:?}");
        return;
    }
    // The one with authentication looks, then writes; and it keeps something of each object in a
    // file whose own name has the object's in base64.
    let conditions = Conditions {
        one_wins: part == "one wins",
        long_names: part == "one wins",
        ..Conditions::ALL
    };
    keeps_the_contract(&*remote, conditions);
    // What lies below another prefix is another remote.
    assert!(bucket("/lab", limits()).list("objects").unwrap().is_empty());
    assert!(bucket("", limits()).list("lab a/shared").unwrap().len() >= 2);
    // The other one makes a bucket for whoever writes to it.
    if part == "one wins" {
        let none = open_bucket("s3://ribflow-none/x", limits());
        let error = failure(none.put(RECORD, Content::Bytes(b"{}")));
        assert!(error.to_string().contains("no such bucket"), "{error}");
    }
}

/// What lies at `s3://ribflow…` of the server that the environment names.
fn bucket(prefix: &str, limits: Limits) -> Box<dyn Remote> {
    open_bucket(&format!("s3://{BUCKET}{prefix}"), limits)
}

fn open_bucket(url: &str, limits: Limits) -> Box<dyn Remote> {
    let options = Options {
        endpoint: std::env::var("RIBFLOW_TEST_ENDPOINT").ok(),
        region: Some("us-east-1".to_string()),
        limits,
        ..Options::default()
    };
    open(url, &options).unwrap()
}

#[test]
fn buckets_with_authentication() {
    let Some(server) = servers::s3_with_authentication() else {
        return;
    };
    let endpoint = ("RIBFLOW_TEST_ENDPOINT", server.url.as_str());
    let key = ("AWS_ACCESS_KEY_ID", KEY);
    let secret = ("AWS_SECRET_ACCESS_KEY", SECRET);
    in_own_process("many win", &[endpoint, key, secret]);
    let wrong = ("AWS_SECRET_ACCESS_KEY", "wrong-secret");
    in_own_process("refused", &[endpoint, key, wrong]);
}

#[test]
fn buckets_with_conditional_writes() {
    let Some(server) = servers::s3_with_conditions() else {
        return;
    };
    // This time the credentials are in a file, under a profile's name.
    let space = TestSpace::new();
    let text = format!("[lab]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n");
    let file = space.write("credentials", text);
    let environment = [
        ("RIBFLOW_TEST_ENDPOINT", server.url.as_str()),
        ("AWS_PROFILE", "lab"),
        ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap()),
    ];
    in_own_process("one wins", &environment);
}

#[test]
fn nginx_with_dav() {
    let Some(server) = servers::nginx(Nginx::Dav, &[]) else {
        return;
    };
    let remote = open(&format!("{}/lab%20a", server.url), &options()).unwrap();
    let conditions = Conditions {
        keeps: false,
        one_wins: false,
        ..Conditions::ALL
    };
    keeps_the_contract(&*remote, conditions);
}

#[test]
fn nginx_that_is_only_read() {
    let files: [(&str, &[u8]); 3] = [
        ("lab/records/ab/ab12/cd34.json", b"{}"),
        ("lab/records/ab/ab12/cd34.ef56.sig", b"signed"),
        ("lab/objects/ab/cdef", b"0123456789"),
    ];
    let Some(mut server) = servers::nginx(Nginx::Json, &files) else {
        return;
    };
    let remote = open(&format!("{}/lab/", server.url), &options()).unwrap();
    let names = remote.list("records/ab/ab12").unwrap();
    assert_eq!(names, ["cd34.ef56.sig", "cd34.json"]);
    assert!(remote.list("records/ab/none").unwrap().is_empty());
    assert_eq!(part(&*remote, "objects/ab/cdef", 3, 4), b"3456");
    let names = [RECORD, "objects/ab/none"].map(str::to_string);
    assert_eq!(remote.sizes(&names).unwrap(), [Some(2), None]);
    let refused = failure(remote.put(RECORD, Content::Bytes(b"[]")));
    assert!(matches!(refused, RemoteError::Refused { .. }), "{refused}");
    assert_eq!(read(&*remote, RECORD, 10).unwrap(), b"{}");

    let abilities = probe(&*remote).unwrap();
    assert!(!abilities.writes && abilities.lists, "{abilities:?}");
    assert!(abilities.why[0].contains("is read-only"), "{abilities:?}");

    server.end();
    assert!(failure(remote.list("records/ab/ab12")).is_passing());
    assert!(failure(probe(&*remote)).is_passing());
}

/// Nobody listens there, by either protocol.
#[test]
fn a_remote_that_is_down_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let patience = Patience {
        retries: 1,
        pause: Duration::from_millis(1),
        failures: 2,
    };
    in_own_process(
        "slow",
        &[
            ("RIBFLOW_TEST_ENDPOINT", address.as_str()),
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
        ],
    );
    let remote = Patient::new(open(&address, &options()).unwrap(), patience);
    let first = failure(remote.list("records"));
    assert!(first.is_passing(), "{first}");
    assert!(!remote.is_down());
    assert!(failure(remote.sizes(&[RECORD.to_string()])).is_passing());
    assert!(remote.is_down());
    let last = failure(remote.put(RECORD, Content::Bytes(b"{}")));
    assert!(last.to_string().contains("too many failures"), "{last}");
}

/// Too short for anything but a server that answers at once.
pub fn hurried() -> Limits {
    Limits {
        connect: Duration::from_secs(5),
        answer: Duration::from_millis(700),
        window: Duration::from_millis(700),
        least: 1 << 20,
        ..Limits::default()
    }
}

/// Every call fails as one to a server that is down or too slow.
pub fn is_left(remote: &dyn Remote) {
    let part = Part {
        from: 0,
        most: 1_000_000,
    };
    for error in [
        failure(remote.get(RECORD, part, &mut Vec::new())),
        failure(remote.sizes(&[RECORD.to_string()])),
        failure(remote.list("records")),
        failure(remote.put(RECORD, Content::Bytes(b"{}"))),
    ] {
        assert!(error.is_passing(), "{error:?}");
    }
}
