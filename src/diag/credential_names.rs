//! Recognises the names of variables that hold credentials, by their words: `GH_PAT`, `ghPat`. A
//! word counts in its context: `KEY_SIZE` and `CLS_TOKEN` hold none. What a value looks like is
//! judged in [`super::credentials`].

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
/// A name that ends in one of these is of something about a credential, or of none: `KEY_SIZE`.
const MEASURES: &[&str] = &[
    "age",
    "algorithm",
    "bits",
    "bytes",
    "column",
    "columns",
    "count",
    "counts",
    "depth",
    "dim",
    "dims",
    "enabled",
    "epochs",
    "expiry",
    "field",
    "fields",
    "format",
    "fraction",
    "frequency",
    "height",
    "index",
    "interval",
    "iterations",
    "len",
    "length",
    "level",
    "limit",
    "method",
    "mode",
    "ms",
    "name",
    "names",
    "num",
    "order",
    "percent",
    "percentage",
    "policy",
    "prefix",
    "rate",
    "rates",
    "ratio",
    "required",
    "score",
    "scores",
    "seconds",
    "separator",
    "size",
    "sizes",
    "step",
    "steps",
    "suffix",
    "threshold",
    "time",
    "timeout",
    "total",
    "ttl",
    "type",
    "types",
    "version",
    "weight",
    "weights",
    "width",
];
/// Words that mean something else behind or before another one: `CLS_TOKEN`, `PASS_THROUGH`.
const OTHERWISE: &[(&str, &[&str], &[&str])] = &[
    (
        "key",
        &[
            "cache",
            "column",
            "feature",
            "foreign",
            "join",
            "label",
            "lookup",
            "metric",
            "num",
            "partition",
            "row",
            "sort",
        ],
        &[
            "event", "events", "frame", "frames", "metric", "metrics", "point", "points", "stage",
            "stages", "value", "values", "word", "words",
        ],
    ),
    (
        "keys",
        &[
            "cache",
            "column",
            "feature",
            "foreign",
            "join",
            "label",
            "lookup",
            "max",
            "metric",
            "min",
            "n",
            "num",
            "partition",
            "row",
            "sort",
        ],
        &["per"],
    ),
    (
        "pass",
        &[
            "all", "backward", "band", "first", "forward", "high", "last", "low", "multi", "one",
            "second", "single", "third", "two",
        ],
        &[
            "at", "band", "criteria", "fail", "filter", "through", "thru",
        ],
    ),
    (
        "token",
        &[
            "bos",
            "class",
            "cls",
            "distillation",
            "end",
            "eos",
            "image",
            "mask",
            "max",
            "min",
            "num",
            "pad",
            "sep",
            "special",
            "start",
            "stop",
            "unk",
        ],
        &["embedding", "embeddings", "mixing", "pooling"],
    ),
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

/// The words of a name that say what it holds: none where that is a measure, and none of those
/// that their neighbours give another meaning.
fn telling_words(name: &str) -> Vec<String> {
    let words = words(name);
    let is = |place: Option<usize>, known: &[&str]| {
        let word = place.and_then(|place| words.get(place));
        word.is_some_and(|word| known.contains(&word.as_str()))
    };
    if words.len() > 1 && is(words.len().checked_sub(1), MEASURES) {
        return Vec::new();
    }
    let tells = |place: usize, word: &str| {
        let means_otherwise = |(known, before, behind): &(&str, &[&str], &[&str])| {
            word == *known && (is(place.checked_sub(1), before) || is(Some(place + 1), behind))
        };
        !OTHERWISE.iter().any(means_otherwise)
    };
    let telling = words.iter().enumerate();
    let telling = telling.filter(|(place, word)| tells(*place, word.as_str()));
    telling.map(|(_, word)| word.clone()).collect()
}

/// Whether a variable of this name holds a credential.
pub(super) fn is_named_so(name: &str) -> bool {
    let words = telling_words(name);
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
            "COSMOS_PRIMARY_KEY",
            "SORT_KEY_PASSWORD",
            "HIGH_PASS_TOKEN",
            "PAGERDUTY_ROUTING_KEY",
            "AWS_ACCESS_KEY_ID",
            "RATE_KEY",
            "SIZE_PASS",
        ] {
            assert!(is_named_so(name), "{name}");
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
            "PASS_RATE",
            "KEY_SIZE",
            "PASS_COUNT",
            "passRate",
            "MAX_TOKEN_LENGTH",
            "PASSWORD_LENGTH",
            "TOKEN_LIMIT",
            "AUTH_METHOD",
            "LOW_PASS",
            "FIRST_PASS",
            "PASS_AT_1",
            "PASS_THROUGH",
            "SORT_KEY",
            "CACHE_KEY",
            "NUM_KEYS",
            "KEY_POINTS",
            "CLS_TOKEN",
            "PAD_TOKEN",
            "CLASS_TOKEN",
            "KEY_COLUMN",
        ] {
            assert!(!is_named_so(name), "{name}");
        }
    }
}
