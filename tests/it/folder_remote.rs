//! A folder as a remote, where others may write as well: links, pipes, what killed processes left,
//! and what a group shares.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use ribflow::remote::address::{Options, open};
use ribflow::remote::transport::{Content, Part};
use ribflow::remote::{Remote, RemoteError};

use crate::remotes::{RECORD, failure};
use crate::space::TestSpace;

/// A result that comes, from work that could wait for ever.
pub fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = channel();
    thread::spawn(move || done.send(work()));
    let result = result.recv_timeout(Duration::from_secs(60));
    result.expect("it waits for something that never comes")
}

pub fn make_pipe(path: &std::path::Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

fn remote(space: &TestSpace) -> Box<dyn Remote> {
    let url = format!("file://{}", space.path("lab").display());
    open(&url, &Options::default()).unwrap()
}

fn all(remote: &dyn Remote, name: &str) -> Result<Vec<u8>, RemoteError> {
    let mut bytes = Vec::new();
    let part = Part {
        from: 0,
        most: 1000,
    };
    remote.get(name, part, &mut bytes).map(|_| bytes)
}

#[test]
fn pipes_and_sockets_are_not_waited_for() {
    let space = TestSpace::new();
    space.write("lab/records/ab/ab12/other.json", "{}");
    make_pipe(&space.path(&format!("lab/{RECORD}")));
    let socket = space.path("lab/records/ab/ab12/socket.json");
    let _listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    let remote = remote(&space);
    in_time(move || {
        for name in [RECORD, "records/ab/ab12/socket.json", "records/ab/ab12"] {
            let error = failure(all(&*remote, name));
            assert!(error.to_string().contains("not a file"), "{error}");
            assert_eq!(remote.sizes(&[name.to_string()]).unwrap(), [None]);
        }
        assert_eq!(remote.list("records/ab/ab12").unwrap().len(), 3);
        remote.put(RECORD, Content::Bytes(b"{}")).unwrap();
        assert_eq!(all(&*remote, RECORD).unwrap(), b"{}");
    });
}

#[test]
fn links_lead_nowhere() {
    let space = TestSpace::new();
    let secret = space.write("home/secret", "secret");
    space.write("lab/objects/ab/plain", "plain");
    symlink(&secret, space.path("lab/objects/ab/link")).unwrap();
    symlink(space.path("home"), space.path("lab/objects/cd")).unwrap();
    symlink(space.path("home"), space.path("lab/records")).unwrap();
    let remote = remote(&space);
    for name in ["objects/ab/link", "objects/cd/secret", "records/secret"] {
        let error = failure(all(&*remote, name));
        assert!(error.to_string().contains("is a link"), "{error}");
        assert_eq!(remote.sizes(&[name.to_string()]).unwrap(), [None]);
    }
    assert_eq!(remote.list("objects/ab").unwrap(), ["plain"]);
    assert!(
        failure(remote.list("objects/cd"))
            .to_string()
            .contains("is a link")
    );
    for name in ["objects/cd/new", "records/ab/ab12/new.json"] {
        let refused = failure(remote.put(name, Content::Bytes(b"x")));
        assert!(refused.to_string().contains("is a link"), "{refused}");
        assert!(remote.create(name, b"x").is_err());
    }
    assert!(remote.remove("objects/cd/secret").is_err());
    // In place of a link, and not through it.
    remote.put("objects/ab/link", Content::Bytes(b"x")).unwrap();
    assert_eq!(all(&*remote, "objects/ab/link").unwrap(), b"x");
    assert_eq!(space.read("home/secret"), "secret");
    assert_eq!(fs::read_dir(space.path("home")).unwrap().count(), 1);
}

#[test]
fn what_killed_processes_left_is_removed_by_the_next_that_writes() {
    let space = TestSpace::new();
    let left = space.write("lab/tmp/0123456789abcdef01234567", "half");
    space.write("lab/tmp/probe-0123456789abcdef01234567", "one");
    // As another process has it that writes right now.
    let name = space.write("lab/tmp/76543210fedcba9876543210", "");
    let mut alive = fs::File::options().write(true).open(&name).unwrap();
    alive.lock().unwrap();
    let remote = remote(&space);
    remote.list("records").unwrap();
    assert!(left.exists(), "looking changes nothing");
    remote.put(RECORD, Content::Bytes(b"{}")).unwrap();
    alive.write_all(b"more").unwrap();
    let mut names = remote.list("tmp").unwrap();
    names.retain(|name| !name.starts_with("probe-"));
    assert_eq!(names, ["76543210fedcba9876543210"]);
}

#[test]
fn a_push_that_is_killed_leaves_what_the_next_one_removes() {
    let space = TestSpace::new();
    let content = vec![7; 64 << 20];
    let file = space.write("large", &content);
    space.write("lab/x", "");
    let tmp = space.path("lab/tmp");
    // A process of its own, which is killed while its file grows.
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new(program)
        .args([
            "--exact",
            "folder_remote::inner_push",
            "--ignored",
            "--nocapture",
        ])
        .env("RIBFLOW_TEST_PUSH", space.root())
        .spawn()
        .unwrap();
    let names = || fs::read_dir(&tmp).map_or(0, |entries| entries.count());
    in_time({
        let tmp = tmp.clone();
        move || while fs::read_dir(&tmp).map_or(0, |entries| entries.count()) == 0 {}
    });
    child.kill().unwrap();
    child.wait().unwrap();
    drop(file);
    remote(&space).put(RECORD, Content::Bytes(b"{}")).unwrap();
    assert_eq!(names(), 0);
}

/// Started by [`a_push_that_is_killed_leaves_what_the_next_one_removes`].
#[test]
#[ignore = "part of another test"]
fn inner_push() {
    let Some(root) = std::env::var_os("RIBFLOW_TEST_PUSH") else {
        return;
    };
    let root = std::path::PathBuf::from(root);
    let url = format!("file://{}", root.join("lab").display());
    let remote = open(&url, &Options::default()).unwrap();
    loop {
        let put = remote.put("objects/ab/large", Content::File(&root.join("large")));
        put.unwrap();
    }
}

#[test]
fn what_a_group_shares_stays_shared() {
    let space = TestSpace::new();
    fs::create_dir(space.path("lab")).unwrap();
    let shared = fs::Permissions::from_mode(0o2775);
    fs::set_permissions(space.path("lab"), shared).unwrap();
    let remote = remote(&space);
    remote.put(RECORD, Content::Bytes(b"{}")).unwrap();
    let name = "revocations/ab12/cd34.sig";
    remote.create(name, b"{}").unwrap();
    for folder in ["tmp", "records", "records/ab/ab12", "revocations/ab12"] {
        let mode = fs::metadata(space.path("lab").join(folder)).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o2775, "{folder}");
    }
}
