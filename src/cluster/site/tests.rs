use super::*;

fn read(text: &str) -> Result<Site, String> {
    let site = Site::parse(SourceText::new("cluster.yaml", text));
    site.map_err(|problems| problems.render(false))
}

#[test]
fn an_empty_file_is_the_defaults() {
    assert_eq!(read("").unwrap(), Site::default());
    assert_eq!(read("# nothing\n").unwrap(), Site::default());
    let none = Site::read(Path::new("/no/such/file/cluster.yaml")).unwrap();
    assert_eq!(none, Site::default());
}

#[test]
fn every_field_is_read() {
    let site = read(
        "\
workers: 40
work: 20m
batch: 4
slurm:
  partition: main
  account: lab
  qos: normal
  constraint: avx512
  time: 2h
  mem: 4GiB
  options: [--exclusive=user, --nice=100]
  setup: [module load cuda]
  max_time: 1d
  poll: 30s
  gpus:
    partition: gpu
    gres: gpu:a100:{gpus}
    time: 8h
command:
  launch: hq submit --cpus {cpus} -- {worker}
  join: 10m
  mem: 1GiB
  time: 1h
",
    )
    .unwrap();
    assert_eq!((site.limits.workers, site.limits.batch), (40, 4));
    assert_eq!(site.limits.target, 1200.0);
    let request = &site.slurm.request;
    assert_eq!((request.time, request.mem), (7200, Some(4 << 30)));
    assert_eq!(request.options.len(), 2);
    assert_eq!((site.slurm.max_time, site.slurm.poll), (Some(86400), 30));
    let class = super::super::PlaceClass {
        gpus: 1,
        ..Default::default()
    };
    let gpus = site.slurm.request(&class);
    assert_eq!(gpus.partition.as_deref(), Some("gpu"));
    assert_eq!(gpus.account.as_deref(), Some("lab"));
    assert_eq!((gpus.time, gpus.setup.len()), (8 * 3600, 1));
    let launch = site.launch(None).unwrap();
    assert_eq!((launch.join, launch.time), (600.0, Some(3600)));
    assert_eq!(
        site.launch(Some("x {worker}")).unwrap().launch,
        "x {worker}"
    );
}

#[test]
fn everything_wrong_is_reported_with_its_place() {
    for (text, expected) in [
        ("wrokers: 3", "cluster.yaml:1:1"),
        ("wrokers: 3", "did you mean `workers`?"),
        (
            "workers: 0",
            "`workers` is a whole number from 1 to 10000, not 0",
        ),
        ("slurm: main", "`slurm` is a map, not a text"),
        ("slurm:\n  partion: main", "did you mean `partition`?"),
        ("slurm:\n  time: soon", "cluster.yaml:2:9"),
        (
            "slurm:\n  time:",
            "`time` is a time such as `90s`, `30m` or `2h`, not null",
        ),
        ("slurm:\n  partition: -x", "`partition` is a text, not `-x`"),
        (
            "slurm:\n  options: --nice",
            "`options` is a list of texts, not `--nice`",
        ),
        ("slurm:\n  options: [--mem=3G]", "use `mem:`"),
        ("slurm:\n  gpus: { poll: 3s }", "`gpus` has no field `poll`"),
        ("command:\n  launch: hq submit", "it has no `{worker}`"),
        ("command:\n  launch: hq {workers}", "did you mean `worker`?"),
        ("[]", "the file is a map, not a list"),
    ] {
        let problems = read(text).unwrap_err();
        assert!(problems.contains(expected), "{text}:\n{problems}");
    }
}
