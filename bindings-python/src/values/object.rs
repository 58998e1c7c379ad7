//! Making and reading Python objects with as few calls as the stable ABI allows. The only room of `values` with
//! `unsafe`: each function wraps one or two calls of the C API, checks what they return, and gives owned references.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

/// What most functions here give.
pub(crate) type Object<'py> = Bound<'py, PyAny>;

/// A length as the C API wants it. A slice is never longer than `isize::MAX` bytes.
fn size(len: usize) -> ffi::Py_ssize_t {
    len.try_into().unwrap_or(ffi::Py_ssize_t::MAX)
}

/// An `int`.
#[inline]
pub(crate) fn int(py: Python<'_>, value: i64) -> PyResult<Object<'_>> {
    // SAFETY: attached to the interpreter (`py`); the result is a new reference or NULL with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyLong_FromLongLong(value)) }
}

/// A `float`.
#[inline]
pub(crate) fn float(py: Python<'_>, value: f64) -> PyResult<Object<'_>> {
    // SAFETY: as in `int`.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyFloat_FromDouble(value)) }
}

/// `True` or `False`.
#[inline]
pub(crate) fn boolean(py: Python<'_>, value: bool) -> PyResult<Object<'_>> {
    // SAFETY: as in `int`; it cannot fail.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyBool_FromLong(value.into())) }
}

/// A `str` from UTF-8; the interpreter checks it.
#[inline]
pub(crate) fn utf8<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Object<'py>> {
    // SAFETY: attached; the pointer is valid for `len` bytes, which are copied.
    unsafe {
        let text = ffi::PyUnicode_DecodeUTF8(bytes.as_ptr().cast(), size(bytes.len()), ptr::null());
        Bound::from_owned_ptr_or_err(py, text)
    }
}

/// A `str` from bytes in one of Python's codecs.
pub(crate) fn decode<'py>(py: Python<'py>, bytes: &[u8], codec: &CStr) -> PyResult<Object<'py>> {
    // SAFETY: attached; pointer and length belong to one slice, the codec's name ends with NUL; both are only read.
    unsafe {
        let text =
            ffi::PyUnicode_Decode(bytes.as_ptr().cast(), size(bytes.len()), codec.as_ptr(), ptr::null());
        Bound::from_owned_ptr_or_err(py, text)
    }
}

/// A `str` in one of Python's codecs, as `bytes`.
pub(crate) fn encode<'py>(text: &Object<'py>, codec: &CStr) -> PyResult<Object<'py>> {
    // SAFETY: attached, as a bound object proves; the function checks that it is a `str`.
    unsafe {
        let bytes = ffi::PyUnicode_AsEncodedString(text.as_ptr(), codec.as_ptr(), ptr::null());
        Bound::from_owned_ptr_or_err(text.py(), bytes)
    }
}

/// A `bytes`.
#[inline]
pub(crate) fn bytes<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Object<'py>> {
    // SAFETY: attached; pointer and length belong to one slice, which is copied.
    unsafe {
        let bytes = ffi::PyBytes_FromStringAndSize(value.as_ptr().cast::<c_char>(), size(value.len()));
        Bound::from_owned_ptr_or_err(py, bytes)
    }
}

/// A tuple of exactly `len` objects, which `item` makes in order.
#[inline]
pub(crate) fn tuple<'py>(
    py: Python<'py>,
    len: usize,
    mut item: impl FnMut(usize) -> PyResult<Object<'py>>,
) -> PyResult<Bound<'py, PyTuple>> {
    // SAFETY: attached; a new reference to a tuple whose places are NULL, or NULL with an exception set.
    let tuple = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyTuple_New(size(len)))? };
    for index in 0..len {
        let item = item(index)?;
        // SAFETY: nobody else has seen the tuple (the collector skips places that are NULL); `index` is within its
        // length; the reference to the item is given away.
        if unsafe { ffi::PyTuple_SetItem(tuple.as_ptr(), size(index), item.into_ptr()) } != 0 {
            return Err(PyErr::fetch(py));
        }
    }
    // SAFETY: it was made by PyTuple_New.
    Ok(unsafe { tuple.cast_into_unchecked() })
}

/// A list of exactly `len` objects, which `item` makes in order.
#[inline]
pub(crate) fn list<'py>(
    py: Python<'py>,
    len: usize,
    mut item: impl FnMut(usize) -> PyResult<Object<'py>>,
) -> PyResult<Bound<'py, PyList>> {
    // SAFETY: as in `tuple`.
    let list = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyList_New(size(len)))? };
    for index in 0..len {
        let item = item(index)?;
        // SAFETY: as in `tuple`.
        if unsafe { ffi::PyList_SetItem(list.as_ptr(), size(index), item.into_ptr()) } != 0 {
            return Err(PyErr::fetch(py));
        }
    }
    // SAFETY: it was made by PyList_New.
    Ok(unsafe { list.cast_into_unchecked() })
}

/// Appends to a list.
#[inline]
pub(crate) fn append(list: &Bound<'_, PyList>, item: &Object<'_>) -> PyResult<()> {
    // SAFETY: attached, as bound objects prove; the list takes a reference of its own.
    if unsafe { ffi::PyList_Append(list.as_ptr(), item.as_ptr()) } != 0 {
        return Err(PyErr::fetch(list.py()));
    }
    Ok(())
}

/// Calls with one argument.
#[inline]
pub(crate) fn call1<'py>(callable: &Object<'py>, a: &Object<'py>) -> PyResult<Object<'py>> {
    let end = ptr::null_mut::<ffi::PyObject>();
    // SAFETY: attached; borrowed references, ended by NULL; the result is a new reference or NULL with an exception.
    unsafe {
        let result = ffi::PyObject_CallFunctionObjArgs(callable.as_ptr(), a.as_ptr(), end);
        Bound::from_owned_ptr_or_err(callable.py(), result)
    }
}

/// Calls with two arguments.
#[inline]
pub(crate) fn call2<'py>(callable: &Object<'py>, a: &Object<'py>, b: &Object<'py>) -> PyResult<Object<'py>> {
    let end = ptr::null_mut::<ffi::PyObject>();
    // SAFETY: as in `call1`.
    unsafe {
        let result = ffi::PyObject_CallFunctionObjArgs(callable.as_ptr(), a.as_ptr(), b.as_ptr(), end);
        Bound::from_owned_ptr_or_err(callable.py(), result)
    }
}

/// Calls with three arguments.
#[inline]
pub(crate) fn call3<'py>(
    callable: &Object<'py>,
    a: &Object<'py>,
    b: &Object<'py>,
    c: &Object<'py>,
) -> PyResult<Object<'py>> {
    let end = ptr::null_mut::<ffi::PyObject>();
    // SAFETY: as in `call1`.
    unsafe {
        let result =
            ffi::PyObject_CallFunctionObjArgs(callable.as_ptr(), a.as_ptr(), b.as_ptr(), c.as_ptr(), end);
        Bound::from_owned_ptr_or_err(callable.py(), result)
    }
}

/// Calls a method with one argument.
#[inline]
pub(crate) fn method1<'py>(
    object: &Object<'py>,
    name: &Object<'py>,
    a: &Object<'py>,
) -> PyResult<Object<'py>> {
    let end = ptr::null_mut::<ffi::PyObject>();
    // SAFETY: as in `call1`; the interpreter checks that the name is a `str`.
    unsafe {
        let result = ffi::PyObject_CallMethodObjArgs(object.as_ptr(), name.as_ptr(), a.as_ptr(), end);
        Bound::from_owned_ptr_or_err(object.py(), result)
    }
}

/// Sets an attribute as `object.__setattr__` does, whatever the class says.
pub(crate) fn set_plainly(object: &Object<'_>, name: &Object<'_>, value: &Object<'_>) -> PyResult<()> {
    // SAFETY: attached; borrowed references.
    if unsafe { ffi::PyObject_GenericSetAttr(object.as_ptr(), name.as_ptr(), value.as_ptr()) } != 0 {
        return Err(PyErr::fetch(object.py()));
    }
    Ok(())
}

/// The value of an `int` (or of a subclass), or `None` if it does not fit.
#[inline]
pub(crate) fn as_i64(object: &Object<'_>) -> PyResult<Option<i64>> {
    let mut overflow: c_int = 0;
    // SAFETY: attached; the second argument points to a local.
    let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(object.as_ptr(), &raw mut overflow) };
    if overflow != 0 {
        return Ok(None);
    }
    if value == -1
        && let Some(e) = PyErr::take(object.py())
    {
        return Err(e);
    }
    Ok(Some(value))
}

/// Makes many objects of classes of `datetime`, each of its pickled state, without new arguments for each: bytes and tuple
/// are used again as long as nobody else has got hold of them.
#[derive(Default)]
pub(crate) struct Remaker<'py> {
    last: Option<(Bound<'py, PyTuple>, Bound<'py, PyBytes>)>,
}

impl<'py> Remaker<'py> {
    /// `class(state)`, or `class(state, zone)`.
    #[inline]
    pub(crate) fn make(
        &mut self,
        class: &Object<'py>,
        state: &[u8; 10],
        zone: Option<&Py<PyAny>>,
    ) -> PyResult<Object<'py>> {
        let arguments = match &self.last {
            Some((arguments, bytes)) if is_ours(arguments, bytes, zone) => {
                // SAFETY: attached. The bytes are 10 long, as `renew` made them. Nobody else can see them: the references
                // that there are were counted just now, and are this struct's and the tuple's; so nobody else can have
                // taken their hash either.
                unsafe {
                    let place = ffi::PyBytes_AsString(bytes.as_ptr());
                    ptr::copy_nonoverlapping(state.as_ptr().cast::<c_char>(), place, state.len());
                }
                arguments
            }
            _ => self.renew(class.py(), state, zone)?,
        };
        // SAFETY: attached; a tuple, and no keywords; the result is a new reference or NULL with an exception set.
        unsafe {
            let made = ffi::PyObject_Call(class.as_ptr(), arguments.as_ptr(), ptr::null_mut());
            Bound::from_owned_ptr_or_err(class.py(), made)
        }
    }

    #[cold]
    fn renew(
        &mut self,
        py: Python<'py>,
        state: &[u8; 10],
        zone: Option<&Py<PyAny>>,
    ) -> PyResult<&Bound<'py, PyTuple>> {
        let bytes = PyBytes::new(py, state);
        let arguments = match zone {
            Some(zone) => (&bytes, zone).into_pyobject(py)?,
            None => (&bytes,).into_pyobject(py)?,
        };
        Ok(&self.last.insert((arguments, bytes)).0)
    }
}

/// True if nobody else holds these, and they are for this zone.
#[inline]
fn is_ours(arguments: &Bound<'_, PyTuple>, bytes: &Bound<'_, PyBytes>, zone: Option<&Py<PyAny>>) -> bool {
    // SAFETY: attached, as bound objects prove; the tuple is known to have one item, and a second one if its size is 2;
    // what PyTuple_GetItem gives is borrowed, and only compared.
    unsafe {
        let second = match ffi::PyTuple_Size(arguments.as_ptr()) {
            2 => ffi::PyTuple_GetItem(arguments.as_ptr(), 1),
            _ => ptr::null_mut(),
        };
        let wanted = zone.map_or(ptr::null_mut(), Py::as_ptr);
        // The bytes: here, and in the tuple.
        ffi::Py_REFCNT(arguments.as_ptr()) == 1
            && ffi::Py_REFCNT(bytes.as_ptr()) == 2
            && ptr::eq(second, wanted)
    }
}
