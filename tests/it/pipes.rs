//! Named pipes where data should be: refused by name, and not waited for.

use std::fs;

use crate::folder_remote::{in_time, make_pipe};
use crate::space::{Outcome, TestSpace};

fn run(space: TestSpace, words: &'static [&'static str]) -> Outcome {
    in_time(move || space.run(words))
}

#[test]
fn a_pipe_among_images_is_named() {
    for place in ["data/cat/b.jpg", "data/cat/deep/b.png"] {
        let space = TestSpace::new();
        space.write("data/cat/a.jpg", "x");
        let pipe = space.path(place);
        fs::create_dir_all(pipe.parent().unwrap()).unwrap();
        make_pipe(&pipe);
        space.write(
            "w.yaml",
            "ribflow: 1\nname: w\nstages:\n  a: { use: dataset, with: { folder: data } }\n",
        );
        let outcome = run(space, &["run", "w.yaml"]);
        assert_ne!(outcome.code, Some(0), "{outcome}");
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(said.contains(place) && said.contains("file"), "{said}");
    }
}

#[test]
fn a_pipe_in_place_of_a_checkpoint_is_named() {
    for link in [false, true] {
        let space = TestSpace::new();
        let name = if link { "pipe" } else { "model.safetensors" };
        make_pipe(&space.path(name));
        if link {
            let place = space.path("model.safetensors");
            std::os::unix::fs::symlink(space.path(name), place).unwrap();
        }
        space.write(
            "w.yaml",
            "ribflow: 1\nname: w\nstages:\n  a: { use: checkpoint, with: { arch: vit_mini, path: \
             model.safetensors } }\n",
        );
        let outcome = run(space, &["run", "w.yaml"]);
        assert_ne!(outcome.code, Some(0), "{outcome}");
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(said.contains("model.safetensors"), "{said}");
    }
}

#[test]
fn a_pipe_in_place_of_a_bundle_is_named() {
    let space = TestSpace::new();
    make_pipe(&space.path("grid.ribbundle"));
    let outcome = run(space, &["import", "grid.ribbundle", "-o", "grid"]);
    assert_ne!(outcome.code, Some(0), "{outcome}");
    assert!(outcome.stderr.contains("a named pipe"), "{outcome}");
}

/// What a user's own folders should hold decides whether commands run and whose word counts.
#[test]
fn a_pipe_among_the_users_own_files_is_named() {
    let text = "ribflow: 1\nname: w\nstages:\n  a: { use: command, with: { run: \"echo > out/x\", \
                outputs: [x] } }\n";
    const RUN: &[&str] = &["run", "w.yaml"];
    const KEYS: &[&str] = &["key", "list"];
    const REMOTE: &[&str] = &["run", "w.yaml", "--remote", "./elsewhere"];
    const TRUST: &[&str] = &["trust", "list"];
    let sig = format!("revocations/{0}/{0}.sig", "ab".repeat(32));
    for (place, words) in [
        (".local/share/ribflow/imported", RUN),
        (".local/share/ribflow/keys/me.key", KEYS),
        (&format!(".local/share/ribflow/{sig}"), REMOTE),
        (".config/ribflow/config.yaml", TRUST),
    ] {
        let space = TestSpace::new();
        space.write("w.yaml", text);
        let pipe = space.path("home").join(place);
        fs::create_dir_all(pipe.parent().unwrap()).unwrap();
        make_pipe(&pipe);
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&pipe, fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir_all(space.path("elsewhere")).unwrap();
        let outcome = run(space, words);
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        let file = place.rsplit('/').next().unwrap();
        assert!(said.contains(file), "{said}");
        assert!(said.contains("a named pipe"), "{said}");
    }
}

#[test]
fn a_pipe_in_a_store_or_a_report_is_not_waited_for() {
    let text = "ribflow: 1\nname: w\nstages:\n  a: { use: command, with: { run: \"echo > out/x\", \
                outputs: [x] } }\n";
    let space = TestSpace::new();
    space.write("w.yaml", text);
    for _ in 0..2 {
        space.run(&["run", "w.yaml"]).ok();
    }
    let files = ["out/w/provenance.json", "out/w/report.html"];
    for file in files {
        fs::remove_file(space.path(file)).unwrap();
        make_pipe(&space.path(file));
    }
    let store = fs::read_dir(space.path("cache")).unwrap();
    let indexes = store.map(|entry| entry.unwrap().path()).filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        path.is_dir() && name.starts_with("index.")
    });
    for index in indexes {
        for entry in fs::read_dir(index).unwrap() {
            let path = entry.unwrap().path();
            fs::remove_file(&path).unwrap();
            make_pipe(&path);
        }
    }
    run(space, &["run", "w.yaml"]).ok();
}
