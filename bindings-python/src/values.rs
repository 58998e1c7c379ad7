//! Values between Python and the wire: loaders make objects from what the server sends, dumpers make parameters from
//! objects, both with the types that psycopg 3 chooses. No I/O and no connection lives here.
//!
//! Who lives where: `context` what of a session the values depend on, `encoding` its texts, `json` the functions for
//! JSON; `oids` the table of built-in types; `classes` the Python classes that are used, `object` how objects are made;
//! `civil` the calendar; `load` the loaders, `rows` the rows of a result; `dump` the dumpers; `transformer` both of them as Python sees them (COPY);
//! `errors` the exceptions.

mod civil;
mod classes;
mod context;
mod dump;
mod encoding;
mod errors;
mod json;
mod load;
mod object;
mod oids;
mod rows;
mod transformer;

pub(crate) use self::context::AdaptContext;
pub(crate) use self::dump::{Params, dump_all};
pub(crate) use self::load::Loaders;
pub(crate) use self::rows::{Decoded, Decoding, Rows};
pub(crate) use self::transformer::Transformer;

use pyo3::prelude::*;

/// Adds what Python sees of this to the native module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Transformer>()?;
    module.add_class::<dump::Formatted>()?;
    module.add_function(wrap_pyfunction!(json::set_json_loads, module)?)?;
    module.add_function(wrap_pyfunction!(json::set_json_dumps, module)?)
}
