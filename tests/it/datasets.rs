//! Datasets from their `with:` block to pixels: built in, of folders, joined.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ribflow::digest::Digest;
use ribflow::ml::data::mini_rib::{self, Collection, Split};
use ribflow::ml::data::resize::{Filter, Transform};
use ribflow::ml::data::{ImageSet, in_memory};
use ribflow::stages::task::{Context, Outputs, Progress, TaskError, TaskInput};
use ribflow::stages::{images, registry};
use ribflow::store::artifact::{Artifact, Blobs, Dataset, Images};
use ribflow::store::{StatCache, Store};
use ribflow::workflow::LoadOptions;
use serde_json::{Value, json};

use super::fixtures;
use super::space::TestSpace;

struct Silent;

impl Progress for Silent {
    fn advance(&self, _done: u64, _total: u64, _unit: &'static str) {}

    fn log(&self, _line: &str) {}
}

/// A store and what tasks run with.
struct Bench {
    space: TestSpace,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let space = TestSpace::new();
        let store = Store::open(&space.path("cache")).unwrap();
        Self { space, store }
    }

    fn with_context<T>(
        &self,
        inputs: &[(&str, Vec<TaskInput>)],
        work: impl FnOnce(&mut Context) -> T,
    ) -> T {
        let inputs = inputs
            .iter()
            .map(|(name, members)| (name.to_string(), members.clone()));
        work(&mut Context {
            inputs: inputs.collect(),
            blobs: &self.store,
            scratch: Path::new("/nonexistent"),
            downloads: Path::new("/nonexistent"),
            environments: Path::new("/nonexistent"),
            locks: self.store.locks(),
            failed: Path::new("/nonexistent"),
            threads: 2,
            device: candle_core::Device::Cpu,
            derived: Default::default(),
            progress: &Silent,
            cancelled: &AtomicBool::new(false),
            grace: std::time::Duration::ZERO,
        })
    }

    fn run(
        &self,
        kind: &str,
        with: Value,
        inputs: &[(&str, Vec<TaskInput>)],
    ) -> Result<Outputs, TaskError> {
        let registry = registry();
        let task = registry.task(kind, &with).unwrap().unwrap();
        self.with_context(inputs, |context| task.run(context))
    }

    fn dataset(&self, with: Value, inputs: &[(&str, Vec<TaskInput>)]) -> Dataset {
        expect_dataset(self.run("dataset", with, inputs).unwrap())
    }

    /// The folder as the engine hands it to a dataset.
    fn folder(&self, with: &Value, root: &str) -> TaskInput {
        let registry = registry();
        let mut with = with.clone();
        with["folder"] = root.into();
        let parameters = registry
            .kinds()
            .get("dataset")
            .unwrap()
            .parse(&with)
            .unwrap();
        let source = &parameters.sources()[0];
        let resolved = StatCache::open(&self.store)
            .resolve(source, &self.space.root())
            .unwrap();
        TaskInput {
            axes: BTreeMap::new(),
            artifact: resolved.artifact,
            roots: vec![resolved.root],
        }
    }

    /// The images in memory, which are the same when each is decoded as it is asked for.
    fn load(
        &self,
        input: &TaskInput,
        target: Option<Transform>,
    ) -> Result<ImageSet<'static>, TaskError> {
        self.with_context(&[], |context| {
            let loaded = images::load(context, input, target.as_ref())?;
            let bytes = loaded.bytes()?;
            let streamed = images::load_within(context, input, target.as_ref(), 0)?;
            assert_eq!(streamed.bytes()?, bytes);
            Ok(ImageSet {
                pixels: in_memory(bytes, loaded.height, loaded.width),
                height: loaded.height,
                width: loaded.width,
                labels: loaded.labels.clone(),
                classes: loaded.classes.clone(),
                parts: loaded.parts.clone(),
            })
        })
    }
}

fn expect_dataset(outputs: Outputs) -> Dataset {
    match &outputs.ports["images"] {
        Artifact::Dataset(dataset) => dataset.clone(),
        other => panic!("{other:?}"),
    }
}

fn input(dataset: Dataset, axes: &[(&str, &str)], roots: Vec<PathBuf>) -> TaskInput {
    let axes = axes
        .iter()
        .map(|(axis, id)| (axis.to_string(), id.to_string()));
    TaskInput {
        axes: axes.collect(),
        artifact: Artifact::Dataset(dataset),
        roots,
    }
}

fn own_image(name: &str) -> Vec<u8> {
    fs::read(fixtures::copies().join("../images").join(name)).unwrap()
}

/// Two classes, nested folders, upper case, and files that are no images.
fn photos(bench: &Bench, root: &str) {
    for (name, image) in [
        ("dog/z.jpg", "420.jpg"),
        ("dog/more/a.JPEG", "444.jpg"),
        ("cat/1.png", "rgb.png"),
        ("cat/2.jpg", "grey.jpg"),
    ] {
        bench
            .space
            .write(&format!("{root}/{name}"), own_image(image));
    }
    bench
        .space
        .write(&format!("{root}/cat/notes.txt"), "not an image");
    bench
        .space
        .write(&format!("{root}/stray.jpg"), "in no class");
}

fn paths(dataset: &Dataset) -> Vec<(&str, u32)> {
    let [part] = &dataset.parts[..] else {
        panic!("one part");
    };
    match &part.images {
        Images::Encoded { files, .. } => files
            .iter()
            .map(|file| (file.path.as_str(), file.label))
            .collect(),
        Images::Packed { .. } => panic!("encoded files"),
    }
}

#[test]
fn the_built_in_images_are_selected_by_class_limit_and_chance() {
    let bench = Bench::new();
    let load = |with: Value| {
        let dataset = bench.dataset(with, &[]);
        bench.load(&input(dataset, &[], vec![]), None).unwrap()
    };
    let all = load(json!({ "builtin": "mini-rib", "domain": "r", "images": 40 }));
    let rendered = mini_rib::render(Collection::R, Split::Train, 40, 0);
    assert_eq!(all.bytes().unwrap(), rendered.bytes().unwrap());
    assert_eq!(
        (all.labels, all.classes),
        (rendered.labels.clone(), rendered.classes.clone())
    );

    let some = load(json!({
        "builtin": "mini-rib", "domain": "r", "images": 40,
        "classes": ["key", "car"], "limit": 3,
    }));
    assert_eq!(some.classes, ["car", "key"]);
    assert_eq!(some.labels, [0, 1, 0, 1, 0, 1]);
    assert_eq!(some.image(3).unwrap(), rendered.image(17).unwrap()); // the second key

    let part = |seed: u64, subset: Value| {
        let mut subset = subset;
        subset["seed"] = seed.into();
        load(json!({ "builtin": "mini-rib", "domain": "r", "images": 40, "subset": subset }))
    };
    let few = part(1, json!({ "count": 10 }));
    assert_eq!(
        few.bytes().unwrap(),
        part(1, json!({ "share": 0.25 })).bytes().unwrap()
    );
    assert_ne!(
        few.bytes().unwrap(),
        part(2, json!({ "count": 10 })).bytes().unwrap()
    );
    let held_out = load(json!({ "builtin": "mini-rib", "domain": "r", "split": "test" }));
    assert_eq!(held_out.len(), 300);
    assert_ne!(held_out.image(0).unwrap(), rendered.image(0).unwrap());
}

#[test]
fn a_folder_is_read_as_torchvision_reads_it() {
    let bench = Bench::new();
    photos(&bench, "photos");
    let take = |with: Value| {
        let folder = bench.folder(&with, "photos");
        bench.dataset(with, &[("folder", vec![folder])])
    };
    let whole = take(json!({}));
    assert_eq!(whole.classes, ["cat", "dog"]);
    let expected = [
        ("cat/1.png", 0),
        ("cat/2.jpg", 0),
        ("dog/z.jpg", 1),
        ("dog/more/a.JPEG", 1),
    ];
    assert_eq!(paths(&whole), expected);
    let limited = take(json!({ "limit": 1 }));
    assert_eq!(paths(&limited), [("cat/1.png", 0), ("dog/z.jpg", 1)]);
    let dogs = take(json!({ "classes": ["dog"] }));
    assert_eq!(paths(&dogs), [("dog/z.jpg", 0), ("dog/more/a.JPEG", 0)]);

    let target = Transform::square(24, Filter::Bilinear);
    let roots = vec![bench.space.path("photos")];
    let loaded = bench
        .load(&input(whole.clone(), &[], roots), Some(target))
        .unwrap();
    assert_eq!((loaded.len(), loaded.width, loaded.height), (4, 24, 24));
    let first = ribflow::ml::data::decode::decode(&own_image("rgb.png")).unwrap();
    assert_eq!(*loaded.image(0).unwrap(), *target.apply(&first).unwrap());
}

#[test]
fn files_are_found_by_content_in_any_folder() {
    let bench = Bench::new();
    photos(&bench, "photos");
    let folder = bench.folder(&json!({}), "photos");
    let dataset = bench.dataset(json!({}), &[("folder", vec![folder])]);
    fs::rename(bench.space.path("photos"), bench.space.path("elsewhere")).unwrap();
    let target = Transform::square(8, Filter::Bicubic);
    let load = |roots: &[&str]| {
        let roots = roots.iter().map(|root| bench.space.path(root)).collect();
        bench.load(&input(dataset.clone(), &[], roots), Some(target))
    };
    let pixels = load(&["photos", "elsewhere"]).unwrap().bytes().unwrap();

    let words = |roots: &[&str]| load(roots).unwrap_err().to_string();
    let root = bench.space.root().display().to_string();
    let named = |text: String| text.replace(&root, "SPACE");
    insta::assert_snapshot!(named(words(&["photos"])), @"image `cat/1.png` is missing: it is not under SPACE/photos, and blob 5c1ee3394d433285a1c6dcf8929b569892e8a7dd52796886aced3f909f0f56d6 is not in the store");
    bench
        .space
        .write("elsewhere/cat/1.png", own_image("grey.png"));
    insta::assert_snapshot!(named(words(&["elsewhere"])), @"image `cat/1.png` has changed: SPACE/elsewhere/cat/1.png has different content, and blob 5c1ee3394d433285a1c6dcf8929b569892e8a7dd52796886aced3f909f0f56d6 is not in the store");
    assert!(
        matches!(load(&[]), Err(TaskError::Lost { .. })),
        "lost by a node: made again"
    );

    bench.store.write(&own_image("rgb.png")).unwrap();
    assert_eq!(load(&["elsewhere"]).unwrap().bytes().unwrap(), pixels);

    let cut = &own_image("420.jpg")[..900];
    bench.space.write("broken/dog/z.jpg", cut);
    let folder = bench.folder(&json!({}), "broken");
    let broken = bench.dataset(json!({}), &[("folder", vec![folder])]);
    let roots = vec![bench.space.path("broken")];
    let error = bench
        .load(&input(broken, &[], roots), Some(target))
        .unwrap_err();
    insta::assert_snapshot!(error.to_string(), @"image `dog/z.jpg` is cut short");
}

#[test]
fn joined_datasets_keep_their_parts_apart() {
    let bench = Bench::new();
    let draw = |domain: &str, classes: &[&str]| {
        let mut with = json!({ "builtin": "mini-rib", "domain": domain, "images": 20 });
        if !classes.is_empty() {
            with["classes"] = classes.into();
        }
        bench.dataset(with, &[])
    };
    let join = |parts: Vec<TaskInput>| bench.run("concat", json!({}), &[("parts", parts)]);
    let fog = input(
        draw("c", &[]),
        &[("corruption", "fog"), ("severity", "1")],
        vec![],
    );
    let snow = input(
        draw("a", &[]),
        &[("corruption", "snow"), ("severity", "1")],
        vec![],
    );
    let both = expect_dataset(join(vec![fog.clone(), snow]).unwrap());
    let set = bench.load(&input(both, &[], vec![]), None).unwrap();
    let names: Vec<&str> = set.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!((names, set.len()), (vec!["fog/1", "snow/1"], 40));
    assert_eq!(set.parts[1].range, 20..40);

    let plain = || input(draw("r", &[]), &[], vec![]);
    let same = expect_dataset(join(vec![plain(), plain()]).unwrap());
    let labels: Vec<_> = same
        .parts
        .iter()
        .map(|part| part.axes["part"].clone())
        .collect();
    assert_eq!(labels, ["1", "2"]);

    let few = |names: &[&str]| input(draw("r", names), &[("test", "r")], vec![]);
    let words = |parts| join(parts).unwrap_err().to_string();
    insta::assert_snapshot!(words(vec![plain(), few(&["car", "key"])]), @"the classes of [test=r] differ from those of the first dataset: 2 instead of 10");
    insta::assert_snapshot!(words(vec![few(&["car", "cup"]), few(&["car", "key"])]), @"the classes of [test=r] differ from those of the first dataset: label 1 is `key` instead of `cup`");
}

#[test]
fn wrong_datasets_are_reported_at_load_time() {
    let space = TestSpace::new();
    let problems = |body: &str| {
        let file = space.write(
            "bad.yaml",
            format!("ribflow: 1\nname: bad\nstages:\n{body}"),
        );
        let registry = registry();
        let outcome = ribflow::workflow::load(&file, &LoadOptions::default(), registry.kinds());
        let Err(problems) = outcome else {
            return "fine".to_string();
        };
        let lines = problems.0.iter().map(|problem| {
            let hint = problem.hint.as_deref().unwrap_or("-");
            format!(
                "{}:{} {} ({hint})",
                problem.line, problem.column, problem.message
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let images = |with: &str| problems(&format!("  images: {{ use: dataset, with: {with} }}\n"));
    let said: Vec<String> = [
        "{}",
        "{ builtin: mini-rib }",
        "{ builtin: mini-rip, domain: r }",
        "{ builtin: mini-rib, domain: skecth }",
        "{ builtin: mini-rib, domain: r, split: val }",
        "{ builtin: mini-rib, domain: r, images: 0 }",
        "{ builtin: mini-rib, domain: r, classes: [car, kee, car] }",
        "{ builtin: mini-rib, domain: r, folder: data }",
        "{ folder: data, split: test, images: 5, seed: 3 }",
        "{ folder: data, limit: 0, classes: [] }",
        "{ folder: data, subset: { count: 5, share: 0.5 } }",
        "{ folder: data, subset: { share: 1.5 } }",
        "{ folder: data, subset: { portion: 1.5 } }",
    ]
    .iter()
    .map(|with| format!("{with}\n{}", images(with)))
    .collect();
    insta::assert_snapshot!(said.join("\n\n"));
}

/// The rendered bytes are a promise: they are the same on every machine. Whoever changes them on
/// purpose raises the version of the kind and this digest.
#[test]
fn golden_pixels() {
    let mut hasher = blake3::Hasher::new();
    for collection in Collection::ALL {
        for split in [Split::Train, Split::Test] {
            hasher.update(&mini_rib::render(collection, split, 50, 7).bytes().unwrap());
        }
    }
    insta::assert_snapshot!(Digest::finish(&hasher).to_hex(), @"01e9f341a3820363600fb1fadd4a05f5e8e93ed589e327c6b8aed83cc0325198");
}
