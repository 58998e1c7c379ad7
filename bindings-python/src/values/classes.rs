//! The Python classes and functions that are used: looked up once, kept for the life of the process.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

macro_rules! classes {
    ($(#[$doc:meta])* $name:ident { $($field:ident = $module:literal . $attribute:literal),* $(,)? }) => {
        $(#[$doc])*
        pub(crate) struct $name { $(pub(crate) $field: Py<PyAny>),* }

        impl $name {
            /// They; the first call imports their modules.
            pub(crate) fn get(py: Python<'_>) -> PyResult<&$name> {
                static CLASSES: PyOnceLock<$name> = PyOnceLock::new();
                CLASSES.get_or_try_init(py, || {
                    Ok($name { $($field: lookup(py, $module, $attribute)?),* })
                })
            }
        }
    };
}

fn lookup(py: Python<'_>, module: &str, attribute: &str) -> PyResult<Py<PyAny>> {
    let mut object = py.import(module)?.into_any();
    for name in attribute.split('/') {
        object = object.getattr(name)?;
    }
    Ok(object.unbind())
}

classes! {
    /// What nearly every program needs.
    Classes {
        date = "datetime"."date",
        time = "datetime"."time",
        datetime = "datetime"."datetime",
        timedelta = "datetime"."timedelta",
        timezone = "datetime"."timezone",
        utc = "datetime"."timezone/utc",
        decimal = "decimal"."Decimal",
        json_loads = "json"."loads",
        json_dumps = "json"."dumps",
        object_new = "builtins"."object/__new__",
        int = "builtins"."int",
        enumeration = "enum"."Enum",
    }
}

classes! {
    /// `uuid`'s.
    Uuid {
        uuid = "uuid"."UUID",
        unknown = "uuid"."SafeUUID/unknown",
    }
}

classes! {
    /// `ipaddress`'s.
    Addresses {
        interface = "ipaddress"."ip_interface",
        network = "ipaddress"."ip_network",
        v4_address = "ipaddress"."IPv4Address",
        v6_address = "ipaddress"."IPv6Address",
        v4_interface = "ipaddress"."IPv4Interface",
        v6_interface = "ipaddress"."IPv6Interface",
        v4_network = "ipaddress"."IPv4Network",
        v6_network = "ipaddress"."IPv6Network",
    }
}

classes! {
    /// Our own, those that psycopg has too.
    Own {
        range = "leakpool.types"."Range",
        multirange = "leakpool.types"."Multirange",
    }
}

/// Names that are looked up in objects, interned.
macro_rules! names {
    ($($name:ident),* $(,)?) => {
        /// Interned attribute names.
        pub(crate) mod name {
            $(pub(crate) fn $name(py: pyo3::Python<'_>) -> &pyo3::Bound<'_, pyo3::types::PyString> {
                pyo3::intern!(py, stringify!($name))
            })*
        }
    };
}

names! { int, fromutc, utcoffset, days, seconds, microseconds, hour, minute, second, microsecond, tzinfo, is_safe, toordinal }
