//! STUB replaced at merge.
use crate::config::StackCapture;
use parking_lot::Mutex;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SiteId(u32);
impl SiteId {
    pub(crate) fn from_u32(x: u32) -> Self {
        SiteId(x)
    }
    pub(crate) fn to_u32(self) -> u32 {
        self.0
    }
}
#[derive(Debug, Default)]
pub struct SiteTable(Mutex<Vec<Arc<Site>>>);
#[derive(Debug, Default)]
pub struct Site {
    pub(crate) acquired: AtomicU64,
    pub(crate) leaked: AtomicU64,
    pub(crate) recovered: AtomicU64,
    pub(crate) force_released: AtomicU64,
    frames: Vec<Frame>,
}
/// A frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// f
    pub function: Option<String>,
    /// f
    pub file: Option<String>,
    /// l
    pub line: Option<u32>,
}
impl Frame {
    pub(crate) fn host(function: &str, file: &str, line: u32) -> Frame {
        Frame { function: Some(function.into()), file: Some(file.into()), line: Some(line) }
    }
}
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = format!("{}:{}", self.file.as_deref().unwrap_or("?"), self.line.unwrap_or(0));
        match &self.function {
            Some(function) => write!(f, "{function} ({at})"),
            None => f.write_str(&at),
        }
    }
}
/// Resolved.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ResolvedSite {
    /// c
    pub culprit: Frame,
    /// f
    pub frames: Vec<Frame>,
}
impl fmt::Display for ResolvedSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, frame) in self.frames.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{frame}")?;
        }
        Ok(())
    }
}
impl SiteTable {
    pub fn new() -> Self {
        SiteTable::default()
    }
    pub fn capture(&self, l: &'static Location<'static>, _m: StackCapture, _d: usize) -> SiteId {
        self.capture_host(vec![Frame { function: None, file: Some(l.file().into()), line: Some(l.line()) }])
    }
    pub(crate) fn capture_host(&self, frames: Vec<Frame>) -> SiteId {
        let mut sites = self.0.lock();
        let at = sites.iter().position(|s| s.frames == frames).unwrap_or_else(|| {
            sites.push(Arc::new(Site { frames, ..Site::default() }));
            sites.len() - 1
        });
        sites[at].acquired.fetch_add(1, Ordering::Relaxed);
        SiteId(at as u32)
    }
    pub fn get(&self, id: SiteId) -> Arc<Site> {
        self.0.lock().get(id.0 as usize).cloned().unwrap_or_default()
    }
    pub fn sites(&self) -> Vec<Arc<Site>> {
        self.0.lock().clone()
    }
}
impl Site {
    pub fn place(&self) -> String {
        self.frames.first().map_or_else(
            || "unknown".into(),
            |f| format!("{}:{}", f.file.as_deref().unwrap_or("?"), f.line.unwrap_or(0)),
        )
    }
    pub fn resolve(&self) -> Arc<ResolvedSite> {
        Arc::new(ResolvedSite {
            culprit: self.frames.first().cloned().unwrap_or_default(),
            frames: self.frames.clone(),
        })
    }
}
