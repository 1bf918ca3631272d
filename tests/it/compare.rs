//! `compare` of evaluations that do not belong together.

use crate::space::TestSpace;

const WORKFLOW: &str = "\
ribflow: 1
name: pair
stages:
  pool: { use: dataset, with: { builtin: mini-rib, domain: rich, images: 20 } }
  same: { use: dataset, with: { builtin: mini-rib, domain: rich, images: 20 } }
  other: { use: dataset, with: { builtin: mini-rib, domain: r, images: 20 } }
  start: { use: pretrain, needs: { data: pool }, with: { arch: vit_mini, epochs: 1 } }
  one: { use: evaluate, needs: { model: start, data: pool }, with: { predictions: true } }
  two: { use: evaluate, needs: { model: start, data: same }, with: { predictions: true } }
  differ: { use: compare, needs: { a: one.predictions, b: two.predictions, data: same }, with: { show: 2 } }
";

/// Images of two datasets may have the same names and labels.
#[test]
fn evaluations_on_different_data_are_refused_before_anything_runs() {
    let space = TestSpace::new();
    let validate = |text: &str| {
        space.write("pair.yaml", text);
        space.run(&["validate", "pair.yaml"])
    };
    validate(WORKFLOW).ok();
    for (from, to, message) in [
        (
            "model: start, data: same }",
            "model: start, data: other }",
            "`b` is on `other`, and `a` on `pool`",
        ),
        (
            "two.predictions, data: same }",
            "two.predictions, data: other }",
            "`data` is `other`, and `a` is on `pool`",
        ),
    ] {
        assert!(WORKFLOW.contains(from));
        let found = validate(&WORKFLOW.replace(from, to)).expect(2).stderr;
        assert!(found.contains(message), "{found}");
        assert!(found.contains("on the same dataset"), "{found}");
        assert!(found.contains("pair.yaml:10:"), "no place: {found}");
    }
}

/// A typing error must not start as many threads.
#[test]
fn a_number_of_threads_that_no_machine_has_is_refused() {
    let space = TestSpace::new();
    space.write("pair.yaml", WORKFLOW);
    for count in ["0", "4097", "999999999", "many"] {
        let found = space
            .run(&["validate", "pair.yaml", "--threads", count])
            .expect(2);
        assert!(found.stderr.contains("from 1 to 4096"), "{}", found.stderr);
    }
}
