//! What is told of records that were not taken, and of labs that do not agree.

use std::collections::{BTreeMap, BTreeSet};

use ribflow::cli::refusals::{Notice, agreement, disagreements, notices};
use ribflow::digest::Digest;
use ribflow::remote::exchange::{Agreement, Refusal, RefusalReason};
use ribflow::remote::trust::Trust;

use super::key;

fn digest(number: usize) -> Digest {
    Digest::of(&number.to_le_bytes())
}

fn refusal(number: usize, why: RefusalReason) -> Refusal {
    Refusal {
        remote: "aachen".to_string(),
        key: digest(number),
        record: digest(number + 1000),
        why,
    }
}

fn text(notices: &[Notice]) -> String {
    let lines = notices.iter().map(|notice| {
        let hint = notice.hint.as_deref().unwrap_or("-");
        format!("{}\n  {hint}\n", notice.message)
    });
    lines.collect()
}

#[test]
fn refusals_are_reported_by_signer_and_reason() {
    let mut refused = Vec::new();
    refused.extend((0..128).map(|number| refusal(number, RefusalReason::Unknown(vec![key(1)]))));
    refused.extend(
        (128..131).map(|number| refusal(number, RefusalReason::Unknown(vec![key(2), key(1)]))),
    );
    // Looked for twice, told once.
    refused.push(refusal(0, RefusalReason::Unknown(vec![key(1)])));
    refused.push(refusal(200, RefusalReason::Unsigned));
    let reason = format!("\x1b[2Jstolen\n{}", "x".repeat(500));
    refused.push(refusal(201, RefusalReason::Revoked(reason)));
    refused.push(refusal(
        202,
        RefusalReason::Policy(vec!["kyoto".to_string()]),
    ));
    let bad = "its content does not match the digest in its name".to_string();
    refused.push(refusal(203, RefusalReason::Bad(bad)));
    insta::assert_snapshot!(text(&notices(&refused, &Trust::default())));

    let mut trust = Trust::default();
    trust.add("aachen", key(9));
    let unknown = notices(&refused[..1], &trust);
    assert!(text(&unknown).contains("add lab-"), "a name that is free");
}

#[test]
fn a_flood_of_signers_stays_a_few_lines() {
    let refused: Vec<Refusal> = (0..100)
        .map(|number| refusal(number, RefusalReason::Unknown(vec![key(number as u8)])))
        .collect();
    let notices = notices(&refused, &Trust::default());
    assert_eq!(notices.len(), 9);
    let last = &notices[8].message;
    assert_eq!(last, "92 records refused for 92 further reasons");
}

#[test]
fn disagreement_is_reported_with_the_labs_on_each_side() {
    let names = |names: &[&str]| -> BTreeSet<String> {
        names.iter().map(|name| name.to_string()).collect()
    };
    let one = |equal: &[&str], within: &[&str], different: &[&str]| Agreement {
        equal: names(equal),
        within: names(within),
        different: names(different),
    };
    assert_eq!(agreement(&BTreeMap::new()), None);
    let agreements: BTreeMap<Digest, Agreement> = [
        (digest(1), one(&["aachen", "kyoto"], &[], &[])),
        (digest(2), one(&["aachen"], &["kyoto"], &[])),
        (digest(3), one(&["aachen"], &["kyoto"], &["oslo"])),
        (digest(4), one(&["aachen", "kyoto"], &[], &["oslo"])),
    ]
    .into();
    let all = agreement(&agreements).unwrap();
    assert_eq!(
        all,
        "several labs have 4 results: 1 bit-identical, 1 within the tolerance, 2 different"
    );
    insta::assert_snapshot!(text(&disagreements(&agreements)));
}
