//! Web pages where a store should be: login pages, captive portals, pages for mistyped addresses.

use std::io::Write;
use std::net::TcpStream;

use serde_json::Value;

use crate::odd_servers::{Odd, reply};
use crate::space::{Outcome, TestSpace};

const PAGE: &[u8] =
    b"<html><head><title>Welcome</title></head><body><a href=\"x/\">Please log in</a></body></html>";

const WORKFLOW: &str = "\
ribflow: 1
name: pages
stages:
  a: { use: command, with: { run: \"echo x > out/r\", outputs: [r] } }
";

/// A lab that has a key and a workflow.
fn lab() -> TestSpace {
    let space = TestSpace::new();
    space.write("w.yaml", WORKFLOW);
    space.run(&["key", "generate", "--name", "me"]).ok();
    space
}

/// What a server answers with, as a whole; the head says what was asked.
type Answer = fn(&str, &mut TcpStream);

fn page(_: &str, stream: &mut TcpStream) {
    let head = format!(
        "200 OK\r\nContent-Type: text/html\r\nContent-Length: {}",
        PAGE.len()
    );
    reply(stream, &head, PAGE);
}

fn to_login(head: &str, stream: &mut TcpStream) {
    match head.split(' ').nth(1) {
        Some("/login") => page(head, stream),
        _ => reply(
            stream,
            "302 Found\r\nLocation: /login\r\nContent-Length: 0",
            b"",
        ),
    }
}

fn nothing(_: &str, stream: &mut TcpStream) {
    reply(stream, "200 OK\r\nContent-Length: 0", b"");
}

fn document(_: &str, stream: &mut TcpStream) {
    let body = b"{\"status\":\"ok\"}";
    let head = "200 OK\r\nContent-Type: application/json\r\nContent-Length: 15";
    reply(stream, head, body);
}

fn empty_list(_: &str, stream: &mut TcpStream) {
    let head = "200 OK\r\nContent-Type: application/json\r\nContent-Length: 2";
    reply(stream, head, b"[]");
}

fn part_of_a_list(_: &str, stream: &mut TcpStream) {
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[{\"name\":\"a");
}

fn circle(head: &str, stream: &mut TcpStream) {
    let path = head.split(' ').nth(1).unwrap_or("/").to_string();
    reply(stream, &format!("302 Found\r\nLocation: {path}"), b"");
}

fn says(outcome: &Outcome) -> String {
    format!("{}{}", outcome.stdout, outcome.stderr)
}

#[test]
fn what_is_no_store_is_named_and_nothing_counts_as_there() {
    for (answer, word) in [
        (page as Answer, "\"Welcome\""),
        (to_login, "redirects to"),
        (nothing, "responds with nothing"),
        (document, "not a list of names"),
        (part_of_a_list, "not a list of names"),
        (circle, "circles"),
        (empty_list, "other names"),
    ] {
        let server = Odd::serving(answer);
        let url = format!("{}/", server.url);
        let lab = lab();
        let is_list = word == "other names";

        // A run goes on without it, and says why.
        let run = lab.run(&["run", "w.yaml", "--remote", &url]).expect(0);
        assert!(is_list || says(&run).contains(word), "{word}: {run}");

        let push = lab.run(&["push", "w.yaml", "--remote", &url]);
        assert_ne!(push.code, Some(0), "{word}: {push}");
        assert!(says(&push).contains(word), "{word}: {push}");
        assert!(!says(&push).contains("there already"), "{push}");

        // Also where the results are here, it must not look as if they had come.
        let pull = lab.run(&["pull", "w.yaml", "--remote", &url, "--store", "other"]);
        assert_eq!(pull.code, Some(1), "{word}: {pull}");
        if !is_list {
            let pull = lab.run(&["pull", "w.yaml", "--remote", &url]);
            assert!(says(&pull).contains(word), "{word}: {pull}");
        }

        lab.run(&["remote", "add", "odd", &url, "--write"]).ok();
        let check = lab.run(&["remote", "check", "odd"]);
        assert_eq!(check.code, Some(1), "{word}: {check}");
    }
}

#[test]
fn a_damaged_object_is_not_there_and_is_sent_again() {
    let lab = lab();
    let place = lab.path("shared");
    let url = format!("file://{}", place.display());
    lab.run(&["remote", "add", "shared", &url, "--write"]).ok();
    let large = WORKFLOW.replace(
        "echo x > out/r",
        "seq 20000 > out/r; head -c 9000 /dev/urandom > out/s",
    );
    lab.write("w.yaml", large.replace("[r]", "[r, s]"));
    lab.run(&["run", "w.yaml"]).ok();
    let push = || -> Value {
        let pushed = lab.run(&["push", "w.yaml", "--remote", "shared", "--json"]);
        pushed.expect(0).json()
    };
    assert_eq!(push()["records"], 1);
    assert_eq!(push()["there"], 1);
    let files = |ending: &str| -> Vec<std::path::PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![place.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => files.push(path),
                }
            }
        }
        files.retain(|path| path.to_str().unwrap().ends_with(ending));
        files.sort();
        files
    };
    // One of each form: plain, compressed, a record, a signature.
    assert!(files(".zst").len() == 1 && files(".json").len() == 1 && files(".sig").len() == 1);
    let all = files("");
    assert_eq!(all.len(), 4, "{all:?}");
    let whole: Vec<Vec<u8>> = all
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    for (path, honest) in all.iter().zip(&whole) {
        for harm in ["flip", "cut", "empty"] {
            let mut bytes = honest.clone();
            let middle = bytes.len() / 2;
            match harm {
                "flip" => bytes[middle] ^= 1,
                "cut" => bytes.truncate(middle),
                _ => bytes.clear(),
            }
            std::fs::remove_file(path).unwrap();
            std::fs::write(path, &bytes).unwrap();
            let pushed = push();
            assert_eq!(
                std::fs::read(path).unwrap(),
                *honest,
                "{harm} of {}: {pushed}",
                path.display()
            );
        }
    }
}

#[test]
fn a_pull_whose_blobs_are_refused_has_failed() {
    let lab = lab();
    let place = lab.path("shared");
    let url = format!("file://{}", place.display());
    lab.run(&["remote", "add", "shared", &url, "--write"]).ok();
    lab.run(&["run", "w.yaml"]).ok();
    lab.run(&["push", "w.yaml", "--remote", "shared"]).ok();
    let objects = std::fs::read_dir(place.join("objects")).unwrap();
    let folder = objects.last().unwrap().unwrap().path();
    let object = std::fs::read_dir(folder)
        .unwrap()
        .last()
        .unwrap()
        .unwrap()
        .path();
    let honest = std::fs::read(&object).unwrap();
    let pull = |store: &str| lab.run(&["pull", "w.yaml", "--remote", "shared", "--store", store]);
    pull("whole").ok();
    std::fs::remove_file(&object).unwrap();
    std::fs::write(&object, b"y\n").unwrap();
    let refused = pull("damaged").expect(1);
    assert!(
        says(&refused).contains("the digest in its name"),
        "{refused}"
    );
    // What is only not there was never promised.
    std::fs::remove_file(&object).unwrap();
    pull("absent").ok();
    std::fs::write(&object, honest).unwrap();
    pull("damaged").ok();
}
