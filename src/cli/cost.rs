//! The cost estimate of a run, as `plan` prints it.

use serde_json::{Value, json};

use crate::engine::price::devices::Hours;
use crate::engine::price::{RunPrice, StagePrice};
use crate::quantity::{bytes, count, grouped};
use crate::ui::table::Table;

/// The estimated cost of the remaining nodes, by stage and in total; empty if none remain.
pub fn lines(price: &RunPrice, hours: &[Hours]) -> Vec<String> {
    if price
        .stages
        .iter()
        .all(|stage| stage.operations == 0.0 && stage.written == 0.0)
    {
        return Vec::new();
    }
    let mut lines = vec![
        String::new(),
        "Estimated cost of the remaining nodes".to_string(),
    ];
    let mut table = Table::new(["stage", "nodes", "images shown", "steps", "FLOP", "written"]);
    let row = |stage: &StagePrice| {
        [
            stage.stage.clone(),
            grouped(stage.nodes),
            number(stage.images),
            number(stage.steps),
            flops(stage.operations),
            written(stage.written),
        ]
    };
    for stage in price
        .stages
        .iter()
        .filter(|stage| stage.operations + stage.written > 0.0)
    {
        table.row(row(stage));
    }
    let total = StagePrice {
        stage: "total".to_string(),
        nodes: price.stages.iter().map(|stage| stage.nodes).sum(),
        images: price.total(|stage| stage.images),
        steps: price.total(|stage| stage.steps),
        operations: price.total(|stage| stage.operations),
        written: price.total(|stage| stage.written),
    };
    table.row(row(&total));
    lines.extend(table.lines());
    lines.push(String::new());
    lines.extend(sharing(price));
    let (peak, least) = price.peak();
    lines.push(format!(
        "Disk space: at most {} with the shared work kept, {} without.",
        written(peak),
        written(least)
    ));
    lines.push(time(hours));
    if price.open > 0 {
        lines.push(format!(
            "These are lower bounds: {} can't be estimated fully yet.",
            count(price.open, "node")
        ));
    }
    lines
}

fn sharing(price: &RunPrice) -> Vec<String> {
    let shared = &price.shared;
    let mut lines = Vec::new();
    if shared.decoded > 0.0 {
        lines.push(format!(
            "Images to decode: {}; {} without sharing between nodes.",
            number(shared.decoded),
            number(shared.decoded_alone)
        ));
    }
    if shared.operations > 0.0 {
        lines.push(format!(
            "Frozen models (features, teachers): {}FLOP; {}FLOP without sharing between nodes.",
            flops(shared.operations),
            flops(shared.operations_alone)
        ));
    }
    lines
}

fn time(hours: &[Hours]) -> String {
    let recorded: Vec<&Hours> = hours.iter().filter(|hours| hours.recorded > 0).collect();
    let nodes: usize = recorded.iter().map(|hours| hours.recorded).sum();
    let one = |hours: &&Hours| format!("{} {}", hour(hours.hours), hours.device);
    match nodes {
        0 => "Device hours: not measured, since too few nodes of these kinds have been recorded."
            .to_string(),
        _ => format!(
            "Device hours, by {}: {}.",
            count(nodes, "recorded node"),
            recorded.iter().map(one).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// The estimate as JSON.
pub fn document(price: &RunPrice, hours: &[Hours]) -> Value {
    let (peak, least) = price.peak();
    json!({
        "stages": price.stages,
        "images": price.total(|stage| stage.images),
        "steps": price.total(|stage| stage.steps),
        "operations": price.total(|stage| stage.operations),
        "written": price.total(|stage| stage.written),
        "shared": price.shared,
        "peak": peak,
        "peak_without_shared": least,
        "open": price.open,
        "hours": hours,
    })
}

/// `812`, `18.4 thousand`, `3.1 billion`.
fn number(value: f64) -> String {
    match value {
        0.0 => String::new(),
        _ if value < 1e4 => grouped(value.round() as usize),
        _ if value < 1e6 => format!("{:.1} thousand", value / 1e3),
        _ if value < 1e9 => format!("{:.1} million", value / 1e6),
        _ => format!("{:.2} billion", value / 1e9),
    }
}

/// `527 E`: with the SI prefix that leaves at most three digits before the point.
fn flops(operations: f64) -> String {
    const PREFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    if operations == 0.0 {
        return String::new();
    }
    let mut value = operations;
    let mut prefix = 0;
    while value >= 999.5 && prefix + 1 < PREFIXES.len() {
        value /= 1000.0;
        prefix += 1;
    }
    match value < 9.95 {
        true => format!("{value:.1} {}", PREFIXES[prefix]),
        false => format!("{value:.0} {}", PREFIXES[prefix]),
    }
}

fn written(value: f64) -> String {
    match value {
        0.0 => String::new(),
        _ => bytes(value as u64),
    }
}

fn hour(hours: f64) -> String {
    match hours {
        _ if hours < 0.1 => format!("{:.1} min", 60.0 * hours),
        _ if hours < 100.0 => format!("{hours:.1} h"),
        _ => format!("{} h", grouped(hours.round() as usize)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_by_peak_rates_are_not_measured() {
        let of = |device: &str, recorded| Hours {
            device: device.to_string(),
            hours: 2.0,
            recorded,
        };
        let peak = of("V100", 0);
        let line = time(std::slice::from_ref(&peak));
        assert!(line.starts_with("Device hours: not measured"), "{line}");
        let line = time(&[peak, of("cores of cpu/x86-64-v4", 12)]);
        let right = "Device hours, by 12 recorded nodes: 2.0 h cores of cpu/x86-64-v4.";
        assert_eq!(line, right);
    }
}
