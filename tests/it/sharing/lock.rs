//! With a lock file, somebody with neither data nor models gets results, report and verdicts.

use ribflow::ml::data::encode::jpeg;
use ribflow::ml::data::mini_rib::{self, Collection, Split};
use ribflow::ml::data::picture::Picture;
use serde_json::Value;

use super::{Laboratory, number};
use crate::space::TestSpace;

pub const WORKFLOW: &str = "\
ribflow: 1
name: photos
params: { root: \"${env.PHOTOS?photos}\" }
stages:
  images: { use: dataset, with: { folder: \"${params.root}\" } }
  start: { use: dataset, with: { builtin: mini-rib, domain: narrow, images: 40 } }
  before: { use: pretrain, needs: { data: start }, with: { arch: vit_mini, epochs: 1 } }
  tuned: { use: finetune, needs: { init: before, data: images }, with: { method: lp, epochs: 1, batch: 8 } }
  accuracy: { use: evaluate, needs: { model: tuned, data: images } }
";

pub fn photos(space: &TestSpace, folder: &str, number: usize) {
    let set = mini_rib::render(Collection::R, Split::Test, 40, 3);
    for index in 0..number {
        let picture = Picture {
            pixels: set.image(index).unwrap().to_vec(),
            width: set.width,
            height: set.height,
        };
        let class = &set.classes[set.labels[index] as usize];
        let name = format!("{folder}/{class}/{index:02}.jpg");
        space.write(&name, jpeg(&picture, 90).unwrap());
    }
}

#[test]
fn a_lock_stands_for_data_that_is_not_here() {
    let place = TestSpace::new();
    let url = format!("file://{}", place.path("shared").display());
    let a = Laboratory::new();
    let key = a.key("aachen");
    a.space.write("photos.yaml", WORKFLOW);
    photos(&a.space, "photos", 12);
    let locked = a.run(&["lock", "photos.yaml"]).expect(0);
    assert!(locked.stdout.contains("1 source"), "{locked}");
    a.run(&["run", "photos.yaml", "--quiet"]).ok();
    a.add_remote("shared", &url, &["--write"]);
    a.run(&[
        "push",
        "photos.yaml",
        "--remote",
        "shared",
        "--records-only",
    ])
    .ok();

    let b = Laboratory::new();
    b.run(&["trust", "add", &key]).ok();
    b.space.write("photos.yaml", WORKFLOW);
    let plan = |lab: &Laboratory| -> Vec<String> {
        let plan = lab.run(&["plan", "photos.yaml", "--json"]).expect(0).stdout;
        let plan: Value = serde_json::from_str(&plan).unwrap();
        let nodes = plan["nodes"].as_array().unwrap().iter();
        let nodes = nodes.filter(|node| node["derived"] == false);
        nodes
            .map(|node| node["state"].as_str().unwrap().to_string())
            .collect()
    };
    assert!(plan(&b).contains(&"missing_data".to_string()));
    // Without the data there is nothing to lock.
    let empty = b.run(&["lock", "photos.yaml"]).expect(1);
    assert!(empty.stderr.contains("where the data is"), "{empty}");
    assert!(!b.space.path("photos.yaml.lock").exists());
    b.space
        .write("photos.yaml.lock", a.space.read("photos.yaml.lock"));
    let planned = b.run(&["plan", "photos.yaml"]);
    let fetches = "`ribflow pull photos.yaml --records-only --remote NAME` fetches the results";
    assert!(planned.stdout.contains(fetches), "{planned}");
    let pulled = b
        .run(&["pull", "photos.yaml", "--remote", &url, "--records-only"])
        .expect(0);
    assert!(pulled.stdout.contains("5 records"), "{pulled}");
    assert_eq!(plan(&b), ["reused"; 5]);
    let nowhere = b.space.path("nowhere");
    let mistyped = ["pull", "photos.yaml", "--remote", nowhere.to_str().unwrap()];
    let mistyped = b.run(&mistyped).expect(1);
    assert!(mistyped.stderr.contains("there is no folder"), "{mistyped}");
    let outcome = b.run(&["run", "photos.yaml", "--json"]).expect(0);
    let summary = outcome.json_lines().pop().unwrap();
    assert_eq!(
        (number(&summary, "ran"), number(&summary, "reused")),
        (0, 5)
    );
    let results = "out/photos/results.json";
    assert_eq!(b.space.read(results), a.space.read(results));
    // No blob was needed for that, and no variable.
    assert!(
        !b.space
            .path("cache/objects")
            .read_dir()
            .unwrap()
            .any(|_| true)
    );

    // A node that has to run asks for the data, and then it must be what the lock says.
    let forced = ["run", "photos.yaml", "--force", "images", "--json"];
    let missing = b.run(&forced).expect(1);
    assert!(missing.stdout.contains("it has to run here"), "{missing}");
    photos(&b.space, "photos", 12);
    b.run(&forced).ok();
    let first = std::fs::read_dir(b.space.path("photos"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    std::fs::copy(
        std::fs::read_dir(first.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path(),
        first.path().join("more.jpg"),
    )
    .unwrap();
    let other = b.run(&["run", "photos.yaml", "--json"]).expect(1);
    assert!(
        other.stdout.contains("is not what the lock file says"),
        "{other}"
    );
    // The lock stays, and which entries no longer fit is told.
    let before = b.space.read("photos.yaml.lock");
    let told = b.run(&["lock", "photos.yaml"]).expect(1);
    assert!(told.stdout.contains("changed: images: "), "{told}");
    assert!(told.stderr.contains("photos.yaml --update"), "{told}");
    assert_eq!(b.space.read("photos.yaml.lock"), before);
    let locked = b
        .run(&["lock", "photos.yaml", "--update", "--json"])
        .expect(0)
        .json();
    assert_eq!(locked["sources"], 1);
    assert_eq!(locked["changed"][0]["node"], "images");
    b.run(&["run", "photos.yaml", "--quiet"]).ok();
}
