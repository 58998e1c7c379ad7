//! Where a checkout is acquired: the interpreter's frames, walked as they are. On the way of every acquire: nothing is
//! formatted, and for a stack that was seen before nothing is looked up but itself.
//!
//! A stack is known by its code objects and the offsets in them. The code objects are kept, so that their addresses stay
//! theirs; frames, and what their variables refer to, never are.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use leakpool::{HostFrame, SiteId, StackCapture};
use parking_lot::Mutex;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;
use pyo3::{PyTraverseError, PyVisit};
use rustc_hash::FxHasher;

/// The deepest stack that is ever walked, as in the core.
const DEEPEST: usize = 128;
/// The depth up to which the buffer is small.
const USUAL: usize = 32;
/// How many frames a call site alone is looked for in: our own ones and somebody's wrapper.
const NEAREST: usize = 4;
/// How many stacks are known before all are forgotten, for programs that make code without end.
const MOST: usize = 16_384;

/// The stacks that one pool has seen.
#[derive(Default)]
pub(crate) struct Stacks(Mutex<Known>);

#[derive(Default)]
struct Known {
    sites: HashMap<Box<[usize]>, SiteId, BuildHasherDefault<FxHasher>>,
    /// Every code object whose address is part of a key.
    codes: Vec<Py<PyAny>>,
}

/// A frame as text, before the core gets it.
struct Described {
    file: String,
    function: String,
    line: u32,
}

impl Stacks {
    /// The site of the Python code that is running. `intern` gives the core's number for frames that are new here.
    pub(crate) fn here(
        &self,
        py: Python<'_>,
        capture: StackCapture,
        depth: usize,
        intern: impl FnOnce(&[HostFrame<'_>]) -> SiteId,
    ) -> PyResult<SiteId> {
        let most = match capture {
            StackCapture::Off => return Ok(SiteId::OFF),
            StackCapture::Site => NEAREST,
            StackCapture::Full => depth.clamp(1, DEEPEST),
        };
        // Most stacks are not that deep, and to clear the larger one would cost as much as to walk a few frames.
        let (mut usual, mut deepest);
        let room: &mut [usize] = if most <= USUAL {
            usual = [0_usize; 2 * USUAL];
            &mut usual
        } else {
            deepest = vec![0_usize; 2 * DEEPEST];
            &mut deepest
        };
        let mut len = 0;
        walk(py, most, |frame| {
            let code = code_of(py, frame)?;
            let lasti = frame.getattr(intern!(py, "f_lasti"))?;
            // SAFETY: an int, with the GIL held; f_lasti fits.
            let offset = unsafe { ffi::PyLong_AsLong(lasti.as_ptr()) };
            if let Some(place) = room.get_mut(len..len + 2) {
                place.copy_from_slice(&[code.as_ptr() as usize, offset as usize]);
                len += 2;
            }
            Ok(())
        })?;
        let key = room.get(..len).unwrap_or_default();
        if let Some(site) = self.0.lock().sites.get(key) {
            return Ok(*site);
        }
        self.add(py, key, capture, most, intern)
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.0.try_lock() {
            Some(known) => known.codes.iter().try_for_each(|code| visit.call(code)),
            None => Ok(()),
        }
    }

    #[cold]
    fn add(
        &self,
        py: Python<'_>,
        key: &[usize],
        capture: StackCapture,
        most: usize,
        intern: impl FnOnce(&[HostFrame<'_>]) -> SiteId,
    ) -> PyResult<SiteId> {
        let (mut described, mut codes) = (Vec::new(), Vec::new());
        walk(py, most, |frame| {
            let code = code_of(py, frame)?;
            let one = describe(py, frame, &code)?;
            if !is_ours(py, &one.file)? {
                described.push(one);
            }
            codes.push(code.unbind());
            Ok(())
        })?;
        if capture == StackCapture::Site {
            described.truncate(1);
        }
        let frames: Vec<HostFrame<'_>> =
            described.iter().map(|one| HostFrame::new(&one.file, one.line, &one.function)).collect();
        let site = intern(&frames);
        let forgotten = {
            let mut known = self.0.lock();
            let forgotten = if known.sites.len() >= MOST { Some(std::mem::take(&mut *known)) } else { None };
            known.sites.insert(key.into(), site);
            known.codes.append(&mut codes);
            forgotten
        };
        // Outside the lock: code objects may run anything when they go.
        drop(forgotten);
        Ok(site)
    }
}

/// The frames of the running Python code, innermost first, at most that many.
fn walk(
    py: Python<'_>,
    most: usize,
    mut each: impl FnMut(&Bound<'_, PyAny>) -> PyResult<()>,
) -> PyResult<()> {
    // SAFETY: with the GIL held; a borrowed reference or NULL, as `from_borrowed_ptr_or_opt` takes it.
    let innermost = unsafe { Bound::from_borrowed_ptr_or_opt(py, ffi::PyEval_GetFrame().cast()) };
    let Some(mut frame) = innermost else { return Ok(()) };
    for _ in 0..most {
        each(&frame)?;
        let back = frame.getattr(intern!(py, "f_back"))?;
        if back.is_none() {
            break;
        }
        frame = back;
    }
    Ok(())
}

fn code_of<'py>(py: Python<'py>, frame: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: a frame, with the GIL held; a new reference.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyFrame_GetCode(frame.as_ptr().cast()).cast()) }
}

fn describe(py: Python<'_>, frame: &Bound<'_, PyAny>, code: &Bound<'_, PyAny>) -> PyResult<Described> {
    // SAFETY: a frame, with the GIL held.
    let line = unsafe { ffi::PyFrame_GetLineNumber(frame.as_ptr().cast()) };
    let name = code.getattr(intern!(py, "co_qualname")).or_else(|_| code.getattr(intern!(py, "co_name")))?;
    let text = |object: Bound<'_, PyAny>| -> PyResult<String> {
        Ok(object.cast_into::<PyString>()?.to_string_lossy().into_owned())
    };
    Ok(Described {
        file: text(code.getattr(intern!(py, "co_filename"))?)?,
        function: text(name)?,
        line: u32::try_from(line).unwrap_or(0),
    })
}

/// True for the files of the package `leakpool` itself. Its demo is a user of it like any other.
fn is_ours(py: Python<'_>, file: &str) -> PyResult<bool> {
    static FOLDER: PyOnceLock<String> = PyOnceLock::new();
    let folder = FOLDER.get_or_try_init(py, || -> PyResult<String> {
        let init: String = py.import("leakpool")?.getattr("__file__")?.extract()?;
        Ok(init.strip_suffix("__init__.py").unwrap_or(&init).to_owned())
    })?;
    Ok(file.strip_prefix(folder.as_str()).is_some_and(|name| name != "demo.py"))
}
