//! The configuration of a checkpoint's model: the architecture's entry, with the outputs and
//! classes of the file.

use super::Checkpoint;
use crate::ml::data::classes::imagenet;
use crate::ml::models::checkpoint::{StateDict, fit};
use crate::ml::models::{Config, catalogue};
use crate::stages::choice::WordOr;
use crate::stages::task::TaskError;

impl Checkpoint {
    /// The configuration in the architecture's entry.
    pub(super) fn entry(&self) -> Result<Config, TaskError> {
        let unknown = || TaskError::Input(format!("there is no architecture `{}`", self.arch()));
        let entry = catalogue::find(self.arch()).ok_or_else(unknown)?;
        Ok(entry.config(&[]))
    }

    /// The configuration with the outputs of the file.
    pub(super) fn config(
        &self,
        found: &StateDict,
        classes: Option<Vec<String>>,
    ) -> Result<Config, TaskError> {
        let given = classes.is_some();
        self.config_with(found, classes).or_else(|error| {
            // A wrong architecture may lack a classifier, or name it differently, so check that
            // first.
            if given {
                fit(self.config_with(found, None)?, found.clone())?;
            }
            Err(error)
        })
    }

    fn config_with(
        &self,
        found: &StateDict,
        classes: Option<Vec<String>>,
    ) -> Result<Config, TaskError> {
        let mut config = self.entry()?;
        match &self.transform {
            Some(WordOr::Word(named)) => named.change(&mut config.input),
            Some(WordOr::Other(own)) => own.change(&mut config.input),
            None => {}
        }
        let head = found.get(&format!("{}.weight", config.head()));
        let outputs = head.and_then(|head| head.dims().first().copied());
        let classes = match (classes, outputs) {
            (Some(classes), _) => classes,
            (None, Some(1000)) => imagenet(),
            (None, _) => Vec::new(),
        };
        match outputs {
            Some(outputs) if !classes.is_empty() && classes.len() != outputs => {
                return Err(TaskError::Input(format!(
                    "`classes` names {}, but the checkpoint has {outputs} outputs",
                    classes.len()
                )));
            }
            None if !classes.is_empty() => {
                let message = "`classes` is given, but the checkpoint has no classifier";
                return Err(TaskError::Input(message.to_string()));
            }
            _ => {}
        }
        config.headless = outputs.is_none();
        config.embedding = match classes.is_empty() {
            true => Some(outputs.unwrap_or(config.features())),
            false => None,
        };
        config.classes = classes;
        Ok(config)
    }
}
