//! Isolated lines: what they reach of the machine, and what is refused.

use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::Ordering;

use ribflow::stages::task::TaskError;
use ribflow::store::artifact::Blobs;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use serde_json::{Value, json};

use super::{Bench, files, parse, problems};
use crate::space::TestSpace;

/// Tries everything that an isolated line must not do, and prints what it could do.
const REACH: &str = r#"
import json, os, socket, sys

with open("params.json") as file:
    p = json.load(file)
proc = "/proc/%d/" % p["process"]

def connect(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as end:
        end.connect(address)

def send(family, address):
    with socket.socket(family, socket.SOCK_DGRAM) as end:
        end.sendto(b"x", address)

def send_from_pair(address):
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    near.sendto(b"x", address)

actions = {
    "read": lambda: open(p["secret"]).read(),
    "list": lambda: os.listdir(p["folder"]),
    "create": lambda: open(p["folder"] + "/new", "w").close(),
    "append": lambda: open(p["secret"], "a").close(),
    "truncate": lambda: os.truncate(p["spare"], 0),
    "link": lambda: os.link(p["secret"], "linked"),
    "move": lambda: os.rename(p["spare"], "moved"),
    "home": lambda: os.listdir(p["home"]),
    "tcp": lambda: connect(socket.AF_INET, ("127.0.0.1", p["tcp"])),
    "udp": lambda: send(socket.AF_INET, ("127.0.0.1", p["udp"])),
    "unix": lambda: connect(socket.AF_UNIX, p["folder"] + "/stream"),
    "unix datagram": lambda: send(socket.AF_UNIX, p["folder"] + "/datagram"),
    "unix pair": lambda: send_from_pair(p["folder"] + "/datagram"),
    "abstract": lambda: connect(socket.AF_UNIX, "\0" + p["abstract"]),
    "environ": lambda: open(proc + "environ", "rb").read(),
    "mem": lambda: open(proc + "mem", "rb").close(),
    "root": lambda: os.listdir(proc + "root"),
    "cwd": lambda: os.listdir(proc + "cwd"),
    "descriptor": lambda: os.readlink(proc + "fd/2"),
}
with open("out/x", "w") as out:
    for name, action in actions.items():
        try:
            action()
            print(name, file=out)
        except OSError as error:
            print(name, error, file=sys.stderr)
"#;

/// All names of [`REACH`].
const ALL: [&str; 19] = [
    "read",
    "list",
    "create",
    "append",
    "truncate",
    "link",
    "move",
    "home",
    "tcp",
    "udp",
    "unix",
    "unix datagram",
    "unix pair",
    "abstract",
    "environ",
    "mem",
    "root",
    "cwd",
    "descriptor",
];

/// A folder with a file that no line declares, and servers.
struct Outside {
    bench: Bench,
    params: Value,
    _servers: (
        TcpListener,
        UdpSocket,
        UnixListener,
        UnixListener,
        UnixDatagram,
    ),
}

impl Outside {
    fn new() -> Self {
        let bench = Bench::new();
        bench.write("reach.py", REACH);
        bench.write("outside/secret", "secret");
        bench.write("outside/spare", "spare");
        let folder = bench.folder.path().join("outside");
        let name = format!("ribflow-test-{}-{:p}", std::process::id(), &*bench.log);
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let servers = (
            TcpListener::bind("127.0.0.1:0").unwrap(),
            UdpSocket::bind("127.0.0.1:0").unwrap(),
            UnixListener::bind(folder.join("stream")).unwrap(),
            UnixListener::bind_addr(&address).unwrap(),
            UnixDatagram::bind(folder.join("datagram")).unwrap(),
        );
        let params = json!({
            "folder": folder,
            "secret": folder.join("secret"),
            "spare": folder.join("spare"),
            "home": std::env::var("HOME").unwrap(),
            "process": std::process::id(),
            "tcp": servers.0.local_addr().unwrap().port(),
            "udp": servers.1.local_addr().unwrap().port(),
            "abstract": name,
        });
        Self {
            bench,
            params,
            _servers: servers,
        }
    }

    /// What `line`, which runs [`REACH`], could do.
    fn reached(&mut self, line: &str, settings: Value) -> Vec<String> {
        let mut with = json!({
            "run": line, "outputs": ["x"], "files": ["reach.py"], "params": self.params,
        });
        add(&mut with, settings);
        let outputs = self.bench.run(with).unwrap();
        let text = self.bench.store.read(&files(&outputs, "x")[""]).unwrap();
        let text = String::from_utf8(text).unwrap();
        text.lines().map(str::to_string).collect()
    }
}

fn add(with: &mut Value, settings: Value) {
    let settings = settings.as_object().unwrap().clone();
    with.as_object_mut().unwrap().extend(settings);
}

/// Whether this kernel can isolate a line. Under `RIBFLOW_TEST_ALL` it must.
fn can_isolate() -> bool {
    let with = json!({ "run": "true > out/x", "outputs": ["x"], "isolated": true });
    let Err(error) = Bench::new().run(with) else {
        return true;
    };
    let error = error.to_string();
    assert!(error.contains("the kernel has no Landlock"), "{error}");
    assert!(std::env::var_os("RIBFLOW_TEST_ALL").is_none(), "{error}");
    println!("skipped: {error}");
    false
}

#[test]
fn an_isolated_line_reaches_nothing_that_is_not_declared() {
    if !can_isolate() {
        return;
    }
    let mut outside = Outside::new();
    for line in [
        "python3 reach.py",
        // A grandchild in a session of its own.
        "sh -c 'setsid -w python3 reach.py; true' | cat",
    ] {
        let reached = outside.reached(line, json!({ "isolated": true }));
        assert!(reached.is_empty(), "{line}: {reached:?}");
    }
    let secret = outside.params["secret"].as_str().unwrap();
    assert_eq!(std::fs::read_to_string(secret).unwrap(), "secret");
    // The same line without isolation can do everything, so the refusals above mean something.
    assert_eq!(outside.reached("python3 reach.py", json!({})), ALL);
}

#[test]
fn the_network_is_that_of_ip_only() {
    if !can_isolate() {
        return;
    }
    let settings = json!({ "isolated": true, "network": true });
    let reached = Outside::new().reached("python3 reach.py", settings);
    assert_eq!(reached, ["tcp", "udp"]);
}

#[test]
fn what_is_declared_works_in_an_isolated_line() {
    if !can_isolate() {
        return;
    }
    let mut bench = Bench::new();
    let script = "\
import os, pathlib, socket, subprocess, tempfile, threading
near, far = socket.socketpair()
near.send(b'pair')
assert far.recv(4) == b'pair'
with tempfile.NamedTemporaryFile() as file:
    assert file.name.startswith(os.environ['TMPDIR'])
home = pathlib.Path.home()
assert home == pathlib.Path.cwd()
(home / '.cache').mkdir()
assert subprocess.check_output(['sh', '-c', 'echo child']) == b'child\\n'
thread = threading.Thread(target=print, args=('thread',))
thread.start()
thread.join()
assert os.cpu_count() and len(os.urandom(4)) == 4
print(open('words/a').read(), open('/proc/self/comm').read().strip())
";
    bench.write("use.py", script);
    let words = bench.tree(&[("a", "words")]);
    bench.give("words", words);
    let outputs = bench
        .run(json!({
            "run": "python3 use.py > out/x 2> /dev/null; cat <(echo substituted) >> out/x; mkdir out/y; \
                    mv out/x out/y/z; mv out/y/z out/x",
            "outputs": ["x"], "files": ["use.py"], "isolated": true,
        }))
        .unwrap();
    let text = bench.store.read(&files(&outputs, "x")[""]).unwrap();
    let text = String::from_utf8(text).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        matches!(lines[..], ["thread", second, "substituted"] if second.starts_with("words python")),
        "{text}"
    );
    let note = outputs.notes["isolation"].as_str().unwrap();
    assert!(
        note.starts_with("landlock abi ") && note.ends_with(", seccomp"),
        "{note}"
    );
}

#[test]
fn a_failure_lists_what_was_readable() {
    if !can_isolate() {
        return;
    }
    let mut bench = Bench::new();
    bench.write("secret", "secret");
    let secret = bench.folder.path().join("secret").display().to_string();
    let run = |bench: &mut Bench, settings: Value| {
        let mut with = json!({ "run": format!("cat {secret} out/x"), "outputs": ["x"] });
        add(&mut with, settings);
        bench.run(with).unwrap_err().to_string()
    };
    let error = run(&mut bench, json!({ "isolated": true }));
    for part in [
        "secret: Permission denied",
        "its own folder (also HOME), TMPDIR, ",
        " /bin, ",
        " /etc, ",
        " /usr, ",
        "/dev/null",
        "It had no network",
        "under `files` or `needs`",
    ] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    let error = run(&mut bench, json!({}));
    assert!(!error.contains("isolated"), "{error}");
}

#[test]
fn isolation_is_in_no_key_and_network_needs_it() {
    let plain = json!({ "run": "true > out/x", "outputs": ["x"] });
    let with = |settings: Value| {
        let mut with = plain.clone();
        add(&mut with, settings);
        with
    };
    for settings in [
        json!({ "isolated": true }),
        json!({ "isolated": true, "network": true }),
        json!({ "isolated": false }),
    ] {
        let with = with(settings);
        assert_eq!(parse(&with).canonical(), parse(&plain).canonical());
        assert!(problems(with, &[]).is_empty());
    }
    for network in [true, false] {
        let found = problems(with(json!({ "network": network })), &[]);
        assert_eq!(
            found,
            ["network: only an isolated line can be without network, and this one is not"]
        );
    }
}

#[test]
fn an_isolated_line_is_ended_with_all_that_it_started() {
    if !can_isolate() {
        return;
    }
    let mut bench = Bench::new();
    bench.cancelled.store(true, Ordering::Relaxed);
    let ended = bench.run(json!({
        "run": "setsid sleep 1000 & wait", "outputs": ["x"], "isolated": true,
    }));
    assert!(matches!(ended, Err(TaskError::Cancelled)), "{ended:?}");
}

/// A kernel without a part of isolation is a filter that refuses its system call.
#[test]
fn a_line_never_runs_without_its_isolation() {
    if !can_isolate() {
        return;
    }
    for (call, reason) in [
        (
            libc::SYS_landlock_create_ruleset,
            "the kernel has no Landlock",
        ),
        (
            libc::SYS_landlock_restrict_self,
            "the kernel refused Landlock",
        ),
        (libc::SYS_seccomp, "the kernel refused seccomp"),
    ] {
        let space = TestSpace::new();
        let ran = space.path("ran");
        space.write(
            "w.yaml",
            format!(
                "ribflow: 1\nname: w\nstages:\n  a: {{ use: command, with: {{ run: 'touch {}; true > out/x', \
                 outputs: [x], isolated: true }} }}\n",
                ran.display()
            ),
        );
        let filter = SeccompFilter::new(
            [(call, Vec::new())].into(),
            SeccompAction::Allow,
            SeccompAction::Errno(libc::ENOSYS as u32),
            std::env::consts::ARCH.try_into().unwrap(),
        );
        let filter = BpfProgram::try_from(filter.unwrap()).unwrap();
        let mut command = space.command(&["run", "w.yaml"]);
        // SAFETY: the closure makes system calls only.
        unsafe {
            command.pre_exec(move || {
                apply_filter(&filter).map_err(|_| std::io::Error::last_os_error())
            });
        }
        let outcome = space.finish(&mut command);
        let text = outcome.to_string();
        assert_ne!(outcome.code, Some(0), "{text}");
        assert!(text.contains("the command was not run"), "{text}");
        assert!(text.contains(reason), "{text}");
        assert!(!ran.exists());
    }
}

/// A file that ribflow was started with, without the mark that closes it.
#[test]
fn files_of_the_caller_are_closed() {
    if !can_isolate() {
        return;
    }
    let space = TestSpace::new();
    space.write("secret", "secret");
    for (isolated, code) in [(false, 0), (true, 1)] {
        space.write(
            "w.yaml",
            format!(
                "ribflow: 1\nname: w\nstages:\n  a: {{ use: command, with: {{ run: 'cat <&3 > out/x', \
                 outputs: [x], isolated: {isolated} }} }}\n"
            ),
        );
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec 3< secret; exec \"$0\" run w.yaml --force a"])
            .arg(env!("CARGO_BIN_EXE_ribflow"))
            .current_dir(space.root())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", space.path("home"));
        drop(space.finish(&mut command).expect(code));
    }
}
