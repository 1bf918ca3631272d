//! Blobs that are not what they should be, and a remote that lies to the very caller.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;

use ribflow::digest::Digest;
use ribflow::remote::exchange::{Exchange, Peer};
use ribflow::remote::patience::{Patience, Patient};
use ribflow::remote::transport::{Content, Created, Part, Remote};
use ribflow::remote::trust::Policy;
use ribflow::remote::{RemoteError, names};
use ribflow::store::{BlobRequest, BlobSource};

use super::{LARGE, SMALL, Scene, wanted};
use crate::adversary::{Adversary, Misdeed};
use crate::lab::Lab;

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

    fn intact(&self, _: &str, _: &Digest) -> Result<Option<bool>, RemoteError> {
        Ok(None)
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
    let peer = Peer {
        name: "evil".to_string(),
        remote: Patient::new(Box::new(liar), Patience::default()),
        policy: Policy::default(),
        writes: false,
    };
    let exchange = Exchange::new(vec![peer], scene.trust(), None);
    let found = scene.look_up(&exchange);
    assert_eq!((found.taken.len(), found.refused.len()), (0, 1));
    let store = &scene.reader.store;
    exchange.fetch(store, &[wanted(SMALL), wanted(&LARGE)]);
    let large = BlobRequest {
        digest: Digest::of(SMALL),
        bytes: Some(40 << 20),
    };
    exchange.fetch(store, &[large]);
    assert!(!store.has(&Digest::of(SMALL)) && !store.has(&Digest::of(&LARGE)));
    assert!(exchange.complaints().len() >= 3);
}
