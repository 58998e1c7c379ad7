//! The pool on deadpool-postgres.
