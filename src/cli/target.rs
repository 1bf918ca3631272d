//! A workflow and a part of it, as most subcommands take them.

use clap::{ArgAction, Args, ValueHint};

use std::path::PathBuf;

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
