//! Options and connection parameters, from the plain lists that `lib/options.js` makes.

use leakpool::{ConnectConfig, LeakPolicy, Names, OptionSpec, OptionValue, Result, Settings, StackCapture};
use napi::bindgen_prelude::Either3;
use napi_derive::napi;

/// A value as JavaScript gave it.
pub(crate) type Given = Either3<bool, f64, String>;

fn value_of(name: &str, given: Given) -> Result<OptionValue> {
    Ok(match given {
        Either3::A(flag) => OptionValue::Bool(flag),
        Either3::B(number) => OptionSpec::named(Names::Node, name)?.number(Names::Node, number),
        Either3::C(text) => OptionValue::Text(text),
    })
}

/// Sets each option that was given; `set` says which count.
pub(crate) fn apply(
    settings: &mut Settings,
    given: Vec<(String, Given)>,
    set: fn(&mut Settings, Names, &str, OptionValue) -> Result<()>,
) -> Result<()> {
    for (name, value) in given {
        let value = value_of(&name, value)?;
        set(settings, Names::Node, &name, value)?;
    }
    Ok(())
}

/// Node's defaults, with what was given.
pub(crate) fn settings(given: Vec<(String, Given)>) -> Result<Settings> {
    let mut settings = Settings::defaults(Names::Node);
    apply(&mut settings, given, Settings::set)?;
    settings.validate()?;
    Ok(settings)
}

/// How many frames JavaScript captures.
pub(crate) fn depth(policy: &LeakPolicy) -> u32 {
    match policy.stack_capture {
        StackCapture::Full => u32::try_from(policy.stack_depth).unwrap_or(u32::MAX),
        StackCapture::Site => 1,
        StackCapture::Off => 0,
    }
}

/// Where to connect: a connection string, what replaces its parts, and what stands in for the variables of the
/// environment that have these names.
pub(crate) fn target(
    dsn: &str,
    fields: &[(String, String)],
    defaults: &[(String, String)],
) -> Result<ConnectConfig> {
    let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    ConnectConfig::parse_with(dsn, &fields, &|name| {
        let given = defaults.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        given.or_else(|| std::env::var(name).ok())
    })
}

/// The nearest name of an option that leakpool has, for one that it does not know; empty if none is near. The option
/// itself if it is known.
#[napi(catch_unwind)]
pub fn nearest_option(name: String) -> String {
    OptionSpec::nearest(Names::Node, &name).unwrap_or_default().to_owned()
}

/// True for a parameter of connection strings that is understood, or refused with a reason.
#[napi(catch_unwind)]
pub fn is_connection_parameter(name: String) -> bool {
    ConnectConfig::is_parameter(&name)
}

/// The names of all options.
#[napi(catch_unwind)]
pub fn option_names() -> Vec<&'static str> {
    leakpool::OPTIONS.iter().map(|spec| spec.node).collect()
}
