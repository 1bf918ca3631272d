//! Greedy soup (Wortsman et al. 2022, "Model soups", Recipe 1).

/// The result of a greedy soup.
#[derive(Clone, Debug, PartialEq)]
pub struct GreedySoup<S> {
    /// The ingredients, in the order in which they were added.
    pub ingredients: Vec<usize>,
    /// The score of the soup of all ingredients; `None` without candidates.
    pub score: Option<S>,
    /// For each candidate in the order tried, its index and the score of the soup with it.
    pub tried: Vec<(usize, S)>,
}

/// Adds candidates one by one and keeps those that do not make the soup worse.
///
/// `order` has the candidates from the best to the worst on the held-out set. `score` gives the
/// score of the uniform average of some candidates on that set; larger is better. The first candidate
/// is always an ingredient. The paper keeps a candidate that leaves the score equal; the authors'
/// released code requires a higher score.
///
/// # Errors
/// The first error of `score`.
pub fn greedy<S: Clone + PartialOrd, E>(
    order: &[usize],
    mut score: impl FnMut(&[usize]) -> Result<S, E>,
) -> Result<GreedySoup<S>, E> {
    let mut soup = GreedySoup {
        ingredients: Vec::new(),
        score: None,
        tried: Vec::new(),
    };
    for &candidate in order {
        soup.ingredients.push(candidate);
        let found = score(&soup.ingredients)?;
        soup.tried.push((candidate, found.clone()));
        if soup.score.as_ref().is_none_or(|best| found >= *best) {
            soup.score = Some(found);
        } else {
            soup.ingredients.pop();
        }
    }
    Ok(soup)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A soup is as good as the mean of its ingredients is near 10.
    fn near_ten(values: &[f64]) -> impl FnMut(&[usize]) -> Result<f64, ()> {
        move |soup| {
            let sum: f64 = soup.iter().map(|index| values[*index]).sum();
            Ok(-(sum / soup.len() as f64 - 10.0).abs())
        }
    }

    #[test]
    fn ingredients_are_kept_where_the_soup_is_not_worse() {
        // 9 alone is 1 off. With 12: 10.5, half off. With 14: 11.67, worse. With 9 again: 10.
        let values = [9.0, 12.0, 14.0, 9.0];
        let soup = greedy(&[0, 1, 2, 3], near_ten(&values)).unwrap();
        assert_eq!(soup.ingredients, [0, 1, 3]);
        assert_eq!(soup.score, Some(0.0));
        let tried: Vec<usize> = soup.tried.iter().map(|(index, _)| *index).collect();
        assert_eq!(tried, [0, 1, 2, 3]);
    }

    #[test]
    fn an_equal_score_adds_an_ingredient() {
        let soup = greedy(&[1, 0], near_ten(&[8.0, 8.0])).unwrap();
        assert_eq!(soup.ingredients, [1, 0]);
    }

    #[test]
    fn the_first_candidate_is_kept_whatever_its_score() {
        let soup = greedy(&[0], |_| Ok::<f64, ()>(f64::NAN)).unwrap();
        assert_eq!(soup.ingredients, [0]);
    }
}
