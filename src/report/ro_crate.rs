//! A run as a Workflow Run RO-Crate (<https://w3id.org/ro/wfrun/workflow/0.5>): what was run, when
//! and on which inputs, and the results, in JSON-LD that research repositories read.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::number::utc;
use super::view::View;

const CONTEXT: &str = "https://w3id.org/ro/crate/1.1/context";
const PROFILES: [(&str, &str, &str); 3] = [
    (
        "https://w3id.org/ro/wfrun/process/0.5",
        "Process Run Crate",
        "0.5",
    ),
    (
        "https://w3id.org/ro/wfrun/workflow/0.5",
        "Workflow Run Crate",
        "0.5",
    ),
    (
        "https://w3id.org/workflowhub/workflow-ro-crate/1.0",
        "Workflow RO-Crate",
        "1.0",
    ),
];
const PARAMETER: &str = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE";

/// The content of the crate's folder.
pub struct Contents<'a> {
    /// The workflow file, relative to the crate.
    pub workflow: &'a str,
    /// Its other files: a lock file, published values, scripts.
    pub inputs: &'a BTreeMap<String, u64>,
    /// The files of the report.
    pub results: &'a BTreeMap<String, u64>,
    /// The address of the licence, if one was given.
    pub license: Option<&'a str>,
}

/// The content of `ro-crate-metadata.json`.
pub fn metadata(view: &View, contents: &Contents) -> Value {
    let (started, ended) = times(view);
    let mut graph = vec![descriptor(), root(view, contents, ended)];
    graph.extend(PROFILES.iter().map(|(id, name, version)| {
        json!({ "@id": id, "@type": "CreativeWork", "name": name, "version": version })
    }));
    graph.push(license(contents.license));
    graph.push(workflow(view, contents));
    graph.extend(software());
    graph.extend(parameters(contents));
    graph.push(action(view, contents, started, ended));
    graph.extend(
        contents
            .inputs
            .iter()
            .map(|(name, size)| file(name, *size, None)),
    );
    graph.extend(contents.results.iter().map(|(name, size)| {
        let parameter = format!("#{name}");
        file(name, *size, Some(&parameter))
    }));
    json!({ "@context": CONTEXT, "@graph": graph })
}

fn descriptor() -> Value {
    json!({
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "about": { "@id": "./" },
        "conformsTo": [
            { "@id": "https://w3id.org/ro/crate/1.1" },
            { "@id": PROFILES[2].0 },
        ],
    })
}

fn root(view: &View, contents: &Contents, ended: u64) -> Value {
    let name = &view.graph.name;
    let files = contents.inputs.keys().chain(contents.results.keys());
    let parts = std::iter::once(contents.workflow).chain(files.map(String::as_str));
    let description = view.graph.description.clone();
    json!({
        "@id": "./",
        "@type": "Dataset",
        "name": format!("Results of {name}"),
        "description": description.unwrap_or_else(|| format!("Results of the workflow {name}")),
        "datePublished": utc(ended),
        "license": { "@id": license_id(contents.license) },
        "conformsTo": PROFILES.map(|(id, _, _)| json!({ "@id": id })),
        "mainEntity": { "@id": contents.workflow },
        "hasPart": references(parts),
        "mentions": [{ "@id": "#run" }],
    })
}

fn license_id(license: Option<&str>) -> &str {
    license.unwrap_or("#license")
}

fn license(license: Option<&str>) -> Value {
    let name = match license {
        Some(id) => id.rsplit('/').next().unwrap_or(id),
        None => "No licence is given: ask the authors",
    };
    json!({ "@id": license_id(license), "@type": "CreativeWork", "name": name })
}

fn workflow(view: &View, contents: &Contents) -> Value {
    let outputs = contents.results.keys().map(|name| format!("#{name}"));
    let inputs = view.graph.overrides.iter().chain(&view.graph.profiles);
    json!({
        "@id": contents.workflow,
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        "name": view.graph.name,
        "encodingFormat": "application/yaml",
        "programmingLanguage": { "@id": "#language" },
        "keywords": inputs.cloned().collect::<Vec<_>>(),
        "output": references(outputs.collect::<Vec<_>>().iter().map(String::as_str)),
    })
}

fn software() -> [Value; 2] {
    [
        json!({
            "@id": "#language",
            "@type": "ComputerLanguage",
            "name": "ribflow workflow language",
            "version": "1",
        }),
        json!({
            "@id": "#engine",
            "@type": "SoftwareApplication",
            "name": "ribflow",
            "softwareVersion": env!("CARGO_PKG_VERSION"),
        }),
    ]
}

/// A parameter for every result file, as the profile requires.
fn parameters(contents: &Contents) -> Vec<Value> {
    let parameter = |name: &String| {
        json!({
            "@id": format!("#{name}"),
            "@type": "FormalParameter",
            "name": name,
            "additionalType": "File",
            "conformsTo": { "@id": PARAMETER },
        })
    };
    let mut all: Vec<Value> = contents.results.keys().map(parameter).collect();
    all.push(json!({
        "@id": PARAMETER,
        "@type": "CreativeWork",
        "name": "FormalParameter",
        "version": "1.0-RELEASE",
    }));
    all
}

fn action(view: &View, contents: &Contents, started: u64, ended: u64) -> Value {
    let whole = view.records.len() == view.graph.dag.node_count();
    let provenances = view
        .records
        .values()
        .map(|stored| &stored.record.provenance);
    let devices: BTreeSet<&str> = provenances.map(|one| one.device_class.as_str()).collect();
    let devices: Vec<&str> = devices.into_iter().collect();
    json!({
        "@id": "#run",
        "@type": "CreateAction",
        "name": format!("Run of {}", view.graph.name),
        "description": format!(
            "{} of {} nodes have a result, from devices of class {}",
            view.records.len(),
            view.graph.dag.node_count(),
            devices.join(", ")
        ),
        "instrument": { "@id": contents.workflow },
        "startTime": utc(started),
        "endTime": utc(ended),
        "actionStatus": match whole {
            true => "http://schema.org/CompletedActionStatus",
            false => "http://schema.org/ActiveActionStatus",
        },
        "object": references(contents.inputs.keys().map(String::as_str)),
        "result": references(contents.results.keys().map(String::as_str)),
    })
}

fn file(name: &str, size: u64, parameter: Option<&str>) -> Value {
    let format = match name.rsplit('.').next().unwrap_or_default() {
        "json" => "application/json",
        "html" => "text/html",
        "csv" => "text/csv",
        "md" => "text/markdown",
        "yaml" | "lock" => "application/yaml",
        "svg" => "image/svg+xml",
        _ => "text/plain",
    };
    let mut entity = json!({
        "@id": name,
        "@type": "File",
        "name": name,
        "encodingFormat": format,
        "contentSize": size.to_string(),
    });
    if let Some(parameter) = parameter {
        entity["exampleOfWork"] = json!({ "@id": parameter });
    }
    entity
}

fn references<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<Value> {
    ids.map(|id| json!({ "@id": id })).collect()
}

/// When the first node started and the last one ended: seconds since 1970.
fn times(view: &View) -> (u64, u64) {
    let provenances = view
        .records
        .values()
        .map(|stored| &stored.record.provenance);
    let spans = provenances.map(|one| (one.started, one.started + one.wall_seconds.ceil() as u64));
    spans
        .reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
        .unwrap_or_default()
}
