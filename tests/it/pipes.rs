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
