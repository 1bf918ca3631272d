//! Paths that are no text: a file's name is any bytes but a slash and a zero.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use crate::space::TestSpace;

const WORKFLOW: &str = "\
ribflow: 1
name: small
stages:
  images: { use: dataset, with: { builtin: mini-rib, domain: v2, images: 20 } }
  said: { use: command, needs: { photos: images }, with: { run: \"ls photos | wc -l > out/said\", outputs: [said] } }
";

#[test]
fn a_store_whose_path_is_no_text_takes_what_workers_make() {
    let space = TestSpace::new();
    space.write("small.yaml", WORKFLOW);
    let store = space.root().join(OsStr::from_bytes(b"ca\xffche"));
    for (reused, ran) in [(0, 2), (2, 0)] {
        let mut command = space.command(&["run", "small.yaml", "--json"]);
        let told = space.finish(command.arg("--store").arg(&store)).expect(0);
        let summary = told.json_lines().pop().unwrap();
        assert_eq!(
            (&summary["ran"], &summary["reused"]),
            (&ran.into(), &reused.into()),
            "{told}"
        );
    }
    let mut get = space.command(&["get", "small.yaml", "said.said", "--json"]);
    let target = space.root().join(OsStr::from_bytes(b"g\xfft"));
    get.arg("--store").arg(&store).arg("-o").arg(&target);
    space.finish(&mut get).ok();
    assert!(target.exists());
}

#[test]
fn a_workflow_may_be_in_a_folder_whose_path_is_not_text() {
    let space = TestSpace::new();
    let project = space.root().join(OsStr::from_bytes(b"pro\xffject"));
    fs::create_dir(&project).unwrap();
    fs::write(project.join("small.yaml"), WORKFLOW).unwrap();
    for (reused, ran) in [(0, 2), (2, 0)] {
        let mut command = space.command(&["run", "small.yaml", "--json"]);
        let told = space.finish(command.current_dir(&project)).expect(0);
        let summary = told.json_lines().pop().unwrap();
        assert_eq!(
            (&summary["ran"], &summary["reused"]),
            (&ran.into(), &reused.into()),
            "{told}"
        );
    }
    // The receipt of a run that had nothing to do.
    let mut command = space.command(&["run", "small.yaml"]);
    space.finish(command.current_dir(&project)).ok();
}
