//! The arguments for a workflow and a selection of its nodes.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueHint};

/// A workflow file with overrides and profiles.
#[derive(Clone, Debug, Args)]
pub struct WorkflowArguments {
    /// The workflow file
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// Override a parameter or axis: params.epochs=2, 'axes.seed=[0, 1, 2]'; repeatable
    ///
    /// Applies to `params.*` and `axes.*` only, after the profiles. The value is YAML; maps are
    /// merged, lists replaced.
    #[arg(long = "set", value_name = "PATH=VALUE", action = ArgAction::Append)]
    pub sets: Vec<String>,

    /// Apply a profile of the workflow file; repeatable, applied from left to right
    #[arg(long = "profile", value_name = "NAME", action = ArgAction::Append)]
    pub profiles: Vec<String>,
}

/// A workflow and a selection of its nodes.
#[derive(Clone, Debug, Args)]
pub struct TargetArguments {
    #[command(flatten)]
    pub workflow: WorkflowArguments,

    /// Nodes to select, with their dependencies: accuracy, 'tuned[method=ft|lp]',
    /// 'accuracy[seed=0]' [default: the workflow's goals]
    #[arg(value_name = "NODE")]
    pub targets: Vec<String>,
}
