//! What a licence keeps here: which ports that are, their markers, and that nothing of it is sent.

use std::fs;
use std::path::{Path, PathBuf};

use ribflow::digest::Digest;
use ribflow::engine;
use ribflow::ml::data::encode::jpeg;
use ribflow::ml::data::mini_rib::{self, Collection, Split};
use ribflow::ml::data::picture::Picture;
use ribflow::remote::exchange::{Exchange, Peer, PushOptions, PushReport};
use ribflow::remote::folder::FolderRemote;
use ribflow::remote::patience::{Patience, Patient};
use ribflow::remote::signing::SecretKey;
use ribflow::remote::trust::{Policy, Trust};
use ribflow::stages::registry;
use ribflow::store::{Artifact, Store, StoredRecord};
use ribflow::workflow::graph::Graph;
use ribflow::workflow::withheld::Withheld;
use ribflow::workflow::{LoadOptions, load};

use crate::space::TestSpace;

/// A private dataset and a shared one beside it, with the same chain of stages behind both.
const WORKFLOW: &str = "\
ribflow: 1
name: licences
axes:
  of:
    - { id: private, folder: private }
    - { id: open, folder: open, share: true }
stages:
  images: { each: [of], use: dataset, with: { folder: \"${of.folder}\", share: \"${of.share?}\" } }
  foggy: { each: [of], use: corrupt, needs: { images: images }, with: { corruption: fog, severity: 2 } }
  copies: { each: [of], use: command, needs: { photos: foggy }, with: { run: \"mkdir out/copies && cp -r photos/* out/copies\", outputs: [copies] } }
  again: { each: [of], use: dataset, needs: { folder: copies.copies }, with: { share: true } }
  start: { use: dataset, with: { builtin: mini-rib, domain: narrow, images: 20 } }
  before: { use: pretrain, needs: { data: start }, with: { arch: vit_mini, epochs: 1 } }
  cloud: { each: [of], use: features, needs: { model: before, data: again } }
  tuned: { each: [of], use: finetune, needs: { init: before, data: again }, with: { method: lp, epochs: 1, batch: 8 } }
  accuracy: { each: [of], use: evaluate, needs: { model: tuned, data: again } }
";

pub fn photos(space: &TestSpace, folder: &str, seed: u64) {
    let set = mini_rib::render(Collection::R, Split::Test, 40, seed);
    for index in 0..12 {
        let picture = Picture {
            pixels: set.image(index).unwrap().to_vec(),
            width: set.width,
            height: set.height,
        };
        let class = &set.classes[set.labels[index] as usize];
        let name = format!("{folder}/{class}/{index:02}.jpg");
        space.write(&name, jpeg(&picture, 90).unwrap());
    }
}

fn space() -> TestSpace {
    let space = TestSpace::new();
    space.write("licences.yaml", WORKFLOW);
    photos(&space, "private", 3);
    photos(&space, "open", 4);
    space
}

fn graph(space: &TestSpace) -> Graph {
    let options = LoadOptions::default();
    let file = space.path("licences.yaml");
    let loaded = load(&file, &options, registry().kinds());
    loaded.unwrap_or_else(|problems| panic!("{problems:?}")).0
}

#[test]
fn what_is_made_of_withheld_data_is_withheld_and_nothing_else() {
    let graph = graph(&space());
    let withheld = Withheld::of(&graph);
    let mut ports: Vec<String> = Vec::new();
    for index in &graph.order {
        let node = &graph.dag[*index];
        for output in node.parameters.outputs() {
            if withheld.is_withheld(*index, &output.name) {
                ports.push(format!("{}.{}", node.id, output.name));
            }
        }
    }
    ports.sort();
    assert_eq!(
        ports,
        [
            "again[of=private].images",
            "cloud[of=private].features",
            "copies[of=private].all",
            "copies[of=private].copies",
            "foggy[of=private].images",
            "images[of=private].images",
        ]
    );
}

/// Everything that the ports of `stage` for the private dataset hold and name.
fn named(store: &Store, records: &[(String, StoredRecord)], of: &str, port: &str) -> Vec<Digest> {
    let (_, stored) = records.iter().find(|(id, _)| id == of).unwrap();
    let port = &stored.record.ports[port];
    let artifact = store.artifact(port).unwrap();
    let blobs = artifact.blobs().into_iter().map(|blob| blob.digest);
    let all = blobs.chain(artifact.encoded_images());
    all.chain([port.digest]).collect()
}

fn records(space: &TestSpace, store: &Store) -> Vec<(String, StoredRecord)> {
    let graph = graph(space);
    let survey = engine::survey(&graph, store, "cpu").unwrap();
    let records = survey.into_records().into_iter();
    records
        .map(|(node, record)| (graph.dag[node].id.clone(), record))
        .collect()
}

fn push(store: &Store, records: &[StoredRecord], to: &Path) -> PushReport {
    let peer = || Peer {
        name: "lab".to_string(),
        remote: Patient::new(Box::new(FolderRemote::new(to)), Patience::default()),
        policy: Policy::default(),
        writes: true,
    };
    let key = SecretKey::from_seed(&[7; 32]);
    let exchange = Exchange::new(Vec::new(), Trust::default(), Some(key));
    let pushing = PushOptions {
        records_only: false,
        dry_run: false,
        check: false,
    };
    exchange.push(&peer(), store, records, pushing).unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(self::files(&path)),
            false => files.push(path),
        }
    }
    files
}

#[test]
fn nothing_withheld_is_sent() {
    let space = space();
    space
        .run(&["run", "licences.yaml", "--threads", "2", "--quiet"])
        .ok();
    let store = Store::open(&space.path("cache")).unwrap();
    let all = records(&space, &store);
    assert_eq!(all.len(), 16);
    let private = [
        ("images[of=private]", "images"),
        ("foggy[of=private]", "images"),
        ("copies[of=private]", "copies"),
        ("again[of=private]", "images"),
        ("cloud[of=private]", "features"),
    ];
    let mut stays: Vec<Digest> = Vec::new();
    for (id, port) in private {
        stays.extend(named(&store, &all, id, port));
        let open = id.replace("private", "open");
        for digest in named(&store, &all, &open, port) {
            assert!(!store.is_withheld(&digest), "{open}");
        }
    }
    assert!(stays.iter().all(|digest| store.is_withheld(digest)));

    // A record that holds small withheld arrays itself stays, the others go; of the withheld ones
    // without a blob.
    let remote = space.path("remote");
    let records: Vec<StoredRecord> = all.iter().map(|(_, record)| record.clone()).collect();
    let pushed = push(&store, &records, &remote);
    let held: Vec<&str> = all
        .iter()
        .filter(|(_, stored)| !store.may_share(&stored.record))
        .map(|(id, _)| id.as_str())
        .collect();
    assert_eq!(pushed.records + held.len(), 16, "{held:?}");
    assert!(held.iter().all(|id| id.contains("private")), "{held:?}");
    assert!(pushed.withheld > 0 && pushed.blobs > 0, "{pushed:?}");
    let sent = files(&remote.join("objects"));
    assert!(sent.len() >= pushed.blobs);
    for path in &sent {
        let name = path.to_str().unwrap().trim_end_matches(".zst");
        let hex = name[name.len() - 65..].replace('/', "");
        let digest: Digest = hex.parse().unwrap();
        assert!(!stays.contains(&digest), "{digest} was sent");
    }
    // Derived pixels are no blobs. (Features are, where a stage of that kind has made them.)
    let derived = files(&space.path("cache/derived"));
    let pixels = derived.iter().filter(|piece| {
        let about = piece.parent().unwrap().join("about.json");
        fs::read_to_string(about).unwrap().contains("pixels") && !piece.ends_with("about.json")
    });
    let mut seen = 0;
    for piece in pixels {
        let bytes = fs::read(piece).unwrap();
        let content = &bytes[..bytes.len() - 32];
        assert!(!store.has(&Digest::of(content)), "{}", piece.display());
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn markers_come_back_with_the_next_run_and_go_on_request() {
    let space = space();
    let run = || {
        space
            .run(&["run", "licences.yaml", "foggy", "--quiet"])
            .ok()
    };
    run();
    let store = Store::open(&space.path("cache")).unwrap();
    let withheld = space.path("cache/withheld");
    let marked = files(&withheld);
    fs::remove_dir_all(&withheld).unwrap();
    run();
    assert_eq!(files(&withheld), marked);

    let all = records(&space, &store);
    let (_, stored) = all
        .iter()
        .find(|(id, _)| id == "images[of=private]")
        .unwrap();
    let port = &stored.record.ports["images"];
    let artifact = store.artifact(port).unwrap();
    assert!(matches!(artifact, Artifact::Dataset(_)));
    let image = artifact.encoded_images()[0];
    assert!(store.is_withheld(&image) && store.is_withheld(&port.digest));
    store.release_port(port).unwrap();
    assert!(!store.is_withheld(&image) && !store.is_withheld(&port.digest));
}

#[test]
fn what_stays_is_marked_before_it_is_there() {
    let space = space();
    let store = Store::open(&space.path("cache")).unwrap();
    let node = "foggy[of=private]";
    let run = ["run", "licences.yaml", node, "--store", "cache", "--quiet"];
    let mut run = space.command(&run).spawn().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    // Whoever looks while the node writes is handed nothing, at any moment.
    while run.try_wait().unwrap().is_none() {
        for digest in store.objects().unwrap().into_keys() {
            if seen.insert(digest) {
                assert!(store.is_withheld(&digest), "{digest}");
            }
        }
    }
    assert!(!seen.is_empty());
    // Afterwards a list stands for the images, and what was marked stays marked.
    assert!(seen.iter().all(|digest| store.is_withheld(digest)));
    let markers = files(&space.path("cache/withheld"));
    assert!(markers.len() < seen.len(), "{markers:?}");
}
