//! What may be typed after `ribflow cache`.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand, ValueHint};

use crate::cli::arguments::{Size, TargetArguments, WorkflowArguments};
use crate::cli::examples;
use crate::workflow::resources::seconds;

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::CACHE)]
pub struct CacheArguments {
    #[command(subcommand)]
    pub command: CacheCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum CacheCommand {
    /// Take a store that came from elsewhere as your own
    ///
    /// A store that is found beside a workflow is used only where you made it or adopted it: one that
    /// came with a clone, an archive or an import would pass its records off as your results. Adopt a
    /// store only if you would publish its results under your own name.
    ///
    /// A store that you move or copy stays yours. One that an earlier ribflow made is adopted once,
    /// which gives it an identity. `--store` and RIBFLOW_STORE name a store for one command without
    /// adopting it.
    #[command(verbatim_doc_comment)]
    Adopt(AdoptArguments),
    /// Remove what nothing needs any more, by age and size
    ///
    /// What stays: what is pinned; what runs that go on need; what the newest run of each workflow
    /// needs; what a run of the last 30 days needs; and records that are younger than that. Derived
    /// work (decoded images, features), interrupted downloads and damaged files that are older go as
    /// well, and blobs that no record names.
    ///
    /// Beyond --max-size more goes, in this order: derived work, downloads, damaged files, records
    /// that no run needs, and those whose last run is longest ago; with a record the blobs that
    /// nothing else names. What must stay stays even if the store does not fit.
    ///
    /// Runs, and other commands, may go on meanwhile: what was written in the last hour, or since the
    /// oldest process that writes to the store began, stays.
    #[command(verbatim_doc_comment)]
    Gc(GcArguments),
    /// Check everything in the store against its digest
    ///
    /// Reads every blob, record and signature. What does not match its name is moved to the store's
    /// damaged/ and never used again: a node whose record is damaged runs again.
    ///
    /// Blobs that a record names and that are not here are an error, unless somebody has signed the
    /// record: then they are to be had from where it came from, and are fetched when they are needed.
    ///
    /// Ends with 1 where something is damaged or missing and was not repaired.
    #[command(verbatim_doc_comment)]
    Verify(CheckArguments),
    /// Keep results of a workflow, whatever `gc` is told
    Pin(PinArguments),
    /// Take a pin away
    Unpin(UnpinArguments),
    /// List the pins
    Pins,
    /// List the records
    Ls(LsArguments),
    /// Show what takes room: by kind, by run
    Du,
    /// Remove records, so that their nodes run again
    ///
    /// What the records name stays until the next `gc`. A pinned one is refused.
    #[command(verbatim_doc_comment)]
    Forget(ForgetArguments),
    /// Say which of several records of a node is used
    ///
    /// A key can have several records: it was run again with `--force`, or other labs have run it. The
    /// store stays with the one that came first until it is told otherwise. Without RECORD they are
    /// shown side by side: who signed them, and where they differ.
    #[command(verbatim_doc_comment)]
    Choose(ChooseArguments),
    /// Let blobs be passed on again that an earlier `share: false` held back
    ///
    /// A dataset of your own data says with `share: true` that it may be passed on. Blobs that were
    /// marked before it said so stay here until they are released: this does so for all that the
    /// workflow, as it is now, does not hold back.
    #[command(verbatim_doc_comment)]
    Release(ReleaseArguments),
    /// Show how much is in the store and what it has saved
    Stats,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::CACHE_ADOPT)]
pub struct AdoptArguments {
    /// The store's folder, which holds `store.json`
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::CACHE_GC)]
pub struct GcArguments {
    /// Show what would go, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// What no run has needed for so long goes: 30d, 12h, 0 for all that is older than an hour
    #[arg(
        long,
        value_name = "TIME",
        default_value = "30d",
        conflicts_with = "keep_days"
    )]
    pub older_than: Age,

    /// The same, as a number of days
    #[arg(long, value_name = "N")]
    pub keep_days: Option<u64>,

    /// Most bytes that the store may have: 500GB, 2TiB
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<Size>,

    /// So many newest runs of each workflow keep what they need, whatever their age
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub keep_runs: usize,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::CACHE_VERIFY)]
pub struct CheckArguments {
    /// Fetch what is damaged or missing from where --remote says, and tell what must run again for the
    /// rest
    #[arg(long)]
    pub repair: bool,

    /// With --repair: where from, a name that `ribflow remote add` gave, or a URL; repeatable
    #[arg(long = "remote", value_name = "NAME", action = clap::ArgAction::Append)]
    pub remotes: Vec<String>,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::CACHE_PIN)]
pub struct PinArguments {
    #[command(flatten)]
    pub target: TargetArguments,

    /// What to call it; this workflow file's pin of that name is replaced [default: the workflow's
    /// name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct UnpinArguments {
    /// The pin, as `ribflow cache pins` lists it: NAME, or NAME@DIGITS where workflow files in
    /// several places have one of that name
    #[arg(value_name = "NAME")]
    pub name: String,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::CACHE_LS)]
pub struct LsArguments {
    /// Only those of this workflow
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,

    /// Of that workflow, with this parameter or axis; repeatable
    #[arg(long = "set", value_name = "PATH=VALUE", action = ArgAction::Append, requires = "file")]
    pub sets: Vec<String>,

    /// Of that workflow, with this profile; repeatable
    #[arg(long = "profile", value_name = "NAME", action = ArgAction::Append, requires = "file")]
    pub profiles: Vec<String>,

    /// With whole digests, who signed each, and every node that has it
    #[arg(long)]
    pub long: bool,
}

impl LsArguments {
    pub fn workflow(&self) -> Option<WorkflowArguments> {
        Some(WorkflowArguments {
            file: self.file.clone()?,
            sets: self.sets.clone(),
            profiles: self.profiles.clone(),
        })
    }
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::CACHE_FORGET)]
pub struct ForgetArguments {
    /// A key or a record, or its first digits; or, with nodes, a workflow file
    #[arg(value_name = "KEY|RECORD|FILE", value_hint = ValueHint::FilePath)]
    pub what: PathBuf,

    /// The nodes, and nothing that they need: 'tuned[seed=0]'
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,

    /// Of the workflow, with this parameter or axis; repeatable
    #[arg(long = "set", value_name = "PATH=VALUE", action = ArgAction::Append)]
    pub sets: Vec<String>,

    /// Of the workflow, with this profile; repeatable
    #[arg(long = "profile", value_name = "NAME", action = ArgAction::Append)]
    pub profiles: Vec<String>,

    /// Do it: without this, only what would go is shown
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,

    /// Show what would go
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::CACHE_CHOOSE)]
pub struct ChooseArguments {
    #[command(flatten)]
    pub workflow: WorkflowArguments,

    /// The node: 'accuracy[method=ft,seed=0]'
    #[arg(value_name = "NODE")]
    pub node: String,

    /// The record that is used from now on, or its first digits
    #[arg(value_name = "RECORD")]
    pub record: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct ReleaseArguments {
    #[command(flatten)]
    pub target: TargetArguments,
}

/// A span of time: `30d`, `12h`, `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age(pub u64);

impl std::str::FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()) {
            "0" => Ok(Self(0)),
            _ => seconds(&text.into()).map(Self),
        }
    }
}
