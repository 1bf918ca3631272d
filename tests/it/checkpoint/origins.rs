//! Checkpoints from a file, a hub or a URL, and their downloads.

use super::*;
use crate::fixtures::small_checkpoint;

fn fetch(
    hub: &Hub,
    token: Option<&str>,
    path: &str,
    target: &Path,
) -> Result<Option<String>, DownloadError> {
    let request = Request {
        url: format!("{}/{path}", hub.endpoint),
        token: token.map(str::to_string),
        pause: Duration::from_millis(1),
    };
    download(&request, target, &|_, _| true).map(|fetched| fetched.sha256)
}

#[test]
fn downloads_go_on_where_they_broke_off() {
    let space = TestSpace::new();
    let target = space.path("file");
    let content: Vec<u8> = (0..300_000u32).map(|it| (it * 7 % 251) as u8).collect();
    let hub = Hub::serving(content.clone())
        .asking_for("secret")
        .troubled([
            Trouble::Status(503),
            Trouble::Cut(100_000),
            Trouble::Status(429),
            Trouble::Cut(50_000),
        ]);
    fetch(&hub, Some("secret"), "o/r/resolve/main/f", &target).unwrap();
    assert!(fs::read(&target).unwrap() == content);
    let storage = stored(&hub);
    assert_eq!(storage.len(), 5);
    let ranges: Vec<_> = storage.iter().map(|it| it.header("range")).collect();
    let first = ranges[2].unwrap();
    assert!(ranges[0].is_none() && first.starts_with("bytes=") && ranges[4] != ranges[2]);
    assert!(
        storage
            .iter()
            .all(|it| it.header("authorization").is_none())
    );

    // A file that changed in between is fetched anew.
    let other: Vec<u8> = vec![5; 200_000];
    let hub =
        Hub::serving(content).troubled([Trouble::Cut(70_000), Trouble::Replace(other.clone())]);
    fetch(&hub, None, "o/r/resolve/main/f", &target).unwrap();
    assert!(fs::read(&target).unwrap() == other);
}

/// The requests to the storage, which the hub redirects to.
fn stored(hub: &Hub) -> Vec<Seen> {
    let mut seen = hub.seen();
    seen.retain(|it| it.path.starts_with("/signed"));
    seen
}

#[test]
fn a_later_download_goes_on_with_an_earlier_one() {
    let space = TestSpace::new();
    let target = space.path("file");
    let content: Vec<u8> = (0..300_000u32).map(|it| (it * 7 % 251) as u8).collect();
    let hub = Hub::serving(content.clone());
    let request = Request {
        url: format!("{}/o/r/resolve/main/f", hub.endpoint),
        ..Request::default()
    };
    let until = |most: u64| download(&request, &target, &move |done, _| done < most);
    assert!(matches!(until(1000), Err(DownloadError::Cancelled)));
    let there = fs::metadata(&target).unwrap().len();
    assert!(there >= 1000 && there < content.len() as u64);
    // Stopped behind the last byte, before anything could be said of the whole.
    assert!(matches!(
        until(content.len() as u64),
        Err(DownloadError::Cancelled)
    ));
    until(u64::MAX).unwrap();
    assert!(fs::read(&target).unwrap() == content);
    let ranges = stored(&hub);
    let ranges: Vec<_> = ranges.iter().map(|it| it.header("range")).collect();
    let first = format!("bytes={there}-");
    assert_eq!(
        ranges,
        [None, Some(first.as_str()), Some("bytes=300000-")],
        "what is whole is asked for once more, and not sent again"
    );
    // Nothing is left beside the file, so that another download begins anew.
    assert_eq!(fs::read_dir(space.root()).unwrap().count(), 1);
    let hub = Hub::serving(vec![1; 10]);
    fetch(&hub, None, "o/r/resolve/main/f", &target).unwrap();
    assert_eq!(fs::read(&target).unwrap(), [1; 10]);
}

#[test]
fn downloads_that_can_not_be_say_why() {
    let space = TestSpace::new();
    let target = space.path("file");
    let hub = Hub::serving(vec![1; 10]).asking_for("secret");
    let refused = |token, path| fetch(&hub, token, path, &target).unwrap_err().to_string();
    assert!(refused(None, "o/r/resolve/main/f").contains("HF_TOKEN"));
    assert!(refused(Some("secret"), "o/r/resolve/main/absent").contains("no such file"));
    let hub = Hub::serving(vec![1; 10]).troubled((0..9).map(|_| Trouble::Status(500)));
    let exhausted = fetch(&hub, None, "o/r/resolve/main/f", &target).unwrap_err();
    assert!(
        matches!(exhausted, DownloadError::Exhausted { .. }),
        "{exhausted}"
    );
}

/// A workflow that trains nothing: features of a checkpoint.
fn workflow(origin: &str) -> String {
    format!(
        "ribflow: 1
name: published
stages:
  model:
    use: checkpoint
    with: {{ arch: vit_mini, {origin} }}
  images:
    use: dataset
    with: {{ builtin: mini-rib, domain: v2, images: 20 }}
  features:
    use: features
    needs: {{ model: model, data: images }}
"
    )
}

fn ran(space: &TestSpace, arguments: &[&str]) -> u64 {
    let outcome = space.run(arguments).expect(0);
    let summary = outcome.json_lines().pop().unwrap();
    summary["ran"].as_u64().unwrap()
}

#[test]
fn a_checkpoint_is_its_content() {
    let space = TestSpace::new();
    space.write("a/model.safetensors", small_checkpoint(&space));
    space.write("one.yaml", workflow("path: a/model.safetensors"));
    assert_eq!(ran(&space, &["run", "one.yaml", "--json"]), 2);
    assert_eq!(ran(&space, &["run", "one.yaml", "--json"]), 0);
    fs::rename(space.path("a"), space.path("b")).unwrap();
    space.write("two.yaml", workflow("path: b/model.safetensors"));
    assert_eq!(ran(&space, &["run", "two.yaml", "--json"]), 0);
    // The folder as the hub's tools leave it holds the same.
    space.write("three.yaml", workflow("path: b"));
    assert_eq!(ran(&space, &["run", "three.yaml", "--json"]), 0);
}

#[test]
fn a_checkpoint_comes_from_a_hub_or_a_url() {
    let space = TestSpace::new();
    let content = small_checkpoint(&space);
    let sha256: String = Sha256::digest(&content)
        .iter()
        .map(|it| format!("{it:02x}"))
        .collect();
    let hub = Hub::serving(content.clone())
        .named(&sha256)
        .asking_for("secret");
    let revision = "c".repeat(40);
    space.write(
        "hub.yaml",
        workflow(&format!("hub: o/r, revision: {revision}")),
    );
    let run = |file: &str| {
        let mut command = space.command(&["run", file, "--json"]);
        command
            .env("HF_ENDPOINT", &hub.endpoint)
            .env("HF_TOKEN", "secret");
        space.finish(&mut command)
    };
    run("hub.yaml").ok();
    let path = format!("/o/r/resolve/{revision}/model.safetensors");
    assert_eq!(hub.seen()[0].path, path);
    let before = hub.seen().len();
    run("hub.yaml").ok();
    assert_eq!(hub.seen().len(), before, "a second run asks for nothing");

    // What the hub names is not what came.
    let liar = Hub::serving(content.clone()).named(&"0".repeat(64));
    space.write("liar.yaml", workflow("hub: o/r, revision: other"));
    let mut command = space.command(&["run", "liar.yaml"]);
    let refused = space
        .finish(command.env("HF_ENDPOINT", &liar.endpoint))
        .expect(1);
    assert!(refused.stderr.contains("but the hub reports"), "{refused}");

    let plain = Hub::serving(content);
    let url = format!("url: \"{}/file.safetensors\", digest: ", plain.endpoint);
    space.write("url.yaml", workflow(&format!("{url}\"sha256:{sha256}\"")));
    run("url.yaml").ok();
    space.write(
        "wrong.yaml",
        workflow(&format!("{url}\"sha256:{}\"", "1".repeat(64))),
    );
    let refused = run("wrong.yaml").expect(1);
    assert!(refused.stdout.contains("but `digest` is"), "{refused}");
}

/// `weights` in two files and an index, as the hub's tools write them.
fn in_shards(weights: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let all = candle_core::safetensors::load_buffer(weights, &Device::Cpu).unwrap();
    let all: BTreeMap<String, Tensor> = all.into_iter().collect();
    let shard = |name: &str| format!("model-0000{}-of-00002.safetensors", 1 + name.len() % 2);
    let mut parts: BTreeMap<String, Vec<(String, Tensor)>> = BTreeMap::new();
    let mut map = serde_json::Map::new();
    for (name, tensor) in all {
        map.insert(name.clone(), shard(&name).into());
        parts.entry(shard(&name)).or_default().push((name, tensor));
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": map });
    let mut files: BTreeMap<String, Vec<u8>> = parts
        .into_iter()
        .map(|(name, part)| (name, safetensors::serialize(part, None).unwrap()))
        .collect();
    let index = index.to_string().into_bytes();
    files.insert("model.safetensors.index.json".to_string(), index);
    files
}

#[test]
fn a_sharded_checkpoint_is_the_whole_one() {
    let space = TestSpace::new();
    let whole = small_checkpoint(&space);
    space.write("model.safetensors", &whole);
    space.write("whole.yaml", workflow("path: model.safetensors"));
    assert_eq!(ran(&space, &["run", "whole.yaml", "--json"]), 2);
    let mut hub = Hub::serving(Vec::new());
    for (name, content) in in_shards(&whole) {
        space.write(&format!("a/{name}"), &content);
        hub = hub.with_file(&name, content);
    }
    // Another key, the same model: what is made of it is not made again.
    space.write(
        "index.yaml",
        workflow("path: a/model.safetensors.index.json"),
    );
    assert_eq!(ran(&space, &["run", "index.yaml", "--json"]), 1);
    fs::rename(space.path("a"), space.path("b")).unwrap();
    space.write("b/README.md", "neither an index nor one of its shards");
    space.write("folder.yaml", workflow("path: b"));
    assert_eq!(ran(&space, &["run", "folder.yaml", "--json"]), 0);
    // A shard counts.
    let shard = space.path("b/model-00001-of-00002.safetensors");
    let bytes = fs::read(&shard).unwrap();
    fs::write(&shard, &bytes[..bytes.len() - 1]).unwrap();
    let failed = space.run(&["run", "folder.yaml"]).expect(1);
    assert!(failed.stderr.contains("too short"), "{failed}");

    let origin = "hub: o/r, revision: v1, file: deep/model.safetensors.index.json";
    space.write("hub.yaml", workflow(origin));
    let mut command = space.command(&["run", "hub.yaml", "--json"]);
    let outcome = space.finish(command.env("HF_ENDPOINT", &hub.endpoint));
    let summary = outcome.expect(0).json_lines().pop().unwrap();
    assert_eq!(summary["ran"], 1);
    let paths: Vec<String> = stored(&hub).into_iter().map(|it| it.path).collect();
    let path = |name: &str| format!("/signed/o/r/resolve/v1/deep/{name}?for=60");
    let expected = [
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ];
    assert_eq!(paths, expected.map(path));
}

#[test]
fn a_run_goes_on_with_what_an_earlier_one_fetched() {
    let space = TestSpace::new();
    let content = small_checkpoint(&space);
    let troubles = (0..5).map(|_| Trouble::Status(500));
    let troubles = std::iter::once(Trouble::Cut(100_000)).chain(troubles);
    let hub = Hub::serving(content).troubled(troubles);
    space.write("hub.yaml", workflow("hub: o/r, revision: v1"));
    let run = || {
        let mut command = space.command(&["run", "hub.yaml"]);
        space.finish(command.env("HF_ENDPOINT", &hub.endpoint))
    };
    let failed = run().expect(1);
    assert!(failed.stderr.contains("5 times in a row"), "{failed}");
    let before = stored(&hub).len();
    run().ok();
    let second = stored(&hub).split_off(before);
    let ranges: Vec<_> = second.iter().map(|it| it.header("range")).collect();
    assert_eq!(ranges, [Some("bytes=100000-")]);
    let left = fs::read_dir(space.path("cache/downloads")).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn wrong_checkpoints_are_reported_at_load_time() {
    let space = TestSpace::new();
    let mut told = String::new();
    for origin in [
        "revision: main",
        "path: a.pth, hub: o/r",
        "url: \"https://h/x.pth\"",
        "url: \"https://h/x.pth\", digest: \"md5:12\"",
        "url: \"file:///x.pth\"",
        "url: \"s3://bucket/x.pth\"",
        "url: \"https://h/model.safetensors.index.json\", digest: \"sha256:12\"",
        "hub: somewhere",
        "hub: o/r, file: ../secret",
    ] {
        space.write("wrong.yaml", workflow(origin));
        told.push_str(&space.run(&["validate", "wrong.yaml"]).expect(2).stderr);
        told.push('\n');
    }
    space.write(
        "wrong.yaml",
        workflow("path: a.pth").replace("vit_mini", "vit_minni"),
    );
    told.push_str(&space.run(&["validate", "wrong.yaml"]).expect(2).stderr);
    insta::assert_snapshot!(told);
}
