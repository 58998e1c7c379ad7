//! Parameters of a query, from JavaScript: texts, bytes and nulls, as `lib/values.js` makes them of any value.

use leakpool::exchange::{Format, Param};
use napi::bindgen_prelude::*;

/// One parameter that owns its bytes.
pub(crate) enum Value {
    Null,
    Text(String),
    Bytes(Vec<u8>),
}

/// Reads `Params` of `native.d.ts`.
pub(crate) fn read(array: &Array<'_>) -> Result<Vec<Value>> {
    (0..array.len())
        .map(|n| {
            Ok(match array.get::<Option<Either<String, BufferSlice<'_>>>>(n)?.flatten() {
                None => Value::Null,
                Some(Either::A(text)) => Value::Text(text),
                Some(Either::B(bytes)) => Value::Bytes(bytes.to_vec()),
            })
        })
        .collect()
}

impl Value {
    pub(crate) fn as_param(&self) -> Param<'_> {
        match self {
            Value::Null => Param::NULL,
            Value::Text(text) => Param::text(text.as_bytes()),
            Value::Bytes(bytes) => Param { oid: 0, format: Format::Binary, value: Some(bytes) },
        }
    }
}
