//! Opens the remote at a URL.

use std::path::Path;

use super::bucket::{BucketRemote, Kind};
use super::folder::FolderRemote;
use super::http::{self, HttpRemote};
pub use super::options::Options;
use super::transport::{Remote, RemoteError};
use crate::diag::suggest;
use crate::fetch::urls::{decoded, without_secrets};

const SCHEMES: [&str; 6] = ["file", "s3", "gs", "az", "http", "https"];

/// The remote at `url`. Sends no request: an error means that the address is invalid.
pub fn open(url: &str, options: &Options) -> Result<Box<dyn Remote>, RemoteError> {
    let address = |why: String| RemoteError::Address {
        url: without_secrets(url),
        why,
    };
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(address(without_scheme(url)));
    };
    let scheme = scheme.to_ascii_lowercase();
    if !SCHEMES.contains(&scheme.as_str()) {
        return Err(address(format!(
            "unknown scheme `{scheme}`; {}",
            of_schemes(&scheme)
        )));
    }
    check(&scheme, rest, options).map_err(address)?;
    let rest = rest.trim_end_matches('/');
    Ok(match scheme.as_str() {
        "file" => Box::new(FolderRemote::new(Path::new(
            &folder(rest).map_err(address)?,
        ))),
        "s3" => bucket(Kind::S3, rest, options)?,
        "gs" => bucket(Kind::Google, rest, options)?,
        "az" => bucket(Kind::Azure, rest, options)?,
        _ => {
            let url = format!("{scheme}://{rest}");
            if !http::is_plain(&url) {
                return Err(address("it has no host, or is not a URL".to_string()));
            }
            Box::new(HttpRemote::new(&url, options))
        }
    })
}

/// An address without a scheme is most likely a folder.
fn without_scheme(url: &str) -> String {
    if url.starts_with('/') {
        return format!("it has no scheme; did you mean file://{url}?");
    }
    match url.split_once(':') {
        Some((scheme, rest)) if SCHEMES.contains(&scheme) => {
            let rest = rest.trim_start_matches('/');
            let slash = if scheme == "file" { "/" } else { "" };
            format!("did you mean {scheme}://{slash}{rest}?")
        }
        _ => "it has no scheme; write a folder as file:///its/absolute/path".to_string(),
    }
}

fn of_schemes(scheme: &str) -> String {
    // Names that other tools use for the same schemes.
    match scheme {
        "s3a" | "s3n" => return "did you mean `s3`?".to_string(),
        "gcs" => return "did you mean `gs`?".to_string(),
        "azure" | "abfs" | "abfss" | "adl" | "wasbs" => return "did you mean `az`?".to_string(),
        "dav" | "webdav" => return "did you mean `http`?".to_string(),
        "davs" | "webdavs" => return "did you mean `https`?".to_string(),
        _ => {}
    }
    match suggest(scheme, "schemes", SCHEMES) {
        guess if guess.starts_with("did you mean") && scheme != "ftp" => guess,
        _ => "a remote is file://, s3://, gs://, az://, http:// or https://".to_string(),
    }
}

/// Rejects what no remote may have, and options that would have no effect.
fn check(scheme: &str, rest: &str, options: &Options) -> Result<(), String> {
    let is_bucket = ["s3", "gs", "az"].contains(&scheme);
    let is_web = ["http", "https"].contains(&scheme);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if scheme != "file" && host.contains('@') {
        let instead = match is_web {
            true => "name the variable of a token in `token_env`",
            false => {
                "they are read from the environment (S3: AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY)"
            }
        };
        return Err(format!(
            "credentials in a URL leak into configurations and logs; {instead}"
        ));
    }
    if scheme != "file" && rest.contains(['?', '#']) {
        return Err("it must not contain `?` or `#`, since names are appended to it".to_string());
    }
    if options.endpoint.is_some() && !is_bucket {
        return Err("only buckets have an endpoint; here the URL is the address".to_string());
    }
    if options.region.is_some() && scheme != "s3" {
        return Err("only s3:// has a region".to_string());
    }
    if options.token.is_some() && !is_web {
        return Err("only http:// and https:// use a token".to_string());
    }
    match &options.endpoint {
        Some(endpoint) => check_endpoint(endpoint),
        None => Ok(()),
    }
}

fn check_endpoint(endpoint: &str) -> Result<(), String> {
    let is_web = ["http://", "https://"]
        .iter()
        .any(|scheme| endpoint.starts_with(scheme));
    let shown = without_secrets(endpoint);
    if !is_web || !http::is_plain(endpoint) {
        return Err(format!(
            "its endpoint {shown} is not the URL of a server, such as https://s3.lab.example"
        ));
    }
    match shown == endpoint {
        true => Ok(()),
        false => Err("an endpoint must not contain credentials".to_string()),
    }
}

/// The absolute path of a `file://` URL.
fn folder(rest: &str) -> Result<String, String> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    match decoded(path) {
        // The caller has trimmed the slash of the root folder.
        Some(path) if path.is_empty() && rest.is_empty() => {
            Err("it names no folder; write file:///its/absolute/path".to_string())
        }
        Some(path) if path.starts_with('/') => Ok(path),
        Some(path) => Err(format!(
            "it must be absolute, with three slashes: file:///…/{path}"
        )),
        None => Err("its path is not percent-encoded; write %25 for %".to_string()),
    }
}

fn bucket(kind: Kind, rest: &str, options: &Options) -> Result<Box<dyn Remote>, RemoteError> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let address = |why: String| RemoteError::Address {
        url: format!("{}://{rest}", kind.scheme()),
        why,
    };
    let is_bucket = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if bucket.is_empty() || !bucket.bytes().all(is_bucket) {
        return Err(address(format!(
            "it names no bucket; write {}://BUCKET/FOLDER",
            kind.scheme()
        )));
    }
    let Some(prefix) = decoded(prefix) else {
        return Err(address("its path is not percent-encoded".to_string()));
    };
    let is_odd = |part: &str| part.is_empty() || part == "." || part == "..";
    if !prefix.is_empty() && prefix.split('/').any(is_odd) {
        return Err(address(
            "its path has an empty part, `.` or `..`".to_string(),
        ));
    }
    Ok(Box::new(BucketRemote::new(kind, bucket, &prefix, options)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> String {
        match open(url, &Options::default()) {
            Ok(remote) => remote.shown().to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn addresses_become_remotes_or_errors() {
        for (url, expected) in [
            ("file:///srv/lab%20a/", "file:///srv/lab a"),
            ("file://localhost/srv", "file:///srv"),
            ("s3://bucket/lab/a/", "s3://bucket/lab/a"),
            ("gs://bucket", "gs://bucket"),
            ("HTTPS://lab.example/x//", "https://lab.example/x"),
        ] {
            assert_eq!(shown(url), expected);
        }
        for (url, expected) in [
            ("file://srv/lab", "file:///…/srv/lab"),
            ("file://", "names no folder"),
            ("file:///a%zz", "%25"),
            ("/srv/lab", "did you mean file:///srv/lab?"),
            ("lab", "file:///its/absolute/path"),
            ("s3:/bucket/x", "did you mean s3://bucket/x?"),
            ("s4://bucket", "did you mean `s3`?"),
            ("htps://host", "did you mean `https`?"),
            ("ftp://host", "a remote is file://"),
            ("s3:///x", "names no bucket"),
            ("s3://bucket/a//b", "empty part"),
            ("s3://bucket/..", "`..`"),
            ("http://", "no host"),
            ("http://host/?token=1", "`?`"),
        ] {
            let error = shown(url);
            assert!(error.contains("is not a remote"), "{url}: {error}");
            assert!(error.contains(expected), "{url}: {error}");
        }
    }

    #[test]
    fn secrets_are_refused_and_not_repeated() {
        for url in [
            "https://user:hunter2@lab.example/x",
            "s3://AKIA:hunter2@bucket/x",
            "http://host/?token=hunter2",
            "ftp://user:hunter2@host",
        ] {
            let error = shown(url);
            assert!(error.contains("is not a remote"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let token = Some("hunter2".to_string());
        let options = Options {
            token,
            ..Options::default()
        };
        assert!(!format!("{options:?}").contains("hunter2"));
        let error = open("s3://bucket", &options).err().unwrap().to_string();
        assert!(error.contains("http://"), "{error}");
        for endpoint in ["lab.example", "https://", "http://a:hunter2@b", "ftp://x"] {
            let options = Options {
                endpoint: Some(endpoint.to_string()),
                ..Options::default()
            };
            let error = open("s3://bucket", &options).err().unwrap().to_string();
            assert!(error.contains("endpoint"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
