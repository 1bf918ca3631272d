//! The command line as a whole: the common options and the list of subcommands.

use clap::Parser;

use super::call::subcommands;
use super::common::Common;
use super::{
    bench, cache, completions, data, export, get, graph, import, key, kinds, lock, models, plan,
    pull, push, remote, revoke, run, schema, serve, status, trust, validate, verify, why, worker,
};

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
        Run(run::RunArguments) => run::run,
        Plan(plan::PlanArguments) => plan::run,
        Status(status::StatusArguments) => status::run,
        Why(why::WhyArguments) => why::run,
        Get(get::GetArguments) => get::run,
        Verify(verify::VerifyArguments) => verify::run,
        Lock(lock::LockArguments) => lock::run,
        Push(push::PushArguments) => push::run,
        Pull(pull::PullArguments) => pull::run,
        Export(export::ExportArguments) => export::run,
        Import(import::ImportArguments) => import::run,
        Cache(cache::CacheArguments) => cache::run,
        Validate(validate::ValidateArguments) => validate::run,
        Graph(graph::GraphArguments) => graph::run,
        Key(key::KeyArguments) => key::run,
        Trust(trust::TrustArguments) => trust::run,
        Remote(remote::RemoteArguments) => remote::run,
        Revoke(revoke::RevokeArguments) => revoke::run,
        Serve(serve::ServeArguments) => serve::run,
        Data(data::DataArguments) => data::run,
        Kinds(kinds::KindsArguments) => kinds::run,
        Models(models::ModelsArguments) => models::run,
        Bench(bench::BenchArguments) => bench::run,
        Schema(schema::SchemaArguments) => schema::run,
        Completions(completions::CompletionsArguments) => completions::run,
        Worker(worker::WorkerArguments) => worker::run,
    }
}
