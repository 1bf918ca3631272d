//! `runner`: the environment of commands, with uv as it is.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ribflow::digest::Digest;
use ribflow::fetch::partial::Partial;
use ribflow::fsx::Lock;
use ribflow::store::Store;
use ribflow::store::gc::GcOptions;

use crate::servers::tool;
use crate::space::{Outcome, TestSpace};
use crate::store::clean_all;

const PROJECT: &str = r#"[project]
name = "tiny"
version = "0"
requires-python = ">=3.9"
dependencies = ["six==1.17.0"]
"#;

/// What `uv lock` writes for [`PROJECT`].
const LOCK: &str = r#"version = 1
requires-python = ">=3.9"

[[package]]
name = "six"
version = "1.17.0"
source = { registry = "https://pypi.org/simple" }
sdist = { url = "https://files.pythonhosted.org/packages/94/e7/b2c673351809dca68a0e064b6af791aa332cf192da575fd474ed7d6f16a2/six-1.17.0.tar.gz", hash = "sha256:ff70335d468e7eb6ec65b95b99d3a2836546063f63acc5171de367e834932a81", size = 34031 }
wheels = [
    { url = "https://files.pythonhosted.org/packages/b7/ce/149a00dd41f10bc29e5921b496af8b574d8413afcd5e30dfa0ed46c2cc5e/six-1.17.0-py2.py3-none-any.whl", hash = "sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274", size = 11050 },
]

[[package]]
name = "tiny"
version = "0"
source = { virtual = "." }
dependencies = [
    { name = "six" },
]

[package.metadata]
requires-dist = [{ name = "six", specifier = "==1.17.0" }]
"#;

const WORKFLOW: &str = r#"ribflow: 1
name: w
runner: [uv, run, --locked]
axes: { n: [1, 2, 3] }
stages:
  open:
    each: [n]
    use: command
    with:
      run: |
        python -c 'import six, os; print(six.__version__, ${n}, os.environ["UV_PYTHON_DOWNLOADS"])' > out/x
        if touch "$VIRTUAL_ENV/lib/new" && [ "$(id -u)" != 0 ]; then exit 1; fi
      outputs: [x]
  shut:
    each: [n]
    use: command
    with:
      run: |
        python -c 'import six; print(six.__version__, ${n})' > out/x
        echo "$HOME" > out/home
        if cat "$FILE" > /dev/null || touch "$VIRTUAL_ENV/new"; then exit 1; fi
      outputs: [x]
      env: [FILE]
      isolated: true
  bare:
    use: command
    with: { run: "printf %s \"$${VIRTUAL_ENV:-none}\" > out/x", outputs: [x], runner: [] }
"#;

/// uv, and a space with the project and the workflow.
fn ready() -> Option<(PathBuf, TestSpace)> {
    let how = "python3 -m venv target/test-tools/venv && target/test-tools/venv/bin/pip install uv";
    let uv = tool(&["uv"], how)?;
    let space = TestSpace::new();
    space.write("pyproject.toml", PROJECT);
    space.write("uv.lock", LOCK);
    space.write("w.yaml", WORKFLOW);
    Some((uv, space))
}

/// Runs the program with uv in `PATH`, and with what reaches the package index on this machine.
pub fn with_uv(uv: &Path, space: &TestSpace, arguments: &[&str]) -> Outcome {
    let folder = uv.parent().unwrap().canonicalize().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let network = [
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "HTTPS_PROXY",
        "https_proxy",
    ];
    let network = network.iter().filter_map(|name| {
        let value = std::env::var_os(name)?;
        Some((*name, value))
    });
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools/uv-cache");
    let mut command = space.command(arguments);
    command
        .env("PATH", format!("{}:{path}", folder.display()))
        .env("UV_CACHE_DIR", cache)
        .env("FILE", space.path("w.yaml"))
        .envs(network);
    space.finish(&mut command)
}

fn text_of(space: &TestSpace, uv: &Path, node: &str) -> String {
    let _ = fs::remove_dir_all(space.path("got"));
    with_uv(uv, space, &["get", "w.yaml", node, "-o", "got"]).ok();
    let all = [
        space.path("got/x"),
        space.path("got/all/x"),
        space.path("got"),
    ];
    let file = all.iter().find(|path| path.is_file()).unwrap();
    fs::read_to_string(file).unwrap()
}

/// The folder of the only environment.
fn environment(space: &TestSpace) -> PathBuf {
    let entries = fs::read_dir(space.path("cache/environments")).unwrap();
    let mut folders = entries
        .map(|it| it.unwrap().path())
        .filter(|it| it.is_dir());
    folders.next().unwrap()
}

#[test]
fn a_damaged_environment_is_built_again() {
    let Some((uv, space)) = ready() else { return };
    with_uv(&uv, &space, &["run", "w.yaml", "open[n=1]", "-q"]).ok();
    let packages = environment(&space).join("env/lib");
    let entries = fs::read_dir(&packages).unwrap();
    let mut files = entries.map(|it| it.unwrap().path().join("site-packages/six.py"));
    let six = files.find(|it| it.is_file()).unwrap();
    let whole = fs::read(&six).unwrap();
    let damages: [&dyn Fn(); 2] = [
        // The file may be a link to that of uv's cache.
        &|| {
            fs::remove_file(&six).unwrap();
            fs::write(&six, "__version__ = 'damaged'\n").unwrap();
        },
        &|| fs::remove_file(&six).unwrap(),
    ];
    for damage in damages {
        let folder = six.parent().unwrap();
        fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        damage();
        let again = ["run", "w.yaml", "open[n=1]", "--force", "open[n=1]", "-q"];
        with_uv(&uv, &space, &again).ok();
        assert_eq!(text_of(&space, &uv, "open[n=1]").trim(), "1.17.0 1 never");
        assert_eq!(fs::read(&six).unwrap(), whole);
        let log = with_uv(&uv, &space, &["logs", "w.yaml", "open[n=1]"]).expect(0);
        let line = "site-packages/six.py`, and is built again";
        assert!(log.stdout.contains(line), "{log}");
    }
}

#[test]
fn an_environment_is_built_once_and_then_used_without_network() {
    let Some((uv, space)) = ready() else { return };
    let first = with_uv(&uv, &space, &["run", "w.yaml"]).expect(0);
    assert!(
        first.stderr.contains("7 ran") || first.stdout.contains("7 ran"),
        "{first}"
    );
    let logs = fs::read_dir(space.path("cache/runs")).unwrap();
    let logs = logs.flat_map(|run| fs::read_dir(run.unwrap().path().join("logs")).unwrap());
    let logs: String = logs
        .map(|log| fs::read_to_string(log.unwrap().path()).unwrap())
        .collect();
    assert_eq!(logs.matches("built the environment").count(), 1, "{logs}");
    let built: Vec<_> = fs::read_dir(space.path("cache/environments"))
        .unwrap()
        .collect();
    assert_eq!(built.len(), 1);
    assert_eq!(text_of(&space, &uv, "open[n=2]").trim(), "1.17.0 2 never");
    assert_eq!(text_of(&space, &uv, "shut[n=3]").trim(), "1.17.0 3");
    assert_eq!(text_of(&space, &uv, "bare"), "none");
    let provenance = space.read("out/w/provenance.json");
    assert!(provenance.contains("\"runner\": \"uv ") || provenance.contains("\"runner\":\"uv "));
    assert!(provenance.contains(", CPython 3."), "{provenance}");

    // What decides no package is in no key.
    let described = PROJECT.replace("version = \"0\"", "version = \"0\"\ndescription = \"d\"");
    space.write("pyproject.toml", described);
    let same = with_uv(&uv, &space, &["run", "w.yaml"]).expect(0);
    assert!(same.to_string().contains("7 reused"), "{same}");

    // Another lock file is.
    space.write("uv.lock", LOCK.replace(", size = 34031", ""));
    let why = with_uv(&uv, &space, &["why", "w.yaml", "open[n=1]"]).expect(0);
    assert!(why.stdout.contains("would run: runner.lock: "), "{why}");
    let newer = LOCK.replace("version = \"1.17.0\"", "version = \"1.18.0\"");
    space.write("uv.lock", newer);
    let why = with_uv(&uv, &space, &["why", "w.yaml", "open[n=1]"]).expect(0);
    assert!(
        why.stdout.contains("runner.lock: six 1.17.0 → 1.18.0"),
        "{why}"
    );
    let plan = with_uv(&uv, &space, &["plan", "w.yaml"]).expect(0);
    assert!(plan.stdout.contains("6 nodes would run"), "{plan}");
}

#[test]
fn an_environment_that_can_not_be_built_says_why() {
    let Some((uv, space)) = ready() else { return };
    let failed = |space: &TestSpace| {
        let outcome = with_uv(&uv, space, &["run", "w.yaml", "open[n=1]"]).expect(1);
        outcome.to_string()
    };
    space.write(
        "pyproject.toml",
        PROJECT.replace("six==1.17.0", "six==1.16.0"),
    );
    let outdated = failed(&space);
    assert!(
        outdated.contains("the environment of `runner` was not built"),
        "{outdated}"
    );
    assert!(
        outdated.contains("needs to be updated, but `--locked`"),
        "{outdated}"
    );
    assert!(outdated.contains("run `uv lock`"), "{outdated}");
    let left = fs::read_dir(space.path("cache/environments")).unwrap();
    assert_eq!(left.count(), 0);

    fs::remove_file(space.path("uv.lock")).unwrap();
    let plan = space.run(&["plan", "w.yaml"]);
    assert!(
        plan.to_string()
            .contains("`uv lock` writes `uv.lock` beside `pyproject.toml`"),
        "{plan}"
    );

    space.write("uv.lock", LOCK);
    let mut command = space.command(&["run", "w.yaml", "open[n=1]"]);
    let absent = space.finish(command.env("PATH", "/usr/bin:/bin")).expect(1);
    assert!(
        absent
            .to_string()
            .contains("PATH has no `uv`, the program of `runner`"),
        "{absent}"
    );
}

/// The example with a method of one's own, on its smallest profile: its models are evaluated,
/// compared and judged like those of other methods.
#[test]
fn a_method_of_ones_own_is_in_the_tables_of_the_others() {
    let Some((uv, space)) = ready() else { return };
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/own-method");
    for name in [
        "own-method.yaml",
        "claims.yaml",
        "images.py",
        "ridge.py",
        "numpy/uv.lock",
        "numpy/pyproject.toml",
    ] {
        space.write(name, fs::read(example.join(name)).unwrap());
    }
    let run = |arguments: &[&str]| {
        let arguments = [arguments, &["own-method.yaml", "--profile", "small"]].concat();
        with_uv(&uv, &space, &arguments)
    };
    // Isolated, so that it needs what the kernel of CI has.
    let shown = run(&["run"]).expect(0).stdout;
    let line = shown.lines().find(|line| line.starts_with("mine "));
    assert!(
        line.is_some_and(|line| line.split_whitespace().count() >= 5),
        "{shown}"
    );
    let verified = run(&["verify", "--json"]).json();
    assert_eq!(verified["claims"][0]["verdict"], "difference_only");
    let results = space.read("out/own-method-small/results.json");
    let results: serde_json::Value = serde_json::from_str(&results).unwrap();
    let nodes = results["nodes"].as_array().unwrap();
    let of = |stage: &str| {
        let nodes = nodes
            .iter()
            .filter(|node| node["id"].as_str().unwrap().starts_with(stage));
        nodes
            .filter(|node| node["id"].as_str().unwrap().contains("method=mine"))
            .count()
    };
    assert_eq!(
        [of("accuracy["), of("shift["), of("robustness[")],
        [4, 2, 1]
    );
}

/// The folder, the runner and the environment of a session are those of the run.
#[test]
fn a_shell_sees_what_the_line_saw() {
    let Some((uv, space)) = ready() else { return };
    let line = "ls > out/listed; env | cut -d= -f1 | sort > out/names; python -c 'import six' && echo 1 > \
                out/six";
    space.write(
        "w.yaml",
        format!(
            "ribflow: 1\nname: w\nrunner: [uv, run, --locked]\nstages:\n  first: {{ use: command, with: \
             {{ run: echo 1 > out/x, outputs: [x], runner: [] }} }}\n  a:\n    use: command\n    needs: {{ \
             input: first }}\n    with:\n      files: [own.txt]\n      params: {{ lr: 0.1 }}\n      run: \
             {line}\n      outputs: [listed, names, six]\n"
        ),
    );
    space.write("own.txt", "mine");
    let early = with_uv(&uv, &space, &["shell", "w.yaml", "a", "--", "true"]).expect(1);
    assert!(early.stderr.contains("first has no result yet"), "{early}");
    assert!(
        early
            .stderr
            .contains("`ribflow run w.yaml first` computes it"),
        "{early}"
    );
    with_uv(&uv, &space, &["run", "w.yaml", "-q"]).ok();
    with_uv(&uv, &space, &["get", "w.yaml", "a", "-o", "got"]).ok();

    let shell = [
        "shell", "w.yaml", "a", "--keep", "kept", "--", "bash", "-c", line,
    ];
    let outcome = with_uv(&uv, &space, &shell).expect(0);
    assert!(outcome.stderr.contains("other than in a run:"), "{outcome}");
    for name in ["listed", "names", "six"] {
        let [run, session] =
            ["got", "kept/out"].map(|folder| space.read(&format!("{folder}/{name}")));
        let session: Vec<&str> = session.lines().filter(|line| *line != "OLDPWD").collect();
        let run: Vec<&str> = run.lines().filter(|line| *line != "OLDPWD").collect();
        assert_eq!(run, session, "{name}");
    }
    assert_eq!(space.read("kept/own.txt"), "mine");

    // A place that can't take the folder is refused before anything runs.
    let marker = space.path("marker").display().to_string();
    for (place, exit) in [("cache/inside", 2), ("/proc/none", 1)] {
        let shell = [
            "shell", "w.yaml", "a", "--keep", place, "--", "touch", &marker,
        ];
        let _ = with_uv(&uv, &space, &shell).expect(exit);
        assert!(!space.path("marker").exists(), "{place}");
    }

    // The exit code counts, and nothing is left.
    let failed = with_uv(
        &uv,
        &space,
        &[
            "shell",
            "w.yaml",
            "a",
            "-q",
            "--",
            "sh",
            "-c",
            "pwd; exit 3",
        ],
    );
    let failed = failed.expect(3);
    let folder = failed
        .stdout
        .lines()
        .next()
        .unwrap()
        .replace("$SPACE", space.root().to_str().unwrap());
    assert!(!Path::new(&folder).exists());
    let other = "ribflow: 1\nname: w\nstages:\n  d: { use: dataset, with: { builtin: mini-rib, domain: r } }\n";
    space.write("d.yaml", other);
    let refused = space.run(&["shell", "d.yaml", "d"]).expect(2);
    assert!(
        refused.stderr.contains("d is a node of `dataset`"),
        "{refused}"
    );
}

#[test]
fn a_wrong_runner_is_shown_at_its_place() {
    let space = TestSpace::new();
    let stage = |runner: &str| {
        space.write(
            "w.yaml",
            format!(
                "ribflow: 1\nname: w\nrunner: {runner}\nstages:\n  a:\n    use: command\n    with: \
                 {{ run: 'true', outputs: [x] }}\n"
            ),
        );
        space.run(&["validate", "w.yaml"]).expect(2)
    };
    for (runner, words) in [
        (
            "[uv, run, --locked, --with, six]",
            ["`--with` is not an option of a runner", "w.yaml:3:29"],
        ),
        (
            "uv run --locked",
            ["a list is expected here, not the text", "w.yaml:3:9"],
        ),
        (
            "[apptainer, exec, 'docker://python:3.12']",
            ["may be another image tomorrow", "w.yaml:3:27"],
        ),
    ] {
        let shown = stage(runner).stderr;
        assert!(words.iter().all(|word| shown.contains(word)), "{shown}");
    }
}

/// A program without a meaning of its own: its words are in front of the shell and in the key.
#[test]
fn any_program_can_stand_before_the_shell() {
    let space = TestSpace::new();
    let file = |runner: &str| {
        format!(
            "ribflow: 1\nname: w\nstages:\n  a:\n    use: command\n    with:\n      \
             runner: {runner}\n      files: [wrap.sh]\n      run: echo \"$WRAPPED\" > out/x\n      \
             outputs: [x]\n"
        )
    };
    space.write(
        "wrap.sh",
        "#!/bin/sh\nexport WRAPPED=$1\nshift\nexec \"$@\"\n",
    );
    space.write("w.yaml", file("[./wrap.sh, one word]"));
    space.run(&["run", "w.yaml", "-q"]).ok();
    space.run(&["get", "w.yaml", "a", "-o", "got"]).ok();
    assert_eq!(space.read("got/x"), "one word\n");
    space.write("w.yaml", file("[./wrap.sh, two]"));
    let why = space.run(&["why", "w.yaml", "a"]).expect(0);
    assert!(why.stdout.contains("with.runner: "), "{why}");
}

#[test]
fn a_field_for_commands_without_commands_is_a_warning() {
    let space = TestSpace::new();
    space.write(
        "w.yaml",
        "ribflow: 1\nname: w\nrunner: [uv, run, --locked]\nstages:\n  a: { use: checkpoint, with: \
         { path: m.safetensors, arch: vit_mini } }\n",
    );
    let outcome = space.run(&["validate", "w.yaml"]);
    assert!(
        outcome.to_string().contains("no stage takes `runner`"),
        "{outcome}"
    );
}

#[test]
fn cleaning_takes_environments_that_no_node_has_used() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("cache")).unwrap();
    let old = SystemTime::now() - Duration::from_secs(100 * 86400);
    let fill = |name: &str, used: SystemTime| {
        let folder = store.environments().join(name);
        fs::create_dir_all(folder.join("env")).unwrap();
        for (file, time) in [("env/python", old), ("used", used)] {
            fs::write(folder.join(file), "12345").unwrap();
            let file = File::options().write(true).open(folder.join(file)).unwrap();
            file.set_modified(time).unwrap();
        }
        folder
    };
    let (unused, recent) = (fill("aa", old), fill("bb", SystemTime::now()));
    let options = GcOptions {
        before: SystemTime::now() - Duration::from_secs(30 * 86400),
        most: None,
        grace: Duration::from_secs(3600),
        dry_run: false,
    };
    let report = store.clean(&options, || Ok(Vec::new())).unwrap();
    assert_eq!(
        (report.environments.count, report.environments.bytes),
        (1, 10)
    );
    assert!(!unused.exists() && recent.exists());
}

/// A node may begin to use an environment after a cleaning has listed it; here the cleaning looks at runs
/// in between.
#[test]
fn cleaning_leaves_an_environment_that_a_node_has_just_begun_to_use() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("cache")).unwrap();
    let old = SystemTime::now() - Duration::from_secs(100 * 86400);
    let environment = store.environments().join("aa");
    fs::create_dir_all(&environment).unwrap();
    let mark = environment.join("used");
    let set = |time: SystemTime| {
        let file = File::options().write(true).open(&mark).unwrap();
        file.set_modified(time).unwrap();
    };
    fs::write(&mark, "").unwrap();
    set(old);
    let options = GcOptions {
        before: SystemTime::now() - Duration::from_secs(30 * 86400),
        most: None,
        grace: Duration::from_secs(3600),
        dry_run: false,
    };
    let uses = || {
        set(SystemTime::now());
        Ok(Vec::new())
    };
    store.clean(&options, uses).unwrap();
    assert!(mark.exists());
    // Being built: its lock is held.
    set(old);
    let lock = Lock::acquire(&environment.with_extension("lock")).unwrap();
    store.clean(&options, || Ok(Vec::new())).unwrap();
    assert!(mark.exists());
    drop(lock);
    store.clean(&options, || Ok(Vec::new())).unwrap();
    assert!(!environment.exists());
}

/// Of a download and of a blob that is fetched, in parts; both have their lock beside them.
#[test]
fn cleaning_leaves_what_is_being_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("cache")).unwrap();
    let old = SystemTime::now() - Duration::from_secs(100 * 86400);
    let download = Partial::open(&store.downloads(), store.locks(), "https://h/x")
        .unwrap()
        .unwrap();
    let blobs = store.downloads().join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    let blob = blobs.join(Digest::of(b"blob").to_hex());
    for path in [&download.file(), &blob] {
        fs::write(path, "half").unwrap();
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(old)
            .unwrap();
    }
    let lock = Lock::acquire(&blob.with_extension("lock")).unwrap();
    clean_all(&store);
    assert!(download.file().exists() && blob.exists());
    let file = download.file();
    drop((download, lock));
    clean_all(&store);
    assert!(!file.exists() && !blob.exists());
}
