//! Signatures that do not speak for what they are shown with.

use proptest::prelude::*;
use ribflow::digest::Digest;
use ribflow::remote::signing::{MOST_ENVELOPE, PublicKey, seal, unseal};
use ribflow::remote::statement::{Revocation, Revoked, sign, verify};

use super::{key, record, secret};

fn revocation(revoked: Revoked) -> Revocation {
    Revocation {
        revoked,
        reason: "a mistake".to_string(),
        at: 1,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any byte of the envelope, any other value.
    #[test]
    fn an_envelope_with_one_other_byte_is_refused(at in any::<prop::sample::Index>(), by in 1_u8..) {
        let record = record("one", 0.5);
        for envelope in [
            sign(&record, &secret(1)),
            revocation(Revoked::Key).sign(&secret(1)),
        ] {
            let mut changed = envelope.clone();
            let at = at.index(changed.len());
            changed[at] ^= by;
            prop_assert!(verify(&changed, &key(1), &record.digest(), &record).is_err());
            prop_assert!(Revocation::open(&changed, &key(1)).is_err());
            prop_assert!(unseal(&envelope[..at], &key(1)).is_err(), "cut off");
        }
    }

    /// A record is named by its digest, so that a changed one has another name.
    #[test]
    fn a_record_with_one_other_byte_has_another_name(at in any::<prop::sample::Index>(), by in 1_u8..) {
        let record = record("one", 0.5);
        let mut changed = record.to_bytes();
        let at = at.index(changed.len());
        changed[at] ^= by;
        prop_assert_ne!(Digest::of(&changed), record.digest());
    }
}

#[test]
fn a_signature_speaks_for_one_outcome_of_one_key_by_one_signer() {
    let one = record("one", 0.5);
    let envelope = sign(&one, &secret(1));
    assert_eq!(verify(&envelope, &key(1), &one.digest(), &one), Ok(()));
    let says = |signer: PublicKey, digest: &Digest, other| {
        verify(&envelope, &signer, digest, other)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        says(key(2), &one.digest(), &one),
        "the signature is not a signed envelope: it names another key"
    );
    let other = record("other", 0.5);
    assert_eq!(
        says(key(1), &other.digest(), &other),
        "the signature is for another record"
    );
    // Under the right name, which the exchange would have refused before.
    assert_eq!(
        says(key(1), &one.digest(), &other),
        "the signature is for another key"
    );
    assert_eq!(
        says(key(1), &one.digest(), &record("one", 0.6)),
        "the signature is for another outcome"
    );
    // Somebody else's words under one's own name.
    let text = String::from_utf8(envelope.clone()).unwrap();
    let stolen = text.replace(&key(1).in_names().to_hex(), &key(2).in_names().to_hex());
    let stolen = verify(stolen.as_bytes(), &key(2), &one.digest(), &one);
    assert_eq!(
        stolen.unwrap_err().to_string(),
        "the signature does not match the signed content"
    );
}

#[test]
fn one_kind_of_statement_is_never_taken_for_the_other() {
    let record = record("one", 0.5);
    let outcome = sign(&record, &secret(1));
    let wrong = "the signature is for another kind";
    assert_eq!(
        Revocation::open(&outcome, &key(1)).unwrap_err().to_string(),
        wrong
    );
    let revocation = revocation(Revoked::Record(record.digest())).sign(&secret(1));
    let verified = verify(&revocation, &key(1), &record.digest(), &record);
    assert_eq!(verified.unwrap_err().to_string(), wrong);
    // Signed, but no statement of either kind.
    let other = seal(b"{\"_type\":\"x\"}", &secret(1));
    assert!(Revocation::open(&other, &key(1)).is_err());
    assert!(verify(&other, &key(1), &record.digest(), &record).is_err());
    let large = vec![b'x'; MOST_ENVELOPE as usize + 1];
    assert!(unseal(&large, &key(1)).is_err());
}

/// Points of small order, for which signatures can be made without any secret, and what is no
/// point at all.
#[test]
fn weak_and_malformed_keys_are_refused() {
    for text in [
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "7P///////////////////////////////////////38=",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIA=",
        "x",
        "",
        "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=AA==",
    ] {
        assert!(text.parse::<PublicKey>().is_err(), "{text}");
    }
    // The same bytes written in another way.
    let text = key(1).to_string();
    assert!(text.trim_end_matches('=').parse::<PublicKey>().is_err());
    assert_eq!(text.parse(), Ok(key(1)));
}
