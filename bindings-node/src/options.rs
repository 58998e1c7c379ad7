//! Options and connection parameters, from the plain lists that `lib/options.js` makes.

use leakpool::{ConnectConfig, Names, OptionSpec, OptionValue, Result, Settings};
use napi::bindgen_prelude::*;

/// A value as JavaScript gave it.
pub(crate) type Given = Either3<bool, f64, String>;

fn value_of(name: &str, given: Given) -> Result<OptionValue> {
    Ok(match given {
        Either3::A(flag) => OptionValue::Bool(flag),
        Either3::B(number) => OptionSpec::named(Names::Node, name)?.number(Names::Node, number),
        Either3::C(text) => OptionValue::Text(text),
    })
}

/// Node's defaults, with what was given.
pub(crate) fn settings(given: Vec<(String, Given)>) -> Result<Settings> {
    let mut settings = Settings::defaults(Names::Node);
    for (name, value) in given {
        let value = value_of(&name, value)?;
        settings.set(Names::Node, &name, value)?;
    }
    Ok(settings)
}

/// Where to connect: a connection string, and what replaces its parts.
pub(crate) fn target(dsn: &str, fields: &[(String, String)]) -> Result<ConnectConfig> {
    let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    ConnectConfig::parse_with(dsn, &fields, &|name| std::env::var(name).ok())
}
