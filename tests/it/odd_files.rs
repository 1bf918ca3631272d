//! Files that other tools read and a strict reader would refuse: pictures without their ends,
//! stray names, names of classes in two forms, arrays of narrow types, names with dots.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use ribflow::ml::data::decode::decode;

use crate::space::TestSpace;

fn images() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images")
}

/// Whether `bytes` give the picture `whole`; `None` where they are refused.
fn same(bytes: &[u8], whole: &[u8]) -> Option<bool> {
    let whole = decode(whole).unwrap();
    Some(decode(bytes).ok()?.pixels == whole.pixels)
}

#[test]
fn a_png_needs_nothing_behind_its_pixels() {
    for name in [
        "rgb.png",
        "palette.png",
        "grey16.png",
        "bilevel.png",
        "rgba16.png",
    ] {
        let whole = fs::read(images().join(name)).unwrap();
        let at = whole.len();
        // The end chunk, the checksum of the pixels, the sum of the pixels: Pillow 13 needs none.
        for cut in [1, 5, 12, 13, 16, 17, 20] {
            assert_eq!(
                same(&whole[..at - cut], &whole),
                Some(true),
                "{name} less {cut}"
            );
        }
        assert_eq!(same(&whole[..at / 2], &whole), None, "half of {name}");
    }
}

#[test]
fn a_jpeg_may_end_in_padding() {
    for name in ["420.jpg", "444.jpg", "grey.jpg", "cmyk.jpg"] {
        let whole = fs::read(images().join(name)).unwrap();
        let bare = &whole[..whole.len() - 2];
        // As Pillow 13: the padding gives the last bits, and no end of the image is needed.
        for zeros in [64, 70_000] {
            let padded = [bare, &vec![0; zeros]].concat();
            assert_eq!(
                same(&padded, &whole),
                Some(true),
                "{name} and {zeros} zeros"
            );
        }
        assert_eq!(same(bare, &whole), None, "{name} without an end");
        assert_eq!(
            same(&whole[..whole.len() / 2], &whole),
            None,
            "half of {name}"
        );
    }
    // Of several scans any may be missing.
    let whole = fs::read(images().join("progressive.jpg")).unwrap();
    let padded = [&whole[..whole.len() - 2], &[0; 64]].concat();
    assert_eq!(same(&padded, &whole), None);
}

/// A scan of a few bytes takes the time of the whole image: libjpeg-turbo's own limit for untrusted files is
/// 500 of them.
#[test]
fn a_jpeg_of_endless_scans_is_refused() {
    let whole = fs::read(images().join("progressive.jpg")).unwrap();
    let scan = |pair: &[u8]| pair == [0xff, 0xda];
    let begin = whole.windows(2).position(scan).unwrap();
    let length = usize::from(u16::from_be_bytes([whole[begin + 2], whole[begin + 3]]));
    let data = begin + 2 + length;
    let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7);
    let end = data + whole[data..].windows(2).position(is_marker).unwrap();
    let of_scans = |count: usize| {
        let scans = whole[begin..end].repeat(count);
        [&whole[..begin], &scans, &whole[end..]].concat()
    };
    assert!(decode(&of_scans(100)).is_ok());
    let refused = decode(&of_scans(600)).unwrap_err();
    assert!(
        refused.to_string().contains("more than 500 scans"),
        "{refused}"
    );
}

/// A folder of images with the classes `names`.
fn folder(space: &TestSpace, names: &[&str]) {
    for name in names {
        let picture = fs::read(images().join("rgb.png")).unwrap();
        fs::create_dir_all(space.path(&format!("photos/{name}"))).unwrap();
        space.write(&format!("photos/{name}/one.png"), picture);
    }
}

#[test]
fn stray_files_of_any_name_are_passed_over() {
    let space = TestSpace::new();
    folder(&space, &["dog", "cat"]);
    for place in ["photos", "photos/dog"] {
        let stray = space.path(place).join(OsStr::from_bytes(b"caf\xe9.txt"));
        // Not every file system has such names.
        if fs::write(stray, "notes").is_err() {
            return;
        }
    }
    space.write(
        "stray.yaml",
        "ribflow: 1\nname: stray\nstages:\n  photos:\n    use: dataset\n    with: { folder: photos }\n",
    );
    space.run(&["run", "stray.yaml"]).ok();
    // A picture counts, and its name can not be written down.
    let picture = space
        .path("photos/dog")
        .join(OsStr::from_bytes(b"caf\xe9.png"));
    fs::write(picture, "picture").unwrap();
    let refused = space.run(&["run", "stray.yaml"]).expect(1).stderr;
    assert!(refused.contains("caf"), "{refused}");
}

#[test]
fn a_class_is_found_in_either_form_of_its_name() {
    for (here, wanted) in [("caf\u{e9}", "cafe\u{301}"), ("cafe\u{301}", "caf\u{e9}")] {
        let space = TestSpace::new();
        folder(&space, &[here, "dog"]);
        space.write(
            "forms.yaml",
            format!(
                "ribflow: 1\nname: forms\nstages:\n  photos:\n    use: dataset\n    with: {{ folder: photos, classes: [{wanted}] }}\n"
            ),
        );
        space.run(&["run", "forms.yaml"]).ok();
    }
}

#[test]
fn arrays_have_features_of_any_fractions_and_labels_of_any_integers() {
    let points = Tensor::new(&[[1.0f32, 0.5], [2.0, 0.25], [4.0, 0.0]], &Device::Cpu).unwrap();
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        for labels in [DType::U8, DType::I16, DType::I32, DType::U32, DType::I64] {
            let space = TestSpace::new();
            let counted = Tensor::new(&[0u32, 1, 1], &Device::Cpu).unwrap();
            let arrays = [
                ("features".to_string(), points.to_dtype(dtype).unwrap()),
                ("labels".to_string(), counted.to_dtype(labels).unwrap()),
            ];
            let arrays = arrays.into_iter().collect();
            candle_core::safetensors::save(&arrays, space.path("a.safetensors")).unwrap();
            space.write(
                "arrays.yaml",
                "ribflow: 1\nname: arrays\nstages:\n  points:\n    use: arrays\n    with: { path: a.safetensors, classes: [a, b] }\n",
            );
            space.run(&["run", "arrays.yaml"]).ok();
            space
                .run(&["get", "arrays.yaml", "points", "-o", "got"])
                .ok();
            let got =
                candle_core::safetensors::load(space.path("got/tensors.safetensors"), &Device::Cpu)
                    .unwrap();
            let values = got["features"].to_dtype(DType::F32).unwrap();
            assert_eq!(
                values.to_vec2::<f32>().unwrap(),
                points.to_vec2::<f32>().unwrap()
            );
            assert_eq!(got["labels"].to_vec1::<u32>().unwrap(), [0, 1, 1]);
        }
    }
}

#[test]
fn outputs_and_inputs_of_commands_have_names_with_dots() {
    let space = TestSpace::new();
    space.write(
        "dots.yaml",
        "ribflow: 1
name: dots
stages:
  make:
    use: command
    with: { run: 'echo hello > out/model.pkl', outputs: [model.pkl] }
  use:
    use: command
    needs: { model.pkl: make.model.pkl }
    with: { run: 'cp model.pkl out/copy-1.txt', outputs: [copy-1.txt] }
",
    );
    space.run(&["run", "dots.yaml"]).ok();
    space
        .run(&["get", "dots.yaml", "use.copy-1.txt", "-o", "got.txt"])
        .ok();
    assert_eq!(space.read("got.txt"), "hello\n");
}

#[test]
fn a_line_that_no_shell_takes_is_refused_before_it_runs() {
    let space = TestSpace::new();
    let write = |length: usize| {
        let line = format!("true {}", "x".repeat(length - 5));
        space.write(
            "long.yaml",
            format!(
                "ribflow: 1\nname: long\nstages:\n  long:\n    use: command\n    with: {{ outputs: [a], run: '{line}' }}\n"
            ),
        );
    };
    write(128 * 1024);
    let refused = space.run(&["validate", "long.yaml"]).expect(2).stderr;
    assert!(
        refused.contains("131072 bytes") && refused.contains("`files`"),
        "{refused}"
    );
    write(128 * 1024 - 1);
    space.run(&["validate", "long.yaml"]).ok();
}

#[test]
fn classes_of_a_checkpoint_come_from_a_file_or_a_dataset() {
    let space = TestSpace::new();
    let _ = crate::fixtures::small_checkpoint(&space);
    let write = |needs: &str, with: &str| {
        let text = format!(
            "ribflow: 1
name: own
stages:
  images:
    use: dataset
    with: {{ builtin: mini-rib, domain: v2, images: 20 }}
  model:
    use: checkpoint
    needs: {{ {needs} }}
    with: {{ arch: vit_mini, path: made/tensors.safetensors{with} }}
  accuracy:
    use: evaluate
    needs: {{ model: model, data: images }}
"
        );
        space.write("own.yaml", text);
    };
    let none = || {
        write("", "");
        space.run(&["run", "own.yaml"]).expect(1).stderr
    };
    let refused = none();
    assert!(refused.contains("`classes` of its checkpoint"), "{refused}");
    write("classes: images", "");
    space.run(&["run", "own.yaml"]).ok();
    let config: serde_json::Value = serde_json::from_str(&space.read("made/config.json")).unwrap();
    let names = config["classes"].as_array().unwrap();
    let names: Vec<&str> = names.iter().map(|name| name.as_str().unwrap()).collect();
    space.write("names.txt", names.join("\n"));
    write("", ", classes: names.txt");
    space.run(&["run", "own.yaml"]).ok();
    space.write("names.txt", "one\ntwo\n");
    let refused = space.run(&["run", "own.yaml"]).expect(1).stderr;
    assert!(refused.contains("`classes` names 2"), "{refused}");
    write("classes: images", ", classes: names.txt");
    let refused = space.run(&["validate", "own.yaml"]).expect(2).stderr;
    assert!(
        refused.contains("own.yaml:10") && refused.contains("also given under `needs`"),
        "{refused}"
    );
}

#[test]
fn files_of_commands_may_be_folders_have_names_and_stay_out_of_bundles() {
    let space = TestSpace::new();
    for (path, content) in [
        ("files/one/config.txt", "one"),
        ("files/two/config.txt", "two"),
        (
            "files/tools/run.sh",
            "#!/bin/sh\ncat config.txt other.txt tools/deep/more.txt private.csv",
        ),
        ("files/tools/deep/more.txt", "three"),
        ("files/private.csv", "four"),
    ] {
        space.write(path, content);
    }
    let write = |files: &str| {
        space.write(
            "files/files.yaml",
            format!(
                "ribflow: 1
name: files
stages:
  all:
    use: command
    with:
      run: ./tools/run.sh > out/all.txt
      outputs: [all.txt]
      files: {files}
"
            ),
        );
    };
    write("[one/config.txt, two/config.txt]");
    let refused = space
        .run(&["validate", "files/files.yaml"])
        .expect(2)
        .stderr;
    assert!(refused.contains("name: …"), "{refused}");
    write(
        "[one/config.txt, { path: two/config.txt, name: other.txt }, tools/, { path: private.csv, share: false }]",
    );
    space.run(&["run", "files/files.yaml"]).ok();
    space
        .run(&["get", "files/files.yaml", "all.all.txt", "-o", "got.txt"])
        .ok();
    assert_eq!(space.read("got.txt"), "onetwothreefour");
    // What is in a folder counts.
    space.write("files/tools/deep/more.txt", "five");
    let again = space.run(&["run", "files/files.yaml", "--json"]).expect(0);
    assert_eq!(again.json_lines().pop().unwrap()["ran"], 1);
    space.run(&["key", "generate", "--name", "lab"]).ok();
    space
        .run(&["export", "bundle", "files/files.yaml", "-o", "files.bundle"])
        .ok();
    space.run(&["import", "files.bundle", "-o", "brought"]).ok();
    assert_eq!(space.read("brought/tools/deep/more.txt"), "five");
    assert!(space.path("brought/two/config.txt").is_file());
    assert!(!space.path("brought/private.csv").exists());
    // A command that came from elsewhere needs permission, whatever its files are.
    space.write("brought/private.csv", "four");
    let refused = space
        .run(&["run", "brought/files.yaml", "--force", "all"])
        .expect(1);
    assert!(refused.to_string().contains("trust allow"), "{refused}");
}

/// Each level has two links to the next one: 2^40 paths, of images and of files of a command.
#[test]
fn links_to_links_to_folders_are_bounded() {
    let space = TestSpace::new();
    for level in 0..40 {
        let folder = space.path(&format!("data/cat/{level}"));
        fs::create_dir_all(&folder).unwrap();
        for name in ["a", "b"] {
            let next = format!("../{}", level + 1);
            std::os::unix::fs::symlink(next, folder.join(name)).unwrap();
        }
    }
    space.write(
        "data/cat/40/x.png",
        fs::read(images().join("rgb.png")).unwrap(),
    );
    space.write(
        "images.yaml",
        "ribflow: 1\nname: w\nstages:\n  a: { use: dataset, with: { folder: data } }\n",
    );
    space.write(
        "files.yaml",
        "ribflow: 1\nname: w\nstages:\n  a: { use: command, with: { run: \"echo > out/x\", \
         files: [data], outputs: [x] } }\n",
    );
    for file in ["images.yaml", "files.yaml"] {
        let told = space.run(&["run", file]).expect(1);
        let said = format!("{}{}", told.stdout, told.stderr);
        assert!(
            said.contains("too many folders that links lead to"),
            "{said}"
        );
    }
    space.run(&["key", "generate", "--name", "me"]).ok();
    let told = space.run(&["export", "bundle", "files.yaml", "-o", "w.ribbundle"]);
    assert!(told.expect(1).stderr.contains("more than 100000 files"));
}
