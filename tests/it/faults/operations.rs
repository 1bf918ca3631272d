//! The operations that the walks repeat, each from a fixed state to a fixed result.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ribflow::contract::port::{OutputSpec, PortType};
use ribflow::contract::recipe::Recipe;
use ribflow::digest::Digest;
use ribflow::remote::address::{Options, open};
use ribflow::remote::bundle::{About, BUNDLE_FORMAT, BundleReader, BundleWriter, Landing};
use ribflow::remote::exchange::{Exchange, Peer, PushOptions, RecordQuery};
use ribflow::remote::patience::{Patience, Patient};
use ribflow::remote::serve::{Access, Limits, Server};
use ribflow::remote::signing::SecretKey;
use ribflow::remote::statement;
use ribflow::remote::transport::{Content, Remote};
use ribflow::remote::trust::{Policy, Trust};
use ribflow::store::artifact::{Artifact, Blobs, Files, Metric, Metrics};
use ribflow::store::check::Fault as Damage;
use ribflow::store::gc::{GcOptions, RunUse};
use ribflow::store::record::Provenance;
use ribflow::store::{BlobRequest, BlobSource, ForeignRecord, Record, Signature, Store};
use ribflow::workflow::kind::Comparison;

use super::{runs, space};

/// An error of an operation, in words.
pub type Done = Result<(), Box<dyn std::error::Error>>;

/// Something that is done to a store.
pub struct Operation {
    pub name: &'static str,
    /// Makes the state before it, in an empty folder.
    pub prepare: fn(&Path),
    pub act: fn(&Path) -> Done,
    /// The files that it makes, and what else must stay.
    pub outcome: fn(&Path) -> BTreeMap<String, Digest>,
    /// Whether its success means that everything is there: it may else report a failure in part.
    pub is_exact: bool,
    /// Whether its success means that a power failure takes nothing of it.
    pub is_durable: bool,
    /// Whether its records come before their blobs, from another store.
    pub fetches: bool,
    /// How many random power failures there are at each call.
    pub seeds: u64,
    /// The least number of cases, as docs/guarantees.md states it.
    pub least: usize,
}

const SMALL: &[u8] = b"a blob of a few bytes";
static LARGE: [u8; 20_000] = [7; 20_000];
const PLANTED: &[u8] = b"a blob that is about to be damaged";

fn store(root: &Path) -> Result<Store, Box<dyn std::error::Error>> {
    Ok(Store::open(&root.join("store"))?)
}

/// Objects and records, wherever they are.
pub fn content(root: &Path) -> BTreeMap<String, Digest> {
    space::files(root, |path| {
        path.contains("objects/") || path.contains("records/") && !path.contains("index.")
    })
    .into_iter()
    .filter(|(path, _)| !path.contains("damaged/"))
    .collect()
}

/// An outcome of the key that `parameter` gives.
fn outcome(
    store: &Store,
    parameter: &str,
    contents: &[&[u8]],
) -> Result<Record, Box<dyn std::error::Error>> {
    let recipe = Recipe {
        kind: "test".to_string(),
        version: 1,
        with: serde_json::json!({ "parameter": parameter }),
        inputs: BTreeMap::new(),
        device: None,
    };
    let mut blobs = Vec::new();
    for (index, content) in contents.iter().enumerate() {
        blobs.push((format!("file-{index}"), store.write(content)?));
    }
    let files: Files = blobs.into_iter().collect();
    let metrics = Metrics {
        values: BTreeMap::from([("top1".to_string(), Metric::new(61.5, "percent"))]),
    };
    let port = |gives, artifact| store.port(&OutputSpec::new("", gives), artifact);
    let files = port(PortType::Files, Artifact::Files(files))?;
    let metrics = port(PortType::Metrics, Artifact::Metrics(metrics))?;
    Ok(Record {
        format: 1,
        key: recipe.key(),
        recipe,
        ports: BTreeMap::from([
            ("files".to_string(), files),
            ("metrics".to_string(), metrics),
        ]),
        provenance: Provenance::default(),
    })
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

fn publish(
    store: &Store,
    parameter: &str,
    contents: &[&[u8]],
) -> Result<Record, Box<dyn std::error::Error>> {
    let record = outcome(store, parameter, contents)?;
    store.publish(std::slice::from_ref(&record))?;
    Ok(record)
}

fn sign(store: &Store, record: &Record) -> Done {
    let signature = Signature {
        signer: key().public().in_names(),
        envelope: statement::sign(record, &key()),
    };
    Ok(store.add_signature(&record.key, &record.digest(), &signature)?)
}

/// A store with two signed records that share a blob.
fn with_records(root: &Path) {
    let store = store(root).unwrap();
    let contents: [[&[u8]; 2]; 2] = [[SMALL, &LARGE], [SMALL, b"another blob"]];
    for (parameter, contents) in KEYS.into_iter().zip(contents) {
        let record = publish(&store, parameter, &contents).unwrap();
        sign(&store, &record).unwrap();
    }
}

pub const PUT: Operation = Operation {
    name: "put",
    prepare: |root| {
        with_records(root);
        fs::write(root.join("outside"), LARGE.repeat(2)).unwrap();
    },
    act: |root| {
        let store = store(root)?;
        store.write(b"new bytes")?;
        store.write(SMALL)?;
        store.write_file(&root.join("outside"))?;
        Ok(())
    },
    outcome: content,
    is_exact: true,
    // Blobs become durable with the first record that names them.
    is_durable: false,
    fetches: false,
    seeds: 24,
    least: 2500,
};

pub const RECORD: Operation = Operation {
    name: "record",
    prepare: with_records,
    act: |root| {
        let store = store(root)?;
        let record = publish(&store, "new", &[b"new bytes", SMALL])?;
        sign(&store, &record)?;
        let mut other = record.clone();
        other.provenance.wall_seconds = 2.0;
        store.publish(std::slice::from_ref(&other))?;
        Ok(store.choose(&record.key, &other.digest())?)
    },
    outcome: content,
    is_exact: true,
    is_durable: true,
    fetches: false,
    seeds: 12,
    least: 2500,
};

/// Removes everything, however young, but the records that a run uses, and what they need.
pub fn clean(store: &Store, is_used: fn(&Record) -> bool) -> Done {
    let outcomes = store.inventory()?.outcomes.into_iter();
    let used = outcomes.filter(|outcome| is_used(&outcome.record));
    let keys = used.map(|outcome| outcome.key).collect();
    let uses = RunUse {
        folder: store.runs().join("none"),
        keys,
        last: SystemTime::now(),
        stays: true,
    };
    let options = GcOptions {
        before: SystemTime::now() + Duration::from_secs(3600),
        most: None,
        grace: Duration::ZERO,
        dry_run: false,
    };
    store.clean(&options, || Ok(vec![uses]))?;
    Ok(())
}

pub const CLEAN: Operation = Operation {
    name: "gc",
    prepare: |root| {
        with_records(root);
        let store = store(root).unwrap();
        store.write(b"a blob without a record").unwrap();
        drop(store);
        for part in ["objects", "records"] {
            space::age(&root.join("store").join(part), true);
        }
    },
    act: |root| {
        let is_used = |record: &Record| record.recipe.with["parameter"] != "two";
        clean(&store(root)?, is_used)
    },
    outcome: content,
    is_exact: true,
    is_durable: false,
    fetches: false,
    seeds: 12,
    least: 3500,
};

/// Lab A and its remote, which it writes to and everyone trusts.
fn exchange(root: &Path) -> Result<Exchange, Box<dyn std::error::Error>> {
    let url = format!("file://{}", root.join("lab").display());
    exchange_with(open(&url, &Options::default())?)
}

fn exchange_with(remote: Box<dyn Remote>) -> Result<Exchange, Box<dyn std::error::Error>> {
    let patience = Patience {
        retries: 1,
        pause: Duration::ZERO,
        failures: 1000,
    };
    let peer = Peer {
        name: "lab".to_string(),
        remote: Patient::new(remote, patience),
        policy: Policy::default(),
        writes: true,
    };
    let mut trust = Trust::default();
    trust.add("author", key().public());
    Ok(Exchange::new(vec![peer], trust, Some(key())))
}

fn push(store: &Store, exchange: &Exchange) -> Done {
    let mut records = Vec::new();
    for outcome in store.inventory()?.outcomes {
        records.extend(store.records(&outcome.key)?);
    }
    let options = PushOptions {
        records_only: false,
        dry_run: false,
        check: false,
    };
    let pushed = exchange.push(&exchange.peers()[0], store, &records, options)?;
    // The user reads of it, and pushes again.
    match (pushed.absent, pushed.withheld) {
        (0, 0) => Ok(()),
        (absent, withheld) => Err(format!("{absent} absent, {withheld} withheld").into()),
    }
}

pub const PUSH: Operation = Operation {
    name: "push",
    prepare: with_records,
    act: push_to_lab,
    outcome: content,
    is_exact: true,
    // What a power failure takes is pushed again.
    is_durable: false,
    fetches: false,
    seeds: 6,
    least: 3500,
};

/// Brings the records of the exchange and their blobs into the store, the records `first` or last.
fn pull(store: &Store, exchange: Arc<Exchange>, keys: Vec<Digest>, first: bool) -> Done {
    let asked: Vec<RecordQuery> = keys
        .into_iter()
        .map(|key| RecordQuery {
            key,
            comparison: Comparison::BitEqual,
        })
        .collect();
    let found = exchange.look_up(&asked);
    if found.taken.len() < asked.len() {
        return Err(format!("{} records", found.taken.len()).into());
    }
    store.set_blob_source(exchange as Arc<dyn BlobSource>);
    let outcomes = found.taken.into_values();
    let outcomes: Vec<ForeignRecord> = outcomes.flat_map(|taken| taken.outcomes).collect();
    if first {
        store.adopt(&outcomes)?;
    }
    let ports = outcomes
        .iter()
        .flat_map(|outcome| outcome.record.ports.values());
    for port in ports {
        let artifact = store.artifact(port)?;
        store.obtain(&artifact.wanted().collect::<Vec<BlobRequest>>());
        if let Some(missing) = store.missing(&artifact).first() {
            return Err(format!("{missing} is missing").into());
        }
    }
    if !first {
        store.adopt(&outcomes)?;
    }
    Ok(())
}

/// The parameters of the two records of [`with_records`].
pub const KEYS: [&str; 2] = ["one", "two"];

pub fn keys_of(parameters: [&str; 2]) -> Vec<Digest> {
    let recipe = |parameter: &str| Recipe {
        kind: "test".to_string(),
        version: 1,
        with: serde_json::json!({ "parameter": parameter }),
        inputs: BTreeMap::new(),
        device: None,
    };
    parameters.map(|parameter| recipe(parameter).key()).to_vec()
}

/// A store with two records, and a remote with the same.
pub fn with_store_and_lab(root: &Path) {
    with_records(root);
    push_to_lab(root).unwrap();
}

pub fn push_to_lab(root: &Path) -> Done {
    push(&store(root)?, &exchange(root)?)
}

/// Brings both records and their blobs into `store`.
pub fn pull_into(store: &Store, root: &Path) -> Done {
    pull(store, Arc::new(exchange(root)?), keys_of(KEYS), true)
}

/// Whether a signature beside a record is this lab's statement about it.
pub fn judge(record: &Record, digest: &Digest, signature: &Signature) -> Result<(), String> {
    let verified = statement::verify(&signature.envelope, &key().public(), digest, record);
    verified.map_err(|error| error.to_string())
}

/// A remote with two records.
fn with_lab(root: &Path) {
    with_store_and_lab(root);
    fs::remove_dir_all(root.join("store")).unwrap();
    store(root).unwrap();
}

pub const PULL: Operation = Operation {
    name: "pull",
    prepare: with_lab,
    act: |root| pull_into(&store(root)?, root),
    outcome: content,
    is_exact: true,
    // A blob that a power failure takes is fetched again.
    is_durable: false,
    fetches: true,
    seeds: 6,
    least: 2700,
};

pub const WORKFLOW: &[u8] = b"ribflow: 1\nname: grid\nstages: {}\n";

pub fn with_bundle(root: &Path) {
    with_records(root);
    let about = About {
        ribflow_bundle: BUNDLE_FORMAT,
        workflow: "grid.yaml".to_string(),
        profiles: Vec::new(),
        overrides: Vec::new(),
        files: BTreeMap::from([("grid.yaml".to_string(), Digest::of(WORKFLOW))]),
    };
    let writer = BundleWriter::create(&root.join("bundle"), &about).unwrap();
    writer.add_workflow_file("grid.yaml", WORKFLOW).unwrap();
    let writer = Arc::new(writer);
    let exchange = exchange_with(Box::new(Arc::clone(&writer))).unwrap();
    push(&store(root).unwrap(), &exchange).unwrap();
    drop(exchange);
    Arc::into_inner(writer).unwrap().finish().unwrap();
    fs::remove_dir_all(root.join("store")).unwrap();
}

/// Brings the records `keys` and their blobs from `remote`, the blobs first.
pub fn pull_from(store: &Store, remote: Box<dyn Remote>, keys: Vec<Digest>) -> Done {
    pull(store, Arc::new(exchange_with(remote)?), keys, false)
}

pub const IMPORT: Operation = Operation {
    name: "import",
    prepare: with_bundle,
    act: |root| {
        let folder = root.join("import");
        let reader = Arc::new(BundleReader::open(&root.join("bundle"))?);
        let files = reader.workflow_files()?;
        if fs::read(folder.join("grid.yaml")).is_ok()
            && ribflow::remote::mark::of(&folder).is_some_and(|mark| mark.finished)
        {
            // A finished import is not repeated.
            return Ok(());
        }
        Landing::check(&folder, &files)?;
        let landing = Landing::begin(&folder, &files)?;
        if let Err(error) = landing.stage(&files) {
            landing.abandon();
            return Err(error.into());
        }
        let store = Store::open(&folder.join("cache"))?;
        let keys = reader.keys();
        pull_from(&store, Box::new(reader), keys)?;
        landing.place(&files, "grid.yaml")?;
        Ok(landing.finish()?)
    },
    outcome: |root| {
        let mut files = content(root);
        files.extend(space::files(root, |path| path == "import/grid.yaml"));
        files
    },
    is_exact: true,
    is_durable: true,
    fetches: false,
    seeds: 6,
    least: 3000,
};

/// What [`VERIFY`] finds damaged.
pub fn is_planted(damage: &Damage) -> bool {
    let planted = Digest::of(PLANTED);
    match damage {
        Damage::Blob { digest } | Damage::Missing { digest, .. } => *digest == planted,
        _ => false,
    }
}

/// Of that, what stays: the record without its blob.
pub fn stays(damage: &Damage) -> bool {
    matches!(damage, Damage::Missing { .. }) && is_planted(damage)
}

pub const VERIFY: Operation = Operation {
    name: "verify",
    prepare: |root| {
        with_records(root);
        let store = store(root).unwrap();
        publish(&store, "damaged", &[PLANTED, SMALL]).unwrap();
        crate::store::damage(&crate::store::object(&store, &Digest::of(PLANTED)));
    },
    act: |root| {
        let checked = store(root)?.check_all(&|_, _, _| Ok(()), &|_, _| ())?;
        let strange = checked.faults.iter().find(|damage| !is_planted(damage));
        match strange {
            Some(damage) => Err(format!("{damage:?}").into()),
            None if checked.kept.is_empty() => Ok(()),
            None => Err(format!("{:?}", checked.kept).into()),
        }
    },
    outcome: content,
    is_exact: true,
    is_durable: false,
    fetches: false,
    seeds: 6,
    least: 2000,
};

const TOKEN: &str = "correct-horse-battery-staple";

/// Puts the objects, records and signatures of `from` to a server over `lab`, in that order.
fn upload(root: &Path) -> Done {
    let from = root.join("store");
    let store = Arc::new(Store::open(&root.join("lab"))?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let access = Access::new(&[TOKEN.to_string()], None)?;
    // An address that no other test uses: thousands of servers leave their traces in this process.
    let server = runtime.block_on(Server::bind(
        store,
        "127.0.0.2:0",
        access,
        Limits::default(),
    ))?;
    let options = Options {
        token: Some(TOKEN.to_string()),
        ..Options::default()
    };
    let remote = open(&format!("http://{}", server.address()), &options)?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = runtime.spawn(server.run(async move {
        let _ = stopped.await;
    }));
    let mut puts = Vec::new();
    for folder in ["objects", "records"] {
        let files = space::files(&from.join(folder), |_| true);
        puts.extend(files.into_keys().map(|path| format!("{folder}/{path}")));
    }
    // A signature is taken once its record is there.
    puts.sort_by_key(|name| (name.starts_with("records"), name.ends_with(".sig")));
    let mut done = Ok(());
    for name in puts {
        let bytes = fs::read(from.join(&name))?;
        done = remote.put(&name, Content::Bytes(&bytes));
        if done.is_err() {
            break;
        }
    }
    drop(remote);
    drop(stop);
    runtime.block_on(serving)??;
    Ok(done?)
}

pub const UPLOAD: Operation = Operation {
    name: "upload",
    prepare: |root| {
        with_records(root);
        Store::open(&root.join("lab")).unwrap();
    },
    act: upload,
    outcome: content,
    is_exact: true,
    is_durable: true,
    fetches: false,
    seeds: 4,
    least: 2800,
};

pub const RUN: Operation = Operation {
    name: "run",
    prepare: runs::prepare,
    act: |root| runs::act(root),
    outcome: runs::outcome,
    is_exact: true,
    is_durable: true,
    fetches: false,
    seeds: 2,
    least: 2000,
};
