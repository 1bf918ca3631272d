//! `corrupt`: applies ImageNet-C's corruptions to the images of a dataset.

use std::path::PathBuf;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dataset::summary;
use super::images;
use super::known_classes;
use super::price::{self, CostEstimate, InputForecasts};
use super::task::{Context, Location, Outputs, Stage, TaskError, TaskInput, Weight};
use crate::contract::port::{OutputSpec, PortType};
use crate::contract::source::{Source, SourceShape};
use crate::ml::data::corrupt::{self, Corruption, QUALITY, Recipe, SIDE};
use crate::ml::data::decode::decode;
use crate::ml::data::encode::jpeg;
use crate::ml::data::picture::Picture;
use crate::ml::rng::Stream;
use crate::store::artifact::{Artifact, Dataset, ImageFile, Images, Part, TreeFile};
use crate::workflow::kind::{
    BoundInput, ClassForecast, Comparison, InputClasses, InputSpec, Meaning, ParameterProblem,
    Withholds,
};

/// The number of images between checks for an interrupt.
const BATCH: usize = 64;

/// Corrupts every image as ImageNet-C does: resized to 256 pixels, centre crop of 224, corrupted,
/// saved as JPEG with quality 85.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Corrupt {
    /// The corruption.
    pub corruption: Corruption,
    /// How strong the corruption is, as in ImageNet-C.
    #[schemars(range(min = 1, max = 5))]
    pub severity: usize,
    /// The seed of the random numbers, together with the path of each image.
    #[serde(default)]
    pub seed: u64,
    /// A folder with images of ice, for `frost`. Default: procedural ones, which are not
    /// ImageNet-C's.
    #[serde(default)]
    pub textures: Option<Location>,
}

impl Stage for Corrupt {
    const NAME: &'static str = "corrupt";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Applies one of ImageNet-C's corruptions to a dataset";
    const COMPARISON: Comparison = Comparison::BitEqual;
    const MEANING: Meaning = Meaning::Plain;

    fn inputs(&self) -> Vec<InputSpec> {
        vec![InputSpec::one("images", PortType::Dataset)]
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        vec![
            OutputSpec::new("images", PortType::Dataset),
            OutputSpec::metrics("summary", &["images", "classes"]),
        ]
    }

    fn sources(&self) -> Vec<Source> {
        let source = |folder: &Location| Source {
            name: "textures".to_string(),
            location: PathBuf::from(&folder.0),
            shape: SourceShape::Tree,
            sealed: false,
        };
        self.textures.iter().map(source).collect()
    }

    fn withholds(&self) -> Withholds {
        Withholds::WhatComesIn
    }

    fn check(&self, _inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        let mut problems = Vec::new();
        if self.textures.is_some() && self.corruption != Corruption::Frost {
            let message = "`textures` needs `corruption: frost`";
            problems.push(ParameterProblem::value("textures", message));
        }
        problems
    }

    fn classes(&self, inputs: &InputClasses) -> ClassForecast {
        known_classes::giving("images", known_classes::of(inputs, "images"))
    }

    fn price(&self, foreseen: &InputForecasts) -> CostEstimate {
        price::remade(foreseen, "images")
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let textures = self.frost(context)?;
        let recipe = Recipe {
            corruption: self.corruption,
            severity: self.severity,
            textures: &textures,
        };
        let spoil = |picture: &Picture, path: &str| {
            let mut stream = Stream::new(self.seed, &format!("corrupt/{path}"));
            let square = corrupt::prepared(picture)?;
            let spoilt = corrupt::corrupt(&square, &recipe, &mut stream)?;
            jpeg(&spoilt, QUALITY)
        };
        let dataset = redone(context, &spoil)?;
        let summary = summary(&dataset);
        Ok(Outputs::one("images", Artifact::Dataset(dataset)).and("summary", summary))
    }
}

impl Corrupt {
    /// The textures for frost; empty for other corruptions.
    fn frost(&self, context: &Context) -> Result<Vec<Picture>, TaskError> {
        if self.corruption != Corruption::Frost {
            return Ok(Vec::new());
        }
        let Some(input) = context.members("textures").first() else {
            let note = "textures: procedural ice of ribflow, not ImageNet-C's photographs";
            context.progress.log(note);
            return Ok(corrupt::procedural_frost(0));
        };
        let Artifact::Files(files) = &input.artifact else {
            return Err(TaskError::Input("`textures` contains no files".to_string()));
        };
        let picture = |(name, file): (&String, &TreeFile)| {
            let bytes = images::file_bytes(context, input, name, &file.blob())?;
            decode(&bytes).map_err(|error| TaskError::Input(format!("texture `{name}` {error}")))
        };
        let found: Vec<Picture> = files.files.iter().map(picture).collect::<Result<_, _>>()?;
        let fits = |it: &Picture| it.width >= SIDE && it.height >= SIDE;
        match found.iter().any(fits) {
            true => Ok(found),
            false => Err(TaskError::Input(format!(
                "`textures` contains no image of at least {SIDE} x {SIDE} pixels"
            ))),
        }
    }
}

/// The dataset of the input `images`, with every image processed by `make`, which receives the
/// decoded picture and its path and returns a JPEG file.
pub(super) fn redone(
    context: &Context,
    make: &(dyn Fn(&Picture, &str) -> crate::ml::Result<Vec<u8>> + Sync),
) -> Result<Dataset, TaskError> {
    let input = context.input("images")?;
    let dataset = images::dataset(input)?;
    let total = images::count(dataset) as u64;
    let pool = images::pool(context)?;
    let mut done = 0;
    let mut parts = Vec::new();
    for part in &dataset.parts {
        let originals = originals(context, part)?;
        let mut files = Vec::with_capacity(originals.len());
        for batch in originals.chunks(BATCH) {
            context.check_cancelled()?;
            let made: Vec<Result<ImageFile, TaskError>> = pool.install(|| {
                let one = |original: &Original| original.redone(context, input, make);
                batch.par_iter().map(one).collect()
            });
            for file in made {
                files.push(file?);
            }
            done += batch.len() as u64;
            context.progress.advance(done, total, "images");
        }
        parts.push(Part {
            axes: part.axes.clone(),
            images: Images::Encoded { files, border: 0 },
        });
    }
    Ok(Dataset {
        parts,
        ..dataset.clone()
    })
}

/// An image before processing.
struct Original<'a> {
    path: String,
    label: u32,
    content: Content<'a>,
}

enum Content<'a> {
    File(&'a ImageFile, usize),
    Packed(Picture),
}

/// The images of a part.
fn originals<'a>(context: &Context, part: &'a Part) -> Result<Vec<Original<'a>>, TaskError> {
    match &part.images {
        Images::Encoded { files, border } => Ok(files
            .iter()
            .map(|file| Original {
                path: file.path.clone(),
                label: file.label,
                content: Content::File(file, *border),
            })
            .collect()),
        Images::Packed {
            pixels,
            height,
            width,
            labels,
        } => {
            let size = height * width * 3;
            let bytes = images::read_packed(context, pixels, size * labels.len())?;
            let pictures = bytes.chunks_exact(size.max(1)).zip(labels).enumerate();
            Ok(pictures
                .map(|(index, (pixels, label))| Original {
                    path: format!("{index:06}.jpg"),
                    label: *label,
                    content: Content::Packed(Picture {
                        pixels: pixels.to_vec(),
                        width: *width,
                        height: *height,
                    }),
                })
                .collect())
        }
    }
}

impl Original<'_> {
    fn redone(
        &self,
        context: &Context,
        input: &TaskInput,
        make: &(dyn Fn(&Picture, &str) -> crate::ml::Result<Vec<u8>> + Sync),
    ) -> Result<ImageFile, TaskError> {
        let read;
        let picture = match &self.content {
            Content::Packed(picture) => picture,
            Content::File(file, border) => {
                read = images::picture(context, input, file, *border)?;
                &read
            }
        };
        let bytes = make(picture, &self.path)
            .map_err(|error| TaskError::Input(format!("image `{}`: {error}", self.path)))?;
        let stem = self.path.rsplit_once('.').map_or(&*self.path, |it| it.0);
        Ok(ImageFile {
            path: format!("{stem}.jpg"),
            blob: context.blobs.write(&bytes)?,
            label: self.label,
        })
    }
}
