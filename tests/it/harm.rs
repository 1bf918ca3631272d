//! Sharing with a remote that means harm: all it does is found, named, and nothing of it is kept.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use ribflow::digest::Digest;
use ribflow::remote::address::{Options, open};
use ribflow::remote::exchange::{Asked, Exchange, Found, Neighbour};
use ribflow::remote::pace::Limits;
use ribflow::remote::patience::{Patience, Patient};
use ribflow::remote::transport::{Content, Created, Part, Remote};
use ribflow::remote::trust::{Policy, Trust};
use ribflow::remote::{RemoteError, names};
use ribflow::store::{Elsewhere, Record, Wanted};
use ribflow::workflow::kind::Comparison;

use crate::adversary::{Adversary, Misdeed};
use crate::lab::Lab;

const SMALL: &[u8] = b"a blob of a few bytes";
static LARGE: [u8; 300_000] = [7; 300_000];

/// Lab A, which is honest; a server of what it has, which is not; lab B, which trusts A.
struct Scene {
    author: Lab,
    reader: Lab,
    record: Record,
    server: Adversary,
}

impl Scene {
    fn new() -> Self {
        let author = Lab::new(1);
        let record = author.publish("a", &[SMALL, &LARGE]);
        Self {
            server: Adversary::serving(author.store.root()),
            reader: Lab::new(2),
            author,
            record,
        }
    }

    fn exchange(&self) -> Exchange {
        self.exchange_with(&[("evil", &self.server.url)])
    }

    fn exchange_with(&self, remotes: &[(&str, &str)]) -> Exchange {
        let limits = Limits {
            connect: Duration::from_secs(5),
            answer: Duration::from_millis(500),
            window: Duration::from_millis(300),
            least: 1024,
        };
        let options = Options {
            limits,
            ..Options::default()
        };
        let patience = Patience {
            retries: 1,
            pause: Duration::from_millis(1),
            failures: 100,
        };
        let neighbours = remotes.iter().map(|(name, url)| Neighbour {
            name: name.to_string(),
            remote: Patient::new(open(url, &options).unwrap(), patience),
            policy: Policy::default(),
            writes: false,
        });
        Exchange::new(neighbours.collect(), self.trust(), None)
    }

    fn trust(&self) -> Trust {
        let mut trust = Trust::default();
        trust.add("author", self.author.key.public());
        trust
    }

    fn asked(&self) -> Asked {
        asked(&self.record)
    }

    fn look_up(&self, exchange: &Exchange) -> Found {
        exchange.bring(&self.reader.store, &[self.asked()]).unwrap()
    }

    /// What the server has to say of the record is nothing; what was said of that.
    fn refuses(&self) -> String {
        let exchange = self.exchange();
        let found = self.look_up(&exchange);
        assert!(found.taken.is_empty());
        let records = self.reader.store.records(&self.record.key).unwrap();
        assert_eq!(records, [], "kept");
        let names = self.reader.store.root().join("records");
        assert_eq!(fs::read_dir(names).unwrap().count(), 0, "kept");
        let refused = found.refused.iter();
        let refused = refused.map(|one| format!("{}: {}", one.remote, one.why));
        let told: Vec<String> = refused.chain(exchange.complaints()).collect();
        let told = told.join("; ");
        assert!(!told.contains(char::is_control), "{told:?}");
        told
    }

    /// Once the server is honest, the record is taken all the same.
    fn is_taken_in_the_end(&self) {
        self.server.repents();
        let found = self.look_up(&self.exchange());
        assert_eq!((found.taken.len(), found.refused.len()), (1, 0));
    }

    fn record_name(&self) -> String {
        names::record(&self.record.key, &self.record.digest())
    }

    fn signature_name(&self) -> String {
        let signer = self.author.key.public().in_names();
        names::signature(&self.record.key, &self.record.digest(), &signer)
    }
}

fn asked(record: &Record) -> Asked {
    Asked {
        key: record.key,
        comparison: Comparison::BitEqual,
    }
}

fn wanted(content: &[u8]) -> Wanted {
    Wanted {
        digest: Digest::of(content),
        bytes: Some(content.len() as u64),
    }
}

fn copy(root: &Path, from: &str, to: &str) {
    let to = root.join(to);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(root.join(from), to).unwrap();
}

#[test]
fn records_that_are_not_what_they_should_be_are_refused() {
    let scene = Scene::new();
    let other = scene.author.publish("b", &[SMALL]);
    let other = names::record(&other.key, &other.digest());
    let ansi = br#"{"format":1,"key":"\u001b[2J","x":"\u0007"}"#.to_vec();
    for (misdeed, expected) in [
        (Misdeed::WrongBytes, "its name's digest"),
        (Misdeed::Truncated, "its name's digest"),
        (Misdeed::Swapped(other), "its name's digest"),
        (Misdeed::Instead(ansi), "its name's digest"),
        (Misdeed::NotThere, "it is listed and not there"),
        (Misdeed::Endless, "more than 67108864 bytes"),
        (Misdeed::Enormous, "can't be reached"),
        (Misdeed::CutOff, "can't be reached"),
        (Misdeed::Drip, "1 KiB moved"),
        (Misdeed::Circle, "redirect"),
        (
            Misdeed::Elsewhere("file:///etc/passwd".to_string()),
            "redirect",
        ),
        (Misdeed::Status(500), "500"),
        (Misdeed::Status(403), "403"),
        (Misdeed::HangUp, "can't be reached"),
        (Misdeed::Silence, "can't be reached"),
    ] {
        scene.server.repents();
        scene.server.does(".json", misdeed.clone());
        let told = scene.refuses();
        assert!(told.contains(expected), "{misdeed:?}: {told}");
    }
    scene.is_taken_in_the_end();
}

#[test]
fn records_with_the_right_name_and_nothing_else_are_refused() {
    let scene = Scene::new();
    let signer = scene.author.key.public().in_names();
    let folder = names::records(&scene.record.key);
    let mut lying = scene.record.clone();
    lying.ports.get_mut("files").unwrap().digest = Digest::of(b"other");
    let mut later = serde_json::to_value(&scene.record).unwrap();
    later["format"] = 99.into();
    let mut of_another_recipe = scene.record.clone();
    of_another_recipe.recipe.version = 2;
    let pretty = serde_json::to_vec_pretty(&scene.record).unwrap();
    for (bytes, expected) in [
        (
            br#"{"format":1,"\u001b[2J":1,"key":"\u001b[2J"}"#.to_vec(),
            "no record",
        ),
        (b"[".repeat(1_000_000), "no record"),
        (b"\xff\xfe".to_vec(), "no record"),
        (lying.to_bytes(), "does not have its digest"),
        (later.to_string().into_bytes(), "a newer ribflow"),
        (of_another_recipe.to_bytes(), "another key"),
        (pretty, "canonical"),
    ] {
        let digest = Digest::of(&bytes);
        let listed = [format!("{digest}.json"), format!("{digest}.{signer}.sig")];
        let listed = serde_json::to_vec(&listed).unwrap();
        scene.server.repents();
        scene.server.does(&folder, Misdeed::Instead(listed));
        scene.server.does(".json", Misdeed::Instead(bytes));
        let told = scene.refuses();
        assert!(told.contains(expected), "{expected}: {told}");
    }
    scene.is_taken_in_the_end();
}

#[test]
fn signatures_that_do_not_speak_for_a_record_are_refused() {
    let scene = Scene::new();
    let root = scene.author.store.root();
    let name = scene.signature_name();
    let honest = fs::read(root.join(&name)).unwrap();
    let other = scene.author.publish("b", &[SMALL]);
    let of_another = scene.author.signature(&other).envelope;
    let stranger = Lab::new(9);
    let of_a_stranger = stranger.signature(&scene.record).envelope;
    let mut text: serde_json::Value = serde_json::from_slice(&honest).unwrap();
    text["payloadType"] = "\u{1b}[2J".into();
    for (misdeed, expected) in [
        (Misdeed::Instead(of_another), "another record"),
        (Misdeed::Instead(of_a_stranger), "names another key"),
        (
            Misdeed::Instead(text.to_string().into_bytes()),
            "something else",
        ),
        (
            Misdeed::Instead(b"{\"payload\":\"\\u001b[2J\"".to_vec()),
            "no signed envelope",
        ),
        (
            Misdeed::Instead(br#"{"\u001b[2J":1,"payload":["\u001b"]}"#.to_vec()),
            "envelope",
        ),
        (Misdeed::WrongBytes, "no signed envelope"),
        (Misdeed::Truncated, "no signed envelope"),
        (Misdeed::Endless, "more than"),
        (Misdeed::NotThere, "not there"),
    ] {
        scene.server.repents();
        scene.server.does(".sig", misdeed.clone());
        let told = scene.refuses();
        assert!(told.contains(expected), "{misdeed:?}: {told}");
    }
    scene.server.repents();

    // The whole folder of another lab's word, and of nobody's.
    let mut signer = stranger.key.public().in_names();
    fs::remove_file(root.join(&name)).unwrap();
    assert!(scene.refuses().contains("nobody has signed it"));
    let foreign = names::signature(&scene.record.key, &scene.record.digest(), &signer);
    fs::write(
        root.join(&foreign),
        stranger.signature(&scene.record).envelope,
    )
    .unwrap();
    assert!(
        scene
            .refuses()
            .contains("nobody that is trusted has signed it")
    );
    // A stranger's signature under the author's name.
    signer = scene.author.key.public().in_names();
    assert_ne!(signer, stranger.key.public().in_names());
    fs::rename(root.join(&foreign), root.join(&name)).unwrap();
    assert!(scene.refuses().contains("names another key"));
    fs::write(root.join(&name), honest).unwrap();
    scene.is_taken_in_the_end();
}

#[test]
fn a_record_replayed_under_another_key_is_refused() {
    let scene = Scene::new();
    let root = scene.author.store.root();
    let other = scene.author.publish("b", &[SMALL]);
    let folder = names::records(&other.key);
    fs::remove_dir_all(root.join(&folder)).unwrap();
    for name in [scene.record_name(), scene.signature_name()] {
        let file = name.rsplit('/').next().unwrap();
        copy(root, &name, &format!("{folder}/{file}"));
    }
    let exchange = scene.exchange();
    let found = exchange.bring(&scene.reader.store, &[asked(&other)]);
    let found = found.unwrap();
    assert!(found.taken.is_empty());
    assert_eq!(found.refused[0].why.to_string(), "it is of another key");
    assert_eq!(scene.reader.store.records(&other.key).unwrap(), []);
    assert_eq!(scene.reader.store.records(&scene.record.key).unwrap(), []);
}

#[test]
fn lists_lead_nowhere_else() {
    let scene = Scene::new();
    let digest = scene.record.digest();
    let signer = scene.author.key.public().in_names();
    let long = "a".repeat(100_000);
    let tricks = [
        "../../x.json".to_string(),
        format!("../{digest}.json"),
        format!("/etc/{digest}.json"),
        format!("{digest}.json\0"),
        format!("{digest}.json/../../x"),
        format!("{}.json", digest.to_hex().to_uppercase()),
        format!("%2e%2e/{digest}.json"),
        format!("{digest}.../../{signer}.sig"),
        format!("{long}.json"),
        "..".to_string(),
        String::new(),
    ];
    let mut names: Vec<String> = tricks.to_vec();
    let listing = |names: &[String]| serde_json::to_vec(names).unwrap();
    let folder = format!("{}/", names::records(&scene.record.key));
    let honest = [format!("{digest}.json"), format!("{digest}.{signer}.sig")];
    let html: String = tricks
        .iter()
        .map(|name| format!("<a href=\"{name}\">x</a>"))
        .collect();
    for body in [
        listing(&names),
        html.into_bytes(),
        b"[".repeat(100_000),
        vec![0xff; 1000],
        Vec::new(),
    ] {
        scene.server.repents();
        scene.server.does("/records/", Misdeed::Instead(body));
        scene.refuses();
    }
    assert!(scene.server.seen().iter().all(|path| path[1..] == folder));
    for (misdeed, expected) in [
        (Misdeed::Endless, "more than"),
        (Misdeed::Drip, "KiB moved"),
        (Misdeed::Circle, "redirect"),
        (Misdeed::HangUp, "can't be reached"),
        (Misdeed::Status(500), "500"),
    ] {
        scene.server.repents();
        scene.server.does("/records/", misdeed.clone());
        let told = scene.refuses();
        assert!(told.contains(expected), "{misdeed:?}: {told}");
    }
    // Among them what is right is still found, though there be a hundred thousand of others.
    names.extend((0..100_000).map(|number| format!("{number}.json")));
    names.extend(honest);
    scene.server.repents();
    scene
        .server
        .does(&format!("/{folder}"), Misdeed::Instead(listing(&names)));
    for part in [".json", ".sig"] {
        // Files are served; only the list of them is a lie.
        let name = match part {
            ".json" => scene.record_name(),
            _ => scene.signature_name(),
        };
        scene
            .server
            .does(&format!("/{name}"), Misdeed::Swapped(name));
    }
    let found = scene.look_up(&scene.exchange());
    assert_eq!((found.taken.len(), found.refused.len()), (1, 0));
}

#[test]
fn a_bad_record_does_not_hide_a_good_one() {
    let scene = Scene::new();
    let mut second = scene.record.clone();
    second.provenance.wall_seconds = 9.0;
    scene.author.store.publish(&[second.clone()]).unwrap();
    let signature = scene.author.signature(&second);
    let store = &scene.author.store;
    store
        .add_signature(&second.key, &second.digest(), &signature)
        .unwrap();
    for misdeed in [Misdeed::Endless, Misdeed::Truncated, Misdeed::Status(403)] {
        let reader = Lab::new(2);
        scene.server.repents();
        let name = format!("{}.json", second.digest());
        scene.server.does(&name, misdeed.clone());
        let exchange = scene.exchange();
        let found = exchange.bring(&reader.store, &[scene.asked()]).unwrap();
        assert_eq!(
            found.taken.len(),
            1,
            "{misdeed:?}: {:?}",
            exchange.complaints()
        );
        assert_eq!(found.refused.len(), 1, "{misdeed:?}");
        assert_eq!(found.refused[0].record, second.digest());
        let names = reader.store.record_names(&second.key).unwrap();
        assert_eq!(names, [scene.record.digest()]);
    }
}

#[test]
fn blobs_that_are_not_what_they_should_be_are_not_kept() {
    let scene = Scene::new();
    let root = scene.author.store.root();
    let small = names::object(&Digest::of(SMALL));
    let bomb = zstd::bulk::compress(&vec![0; 40_000_000], 3).unwrap();
    let squeezed = |content: &[u8]| zstd::bulk::compress(content, 3).unwrap();
    let compressed = root.join(names::compressed(&Digest::of(&LARGE)));
    let store = &scene.reader.store;
    let cases = [
        (Misdeed::WrongBytes, "digest"),
        (Misdeed::Truncated, "digest"),
        (Misdeed::Swapped(small), "digest"),
        (Misdeed::Instead(Vec::new()), "digest"),
        (Misdeed::Endless, "digest"),
        (Misdeed::Enormous, "can't be reached"),
        (Misdeed::CutOff, "can't be reached"),
        (Misdeed::CutOffWrong, "can't be reached"),
        (Misdeed::Drip, "KiB moved"),
        (Misdeed::Circle, "redirect"),
        (Misdeed::Status(500), "500"),
        (Misdeed::Status(403), "403"),
        (Misdeed::HangUp, "can't be reached"),
        (Misdeed::Silence, "can't be reached"),
    ];
    let plain = cases.map(|(misdeed, expected)| ("objects/", misdeed, expected));
    let zst = [
        (Misdeed::Instead(bomb), "decompress"),
        (Misdeed::Instead(squeezed(&[8; 300_000])), "digest"),
        (Misdeed::Instead(squeezed(&[7; 299_999])), "digest"),
        (Misdeed::Instead(b"no zstd at all".to_vec()), "decompress"),
        (Misdeed::Truncated, "digest"),
        (Misdeed::WrongBytes, "decompress"),
        (Misdeed::Endless, "decompress"),
        (Misdeed::Drip, "KiB moved"),
    ];
    fs::write(&compressed, squeezed(&LARGE)).unwrap();
    let zst = zst.map(|(misdeed, expected)| (".zst", misdeed, expected));
    for (part, misdeed, expected) in plain.into_iter().chain(zst) {
        scene.server.repents();
        if part == ".zst" {
            scene.server.does("objects/", Misdeed::NotThere);
        }
        scene.server.does(part, misdeed.clone());
        let exchange = scene.exchange();
        exchange.fetch(store, &[wanted(&LARGE)]);
        assert!(!store.has(&Digest::of(&LARGE)), "{misdeed:?}");
        let objects = fs::read_dir(store.root().join("objects")).unwrap();
        assert_eq!(objects.count(), 0, "{misdeed:?}");
        let complaints = exchange.complaints().join("; ");
        let digest = Digest::of(&LARGE).short();
        assert!(
            complaints.starts_with(&format!("evil: blob {digest}")),
            "{misdeed:?}: {complaints}"
        );
        assert!(complaints.contains(expected), "{misdeed:?}: {complaints}");
        assert!(!complaints.contains(char::is_control), "{complaints:?}");
    }
    for part in ["", ".zst"] {
        let reader = Lab::new(2);
        scene.server.repents();
        if part == ".zst" {
            scene.server.does("objects/", Misdeed::NotThere);
            let name = names::compressed(&Digest::of(&LARGE));
            scene.server.does(".zst", Misdeed::Swapped(name));
        }
        let exchange = scene.exchange();
        exchange.fetch(&reader.store, &[wanted(&LARGE), wanted(SMALL)]);
        assert!(
            reader.store.has(&Digest::of(&LARGE)),
            "{:?}",
            exchange.complaints()
        );
    }
}

#[test]
fn what_one_remote_has_spoilt_another_makes_good() {
    let scene = Scene::new();
    let honest = Adversary::serving(scene.author.store.root());
    for misdeed in [Misdeed::CutOffWrong, Misdeed::CutOff, Misdeed::WrongBytes] {
        let reader = Lab::new(2);
        scene.server.repents();
        scene.server.does("objects/", misdeed.clone());
        let exchange = scene.exchange_with(&[("evil", &scene.server.url), ("good", &honest.url)]);
        exchange.fetch(&reader.store, &[wanted(&LARGE), wanted(SMALL)]);
        let complaints = exchange.complaints();
        assert!(
            reader.store.has(&Digest::of(&LARGE)),
            "{misdeed:?}: {complaints:?}"
        );
        assert!(
            reader.store.has(&Digest::of(SMALL)),
            "{misdeed:?}: {complaints:?}"
        );
        let of_evil = complaints.iter().all(|one| one.starts_with("evil: "));
        assert!(of_evil && !complaints.is_empty(), "{complaints:?}");
    }
}

#[test]
fn large_blobs_are_checked_across_their_parts() {
    let scene = Scene::new();
    let content: Vec<u8> = (0..35_000_000_u32)
        .map(|number| (number >> 3) as u8)
        .collect();
    let large = wanted(&content);
    scene.author.publish("large", &[&content]);
    let store = &scene.reader.store;
    for misdeed in [
        Misdeed::WrongBytes,
        Misdeed::Truncated,
        Misdeed::Swapped(names::object(&Digest::of(SMALL))),
        Misdeed::CutOffWrong,
        Misdeed::Drip,
    ] {
        scene.server.repents();
        scene.server.does("objects/", misdeed.clone());
        let exchange = scene.exchange();
        exchange.fetch(store, &[large]);
        assert!(!store.has(&large.digest), "{misdeed:?}");
        assert!(!exchange.complaints().is_empty(), "{misdeed:?}");
    }
    scene.server.repents();
    let exchange = scene.exchange();
    exchange.fetch(store, &[large]);
    assert!(store.has(&large.digest), "{:?}", exchange.complaints());
    assert_eq!(exchange.complaints(), [""; 0]);
}

/// A remote in memory, for what no server could do: it lies to the very caller.
#[derive(Default)]
struct Liar {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Names that its lists have, in place of those below.
    listed: Option<Vec<String>>,
}

impl Remote for Liar {
    fn shown(&self) -> &str {
        "liar"
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, RemoteError> {
        if let Some(listed) = &self.listed {
            return Ok(listed.clone());
        }
        let objects = self.objects.lock().unwrap();
        let prefix = format!("{folder}/");
        let names = objects.keys().filter_map(|name| name.strip_prefix(&prefix));
        Ok(names.map(str::to_string).collect())
    }

    fn sizes(&self, names: &[String]) -> Result<Vec<Option<u64>>, RemoteError> {
        Ok(names.iter().map(|_| Some(u64::MAX)).collect())
    }

    /// Sends everything, whatever part was asked for, and says that it was none.
    fn get(&self, name: &str, _: Part, into: &mut dyn std::io::Write) -> Result<u64, RemoteError> {
        let objects = self.objects.lock().unwrap();
        let Some(bytes) = objects.get(name) else {
            return Err(RemoteError::Missing {
                remote: "liar".to_string(),
                name: name.to_string(),
            });
        };
        let _ = into.write_all(bytes);
        Ok(0)
    }

    fn put(&self, _: &str, _: Content) -> Result<(), RemoteError> {
        Ok(())
    }

    fn create(&self, _: &str, _: &[u8]) -> Result<Created, RemoteError> {
        Ok(Created::There)
    }

    fn remove(&self, _: &str) -> Result<(), RemoteError> {
        Ok(())
    }
}

#[test]
fn a_liar_in_memory_gets_nothing_in() {
    let scene = Scene::new();
    let other = b"other bytes, and many more of them than were asked for".to_vec();
    let objects = BTreeMap::from([
        (names::object(&Digest::of(SMALL)), other.clone()),
        (names::object(&Digest::of(&LARGE)), vec![7; 300_001]),
        (scene.record_name(), b"{}".to_vec()),
    ]);
    let liar = Liar {
        objects: Mutex::new(objects),
        listed: Some(vec![
            format!("{}.json", scene.record.digest()),
            format!(
                "{}.{}.sig",
                scene.record.digest(),
                scene.author.key.public().in_names()
            ),
            "../../../../etc/passwd".to_string(),
            "/etc/passwd".to_string(),
            "a\0b.json".to_string(),
        ]),
    };
    let neighbour = Neighbour {
        name: "evil".to_string(),
        remote: Patient::new(Box::new(liar), Patience::default()),
        policy: Policy::default(),
        writes: false,
    };
    let exchange = Exchange::new(vec![neighbour], scene.trust(), None);
    let found = scene.look_up(&exchange);
    assert_eq!((found.taken.len(), found.refused.len()), (0, 1));
    let store = &scene.reader.store;
    exchange.fetch(store, &[wanted(SMALL), wanted(&LARGE)]);
    let large = Wanted {
        digest: Digest::of(SMALL),
        bytes: Some(40 << 20),
    };
    exchange.fetch(store, &[large]);
    assert!(!store.has(&Digest::of(SMALL)) && !store.has(&Digest::of(&LARGE)));
    assert!(exchange.complaints().len() >= 3);
}
