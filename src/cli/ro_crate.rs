//! `ribflow export ro-crate`: exports a run for research repositories.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use serde_json::json;

use super::bundle::{file_name, in_folder, refuse_occupied, workflow_files, write_below};
use super::call::Call;
use super::failure::{Exit, Failure};
use super::load;
use super::locations::{self, Locations};
use super::record_standing::StandingReport;
use super::stores;
use super::target::TargetArguments;
use crate::engine;
use crate::fsx;
use crate::quantity::count;
use crate::report;
use crate::report::ro_crate::{self, Contents};
use crate::stages;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow export ro-crate grid.yaml -o crate/
  ribflow export ro-crate grid.yaml -o crate/ --license https://spdx.org/licenses/CC-BY-4.0

The folder can be uploaded to Zenodo, WorkflowHub and others. It contains the workflow, its results
and report, and ro-crate-metadata.json, which describes each file.";

/// Write a Workflow Run RO-Crate, for research repositories
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CrateArguments {
    #[command(flatten)]
    pub target: TargetArguments,

    /// The folder to write to; must be new or empty
    #[arg(short, long = "output", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub output: PathBuf,

    /// The URL of the licence of the results, from <https://spdx.org/licenses/>
    #[arg(long, value_name = "URL")]
    pub license: Option<String>,
}

pub fn export(
    arguments: &CrateArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    refuse_occupied(&arguments.output)?;
    let registry = stages::registry();
    let graph = load::graph(&arguments.target, common, &registry)?;
    let file = &arguments.target.workflow.file;
    let expected = load::expected(&graph)?;
    let workflow = workflow_files(&graph, file)?;
    let locations = Locations::of(file, common);
    let store = stores::open_read_only(&locations.store, common)?;
    let records = engine::survey(&graph, &store, &common.device.to_string())?.into_records();
    if records.is_empty() {
        let again = arguments.target.workflow.typed();
        return Err(Failure::failed("the workflow has no results yet")
            .hint(format!("run `ribflow run {again}` first")));
    }
    let folder = &arguments.output;
    fsx::make_folders(folder).map_err(in_folder(folder))?;
    let standing = StandingReport::of(&graph, &store, &records)?;
    let view = standing
        .view(&graph, &records, expected.as_ref())
        .reading(&store);
    report::write(&view, folder)?;
    let results = sizes(folder, folder)?;
    for (relative, content) in &workflow {
        write_below(folder, relative, content)?;
    }
    let name = file_name(file);
    let mut inputs: BTreeMap<String, u64> = workflow
        .iter()
        .map(|(relative, content)| (relative.clone(), content.len() as u64))
        .collect();
    inputs.remove(&name);
    let contents = Contents {
        workflow: &name,
        inputs: &inputs,
        results: &results,
        license: arguments.license.as_deref(),
    };
    let metadata = serde_json::to_vec_pretty(&ro_crate::metadata(&view, &contents))?;
    write_below(folder, "ro-crate-metadata.json", &metadata)?;
    let files = results.len() + inputs.len() + 1;
    if common.json {
        writeln!(
            output,
            "{}",
            json!({ "crate": folder.to_string_lossy(), "files": files })
        )?;
    } else if !common.quiet {
        writeln!(
            output,
            "{}: {}",
            locations::shown(folder),
            count(files, "file")
        )?;
    }
    Ok(Exit::Done)
}

/// The sizes of the files below a folder, by relative path.
fn sizes(root: &Path, folder: &Path) -> Result<BTreeMap<String, u64>, Failure> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(in_folder(folder))? {
        let path = entry.map_err(in_folder(folder))?.path();
        if path.is_dir() {
            found.extend(sizes(root, &path)?);
            continue;
        }
        let size = fs::metadata(&path).map_err(in_folder(&path))?.len();
        let relative = path.strip_prefix(root).unwrap_or(&path);
        found.insert(relative.to_string_lossy().into_owned(), size);
    }
    Ok(found)
}
