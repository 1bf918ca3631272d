//! What no bundle may have: names that lead elsewhere or hide something, a store, and archives
//! that two readers would understand differently.

use serde_json::{Value, json};

use super::Laboratory;
use crate::space::TestSpace;
use crate::zips::{Entry, about, about_with, archive, bundle, closed};

const GRID: &str = "\
ribflow: 1
name: grid
stages:
  pool: { use: dataset, with: { builtin: mini-rib, domain: narrow, images: 20 } }
";

fn grid() -> Entry {
    Entry::new("workflow/grid.yaml", GRID)
}

/// Fails the test if the import does anything but refuse, with these words, and leave nothing.
#[track_caller]
fn refused(space: &TestSpace, bytes: &[u8], told: &str) {
    space.write("odd.ribbundle", bytes);
    let import = ["import", "odd.ribbundle", "-o", "got"];
    let refused = space.run(&import).expect(1);
    assert!(refused.stderr.contains(told), "{told}: {refused}");
    assert!(!space.path("got").exists(), "{told}");
    assert!(!space.path("cache").exists(), "{told}");
}

#[test]
fn an_archive_of_another_program_is_read_if_it_is_plain() {
    let space = TestSpace::new();
    let mut times = grid();
    // What Info-ZIP adds: times and owners.
    times.extra = b"UT\x05\x00\x03\0\0\0\0ux\x01\x00\x01".to_vec();
    let dos = Entry {
        flags: 0,
        attributes: 0x20,
        ..about("grid.yaml")
    };
    space.write("plain.ribbundle", archive(&[times, dos]));
    let import = ["import", "plain.ribbundle", "-o", "got", "--json"];
    let imported = space.run(&import).expect(0);
    assert_eq!(imported.json()["checked"], false);
    assert!(imported.stderr.contains("no digests"), "{imported}");
    assert_eq!(space.read("got/grid.yaml"), GRID);

    space.write("checked.ribbundle", bundle(&[("grid.yaml", GRID)]));
    let import = ["import", "checked.ribbundle", "-o", "checked", "--json"];
    let imported = space.run(&import).expect(0);
    assert_eq!(imported.json()["checked"], true);
    assert_eq!(imported.stderr, "");
}

#[test]
fn no_name_leads_elsewhere_hides_or_makes_a_store() {
    let space = TestSpace::new();
    for name in [
        "../evil",
        "/etc/evil",
        "workflow/../../evil",
        "workflow/./../cache/store.json",
        "workflow//etc/evil",
        "workflow/..\\..\\evil",
        "workflow/tools\\evil",
        "workflow/cache/store.json",
        "workflow/cache/records/aa/x.json",
        "workflow/sub/cache/store.json",
        "workflow/Cache/store.json",
        "workflow/store.json",
        "workflow/.git/config",
        "workflow/.gitattributes",
        "workflow/tools/.git/hooks/post-checkout",
        "workflow/.ribflow-import",
        "workflow/.ribflow-import.new/x",
        "workflow/\u{200b}.git/config",
        "workflow/",
        "workflow",
        "cache/store.json",
        "store.json",
        "tmp/x",
    ] {
        let evil = Entry::new(name, "x");
        for entries in [
            vec![about("grid.yaml"), grid(), evil.clone()],
            vec![evil.clone(), about("grid.yaml"), grid()],
            vec![grid(), evil.clone(), about("grid.yaml")],
        ] {
            refused(&space, &archive(&entries), "is not allowed in a bundle");
        }
        assert!(!space.path("../evil").exists() && !space.path("evil").exists());
    }
    let long = format!("workflow/{}", "a".repeat(300));
    let deep = format!("workflow/{}a", "a/".repeat(3000));
    for name in [&long, &deep] {
        let entries = [about("grid.yaml"), grid(), Entry::new(name, "x")];
        refused(&space, &archive(&entries), "too long");
    }
}

#[test]
fn no_two_names_are_one() {
    let space = TestSpace::new();
    for (one, other, told) in [
        ("grid.yaml", "grid.yaml", "appears twice"),
        ("grid.yaml", "GRID.yaml", "the same name on some systems"),
        ("grid.yaml", "grid.yaml/x", "both a file and a folder"),
        ("zz", "zz/x", "both a file and a folder"),
        ("tools/a", "Tools/b", "the same name on some systems"),
        ("caf\u{e9}", "cafe\u{301}", "the same name on some systems"),
        ("bundle", "grid.yaml ", "not declared by its workflow"),
    ] {
        let mut entries = vec![about("grid.yaml")];
        entries.extend((one != "grid.yaml").then(grid));
        let content = |name: &str| if name == "grid.yaml" { GRID } else { "x" };
        for name in [one, other] {
            entries.push(Entry::new(format!("workflow/{name}"), content(name)));
        }
        refused(&space, &archive(&entries), told);
        entries.reverse();
        refused(&space, &archive(&entries), told);
    }
    // `bundle.json` twice: which of the two is believed?
    let two = [about("grid.yaml"), grid(), about("other.yaml")];
    refused(&space, &archive(&two), "appears twice");
}

#[test]
fn only_what_the_workflow_declares_is_in_a_bundle() {
    let space = TestSpace::new();
    for name in [
        "evil.sh",
        "Makefile",
        "conftest.py",
        "other.yaml",
        "other.yaml.lock",
    ] {
        let files = [("grid.yaml", GRID), (name, "x")];
        refused(&space, &bundle(&files), "not declared by its workflow");
    }
    // The lock, published values, and the files of commands in every profile and as exported.
    let text = "\
ribflow: 1
name: grid
params: { tool: a }
profiles: { b: { params: { tool: b } } }
stages:
  pool: { use: dataset, with: { builtin: mini-rib, domain: narrow, images: 20 } }
  listed:
    use: command
    needs: { pool: pool }
    with: { run: \"true\", files: [\"./tools/${params.tool}.sh\"], outputs: [numbers] }
";
    let files = [
        ("grid.yaml", text),
        ("grid.yaml.lock", "ribflow_lock: 1\n"),
        ("tools/a.sh", "a"),
        ("tools/b.sh", "b"),
        ("tools/c.sh", "c"),
    ];
    refused(&space, &bundle(&files), "tools/c.sh");
    let more = json!({ "overrides": ["params.tool=c"] });
    let entries = files
        .iter()
        .map(|(path, content)| Entry::new(format!("workflow/{path}"), content));
    let about = about_with("grid.yaml", &files, more);
    let entries: Vec<Entry> = std::iter::once(about).chain(entries).collect();
    space.write("grid.ribbundle", archive(&entries));
    space.run(&["import", "grid.ribbundle", "-o", "got"]).ok();
    assert_eq!(space.read("got/tools/c.sh"), "c");
}

#[test]
fn an_archive_that_can_be_read_in_two_ways_is_refused() {
    let space = TestSpace::new();
    let good = [about("grid.yaml"), grid()];
    let with = |change: &dyn Fn(&mut Entry)| {
        let mut entry = Entry::new("workflow/grid.yaml", GRID);
        change(&mut entry);
        archive(&[about("grid.yaml"), entry])
    };
    let whole = archive(&good);
    let directory_at = whole.len() - 22;
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (with(&|it| it.attributes = 0o120_777 << 16), "is a link"),
        (with(&|it| it.attributes = 0o040_755 << 16), "a folder"),
        (with(&|it| it.attributes = 0o010_644 << 16), "a device"),
        (with(&|it| it.attributes = 0x10), "a folder"),
        (with(&|it| it.method = 8), "is compressed"),
        (with(&|it| it.sizes.1 = 1 << 30), "is compressed"),
        (with(&|it| it.flags |= 1), "is encrypted"),
        (
            with(&|it| {
                it.flags |= 1 << 3;
                it.behind = b"PK\x07\x08aaaabbbbcccc".to_vec();
            }),
            "its size after its data",
        ),
        (
            with(&|it| it.flags |= 1 << 13),
            "flags that are not allowed",
        ),
        (with(&|it| it.behind = b"hidden".to_vec()), "bytes"),
        (with(&|it| it.crc ^= 1), "is damaged"),
        (
            with(&|it| it.local_name = Some(b"workflow/evil.yaml".to_vec())),
            "differs from what the directory says",
        ),
        (
            with(&|it| it.local_sizes = Some((1, 1))),
            "differs from what the directory says",
        ),
        (
            with(&|it| it.sizes = (1 << 30, 1 << 30)),
            "more bytes than there are",
        ),
        (
            with(&|it| it.name = b"workflow/gr\xe9d.yaml".to_vec()),
            "not UTF-8",
        ),
        (
            with(&|it| {
                it.flags = 0;
                it.name = "workflow/gréd.yaml".into();
            }),
            "not UTF-8",
        ),
        // The name that Info-ZIP takes instead.
        (
            with(&|it| it.extra = b"up\x05\x00\x01aaaa".to_vec()),
            "extra field",
        ),
        (
            with(&|it| it.extra = b"UT\xff\xff".to_vec()),
            "ends inside a header",
        ),
        ([b"MZ".as_slice(), &whole].concat(), "directory is not at"),
        (
            [&whole, b"x".as_slice()].concat(),
            "does not end like a zip",
        ),
        (whole[..whole.len() - 5].to_vec(), "does not end like a zip"),
        (
            {
                // An entry that no directory names, before those that it does.
                let mut bytes = whole[..directory_at].to_vec();
                let start = archive(&[about("grid.yaml")]);
                bytes.truncate(0);
                bytes.extend(&start[..start.len() - 22]);
                closed(bytes, &[], 0)
            },
            "bytes before its directory",
        ),
        (
            {
                let mut bytes = whole.clone();
                // One entry more than there is.
                bytes[directory_at + 8] += 1;
                bytes[directory_at + 10] += 1;
                bytes
            },
            "the number of entries",
        ),
    ];
    for (bytes, told) in cases {
        refused(&space, &bytes, told);
    }
    space.write("whole.ribbundle", &whole);
    space.run(&["import", "whole.ribbundle", "-o", "got"]).ok();
}

#[test]
fn files_that_are_not_what_the_bundle_says_are_refused() {
    let space = TestSpace::new();
    let other = GRID.replace("images: 20", "images: 21");
    let entries = |said: &[(&str, &str)], held: &str| {
        let about = about_with("grid.yaml", said, Value::Null);
        archive(&[about, Entry::new("workflow/grid.yaml", held)])
    };
    let said = [("grid.yaml", GRID)];
    refused(&space, &entries(&said, &other), "is damaged");
    let more = [("grid.yaml", GRID), ("grid.yaml.lock", "")];
    refused(
        &space,
        &entries(&more, GRID),
        "differ from those that it lists",
    );
    refused(
        &space,
        &entries(&[("else.yaml", "")], GRID),
        "differ from those that it lists",
    );
}

#[test]
fn no_bundle_brings_a_store() {
    // A lab's own store, with a record that nobody has signed.
    let maker = Laboratory::new();
    maker.space.write("grid.yaml", GRID);
    maker.run(&["run", "grid.yaml", "--quiet"]).ok();
    let mut entries = vec![about("grid.yaml"), grid()];
    let cache = maker.space.path("cache");
    let mut folders = vec![cache.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let relative = path.strip_prefix(&cache).unwrap().to_str().unwrap();
            if relative == "store.json" || relative.starts_with("records/") {
                let content = std::fs::read(&path).unwrap();
                entries.push(Entry::new(format!("workflow/cache/{relative}"), content));
            }
        }
    }
    assert!(entries.len() > 3, "a store and a record");
    let space = TestSpace::new();
    refused(&space, &archive(&entries), "it would look like a store");
    // A record without a signature is not taken by the proper way either.
    for entry in &mut entries {
        let name = String::from_utf8(entry.name.clone()).unwrap();
        if let Some(rest) = name.strip_prefix("workflow/cache/records") {
            *entry = Entry::new(format!("records{rest}"), &entry.content);
        }
    }
    entries.retain(|entry| !entry.name.starts_with(b"workflow/cache"));
    refused(&space, &archive(&entries), "can't be trusted");
}
