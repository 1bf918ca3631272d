//! A run as a Workflow Run RO-Crate, which the public validator accepts.

use std::process::Command;

use serde_json::Value;

use super::Laboratory;
use crate::servers;

#[test]
fn a_crate_is_what_the_validator_expects() {
    let a = Laboratory::new();
    a.mini_rib(&[]);
    let export = [
        "export",
        "ro-crate",
        "mini-rib.yaml",
        "--profile",
        "tiny",
        "-o",
        "crate",
    ];
    a.run(&export).ok();
    let metadata: Value =
        serde_json::from_str(&a.space.read("crate/ro-crate-metadata.json")).unwrap();
    let entities = metadata["@graph"].as_array().unwrap();
    // Every file that it names is there, and every one that is there is named.
    let files = entities.iter().filter(|one| {
        let kind = &one["@type"];
        kind == "File" || kind[0] == "File"
    });
    let mut named: Vec<String> = files
        .map(|one| one["@id"].as_str().unwrap().to_string())
        .collect();
    named.sort();
    for file in &named {
        assert!(a.space.path("crate").join(file).is_file(), "{file}");
    }
    for expected in ["mini-rib.yaml", "report.html", "results.json"] {
        assert!(named.iter().any(|name| name == expected), "{named:?}");
    }
    let again = a.run(&export).expect(2);
    assert!(again.stderr.contains("is not empty"), "{again}");

    let Some(python) = servers::crate_validator() else {
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/validate_crate.py");
    let judged = Command::new(python)
        .arg(script)
        .arg(a.space.path("crate"))
        .env("HOME", a.space.path("home"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&judged.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&judged.stderr).into_owned();
    assert!(judged.status.success(), "{said}{complaint}");
}
