//! Recognises credentials among environment variables, by name and by value. A credential must not
//! enter a key, because keys go into records and reports, which are shared. [`super::secrets`]
//! masks its value in logs.

/// Words that mark a name as a credential on their own.
const WORDS: &[&str] = &[
    "auth",
    "authorization",
    "bearer",
    "cookie",
    "credential",
    "credentials",
    "creds",
    "jwt",
    "netrc",
    "key",
    "keys",
    "pass",
    "passphrase",
    "passwd",
    "password",
    "passwords",
    "pat",
    "pswd",
    "sas",
    "secret",
    "secrets",
    "token",
    "webhook",
    "webhooks",
];
/// Suffixes of compound names that mark a credential.
const ENDINGS: &[&str] = &[
    "passwd",
    "password",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "authkey",
    "accesskey",
    "privatekey",
    "secretkey",
    "sshkey",
    "dbpass",
    "sshpass",
    "userpass",
    "credentials",
];
/// An address of one of these services usually holds a password.
const SERVICES: &[&str] = &[
    "amqp",
    "broker",
    "clickhouse",
    "cloudamqp",
    "database",
    "db",
    "jdbc",
    "kafka",
    "mariadb",
    "mongo",
    "mongodb",
    "mssql",
    "mysql",
    "pg",
    "postgres",
    "postgresql",
    "rabbitmq",
    "redis",
    "smtp",
    "sqlalchemy",
];
const PLACES: &[&str] = &["connection", "dsn", "uri", "url"];

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

/// The words of a name: `GH_PAT`, `ghPat` and `gh-pat` have the same words.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for letter in name.chars() {
        let begins = letter.is_ascii_uppercase() && after_lower;
        after_lower = letter.is_ascii_lowercase();
        if !letter.is_ascii_alphanumeric() || begins {
            words.push(String::new());
        }
        if letter.is_ascii_alphabetic()
            && let Some(word) = words.last_mut()
        {
            word.push(letter.to_ascii_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn is_named_so(name: &str) -> bool {
    let words = words(name);
    let has = |known: &[&str]| words.iter().any(|word| known.contains(&word.as_str()));
    let ends = |word: &String| ENDINGS.iter().any(|ending| word.ends_with(ending));
    // The shell's own `PWD` variables are folders.
    let folder = matches!(name, "PWD" | "OLDPWD");
    let password = words.len() > 1 && words.iter().any(|word| word == "pwd");
    has(WORDS)
        || words.iter().any(ends)
        || (password && !folder)
        || (has(SERVICES) && has(PLACES))
        || words.iter().any(|word| word == "dsn")
        || (has(&["connection", "conn"]) && has(&["string", "str"]))
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

    #[test]
    fn names_are_judged_by_their_words() {
        for name in [
            "GH_PAT",
            "PASSWD",
            "DATABASE_URL",
            "HF_TOKEN",
            "API_KEY",
            "apiKey",
            "PGPASSWORD",
            "MYSQL_PWD",
            "SECRET",
            "AWS_SECRET_ACCESS_KEY",
            "SSH_PASSPHRASE",
            "DB_PASS",
            "GITHUBTOKEN",
            "SENTRY_DSN",
            "REDIS_URI",
            "DOCKER_AUTH_CONFIG",
            "KEY2",
            "hfToken",
            "AZURE_STORAGE_CONNECTION_STRING_KEY",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "NETRC",
            "SLACK_WEBHOOK",
            "AZURE_CONNECTION_STRING",
        ] {
            assert!(sign(name, None).is_some(), "{name}");
        }
        for name in [
            "TOKENIZERS_PARALLELISM",
            "MONKEY",
            "KEYBOARD_LAYOUT",
            "PATH",
            "PATTERN",
            "LANG",
            "MAX_TOKENS",
            "PASSENGERS",
            "COMPASS",
            "TURKEY_POPULATION",
            "DATASET_URL",
            "DB_NAME",
            "SECRETARY",
            "AUTHOR",
            "HF_HOME",
            "PATIENT",
            "PWD",
            "OLDPWD",
            "KEYFRAMES",
            "BYPASS",
            "CARGO_PKG_NAME",
            "DATABASE",
            "BASE_URL",
            "NUM_KEYPOINTS",
        ] {
            assert_eq!(sign(name, None), None, "{name}");
        }
    }

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
            "",
        ] {
            assert_eq!(sign("SETTING", Some(value)), None, "{value}");
        }
    }
}
