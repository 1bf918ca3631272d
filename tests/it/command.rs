//! The `command` kind: what its folder holds, what is kept, and how it ends.

mod ignoring;
mod inside;
#[cfg(target_os = "linux")]
mod isolated;
mod outputs;
mod secrets;
mod shell;
mod stopping;
mod typed;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ribflow::contract::recipe::{Recipe, RecipeInput};
use ribflow::digest::Digest;
use ribflow::stages::registry;
use ribflow::stages::task::{Context, Outputs, Progress, TaskError, TaskInput};
use ribflow::store::artifact::{Artifact, Blobs, Dataset, Images, Part};
use ribflow::store::{StatCache, Store};
use ribflow::workflow::kind::{BoundInput, Parameters};
use serde_json::{Value, json};

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Progress for Log {
    fn advance(&self, _done: u64, _total: u64, _unit: &'static str) {}

    fn log(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_string());
    }
}

/// A store, a folder of scripts, and inputs.
struct Bench {
    folder: tempfile::TempDir,
    store: Store,
    inputs: BTreeMap<String, Vec<TaskInput>>,
    log: Arc<Log>,
    cancelled: Arc<AtomicBool>,
    grace: Duration,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("cache")).unwrap();
        Self {
            folder,
            store,
            inputs: BTreeMap::new(),
            log: Arc::default(),
            cancelled: Arc::default(),
            grace: Duration::from_secs(10),
        }
    }

    fn tree(&self, files: &[(&str, &str)]) -> Artifact {
        let keep = |(path, text): &(&str, &str)| {
            (path.to_string(), self.store.write(text.as_bytes()).unwrap())
        };
        Artifact::Files(files.iter().map(keep).collect())
    }

    fn give(&mut self, name: &str, artifact: Artifact) -> &mut Self {
        self.member(name, &[], artifact, Vec::new())
    }

    fn member(
        &mut self,
        name: &str,
        axes: &[(&str, &str)],
        artifact: Artifact,
        roots: Vec<PathBuf>,
    ) -> &mut Self {
        let axes = axes
            .iter()
            .map(|(axis, id)| (axis.to_string(), id.to_string()));
        self.inputs
            .entry(name.to_string())
            .or_default()
            .push(TaskInput {
                axes: axes.collect(),
                artifact,
                roots,
            });
        self
    }

    /// Resolves the sources of `with`, as an engine does, and runs it.
    fn run(&mut self, with: Value) -> Result<Outputs, TaskError> {
        let cache = StatCache::open(&self.store);
        for source in parse(&with).sources() {
            let resolved = cache.resolve(&source, self.folder.path()).unwrap();
            self.member(&source.name, &[], resolved.artifact, vec![resolved.root]);
        }
        let scratch = self.store.scratch().unwrap();
        let task = registry().task("command", &with).unwrap();
        let result = task
            .unwrap_or_else(|problems| panic!("{problems:?}"))
            .run(&mut Context {
                inputs: self.inputs.clone(),
                blobs: &self.store,
                scratch: scratch.path(),
                downloads: scratch.path(),
                environments: &self.store.environments(),
                locks: self.store.locks(),
                failed: Path::new("/proc/none"),
                threads: 1,
                device: candle_core::Device::Cpu,
                derived: Default::default(),
                progress: &*self.log,
                cancelled: &self.cancelled,
                grace: self.grace,
            });
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
        result
    }

    /// The one file that `with` leaves as its output `x`, as text.
    fn text(&mut self, run: &str) -> String {
        let outputs = self.run(json!({ "run": run, "outputs": ["x"] })).unwrap();
        let files = files(&outputs, "x");
        String::from_utf8(self.store.read(&files[""]).unwrap()).unwrap()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

fn parse(with: &Value) -> Box<dyn Parameters> {
    let registry = registry();
    let kind = registry.kinds().get("command").unwrap();
    kind.parse(with)
        .unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn files(outputs: &Outputs, port: &str) -> BTreeMap<String, Digest> {
    let Artifact::Files(files) = &outputs.ports[port] else {
        panic!("{port} holds no files");
    };
    let digests = files.files.iter();
    digests
        .map(|(path, blob)| (path.clone(), blob.digest))
        .collect()
}

/// What is wrong with `with`, given inputs of these names.
fn problems(with: Value, inputs: &[&str]) -> Vec<String> {
    let bound = |name: &&str| BoundInput {
        name: name.to_string(),
        members: vec![BTreeMap::new()],
    };
    let inputs: Vec<BoundInput> = inputs.iter().map(bound).collect();
    let found = parse(&with).check(&inputs).into_iter();
    found
        .map(|problem| {
            let place = problem.input.unwrap_or_else(|| problem.path.join("."));
            format!("{place}: {}", problem.message)
        })
        .collect()
}

#[test]
fn the_folder_holds_what_was_declared_and_nothing_else() {
    let mut bench = Bench::new();
    bench.write("tools/redraw.py", "print('hello')");
    let drawn = bench.tree(&[("a/one.txt", "1"), ("b", "2")]);
    let single = bench.tree(&[("", "alone")]);
    bench.give("drawn", drawn.clone()).give("single", single);
    let axes = [("method", "ft"), ("seed", "0")];
    bench.member("many", &axes, drawn.clone(), Vec::new());
    bench.member(
        "many",
        &[("method", "lp"), ("seed", "0")],
        drawn,
        Vec::new(),
    );
    let outputs = bench
        .run(json!({
            "run": "find . > $TMPDIR/list; sort $TMPDIR/list > out/x; cat single redraw.py >> out/x && python3 ./redraw.py >> out/x",
            "outputs": ["x"],
            "files": ["tools/redraw.py"],
        }))
        .unwrap();
    let listing = bench.store.read(&files(&outputs, "x")[""]).unwrap();
    insta::assert_snapshot!(String::from_utf8(listing).unwrap(), @r"
    .
    ./drawn
    ./drawn/a
    ./drawn/a/one.txt
    ./drawn/b
    ./many
    ./many/method=ft,seed=0
    ./many/method=ft,seed=0/a
    ./many/method=ft,seed=0/a/one.txt
    ./many/method=ft,seed=0/b
    ./many/method=lp,seed=0
    ./many/method=lp,seed=0/a
    ./many/method=lp,seed=0/a/one.txt
    ./many/method=lp,seed=0/b
    ./out
    ./redraw.py
    ./single
    aloneprint('hello')hello
    ");
    assert_eq!(
        files(&outputs, "all"),
        BTreeMap::from([("x".to_string(), files(&outputs, "x")[""])])
    );
}

#[test]
fn inputs_are_read_only_and_outputs_are_kept_by_name() {
    let mut bench = Bench::new();
    let tree = bench.tree(&[("a/one", "1")]);
    bench.give("tree", tree);
    let modes = bench.text("stat -c %a tree tree/a tree/a/one > out/x");
    assert_eq!(modes, "555\n555\n444\n");

    let outputs = bench
        .run(json!({
            "run": "mkdir -p out/drawings/cat && echo meow > out/drawings/cat/1 && cp out/drawings/cat/1 out/copy \
                    && ln -s ../tree/a/one out/link && echo lost > out/lost",
            "outputs": ["drawings", "copy", "link"],
        }))
        .unwrap();
    let names: Vec<String> = files(&outputs, "all").into_keys().collect();
    assert_eq!(names, ["copy", "drawings/cat/1", "link"]);
    assert_eq!(
        files(&outputs, "drawings")["cat/1"],
        files(&outputs, "copy")[""]
    );
    assert_eq!(
        bench.store.read(&files(&outputs, "link")[""]).unwrap(),
        b"1"
    );
    let log = bench.log.0.lock().unwrap();
    assert!(log.iter().any(|line| line.contains("out/lost")), "{log:?}");
}

#[test]
fn a_dataset_is_laid_out_as_class_folders() {
    let mut bench = Bench::new();
    let pixels = bench.store.write(&[7; 3 * 2 * 4 * 3]).unwrap();
    let part = Part {
        axes: BTreeMap::new(),
        images: Images::Packed {
            pixels,
            height: 2,
            width: 4,
            labels: vec![1, 0, 1],
        },
    };
    bench.give(
        "photos",
        Artifact::Dataset(Dataset {
            clause: None,
            classes: vec!["cat".to_string(), "dog".to_string()],
            parts: vec![part],
        }),
    );
    let listing = bench.text(
        "find photos -type f | sort > out/x; head -c 4 photos/cat/000001.png | tail -c 3 >> out/x",
    );
    assert_eq!(
        listing,
        "photos/cat/000001.png\nphotos/dog/000000.png\nphotos/dog/000002.png\nPNG"
    );
}

#[test]
fn the_environment_is_cleared_but_for_what_is_declared() {
    let mut bench = Bench::new();
    let names = bench.text("env | cut -d= -f1 | sort > out/x");
    // What docs/kinds.md lists as the node's cores.
    let threads = [
        "RIBFLOW_THREADS",
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "RAYON_NUM_THREADS",
        "POLARS_MAX_THREADS",
        "JULIA_NUM_THREADS",
    ];
    for name in threads {
        assert_eq!(
            bench.text(&format!("echo ${name} > out/x")),
            "1\n",
            "{name}"
        );
    }
    for name in names.lines().filter(|name| !threads.contains(name)) {
        let known = [
            "PATH",
            "LD_LIBRARY_PATH",
            "HOME",
            "USER",
            "LOGNAME",
            "CUDA_VISIBLE_DEVICES",
            "LANG",
            "TZ",
            "TMPDIR",
            "PWD",
            "OLDPWD",
            "SHLVL",
            "_",
        ];
        assert!(known.contains(&name), "{name} is passed on");
    }
    let with = json!({ "run": "echo $CARGO_MANIFEST_DIR > out/x", "outputs": ["x"], "env": ["CARGO_MANIFEST_DIR"] });
    let outputs = bench.run(with.clone()).unwrap();
    let text = bench.store.read(&files(&outputs, "x")[""]).unwrap();
    assert_eq!(
        text.trim_ascii_end(),
        std::env::var("CARGO_MANIFEST_DIR").unwrap().as_bytes()
    );
    // The value enters the key as a source, the name alone says nothing.
    assert_eq!(
        parse(&with).canonical(),
        json!({ "run": with["run"], "outputs": ["x"] })
    );
}

/// The key and the outcome of version 2 for good: if this changes, the version must rise.
#[test]
fn golden_key_and_outcome() {
    let mut bench = Bench::new();
    bench.write("tools/shout.sh", "tr a-z A-Z");
    let words = bench.tree(&[("", "words")]);
    bench.give("words", words);
    let with = json!({
        "run": "sh shout.sh < words > out/loud; mkdir out/more; echo $CARGO_PKG_NAME > out/more/name",
        "outputs": ["loud", "more"],
        "files": ["tools/shout.sh"],
        "env": ["CARGO_PKG_NAME"],
    });
    let outputs = bench.run(with.clone()).unwrap();
    let inputs = bench.inputs.iter().map(|(name, members)| {
        let digest = |member: &TaskInput| RecipeInput {
            axes: member.axes.clone(),
            digest: Digest::of(&member.artifact.to_bytes()),
        };
        (name.clone(), members.iter().map(digest).collect())
    });
    let registry = registry();
    let recipe = Recipe {
        kind: "command".to_string(),
        version: registry.kinds().get("command").unwrap().version(),
        with: parse(&with).canonical(),
        inputs: inputs.collect(),
        device: None,
    };
    let mut lines = vec![format!("key {}", recipe.key())];
    for (name, artifact) in &outputs.ports {
        lines.push(format!("{name} {}", Digest::of(&artifact.to_bytes())));
    }
    insta::assert_snapshot!(lines.join("\n"), @"
    key 14835fe113e1efcef97fed994d78754222b6091e6286f1742016b20cf1df4582
    all fdd3d73475dda8a38e2c9ed4bb8c8ff340aac191ebae8bd2b2264592e217fbd7
    loud e9d522d8d1cd572baaf74e6c790e70100340879b603c6a54f9c2052c91d7d306
    more ab5c15d12077c8bf88b13424faf6cf597e82b8bf187626e511364570db0c1031
    ");
}

#[test]
fn failures_say_what_happened() {
    let mut bench = Bench::new();
    let mut message = |run: &str| {
        let with = json!({ "run": run, "outputs": ["x"] });
        bench.run(with).unwrap_err().to_string()
    };
    assert_eq!(
        message("printf 'one\\rtwo\\nthree'; exit 3"),
        "the command ended with exit code 3\n  two\n  three"
    );
    assert_eq!(
        message("kill -9 $$"),
        "the command was killed by signal 9; it printed nothing"
    );
    assert_eq!(message("true"), "the command did not create `out/x`");
}

#[test]
fn nothing_is_left_running() {
    let mut bench = Bench::new();
    let background = bench.text("sleep 1000 & echo $! > out/x");
    wait_for_end(background.trim());

    let (log, cancelled) = (Arc::clone(&bench.log), Arc::clone(&bench.cancelled));
    let canceller = std::thread::spawn(move || {
        let lines = loop {
            let lines = log.0.lock().unwrap().clone();
            if lines.len() == 2 {
                break lines;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        cancelled.store(true, Ordering::Relaxed);
        lines
    });
    let run = "echo $$; sleep 1000 & echo $!; sleep 1000";
    let result = bench.run(json!({ "run": run, "outputs": ["x"] }));
    assert!(matches!(result, Err(TaskError::Cancelled)));
    for pid in canceller.join().unwrap() {
        wait_for_end(&pid);
    }
}

const ROLE: &str = "RIBFLOW_TEST_COMMAND";

/// Not a test of its own: a process that runs a line until it is killed.
#[test]
fn other_process() {
    if let Some(pids) = std::env::var_os(ROLE) {
        let run = format!(
            "sleep 1000 & echo $$ $! > {0}.new; mv {0}.new {0}; wait",
            pids.display()
        );
        let _ = Bench::new().run(json!({ "run": run, "outputs": ["x"] }));
    }
}

#[test]
fn a_line_does_not_outlive_the_process_that_runs_it() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let mut other = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "command::other_process"])
        .env(ROLE, &pids)
        .env("TMPDIR", folder.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !pids.exists() {
        assert!(other.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    other.kill().unwrap();
    other.wait().unwrap();
    for pid in std::fs::read_to_string(&pids).unwrap().split_whitespace() {
        wait_for_end(pid);
    }
}

/// Signals take a moment, and a process that its new parent has not reaped yet is a zombie.
fn wait_for_end(pid: &str) {
    let stat = Path::new("/proc").join(pid).join("stat");
    for _ in 0..6000 {
        match std::fs::read_to_string(&stat) {
            Ok(text) if !text.contains(") Z ") => std::thread::sleep(Duration::from_millis(10)),
            _ => return,
        }
    }
    panic!("process {pid} lives on");
}

#[test]
fn what_leaves_the_folder_or_clashes_is_refused_when_the_file_is_read() {
    insta::assert_debug_snapshot!([
        problems(json!({ "run": " ", "outputs": [] }), &[]),
        problems(json!({ "run": "x", "outputs": ["../up", "/abs", "a/b", "all", "x", "x", "1"] }), &[]),
        problems(json!({ "run": "x", "outputs": ["x"], "files": ["a/f.py", "b/f.py", "..", "dir/", "sub/out"] }), &[]),
        problems(json!({ "run": "x", "outputs": ["x"], "env": ["HF_TOKEN", "A-B", "LANG"] }), &[]),
        problems(json!({ "run": "x", "outputs": ["x"], "files": ["photos"] }), &["out", "photos", "fine"]),
    ], @r#"
    [
        [
            "run: the line is empty",
            "outputs: a command needs at least one output",
        ],
        [
            "outputs.0: `../up` is a path: an output is a name, and its file is `out/NAME`",
            "outputs.1: `/abs` is a path: an output is a name, and its file is `out/NAME`",
            "outputs.2: `a/b` is a path: an output is a name, and its file is `out/NAME`",
            "outputs.3: `all` is the name of all outputs together",
            "outputs.5: `x` is listed twice",
            "outputs.6: `1` is not a valid name: use letters, digits, `_`, `.`, `+` and `-`, not starting with a digit",
        ],
        [
            "files.1: two files are called `f.py`",
            "files.2: `..` does not name a file",
            "files.4: a file can't be called `out`: outputs go there",
        ],
        [
            "env.1: `A-B` is not a valid name of an environment variable",
            "env.0: `HF_TOKEN` is named like a credential, but values under `env` enter the key",
        ],
        [
            "out: an input can't be called `out`: outputs go there",
            "photos: a file under `files` is also called `photos`",
        ],
    ]
    "#);
}
