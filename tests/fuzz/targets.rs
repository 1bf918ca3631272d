//! What reads foreign bytes, as plain functions: each must return, whatever the bytes are, and keep the
//! promise that it states. `tests/it/fuzz.rs` replays a corpus and mutations of it; the package beside this
//! file explores them guided by coverage (`.ci/fuzz`).

use std::cell::OnceCell;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use ribflow::cluster::slurm::{facts, queue};
use ribflow::cluster::{LaunchLine, Site};
use ribflow::contract::source::{Source, SourceShape};
use ribflow::diag::{Problems, SourceText, credentials, terminal};
use ribflow::digest::Digest;
use ribflow::engine::{join, journal};
use ribflow::ml::data::decode::decode;
use ribflow::ml::models::checkpoint;
use ribflow::remote::Remote;
use ribflow::remote::bundle::BundleReader;
use ribflow::remote::config::Config;
use ribflow::remote::home::Home;
use ribflow::remote::http::{HttpRemote, listing};
use ribflow::remote::imported;
use ribflow::remote::lock::Lock;
use ribflow::remote::options::Options;
use ribflow::remote::record_check;
use ribflow::remote::serve::{Access, Limits, Server};
use ribflow::remote::signing::{SecretKey, seal, unseal};
use ribflow::remote::statement::{OutcomeStatement, Revocation};
use ribflow::remote::transport::Part;
use ribflow::report::verdict::Expected;
use ribflow::stages::checkpoint::classes;
use ribflow::stages::command::typed::{metrics, npy, plot, table};
use ribflow::store::receipt::Receipt;
use ribflow::store::{
    ClaimsForm, Record, RecordIndex, StatCache, Store, check_environment_file, ignore, tensorfile,
};
use ribflow::workflow::graph::Graph;
use ribflow::workflow::{LoadOptions, load};
use ribflow::yaml;

/// Reads foreign bytes.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("yaml", yaml_text),
    ("workflow", workflow),
    ("lock", lock),
    ("config", config),
    ("published", published),
    ("record", record),
    ("envelope", envelope),
    ("store", small_files),
    ("leases", lease),
    ("indexes", indexes),
    ("weights", weights),
    ("tensors", tensors),
    ("shards", shards),
    ("npy", array),
    ("images", image),
    ("pictures", picture),
    ("tables", rows),
    ("metrics", numbers),
    ("classes", names),
    ("bundle", bundle),
    ("lists", list),
    ("environments", environment),
    ("text", text),
    ("requests", request),
    ("answers", answer),
    ("scheduler", scheduler),
    ("site", site),
];

/// A folder of this thread, for readers of files, and a store in it.
struct Place {
    folder: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(&folder.path().join("cache")).expect("a new store");
        Self { folder, store }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        let folder = path.parent().expect("a folder above");
        fs::create_dir_all(folder).expect("a folder");
        fs::write(&path, bytes).expect("a file");
        path
    }
}

thread_local! {
    static PLACE: OnceCell<Place> = const { OnceCell::new() };
}

fn at<T>(work: impl FnOnce(&Place) -> T) -> T {
    PLACE.with(|place| work(place.get_or_init(Place::new)))
}

fn limits() -> yaml::Limits {
    yaml::Limits {
        bytes: 1 << 20,
        depth: 64,
    }
}

/// A text is a tree, or has problems with a place in it.
fn yaml_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut problems = Problems::default();
    let id = problems.add_source(SourceText::new("fuzz", text));
    let tree = yaml::parse(&mut problems, id, &limits());
    let found = problems.finish();
    assert!(tree.is_some() || found.is_err());
    // What the language takes, the reader of typed documents takes.
    let value = yaml::decode::<serde_json::Value>(SourceText::new("fuzz", text), &limits());
    assert!(found.is_err() || value.is_ok(), "{value:?}");
}

/// A file is a graph or has problems.
fn workflow(bytes: &[u8]) {
    let path = at(|place| place.write("fuzz.yaml", bytes));
    let kinds = ribflow::stages::registry();
    let mut options = LoadOptions::default();
    options.limits.nodes = 2000;
    if let Err(problems) = load(&path, &options, kinds.kinds()) {
        assert!(!problems.0.is_empty());
    }
}

fn lock(bytes: &[u8]) {
    let path = at(|place| place.write("locked.yaml.lock", bytes));
    drop(Lock::read(&path.with_extension("")));
}

/// No error shows a password of a URL.
fn config(bytes: &[u8]) {
    at(|place| {
        place.write("home/config/ribflow/config.yaml", bytes);
        place.write("home/data/ribflow/imported", bytes);
        let folder = place.folder.path().join("home");
        let home = Home::of(|name| match name {
            "XDG_CONFIG_HOME" => Some(folder.join("config").into()),
            "XDG_DATA_HOME" => Some(folder.join("data").into()),
            _ => None,
        });
        let home = home.expect("both folders are given");
        if let Err(error) = Config::read(&home) {
            assert!(!error.to_string().contains("hunter2"));
        }
        drop(imported::read(&home));
    });
}

thread_local! {
    static GRAPH: OnceCell<Graph> = const { OnceCell::new() };
}

fn published(bytes: &[u8]) {
    let path = at(|place| place.write("published.yaml", bytes));
    GRAPH.with(|graph| {
        let graph = graph.get_or_init(|| {
            let file = root().join("tests/workflows/methods.yaml");
            let kinds = ribflow::stages::registry();
            let loaded = load(&file, &LoadOptions::default(), kinds.kinds());
            loaded.expect("a valid workflow").0
        });
        drop(Expected::read(&path, graph));
    });
}

/// A record that is taken is in canonical form and has the digest in its name.
fn record(bytes: &[u8]) {
    let digest = Digest::of(bytes);
    let key = serde_json::from_slice::<Record>(bytes).map(|record| record.key);
    let key = key.unwrap_or(digest);
    if let Ok(record) = record_check::record(bytes, &key, &digest) {
        assert_eq!(record.to_bytes(), bytes);
        assert_eq!(record.digest(), digest);
    }
}

/// Nothing is taken that the key has not signed; what it has signed may say anything.
fn envelope(bytes: &[u8]) {
    let key = SecretKey::from_seed(&[7; 32]);
    let digest = Digest::of(b"fuzz");
    let own = seal(bytes, &key);
    assert_eq!(unseal(&own, &key.public()).expect("our own"), bytes);
    for envelope in [bytes, &own] {
        drop(OutcomeStatement::open(
            envelope,
            &key.public(),
            &digest,
            &digest,
        ));
        drop(Revocation::open(envelope, &key.public()));
    }
}

/// The small files of a store that another member of a group may have written.
fn small_files(bytes: &[u8]) {
    at(|place| {
        let store = &place.store;
        let key = Digest::of(b"fuzz").to_hex();
        place.write("cache/pins/fuzz.json", bytes);
        place.write("cache/runs/1/journal.jsonl", bytes);
        place.write("cache/runs/1/recipes.jsonl", bytes);
        place.write("cache/runs/1/join.json", bytes);
        place.write("cache/runs/1/crew", bytes);
        place.write(&format!("cache/runs/1/failures/{key}"), bytes);
        place.write("cache/withheld/images/fuzz", bytes);
        place.write(&format!("cache/records/{}/{key}/chosen", &key[..2]), bytes);
        place.write(&format!("cache/samples/{key}.json"), bytes);
        place.write("cache/index.rates", bytes);
        drop(store.pins());
        drop(store.sampled("fuzz", 1, 2));
        drop(store.chosen(&Digest::of(b"fuzz")));
        drop(ribflow::engine::price::rates::Rates::of(store));
        if let Ok(runs) = journal::seen(store) {
            drop(journal::uses(&runs, 1));
        }
        journal::each_event(store, |_| ());
        drop(join::read_plan(store, "1"));
        drop(journal::failure_of(store, "1", &Digest::of(b"fuzz")));
        place.write("other/store.json", bytes);
        drop(Store::identity(&place.folder.path().join("other")));
    });
}

/// The lease of another process. What it names is no path, and what it says steers no terminal.
fn lease(bytes: &[u8]) {
    at(|place| {
        let root = place.folder.path().join("leased");
        if !root.exists() {
            drop(Store::open(&root).expect("a new store"));
            let changed = Store::change_claims(&root, ClaimsForm::Lease, |_| false);
            changed.expect("nothing uses it");
        }
        let store = Store::open(&root).expect("a store");
        let key = Digest::of(b"fuzz");
        place.write(&format!("leased/claims/{key}"), bytes);
        place.write("leased/tmp/other/heart", bytes);
        if let Some(holder) = store.holder_of(&key) {
            assert!(holder.to_string().is_ascii() && !holder.session.contains('/'));
            assert!(!holder.to_string().contains(char::is_control));
        }
        drop(store.claim(&key).expect("a lease or none"));
        drop(store.users().expect("a list"));
        assert!(root.join("store.json").exists() && root.join("tmp/other").exists());
    });
}

/// Derived files with a checksum that fits, which is no secret.
fn indexes(bytes: &[u8]) {
    at(|place| {
        let store = &place.store;
        let name = Digest::of(b"fuzz");
        let sealed = |head: &str| {
            let content = [head.as_bytes(), bytes].concat();
            let checksum = blake3::hash(&content);
            [content.as_slice(), checksum.as_bytes()].concat()
        };
        place.write(
            &format!("cache/index.records/{}", name.to_hex()),
            &sealed("ribflow records 5\n"),
        );
        let mut index = RecordIndex::open(store, "fuzz");
        drop(index.folders());
        drop(index.chosen(&name));
        drop(Receipt::read(store, &name));
        place.write(
            &format!("cache/index.runs/{}", name.to_hex()),
            &sealed("ribflow receipt 1\n"),
        );
        drop(Receipt::read(store, &name));
        let folder = place.folder.path().join("data");
        place.write("data/a", b"a");
        let path = format!(
            "cache/index.stat/{}",
            Digest::of(folder.as_os_str().as_encoded_bytes()).to_hex()
        );
        place.write(&path, &sealed("ribflow stat 2\n"));
        let source = source(&folder, SourceShape::Tree);
        assert!(StatCache::open(store).resolve(&source, &folder).is_ok());
    });
}

fn source(place: &Path, shape: SourceShape) -> Source {
    Source {
        name: "fuzz".to_string(),
        location: place.to_path_buf(),
        shape,
        sealed: false,
    }
}

/// Every container of weights, by its first bytes.
fn weights(bytes: &[u8]) {
    let path = at(|place| place.write("weights", bytes));
    drop(checkpoint::read(&path, None));
    drop(checkpoint::read(&path, Some("model.ema")));
}

/// What is taken is written back as the same bytes, without metadata and in the format's order.
fn tensors(bytes: &[u8]) {
    at(|place| {
        let path = place.write("tensors.safetensors", bytes);
        let found = tensorfile::import(&place.store, serde_json::json!({}), &path);
        if let Ok(found) = found {
            let again = place.folder.path().join("again.safetensors");
            let _ = fs::remove_file(&again);
            tensorfile::export(&place.store, &found, &again).expect("a tensor that was read");
            let read = tensorfile::import(&place.store, serde_json::json!({}), &again);
            assert_eq!(read.expect("a file of ours").tensors, found.tensors);
        }
    });
}

/// No shard is outside the folder of the index.
fn shards(bytes: &[u8]) {
    at(|place| {
        let path = place.write("model.safetensors.index.json", bytes);
        if let Ok(names) = checkpoint::shards(&path) {
            assert!(names.iter().all(|name| !name.contains('/') && name != ".."));
        }
        let source = source(&path, SourceShape::Sharded(Vec::new()));
        drop(StatCache::open(&place.store).resolve(&source, place.folder.path()));
    });
}

/// The bytes are as many as the shape says.
fn array(bytes: &[u8]) {
    if let Ok(array) = npy::parse(bytes) {
        let size = ribflow::store::artifact::size(array.dtype, &array.shape);
        assert_eq!(size, Some(array.bytes.len() as u64));
    }
}

fn image(bytes: &[u8]) {
    if let Ok(picture) = decode(bytes) {
        assert_eq!(picture.pixels.len(), picture.width * picture.height * 3);
    }
}

/// No element that runs or loads is left.
fn picture(bytes: &[u8]) {
    drop(plot::check_png(bytes));
    if let Ok(kept) = plot::sanitized(bytes) {
        let kept = String::from_utf8_lossy(&kept).to_lowercase();
        for gone in ["<script", "<iframe", "<foreignobject"] {
            assert!(!kept.contains(gone), "{gone} in {kept}");
        }
        // Within a tag: the same letters in a text do nothing.
        let mut tags = kept.split('<').filter_map(|part| part.split('>').next());
        assert!(!tags.any(|tag| tag.contains(" onload=\"")), "{kept}");
    }
}

/// Every row has as many cells as the head.
fn rows(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for table in [table::from_csv(text), table::from_lines(text)]
        .into_iter()
        .flatten()
    {
        let width = table.columns.len();
        assert!(table.rows.iter().all(|row| row.len() == width));
    }
}

fn numbers(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(metrics) = metrics::parse(text)
    {
        assert!(
            metrics
                .values
                .values()
                .all(|metric| metric.value.is_finite())
        );
    }
}

fn names(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        drop(classes::parsed(text));
    }
}

/// No file of a bundle leads out of its folder or is hidden.
fn bundle(bytes: &[u8]) {
    let path = at(|place| place.write("fuzz.ribbundle", bytes));
    let Ok(reader) = BundleReader::open(&path) else {
        return;
    };
    for name in reader.workflow_files().unwrap_or_default().keys() {
        let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.');
        assert!(name.split('/').all(is_plain), "{name}");
    }
    drop((reader.keys(), reader.blobs()));
}

/// No name leads elsewhere.
fn list(bytes: &[u8]) {
    let body = String::from_utf8_lossy(bytes);
    if let Ok(names) = listing::names(&body, "/store/records/ab/") {
        for name in names {
            assert!(!name.is_empty() && !name.contains('/') && !name.starts_with('.'));
        }
    }
}

fn environment(bytes: &[u8]) {
    at(|place| {
        let lock = place.write("uv.lock", bytes);
        drop(check_environment_file(&SourceShape::UvLock, &lock));
        let project = place.write("pyproject.toml", bytes);
        drop(check_environment_file(
            &SourceShape::PythonProject,
            &project,
        ));
        place.write("conda/conda-meta/fuzz.json", bytes);
        let folder = place.folder.path().join("conda");
        let source = source(&folder, SourceShape::CondaPackages);
        drop(StatCache::open(&place.store).resolve(&source, &folder));
    });
}

/// Text that is shown steers no terminal; values of variables and patterns may be anything.
fn text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let shown = terminal::printable(&text);
    let steers = |letter: char| letter != '\n' && terminal::steers(letter);
    assert!(!shown.chars().any(steers), "{shown:?}");
    let _ = credentials::sign("FUZZ", Some(&text));
    let _ = credentials::sign(&text, None);
    drop(ignore::check(&text));
}

/// The token for writing of the server of [`request`].
pub const TOKEN: &str = "a-token-that-writes";

/// A server over an empty store, which the process keeps.
fn server() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder").keep();
        let store = Arc::new(Store::open(&folder.join("cache")).expect("a new store"));
        let (sender, address) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let access = Access::new(&[TOKEN.to_string()], None).expect("a token");
                let limits = Limits {
                    blob: 1 << 20,
                    ..Limits::default()
                };
                let server = Server::bind(store, "127.0.0.1:0", access, limits).await;
                let server = server.expect("a free port");
                sender.send(server.address()).expect("a receiver");
                drop(server.run(std::future::pending()).await);
            });
        });
        address.recv().expect("a server")
    })
}

/// The server answers every connection, never with a fault of its own.
fn request(bytes: &[u8]) {
    let mut stream = TcpStream::connect(server()).expect("a server");
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).expect("a limit of time");
    // It may have refused the rest.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    if let Err(error) = ended {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    let text = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || text.starts_with("HTTP/1."), "{text}");
    assert!(!text.starts_with("HTTP/1.1 5"), "{text}");
}

static ANSWER: Mutex<Vec<u8>> = Mutex::new(Vec::new());
const NAME: &str = "objects/ab/c";

/// A server that answers what [`ANSWER`] has, and that it has nothing under names that nobody should have.
fn liar() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let copy = stream.try_clone().expect("a second handle");
                let mut lines = BufReader::new(copy).lines().map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                let size = lines.take_while(|line| !line.is_empty()).count();
                let is_asked = ["/objects/ab/c ", "/records/ab/ ", "/has "];
                let answer = match is_asked.iter().any(|name| first.contains(name)) {
                    true => ANSWER.lock().expect("a whole answer").clone(),
                    false => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
                };
                assert!(size < 100);
                let _ = stream.write_all(&answer);
            }
        });
        address
    })
}

/// No more is taken than was asked for, and no name leads elsewhere.
fn answer(bytes: &[u8]) {
    *ANSWER.lock().expect("a whole answer") = bytes.to_vec();
    let remote = HttpRemote::new(&format!("http://{}", liar()), &Options::default());
    let mut taken = Vec::new();
    let part = Part {
        from: 0,
        most: 1000,
    };
    drop(remote.get(NAME, part, &mut taken));
    assert!(taken.len() <= 1000);
    if let Ok(names) = remote.list("records/ab") {
        assert!(names.iter().all(|name| !name.contains('/')));
    }
    let names = ["objects/ab/c".to_string(), "objects/ab/c".to_string()];
    if let Ok(sizes) = remote.sizes(&names) {
        assert_eq!(sizes.len(), names.len());
    }
}

/// The root of the repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    match here.ends_with("tests/fuzz") {
        true => here.join("../.."),
        false => here.to_path_buf(),
    }
}

/// What `squeue`, `sacct` and `scontrol` print: only jobs of the run are read, and no more than lines.
fn scheduler(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().count();
    for jobs in [
        queue::read_queue(&text, "rf-r-"),
        queue::read_accounts(&text, "rf-r-"),
    ] {
        assert!(jobs.len() <= lines);
        assert!(jobs.iter().all(|job| job.name.starts_with("rf-r-")));
    }
    assert!(facts::partitions(&text).len() <= lines);
    assert!(facts::nodes(&text).len() <= lines);
    assert!(facts::settings(&text).len() <= lines);
}

/// The file of a site is read, or each of its problems is at a place in it.
fn site(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match Site::parse(SourceText::new("cluster.yaml", text)) {
        Ok(site) => {
            if let Some(launch) = &site.command.launch {
                LaunchLine::parse(launch).unwrap();
            }
            assert!(site.limits.workers > 0 && site.slurm.poll > 0);
        }
        Err(problems) => assert!(!problems.0.is_empty()),
    }
}
