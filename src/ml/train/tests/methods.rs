//! Every fine-tuning method: what it moves, what it leaves alone, and its teachers.

use super::*;

/// Every method, configured for a small transformer.
/// Every declared method with some of its options, and whether it trains the classifier only.
fn methods(start: &Model) -> Vec<(String, bool, Box<dyn Method>)> {
    let anchor = images(12);
    let start = Start {
        model: start,
        anchor: &anchor,
        seed: 3,
        threads: 2,
        observer: &Unobserved,
    };
    let mut methods = Vec::new();
    for declaration in &<dyn MethodOptions>::list().all {
        for given in variants(declaration.name) {
            let name = format!("{} {given}", declaration.name);
            let given = given.as_object().unwrap().clone();
            let options = (declaration.parse)(given).unwrap();
            assert_eq!(options.problems(), [], "{name}");
            methods.push((name, options.head_only(), options.build(&start).unwrap()));
        }
    }
    methods
}

/// The options that a method is tested with: its defaults, unless images of 32 pixels need others.
fn variants(method: &str) -> Vec<Value> {
    match method {
        "ft" => vec![json!({}), json!({ "train": "released" })],
        "prompt" => vec![json!({ "pad": 5 })],
        "ewc" => vec![
            json!({ "strength": 0.5 }),
            json!({ "strength": 5.0, "fisher": "diagonal", "fisher_samples": 8 }),
        ],
        _ => vec![json!({})],
    }
}

fn fitted(start: &Model, method: &dyn Method, plan: &Plan, threads: usize) -> Model {
    let set = images(20);
    let fitted = fit(start.clone(), &set, method, plan, threads, &Unobserved);
    fitted.unwrap().model
}

/// Σ (a − b)² over the tensors that both have.
fn moved(a: &Model, b: &Model) -> f64 {
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let pairs = a.tensors().iter().zip(b.tensors().values());
    pairs
        .flat_map(|((_, a), b)| flat(a).into_iter().zip(flat(b)))
        .map(|(a, b)| f64::from(a - b).powi(2))
        .sum()
}

#[test]
fn every_method_trains_and_threads_change_nothing() {
    let start = model("vit_mini", 4);
    for (name, frozen_backbone, method) in methods(&start) {
        let plan = Plan {
            frozen_backbone,
            ..plan()
        };
        let one = fitted(&start, &*method, &plan, 1);
        let two = fitted(&start, &*method, &plan, 2);
        assert_eq!(bits(&one), bits(&two), "{name}");
        assert_ne!(bits(&one), bits(&start), "{name}");
        let still = Plan { rate: 0.0, ..plan };
        let still = fitted(&start, &*method, &still, 2);
        for (tensor, bits) in bits(&start) {
            assert_eq!(bits, self::bits(&still)[&tensor], "{name}: {tensor}");
        }
    }
}

#[test]
fn methods_leave_alone_what_they_freeze() {
    let start = model("vit_mini", 4);
    let before = bits(&start);
    let prompted = fitted(&start, &Prompt::new(&start, 5).unwrap(), &plan(), 2);
    let after = bits(&prompted);
    assert!(before.iter().all(|(name, bits)| after[name] == *bits));
    assert_eq!(after.len(), before.len() + 4);
    let lone = evaluate(&start, &images(8), true, 2, &Unobserved).unwrap();
    let framed = evaluate(&prompted, &images(8), true, 2, &Unobserved).unwrap();
    assert_ne!(lone.parts[0].loss, framed.parts[0].loss);
    assert!(Prompt::new(&prompted, 5).is_err() && Prompt::new(&start, 16).is_err());

    let adapted = bits(&fitted(
        &start,
        &Lora::new(&start, 4, 2.0).unwrap(),
        &plan(),
        2,
    ));
    for (name, bits) in &before {
        let outer = ["cls_token", "pos_embed", "norm."];
        if name.ends_with("attn.qkv.weight") {
            let third = bits.len() / 3;
            assert_eq!(adapted[name][third..2 * third], bits[third..2 * third]);
            assert_ne!(adapted[name][..third], bits[..third], "queries of {name}");
            assert_ne!(
                adapted[name][2 * third..],
                bits[2 * third..],
                "values of {name}"
            );
        } else if !outer.iter().any(|start| name.starts_with(start)) {
            assert_eq!(adapted[name], *bits, "{name}");
        }
    }
    assert!(Lora::new(&model("resnet_mini", 4), 4, 1.0).is_err());
}

#[test]
fn what_pulls_back_keeps_a_model_near_its_start() {
    let start = model("vit_mini", 4);
    let free = moved(
        &fitted(&start, &Plain { part: Part::All }, &plan(), 2),
        &start,
    );
    for strength in [0.1, 0.5] {
        let method = Anchored::new(&start, None, strength);
        let held = moved(&fitted(&start, &method, &plan(), 2), &start);
        assert!(held < free, "strength {strength}: {held} and {free}");
    }
}

#[test]
fn a_teacher_is_asked_once_or_for_every_batch() {
    let start = model("vit_mini", 4);
    let set = images(8);
    let method = Lwf {
        teacher: start.clone(),
        strength: 1.0,
        temperature: 2.0,
    };
    let objective = Objective {
        rule: Rule::Sgd { momentum: 0.9 },
        weight_decay: 0.0,
        smoothing: 0.0,
        clip: None,
        classes: None,
        precision: Precision::F32,
        seed: 0,
    };
    let trainer = Trainer::new(model("vit_mini", 4), &method, &objective).unwrap();
    let input = &start.config().input;
    let batch = Normaliser::new(input, &Device::Cpu);
    let batch = batch.batch(&set, &[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
    let asked = trainer.gradients(&BatchInput::Images(batch.clone()).into(), &set.labels);
    let known = Batch {
        teacher: Some(start.logits(&batch).unwrap()),
        fed: BatchInput::Images(batch),
    };
    let known = trainer.gradients(&known, &set.labels);
    assert_eq!(asked.unwrap().0, known.unwrap().0);
}

#[test]
fn fisher_information_is_that_of_the_logits() {
    // The diagonal of a classifier is known: E[(p − y)²] for the bias, p(1 − p) in expectation.
    let start = model("vit_mini", 4);
    let set = images(20);
    let information = diagonal(&start, &set, 4000, 1, 2, &Unobserved).unwrap();
    let bias = information["head.bias"].to_vec1::<f32>().unwrap();
    let mut expected = [0.0f64; 4];
    let batch = Normaliser::new(&start.config().input, &Device::Cpu);
    for image in 0..20 {
        let logits = start.logits(&batch.batch(&set, &[image]).unwrap()).unwrap();
        let logits = logits.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let total: f64 = logits.iter().map(|it| libm::exp(f64::from(*it))).sum();
        for (sum, logit) in expected.iter_mut().zip(logits) {
            let p = libm::exp(f64::from(logit)) / total;
            *sum += p * (1.0 - p) / 20.0;
        }
    }
    // One label per image: the mean over four classes has a standard error of about a tenth.
    let (found, expected) = (
        bias.iter().sum::<f32>(),
        expected.iter().sum::<f64>() as f32,
    );
    assert!(
        (found / expected - 1.0).abs() < 0.25,
        "{found} for {expected}"
    );
    let names: Vec<&String> = information.keys().collect();
    assert_eq!(names, weights(&start).keys().collect::<Vec<_>>());
}
