//! Every reader of foreign bytes, on files that our own writers or Python wrote, and on mutations of them:
//! the same ones each time. It returns, without a panic and in time, and keeps its promise.

mod pillow;
#[path = "../fuzz/targets.rs"]
mod targets;
mod weights_only;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ribflow::digest::Digest;
use ribflow::ml::data::decode::decode;
use ribflow::ml::models::checkpoint::shards;
use ribflow::remote::bundle::BundleReader;
use ribflow::remote::http::listing;
use ribflow::remote::lock::Lock;
use ribflow::remote::names;
use ribflow::remote::record_check;
use ribflow::remote::signing::{SecretKey, seal};
use ribflow::remote::statement;
use ribflow::rng::Stream;
use ribflow::stages::checkpoint::classes;
use ribflow::stages::command::typed::{metrics, npy};
use ribflow::store::{ClaimsForm, Record, Store};
use serde_json::json;

use targets::{TARGETS, root};

/// Mutations of all targets together; `RIBFLOW_TEST_FUZZ=100` makes a hundred times as many.
const ROUNDS: usize = 20_000;
/// The longest time for one input, on a machine that does something else.
const LONGEST: Duration = Duration::from_secs(20);
/// Larger files are left out: a mutation of a few bytes would rarely meet what is parsed.
const LARGEST: u64 = 40_000;

/// Files of the repository: a folder and the ends of names.
fn files(folder: &str, ends: &[&str]) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| {
        let name = path.to_string_lossy();
        ends.iter().any(|end| name.ends_with(end)) && path.metadata().unwrap().len() <= LARGEST
    });
    paths.sort();
    assert!(!paths.is_empty(), "{folder} {ends:?}");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// The inputs that the mutations of a target start from, apart from those that are [`kept`].
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    match target {
        "yaml" => [
            files("tests/bad", &[".yaml"]),
            files("tests/language", &[".yaml"]),
        ]
        .concat(),
        "workflow" => [
            files("tests/bad", &[".yaml"]),
            files("tests/workflows", &[".yaml"]),
        ]
        .concat(),
        "lock" => texts(&[LOCK]),
        "config" => texts(&[CONFIG]),
        "site" => texts(&[SITE]),
        "scheduler" => texts(&[QUEUE, NODES]),
        "published" => files("workflows/published", &[".yaml"]),
        "record" | "envelope" => signed(target),
        "store" => texts(&[
            PIN,
            JOURNAL,
            "{\"format\":1,\"claims\":\"flock\",\"needs_ribflow\":\"0.1.0\"}",
        ]),
        "leases" => lease(),
        "indexes" => index(),
        "weights" => files("tests/checkpoints", &[".pth", ".safetensors"]),
        "tensors" => files("tests/checkpoints", &["16.safetensors", "vit.safetensors"]),
        "shards" => texts(&[
            "{\"metadata\":{\"total_size\":8},\"weight_map\":{\"a\":\"x.safetensors\",\"b\":\"y.safetensors\"}}",
        ]),
        "npy" => arrays(),
        "images" => files("tests/images", &[".jpg", ".png"]),
        "pictures" => [files("tests/images", &[".png"]), texts(&[SVG])].concat(),
        "tables" => texts(&[
            "name,x,y\na,1,2.5\n\"b, c\",,-3e4\n",
            "{\"name\":\"a\",\"x\":1}\n{\"name\":\"b\",\"x\":null}\n",
        ]),
        "metrics" => texts(&[
            "{\"accuracy\":{\"value\":0.5,\"unit\":\"%\",\"n\":10,\"interval\":[0.4,0.6]},\"loss\":1e-3,\"by\":{\"a\":1}}",
        ]),
        "classes" => texts(&[
            "cat\ndog\n",
            "[\"cat\",\"dog\"]",
            "{\"cat\":0,\"dog\":1}",
            "{\"0\":\"cat\"}",
        ]),
        "bundle" => vec![crate::zips::bundle(&[
            ("fuzz.yaml", "ribflow: 1\n"),
            ("tools/a.py", "pass\n"),
        ])],
        "lists" => texts(&[
            "[{\"name\":\"x.json\",\"type\":\"file\",\"size\":3},{\"name\":\"y.sig\"}]",
            "<html><title>Index of /store</title><a href=\"../\">../</a><a href=\"x.json\">x.json</a></html>",
            "<D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>/store/records/ab/x.json</D:href></D:response></D:multistatus>",
        ]),
        "environments" => texts(&[
            UV_LOCK,
            PROJECT,
            "{\"name\":\"zlib\",\"version\":\"1.3\",\"build\":\"h1\",\"md5\":\"ab\"}",
        ]),
        "text" => texts(&[
            "\u{1b}[2J\u{1b}]0;title\u{7}plain \u{202e}text\r\n",
            "https://user:password@host/path?token=abc",
            "src/**/*.py",
        ]),
        "requests" => requests(),
        "answers" => texts(&[
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"a\"\r\n\r\nhello",
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n[5,null]",
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 19\r\n\r\n[{\"name\":\"x.json\"}]",
            "HTTP/1.1 302 Found\r\nLocation: /objects/ab/c\r\nContent-Length: 0\r\n\r\n",
        ]),
        other => panic!("no seeds for {other}"),
    }
}

/// Inputs that once were a fault of a target. It may refuse them.
fn kept(target: &str) -> Vec<Vec<u8>> {
    let found = fs::read_dir(root().join("tests/fuzz/corpus").join(target));
    let mut found: Vec<PathBuf> = found
        .into_iter()
        .flatten()
        .map(|one| one.unwrap().path())
        .collect();
    found.sort();
    found.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Settings of a site.
const SITE: &str = "\
workers: 40
work: 20m
slurm:
  partition: main
  time: 2h
  mem: 4GiB
  options: [--nice=100]
  setup: [module load cuda]
  gpus: { gres: 'gpu:a100:{gpus}', time: 8h }
command:
  launch: hq submit --cpus {cpus} -- {worker}
  join: 10m
";

/// Lines of `squeue` and `sacct`.
const QUEUE: &str = "\
91|90|0|PENDING|Resources||rf-r-cpu-ab12
93|93|N/A|FAILED|NonZeroExitCode|n[1-2]|rf-r-gpu-x-cd34
94|94|N/A|RUNNING|None|n1|a|b
90_0|CANCELLED by 0|0:0|n1|rf-r-cpu-ab12
";

/// Lines of `scontrol`.
const NODES: &str = "\
PartitionName=main AllowAccounts=ALL AllowQos=normal,high Default=YES MaxTime=1-02:03:04 State=UP
NodeName=n1 CPUTot=4 AvailableFeatures=a,b Gres=gpu:fake:2(S:0),gpu:b:1 OS=Linux #1 SMP @0  RealMemory=4000 State=IDLE
MaxArraySize            = 1001
";

const LOCK: &str = "ribflow_lock: 1\ncheckpoints:\n- hub: a/b\n  revision: main\n  file: model.safetensors\n  commit: 0123456789012345678901234567890123456789\nsources:\n- node: images\n  source: root\n  parameters: 0000000000000000000000000000000000000000000000000000000000000001\n  digest: 0000000000000000000000000000000000000000000000000000000000000002\n  files: 3\n  bytes: 12\n";
const CONFIG: &str = "remotes:\n  aachen:\n    url: s3://bucket/mini\n    endpoint: https://s3.lab.example\n    write: true\n    token_env: RIBFLOW_TOKEN\n    require: [aachen]\n    quorum: 1\n    recheck: 5%\n  bad:\n    url: https://user:hunter2@host/x\ntrust:\n  aachen: iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=\ncommands: []\nkey: kyoto\n";
const PIN: &str = "{\"format\":2,\"name\":\"fuzz\",\"workflow\":\"w\",\"at\":1,\"nodes\":[{\"node\":\"a\",\"key\":\"0000000000000000000000000000000000000000000000000000000000000001\"}]}";
const JOURNAL: &str = "{\"format\":1,\"workflow\":\"w\",\"profiles\":[],\"overrides\":[],\"goals\":1}\n{\"at\":1,\"what\":{\"event\":\"node_reused\",\"node\":\"a\"}}\n";
const SVG: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"10\" height=\"10\"><script>x()</script><g fill=\"#f00\" onload=\"x()\"><rect width=\"5\" height=\"5\"/><text x=\"1\">a &amp; b</text></g><foreignObject><iframe src=\"x\"/></foreignObject></svg>";
const UV_LOCK: &str = "version = 1\nrequires-python = \">=3.11\"\n\n[[package]]\nname = \"six\"\nversion = \"1.17.0\"\nsource = { registry = \"https://pypi.example/simple\" }\n\n[[package]]\nname = \"own\"\nsource = { editable = \".\" }\n";
const PROJECT: &str = "[project]\nname = \"p\"\nversion = \"1\"\ndependencies = [\"six\"]\n\n[dependency-groups]\ndev = [\"attrs\"]\n\n[tool.uv]\npackage = false\n";

fn signed(target: &str) -> Vec<Vec<u8>> {
    let (_folder, store) = crate::store::new_store();
    let record = crate::store::record(&store, "fuzz", &[b"content"], 1.0);
    let key = SecretKey::from_seed(&[7; 32]);
    match target {
        "record" => vec![record.to_bytes()],
        _ => {
            let envelope = statement::sign(&record, &key);
            let payload = json!({
                "_type": "https://in-toto.io/Statement/v1",
                "subject": [{ "name": "x", "digest": { "blake3": "ab", "sha256": "cd" } }],
                "predicateType": "tag:ribflow,2026:revocation/v1",
                "predicate": { "revoked": "key", "reason": "stolen", "at": 1 },
            });
            let payload = payload.to_string().into_bytes();
            vec![envelope, seal(&payload, &key), payload]
        }
    }
}

/// Requests of a client that knows the token.
fn requests() -> Vec<Vec<u8>> {
    let get = |name: &str| {
        format!("GET /{name} HTTP/1.1\r\nHost: h\r\nRange: bytes=0-9\r\n\r\n").into_bytes()
    };
    let with_body = |method: &str, name: &str, body: &[u8]| {
        let head = format!(
            "{method} /{name} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
            targets::TOKEN,
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let content = b"content of a blob".repeat(20);
    let object = names::object(&Digest::of(&content));
    let (_folder, store) = crate::store::new_store();
    let record = crate::store::record(&store, "fuzz", &[b"content"], 1.0);
    let name = names::record(&record.key, &record.digest());
    let packed = zstd::encode_all(content.as_slice(), 3).unwrap();
    vec![
        get("store.json"),
        get(&object),
        with_body("PUT", &object, &content),
        with_body("PUT", &names::compressed(&Digest::of(&content)), &packed),
        with_body("PUT", &name, &record.to_bytes()),
        with_body(
            "POST",
            "has",
            format!("[\"{object}\",\"{name}\"]").as_bytes(),
        ),
    ]
}

/// Contents of index files, without their heads and checksums.
fn index() -> Vec<Vec<u8>> {
    let text = |text: &str| [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let stat = [
        text("data"),
        text(""),
        1_u32.to_le_bytes().to_vec(),
        8_u32.to_le_bytes().to_vec(),
        vec![0; 90],
    ]
    .concat();
    let records = [1_u64.to_le_bytes().to_vec(), vec![1; 200]].concat();
    vec![stat, records, vec![0; 64]]
}

fn arrays() -> Vec<Vec<u8>> {
    let file = |header: &str, data: &[u8]| {
        let length = (header.len() as u16).to_le_bytes();
        [
            b"\x93NUMPY\x01\0",
            length.as_slice(),
            header.as_bytes(),
            data,
        ]
        .concat()
    };
    vec![
        file(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
            &[1; 24],
        ),
        file(
            "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 2), }",
            &[0; 8],
        ),
    ]
}

/// Values that parsers count, compare and allocate with.
const NUMBERS: [&[u8]; 8] = [
    &[0; 4],
    &[0xff; 4],
    &[0xff; 8],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0, 0, 0, 0x80],
    b"18446744073709551616",
    b"-1",
    b"1e999",
];

/// A mutation of a seed: up to four edits of bits, bytes, numbers and ranges.
fn mutated(seeds: &[Vec<u8>], random: &mut Stream) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len() as u64) as usize].clone();
    for _ in 0..=random.below(4) {
        let length = bytes.len();
        let at = random.below(length as u64 + 1) as usize;
        let end = (at + random.below(32) as usize).min(length);
        match random.below(8) {
            0 if at < length => bytes[at] ^= 1 << random.below(8),
            1 if at < length => bytes[at] = random.bits() as u8,
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].repeat(1 + random.below(20) as usize);
                bytes.splice(at..at, copy);
            }
            5 => {
                let number = NUMBERS[random.below(NUMBERS.len() as u64) as usize];
                let end = (at + number.len()).min(length);
                bytes.splice(at..end, number.iter().copied());
            }
            6 => {
                let other = &seeds[random.below(seeds.len() as u64) as usize];
                let from = random.below(other.len() as u64 + 1) as usize;
                let to = (from + random.below(200) as usize).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            _ => bytes.splice(at..at, *b"\0\xff\xfe\x80").for_each(drop),
        }
    }
    bytes
}

/// Runs a target on its seeds and its share of the mutations.
fn explore(name: &str) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    let seeds = [seeds(name), kept(name)].concat();
    export(name, &seeds);
    let more = std::env::var("RIBFLOW_TEST_FUZZ").map_or(1, |more| more.parse().unwrap());
    let rounds = ROUNDS.div_ceil(TARGETS.len()) * more;
    let mut random = Stream::new(1, &format!("fuzz {name}"));
    let inputs = seeds.iter().cloned();
    let mut explored: usize = 0;
    for bytes in inputs.chain((0..rounds).map(|_| mutated(&seeds, &mut random))) {
        let begun = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| target(&bytes)));
        let took = begun.elapsed();
        if ended.is_err() || took > LONGEST {
            let path = root()
                .join("target")
                .join(format!("fuzz-{name}-{explored}"));
            fs::write(&path, &bytes).unwrap();
            panic!("{name}: {} ({took:?})", path.display());
        }
        explored += 1;
    }
    assert!(explored >= rounds + seeds.len());
}

/// Writes the seeds for the fuzzer that is guided by coverage.
fn export(name: &str, seeds: &[Vec<u8>]) {
    let Some(folder) = std::env::var_os("RIBFLOW_FUZZ_CORPUS") else {
        return;
    };
    let folder = PathBuf::from(folder).join(name);
    fs::create_dir_all(&folder).unwrap();
    for (number, seed) in seeds.iter().enumerate() {
        fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
    }
}

#[test]
fn reads_any_yaml() {
    explore("yaml");
}

#[test]
fn reads_any_workflow() {
    explore("workflow");
}

#[test]
fn reads_any_lock() {
    explore("lock");
}

#[test]
fn reads_any_config() {
    explore("config");
}

#[test]
fn reads_any_site() {
    explore("site");
}

#[test]
fn reads_any_scheduler() {
    explore("scheduler");
}

#[test]
fn reads_any_published() {
    explore("published");
}

#[test]
fn reads_any_record() {
    explore("record");
}

#[test]
fn reads_any_envelope() {
    explore("envelope");
}

#[test]
fn reads_any_store() {
    explore("store");
}

#[test]
fn reads_any_leases() {
    explore("leases");
}

#[test]
fn reads_any_indexes() {
    explore("indexes");
}

#[test]
fn reads_any_weights() {
    explore("weights");
}

#[test]
fn reads_any_tensors() {
    explore("tensors");
}

#[test]
fn reads_any_shards() {
    explore("shards");
}

#[test]
fn reads_any_npy() {
    explore("npy");
}

#[test]
fn reads_any_images() {
    explore("images");
}

#[test]
fn reads_any_pictures() {
    explore("pictures");
}

#[test]
fn reads_any_tables() {
    explore("tables");
}

#[test]
fn reads_any_metrics() {
    explore("metrics");
}

#[test]
fn reads_any_classes() {
    explore("classes");
}

#[test]
fn reads_any_bundle() {
    explore("bundle");
}

#[test]
fn reads_any_lists() {
    explore("lists");
}

#[test]
fn reads_any_environments() {
    explore("environments");
}

#[test]
fn reads_any_text() {
    explore("text");
}

#[test]
fn reads_any_requests() {
    explore("requests");
}

#[test]
fn reads_any_answers() {
    explore("answers");
}

/// A lease of this process.
fn lease() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("cache");
    drop(Store::open(&root).unwrap());
    Store::change_claims(&root, ClaimsForm::Lease, |_| false).unwrap();
    let store = Store::open(&root).unwrap();
    let key = Digest::of(b"fuzz");
    let _claim = store.claim(&key).unwrap().unwrap();
    vec![fs::read(root.join("claims").join(key.to_hex())).unwrap()]
}

/// A mutation of what is refused at its first byte would explore nothing.
#[test]
fn the_seeds_are_what_their_readers_take() {
    let whole = |name: &str, takes: &dyn Fn(&[u8], &Path) -> bool| {
        let folder = tempfile::tempdir().unwrap();
        for (number, seed) in seeds(name).iter().enumerate() {
            let path = folder.path().join(format!("{number}.lock"));
            fs::write(&path, seed).unwrap();
            assert!(takes(seed, &path), "seed {number} of {name}");
        }
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    whole("npy", &|bytes, _| npy::parse(bytes).is_ok());
    whole("images", &|bytes, _| decode(bytes).is_ok());
    whole("metrics", &|bytes, _| metrics::parse(&text(bytes)).is_ok());
    whole("classes", &|bytes, _| {
        classes::parsed(&text(bytes)).is_some()
    });
    whole("lists", &|bytes, _| {
        listing::names(&text(bytes), "/store/records/ab/").is_ok_and(|names| !names.is_empty())
    });
    whole("bundle", &|_, path| BundleReader::open(path).is_ok());
    whole("shards", &|bytes, path| {
        fs::write(path, bytes).unwrap();
        shards(path).is_ok()
    });
    whole("lock", &|_, path| {
        Lock::read(&path.with_extension("")).is_ok()
    });
    whole("record", &|bytes, _| {
        let key = serde_json::from_slice::<Record>(bytes).unwrap().key;
        record_check::record(bytes, &key, &Digest::of(bytes)).is_ok()
    });
}

#[test]
fn every_target_has_a_test_of_its_name() {
    let text = include_str!("fuzz.rs");
    for (name, _) in TARGETS {
        assert!(text.contains(&format!("fn reads_any_{name}()")), "{name}");
    }
}
