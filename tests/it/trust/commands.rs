//! `ribflow key`, `trust`, `remote` and `revoke`, as they are typed.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use ribflow::digest::Digest;
use ribflow::remote::keys;
use ribflow::remote::signing::{PublicKey, SecretKey};
use ribflow::remote::statement::{self, Revocation, Revoked};
use ribflow::store::{Record, Signature, Store};

use super::{home, key, record, secret};
use crate::space::TestSpace;

const KEYS: &str = "home/.local/share/ribflow/keys";
const CONFIG: &str = "home/.config/ribflow/config.yaml";

fn mode(path: PathBuf) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn a_key_is_made_once_and_only_its_owner_reads_it() {
    let space = TestSpace::new();
    let none = space.run(&["key", "show"]).expect(2);
    insta::assert_snapshot!(none, @r"
    --- stderr
    error: there is no key to sign with
    hint: create one with `ribflow key generate`
    [exit code 2]
    ");
    let made = space
        .run(&["key", "generate", "--name", "aachen"])
        .expect(0);
    let shown = space.run(&["key", "show"]).expect(0).stdout;
    let (name, public) = shown.trim_end().split_once(':').unwrap();
    assert_eq!(name, "aachen");
    public.parse::<PublicKey>().unwrap();
    assert!(
        made.stdout
            .contains(&format!("ribflow trust add aachen:{public}"))
    );
    let file = space.path(&format!("{KEYS}/aachen.key"));
    assert_eq!(mode(file.clone()), 0o600);
    assert_eq!(mode(space.path(KEYS)), 0o700);
    let secret = fs::read_to_string(&file).unwrap();
    assert!(secret.starts_with("aachen:") && !secret.contains(public));
    let said = format!("{}{}", made.stdout, made.stderr);
    let seed = secret.trim_end().split_once(':').unwrap().1;
    assert!(!said.contains(seed), "the secret is never shown");

    for arguments in [
        &["key", "generate", "--name", "aachen"][..],
        &["key", "generate"],
    ] {
        let again = space.run(arguments).expect(2);
        assert!(
            again.stderr.contains("there is a key `aachen` already"),
            "{again}"
        );
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), secret);
    for name in ["../x", "a:b", "", ".x"] {
        drop(space.run(&["key", "generate", "--name", name]).expect(2));
    }

    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    let readable = space.run(&["key", "show"]).expect(2);
    insta::assert_snapshot!(readable, @r"
    --- stderr
    error: $SPACE/home/.local/share/ribflow/keys/aachen.key contains a private key, but others may read it
    hint: `chmod 600 $SPACE/home/.local/share/ribflow/keys/aachen.key`; if it may have been read by others: `ribflow revoke --key`
    [exit code 2]
    ");
}

#[test]
fn a_random_name_says_nothing_of_the_machine_or_the_user() {
    let names: Vec<String> = (0..2)
        .map(|_| {
            let space = TestSpace::new();
            let mut command = space.command(&["key", "generate", "--json"]);
            let made = space.finish(command.env("USER", "ada").env("HOSTNAME", "engine"));
            made.expect(0).json()["name"].as_str().unwrap().to_string()
        })
        .collect();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    for name in &names {
        let parts: Vec<&str> = name.split('-').collect();
        assert_eq!(parts.len(), 3, "{name}");
        assert!(
            parts[2].len() == 3 && parts[2].parse::<u32>().is_ok(),
            "{name}"
        );
        assert!(!name.contains("ada") && !name.contains("engine"));
        assert!(host.trim().is_empty() || !name.contains(host.trim()));
    }
    assert_ne!(names[0], names[1]);
}

#[test]
fn of_several_keys_somebody_says_which_one_signs() {
    let space = TestSpace::new();
    space.run(&["key", "generate", "--name", "one"]).ok();
    let second = space.run(&["key", "generate", "--name", "two"]).expect(0);
    assert!(second.stdout.contains("`ribflow key use two`"), "{second}");
    let several = space.run(&["key", "show"]).expect(2);
    assert!(several.stderr.contains("RIBFLOW_KEY=NAME"), "{several}");
    let shown = space.finish(space.command(&["key", "show"]).env("RIBFLOW_KEY", "one"));
    assert!(shown.expect(0).stdout.starts_with("one:"));
    let unknown = space.finish(space.command(&["key", "show"]).env("RIBFLOW_KEY", "onne"));
    assert!(unknown.expect(2).stderr.contains("did you mean `one`?"));
    space.run(&["key", "use", "two"]).ok();
    assert!(
        space
            .run(&["key", "show"])
            .expect(0)
            .stdout
            .starts_with("two:")
    );
    let list = space.run(&["key", "list"]).expect(0).stdout;
    let signs: Vec<&str> = list
        .lines()
        .filter(|line| line.ends_with("signs"))
        .collect();
    assert!(signs.len() == 1 && signs[0].starts_with("two"), "{list}");
}

#[test]
fn trust_is_one_key_under_one_name() {
    let space = TestSpace::new();
    let add = |text: String| space.run(&["trust", "add", &text]);
    add(format!("aachen:{}", key(1))).ok();
    add(format!("aachen:{}", key(1))).ok();
    insta::assert_snapshot!(space.read(CONFIG));
    for (text, told) in [
        (format!("aachen:{}", key(2)), "is trusted with another key"),
        (
            format!("kyoto:{}", key(1)),
            "this key is already trusted as `aachen`",
        ),
        (format!("{}", key(2)), "has no name"),
        (format!("../x:{}", key(2)), "can't be the name"),
        (
            "weak:AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_string(),
            "is not a key",
        ),
        ("short:AQ==".to_string(), "is not a key"),
    ] {
        let refused = add(text).expect(2);
        assert!(refused.stderr.contains(told), "{told}: {refused}");
        assert!(refused.stderr.contains("hint: "), "{refused}");
    }
    space.run(&["key", "generate", "--name", "me"]).ok();
    let own = space.run(&["key", "show"]).expect(0).stdout;
    let refused = add(own.trim_end().to_string()).expect(2);
    assert!(refused.stderr.contains("your own key"), "{refused}");
    let refused = add(format!("me:{}", key(3))).expect(2);
    assert!(
        refused.stderr.contains("is the name of your own key"),
        "{refused}"
    );

    let digest = "ab".repeat(32);
    space.run(&["trust", "allow", &digest]).ok();
    drop(space.run(&["trust", "allow", "abc"]).expect(2));
    let list = space.run(&["trust", "list", "--json"]).expect(0).json();
    assert_eq!(list["trusted"][0]["name"], "aachen");
    assert_eq!(list["trusted"][0]["key"], key(1).to_string());
    assert_eq!(list["commands"][0], digest);
    space.run(&["trust", "disallow", &digest]).ok();
    let unknown = space.run(&["trust", "remove", "achen"]).expect(2);
    assert!(
        unknown.stderr.contains("did you mean `aachen`?"),
        "{unknown}"
    );
    space.run(&["trust", "remove", "aachen"]).ok();
    let list = space.run(&["trust", "list"]).expect(0);
    insta::assert_snapshot!(list, @"no key is trusted, so no results of other labs are used");
}

#[test]
fn remotes_are_named_listed_and_tried() {
    let space = TestSpace::new();
    space
        .run(&["trust", "add", &format!("aachen:{}", key(1))])
        .ok();
    let add = [
        "remote",
        "add",
        "disk",
        "shared/a b",
        "--write",
        "--quorum",
        "2",
        "--recheck",
        "5%",
        "--require",
        "aachen",
    ];
    space.run(&add).ok();
    space.run(&add).ok();
    let bucket = [
        "remote",
        "add",
        "bucket",
        "s3://rib/mini",
        "--region",
        "eu-central-1",
        "--endpoint",
        "https://s3.lab.example",
    ];
    space.run(&bucket).ok();
    let config = space
        .read(CONFIG)
        .replace(&space.root().display().to_string(), "$SPACE");
    insta::assert_snapshot!(config);
    insta::assert_snapshot!(space.run(&["remote", "list"]).expect(0));
    let list = space.run(&["remote", "list", "--json"]).expect(0).json();
    assert_eq!(list["remotes"][1]["recheck"], 0.05);

    for (arguments, told) in [
        (
            &["remote", "add", "disk", "/other"][..],
            "the remote `disk` already exists",
        ),
        (&["remote", "add", "a/b", "/x"], "can't be the name"),
        (&["remote", "add", "x", "s4://x"], "did you mean `s3`?"),
        (
            &["remote", "add", "x", "s3://KEY:word@bucket"],
            "AWS_SECRET_ACCESS_KEY",
        ),
        (
            &["remote", "add", "x", "https://me:word@x/"],
            "a user or a password",
        ),
        (
            &["remote", "add", "x", "https://x", "--token-env", "a token"],
            "the name of an environment",
        ),
        (
            &["remote", "add", "x", "/x", "--require", "achen"],
            "did you mean `aachen`?",
        ),
        (
            &["remote", "add", "x", "/x", "--recheck", "500%"],
            "is not a share",
        ),
        (&["remote", "add", "x", "/x", "--quorum", "0"], "at least 1"),
        (&["remote", "remove", "dsik"], "did you mean `disk`?"),
        (&["remote", "check", "dsik"], "did you mean `disk`?"),
    ] {
        let refused = space.run(arguments).expect(2);
        assert!(refused.stderr.contains(told), "{told}: {refused}");
        assert!(!refused.stderr.contains("word@"), "{refused}");
    }
    // Looking at a folder that may be mistyped does not make it.
    let lacking = space.run(&["remote", "check", "disk"]).expect(1);
    assert!(lacking.stderr.contains("there is no folder"), "{lacking}");
    assert!(!space.path("shared").exists());
    fs::create_dir_all(space.path("shared/a b")).unwrap();
    let checked = space
        .run(&["remote", "check", "disk", "--json"])
        .expect(0)
        .json();
    for ability in ["lists", "writes", "conditional"] {
        assert_eq!(checked[ability], true, "{checked}");
    }
    space.run(&["remote", "check", "disk"]).ok();
    // To be written, and can't be: `tmp` is no folder there.
    space
        .run(&["remote", "add", "sealed", "sealed", "--write"])
        .ok();
    space.write("sealed/tmp", "");
    let sealed = space.run(&["remote", "check", "sealed"]).expect(1);
    assert!(sealed.stderr.contains("but can't be written"), "{sealed}");
    space.run(&["remote", "remove", "disk"]).ok();
    assert!(
        space.path("shared/a b").is_dir(),
        "nothing is removed there"
    );
}

#[test]
fn a_wrong_configuration_is_reported_by_place_and_never_rewritten() {
    let space = TestSpace::new();
    let text = "remotes:\n  a: { url: /x, wirte: true }\n";
    space.write(CONFIG, text);
    let refused = space.run(&["trust", "add", &format!("aachen:{}", key(1))]);
    insta::assert_snapshot!(refused.expect(2), @r"
    --- stderr
    error[unknown-field]: a remote has no field `wirte`
     --> $SPACE/home/.config/ribflow/config.yaml:2:17
      |
    2 |   a: { url: /x, wirte: true }
      |                 ^^^^^
      = hint: did you mean `write`?
    [exit code 2]
    ");
    assert_eq!(space.read(CONFIG), text);
    let json = space.run(&["remote", "list", "--json"]).expect(2).json();
    assert_eq!(json["errors"][0]["code"], "unknown-field");
    assert_eq!(json["errors"][0]["line"], 2);
}

/// A record in the store of `space`, which nobody has signed.
fn published(space: &TestSpace, name: &str) -> Record {
    let store = Store::open(&space.path("cache")).unwrap();
    let record = record(name, 0.5);
    store.publish(std::slice::from_ref(&record)).unwrap();
    space.run(&["cache", "adopt", "cache"]).ok();
    record
}

fn sign(space: &TestSpace, record: &Record, key: &SecretKey) {
    let signature = Signature {
        signer: key.public().in_names(),
        envelope: statement::sign(record, key),
    };
    let store = Store::open(&space.path("cache")).unwrap();
    store
        .add_signature(&record.key, &record.digest(), &signature)
        .unwrap();
}

fn own_key(space: &TestSpace) -> SecretKey {
    let mut keys = keys::all(&home(&space.path("home"))).unwrap();
    keys.remove(0).secret
}

#[test]
fn only_what_this_lab_has_signed_can_be_revoked() {
    let space = TestSpace::new();
    space.run(&["key", "generate", "--name", "me"]).ok();
    let kyoto = format!("kyoto:{}", key(1));
    space.run(&["trust", "add", &kyoto]).ok();
    let [unsigned, theirs, forged] = ["a", "b", "c"].map(|name| published(&space, name));
    sign(&space, &theirs, &secret(1));
    // Another record's envelope under this lab's name.
    let signature = Signature {
        signer: own_key(&space).public().in_names(),
        envelope: statement::sign(&theirs, &own_key(&space)),
    };
    let store = Store::open(&space.path("cache")).unwrap();
    store
        .add_signature(&forged.key, &forged.digest(), &signature)
        .unwrap();
    for (record, told, hint) in [
        (
            Digest::of(b"nobody's"),
            "there is no record",
            "ribflow cache ls --long",
        ),
        (unsigned.digest(), "is not signed", "cache forget"),
        (
            theirs.digest(),
            "is signed by `kyoto`, not by you",
            "choose",
        ),
        (forged.digest(), "not by you", "choose"),
    ] {
        let refused = space
            .run(&["revoke", "--record", &record.to_hex()])
            .expect(2);
        assert!(refused.stderr.contains(told), "{told}: {refused}");
        assert!(refused.stderr.contains(hint), "{hint}: {refused}");
    }
    for (name, told) in [("kyoto", "only its owner can revoke it"), ("em", "`me`")] {
        let refused = space.run(&["revoke", "--key", name]).expect(2);
        assert!(refused.stderr.contains(told), "{refused}");
    }
    assert!(!space.path("home/.local/share/ribflow/revocations").exists());
}

#[test]
fn a_record_is_revoked_with_every_key_that_has_signed_it() {
    let space = TestSpace::new();
    let record = published(&space, "ours");
    for name in ["one", "two"] {
        space.run(&["key", "generate", "--name", name]).ok();
    }
    let own = keys::all(&home(&space.path("home"))).unwrap();
    own.iter()
        .for_each(|key| sign(&space, &record, &key.secret));
    let digest = record.digest().to_hex();
    let told = space
        .run(&["revoke", "--record", &digest, "--json"])
        .expect(0);
    assert_eq!(told.json()["digests"].as_array().unwrap().len(), 2);
    space.run(&["revoke", "--key", "one"]).ok();
    let shown = space.run(&["key", "show"]).expect(0).stdout;
    assert!(shown.starts_with("two:"), "{shown}");
}

#[test]
fn a_revocation_is_signed_kept_and_reported() {
    let space = TestSpace::new();
    let record = published(&space, "ours");
    let digest = record.digest().to_hex();
    let nothing = space.run(&["revoke", "--record", &digest]).expect(2);
    assert!(
        nothing.stderr.contains("there is no key to sign with"),
        "{nothing}"
    );
    drop(space.run(&["revoke"]).expect(2));
    let none = space.run(&["key", "list"]).expect(0);
    assert!(none.stdout.contains("ribflow key generate"), "{none}");
    space.run(&["key", "generate", "--name", "me"]).ok();
    sign(&space, &record, &own_key(&space));
    space
        .run(&["remote", "add", "disk", "shared", "--write"])
        .ok();
    space.run(&["remote", "add", "read", "other"]).ok();
    let record = [
        "revoke",
        "--record",
        &digest,
        "--reason",
        "a mistake\x1b[2J",
    ];
    let told = space.run(&record).expect(0);
    let expected = format!("revoked: the record {digest}\npublished at `disk`\n");
    assert_eq!(told.stdout, expected);
    let text = space.run(&["key", "show"]).expect(0).stdout;
    let public: PublicKey = text.trim_end().split_once(':').unwrap().1.parse().unwrap();
    let signer = public.in_names();
    let words = |folder: &str| -> Vec<Revocation> {
        let folder = space.path(&format!("{folder}/revocations/{signer}"));
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        files
            .map(|entry| {
                let envelope = fs::read(entry.path()).unwrap();
                let name = format!("{}.sig", Digest::of(&envelope));
                assert_eq!(entry.file_name().to_str(), Some(name.as_str()));
                Revocation::open(&envelope, &public).unwrap()
            })
            .collect()
    };
    for folder in ["home/.local/share/ribflow", "shared"] {
        let words = words(folder);
        assert_eq!(words.len(), 1);
        assert_eq!(words[0].revoked, Revoked::Record(digest.parse().unwrap()));
        assert_eq!(
            words[0].reason, "a mistake[2J",
            "nothing that steers a terminal"
        );
    }
    assert!(!space.path("other").exists());

    drop(
        space
            .run(&[
                "revoke",
                "--key",
                "--reason",
                "lost",
                "--remote",
                "other-one",
            ])
            .expect(2),
    );
    let json = space.run(&["revoke", "--key", "--reason", "lost", "--json"]);
    assert_eq!(json.expect(0).json()["told"][0], "disk");
    assert_eq!(words("shared").len(), 2);
    let gone = space.run(&["key", "show"]).expect(2);
    assert!(
        gone.stderr.contains("there is no key to sign with"),
        "{gone}"
    );
    let list = space.run(&["key", "list"]).expect(0);
    assert!(list.stdout.contains("revoked"), "{list}");
    // A digest that no imported command has is allowed, and remarked on.
    let allowed = space.run(&["trust", "allow", &digest]).expect(0);
    assert!(allowed.stdout.contains("no command stage"), "{allowed}");
    space.run(&["key", "generate", "--name", "new"]).ok();
    assert!(
        space
            .run(&["key", "show"])
            .expect(0)
            .stdout
            .starts_with("new:")
    );
}
