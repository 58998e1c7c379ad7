//! The rules of the options: what a value may be, and which values contradict each other.

use std::time::Duration;

use super::duration::{LONGEST, human};
use super::names::Names;
use super::options::{OptionSpec, Settings};
use super::policy::LeakPolicy;
use super::pool_options::PoolOptions;
use crate::error::{Error, Result};

const ONE_MS: Duration = Duration::from_millis(1);

/// The most bytes of a name: what the server keeps of `application_name`.
const NAME_BYTES: usize = 63;

impl Settings {
    /// Checks every option and what they mean together, naming them as the host does whose
    /// [`defaults`](Settings::defaults) these were.
    ///
    /// # Errors
    /// `InvalidOption`: names the option, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        self.pool.validate()?;
        self.leak.validate()
    }
}

impl PoolOptions {
    /// Checks every option and what they mean together.
    ///
    /// # Errors
    /// `InvalidOption`: names the option, its value and the rule.
    ///
    /// ```
    /// let mut options = leakpool::PoolOptions::default();
    /// options.min_idle = 11;
    /// assert_eq!(
    ///     options.validate().unwrap_err().to_string(),
    ///     "min_idle (11) must not be more than max_size (10)"
    /// );
    /// ```
    pub fn validate(&self) -> Result<()> {
        check_pool(self, self.names)
    }
}

impl LeakPolicy {
    /// Checks every option and what they mean together.
    ///
    /// # Errors
    /// `InvalidOption`: names the option, its value and the rule.
    ///
    /// ```
    /// let mut policy = leakpool::LeakPolicy::default();
    /// policy.force_release_after = std::time::Duration::from_secs(10);
    /// assert_eq!(
    ///     policy.validate().unwrap_err().to_string(),
    ///     "force_release_after (10 s) must be longer than leak_threshold (30 s)"
    /// );
    /// ```
    pub fn validate(&self) -> Result<()> {
        check_leak(self, self.names)
    }
}

/// The host's name of a core option; the core's own if the table lacks it, which a test forbids.
pub(crate) fn named(names: Names, core: &'static str) -> &'static str {
    OptionSpec::named(Names::Core, core).map_or(core, |o| o.name_in(names))
}

fn check_pool(o: &PoolOptions, names: Names) -> Result<()> {
    let n = |core| named(names, core);
    if !(1..=65_535).contains(&o.max_size) {
        return Err(Error::option(n("max_size"), o.max_size, "must be 1 to 65535"));
    }
    if o.min_idle > o.max_size {
        let rule = format!("must not be more than {} ({})", n("max_size"), o.max_size);
        return Err(Error::option(n("min_idle"), o.min_idle, rule));
    }
    for (name, value) in [
        ("acquire_timeout", o.acquire_timeout),
        ("idle_timeout", o.idle_timeout),
        ("max_lifetime", o.max_lifetime),
        ("close_timeout", o.close_timeout),
    ] {
        off_or_sane(n(name), value)?;
    }
    sane(n("reset_timeout"), o.reset_timeout)?;
    o.name.as_deref().map_or(Ok(()), |name| check_name(name, names))
}

/// A pool's name, or a detector's.
pub(crate) fn check_name(name: &str, names: Names) -> Result<()> {
    let option = named(names, "name");
    let shown: String = name.chars().take(80).collect();
    if name.is_empty() || name.len() > NAME_BYTES {
        return Err(Error::option(option, shown, "must have 1 to 63 bytes"));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::option(option, shown.escape_debug(), "must not hold control characters"));
    }
    Ok(())
}

fn check_leak(p: &LeakPolicy, names: Names) -> Result<()> {
    let n = |core| named(names, core);
    off_or_sane(n("leak_threshold"), p.leak_threshold)?;
    sane(n("check_interval"), p.check_interval)?;
    off_or_sane(n("force_release_after"), p.force_release_after)?;
    if let Some(max_held) = p.max_held {
        off_or_sane(n("max_held"), max_held)?;
        if !max_held.is_zero() && max_held < p.leak_threshold {
            let rule =
                format!("must not be shorter than {} ({})", n("leak_threshold"), human(p.leak_threshold));
            return Err(Error::option(n("max_held"), human(max_held), rule));
        }
    }
    // Nobody is cut off before having been warned about.
    if !p.force_release_after.is_zero() && p.force_release_after <= p.leak_threshold {
        let rule = format!("must be longer than {} ({})", n("leak_threshold"), human(p.leak_threshold));
        return Err(Error::option(n("force_release_after"), human(p.force_release_after), rule));
    }
    if !(0.0..=1.0).contains(&p.utilization_warning) {
        return Err(Error::option(
            n("utilization_warning"),
            p.utilization_warning,
            "must be a number from 0 to 1",
        ));
    }
    if !(1..=128).contains(&p.stack_depth) {
        return Err(Error::option(n("stack_depth"), p.stack_depth, "must be 1 to 128"));
    }
    Ok(())
}

fn off_or_sane(name: &str, value: Duration) -> Result<()> {
    match value.is_zero() {
        true => Ok(()),
        false if value < ONE_MS => Err(Error::option(name, human(value), "must be 0 (off) or at least 1 ms")),
        false => sane(name, value),
    }
}

fn sane(name: &str, value: Duration) -> Result<()> {
    if value < ONE_MS {
        return Err(Error::option(name, human(value), "must be at least 1 ms"));
    }
    if value > LONGEST {
        return Err(Error::option(name, human(value), "must be at most 10 years"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options::{OPTIONS, OptionValue};

    fn refused(change: impl FnOnce(&mut Settings), sentence: &str) {
        let mut settings = Settings::default();
        change(&mut settings);
        assert_eq!(settings.validate().unwrap_err().to_string(), sentence);
    }

    #[test]
    fn the_table_says_what_the_defaults_are() {
        let settings = Settings::default();
        for o in OPTIONS {
            assert_eq!(settings.get(Names::Core, o.name).unwrap(), o.default, "{}", o.name);
            assert!(o.doc.ends_with('.'), "{}", o.name);
        }
        for names in [Names::Core, Names::Node, Names::Python] {
            Settings::defaults(names).validate().unwrap();
            let mut all: Vec<_> = OPTIONS.iter().map(|o| o.name_in(names)).collect();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), OPTIONS.len(), "{names:?} has a name twice");
        }
    }

    #[test]
    fn the_table_knows_every_field() {
        // The derived `Debug` lists every field; so a field without a line in the table is seen.
        let debug = format!("{:#?}", Settings::default());
        let fields: Vec<_> = debug
            .lines()
            .filter(|l| l.starts_with("        ") && !l.starts_with("         "))
            .filter_map(|l| l.trim().split_once(':').map(|(name, _)| name))
            // Whose names are meant is no option.
            .filter(|name| *name != "names")
            .collect();
        assert_eq!(fields.len(), OPTIONS.len(), "{fields:?}");
        for field in fields {
            assert!(OPTIONS.iter().any(|o| o.name == field), "{field}");
        }
    }

    #[test]
    fn every_rule_names_option_value_and_rule() {
        let s = Duration::from_secs;
        refused(|x| x.pool.max_size = 0, "max_size (0) must be 1 to 65535");
        refused(|x| x.pool.max_size = 65_536, "max_size (65536) must be 1 to 65535");
        refused(|x| x.pool.min_idle = 11, "min_idle (11) must not be more than max_size (10)");
        refused(|x| x.pool.reset_timeout = s(0), "reset_timeout (0 s) must be at least 1 ms");
        refused(|x| x.pool.name = Some(String::new()), "name () must have 1 to 63 bytes");
        refused(|x| x.pool.name = Some("a\nb".into()), "name (a\\nb) must not hold control characters");
        refused(
            |x| x.pool.idle_timeout = Duration::from_nanos(1),
            "idle_timeout (0.001 us) must be 0 (off) or at least 1 ms",
        );
        refused(
            |x| x.pool.max_lifetime = s(315_360_001),
            "max_lifetime (315360001 s) must be at most 10 years",
        );
        refused(|x| x.leak.check_interval = s(0), "check_interval (0 s) must be at least 1 ms");
        refused(
            |x| x.leak.force_release_after = s(30),
            "force_release_after (30 s) must be longer than leak_threshold (30 s)",
        );
        refused(
            |x| x.leak.max_held = Some(s(29)),
            "max_held (29 s) must not be shorter than leak_threshold (30 s)",
        );
        refused(
            |x| x.leak.utilization_warning = f64::NAN,
            "utilization_warning (NaN) must be a number from 0 to 1",
        );
        refused(|x| x.leak.stack_depth = 129, "stack_depth (129) must be 1 to 128");
    }

    #[test]
    fn zero_turns_off_what_can_be_off() {
        let mut x = Settings::default();
        for name in ["acquire_timeout", "idle_timeout", "max_lifetime", "close_timeout", "leak_threshold"] {
            x.set(Names::Core, name, OptionValue::Seconds(0.0)).unwrap();
        }
        x.set(Names::Core, "max_held", OptionValue::Seconds(0.0)).unwrap();
        x.set(Names::Core, "force_release_after", OptionValue::Seconds(0.0)).unwrap();
        x.validate().unwrap();
    }

    #[test]
    fn a_rule_speaks_the_language_of_the_host() {
        let mut x = Settings::defaults(Names::Node);
        x.set(Names::Node, "forceReleaseAfterMs", OptionValue::Millis(10.0)).unwrap();
        assert_eq!(
            x.validate().unwrap_err().to_string(),
            "forceReleaseAfterMs (10 ms) must be longer than leakThresholdMs (30 s)"
        );
    }

    #[test]
    fn every_wrong_value_of_every_option_is_a_typed_error() {
        let wrong = [
            OptionValue::Integer(-1),
            OptionValue::Number(f64::NAN),
            OptionValue::Number(-0.5),
            OptionValue::Number(1e300),
            OptionValue::Seconds(f64::INFINITY),
            OptionValue::Seconds(-1.0),
            OptionValue::Millis(1e300),
        ];
        for o in OPTIONS {
            for value in &wrong {
                let mut x = Settings::default();
                let e = x.set(Names::Core, o.name, value.clone()).unwrap_err();
                assert_eq!(e.code(), crate::ErrorCode::InvalidOption);
                let text = e.to_string();
                assert!(text.starts_with(&format!("{} (", o.name)) && text.contains(") must be"), "{e}");
                assert_eq!(x, Settings::default(), "a refused value changed something");
            }
        }
    }

    #[test]
    fn hosts_numbers_find_their_unit() {
        let number = |names, name, n| {
            let mut x = Settings::default();
            let spec = OptionSpec::named(names, name).unwrap();
            x.set(names, name, spec.number(names, n)).unwrap();
            x.get(names, name).unwrap()
        };
        assert_eq!(number(Names::Node, "maxLifetimeSeconds", 60.0), "60 s");
        assert_eq!(number(Names::Node, "idleTimeoutMillis", 60.0), "60 ms");
        assert_eq!(number(Names::Python, "timeout", 0.5), "500 ms");
        assert_eq!(number(Names::Node, "max", 7.0), "7");
        let bare = OptionValue::Integer(5);
        assert!(Settings::default().set(Names::Core, "leak_threshold", bare).is_err());
    }

    #[test]
    fn texts_set_choices_flags_and_durations() {
        let mut x = Settings::default();
        let text = |t: &str| OptionValue::Text(t.into());
        x.set(Names::Core, "reset", text("session")).unwrap();
        x.set(Names::Core, "force_release_busy", text("true")).unwrap();
        x.set(Names::Core, "leak_threshold", text("2 min")).unwrap();
        assert_eq!(x.get(Names::Core, "leak_threshold").unwrap(), "120 s");
        assert_eq!(
            x.set(Names::Core, "reset", text("discard")).unwrap_err().to_string(),
            "reset (discard) must be one of rollback, none, session"
        );
        assert_eq!(
            x.set(Names::Node, "leakTreshold", OptionValue::Millis(1.0)).unwrap_err().to_string(),
            "there is no option leakTreshold; did you mean leakThresholdMs?"
        );
    }
}
