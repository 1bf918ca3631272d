//! The user's configuration: what is written is read, and what is wrong is told with its place.

use std::fs;
use std::path::Path;

use ribflow::digest::Digest;
use ribflow::remote::config::{Config, ConfigError, Configured};
use ribflow::remote::home::{Home, NoHome};
use ribflow::remote::trust::Policy;

use super::{home, key};

fn written(text: &str) -> (tempfile::TempDir, Home) {
    let folder = tempfile::tempdir().unwrap();
    let home = home(folder.path());
    fs::create_dir_all(home.config_file().parent().unwrap()).unwrap();
    fs::write(home.config_file(), text).unwrap();
    (folder, home)
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let home = home(folder.path());
    assert_eq!(Config::read(&home).unwrap(), Config::default());
    let remote = Configured {
        url: "s3://bucket/rib".to_string(),
        endpoint: Some("http://127.0.0.1:9000".to_string()),
        region: Some("eu-central-1".to_string()),
        write: true,
        token_env: Some("RIBFLOW_TOKEN".to_string()),
        policy: Policy {
            require: ["aachen", "no"].map(str::to_string).into(),
            quorum: 2,
            recheck: 0.07,
        },
    };
    let plain = Configured {
        url: "file:///lab".to_string(),
        ..Configured::default()
    };
    let config = Config {
        // Names that YAML might read as something else.
        remotes: [("1e3", remote), ("null", plain)]
            .map(|(name, remote)| (name.to_string(), remote))
            .into(),
        trust: [("aachen".to_string(), key(1)), ("12".to_string(), key(2))].into(),
        commands: [
            Digest::of(b"a"),
            format!("1e{}", "0".repeat(62)).parse().unwrap(),
            "7".repeat(64).parse().unwrap(),
        ]
        .into(),
        key: Some("yes".to_string()),
    };
    Config::edit(&home, |old| {
        *old = config.clone();
        Ok::<_, ConfigError>(())
    })
    .unwrap();
    assert_eq!(Config::read(&home).unwrap(), config);
}

#[test]
fn a_head_of_comments_stays_and_a_link_stays_a_link() {
    let (folder, home) = written("# mine\n\ntrust: {}\n# gone\n");
    let elsewhere = folder.path().join("dotfiles.yaml");
    fs::rename(home.config_file(), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, home.config_file()).unwrap();
    let add = |config: &mut Config| {
        config.trust.insert("a".to_string(), key(1));
        Ok::<_, ConfigError>(())
    };
    Config::edit(&home, add).unwrap();
    let text = fs::read_to_string(&elsewhere).unwrap();
    assert_eq!(text, format!("# mine\n\ntrust:\n  a: {}\n", key(1)));
    assert!(home.config_file().is_symlink());
}

#[test]
fn of_many_writers_at_once_none_loses_an_entry() {
    let folder = tempfile::tempdir().unwrap();
    let home = home(folder.path());
    std::thread::scope(|scope| {
        for number in 0..16 {
            let home = &home;
            scope.spawn(move || {
                Config::edit(home, |config| {
                    config.trust.insert(format!("lab-{number}"), key(number));
                    Ok::<_, ConfigError>(())
                })
                .unwrap();
            });
        }
    });
    assert_eq!(Config::read(&home).unwrap().trust.len(), 16);
    let left = fs::read_dir(home.config_file().parent().unwrap())
        .unwrap()
        .count();
    assert_eq!(left, 1, "no lock and no temporary file is left");
}

#[test]
fn secrets_in_urls_are_separated_from_addresses() {
    for url in [
        "https://me:word@host/x",
        "http://token@host",
        "s3://a:b@c/d",
    ] {
        assert!(Configured::has_secret(url), "{url}");
    }
    for url in [
        "https://host/a@b:c",
        "s3://bucket/x",
        "file:///home/a@b",
        "/a:b@c",
    ] {
        assert!(!Configured::has_secret(url), "{url}");
    }
}

#[test]
fn everything_wrong_is_reported_with_its_place() {
    let same = key(1);
    let (_folder, home) = written(&format!(
        "remote: {{}}
remotes:
  a: {{ url: \"https://me:word@host/\", writes: true, quorum: 0, recheck: 500% }}
  ../b: {{ url: s3://bucket, token_env: \"a token\", write: maybe }}
  c: {{ require: aachen }}
trust:
  x: {same}
  y: {same}
  z: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
commands: [abc]
key: ../x
"
    ));
    let Err(ConfigError::Wrong(problems)) = Config::read(&home) else {
        panic!("it is wrong");
    };
    let name = home.config_file().display().to_string();
    let text = problems.render(false).replace(&name, "config.yaml");
    assert!(
        !text.contains("word@") && !text.contains("a token"),
        "{text}"
    );
    insta::assert_snapshot!(text);
}

#[test]
fn the_example_of_the_reference_is_read() {
    let page = include_str!("../../../docs/sharing.md");
    let example = page.split("```yaml\nremotes:").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let (_folder, home) = written(&format!("remotes:{example}"));
    let config = Config::read(&home).unwrap();
    assert_eq!(config.trust["aachen"], key(1));
    let remote = &config.remotes["aachen"];
    assert!(remote.write && remote.policy.quorum == 2 && remote.policy.recheck == 0.05);
}

fn of(variables: &[(&str, &str)]) -> Result<Home, NoHome> {
    let variables = variables.to_vec();
    Home::of(move |name| {
        let found = variables.iter().find(|(known, _)| *known == name)?;
        Some(found.1.into())
    })
}

#[test]
fn folders_follow_the_variables() {
    let home = of(&[("HOME", "/h")]).unwrap();
    let config = Path::new("/h/.config/ribflow/config.yaml");
    assert_eq!(home.config_file(), config);
    assert_eq!(home.keys(), Path::new("/h/.local/share/ribflow/keys"));
    let home = of(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/c")]).unwrap();
    assert_eq!(home.config_file(), Path::new("/c/ribflow/config.yaml"));
    let home = of(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "c")]).unwrap();
    assert_eq!(home.config_file(), config, "a relative path is ignored");
    assert!(of(&[("HOME", "")]).is_err());
    assert!(of(&[("XDG_DATA_HOME", "/d")]).is_err());
    assert!(of(&[("XDG_DATA_HOME", "/d"), ("XDG_CONFIG_HOME", "/c")]).is_ok());
}
