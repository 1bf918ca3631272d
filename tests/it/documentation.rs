//! The documentation, held to what the program does.

use std::path::{Path, PathBuf};

use crate::space::TestSpace;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "md") {
            pages.push(path);
        }
    }
    pages.sort();
    pages
}

/// The blocks of a page that are whole workflows.
fn workflows(page: &str) -> Vec<&str> {
    let blocks = page.split("```yaml\n").skip(1);
    let bodies = blocks.filter_map(|block| block.split("```").next());
    bodies
        .filter(|body| body.starts_with("ribflow: 1"))
        .collect()
}

#[test]
fn every_whole_workflow_in_the_documentation_is_valid() {
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for workflow in workflows(&text) {
            let space = TestSpace::new();
            space.write("documented.yaml", workflow);
            let outcome = space.run(&["validate", "documented.yaml"]);
            assert_eq!(
                outcome.code,
                Some(0),
                "{}\n{workflow}\n{outcome}",
                page.display()
            );
        }
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let folder = page.parent().unwrap_or(Path::new("."));
        for part in text.split("](").skip(1) {
            let target = part.split([')', '#', ' ']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(
                folder.join(target).exists(),
                "{} links to {target}, which is not there",
                page.display()
            );
        }
    }
}
