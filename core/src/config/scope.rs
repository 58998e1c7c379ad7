//! Which options count where: all of them when a pool is made, the leak options alone while it runs and for a
//! detector. The sentences of a refusal are the same in every host, with the host's own names.

use super::names::Names;
use super::options::{OPTIONS, OptionSpec, OptionValue, Settings};
use crate::error::{Error, Result};

fn fixed(spec: &OptionSpec, names: Names, value: impl std::fmt::Display) -> Error {
    let rule = match spec.name {
        "max_size" | "min_idle" => {
            "cannot be changed while the pool runs by reconfiguring it: resize it instead"
        }
        _ => "cannot be changed while the pool runs",
    };
    Error::option(spec.name_in(names), value, rule)
}

fn not_of_a_detector(spec: &OptionSpec, names: Names, value: impl std::fmt::Display) -> Error {
    let leak: Vec<_> = OPTIONS.iter().filter(|o| o.live).map(|o| o.name_in(names)).collect();
    let rule = format!("is an option of a pool: a detector takes {}", leak.join(", "));
    Error::option(spec.name_in(names), value, rule)
}

impl Settings {
    /// Sets an option of a pool that runs, by its name in that host.
    ///
    /// # Errors
    /// `InvalidOption`: as for [`set`](Settings::set), and for options that are fixed once the pool is made.
    ///
    /// ```
    /// use leakpool::{Names, OptionValue, Settings};
    /// let mut settings = Settings::default();
    /// settings.set_running(Names::Core, "leak_threshold", OptionValue::Seconds(5.0)).unwrap();
    /// let e = settings.set_running(Names::Core, "max_uses", OptionValue::Integer(7)).unwrap_err();
    /// assert_eq!(e.to_string(), "max_uses (7) cannot be changed while the pool runs");
    /// ```
    pub fn set_running(&mut self, names: Names, name: &str, value: OptionValue) -> Result<()> {
        let spec = OptionSpec::named(names, name)?;
        if spec.live { self.set(names, name, value) } else { Err(fixed(spec, names, value)) }
    }

    /// Sets an option of a detector, by its name in that host.
    ///
    /// # Errors
    /// `InvalidOption`: as for [`set`](Settings::set), and for options of pools, whatever their value.
    pub fn set_of_detector(&mut self, names: Names, name: &str, value: OptionValue) -> Result<()> {
        let spec = OptionSpec::named(names, name)?;
        if spec.live { self.set(names, name, value) } else { Err(not_of_a_detector(spec, names, value)) }
    }

    fn differing(&self, other: &Settings, names: Names) -> Result<Option<(&'static OptionSpec, String)>> {
        for spec in OPTIONS.iter().filter(|spec| !spec.live) {
            let name = spec.name_in(names);
            let value = self.get(names, name)?;
            if value != other.get(names, name)? {
                return Ok(Some((spec, value)));
            }
        }
        Ok(None)
    }

    /// For a host that hands over all options at once: these may follow `current` while a pool runs.
    ///
    /// # Errors
    /// `InvalidOption` names the first that differs and is fixed.
    pub fn check_running(&self, current: &Settings, names: Names) -> Result<()> {
        self.differing(current, names)?.map_or(Ok(()), |(spec, value)| Err(fixed(spec, names, value)))
    }

    /// For a host that hands over all options at once: these are a detector's, beside `max_size`, which says how many
    /// connections the watched pool may have.
    ///
    /// # Errors
    /// `InvalidOption` names the first option of a pool that was changed.
    pub fn check_of_detector(&self, names: Names) -> Result<()> {
        let mut plain = Settings::defaults(names);
        plain.pool.max_size = self.pool.max_size;
        self.differing(&plain, names)?
            .map_or(Ok(()), |(spec, value)| Err(not_of_a_detector(spec, names, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_speaks_the_hosts_language_whatever_the_value() {
        for (names, option, text) in [
            (Names::Core, "max_size", "max_size (10) cannot be changed while the pool runs by reconfiguring"),
            (Names::Node, "max", "max (10) cannot be changed while the pool runs by reconfiguring"),
            (Names::Python, "max_idle", "max_idle (10) cannot be changed while the pool runs"),
        ] {
            let e =
                Settings::defaults(names).set_running(names, option, OptionValue::Integer(10)).unwrap_err();
            assert!(e.message().starts_with(text), "{e}");
            let e = Settings::defaults(names)
                .set_of_detector(names, option, OptionValue::Integer(10))
                .unwrap_err();
            let leak = OptionSpec::named(Names::Core, "force_release_after").unwrap().name_in(names);
            assert!(e.message().contains("is an option of a pool") && e.message().contains(leak), "{e}");
        }
    }

    #[test]
    fn all_at_once_the_first_that_differs_is_named() {
        let current = Settings::default();
        let mut wanted = current.clone();
        wanted.leak.max_leaks_before_alert = 9;
        wanted.check_running(&current, Names::Core).unwrap();
        wanted.pool.max_size = 3;
        wanted.check_of_detector(Names::Core).unwrap();
        let e = wanted.check_running(&current, Names::Core).unwrap_err();
        assert!(e.message().starts_with("max_size (3) cannot be changed"), "{e}");
        wanted.pool.max_uses = 7;
        let e = wanted.check_of_detector(Names::Core).unwrap_err();
        assert!(e.message().starts_with("max_uses (7) is an option of a pool"), "{e}");
    }

    /// Rules that bind several options, too.
    #[test]
    fn a_policy_is_validated_in_the_names_of_its_host() {
        let mut settings = Settings::defaults(Names::Node);
        settings.leak.force_release_after = std::time::Duration::from_secs(10);
        let text = "forceReleaseAfterMs (10 s) must be longer than leakThresholdMs (30 s)";
        assert_eq!(settings.leak.validate().unwrap_err().to_string(), text);
        assert_eq!(settings.validate().unwrap_err().to_string(), text);
    }
}
