//! The session's time zone, and making `datetime`s in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::exceptions::{PyKeyError, PyOSError, PyOverflowError};
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use rustc_hash::FxHashMap;

use crate::values::civil::{DAY, FIRST_DAY, Fields, LAST_DAY};
use crate::values::classes::{Classes, name};
use crate::values::context::AdaptContext;
use crate::values::object::{self, Object, Remaker};

/// The session's time zone.
pub(crate) enum Zone {
    /// `timezone.utc`.
    Utc(Py<PyAny>),
    /// A `ZoneInfo`, and what is known about its offsets.
    Other(Py<PyAny>, Arc<Offsets>),
}

impl Zone {
    /// What Python has for the session's `TimeZone`; UTC, with a warning in the log, if it has none.
    pub(crate) fn of(py: Python<'_>, context: &AdaptContext<'_>) -> PyResult<Zone> {
        /// Those that were looked up. Locked for an instant, and never while Python runs.
        static KNOWN: Mutex<BTreeMap<Arc<str>, Zone>> = Mutex::new(BTreeMap::new());
        let utc = &Classes::get(py)?.utc;
        let key = match context.parameter("TimeZone") {
            None => return Ok(Zone::Utc(utc.clone_ref(py))),
            Some(key) if &*key == "UTC" => return Ok(Zone::Utc(utc.clone_ref(py))),
            Some(key) => key,
        };
        if let Some(zone) = KNOWN.lock().get(&key) {
            return Ok(zone.clone_ref(py));
        }
        let zone = match Zone::look_up(py, &key)? {
            Some(zone) => Zone::Other(zone.unbind(), Arc::default()),
            None => Zone::Utc(utc.clone_ref(py)),
        };
        let before = KNOWN.lock().insert(key, zone.clone_ref(py));
        drop(before);
        Ok(zone)
    }

    fn clone_ref(&self, py: Python<'_>) -> Zone {
        match self {
            Zone::Utc(zone) => Zone::Utc(zone.clone_ref(py)),
            Zone::Other(zone, offsets) => Zone::Other(zone.clone_ref(py), Arc::clone(offsets)),
        }
    }

    fn look_up<'py>(py: Python<'py>, key: &str) -> PyResult<Option<Object<'py>>> {
        let problem = match py.import("zoneinfo")?.getattr("ZoneInfo")?.call1((key,)) {
            Ok(zone) => return Ok(Some(zone)),
            Err(e) if e.is_instance_of::<PyKeyError>(py) || e.is_instance_of::<PyOSError>(py) => None,
            Err(e) if e.is_instance_of::<pyo3::exceptions::PyException>(py) => Some(e.to_string()),
            Err(e) => return Err(e),
        };
        let logger = py.import("logging")?.call_method1("getLogger", ("leakpool",))?;
        match problem {
            None => logger.call_method1("warning", ("unknown PostgreSQL timezone: %r; will use UTC", key))?,
            Some(e) => logger.call_method1(
                "warning",
                ("error handling PostgreSQL timezone: %r; will use UTC (%s)", key, e),
            )?,
        };
        Ok(None)
    }

    /// The `tzinfo`.
    pub(crate) fn tzinfo<'py>(&self, py: Python<'py>) -> &Object<'py> {
        match self {
            Zone::Utc(zone) | Zone::Other(zone, _) => zone.bind(py),
        }
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Zone::Utc(zone) | Zone::Other(zone, _) => visit.call(zone),
        }
    }

    /// The point so many microseconds from 2000-01-01 00:00:00 UTC, in this zone; `None` if it is outside of Python's
    /// calendar in UTC, or here.
    #[inline]
    pub(super) fn at<'py>(&self, maker: &mut Maker<'py>, micros: i64) -> PyResult<Option<Object<'py>>> {
        let py = maker.py;
        let Some(fields) = Fields::from_micros(micros) else { return Ok(None) };
        match self {
            Zone::Utc(utc) => maker.datetime(&fields, Some(utc)).map(Some),
            Zone::Other(zone, offsets) => {
                if let Some(offset) = offsets.on(py, zone, micros.div_euclid(DAY))?
                    && let Some(shifted) = Fields::from_micros(micros + i64::from(offset) * 1_000_000)
                {
                    return maker.datetime(&shifted, Some(zone)).map(Some);
                }
                let unshifted = maker.datetime(&fields, Some(zone))?;
                match object::method1(zone.bind(py), name::fromutc(py).as_any(), &unshifted) {
                    Ok(shifted) => Ok(Some(shifted)),
                    Err(e) if e.is_instance_of::<PyOverflowError>(py) => Ok(None),
                    Err(e) => Err(e),
                }
            }
        }
    }
}

/// What is known about a zone's offsets: on which days they do not change. Asked for each value, it is several times
/// faster than the zone itself.
#[derive(Default)]
pub(crate) struct Offsets {
    /// By day from 2000-01-01, in UTC. Locked for an instant, and never while Python runs.
    days: Mutex<FxHashMap<i64, Day>>,
}

#[derive(Clone, Copy)]
enum Day {
    /// One value was met: it is worth finding out at the next.
    Met,
    /// The offset on this day and on the one before it, in seconds: so no local time of this day has been before.
    Steady(i32),
    /// It changes, or may do so: the zone has to be asked.
    Unsteady,
}

impl Offsets {
    /// The offset on a day, if it is the same all day, and no local time occurs twice.
    #[inline]
    fn on(&self, py: Python<'_>, zone: &Py<PyAny>, day: i64) -> PyResult<Option<i32>> {
        let known = self.days.lock().get(&day).copied();
        match known {
            Some(Day::Steady(offset)) => Ok(Some(offset)),
            Some(Day::Unsteady) => Ok(None),
            Some(Day::Met) => {
                let found = Offsets::find(py, zone, day)?;
                self.days.lock().insert(day, found.map_or(Day::Unsteady, Day::Steady));
                Ok(found)
            }
            None => {
                let mut days = self.days.lock();
                // 270 years: more is nobody's use of one zone.
                if days.len() > 100_000 {
                    days.clear();
                }
                days.insert(day, Day::Met);
                Ok(None)
            }
        }
    }

    /// No zone changes its offset twice within two days: if the offsets at their three midnights are the same, it did
    /// not change.
    #[cold]
    fn find(py: Python<'_>, zone: &Py<PyAny>, day: i64) -> PyResult<Option<i32>> {
        let mut steady = None;
        for midnight in [day - 1, day, day + 1] {
            // Near the ends of the calendar, the zone has to be asked.
            if !(FIRST_DAY + 3..LAST_DAY - 3).contains(&midnight) {
                return Ok(None);
            }
            let Some(fields) = Fields::from_days(midnight) else { return Ok(None) };
            let unshifted = Maker::new(py).datetime(&fields, Some(zone))?;
            let shifted = object::method1(zone.bind(py), name::fromutc(py).as_any(), &unshifted)?;
            let offset = shifted.call_method0(name::utcoffset(py))?;
            let (days, seconds): (i32, i32) =
                (offset.getattr(name::days(py))?.extract()?, offset.getattr(name::seconds(py))?.extract()?);
            let offset = days * 86_400 + seconds;
            if *steady.get_or_insert(offset) != offset {
                return Ok(None);
            }
        }
        Ok(steady)
    }
}

/// Makes `datetime`s, many of them without new arguments for each.
pub(crate) struct Maker<'py> {
    pub(super) py: Python<'py>,
    remaker: Remaker<'py>,
}

impl<'py> Maker<'py> {
    pub(crate) fn new(py: Python<'py>) -> Maker<'py> {
        Maker { py, remaker: Remaker::default() }
    }

    /// One of fields that were checked.
    #[inline]
    pub(super) fn datetime(&mut self, fields: &Fields, zone: Option<&Py<PyAny>>) -> PyResult<Object<'py>> {
        let class = Classes::get(self.py)?.datetime.bind(self.py);
        self.remaker.make(class, &fields.state(), zone)
    }
}
