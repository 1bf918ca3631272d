//! What a report writes: the files, their bytes, and that unchanged ones stay untouched.

use std::fs;
use std::path::Path;

use ribflow::report::{self, View};

use crate::sample::{self, Grid, Sample};

fn write(sample: &Sample, folder: &Path) {
    let view = View::new(&sample.graph, &sample.records);
    report::write(&view, folder).unwrap();
}

#[test]
fn preview() {
    let seeds = Grid {
        seeds: vec!["0", "1", "2", "3", "4"],
        ..Grid::full()
    };
    let large = Grid {
        sources: vec![
            ("in1k-augreg", Some("IN-1K + AugReg")),
            ("in1k-sam", Some("IN-1K + SAM")),
            ("in21k", Some("IN-21K")),
            ("in21k-p", Some("IN-21K-P")),
            ("in21k-augreg", Some("IN-21K + AugReg")),
            ("openai", Some("OpenAI")),
            ("laion2b", Some("LAION-2B")),
        ],
        methods: vec![
            "ft",
            "lp",
            "lp-released",
            "lpft",
            "lora",
            "prompt",
            "lwf",
            "ewc",
            "wise-25",
            "wise-50",
            "wise-75",
            "soup",
        ],
        seeds: vec!["0", "1", "2"],
        ..Grid::full()
    };
    let samples = [
        ("mini", sample::mini_rib(&Grid::full())),
        ("study", sample::mini_rib(&seeds)),
        ("large", sample::mini_rib(&large)),
        ("small", sample::mini_rib(&Grid::small())),
        ("images", sample::my_images()),
    ];
    for (name, sample) in samples {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("report-preview")
            .join(name);
        let _ = fs::remove_dir_all(&folder);
        let started = std::time::Instant::now();
        write(&sample, &folder);
        let first = started.elapsed();
        let started = std::time::Instant::now();
        write(&sample, &folder);
        println!(
            "{name}: {} nodes, {first:?}, again {:?}",
            sample.graph.dag.node_count(),
            started.elapsed()
        );
        println!(
            "{}",
            report::summary_text(&View::new(&sample.graph, &sample.records))
        );
    }
}
