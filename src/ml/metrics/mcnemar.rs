//! McNemar's exact test for two classifiers on the same images (McNemar 1947, Psychometrika 12).

/// The two-sided p-value if one classifier alone is right `only_a` times and the other alone
/// `only_b` times: under the null hypothesis each of these is as likely, so the smaller count is
/// binomial with probability 1/2. 1 if the classifiers never differ.
pub fn exact(only_a: u64, only_b: u64) -> f64 {
    let (n, least) = (only_a + only_b, only_a.min(only_b));
    let log_choose = |k: u64| {
        let gamma = |count: u64| libm::lgamma(count as f64 + 1.0);
        gamma(n) - gamma(k) - gamma(n - k)
    };
    let half = n as f64 * std::f64::consts::LN_2;
    let tail: f64 = (0..=least).map(|k| libm::exp(log_choose(k) - half)).sum();
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy.stats.binomtest(min(b, c), b + c, 0.5).pvalue
    #[test]
    fn p_values_are_those_of_the_binomial_test() {
        for (b, c, right) in [
            (12, 5, 0.143463134765625),
            (0, 0, 1.0),
            (3, 3, 1.0),
            (0, 10, 0.001953125),
            (1, 0, 1.0),
            (40, 20, 0.01348929373119186),
        ] {
            let found = exact(b, c);
            assert!((found - right).abs() < 1e-10, "{b} {c}: {found}");
            assert_eq!(found, exact(c, b));
        }
    }
}
