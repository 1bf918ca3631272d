//! What may be typed: the arguments of every subcommand, with the help that teaches them.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};

use super::accepting::{AcceptArguments, Older};
use super::cache::arguments::CacheArguments;
use super::key::{self, KeyArguments};
use super::remote::{self, RemoteArguments};
use super::revoke::{self, RevokeArguments};
use super::serve::{self, ServeArguments};
use super::trust::{self, TrustArguments};
use super::{about, bench, bundle, examples, import, pull, push, ro_crate};
use crate::remote::trust::share;
use crate::ui::Detail;
use crate::workflow::resources::bytes;

/// Reproduce robustness and fine-tuning benchmarks from one YAML file.
///
/// A workflow file describes a grid: models × datasets × methods. Every cell is a node whose
/// result is kept in a store under a key made of everything that went into it, so a second run
/// costs nothing and a change costs only what depends on it.
#[derive(Debug, Parser)]
#[command(
    name = "ribflow",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    propagate_version = true,
    after_help = examples::RIBFLOW,
    after_long_help = examples::RIBFLOW_LONG
)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that stand before or after any subcommand.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// The store: where results are kept and found
    ///
    /// Default: cache/ in the nearest folder, from the workflow's own upwards, that holds
    /// cache/store.json or cache/README.md; else cache/ beside the workflow. The default store must
    /// be one that you made or adopted (`ribflow cache adopt`).
    #[arg(long, global = true, value_name = "DIR", env = "RIBFLOW_STORE")]
    #[arg(hide_env_values = true, value_hint = ValueHint::DirPath)]
    pub store: Option<PathBuf>,

    /// Where reports are written
    ///
    /// The report of a workflow goes to a folder of its name in there. Default: out/ beside the
    /// cache/ that is the default store.
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,

    /// Cores for the whole run [default: all]
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<NonZeroUsize>,

    /// Where models run: auto, cpu, cuda or cuda:N
    #[arg(long, global = true, value_name = "DEVICE", default_value = "auto")]
    pub device: Device,

    /// Print JSON, for scripts
    #[arg(long, global = true)]
    pub json: bool,

    /// Say only what went wrong
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Say more; -vv also logs what happens inside (see RIBFLOW_LOG)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

impl Common {
    /// Cores for the whole run.
    pub fn threads(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.map_or_else(all, NonZeroUsize::get)
    }

    pub fn detail(&self) -> Detail {
        match self {
            Self { quiet: true, .. } => Detail::Quiet,
            Self { verbose: 0, .. } => Detail::Normal,
            _ => Detail::Verbose,
        }
    }
}

/// The device of a run, as asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// A GPU if this build and this machine have one.
    #[default]
    Auto,
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(number) => write!(formatter, "cuda:{number}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no device: auto, cpu, cuda or cuda:N is expected");
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(wrong),
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a workflow, or go on with it
    Run(RunArguments),
    /// Show what a run would do
    #[command(long_about = about::PLAN)]
    Plan(PlanArguments),
    /// Show how far a workflow has come
    Status(StatusArguments),
    /// Show why a node would run, or where its result comes from
    Why(WhyArguments),
    /// Write a node's result as ordinary files
    Get(GetArguments),
    /// Say whether the published numbers came out
    #[command(long_about = about::VERIFY)]
    Verify(VerifyArguments),
    /// Write down what a workflow takes from outside
    #[command(long_about = about::LOCK)]
    Lock(LockArguments),
    /// Send results to a remote
    #[command(long_about = about::PUSH)]
    Push(push::PushArguments),
    /// Take results from a remote
    #[command(long_about = about::PULL)]
    Pull(pull::PullArguments),
    /// Write a workflow with its results as one file
    Export(ExportArguments),
    /// Take a workflow with its results from a file
    #[command(long_about = about::IMPORT)]
    Import(import::ImportArguments),
    /// Look after the store: clean it, check it, keep results, see what takes room
    ///
    /// The store is a folder of records, which say what came out, and of blobs, which records name.
    /// Nothing leaves it by itself: `gc` cleans it, and never takes what a pin, a run that goes on or
    /// a kept run needs.
    #[command(verbatim_doc_comment)]
    Cache(CacheArguments),
    /// Check a workflow file
    Validate(ValidateArguments),
    /// Draw the graph of a workflow
    Graph(GraphArguments),
    /// Make and show the key that signs what this lab shares
    #[command(long_about = key::ABOUT)]
    Key(KeyArguments),
    /// Say whose results are taken
    #[command(long_about = trust::ABOUT)]
    Trust(TrustArguments),
    /// Name the places that results are shared through
    #[command(long_about = remote::ABOUT)]
    Remote(RemoteArguments),
    /// Take back a record, or everything that a key has signed
    #[command(long_about = revoke::ABOUT)]
    Revoke(RevokeArguments),
    /// Let other labs read the store over HTTP, and write to it with a token
    #[command(long_about = serve::ABOUT)]
    Serve(ServeArguments),
    /// Look at the datasets on disk
    Data(DataArguments),
    /// Show what the stage kinds take and give
    Kinds(KindsArguments),
    /// List the architectures and what their published checkpoints ask for
    #[command(long_about = about::MODELS)]
    Models(ModelsArguments),
    /// Measure how fast ribflow is on this machine
    #[command(long_about = about::BENCH)]
    Bench(bench::BenchArguments),
    /// Print the JSON Schema of workflow files
    Schema(SchemaArguments),
    /// Print completions for a shell
    Completions(CompletionsArguments),
    /// Execute nodes for the process that started this one
    #[command(hide = true)]
    Worker(WorkerArguments),
}

/// A workflow file and what is changed in it.
#[derive(Clone, Debug, Args)]
pub struct WorkflowArguments {
    /// The workflow file
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// Override a parameter or an axis: params.epochs=2, 'axes.seed=[0, 1, 2]'; repeatable
    ///
    /// Reaches `params.*` and `axes.*` only, after the profiles. The value is YAML; maps merge,
    /// lists replace.
    #[arg(long = "set", value_name = "PATH=VALUE", action = ArgAction::Append)]
    pub sets: Vec<String>,

    /// Apply a profile of the workflow file; repeatable, from left to right
    #[arg(long = "profile", value_name = "NAME", action = ArgAction::Append)]
    pub profiles: Vec<String>,
}

/// A workflow and the part of it that is meant.
#[derive(Clone, Debug, Args)]
pub struct TargetArguments {
    #[command(flatten)]
    pub workflow: WorkflowArguments,

    /// Only these nodes and what they need: accuracy, 'tuned[method=ft|lp]', 'accuracy[seed=0]'
    /// [default: the workflow's goals]
    #[arg(value_name = "NODE")]
    pub targets: Vec<String>,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::RUN)]
pub struct RunArguments {
    #[command(flatten)]
    pub target: TargetArguments,

    /// Run these nodes although they have a record; repeatable
    ///
    /// What depends on them runs again only if their results differ.
    #[arg(long, value_name = "NODE", action = ArgAction::Append)]
    pub force: Vec<String>,

    #[command(flatten)]
    pub accept: AcceptArguments,

    /// Start at most N nodes, then stop
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,

    /// Look at every file of datasets that are `sealed: true`, as if they were not
    #[arg(long)]
    pub check_sealed: bool,

    /// Most bytes of derived work that the store keeps: 64GB, 500GiB, 0 for none
    ///
    /// Decoded images, features and logits that many nodes need are made once and kept in the
    /// store's derived/. Beyond this, images are decoded whenever they are read; the results are
    /// the same. A tenth of the disk always stays free.
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64GB",
        env = "RIBFLOW_DERIVED_MAX"
    )]
    #[arg(hide_env_values = true)]
    pub derived_max: Size,

    /// After a failure go on with everything that does not depend on it
    #[arg(long)]
    pub keep_going: bool,

    /// Look there for results before computing them; repeatable, the first one first
    ///
    /// A name that `ribflow remote add` gave, or a URL. Only what somebody trusted has signed is
    /// taken; files are fetched when something reads them. What is made here is written to those
    /// remotes that were added with `--write`. A remote that is down costs the reuse, nothing else.
    #[arg(long = "remote", value_name = "NAME", action = ArgAction::Append)]
    pub remotes: Vec<String>,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::PLAN)]
pub struct PlanArguments {
    #[command(flatten)]
    pub target: TargetArguments,

    /// Look there too: a name that `ribflow remote add` gave, or a URL; repeatable
    #[arg(long = "remote", value_name = "NAME", action = ArgAction::Append)]
    pub remotes: Vec<String>,

    #[command(flatten)]
    pub accept: AcceptArguments,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::STATUS)]
pub struct StatusArguments {
    #[command(flatten)]
    pub target: TargetArguments,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::WHY)]
pub struct WhyArguments {
    #[command(flatten)]
    pub workflow: WorkflowArguments,

    /// The nodes: 'tuned[method=ft,seed=0]', or a stage for all of its nodes
    #[arg(value_name = "NODE")]
    pub node: String,

    #[command(flatten)]
    pub accept: AcceptArguments,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::GET)]
pub struct GetArguments {
    #[command(flatten)]
    pub workflow: WorkflowArguments,

    /// Fetch what is not here from there: a name that `ribflow remote add` gave, or a URL
    #[arg(long = "remote", value_name = "NAME", action = ArgAction::Append)]
    pub remotes: Vec<String>,

    /// The node, and after a dot which of its outputs: 'drawn.drawings' [default: the first one]
    #[arg(value_name = "NODE[.OUTPUT]")]
    pub node: String,

    /// The folder to write to; made where there is none
    #[arg(short, long = "output", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub output: PathBuf,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::VERIFY)]
pub struct VerifyArguments {
    #[command(flatten)]
    pub workflow: WorkflowArguments,

    /// The published values, in place of what the workflow's report names under `expect:`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub expect: Option<PathBuf>,

    /// End with 4 also where anything is left that could not be judged
    #[arg(long)]
    pub complete: bool,

    /// Recompute a share of the reused nodes instead, and compare: 5%, 0.05; all: 100%
    ///
    /// Without a share: 5%. Of each kind at least one node is drawn; the same records give the same
    /// draw. The nodes are executed in a scratch store, with the inputs that their records name;
    /// nothing in the store changes.
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "5%")]
    #[arg(conflicts_with = "expect")]
    pub recompute: Option<Share>,

    /// With --recompute: draw from the records that an older version of a kind made: evaluate@2
    ///
    /// If the sample agrees, `ribflow run --accept KIND@OLD` takes these records. Repeatable.
    #[arg(long, value_name = "KIND@OLD", action = ArgAction::Append, requires = "recompute")]
    pub accept: Vec<Older>,

    /// With --recompute: look there for records and files that are not here; repeatable
    #[arg(long = "remote", value_name = "NAME", action = ArgAction::Append)]
    #[arg(requires = "recompute")]
    pub remotes: Vec<String>,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::LOCK)]
pub struct LockArguments {
    /// The workflow file
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// Look up again what the lock has already
    #[arg(long)]
    pub update: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ExportArguments {
    #[command(subcommand)]
    pub command: ExportCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum ExportCommand {
    /// For a lab with no network in common
    #[command(long_about = about::EXPORT_BUNDLE)]
    Bundle(bundle::BundleArguments),
    /// A Workflow Run RO-Crate, for research repositories
    RoCrate(ro_crate::CrateArguments),
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::VALIDATE)]
pub struct ValidateArguments {
    #[command(flatten)]
    pub target: TargetArguments,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::GRAPH)]
pub struct GraphArguments {
    #[command(flatten)]
    pub target: TargetArguments,

    /// The language of the drawing
    #[arg(long, value_enum, default_value_t = GraphFormat::Dot)]
    pub format: GraphFormat,

    /// One box for each stage instead of one for each node
    #[arg(long)]
    pub stages: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// For Graphviz
    Dot,
    /// For Markdown
    Mermaid,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::DATA)]
pub struct DataArguments {
    #[command(subcommand)]
    pub command: DataCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum DataCommand {
    /// Say which of ImageNet-RIB's datasets lie in a folder, and what is missing
    ///
    /// Ends with 1 where one of them is incomplete, or none is there.
    Check(DataCheckArguments),
}

#[derive(Clone, Debug, Args)]
pub struct DataCheckArguments {
    /// The folder that holds val, v2, a, r, sketch, objectnet, cartoon, drawing, c
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,

    /// Decode every image too
    #[arg(long)]
    pub decode: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::KINDS)]
pub struct KindsArguments {
    /// All about this one: what it needs, every parameter with its default, what it gives
    #[arg(value_name = "KIND")]
    pub kind: Option<String>,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::MODELS)]
pub struct ModelsArguments {
    /// Only those whose name begins so
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::SCHEMA)]
pub struct SchemaArguments {}

#[derive(Clone, Debug, Args)]
pub struct WorkerArguments {
    /// Another store that blobs are read from
    #[arg(long, value_name = "DIR")]
    pub beside: Option<PathBuf>,

    /// Where missing blobs are fetched from
    #[arg(long = "remote", value_name = "NAME", action = ArgAction::Append)]
    pub remotes: Vec<String>,

    /// A server that has answered in this run: its slowness is borne with
    #[arg(long, value_name = "SERVER", action = ArgAction::Append)]
    pub answered: Vec<String>,

    /// A server that has not answered in this run: it is not asked again
    #[arg(long, value_name = "SERVER", action = ArgAction::Append)]
    pub silent: Vec<String>,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::COMPLETIONS)]
pub struct CompletionsArguments {
    pub shell: clap_complete::Shell,
}

/// An amount of bytes: `64GB`, `500GiB`, `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "0" => Ok(Self(0)),
            _ => bytes(&text.into()).map(Self),
        }
    }
}

/// A share of some nodes: `5%`, `0.05`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(pub f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share = share(text).filter(|share| *share > 0.0);
        share.map(Self).ok_or_else(|| {
            "a share is expected: 5%, 0.05, at most 100%; FILE stands before --recompute"
                .to_string()
        })
    }
}
