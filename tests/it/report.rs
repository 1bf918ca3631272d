//! What a report writes: its files, what they must never hold, and that what has not changed is
//! not touched. And what the `report` kind makes of distances and drops.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ribflow::report::{self, View};
use ribflow::store::StoredRecord;
use ribflow::store::artifact::{Artifact, Better, Metric, Metrics};

use crate::sample::{self, Grid, Sample};

/// Two domains, one method, two seeds: small enough to read whole.
fn tiny() -> Sample {
    sample::mini_rib(&Grid {
        domains: vec!["r", "c"],
        methods: vec!["ft"],
        ..Grid::small()
    })
}

fn write(sample: &Sample, folder: &Path) {
    let view = View::new(&sample.graph, &sample.records);
    report::write(&view, folder).unwrap();
}

/// The text of every file under `folder`, by relative path.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                files.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    files
}

/// The inode of every file: another one wherever a file was replaced.
fn inodes(folder: &Path) -> BTreeMap<String, u64> {
    let inode = |name: &String| fs::metadata(folder.join(name)).unwrap().ino();
    files(folder)
        .keys()
        .map(|name| (name.clone(), inode(name)))
        .collect()
}

fn written(sample: &Sample) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    write(sample, folder.path());
    files(folder.path())
}

#[test]
fn results_hold_every_metric_of_every_node() {
    let files = written(&tiny());
    insta::assert_snapshot!(files["results.json"]);
    let parsed: serde_json::Value = serde_json::from_str(&files["results.json"]).unwrap();
    assert_eq!(parsed["aggregates"].as_array().unwrap().len(), 3 + 4 + 2);
}

#[test]
fn tables_and_terminal_round_to_what_is_known() {
    let sample = tiny();
    let files = written(&sample);
    let shown = [
        "mri.csv",
        "mri.md",
        "mri.json",
        "ri.csv",
        "accuracy-matrix.csv",
        "baseline.md",
    ];
    let mut text: Vec<String> = shown
        .iter()
        .map(|name| format!("--- {name}\n{}", files[&format!("tables/{name}")]))
        .collect();
    let view = View::new(&sample.graph, &sample.records);
    text.push(format!("--- terminal\n{}", report::summary_text(&view)));
    text.push(format!("--- terminal, no benchmark\n{}", {
        let sample = sample::my_images();
        report::summary_text(&View::new(&sample.graph, &sample.records))
    }));
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn the_page_escapes_what_it_shows_and_refers_to_nothing_outside() {
    let mut sample = sample::mini_rib(&Grid::small());
    sample.graph.name = "a</title><script>alert(1)</script>".to_string();
    sample.graph.description = Some("\"quotes\" & <b>tags</b>".to_string());
    let files = written(&sample);
    let page = &files["report.html"];
    assert!(page.contains("Narrow &lt;&amp; one&gt;"));
    for hostile in ["<& one>", "<script>alert", "<b>tags", "a</title>"] {
        assert!(
            !page.contains(hostile),
            "{hostile} stands in the page as it is"
        );
    }
    for outside in [
        "http:", "https:", "src=", "url(", "@import", "<link", "=\"//",
    ] {
        assert!(!page.contains(outside), "{outside} in the page");
    }
    for link in page.split("href=\"").skip(1) {
        let target = link.split('"').next().unwrap();
        assert!(
            files.contains_key(target),
            "{target} is not a file of the report"
        );
    }
    assert!(page.contains("evidence about the software"));
    assert!(!written(&sample::my_images())["report.html"].contains("evidence about the software"));
}

/// The page's picture of the stages, an element a line.
fn picture(files: &BTreeMap<String, String>) -> String {
    let page = &files["report.html"];
    let start = page.find("<svg class=\"flow\"").unwrap();
    let length = page[start..].find("</svg>").unwrap();
    page[start..start + length].replace("><", ">\n<")
}

#[test]
fn a_small_picture_shows_every_stage() {
    insta::assert_snapshot!(picture(&written(&tiny())));
}

#[test]
fn the_picture_of_10_000_stages_shows_their_kinds() {
    let mut sample = Sample::new("large");
    let mut last = None;
    for place in 0..10_000 {
        let name = format!("s{place}");
        sample.stage(&name, &[]);
        let kind = if place == 0 { "dataset" } else { "concat" };
        let inputs = last.iter().map(|last| sample::one("parts", *last));
        let inputs = inputs.collect();
        last = Some(sample.node(&name, kind, &Vec::new(), serde_json::json!({}), inputs));
    }
    let files = written(&sample);
    let picture = picture(&files);
    assert_eq!(picture.matches("<rect").count(), 2);
    assert!(picture.contains("9\u{202f}999 stages"));
    assert!(picture.len() < 2000);
    assert!(files["report.html"].contains("10\u{202f}000 stages with 9\u{202f}999 connections"));
}

#[test]
fn every_number_of_the_page_names_its_node_key_and_record() {
    let sample = sample::mini_rib(&Grid::small());
    let page = &written(&sample)["report.html"];
    for (index, stored) in &sample.records {
        let node = &sample.graph.dag[*index];
        assert!(page.contains(&node.id), "{}", node.id);
        assert!(
            page.contains(&stored.record.key.to_hex()),
            "key of {}",
            node.id
        );
        assert!(
            page.contains(&stored.digest.to_hex()),
            "record of {}",
            node.id
        );
    }
}

#[test]
fn equal_input_gives_equal_bytes() {
    let (one, other) = (
        sample::mini_rib(&Grid::small()),
        sample::mini_rib(&Grid::small()),
    );
    assert_eq!(written(&one), written(&other));
}

/// Replaces a record by one that `change` has been at.
fn change(sample: &mut Sample, id: &str, change: impl Fn(&mut StoredRecord)) {
    let graph = &sample.graph;
    let index = graph
        .dag
        .node_indices()
        .find(|index| graph.dag[*index].id == id)
        .unwrap();
    let stored = sample.records.get_mut(&index).unwrap();
    change(stored);
    stored.digest = stored.record.digest();
}

const CELL: &str = "accuracy[source=narrow,domain=r,method=ft,seed=0,test=c]";

#[test]
fn only_what_changed_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut sample = tiny();
    write(&sample, folder.path());
    let before = inodes(folder.path());
    write(&sample, folder.path());
    assert_eq!(inodes(folder.path()), before);

    // When and how long: in the provenance and on the page, in no result.
    change(&mut sample, CELL, |stored| {
        stored.record.provenance.wall_seconds = 99.5
    });
    write(&sample, folder.path());
    let after = inodes(folder.path());
    let changed: Vec<&String> = after
        .keys()
        .filter(|name| after[*name] != before[*name])
        .collect();
    assert_eq!(changed, ["provenance.json", "report.html"]);

    // A file that someone changed or removed is put right.
    let text = files(folder.path());
    fs::write(folder.path().join("results.json"), "{}").unwrap();
    fs::remove_file(folder.path().join("tables/mri.csv")).unwrap();
    write(&sample, folder.path());
    assert_eq!(files(folder.path()), text);

    // A table of a stage that is gone goes too.
    fs::write(folder.path().join("tables/mine.txt"), "not the report's").unwrap();
    write(&sample::my_images(), folder.path());
    let names: Vec<String> = files(folder.path()).into_keys().collect();
    let expected = [
        "provenance.json",
        "report.html",
        "results.json",
        "tables/evaluate.csv",
        "tables/evaluate.json",
        "tables/evaluate.md",
        "tables/mine.txt",
    ];
    assert_eq!(names, expected);
}

/// Whatever is missing, there is a report of the rest.
#[test]
fn a_run_that_is_not_complete_has_a_report() {
    let whole = tiny();
    let indices: Vec<_> = whole.records.keys().copied().collect();
    for count in 0..indices.len() {
        let mut sample = tiny();
        sample
            .records
            .retain(|index, _| indices[..count].contains(index));
        let page = &written(&sample)["report.html"];
        assert!(page.contains("Not complete."), "{count} records");
        let mut sample = tiny();
        sample
            .records
            .retain(|index, _| !indices[..count].contains(index));
        written(&sample);
    }
}

/// A domain, its distance and its drop.
type Point<'a> = (&'a str, f64, f64);

/// The relation of distances and drops of the sources.
fn related(sources: &[(&str, &[Point])]) -> BTreeMap<String, Metric> {
    let mut sample = Sample::new("related");
    let (mut distances, mut robustness) = (Vec::new(), Vec::new());
    for (source, points) in sources {
        let source = *source;
        for (domain, distance, _) in *points {
            let axes = vec![("source", source), ("domain", *domain)];
            let metric = Metric::new(*distance, "");
            let index = sample.measured("far", "ot", &axes, vec![], &[("distance", metric)]);
            distances.push((index, axes));
        }
        let drops: Vec<(String, Metric)> = points
            .iter()
            .map(|(domain, _, drop)| {
                let metric = Metric {
                    better: Some(Better::Lower),
                    ..Metric::new(*drop, "points")
                };
                (format!("drop[{domain}]"), metric)
            })
            .collect();
        let drops: Vec<(&str, Metric)> = drops
            .iter()
            .map(|(name, metric)| (name.as_str(), metric.clone()))
            .collect();
        let axes = vec![("source", source)];
        let index = sample.measured("rob", "rib", &axes, vec![], &drops);
        robustness.push((index, axes));
    }
    let inputs = vec![
        sample::gathered("far", distances),
        sample::gathered("robustness", robustness),
    ];
    let index = sample.computed("summary", "report", &vec![], serde_json::json!({}), inputs);
    match &sample.records[&index].record.ports["metrics"].inline {
        Some(Artifact::Metrics(Metrics { values })) => values.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn distances_are_compared_within_a_source_only() {
    let near = [
        ("a", 1.0, 2.0),
        ("b", 2.0, 4.0),
        ("c", 3.0, 6.5),
        ("d", 4.0, 7.0),
        ("e", 5.0, 9.0),
    ];
    // The same order on another scale: pooled, the two sources would contradict each other.
    let far = near.map(|(domain, distance, drop)| (domain, 1000.0 + 50.0 * distance, drop - 30.0));
    let found = related(&[("narrow", &near), ("rich", &far)]);
    let value = |name: &str| found[name].value;
    assert_eq!(value("far_drop_spearman"), 1.0);
    assert!((0.97..1.0).contains(&value("far_drop_pearson")));
    assert_eq!(found["far_drop_spearman"].n, Some(10));
    // 2 of the 120 orders of five domains are as extreme.
    assert!((value("far_drop_spearman_p") - 2.0 / 120.0).abs() < 0.005);
    let reversed = near.map(|(domain, distance, drop)| (domain, -distance, drop));
    let found = related(&[("narrow", &near), ("rich", &reversed)]);
    assert!(found["far_drop_spearman"].value.abs() < 1e-12);
    assert_eq!(found["far_drop_spearman_p"].value, 1.0);
}

#[test]
fn what_has_no_correlation_gets_no_number() {
    let still = [("a", 1.0, 0.0), ("b", 2.0, 0.0), ("c", 3.0, 0.0)];
    assert_eq!(related(&[("narrow", &still)]), BTreeMap::new());
    assert_eq!(
        related(&[("narrow", &[("a", 1.0, 2.0), ("b", 2.0, 3.0)])]),
        BTreeMap::new()
    );
}
