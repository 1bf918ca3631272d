//! Follows the names of classes from datasets to models and evaluations, and reports inputs whose
//! classes do not fit, before anything has run.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::expand::Expansion;
use super::inputs::{PointInput, PointMember};
use super::kind::{ClassForecast, InputClasses};
use super::prepare::{Prepared, report_parameter};
use crate::diag::Problems;

/// Points by number, after the checks of their parameters and inputs.
pub struct CheckedPoints<'p> {
    pub prepared: &'p [Option<Arc<Prepared>>],
    pub inputs: &'p [Option<Vec<PointInput>>],
}

/// Reports classes that do not fit. `order` has the producers first.
pub fn check(
    expansion: &Expansion,
    points: &CheckedPoints,
    order: &[u32],
    problems: &mut Problems,
) {
    let mut forecasts = Forecasts {
        points,
        of: vec![None; expansion.len()],
        made: HashMap::new(),
    };
    for &point in order {
        let Some(forecast) = forecasts.add(point) else {
            continue;
        };
        let Some(variant) = expansion.variant(expansion.stage_of(point), point) else {
            continue;
        };
        for problem in &forecast.problems {
            report_parameter(problems, variant, &|| expansion.id(point), problem.clone());
        }
    }
}

/// The parameters and the lists of classes, by address; `None` ends an input.
type Question = (usize, Vec<Option<usize>>);

struct Forecasts<'p> {
    points: &'p CheckedPoints<'p>,
    /// By point.
    of: Vec<Option<Rc<ClassForecast>>>,
    /// Nodes with the same parameters and classes have the same forecast.
    made: HashMap<Question, Rc<ClassForecast>>,
}

impl Forecasts<'_> {
    /// The forecast of a point whose producers have been added.
    fn add(&mut self, point: u32) -> Option<Rc<ClassForecast>> {
        let prepared = self.points.prepared[point as usize].as_ref()?;
        let given = self.points.inputs[point as usize].as_ref()?;
        let mut inputs = InputClasses::new();
        let mut question = (Arc::as_ptr(prepared) as usize, Vec::new());
        for input in given {
            let members: Vec<_> = input.members.iter().map(|it| self.classes(it)).collect();
            for classes in &members {
                let address = classes.as_ref().map_or(0, |it| it.as_ptr() as usize);
                question.1.push(Some(address));
            }
            question.1.push(None);
            inputs.insert(input.name.clone(), members);
        }
        let made = self.made.entry(question);
        let forecast = made.or_insert_with(|| Rc::new(prepared.parameters.classes(&inputs)));
        self.of[point as usize] = Some(Rc::clone(forecast));
        self.of[point as usize].clone()
    }

    fn classes(&self, member: &PointMember) -> Option<Arc<[String]>> {
        let forecast = self.of[member.point as usize].as_ref()?;
        forecast.outputs.get(member.port.as_str()).cloned()
    }
}
