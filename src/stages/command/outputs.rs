//! `outputs:` of a command: a list of names, whose outputs are files, or a map from names to types.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{OUT, WHOLE, at};
use crate::contract::port::{OutputSpec, PortType};
use crate::stages::choice::WordOr;
use crate::stages::task::Unkeyed;
use crate::workflow::fields::is_label;
use crate::workflow::kind::ParameterProblem;

/// The type of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TypeName {
    /// A file or folder as it is.
    Files,
    /// Numbers: JSON.
    Metrics,
    /// Rows and columns: CSV with a head, or JSON lines.
    Table,
    /// Named arrays: safetensors, npz or npy.
    Arrays,
    /// The weights of a model: safetensors or a file of `torch.save`.
    Model,
    /// Labelled images: a folder for each class.
    Images,
    /// A picture for the report: SVG or PNG.
    Plot,
}

/// A type with options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TypeWithOptions {
    /// A file or folder as it is.
    Files(SharedFile),
    /// Numbers: JSON.
    Metrics(OneFile),
    /// Rows and columns: CSV with a head, or JSON lines.
    Table(SharedFile),
    /// Named arrays: safetensors, npz or npy.
    Arrays(SharedFile),
    /// The weights of a model: safetensors or a file of `torch.save`.
    Model(ModelFile),
    /// Labelled images: a folder for each class.
    Images(SharedFile),
    /// A picture for the report: SVG or PNG.
    Plot(SharedFile),
}

/// Options of every type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OneFile {
    /// The file or folder below `out/`. Default: the name with the extension of the type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// Options of a type that may reveal the inputs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SharedFile {
    /// The file or folder below `out/`. Default: the name with the extension of the type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// It reveals nothing about inputs that a licence withholds, and may be shared.
    #[serde(skip_serializing)]
    pub share: Unkeyed,
}

/// Options of a model. `like` or `arch` gives its structure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelFile {
    /// The file below `out/`. Default: the name with the extension of the type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The input whose structure, classes and transform it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub like: Option<String>,
    /// The architecture; `ribflow models` lists them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// The input, a dataset, that has its classes. Default: those of `like`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<String>,
}

type Written = WordOr<TypeName, TypeWithOptions>;

/// One output.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredOutput {
    pub name: String,
    /// `None`: only a name, as in version 1 of `outputs`.
    pub typed: Option<TypeWithOptions>,
}

/// The value of `outputs:`, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeclaredOutputs(pub Vec<DeclaredOutput>);

impl TypeWithOptions {
    fn plain(name: TypeName) -> Self {
        match name {
            TypeName::Files => Self::Files(SharedFile::default()),
            TypeName::Metrics => Self::Metrics(OneFile::default()),
            TypeName::Table => Self::Table(SharedFile::default()),
            TypeName::Arrays => Self::Arrays(SharedFile::default()),
            TypeName::Model => Self::Model(ModelFile::default()),
            TypeName::Images => Self::Images(SharedFile::default()),
            TypeName::Plot => Self::Plot(SharedFile::default()),
        }
    }

    fn type_name(&self) -> TypeName {
        match self {
            Self::Files(_) => TypeName::Files,
            Self::Metrics(_) => TypeName::Metrics,
            Self::Table(_) => TypeName::Table,
            Self::Arrays(_) => TypeName::Arrays,
            Self::Model(_) => TypeName::Model,
            Self::Images(_) => TypeName::Images,
            Self::Plot(_) => TypeName::Plot,
        }
    }

    fn file(&self) -> Option<&str> {
        match self {
            Self::Metrics(options) => options.file.as_deref(),
            Self::Model(options) => options.file.as_deref(),
            Self::Files(options)
            | Self::Table(options)
            | Self::Arrays(options)
            | Self::Images(options)
            | Self::Plot(options) => options.file.as_deref(),
        }
    }

    fn is_shared(&self) -> bool {
        match self {
            Self::Metrics(_) | Self::Model(_) => false,
            Self::Files(options)
            | Self::Table(options)
            | Self::Arrays(options)
            | Self::Images(options)
            | Self::Plot(options) => options.share.0,
        }
    }

    /// The extensions of its file, in order of preference; none for a folder or any file.
    fn extensions(&self) -> &'static [&'static str] {
        match self {
            Self::Files(_) | Self::Images(_) => &[],
            Self::Metrics(_) => &["json"],
            Self::Table(_) => &["csv", "jsonl"],
            Self::Arrays(_) => &["safetensors", "npz", "npy"],
            Self::Model(_) => &["safetensors", "pt", "pth", "bin"],
            Self::Plot(_) => &["svg", "png"],
        }
    }
}

impl DeclaredOutput {
    /// The paths below `out/` at which it may be.
    pub fn candidates(&self) -> Vec<Cow<'_, str>> {
        let Some(typed) = &self.typed else {
            return vec![Cow::Borrowed(&self.name)];
        };
        if let Some(file) = typed.file() {
            return vec![Cow::Borrowed(file)];
        }
        let extensions = typed.extensions();
        let has = |extension: &&str| extension_of(&self.name) == Some(*extension);
        if extensions.is_empty() || extensions.iter().any(has) {
            return vec![Cow::Borrowed(&self.name)];
        }
        let named = |extension: &&str| Cow::Owned(format!("{}.{extension}", self.name));
        extensions.iter().map(named).collect()
    }

    pub fn spec(&self) -> OutputSpec {
        let Some(typed) = &self.typed else {
            return OutputSpec::new(&self.name, PortType::Files);
        };
        let spec = match typed {
            TypeWithOptions::Files(_) => OutputSpec::new(&self.name, PortType::Files),
            TypeWithOptions::Metrics(_) => OutputSpec::new(&self.name, PortType::Metrics),
            TypeWithOptions::Table(_) => OutputSpec::table_blob(&self.name),
            TypeWithOptions::Arrays(_) => OutputSpec::new(&self.name, PortType::Arrays),
            TypeWithOptions::Model(_) => OutputSpec::new(&self.name, PortType::Model),
            TypeWithOptions::Images(_) => OutputSpec::new(&self.name, PortType::Dataset),
            TypeWithOptions::Plot(_) => OutputSpec {
                is_plot: true,
                ..OutputSpec::new(&self.name, PortType::Files)
            },
        };
        OutputSpec {
            // A record is shared as a whole or not at all.
            in_record: !spec.reveals_inputs,
            reveals_inputs: spec.reveals_inputs && !typed.is_shared(),
            ..spec
        }
    }
}

/// The lower-case extension of the last component of a path.
pub(super) fn extension_of(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?;
    let (stem, extension) = name.rsplit_once('.')?;
    (!stem.is_empty()).then_some(extension)
}

impl DeclaredOutputs {
    /// Whether outputs are only names. Such a node has one more output that holds all of them.
    pub fn are_names(&self) -> bool {
        self.0.iter().all(|output| output.typed.is_none())
    }

    pub fn specs(&self) -> Vec<OutputSpec> {
        let whole = OutputSpec::new(WHOLE, PortType::Files);
        let whole = self.are_names().then_some(whole);
        let each = self.0.iter().map(DeclaredOutput::spec);
        whole.into_iter().chain(each).collect()
    }

    /// The inputs that a model takes its structure or its classes from, with their type and the
    /// option that names them.
    pub fn referenced(&self) -> Vec<(&str, PortType)> {
        let mut found = Vec::new();
        for output in &self.0 {
            if let Some(TypeWithOptions::Model(model)) = &output.typed {
                found.extend(model.like.as_deref().map(|name| (name, PortType::Model)));
                let classes = model.classes.as_deref();
                found.extend(classes.map(|name| (name, PortType::Dataset)));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    pub fn check(&self) -> Vec<ParameterProblem> {
        let mut problems = Vec::new();
        let mut seen = BTreeSet::new();
        for (index, output) in self.0.iter().enumerate() {
            problems.extend(self.check_name(index, output, &mut seen));
            problems.extend(
                output
                    .typed
                    .as_ref()
                    .and_then(|it| check_type(index, output, it)),
            );
        }
        if self.0.is_empty() {
            let none = ParameterProblem::value("outputs", "a command needs at least one output");
            problems.push(none.hint("list the files or folders that it writes to `out/`"));
        }
        if !self.are_names() {
            let names = self.0.iter().enumerate();
            problems.extend(
                names
                    .filter(|it| it.1.typed.is_none())
                    .map(|(index, output)| {
                        let name = &output.name;
                        let message = format!("`{name}` has no type, but other outputs have one");
                        at("outputs", index, message).hint(format!("write `{name}: files`"))
                    }),
            );
        }
        problems
    }

    fn check_name<'a>(
        &self,
        index: usize,
        output: &'a DeclaredOutput,
        seen: &mut BTreeSet<&'a str>,
    ) -> Option<ParameterProblem> {
        let name = output.name.as_str();
        let message = match name {
            name if name.contains('/') || name.starts_with('.') => {
                format!("`{name}` is a path: an output is a name, and its file is `{OUT}/NAME`")
            }
            name if !is_label(name) || name.starts_with(|it: char| it.is_ascii_digit()) => {
                format!(
                    "`{name}` is not a valid name: use letters, digits, `_`, `.`, `+` and `-`, not \
                     starting with a digit"
                )
            }
            WHOLE => format!("`{WHOLE}` is the name of all outputs together"),
            name if !seen.insert(name) => format!("`{name}` is listed twice"),
            _ => return None,
        };
        let problem = at("outputs", index, message);
        Some(match name {
            WHOLE => problem.hint(format!(
                "name the outputs, as in `outputs: [model, table]`; `STAGE.{WHOLE}` under `needs` is all of them"
            )),
            _ => problem,
        })
    }
}

fn check_type(
    index: usize,
    output: &DeclaredOutput,
    typed: &TypeWithOptions,
) -> Option<ParameterProblem> {
    let problem = |message: String| {
        let mut problem = at("outputs", index, message);
        problem.path.push(output.name.clone());
        problem
    };
    if let Some(file) = typed.file() {
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        if !file.split('/').all(plain) || file.contains('\0') {
            let message = format!("`{file}` is not a path below `{OUT}/`");
            return Some(problem(message).hint(format!("`file: a/b` is `{OUT}/a/b`")));
        }
        let extensions = typed.extensions();
        let fits = extension_of(file).is_some_and(|it| extensions.contains(&it));
        if !extensions.is_empty() && !fits {
            let listed: Vec<String> = extensions.iter().map(|it| format!(".{it}")).collect();
            let message = format!("`{file}` must end with {}", listed.join(" or "));
            return Some(problem(message));
        }
    }
    let TypeWithOptions::Model(model) = typed else {
        return None;
    };
    match (&model.like, &model.arch) {
        (Some(_), None) => None,
        (None, Some(arch)) => {
            let unknown = crate::ml::models::catalogue::find(arch).is_none();
            unknown.then(|| {
                let unknown = crate::stages::model::UnknownArchitecture::of(arch);
                problem(unknown.message).hint(unknown.hint)
            })
        }
        (None, None) => {
            let message = "a model needs the structure of an input or of an architecture";
            let hint = "`{ model: { like: INPUT } }` or `{ model: { arch: NAME } }`";
            Some(problem(message.to_string()).hint(hint))
        }
        (Some(_), Some(_)) => {
            let message = "`like` and `arch` both give the structure";
            Some(problem(message.to_string()).hint("keep one of them"))
        }
    }
}

impl Serialize for DeclaredOutput {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(typed) = &self.typed else {
            return self.name.serialize(serializer);
        };
        // A type without options that enter the key has one form there, however it is written.
        let is_model = matches!(typed, TypeWithOptions::Model(_));
        let written = match typed.file().is_none() && !is_model {
            true => WordOr::Word(typed.type_name()),
            false => WordOr::Other(typed.clone()),
        };
        BTreeMap::from([(&self.name, written)]).serialize(serializer)
    }
}

impl Serialize for DeclaredOutputs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DeclaredOutput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OutputVisitor)
    }
}

struct OutputVisitor;

impl<'de> Visitor<'de> for OutputVisitor {
    type Value = DeclaredOutput;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("the name of an output, or a map from a name to a type")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(DeclaredOutput {
            name: name.to_string(),
            typed: None,
        })
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let entry = map.next_entry::<String, Written>()?;
        let (name, typed) = entry.ok_or_else(|| M::Error::custom("the map is empty"))?;
        if map.next_key::<String>()?.is_some() {
            return Err(M::Error::custom("a map in a list has one entry"));
        }
        Ok(DeclaredOutput {
            name,
            typed: Some(unwritten(typed)),
        })
    }
}

fn unwritten(written: Written) -> TypeWithOptions {
    match written {
        WordOr::Word(name) => TypeWithOptions::plain(name),
        WordOr::Other(typed) => typed,
    }
}

impl<'de> Deserialize<'de> for DeclaredOutputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OutputsVisitor)
    }
}

struct OutputsVisitor;

impl<'de> Visitor<'de> for OutputsVisitor {
    type Value = DeclaredOutputs;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a list of names, or a map from names to types")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut outputs = Vec::new();
        while let Some(output) = list.next_element()? {
            outputs.push(output);
        }
        Ok(DeclaredOutputs(outputs))
    }

    /// From a reference to a map, whose order is not known: by name.
    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut outputs = Vec::new();
        while let Some((name, typed)) = map.next_entry::<String, Written>()? {
            outputs.push(DeclaredOutput {
                name,
                typed: Some(unwritten(typed)),
            });
        }
        Ok(DeclaredOutputs(outputs))
    }
}

/// The forms of `outputs:`, for the schema.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code)]
enum OutputsSchema {
    Names(Vec<String>),
    Typed(BTreeMap<String, Written>),
}

impl JsonSchema for DeclaredOutputs {
    fn schema_name() -> Cow<'static, str> {
        "Outputs".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        OutputsSchema::json_schema(generator)
    }
}
