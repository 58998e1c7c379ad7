//! A stack as people read it: the culprit line, the user's own frames, everybody else's folded away.
//!
//! Pure text work on names and paths that another caller looked up; whose code a frame is says `origin.rs`.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

mod origin;

/// Whose code a frame runs. Only [`FrameKind::User`] frames are listed one by one; the others are folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// The application's own code.
    User,
    /// A package that the application depends on (from a cargo registry, `site-packages`, `node_modules`).
    Dependency,
    /// leakpool itself and its bindings.
    Library,
    /// What runs everybody's code: tokio, futures, std, core, alloc, libc; in hosts the interpreter's own library.
    Runtime,
    /// Nothing is known of it: no symbol, no line (a stripped module, generated code).
    Unknown,
}

/// One frame, symbolised.
///
/// ```
/// use leakpool::{HostFrame, SiteTable};
/// let table = SiteTable::new();
/// let id = table.intern_host(&[HostFrame::new("/srv/app/orders.py", 42, "process")]);
/// assert_eq!(table.get(id).resolve().culprit.to_string(), "process (/srv/app/orders.py:42)");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Frame {
    /// The function, demangled; type arguments, closure markers and hashes are left out.
    pub function: Option<String>,
    /// The file: as the compiler or the host gave it for user frames, from the package's own folder for others
    /// (`tokio-1.54.1/src/task/spawn.rs`).
    pub file: Option<String>,
    /// The line, from 1.
    pub line: Option<u32>,
    /// Whose code it is.
    pub kind: FrameKind,
    /// The package that a folded frame belongs to.
    pub owner: Option<String>,
}

impl Frame {
    /// A frame of compiled code. `function` demangled but untidied.
    pub(crate) fn native(function: Option<&str>, file: Option<&str>, line: Option<u32>) -> Frame {
        let function = function.map(origin::tidy).filter(|name| !name.is_empty());
        let origin = origin::native(function.as_deref(), file);
        Frame {
            function,
            file: origin.file,
            line: line.filter(|l| *l > 0),
            kind: origin.kind,
            owner: origin.owner,
        }
    }

    /// A frame that a host gave as text.
    pub(crate) fn host(function: &str, file: &str, line: u32) -> Frame {
        let origin = origin::host(file);
        let function = (!function.is_empty()).then(|| function.to_string());
        let line = (line > 0).then_some(line);
        Frame { function, file: origin.file, line, kind: origin.kind, owner: origin.owner }
    }

    /// The same frame, now that its path turned out to be one of ours.
    pub(crate) fn in_library(self) -> Frame {
        Frame { kind: FrameKind::Library, owner: Some("leakpool".into()), ..self }
    }

    /// A frame of which nothing is known.
    pub(crate) fn unknown() -> Frame {
        Frame { function: None, file: None, line: None, kind: FrameKind::Unknown, owner: None }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.function, &self.file, self.line) {
            (Some(function), Some(file), Some(line)) => write!(f, "{function} ({file}:{line})"),
            (Some(function), Some(file), None) => write!(f, "{function} ({file})"),
            (Some(function), None, _) => f.write_str(function),
            (None, Some(file), Some(line)) => write!(f, "{file}:{line}"),
            (None, Some(file), None) => f.write_str(file),
            (None, None, _) => f.write_str("unknown"),
        }
    }
}

/// A site, symbolised: what a report shows. Displayed, it is the folded stack, one line per user frame:
///
/// ```text
/// app::orders::process (src/orders.rs:42)
/// app::server::handle (src/server.rs:17)
/// … 12 frames of tokio, std
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResolvedSite {
    /// The line that acquired: the call site if it is known and the user's own, otherwise the innermost user frame.
    pub culprit: Frame,
    /// Every captured frame, innermost first, inlined functions included.
    pub frames: Vec<Frame>,
}

impl ResolvedSite {
    /// `call` is the call site as the compiler recorded it: it is there even where a stack has no line numbers.
    pub(crate) fn new(call: Option<(&str, u32)>, mut frames: Vec<Frame>) -> ResolvedSite {
        if let Some((file, _)) = call {
            make_relative(&mut frames, file);
        }
        let innermost = || frames.iter().find(|frame| frame.kind == FrameKind::User).cloned();
        let culprit = match call.map(|(file, line)| (Frame::native(None, Some(file), Some(line)), file)) {
            Some((mut at, file)) if at.kind == FrameKind::User => {
                let same_file = |frame: &&Frame| frame.kind == FrameKind::User && ends_with(frame, file);
                let caller = frames.iter().filter(same_file).find(|frame| frame.line == at.line);
                // An await further down the chain has another line, but stands in the same function.
                at.function =
                    caller.or_else(|| frames.iter().find(same_file)).and_then(|f| f.function.clone());
                Some(at)
            }
            Some((at, _)) => innermost().or(Some(at)),
            None => innermost(),
        };
        let culprit = culprit.or_else(|| frames.first().cloned()).unwrap_or_else(Frame::unknown);
        ResolvedSite { culprit, frames }
    }

    /// A site of which only this is to be said.
    pub(crate) fn named(text: &str) -> ResolvedSite {
        let culprit = Frame { function: Some(text.into()), ..Frame::unknown() };
        ResolvedSite { culprit, frames: Vec::new() }
    }

    /// The user's own frames, innermost first.
    pub fn user_frames(&self) -> impl Iterator<Item = &Frame> {
        self.frames.iter().filter(|frame| frame.kind == FrameKind::User)
    }

    /// The same for two sites whose culprit and user frames are the same, however the runtime in between came there
    /// (a task can be polled from several places of a scheduler). Stable within one process only.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.culprit.hash(&mut hasher);
        self.user_frames().for_each(|frame| frame.hash(&mut hasher));
        hasher.finish()
    }
}

fn ends_with(frame: &Frame, file: &str) -> bool {
    let Some(head) = frame.file.as_deref().and_then(|path| path.strip_suffix(file)) else { return false };
    head.is_empty() || head.ends_with(['/', '\\'])
}

/// Debug information has absolute paths where the call site has one relative to the workspace: shows both alike.
fn make_relative(frames: &mut [Frame], call: &str) {
    let user = |frame: &&Frame| frame.kind == FrameKind::User && ends_with(frame, call);
    let Some(head) = frames.iter().find(user).and_then(|f| f.file.as_deref()?.strip_suffix(call)) else {
        return;
    };
    let head = head.to_string();
    for frame in frames.iter_mut().filter(|frame| frame.kind == FrameKind::User) {
        if let Some(tail) = frame.file.as_deref().and_then(|file| file.strip_prefix(&head)) {
            frame.file = Some(tail.to_string());
        }
    }
}

/// How many owners a fold names before it says "others".
const OWNERS_NAMED: usize = 3;

impl fmt::Display for ResolvedSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What lies inside the innermost user frame is how the pool works, not who called it.
        let skipped = self.frames.iter().position(|frame| frame.kind == FrameKind::User).unwrap_or(0);
        let runs = self.frames[skipped..].chunk_by(|a, b| folded(a) && folded(b));
        for (index, run) in runs.enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            match run {
                [frame] if !folded(frame) => write!(f, "{frame}")?,
                _ => write_fold(f, run)?,
            }
        }
        Ok(())
    }
}

fn folded(frame: &Frame) -> bool {
    frame.kind != FrameKind::User
}

fn write_fold(f: &mut fmt::Formatter<'_>, run: &[Frame]) -> fmt::Result {
    let mut owners: Vec<&str> = Vec::new();
    for frame in run {
        let owner = frame.owner.as_deref().unwrap_or("unknown code");
        if !owners.contains(&owner) {
            owners.push(owner);
        }
    }
    let named = &owners[..owners.len().min(OWNERS_NAMED)];
    let plural = if run.len() == 1 { "" } else { "s" };
    write!(f, "… {} frame{plural} of {}", run.len(), named.join(", "))?;
    if owners.len() > OWNERS_NAMED {
        f.write_str(" and others")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(function: &str, file: &str, line: u32) -> Frame {
        Frame::native(Some(function), Some(file), Some(line))
    }

    fn tokio(function: &str) -> Frame {
        let file = "/home/me/.cargo/registry/src/index-1949cf8c6b5b557f/tokio-1.54.1/src/runtime/task/raw.rs";
        Frame::native(Some(function), Some(file), Some(3))
    }

    fn std() -> Frame {
        let file = "/rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/std/src/rt.rs";
        Frame::native(Some("std::rt::lang_start"), Some(file), Some(9))
    }

    #[test]
    fn a_frame_shows_as_much_as_is_known() {
        assert_eq!(
            user("app::orders::process", "src/orders.rs", 42).to_string(),
            "app::orders::process (src/orders.rs:42)"
        );
        assert_eq!(Frame::native(None, Some("src/orders.rs"), Some(42)).to_string(), "src/orders.rs:42");
        assert_eq!(Frame::native(Some("app::f"), None, None).to_string(), "app::f");
        assert_eq!(Frame::native(Some("app::f"), Some("a.rs"), Some(0)).to_string(), "app::f (a.rs)");
        assert_eq!(Frame::unknown().to_string(), "unknown");
    }

    #[test]
    fn user_frames_are_listed_and_the_others_folded() {
        let library = Frame::native(Some("leakpool::pool::Pool::acquire"), None, None);
        let frames = vec![
            library.clone(),
            tokio("tokio::time::timeout"),
            user("app::a", "src/a.rs", 1),
            std(),
            user("app::b", "src/b.rs", 2),
            tokio("tokio::x"),
            tokio("tokio::y"),
            std(),
            Frame::unknown(),
            library,
        ];
        let site = ResolvedSite::new(None, frames);
        assert_eq!(
            site.to_string(),
            "app::a (src/a.rs:1)\n… 1 frame of std\napp::b (src/b.rs:2)\n\
             … 5 frames of tokio, std, unknown code and others"
        );
        assert_eq!(site.culprit, user("app::a", "src/a.rs", 1));
        assert_eq!(site.frames.len(), 10, "folding hides nothing from who looks at the frames");
        assert_eq!(ResolvedSite::new(None, vec![std(), std()]).to_string(), "… 2 frames of std");
        assert_eq!(ResolvedSite::new(None, Vec::new()).culprit, Frame::unknown());
    }

    #[test]
    fn the_call_site_is_the_culprit_and_borrows_its_function_from_the_stack() {
        let frames = vec![
            user("app::db::helper", "/home/me/app/src/db.rs", 7),
            user("app::orders::process::{closure#0}", "/home/me/app/src/orders.rs", 44),
            user("app::main", "/home/me/app/src/main.rs", 3),
            user("other::f", "/home/me/other/src/lib.rs", 3),
        ];
        let site = ResolvedSite::new(Some(("src/orders.rs", 42)), frames.clone());
        assert_eq!(site.culprit.to_string(), "app::orders::process (src/orders.rs:42)");
        let shown = "app::db::helper (src/db.rs:7)\napp::orders::process (src/orders.rs:44)\n\
                     app::main (src/main.rs:3)\nother::f (/home/me/other/src/lib.rs:3)";
        assert_eq!(site.to_string(), shown);
        let unmatched = ResolvedSite::new(Some(("rders.rs", 42)), frames.clone());
        assert_eq!(unmatched.culprit.to_string(), "rders.rs:42", "half a file name is no match");
        let foreign = "/home/me/.cargo/registry/src/x/wrapper-0.2.0/src/lib.rs";
        let wrapped = ResolvedSite::new(Some((foreign, 1)), frames);
        assert_eq!(wrapped.culprit.line, Some(7), "somebody else's wrapper is not to blame");
        let bare = ResolvedSite::new(Some((foreign, 1)), Vec::new());
        assert_eq!(bare.culprit.to_string(), "wrapper-0.2.0/src/lib.rs:1");
    }

    #[test]
    fn the_way_through_the_scheduler_does_not_change_the_fingerprint() {
        let site =
            |runtime| ResolvedSite::new(None, vec![user("app::a", "a.rs", 1), tokio(runtime)]).fingerprint();
        assert_eq!(site("tokio::first_poll"), site("tokio::later_poll"));
        let other = ResolvedSite::new(None, vec![user("app::a", "a.rs", 2)]).fingerprint();
        assert_ne!(site("tokio::first_poll"), other);
    }
}
