//! STUB replaced at merge.
use crate::config::StackCapture;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
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
pub struct SiteTable;
#[derive(Debug, Default)]
pub struct Site {
    pub(crate) acquired: AtomicU64,
    pub(crate) leaked: AtomicU64,
    pub(crate) recovered: AtomicU64,
    pub(crate) force_released: AtomicU64,
}
impl SiteTable {
    pub fn new() -> Self {
        SiteTable
    }
    pub fn capture(&self, _l: &'static Location<'static>, _m: StackCapture, _d: usize) -> SiteId {
        SiteId(0)
    }
    pub fn get(&self, _id: SiteId) -> Arc<Site> {
        Arc::default()
    }
    pub fn sites(&self) -> Vec<Arc<Site>> {
        vec![]
    }
}
impl Site {
    pub fn place(&self) -> String {
        String::new()
    }
}
