//! `dataset`: labelled images, built in or from a folder.

mod check;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::choice::WordOr;
use super::image_folder;
use super::images;
use super::known_classes::{self, Classes};
use super::price::{self, CostEstimate, InputForecasts};
use super::subset::Subset;
use super::task::{Context, Location, Outputs, Stage, TaskError, Unkeyed, Weight};
use crate::contract::port::{OutputSpec, PortType};
use crate::contract::source::{ImageSelection, Source, SourceShape};
use crate::ml::data::mini_rib::{self, Collection, Split};
use crate::ml::data::presets::{self, ObjectnetLabels, Preset};
use crate::store::artifact::{Artifact, Dataset, Images, Metric, Metrics, Part};
use crate::workflow::kind::{
    BoundInput, ClassForecast, Comparison, InputClasses, InputSpec, Meaning, ParameterProblem,
    Withholds,
};

/// The maximum number of rendered images: 300 MB of pixels.
const MAX_IMAGES: usize = 100_000;

/// Labelled images: built in (`builtin`), a known dataset on disk (`preset`), from a folder
/// (`folder`), or from the files of another stage (`needs.folder`).
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DatasetStage {
    /// A dataset that ribflow renders itself.
    builtin: Option<Builtin>,
    /// One of ImageNet-RIB's datasets in its original layout, below `root`.
    preset: Option<Preset>,
    /// With `preset`: the folder that contains the datasets (val, v2, a, r, sketch, objectnet, …).
    root: Option<Location>,
    /// With `preset: imagenet-c`: a corruption and a severity, such as `fog/3`.
    part: Option<String>,
    /// With `builtin`: the source or domain.
    domain: Option<Collection>,
    /// With `builtin`: which of two independent draws.
    split: Split,
    /// With `builtin`: the number of images. Default: 1000 (`narrow`), 2500 (`rich`) or 300.
    #[schemars(range(min = 1, max = MAX_IMAGES))]
    images: Option<usize>,
    /// With `builtin`: the seed; other seeds draw other images of the same distribution.
    seed: u64,
    /// A folder with one subfolder of JPEG and PNG files per class, relative to the workflow file.
    /// Labels follow the sorted names.
    folder: Option<Location>,
    /// Select only these classes; labels follow their sorted names. With `preset:
    /// imagenet-objectnet`, alternatively a word for the mapping of its folders to classes;
    /// default: `intended`.
    classes: Option<WordOr<ObjectnetLabels, Vec<String>>>,
    /// The maximum number of images of each class; the first ones are used.
    #[schemars(range(min = 1))]
    limit: Option<usize>,
    /// A random subset of the remaining images, in the original order.
    subset: Option<Subset>,
    /// Set this if you may redistribute the images. Otherwise neither the images nor anything
    /// derived from their pixels leaves this machine. Not part of the key.
    share: Unkeyed,
    /// With `folder` or `preset`: declares that the files do not change. Once hashed, they are not
    /// checked again while the folder itself has the same inode and times, which saves time with
    /// millions of files. `ribflow run --check-sealed` checks all of them. Not part of the key.
    sealed: Unkeyed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
enum Builtin {
    #[serde(rename = "mini-rib")]
    MiniRib,
}

impl Stage for DatasetStage {
    const NAME: &'static str = "dataset";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Labelled images: built in, a known dataset on disk, from a folder, or from files of a stage.";
    const COMPARISON: Comparison = Comparison::BitEqual;
    const MEANING: Meaning = Meaning::Images;

    fn inputs(&self) -> Vec<InputSpec> {
        vec![InputSpec::one("folder", PortType::Files).optional()]
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        vec![
            OutputSpec::new("images", PortType::Dataset),
            OutputSpec::metrics("summary", &["images", "classes"]),
        ]
    }

    fn sources(&self) -> Vec<Source> {
        let source = |folder: &Location| Source {
            name: "folder".to_string(),
            location: folder.0.clone().into(),
            shape: SourceShape::ImageFolder(self.selection()),
            sealed: self.sealed.0,
        };
        let preset = self.preset.zip(self.root.as_ref());
        let preset = preset.map(|(preset, root)| Source {
            name: "root".to_string(),
            location: root.0.clone().into(),
            shape: SourceShape::ImageFolderAt {
                places: preset.places(self.part.as_deref()),
                selection: self.preset_selection(preset),
            },
            sealed: self.sealed.0,
        });
        self.folder.iter().map(source).chain(preset).collect()
    }

    fn withholds(&self) -> Withholds {
        let outside = self.folder.is_some() || self.preset.is_some();
        match outside && !self.share.0 {
            true => Withholds::Data,
            false => Withholds::WhatComesIn,
        }
    }

    fn check(&self, inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        let needs_folder = inputs.iter().any(|input| input.name == "folder");
        let mut problems = Vec::from_iter(self.check_origin(needs_folder));
        problems.extend(self.check_preset());
        problems.extend(self.check_builtin());
        problems.extend(self.check_sealed());
        problems.extend(self.check_selection());
        problems
    }

    fn classes(&self, _inputs: &InputClasses) -> ClassForecast {
        known_classes::giving("images", self.known_classes())
    }

    fn price(&self, _foreseen: &InputForecasts) -> CostEstimate {
        let mut price = price::dataset(self.count(), self.builtin.is_none());
        if self.builtin.is_some() {
            price.cost.made = self.count().unwrap_or_default() as f64;
        }
        price
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let (classes, images) = match (self.builtin, self.domain, self.preset) {
            (Some(Builtin::MiniRib), Some(domain), _) => self.render(domain, context)?,
            (_, _, Some(preset)) => self.preset_images(preset, context)?,
            _ => {
                let folder = context.input("folder")?;
                let (classes, files) = image_folder::images(folder, &self.selection())?;
                let files = self.chosen(files)?;
                (classes, Images::Encoded { files, border: 0 })
            }
        };
        let facts = self.preset.map(Preset::facts);
        let clause = facts.filter(|facts| facts.no_training);
        let dataset = Dataset {
            clause: clause.map(|facts| facts.terms.to_string()),
            classes,
            parts: vec![Part {
                axes: Default::default(),
                images,
            }],
        };
        let summary = summary(&dataset);
        Ok(Outputs::one("images", Artifact::Dataset(dataset)).and("summary", summary))
    }
}

/// The number of images and classes of a dataset.
pub fn summary(dataset: &Dataset) -> Artifact {
    let count = |value: usize| Metric::new(value as f64, "");
    Artifact::Metrics(Metrics {
        values: [
            ("images".to_string(), count(images::count(dataset))),
            ("classes".to_string(), count(dataset.classes.len())),
        ]
        .into(),
    })
}

impl DatasetStage {
    /// The classes selected by name.
    fn named_classes(&self) -> Option<&Vec<String>> {
        match &self.classes {
            Some(WordOr::Other(classes)) => Some(classes),
            _ => None,
        }
    }

    fn labels(&self) -> ObjectnetLabels {
        match &self.classes {
            Some(WordOr::Word(labels)) => *labels,
            _ => ObjectnetLabels::default(),
        }
    }

    fn selection(&self) -> ImageSelection {
        ImageSelection {
            classes: self.named_classes().cloned(),
            limit: self.limit,
        }
    }

    /// The selected class folders of a preset.
    fn wanted_folders(&self, preset: Preset) -> Vec<presets::Folder> {
        let mut folders = preset.folders(self.labels());
        if let Some(classes) = self.named_classes() {
            folders.retain(|folder| classes.contains(&folder.class));
        }
        folders
    }

    fn preset_selection(&self, preset: Preset) -> ImageSelection {
        let folders = self.wanted_folders(preset).into_iter();
        ImageSelection {
            classes: Some(folders.map(|folder| folder.folder).collect()),
            limit: self.limit,
        }
    }

    /// The images of a preset, with the names and order of ImageNet's classes.
    fn preset_images(
        &self,
        preset: Preset,
        context: &Context,
    ) -> Result<(Vec<String>, Images), TaskError> {
        let input = context.input("root")?;
        let (folders, mut files) = image_folder::images(input, &self.preset_selection(preset))?;
        let known = self.wanted_folders(preset);
        let class_of = |folder: &String| {
            let found = known.iter().find(|known| known.folder == *folder);
            found.map(|known| known.class.clone()).unwrap_or_default()
        };
        let named: Vec<String> = folders.iter().map(class_of).collect();
        let mut classes = named.clone();
        classes.sort();
        classes.dedup();
        for file in &mut files {
            let class = &named[file.label as usize];
            // Every name is among the sorted ones.
            file.label = classes.binary_search(class).unwrap_or_default() as u32;
        }
        let files = self.chosen(files)?;
        let border = preset.facts().border;
        Ok((classes, Images::Encoded { files, border }))
    }

    /// Renders the images and keeps the selected ones.
    fn render(
        &self,
        domain: Collection,
        context: &Context,
    ) -> Result<(Vec<String>, Images), TaskError> {
        let count = self.images.unwrap_or_else(|| domain.size(self.split));
        let all = images::pool(context)?
            .install(|| mini_rib::render(domain, self.split, count, self.seed));
        let (classes, kept) = self.select_builtin(&all.classes, &all.labels);
        let kept = self.chosen(kept)?;
        let mut pixels = Vec::with_capacity(kept.len() * all.image_bytes());
        for (index, _) in &kept {
            pixels.extend_from_slice(&all.image(*index)?);
        }
        let images = Images::Packed {
            pixels: context.blobs.write(&pixels)?,
            height: all.height,
            width: all.width,
            labels: kept.into_iter().map(|(_, label)| label).collect(),
        };
        Ok((classes, images))
    }

    /// The selected classes, and the index and new label of their first images.
    fn select_builtin(&self, all: &[String], labels: &[u32]) -> (Vec<String>, Vec<(usize, u32)>) {
        let wanted = |name: &String| {
            let selection = self.named_classes();
            selection.is_none_or(|selected| selected.contains(name))
        };
        let classes: Vec<String> = all.iter().filter(|name| wanted(name)).cloned().collect();
        let relabelled: Vec<Option<u32>> = all
            .iter()
            .map(|name| classes.iter().position(|class| class == name))
            .map(|label| label.map(|label| label as u32))
            .collect();
        let mut taken = vec![0; classes.len()];
        let mut kept = Vec::new();
        for (index, label) in labels.iter().enumerate() {
            if let Some(label) = relabelled[*label as usize] {
                let taken = &mut taken[label as usize];
                *taken += 1;
                if self.limit.is_none_or(|limit| *taken <= limit) {
                    kept.push((index, label));
                }
            }
        }
        (classes, kept)
    }

    /// The names of the classes, if they are known without reading the files.
    fn known_classes(&self) -> Option<Classes> {
        let mut classes: Vec<String> = match (self.builtin, self.preset) {
            (Some(_), _) => self.select_builtin(&mini_rib::classes(), &[]).0,
            (_, Some(preset)) => {
                let folders = self.wanted_folders(preset).into_iter();
                folders.map(|folder| folder.class).collect()
            }
            // The order of other names depends on their Unicode form on the disk.
            _ => {
                let named = self.named_classes()?;
                named
                    .iter()
                    .all(|name| name.is_ascii())
                    .then(|| named.clone())?
            }
        };
        if self.builtin.is_none() {
            classes.sort();
            classes.dedup();
        }
        Some(classes.into())
    }

    /// The number of images, if it is known without reading the files.
    fn count(&self) -> Option<u64> {
        let all = match (self.builtin, self.domain, self.preset) {
            (Some(_), Some(domain), _) => {
                let drawn = self.images.unwrap_or(domain.size(self.split));
                let (_, kept) = self.select_builtin(&mini_rib::classes(), &mini_rib::labels(drawn));
                kept.len()
            }
            (_, _, Some(preset)) => {
                let wanted = self.wanted_folders(preset).len();
                let every = preset.folders(ObjectnetLabels::Intended).len().max(1);
                let share = preset.facts().images * wanted / every;
                share.min(
                    self.limit
                        .map_or(usize::MAX, |limit| limit.saturating_mul(wanted)),
                )
            }
            _ => return None,
        };
        let chosen = self.subset.as_ref().map_or(all, |subset| subset.size(all));
        Some(chosen as u64)
    }

    /// The random subset of the images, if requested.
    fn chosen<T>(&self, images: Vec<T>) -> Result<Vec<T>, TaskError> {
        match &self.subset {
            Some(subset) => subset.take(images),
            None => Ok(images),
        }
    }
}
