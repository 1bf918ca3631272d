//! `ribflow bench`: what it says, never how fast it is.

use serde_json::Value;

use crate::space::TestSpace;

/// One small benchmark of each family.
const SMALL: &[&str] = &[
    "gemm/9x8x7/bf16",
    "op/cross_entropy/train",
    "model/vit_mini/train/b2",
    "model/resnet_mini/forward/b2/bf16",
    "data/jpeg224",
    "data/tensor224",
    "ot/sinkhorn/n20",
    "ot/exact/n20",
    "ot/otdd/n40",
    "hash/blake3/3KiB",
    "store/get",
    "noop/3",
    "command/2/plain",
];

#[test]
fn everything_that_is_named_is_measured_and_printed_as_json() {
    let mut arguments = vec!["bench", "--json", "--seconds", "0", "--threads", "2"];
    arguments.extend(SMALL);
    let told = TestSpace::new().run(&arguments).expect(0).json();
    assert_eq!(told["threads"], 2);
    assert!(told["machine"]["device_class"].is_string(), "{told}");
    let results = told["results"].as_array().unwrap();
    let names: Vec<&str> = results
        .iter()
        .filter_map(|it| it["name"].as_str())
        .collect();
    assert_eq!(names, SMALL);
    for result in results {
        assert!(result["rounds"].as_u64() >= Some(3), "{result}");
        let wall = |what: &str| result["wall_ms"][what].as_f64().unwrap();
        assert!(wall("least") > 0.0 && wall("least") <= wall("median"));
        assert!(wall("median") <= wall("largest"));
        let rate = result["rate"].as_f64().unwrap();
        assert!(rate > 0.0 && result["rate_unit"].is_string(), "{result}");
        if cfg!(target_os = "linux") {
            assert!(result["peak_bytes"].as_u64() > Some(1 << 20), "{result}");
        }
    }
    assert_eq!(results[2]["amount"], 2.0);
    assert_eq!(results[11]["unit"], "nodes");
}

/// What the pixels come to is what another program makes of the same files in the same order.
#[test]
fn photographs_of_a_folder_are_named_by_the_digest_of_their_pixels() {
    let space = TestSpace::new();
    let measure = |folder: &str| -> Value {
        let arguments = [
            "bench",
            "data/jpeg224",
            "--json",
            "--seconds",
            "0",
            "--images",
        ];
        let told = space.run(&[&arguments[..], &[folder]].concat());
        told.expect(0).json()["results"][0].clone()
    };
    let photograph = include_bytes!("../images/420.jpg");
    space.write("once/a.jpg", photograph);
    space.write("twice/b/a.jpeg", photograph);
    space.write("twice/c.JPG", photograph);
    space.write("twice/notes.txt", "not an image");
    let (once, twice) = (measure("once"), measure("twice"));
    assert_eq!(
        (&once["amount"], &twice["amount"]),
        (&1.0.into(), &2.0.into())
    );
    assert_ne!(once["digest"], twice["digest"]);
    assert_eq!(once["digest"].as_str().map(str::len), Some(64));

    space.write("empty/notes.txt", "");
    let refused = space
        .run(&["bench", "data/jpeg224", "--images", "empty"])
        .expect(2);
    assert!(refused.stderr.contains("no JPEG file"), "{refused}");
}

#[test]
fn a_wrong_name_is_refused_before_anything_runs_and_the_list_is_whole() {
    let space = TestSpace::new();
    let wrong = space.run(&["bench", "noop/3", "store/putt"]).expect(2);
    assert!(
        wrong.stderr.contains("did you mean `store/put`?"),
        "{wrong}"
    );
    assert_eq!(wrong.stdout, "");
    let list = space.run(&["bench", "--list", "--json"]).expect(0).json();
    let list = list["benchmarks"].as_array().unwrap();
    let usual = list.iter().filter(|it| it["usual"] == true).count();
    assert!(list.len() > 40 && usual > 10 && usual < 30, "{usual}");
    let words = space.run(&["bench", "--list"]).expect(0).stdout;
    for benchmark in list {
        assert!(words.contains(benchmark["name"].as_str().unwrap()));
    }
}
