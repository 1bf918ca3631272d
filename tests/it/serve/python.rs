//! The protocol by its specification: a client in Python that shares no code with ribflow.

use std::process::Command;

use super::*;

/// It reads what one server has, checks every digest and signature itself, and puts it to another.
/// Where a server departs from docs/protocol.md, it fails.
#[test]
fn a_client_that_shares_no_code_copies_a_store() {
    let (from, to) = (Lab::new(1), Lab::new(2));
    let large: Vec<u8> = (0..70_001_u32).map(|number| (number % 251) as u8).collect();
    let records = [
        from.publish("one", &[b"a few bytes", &large]),
        from.publish("two", &[&large[..5000], b"others"]),
    ];
    let source = Serving::of(&from);
    let target = Serving::writable(&to, &[]);
    let url = |serving: &Serving| format!("http://127.0.0.1:{}", serving.port);
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/protocol_client.py");
    let output = Command::new("python3")
        .arg(client)
        .args([&url(&source), &url(&target), TOKEN])
        .args(records.iter().map(|record| record.key.to_hex()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let copied: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(copied, json!({ "records": 2, "signatures": 2, "blobs": 4 }));
    assert_eq!(files(&to.store), files(&from.store));
    source.stop();
    target.stop();
}
