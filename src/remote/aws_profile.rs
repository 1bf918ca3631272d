//! Reads the credentials file of AWS's own tools.

use std::env;
use std::fs;
use std::path::PathBuf;

use crate::diag::secrets;

/// A profile with a key. Others (for roles or single sign-on) need AWS's own tools: `aws configure
/// export-credentials --format env` turns them into variables.
pub struct Profile {
    pub key: String,
    pub secret: String,
    pub token: Option<String>,
    pub region: Option<String>,
}

/// The profile that AWS_PROFILE names, or `default`.
pub fn chosen() -> Option<Profile> {
    let name = env::var("AWS_PROFILE").unwrap_or_else(|_| "default".to_string());
    let credentials = read("AWS_SHARED_CREDENTIALS_FILE", "credentials");
    let config = read("AWS_CONFIG_FILE", "config");
    find(&name, &credentials, &config)
}

fn read(variable: &str, file: &str) -> String {
    let path = env::var_os(variable).map(PathBuf::from).or_else(|| {
        let home = env::var_os("HOME")?;
        Some(PathBuf::from(home).join(".aws").join(file))
    });
    path.and_then(|path| fs::read_to_string(path).ok())
        .unwrap_or_default()
}

fn find(name: &str, credentials: &str, config: &str) -> Option<Profile> {
    let value = |key: &str| {
        setting(credentials, &[name], key)
            .or_else(|| setting(config, &[name, &format!("profile {name}")], key))
    };
    let profile = Profile {
        key: value("aws_access_key_id")?,
        secret: value("aws_secret_access_key")?,
        token: value("aws_session_token"),
        region: value("region"),
    };
    secrets::keep(&profile.secret);
    profile
        .token
        .as_deref()
        .inspect(|token| secrets::keep(token));
    Some(profile)
}

/// The value of `key` under one of the headings.
fn setting(text: &str, headings: &[&str], key: &str) -> Option<String> {
    let mut is_in = false;
    for line in text.lines().map(str::trim) {
        if let Some(heading) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            is_in = headings.contains(&heading.trim());
        } else if let (true, Some((name, value))) = (is_in, line.split_once('='))
            && name.trim() == key
            && !value.trim().is_empty()
        {
            return Some(value.trim().to_string());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_found_under_its_heading() {
        let credentials = "[default]\naws_access_key_id=A\naws_secret_access_key = S=/+\n\
             [lab]\n# aws_access_key_id = no\naws_access_key_id = B\n";
        let config = "[profile lab]\naws_secret_access_key = T\nregion = eu-west-1\n";
        let one = find("default", credentials, config).unwrap();
        assert_eq!((one.key.as_str(), one.secret.as_str()), ("A", "S=/+"));
        assert!(one.region.is_none());
        let lab = find("lab", credentials, config).unwrap();
        assert_eq!((lab.key.as_str(), lab.secret.as_str()), ("B", "T"));
        assert_eq!(lab.region.as_deref(), Some("eu-west-1"));
        assert!(find("other", credentials, config).is_none());
    }
}
