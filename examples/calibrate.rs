//! Trains on mini-RIB without a workflow and prints what docs/mini-rib.md sets ranges for:
//! `cargo run --release --example calibrate -- [NAME=VALUE …]`, names as in `Settings`.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Instant;

use candle_core::Device;
use ribflow::ml::Unobserved;
use ribflow::ml::data::ImageSet;
use ribflow::ml::data::mini_rib::{Collection, Split, render};
use ribflow::ml::models::average::average;
use ribflow::ml::models::{Config, Model};
use ribflow::ml::ops::Precision;
use ribflow::ml::train::augment::Augment;
use ribflow::ml::train::evaluate;
use ribflow::ml::train::fit::{Plan, fit};
use ribflow::ml::train::method::{Part, Plain};
use ribflow::ml::train::optimiser::Rule;
use ribflow::ml::train::schedule::Warmup;

/// As the program: training allocates and frees the same sizes for ever.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What can be set on the command line, with the workflow's values.
struct Settings {
    values: BTreeMap<String, String>,
}

impl Settings {
    fn read() -> Self {
        let pairs = std::env::args().skip(1).filter_map(|argument| {
            let (name, value) = argument.split_once('=')?;
            Some((name.to_string(), value.to_string()))
        });
        Self {
            values: pairs.collect(),
        }
    }

    fn number(&self, name: &str, usual: f64) -> Outcome<f64> {
        Ok(match self.values.get(name) {
            Some(text) => text.parse()?,
            None => usual,
        })
    }

    fn text(&self, name: &str, usual: &str) -> String {
        self.values
            .get(name)
            .map_or(usual, String::as_str)
            .to_string()
    }
}

fn main() -> Outcome<()> {
    let settings = Settings::read();
    for source in [Collection::Narrow, Collection::Rich] {
        let wanted = settings.text("source", "both");
        if wanted == "both" || wanted == source.name() {
            study(source, &settings)?;
        }
    }
    Ok(())
}

fn study(source: Collection, settings: &Settings) -> Outcome<()> {
    let threads = settings.number("threads", 2.0)? as usize;
    let seed = settings.number("seed", 0.0)? as u64;
    let usual = source.size(Split::Train) as f64;
    let images = settings.number(source.name(), usual)? as usize;
    let pool = render(source, Split::Train, images, 0);
    let own = render(source, Split::Test, source.size(Split::Test), 0);

    let begun = Instant::now();
    let plan = Plan {
        epochs: settings.number("pretrain_epochs", 14.0)? as u64,
        batch: settings.number("pretrain_batch", 16.0)? as usize,
        rate: settings.number("pretrain_lr", 0.002)?,
        warmup: Warmup::written(0.1),
        rule: Rule::ADAMW,
        weight_decay: 0.05,
        smoothing: settings.number("smoothing", 0.1)?,
        clip: None,
        augment: Augment {
            flip: settings.number("flip", 1.0)? != 0.0,
            shift: settings.number("shift", 0.0)? as usize,
        },
        frozen_backbone: false,
        precision: Precision::F32,
        seed,
    };
    let config = Config::named(&settings.text("arch", "vit_mini"), &pool.classes)?;
    let start = Model::new(config, seed, &Device::Cpu)?;
    let fitted = fit(
        start,
        &pool,
        &Plain { part: Part::All },
        &plan,
        threads,
        &Unobserved,
    )?;
    let (before, training) = (
        fitted.model,
        fitted.epochs.last().map(|epoch| epoch.accuracy),
    );
    let own_before = accuracy(&before, &own, threads)?;
    println!(
        "{} {images} images, {:.1} s: training {:.1} %, own {own_before:.1} %",
        source.name(),
        begun.elapsed().as_secs_f64(),
        100.0 * training.unwrap_or_default()
    );
    if settings.number("tune", 1.0)? != 0.0 {
        tune(&before, own_before, &own, settings, threads, seed)?;
    }
    Ok(())
}

fn tune(
    before: &Model,
    own_before: f64,
    own: &ImageSet,
    settings: &Settings,
    threads: usize,
    seed: u64,
) -> Outcome<()> {
    let domains = &Collection::ALL[2..];
    let images = settings.number("images", 300.0)? as usize;
    let draw = |split| move |domain: &Collection| render(*domain, split, images, 0);
    let train: Vec<ImageSet> = domains.iter().map(draw(Split::Train)).collect();
    let held: Vec<ImageSet> = domains.iter().map(draw(Split::Test)).collect();
    let score = |model: &Model, sets: &[ImageSet]| -> Outcome<Vec<f64>> {
        sets.iter()
            .map(|set| accuracy(model, set, threads))
            .collect()
    };
    let (pre_train, pre_held) = (score(before, &train)?, score(before, &held)?);
    println!(
        "            before | held-out gain ft    lp  wise |     RI ft    lp  wise | own ft    lp  wise"
    );
    let mut means = [0.0; 3];
    let wanted = settings.text("domain", "all");
    for (index, domain) in domains.iter().enumerate() {
        if wanted != "all" && wanted != domain.name() {
            continue;
        }
        let mut tuned = Vec::new();
        for part in [Part::All, Part::Head] {
            let plan = Plan {
                epochs: settings.number("epochs", 8.0)? as u64,
                batch: settings.number("batch", 16.0)? as usize,
                rate: settings.number("lr", 0.002)?,
                warmup: Warmup::written(0.1),
                rule: Rule::Sgd { momentum: 0.9 },
                weight_decay: 0.0,
                smoothing: 0.0,
                clip: None,
                augment: Augment {
                    flip: part == Part::All && settings.number("tune_flip", 1.0)? != 0.0,
                    shift: settings.number("tune_shift", 0.0)? as usize,
                },
                frozen_backbone: part == Part::Head,
                precision: Precision::F32,
                seed,
            };
            let fitted = fit(
                before.clone(),
                &train[index],
                &Plain { part },
                &plan,
                threads,
                &Unobserved,
            )?;
            tuned.push(fitted.model);
        }
        tuned.push(average(&[before.clone(), tuned[0].clone()], &[0.5, 0.5])?);
        let mut line = format!("{:>10}   {:6.1} |", domain.name(), pre_train[index]);
        let mut ri = String::new();
        let mut drop = String::new();
        for (column, model) in tuned.iter().enumerate() {
            let gain = accuracy(model, &held[index], threads)? - pre_held[index];
            let after = score(model, &train)?;
            let others = (0..domains.len()).filter(|other| *other != index);
            let change: f64 = others
                .map(|other| after[other] - pre_train[other])
                .sum::<f64>()
                / 7.0;
            means[column] += change / 8.0;
            line += &format!(" {gain:+9.1}");
            ri += &format!(" {change:+6.1}");
            drop += &format!(" {:+6.1}", accuracy(model, own, threads)? - own_before);
        }
        println!("{line} | {ri} | {drop}");
    }
    println!(
        "mRI: ft {:+.1}, lp {:+.1}, wise {:+.1}",
        means[0], means[1], means[2]
    );
    Ok(())
}

/// Percent.
fn accuracy(model: &Model, set: &ImageSet, threads: usize) -> Outcome<f64> {
    let found = evaluate(model, set, false, threads, &Unobserved)?;
    let right: u64 = found.parts.iter().map(|part| part.top1).sum();
    Ok(100.0 * right as f64 / set.len() as f64)
}
