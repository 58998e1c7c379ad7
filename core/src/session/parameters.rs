//! The parameters that a server reports (ParameterStatus), as last seen on the wire. A server may report as many, and as
//! often, as it likes: what is kept is bounded.

use std::collections::HashMap;
use std::sync::Arc;

/// The most parameters that are kept of one session. PostgreSQL 18 reports 16; poolers can be told to track more.
const MOST: usize = 128;
/// The longest name, as PostgreSQL's own names are.
const LONGEST_NAME: usize = 64;
/// The longest value, in bytes.
pub(crate) const LONGEST_VALUE: usize = 4096;
/// How much of a ParameterStatus tells everything that would be kept: name, value and their ends.
pub(crate) const LONGEST_BODY: usize = LONGEST_NAME + LONGEST_VALUE + 2;

#[derive(Debug, Default)]
pub(crate) struct Parameters(HashMap<Box<str>, Arc<str>>);

impl Parameters {
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<str>> {
        self.0.get(name)
    }

    /// Takes the body of a ParameterStatus. What is too long is unknown from then on: an old value, or a part of the new
    /// one, would be wrong. Of too many, the first ones are kept.
    pub(crate) fn reported(&mut self, body: &[u8]) {
        let mut parts = body.split(|b| *b == 0);
        let (Some(name), Some(value), Some(_)) = (parts.next(), parts.next(), parts.next()) else {
            // Cut off: at least its name may be whole.
            if let Some(end) = body.iter().position(|b| *b == 0) {
                self.0.remove(String::from_utf8_lossy(&body[..end]).as_ref());
            }
            return;
        };
        let name = String::from_utf8_lossy(name);
        if name.len() > LONGEST_NAME || value.len() > LONGEST_VALUE {
            self.0.remove(name.as_ref());
        } else if self.0.len() < MOST || self.0.contains_key(name.as_ref()) {
            self.0.insert(name.into(), String::from_utf8_lossy(value).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(parameters: &mut Parameters, name: &str, value: &str) {
        let body = format!("{name}\0{value}\0").into_bytes();
        parameters.reported(&body[..body.len().min(LONGEST_BODY)]);
    }

    #[test]
    fn the_last_report_counts() {
        let mut parameters = Parameters::default();
        report(&mut parameters, "TimeZone", "UTC");
        report(&mut parameters, "TimeZone", "Europe/Berlin");
        report(&mut parameters, "empty", "");
        assert_eq!(parameters.get("TimeZone").map(|v| &**v), Some("Europe/Berlin"));
        assert_eq!(parameters.get("empty").map(|v| &**v), Some(""));
        assert_eq!(parameters.get("timezone"), None);
        for garbage in [&b""[..], b"\0", b"TimeZone", b"x\0half"] {
            parameters.reported(garbage);
        }
        assert_eq!(parameters.0.len(), 2);
    }

    #[test]
    fn neither_their_number_nor_their_size_is_the_servers_to_choose() {
        let mut parameters = Parameters::default();
        report(&mut parameters, "first", "1");
        for i in 0..100_000 {
            report(&mut parameters, &format!("p{i}"), "v");
        }
        assert_eq!(parameters.0.len(), MOST);
        report(&mut parameters, "first", "2");
        assert_eq!(parameters.get("first").map(|v| &**v), Some("2"), "those that are known go on");
        report(&mut parameters, "first", &"x".repeat(LONGEST_VALUE));
        assert_eq!(parameters.get("first").map(|v| v.len()), Some(LONGEST_VALUE));
        for too_long in [LONGEST_VALUE + 1, 2 * LONGEST_BODY] {
            report(&mut parameters, "first", &"x".repeat(too_long));
            assert_eq!(parameters.get("first"), None, "neither an old value nor half of one");
            report(&mut parameters, "first", "3");
        }
        report(&mut parameters, &"n".repeat(LONGEST_NAME + 1), "v");
        assert_eq!(parameters.0.len(), MOST);
    }
}
