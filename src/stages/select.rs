//! `select`: the best of several models by a score on held-out data, or their greedy soup.

mod origins;
mod pairs;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::evaluate;
use super::images;
use super::known_classes;
use super::model;
use super::price::{self, CostEstimate, InputForecasts, PortForecast};
use super::task::{Context, Outputs, Stage, TaskError, TaskInput, Weight};
use pairs::pairs;

use crate::contract::port::{OutputSpec, PortType};
use crate::diag::nearest;
use crate::ml::data::ImageSet;
use crate::ml::models::Model;
use crate::ml::models::average::average;
use crate::ml::models::soup::{GreedySoup, greedy};
use crate::ml::train::evaluate::{EvaluateOptions, evaluate_with};
use crate::store::artifact::{Artifact, Better, Metric, Metrics, Table};
use crate::store::export::member_name;
use crate::workflow::kind::selection::{CANDIDATE, CHOICE, METRIC, TAKEN};
use crate::workflow::kind::{
    BoundInput, ClassForecast, Comparison, Gathers, InputClasses, InputSpec, Meaning, OnlyWith,
    Origins, ParameterProblem, Withholds,
};

/// How the result is made of the candidates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SelectionMethod {
    /// The candidate with the best score; the first one if several are equal.
    #[default]
    Best,
    /// The average of the candidates that a greedy soup keeps (Wortsman et al. 2022, Recipe 1): from
    /// the best to the worst, each is kept if the average with it scores no worse on `data`.
    GreedySoup,
}

/// The direction in which a score improves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Higher,
    Lower,
}

/// Selects among models by a score on held-out data.
///
/// `scores` has one result for each of `models`: with the same axes, or in the same order if there
/// are none. The held-out data must not be what the report tests on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Select {
    /// How the result is made of the candidates.
    pub method: SelectionMethod,
    /// The metric in `scores`.
    pub by: String,
    /// The direction in which the metric improves. Default: that of the metric.
    pub better: Option<Direction>,
}

impl Default for Select {
    fn default() -> Self {
        Self {
            method: SelectionMethod::default(),
            by: "top1".to_string(),
            better: None,
        }
    }
}

const MODELS: &str = "models";
const SCORES: &str = "scores";
const DATA: &str = "data";

const METRICS: [&str; 4] = ["score", "candidates", "taken", "evaluations"];
/// The metrics of `evaluate` that a soup can be scored by.
const SOUP_METRICS: [&str; 3] = ["top1", "top5", "loss"];
/// The largest difference in percent points or nats between a score and its repetition, as for
/// `evaluate`.
const SAME_SCORE: f64 = 0.5;

impl Stage for Select {
    const NAME: &'static str = "select";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str =
        "The best of several models by a score on held-out data, or their greedy soup";
    const COMPARISON: Comparison = Comparison::MetricsWithin(0.5);
    const MEANING: Meaning = Meaning::Selection;

    fn inputs(&self) -> Vec<InputSpec> {
        let mut inputs = vec![
            InputSpec::many(MODELS, PortType::Model, Gathers::Any),
            InputSpec::many(SCORES, PortType::Metrics, Gathers::Any),
        ];
        if self.method == SelectionMethod::GreedySoup {
            inputs.extend(Self::conditional_inputs().into_iter().map(|it| it.spec));
        }
        inputs
    }

    fn conditional_inputs() -> Vec<OnlyWith<InputSpec>> {
        vec![OnlyWith {
            spec: InputSpec::one(DATA, PortType::Dataset),
            with: "`method: greedy_soup`",
        }]
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        vec![
            OutputSpec::new("model", PortType::Model),
            OutputSpec::metrics("metrics", &METRICS),
            OutputSpec::new(CHOICE, PortType::Table),
        ]
    }

    fn withholds(&self) -> Withholds {
        Withholds::Nothing
    }

    fn check(&self, inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        let mut problems = Vec::new();
        if self.method == SelectionMethod::GreedySoup && !SOUP_METRICS.contains(&self.by.as_str()) {
            let message = format!("a soup can't be scored by `{}`", self.by);
            let problem = ParameterProblem::value("by", message);
            problems.push(problem.hint(format!("one of {}", SOUP_METRICS.join(", "))));
        }
        let axes = |name: &str| {
            let bound = inputs.iter().find(|input| input.name == name);
            bound.map_or(&[][..], |input| &input.members)
        };
        if let Err(message) = pairs(axes(MODELS), axes(SCORES)) {
            let problem = ParameterProblem::input(SCORES, message);
            let hint = "gather both over the same axes: `models: \"tuned[lr=*]\"`, `scores: \"held[lr=*]\"`";
            problems.push(problem.hint(hint));
        }
        problems
    }

    fn origin_problems(&self, given: &dyn Fn() -> Origins) -> Vec<ParameterProblem> {
        origins::problems(&given())
    }

    fn classes(&self, inputs: &InputClasses) -> ClassForecast {
        let models = inputs.get(MODELS).map_or(&[][..], Vec::as_slice);
        let other = known_classes::difference(models, MODELS, true);
        let all_known = models.iter().all(Option::is_some);
        // Which of them is the result is known only after the run.
        let same = known_classes::of(inputs, MODELS).filter(|_| all_known && other.is_none());
        let problems = match self.method {
            SelectionMethod::Best => Vec::new(),
            SelectionMethod::GreedySoup => {
                let unmatched = known_classes::unmatched(inputs, MODELS, DATA);
                other.into_iter().chain(unmatched).collect()
            }
        };
        ClassForecast {
            problems,
            ..known_classes::giving("model", same)
        }
    }

    fn price(&self, foreseen: &InputForecasts) -> CostEstimate {
        let Some(config) = price::model(foreseen, MODELS) else {
            return CostEstimate::unknown();
        };
        let mut price = CostEstimate::nothing();
        if self.method == SelectionMethod::GreedySoup {
            let candidates = foreseen.get(MODELS).map_or(0, Vec::len);
            match price::images(foreseen, DATA) {
                Some(count) => price.cost.images = (count * candidates as u64) as f64,
                None => price.cost.at_least = true,
            }
            price.cost.operations = price.cost.images * price::forward(&config);
            price.cost.written = price::bytes(&config);
        }
        price.giving("model", PortForecast::Model(config))
    }

    fn weight(&self) -> Weight {
        match self.method {
            SelectionMethod::Best => Weight::Tiny,
            SelectionMethod::GreedySoup => Weight::Heavy,
        }
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let ranking = self.ranking(context)?;
        match self.method {
            SelectionMethod::Best => Ok(self.best(&ranking)),
            SelectionMethod::GreedySoup => self.soup(context, &ranking),
        }
    }
}

/// A model with its score.
struct Candidate<'a> {
    name: String,
    model: &'a TaskInput,
    score: &'a Metric,
}

/// All candidates from the best to the worst.
struct Ranking<'a> {
    candidates: Vec<Candidate<'a>>,
    direction: Direction,
}

impl Direction {
    /// The value that is larger if the score is better.
    fn oriented(self, score: f64) -> f64 {
        match self {
            Self::Higher => score,
            Self::Lower => -score,
        }
    }
}

impl Select {
    fn ranking<'a>(&self, context: &'a Context) -> Result<Ranking<'a>, TaskError> {
        let (models, scores) = (context.members(MODELS), context.members(SCORES));
        let axes = |members: &[TaskInput]| -> Vec<BTreeMap<String, String>> {
            members.iter().map(|member| member.axes.clone()).collect()
        };
        let pairs = pairs(&axes(models), &axes(scores)).map_err(TaskError::Input)?;
        let mut candidates = Vec::new();
        for (place, (model, score)) in models.iter().zip(pairs).enumerate() {
            let name = member_name(&model.axes).unwrap_or_else(|| (place + 1).to_string());
            candidates.push(Candidate {
                score: self.score(&name, &scores[score])?,
                name,
                model,
            });
        }
        let Some(first) = candidates.first() else {
            return Err(TaskError::Input("there are no models".to_string()));
        };
        let direction = self.direction(first.score)?;
        let key = |it: &Candidate| direction.oriented(it.score.value);
        candidates.sort_by(|a, b| key(b).total_cmp(&key(a)));
        Ok(Ranking {
            candidates,
            direction,
        })
    }

    fn score<'a>(&self, name: &str, input: &'a TaskInput) -> Result<&'a Metric, TaskError> {
        let Artifact::Metrics(metrics) = &input.artifact else {
            return Err(TaskError::Input(format!("`{SCORES}` are not metrics")));
        };
        metrics.values.get(&self.by).ok_or_else(|| {
            let near = nearest(&self.by, metrics.values.keys().map(String::as_str));
            let hint = near.map(|near| format!("; did you mean `{near}`?"));
            TaskError::Input(format!(
                "the score of {name} has no metric `{}`{}",
                self.by,
                hint.unwrap_or_default()
            ))
        })
    }

    fn direction(&self, score: &Metric) -> Result<Direction, TaskError> {
        let own = score.better.map(|better| match better {
            Better::Higher => Direction::Higher,
            Better::Lower => Direction::Lower,
        });
        self.better.or(own).ok_or_else(|| {
            TaskError::Input(format!(
                "the metric `{}` does not say whether higher is better: set `better: higher` or \
                 `better: lower`",
                self.by
            ))
        })
    }

    /// The artifact of the best model itself: nothing is read or written.
    fn best(&self, ranking: &Ranking) -> Outputs {
        let best = &ranking.candidates[0];
        let result = Selected {
            by: &self.by,
            score: best.score.clone(),
            taken: &[0],
            tried: &[],
        };
        result.outputs(ranking, best.model.artifact.clone())
    }

    fn soup(&self, context: &Context, ranking: &Ranking) -> Result<Outputs, TaskError> {
        let first = model::config(ranking.candidates[0].model)?;
        let transform = first.input.transform();
        let set = images::load(context, context.input(DATA)?, Some(&transform))?;
        let mut kitchen = Kitchen {
            context,
            ranking,
            set,
            by: &self.by,
            models: BTreeMap::new(),
        };
        let order: Vec<usize> = (0..ranking.candidates.len()).collect();
        let soup = greedy(&order, |ingredients| kitchen.score(ingredients))?;
        let mean = kitchen.average(&soup.ingredients)?;
        let GreedySoup {
            ingredients,
            score,
            tried,
        } = &soup;
        let first = ranking.candidates[0].score;
        let result = Selected {
            by: &self.by,
            score: score.as_ref().map_or(first, |it| &it.metric).clone(),
            taken: ingredients,
            tried,
        };
        Ok(result.outputs(ranking, model::write(context, &mean)?))
    }
}

/// Makes and scores soups.
struct Kitchen<'a> {
    context: &'a Context<'a>,
    ranking: &'a Ranking<'a>,
    set: ImageSet<'a>,
    by: &'a str,
    /// By place in the ranking: the ingredients so far, and the candidate.
    models: BTreeMap<usize, Model>,
}

/// The score of a soup. Larger is better.
#[derive(Clone)]
struct SoupScore {
    oriented: f64,
    metric: Metric,
}

impl PartialEq for SoupScore {
    fn eq(&self, other: &Self) -> bool {
        self.oriented == other.oriented
    }
}

impl PartialOrd for SoupScore {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.oriented.partial_cmp(&other.oriented)
    }
}

impl Kitchen<'_> {
    fn average(&mut self, ingredients: &[usize]) -> Result<Model, TaskError> {
        self.models.retain(|place, _| ingredients.contains(place));
        for place in ingredients {
            if !self.models.contains_key(place) {
                let candidate = &self.ranking.candidates[*place];
                let model = model::read(self.context, candidate.model)?;
                self.models.insert(*place, model);
            }
        }
        let models: Vec<Model> = ingredients
            .iter()
            .map(|it| self.models[it].clone())
            .collect();
        let weights = vec![1.0 / models.len() as f64; models.len()];
        Ok(average(&models, &weights)?)
    }

    fn score(&mut self, ingredients: &[usize]) -> Result<SoupScore, TaskError> {
        self.context.check_cancelled()?;
        let soup = self.average(ingredients)?;
        let options = EvaluateOptions {
            masked: true,
            predictions: false,
        };
        let threads = self.context.threads;
        let evaluation = evaluate_with(&soup, &self.set, options, threads, self.context)?;
        let metrics = evaluate::metrics(&evaluation, self.set.classes.len());
        let metric = metrics.values.get(self.by).cloned();
        let score = metric.ok_or_else(|| {
            TaskError::Input(format!("`{DATA}` has too few classes for `{}`", self.by))
        })?;
        if ingredients == [0] {
            self.check_data(&score)?;
        }
        Ok(SoupScore {
            oriented: self.ranking.direction.oriented(score.value),
            metric: score,
        })
    }

    /// Checks that `data` is what the scores were measured on.
    fn check_data(&self, found: &Metric) -> Result<(), TaskError> {
        let best = &self.ranking.candidates[0];
        let (given, same) = (
            best.score,
            (found.value - best.score.value).abs() <= SAME_SCORE,
        );
        if same && (given.n.is_none() || given.n == found.n) {
            return Ok(());
        }
        Err(TaskError::Input(format!(
            "{} has a `{}` of {} in `{SCORES}`, but of {} on `{DATA}`: evaluate the models on the \
             same dataset",
            best.name, self.by, given.value, found.value
        )))
    }
}

/// The choice, by places in the ranking.
struct Selected<'a> {
    /// The metric that the candidates are compared by.
    by: &'a str,
    /// The score of the result.
    score: Metric,
    taken: &'a [usize],
    /// For each soup in the order made, the candidate and the score.
    tried: &'a [(usize, SoupScore)],
}

impl Selected<'_> {
    fn outputs(self, ranking: &Ranking, model: Artifact) -> Outputs {
        let table = self.table(ranking);
        let metrics = self.metrics(ranking);
        Outputs::one("model", model)
            .and("metrics", Artifact::Metrics(metrics))
            .and(CHOICE, Artifact::Table(table))
    }

    fn metrics(&self, ranking: &Ranking) -> Metrics {
        let count = |count: usize, unit: &str| Metric::new(count as f64, unit);
        let better = match ranking.direction {
            Direction::Higher => Better::Higher,
            Direction::Lower => Better::Lower,
        };
        let score = Metric {
            better: Some(better),
            ..self.score.clone()
        };
        let values = [
            ("score", score),
            ("candidates", count(ranking.candidates.len(), "models")),
            ("taken", count(self.taken.len(), "models")),
            ("evaluations", count(self.tried.len(), "")),
        ];
        let values = values.map(|(name, metric)| (name.to_string(), metric));
        Metrics {
            values: BTreeMap::from(values),
        }
    }

    fn table(&self, ranking: &Ranking) -> Table {
        let soup = |place: usize| {
            let tried = self.tried.iter().find(|(candidate, _)| *candidate == place);
            tried.map_or(Value::Null, |(_, score)| json!(score.metric.value))
        };
        let row = |(place, candidate): (usize, &Candidate)| {
            let mut row = vec![
                json!(candidate.name),
                json!(self.by),
                json!(candidate.score.value),
                json!(self.taken.contains(&place)),
            ];
            if !self.tried.is_empty() {
                row.push(soup(place));
            }
            row
        };
        let mut columns = vec![CANDIDATE, METRIC, "score", TAKEN];
        if !self.tried.is_empty() {
            columns.push("soup_score");
        }
        Table {
            columns: columns.into_iter().map(String::from).collect(),
            rows: ranking.candidates.iter().enumerate().map(row).collect(),
        }
    }
}
