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
  ribflow run workflows/mini-rib.yaml --profile tiny   the whole benchmark, as small as it gets
  ribflow plan workflows/mini-rib.yaml                 what a run would do
  ribflow run --help                                   more of this";

/// The same for `ribflow --help`, in full.
const MANUAL: &str = "\
Start here:
  ribflow run workflows/mini-rib.yaml --profile tiny   the whole benchmark, as small as it gets
  ribflow plan workflows/mini-rib.yaml                 what a run would do
  ribflow run --help                                   more of this

Nodes are named as in a workflow's `needs:`: accuracy (all nodes of the stage), tuned[method=ft]
(those with this value), tuned[method=ft|lp,seed=0]. Quote them: brackets mean something to shells.

Exit codes:
  0    done
  1    a node failed
  2    the workflow or the command line is wrong; nothing was started
  3    verify: a published number, a claim or a recomputed result did not come out
  4    verify: nothing could be judged
  130  interrupted

Environment:
  RIBFLOW_STORE  the store, as --store
  RIBFLOW_KEY    the key that signs, where there are several
  RIBFLOW_LOG    what to log to standard error: info, debug, ribflow::store=trace
  NO_COLOR       no colours";

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
