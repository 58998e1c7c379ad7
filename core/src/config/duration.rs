//! Durations as people write them and as hosts send them. Every number that is no duration is a typed error.

use std::time::Duration;

use crate::error::{Error, Result};

/// The longest duration that an option takes: ten years. Anything longer is a slip in the unit.
pub(crate) const LONGEST: Duration = Duration::from_secs(3650 * 24 * 3600);

/// A duration as a person says it: `30 s`, `1.5 s`, `250 ms`, `20 us`.
pub(crate) fn human(d: Duration) -> String {
    let nanos = d.as_nanos();
    let (unit, in_nanos) = match nanos {
        0 => return "0 s".into(),
        1..=999_999 => ("us", 1_000),
        1_000_000..=999_999_999 => ("ms", 1_000_000),
        1_000_000_000.. => ("s", 1_000_000_000),
    };
    let (whole, rest) = (nanos / in_nanos, nanos % in_nanos * 1000 / in_nanos);
    let number = format!("{whole}.{rest:03}");
    format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
}

/// The duration of that many seconds, for the option `name`.
///
/// # Errors
/// `InvalidOption` if the number is not finite, negative, or more than ten years.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(leakpool::duration_from_secs("leak_threshold", 1.5).unwrap(), Duration::from_millis(1500));
/// assert_eq!(
///     leakpool::duration_from_secs("leak_threshold", f64::NAN).unwrap_err().to_string(),
///     "leak_threshold (NaN) must be a number of seconds, 0 or more"
/// );
/// ```
pub fn duration_from_secs(name: &str, seconds: f64) -> Result<Duration> {
    from_number(name, seconds, "seconds", seconds)
}

/// The duration of that many milliseconds, for the option `name`.
///
/// # Errors
/// `InvalidOption` if the number is not finite, negative, or more than ten years.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(leakpool::duration_from_millis("idle_timeout", 10_000.0).unwrap(), Duration::from_secs(10));
/// assert!(leakpool::duration_from_millis("idle_timeout", -1.0).is_err());
/// ```
pub fn duration_from_millis(name: &str, millis: f64) -> Result<Duration> {
    from_number(name, millis, "milliseconds", millis / 1000.0)
}

fn from_number(name: &str, given: f64, unit: &str, seconds: f64) -> Result<Duration> {
    if !given.is_finite() || given < 0.0 {
        return Err(Error::option(name, given, format_args!("must be a number of {unit}, 0 or more")));
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(d) if d > LONGEST => {
            Err(Error::option(name, format_args!("{given} {unit}"), "must be at most 10 years"))
        }
        // A zero means "off" in most options: what is too small to be seen must not turn into one.
        Ok(d) if d.is_zero() && given > 0.0 => {
            Err(Error::option(name, format_args!("{given} {unit}"), "must be 0 or at least 1 ns"))
        }
        Ok(d) => Ok(d),
        Err(_) => Err(Error::option(name, format_args!("{given} {unit}"), "must be at most 10 years")),
    }
}

/// `30 s`, `1.5s`, `250 ms`, `5 min`, `1 h`: a number and its unit. A lone `0` needs none.
pub(crate) fn from_text(name: &str, text: &str) -> Result<Duration> {
    let rule = "must be a number with its unit, as in `30 s` or `250 ms`";
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| Error::option(name, text, rule))?;
    match unit.trim() {
        "ms" => duration_from_millis(name, number),
        "s" => duration_from_secs(name, number),
        "min" => duration_from_secs(name, number * 60.0),
        "h" => duration_from_secs(name, number * 3600.0),
        "" if number == 0.0 => Ok(Duration::ZERO),
        _ => Err(Error::option(name, text, rule)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        for (d, text) in [
            (Duration::ZERO, "0 s"),
            (Duration::from_secs(30), "30 s"),
            (Duration::from_millis(1500), "1.5 s"),
            (Duration::from_millis(250), "250 ms"),
            (Duration::from_micros(2500), "2.5 ms"),
            (Duration::from_micros(20), "20 us"),
            (Duration::from_secs(300), "300 s"),
            (Duration::from_nanos(1), "0.001 us"),
            (Duration::from_nanos(1_999_999_999), "1.999 s"),
        ] {
            assert_eq!(human(d), text);
        }
    }

    #[test]
    fn numbers_that_are_no_durations_are_refused_by_name() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, -1e-9, 1e300, 4e8, 1e-12] {
            let e = duration_from_secs("max_held", bad).unwrap_err();
            assert!(e.to_string().starts_with("max_held ("), "{e}");
        }
        for bad in [f64::NAN, -1.0] {
            let rule = format!("max_held ({bad}) must be a number of milliseconds, 0 or more");
            assert_eq!(duration_from_millis("max_held", bad).unwrap_err().to_string(), rule);
        }
        assert_eq!(duration_from_secs("x", -0.0).unwrap(), Duration::ZERO);
        assert_eq!(duration_from_secs("x", 315_360_000.0).unwrap(), LONGEST);
        assert!(duration_from_millis("x", 315_360_000_001.0).is_err());
    }

    #[test]
    fn text_needs_a_unit() {
        assert_eq!(from_text("x", "30 s").unwrap(), Duration::from_secs(30));
        assert_eq!(from_text("x", "1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(from_text("x", "250 ms").unwrap(), Duration::from_millis(250));
        assert_eq!(from_text("x", " 5 min ").unwrap(), Duration::from_secs(300));
        assert_eq!(from_text("x", "0").unwrap(), Duration::ZERO);
        for bad in ["", "30", "s", "-1 s", "1.2.3 s", "1e400 s", "30 parsecs"] {
            assert!(from_text("x", bad).is_err(), "{bad}");
        }
    }
}
