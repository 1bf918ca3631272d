//! What is read from a server, and what never is.

use ribflow::contract::port::{OutputSpec, PortType};
use ribflow::store::Artifact;
use ribflow::store::artifact::{TensorEntry, Tensors};

use super::*;

#[test]
fn a_store_is_read_whole_and_in_part() {
    let lab = Lab::new(1);
    let content: Vec<u8> = (0..2_000_000_u32)
        .map(|number| (number / 7) as u8)
        .collect();
    let record = lab.publish("a", &[&content, b"0123456789"]);
    let digest = Digest::of(&content);
    let serving = Serving::of(&lab);

    let large = serving.get(&names::object(&digest));
    assert_eq!((large.status, large.body == content), (200, true));
    assert_eq!(large.header("etag"), format!("\"{digest}\""));
    assert!(large.header("cache-control").contains("immutable"));
    let small = names::object(&Digest::of(b"0123456789"));
    let head = serving.ask("HEAD", &small, &[], b"");
    assert_eq!((head.status, head.header("content-length")), (200, "10"));
    assert!(head.body.is_empty());

    let part = |range: &str| serving.ask("GET", &small, &[("Range", range)], b"");
    for (range, expected, bytes) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=5-1000", "56789", "bytes 5-9/10"),
    ] {
        let part = part(range);
        assert_eq!((part.status, part.words()), (206, expected.to_string()));
        assert_eq!(part.header("content-range"), bytes);
    }
    let outside = part("bytes=10-");
    assert_eq!(outside.status, 416);
    assert_eq!(outside.header("content-range"), "bytes */10");
    assert_eq!(part("bytes=0-1,4-5").words(), "0123456789");
    let tag = format!("\"{}\"", Digest::of(b"0123456789"));
    let known = serving.ask("GET", &small, &[("If-None-Match", &tag)], b"");
    assert_eq!((known.status, known.body.len()), (304, 0));

    let folder = format!("{}/", names::records(&record.key));
    let listed = serving.get(&folder).json();
    let listed: Vec<&Value> = listed.as_array().unwrap().iter().collect();
    assert_eq!(listed.len(), 2, "a record and a signature");
    assert_eq!(listed[1]["name"], format!("{}.json", record.digest()));
    assert_eq!(listed[1]["size"], record.to_bytes().len());
    assert_eq!(serving.get(&record_name(&record)).body, record.to_bytes());
    let signature = lab.signature(&record);
    let name = names::signature(&record.key, &record.digest(), &signature.signer);
    assert_eq!(serving.get(&name).body, signature.envelope);
    // The identity stays here: with a copy of it, another folder would pass for this store.
    let description = serving.get("store.json");
    let fields = description.json();
    assert_eq!(fields["format"], 1);
    assert!(
        fields["id"].is_null() && fields["check"].is_null(),
        "{fields}"
    );
    for empty in ["revocations/", &format!("{}/", names::records(&digest))] {
        assert_eq!(serving.get(empty).json(), json!([]), "{empty}");
    }
    let missing = names::object(&Digest::of(b"missing"));
    assert_eq!(
        serving.has(&[
            &small,
            &missing,
            &record_name(&record),
            "store.json",
            "x",
            &folder
        ]),
        json!([
            10,
            null,
            record.to_bytes().len(),
            description.body.len(),
            null,
            null
        ])
    );
    assert_eq!(serving.get(&missing).status, 404);
    assert_eq!(serving.ask("POST", "has", &[], b"{}").status, 400);
    let many = json!(vec!["x"; 10_001]).to_string();
    assert_eq!(serving.ask("POST", "has", &[], many.as_bytes()).status, 413);

    // A client that keeps its connection is no reason to stay.
    let mut idle = serving.connect();
    idle.write_all(b"GET /store.json HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    idle.read_exact(&mut [0; 12]).unwrap();
    let log = serving.stop();
    assert!(
        log.contains(&names::object(&digest)) && log.contains("status=206"),
        "{log}"
    );
}

#[test]
fn only_exact_names_lead_anywhere() {
    let lab = Lab::new(1);
    let record = lab.publish("a", &[b"content"]);
    let root = lab.store.root();
    fs::write(root.join("records/secret"), "no").unwrap();
    let digest = Digest::of(b"content");
    let hex = digest.to_hex();
    let object = names::object(&digest);
    let folder = names::records(&record.key);
    let serving = Serving::of(&lab);
    assert_eq!(serving.get(&object).status, 200);
    let tricks = [
        "".to_string(),
        "objects/".to_string(),
        format!("objects/{}/", &hex[..2]),
        format!("objects/{hex}"),
        format!("objects/{}/{hex}", &hex[..2]),
        format!("/{object}"),
        object.replacen('/', "//", 1),
        object.replacen('/', "/./", 1),
        format!("objects/../{object}"),
        format!("%6fbjects{}", &object[7..]),
        object.replace("objects/", "objects%2f"),
        format!("{object}/"),
        format!("{object}.zst"),
        format!("{object}%00"),
        format!("{object}{}", "0".repeat(60_000)),
        format!(
            "objects/{}/{}",
            hex[..2].to_uppercase(),
            hex[2..].to_uppercase()
        ),
        format!("objects/00/{}", &hex[2..]),
        format!("objects/{}\u{e9}/{}", &hex[..1], &hex[2..]),
        format!("objects/%2e%2e/{}", &hex[2..]),
        "objects/../store.json".to_string(),
        "objects/%2e%2e/store.json".to_string(),
        "../../../../etc/passwd".to_string(),
        "records/secret".to_string(),
        "records/".to_string(),
        folder.clone(),
        format!("{folder}/../../secret"),
        format!("{folder}/%2e%2e%2f%2e%2e%2fsecret"),
        format!("{folder}/chosen"),
        format!("records/00/{}/", record.key),
        "revocations".to_string(),
        "revocations/../".to_string(),
        "withheld/".to_string(),
        "tmp/process-x/".to_string(),
        "tmp/probe-1".to_string(),
        "runs/".to_string(),
        "index.rates".to_string(),
    ];
    for trick in &tricks {
        // What is no HTTP at all is refused as such.
        let status = serving.get(trick).status;
        assert!([404, 400].contains(&status), "{trick}: {status}");
        assert_eq!(serving.has(&[trick]), json!([null]), "{trick}");
    }
}

/// A record with a small array in it, bytes and all.
fn holding_a_tensor(lab: &Lab) -> Record {
    let entry = TensorEntry {
        dtype: "U8".to_string(),
        shape: vec![4],
        digest: Digest::of(b"face"),
        inline: Some("66616365".to_string()),
    };
    let tensors = Tensors {
        config: json!({}),
        tensors: [("images".to_string(), entry)].into(),
    };
    let mut record = outcome(&lab.store, "array", &[]);
    let port = lab.store.port(
        &OutputSpec::new("arrays", PortType::Arrays),
        Artifact::Tensors(tensors),
    );
    record.ports = [("arrays".to_string(), port.unwrap())].into();
    lab.store.publish(std::slice::from_ref(&record)).unwrap();
    record
}

#[test]
fn what_is_withheld_or_damaged_is_never_handed_out() {
    let lab = Lab::new(1);
    let contents: [&[u8]; 3] = [b"pixels", b"damaged", b"squeezed"];
    let record = lab.publish("a", &contents);
    let [pixels, damaged, squeezed] = contents.map(Digest::of);
    let root = lab.store.root();
    let small = |content: &[u8]| zstd::bulk::compress(content, 3).unwrap();
    fs::write(root.join(names::compressed(&pixels)), small(b"pixels")).unwrap();
    fs::write(root.join(names::compressed(&squeezed)), small(b"squeezed")).unwrap();
    fs::write(
        root.join(names::compressed(&damaged)),
        small(b"something else"),
    )
    .unwrap();
    lab.store.withhold(&[pixels]).unwrap();
    let serving = Serving::writable(&lab, &[]);

    for name in [names::object(&pixels), names::compressed(&pixels)] {
        let range = ("Range", "bytes=0-2");
        assert_eq!(serving.get(&name).status, 404);
        assert_eq!(serving.ask("HEAD", &name, &[], b"").status, 404);
        assert_eq!(serving.ask("GET", &name, &[range], b"").status, 404);
        assert_eq!(
            serving
                .ask("GET", &name, &[("If-None-Match", "*")], b"")
                .status,
            404
        );
        assert_eq!(serving.has(&[&name]), json!([null]));
        // Nor does an upload tell that it is here.
        assert_eq!(serving.put(&name, b"guessed"), 422);
    }
    assert_eq!(serving.put(&names::object(&pixels), b"pixels"), 201);
    assert_eq!(serving.get(&names::object(&pixels)).status, 404);

    assert_eq!(
        serving.get(&names::compressed(&squeezed)).body,
        small(b"squeezed")
    );
    assert_eq!(serving.get(&names::compressed(&damaged)).status, 404);
    assert_eq!(serving.get(&names::object(&damaged)).status, 200);
    damage(&root.join(names::object(&damaged)));
    assert_eq!(serving.get(&names::object(&damaged)).status, 404);
    // It was set aside, so it can be put anew.
    assert_eq!(serving.has(&[&names::object(&damaged)]), json!([null]));
    assert_eq!(serving.put(&names::object(&damaged), b"damaged"), 201);
    assert_eq!(serving.get(&names::object(&damaged)).body, b"damaged");

    // Nor a record that holds itself what is withheld; one that only lists names and digests may
    // go, as it does with `push`.
    lab.store.withhold(&[record.ports["files"].digest]).unwrap();
    assert_eq!(serving.get(&record_name(&record)).status, 200);
    let record = holding_a_tensor(&lab);
    let files = [record.ports["arrays"].digest];
    lab.store.withhold(&files).unwrap();
    let folder = format!("{}/", names::records(&record.key));
    for method in ["GET", "HEAD"] {
        let answer = serving.ask(method, &record_name(&record), &[], b"");
        assert_eq!(answer.status, 404);
    }
    assert_eq!(serving.has(&[&record_name(&record)]), json!([null]));
    assert_eq!(serving.get(&folder).json().as_array().unwrap().len(), 0);
    lab.store.release(&files[0]).unwrap();
    assert_eq!(serving.get(&folder).json().as_array().unwrap().len(), 1);

    damage(&root.join(record_name(&record)));
    assert_eq!(serving.get(&record_name(&record)).status, 404);
    assert_eq!(serving.put(&record_name(&record), &record.to_bytes()), 201);
    assert_eq!(serving.get(&record_name(&record)).body, record.to_bytes());
}

#[test]
fn links_in_the_store_are_not_handed_out() {
    use std::os::unix::fs::symlink;
    let lab = Lab::new(1);
    let record = lab.publish("a", &[b"small"]);
    let space = TestSpace::new();
    let secret = space.write("secret", "a private file");
    let root = lab.store.root();
    let key = names::records(&record.key);
    let stranger = Digest::of(b"somebody");
    let digest = Digest::of(b"a private file");
    let linked = [
        names::signature(&record.key, &record.digest(), &stranger),
        names::record(&record.key, &digest),
        names::object(&digest),
        names::compressed(&digest),
        names::revocation(&stranger, &digest),
    ];
    for name in &linked {
        let place = root.join(name);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        symlink(&secret, place).unwrap();
    }
    // A folder of another store, or of anybody.
    let other = Lab::new(2);
    let elsewhere = other.publish("b", &[b"other"]);
    let name = names::record(&elsewhere.key, &elsewhere.digest());
    let folder = root.join(names::records(&elsewhere.key));
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    symlink(
        other.store.root().join(names::records(&elsewhere.key)),
        &folder,
    )
    .unwrap();

    let serving = Serving::writable(&lab, &[]);
    for name in linked.iter().chain([&name]) {
        for method in ["GET", "HEAD"] {
            assert_eq!(
                serving.ask(method, name, &[], b"").status,
                404,
                "{method} {name}"
            );
        }
        assert_eq!(serving.has(&[name]), json!([null]), "{name}");
    }
    let listed = serving.get(&format!("{key}/")).words();
    assert!(!listed.contains(&stranger.to_hex()), "{listed}");
    assert!(!listed.contains(&format!("{digest}.json")), "{listed}");
    let listed = serving.get(&format!("{}/", names::records(&elsewhere.key)));
    assert_eq!(listed.json(), json!([]));
    // What is put goes nowhere else.
    let before = fs::read_dir(other.store.root().join(names::records(&elsewhere.key))).unwrap();
    let before = before.count();
    let signature = other.signature(&elsewhere);
    // The store may have removed the link when it was asked for that blob.
    let _ = fs::remove_file(root.join(&linked[2]));
    assert_eq!(serving.put(&linked[2], b"a private file"), 201);
    assert_ne!(serving.put(&name, &elsewhere.to_bytes()), 201);
    let name = names::signature(&elsewhere.key, &elsewhere.digest(), &stranger);
    assert_ne!(serving.put(&name, &signature.envelope), 201);
    let after = fs::read_dir(other.store.root().join(names::records(&elsewhere.key))).unwrap();
    assert_eq!(after.count(), before);
    assert_eq!(space.read("secret"), "a private file");
    let log = serving.stop();
    assert!(log.contains("is a link"), "{log}");
}

#[test]
fn many_for_sizes_finds_what_is_damaged() {
    let lab = Lab::new(1);
    let record = lab.publish("a", &[b"small", b"other"]);
    let serving = Serving::of(&lab);
    let [small, other] = [&b"small"[..], b"other"].map(|bytes| names::object(&Digest::of(bytes)));
    assert_eq!(serving.has(&[&small, &other]), json!([5, 5]));
    let path = lab.store.root().join(&small);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "smell").unwrap();
    let name = record_name(&record);
    let path = lab.store.root().join(&name);
    let mut bytes = fs::read(&path).unwrap();
    bytes[9] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    assert_eq!(
        serving.has(&[&small, &other, &name]),
        json!([null, 5, null])
    );
}

#[test]
fn clients_that_ask_for_nothing_do_not_keep_out_others() {
    let lab = Lab::new(1);
    lab.publish("a", &[b"small"]);
    let serving = Serving::of(&lab);
    let half_open: Vec<TcpStream> = (0..600)
        .map(|number| {
            let mut stream = serving.connect();
            if number % 2 == 0 {
                stream.write_all(b"GET /store.json HTT").unwrap();
            }
            stream
        })
        .collect();
    let begun = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(serving.get("store.json").status, 200);
    }
    // Each of them has 30 s.
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    drop(half_open);
}

/// Its requests would share a connection, and the limits are for one at a time.
#[test]
fn http_2_is_refused_without_an_answer() {
    let lab = Lab::new(1);
    let serving = Serving::of(&lab);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    // In one piece, and cut before the server can tell it from a PUT.
    for cut in [preface.len(), 1] {
        let mut stream = serving.connect();
        stream.set_nodelay(true).unwrap();
        stream.write_all(&preface[..cut]).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        // The server may have closed the connection already.
        let _ = stream.write_all(&preface[cut..]);
        let _ = stream.write_all(&settings);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{answer:?}");
    }
    assert_eq!(serving.get("no-such-name").status, 404);
}
