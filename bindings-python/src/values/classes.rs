//! The Python classes that are used, imported once.
