//! Which kind of value an object is, by its class: the first class of its `__mro__` that is known decides, as in psycopg.

use parking_lot::RwLock;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMemoryView, PyString, PyTuple, PyType,
};
use rustc_hash::FxHashMap;

use crate::values::classes::Classes;
use crate::values::oids;

/// A kind of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Int,
    Float,
    Str,
    Bytes,
    Decimal,
    Date,
    Time,
    Datetime,
    Timedelta,
    Uuid,
    /// An address of `ipaddress`.
    Address,
    /// One with a mask.
    Interface,
    Network,
    Enum,
    List,
    Tuple,
    Dict,
    Json,
    Jsonb,
    /// PEP 249's `Binary`.
    Binary,
    Range,
    Multirange,
    /// A `Range` whose type is said by its class, of this OID; then the OID of its bounds.
    RangeOf(u32, u32),
    MultirangeOf(u32, u32),
    /// A whole number whose type is said by its class: `Int4`, or one of numpy's.
    IntOf(u32),
    /// A whole number that is `numeric`: as text, unless binary is asked for, and then it is any other whole number.
    IntNumeric,
    /// A floating point number whose type is said by its class.
    FloatOf(u32),
    /// numpy's `bool`.
    NumpyBool,
}

/// The kinds of the classes that were met and that last as long as their modules. The class is kept, so that no other can
/// have its address.
#[derive(Default)]
struct Known {
    by_address: RwLock<FxHashMap<usize, (Kind, Py<PyAny>)>>,
}

impl Known {
    fn get(py: Python<'_>) -> PyResult<&Known> {
        static KNOWN: PyOnceLock<Known> = PyOnceLock::new();
        KNOWN.get_or_try_init(py, || {
            let known = Known::default();
            let classes = Classes::get(py)?;
            known.add(py.get_type::<PyBool>().as_any(), Kind::Bool);
            known.add(py.get_type::<PyInt>().as_any(), Kind::Int);
            known.add(py.get_type::<PyFloat>().as_any(), Kind::Float);
            known.add(py.get_type::<PyString>().as_any(), Kind::Str);
            known.add(py.get_type::<PyBytes>().as_any(), Kind::Bytes);
            known.add(py.get_type::<PyByteArray>().as_any(), Kind::Bytes);
            known.add(py.get_type::<PyMemoryView>().as_any(), Kind::Bytes);
            known.add(py.get_type::<PyList>().as_any(), Kind::List);
            known.add(py.get_type::<PyTuple>().as_any(), Kind::Tuple);
            known.add(py.get_type::<PyDict>().as_any(), Kind::Dict);
            known.add(py.None().bind(py).get_type().as_any(), Kind::Null);
            known.add(classes.decimal.bind(py), Kind::Decimal);
            known.add(classes.date.bind(py), Kind::Date);
            known.add(classes.time.bind(py), Kind::Time);
            known.add(classes.datetime.bind(py), Kind::Datetime);
            known.add(classes.timedelta.bind(py), Kind::Timedelta);
            known.add(classes.enumeration.bind(py), Kind::Enum);
            Ok(known)
        })
    }

    fn add(&self, class: &Bound<'_, PyAny>, kind: Kind) {
        let before = self.by_address.write().insert(class.as_ptr().addr(), (kind, class.clone().unbind()));
        drop(before);
    }

    fn find(&self, class: &Bound<'_, PyAny>) -> Option<Kind> {
        self.by_address.read().get(&class.as_ptr().addr()).map(|(kind, _)| *kind)
    }
}

/// The kind of an object; `None` for a class that cannot be adapted.
#[inline]
pub(super) fn kind_of(object: &Bound<'_, PyAny>) -> PyResult<Option<Kind>> {
    let py = object.py();
    let known = Known::get(py)?;
    let class = object.get_type();
    match known.find(class.as_any()) {
        Some(kind) => Ok(Some(kind)),
        None => by_ancestors(known, &class),
    }
}

fn by_ancestors(known: &Known, class: &Bound<'_, PyType>) -> PyResult<Option<Kind>> {
    for ancestor in class.mro() {
        if let Some(kind) = known.find(&ancestor) {
            return Ok(Some(kind));
        }
        let Ok(ancestor) = ancestor.cast_into::<PyType>() else { continue };
        let module = ancestor.module()?;
        let module = module.to_string_lossy();
        // Modules that are not imported here, as long as nobody uses their objects.
        if !matches!(&*module, "uuid" | "ipaddress" | "numpy" | "leakpool.types") {
            continue;
        }
        let name = ancestor.qualname()?;
        if let Some(kind) = by_name(&module, &name.to_string_lossy()) {
            known.add(ancestor.as_any(), kind);
            return Ok(Some(kind));
        }
    }
    Ok(None)
}

fn by_name(module: &str, name: &str) -> Option<Kind> {
    Some(match (module, name) {
        ("uuid", "UUID") => Kind::Uuid,
        ("ipaddress", "IPv4Address" | "IPv6Address") => Kind::Address,
        ("ipaddress", "IPv4Interface" | "IPv6Interface") => Kind::Interface,
        ("ipaddress", "IPv4Network" | "IPv6Network") => Kind::Network,
        ("leakpool.types", "Json") => Kind::Json,
        ("leakpool.types", "Jsonb") => Kind::Jsonb,
        ("leakpool.types", "Binary") => Kind::Binary,
        ("leakpool.types", "Range") => Kind::Range,
        ("leakpool.types", "Multirange") => Kind::Multirange,
        ("leakpool.types", "Int2") => Kind::IntOf(oids::INT2),
        ("leakpool.types", "Int4") => Kind::IntOf(oids::INT4),
        ("leakpool.types", "Int8") => Kind::IntOf(oids::INT8),
        ("leakpool.types", "IntNumeric") => Kind::IntNumeric,
        ("leakpool.types", "Oid") => Kind::IntOf(oids::OID),
        ("leakpool.types", "Float4") => Kind::FloatOf(oids::FLOAT4),
        ("leakpool.types", "Float8") => Kind::FloatOf(oids::FLOAT8),
        ("leakpool.types", name) => {
            const PREFIXES: [&str; 6] = ["Int4", "Int8", "Numeric", "Date", "Timestamp", "Timestamptz"];
            let (prefix, multi) = match name.strip_suffix("Multirange") {
                Some(prefix) => (prefix, true),
                None => (name.strip_suffix("Range")?, false),
            };
            let (range, multirange, bound) =
                oids::RANGES.get(PREFIXES.iter().position(|one| *one == prefix)?)?;
            if multi { Kind::MultirangeOf(*multirange, *bound) } else { Kind::RangeOf(*range, *bound) }
        }
        ("numpy", "bool" | "bool_") => Kind::NumpyBool,
        ("numpy", "int8" | "int16" | "uint8") => Kind::IntOf(oids::INT2),
        ("numpy", "int32" | "uint16") => Kind::IntOf(oids::INT4),
        ("numpy", "int64" | "longlong" | "uint32") => Kind::IntOf(oids::INT8),
        ("numpy", "uint64" | "ulonglong") => Kind::IntOf(oids::NUMERIC),
        ("numpy", "float16" | "float32") => Kind::FloatOf(oids::FLOAT4),
        ("numpy", "float64") => Kind::FloatOf(oids::FLOAT8),
        _ => return None,
    })
}
