//! What workflows mean: joins, gathers, cases, skipping, overrides, goals, variables.

use std::collections::BTreeMap;

use ribflow::diag::{Diagnostic, Diagnostics};
use ribflow::workflow::graph::{Graph, Node};
use ribflow::workflow::{LoadOptions, load};
use serde_json::{Value, json};

use super::kinds::test_kinds;

/// Loads `body` under the head that every workflow has.
pub fn try_load(
    body: &str,
    options: &LoadOptions,
) -> Result<(Graph, Vec<Diagnostic>), Diagnostics> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("workflow.yaml");
    std::fs::write(&file, format!("ribflow: 1\nname: test\n{body}")).unwrap();
    load(&file, options, &test_kinds())
}

fn load_with(body: &str, options: &LoadOptions) -> Graph {
    match try_load(body, options) {
        Ok((graph, _)) => graph,
        Err(problems) => panic!("{}", problems.render(false)),
    }
}

pub fn graph(body: &str) -> Graph {
    load_with(body, &LoadOptions::default())
}

fn codes(body: &str, options: &LoadOptions) -> Vec<String> {
    match try_load(body, options) {
        Ok(_) => Vec::new(),
        Err(Diagnostics(problems)) => problems.into_iter().map(|one| one.code).collect(),
    }
}

pub fn sets(sets: &[&str]) -> LoadOptions {
    LoadOptions {
        sets: sets.iter().map(|set| set.to_string()).collect(),
        ..LoadOptions::default()
    }
}

fn profiles(profiles: &[&str]) -> LoadOptions {
    LoadOptions {
        profiles: profiles.iter().map(|name| name.to_string()).collect(),
        ..LoadOptions::default()
    }
}

fn node<'g>(graph: &'g Graph, id: &str) -> &'g Node {
    let found = graph.dag.node_weights().find(|node| node.id == id);
    found.unwrap_or_else(|| panic!("no node {id} among {:?}", ids(graph)))
}

pub fn ids(graph: &Graph) -> Vec<&str> {
    graph
        .dag
        .node_weights()
        .map(|node| node.id.as_str())
        .collect()
}

/// The members of an input: `node.port{gathered axes}`.
pub fn members(graph: &Graph, id: &str, input: &str) -> Vec<String> {
    let node = node(graph, id);
    let input = node.inputs.iter().find(|one| one.name == input).unwrap();
    let member = |member: &ribflow::workflow::graph::Member| {
        let axes = member.axes.iter();
        let axes: Vec<String> = axes.map(|(axis, id)| format!("{axis}={id}")).collect();
        let upstream = &graph.dag[member.node].id;
        format!("{upstream}.{}{{{}}}", member.port, axes.join(","))
    };
    input.members.iter().map(member).collect()
}

pub fn with(graph: &Graph, id: &str) -> Value {
    Value::clone(&node(graph, id).with)
}

const GRID: &str = r#"
axes:
  source: [narrow, rich]
  domain: [v2, r]
  test: [own, "${axes.domain}"]
  method: [lp, ft, { id: wise, of: [ft, lp], weights: [0.5, 0.5] }]
stages:
  images: { each: [test], use: dataset, with: { preset: "x-${test}" } }
  pretrained: { each: [source], use: checkpoint, with: { hub: "${source}" } }
  tuned:
    each: [source, domain, method]
    use: finetune
    needs: { init: pretrained, data: "images[test=domain]" }
    with: { method: "${method}", epochs: 2, seed: 0 }
    cases:
      - when: method.of
        use: average
        needs: { models: [pretrained, "tuned[method=method.of]"] }
        with: { weights: "${method.weights}" }
      - when: method == "lp" and domain in ["r"]
        with: { epochs: 5, train: head }
        resources: { cpus: 2 }
    resources: { mem: 2GiB, cpus: 1 }
  accuracy:
    each: [source, domain, method, test]
    skip: test == domain
    use: evaluate
    needs: { model: tuned, data: images }
  summary:
    use: report
    needs: { accuracy: "accuracy[*]", some: "accuracy[source=rich, method=wise|ft, *]" }
"#;

#[test]
fn inputs_join_on_shared_axes_and_pins() {
    let graph = graph(GRID);
    let id = "tuned[source=rich,domain=r,method=ft]";
    assert_eq!(
        members(&graph, id, "init"),
        ["pretrained[source=rich].model{}"]
    );
    assert_eq!(members(&graph, id, "data"), ["images[test=r].data{}"]);
    assert_eq!(
        members(&graph, "tuned[source=rich,domain=r,method=wise]", "models"),
        [
            "pretrained[source=rich].model{}",
            // In the order of the list, not of the axis.
            "tuned[source=rich,domain=r,method=ft].model{method=ft}",
            "tuned[source=rich,domain=r,method=lp].model{method=lp}",
        ]
    );
}

#[test]
fn gathers_go_by_id_and_written_orders_stay() {
    let graph = graph(GRID);
    let all = members(&graph, "summary", "accuracy");
    assert_eq!(all.len(), 2 * 2 * 3 * 2);
    // domain, then method, source, test: axes by name, each by id.
    assert_eq!(
        all[0],
        "accuracy[source=narrow,domain=r,method=ft,test=own].metrics{domain=r,method=ft,source=narrow,test=own}"
    );
    let some = members(&graph, "summary", "some");
    assert_eq!(some.len(), 2 * 2 * 2);
    assert!(some[0].contains("method=wise"), "{}", some[0]);
    assert!(
        some[0].ends_with("{domain=r,method=wise,test=own}"),
        "{}",
        some[0]
    );
    assert!(some[4].contains("method=ft"), "{}", some[4]);
}

#[test]
fn cases_amend_or_replace() {
    let graph = graph(GRID);
    let plain = "tuned[source=rich,domain=v2,method=lp]";
    assert_eq!(
        with(&graph, plain),
        json!({ "method": "lp", "epochs": 2, "seed": 0 })
    );
    let amended = "tuned[source=rich,domain=r,method=lp]";
    assert_eq!(
        with(&graph, amended),
        json!({ "method": "lp", "epochs": 5, "train": "head", "seed": 0 })
    );
    let resources = &node(&graph, amended).resources;
    assert_eq!((resources.cpus, resources.mem), (Some(2), Some(2 << 30)));
    let replaced = node(&graph, "tuned[source=rich,domain=r,method=wise]");
    assert_eq!(replaced.kind.name(), "average");
    assert_eq!(*replaced.with, json!({ "weights": [0.5, 0.5] }));
    assert_eq!(replaced.resources.mem, None);
}

#[test]
fn the_order_has_producers_first_and_follows_the_file() {
    let graph = graph(GRID);
    let position: BTreeMap<_, usize> = graph.order.iter().copied().zip(0..).collect();
    for edge in graph.dag.edge_indices() {
        let (from, to) = graph.dag.edge_endpoints(edge).unwrap();
        assert!(position[&from] < position[&to]);
    }
    let first: Vec<&str> = graph.order[..5]
        .iter()
        .map(|at| graph.dag[*at].id.as_str())
        .collect();
    assert_eq!(
        first,
        [
            "images[test=own]",
            "images[test=v2]",
            "images[test=r]",
            "pretrained[source=narrow]",
            "pretrained[source=rich]"
        ]
    );
    assert_eq!(graph.goals.len(), 1);
}

#[test]
fn skipping_spreads_through_direct_inputs_and_empty_gathers() {
    let graph = graph(
        r#"
axes: { a: [1, 2, 3], b: [x, y] }
stages:
  first: { each: [a, b], use: checkpoint, skip: a == 1 or (a == 2 and b == "y") }
  second: { each: [a, b], use: average, needs: { models: first } }
  third: { each: [a], use: average, needs: { models: "second[*]" } }
  last: { use: report, needs: { models: "third[*]", one: "first[a=3, *]" } }
"#,
    );
    assert_eq!(
        ids(&graph),
        [
            "first[a=2,b=x]",
            "first[a=3,b=x]",
            "first[a=3,b=y]",
            "second[a=2,b=x]",
            "second[a=3,b=x]",
            "second[a=3,b=y]",
            "third[a=2]",
            "third[a=3]",
            "last",
        ]
    );
    assert_eq!(
        members(&graph, "third[a=2]", "models"),
        ["second[a=2,b=x].model{b=x}"]
    );
    let skipped: Vec<(&str, usize)> = graph
        .skipped
        .iter()
        .map(|(stage, count)| (stage.as_str(), *count))
        .collect();
    assert_eq!(skipped, [("first", 3), ("second", 3), ("third", 1)]);
    assert_eq!(
        graph.stages[0].skip.as_deref(),
        Some("a == 1 or (a == 2 and b == \"y\")")
    );
}

#[test]
fn a_stage_may_feed_on_other_nodes_of_itself() {
    let graph = graph(
        r#"
axes: { step: [{ id: s0 }, { id: s1, from: s0 }, { id: s2, from: s1 }] }
stages:
  start: { use: checkpoint }
  data: { use: dataset }
  chain:
    each: [step]
    use: finetune
    needs: { init: start, data: data }
    with: { method: ft, epochs: 1 }
    cases: [{ when: step.from, needs: { init: "chain[step=step.from]" } }]
"#,
    );
    assert_eq!(
        members(&graph, "chain[step=s2]", "init"),
        ["chain[step=s1].model{}"]
    );
    assert_eq!(
        graph.goals.len(),
        3,
        "a stage that only names itself is a goal"
    );
}

const OVERRIDDEN: &str = r#"
params: { epochs: 10, optimizer: { name: sgd, lr: 0.1 }, root: "${env.DATA?data}" }
axes:
  source: [{ id: a, hub: x/a }, { id: b, hub: x/b }]
  seed: [0]
stages:
  s:
    each: [source, seed]
    use: finetune
    needs: { init: m, data: d }
    with: { method: "${params.optimizer.name}-${source.hub}", epochs: "${params.epochs}", lr: "${params.optimizer.lr}", seed: "${seed}" }
  m: { use: checkpoint, with: { path: "${params.root}/m" } }
  d: { use: dataset }
profiles:
  more: { axes: { source: ["${axes.source}", { id: c, hub: x/c }] } }
  one: { axes: { source: [c] }, params: { optimizer: { lr: 0.5 } } }
  models: { goals: [m] }
"#;

#[test]
fn overrides_merge_append_and_pick() {
    let plain = graph(OVERRIDDEN);
    assert_eq!(
        ids(&plain),
        ["s[source=a,seed=0]", "s[source=b,seed=0]", "m", "d"]
    );
    let more = load_with(OVERRIDDEN, &profiles(&["more", "one"]));
    assert_eq!(ids(&more), ["s[source=c,seed=0]", "m", "d"]);
    assert_eq!(
        with(&more, "s[source=c,seed=0]"),
        json!({ "method": "sgd-x/c", "epochs": 10, "lr": 0.5, "seed": 0 })
    );
    assert_eq!(more.profiles, ["more", "one"]);
    // What `one` picks is there only after `more`.
    assert_eq!(codes(OVERRIDDEN, &profiles(&["one"])), ["unknown-value"]);

    let set = sets(&[
        "params.optimizer.lr=1",
        "axes.seed=[3, \"${axes.seed}\"]",
        "axes.source=[b]",
    ]);
    let set = load_with(OVERRIDDEN, &set);
    assert_eq!(
        ids(&set),
        ["s[source=b,seed=3]", "s[source=b,seed=0]", "m", "d"]
    );
    assert_eq!(with(&set, "s[source=b,seed=3]")["lr"], json!(1));
    assert_eq!(set.overrides.len(), 3);
}

#[test]
fn goals_and_targets_leave_out_what_they_do_not_need() {
    assert_eq!(ids(&load_with(OVERRIDDEN, &profiles(&["models"]))), ["m"]);
    let targets = |targets: &[&str]| LoadOptions {
        targets: targets.iter().map(|one| one.to_string()).collect(),
        ..LoadOptions::default()
    };
    let one = load_with(GRID, &targets(&["tuned[domain=r, method=ft, source=rich]"]));
    assert_eq!(
        ids(&one),
        [
            "images[test=r]",
            "pretrained[source=rich]",
            "tuned[source=rich,domain=r,method=ft]"
        ]
    );
    let two = load_with(GRID, &targets(&["images[test=own]", "pretrained"]));
    assert_eq!(
        ids(&two),
        [
            "images[test=own]",
            "pretrained[source=narrow]",
            "pretrained[source=rich]"
        ]
    );
    assert_eq!(two.goals.len(), 3);
}

#[test]
fn patterns_select_nodes_of_a_graph() {
    let graph = graph(GRID);
    let select = |pattern: &str| -> Vec<String> {
        let nodes = graph
            .select(pattern)
            .unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        nodes
            .into_iter()
            .map(|at| graph.dag[at].id.clone())
            .collect()
    };
    assert_eq!(
        select("images"),
        ["images[test=own]", "images[test=v2]", "images[test=r]"]
    );
    for node in graph.dag.node_weights() {
        assert_eq!(select(&node.id), [node.id.as_str()]);
    }
    assert_eq!(select("accuracy[*]").len(), 24);
    assert_eq!(select("accuracy[method=ft|lp, source=rich].top1").len(), 8);
    assert_eq!(
        graph.resolve("tuned[*].model").unwrap().name.as_deref(),
        Some("model")
    );
    for (pattern, code) in [
        ("accuracy[domain=r, test=r]", "no-node"),
        ("acuracy", "unknown-stage"),
        ("accuracy[seed=0]", "unknown-axis"),
        ("accuracy[method=ewc]", "unknown-value"),
        ("accuracy[", "syntax"),
    ] {
        assert_eq!(
            graph.select(pattern).unwrap_err().0[0].code,
            code,
            "{pattern}"
        );
    }
}

#[test]
fn unset_variables_fail_only_the_nodes_that_need_them() {
    let body = r#"
params: { data: "${env.DATA}", workers: "${env.WORKERS}" }
stages:
  a: { use: dataset, with: { root: "${params.data}/a", limit: "${params.workers}" } }
  b: { use: dataset, with: { root: "${env.DATA?}", preset: "${env.NAME?x}", domain: "${params.data?fallback}" } }
  c: { use: report, needs: { a: a, b: b } }
"#;
    let unset = graph(body);
    assert_eq!(node(&unset, "a").missing_env, ["DATA", "WORKERS"]);
    assert!(node(&unset, "b").missing_env.is_empty());
    assert_eq!(
        with(&unset, "b"),
        json!({ "preset": "x", "domain": "fallback" })
    );
    assert!(node(&unset, "c").missing_env.is_empty());
    let environment = [("DATA", "/d"), ("NAME", "y")];
    let options = LoadOptions {
        environment: environment
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .into(),
        ..LoadOptions::default()
    };
    let set = load_with(body, &options);
    assert_eq!(node(&set, "a").missing_env, ["WORKERS"]);
    assert_eq!(
        with(&set, "b"),
        json!({ "root": "/d", "preset": "y", "domain": "/d" })
    );
}

#[test]
fn references_keep_types_and_leave_entries_out() {
    let graph = graph(
        r#"
params: { none: null, list: [0.25, 0.75], text: "${params.n}%", n: 3, deep: { a: [1, "${params.n}"] } }
axes: { seed: [0, 1.5, "07"], kind: [{ id: k, classes: "${params.text}" }] }
stages:
  d:
    each: [kind]
    use: dataset
    with: { classes: "${kind.classes}", limit: "${params.none?}", root: "$${HOME}", preset: "${kind}-${params.n}" }
  m: { use: checkpoint }
  a: { each: [seed], use: average, needs: { models: m }, with: { weights: ["${seed?}", "${params.none?}", 1] }, skip: seed == "07" }
  w: { use: average, needs: { models: m }, with: { weights: "${params.list}" } }
  t: { use: report, needs: { all: "a[*]", w: w, d: "d[*]" } }
"#,
    );
    assert_eq!(
        with(&graph, "d[kind=k]"),
        json!({ "classes": "3%", "root": "${HOME}", "preset": "k-3" })
    );
    assert_eq!(with(&graph, "a[seed=0]"), json!({ "weights": [0, 1] }));
    assert_eq!(with(&graph, "a[seed=1.5]"), json!({ "weights": [1.5, 1] }));
    assert_eq!(with(&graph, "w"), json!({ "weights": [0.25, 0.75] }));
}

#[test]
fn warnings_do_not_stop_a_workflow() {
    let (graph, warnings) = try_load(
        r#"
params: { lr: 0.1, used: here }
axes: { seed: [0], method: [ft] }
stages:
  m: { each: [method], use: checkpoint, with: { path: "${params.used}" }, skip: method == "fft" }
"#,
        &LoadOptions::default(),
    )
    .unwrap();
    assert_eq!(graph.dag.node_count(), 1);
    let told: Vec<(&str, usize)> = warnings
        .iter()
        .map(|one| (one.code.as_str(), one.line))
        .collect();
    assert_eq!(
        told,
        [
            ("unused-parameter", 4),
            ("unused-axis", 5),
            ("unknown-value", 7)
        ]
    );
    assert!(
        warnings[2]
            .render(false)
            .starts_with("warning[unknown-value]")
    );
}

#[test]
fn a_file_that_is_not_there_is_an_error_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("none.yaml"), folder.path().to_path_buf()] {
        let Err(problems) = load(&path, &LoadOptions::default(), &test_kinds()) else {
            panic!("{} can't be a workflow", path.display());
        };
        assert_eq!(problems.0[0].code, "unreadable-file");
        assert_eq!(problems.0[0].line, 0);
    }
}

#[test]
fn equal_parameters_are_typed_once_and_shared() {
    let graph = graph(GRID);
    let a = node(&graph, "accuracy[source=rich,domain=r,method=ft,test=own]");
    let b = node(&graph, "accuracy[source=narrow,domain=v2,method=lp,test=r]");
    assert!(std::sync::Arc::ptr_eq(&a.parameters, &b.parameters));
}
