//! What may be put to a server, by whom, and what is not taken.

use super::*;

#[test]
fn writing_needs_leave() {
    let lab = Lab::new(1);
    let name = names::object(&Digest::of(b"new"));
    let read_only = Serving::of(&lab);
    let refused = read_only.ask("PUT", &name, &[BEARER], b"new");
    assert_eq!(
        (refused.status, refused.header("allow")),
        (405, "GET, HEAD")
    );
    assert!(refused.words().contains("--tokens"), "{}", refused.words());
    for method in ["DELETE", "PATCH", "PROPFIND", "MKCOL", "MOVE"] {
        assert_eq!(read_only.ask(method, &name, &[BEARER], b"").status, 405);
    }

    let both = Serving::writable(&lab, &["--read-tokens", "readers"]);
    let reads = ("Authorization", "Bearer a-token-that-reads-only");
    let wrong = ("Authorization", "Bearer correct-horse-battery-stapl");
    let basic = ("Authorization", "Basic correct-horse-battery-staple");
    for headers in [&[][..], &[wrong], &[basic]] {
        for (method, name) in [
            ("PUT", &*name),
            ("GET", &name),
            ("HEAD", &name),
            ("POST", "has"),
        ] {
            let answer = both.ask(method, name, headers, b"new");
            assert_eq!(answer.status, 401, "{method}");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            // Whoever has shown one hears that this one is wrong.
            let words = answer.words();
            let expected = if headers.is_empty() {
                "required"
            } else {
                "not valid"
            };
            assert!(method == "HEAD" || words.contains(expected), "{words}");
        }
    }
    assert_eq!(both.ask("PUT", &name, &[reads], b"new").status, 403);
    assert!(!lab.store.has(&Digest::of(b"new")));
    assert_eq!(both.ask("PUT", &name, &[BEARER], b"new").status, 201);
    for headers in [[reads], [BEARER]] {
        let answer = both.ask("GET", &name, &headers, b"");
        assert_eq!((answer.status, &*answer.body), (200, &b"new"[..]));
        assert!(answer.header("cache-control").starts_with("private"));
    }
    assert_eq!(both.ask("DELETE", &name, &[BEARER], b"").status, 405);
    assert!(lab.store.has(&Digest::of(b"new")));
    let log = both.stop();
    assert!(
        !log.contains("horse") && !log.contains("reads-only"),
        "{log}"
    );
    assert!(log.contains("status=401") && log.contains(&name), "{log}");
}

#[test]
fn wrong_places_and_tokens_are_reported_before_anything_is_served() {
    let space = TestSpace::new();
    space.write("weak", "short\n");
    let outcome = space.run(&["serve", "--tokens", "weak"]).expect(2);
    assert!(outcome.stderr.contains("weak: token 1"), "{outcome}");
    assert!(!outcome.stderr.contains("short"), "{outcome}");
    let outcome = space.run(&["serve"]).expect(2);
    assert!(outcome.stderr.contains("there is no store at"), "{outcome}");
    let fine = ["serve", "--store", "new", "--address", "1.2.3.4:80"];
    let mut command = space.command(&fine);
    command.env("RIBFLOW_SERVE_TOKENS", TOKEN);
    let outcome = space.finish(&mut command).expect(2);
    assert!(
        outcome.stderr.contains("can't listen on 1.2.3.4:80"),
        "{outcome}"
    );
    assert!(space.path("new/store.json").is_file());
}

#[test]
fn what_is_put_is_there_once_and_stays() {
    let ours = Lab::new(1);
    let theirs = Lab::new(2);
    let serving = Serving::writable(&ours, &[]);
    let record = outcome(&theirs.store, "a", &[b"plain", &[7; 100_000]]);
    let plain = names::object(&Digest::of(b"plain"));
    let squeezed = Digest::of(&[7; 100_000]);
    let small = zstd::bulk::compress(&[7; 100_000], 3).unwrap();
    let signature = theirs.signature(&record);
    let signed = names::signature(&record.key, &record.digest(), &signature.signer);
    let revocation = Revocation {
        revoked: Revoked::Record(record.digest()),
        reason: "a wrong seed".to_string(),
        at: 1,
    };
    let revocation = revocation.sign(&theirs.key);
    let revoked = names::revocation(&signature.signer, &Digest::of(&revocation));

    // A signature of what nobody has put yet says nothing.
    assert_eq!(serving.put(&signed, &signature.envelope), 409);
    let put: [(&str, &[u8]); 5] = [
        (&plain, b"plain"),
        (&names::compressed(&squeezed), &small),
        (&record_name(&record), &record.to_bytes()),
        (&signed, &signature.envelope),
        (&revoked, &revocation),
    ];
    for (name, body) in put {
        assert_eq!(serving.put(name, body), 201, "{name}");
    }
    let before = files(&ours.store);
    for (name, body) in put
        .iter()
        .chain([&(&*names::object(&squeezed), &[7; 100_000][..])])
    {
        // Compressed blobs are kept plain, and are there already in that form too.
        assert_eq!(serving.put(name, body), 200, "{name}");
        let create = [BEARER, ("If-None-Match", "*")];
        assert_eq!(
            serving.ask("PUT", name, &create, body).status,
            412,
            "{name}"
        );
    }
    assert_eq!(files(&ours.store), before);
    assert_eq!(serving.get(&names::object(&squeezed)).body, [7; 100_000]);
    assert_eq!(serving.get(&names::compressed(&squeezed)).status, 404);
    assert_eq!(serving.get(&signed).body, signature.envelope);
    assert_eq!(serving.get(&revoked).body, revocation);
    let signers = serving.get("revocations/").json();
    assert_eq!(signers[0]["name"], signature.signer.to_hex());
    let listed = serving.get(&format!("revocations/{}/", signature.signer));
    assert_eq!(listed.json()[0]["size"], revocation.len());
    assert_eq!(
        ours.store.chosen(&record.key).unwrap().unwrap().record,
        record
    );
    let kept = ours
        .store
        .signatures(&record.key, &record.digest())
        .unwrap();
    assert_eq!(kept, [signature]);

    // Another outcome does not take the place of the first.
    let mut second = record.clone();
    second.provenance.wall_seconds = 9.0;
    assert_eq!(serving.put(&record_name(&second), &second.to_bytes()), 201);
    assert_eq!(
        ours.store.chosen(&record.key).unwrap().unwrap().record,
        record
    );
    serving.stop();
    assert_eq!(uploads(&ours.store), 0);
}

#[test]
fn what_is_not_what_its_name_says_is_not_there() {
    let lab = Lab::new(1);
    let theirs = Lab::new(2);
    let here = lab.publish("here", &[b"content"]);
    let record = outcome(&lab.store, "a", &[b"content"]);
    let other = outcome(&lab.store, "b", &[b"content"]);
    let serving = Serving::writable(&lab, &["--max-upload", "1MB"]);
    let before = files(&lab.store);

    let digest = Digest::of(&[7; 100_000]);
    let small = zstd::bulk::compress(&[7; 100_000], 3).unwrap();
    let bomb = zstd::bulk::compress(&vec![0; 50_000_000], 3).unwrap();
    let swapped = names::record(&record.key, &other.digest());
    let mut lying = record.clone();
    lying.ports.get_mut("metrics").unwrap().digest = Digest::of(b"other");
    let pretty = serde_json::to_vec_pretty(&record).unwrap();
    let mut later = serde_json::to_value(&record).unwrap();
    later["format"] = json!(99);
    let later = later.to_string().into_bytes();
    let at = |bytes: &[u8]| names::record(&record.key, &Digest::of(bytes));
    let key = theirs.key.public().in_names();
    let sign = |record: &Record| theirs.signature(record).envelope;
    let signed = names::signature(&here.key, &here.digest(), &key);
    let mut torn = sign(&here);
    torn.truncate(torn.len() / 2);
    let revocation = Revocation {
        revoked: Revoked::Key,
        reason: String::new(),
        at: 1,
    };
    let forged = revocation.sign(&SecretKey::from_seed(&[3; 32]));
    let refused: Vec<(String, &[u8], u16)> = vec![
        (names::object(&digest), b"something else", 422),
        (names::object(&digest), &[7; 99_999], 422),
        (names::object(&digest), b"", 422),
        (names::compressed(&digest), b"not compressed", 422),
        (names::compressed(&digest), &small[..small.len() / 2], 422),
        (names::compressed(&digest), &bomb, 413),
        (names::object(&digest), &[0; 1_000_001], 413),
        (at(b"{}"), b"{}", 422),
        (at(b"["), b"[", 422),
        (swapped, &[], 422),
        (names::record(&record.key, &record.digest()), b"{}", 422),
        (names::record(&other.key, &record.digest()), b"", 422),
        (at(&pretty), &pretty, 422),
        (at(&later), &later, 422),
        (signed.clone(), b"{}", 422),
        (signed.clone(), &[b' '; 2 << 20], 413),
        (names::revocation(&key, &Digest::of(&forged)), &forged, 422),
        (names::revocation(&key, &digest), &forged, 422),
        ("store.json".to_string(), b"{}", 405),
        ("revocations/".to_string(), b"", 405),
        (format!("{}/", names::records(&record.key)), b"", 405),
        ("objects/../x".to_string(), b"", 404),
        (format!("{}/chosen", names::records(&record.key)), b"", 404),
        ("withheld/aa/bb".to_string(), b"", 404),
        ("probe".to_string(), b"", 404),
    ];
    for (name, body, expected) in &refused {
        assert_eq!(serving.put(name, body), *expected, "{name} {}", body.len());
    }
    for (name, body) in [
        (
            names::record(&other.key, &record.digest()),
            record.to_bytes(),
        ),
        (record_name(&lying), lying.to_bytes()),
        (signed.clone(), sign(&record)),
        (signed.clone(), lab.signature(&here).envelope),
        (signed.clone(), torn),
    ] {
        assert_eq!(serving.put(&name, &body), 422, "{name}");
    }
    // A length that is not told is no way around the limit.
    let head = format!(
        "PUT /{} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n{}: {}\r\n\r\n",
        names::object(&digest),
        BEARER.0,
        BEARER.1
    );
    let chunk = [
        format!("{:x}\r\n", 100_000).as_bytes(),
        &[0; 100_000],
        b"\r\n",
    ]
    .concat();
    assert_eq!(serving.raw(&head, &chunk.repeat(11)).status, 413);
    assert_eq!(serving.put(&signed, &sign(&here)), 201);

    let mut after = files(&lab.store);
    after.remove(&signed).unwrap();
    assert!(after == before, "something of it is there");
    serving.stop();
    assert_eq!(uploads(&lab.store), 0);
}

#[test]
fn two_clients_may_put_the_same() {
    let lab = Lab::new(1);
    let content: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
    let record = outcome(&Lab::new(2).store, "a", &[&content]);
    let serving = Serving::writable(&lab, &[]);
    let blob = names::object(&Digest::of(&content));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                assert!([200, 201].contains(&serving.put(&blob, &content)));
                let put = serving.put(&record_name(&record), &record.to_bytes());
                assert!([200, 201].contains(&put));
            });
        }
    });
    assert!(serving.get(&blob).body == content);
    assert_eq!(
        lab.store.record_names(&record.key).unwrap(),
        [record.digest()]
    );
    serving.stop();
    assert_eq!(uploads(&lab.store), 0);
    assert_eq!(files(&lab.store).len(), 2);
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing() {
    let lab = Lab::new(1);
    let serving = Serving::writable(&lab, &[]);
    let name = names::object(&Digest::of(b"0123456789"));
    let head = format!(
        "PUT /{name} HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n{}: {}\r\n\r\n",
        BEARER.0, BEARER.1
    );
    let mut stream = serving.connect();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(b"01234").unwrap();
    while uploads(&lab.store) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    stream.shutdown(Shutdown::Both).unwrap();
    drop(stream);
    while uploads(&lab.store) > 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(files(&lab.store).is_empty());
    assert_eq!(serving.put(&name, b"0123456789"), 201);
}

#[test]
fn slow_clients_are_dropped() {
    let lab = Lab::new(1);
    let serving = Serving::writable(&lab, &["--patience", "1"]);
    let name = names::object(&Digest::of(b"0123456789"));
    let head = format!(
        "PUT /{name} HTTP/1.1\r\nHost: test\r\nContent-Length: 5000\r\n{}: {}\r\n\r\n",
        BEARER.0, BEARER.1
    );
    // Byte by byte, first the body, then the head.
    for (at_once, drip) in [(head.as_str(), "x"), ("GET /store.json HTTP/1.1\r\n", "X")] {
        let mut stream = serving.connect();
        stream
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        stream.write_all(at_once.as_bytes()).unwrap();
        let ended = (0..600).any(|_| {
            let mut byte = [0; 1];
            let sent = stream.write_all(drip.as_bytes());
            let still = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
            // An answer, an end or a reset: anything but going on for ever.
            sent.is_err() || !stream.read(&mut byte).is_err_and(|error| still(&error))
        });
        assert!(ended, "{at_once}");
    }
    // And one that says nothing at all.
    let mut silent = serving.connect();
    let mut rest = Vec::new();
    let _ = silent.read_to_end(&mut rest);
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"));
    let log = serving.stop();
    assert!(log.contains("status=408"), "{log}");
    assert_eq!(uploads(&lab.store), 0);
}
