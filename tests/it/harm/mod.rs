//! Sharing with a remote that means harm: all it does is found, named, and nothing of it is kept.

mod blobs;
mod records;

use std::fs;
use std::path::Path;
use std::time::Duration;

use ribflow::digest::Digest;
use ribflow::fetch::pace::Limits;
use ribflow::remote::address::{Options, open};
use ribflow::remote::exchange::{Exchange, LookupResult, Peer, RecordQuery};
use ribflow::remote::names;
use ribflow::remote::patience::{Patience, Patient};
use ribflow::remote::trust::{Policy, Trust};
use ribflow::store::{BlobRequest, Record};
use ribflow::workflow::kind::Comparison;

use crate::adversary::Adversary;
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
            ..Limits::default()
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
        let peers = remotes.iter().map(|(name, url)| Peer {
            name: name.to_string(),
            remote: Patient::new(open(url, &options).unwrap(), patience),
            policy: Policy::default(),
            writes: false,
        });
        Exchange::new(peers.collect(), self.trust(), None)
    }

    fn trust(&self) -> Trust {
        let mut trust = Trust::default();
        trust.add("author", self.author.key.public());
        trust
    }

    fn asked(&self) -> RecordQuery {
        asked(&self.record)
    }

    fn look_up(&self, exchange: &Exchange) -> LookupResult {
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

fn asked(record: &Record) -> RecordQuery {
    RecordQuery {
        key: record.key,
        comparison: Comparison::BitEqual,
    }
}

fn wanted(content: &[u8]) -> BlobRequest {
    BlobRequest {
        digest: Digest::of(content),
        bytes: Some(content.len() as u64),
    }
}

fn copy(root: &Path, from: &str, to: &str) {
    let to = root.join(to);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(root.join(from), to).unwrap();
}
