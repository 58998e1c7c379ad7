//! Options and connection parameters as Python gives them: names, kinds and rules are the core's table.

use std::time::Duration;

use leakpool::{ConnectConfig, Names, OptionKind, OptionSpec, OptionValue, Settings};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString};

use crate::errors::{OrRaise, named};

/// A value of Python as a value of this option.
fn value(spec: &OptionSpec, given: &Bound<'_, PyAny>) -> PyResult<OptionValue> {
    let wrong = || -> PyResult<PyErr> {
        let class = given.get_type().qualname()?;
        let wanted = match spec.kind {
            OptionKind::Integer => "an int".to_owned(),
            OptionKind::Share => "a number from 0 to 1".to_owned(),
            OptionKind::Duration => "a number of seconds, or a text such as '30 s'".to_owned(),
            OptionKind::Flag => "True or False".to_owned(),
            OptionKind::Choice(words) => format!("one of {}", words.join(", ")),
            OptionKind::Text => "a str".to_owned(),
        };
        Ok(PyTypeError::new_err(format!("{} must be {wanted}, not {class}", spec.python)))
    };
    if given.is_none() {
        // Off, where off makes sense; elsewhere the core says what is wrong.
        return match spec.kind {
            OptionKind::Duration => Ok(OptionValue::Seconds(0.0)),
            OptionKind::Integer => Ok(OptionValue::Integer(0)),
            OptionKind::Share => Ok(OptionValue::Number(0.0)),
            OptionKind::Choice(words) if words.contains(&"off") => Ok(OptionValue::Text("off".into())),
            OptionKind::Choice(words) if words.contains(&"none") => Ok(OptionValue::Text("none".into())),
            OptionKind::Flag | OptionKind::Choice(_) | OptionKind::Text => Err(wrong()?),
        };
    }
    if given.is_instance_of::<PyBool>() {
        return match spec.kind {
            OptionKind::Flag => Ok(OptionValue::Bool(given.is_truthy()?)),
            OptionKind::Integer
            | OptionKind::Share
            | OptionKind::Duration
            | OptionKind::Choice(_)
            | OptionKind::Text => Err(wrong()?),
        };
    }
    if let Ok(text) = given.cast::<PyString>() {
        return match spec.kind {
            OptionKind::Text | OptionKind::Choice(_) | OptionKind::Duration => {
                Ok(OptionValue::Text(text.to_str()?.to_owned()))
            }
            OptionKind::Integer | OptionKind::Share | OptionKind::Flag => Err(wrong()?),
        };
    }
    match spec.kind {
        OptionKind::Integer if given.is_instance_of::<PyInt>() => {
            let out_of_range =
                |_| named(given.py(), "InvalidOption", &format!("{} ({given}) is out of range", spec.python));
            given.extract().map(OptionValue::Integer).map_err(out_of_range)
        }
        OptionKind::Share | OptionKind::Duration
            if given.is_instance_of::<PyInt>() || given.is_instance_of::<PyFloat>() =>
        {
            let number = given.extract::<f64>().unwrap_or(f64::INFINITY);
            Ok(spec.number(Names::Python, number))
        }
        OptionKind::Duration => match given.extract::<Duration>() {
            // datetime.timedelta
            Ok(duration) => Ok(OptionValue::Seconds(duration.as_secs_f64())),
            Err(_) => Err(wrong()?),
        },
        OptionKind::Integer
        | OptionKind::Share
        | OptionKind::Flag
        | OptionKind::Choice(_)
        | OptionKind::Text => Err(wrong()?),
    }
}

/// Sets options by their names in Python.
pub(crate) fn set_all(settings: &mut Settings, options: &Bound<'_, PyDict>) -> PyResult<()> {
    set_each(options, |name, value| settings.set(Names::Python, name, value))
}

fn set_each(
    options: &Bound<'_, PyDict>,
    mut set: impl FnMut(&str, OptionValue) -> leakpool::Result<()>,
) -> PyResult<()> {
    let py = options.py();
    for (name, given) in options {
        let name = name.cast_into::<PyString>().map_err(|_| PyTypeError::new_err("option names are str"))?;
        let name = name.to_str()?;
        let spec = OptionSpec::named(Names::Python, name).or_raise(py)?;
        set(name, value(spec, &given)?).or_raise(py)?;
    }
    Ok(())
}

/// Sets options of a pool that runs.
pub(crate) fn set_running(settings: &mut Settings, options: &Bound<'_, PyDict>) -> PyResult<()> {
    set_each(options, |name, value| settings.set_running(Names::Python, name, value))
}

/// Sets options of a detector.
pub(crate) fn set_of_detector(settings: &mut Settings, options: &Bound<'_, PyDict>) -> PyResult<()> {
    set_each(options, |name, value| settings.set_of_detector(Names::Python, name, value))
}

/// Where to connect: a connection string, and parameters that replace those of it.
pub(crate) fn target(
    py: Python<'_>,
    conninfo: &str,
    parameters: &Bound<'_, PyDict>,
) -> PyResult<ConnectConfig> {
    let mut fields = Vec::new();
    for (name, given) in parameters {
        let name =
            name.cast_into::<PyString>().map_err(|_| PyTypeError::new_err("parameter names are str"))?;
        // As psycopg: None = not given.
        if !given.is_none() {
            let text = given.str()?;
            fields.push((name.to_str()?.to_owned(), text.to_str()?.to_owned()));
        }
    }
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    ConnectConfig::parse_with(conninfo, &fields, &|name| std::env::var(name).ok()).or_raise(py)
}

/// A time-out of one call: `None` = the pool's; infinity = for ever; nothing left = hardly any.
pub(crate) fn timeout(seconds: Option<f64>) -> PyResult<Option<Duration>> {
    match seconds {
        None => Ok(None),
        Some(seconds) if seconds.is_nan() => {
            Err(PyValueError::new_err("timeout (nan) must be a number of seconds"))
        }
        // The core's word for "for ever" is zero.
        Some(seconds) if seconds == f64::INFINITY => Ok(Some(Duration::ZERO)),
        Some(seconds) => Ok(Some(crate::pool::shared::duration(seconds).max(Duration::from_nanos(1)))),
    }
}

/// A length of time that must be one.
pub(crate) fn seconds(name: &str, given: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(given).map_err(|_| {
        PyValueError::new_err(format!("{name} ({given}) must be a number of seconds, 0 or more"))
    })
}
