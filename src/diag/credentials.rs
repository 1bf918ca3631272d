//! Recognises credentials among environment variables, by name and by value. A credential must not
//! enter a key, because keys go into records and reports, which are shared. [`super::secrets`]
//! masks its value in logs.

use std::collections::BTreeSet;

use super::credential_names::is_named_so;

/// Prefixes of tokens of well-known services.
const PREFIXES: &[&str] = &[
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "gldt-",
    "glrt-",
    "hf_",
    "sk-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "pk_live_",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xoxr-",
    "xoxs-",
    "xapp-",
    "npm_",
    "pypi-",
    "dop_v1_",
    "dapi",
    "AIza",
    "ya29.",
    "SG.",
    "AKIA",
    "ASIA",
    "r8_",
    "nvapi-",
    "tskey-",
    "shpat_",
    "figd_",
    "lin_api_",
    "dckr_pat_",
    "gsk_",
    "pul-",
];
/// The minimum number of letters and digits after a prefix for a token.
const SHORTEST: usize = 12;
/// Parameters of a URL that give access to what it names.
const PARAMETERS: &[&str] = &[
    "access_token",
    "api_key",
    "apikey",
    "auth",
    "client_secret",
    "key",
    "passwd",
    "password",
    "secret",
    "sig",
    "signature",
    "token",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-goog-signature",
];

/// Settings of connection strings, and addresses that grant access to anyone who knows them, in
/// lower case.
const SETTINGS: &[&str] = &[
    "accountkey=",
    "sharedaccesskey=",
    "password=",
    "hooks.slack.com/services/",
    "age-secret-key-",
];

/// Explains why the variable `name` looks like a credential: by its name, or by its value. The
/// explanation does not contain the value.
pub fn sign(name: &str, value: Option<&str>) -> Option<&'static str> {
    if is_named_so(name) {
        return Some("is named like a credential");
    }
    value.and_then(sign_in)
}

fn sign_in(value: &str) -> Option<&'static str> {
    if value.contains("-----BEGIN ") && value.contains("PRIVATE KEY") {
        return Some("holds a private key");
    }
    if has_password(value) {
        return Some("holds a URL with a password");
    }
    if has_parameter(value) {
        return Some("holds a URL that gives access");
    }
    if tokens(value).any(is_json_web_token) {
        return Some("holds a JSON web token");
    }
    let lower = value.trim_start().to_ascii_lowercase();
    let holds = |sign: &str| {
        let mut places = lower.match_indices(sign);
        // The setting must start a word and have a value.
        places.any(|(at, _)| {
            let before = lower[..at].chars().next_back();
            let after = lower[at + sign.len()..].chars().next();
            before.is_none_or(|it| !it.is_ascii_alphanumeric())
                && after.is_some_and(|it| !it.is_whitespace() && !";&".contains(it))
        })
    };
    if SETTINGS.iter().any(|sign| holds(sign)) {
        return Some("holds a setting that is a credential");
    }
    let header = ["bearer ", "basic ", "authorization:"];
    if header.iter().any(|start| lower.starts_with(start)) {
        return Some("holds an authorization header");
    }
    if value.split(|letter| !is_base64(letter)).any(is_secret_key) {
        return Some("holds what looks like a secret access key");
    }
    let known = tokens(value).any(|token| PREFIXES.iter().any(|start| begins(token, start)));
    known.then_some("holds what looks like an access token")
}

/// Runs of characters that tokens consist of.
fn tokens(value: &str) -> impl Iterator<Item = &str> {
    let part = |letter: char| !(letter.is_ascii_alphanumeric() || "_-.".contains(letter));
    value.split(part)
}

fn begins(token: &str, prefix: &str) -> bool {
    let Some(rest) = token.strip_prefix(prefix) else {
        return false;
    };
    let letters = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let mut parts = rest.split(['_', '-', '.']);
    match prefix {
        // Capitals and digits, of fixed length.
        "AKIA" | "ASIA" => {
            let capital = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
            rest.len() >= 16 && rest.bytes().all(capital)
        }
        "dapi" => rest.len() >= 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()),
        _ => parts.any(|part| part.len() >= SHORTEST && letters(part)),
    }
}

fn is_base64(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "+/".contains(letter)
}

/// A secret access key of AWS: 40 random letters of base64. Digests in hexadecimal digits have one
/// case; paths and names of models have short parts, or words. Of random keys 97 in 100 are found.
fn is_secret_key(run: &str) -> bool {
    const LENGTH: usize = 40;
    const MOST_SLASHES: usize = 3;
    const LEAST_DIFFERENT: usize = 22;
    const LEAST_CHANGES: usize = 14;
    const LEAST_WHOLE: usize = 12;
    /// Letters in words.
    const MOST_IN_WORDS: usize = 19;
    if run.len() != LENGTH {
        return false;
    }
    let class = |byte: &u8| match byte {
        b'a'..=b'z' => 0,
        b'A'..=b'Z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    };
    let bytes = run.as_bytes();
    let has = |wanted: u8| bytes.iter().any(|byte| class(byte) == wanted);
    let different: BTreeSet<&u8> = bytes.iter().collect();
    let changes = bytes
        .windows(2)
        .filter(|pair| class(&pair[0]) != class(&pair[1]));
    let parts = || run.split('/');
    (0..3).all(has)
        && different.len() >= LEAST_DIFFERENT
        && changes.count() >= LEAST_CHANGES
        && parts().count() <= MOST_SLASHES + 1
        && parts().any(|part| part.len() >= LEAST_WHOLE)
        && letters_in_words(bytes) <= MOST_IN_WORDS
}

/// How many letters are in runs that look like words, three small letters or more with a capital
/// before them, or in numbers of two digits or more.
fn letters_in_words(bytes: &[u8]) -> usize {
    const SHORTEST_WORD: usize = 3;
    const SHORTEST_NUMBER: usize = 2;
    let (mut letters, mut small, mut digits) = (0, 0, 0);
    let mut after_capital = false;
    // The end of the text ends a run.
    for byte in bytes.iter().chain(b"/") {
        if !byte.is_ascii_lowercase() {
            if small >= SHORTEST_WORD {
                letters += small + usize::from(after_capital);
            }
            small = 0;
            after_capital = byte.is_ascii_uppercase();
        } else {
            small += 1;
        }
        if !byte.is_ascii_digit() {
            if digits >= SHORTEST_NUMBER {
                letters += digits;
            }
            digits = 0;
        } else {
            digits += 1;
        }
    }
    letters
}

/// Three parts of base64, the first of which is a JSON object.
fn is_json_web_token(token: &str) -> bool {
    let parts: Vec<&str> = token.split('.').collect();
    matches!(parts.as_slice(), [head, body, _] if head.starts_with("eyJ") && body.starts_with("eyJ"))
}

/// `scheme://user:password@host`
fn has_password(value: &str) -> bool {
    let mut rest = value;
    while let Some((_, after)) = rest.split_once("://") {
        let ends = |letter: char| "/?#".contains(letter) || letter.is_whitespace();
        let authority = after.split(ends).next().unwrap_or_default();
        let user = authority.rsplit_once('@').map(|(user, _)| user);
        let password = user.and_then(|user| user.split_once(':'));
        if password.is_some_and(|(_, password)| !password.is_empty()) {
            return true;
        }
        // A password may contain characters that end an authority.
        let line = after.split(char::is_whitespace).next().unwrap_or_default();
        let odd = line
            .split_once('@')
            .and_then(|(user, _)| user.split_once(':'));
        let is_port = |text: &str| {
            text.split('/')
                .next()
                .is_some_and(|port| port.parse::<u16>().is_ok())
        };
        if odd.is_some_and(|(user, password)| {
            !password.is_empty() && !user.contains('/') && !is_port(password)
        }) {
            return true;
        }
        rest = after;
    }
    false
}

/// `https://host/path?token=…`
fn has_parameter(value: &str) -> bool {
    let Some((_, query)) = value
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('?'))
    else {
        return false;
    };
    query.split(['&', ';']).any(|pair| {
        let (name, content) = pair.split_once('=').unwrap_or((pair, ""));
        !content.is_empty() && PARAMETERS.contains(&name.to_ascii_lowercase().as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Formats of GitHub, Hugging Face, OpenAI, AWS, Slack and Google; RFC 7519, 7468.
    #[test]
    fn values_are_judged_by_their_form() {
        let long = "0123456789abcdefghijABCDEFGHIJ012345";
        for value in [
            format!("ghp_{long}"),
            format!("github_pat_11ABCDEFG0123456789ab_{long}"),
            format!("hf_{long}"),
            format!("sk-{long}"),
            format!("sk-proj-{long}"),
            format!("the token is hf_{long}."),
            format!("https://{}@github.com/lab/code", format_args!("ghp_{long}")),
            "AKIAIOSFODNN7EXAMPLE".to_string(),
            "postgres://lab:hunter2@db.lab.org/results".to_string(),
            "https://lab:a/b@example.org/".to_string(),
            "redis://:hunter2@cache:6379/0".to_string(),
            "https://blob.example.org/c?sv=2024&sig=abc%3D".to_string(),
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=".to_string(),
            "-----BEGIN PRIVATE KEY-----\nMIIE".to_string(),
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
                .to_string(),
            "Bearer abcdef".to_string(),
            "DefaultEndpointsProtocol=https;AccountName=lab;AccountKey=abc123==;".to_string(),
            "host=db user=lab password=hunter2".to_string(),
            "https://hooks.slack.com/services/T000/B000/XXXX".to_string(),
            "AGE-SECRET-KEY-1QQPQQQQQ".to_string(),
            format!("xoxb-123456789012-{long}"),
            // Of the documentation of AWS, and drawn at random.
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_string(),
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_string(),
            "x7Q+dK2mZpL0vRt9YhB4sWcNf/G1uEaJqT8oXi5P".to_string(),
        ] {
            let found = sign("SETTING", Some(&value));
            assert!(found.is_some_and(|why| !why.contains(long)), "{value}");
        }
        for value in [
            "true",
            "8",
            "the password= of it",
            "mypassword=",
            "/data/images",
            "https://example.org/data?version=2",
            "hf_models/vit",
            "sk-learn-models-20240101",
            "http://proxy:3128",
            "ssh://git@github.com/lab/code",
            "task-0123456789abcdef0123",
            "vit_base_patch16_224.augreg_in21k_ft_in1k",
            "https://host:8080/a@b",
            "-----BEGIN CERTIFICATE-----",
            "basic",
            "eyJ",
            "d41d8cd98f00b204e9800998ecf8427e",
            // A commit, digests, paths and names of 40 letters.
            "da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "/data/ImageNet/ILSVRC2012/train/n0144076",
            "/home/Maria/Projects2024/ImageNetC/Run01",
            "ResNet50/ViTB16/ConvNeXt/RegNetY16/Swin2",
            "timm/ConvNeXtV2LargeFcmaeFt22kIn1k384Run",
            "ThisIsALongNameOfAModelInCamelCase123456",
            "0123456789012345678901234567890123456789",
            "",
        ] {
            assert_eq!(sign("SETTING", Some(value)), None, "{value}");
        }
    }
}
