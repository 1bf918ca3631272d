//! The command line: help texts, exit codes, what goes to which stream.

use crate::space::TestSpace;

#[test]
fn completions_are_written_for_every_shell() {
    let space = TestSpace::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let outcome = space.run(&["completions", shell]).expect(0);
        assert!(outcome.stdout.contains("ribflow"), "{shell}");
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_2_in_words_and_in_json() {
    let space = TestSpace::new();
    insta::assert_snapshot!(space.run(&["completions", "tcsh"]), @r"
    --- stderr
    error: invalid value 'tcsh' for '<SHELL>'
      [possible values: bash, elvish, fish, powershell, zsh]

      tip: a similar value exists: 'zsh'

    For more information, try '--help'.
    [exit code 2]
    ");
    insta::assert_snapshot!(space.run(&["completions", "tcsh", "--json"]), @r#"
    {"errors":[{"code":"command-line","column":0,"file":"","hint":"a similar value exists: 'zsh'","line":0,"message":"invalid value 'tcsh' for '<SHELL>' [possible values: bash, elvish, fish, powershell, zsh]"}]}
    [exit code 2]
    "#);
    insta::assert_snapshot!(space.run(&["--device", "tpu", "completions", "bash"]), @r"
    --- stderr
    error: invalid value 'tpu' for '--device <DEVICE>': `tpu` is not a device: expected auto, cpu, cuda or cuda:N

    For more information, try '--help'.
    [exit code 2]
    ");
}

/// Two stages that this build can check without anything beside the file.
const PAIR: &str = "\
ribflow: 1
name: pair
axes:
  domain: [v2, r]
stages:
  images:
    each: [domain]
    use: dataset
    with: { builtin: mini-rib, domain: \"${domain}\" }
  both:
    use: concat
    needs: { parts: \"images[*]\" }
";

#[test]
fn a_good_file_is_called_good() {
    let space = TestSpace::new();
    space.write("pair.yaml", PAIR);
    insta::assert_snapshot!(space.run(&["validate", "pair.yaml"]), @"pair: good, 3 nodes in 2 stages");
    insta::assert_snapshot!(space.run(&["validate", "pair.yaml", "--json"]), @r#"{"errors":[],"warnings":[]}"#);
}

#[test]
fn every_problem_is_shown_with_its_place() {
    let space = TestSpace::new();
    space.write(
        "pair.yaml",
        PAIR.replace("use: concat", "use: conact")
            .replace("v2, r", "v2, v2"),
    );
    insta::assert_snapshot!(space.run(&["validate", "pair.yaml"]), @r"
    --- stderr
    error[duplicate-id]: axis `domain` has two values with the id `v2`
     --> pair.yaml:4:16
      |
    4 |   domain: [v2, v2]
      |                ^^

    error[unknown-kind]: this build of ribflow has no stage kind `conact`
      --> pair.yaml:11:10
       |
    11 |     use: conact
       |          ^^^^^^
       = hint: did you mean `concat`?
    [exit code 2]
    ");
    insta::assert_snapshot!(space.run(&["validate", "pair.yaml", "--json"]), @r#"
    {"errors":[{"code":"duplicate-id","column":16,"file":"pair.yaml","line":4,"message":"axis `domain` has two values with the id `v2`"},{"code":"unknown-kind","column":10,"file":"pair.yaml","hint":"did you mean `concat`?","line":11,"message":"this build of ribflow has no stage kind `conact`"}]}
    [exit code 2]
    "#);
    insta::assert_snapshot!(space.run(&["validate", "elsewhere.yaml"]), @r"
    --- stderr
    error[unreadable-file]: there is no file `elsewhere.yaml`
      --> elsewhere.yaml
    [exit code 2]
    ");
}

#[test]
fn a_graph_is_drawn_by_node_and_by_stage() {
    let space = TestSpace::new();
    space.write("pair.yaml", PAIR);
    insta::assert_snapshot!(space.run(&["graph", "pair.yaml"]), @r#"
    digraph "pair" {
      rankdir=LR;
      node [shape=box, fontname="sans-serif"];
      n0 [label="images[domain=v2]"];
      n1 [label="images[domain=r]"];
      n2 [label="both"];
      n0 -> n2;
      n1 -> n2;
    }
    "#);
    insta::assert_snapshot!(
        space.run(&["graph", "pair.yaml", "--stages", "--format", "mermaid"]),
        @r#"
        flowchart LR
          n0["images<br>domain<br>2 nodes"]
          n1["both<br>1 node"]
          n0 --> n1
        "#
    );
    insta::assert_snapshot!(space.run(&["graph", "pair.yaml", "images[domain=r]", "--json"]), @r#"{"arrows":[],"boxes":["images[domain=r]"],"name":"pair"}"#);
    insta::assert_snapshot!(space.run(&["graph", "pair.yaml", "images[domain=q]"]), @r"
    --- stderr
    error[unknown-value]: `images[domain=q]`: axis `domain` has no value `q`
       = hint: it has the values `v2` and `r`
    [exit code 2]
    ");
}

#[test]
fn the_schema_is_json() {
    let schema = TestSpace::new().run(&["schema"]).expect(0).json();
    assert!(schema["$schema"].is_string());
}

#[test]
fn kinds_teach_their_parameters() {
    let space = TestSpace::new();
    let page = space.run(&["kinds", "finetune"]).expect(0).stdout;
    for part in [
        "needs:",
        "a model",
        "number, at least 0 [0.001]. The learning rate",
        "linear probing",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    let wrong = space.run(&["kinds", "finetun"]).expect(2);
    assert!(wrong.stderr.contains("did you mean `finetune`?"), "{wrong}");
}

#[test]
fn a_file_is_no_store() {
    let space = TestSpace::new();
    space.write("workflow.yaml", "ribflow: 1\nname: x\nstages:\n  a: { use: dataset, with: { builtin: mini-rib, domain: v2 } }\n");
    space.write("notes.txt", "mine");
    let refused = space
        .run(&["run", "workflow.yaml", "--store", "notes.txt"])
        .expect(2);
    assert!(
        refused.stderr.contains("it is a file; a store is a folder"),
        "{refused}"
    );
    assert_eq!(
        std::fs::read_to_string(space.path("notes.txt")).unwrap(),
        "mine"
    );
}

#[test]
fn models_are_listed_with_what_they_ask_for() {
    let space = TestSpace::new();
    let resnets = space.run(&["models", "resnet5"]).expect(0).stdout;
    insta::assert_snapshot!(resnets);
    let all = space.run(&["models", "--json"]).expect(0).json();
    assert!(all["models"].as_array().unwrap().len() > 150);
    let wrong = space.run(&["models", "vit_bas_patch16"]).expect(2);
    assert!(wrong.stderr.contains("did you mean"), "{wrong}");
}

const SEEDS: &str = "ribflow: 1
name: seeds
axes: { seed: [0, 1], domain: [v2, r] }
stages:
  images:
    each: [domain, seed]
    use: dataset
    with: { builtin: mini-rib, domain: \"${domain}\", images: 10 }
";

#[test]
fn an_axis_that_changes_nothing_is_reported() {
    let space = TestSpace::new();
    space.write("seeds.yaml", SEEDS);
    let warned = space.run(&["validate", "seeds.yaml"]).expect(0);
    insta::assert_snapshot!(warned.stdout);
    space.write(
        "seeds.yaml",
        SEEDS.replace("images: 10", "images: 10, seed: \"${seed}\""),
    );
    let fine = space.run(&["validate", "seeds.yaml"]).expect(0).stdout;
    assert!(!fine.contains("warning"), "{fine}");
}

#[test]
fn looking_leaves_no_store_behind() {
    let space = TestSpace::new();
    space.write("seeds.yaml", SEEDS);
    for command in [
        &["plan", "seeds.yaml"][..],
        &["status", "seeds.yaml"],
        &["why", "seeds.yaml", "images"],
        &["plan", "seeds.yaml", "--store", "elsewhere"],
    ] {
        let looked = space.run(command).expect(0);
        assert!(looked.stderr.contains("there is no store at"), "{looked}");
    }
    assert!(!space.path("cache").exists() && !space.path("elsewhere").exists());
}

#[test]
fn a_run_of_a_part_leaves_the_whole_report() {
    let space = TestSpace::new();
    space.write("seeds.yaml", SEEDS);
    space.run(&["run", "seeds.yaml"]).ok();
    let whole = space.read("out/seeds/results.json");
    space.run(&["run", "seeds.yaml", "images[domain=r]"]).ok();
    assert_eq!(space.read("out/seeds/results.json"), whole);
}

#[test]
fn a_damaged_result_names_its_node_and_the_way_back() {
    let space = TestSpace::new();
    space.write("seeds.yaml", SEEDS);
    space.run(&["run", "seeds.yaml"]).ok();
    for folder in std::fs::read_dir(space.path("cache/objects")).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, "damage").unwrap();
        }
    }
    let node = "images[domain=r,seed=0]";
    let lost = space
        .run(&["get", "seeds.yaml", node, "-o", "got"])
        .expect(1);
    assert!(
        lost.stderr.contains(node) && lost.stderr.contains("--force"),
        "{lost}"
    );
    space
        .run(&["run", "seeds.yaml", node, "--force", node])
        .ok();
    space.run(&["get", "seeds.yaml", node, "-o", "again"]).ok();
}
