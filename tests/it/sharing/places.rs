//! The same exchange through every kind of place.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::Value;

use super::{Laboratory, NODES, number};
use crate::servers::{self, Nginx};

/// A runs mini-RIB and pushes it; B, with A's key, runs it: nothing executes, and what comes out
/// has the same bytes.
fn share(url: &str, options: &[&str], environment: &[(String, String)]) {
    let a = Laboratory::new().with(environment);
    let b = Laboratory::new().with(environment);
    let key = a.key("aachen");
    a.add_remote("shared", url, options);
    let (ran, _) = a.mini_rib(&[]);
    assert!(number(&ran, "ran") > 0);
    let push = [
        "push",
        "mini-rib.yaml",
        "--profile",
        "tiny",
        "--remote",
        "shared",
    ];
    let pushed = a.run(&push).expect(0);
    assert!(pushed.stdout.contains("went to `shared`"), "{pushed}");
    let again = a.run(&[&push[..], &["--json"]].concat()).expect(0);
    let again: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!((&again["records"], &again["blobs"]), (&0.into(), &0.into()));

    b.add_remote("aachen", url, options);
    b.run(&["trust", "add", &key]).ok();
    takes_everything(&a, &b, "aachen");
}

/// B runs nothing, and has A's records and results.
fn takes_everything(a: &Laboratory, b: &Laboratory, remote: &str) {
    let (summary, said) = b.mini_rib(&["--remote", remote]);
    let counts = ["ran", "reused", "failed", "skipped"].map(|field| number(&summary, field));
    assert_eq!(counts, [0, NODES, 0, 0], "{said}");
    assert!(!said.contains("warning"), "{said}");
    assert_eq!(b.results(), a.results());
    assert_eq!(b.records(), a.records());
    // The report's artifact, and the page and the tables that are views of it.
    for lab in [a, b] {
        let get = [
            "get",
            "mini-rib.yaml",
            "--profile",
            "tiny",
            "summary",
            "-o",
            "summary",
        ];
        lab.run(&get).ok();
    }
    for folder in ["summary", "out/mini-rib-tiny/tables"] {
        assert!(!files(&a.space.path(folder)).is_empty());
        assert_eq!(files(&a.space.path(folder)), files(&b.space.path(folder)));
    }
    let page = "out/mini-rib-tiny/report.html";
    assert_eq!(a.space.read(page), b.space.read(page));
}

/// The files of a folder with their content.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap());
    let files = entries.map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        (name, std::fs::read(entry.path()).unwrap())
    });
    files.collect()
}

#[test]
fn a_folder_and_a_stranger_who_is_refused() {
    let place = crate::space::TestSpace::new();
    let url = format!("file://{}", place.path("shared").display());
    share(&url, &["--write"], &[]);

    // Without the key: a refusal that says whose they are, and everything executes.
    let stranger = Laboratory::new();
    stranger.add_remote("aachen", &url, &[]);
    let (summary, said) = stranger.mini_rib(&["--remote", "aachen"]);
    assert_eq!(number(&summary, "failed"), 0);
    assert!(number(&summary, "ran") > NODES / 2, "{summary}");
    assert!(said.contains("ribflow trust add"), "{said}");
    assert!(said.contains("were refused"), "{said}");
}

#[test]
fn an_s3_server_that_knows_its_users() {
    let Some((server, environment)) = servers::s3_of_a_lab() else {
        return;
    };
    let endpoint = server.url.clone();
    let url = format!("s3://{}/rib", servers::BUCKET);
    let options = ["--endpoint", &endpoint, "--region", "us-east-1", "--write"];
    share(&url, &options, &environment);

    // A wrong secret costs the reuse, and nothing else.
    let mut wrong = environment.clone();
    wrong.retain(|(name, _)| name != "AWS_SECRET_ACCESS_KEY");
    wrong.push(("AWS_SECRET_ACCESS_KEY".into(), "wrong".into()));
    let c = Laboratory::new().with(&wrong);
    c.add_remote("aachen", &url, &options);
    let (summary, said) = c.mini_rib(&["--remote", "aachen"]);
    assert_eq!(
        (number(&summary, "failed"), number(&summary, "skipped")),
        (0, 0)
    );
    assert!(said.contains("warning"), "{said}");
}

#[test]
fn a_web_server() {
    let Some(server) = servers::nginx(Nginx::Dav, &[]) else {
        return;
    };
    share(&server.url, &["--write"], &[]);
}

/// `ribflow serve` over a lab's own store.
struct Serving {
    process: Child,
    url: String,
}

impl Serving {
    fn of(lab: &Laboratory, options: &[&str]) -> Self {
        let words = [
            "serve",
            "--address",
            "127.0.0.1:0",
            "--json",
            "--store",
            "cache",
        ];
        let mut command = lab.command(&[&words[..], options].concat());
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let url = told["url"].as_str().unwrap().to_string();
        Self { process, url }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_lab_without_a_bucket() {
    let a = Laboratory::new();
    let key = a.key("aachen");
    let (ran, _) = a.mini_rib(&[]);
    assert!(number(&ran, "ran") > 0);
    // What is served has to be signed first; a remote of its own folder does that.
    let signed = crate::space::TestSpace::new();
    let url = format!("file://{}", signed.path("x").display());
    a.add_remote("own", &url, &["--write"]);
    let push = [
        "push",
        "mini-rib.yaml",
        "--profile",
        "tiny",
        "--remote",
        "own",
    ];
    a.run(&push).ok();

    let serving = Serving::of(&a, &[]);
    let b = Laboratory::new();
    b.add_remote("aachen", &serving.url, &[]);
    b.run(&["trust", "add", &key]).ok();
    takes_everything(&a, &b, "aachen");

    // What is only read is fetched only then.
    let get = |id: &str, to: &str| {
        let words = [
            "get",
            "mini-rib.yaml",
            id,
            "--profile",
            "tiny",
            "--remote",
            "aachen",
            "-o",
            to,
        ];
        b.run(&words)
    };
    let model = b
        .run(&["plan", "mini-rib.yaml", "--profile", "tiny", "--json"])
        .expect(0);
    let plan: Value = serde_json::from_str(&model.stdout).unwrap();
    let nodes = plan["nodes"].as_array().unwrap();
    let tuned = nodes.iter().find(|node| node["stage"] == "tuned").unwrap();
    get(tuned["id"].as_str().unwrap(), "model").ok();
    assert!(b.space.path("model/tensors.safetensors").is_file());
    drop(serving);

    // A remote that is down never fails a run.
    let c = Laboratory::new();
    c.add_remote("aachen", "http://127.0.0.1:9", &[]);
    let (summary, said) = c.mini_rib(&["--remote", "aachen"]);
    assert_eq!(number(&summary, "failed"), 0);
    assert!(said.contains("warning"), "{said}");
}
