//! Nodes whose command does nothing, plain and isolated, one after another: their difference is what
//! isolation costs. Times the whole process, as the user experiences it.

use std::fs;

use super::gemm::positive;
use super::measure::Throughput;
use super::noop::run;
use super::{BenchError, Family, Prepare, Setting, Work};

pub(super) const FAMILY: Family = Family {
    form: "command/NODES/LINE",
    about: "nodes that run a command; LINE is plain or isolated (Landlock and seccomp)",
    names: || {
        let both = ["plain", "isolated"];
        both.map(|line| format!("command/50/{line}")).to_vec()
    },
    usual: &[],
    find,
};

fn find(parts: &[&str]) -> Option<Prepare> {
    let [nodes, line] = parts else { return None };
    let nodes = positive(nodes)?;
    let isolated = match *line {
        "plain" => false,
        "isolated" => true,
        _ => return None,
    };
    Some(Box::new(move |setting: &Setting| {
        let folder = tempfile::Builder::new()
            .prefix("ribflow-bench-")
            .tempdir()
            .map_err(BenchError::io(std::env::temp_dir()))?;
        let file = folder.path().join("command.yaml");
        fs::write(&file, workflow(nodes, isolated)).map_err(BenchError::io(&file))?;
        let threads = setting.threads;
        Ok(Work::new(
            Throughput::of(nodes, "nodes", "nodes/s"),
            move || {
                let _ = &folder;
                run(&file, threads, &["--force", "line"])
            },
        ))
    }))
}

fn workflow(nodes: usize, isolated: bool) -> String {
    let numbers: Vec<String> = (0..nodes).map(|number| number.to_string()).collect();
    format!(
        "ribflow: 1\nname: command\naxes:\n  number: [{}]\nstages:\n  line:\n    each: [number]\n    \
         use: command\n    with: {{ run: \"echo ${{number}} > out/x\", outputs: [x], isolated: {isolated} }}\n",
        numbers.join(", ")
    )
}
