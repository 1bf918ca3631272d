//! Checks of the options of `dataset`.

use super::DatasetStage;
use crate::diag::nearest;
use crate::ml::data::mini_rib::{self, Collection, Split};
use crate::ml::data::presets::{self, Preset};
use crate::stages::choice::WordOr;
use crate::workflow::kind::ParameterProblem;

impl DatasetStage {
    pub(super) fn check_origin(&self, needs_folder: bool) -> Option<ParameterProblem> {
        let given = [
            ("`with.builtin`", self.builtin.is_some()),
            ("`with.preset`", self.preset.is_some()),
            ("`with.folder`", self.folder.is_some()),
            ("`needs.folder`", needs_folder),
        ];
        let given: Vec<&str> = given
            .into_iter()
            .filter_map(|(name, there)| there.then_some(name))
            .collect();
        let problem = match given.as_slice() {
            [_] => return None,
            [] => ParameterProblem {
                code: "missing-field",
                path: Vec::new(),
                input: None,
                at_name: false,
                message:
                    "a dataset needs `with.builtin`, `with.preset`, `with.folder` or `needs.folder`"
                        .to_string(),
                hint: Some("for example `with: { builtin: mini-rib, domain: v2 }`".to_string()),
            },
            several => {
                let place = if self.folder.is_some() {
                    "folder"
                } else {
                    "builtin"
                };
                let message = format!(
                    "a dataset has a single origin, but there are {}",
                    several.join(" and ")
                );
                ParameterProblem::value(place, message).hint("keep one of them")
            }
        };
        Some(problem)
    }

    pub(super) fn check_sealed(&self) -> Option<ParameterProblem> {
        let outside = self.folder.is_some() || self.preset.is_some();
        (self.sealed.0 && !outside).then(|| {
            let message = "`sealed` needs `folder` or `preset`: only files can change";
            let mut problem = ParameterProblem::value("sealed", message);
            problem.at_name = true;
            problem
        })
    }

    pub(super) fn check_builtin(&self) -> Vec<ParameterProblem> {
        let mut problems = Vec::new();
        if self.builtin.is_some() {
            if self.domain.is_none() {
                let names = Collection::ALL.map(Collection::name).join(", ");
                problems.push(
                    ParameterProblem::value("builtin", "`builtin: mini-rib` needs a `domain`")
                        .hint(format!("one of {names}")),
                );
            }
            return problems;
        }
        let misplaced = [
            ("domain", self.domain.is_some()),
            ("split", self.split != Split::default()),
            ("images", self.images.is_some()),
            ("seed", self.seed != 0),
        ];
        for (name, _) in misplaced.into_iter().filter(|(_, there)| *there) {
            let message = format!("`{name}` needs `builtin`");
            let mut problem = ParameterProblem::value(name, message);
            problem.at_name = true;
            problems.push(match name {
                "images" => problem.hint("select the first images of each class with `limit`"),
                "seed" => {
                    problem.hint("select a random subset with `subset: { count: …, seed: … }`")
                }
                _ => problem,
            });
        }
        problems
    }

    pub(super) fn check_preset(&self) -> Vec<ParameterProblem> {
        let mut problems = Vec::new();
        let misplaced =
            |name: &str, of: &str| ParameterProblem::value(name, format!("`{name}` needs `{of}`"));
        if self.preset.is_none() && self.root.is_some() {
            problems.push(misplaced("root", "preset"));
        }
        if self.preset.is_some() && self.root.is_none() {
            let message = "a preset needs `root`, the folder that contains the datasets";
            let hint = "`ribflow data check FOLDER` lists the datasets in a folder";
            problems.push(ParameterProblem::value("preset", message).hint(hint));
        }
        let facts = self.preset.map(Preset::facts);
        match (facts.is_some_and(|facts| facts.by_parts), &self.part) {
            (true, Some(part)) if presets::is_part(part) => {}
            (true, _) => {
                let message = "ImageNet-C needs a `part`: a corruption and a severity";
                let place = if self.part.is_some() {
                    "part"
                } else {
                    "preset"
                };
                let problem = ParameterProblem::value(place, message);
                problems.push(problem.hint("`part: fog/3`; `concat` joins several"));
            }
            (false, Some(_)) => problems.push(misplaced("part", "preset: imagenet-c")),
            (false, None) => {}
        }
        let word = matches!(self.classes, Some(WordOr::Word(_)));
        if word && facts.is_none_or(|facts| !facts.two_labels) {
            let message = "`intended` and `released` need `preset: imagenet-objectnet`";
            let problem = ParameterProblem::value("classes", message);
            problems.push(problem.hint("otherwise `classes` is a list of names"));
        }
        problems
    }

    pub(super) fn check_selection(&self) -> Vec<ParameterProblem> {
        let mut problems = Vec::new();
        if let Some(classes) = self.named_classes() {
            if classes.is_empty() {
                problems.push(ParameterProblem::value("classes", "no class is selected"));
            }
            let named = |index: usize| self.class_problem(classes, index);
            problems.extend((0..classes.len()).filter_map(named));
        }
        if let Some(subset) = &self.subset {
            problems.extend(
                subset
                    .problem()
                    .map(|message| ParameterProblem::value("subset", message)),
            );
        }
        problems
    }

    fn class_problem(&self, classes: &[String], index: usize) -> Option<ParameterProblem> {
        let class = &classes[index];
        let known: Vec<String> = match self.preset {
            Some(preset) => {
                let folders = preset.folders(self.labels()).into_iter();
                folders.map(|folder| folder.class).collect()
            }
            None => mini_rib::classes(),
        };
        let of = match self.preset {
            Some(preset) => preset.facts().name,
            None => "mini-rib",
        };
        let (message, hint) = if classes[..index].contains(class) {
            (format!("class `{class}` is selected twice"), None)
        } else if (self.builtin.is_some() || self.preset.is_some()) && !known.contains(class) {
            let hint = match nearest(class, known.iter().map(String::as_str)) {
                Some(name) => format!("did you mean `{name}`?"),
                None if known.len() > 20 => format!("it has {} of them", known.len()),
                None => format!("the classes are {}", known.join(", ")),
            };
            (format!("{of} has no class `{class}`"), Some(hint))
        } else {
            return None;
        };
        let mut problem = ParameterProblem::value("classes", message);
        problem.path.push(index.to_string());
        problem.hint = hint;
        Some(problem)
    }
}
