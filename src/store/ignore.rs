//! What a folder of files leaves out: what tools write beside sources, and what the user names.

use std::sync::LazyLock;

use glob::{MatchOptions, Pattern};

use crate::contract::source::SourceShape;

/// Left out of every folder of files.
pub const ALWAYS: [&str; 6] = [
    "__pycache__",
    "*.pyc",
    ".git",
    ".venv",
    ".ipynb_checkpoints",
    ".DS_Store",
];

/// As in a shell: no `*` matches a `/`.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

static USUAL: LazyLock<Vec<Glob>> = LazyLock::new(|| {
    ALWAYS
        .iter()
        .filter_map(|text| Glob::new(text).ok())
        .collect()
});

/// A pattern for a name, or, with a `/` inside, for a path below the folder.
#[derive(Clone, Debug)]
struct Glob {
    pattern: Pattern,
    is_path: bool,
}

impl Glob {
    fn new(text: &str) -> Result<Self, String> {
        let plain = text.trim_end_matches('/');
        let pattern = Pattern::new(plain.trim_start_matches('/'));
        let pattern = pattern.map_err(|error| error.msg.to_string())?;
        let is_path = plain.contains('/');
        Ok(Self { pattern, is_path })
    }

    fn matches(&self, path: &str, name: &str) -> bool {
        let text = if self.is_path { path } else { name };
        self.pattern.matches_with(text, OPTIONS)
    }
}

/// Checks a pattern.
///
/// # Errors
/// What is wrong with it.
pub fn check(pattern: &str) -> Result<(), String> {
    let plain = pattern.trim_matches('/');
    let has = |step: &str| plain.split('/').any(|it| it == step);
    let why = match plain {
        "" => "it names nothing",
        "*" | "**" | "**/*" => "it leaves everything out",
        _ if plain.starts_with('!') => "no pattern takes back what another one leaves out",
        _ if has("..") => "it leads out of the folder",
        _ if has(".") => "paths start in the folder; leave the `.` out",
        _ if plain.contains("//") => "a path has one `/` between two names",
        _ => return Glob::new(pattern).map(drop),
    };
    Err(why.to_string())
}

/// What one folder leaves out.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    /// Those of [`ALWAYS`] count, too.
    is_folder_of_files: bool,
    own: Vec<Glob>,
}

impl Ignore {
    /// What a source of this shape leaves out.
    pub fn of(shape: &SourceShape) -> Self {
        let patterns = match shape {
            SourceShape::FileOrFolder => &[][..],
            SourceShape::FileOrFolderWithout(patterns) => patterns,
            _ => return Self::default(),
        };
        let own = patterns.iter().filter_map(|text| Glob::new(text).ok());
        Self {
            is_folder_of_files: true,
            own: own.collect(),
        }
    }

    /// Whether the file or folder at `path`, relative to the folder, is left out.
    pub fn leaves_out(&self, path: &str) -> bool {
        if !self.is_folder_of_files {
            return false;
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        let mut globs = USUAL.iter().chain(&self.own);
        globs.any(|glob| glob.matches(path, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_everywhere_and_paths_from_the_top() {
        let patterns = ["*.log", "build/", "/data/raw", "a/**/b"].map(str::to_string);
        let ignore = Ignore::of(&SourceShape::FileOrFolderWithout(patterns.to_vec()));
        for path in [
            "x.log",
            "deep/x.log",
            "build",
            "deep/build",
            "data/raw",
            "a/b",
            "a/c/d/b",
            "m.pyc",
            "deep/__pycache__",
            ".git",
        ] {
            assert!(ignore.leaves_out(path), "{path}");
        }
        for path in [
            "x.log.txt",
            "builds",
            "deep/data/raw",
            "data",
            "b",
            "x.py",
            ".gitignore",
        ] {
            assert!(!ignore.leaves_out(path), "{path}");
        }
        let images = Ignore::of(&SourceShape::Tree);
        assert!(!images.leaves_out("__pycache__"));
        for never in [
            "[a", "/", "*", "**", "!x", "./a", "a/./b", "../x", "a/..", "a//b",
        ] {
            assert!(check(never).is_err(), "{never}");
        }
        for sound in ["*.log", ".hidden", "a.b/c", "..data", "**/raw"] {
            assert!(check(sound).is_ok(), "{sound}");
        }
    }
}
