//! A second run of a workflow of many nodes, with nothing left to do: times the whole process, as
//! the user experiences it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::gemm::positive;
use super::measure::Throughput;
use super::{BenchError, Family, Prepare, Result, Setting, Work};

pub(super) const FAMILY: Family = Family {
    form: "noop/NODES",
    about: "a run in which every node has a record; its first run is not measured",
    names: || ["noop/200", "noop/1000"].map(str::to_string).to_vec(),
    usual: &["noop/200"],
    find,
};

fn find(parts: &[&str]) -> Option<Prepare> {
    let [nodes] = parts else { return None };
    let nodes = positive(nodes)?;
    Some(Box::new(move |setting: &Setting| {
        let folder = tempfile::Builder::new()
            .prefix("ribflow-bench-")
            .tempdir()
            .map_err(BenchError::io(std::env::temp_dir()))?;
        let file = folder.path().join("noop.yaml");
        fs::write(&file, workflow(nodes)).map_err(BenchError::io(&file))?;
        let threads = setting.threads;
        run(&file, threads, &[])?;
        Ok(Work::new(
            Throughput::of(nodes, "nodes", "nodes/s"),
            move || {
                let _ = &folder;
                run(&file, threads, &[])
            },
        ))
    }))
}

/// Datasets of one small picture each.
fn workflow(nodes: usize) -> String {
    let seeds: Vec<String> = (0..nodes).map(|seed| seed.to_string()).collect();
    format!(
        "ribflow: 1\nname: noop\naxes:\n  seed: [{}]\nstages:\n  images:\n    each: [seed]\n    \
         use: dataset\n    with: {{ builtin: mini-rib, domain: v2, images: 1, seed: \"${{seed}}\" }}\n",
        seeds.join(", ")
    )
}

/// Runs a workflow in a process of its own, with a store beside it.
pub(super) fn run(file: &Path, threads: usize, more: &[&str]) -> Result<()> {
    let program = std::env::current_exe().map_err(BenchError::io("this program"))?;
    let output = Command::new(&program)
        .args(["run", "--quiet", "--threads", &threads.to_string()])
        .arg("--store")
        .arg(file.with_file_name("cache"))
        .arg("--out")
        .arg(file.with_file_name("out"))
        .arg(file)
        .args(more)
        .stdin(Stdio::null())
        .output()
        .map_err(BenchError::io(&program))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let words = String::from_utf8_lossy(&output.stderr);
            Err(BenchError::Run(words.trim().to_string()))
        }
    }
}
