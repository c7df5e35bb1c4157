//! Durations as people write them: `500ms`, `2s`, `1m`.

use std::time::Duration;

/// Far more than anything here takes, and far less than a clock overflows at.
const MOST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Reads a whole number with `ms`, `s`, `m` or `min`, a year at most.
///
/// # Errors
/// Anything else; the message says what to write.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let duration = number.parse::<u64>().ok().and_then(|number| match unit.trim() {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" | "min" => number.checked_mul(60).map(Duration::from_secs),
        _ => None,
    });
    if duration.is_some_and(|duration| duration > MOST) {
        return Err(format!("`{text}` is longer than a year"));
    }
    duration.ok_or_else(|| format!("`{text}` is no duration: write `500ms`, `2s` or `1m`"))
}

/// A duration in the largest unit that leaves it whole: `0s`, `50ms`, `240s`.
pub fn show_duration(duration: Duration) -> String {
    if duration.is_zero() { "0s".into() } else { format!("{duration:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_duration("1 m"), Ok(Duration::from_secs(60)));
        for wrong in [
            "2",
            "s",
            "-1s",
            "2 hours",
            "",
            "1.5s",
            "99999999999999999999s",
            "18446744073709551615s",
            "18446744073709551615ms",
        ] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_duration_shows_in_its_largest_whole_unit() {
        let shown = [0, 50, 240_000].map(|ms| show_duration(Duration::from_millis(ms)));
        assert_eq!(shown, ["0s", "50ms", "240s"]);
    }
}
