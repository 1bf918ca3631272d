//! One file for labs with no network in common, and what is off until it is allowed.

use serde_json::Value;

use super::Laboratory;

const WORKFLOW: &str = "\
ribflow: 1
name: shell
params: { extra: \"\" }
profiles:
  other: { params: { extra: -empty } }
stages:
  pool: { use: dataset, with: { builtin: mini-rib, domain: narrow, images: 20 } }
  listed:
    use: command
    needs: { pool: pool }
    with: { run: \"sh count.sh ${params.extra} > out/numbers\", files: [tools/count.sh], outputs: [numbers] }
";

#[test]
fn a_bundle_is_taken_whole_or_not_at_all() {
    let a = Laboratory::new();
    let key = a.key("aachen");
    a.space.write("shell.yaml", WORKFLOW);
    a.space
        .write("tools/count.sh", "find pool -type f | wc -l\n");
    a.run(&["run", "shell.yaml", "--quiet"]).ok();
    let export = [
        "export",
        "bundle",
        "shell.yaml",
        "-o",
        "shell.ribbundle",
        "--blobs",
    ];
    let made = a.run(&export).expect(0);
    assert!(made.stdout.contains("2 records"), "{made}");
    let bundle = a.space.path("shell.ribbundle");
    let bundle = bundle.to_str().unwrap();

    let b = Laboratory::new();
    let refused = b.run(&["import", bundle, "-o", "got"]).expect(1);
    assert!(refused.stderr.contains("ribflow trust add"), "{refused}");
    assert!(!b.space.path("got").exists());
    b.run(&["trust", "add", &key]).ok();

    // A byte more or less anywhere, and nothing is imported.
    let whole = std::fs::read(bundle).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        b.space.write("damaged.ribbundle", damaged);
        let outcome = b.run(&["import", "damaged.ribbundle", "-o", "got"]);
        // Who made an entry, and whether it is text, says nothing.
        match outcome.code {
            Some(0) => {
                assert_eq!(b.space.read("got/shell.yaml"), WORKFLOW, "{at}");
                std::fs::remove_dir_all(b.space.path("got")).unwrap();
            }
            _ => assert!(!b.space.path("got").exists(), "{at}: {outcome}"),
        }
    }
    b.space
        .write("short.ribbundle", &whole[..whole.len() - 100]);
    let short = ["import", "short.ribbundle", "-o", "got", "--json"];
    let short = b.run(&short).expect(1);
    let told = short.json()["errors"][0]["message"].to_string();
    assert!(told.contains("is not a bundle"), "{short}");

    let imported = b.run(&["import", bundle, "-o", "got"]).expect(0);
    assert!(
        imported
            .stdout
            .contains("disabled until you allow them: 2 command stages"),
        "{imported}"
    );
    let run = ["run", "got/shell.yaml", "--json"];
    let reused = b.run(&run).expect(0).json_lines().pop().unwrap();
    assert_eq!((&reused["ran"], &reused["reused"]), (&0.into(), &2.into()));
    let get = ["get", "got/shell.yaml", "listed.numbers", "-o", "numbers"];
    b.run(&get).ok();

    // Neither a profile nor a value that its author did not use lets another line run.
    for other in [["--profile", "other"], ["--set", "params.extra=; ls"]] {
        let words = [&["run", "got/shell.yaml", "--json", "listed"][..], &other].concat();
        let off = b.run(&words).expect(1);
        assert!(off.stdout.contains("came from elsewhere"), "{off}");
    }

    // Its command does not run before it is allowed, wherever the file lies.
    let forced = [&run[..], &["--force", "listed"]].concat();
    let off = b.run(&forced).expect(1);
    assert!(off.stdout.contains("came from elsewhere"), "{off}");
    let digest = off.stdout.split("trust allow ").nth(1).unwrap();
    let digest = digest.split('`').next().unwrap().to_string();
    b.run(&["trust", "allow", &digest]).ok();
    let ran = b.run(&forced).expect(0).json_lines().pop().unwrap();
    assert_eq!(ran["ran"], Value::from(1));
}

/// A declared folder may hold links; what they lead to outside the workflow's folder stays here.
#[test]
fn files_over_a_link_out_of_the_folder_are_not_packed() {
    let space = crate::space::TestSpace::new();
    space.write("outside.txt", "private");
    space.write("mine/tools/run.sh", "true\n");
    space.write(
        "mine/linked.yaml",
        "ribflow: 1\nname: linked\nstages:\n  made:\n    use: command\n    with: { run: touch out/r, files: [tools], outputs: [r] }\n",
    );
    std::os::unix::fs::symlink("../../outside.txt", space.path("mine/tools/link")).unwrap();
    space.run(&["run", "mine/linked.yaml", "-q"]).ok();
    let arguments = ["export", "bundle", "mine/linked.yaml", "-o", "linked.zip"];
    let refused = space.run(&arguments);
    assert_ne!(refused.code, Some(0), "{refused}");
    assert!(
        refused.stderr.contains("outside the workflow's folder"),
        "{refused}"
    );
}

/// Without the digests of its data nobody else can tell which results are meant.
#[test]
fn a_bundle_of_a_workflow_without_a_lock_file_says_so() {
    let lab = Laboratory::new();
    lab.key("aachen");
    lab.space.write("photos.yaml", super::lock::WORKFLOW);
    super::lock::photos(&lab.space, "photos", 2);
    lab.run(&["run", "photos.yaml", "--quiet"]).ok();
    let export = |name: &str| {
        let arguments = ["export", "bundle", "photos.yaml", "-o", name];
        lab.run(&arguments).expect(0).stdout
    };
    let advice = "`ribflow lock photos.yaml` first";
    let unlocked = export("one.zip");
    assert!(unlocked.contains(advice), "{unlocked}");
    lab.run(&["lock", "photos.yaml"]).ok();
    let locked = export("two.zip");
    assert!(!locked.contains(advice), "{locked}");
}
