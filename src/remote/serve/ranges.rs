//! Parses `Range: bytes=a-b`, with one range only; ignores other forms, as the standard allows.

use axum::http::HeaderMap;
use axum::http::header::{IF_NONE_MATCH, IF_RANGE, RANGE};

/// The byte range that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestedRange {
    Whole,
    /// `count` bytes starting at `from`; never empty.
    Part {
        from: u64,
        count: u64,
    },
    /// Outside the object.
    Outside,
}

/// The requested range of an object of `size` bytes with the entity tag `tag`.
pub fn requested(headers: &HeaderMap, tag: &str, size: u64) -> RequestedRange {
    let same = headers
        .get(IF_RANGE)
        .is_none_or(|value| value.as_bytes() == tag.as_bytes());
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok());
    match range.filter(|_| same) {
        Some(range) => parse(range, size).unwrap_or(RequestedRange::Whole),
        None => RequestedRange::Whole,
    }
}

/// `None`: not a single byte range.
fn parse(range: &str, size: u64) -> Option<RequestedRange> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number that overflows is beyond every end.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let (from, to) = match (first.trim(), last.trim()) {
        ("", last) => (size.saturating_sub(number(last)?), size),
        (first, "") => (number(first)?, size),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            (first, last.saturating_add(1).min(size))
        }
    };
    Some(match from < to {
        true => RequestedRange::Part {
            from,
            count: to - from,
        },
        false => RequestedRange::Outside,
    })
}

/// Whether the client already has the object with this tag.
pub fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter();
    let mut tags = values.filter_map(|value| value.to_str().ok());
    tags.any(|value| {
        let mut each = value.split(',').map(str::trim);
        each.any(|one| one == "*" || one.trim_start_matches("W/") == tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let part = |from, count| Some(RequestedRange::Part { from, count });
        assert_eq!(parse("bytes=0-3", 10), part(0, 4));
        assert_eq!(parse("bytes=4-", 10), part(4, 6));
        assert_eq!(parse("bytes=-3", 10), part(7, 3));
        assert_eq!(parse("bytes=-30", 10), part(0, 10));
        assert_eq!(parse("bytes=8-99999999999999999999999", 10), part(8, 2));
        for outside in [
            "bytes=10-",
            "bytes=10-11",
            "bytes=-0",
            "bytes=99999999999999999999-",
        ] {
            assert_eq!(
                parse(outside, 10),
                Some(RequestedRange::Outside),
                "{outside}"
            );
        }
        assert_eq!(parse("bytes=0-", 0), Some(RequestedRange::Outside));
        for other in [
            "bytes=3-1",
            "bytes=a-",
            "bytes=0-1,3-4",
            "lines=1-2",
            "bytes=+1-2",
            "-",
        ] {
            assert_eq!(parse(other, 10), None, "{other}");
        }
    }
}
