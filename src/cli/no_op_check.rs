//! A run that has nothing to do, told at a glance: everything that the last run of the same words
//! rested on is as it was, and so is everything that it wrote.

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

/// The words of a run that may be over at a glance.
pub struct NoOpCheck {
    /// Tells them from other words about the same file.
    name: Digest,
    /// Of them, of the files that they name, and of this program.
    asked: Digest,
    /// The folder of the workflow file.
    base: PathBuf,
}

impl NoOpCheck {
    /// `None` where something must be said in any case.
    pub fn of(
        workflow: &WorkflowArguments,
        common: &Common,
        locations: &Locations,
    ) -> Option<Self> {
        // A revocation decides which records are taken.
        if Home::of_user().is_ok_and(|home| home.revocations().is_dir()) {
            return None;
        }
        let file = std::path::absolute(&workflow.file).ok()?;
        let device = common.device.to_string();
        let lists = [&workflow.profiles, &workflow.sets];
        let mut words = vec![file.to_str()?, locations.out.to_str()?, &device];
        for list in lists {
            words.extend(list.iter().map(String::as_str));
            // Ends the list.
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

    /// The receipt of the last run, if everything is as it was then.
    pub fn hold(&self, locations: &Locations) -> Option<Receipt> {
        // Looking makes no store.
        if !locations.store.exists() {
            return None;
        }
        // One that is refused is told of when the run opens it.
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
            && receipt.grounds.hold(&store, &self.base)
            && journal::renew(&store, &receipt.run);
        holds.then_some(receipt)
    }

    /// Whether a run of `graph` may leave a receipt: its keys don't depend on the machine, which
    /// another one that shares the store could not tell, and nothing must be said of it in any case.
    pub fn may_leave(&self, graph: &Graph) -> bool {
        !graph.strict && unpinned_checkpoints::in_graph(graph).next().is_none()
    }

    /// Leaves a receipt of the run of this id to the next one, if there is nothing to say of it but
    /// its results.
    pub fn leave(&self, store: &Store, run: String, grounds: RunInputs, view: &View, page: &Path) {
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
            grounds,
            run,
            workflow: view.graph.name.clone(),
            nodes: view.graph.dag.node_count() as u64,
            text: report::summary_text(view),
            page: page.to_path_buf(),
        };
        // Only ever saves time.
        if let Err(error) = receipt.write(store, &self.name) {
            tracing::warn!("the receipt of the run could not be kept: {error}");
        }
    }
}

/// The published numbers as they were read, and the report in `folder`.
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

/// Tells this build from any other.
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
