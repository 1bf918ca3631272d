//! The fast path of a run: skips it if the inputs and outputs of the last run with the same command
//! line are unchanged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::admission::admitted;
use super::common::Common;
use super::locations::Locations;
use super::record_standing::Standings;
use super::target::WorkflowArguments;
use super::unpinned_checkpoints;
use crate::digest::{Digest, hash_string};
use crate::engine::journal;
use crate::fsx::{self, Stamp};
use crate::remote::home::Home;
use crate::remote::lock::Lock;
use crate::report::verdict::expected_file;
use crate::report::{self, View};
use crate::store::Store;
use crate::store::receipt::{Receipt, RunInputs};
use crate::workflow::graph::Graph;

/// The identity of a command line, for the comparison with the last run.
pub struct NoOpCheck {
    /// Identifies the options, among other runs of the same file.
    name: Digest,
    /// The digest of the options, the files that they name, and this program.
    asked: Digest,
    /// The folder of the workflow file.
    base: PathBuf,
}

impl NoOpCheck {
    /// `None` if the run has something to report in any case.
    pub fn of(
        workflow: &WorkflowArguments,
        common: &Common,
        locations: &Locations,
    ) -> Option<Self> {
        // Revocations affect which records are used.
        if Home::of_user().is_ok_and(|home| home.revocations().is_dir()) {
            return None;
        }
        let file = std::path::absolute(&workflow.file).ok()?;
        let device = common.device.to_string();
        let lists = [&workflow.profiles, &workflow.sets];
        let mut words = vec![file.to_str()?, locations.out.to_str()?, &device];
        for list in lists {
            words.extend(list.iter().map(String::as_str));
            // A separator after the list.
            words.push("");
        }
        let name = digest(&words);
        let contents = [&workflow.file, &Lock::path(&workflow.file)].map(|path| {
            let content = content(path);
            content.map_or_else(String::new, |digest| digest.to_hex())
        });
        let program = program()?.to_hex();
        words.extend(contents.iter().map(String::as_str));
        words.push(&program);
        Some(Self {
            name,
            asked: digest(&words),
            base: file.parent()?.to_path_buf(),
        })
    }

    /// The receipt of the last run, if nothing has changed since.
    pub fn hold(&self, locations: &Locations) -> Option<Receipt> {
        // A check must not create a store.
        if !locations.store.exists() {
            return None;
        }
        // If the store is refused, the run reports it when it opens the store.
        let store = admitted(&locations.store).ok()?;
        let receipt = Receipt::read(&store, &self.name)?;
        let variable = |(name, value): (&String, &Option<String>)| {
            std::env::var_os(name).and_then(|value| value.into_string().ok()) == *value
        };
        let file = |(path, digest): (&String, &Option<Digest>)| content(Path::new(path)) == *digest;
        let _taking = store.taking().ok()?;
        let holds = receipt.asked == self.asked
            && receipt.variables.iter().all(variable)
            && receipt.files.iter().all(file)
            && receipt.inputs.hold(&store, &self.base)
            && journal::renew(&store, &receipt.run);
        holds.then_some(receipt)
    }

    /// Whether a run of `graph` may leave a receipt: its keys do not depend on the machine, since
    /// another machine with the same store could not tell, and it has nothing to report in any
    /// case.
    pub fn may_leave(&self, graph: &Graph) -> bool {
        !graph.strict && unpinned_checkpoints::in_graph(graph).next().is_none()
    }

    /// Writes a receipt for the next run, if this run has nothing to report except its results.
    pub fn leave(&self, store: &Store, run: String, inputs: RunInputs, view: &View, page: &Path) {
        let said = !view.warnings.is_empty()
            || view
                .standings
                .is_some_and(|known: &Standings| !known.is_empty());
        let files = page.parent().and_then(|folder| files(view, folder));
        let (false, Some(files)) = (said, files) else {
            return;
        };
        let receipt = Receipt {
            asked: self.asked,
            variables: view.graph.variables.clone(),
            files,
            inputs,
            run,
            workflow: view.graph.name.clone(),
            nodes: view.graph.dag.node_count() as u64,
            text: report::summary_text(view),
            page: page.to_path_buf(),
        };
        // The receipt only saves time.
        if let Err(error) = receipt.write(store, &self.name) {
            tracing::warn!("the receipt of the run could not be saved: {error}");
        }
    }
}

/// Digests of the published numbers and of the report in `folder`.
fn files(view: &View, folder: &Path) -> Option<BTreeMap<String, Option<Digest>>> {
    let digest = view.expected.map(|expected| expected.digest);
    let expected = expected_file(view.graph).map(|path| (path, digest));
    let written = report::written(view, folder)?.into_iter();
    let written = written.map(|(path, digest)| (path, Some(digest)));
    let files = written.chain(expected);
    files
        .map(|(path, digest)| Some((path.to_str()?.to_string(), digest)))
        .collect()
}

fn content(path: &Path) -> Option<Digest> {
    Some(Digest::of(&fsx::read_regular(path).ok()?))
}

/// Identifies this build.
fn program() -> Option<Digest> {
    let file = std::env::current_exe().ok()?;
    let stamp = Stamp::of(&std::fs::metadata(file).ok()?);
    Some(Digest::of(&stamp.to_bytes()))
}

fn digest(words: &[&str]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("ribflow 2026 words of a run v1");
    for word in words {
        hash_string(&mut hasher, word);
    }
    Digest::finish(&hasher)
}
