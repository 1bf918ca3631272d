//! Several labs at one remote: policies, agreement, and what is taken back.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use ribflow::digest::Digest;
use ribflow::remote::config::{Config, Configured};
use ribflow::remote::exchange::{Exchange, LookupResult, RecordQuery, RefusalReason};
use ribflow::remote::folder::FolderRemote;
use ribflow::remote::home::Home;
use ribflow::remote::revocations;
use ribflow::remote::statement::{Revocation, Revoked, sign};
use ribflow::remote::trust::{Policy, Standing, Trust, share, shown_share};
use ribflow::remote::user_profile::{UserProfile, UserProfileError};
use ribflow::remote::{keys, names};
use ribflow::store::{Record, Store, StoredRecord};
use ribflow::workflow::kind::Comparison;

use super::{home, key, record, secret};

/// A remote in a folder, and a user who trusts `aachen` (1), `kyoto` (2) and `oslo` (3).
struct Place {
    folder: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new(policy: Policy) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("cache")).unwrap();
        let place = Self { folder, store };
        Config::edit(&place.home(), |config| {
            let remote = Configured {
                url: format!("file://{}", place.remote().display()),
                policy,
                ..Configured::default()
            };
            config.remotes.insert("disk".to_string(), remote);
            for (name, number) in [("aachen", 1), ("kyoto", 2), ("oslo", 3)] {
                config.trust.insert(name.to_string(), key(number));
            }
            Ok::<_, UserProfileError>(())
        })
        .unwrap();
        place
    }

    fn home(&self) -> Home {
        home(self.folder.path())
    }

    fn remote(&self) -> PathBuf {
        self.folder.path().join("remote")
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.remote().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Puts a record there with the signatures of these labs.
    fn publish(&self, record: &Record, labs: &[u8]) {
        let (record_key, digest) = (&record.key, record.digest());
        self.put(&names::record(record_key, &digest), &record.to_bytes());
        for lab in labs {
            let signer = key(*lab).in_names();
            let name = names::signature(record_key, &digest, &signer);
            self.put(&name, &sign(record, &secret(*lab)));
        }
    }

    fn exchange(&self) -> Exchange {
        let lab = UserProfile::open(self.home()).unwrap();
        lab.exchange(&["disk".to_string()]).unwrap()
    }

    fn look_up(&self, key: Digest) -> LookupResult {
        let asked = RecordQuery {
            key,
            comparison: Comparison::MetricsWithin(0.01),
        };
        self.exchange().bring(&self.store, &[asked]).unwrap()
    }

    /// Puts what `lab` takes back at the remote.
    fn revoke(&self, lab: u8, revoked: Revoked) -> String {
        let revocation = Revocation {
            revoked,
            reason: "the test images were in the training set".to_string(),
            at: 1,
        };
        let envelope = revocation.sign(&secret(lab));
        let signer = key(lab).in_names();
        let name = format!("revocations/{signer}/{}.sig", Digest::of(&envelope));
        self.put(&name, &envelope);
        name
    }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| name.to_string()).collect()
}

fn quorum(quorum: usize) -> Policy {
    Policy {
        quorum,
        ..Policy::default()
    }
}

#[test]
fn two_labs_that_agree_outweigh_one_that_does_not_and_all_is_kept() {
    let place = Place::new(quorum(2));
    // Two within the tolerance, one elsewhere.
    let (aachen, kyoto, oslo) = (record("x", 0.5), record("x", 0.505), record("x", 0.7));
    place.publish(&aachen, &[1]);
    place.publish(&kyoto, &[2]);
    place.publish(&oslo, &[3]);
    let found = place.look_up(aachen.key);
    assert!(found.refused.is_empty(), "{found:?}");
    let chosen = place.store.chosen(&aachen.key).unwrap().unwrap();
    let first = std::cmp::min(aachen.digest(), kyoto.digest());
    assert_eq!(chosen.digest, first);
    let agreement = &found.agreements[&aachen.key];
    let (equal, within) = match first == aachen.digest() {
        true => ("aachen", "kyoto"),
        false => ("kyoto", "aachen"),
    };
    assert_eq!(agreement.equal, names(&[equal]));
    assert_eq!(agreement.within, names(&[within]));
    assert_eq!(agreement.different, names(&["oslo"]));
    assert_eq!(place.store.record_names(&aachen.key).unwrap().len(), 3);
}

#[test]
fn one_record_with_two_signatures_makes_a_quorum_and_two_outcomes_make_none() {
    let place = Place::new(quorum(2));
    let (both, apart) = (record("both", 0.5), record("apart", 0.5));
    place.publish(&both, &[1, 2]);
    place.publish(&apart, &[1]);
    place.publish(&record("apart", 0.6), &[2]);
    let found = place.look_up(both.key);
    assert!(found.taken.contains_key(&both.key));
    assert_eq!(
        found.agreements[&both.key].equal,
        names(&["aachen", "kyoto"])
    );

    let found = place.look_up(apart.key);
    assert!(found.taken.is_empty());
    let whys: BTreeSet<RefusalReason> = found.refused.into_iter().map(|one| one.why).collect();
    let only = |name: &str| RefusalReason::Policy(vec![name.to_string()]);
    assert_eq!(whys, [only("aachen"), only("kyoto")].into());
    assert!(place.store.record_names(&apart.key).unwrap().is_empty());
}

/// What `record` becomes when a lab accepts it by a later version of its kind.
fn accepted(record: &Record, by: u8) -> Record {
    let stored = StoredRecord::of(record.clone());
    let recipe = record.recipe.of_version(record.recipe.version + 1);
    stored.accepted_for(&recipe, vec![key(by).in_names()])
}

#[test]
fn what_a_lab_accepted_from_another_is_not_its_own_result() {
    // Kyoto has accepted what aachen computed; nobody else has computed it.
    let of_aachen = accepted(&record("a", 0.5), 1);
    let require = Policy {
        require: names(&["kyoto"]),
        ..Policy::default()
    };
    for policy in [quorum(2), require] {
        let place = Place::new(policy);
        place.publish(&of_aachen, &[1, 2]);
        assert!(place.look_up(of_aachen.key).taken.is_empty());
    }
    // Where no more is asked than somebody's word, kyoto's is one.
    let place = Place::new(Policy::default());
    place.publish(&of_aachen, &[2]);
    assert!(
        place
            .look_up(of_aachen.key)
            .taken
            .contains_key(&of_aachen.key)
    );
    // What kyoto has computed itself by the older version counts.
    let place = Place::new(quorum(2));
    let of_kyoto = accepted(&record("a", 0.505), 2);
    place.publish(&of_aachen, &[1]);
    place.publish(&of_kyoto, &[2]);
    assert!(
        place
            .look_up(of_kyoto.key)
            .taken
            .contains_key(&of_kyoto.key)
    );
}

#[test]
fn what_repeats_a_revoked_record_gives_way() {
    let place = Place::new(Policy::default());
    let old = record("a", 0.5);
    let accepted = accepted(&old, 1);
    place.publish(&accepted, &[2]);
    let store = &place.store;
    place.look_up(accepted.key);
    assert_eq!(
        store.chosen(&accepted.key).unwrap().unwrap().record,
        accepted
    );
    // Aachen takes back the older one, which this store never had.
    place.revoke(1, Revoked::Record(old.digest()));
    store.set_revocation_check(Arc::new(place.exchange().trust().clone()));
    assert!(store.is_revoked(&accepted.key, &accepted.digest()).unwrap());
    let mut other = accepted.clone();
    other.provenance.accepted.clear();
    store.publish(std::slice::from_ref(&other)).unwrap();
    assert_eq!(store.chosen(&accepted.key).unwrap().unwrap().record, other);
    // Nobody takes it from a remote any more.
    let found = place.exchange().look_up(&[RecordQuery {
        key: accepted.key,
        comparison: Comparison::BitEqual,
    }]);
    assert!(found.taken.is_empty());
    assert!(matches!(found.refused[0].why, RefusalReason::Revoked(_)));
}

#[test]
fn a_false_word_beside_a_true_one_is_named_and_passed_over() {
    let place = Place::new(Policy::default());
    let record = record("a", 0.5);
    place.publish(&record, &[1]);
    let signer = key(2).in_names();
    let name = names::signature(&record.key, &record.digest(), &signer);
    place.put(&name, &sign(&record, &secret(9)));
    let asked = RecordQuery {
        key: record.key,
        comparison: Comparison::BitEqual,
    };
    let exchange = place.exchange();
    let found = exchange.bring(&place.store, &[asked]).unwrap();
    assert_eq!((found.taken.len(), found.refused.len()), (1, 0));
    let signers = place.store.signers(&record.key, &record.digest()).unwrap();
    assert_eq!(signers, [key(1).in_names()], "the false one is not kept");
    let told = exchange.complaints().join("; ");
    assert!(told.contains("signed as kyoto"), "{told}");

    // Nor does it count: two labs are asked for, and one has spoken.
    let place = Place::new(quorum(2));
    place.publish(&record, &[1]);
    place.put(&name, &sign(&record, &secret(9)));
    assert!(place.look_up(record.key).taken.is_empty());
}

#[test]
fn one_of_those_who_are_required_must_have_signed() {
    let policy = Policy {
        require: names(&["aachen", "oslo"]),
        ..Policy::default()
    };
    let place = Place::new(policy);
    let (aachen, kyoto) = (record("a", 0.5), record("k", 0.5));
    place.publish(&aachen, &[1]);
    place.publish(&kyoto, &[2]);
    assert!(place.look_up(aachen.key).taken.contains_key(&aachen.key));
    let found = place.look_up(kyoto.key);
    assert!(found.taken.is_empty());
    assert_eq!(
        found.refused[0].why,
        RefusalReason::Policy(vec!["kyoto".to_string()])
    );
}

#[test]
fn a_policy_that_nobody_can_meet_is_reported() {
    let policy = Policy {
        require: names(&["bergen"]),
        ..Policy::default()
    };
    let complaints = Place::new(policy).exchange().complaints();
    assert_eq!(complaints.len(), 1);
    assert!(
        complaints[0].contains("requires `bergen`"),
        "{complaints:?}"
    );
}

#[test]
fn a_revoked_record_is_refused_with_the_reason_and_for_good() {
    let place = Place::new(Policy::default());
    let (good, bad, kyoto) = (record("a", 0.5), record("b", 0.5), record("k", 0.5));
    place.publish(&good, &[1]);
    place.publish(&bad, &[1]);
    place.publish(&kyoto, &[2]);
    // Nobody but aachen can take back what aachen has signed.
    place.revoke(2, Revoked::Record(good.digest()));
    let name = place.revoke(1, Revoked::Record(bad.digest()));
    assert!(place.look_up(good.key).taken.contains_key(&good.key));
    let refused = |key: Digest| place.look_up(key).refused[0].why.clone();
    let why = RefusalReason::Revoked("the test images were in the training set".to_string());
    assert_eq!(refused(bad.key), why);

    // Removing the word from the remote does not bring the record back.
    fs::remove_file(place.remote().join(name)).unwrap();
    assert_eq!(refused(bad.key), why);

    // With a key goes everything.
    place.revoke(2, Revoked::Key);
    assert_eq!(refused(kyoto.key), why);
    let trust = UserProfile::open(place.home()).unwrap().trust;
    assert!(matches!(
        trust.standing(&key(2), &kyoto.digest()),
        Standing::Revoked(_)
    ));
    assert!(matches!(
        trust.standing(&key(1), &kyoto.digest()),
        Standing::Trusted(_)
    ));
}

#[test]
fn a_revoked_record_gives_way_to_any_other() {
    let place = Place::new(Policy::default());
    let [mine, other] = [0.25, 0.75].map(|accuracy| record("a", accuracy));
    let chosen = || place.store.chosen(&mine.key).unwrap().unwrap().digest;
    place.publish(&mine, &[1, 2]);
    place.look_up(mine.key);
    let doubt = |labs: &[u8]| {
        for lab in labs {
            place.revoke(*lab, Revoked::Record(mine.digest()));
        }
        let exchange = place.exchange();
        place
            .store
            .set_revocation_check(Arc::new(exchange.trust().clone()));
    };
    // One of two has taken it back: the other one's word stands.
    doubt(&[1]);
    assert!(!place.store.is_revoked(&mine.key, &mine.digest()).unwrap());
    doubt(&[2]);
    assert!(place.store.is_revoked(&mine.key, &mine.digest()).unwrap());
    assert_eq!(chosen(), mine.digest(), "there is no other");
    place.store.publish(std::slice::from_ref(&other)).unwrap();
    assert_eq!(chosen(), other.digest());
    // Written down, for those who do not know what was taken back.
    let unknowing = Store::open(place.store.root()).unwrap();
    let marked = unknowing.chosen(&mine.key).unwrap().unwrap();
    assert_eq!(marked.digest, other.digest());
}

#[test]
fn revocations_that_are_none_are_named_and_not_kept() {
    let place = Place::new(Policy::default());
    let aachen = key(1).in_names();
    let good = record("a", 0.5);
    place.publish(&good, &[1]);
    let revocation = Revocation {
        revoked: Revoked::Key,
        reason: String::new(),
        at: 1,
    };
    // Kyoto's word under aachen's name; a record's signature; another content than the name says;
    // one that is too large; names that are none.
    let kyotos = revocation.sign(&secret(2));
    let outcome = sign(&good, &secret(1));
    let large = vec![b'x'; 20_000];
    for bytes in [&kyotos, &outcome, &large] {
        let name = format!("revocations/{aachen}/{}.sig", Digest::of(bytes));
        place.put(&name, bytes);
    }
    let other = Digest::of(b"other");
    let own = revocation.sign(&secret(1));
    place.put(&format!("revocations/{aachen}/{other}.sig"), &own);
    place.put(&format!("revocations/{aachen}/..%2f..%2fx.sig"), &own);
    place.put("revocations/AACHEN/x.sig", &own);
    let exchange = place.exchange();
    let complaints = exchange.complaints().join("\n");
    for told in [
        "it names another key",
        "for another kind",
        "does not match the digest in its name",
        "more than 16384 bytes",
    ] {
        assert!(complaints.contains(told), "{told}: {complaints}");
    }
    assert!(exchange.trust().revocation_of(&key(1)).is_none());
    let kept = revocations::kept(&place.home()).unwrap();
    assert_eq!(kept, (Vec::new(), Vec::new()));
}

#[test]
fn a_stranger_takes_nothing_back_and_what_is_known_is_passed_on() {
    let place = Place::new(Policy::default());
    place.revoke(4, Revoked::Key);
    place.revoke(1, Revoked::Record(Digest::of(b"x")));
    let mut trust = Trust::default();
    trust.add("aachen", key(1));
    let remote = FolderRemote::new(&place.remote());
    let pulled = revocations::pull(&remote, &place.home(), &mut trust).unwrap();
    assert_eq!(pulled.new.len(), 1);
    assert_eq!(pulled.new[0].signer, key(1));
    let again = revocations::pull(&remote, &place.home(), &mut trust).unwrap();
    assert!(again.new.is_empty(), "it is known");

    let elsewhere = place.folder.path().join("elsewhere");
    let other = FolderRemote::new(&elsewhere);
    assert_eq!(revocations::push(&other, &place.home()).unwrap(), 1);
    assert_eq!(revocations::push(&other, &place.home()).unwrap(), 0);
    let name = format!("revocations/{}", key(1).in_names());
    assert_eq!(fs::read_dir(elsewhere.join(name)).unwrap().count(), 1);
}

#[test]
fn a_remote_that_is_down_costs_a_complaint() {
    let place = Place::new(Policy::default());
    // A file where the folder of revocations would be.
    place.put("revocations", b"");
    let complaints = place.exchange().complaints();
    let told = complaints
        .iter()
        .any(|it| it.contains("can't read the revocations of `disk`"));
    assert!(told || complaints.is_empty(), "{complaints:?}");
}

#[test]
fn a_word_on_the_command_line_is_a_name_a_url_or_a_path() {
    let place = Place::new(Policy::default());
    let lab = UserProfile::open(place.home()).unwrap();
    let wrong = lab.configured("dsik").unwrap_err();
    assert_eq!(wrong.to_string(), "there is no remote `dsik`");
    assert_eq!(wrong.hint().unwrap(), "did you mean `disk`?");
    assert_eq!(lab.configured("./x").unwrap().url, "./x");
    let by_url = format!("file://{}", place.remote().display());
    let words = ["disk".to_string(), "disk".to_string(), by_url.clone()];
    let exchange = lab.exchange(&words).unwrap();
    let peers = exchange.peers().iter();
    let names: Vec<&str> = peers.map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["disk", by_url.as_str()]);
    assert!(!exchange.peers()[1].writes);
}

#[test]
fn a_revoked_key_signs_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let home = home(folder.path());
    let one = keys::generate(&home, Some("one")).unwrap();
    let two = keys::generate(&home, Some("two")).unwrap();
    let used = |chosen: Option<&str>| {
        let trust = UserProfile::open(home.clone()).unwrap().trust;
        keys::used(&home, chosen, &trust)
    };
    let several = used(None).unwrap_err().to_string();
    assert_eq!(several, "there are several keys: `one` and `two`");
    let revocation = Revocation {
        revoked: Revoked::Key,
        reason: "lost".to_string(),
        at: 1,
    };
    let envelope = revocation.sign(&one.secret);
    revocations::keep(&home, &envelope, one.secret.public()).unwrap();
    assert_eq!(used(None).unwrap().unwrap().name, two.name);
    let revoked = used(Some("one")).unwrap_err().to_string();
    assert_eq!(revoked, "the key `one` is revoked: lost");
}

#[test]
fn shares_are_read_in_two_ways() {
    for (text, expected) in [
        ("5%", Some(0.05)),
        ("0.05", Some(0.05)),
        ("7%", Some(0.07)),
        ("0.5 %", Some(0.005)),
        ("100%", Some(1.0)),
        ("0", Some(0.0)),
        ("5", None),
        ("-1%", None),
        ("101%", None),
        ("NaN", None),
        ("", None),
        ("%", None),
    ] {
        assert_eq!(share(text), expected, "{text}");
    }
    for percent in 0..=100 {
        let text = format!("{percent}%");
        assert_eq!(shown_share(share(&text).unwrap()), text);
    }
}
