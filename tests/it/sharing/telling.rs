//! What push and pull say of what did not come, or would: counts, licences, empty places.

use super::Laboratory;
use super::lock::{WORKFLOW, photos};
use crate::space::TestSpace;

/// Two nodes of one recipe.
const TWINS: &str = "\
ribflow: 1
name: twins
stages:
  one: { use: dataset, with: { builtin: mini-rib, domain: v2, images: 20 } }
  two: { use: dataset, with: { builtin: mini-rib, domain: v2, images: 20 } }
";

#[test]
fn a_place_without_anything_of_it_is_no_success() {
    let place = TestSpace::new();
    std::fs::create_dir(place.path("empty")).unwrap();
    let url = format!("file://{}", place.path("empty").display());
    let lab = Laboratory::new();
    let pull = [
        "pull",
        "mini-rib.yaml",
        "--profile",
        "tiny",
        "--remote",
        &url,
    ];
    for nodes in [&[][..], &["summary"], &["--records-only"]] {
        let nothing = lab.run(&[&pull[..], nodes].concat()).expect(1);
        assert!(nothing.stderr.contains("has no results of"), "{nothing}");
    }
    // Where all of it is here already there is nothing to fetch.
    lab.mini_rib(&[]);
    lab.run(&[&pull[..], &["--records-only"]].concat()).ok();
}

#[test]
fn counts_are_of_nodes_and_bytes_that_nobody_knows_yet_are_at_least() {
    let place = TestSpace::new();
    let url = format!("file://{}", place.path("shared").display());
    let [a, b] = [Laboratory::new(), Laboratory::new()];
    let key = a.key("aachen");
    a.space.write("twins.yaml", TWINS);
    a.run(&["run", "twins.yaml", "--quiet"]).ok();
    let twins = a.run(&["push", "twins.yaml", "--remote", &url]).expect(0);
    assert!(twins.stdout.starts_with("1 record"), "{twins}");
    assert!(!twins.stdout.contains("have a result here"), "{twins}");
    a.mini_rib(&[]);
    let remote = ["mini-rib.yaml", "--profile", "tiny", "--remote", &url];
    a.run(&[&["push"], &remote[..]].concat()).ok();

    b.run(&["trust", "add", &key]).ok();
    let dry = [&["pull", "--dry-run"], &remote[..]].concat();
    let told = b.run(&dry).expect(0);
    assert!(told.stdout.contains("at least"), "{told}");
    let told = b.run(&[&dry[..], &["--json"]].concat()).expect(0).json();
    let pull = [&["pull", "--json"], &remote[..]].concat();
    let came = b.run(&pull).expect(0).json();
    assert_eq!(told["at_least"], true);
    let bytes = |document: &serde_json::Value| document["bytes"].as_u64().unwrap();
    assert!(bytes(&told) < bytes(&came), "{told} {came}");
    assert_eq!(
        (&came["at_least"], &came["missing"]),
        (&false.into(), &0.into())
    );
}

#[test]
fn what_stays_for_want_of_share_is_not_called_lost() {
    let place = TestSpace::new();
    let url = format!("file://{}", place.path("shared").display());
    let [a, b] = [Laboratory::new(), Laboratory::new()];
    let key = a.key("aachen");
    a.space.write("photos.yaml", WORKFLOW);
    // So many that their list does not stand in the record.
    photos(&a.space, "photos", 40);
    a.run(&["lock", "photos.yaml"]).ok();
    a.run(&["run", "photos.yaml", "--quiet"]).ok();
    // Nobody has named a licence.
    let pushed = a.run(&["push", "photos.yaml", "--remote", &url]).expect(0);
    assert!(
        pushed
            .stdout
            .contains("images of a `dataset` without `share: true`"),
        "{pushed}"
    );
    assert!(!pushed.stdout.contains("licence"), "{pushed}");

    b.run(&["trust", "add", &key]).ok();
    b.space.write("photos.yaml", WORKFLOW);
    b.space
        .write("photos.yaml.lock", a.space.read("photos.yaml.lock"));
    let pull = ["pull", "photos.yaml", "--remote", &url];
    let told = b.run(&pull).expect(0);
    assert!(
        told.stdout.contains("a `dataset` without `share: true`"),
        "{told}"
    );
    assert!(!told.stdout.contains("not there"), "{told}");
    let get = ["get", "photos.yaml", "images", "-o", "images"];
    let kept = b.run(&get).expect(1);
    assert!(kept.stderr.contains("without `share: true`"), "{kept}");
}

/// A reviewer has the records, and asks for the content of one.
#[test]
fn a_result_without_its_content_is_reported_with_the_remotes_that_may_have_it() {
    let place = TestSpace::new();
    let url = |name: &str| format!("file://{}", place.path(name).display());
    let [a, b] = [Laboratory::new(), Laboratory::new()];
    let key = a.key("aachen");
    a.space.write("twins.yaml", TWINS);
    a.run(&["run", "twins.yaml", "--quiet"]).ok();
    a.run(&["push", "twins.yaml", "--remote", &url("lab")]).ok();
    b.run(&["trust", "add", &key]).ok();
    b.space.write("twins.yaml", TWINS);
    let pull = [
        "pull",
        "twins.yaml",
        "--records-only",
        "--remote",
        &url("lab"),
    ];
    b.run(&pull).ok();
    let get = ["get", "twins.yaml", "one", "-o", "images"];
    let told = |more: &[&str], hint: &str| {
        let told = b.run(&[&get[..], more].concat()).expect(1);
        assert!(told.stderr.contains(hint), "{told}");
    };
    told(
        &[],
        "`--remote NAME` fetches it from a remote that has it; `ribflow run twins.yaml one",
    );
    b.add_remote("lab", &url("lab"), &[]);
    told(&[], "`--remote lab` fetches it if `lab` has it; ");
    let other = url("other");
    std::fs::create_dir(place.path("other")).unwrap();
    told(
        &["--remote", &other],
        "`--remote lab` fetches it if `lab` has it; ",
    );
    // What the lab has lost.
    let objects = place.path("lab/objects");
    std::fs::rename(&objects, place.path("objects")).unwrap();
    told(
        &["--remote", "lab"],
        "no configured remote has it; `ribflow run twins.yaml one",
    );
    b.add_remote("other", &other, &[]);
    told(
        &["--remote", "lab"],
        "`--remote other` fetches it if `other` has it; ",
    );
    told(
        &["--remote", "lab", "--remote", "other"],
        "no configured remote has it; ",
    );
    std::fs::rename(place.path("objects"), &objects).unwrap();
    b.run(&[&get[..], &["--remote", "lab"]].concat()).ok();
}

#[test]
fn a_missing_token_is_reported_where_the_push_fails() {
    let lab = Laboratory::new();
    lab.key("aachen");
    lab.space.write("twins.yaml", TWINS);
    lab.run(&["run", "twins.yaml", "--quiet"]).ok();
    let options = ["--write", "--token-env", "NO_SUCH_TOKEN"];
    lab.add_remote("server", "http://127.0.0.1:9", &options);
    let failed = lab
        .run(&["push", "twins.yaml", "--remote", "server"])
        .expect(1);
    let told = "used without a token: NO_SUCH_TOKEN is not set";
    assert!(failed.stderr.contains(told), "{failed}");
}
