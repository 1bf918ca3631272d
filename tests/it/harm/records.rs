//! Records and signatures that are not what they should be.

use std::fs;

use ribflow::digest::Digest;
use ribflow::remote::address::{Options, open};
use ribflow::remote::home::Home;
use ribflow::remote::names;
use ribflow::remote::revocations;
use ribflow::remote::signing::{seal, unseal};
use ribflow::remote::statement::{Revocation, Revoked};

use super::{SMALL, Scene, asked, copy};
use crate::adversary::Misdeed;
use crate::lab::Lab;
use crate::space::TestSpace;

#[test]
fn records_that_are_not_what_they_should_be_are_refused() {
    let scene = Scene::new();
    let other = scene.author.publish("b", &[SMALL]);
    let other = names::record(&other.key, &other.digest());
    let ansi = br#"{"format":1,"key":"\u001b[2J","x":"\u0007"}"#.to_vec();
    for (misdeed, expected) in [
        (Misdeed::WrongBytes, "the digest in its name"),
        (Misdeed::Truncated, "the digest in its name"),
        (Misdeed::Swapped(other), "the digest in its name"),
        (Misdeed::Instead(ansi), "the digest in its name"),
        (Misdeed::NotThere, "it is listed but missing"),
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
            "not a record",
        ),
        (b"[".repeat(1_000_000), "not a record"),
        (b"\xff\xfe".to_vec(), "not a record"),
        (lying.to_bytes(), "does not match its digest"),
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
        // Signed by the author all the same: it is the record that is looked at.
        let word = word_for(&scene, &digest);
        scene.server.does(".sig", Misdeed::Instead(word));
        let told = scene.refuses();
        assert!(told.contains(expected), "{expected}: {told}");
    }
    scene.is_taken_in_the_end();
}

/// The author's word for whatever has this digest.
fn word_for(scene: &Scene, digest: &Digest) -> Vec<u8> {
    let envelope = scene.author.signature(&scene.record).envelope;
    let statement = unseal(&envelope, &scene.author.key.public()).unwrap();
    let mut statement: serde_json::Value = serde_json::from_slice(&statement).unwrap();
    statement["subject"][0]["digest"]["blake3"] = digest.to_hex().into();
    seal(statement.to_string().as_bytes(), &scene.author.key)
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
            "another type",
        ),
        (
            Misdeed::Instead(b"{\"payload\":\"\\u001b[2J\"".to_vec()),
            "not a signed envelope",
        ),
        (
            Misdeed::Instead(br#"{"\u001b[2J":1,"payload":["\u001b"]}"#.to_vec()),
            "envelope",
        ),
        (Misdeed::WrongBytes, "not a signed envelope"),
        (Misdeed::Truncated, "not a signed envelope"),
        (Misdeed::Endless, "more than"),
        (Misdeed::NotThere, "missing"),
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
    assert!(scene.refuses().contains("no trusted lab has signed it"));
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
    let why = found.refused[0].why.to_string();
    assert!(why.contains("the signature is for another key"), "{why}");
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

/// Digests that come before any other, and have nothing behind them.
fn low(number: usize) -> Digest {
    format!("{number:064x}").parse().unwrap()
}

#[test]
fn junk_does_not_hide_a_record_and_is_not_fetched() {
    let scene = Scene::new();
    let signer = scene.author.key.public().in_names();
    let stranger = Lab::new(9).key.public().in_names();
    let honest = [scene.record_name(), scene.signature_name()];
    let honest = honest.map(|name| name.rsplit('/').next().unwrap().to_string());
    let unsigned = |count| (0..count).map(|number| format!("{}.json", low(number)));
    let signed = |count: usize, by: Digest| {
        (0..count).flat_map(move |number| {
            let record = low(number);
            [format!("{record}.json"), format!("{record}.{by}.sig")]
        })
    };
    let beside = (0..1000).map(|number| format!("{}.{}.sig", scene.record.digest(), low(number)));
    let folder = format!("/{}/", names::records(&scene.record.key));
    for (what, junk, most) in [
        ("unsigned", unsigned(3000).collect::<Vec<_>>(), 10),
        ("by a stranger", signed(3000, stranger).collect(), 10),
        ("beside it", beside.collect(), 10),
        // Whoever writes there can use the author's name, and not the author's key.
        ("in the author's name", signed(300, signer).collect(), 700),
    ] {
        let listed: Vec<String> = junk.into_iter().chain(honest.clone()).collect();
        let listed = serde_json::to_vec(&listed).unwrap();
        scene.server.repents();
        scene.server.does("/records/", Misdeed::NotThere);
        scene.server.does(&folder, Misdeed::Instead(listed));
        for name in [scene.record_name(), scene.signature_name()] {
            scene
                .server
                .does(&format!("/{name}"), Misdeed::Swapped(name));
        }
        let before = scene.server.seen().len();
        let exchange = scene.exchange();
        let reader = Lab::new(2);
        let found = exchange.bring(&reader.store, &[scene.asked()]).unwrap();
        assert_eq!(found.taken.len(), 1, "{what}: {:?}", exchange.complaints());
        let asked = scene.server.seen().len() - before;
        assert!(asked <= most, "{what}: {asked} requests");
        assert!(
            found.refused.len() <= 200,
            "{what}: {}",
            found.refused.len()
        );
    }
}

#[test]
fn more_false_signatures_than_are_read_are_reported() {
    let scene = Scene::new();
    let signer = scene.author.key.public().in_names();
    let folder = scene
        .author
        .store
        .root()
        .join(names::records(&scene.record.key));
    for number in 0..5000 {
        let record = low(number);
        fs::write(folder.join(format!("{record}.json")), "{}").unwrap();
        fs::write(folder.join(format!("{record}.{signer}.sig")), "{}").unwrap();
    }
    let url = format!("file://{}", scene.author.store.root().display());
    let exchange = scene.exchange_with(&[("flooded", &url)]);
    let found = scene.look_up(&exchange);
    let told = exchange.complaints().join("; ");
    assert!(
        found.taken.len() == 1 || told.contains("the others were not read"),
        "{told}"
    );
    assert!(found.refused.len() <= 200, "{}", found.refused.len());
}

#[test]
fn junk_does_not_hide_a_revocation() {
    let scene = Scene::new();
    let space = TestSpace::new();
    let home = |name: &str| {
        let folder = space.path(name).into_os_string();
        Home::of(|variable| (variable == "HOME").then(|| folder.clone())).unwrap()
    };
    let word = Revocation {
        revoked: Revoked::Key,
        reason: "stolen".to_string(),
        at: 1,
    };
    let author = scene.author.key.public();
    let envelope = word.sign(&scene.author.key);
    let name = names::revocation(&author.in_names(), &Digest::of(&envelope));
    let path = space.write(&format!("remote/{name}"), &envelope);
    for number in 0..3000 {
        fs::write(path.with_file_name(format!("{}.sig", low(number))), "{}").unwrap();
    }
    let url = format!("file://{}", space.path("remote").display());
    let remote = open(&url, &Options::default()).unwrap();
    let mut trust = scene.trust();
    let pulled = revocations::pull(&*remote, &home("home"), &mut trust).unwrap();
    assert_eq!(pulled.new.len(), 1);
    assert_eq!(trust.revocation_of(&author), Some("stolen"));
}
