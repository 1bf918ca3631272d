//! The project's own client and the server.

use ribflow::remote::RemoteError;
use ribflow::remote::address::{Options, open};
use ribflow::remote::exchange::{Exchange, Peer, PushOptions, RecordQuery};
use ribflow::remote::patience::{Patience, Patient};
use ribflow::remote::probe::probe;
use ribflow::remote::transport::{Content, Created, Part, Remote};
use ribflow::remote::trust::{Policy, Trust};
use ribflow::store::{BlobRequest, BlobSource, StoredRecord};
use ribflow::workflow::kind::Comparison;

use super::*;

fn remote(serving: &Serving, token: Option<&str>) -> Box<dyn Remote> {
    let options = Options {
        token: token.map(str::to_string),
        ..Options::default()
    };
    open(&format!("http://127.0.0.1:{}", serving.port), &options).unwrap()
}

#[test]
fn the_client_finds_out_what_it_may_do() {
    let lab = Lab::new(1);
    let serving = Serving::writable(&lab, &[]);
    let abilities = probe(&*remote(&serving, Some(TOKEN))).unwrap();
    let all = (abilities.writes, abilities.conditional, abilities.lists);
    assert_eq!(all, (true, true, true), "{:?}", abilities.why);
    assert_eq!(serving.get("tmp/").json(), json!([]), "it is removed");
    let stranger = probe(&*remote(&serving, None)).unwrap();
    assert_eq!((stranger.writes, stranger.lists), (false, true));
    let reader = Serving::of(&lab);
    let abilities = probe(&*remote(&reader, Some(TOKEN))).unwrap();
    assert!(!abilities.writes);
    assert!(
        abilities.why.join(" ").contains("--tokens"),
        "{abilities:?}"
    );
    serving.stop();
    assert_eq!(uploads(&lab.store), 0);
}

#[test]
fn the_client_speaks_with_it() {
    let lab = Lab::new(1);
    let serving = Serving::writable(&lab, &[]);
    let remote = remote(&serving, Some(TOKEN));
    let content: Vec<u8> = (0..5_000_000_u32)
        .map(|number| (number * 7) as u8)
        .collect();
    let space = TestSpace::new();
    let file = space.write("blob", &content);
    let name = names::object(&Digest::of(&content));
    for _ in 0..2 {
        remote.put(&name, Content::File(&file)).unwrap();
    }
    let refused = remote.put(&names::object(&Digest::of(b"x")), Content::File(&file));
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("does not match its name"), "{error}");
    assert_eq!(remote.create(&name, b"other").unwrap(), Created::There);
    let mut part = Vec::new();
    let asked = Part {
        from: 4_000_000,
        most: 2_000_000,
    };
    assert_eq!(remote.get(&name, asked, &mut part).unwrap(), 1_000_000);
    assert!(part == content[4_000_000..]);
    let missing = names::object(&Digest::of(b"missing"));
    let sizes = remote.sizes(&[name.clone(), missing.clone()]).unwrap();
    assert_eq!(sizes, [Some(5_000_000), None]);
    let error = remote.get(&missing, asked, &mut part).unwrap_err();
    assert!(matches!(error, RemoteError::Missing { .. }));
    let folder = names::records(&Digest::of(b"key"));
    assert_eq!(remote.list(&folder).unwrap(), [""; 0]);
}

#[test]
fn labs_share_through_it() {
    let (here, author, reader) = (Lab::new(1), Lab::new(2), Lab::new(3));
    let serving = Serving::writable(&here, &[]);
    let exchange = |lab: Lab, trusted: &Lab, token| {
        let mut trust = Trust::default();
        trust.add("author", trusted.key.public());
        let peer = Peer {
            name: "served".to_string(),
            remote: Patient::new(remote(&serving, token), Patience::default()),
            policy: Policy::default(),
            writes: true,
        };
        Exchange::new(vec![peer], trust, Some(lab.key))
    };
    let content = [9; 200_000];
    let record = author.publish("a", &[&content, b"small"]);
    let asked = RecordQuery {
        key: record.key,
        comparison: Comparison::BitEqual,
    };
    let pull = exchange(Lab::new(3), &author, None);
    let push = exchange(Lab::new(2), &author, Some(TOKEN));
    let stored = StoredRecord::of(record);
    let pushing = PushOptions {
        records_only: false,
        dry_run: false,
        check: false,
    };
    let peer = &push.peers()[0];
    let records = std::slice::from_ref(&stored);
    let pushed = push.push(peer, &author.store, records, pushing).unwrap();
    assert_eq!((pushed.records, pushed.blobs), (1, 2));
    let again = push.push(peer, &author.store, records, pushing).unwrap();
    assert_eq!((again.there, again.records), (1, 0));

    let found = pull.bring(&reader.store, &[asked]).unwrap();
    assert_eq!((found.taken.len(), found.refused.len()), (1, 0));
    assert_eq!(reader.store.records(&asked.key).unwrap(), [stored]);
    let blobs = [&content[..], b"small"].map(|content| BlobRequest {
        digest: Digest::of(content),
        bytes: Some(content.len() as u64),
    });
    pull.fetch(&reader.store, &blobs);
    assert!(blobs.iter().all(|blob| reader.store.has(&blob.digest)));
    assert_eq!(pull.complaints(), [""; 0]);
    serving.stop();
}
