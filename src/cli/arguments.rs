//! The command line as a whole: the common options and the list of subcommands.

use clap::Parser;

use super::call::subcommands;
use super::common::Common;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Start here:
  ribflow run workflows/mini-rib.yaml --profile tiny   run the whole benchmark at its smallest
  ribflow plan workflows/mini-rib.yaml                 show what a run would do
  ribflow run --help                                   more examples";

/// The end of `ribflow --help`, in full.
const MANUAL: &str = "\
Start here:
  ribflow run workflows/mini-rib.yaml --profile tiny   run the whole benchmark at its smallest
  ribflow plan workflows/mini-rib.yaml                 show what a run would do
  ribflow run --help                                   more examples

Name nodes as in a workflow's `needs:`: accuracy (all nodes of the stage), tuned[method=ft] (those
with this value), tuned[method=ft|lp,seed=0]. Quote them: brackets are special in shells.

Exit codes:
  0    success
  1    a node failed
  2    the workflow or the command line is invalid; nothing was started
  3    verify: a published number, a claim or a recomputed result was not reproduced
  4    verify: nothing could be judged
  130  interrupted

Environment:
  RIBFLOW_STORE  the store; same as --store
  RIBFLOW_KEY    the signing key, if there are several
  RIBFLOW_LOG    log filter for standard error: info, debug, ribflow::store=trace
  NO_COLOR       disables colours";

/// Reproduce robustness and fine-tuning benchmarks from one YAML file.
///
/// A workflow file describes a grid: models × datasets × methods. Every cell is a node. A store
/// keeps its result under a key derived from everything that went into it, so a second run costs
/// nothing and a change costs only what depends on it.
#[derive(Debug, Parser)]
#[command(
    name = "ribflow",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    propagate_version = true,
    after_help = EXAMPLES,
    after_long_help = MANUAL
)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

subcommands! {
    Command {
        Run(super::run::RunArguments) => super::run::run,
        Plan(super::plan::PlanArguments) => super::plan::run,
        Status(super::status::StatusArguments) => super::status::run,
        Logs(super::logs::LogsArguments) => super::logs::run,
        Stats(super::stats::StatsArguments) => super::stats::run,
        Trace(super::trace::TraceArguments) => super::trace::run,
        Shell(super::shell::ShellArguments) => super::shell::run,
        Why(super::why::WhyArguments) => super::why::run,
        Get(super::get::GetArguments) => super::get::run,
        Verify(super::verify::VerifyArguments) => super::verify::run,
        Lock(super::lock::LockArguments) => super::lock::run,
        Push(super::push::PushArguments) => super::push::run,
        Pull(super::pull::PullArguments) => super::pull::run,
        Export(super::export::ExportArguments) => super::export::run,
        Import(super::import::ImportArguments) => super::import::run,
        Cache(super::cache::CacheArguments) => super::cache::run,
        Validate(super::validate::ValidateArguments) => super::validate::run,
        Graph(super::graph::GraphArguments) => super::graph::run,
        Key(super::key::KeyArguments) => super::key::run,
        Trust(super::trust::TrustArguments) => super::trust::run,
        Remote(super::remote::RemoteArguments) => super::remote::run,
        Revoke(super::revoke::RevokeArguments) => super::revoke::run,
        Serve(super::serve::ServeArguments) => super::serve::run,
        Slurm(super::slurm::SlurmArguments) => super::slurm::run,
        Data(super::data::DataArguments) => super::data::run,
        Kinds(super::kinds::KindsArguments) => super::kinds::run,
        Models(super::models::ModelsArguments) => super::models::run,
        Bench(super::bench::BenchArguments) => super::bench::run,
        Schema(super::schema::SchemaArguments) => super::schema::run,
        Completions(super::completions::CompletionsArguments) => super::completions::run,
        Worker(super::worker::WorkerArguments) => super::worker::run,
    }
}
