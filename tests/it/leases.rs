//! Locks between hosts: holders that are killed, suspended, or on a host of their own; a run that comes
//! back; file systems without `flock`; the change of a store's form.
//!
//! The other processes are this test binary, run again with a role in its environment. One in a
//! namespace of processes of its own counts as one of another host. Suites over claims, sessions and
//! cleaning run on leases as a whole with `RIBFLOW_CLAIMS=lease`.

use std::fs;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ribflow::digest::Digest;
use ribflow::fsx::lease::LASTS_VARIABLE;
use ribflow::store::{ClaimsForm, Store, StoreError};

use crate::space::TestSpace;
use crate::store::{clean_all, recipe, record};

const ROLE: &str = "RIBFLOW_TEST_LEASE_ROLE";
const PLACE: &str = "RIBFLOW_TEST_LEASE_STORE";
/// How long leases last here, in seconds. Six beats must come in it, also on a busy machine.
const SECONDS: &str = "3";

/// A store whose locks are leases, in `folder`.
fn leased(folder: &Path) -> Store {
    let root = folder.join("cache");
    drop(Store::open(&root).unwrap());
    Store::change_claims(&root, ClaimsForm::Lease, |_| false).unwrap();
    Store::open(&root).unwrap()
}

/// How another process sees this host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Host {
    This,
    /// A namespace of processes of its own.
    Other,
}

fn start(role: &str, root: &Path, host: Host) -> Child {
    let program = std::env::current_exe().unwrap();
    let mut command = match host {
        Host::This => Command::new(program),
        Host::Other => {
            let mut command = Command::new("unshare");
            command
                .args(["--pid", "--fork", "--kill-child"])
                .arg(program);
            command
        }
    };
    command
        .args(["--exact", "leases::other_process", "--nocapture"])
        .env(ROLE, role)
        .env(PLACE, root)
        .env(LASTS_VARIABLE, SECONDS)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test of its own: what the other processes do.
#[test]
fn other_process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let root = PathBuf::from(std::env::var_os(PLACE).unwrap());
    let store = Store::open(&root).unwrap();
    let (role, name) = role.split_once(' ').unwrap_or((&role, ""));
    let note = |word: &str| fs::write(root.join("notes").join(word), "").unwrap();
    match role {
        // Holds a claim, and publishes once it is asked to, if it holds the claim still.
        "hold" => {
            let claim = store.claim(&recipe("held").key()).unwrap().unwrap();
            let made = record(&store, "held", &[b"x"], 1.0);
            note("held");
            wait_until(|| root.join("notes/go").exists());
            note(if claim.is_held() { "kept" } else { "lost" });
            // As one that had looked just before it was suspended.
            store.publish(&[made]).unwrap();
            note("published");
        }
        "contend" => {
            let (inside, key) = (root.join("notes/inside"), recipe("contended").key());
            for _ in 0..60 {
                let claim = loop {
                    match store.claim(&key).unwrap() {
                        Some(claim) => break claim,
                        None => std::thread::sleep(Duration::from_millis(1)),
                    }
                };
                // A folder is made once, whatever a client caches.
                fs::create_dir(&inside).unwrap();
                fs::remove_dir(&inside).unwrap();
                drop(claim);
            }
        }
        "race" => {
            let mut seen = String::new();
            for index in 0..25 {
                let made = record(
                    &store,
                    &format!("race {index}"),
                    &[b"x"],
                    name.parse().unwrap(),
                );
                store.publish(std::slice::from_ref(&made)).unwrap();
                let chosen = store.chosen(&made.key).unwrap().unwrap();
                seen += &format!("{}\n", chosen.digest);
            }
            fs::write(root.join("notes").join(name), seen).unwrap();
        }
        "clean" => clean_all(&store),
        "flock" => {
            let locked = fs::File::open(root.join("store.json")).unwrap().try_lock();
            note(if locked.is_ok() { "locked" } else { "refused" });
        }
        _ => panic!("no role `{role}`"),
    }
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "nothing happened"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(child: &Child, signal: i32) {
    // SAFETY: a signal to a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A store with a folder for notes beside it.
struct Scene {
    _folder: tempfile::TempDir,
    store: Store,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = leased(folder.path());
        fs::create_dir(store.root().join("notes")).unwrap();
        Self {
            _folder: folder,
            store,
        }
    }

    fn holder(&self, host: Host) -> Child {
        let holder = start("hold", self.store.root(), host);
        wait_until(|| self.has("held"));
        assert!(self.store.claim(&key()).unwrap().is_none());
        holder
    }

    fn has(&self, note: &str) -> bool {
        self.store.root().join("notes").join(note).exists()
    }

    fn note(&self, word: &str) {
        fs::write(self.store.root().join("notes").join(word), "").unwrap();
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let names = fs::read_dir(self.store.root().join(folder)).unwrap();
        names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

fn key() -> Digest {
    recipe("held").key()
}

#[test]
fn a_holder_that_is_killed_on_this_host_has_no_lease_any_more() {
    let scene = Scene::new();
    let holder = scene.holder(Host::This);
    let known = scene.store.holder_of(&key()).unwrap();
    assert_eq!(known.pid, holder.id());
    end(holder);
    let claim = scene
        .store
        .claim(&key())
        .unwrap()
        .expect("it is free at once");
    assert!(claim.is_held() && scene.store.holder_of(&key()).is_some());
    drop(claim);
    assert!(scene.names("claims").is_empty());
    assert_eq!(scene.names("tmp").len(), 1, "its folder is swept");
}

#[test]
fn a_suspended_holder_that_comes_back_publishes_nothing_in_use() {
    let scene = Scene::new();
    let mut holder = scene.holder(Host::This);
    signal(&holder, libc::SIGSTOP);
    let mut claim = None;
    wait_until(|| {
        claim = scene.store.claim(&key()).unwrap();
        claim.is_some()
    });
    let ours = record(&scene.store, "held", &[b"y"], 2.0);
    let published = scene.store.publish(&[ours]).unwrap();
    drop(claim);
    scene.note("go");
    signal(&holder, libc::SIGCONT);
    assert!(holder.wait().unwrap().success());
    // It goes on as another process; what it publishes all the same is the second record.
    assert!(scene.has("lost") && scene.has("published"));
    let chosen = scene.store.chosen(&key()).unwrap().unwrap();
    assert_eq!(chosen.digest, published[0]);
    assert_eq!(scene.store.records(&key()).unwrap().len(), 2);
}

#[test]
fn a_holder_on_another_host_is_watched_before_it_counts_as_dead() {
    if !can("unshare", &["--pid", "--fork", "true"]) {
        return;
    }
    let scene = Scene::new();
    let holder = scene.holder(Host::Other);
    let lasts = Duration::from_secs_f64(SECONDS.parse().unwrap());
    // It beats.
    let until = Instant::now() + 2 * lasts;
    while Instant::now() < until {
        assert!(scene.store.claim(&key()).unwrap().is_none());
        std::thread::sleep(Duration::from_millis(20));
    }
    end(holder);
    assert!(
        scene.store.claim(&key()).unwrap().is_none(),
        "nobody knows yet"
    );
    clean_all(&scene.store);
    assert_eq!(scene.names("tmp").len(), 2, "nor a cleaning");
    let begun = Instant::now();
    wait_until(|| scene.store.claim(&key()).unwrap().is_some());
    assert!(begun.elapsed() > lasts / 2);
    assert_eq!(scene.names("tmp").len(), 1);
}

#[test]
fn a_run_that_was_suspended_takes_the_result_of_the_run_that_went_on() {
    let space = TestSpace::new();
    space.write(
        "w.yaml",
        "ribflow: 1\nname: w\nstages:\n  slow:\n    use: command\n    with: { run: \"sleep 2; \
         echo result > out/x\", outputs: [x] }\n",
    );
    let command = || {
        let mut command = space.command(&["run", "w.yaml"]);
        command
            .env("RIBFLOW_CLAIMS", "lease")
            .env(LASTS_VARIABLE, SECONDS);
        command
    };
    let first = command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let claims = space.path("cache/claims");
    let is_claim = |name: String| name.parse::<Digest>().is_ok();
    wait_until(|| {
        let names = fs::read_dir(&claims).into_iter().flatten();
        names
            .flatten()
            .any(|name| is_claim(name.file_name().into_string().unwrap()))
    });
    // The node runs.
    std::thread::sleep(Duration::from_millis(300));
    signal(&first, libc::SIGSTOP);
    let second = space.finish(&mut command()).expect(0);
    assert!(second.stdout.contains("1 ran"), "{second}");
    signal(&first, libc::SIGCONT);
    let output = first.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("claim on `slow` was lost"), "{said}");
    assert!(said.contains("1 reused"), "{said}");
    let store = Store::open(&space.path("cache")).unwrap();
    let keys = store.keys().unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(store.records(&keys[0]).unwrap().len(), 1);
}

#[test]
fn the_form_of_locks_changes_only_while_nothing_uses_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("cache");
    let change = |form| Store::change_claims(&root, form, |_| false);
    let users = |form| match change(form) {
        Err(StoreError::InUse { users, .. }) => users,
        other => panic!("{other:?}"),
    };
    drop(Store::open(&root).unwrap());
    for (now, next) in [
        (ClaimsForm::Flock, ClaimsForm::Lease),
        (ClaimsForm::Lease, ClaimsForm::Flock),
    ] {
        change(now).unwrap();
        let store = Store::open(&root).unwrap();
        assert_eq!(store.claims_form(), now);
        // A claim, a process that writes, a run.
        let claim = store.claim(&key()).unwrap().unwrap();
        assert!(
            users(next)
                .iter()
                .any(|user| user.contains(&key().to_hex()))
        );
        drop(claim);
        let (claimed, scratch) = (Store::open(&root).unwrap(), store.scratch().unwrap());
        assert!(
            users(next)
                .iter()
                .any(|user| user.starts_with("tmp/process-"))
        );
        drop((scratch, store));
        let run = root.join("runs/one");
        fs::create_dir_all(&run).unwrap();
        let other = Store::open(&root).unwrap();
        let lock = other.locks().acquire(&run.join("lock")).unwrap();
        assert!(
            users(next)
                .iter()
                .any(|user| user.starts_with("runs/one/lock"))
        );
        drop((lock, other));
        assert_eq!(Store::open(&root).unwrap().claims_form(), now);
        // One that had opened the store before uses it no more.
        change(next).unwrap();
        let error = claimed.scratch().unwrap_err().to_string();
        assert!(error.contains("is being changed"), "{error}");
        fs::remove_dir_all(run).unwrap();
    }
}

#[test]
fn an_interrupted_change_is_repeated_and_a_damaged_store_keeps_its_form() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("cache");
    let store = Store::open(&root).unwrap();
    let _claim = store.claim(&key()).unwrap().unwrap();
    let dies = || Store::change_claims(&root, ClaimsForm::Lease, |_| panic!("it dies"));
    catch_unwind(AssertUnwindSafe(dies)).unwrap_err();
    assert!(Store::is_changing(&root));
    assert!(matches!(
        Store::open(&root),
        Err(StoreError::ChangingClaims { .. })
    ));
    drop((_claim, store));
    Store::change_claims(&root, ClaimsForm::Lease, |_| false).unwrap();
    assert!(!Store::is_changing(&root));
    let path = root.join("store.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"format\": 1", "\"format\": 0", 1)).unwrap();
    assert!(matches!(
        Store::open(&root),
        Err(StoreError::DamagedDescription { .. })
    ));
    Store::give_identity(&root, Digest::of(b"new")).unwrap();
    assert_eq!(Store::open(&root).unwrap().claims_form(), ClaimsForm::Lease);
}

#[test]
fn the_command_shows_and_changes_the_form() {
    let space = TestSpace::new();
    let run = |arguments: &[&str]| space.run(&[&["cache", "claims"], arguments].concat());
    let store = Store::open(&space.path("cache")).unwrap();
    let adopted = space.run(&["cache", "adopt", "cache"]);
    adopted.ok();
    assert!(run(&[]).expect(0).stdout.starts_with("flock: "));
    let claim = store.claim(&key()).unwrap().unwrap();
    let refused = run(&["lease"]).expect(1);
    assert!(refused.stderr.contains("is in use: claims/"), "{refused}");
    drop((claim, store));
    run(&["lease"]).ok();
    assert_eq!(run(&["--json"]).expect(0).json()["claims"], "lease");
    let store = Store::open(&space.path("cache")).unwrap();
    let _scratch = store.scratch().unwrap();
    let shown = run(&[]).expect(0);
    let process = format!("(process {} on ", std::process::id());
    assert!(shown.stdout.contains(&process), "{shown}");
    // It beats, so the command does not watch it to the end.
    assert!(run(&["flock"]).expect(1).stderr.contains(&process));
}

/// Runs tests of this binary again, on stores of leases.
fn again(filters: &[&str], variables: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(filters)
        .args(["--nocapture", "--test-threads", "2"])
        .env("RIBFLOW_CLAIMS", "lease")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{failed}");
    said
}

#[test]
fn the_suites_over_locks_hold_with_leases() {
    let said = again(
        &[
            "store::processes::",
            "keep::clean::nothing_is_lost_beside_publishers",
            "keep::clean::killed_at_any_moment",
            "keep::clean::other_process",
            "engine::together::two_runs_at_once",
            "engine::together::killed_runs",
            "many::",
        ],
        &[],
    );
    assert!(said.contains("test result: ok. 12 passed"), "{said}");
}

/// With leases that are short, so that what died before it said whose it is goes soon.
#[test]
fn the_walks_over_faults_hold_with_leases() {
    let said = again(
        &[
            "faults::a_blob_survives",
            "faults::a_record_survives",
            "faults::a_cleaning_survives",
        ],
        &[(LASTS_VARIABLE, "0.05"), ("RIBFLOW_TEST_SPARSE", "15")],
    );
    print!("{said}");
    assert!(said.contains("test result: ok. 3 passed"), "{said}");
}

/// Whether a tool is there; prints a line if not. Under `RIBFLOW_TEST_ALL` that is a failure.
fn can(tool: &str, arguments: &[&str]) -> bool {
    let tried = Command::new(tool)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let can = tried.is_ok_and(|status| status.success());
    let all = std::env::var_os("RIBFLOW_TEST_ALL").is_some();
    assert!(can || !all, "`{tool}` can't be used here");
    if !can {
        println!("skipped: `{tool}` can't be used here");
    }
    can
}

/// Makes the kernel refuse `flock` to a command and all that it starts.
fn refuse_flock(command: &mut Command) {
    let statement = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let call = libc::SYS_flock as u32;
    let filter = [
        // The number of the call.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            jf: 1,
            ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call)
        },
        statement(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO | libc::ENOLCK as u32,
        ),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_ptr().cast_mut(),
        };
        // SAFETY: two system calls that read `program`, which lives until they return.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) == 0
        };
        match done {
            true => Ok(()),
            false => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: `install` only makes system calls.
    unsafe { command.pre_exec(install) };
}

#[test]
fn a_store_of_leases_works_where_flock_is_refused() {
    let space = TestSpace::new();
    space.write(
        "w.yaml",
        "ribflow: 1\nname: w\naxes: { n: [1, 2, 3] }\nstages:\n  made:\n    use: command\n    each: \
         [n]\n    with: { run: \"echo ${n} > out/x\", outputs: [x] }\n",
    );
    let run = |arguments: &[&str]| {
        let mut command = space.command(arguments);
        refuse_flock(command.env("RIBFLOW_CLAIMS", "lease"));
        space.finish(&mut command)
    };
    let ran = run(&["run", "w.yaml"]).expect(0);
    assert!(ran.stdout.contains("3 ran"), "{ran}");
    assert!(
        run(&["run", "w.yaml"])
            .expect(0)
            .stdout
            .contains("3 reused")
    );
    for arguments in [
        &["cache", "verify"][..],
        &["cache", "gc"],
        &["cache", "gc", "--older-than", "0s", "--max-size", "0B"],
        &["status", "w.yaml"],
        &["verify", "w.yaml", "--recompute", "all"],
    ] {
        let outcome = run(arguments);
        assert!(!outcome.stderr.contains("lock"), "{outcome}");
    }
    assert!(
        fs::read_dir(space.path("cache/claims"))
            .unwrap()
            .next()
            .is_none()
    );
    // Without leases nothing runs there.
    let mut command = space.command(&["run", "w.yaml", "--store", "other"]);
    refuse_flock(command.env("RIBFLOW_CLAIMS", "flock"));
    let refused = space.finish(&mut command);
    assert_ne!(refused.code, Some(0), "{refused}");
    // A store that was made elsewhere can be changed there.
    drop(Store::open(&space.path("other")).unwrap());
    run(&["cache", "claims", "lease", "--store", "other"]).ok();
    run(&["run", "w.yaml", "--store", "other"]).ok();
}

/// A folder that is mounted by a pass-through file system.
struct Mount {
    at: PathBuf,
    server: Child,
}

impl Mount {
    /// `bindfs` implements no `flock`: the kernel grants it in each mount alone. Names and attributes
    /// are cached for as long as an NFS client may cache them.
    fn new(folder: &Path, at: &Path) -> Self {
        fs::create_dir(at).unwrap();
        let server = Command::new("bindfs")
            .args(["-f", "-o", "attr_timeout=3,entry_timeout=3"])
            .args([folder, at])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mount = Self {
            at: at.to_path_buf(),
            server,
        };
        wait_until(|| at.join("mounted").exists());
        mount
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Two mounts of one folder, each with a namespace of processes of its own, stand for two hosts.
#[test]
fn two_mounts_without_flock_that_cache_attributes_share_a_store() {
    if !can("bindfs", &["--version"]) || !can("unshare", &["--pid", "--fork", "true"]) {
        return;
    }
    let space = tempfile::tempdir().unwrap();
    let folder = space.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("mounted"), "").unwrap();
    let mounts = ["one", "two"].map(|name| Mount::new(&folder, &space.path().join(name)));
    let at = |mount: usize| mounts[mount].at.join("cache");
    let store = leased(&mounts[0].at);
    fs::create_dir(store.root().join("notes")).unwrap();
    let there = |note: &str| folder.join("cache/notes").join(note);

    // `flock` would exclude nobody.
    let locked = fs::File::open(store.root().join("store.json")).unwrap();
    locked.lock().unwrap();
    assert!(
        start("flock", &at(1), Host::Other)
            .wait()
            .unwrap()
            .success()
    );
    assert!(there("locked").exists());
    drop(locked);

    let finish = |role: &dyn Fn(usize) -> String| {
        let both = [0, 1].map(|mount| start(&role(mount), &at(mount), Host::Other));
        for mut one in both {
            assert!(one.wait().unwrap().success());
        }
    };
    finish(&|_| "contend".to_string());
    finish(&|mount| format!("race {mount}"));
    let seen = [0, 1].map(|mount| fs::read_to_string(there(&mount.to_string())).unwrap());
    assert_eq!(seen[0], seen[1]);
    // One cleans while the other publishes: no record lacks its blobs.
    finish(&|mount| ["race 7", "clean"][mount].to_string());
    let below = Store::open(&folder.join("cache")).unwrap();
    for key in below.keys().unwrap() {
        for stored in below.records(&key).unwrap() {
            for port in stored.record.ports.values() {
                let artifact = below.artifact(port).unwrap();
                assert!(below.missing(&artifact).is_empty());
            }
        }
    }
    // The lease of a host that has died is taken over.
    let holder = start("hold", &at(1), Host::Other);
    wait_until(|| there("held").exists());
    assert!(store.claim(&key()).unwrap().is_none());
    end(holder);
    wait_until(|| store.claim(&key()).unwrap().is_some());
}
