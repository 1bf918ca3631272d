//! Secrets in logs: none, however much is logged, and whichever library does.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::odd_servers::{Odd, reply};
use crate::servers::KEY;
use crate::space::{Outcome, TestSpace};

const TOKEN: &str = "hf_correcthorse+batterystaple/0123";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// Fails where any form of a secret, or a part of it, stands in what was said.
fn holds_no(secret: &str, outcome: &Outcome) {
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let bytes = format!("{:?}", secret.as_bytes());
    for form in [
        secret,
        // Dumps are cut into rows.
        &secret[..12],
        &secret[secret.len() - 12..],
        &hex[..16],
        &bytes[1..30],
    ] {
        assert!(!said.contains(form), "{form} in:\n{said}");
    }
}

fn lab() -> TestSpace {
    let space = TestSpace::new();
    space.write(
        "w.yaml",
        "ribflow: 1\nname: w\nstages:\n  a: { use: command, with: { run: \"echo x > out/r\", \
         outputs: [r] } }\n",
    );
    space.run(&["key", "generate", "--name", "me"]).ok();
    space
}

#[test]
fn the_token_of_a_server_stands_in_no_log() {
    // It repeats what it was shown, and redirects to where a secret is part of the URL.
    let server = Odd::serving(|head, stream| {
        let token = head.lines().find(|line| line.starts_with("authorization"));
        let token = token.unwrap_or_default().to_string();
        match head.starts_with("get /revocations/") {
            true => reply(
                stream,
                "302 X\r\nLocation: /signed?X-Amz-Signature=0123456789abcdef&x=1",
                b"",
            ),
            false => reply(
                stream,
                "403 X\r\nContent-Type: text/plain",
                token.as_bytes(),
            ),
        }
    });
    for level in [
        "trace",
        "debug",
        "ureq=trace,ureq_proto=trace,hyper=trace,ribflow=trace",
    ] {
        let lab = lab();
        // By its name this variable is no secret.
        lab.run(&[
            "remote",
            "add",
            "lab",
            &server.url,
            "--token-env",
            "LAB_WORD",
        ])
        .ok();
        for words in [
            &["run", "w.yaml", "--remote", "lab"][..],
            &["push", "w.yaml", "--remote", "lab"],
            &["pull", "w.yaml", "--remote", "lab"],
        ] {
            let mut command = lab.command(words);
            command.env("RIBFLOW_LOG", level).env("LAB_WORD", TOKEN);
            let outcome = lab.finish(&mut command);
            assert!(outcome.stderr.contains(" ureq"), "{outcome}");
            holds_no(TOKEN, &outcome);
            holds_no("0123456789abcdef", &outcome);
        }
        logs_hold_no(&lab, TOKEN);
    }
    let shown = server.seen();
    let word = format!("bearer {}", TOKEN.to_ascii_lowercase());
    assert!(
        shown.iter().any(|head| head.contains(&word)),
        "it was never shown"
    );
}

/// What workers logged is kept in the store.
fn logs_hold_no(lab: &TestSpace, secret: &str) {
    let mut folders = vec![lab.path("cache/runs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let text = std::fs::read(&path).unwrap();
                    let text = String::from_utf8_lossy(&text);
                    assert!(!text.contains(secret), "{}: {text}", path.display());
                }
            }
        }
    }
}

#[test]
fn the_keys_of_a_bucket_and_a_proxy_stand_in_no_log() {
    let server = Odd::serving(|_, stream| reply(stream, "403 X\r\nContent-Length: 0", b""));
    let session = "FwoGZXIvYXdzEJr//////////wEaDBexampletoken";
    let proxy = server
        .url
        .replace("http://", "http://Aladdin:open-sesame-1@");
    for through in [None, Some(proxy.as_str())] {
        let lab = lab();
        lab.run(&["run", "w.yaml"]).ok();
        let mut command = lab.command(&["push", "w.yaml", "--remote", "s3://bucket/lab"]);
        command
            .env("RIBFLOW_LOG", "trace")
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_SESSION_TOKEN", session)
            .env("AWS_ENDPOINT_URL", &server.url)
            .env("AWS_ALLOW_HTTP", "true");
        if let Some(proxy) = through {
            command.env("http_proxy", proxy);
        }
        let outcome = lab.finish(&mut command);
        assert_eq!(outcome.code, Some(1), "{outcome}");
        assert!(outcome.stderr.contains("TRACE"), "{outcome}");
        holds_no(SECRET, &outcome);
        holds_no(session, &outcome);
        holds_no("open-sesame-1", &outcome);
        // `Aladdin:open-sesame-1` in base64.
        holds_no("QWxhZGRpbjpvcGVuLXNlc2FtZS0x", &outcome);
    }
}

#[test]
fn a_server_logs_no_token_that_it_is_shown() {
    let lab = lab();
    lab.run(&["run", "w.yaml"]).ok();
    let token = "served-to-those-who-know-it";
    lab.write("tokens", format!("{token}\n"));
    let words = [
        "serve",
        "--address",
        "127.0.0.1:0",
        "--tokens",
        "tokens",
        "--json",
    ];
    let mut command = lab.command(&words);
    command.env("RIBFLOW_LOG", "trace");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    let url = told["url"].as_str().unwrap();
    for shown in [token, "another-one-that-is-wrong"] {
        let value = format!("Bearer {shown}");
        let asked = ureq::put(format!("{url}/tmp/probe-0123456789abcdef01234567"));
        let _ = asked.header("authorization", value).send("x");
    }
    let mut errors = child.stderr.take().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let mut log = String::new();
    std::io::Read::read_to_string(&mut errors, &mut log).unwrap();
    assert!(log.contains("PUT"), "{log}");
    for shown in [token, "another-one-that-is-wrong"] {
        assert!(!log.contains(shown), "{log}");
    }
}
