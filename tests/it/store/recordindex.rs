//! The record index: a copy stands in for a record for exactly as long as that is the chosen one.

use std::time::Duration;

use ribflow::store::RecordIndex;

use super::*;

/// What the index has without looking at a record; `None`: nothing.
fn copied(store: &Store, key: &Digest) -> Option<(Digest, Record)> {
    let mut index = RecordIndex::open(store, "letters");
    let known = ["a", "b", "c"].map(recipe);
    let recipe = known.into_iter().find(|recipe| recipe.key() == *key);
    let copy = index.copy(key, recipe.unwrap()).ok()?;
    Some((copy.digest, copy.record))
}

/// What a process that looks at the records leaves to the next one.
fn look(store: &Store, keys: &[Digest]) {
    let mut index = RecordIndex::open(store, "letters");
    for key in keys {
        let found = index.chosen(key).unwrap();
        let chosen = store.chosen(key).unwrap();
        assert_eq!(
            found.map(|it| (it.digest, it.record)),
            chosen.map(|it| (it.digest, it.record))
        );
    }
    index.save().unwrap();
}

#[test]
fn a_copy_holds_until_the_records_of_its_key_change() {
    let (_folder, store) = new_store();
    let records = ["a", "b", "c"].map(|name| record(&store, name, &[name.as_bytes()], 0.25));
    let keys = records.each_ref().map(|record| record.key);
    let digests = store.publish(&records).unwrap();
    look(&store, &keys);
    assert_eq!(copied(&store, &keys[0]), None, "they are young");
    std::thread::sleep(Duration::from_millis(2100));
    look(&store, &keys[..2]);
    look(&store, &keys);
    for (record, digest) in records.iter().zip(&digests) {
        assert_eq!(copied(&store, &record.key), Some((*digest, record.clone())));
    }

    // Another outcome, which is then chosen.
    let other = record(&store, "a", &[b"another"], 0.5);
    let second = store.publish(std::slice::from_ref(&other)).unwrap()[0];
    assert_eq!(copied(&store, &keys[0]), None);
    store.choose(&keys[0], &second).unwrap();
    std::thread::sleep(Duration::from_millis(2100));
    look(&store, &keys);
    assert_eq!(copied(&store, &keys[0]), Some((second, other)));
    store.choose(&keys[0], &digests[0]).unwrap();
    assert_eq!(copied(&store, &keys[0]), None);

    // One that goes.
    let hex = keys[1].to_hex();
    let folder = store.root().join("records").join(&hex[..2]).join(&hex);
    let file = folder.join(format!("{}.json", digests[1]));
    fs::remove_file(file).unwrap();
    assert_eq!(copied(&store, &keys[1]), None);
    look(&store, &keys[1..2]);

    // An index that is torn, cut short, changed or gone.
    assert!(copied(&store, &keys[2]).is_some());
    let indices = store.root().join("index.records");
    let index = fs::read_dir(&indices)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let bytes = fs::read(&index).unwrap();
    for at in [20, bytes.len() / 2, bytes.len() - 40] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        for bad in [&changed[..], &bytes[..at]] {
            fs::write(&index, bad).unwrap();
            assert_eq!(copied(&store, &keys[2]), None);
        }
    }
    fs::remove_dir_all(indices).unwrap();
    assert_eq!(copied(&store, &keys[2]), None);
    look(&store, &keys);
    assert!(copied(&store, &keys[2]).is_some());
}
