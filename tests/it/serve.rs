//! `ribflow serve`, asked by a client that keeps to no rule.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use ribflow::digest::Digest;
use ribflow::remote::address::{Options, open};
use ribflow::remote::exchange::{Asked, Exchange, Neighbour, Pushing};
use ribflow::remote::patience::{Patience, Patient};
use ribflow::remote::probe::probe;
use ribflow::remote::signing::SecretKey;
use ribflow::remote::statement::{Revocation, Revoked};
use ribflow::remote::transport::{Content, Created, Part, Remote};
use ribflow::remote::trust::{Policy, Trust};
use ribflow::remote::{RemoteError, names};
use ribflow::store::{Elsewhere, Record, Store, StoredRecord, Wanted};
use ribflow::workflow::kind::Comparison;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::lab::{Lab, outcome};
use crate::space::TestSpace;

const TOKEN: &str = "correct-horse-battery-staple";
const BEARER: (&str, &str) = ("Authorization", "Bearer correct-horse-battery-staple");

/// A server over the store `cache/` of a space.
struct Serving {
    _space: TestSpace,
    child: Child,
    port: u16,
}

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Serving {
    /// A read-only server over what `lab` holds.
    fn of(lab: &Lab) -> Self {
        Self::start(lab, &[])
    }

    /// One that takes uploads.
    fn writable(lab: &Lab, arguments: &[&str]) -> Self {
        Self::start(lab, &[&["--tokens", "tokens"], arguments].concat())
    }

    fn start(lab: &Lab, arguments: &[&str]) -> Self {
        let space = TestSpace::new();
        space.write("tokens", format!("# ours\n{TOKEN}\n"));
        space.write("readers", "a-token-that-reads-only\n");
        let store = lab.store.root().display().to_string();
        let fixed = [
            "serve",
            "--json",
            "-v",
            "--address",
            "127.0.0.1:0",
            "--store",
            &store,
        ];
        let mut child = space
            .command(&[&fixed, arguments].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).expect("a line of JSON");
        let port = ready["port"].as_u64().unwrap().try_into().unwrap();
        assert_eq!(ready["url"], format!("http://127.0.0.1:{port}"));
        Self {
            _space: space,
            child,
            port,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        // Only so that a test that fails ends.
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream
    }

    /// Sends exactly these bytes, and reads the answer.
    fn raw(&self, head: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(head.as_bytes()).unwrap();
        // What is refused early may be cut off.
        let _ = stream.write_all(body);
        answer(&mut stream)
    }

    fn ask(&self, method: &str, name: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} /{name} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
        for (header, value) in headers {
            head += &format!("{header}: {value}\r\n");
        }
        if method != "GET" && method != "HEAD" {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        self.raw(&(head + "\r\n"), body)
    }

    fn get(&self, name: &str) -> Answer {
        self.ask("GET", name, &[], b"")
    }

    fn put(&self, name: &str, body: &[u8]) -> u16 {
        self.ask("PUT", name, &[BEARER], body).status
    }

    fn has(&self, names: &[&str]) -> Value {
        let names = json!(names).to_string();
        self.ask("POST", "has", &[], names.as_bytes()).json()
    }

    /// Ends it with a signal; what it wrote to standard error.
    fn stop(mut self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        let mut log = String::new();
        let stderr = self.child.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut log).unwrap();
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn words(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

fn answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    // A connection that is cut off after the answer is as good as one that ends.
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let Some(end) = end else {
        return Answer {
            status: 0,
            headers: BTreeMap::new(),
            body: Vec::new(),
        };
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    Answer {
        status: status.parse().unwrap(),
        headers: headers
            .map(|(name, value)| (name.to_lowercase(), value.to_string()))
            .collect(),
        body: bytes[end + 4..].to_vec(),
    }
}

/// Every file of a store that means something, with its content.
fn files(store: &Store) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            match path.is_dir() {
                true => walk(root, &path, files),
                false => drop(files.insert(name, fs::read(&path).unwrap())),
            }
        }
    }
    let mut all = BTreeMap::new();
    for folder in ["objects", "records", "revocations"] {
        let folder = store.root().join(folder);
        if folder.exists() {
            walk(store.root(), &folder, &mut all);
        }
    }
    all
}

/// Files of uploads that are under way.
fn uploads(store: &Store) -> usize {
    let tmp = store.root().join("tmp");
    let sessions = fs::read_dir(tmp).unwrap().flatten();
    let files = sessions.filter_map(|session| fs::read_dir(session.path()).ok());
    let names = files.flatten().flatten().map(|entry| entry.file_name());
    names.filter(|name| name != "lock").count()
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

fn record_name(record: &Record) -> String {
    names::record(&record.key, &record.digest())
}

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
    assert_eq!(serving.get("store.json").json()["format"], 1);
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
            fs::metadata(lab.store.root().join("store.json"))
                .unwrap()
                .len(),
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

    damage(&root.join(record_name(&record)));
    assert_eq!(serving.get(&record_name(&record)).status, 404);
    assert_eq!(serving.put(&record_name(&record), &record.to_bytes()), 201);
    assert_eq!(serving.get(&record_name(&record)).body, record.to_bytes());
}

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
fn wrong_places_and_tokens_are_told_before_anything_is_served() {
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
        outcome.stderr.contains("can't listen at 1.2.3.4:80"),
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
fn whoever_is_too_slow_is_ended() {
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
    assert_eq!(serving.get("tmp/").json(), json!([]), "it is forgotten");
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
    assert!(error.contains("not that of its name"), "{error}");
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
        let neighbour = Neighbour {
            name: "served".to_string(),
            remote: Patient::new(remote(&serving, token), Patience::default()),
            policy: Policy::default(),
            writes: true,
        };
        Exchange::new(vec![neighbour], trust, Some(lab.key))
    };
    let content = [9; 200_000];
    let record = author.publish("a", &[&content, b"small"]);
    let asked = Asked {
        key: record.key,
        comparison: Comparison::BitEqual,
    };
    let pull = exchange(Lab::new(3), &author, None);
    let push = exchange(Lab::new(2), &author, Some(TOKEN));
    let stored = StoredRecord {
        digest: record.digest(),
        record,
    };
    let pushing = Pushing {
        records_only: false,
        dry_run: false,
    };
    let neighbour = &push.neighbours()[0];
    let records = std::slice::from_ref(&stored);
    let pushed = push
        .push(neighbour, &author.store, records, pushing)
        .unwrap();
    assert_eq!((pushed.records, pushed.blobs), (1, 2));
    let again = push
        .push(neighbour, &author.store, records, pushing)
        .unwrap();
    assert_eq!((again.there, again.records), (1, 0));

    let found = pull.bring(&reader.store, &[asked]).unwrap();
    assert_eq!((found.taken.len(), found.refused.len()), (1, 0));
    assert_eq!(reader.store.records(&asked.key).unwrap(), [stored]);
    let blobs = [&content[..], b"small"].map(|content| Wanted {
        digest: Digest::of(content),
        bytes: Some(content.len() as u64),
    });
    pull.fetch(&reader.store, &blobs);
    assert!(blobs.iter().all(|blob| reader.store.has(&blob.digest)));
    assert_eq!(pull.complaints(), [""; 0]);
    serving.stop();
}
