use super::super::settings::Request;
use super::*;

fn node(name: &str, cpus: u32, gibibytes: u64, gpus: u32, partition: &str) -> Node {
    Node {
        name: name.to_string(),
        cpus,
        mem: gibibytes << 30,
        gpus,
        state: "IDLE".to_string(),
        partitions: vec![partition.to_string()],
        features: vec!["avx512".to_string()],
    }
}

fn cluster() -> Cluster {
    let partition = |name: &str| Partition {
        name: name.to_string(),
        is_up: true,
        ..Partition::default()
    };
    Cluster {
        config: facts::settings("MaxArraySize = 1001\n"),
        partitions: vec![
            Partition {
                is_default: true,
                max_time: Some(86400),
                ..partition("main")
            },
            Partition {
                accounts: vec!["lab".to_string()],
                qos: vec!["normal".to_string()],
                ..partition("gpu")
            },
            Partition {
                is_up: false,
                ..partition("old")
            },
            Partition {
                max_time: Some(120),
                ..partition("short")
            },
        ],
        nodes: vec![
            node("n1", 4, 8, 0, "main"),
            node("n2", 64, 4, 0, "main"),
            node("g1", 8, 64, 2, "gpu"),
            node("o1", 8, 64, 2, "old"),
            node("s1", 8, 64, 2, "short"),
        ],
    }
}

fn class(cpus: u32, gibibytes: u64, gpus: u32) -> PlaceClass {
    PlaceClass {
        name: "c".to_string(),
        cpus,
        mem: Some(gibibytes << 30),
        gpus,
        ..PlaceClass::default()
    }
}

fn found(request: Request, class: PlaceClass) -> Vec<String> {
    let settings = SlurmSettings {
        request: Request {
            time: if request.time > 0 { request.time } else { 3600 },
            ..request
        },
        ..SlurmSettings::default()
    };
    let findings = cluster().findings(&settings, &[(class, "stage `a`".to_string())]);
    let shown = findings
        .into_iter()
        .map(|it| format!("{}; {}", it.what, it.cure));
    shown.collect()
}

fn partition(name: &str) -> Request {
    Request {
        partition: Some(name.to_string()),
        ..Request::default()
    }
}

#[test]
fn a_site_that_fits_is_left_alone() {
    assert_eq!(found(Request::default(), class(4, 4, 0)), [""; 0]);
    let gpu = Request {
        account: Some("lab".to_string()),
        qos: Some("normal".to_string()),
        constraint: Some("avx512".to_string()),
        ..partition("gpu")
    };
    assert_eq!(found(gpu, class(8, 64, 2)), [""; 0]);
    assert_eq!(found(partition("main,short"), class(4, 4, 0)), [""; 0]);
}

#[test]
fn each_mistake_is_found_with_its_cure() {
    for (request, class, expected) in [
        (
            partition("mian"),
            class(1, 1, 0),
            "there is no partition `mian`; did you mean `main`?",
        ),
        (partition("old"), class(1, 1, 0), "partition `old` is down"),
        (
            partition("short"),
            class(1, 1, 0),
            "ask for 1 h 00 min; partition `short` gives at most 2 min",
        ),
        (
            Request::default(),
            class(99, 1, 0),
            "has 99 CPUs for stage `a`; the largest has 64",
        ),
        (
            Request::default(),
            class(1, 9, 0),
            "has 9.0 GiB for stage `a`; the largest has 8.0 GiB",
        ),
        (
            Request::default(),
            class(1, 1, 1),
            "has 1 GPUs for stage `a`; the largest has 0",
        ),
        (
            Request::default(),
            class(8, 8, 0),
            "has 8 CPUs, 8.0 GiB and 0 GPUs together",
        ),
        (
            Request {
                account: Some("lob".to_string()),
                ..partition("gpu")
            },
            class(1, 1, 0),
            "does not allow the account `lob`; did you mean `lab`?",
        ),
        (
            Request {
                qos: Some("high".to_string()),
                ..partition("gpu")
            },
            class(1, 1, 0),
            "does not allow the quality of service `high`",
        ),
        (
            Request {
                constraint: Some("avx521".to_string()),
                ..Request::default()
            },
            class(1, 1, 0),
            "has the feature `avx521`; did you mean `avx512`?",
        ),
    ] {
        let found = found(request, class);
        assert!(
            found.len() == 1 && found[0].contains(expected),
            "{expected}: {found:?}"
        );
    }
}

#[test]
fn nodes_that_are_away_are_a_warning() {
    let mut cluster = cluster();
    for node in &mut cluster.nodes {
        node.state = "DOWN*+DRAIN".to_string();
    }
    let classes = [(class(1, 1, 0), "stage `a`".to_string())];
    let findings = cluster.findings(&SlurmSettings::default(), &classes);
    assert_eq!(findings.len(), 1);
    assert!(
        !findings[0].is_error && findings[0].what.contains("DOWN*+DRAIN"),
        "{findings:?}"
    );
}
