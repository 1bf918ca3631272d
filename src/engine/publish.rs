//! Turns outcomes into records and publishes them in batches: nodes that finish while one batch is
//! flushed form the next batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use petgraph::graph::NodeIndex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::job::Product;
use crate::contract::port::{OutputSpec, PortType};
use crate::contract::recipe::Recipe;
use crate::digest::Digest;
use crate::store::artifact::Artifact;
use crate::store::record::{Provenance, format_of};
use crate::store::{BlobError, Claim, Record, References, Store, StoreError, StoredRecord};

/// A node that has executed.
pub(super) struct Executed {
    pub node: NodeIndex,
    pub recipe: Arc<Recipe>,
    pub outputs: Vec<OutputSpec>,
    /// The outputs that may not be redistributed.
    pub withheld: Vec<String>,
    pub product: Product,
    pub threads: usize,
    /// Seconds since 1970, UTC.
    pub started: u64,
    /// Held until the record exists.
    pub claim: Claim,
}

/// The result of publishing it.
pub(super) struct Published {
    pub node: NodeIndex,
    pub result: Result<StoredRecord, PublishFailure>,
}

pub(super) struct PublishFailure {
    pub message: String,
    /// A blob that an output names and the store does not have.
    pub lost: Option<Digest>,
    /// Another process may have taken the claim over, and have or make the record.
    pub unclaimed: bool,
}

/// Starts publishing into `store`. Sends back the result for each node, in batches.
pub(super) fn publisher(
    store: Arc<Store>,
    published: impl Fn(Vec<Published>) + Send + 'static,
) -> UnboundedSender<Executed> {
    let (sender, receiver) = unbounded_channel();
    tokio::task::spawn_blocking(move || publish_all(&store, receiver, published));
    sender
}

fn publish_all(
    store: &Store,
    mut receiver: UnboundedReceiver<Executed>,
    published: impl Fn(Vec<Published>),
) {
    while let Some(first) = receiver.blocking_recv() {
        let mut batch = vec![first];
        while let Ok(next) = receiver.try_recv() {
            batch.push(next);
        }
        published(publish(store, batch));
    }
}

fn publish(store: &Store, batch: Vec<Executed>) -> Vec<Published> {
    let mut published = Vec::with_capacity(batch.len());
    let mut records = Vec::with_capacity(batch.len());
    // Held until the end: others may look for the records only then.
    let mut claims = Vec::with_capacity(batch.len());
    for executed in batch {
        let node = executed.node;
        match record(store, executed) {
            Ok((_, claim)) if !claim.is_held() => published.push(Published {
                node,
                result: Err(unclaimed()),
            }),
            Ok((record, claim)) => {
                claims.push(claim);
                records.push((node, record));
            }
            Err(error) => published.push(Published {
                node,
                result: Err(error),
            }),
        }
    }
    let all: Vec<Record> = records.iter().map(|(_, record)| record.clone()).collect();
    match store.publish(&all) {
        Ok(digests) => published.extend(records.into_iter().zip(digests).map(
            |((node, record), digest)| Published {
                node,
                result: Ok(StoredRecord::named(digest, record)),
            },
        )),
        // This process was taken for dead meanwhile: what it had written is gone.
        Err(_) if claims.iter().any(|claim| !claim.is_held()) => {
            published.extend(records.into_iter().map(|(node, _)| Published {
                node,
                result: Err(unclaimed()),
            }));
        }
        // One of them is the cause: publish each separately.
        Err(_) if records.len() > 1 => {
            published.extend(records.into_iter().map(|record| publish_one(store, record)));
        }
        Err(error) => published.extend(records.into_iter().map(|(node, _)| Published {
            node,
            result: Err(unpublished(&error)),
        })),
    }
    published
}

fn publish_one(store: &Store, (node, record): (NodeIndex, Record)) -> Published {
    let result = match store.publish(std::slice::from_ref(&record)) {
        Ok(digests) => Ok(match digests.first() {
            Some(digest) => StoredRecord::named(*digest, record),
            None => StoredRecord::of(record),
        }),
        Err(error) => Err(unpublished(&error)),
    };
    Published { node, result }
}

fn unpublished(error: &StoreError) -> PublishFailure {
    let lost = match error {
        StoreError::Incomplete { digest, .. } => Some(*digest),
        StoreError::Blob(BlobError::Missing(digest) | BlobError::Damaged(digest)) => Some(*digest),
        _ => None,
    };
    PublishFailure {
        message: format!("its record could not be written: {error}"),
        lost,
        unclaimed: false,
    }
}

fn unclaimed() -> PublishFailure {
    PublishFailure {
        message: "its claim was lost while it ran".to_string(),
        lost: None,
        unclaimed: true,
    }
}

fn record(store: &Store, executed: Executed) -> Result<(Record, Claim), PublishFailure> {
    let Executed {
        recipe,
        outputs,
        withheld,
        product,
        claim,
        ..
    } = executed;
    let refused = |message| PublishFailure {
        message,
        lost: None,
        unclaimed: false,
    };
    check_outputs(&outputs, &product.ports).map_err(refused)?;
    let mut artifacts = product.ports;
    let format = format_of(artifacts.values());
    let mut ports = BTreeMap::new();
    for output in outputs {
        if let Some(artifact) = artifacts.remove(&output.name) {
            let stays = withheld.contains(&output.name);
            let named = stays.then(|| References::by(&artifact));
            let port = store.port(&output, artifact);
            let port = port.map_err(|error| unpublished(&StoreError::Blob(error)))?;
            // Before the record appears: any reader may redistribute it.
            if let Some(named) = named {
                let marked = store.withhold_artifact(&port.digest, &named);
                marked.map_err(|error| unpublished(&error))?;
            }
            ports.insert(output.name, port);
        }
    }
    let record = Record {
        format,
        key: *claim.key(),
        recipe: Arc::unwrap_or_clone(recipe),
        ports,
        provenance: Provenance {
            ribflow: env!("CARGO_PKG_VERSION").to_string(),
            device_class: product.device_class,
            threads: executed.threads,
            started: executed.started,
            wall_seconds: product.wall_seconds,
            notes: product.notes,
            accepted: Vec::new(),
        },
    };
    Ok((record, claim))
}

/// Checks that a task returned its declared outputs. Anything else is a bug in its kind.
fn check_outputs(outputs: &[OutputSpec], given: &BTreeMap<String, Artifact>) -> Result<(), String> {
    for output in outputs {
        match given.get(&output.name) {
            None => return Err(format!("it gave no output `{}`", output.name)),
            Some(artifact) if !holds(output.gives, artifact) => {
                return Err(format!(
                    "its output `{}` is not of the declared type",
                    output.name
                ));
            }
            Some(_) => {}
        }
    }
    let declared = |name: &&String| outputs.iter().any(|output| output.name == **name);
    match given.keys().find(|name| !declared(name)) {
        Some(name) => Err(format!(
            "it gave an output `{name}` that it does not declare"
        )),
        None => Ok(()),
    }
}

fn holds(port: PortType, artifact: &Artifact) -> bool {
    match artifact {
        Artifact::Files(_) => port == PortType::Files,
        Artifact::Dataset(_) => port == PortType::Dataset,
        Artifact::Tensors(_) => matches!(port, PortType::Model | PortType::Arrays),
        Artifact::Metrics(_) => port == PortType::Metrics,
        Artifact::Table(_) => port == PortType::Table,
    }
}
