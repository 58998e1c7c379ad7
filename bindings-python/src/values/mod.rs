//! Values between Python and the wire: loaders make objects from what the server sends, dumpers make parameters from
//! objects, both with the types that psycopg 3 chooses. No I/O and no connection lives here.
//!
//! Who lives where: `context` what of a session the values depend on; `oids` the table of built-in types; `classes` the
//! Python classes that are used; `load` the loaders; `dump` the dumpers; `errors` the exceptions.

mod classes;
mod context;
mod dump;
mod errors;
mod load;
mod oids;

pub(crate) use self::context::{AdaptContext, Session};
pub(crate) use self::dump::{Dumped, Params, dump, dump_all};
pub(crate) use self::load::Loaders;
