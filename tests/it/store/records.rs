//! Records: found by key, verified, and one of several chosen for good.

use proptest::prelude::*;
use ribflow::digest::canonical_json;
use ribflow::store::Blob;

use ribflow::contract::port::OutputSpec;

use super::*;

fn record_path(store: &Store, key: &Digest, record: &Digest) -> PathBuf {
    let hex = key.to_hex();
    let folder = store.root().join("records").join(&hex[..2]).join(hex);
    folder.join(format!("{record}.json"))
}

#[test]
fn a_published_record_is_found_where_the_layout_says() {
    let (folder, store) = new_store();
    let record = record(&store, "a", &[b"one", b"two"], 1.0);
    let digests = store.publish(std::slice::from_ref(&record)).unwrap();
    drop(store);

    // The store may move: nothing in it says where it lies.
    let moved = folder.path().join("elsewhere");
    fs::rename(folder.path().join("cache"), &moved).unwrap();
    let store = Store::open(&moved).unwrap();
    let found = store.chosen(&record.key).unwrap().unwrap();
    assert_eq!((found.digest, &found.record), (digests[0], &record));
    assert_eq!(mode(&record_path(&store, &record.key, &digests[0])), 0o444);
    let files = store.artifact(&record.ports["files"]).unwrap();
    assert!(store.missing(&files).is_empty());
    assert_eq!(
        record.ports["files"].bytes,
        files.to_bytes().len() as u64 + 6
    );
    assert!(store.chosen(&Digest::of(b"another key")).unwrap().is_none());
}

#[test]
fn the_first_record_stays_chosen_until_another_is() {
    let (_folder, store) = new_store();
    let outcomes: Vec<Record> = (0..8)
        .map(|index| record(&store, "a", &[b"x"], f64::from(index)))
        .collect();
    let key = outcomes[0].key;
    // The first is not the lowest: a rule by name alone would move to another.
    let mut order: Vec<usize> = (0..8).collect();
    order.sort_by_key(|index| outcomes[*index].digest());
    order.reverse();
    let first = outcomes[order[0]].digest();
    for index in &order {
        store.publish(&outcomes[*index..=*index]).unwrap();
        assert_eq!(store.chosen(&key).unwrap().unwrap().digest, first);
    }
    assert_eq!(store.records(&key).unwrap().len(), 8);

    let other = outcomes[order[3]].digest();
    store.choose(&key, &other).unwrap();
    assert_eq!(store.chosen(&key).unwrap().unwrap().digest, other);
    let absent = Digest::of(b"absent");
    assert!(matches!(
        store.choose(&key, &absent),
        Err(StoreError::NoSuchRecord { .. })
    ));

    // Publishing what is there changes nothing.
    store.publish(&outcomes).unwrap();
    assert_eq!(store.chosen(&key).unwrap().unwrap().digest, other);
}

#[test]
fn a_damaged_record_is_set_aside_and_the_next_one_taken() {
    let (_folder, store) = new_store();
    let outcomes = [
        record(&store, "a", &[b"x"], 1.0),
        record(&store, "a", &[b"x"], 2.0),
    ];
    let digests = [&outcomes[..1], &outcomes[1..]].map(|one| store.publish(one).unwrap()[0]);
    let key = outcomes[0].key;
    damage(&record_path(&store, &key, &digests[0]));
    assert_eq!(store.chosen(&key).unwrap().unwrap().digest, digests[1]);
    let aside = store
        .root()
        .join("damaged/records")
        .join(format!("{}.json", digests[0]));
    assert!(aside.is_file());
    assert_eq!(store.records(&key).unwrap().len(), 1);
    // What is published next does not take the place of the one that is chosen now.
    store.publish(&[record(&store, "a", &[b"x"], 3.0)]).unwrap();
    assert_eq!(store.chosen(&key).unwrap().unwrap().digest, digests[1]);
}

#[test]
fn a_record_under_a_foreign_key_is_not_served() {
    let (_folder, store) = new_store();
    let record = record(&store, "a", &[b"x"], 1.0);
    let digest = store.publish(std::slice::from_ref(&record)).unwrap()[0];
    let other = recipe("b").key();
    let place = record_path(&store, &other, &digest);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::copy(record_path(&store, &record.key, &digest), &place).unwrap();
    assert!(store.chosen(&other).unwrap().is_none());
    assert!(store.chosen(&record.key).unwrap().is_some());
}

#[test]
fn a_record_of_a_newer_format_is_an_error_not_damage() {
    let (_folder, store) = new_store();
    let mut record = record(&store, "a", &[b"x"], 1.0);
    record.format = ribflow::store::record::RECORD_FORMAT + 1;
    let digest = store.publish(std::slice::from_ref(&record)).unwrap()[0];
    let error = store.chosen(&record.key).unwrap_err();
    assert!(matches!(error, StoreError::NewerRecord { .. }));
    assert!(record_path(&store, &record.key, &digest).is_file());
}

#[test]
fn what_is_not_whole_is_not_published() {
    let (_folder, store) = new_store();
    let good = record(&store, "a", &[b"good"], 1.0);
    let lacking = record(&store, "b", &[b"lost"], 1.0);
    fs::remove_file(object(&store, &Digest::of(b"lost"))).unwrap();
    let error = store.publish(&[good.clone(), lacking]).unwrap_err();
    assert!(matches!(error, StoreError::Incomplete { .. }));
    let mut lying = good.clone();
    lying.recipe = recipe("something else");
    assert!(matches!(
        store.publish(&[lying]),
        Err(StoreError::WrongKey { .. })
    ));
    // Neither left the good one behind.
    assert!(store.chosen(&good.key).unwrap().is_none());
}

#[test]
fn a_number_that_is_none_is_not_kept() {
    let (_folder, store) = new_store();
    let mut metrics = Metrics::default();
    metrics
        .values
        .insert("loss".to_string(), Metric::new(f64::NAN, "nats"));
    let error = store
        .port(
            &OutputSpec::new("m", PortType::Metrics),
            Artifact::Metrics(metrics),
        )
        .unwrap_err();
    assert!(matches!(error, BlobError::NotFinite(name) if name == "loss"));
}

proptest! {
    #[test]
    fn the_bytes_of_a_tree_are_canonical(paths in prop::collection::btree_set(".{0,20}", 0..20)) {
        let named = paths.into_iter().map(|path| {
            let blob = Blob { bytes: path.len() as u64, digest: Digest::of(path.as_bytes()) };
            (path, blob)
        });
        let artifact = Artifact::Files(named.collect::<Files>());
        let value = serde_json::to_value(&artifact).unwrap();
        prop_assert_eq!(artifact.to_bytes(), canonical_json(&value).into_bytes());
    }
}

#[test]
fn formats_are_frozen() {
    let (_folder, store) = new_store();
    let record = record(&store, "a", &[b"one"], 1.0);
    insta::assert_snapshot!(String::from_utf8(record.to_bytes()).unwrap(), @r#"{"format":1,"key":"e0f87c2953495c13467662ee3b889162ca2bde31eabbbd4a4379d6e2736d1a20","ports":{"files":{"bytes":121,"digest":"abfb20bc9e23825b1f56357b5ae42b2498f90f7a5847e76ae42cbfee177d99f4","inline":{"files":{"files":{"file-0":{"bytes":3,"digest":"d33fb48ab5adff269ae172b29a6913ff04f6f266207a7a8e976f2ecd571d4492"}}}},"type":"files"},"metrics":{"bytes":78,"digest":"626b67bc1b780ddba2d04267bd98dd302f44a65490d7ed890163e96b7091ce67","inline":{"metrics":{"values":{"top1":{"unit":"percent","value":0.30000000000000004}}}},"type":"metrics"}},"provenance":{"device_class":"","ribflow":"","started":0,"threads":0,"wall_seconds":1.0},"recipe":{"inputs":{},"kind":"test","version":1,"with":{"parameter":"a","rate":0.1}}}"#);
}
