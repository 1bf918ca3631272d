//! Many at once: coordinators of two users, some of which leave their nodes to workers that join,
//! garbage collection, push and pull on one store, with `kill -9` throughout.
//!
//! `RIBFLOW_TEST_MANY=600` runs for 600 seconds instead of 20, `RIBFLOW_CLAIMS=lease` on a store of leases.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ribflow::digest::Digest;
use ribflow::rng::Stream;
use ribflow::store::gc::GcOptions;
use ribflow::store::{Blobs, ClaimsForm, Store};

use crate::faults::space::age;
use crate::servers::is_root;
use crate::space::TestSpace;

const COORDINATORS: u64 = 8;
/// These coordinators, one of each user, leave their nodes to workers.
const WAITING: [u64; 2] = [6, 7];
const NODES: [&str; 9] = ["a-1", "a-2", "a-3", "a-4", "b-1", "b-2", "b-3", "b-4", "c"];
/// Two users of one group.
const USERS: [u32; 2] = [64_001, 64_002];
const GROUP: u32 = 64_000;
/// A coordinator that waits for workers is killed within so many milliseconds.
const PATIENCE: u64 = 5000;
/// A round of new nodes begins this often.
const ROUND: Duration = Duration::from_secs(2);
const DAY: Duration = Duration::from_secs(86_400);

/// A node takes a mark with the process that coordinates it. A node that finds the mark of another
/// one while that process lives was started beside it.
const SCRIPT: &str = r#"
name="${params.round}-NODE"
mark="TRACE/$name"
own="TRACE/own-$BASHPID-$RANDOM$RANDOM"
state() { cut -d ' ' -f "$2" "/proc/$1/stat" 2>/dev/null || echo none; }
mkdir -m 777 "$own"
state "$PPID" 4 > "$own/holder"
if ! mv -T "$own" "$mark" 2>/dev/null; then
  sleep 0.1
  holder=$(cat "$mark/holder" 2>/dev/null || echo none)
  case $(state "$holder" 2-3) in '(ribflow-copy) '[RSD]) echo "$name" >> TRACE/twice ;; esac
  rm -rf "$mark"
  mv -T "$own" "$mark"
fi
echo "$name" >> TRACE/ran
sleep 0.05
echo "result of $name" > out/result
rm -r "$mark"
"#;

struct Lab {
    space: TestSpace,
    program: PathBuf,
    begun: Instant,
    /// Runs that ended by themselves, and that were killed.
    ended: AtomicUsize,
    killed: AtomicUsize,
    /// Workers that were killed, and coordinators that are at work.
    workers: AtomicUsize,
    coordinators: AtomicUsize,
}

impl Lab {
    fn new() -> Self {
        let space = TestSpace::new();
        let program = space.program();
        let root = space.root();
        fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
        let lab = Self {
            space,
            program,
            begun: Instant::now(),
            ended: AtomicUsize::new(0),
            killed: AtomicUsize::new(0),
            workers: AtomicUsize::new(0),
            coordinators: AtomicUsize::new(COORDINATORS as usize),
        };
        lab.folder("trace", 0, 0o777);
        for name in ["ran", "twice"] {
            let path = root.join("trace").join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        }
        for (index, _) in USERS.iter().enumerate() {
            lab.folder(&format!("home-{index}"), index, 0o755);
        }
        for place in 0..COORDINATORS {
            let name = place.to_string();
            lab.folder(&name, lab.user(place), 0o755);
            fs::write(root.join(&name).join("w.yaml"), lab.workflow()).unwrap();
        }
        lab.folder("cache", 0, 0o2775);
        lab.folder("other", 0, 0o755);
        lab
    }

    fn folder(&self, name: &str, user: usize, mode: u32) {
        let path = self.space.path(name);
        fs::create_dir(&path).unwrap();
        if is_root() {
            chown(&path, Some(USERS[user]), Some(GROUP)).unwrap();
        }
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }

    fn user(&self, place: u64) -> usize {
        (place % 2) as usize
    }

    fn workflow(&self) -> String {
        let trace = self.space.path("trace");
        let script = |node: &str| {
            let script = SCRIPT.replace("TRACE", &trace.display().to_string());
            script.replace("NODE", node).replace('\n', "\n        ")
        };
        format!(
            "ribflow: 1\nname: many\nparams: {{ round: 0 }}\naxes: {{ n: [1, 2, 3, 4] }}\nstages:\n  \
             a:\n    each: [n]\n    use: command\n    with:\n      outputs: [result]\n      run: |{}\n  \
             b:\n    each: [n]\n    use: command\n    needs: {{ before: a.result }}\n    \
             with:\n      outputs: [result]\n      run: |{}\n  \
             c:\n    use: command\n    needs: {{ before: 'b[*].result' }}\n    with:\n      \
             outputs: [result]\n      run: |{}\n",
            script("a-${n}"),
            script("b-${n}"),
            script("c"),
        )
    }

    /// The program as one of the users, in the folder of a coordinator.
    fn command(&self, place: u64, store: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        let user = self.user(place);
        command
            .args(arguments)
            .args(["--store", &self.space.path(store).display().to_string()])
            .args(["--out", "out"])
            .current_dir(self.space.path(&place.to_string()))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(std::env::var_os("RIBFLOW_CLAIMS").map(|form| ("RIBFLOW_CLAIMS", form)))
            .env("HOME", self.space.path(&format!("home-{user}")))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if is_root() {
            command.uid(USERS[user]).gid(GROUP);
        }
        command
    }

    /// Runs it to its end; returns its standard error.
    fn finish(&self, command: &mut Command) -> String {
        let output = command.stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command:?}: {said}");
        said
    }

    fn round(&self) -> u64 {
        self.begun.elapsed().as_secs() / ROUND.as_secs()
    }

    /// Runs the rounds; every other run is killed at a random moment.
    fn coordinate(&self, place: u64, end: Instant) {
        let mut chance = Stream::new(place, "kills");
        while Instant::now() < end {
            let set = format!("params.round={}", self.round());
            let mut command = self.command(place, "cache", &["run", "w.yaml", "--set", &set]);
            let waits = WAITING.contains(&place);
            if waits {
                command.args(["--executor", "joined"]);
            }
            if !waits && chance.below(2) == 0 {
                self.finish(&mut command);
                self.ended.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let mut run = command.stderr(Stdio::null()).spawn().unwrap();
            let within = if waits { PATIENCE } else { 600 };
            let killed = Instant::now() + Duration::from_millis(chance.below(within));
            while Instant::now() < killed && run.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = run.kill();
            let ended = run.wait().unwrap();
            assert!(matches!(ended.code(), None | Some(0)), "{ended}");
            let counter = if ended.success() {
                &self.ended
            } else {
                &self.killed
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.coordinators.fetch_sub(1, Ordering::Relaxed);
    }

    /// Workers of a user that join the newest run that has left a plan, and are killed.
    fn work(&self, place: u64) {
        let mut chance = Stream::new(place, "workers");
        while self.coordinators.load(Ordering::Relaxed) > 0 {
            let join = ["worker", "--join", "--idle", "1s", "--threads", "1"];
            let mut command = self.command(place, "cache", &join);
            let mut worker = command.stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(500 + chance.below(2000)));
            let _ = worker.kill();
            worker.wait().unwrap();
            self.workers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Removes everything that no record names, however young, as a collection with no grace does.
    fn collect(&self, end: Instant) -> usize {
        let store = Store::open(&self.space.path("cache")).unwrap();
        let mut gone = 0;
        while Instant::now() < end {
            let options = GcOptions {
                before: SystemTime::now() - DAY,
                most: None,
                grace: Duration::ZERO,
                dry_run: false,
            };
            gone += store
                .clean(&options, || Ok(Vec::new()))
                .unwrap()
                .blobs
                .count;
            std::thread::sleep(Duration::from_millis(50));
        }
        gone
    }

    /// Pushes what is there to a remote, and pulls it into another store.
    fn exchange(&self, end: Instant) {
        while Instant::now() < end {
            let set = format!("params.round={}", self.round().saturating_sub(1));
            let push = ["push", "w.yaml", "--set", &set, "--remote", "lab"];
            let pull = ["pull", "w.yaml", "--set", &set, "--remote", "lab"];
            // A round that no run has finished, or that nobody has begun, is no success.
            let mut push = self.command(0, "cache", &push);
            let pushed = push.stderr(Stdio::piped()).output().unwrap();
            let mut pull = self.command(0, "other", &pull);
            let pulled = pull.stderr(Stdio::piped()).output().unwrap();
            for output in [pushed, pulled] {
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(matches!(output.status.code(), Some(0 | 1)), "{said}");
                assert!(!said.contains("damaged"), "{said}");
            }
        }
    }

    /// Blobs with the contents that the nodes are about to make, old enough to be collected.
    fn plant(&self, rounds: u64) {
        let store = Store::open(&self.space.path("cache")).unwrap();
        for round in 0..rounds {
            for node in NODES {
                let content = format!("result of {round}-{node}\n");
                let blob = store.write(content.as_bytes()).unwrap();
                let path = crate::store::object(&store, &blob.digest);
                let file = File::open(path).unwrap();
                file.set_modified(SystemTime::now() - 40 * DAY).unwrap();
            }
        }
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = self.space.read(&format!("trace/{name}"));
        text.lines().map(str::to_string).collect()
    }
}

fn seconds() -> u64 {
    let given = std::env::var("RIBFLOW_TEST_MANY").ok();
    given.map_or(20, |text| text.parse().expect("a number of seconds"))
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

#[test]
fn many_coordinators_collections_and_exchanges_share_a_store() {
    let lab = Lab::new();
    let rounds = seconds() / ROUND.as_secs() + 1;
    lab.plant(rounds);
    lab.finish(&mut lab.command(0, "cache", &["key", "generate", "--name", "lab"]));
    let remote = format!("file://{}", lab.space.path("0/lab").display());
    lab.finish(&mut lab.command(0, "cache", &["remote", "add", "lab", &remote, "--write"]));
    let end = Instant::now() + Duration::from_secs(seconds());
    let gone = std::thread::scope(|scope| {
        for place in 0..COORDINATORS {
            let lab = &lab;
            scope.spawn(move || lab.coordinate(place, end));
        }
        for place in WAITING {
            let lab = &lab;
            scope.spawn(move || lab.work(place));
        }
        scope.spawn(|| lab.exchange(end));
        let collector = scope.spawn(|| lab.collect(end));
        collector.join().unwrap()
    });
    // What is missing is made, by either user, and every result is what it should be.
    let last = lab.round();
    for round in 0..=last {
        let set = format!("params.round={round}");
        lab.finish(&mut lab.command(
            round % COORDINATORS,
            "cache",
            &["run", "w.yaml", "--set", &set],
        ));
    }
    lab.finish(&mut lab.command(1, "cache", &["cache", "verify"]));
    lab.finish(&mut lab.command(0, "other", &["cache", "verify"]));
    let store = Store::open(&lab.space.path("cache")).unwrap();
    for round in 0..=last {
        for node in NODES {
            let content = format!("result of {round}-{node}\n");
            let digest = Digest::of(content.as_bytes());
            assert_eq!(store.read(&digest).unwrap(), content.as_bytes());
        }
    }
    let ran = lab.lines("ran");
    let distinct: BTreeSet<&String> = ran.iter().collect();
    let counters = [&lab.ended, &lab.killed, &lab.workers];
    let [ended, killed, workers] = counters.map(|counter| counter.load(Ordering::Relaxed));
    println!(
        "many: {ended} runs ended, {killed} and {workers} workers were killed, {} nodes of {} were started, {gone} blobs \
         were collected",
        ran.len(),
        distinct.len(),
    );
    assert_eq!(lab.lines("twice"), Vec::<String>::new());
    assert_eq!(distinct.len(), NODES.len() * (last as usize + 1));
    assert!(ended > 0 && killed > 0 && workers > 0 && gone > 0);
    // A minute later each user's next process removes what that user's killed ones have left.
    let tmp = store.root().join("tmp");
    for user in 0..2 {
        age(&tmp, false);
        let set = format!("params.round={}", last + 1 + user);
        lab.finish(&mut lab.command(user, "cache", &["run", "w.yaml", "--set", &set]));
    }
    // This process has the store open, too.
    let left = fs::read_dir(&tmp).unwrap().flatten();
    // Where locks are leases, a process that died before it said whose folder it has made is watched
    // for longer.
    let is_leased = store.claims_form() == ClaimsForm::Lease;
    let left: Vec<PathBuf> = left
        .map(|entry| entry.path())
        .filter(|path| !is_leased || count(path) > 0)
        .collect();
    assert!(left.len() <= 1, "{left:?}");
    lab.finish(&mut lab.command(0, "cache", &["cache", "gc"]));
    assert_eq!(count(&store.root().join("claims")), 0);
}
