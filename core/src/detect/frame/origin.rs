//! Whose code is it? Read off names and paths alone. The tables here are the only place that knows package names.

use super::FrameKind;

/// Our own crates and packages.
const LIBRARY: &[&str] = &["leakpool", "leakpool_ffi", "leakpool_python", "leakpool_node", "_leakpool"];

/// Crates that only run other people's code.
const RUNTIME: &[&str] = &[
    "alloc",
    "async_executor",
    "async_std",
    "async_task",
    "backtrace",
    "core",
    "crossbeam",
    "futures",
    "futures_core",
    "futures_executor",
    "futures_lite",
    "futures_util",
    "once_cell",
    "panic_unwind",
    "parking_lot",
    "pin_project",
    "pin_project_lite",
    "pollster",
    "rayon",
    "rayon_core",
    "smol",
    "std",
    "std_detect",
    "test",
    "tokio",
    "tokio_util",
    "tracing",
];

/// Where threads and programs start. A `main` without a file is the one that rustc generates.
const LIBC: &[&str] = &["_start", "start", "start_thread", "thread_start", "clone", "clone3", "__clone"];

/// Whose a frame is, and its path as it should be shown.
pub(super) struct Origin {
    pub(super) kind: FrameKind,
    pub(super) owner: Option<String>,
    pub(super) file: Option<String>,
}

impl Origin {
    fn package(name: &str, file: Option<String>) -> Origin {
        let name = name.replace('-', "_");
        let kind = match () {
            () if LIBRARY.contains(&name.as_str()) => FrameKind::Library,
            () if RUNTIME.contains(&name.as_str()) => FrameKind::Runtime,
            () => FrameKind::Dependency,
        };
        Origin { kind, owner: Some(name), file }
    }
}

/// `function` already tidied.
pub(super) fn native(function: Option<&str>, file: Option<&str>) -> Origin {
    let shown = file.map(str::to_string);
    if let Some(origin) = file.and_then(by_path) {
        return origin;
    }
    if let Some(origin) = in_libc(function, file) {
        return origin;
    }
    // What catch_unwind is compiled to: it has a name, and neither path nor file.
    if file.is_none() && function == Some("__rust_try") {
        return Origin::package("std", None);
    }
    let package = function.and_then(|function| Some(function.split_once("::")?.0));
    let vendored = file.is_some_and(|file| parts(file).any(|part| part == "vendor"));
    match package {
        Some(name) if LIBRARY.contains(&name) => Origin::package(name, shown),
        // A user's own trait, implemented for a foreign type, is still the user's code.
        Some(name) if RUNTIME.contains(&name) && (file.is_none() || vendored) => Origin::package(name, shown),
        Some(name) if vendored => Origin::package(name, shown),
        None if function.is_none() && file.is_none() => {
            Origin { kind: FrameKind::Unknown, owner: None, file: None }
        }
        _ => Origin { kind: FrameKind::User, owner: None, file: shown },
    }
}

/// Where programs and threads start, whether or not libc has debug information.
fn in_libc(function: Option<&str>, file: Option<&str>) -> Option<Origin> {
    let named = function.is_some_and(|name| LIBC.contains(&name) || name.starts_with("__libc_start"));
    let placed = match file {
        None => named || function == Some("main"),
        Some(file) if file.ends_with(".rs") => false,
        Some(file) => named || parts(file).any(|part| matches!(part, "nptl" | "csu" | "sysdeps")),
    };
    placed.then(|| Origin {
        kind: FrameKind::Runtime,
        owner: Some("libc".into()),
        file: file.map(str::to_string),
    })
}

fn parts(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split(['/', '\\'])
}

/// The folders in which cargo and rustc keep what is not the user's.
fn by_path(file: &str) -> Option<Origin> {
    let parts: Vec<&str> = parts(file).collect();
    let tail = |from: usize| Some(parts[from..].join("/"));
    for (at, part) in parts.iter().enumerate() {
        let next = |n: usize| parts.get(at + n).copied().filter(|p| !p.is_empty());
        match *part {
            "registry" if next(1) == Some("src") => {
                let folder = next(3)?;
                let name = folder.rsplit_once('-').map_or(folder, |(name, version)| {
                    if version.starts_with(|c: char| c.is_ascii_digit()) { name } else { folder }
                });
                // `1.0.0-rc.1`: the version itself may hold a dash.
                let name = name.split_once("-0.").or_else(|| name.split_once("-1.")).map_or(name, |(n, _)| n);
                return Some(Origin::package(name, tail(at + 3)));
            }
            "git" if next(1) == Some("checkouts") => {
                let folder = next(2)?;
                let name = folder.rsplit_once('-').map_or(folder, |(name, _)| name);
                return Some(Origin::package(name, tail(at + 2)));
            }
            "rustc" | "rust" if next(1) == Some("deps") => return Some(standard(tail(at + 2))),
            "rustc" if next(2) == Some("library") => {
                return Some(Origin::package(next(3)?, tail(at + 3)));
            }
            "rust" if next(1) == Some("library") => {
                return Some(Origin::package(next(2)?, tail(at + 2)));
            }
            _ => {}
        }
    }
    None
}

fn standard(file: Option<String>) -> Origin {
    Origin { kind: FrameKind::Runtime, owner: Some("std".into()), file }
}

/// The folders in which Python and Node keep what is not the user's.
pub(super) fn host(file: &str) -> Origin {
    let shown = (!file.is_empty()).then(|| file.to_string());
    let runtime = |owner: &str| Origin {
        kind: FrameKind::Runtime,
        owner: Some(owner.to_string()),
        file: (!file.is_empty()).then(|| file.to_string()),
    };
    if file.starts_with("node:") || file == "native" {
        return runtime("node");
    }
    if file.starts_with("<frozen ") {
        return runtime("python");
    }
    let parts: Vec<&str> = parts(file).collect();
    let installed = |part: &&str| matches!(*part, "site-packages" | "dist-packages" | "node_modules");
    // The innermost folder of packages: packages bring packages.
    let folder = parts.iter().rposition(installed);
    if let Some((at, first)) = folder.and_then(|at| Some((at, *parts.get(at + 1)?))) {
        let name = match parts.get(at + 2) {
            Some(second) if first.starts_with('@') => format!("{first}/{second}"),
            _ => first.trim_end_matches(".py").to_string(),
        };
        let ours = name == "leakpool" || name.starts_with("@leakpool/");
        let kind = if ours { FrameKind::Library } else { FrameKind::Dependency };
        return Origin { kind, owner: Some(name), file: Some(parts[at + 1..].join("/")) };
    }
    let standard_library = parts.windows(2).any(|pair| {
        (pair[0].eq_ignore_ascii_case("lib") || pair[0] == "lib64")
            && (pair[1].starts_with("python3")
                || matches!(pair[1], "asyncio" | "concurrent" | "threading.py"))
    });
    if standard_library {
        return runtime("python");
    }
    match shown {
        None => Origin { kind: FrameKind::Unknown, owner: None, file: None },
        file => Origin { kind: FrameKind::User, owner: None, file },
    }
}

/// A demangled name without what only the compiler cares about: `<app::Repo as app::Store>::load::<u32>::{closure#0}`
/// becomes `app::Repo::load`. Empty if nothing remains: with line tables alone, an inlined closure has no other name.
pub(super) fn tidy(name: &str) -> String {
    let mut tidied = without_type_arguments(name).unwrap_or_else(|| name.to_string());
    loop {
        let (head, last) = tidied.rsplit_once("::").unwrap_or(("", &tidied));
        let marker = ["{closure", "{{closure", "{async_", "{impl"].iter().any(|m| last.starts_with(m));
        if !marker {
            return tidied;
        }
        tidied.truncate(head.len());
    }
}

/// `None` if the brackets do not match (an operator's name, some other language).
fn without_type_arguments(name: &str) -> Option<String> {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(open) = rest.find('<') {
        let close = open + matching(&rest[open..])?;
        let before = &rest[..open];
        if out.is_empty() && before.trim_end_matches(['&', ' ']).is_empty() {
            // A type at the front is what the function belongs to, a trait behind it only how.
            out.push_str(&tidy_type(&rest[open + 1..close])?);
        } else {
            out.push_str(before.strip_suffix("::").unwrap_or(before));
        }
        rest = &rest[close + 1..];
    }
    out.push_str(rest);
    Some(out)
}

fn tidy_type(inner: &str) -> Option<String> {
    let mut depth = 0usize;
    let mut end = inner.len();
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            b'<' | b'(' | b'[' => depth += 1,
            b'>' if at > 0 && inner.as_bytes()[at - 1] == b'-' => {}
            b'>' | b')' | b']' => depth = depth.checked_sub(1)?,
            b' ' if depth == 0 && inner[at..].starts_with(" as ") => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    let mut own = inner[..end].trim();
    for noise in ["impl ", "&", "mut ", "dyn "] {
        own = own.strip_prefix(noise).unwrap_or(own);
    }
    // `<impl app::Trait for app::Type>`: the type again.
    let own = own.rsplit_once(" for ").map_or(own, |(_, own)| own);
    if own.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '<') && !own.starts_with("fn(") {
        without_type_arguments(own)
    } else {
        Some(format!("<{own}>"))
    }
}

/// The index of the `>` that closes the `<` at the start.
fn matching(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'<' => depth += 1,
            b'>' if bytes[at - 1] != b'-' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
