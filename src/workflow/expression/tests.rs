//! Tests of the grammars: accepted texts have the right meaning, and errors have the right place.

use proptest::prelude::*;
use serde_json::json;

use super::condition::{Condition, Members, Operand};
use super::selector::{Picked, Selector};
use super::template::{Fallback, Part, Template};
use super::{Path, Range, SyntaxError, literal};

fn path(text: &str) -> Path {
    Path {
        names: text.split('.').map(str::to_string).collect(),
        range: Range::default(),
    }
}

/// `condition` without the places of its paths.
fn placeless(condition: Condition) -> Condition {
    let operand = |operand| match operand {
        Operand::Path(inner) => Operand::Path(path(&inner.text())),
        literal => literal,
    };
    match condition {
        Condition::Any(parts) => Condition::Any(parts.into_iter().map(placeless).collect()),
        Condition::All(parts) => Condition::All(parts.into_iter().map(placeless).collect()),
        Condition::Not(inner) => Condition::Not(Box::new(placeless(*inner))),
        Condition::Constant(flag) => Condition::Constant(flag),
        Condition::Present(inner) => Condition::Present(path(&inner.text())),
        Condition::Equal(a, b) => Condition::Equal(operand(a), operand(b)),
        Condition::Unequal(a, b) => Condition::Unequal(operand(a), operand(b)),
        Condition::In(a, Members::Path(inner)) => {
            Condition::In(operand(a), Members::Path(path(&inner.text())))
        }
        Condition::In(a, Members::List(list)) => {
            let list = list.into_iter().map(operand).collect();
            Condition::In(operand(a), Members::List(list))
        }
    }
}

fn condition(text: &str) -> Condition {
    placeless(Condition::parse(text).unwrap())
}

fn operand(word: &str) -> Operand {
    Operand::Path(path(word))
}

fn text(value: &str) -> Operand {
    Operand::Literal(json!(value))
}

#[test]
fn conditions_bind_as_usual() {
    let (a, b, c) = (
        Condition::Present(path("a")),
        Condition::Present(path("b")),
        Condition::Present(path("c.d")),
    );
    assert_eq!(
        condition("a or b and not c.d"),
        Condition::Any(vec![
            a.clone(),
            Condition::All(vec![b.clone(), Condition::Not(Box::new(c.clone()))]),
        ])
    );
    assert_eq!(
        condition("(a or b) and (c.d)"),
        Condition::All(vec![Condition::Any(vec![a, b]), c])
    );
    assert_eq!(
        condition("not a == \"x\""),
        Condition::Not(Box::new(Condition::Equal(operand("a"), text("x"))))
    );
    assert_eq!(
        condition("a in [1, \"b\", true, c]"),
        Condition::In(
            operand("a"),
            Members::List(vec![
                Operand::Literal(json!(1)),
                text("b"),
                Operand::Literal(json!(true)),
                operand("c"),
            ])
        )
    );
    // Words that only begin like keywords are names.
    assert_eq!(
        condition("nothing or order"),
        Condition::Any(vec![
            Condition::Present(path("nothing")),
            Condition::Present(path("order")),
        ])
    );
}

#[test]
fn literals_are_read_as_yaml_reads_them() {
    assert_eq!(literal("3"), json!(3));
    assert_eq!(literal("-3"), json!(-3));
    assert_eq!(literal("1e3"), json!(1000.0));
    assert_eq!(literal("0.5"), json!(0.5));
    assert_eq!(literal("true"), json!(true));
    for label in [
        "017", "1_000", "no", "v2", "1.2.3", "null", "3d", "-", "0x10", "in21k-p",
    ] {
        assert_eq!(literal(label), json!(label));
    }
}

#[test]
fn templates_keep_what_is_no_reference() {
    assert_eq!(
        Template::parse("a $b {c} $$d").unwrap(),
        Template::Plain("a $b {c} $$d".into())
    );
    assert_eq!(
        Template::parse("$${x}").unwrap(),
        Template::Plain("${x}".into())
    );
    let Template::Whole(reference) = Template::parse("${ method.kind ? method }").unwrap() else {
        panic!("not whole");
    };
    assert_eq!(reference.path.names, ["method", "kind"]);
    assert!(matches!(
        reference.fallback,
        Fallback::Word { path: Some(_), .. }
    ));
    let Template::Mixed(parts) = Template::parse("x-${a}$${b}${c?}").unwrap() else {
        panic!("not mixed");
    };
    assert_eq!(parts.len(), 4);
    assert_eq!(parts[2], Part::Plain("${b}".into()));
    assert!(matches!(&parts[3], Part::Reference(one) if one.fallback == Fallback::LeaveOut));
}

#[test]
fn fallbacks_are_words_or_quoted() {
    let fallback = |text: &str| match Template::parse(text) {
        Ok(Template::Whole(reference)) => reference.fallback,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(fallback("${a?\"b c\"}"), Fallback::Literal(json!("b c")));
    assert_eq!(fallback("${a?\"3\"}"), Fallback::Literal(json!("3")));
    assert_eq!(
        fallback("${a?-0.5}"),
        Fallback::Word {
            path: None,
            value: json!(-0.5)
        }
    );
    assert_eq!(
        fallback("${a?lp-released}"),
        Fallback::Word {
            path: None,
            value: json!("lp-released")
        }
    );
}

#[test]
fn selectors_are_taken_apart() {
    let selector =
        Selector::parse(" tuned[method = ft|method.of | \"a b\", seed=*, *].model ").unwrap();
    assert_eq!(selector.stage, "tuned");
    assert!(selector.all);
    assert_eq!(selector.name.unwrap().0, "model");
    let Picked::Values(values) = &selector.picks[0].values else {
        panic!("not values");
    };
    let words: Vec<&str> = values.iter().map(|value| value.word.as_str()).collect();
    assert_eq!(words, ["ft", "method.of", "a b"]);
    assert!(values[1].path.is_some() && values[2].quoted);
    assert_eq!(selector.picks[1].values, Picked::All);
    let label = Selector::parse("a[b=in21k-p]").unwrap();
    let Picked::Values(values) = &label.picks[0].values else {
        panic!("not values");
    };
    assert!(values[0].path.is_none());
}

fn columns(error: SyntaxError) -> (usize, usize) {
    (error.range.start, error.range.end)
}

#[test]
fn errors_stand_where_the_mistake_is() {
    let wrong = |text: &str| columns(Condition::parse(text).unwrap_err());
    assert_eq!(wrong("a = 1"), (2, 3));
    assert_eq!(wrong("a == é"), (5, 7));
    assert_eq!(wrong("a == \"b"), (5, 7));
    assert_eq!(wrong("a in [1 2]"), (8, 9));
    assert_eq!(wrong(""), (0, 0));
    assert_eq!(columns(Template::parse("x ${a b}").unwrap_err()), (6, 7));
    assert_eq!(columns(Selector::parse("a[b=c").unwrap_err()), (5, 5));
}

/// A condition as text, with more parentheses than it needs.
fn written(condition: &Condition) -> String {
    let operand = |operand: &Operand| match operand {
        Operand::Path(path) => path.text(),
        Operand::Literal(value) => value.to_string(),
    };
    let joined = |parts: &[Condition], word: &str| {
        let parts: Vec<String> = parts
            .iter()
            .map(|part| format!("({})", written(part)))
            .collect();
        parts.join(word)
    };
    match condition {
        Condition::Any(parts) => joined(parts, " or "),
        Condition::All(parts) => joined(parts, " and "),
        Condition::Not(inner) => format!("not ({})", written(inner)),
        Condition::Constant(flag) => flag.to_string(),
        Condition::Present(path) => path.text(),
        Condition::Equal(a, b) => format!("{} == {}", operand(a), operand(b)),
        Condition::Unequal(a, b) => format!("{}!={}", operand(a), operand(b)),
        Condition::In(a, Members::Path(path)) => format!("{} in {}", operand(a), path.text()),
        Condition::In(a, Members::List(list)) => {
            let list: Vec<String> = list.iter().map(operand).collect();
            format!("{} in [{}]", operand(a), list.join(" , "))
        }
    }
}

fn paths() -> impl Strategy<Value = Path> {
    let words = ["x", "method", "nota", "in1", "or_", "params"];
    prop::collection::vec(prop::sample::select(words.to_vec()), 1..4)
        .prop_map(|names| path(&names.join(".")))
}

fn operands() -> impl Strategy<Value = Operand> {
    prop_oneof![
        paths().prop_map(Operand::Path),
        "[a-zéß ]{0,5}".prop_map(|text| Operand::Literal(json!(text))),
        any::<i32>().prop_map(|number| Operand::Literal(json!(number))),
        any::<bool>().prop_map(|flag| Operand::Literal(json!(flag))),
    ]
}

fn conditions() -> impl Strategy<Value = Condition> {
    let leaf = prop_oneof![
        paths().prop_map(Condition::Present),
        any::<bool>().prop_map(Condition::Constant),
        (operands(), operands()).prop_map(|(a, b)| Condition::Equal(a, b)),
        (operands(), operands()).prop_map(|(a, b)| Condition::Unequal(a, b)),
        (operands(), paths()).prop_map(|(a, b)| Condition::In(a, Members::Path(b))),
        (operands(), prop::collection::vec(operands(), 1..4))
            .prop_map(|(a, list)| Condition::In(a, Members::List(list))),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Condition::Any),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Condition::All),
            inner.prop_map(|one| Condition::Not(Box::new(one))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(1000)
    })]

    #[test]
    fn a_written_condition_is_read_back(one in conditions()) {
        let text = written(&one);
        prop_assert_eq!(Condition::parse(&text).map(placeless), Ok(one), "{}", text);
    }

    #[test]
    fn no_text_makes_a_grammar_panic(text in "[a-z0-9\"'$?{}\\[\\]().=!|,* é-]{0,40}") {
        let errors = [
            Condition::parse(&text).err(),
            Selector::parse(&text).err(),
            Template::parse(&text).err(),
        ];
        for error in errors.into_iter().flatten() {
            prop_assert!(text.get(error.range.start..error.range.end).is_some());
        }
    }
}
