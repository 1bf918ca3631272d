//! A stage kind that adds numbers, and misbehaves as it is told.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ribflow::contract::port::{OutputSpec, PortType};
use ribflow::contract::source::{Source, SourceShape};
use ribflow::stages::derived::{InputArtifacts, Work};
use ribflow::stages::price::{CostEstimate, InputForecasts};
use ribflow::stages::registry::Registry;
use ribflow::stages::task::{Context, Location, Outputs, Stage, TaskError, Weight};
use ribflow::store::artifact::{Artifact, Files, Metric, Metrics};
use ribflow::workflow::kind::{
    BoundInput, Comparison, Gathers, InputSpec, Meaning, ParameterProblem,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Gives `value` plus the numbers of its inputs, modulo `modulo`, and a file made of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Probe {
    pub value: i64,
    /// 0: none.
    pub modulo: i64,
    pub mode: Mode,
    /// Milliseconds.
    pub sleep: u64,
    pub tiny: bool,
    /// Where executions leave their trace: a folder; and the name they leave there.
    pub trace: Location,
    pub name: Location,
    /// A folder of outside data, whose number of files is added.
    pub data: Option<Location>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    #[default]
    Well,
    /// Returns an error.
    Fail,
    /// Fails until it was tried twice.
    FailTwice,
    Panic,
    /// Ends the whole process.
    Abort,
    /// Does not look whether it is cancelled.
    Deaf,
    /// Starts a process that outlives any patience.
    Shell,
    /// Gives an output less than it declares.
    Forget,
    /// Gives a number that is none.
    Nan,
    /// Prints to both outputs and reads its input.
    Chatter,
    /// Gives other bytes each time.
    Drift,
}

impl Stage for Probe {
    const NAME: &'static str = "probe";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Adds numbers.";
    const COMPARISON: Comparison = Comparison::BitEqual;
    const MEANING: Meaning = Meaning::Plain;

    fn inputs(&self) -> Vec<InputSpec> {
        vec![
            InputSpec::many("of", PortType::Metrics, Gathers::Any).optional(),
            InputSpec::many("read", PortType::Files, Gathers::Any).optional(),
        ]
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        vec![
            OutputSpec::new("number", PortType::Metrics),
            OutputSpec::new("files", PortType::Files),
        ]
    }

    fn sources(&self) -> Vec<Source> {
        let sources = self.data.iter().map(|location| Source {
            name: "data".to_string(),
            location: location.0.clone().into(),
            shape: SourceShape::Tree,
            sealed: false,
        });
        sources.collect()
    }

    fn withholds(&self) -> ribflow::workflow::kind::Withholds {
        ribflow::workflow::kind::Withholds::Nothing
    }

    fn price(&self, _foreseen: &InputForecasts) -> CostEstimate {
        CostEstimate::nothing()
    }

    fn weight(&self) -> Weight {
        if self.tiny {
            Weight::Tiny
        } else {
            Weight::Heavy
        }
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let trace = Path::new(&self.trace.0);
        note(trace, "ran", &self.name.0);
        self.misbehave(context, trace)?;
        let mut sum = self.value;
        for member in context.members("of") {
            let Artifact::Metrics(metrics) = &member.artifact else {
                return Err(TaskError::Input("no metrics".to_string()));
            };
            sum += metrics.values["number"].value as i64;
        }
        for member in context.members("read") {
            for root in &member.roots {
                note(
                    trace,
                    "roots",
                    &format!("{} {}", self.name.0, root.display()),
                );
            }
            let Artifact::Files(tree) = &member.artifact else {
                return Err(TaskError::Input("no files".to_string()));
            };
            for blob in tree.files.values() {
                context.blobs.read(&blob.digest)?;
            }
        }
        for member in context.members("data") {
            if let Artifact::Files(tree) = &member.artifact {
                sum += tree.files.len() as i64;
            }
        }
        if self.modulo > 0 {
            sum %= self.modulo;
        }
        context.progress.log(&format!("the sum is {sum}"));
        context.progress.advance(1, 1, "sums");
        self.outputs_of(context, sum)
    }
}

impl Probe {
    fn misbehave(&self, context: &Context, trace: &Path) -> Result<(), TaskError> {
        let failed = || Err(TaskError::Failed("as it was told".to_string()));
        match self.mode {
            Mode::Fail => return failed(),
            Mode::FailTwice => {
                note(trace, "tried", &self.name.0);
                let tries = fs::read_to_string(trace.join("tried")).unwrap_or_default();
                if tries.lines().filter(|name| **name == self.name.0).count() <= 2 {
                    return failed();
                }
            }
            Mode::Panic => panic!("as it was told"),
            Mode::Abort => {
                eprintln!("about to abort");
                std::process::abort()
            }
            Mode::Shell => {
                let shell = std::process::Command::new("sleep").arg("1000").spawn();
                let pid = shell
                    .map(|child| child.id().to_string())
                    .unwrap_or_default();
                note(trace, "children", &pid);
            }
            Mode::Chatter => {
                println!("{{\"finished\":\"cancelled\"}}");
                eprintln!("and more of it");
                let _ = std::process::Command::new("sh")
                    .args(["-c", "cat; echo from a shell"])
                    .status();
            }
            _ => {}
        }
        let end = Instant::now() + Duration::from_millis(self.sleep);
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
            if self.mode != Mode::Deaf {
                context.check_cancelled()?;
            }
        }
        Ok(())
    }

    fn outputs_of(&self, context: &Context, sum: i64) -> Result<Outputs, TaskError> {
        let mut number = Metric::new(sum as f64, "");
        if self.mode == Mode::Nan {
            number.value = f64::NAN;
        }
        let values = [("number".to_string(), number)].into();
        let outputs = Outputs::one("number", Artifact::Metrics(Metrics { values }));
        if self.mode == Mode::Forget {
            return Ok(outputs);
        }
        let mut content = format!("{sum} {}", "of much ".repeat(100));
        if self.mode == Mode::Drift {
            static TIMES: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
            let times = TIMES.fetch_add(1, Ordering::Relaxed);
            content += &format!("{} {times}", std::process::id());
        }
        let blob = context.blobs.write(content.as_bytes())?;
        let files: Files = [("data".to_string(), blob)].into_iter().collect();
        Ok(outputs.and("files", Artifact::Files(files)))
    }
}

fn note(trace: &Path, file: &str, line: &str) {
    let file = File::options()
        .create(true)
        .append(true)
        .open(trace.join(file));
    // One write, so that lines of several processes do not mix.
    let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    written.expect("the trace can be written");
}

pub fn registry() -> Registry {
    Registry::default().with::<Probe>()
}

/// The probe of a later ribflow: version 2 of the same kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Later(Probe);

impl Stage for Later {
    const NAME: &'static str = Probe::NAME;
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = Probe::SUMMARY;
    const COMPARISON: Comparison = Probe::COMPARISON;
    const MEANING: Meaning = Meaning::Plain;

    fn inputs(&self) -> Vec<InputSpec> {
        self.0.inputs()
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        self.0.outputs()
    }

    fn open_inputs(&self) -> Option<&'static [PortType]> {
        self.0.open_inputs()
    }

    fn sources(&self) -> Vec<Source> {
        self.0.sources()
    }

    fn withholds(&self) -> ribflow::workflow::kind::Withholds {
        self.0.withholds()
    }

    fn check(&self, inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        self.0.check(inputs)
    }

    fn price(&self, foreseen: &InputForecasts) -> CostEstimate {
        self.0.price(foreseen)
    }

    fn weight(&self) -> Weight {
        self.0.weight()
    }

    fn derived(&self, given: &InputArtifacts, device_class: &str) -> Vec<Work> {
        self.0.derived(given, device_class)
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        self.0.run(context)
    }
}

pub fn later_registry() -> Registry {
    Registry::default().with::<Later>()
}
