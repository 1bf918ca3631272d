//! Tensors and artifacts as ordinary files.

use std::io::Cursor;

use proptest::prelude::*;
use ribflow::store::artifact::{Dataset, INLINE_BYTES, ImageFile, Images, Part, Table, Tensors};
use ribflow::store::{ExportError, export, tensorfile, tensors};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::json;

use super::*;

type Owned = (String, &'static str, Vec<usize>, Vec<u8>);

/// A few tensors of several dtypes and sizes, some small enough to be inline.
fn some_tensors() -> impl Strategy<Value = Vec<Owned>> {
    let dtype = prop::sample::select(vec![("F32", 4), ("U8", 1), ("I64", 8), ("BF16", 2)]);
    let one = (dtype, prop::collection::vec(0usize..12, 0..3), any::<u8>());
    prop::collection::vec(one, 0..8).prop_map(|tensors| {
        let named = tensors.into_iter().enumerate();
        named
            .map(|(index, ((dtype, size), shape, seed))| {
                let count: usize = shape.iter().product();
                let bytes = (0..count * size).map(|at| (at as u8).wrapping_mul(31) ^ seed);
                (format!("layer.{index}"), dtype, shape, bytes.collect())
            })
            .collect()
    })
}

fn dtype(name: &str) -> Dtype {
    serde_json::from_value(json!(name)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn tensors_survive_the_store_and_a_safetensors_file(owned in some_tensors(), reverse in any::<bool>()) {
        let (folder, store) = new_store();
        let saved = tensors::save(&store, json!({ "arch": "tiny" }), &owned).unwrap();
        for (name, _, _, bytes) in &owned {
            let entry = &saved.tensors[name];
            prop_assert_eq!(&tensors::bytes(&store, entry).unwrap(), bytes);
            prop_assert_eq!(entry.inline.is_some(), bytes.len() <= INLINE_BYTES);
            prop_assert_eq!((entry.digest, entry.bytes()), (Digest::of(bytes), bytes.len() as u64));
        }
        // The order they came in leaves no trace.
        let mut shuffled = owned.clone();
        if reverse {
            shuffled.reverse();
        }
        let again = tensors::save(&store, json!({ "arch": "tiny" }), &shuffled).unwrap();
        prop_assert_eq!(Artifact::Tensors(saved.clone()).to_bytes(), Artifact::Tensors(again).to_bytes());

        // Byte for byte what the format's own library writes.
        let path = folder.path().join("model.safetensors");
        tensorfile::export(&store, &saved, &path).unwrap();
        let views = owned.iter().map(|(name, kind, shape, bytes)| {
            (name.as_str(), TensorView::new(dtype(kind), shape.clone(), bytes).unwrap())
        });
        prop_assert_eq!(fs::read(&path).unwrap(), safetensors::serialize(views, None).unwrap());
        let imported = tensorfile::import(&store, json!({ "arch": "tiny" }), &path).unwrap();
        prop_assert_eq!(imported, saved);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (_folder, store) = new_store();
    let save = |tensors: &[Owned]| {
        tensors::save(&store, json!({}), tensors)
            .unwrap_err()
            .to_string()
    };
    let tensor = |name: &str, dtype, shape: &[usize], bytes: usize| {
        (name.to_string(), dtype, shape.to_vec(), vec![0; bytes])
    };
    assert_eq!(
        save(&[tensor("a", "F32", &[2], 7)]),
        "tensor `a`: 7 bytes do not match F32 [2]"
    );
    assert_eq!(
        save(&[tensor("a", "F31", &[2], 8)]),
        "tensor `a`: F31 [2] is not a known tensor type"
    );
    let huge = save(&[tensor("a", "F32", &[usize::MAX, 9], 8)]);
    assert!(huge.contains("not a known tensor type"), "{huge}");
    let twice = [tensor("a", "U8", &[1], 1), tensor("a", "U8", &[1], 1)];
    assert_eq!(save(&twice), "tensor `a`: duplicate name");
}

#[test]
fn a_file_that_is_no_safetensors_is_refused() {
    let (folder, store) = new_store();
    let path = folder.path().join("model.safetensors");
    let bytes = vec![1u8; 40];
    let view = TensorView::new(Dtype::F32, vec![10], &bytes).unwrap();
    let good = safetensors::serialize([("a", view)], None).unwrap();
    let mut longer = good.clone();
    longer.push(0);
    let mut lying = good.clone();
    lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    for bad in [
        &good[..good.len() - 1],
        &longer,
        &lying,
        &good[..20],
        b"",
        b"pickle",
    ] {
        fs::write(&path, bad).unwrap();
        let error = tensorfile::import(&store, json!({}), &path).unwrap_err();
        assert!(matches!(error, BlobError::Io { .. }), "{error}");
    }
}

#[test]
fn models_share_equal_tensors() {
    let (_folder, store) = new_store();
    let backbone = ("backbone".to_string(), "F32", vec![100], vec![1; 400]);
    let head = |fill: u8| ("head".to_string(), "F32", vec![100], vec![fill; 400]);
    let model = |fill| tensors::save(&store, json!({}), &[backbone.clone(), head(fill)]).unwrap();
    let models = [model(2), model(3)];
    assert_eq!(models[0].tensors["backbone"], models[1].tensors["backbone"]);
    let objects = walk(&store.root().join("objects"));
    assert_eq!(objects.len(), 3);
}

/// Every file under `folder`, by relative path.
fn walk(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        match path.is_dir() {
            true => found.extend(
                walk(&path)
                    .into_iter()
                    .map(|(rest, bytes)| (format!("{name}/{rest}"), bytes)),
            ),
            false => drop(found.insert(name, fs::read(&path).unwrap())),
        }
    }
    found
}

fn exported(
    store: &Store,
    artifact: &Artifact,
    roots: &[PathBuf],
) -> Result<BTreeMap<String, Vec<u8>>, ExportError> {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("new");
    export(store, artifact, roots, &target)?;
    Ok(walk(&target))
}

#[test]
fn files_come_out_as_they_went_in() {
    let (_folder, store) = new_store();
    let record = record(&store, "a", &[b"one", b"two"], 1.0);
    let artifact = store.artifact(&record.ports["files"]).unwrap();
    let out = exported(&store, &artifact, &[]).unwrap();
    assert_eq!(
        out,
        BTreeMap::from([
            ("file-0".to_string(), b"one".to_vec()),
            ("file-1".to_string(), b"two".to_vec())
        ])
    );

    // The copy is the user's to change; the store's own is not touched by it.
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("out");
    export(&store, &artifact, &[], &target).unwrap();
    fs::write(target.join("file-0"), "changed").unwrap();
    assert_eq!(store.read(&Digest::of(b"one")).unwrap(), b"one");
    // What is there is not overwritten.
    assert!(matches!(
        export(&store, &artifact, &[], &target),
        Err(ExportError::Exists(_))
    ));
}

#[test]
fn nothing_is_written_outside_the_target() {
    let (_folder, store) = new_store();
    let blob = store.write(b"x").unwrap();
    for path in ["../up", "/abs", "a//b", "a/../../b", "./a", "a/"] {
        let files = [path, "b"].map(|path| (path.to_string(), blob.clone()));
        let mut tree: Files = files.into_iter().collect();
        let error = exported(&store, &Artifact::Files(tree.clone()), &[]).unwrap_err();
        assert!(matches!(error, ExportError::Path(_)), "{path}");
        tree.files.remove(path);
        tree.empty_folders.insert(path.to_string());
        let error = exported(&store, &Artifact::Files(tree), &[]).unwrap_err();
        assert!(matches!(error, ExportError::Path(_)), "{path}");
    }
}

fn encoded(files: Vec<ImageFile>) -> Artifact {
    let part = Part {
        axes: BTreeMap::new(),
        images: Images::Encoded { files, border: 0 },
    };
    Artifact::Dataset(Dataset {
        clause: None,
        classes: vec!["cat".to_string(), "../dog".to_string()],
        parts: vec![part],
    })
}

#[test]
fn encoded_images_come_from_their_folder_or_the_store() {
    let (folder, store) = new_store();
    let image = |path: &str, content: &[u8], label| ImageFile {
        path: path.to_string(),
        blob: ribflow::store::Blob {
            digest: Digest::of(content),
            bytes: content.len() as u64,
        },
        label,
    };
    let dataset = encoded(vec![
        image("cat/a.png", b"a", 0),
        image("elsewhere/b.png", b"b", 0),
        image("c.png", b"c", 1),
    ]);
    fs::create_dir(folder.path().join("cat")).unwrap();
    fs::write(folder.path().join("cat/a.png"), b"a").unwrap();
    store.write(b"b").unwrap();
    store.write(b"c").unwrap();
    let roots = [folder.path().to_path_buf()];
    let names: Vec<String> = exported(&store, &dataset, &roots)
        .unwrap()
        .into_keys()
        .collect();
    assert_eq!(names, ["cat/a.png", "cat/elsewhere_b.png", "class-1/c.png"]);

    fs::write(folder.path().join("cat/a.png"), b"another").unwrap();
    assert!(matches!(
        exported(&store, &dataset, &roots),
        Err(ExportError::Changed(..))
    ));
    assert!(matches!(
        exported(&store, &dataset, &[]),
        Err(ExportError::Blob(BlobError::Missing(_)))
    ));
}

#[test]
fn packed_images_come_out_as_png_with_the_same_pixels() {
    let (_folder, store) = new_store();
    let pixels: Vec<u8> = (0..2 * 3 * 5 * 3).map(|at| (at * 7) as u8).collect();
    let part = |axis: &str| Part {
        axes: BTreeMap::from([("domain".to_string(), axis.to_string())]),
        images: Images::Packed {
            pixels: store.write(&pixels).unwrap(),
            height: 3,
            width: 5,
            labels: vec![1, 0],
        },
    };
    let dataset = Dataset {
        clause: None,
        classes: vec!["cat".to_string(), "dog".to_string()],
        parts: vec![part("v2"), part("a")],
    };
    let out = exported(&store, &Artifact::Dataset(dataset), &[]).unwrap();
    let names: Vec<&String> = out.keys().collect();
    assert_eq!(
        names,
        [
            "domain=a/cat/000001.png",
            "domain=a/dog/000000.png",
            "domain=v2/cat/000001.png",
            "domain=v2/dog/000000.png"
        ]
    );
    let decoder = png::Decoder::new(Cursor::new(&out["domain=v2/dog/000000.png"]));
    let mut reader = decoder.read_info().unwrap();
    assert_eq!(reader.info().size(), (5, 3));
    let mut found = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut found).unwrap();
    assert_eq!(found, pixels[..45]);
}

#[test]
fn models_and_numbers_come_out_as_other_tools_read_them() {
    let (_folder, store) = new_store();
    let tensor = (
        "w".to_string(),
        "F32",
        vec![2],
        vec![0, 0, 128, 63, 0, 0, 0, 64],
    );
    let model: Tensors = tensors::save(&store, json!({ "arch": "tiny" }), &[tensor]).unwrap();
    let out = exported(&store, &Artifact::Tensors(model), &[]).unwrap();
    let read = SafeTensors::deserialize(&out["tensors.safetensors"]).unwrap();
    assert_eq!(read.tensor("w").unwrap().shape(), [2]);
    assert_eq!(out["config.json"], b"{\n  \"arch\": \"tiny\"\n}\n");

    let table = Table {
        columns: vec!["name".to_string(), "a, b".to_string()],
        rows: vec![
            vec![json!("says \"hi\""), json!(1.5)],
            vec![json!(null), json!([1])],
        ],
    };
    let out = exported(&store, &Artifact::Table(table), &[]).unwrap();
    assert_eq!(
        String::from_utf8(out["table.csv"].clone()).unwrap(),
        "name,\"a, b\"\n\"says \"\"hi\"\"\",1.5\n,[1]\n"
    );

    let mut metric = Metric::new(71.5, "percent");
    metric.n = Some(200);
    metric.interval = Some([70.0, 73.0]);
    let metrics = Metrics {
        values: BTreeMap::from([("top1".to_string(), metric)]),
    };
    let out = exported(&store, &Artifact::Metrics(metrics), &[]).unwrap();
    assert_eq!(
        String::from_utf8(out["metrics.csv"].clone()).unwrap(),
        "metric,value,unit,n,chance,low,high\ntop1,71.5,percent,200,,70.0,73.0\n"
    );
}
