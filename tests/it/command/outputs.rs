//! What is kept of `out/`: files with their executable bit, folders that hold nothing, what links
//! lead to; and what is refused, with the reason.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ribflow::store::artifact::{Artifact, Files};
use ribflow::store::export::export;
use serde_json::json;

use super::Bench;
use crate::space::TestSpace;

/// What a line leaves in the output `x`.
fn tree(bench: &mut Bench, run: &str) -> Files {
    let outputs = bench.run(json!({ "run": run, "outputs": ["x"] })).unwrap();
    match &outputs.ports["x"] {
        Artifact::Files(files) => files.clone(),
        other => panic!("{other:?}"),
    }
}

/// `path` and whether it may be run, empty folders with a slash.
fn listing(files: &Files) -> Vec<String> {
    let named = files
        .files
        .iter()
        .map(|(path, file)| match file.executable {
            true => format!("{path}*"),
            false => path.clone(),
        });
    let folders = files.empty_folders.iter().map(|path| format!("{path}/"));
    named.chain(folders).collect()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn files_keep_their_executable_bit_and_folders_their_place() {
    let mut bench = Bench::new();
    let run = "mkdir -p out/x/bin out/x/empty/inner; echo data > out/x/data; \
               printf '#!/bin/sh\\necho hi\\n' > out/x/bin/hi; chmod 755 out/x/bin/hi; \
               echo > out/x/group; chmod 654 out/x/group";
    let kept = tree(&mut bench, run);
    // As for git, what counts is the owner's bit.
    assert_eq!(listing(&kept), ["bin/hi*", "data", "group", "empty/inner/"]);

    // The next command finds them as they were, read-only.
    bench.give("tool", Artifact::Files(kept.clone()));
    let seen = bench.text(
        "PATH=$PWD/tool/bin:$PATH; hi > out/x; stat -c '%a %n' tool/bin/hi tool/data >> out/x; \
         find tool -type d -empty >> out/x",
    );
    assert_eq!(
        seen,
        "hi\n555 tool/bin/hi\n444 tool/data\ntool/empty/inner\n"
    );

    // So does whoever takes them out.
    let target = bench.folder.path().join("got");
    export(&bench.store, &Artifact::Files(kept), &[], &target).unwrap();
    assert_eq!(mode(&target.join("bin/hi")) & 0o500, 0o500);
    assert_eq!(mode(&target.join("data")) & 0o111, 0);
    assert!(target.join("empty/inner").is_dir());
}

#[test]
fn all_outputs_together_keep_them_too() {
    let mut bench = Bench::new();
    let outputs = bench
        .run(json!({
            "run": "mkdir out/nothing; echo > out/tool; chmod +x out/tool",
            "outputs": ["nothing", "tool"],
        }))
        .unwrap();
    let listings: BTreeMap<&str, Vec<String>> = outputs
        .ports
        .iter()
        .map(|(name, artifact)| match artifact {
            Artifact::Files(files) => (name.as_str(), listing(files)),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(listings["nothing"], ["/"]);
    assert_eq!(listings["tool"], ["*"]);
    assert_eq!(listings["all"], ["tool*", "nothing/"]);

    // An output that is an empty folder is one for the next command and for `get`.
    bench.give("nothing", outputs.ports["nothing"].clone());
    assert_eq!(bench.text("find nothing -type d > out/x"), "nothing\n");
}

#[test]
fn links_inside_the_folder_count_as_what_they_lead_to() {
    let mut bench = Bench::new();
    let input = bench.tree(&[("a/one", "1")]);
    bench.give("input", input);
    // As in a virtual environment: `lib64` is a link to `lib`.
    let run = "mkdir -p out/x/lib/python out/x/bin; echo p > out/x/lib/python/p; \
               ln -s lib out/x/lib64; ln -s \"$PWD/out/x/lib/python\" out/x/absolute; \
               ln -s ../../../input/a out/x/bin/a; ln -s lib64 out/x/twice";
    assert_eq!(
        listing(&tree(&mut bench, run)),
        [
            "absolute/p",
            "bin/a/one",
            "lib/python/p",
            "lib64/python/p",
            "twice/python/p"
        ]
    );
    // The output itself, and `out` as long as it stays inside.
    let run = "mkdir kept; echo 1 > kept/one; ln -s ../kept out/x";
    assert_eq!(listing(&tree(&mut bench, run)), ["one"]);
    let run = "mkdir -p kept/x; echo 1 > kept/x/one; rmdir out; ln -s kept out";
    assert_eq!(listing(&tree(&mut bench, run)), ["one"]);
}

#[test]
fn what_can_not_be_kept_is_refused_with_the_reason() {
    let mut bench = Bench::new();
    bench.write("elsewhere/secret", "s");
    let elsewhere = bench.folder.path().join("elsewhere");
    let elsewhere = elsewhere.canonicalize().unwrap();
    let elsewhere = elsewhere.display();
    let mut message = |run: &str| {
        let with = json!({ "run": run, "outputs": ["x"] });
        bench.run(with).unwrap_err().to_string()
    };
    let outside = |shown: &str, target: &str| {
        format!(
            "`{shown}` is a link to `{target}`, outside the node's folder: copy the target instead"
        )
    };
    assert_eq!(
        message("ln -s /etc/passwd out/x"),
        outside("out/x", "/etc/passwd")
    );
    assert_eq!(
        message(&format!("mkdir out/x; ln -s {elsewhere} out/x/d")),
        outside("out/x/d", &elsewhere.to_string())
    );
    // `out` itself, and a link through a link.
    assert_eq!(
        message(&format!(
            "mkdir {elsewhere}/x; rmdir out; ln -s {elsewhere} out"
        )),
        outside("out", &elsewhere.to_string())
    );
    assert_eq!(
        message(&format!(
            "mkdir out/x; ln -s {elsewhere} hop; ln -s ../../hop/secret out/x/s"
        )),
        outside("out/x/s", "../../hop/secret")
    );
    // The folder itself replaced by a link.
    let moved = format!("mkdir -p {elsewhere}/out/x; cd ..; rm -rf work; ln -s {elsewhere} work");
    assert!(message(&moved).contains("outside the node's folder"));
    assert_eq!(
        message("ln -s nowhere out/x"),
        "`out/x` is a link to `nowhere`, which does not exist"
    );
    assert_eq!(
        message("ln -s x out/x"),
        "`out/x` is a link to `x`, a circle of links"
    );
    assert_eq!(
        message("mkdir -p out/x/a; ln -s ../.. out/x/a/up"),
        "`out/x/a/up/x` is a link to a folder that contains it"
    );
    assert_eq!(
        message("mkfifo out/x"),
        "`out/x` is a named pipe: only files and folders are kept"
    );
    let socket = "python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('out/x')\"";
    assert_eq!(
        message(socket),
        "`out/x` is a socket: only files and folders are kept"
    );
    assert_eq!(
        message("mkdir out/x; touch \"out/x/$(printf '\\377')\""),
        "`out/x` holds \"\\xFF\", a name that is not UTF-8"
    );
    let deep = "cd out; mkdir x; cd x; i=0; n=$(printf '%0200d' 7); \
                while [ $i -lt 30 ]; do mkdir $n; cd $n; i=$((i+1)); done; echo x > f";
    let deep = message(deep);
    assert!(deep.starts_with("`out/x/000") && deep.len() < 400, "{deep}");
    assert!(
        deep.ends_with("` can't be kept: its path is longer than 4,095 bytes"),
        "{deep}"
    );
    if !rustix::process::geteuid().is_root() {
        let unreadable = message("mkdir out/x; echo s > out/x/s; chmod 000 out/x/s");
        assert!(
            unreadable.starts_with("`out/x/s` can't be read: Permission denied"),
            "{unreadable}"
        );
    }
}

/// File systems take names of at most 255 bytes; ids of several axes make longer ones.
#[test]
fn members_of_an_input_have_names_that_a_file_system_takes() {
    let mut bench = Bench::new();
    let long = "x".repeat(200);
    let member = bench.tree(&[("f", "1")]);
    for seed in ["0", "1"] {
        let axes = [("model", long.as_str()), ("seed", seed), ("way", &long)];
        bench.member("many", &axes, member.clone(), Vec::new());
    }
    let names = bench.text("ls many > out/x");
    let names: Vec<&str> = names.lines().collect();
    assert_eq!(names.len(), 2);
    for name in names {
        assert!(name.starts_with(&format!("model={long},seed=")), "{name}");
        assert!(name.len() <= 255, "{name}");
    }
}

/// Each level has two links to the next one: 2^40 paths.
#[test]
fn a_tree_of_links_without_an_end_is_refused() {
    let mut bench = Bench::new();
    let levels = "mkdir -p out/x; cd out/x; for n in $(seq 40); do mkdir $n; \
                  ln -s ../$((n + 1)) $n/a; ln -s ../$((n + 1)) $n/b; done; mkdir 41; echo 1 > 41/f";
    let with = json!({ "run": levels, "outputs": ["x"] });
    let message = bench.run(with).unwrap_err().to_string();
    assert!(
        message.contains("is a link to a folder, one of too many"),
        "{message}"
    );
    // A few levels are what they are.
    let few = levels.replace("40", "6").replace("41", "7");
    assert_eq!(
        listing(&tree(&mut bench, &few)).len(),
        64 + 32 + 16 + 8 + 4 + 2 + 1
    );
}

/// `share: true` that is added later counts once the store knows of it, and `push` says so.
#[test]
fn a_push_says_how_a_later_share_takes_effect() {
    let space = TestSpace::new();
    let picture = crate::fixtures::copies().join("../images/rgb.png");
    space.write("photos/cat/1.png", std::fs::read(picture).unwrap());
    let file = |table: &str| {
        format!(
            "ribflow: 1\nname: w\nstages:\n  pics: {{ use: dataset, with: {{ folder: photos }} }}\n  t:\n    use: \
             command\n    needs: {{ pics: pics.images }}\n    with: {{ run: 'echo a,b > out/t.csv; echo 1,2 >> \
             out/t.csv', outputs: {{ t: {table} }} }}\n"
        )
    };
    space.write("w.yaml", file("table"));
    space.run(&["run", "w.yaml", "-q"]).ok();
    space.run(&["key", "generate"]).ok();
    std::fs::create_dir(space.path("lab")).unwrap();
    let folder = space.path("lab").display().to_string();
    space
        .run(&["remote", "add", "lab", &folder, "--write"])
        .ok();
    let push = || {
        space
            .run(&["push", "w.yaml", "--remote", "lab"])
            .expect(0)
            .stdout
    };
    let hint = "`ribflow cache release w.yaml`";
    let first = push();
    assert!(
        first.contains("1 blob withheld") && !first.contains(hint),
        "{first}"
    );
    space.write("w.yaml", file("{ table: { share: true } }"));
    let again = push();
    assert!(
        again.contains("1 blob withheld") && again.contains(hint),
        "{again}"
    );
    space.run(&["cache", "release", "w.yaml"]).ok();
    let last = push();
    assert!(
        last.contains("1 blob went") && !last.contains("withheld"),
        "{last}"
    );
}
