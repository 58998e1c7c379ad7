//! `include/leakpool.h` is what cbindgen makes of the exports, and `tests/abi/leakpool.symbols` is their list.
//!
//! `make header` writes both (LEAKPOOL_WRITE=1); `make check` fails if they differ from what is committed.

#![allow(clippy::unwrap_used)] // Tests and their helpers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cbindgen::{Builder, Config, DocumentationStyle, EnumConfig, Language, ParseConfig, Style};

/// The order of the header, which is that of its reader.
const NOUNS: [&str; 22] = [
    "version",
    "enums",
    "error",
    "options",
    "clock",
    "pool",
    "acquire",
    "cancel",
    "query",
    "result",
    "statement",
    "transaction",
    "status",
    "metrics",
    "checkouts",
    "details",
    "report",
    "log",
    "event",
    "subscription",
    "reclaim",
    "detector",
];

const ABOUT: &str = "\
/* libleakpool: a PostgreSQL connection pool that finds connection leaks, names the line of code that leaks and takes
 * the connection back safely.
 *
 * Made by `make header` from the comments in ffi/src: do not edit.
 *
 * Conventions
 *   Status      A function that can fail returns a leakpool_status, 0 = LEAKPOOL_OK. Its last parameter is a
 *               leakpool_error **: NULL if the details are of no interest; otherwise *error is always written: NULL
 *               on success, an error object on failure, which is yours to free.
 *   Results     go into parameters before that one. Unless it says otherwise, none may be NULL. On failure, pointers
 *               to objects are NULL and ids are 0.
 *   Ownership   \"Yours\" is freed with the function that is named; \"borrowed\" lives as long as what it was borrowed
 *               from. Whatever a call is given stays the caller's, and is needed until it returns only.
 *   NULL        is LEAKPOOL_INVALID_ARGUMENT, or 0 or NULL from functions without a status. Freeing NULL does nothing.
 *   Texts       are UTF-8 and end with a NUL.
 *   Threads     Everything may be called from any thread, at the same time, but for freeing what is in use.
 *               Callbacks run on a thread of the library's, and may call the library.
 *   Sizes       Structs that may grow come with their size: pass sizeof.
 *   fork        In a forked child every call on an inherited object is LEAKPOOL_FORKED: make a new pool there.
 *   Panics      A bug inside the library is LEAKPOOL_PANICKED, with its text as the message.
 */
";

const AFTER: &str = r#"
/* The conveniences that record the line they stand on. */

/* leakpool_acquire_at() with the line that calls it. */
#define LEAKPOOL_ACQUIRE(pool, timeout_ms, checkout, error) \
  leakpool_acquire_at((pool), (timeout_ms), __FILE__, __LINE__, __func__, (checkout), (error))

/* leakpool_acquire_with() with the line that calls it. */
#define LEAKPOOL_ACQUIRE_WITH(pool, options, checkout, error) \
  leakpool_acquire_with((pool), (options), __FILE__, __LINE__, __func__, (checkout), (error))

/* leakpool_try_acquire_at() with the line that calls it. */
#define LEAKPOOL_TRY_ACQUIRE(pool, checkout, error) \
  leakpool_try_acquire_at((pool), __FILE__, __LINE__, __func__, (checkout), (error))

/* leakpool_detector_check_out_at() with the line that calls it. */
#define LEAKPOOL_CHECK_OUT(detector, options, checkout, error) \
  leakpool_detector_check_out_at((detector), (options), __FILE__, __LINE__, __func__, (checkout), (error))

/* What structs of options hold before anything was set in them. */
#define LEAKPOOL_ACQUIRE_OPTIONS_INIT { sizeof(leakpool_acquire_options), LEAKPOOL_DEFAULT_TIMEOUT, 0, NULL, NULL }
#define LEAKPOOL_CHECK_OUT_INIT { sizeof(leakpool_check_out), 0, 0, NULL, NULL, NULL, NULL }

/* For leakpool_param.length: the text ends with a NUL. */
#define LEAKPOOL_NUL_TERMINATED SIZE_MAX

/* For subscriptions: the bit of one kind of events. */
#define LEAKPOOL_EVENT_BIT(kind) ((uint32_t)1 << (kind))

/* Letters for leakpool_error_field(). */
#define LEAKPOOL_FIELD_SEVERITY 'S'
#define LEAKPOOL_FIELD_SQLSTATE 'C'
#define LEAKPOOL_FIELD_MESSAGE 'M'
#define LEAKPOOL_FIELD_DETAIL 'D'
#define LEAKPOOL_FIELD_HINT 'H'
#define LEAKPOOL_FIELD_CONTEXT 'W'
#define LEAKPOOL_FIELD_SCHEMA 's'
#define LEAKPOOL_FIELD_TABLE 't'
#define LEAKPOOL_FIELD_COLUMN 'c'
#define LEAKPOOL_FIELD_DATATYPE 'd'
#define LEAKPOOL_FIELD_CONSTRAINT 'n'
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn version_macros() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut parts = version.split(['.', '-', '+']).map(|part| part.parse::<u32>().unwrap());
    let (major, minor, patch) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let number = (major * 100 + minor) * 100 + patch;
    format!(
        "\n/* The version of this header; leakpool_version() tells the one of the library. */\n\
         #define LEAKPOOL_VERSION \"{version}\"\n\
         #define LEAKPOOL_VERSION_MAJOR {major}\n\
         #define LEAKPOOL_VERSION_MINOR {minor}\n\
         #define LEAKPOOL_VERSION_PATCH {patch}\n\
         #define LEAKPOOL_VERSION_NUMBER {number}"
    )
}

fn header() -> String {
    let mut config = Config {
        language: Language::C,
        style: Style::Both,
        header: Some(ABOUT.to_owned()),
        include_guard: Some("LEAKPOOL_H".to_owned()),
        no_includes: true,
        sys_includes: vec!["stddef.h".to_owned(), "stdint.h".to_owned()],
        after_includes: Some(version_macros()),
        trailer: Some(AFTER.to_owned()),
        cpp_compat: true,
        line_length: 110,
        tab_width: 2,
        usize_is_size_t: true,
        documentation_style: DocumentationStyle::C99,
        enumeration: EnumConfig::default(),
        parse: ParseConfig { parse_deps: false, ..ParseConfig::default() },
        ..Config::default()
    };
    // cbindgen has no word for usize::MAX.
    config.export.exclude = vec!["LEAKPOOL_NUL_TERMINATED".to_owned()];
    // Those that stand in structs as plain numbers, since C may put any number there.
    let numbers = ["log_level", "force_release_when", "stack_capture", "sql_text", "reset", "format"];
    config.export.include = numbers.iter().map(|name| format!("leakpool_{name}")).collect();
    let mut builder = Builder::new().with_config(config);
    for noun in NOUNS {
        builder = builder.with_src(root().join("ffi/src").join(format!("{noun}.rs")));
    }
    let mut bytes = Vec::new();
    builder.generate().unwrap().write(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

/// Every export, by the attribute that makes it one; those of `test_panic.rs` are for tests.
fn symbols() -> BTreeSet<String> {
    let mut symbols = BTreeSet::new();
    for file in fs::read_dir(root().join("ffi/src")).unwrap() {
        let path = file.unwrap().path();
        if path.ends_with("test_panic.rs") {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        for (_, after) in source.match_indices("#[unsafe(no_mangle)]").map(|(at, _)| source.split_at(at)) {
            let name = after.split("fn ").nth(1).unwrap().split('(').next().unwrap();
            symbols.insert(name.to_owned());
        }
    }
    symbols
}

fn same(path: &str, made: &str) {
    let path = root().join(path);
    if std::env::var_os("LEAKPOOL_WRITE").is_some() {
        fs::write(&path, made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == made, "{} is not what the sources make: run `make header`", path.display());
}

#[test]
fn the_header_is_what_cbindgen_makes() {
    same("include/leakpool.h", &header());
}

#[test]
fn the_symbols_are_the_exports() {
    let symbols = symbols();
    assert!(symbols.iter().all(|symbol| symbol.starts_with("leakpool_")));
    same("tests/abi/leakpool.symbols", &symbols.into_iter().map(|symbol| symbol + "\n").collect::<String>());
}

/// No panic may pass into C.
#[test]
fn every_export_stands_behind_the_boundary() {
    for noun in NOUNS {
        let source = fs::read_to_string(root().join("ffi/src").join(format!("{noun}.rs"))).unwrap();
        for export in source.split("#[unsafe(no_mangle)]").skip(1) {
            let body = export.split("\n}\n").next().unwrap();
            let guards = ["guard!(", "plain(", "free(", "leakpool_acquire_with("];
            assert!(guards.iter().any(|guard| body.contains(guard)), "outside of the boundary: {body}");
        }
    }
}
