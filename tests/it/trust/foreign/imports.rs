//! Imports that fail, stop or are killed: nothing of the bundle is there without the mark.

use super::*;

/// Whatever is in the folder: nothing of the bundle is there without the mark.
#[track_caller]
fn marked_or_empty(space: &TestSpace) {
    let folder = space.path("got");
    let names: Vec<String> = match fs::read_dir(&folder) {
        Ok(entries) => entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect(),
        Err(_) => return,
    };
    let is_marked = folder.join(".ribflow-import").exists();
    let is_idle = names.iter().all(|name| name == ".ribflow-import.lock");
    assert!(is_marked || is_idle, "{names:?}");
}

#[test]
fn an_import_that_can_not_note_it_leaves_nothing() {
    let space = TestSpace::new();
    space.write(
        "grid.ribbundle",
        bundle(&[("grid.yaml", &workflow(&space, PLAIN))]),
    );
    let import = ["import", "grid.ribbundle", "-o", "got"];
    // No folder can be made there.
    space.write("full", "");
    for (name, value) in [("XDG_DATA_HOME", Some("full")), ("HOME", None)] {
        let mut command = space.command(&import);
        match value {
            Some(path) => command.env(name, space.path(path)),
            None => command.env_remove(name),
        };
        let failed = space.finish(&mut command);
        assert!(matches!(failed.code, Some(1 | 2)), "{failed}");
        assert!(!space.path("got").exists(), "{failed}");
    }
    space.run(&import).ok();
    off(&space, space.run(&RUN));
}

#[test]
fn a_full_disk_leaves_no_command_that_runs() {
    let space = TestSpace::new();
    let (data, target) = (space.path("data"), space.path("small"));
    for (folder, size) in [(&data, "size=64k"), (&target, "size=1m")] {
        fs::create_dir(folder).unwrap();
        if !mount(folder, size) {
            eprintln!("skipped: a small file system can be mounted by root only");
            return;
        }
    }
    let _mounted = [Mounted(&data), Mounted(&target)];
    space.write(
        "grid.ribbundle",
        bundle(&[("grid.yaml", &workflow(&space, PLAIN))]),
    );
    let import = |output: &str| {
        let mut command = space.command(&["import", "grid.ribbundle", "-o", output]);
        space.finish(command.env("XDG_DATA_HOME", &data))
    };
    let run = |file: &str| {
        let mut command = space.command(&["run", file, "--json"]);
        space.finish(command.env("XDG_DATA_HOME", &data))
    };
    // The user's data folder is full.
    fill(&data);
    let failed = import("got").expect(1);
    assert!(failed.stderr.contains("No space left"), "{failed}");
    assert!(!space.path("got").exists());
    fs::remove_file(data.join("filling")).unwrap();
    // The folder of the import is, at every number of bytes that are left.
    for left in (0..24).map(|step| step * 4096) {
        fill(&target);
        let filling = target.join("filling");
        let length = fs::metadata(&filling).unwrap().len().saturating_sub(left);
        let file = fs::File::options().write(true).open(&filling).unwrap();
        file.set_len(length).unwrap();
        // What is open keeps its room.
        drop(file);
        let tried = import("small/got");
        if tried.code != Some(0) {
            let workflow = target.join("got/grid.yaml");
            if workflow.exists() {
                assert_ne!(run("small/got/grid.yaml").code, Some(0));
            }
            assert!(!space.path("ran").exists());
            fs::remove_file(&filling).unwrap();
            import("small/got").ok();
        } else {
            fs::remove_file(&filling).unwrap();
        }
        off(&space, run("small/got/grid.yaml"));
        fs::remove_dir_all(target.join("got")).unwrap();
    }
}

fn mount(folder: &Path, size: &str) -> bool {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(folder);
    let status = mount.stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// Leaves no byte on a small file system.
fn fill(folder: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(folder.join("filling")).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
}

#[test]
fn an_import_that_is_killed_anywhere_can_be_repeated() {
    let space = TestSpace::new();
    let text = workflow(&space, PLAIN);
    let files: Vec<(String, String)> = (0..20)
        .map(|number| (format!("tools/{number}.sh"), "x".repeat(1000)))
        .collect();
    let declared: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    let list = format!("files: [{}], outputs: [x]", declared.join(", "));
    let text = text.replace("outputs: [x]", &list);
    let mut all = vec![("grid.yaml", text.as_str())];
    all.extend(
        files
            .iter()
            .map(|(path, content)| (path.as_str(), content.as_str())),
    );
    space.write("grid.ribbundle", bundle(&all));
    let import = ["import", "grid.ribbundle", "-o", "got"];
    let started = std::time::Instant::now();
    space.run(&import).ok();
    let whole = started.elapsed();
    fs::remove_dir_all(space.path("got")).unwrap();
    const KILLS: u32 = 30;
    for kill in 0..KILLS {
        let mut child = space.command(&import);
        let child = child.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = child.spawn().unwrap();
        std::thread::sleep(whole * kill / KILLS + Duration::from_micros(u64::from(kill)));
        let _ = child.kill();
        child.wait().unwrap();
        marked_or_empty(&space);
        if space.path("got/grid.yaml").exists() {
            let outcome = space.run(&RUN);
            assert!(matches!(outcome.code, Some(1 | 2)), "{outcome}");
            assert!(!space.path("ran").exists(), "{outcome}");
        }
        let again = space.run(&import);
        // The one that was to be killed may have been done before.
        match again.code {
            Some(0) => {}
            _ => assert!(again.stderr.contains("is not empty"), "{kill}: {again}"),
        }
        let outcome = off(&space, space.run(&RUN));
        assert!(outcome.contains("came from elsewhere"), "{outcome}");
        assert_eq!(space.read("got/tools/19.sh").len(), 1000);
        fs::remove_dir_all(space.path("got")).unwrap();
    }
}

#[test]
fn an_import_that_stopped_says_so() {
    let space = TestSpace::new();
    imported(&space, &workflow(&space, PLAIN));
    let mark = space.read("got/.ribflow-import");
    space.write(
        "got/.ribflow-import",
        mark.replace("finished", "unfinished"),
    );
    for command in ["run", "plan", "status", "lock"] {
        let refused = space.run(&[command, "got/grid.yaml"]).expect(2);
        assert!(refused.stderr.contains("is incomplete"), "{refused}");
        assert!(refused.stderr.contains("ribflow import"), "{refused}");
    }
    let json = space.run(&RUN).expect(2).json();
    assert_eq!(json["errors"][0]["code"], Value::from("unfinished-import"));
    // Something that is not of this bundle is not written over.
    space.write("got/notes.txt", "mine");
    let import = ["import", "grid.ribbundle", "-o", "got"];
    let refused = space.run(&import).expect(2);
    assert!(refused.stderr.contains("notes.txt"), "{refused}");
    assert_eq!(space.read("got/notes.txt"), "mine");
    fs::remove_file(space.path("got/notes.txt")).unwrap();
    space.run(&import).ok();
    off(&space, space.run(&RUN));
}

/// The files are checked in a hidden folder that is gone by the time anybody reads the message.
#[test]
fn an_import_that_fails_names_the_files_where_they_would_be() {
    let space = TestSpace::new();
    let text = "ribflow: 1\nname: grid\nstages:\n  a: { use: datasett }\n";
    space.write("grid.ribbundle", bundle(&[("sub/grid.yaml", text)]));
    let import = ["import", "grid.ribbundle", "-o", "got"];
    let refused = space.run(&import).expect(2);
    assert!(refused.stderr.contains("got/sub/grid.yaml:4"), "{refused}");
    assert!(!refused.stderr.contains("import.new"), "{refused}");
    let json = space.run(&[&import[..], &["--json"]].concat()).expect(2);
    assert_eq!(json.json()["errors"][0]["file"], "got/sub/grid.yaml");
    // What can't be read is named so, too.
    space.write("grid.ribbundle", bundle(&[("sub/grid.yaml", "a: [")]));
    let refused = space.run(&import).expect(2);
    assert!(!refused.stderr.contains("import.new"), "{refused}");
    // A file that can't be written.
    let large = "x".repeat(5000);
    let files = [("grid.yaml", text), ("large", large.as_str())];
    space.write("grid.ribbundle", bundle(&files));
    let mut shell = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_ribflow");
    shell
        .args(["-c", "ulimit -f 1; exec \"$@\"", "sh", program])
        .args(import)
        .current_dir(space.root())
        .env("HOME", space.path("home"));
    let refused = space.finish(&mut shell).expect(1);
    assert!(
        refused.stderr.contains("got/large: File too large"),
        "{refused}"
    );
    assert!(!refused.stderr.contains("import.new"), "{refused}");
}
