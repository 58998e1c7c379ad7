//! How texts travel: the session's `client_encoding` as one of Python's codecs.

use std::ffi::CStr;

use pyo3::prelude::*;

use super::context::AdaptContext;
use super::errors::{data_error, not_supported};
use super::object::{self, Object};

/// A `client_encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// UTF-8.
    Utf8,
    /// `SQL_ASCII`: the server does not know what its bytes mean, so texts are `bytes`.
    Unknown,
    /// Another one, by Python's name for it.
    Codec(&'static CStr),
}

impl Encoding {
    /// The session's.
    ///
    /// # Errors
    /// `NotSupportedError` for one that Python has no codec for.
    pub(crate) fn of(py: Python<'_>, context: &AdaptContext<'_>) -> PyResult<Encoding> {
        match context.parameter("client_encoding") {
            None => Ok(Encoding::Utf8),
            Some(name) if &*name == "UTF8" => Ok(Encoding::Utf8),
            Some(name) => Encoding::named(py, &name),
        }
    }

    fn named(py: Python<'_>, name: &str) -> PyResult<Encoding> {
        let plain: String =
            name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect();
        match plain.as_str() {
            "UTF8" | "UNICODE" => return Ok(Encoding::Utf8),
            "SQLASCII" => return Ok(Encoding::Unknown),
            _ => {}
        }
        match CODECS.iter().find(|(server, _)| *server == plain) {
            Some((_, codec)) => Ok(Encoding::Codec(codec)),
            None => Err(not_supported(py, format!("codec not available in Python: '{name}'"))),
        }
    }

    /// What a text column gives: a `str`, or `bytes` where the encoding is unknown.
    ///
    /// # Errors
    /// `DataError` for bytes that are not in this encoding, with the `UnicodeDecodeError` as its cause.
    #[inline]
    pub(crate) fn load<'py>(self, py: Python<'py>, value: &[u8]) -> PyResult<Object<'py>> {
        let text = match self {
            Encoding::Utf8 => object::utf8(py, value),
            Encoding::Unknown => return object::bytes(py, value),
            Encoding::Codec(codec) => object::decode(py, value, codec),
        };
        text.map_err(|e| caused(py, e))
    }

    /// Appends a `str`.
    ///
    /// # Errors
    /// `DataError` for characters that this encoding does not have (lone surrogates, in any), with the
    /// `UnicodeEncodeError` as its cause.
    pub(crate) fn dump(self, text: &Object<'_>, out: &mut Vec<u8>) -> PyResult<()> {
        let codec = match self {
            Encoding::Utf8 | Encoding::Unknown => {
                let text = text.cast::<pyo3::types::PyString>()?;
                let utf8 = text.to_str().map_err(|e| caused(text.py(), e))?;
                out.extend_from_slice(utf8.as_bytes());
                return Ok(());
            }
            Encoding::Codec(codec) => codec,
        };
        let bytes = object::encode(text, codec).map_err(|e| caused(text.py(), e))?;
        out.extend_from_slice(bytes.cast::<pyo3::types::PyBytes>()?.as_bytes());
        Ok(())
    }
}

/// A `DataError` in place of an error of a codec; other errors as they are.
fn caused(py: Python<'_>, e: PyErr) -> PyErr {
    if !e.is_instance_of::<pyo3::exceptions::PyUnicodeError>(py) {
        return e;
    }
    let error = data_error(py, e.value(py).to_string());
    error.set_cause(py, Some(e));
    error
}

/// The server's names (capitals, letters and digits alone) and Python's.
const CODECS: &[(&str, &CStr)] = &[
    ("BIG5", c"big5"),
    ("EUCCN", c"gb2312"),
    ("EUCJIS2004", c"euc_jis_2004"),
    ("EUCJP", c"euc_jp"),
    ("EUCKR", c"euc_kr"),
    ("GB18030", c"gb18030"),
    ("GBK", c"gbk"),
    ("ISO88595", c"iso8859-5"),
    ("ISO88596", c"iso8859-6"),
    ("ISO88597", c"iso8859-7"),
    ("ISO88598", c"iso8859-8"),
    ("JOHAB", c"johab"),
    ("KOI8R", c"koi8-r"),
    ("KOI8U", c"koi8-u"),
    ("LATIN1", c"iso8859-1"),
    ("LATIN2", c"iso8859-2"),
    ("LATIN3", c"iso8859-3"),
    ("LATIN4", c"iso8859-4"),
    ("LATIN5", c"iso8859-9"),
    ("LATIN6", c"iso8859-10"),
    ("LATIN7", c"iso8859-13"),
    ("LATIN8", c"iso8859-14"),
    ("LATIN9", c"iso8859-15"),
    ("LATIN10", c"iso8859-16"),
    ("SHIFTJIS2004", c"shift_jis_2004"),
    ("SJIS", c"shift_jis"),
    ("UHC", c"cp949"),
    ("WIN866", c"cp866"),
    ("WIN874", c"cp874"),
    ("WIN1250", c"cp1250"),
    ("WIN1251", c"cp1251"),
    ("WIN1252", c"cp1252"),
    ("WIN1253", c"cp1253"),
    ("WIN1254", c"cp1254"),
    ("WIN1255", c"cp1255"),
    ("WIN1256", c"cp1256"),
    ("WIN1257", c"cp1257"),
    ("WIN1258", c"cp1258"),
];
