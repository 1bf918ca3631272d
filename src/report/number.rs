//! Formats numbers: decimals by unit, aligned signs, no false precision.

/// A number and its format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    pub value: f64,
    /// Digits after the decimal point in text and on the page.
    pub decimals: usize,
    /// Show a plus sign: the number is a difference.
    pub signed: bool,
}

impl Number {
    /// The format for `unit`: differences in points have a sign.
    pub fn of(value: f64, unit: &str) -> Self {
        let (decimals, signed) = match unit {
            "points" => (1, true),
            "percent" => (1, false),
            // Mainly counts.
            _ if value.fract() == 0.0 => (0, false),
            _ if value.abs() >= 100.0 => (1, false),
            _ if value.abs() >= 10.0 => (2, false),
            _ => (3, false),
        };
        Self {
            value,
            decimals,
            signed,
        }
    }

    pub fn percent(value: f64) -> Self {
        Self::of(value, "percent")
    }

    pub fn points(value: f64) -> Self {
        Self::of(value, "points")
    }

    /// A correlation: two decimals and a sign.
    pub fn correlation(value: f64) -> Self {
        Self::hundredths(value, true)
    }

    /// Two decimals, the precision of published numbers.
    pub fn hundredths(value: f64, signed: bool) -> Self {
        Self {
            value,
            decimals: 2,
            signed,
        }
    }

    /// The same with more decimals, if `decimals` is more.
    pub fn at_least(self, decimals: usize) -> Self {
        Self {
            decimals: self.decimals.max(decimals),
            ..self
        }
    }

    /// For terminals and text files, in ASCII.
    pub fn ascii(&self) -> String {
        let decimals = self.decimals;
        let text = match self.signed {
            true => format!("{:+.decimals$}", self.value),
            false => format!("{:.decimals$}", self.value),
        };
        if self.is_zero() {
            // Without +0.0 and -0.0: a number that rounds to zero has no sign.
            return text.trim_start_matches(['+', '-']).to_string();
        }
        text
    }

    /// For the page: with a true minus sign.
    pub fn typeset(&self) -> String {
        self.ascii().replace('-', "\u{2212}")
    }

    /// For CSV: at least four decimals, no plus sign.
    pub fn plain(&self) -> String {
        let scale = 10f64.powi(self.decimals.max(4) as i32);
        let rounded = (self.value * scale).round() / scale;
        if rounded == 0.0 {
            "0".to_string()
        } else {
            rounded.to_string()
        }
    }

    /// Whether it is displayed as zero.
    pub fn is_zero(&self) -> bool {
        (self.value.abs() * 10f64.powi(self.decimals as i32)).round() == 0.0
    }
}

/// The most decimals that are worth a column.
const DECIMALS: usize = 12;

/// The fewest decimals, at most 12, with which `value` is shown within `error`, a share of it.
pub fn decimals_within(value: f64, error: f64) -> usize {
    let shown = |decimals: usize| format!("{value:.decimals$}").parse().unwrap_or(value);
    let fits = |decimals: &usize| (shown(*decimals) - value).abs() <= error * value.abs();
    (0..DECIMALS).find(fits).unwrap_or(DECIMALS)
}

/// A number of unknown meaning in up to six digits, typeset.
pub fn readable(value: f64) -> String {
    let text = match value.abs() {
        size if size == 0.0 || (1e-4..1e9).contains(&size) => {
            let decimals = decimals_within(value, 5e-6);
            format!("{value:.decimals$}")
        }
        _ => format!("{value:.5e}"),
    };
    text.replace('-', "\u{2212}")
}

/// The decimals with which a file wrote `value`, at most 12.
pub fn decimals_written(value: f64) -> usize {
    decimals_within(value, 1e-12)
}

/// Seconds since 1970 as `2026-03-01T14:05:09Z` (Howard Hinnant's days-to-civil algorithm).
pub fn utc(seconds: u64) -> String {
    let (days, rest) = ((seconds / 86_400) as i64, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest % 3600 / 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_their_part() {
        assert_eq!(Number::points(-5.16).ascii(), "-5.2");
        assert_eq!(Number::points(5.16).typeset(), "+5.2");
        assert_eq!(Number::points(-0.04).typeset(), "0.0");
        for (value, decimals) in [
            (0.0, 0),
            (3.0, 0),
            (0.005, 3),
            (12.5, 1),
            (1e-7, 7),
            (0.1, 1),
        ] {
            assert_eq!(decimals_written(value), decimals, "{value}");
        }
        assert_eq!(decimals_within(0.034_567, 0.05), 3);
        assert_eq!(Number::percent(63.0).plain(), "63");
        assert_eq!(Number::percent(1.0 / 3.0).plain(), "0.3333");
        assert_eq!(
            Number::hundredths(0.005, false).at_least(3).ascii(),
            "0.005"
        );
        assert_eq!(
            Number::hundredths(1e-6, false).at_least(6).plain(),
            "0.000001"
        );
        for (value, text) in [
            (0.1 + 0.2, "0.3"),
            (2.0 / 3.0, "0.666667"),
            (-12.345_678_9, "\u{2212}12.3457"),
            (0.0, "0"),
            (1.234_567_89e-7, "1.23457e\u{2212}7"),
            (5e12, "5.00000e12"),
        ] {
            assert_eq!(readable(value), text);
        }
        assert_eq!(utc(951_827_696), "2000-02-29T12:34:56Z");
    }
}
