//! Options that are one of a few words: the word of each variant, written once.

/// Gives an enum its words: `NAMES`, `name()` and `from_name()`. A variant without a word does not compile.
macro_rules! choices {
    ($($type:ident { $($variant:ident = $name:literal),+ $(,)? })+) => {$(
        impl $type {
            /// Every word, in the order of the variants.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// The word for this variant, the same in every host.
            pub const fn name(self) -> &'static str {
                match self { $($type::$variant => $name,)+ }
            }

            /// The variant with this word, if there is one.
            pub fn from_name(name: &str) -> Option<$type> {
                match name { $($name => Some($type::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    )+};
}

pub(crate) use choices;

/// The known name that is nearest to `wrong`, if one is near enough to be a slip of the pen.
pub(crate) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = squeeze(wrong);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wrong, &squeeze(name)), name))
        // A third of the letters may be wrong; beyond that the suggestion would only puzzle.
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Casing, `_` and `-` are how hosts differ, not how names differ.
fn squeeze(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_across_casings_and_nothing_far_is_suggested() {
        let known = ["leak_threshold", "max_size", "min_idle"];
        assert_eq!(nearest("leakTreshold", known), Some("leak_threshold"));
        assert_eq!(nearest("max-size", known), Some("max_size"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
    }
}
