//! The calendar: days and microseconds from PostgreSQL's epoch to fields and back, in the proleptic Gregorian calendar of
//! Python's `datetime`. No Python here.

/// Microseconds of a day.
pub(crate) const DAY: i64 = 86_400_000_000;
/// Days from 0000-03-01 to 2000-01-01.
const EPOCH: i64 = 730_425;
/// 0001-01-01 and 9999-12-31, in days from 2000-01-01.
pub(crate) const FIRST_DAY: i64 = -730_119;
pub(crate) const LAST_DAY: i64 = 2_921_939;

/// A point in time, or of a day, in fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Fields {
    pub(crate) year: i32,
    pub(crate) month: u8,
    pub(crate) day: u8,
    pub(crate) hour: u8,
    pub(crate) minute: u8,
    pub(crate) second: u8,
    pub(crate) micro: u32,
}

impl Fields {
    /// True if it is a date of Python's calendar.
    #[inline]
    pub(crate) fn is_date(&self) -> bool {
        (1..=9999).contains(&self.year)
            && (1..=12).contains(&self.month)
            && self.day >= 1
            && self.day <= days_in(self.year, self.month)
    }

    /// True if it is a time of day.
    #[inline]
    pub(crate) fn is_time(&self) -> bool {
        self.hour < 24 && self.minute < 60 && self.second < 60 && self.micro < 1_000_000
    }

    /// Days from 2000-01-01.
    #[inline]
    pub(crate) fn days(&self) -> i64 {
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let of_era = year.rem_euclid(400);
        let month = (i64::from(self.month) + 9) % 12;
        let of_year = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH
    }

    /// Microseconds from 2000-01-01 00:00:00.
    #[inline]
    pub(crate) fn micros(&self) -> i64 {
        let seconds = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        self.days() * DAY + seconds * 1_000_000 + i64::from(self.micro)
    }

    /// The date of so many days from 2000-01-01; `None` outside of Python's calendar.
    #[inline]
    pub(crate) fn from_days(days: i64) -> Option<Fields> {
        if !(FIRST_DAY..=LAST_DAY).contains(&days) {
            return None;
        }
        let shifted = days + EPOCH;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Some(Fields { year: narrow(year), month: narrow(month), day: narrow(day), ..Fields::default() })
    }

    /// The point so many microseconds from 2000-01-01 00:00:00; `None` outside of Python's calendar.
    #[inline]
    pub(crate) fn from_micros(micros: i64) -> Option<Fields> {
        let mut fields = Fields::from_days(micros.div_euclid(DAY))?;
        fields.set_time(micros.rem_euclid(DAY));
        Some(fields)
    }

    /// Sets the time of day to so many microseconds after midnight, at most a day.
    #[inline]
    pub(crate) fn set_time(&mut self, micros: i64) {
        let seconds = micros / 1_000_000;
        self.micro = narrow(micros % 1_000_000);
        self.second = narrow(seconds % 60);
        self.minute = narrow(seconds / 60 % 60);
        self.hour = narrow(seconds / 3600);
    }

    /// What `datetime.datetime`, `date` and `time` take for their pickled state: the date's four bytes and the time's
    /// six.
    #[inline]
    pub(crate) fn state(&self) -> [u8; 10] {
        let [_, _, high, low] = self.year.to_be_bytes();
        let [_, us2, us1, us0] = self.micro.to_be_bytes();
        [high, low, self.month, self.day, self.hour, self.minute, self.second, us2, us1, us0]
    }
}

/// A number that is known to fit; what does not fit becomes 0.
#[inline]
fn narrow<T: TryFrom<i64> + Default>(value: i64) -> T {
    T::try_from(value).unwrap_or_default()
}

fn days_in(year: i32, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}
