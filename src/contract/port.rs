//! Ports: what the artifacts of a node are.

use serde::{Deserialize, Serialize};

/// The type of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortType {
    /// Labelled images.
    Dataset,
    /// A model: a tree of tensors with a config.
    Model,
    /// Named arrays: features with labels, distance matrices, confusion matrices.
    Arrays,
    /// Named numbers with units.
    Metrics,
    /// Rows and columns.
    Table,
    /// A tree of files.
    Files,
}

/// An output of a kind. The first one is the default port of the stage.
#[derive(Clone, Debug)]
pub struct OutputSpec {
    pub name: String,
    pub gives: PortType,
    /// For a port of metrics, the possible names. `*` stands for any text: at the end, for a part
    /// (`ri[*]`); at the start, for an input (`*_drop_pearson`). `None` if only a record shows
    /// them.
    pub metrics: Option<Vec<String>>,
    /// Its content may reveal the inputs of its node, so it may not be redistributed if they may
    /// not ([`Withholds`]).
    pub reveals_inputs: bool,
    /// Its artifact is part of the record if it is small or a table. `false` for one that is always
    /// a blob: a record with withheld content could not be shared.
    pub in_record: bool,
    /// One file with a picture, which the report shows.
    pub is_plot: bool,
}

impl OutputSpec {
    pub fn new(name: &str, gives: PortType) -> Self {
        Self {
            name: name.to_string(),
            gives,
            metrics: None,
            reveals_inputs: match gives {
                PortType::Dataset | PortType::Files | PortType::Arrays => true,
                PortType::Model | PortType::Metrics | PortType::Table => false,
            },
            in_record: true,
            is_plot: false,
        }
    }

    /// A table that is a blob.
    pub fn table_blob(name: &str) -> Self {
        Self {
            reveals_inputs: true,
            in_record: false,
            ..Self::new(name, PortType::Table)
        }
    }

    /// A port of metrics with exactly these names.
    pub fn metrics(name: &str, metrics: &[&str]) -> Self {
        Self {
            metrics: Some(metrics.iter().map(|name| name.to_string()).collect()),
            ..Self::new(name, PortType::Metrics)
        }
    }
}
