//! The figures in docs/store.md. They print and judge nothing:
//! `cargo test --release --test it -- --ignored --nocapture store::figures`

use std::time::Instant;

use ribflow::contract::source::{ImageSelection, Source, SourceShape};
use ribflow::store::{ClaimsForm, StatCache};

use super::*;

/// Milliseconds that `work` takes.
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    println!("{what}: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    result
}

#[test]
#[ignore = "prints timings"]
fn records() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = Store::open(&folder.path().join("cache")).unwrap();
    for (batch, blobs) in [(1, 1), (1, 30), (10, 3), (100, 3), (500, 1)] {
        let records: Vec<Record> = (0..batch)
            .map(|index| {
                let name = format!("{batch} {blobs} {index}");
                let contents: Vec<Vec<u8>> = (0..blobs)
                    .map(|blob| format!("{name} {blob}").into_bytes().repeat(500))
                    .collect();
                let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
                record(&store, &name, &contents, 1.0)
            })
            .collect();
        timed(&format!("publish {batch} records of {blobs} blobs"), || {
            store.publish(&records).unwrap()
        });
    }
    let store = Store::open(store.root()).unwrap();
    let keys: Vec<Digest> = (0..500)
        .map(|index| recipe(&format!("500 1 {index}")).key())
        .collect();
    for _ in 0..3 {
        timed("chosen of 500 keys", || {
            assert!(keys.iter().all(|key| store.chosen(key).unwrap().is_some()));
        });
    }
}

/// Both forms of locks, in turn.
#[test]
#[ignore = "prints timings"]
fn locks() {
    const THREADS: usize = 16;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let forms = [ClaimsForm::Flock, ClaimsForm::Lease];
    let roots = forms.map(|form| {
        let root = folder.path().join(form.word());
        drop(Store::open(&root).unwrap());
        Store::change_claims(&root, form, |_| false).unwrap();
        root
    });
    for round in 0..3 {
        for (form, root) in forms.iter().zip(&roots) {
            let store = Store::open(root).unwrap();
            store.scratch().unwrap();
            let keys: Vec<Digest> = (0..1000)
                .map(|index| recipe(&index.to_string()).key())
                .collect();
            timed(&format!("{form}: 1,000 claims taken and released"), || {
                for key in &keys {
                    drop(store.claim(key).unwrap().unwrap());
                }
            });
            timed(
                &format!("{form}: 1,000 times the lock on the store, shared"),
                || {
                    for _ in &keys {
                        drop(store.taking().unwrap());
                    }
                },
            );
            let made: Vec<(Store, Vec<Record>)> = (0..THREADS)
                .map(|thread| {
                    let store = Store::open(root).unwrap();
                    let name = |index: usize| format!("{round} {thread} {index}");
                    let records = (0..20).map(|index| record(&store, &name(index), &[b"x"], 1.0));
                    let records = records.collect();
                    (store, records)
                })
                .collect();
            timed(
                &format!("{form}: {THREADS} publishers of 20 records, one by one"),
                || {
                    std::thread::scope(|scope| {
                        for (store, records) in &made {
                            scope.spawn(move || {
                                for record in records {
                                    store.publish(std::slice::from_ref(record)).unwrap();
                                }
                            });
                        }
                    });
                },
            );
        }
    }
}

#[test]
#[ignore = "prints timings"]
fn stat_cache() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = Store::open(&folder.path().join("cache")).unwrap();
    for class in 0..100 {
        let class = folder.path().join(format!("photos/n{class:08}"));
        fs::create_dir_all(&class).unwrap();
        for index in 0..1000 {
            fs::write(
                class.join(format!("ILSVRC2012_val_{index:08}.JPEG")),
                class.to_str().unwrap().repeat(10),
            )
            .unwrap();
        }
    }
    std::thread::sleep(std::time::Duration::from_secs(3));
    let source = Source {
        name: "folder".to_string(),
        location: "photos".into(),
        shape: SourceShape::ImageFolder(ImageSelection::default()),
        sealed: false,
    };
    let cache = StatCache::open(&store);
    timed("100,000 files hashed", || {
        cache.resolve(&source, folder.path()).unwrap()
    });
    timed("saved", || cache.save().unwrap());
    for _ in 0..3 {
        let cache = StatCache::open(&store);
        let resolved = timed("100,000 files checked again", || {
            cache.resolve(&source, folder.path()).unwrap()
        });
        timed("of which canonical bytes", || {
            resolved.artifact.to_bytes().len()
        });
    }
}
