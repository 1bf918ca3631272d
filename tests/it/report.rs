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
    let grid = Grid::full();
    let sample = sample::mini_rib(&grid);
    println!("{}", sample.graph.dag.node_count());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report-preview");
    let started = std::time::Instant::now();
    write(&sample, &folder);
    println!("{:?}", started.elapsed());
    let started = std::time::Instant::now();
    write(&sample, &folder);
    println!("again {:?}", started.elapsed());
    println!(
        "{}",
        report::summary_text(&View::new(&sample.graph, &sample.records))
    );
    write(
        &sample::my_images(),
        &Path::new(env!("CARGO_TARGET_TMPDIR")).join("report-preview-images"),
    );
    let _ = fs::metadata(&folder);
}
