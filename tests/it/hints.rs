//! What the program says where something else was meant: networks that are not here, results of
//! other values, files of a command, classes that compete.

use candle_core::{DType, Device, Tensor};
use ribflow::ml::models::checkpoint::fit;
use ribflow::ml::models::{Config, Model};
use serde_json::Value;

use crate::space::TestSpace;

fn errors(space: &TestSpace, kind: &str, with: &str) -> Vec<(String, Value)> {
    let text = format!(
        "ribflow: 1\nname: models\nstages:\n  pool: {{ use: dataset, with: {{ builtin: mini-rib, \
         domain: r }} }}\n  model: {{ use: {kind}, with: {{ {with} }} }}\n"
    );
    space.write("models.yaml", text);
    let outcome = space.run(&["validate", "models.yaml", "--json"]).expect(2);
    let errors = outcome.json()["errors"].take();
    let errors = errors.as_array().unwrap().iter();
    errors
        .map(|one| {
            let message = one["message"].as_str().unwrap();
            (message.to_string(), one["hint"].clone())
        })
        .collect()
}

/// Neither the repository's name nor the same name as `arch` leads anywhere, and both say so.
#[test]
fn an_unsupported_network_is_reported_with_what_it_lacks() {
    let space = TestSpace::new();
    let hint = "plain vision transformers and ResNets are supported: `ribflow models` lists them";
    for (name, lacks) in [
        ("vit_small_patch14_dinov2.lvd142m", "layer scale"),
        (
            "vit_base_patch14_reg4_dinov2.lvd142m",
            "layer scale and register tokens",
        ),
        (
            "deit3_small_patch16_224.fb_in1k",
            "layer scale, and positions without one for the class token",
        ),
        (
            "convnext_tiny.fb_in1k",
            "depthwise convolutions and layer scale",
        ),
    ] {
        let (short, _) = name.split_once('.').unwrap();
        let wanted = |name: &str| format!("`{name}` is not supported: its network has {lacks}");
        let hub = errors(&space, "checkpoint", &format!("hub: timm/{name}"));
        assert!(hub[0].0.starts_with(&wanted(name)), "{hub:?}");
        assert_eq!(hub[0].1, hint);
        let arch = errors(&space, "checkpoint", &format!("arch: {short}, path: x.pth"));
        assert!(arch[0].0.starts_with(&wanted(short)), "{arch:?}");
        assert_eq!(arch[0].1, hint);
        let outcome = space.run(&["models", short]).expect(2);
        assert!(outcome.stderr.contains(&wanted(short)), "{outcome}");
    }
}

/// The tensors of a file say it too, whatever `arch` says.
#[test]
fn tensors_of_a_network_that_is_not_supported_say_what_it_has() {
    let config = || Config::named("vit_mini", &["a".to_string()]).unwrap();
    let model = Model::new(config(), 1, &Device::Cpu).unwrap();
    let mut found = model.into_tensors();
    for name in ["blocks.0.ls1.gamma", "blocks.0.ls2.gamma", "reg_token"] {
        let tensor = Tensor::zeros(64, DType::F32, &Device::Cpu).unwrap();
        found.insert(name.to_string(), tensor);
    }
    let told = fit(config(), found).expect_err("it has more").to_string();
    let hint = "(`blocks.0.ls1.gamma` belongs to a network with layer scale and register tokens, \
                which is not supported)";
    assert!(told.ends_with(hint), "{told}");
}

#[test]
fn the_beginning_of_a_name_suggests_the_whole() {
    let space = TestSpace::new();
    for (typed, meant) in [
        ("vit_tiny", "vit_tiny_patch16_224"),
        ("vit_base_patch32", "vit_base_patch32_224"),
        ("vit-base-patch16-224", "vit_base_patch16_224"),
        ("resnet5", "resnet50"),
    ] {
        let found = errors(&space, "checkpoint", &format!("arch: {typed}, path: x.pth"));
        assert_eq!(found[0].0, format!("there is no architecture `{typed}`"));
        assert_eq!(found[0].1, format!("did you mean `{meant}`?"));
    }
    // DeiT of the first generation is a plain ViT.
    let found = errors(
        &space,
        "checkpoint",
        "hub: timm/deit_tiny_patch16_224.fb_in1k",
    );
    let hint =
        "it has the same network as `vit_tiny_patch16_224`: use `arch: vit_tiny_patch16_224`";
    assert_eq!(found[0].1, hint);
}

/// A classifier has another name in another family of networks, but that is not what is wrong.
#[test]
fn a_wrong_architecture_is_reported_before_its_classes() {
    let space = TestSpace::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/checkpoints/resnet.pth");
    let failure = |with: &str| {
        let text = format!(
            "ribflow: 1\nname: wrong\nstages:\n  model: {{ use: checkpoint, with: {{ path: \"{}\", {with} }} }}\n",
            file
        );
        space.write("wrong.yaml", text);
        space.run(&["run", "wrong.yaml"]).expect(1).stderr
    };
    for classes in ["[a, b]", "[a, b, c]"] {
        let told = failure(&format!("arch: vit_mini, classes: {classes}"));
        assert!(
            told.contains("the checkpoint is not one of `vit_mini`"),
            "{told}"
        );
        assert!(!told.contains("`classes` names"), "{told}");
    }
}

const POOL: &str = "\
ribflow: 1
name: pools
params: { images: 20 }
stages:
  pool:
    use: dataset
    with: { builtin: mini-rib, domain: r, images: '${params.images}' }
profiles:
  few: { params: { images: 10 } }
";

#[test]
fn runs_with_other_values_are_reported() {
    let space = TestSpace::new();
    space.write("pools.yaml", POOL);
    space
        .run(&["run", "pools.yaml", "--set", "params.images=30", "-q"])
        .ok();
    let status = space.run(&["status", "pools.yaml"]).expect(0).stdout;
    let (_, end) = status
        .split_once("\n\n")
        .unwrap()
        .1
        .split_once("\n\n")
        .unwrap();
    let (first, second) = end.split_once('\n').unwrap();
    assert_eq!(
        first,
        "The workflow has not been run with these profiles and overrides."
    );
    assert!(second.starts_with("Run "), "{status}");
    assert!(
        second.ends_with(": it ran with `--set params.images=30`.\n"),
        "{status}"
    );
    let get = space
        .run(&["get", "pools.yaml", "pool", "-o", "x"])
        .expect(1)
        .stderr;
    let hint = "hint: the last run, which has one, was with `--set params.images=30`: use the same";
    assert!(get.contains(hint), "{get}");

    let url = format!("file://{}", space.path("there").display());
    std::fs::create_dir(space.path("there")).unwrap();
    let note =
        "the last run was with `--set params.images=30`; use the same options to find its results";
    space.run(&["key", "generate", "--name", "here"]).ok();
    let pushed = space
        .run(&["push", "pools.yaml", "--remote", &url])
        .expect(0)
        .stdout;
    assert!(
        pushed.ends_with(&format!("0 of 1 node have a result here\n{note}\n")),
        "{pushed}"
    );
    let values = "sources: { we: { what: us, precision: 0 } }\nvalues:\n  - { metric: pool.images, \
                  from: we, published: 20 }\n";
    space.write("published.yaml", values);
    let judged = space
        .run(&["verify", "pools.yaml", "--expect", "published.yaml"])
        .expect(4);
    assert!(
        judged.stderr.contains(&format!("note: {note}\n")),
        "{judged}"
    );

    // The own run counts, whatever ran after it.
    space.run(&["run", "pools.yaml", "-q"]).ok();
    space
        .run(&["run", "pools.yaml", "--profile", "few", "-q"])
        .ok();
    let status = space.run(&["status", "pools.yaml"]).expect(0).stdout;
    assert!(!status.contains("profile"), "{status}");
    let own = |line: &&str| line.starts_with("Run ");
    assert_eq!(status.lines().filter(own).count(), 1, "{status}");
}

#[test]
fn verify_without_published_numbers_tells_of_recomputing() {
    let space = TestSpace::new();
    space.write("pools.yaml", POOL);
    let told = space.run(&["verify", "pools.yaml"]).expect(2).stderr;
    assert!(
        told.contains("`--recompute 5%` needs no published values"),
        "{told}"
    );
}

/// The line names a file as the workflow's folder has it.
#[test]
fn a_hint_names_the_base_name_of_a_command_s_file() {
    let space = TestSpace::new();
    space.write("tools/count.sh", "echo 3\n");
    let file = |line: &str| {
        format!(
            "ribflow: 1\nname: files\nstages:\n  counted: {{ use: command, with: {{ run: '{line}', files: \
             [tools/count.sh], outputs: [n] }} }}\n"
        )
    };
    space.write("files.yaml", file("sh tools/count.sh > out/n"));
    let told = space.run(&["run", "files.yaml"]).expect(1).stderr;
    let hint = "hint: `tools/count.sh` of `files` is `count.sh` in the node's folder";
    assert!(told.contains(hint), "{told}");
    space.write("files.yaml", file("sh count.sh > out/n; false"));
    let told = space.run(&["run", "files.yaml"]).expect(1).stderr;
    assert!(!told.contains("hint:"), "{told}");
}

/// docs/kinds.md says where inputs are and which variables a line sees.
#[test]
fn a_line_finds_what_the_documentation_says() {
    let space = TestSpace::new();
    let file = "\
ribflow: 1
name: places
stages:
  prepare: { use: command, with: { run: 'echo a > out/prepared', outputs: [prepared] } }
  pool: { use: dataset, with: { builtin: mini-rib, domain: r, images: 10 } }
  seen:
    use: command
    needs: { prepared: prepare, images: pool, numbers: pool.summary }
    with:
      run: 'cat prepared/prepared; ls images numbers > out/list; env > out/variables'
      outputs: [list, variables]
";
    space.write("places.yaml", file);
    let mut command = space.command(&["run", "places.yaml", "-q"]);
    let outside = [
        ("USER", "u"),
        ("LOGNAME", "u"),
        ("CUDA_VISIBLE_DEVICES", "0"),
        ("SECRET", "s"),
    ];
    space.finish(command.envs(outside)).ok();
    space
        .run(&["get", "places.yaml", "seen.all", "-o", "seen"])
        .ok();
    let list = space.read("seen/list");
    for name in ["metrics.json", "metrics.csv", "boat"] {
        assert!(list.lines().any(|line| line == name), "{list}");
    }
    let page = include_str!("../../docs/kinds.md");
    let variables = space.read("seen/variables");
    // What bash itself sets.
    let own = ["PWD", "OLDPWD", "SHLVL", "_"];
    let names = variables
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0));
    let names: Vec<&str> = names.filter(|name| !own.contains(name)).collect();
    assert!(names.contains(&"CUDA_VISIBLE_DEVICES"), "{variables}");
    assert!(!names.contains(&"SECRET"), "{variables}");
    for name in names {
        assert!(
            page.contains(&format!("`{name}")),
            "{name} is not in docs/kinds.md"
        );
    }
}

#[test]
fn tables_of_evaluations_say_which_classes_compete() {
    let space = TestSpace::new();
    let file = |masks: &str| {
        format!(
            "\
ribflow: 1
name: masks
axes: {{ mask: {masks} }}
stages:
  pool: {{ use: dataset, with: {{ builtin: mini-rib, domain: r, images: 20 }} }}
  some: {{ use: dataset, with: {{ builtin: mini-rib, domain: r, classes: [boat, cup] }} }}
  model: {{ use: pretrain, needs: {{ data: pool }}, with: {{ arch: vit_mini, epochs: 1, batch: 20 }} }}
  accuracy:
    each: [mask]
    use: evaluate
    needs: {{ model: model, data: some }}
    with: {{ mask: '${{mask}}' }}
"
        )
    };
    let printed = |masks: &str| {
        space.write("masks.yaml", file(masks));
        space.run(&["run", "masks.yaml"]).expect(0).stdout
    };
    let dataset = "Only the dataset's classes compete for an image";
    let both = "With `mask: model` all of the model's classes compete for an image";
    let told = printed("[dataset]");
    assert!(told.contains(dataset) && !told.contains(both), "{told}");
    let told = printed("[dataset, model]");
    assert!(told.contains(both), "{told}");
    let told = printed("[model]");
    assert!(!told.contains("compete"), "{told}");
}

/// Names as other programs have them. One run reports all of them.
#[test]
fn names_of_other_programs_are_reported_together_with_the_ones_here() {
    let space = TestSpace::new();
    let text = "\
ribflow: 1
name: others
stages:
  pool: { use: dataset, with: { path: photos, num_images: 20 } }
  model:
    use: pretrain
    needs: { data: pool }
    with: { model: vit_mini, learning_rate: 0.1, batch_size: 8, num_epochs: 1, wd: 0 }
  mine: { use: checkpoint, with: { file: mine.safetensors, arch: vit_tiny_patch16_224 } }
  other: { use: dataset, with: { folder: photos } }
  measured: { use: evaluate, needs: { model: model, dataset: other } }
  score: { use: eval, needs: [model, pool] }
";
    space.write("others.yaml", text);
    let outcome = space.run(&["validate", "others.yaml"]).expect(2);
    for name in [
        "folder",
        "images",
        "arch",
        "lr",
        "batch",
        "epochs",
        "weight_decay",
        "data",
        "evaluate",
    ] {
        let hint = format!("did you mean `{name}`?");
        assert!(outcome.stderr.contains(&hint), "{hint}\n{outcome}");
    }
    // What is missing is there under another name.
    assert!(!outcome.stderr.contains("is missing"), "{outcome}");
    for hint in [
        "hint: `path` is a file on this machine",
        "hint: `needs: { model: STAGE, data: STAGE }` gives each input by its name",
    ] {
        assert!(outcome.stderr.contains(hint), "{hint}\n{outcome}");
    }
}

/// Inputs and outputs that only some parameters have: the hint names the parameter, and `kinds` lists
/// them.
#[test]
fn an_input_or_output_of_other_parameters_is_named_with_them() {
    let space = TestSpace::new();
    let text = "\
ribflow: 1
name: other
stages:
  pool: { use: dataset, with: { builtin: mini-rib, domain: rich, images: 20 } }
  start: { use: pretrain, needs: { data: pool }, with: { arch: vit_mini, epochs: 1 } }
  held: { use: evaluate, needs: { model: start, data: pool } }
  differ: { use: compare, needs: { a: held.predictions, b: held.classes, data: pool } }
  best: { use: select, needs: { models: start, scores: held, data: pool } }
  far: { use: ot, needs: { a: pool, b: pool }, with: { distance: frechet } }
  page: { use: command, needs: { far: far.pairs }, with: { run: ls, outputs: [x] } }
";
    space.write("other.yaml", text);
    let outcome = space.run(&["validate", "other.yaml"]).expect(2);
    for line in [
        "`data` is an input only with `show` above 0",
        "`data` is an input only with `method: greedy_soup`",
        "`predictions` is an output only with `predictions: true`",
        "`pairs` is an output only with `distance: otdd`",
    ] {
        assert!(outcome.stderr.contains(line), "{line}\n{outcome}");
    }
    let page = space.run(&["kinds", "select"]).expect(0).stdout;
    let line = "data    a dataset, with `method: greedy_soup`";
    assert!(page.contains(line), "{page}");
}

/// Options that no run of the node can have, because of the model that the file names.
#[test]
fn options_that_do_not_fit_the_model_are_refused_before_anything_runs() {
    let space = TestSpace::new();
    let text = "\
ribflow: 1
name: misfit
stages:
  pool: { use: dataset, with: { builtin: mini-rib, domain: rich, images: 20 } }
  vit: { use: pretrain, needs: { data: pool }, with: { arch: vit_mini, epochs: 1 } }
  resnet: { use: pretrain, needs: { data: pool }, with: { arch: resnet_mini, epochs: 1 } }
  rank: { use: finetune, needs: { init: vit, data: pool }, with: { method: lora, rank: 4000 } }
  kind: { use: finetune, needs: { init: resnet, data: pool }, with: { method: lora, warmup: 0 } }
  frame: { use: finetune, needs: { init: rank, data: pool }, with: { method: prompt, pad: 16 } }
";
    space.write("misfit.yaml", text);
    for command in ["validate", "plan", "run"] {
        let outcome = space.run(&[command, "misfit.yaml"]).expect(2);
        for line in [
            "`rank`: a rank of 4000 does not fit a width of 64\n --> misfit.yaml:7:88",
            "`kind`: LoRA changes the attention of a transformer; `resnet_mini` has none\n --> \
             misfit.yaml:8:79",
            "`frame`: a prompt of 16 pixels leaves nothing of images of 32; `pad` is 1 to 15\n --> \
             misfit.yaml:9:91",
        ] {
            assert!(
                outcome.stderr.contains(line),
                "{command}: {line}\n{outcome}"
            );
        }
    }
    assert!(!space.path("cache").exists());
}
