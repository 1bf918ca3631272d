//! `ribflow bench [NAME…]`: measures performance on this machine.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use candle_core::Device;
use clap::{Args, ValueHint};
use serde::Deserialize;
use serde_json::json;

use super::call::Call;
use super::common::Common;
use super::failure::{Exit, Failure};
use crate::bench::machine::Machine;
use crate::bench::{self, BenchError, Measured, Setting};
use crate::engine::device;
use crate::memory;

/// What `--help` begins with.
const ABOUT: &str = "\
Measure how fast ribflow is on this machine

Benchmarks cover kernels, models, images, transport, hashing, the store, no-op runs, and commands.
Each runs in its own process, so that its peak memory is its own: a warm-up first, then several
rounds. The table shows the minimum, the median and the maximum. On a busy machine, the minimum is
the most reliable.

Without names, a short selection runs for about a minute. Benchmarks that need files create them in
the system's temporary folder and remove them afterwards.";

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow bench                                           a short selection, about a minute
  ribflow bench --list                                    every name, and the syntax of names
  ribflow bench model/resnet18                            all names with this prefix
  ribflow bench 'model/*/train' --threads 2               all names that match
  ribflow bench model/vit_base_patch32_224/train/b4/bf16  another model, batch and precision
  ribflow bench data/jpeg224 --images photographs/        on real photographs
  ribflow bench gemm --json | jq '.results[] | [.name, .wall_ms.median, .rate]'

benches/peers/ in the source tree has the same work in PyTorch and other libraries, and scripts
that alternate between the two.";

/// Measure how fast ribflow is on this machine
#[derive(Clone, Debug, Args)]
#[command(long_about = ABOUT, after_help = EXAMPLES)]
pub struct BenchArguments {
    /// What to measure: a name, a prefix that ends before a /, or a pattern with *
    /// [default: a short selection]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// Minimum time for each benchmark; at least three rounds run in any case
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    pub seconds: f64,

    /// Photographs for data/jpeg, data/jpeg224 and data/tensor224: a folder, searched recursively
    /// for JPEG files
    ///
    /// data/jpeg224 then also reports the SHA-256 of all pixels, in path order, for comparison with
    /// other decoders.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub images: Option<PathBuf>,

    /// List the names; a * marks the short selection
    #[arg(long)]
    pub list: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds: a number from 0 to 86400".to_string()),
    }
}

pub fn run(
    arguments: &BenchArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    if arguments.list {
        return list(common, output);
    }
    let names = bench::select(&arguments.names).map_err(failure)?;
    opened(common)?;
    let machine = Machine::here();
    if !common.json {
        print_head(&machine, common, output)?;
    }
    let mut lines = ResultTable::new(&names);
    let mut results = Vec::new();
    for name in &names {
        let measured = match names.len() {
            1 => measure_here(name, arguments, common)?,
            _ => measure_in_child(name, arguments, common)?,
        };
        if !common.json {
            lines.show(&measured, output)?;
        }
        results.push(measured);
    }
    if common.json {
        let document = json!({
            "machine": machine,
            "threads": common.threads(),
            "seconds": arguments.seconds,
            "results": results,
        });
        writeln!(output, "{document}")?;
    }
    Ok(Exit::Done)
}

fn failure(error: BenchError) -> Failure {
    match &error {
        BenchError::Unknown { hint, .. } => {
            Failure::usage("unknown-benchmark", error.to_string()).hint(hint)
        }
        BenchError::NoImages(_) => Failure::usage("no-images", error.to_string())
            .hint("--images expects a folder with .jpg or .jpeg files, at any depth"),
        _ => Failure::from_error(&error),
    }
}

/// Opens the requested device.
fn opened(common: &Common) -> Result<Device, Failure> {
    let name = device::resolve(&common.device.to_string());
    let device = name.and_then(|name| device::open(&name));
    device.map_err(|error| Failure::usage("device", error.to_string()))
}

fn measure_here(
    name: &str,
    arguments: &BenchArguments,
    common: &Common,
) -> Result<Measured, Failure> {
    let setting = Setting {
        threads: common.threads(),
        seconds: arguments.seconds,
        device: opened(common)?,
        images: arguments.images.clone(),
    };
    bench::run(name, &setting).map_err(failure)
}

/// Measures in a child process.
fn measure_in_child(
    name: &str,
    arguments: &BenchArguments,
    common: &Common,
) -> Result<Measured, Failure> {
    let stopped = |why: String| Failure::failed(format!("`{name}` was not measured: {why}"));
    let program = std::env::current_exe().map_err(|error| stopped(error.to_string()))?;
    // As in a worker.
    let (variable, value) = memory::huge_pages();
    let mut command = Command::new(program);
    command
        .env(variable, value)
        .args(["bench", name, "--json", "--threads"])
        .arg(common.threads().to_string())
        .args(["--seconds", &arguments.seconds.to_string()])
        .args(["--device", &common.device.to_string()]);
    if let Some(images) = &arguments.images {
        command.arg("--images").arg(images);
    }
    let child = command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let found = child.output().map_err(|error| stopped(error.to_string()))?;
    #[derive(Deserialize)]
    struct Output {
        results: Vec<Measured>,
    }
    let document = serde_json::from_slice::<Output>(&found.stdout).ok();
    let result = document.and_then(|document| document.results.into_iter().next());
    result.ok_or_else(|| stopped(format!("its process ended with {}", found.status)))
}

fn list(common: &Common, output: &mut dyn Write) -> Result<Exit, Failure> {
    let families = bench::families();
    if common.json {
        let names = families.iter().flat_map(|family| &family.names);
        let names: Vec<_> = names
            .map(|(name, usual)| json!({ "name": name, "usual": usual }))
            .collect();
        writeln!(output, "{}", json!({ "benchmarks": names }))?;
        return Ok(Exit::Done);
    }
    for family in families {
        writeln!(output, "{}", family.form)?;
        writeln!(output, "    {}", family.about)?;
        for (name, usual) in family.names {
            writeln!(output, "  {} {name}", if usual { '*' } else { ' ' })?;
        }
        writeln!(output)?;
    }
    Ok(Exit::Done)
}

fn print_head(machine: &Machine, common: &Common, output: &mut dyn Write) -> Result<(), Failure> {
    let Machine {
        processor,
        cores,
        device_class,
        os,
        ribflow,
        load,
    } = machine;
    writeln!(output, "{processor}, {cores} cores, {device_class}, {os}")?;
    let load = load.map_or_else(String::new, |load| format!(", load {load}"));
    let threads = common.threads();
    writeln!(output, "ribflow {ribflow}, {threads} threads{load}\n")?;
    Ok(())
}

/// A table that is printed row by row.
struct ResultTable {
    width: usize,
    begun: bool,
}

impl ResultTable {
    fn new(names: &[String]) -> Self {
        let width = names.iter().map(String::len).max().unwrap_or(0);
        Self {
            width,
            begun: false,
        }
    }

    fn show(&mut self, measured: &Measured, output: &mut dyn Write) -> Result<(), Failure> {
        let width = self.width;
        if !self.begun {
            self.begun = true;
            writeln!(
                output,
                "{:<width$}  {:>9}  {:>9}  {:>9}  {:>9}  {:>22}  {:>8}",
                "", "median ms", "least", "largest", "CPU ms", "", "peak MiB"
            )?;
        }
        let wall = &measured.wall_ms;
        let cpu = measured.cpu_ms.map_or_else(String::new, digits);
        let peak = measured.peak_bytes.map_or_else(String::new, |bytes| {
            format!("{:.0}", bytes as f64 / f64::from(1 << 20))
        });
        writeln!(
            output,
            "{:<width$}  {:>9}  {:>9}  {:>9}  {:>9}  {:>22}  {:>8}",
            measured.name,
            digits(wall.median),
            digits(wall.least),
            digits(wall.largest),
            cpu,
            format!("{} {}", digits(measured.rate), measured.rate_unit),
            peak
        )?;
        if let Some(digest) = &measured.digest {
            writeln!(output, "  SHA-256 of the pixels {digest}")?;
        }
        // Users see each result as soon as it is measured.
        output.flush()?;
        Ok(())
    }
}

/// About three significant digits.
fn digits(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 1.0 => format!("{value:.2}"),
        value => format!("{value:.4}"),
    }
}
