//! How to step over one frame: the rule that the module's own unwind tables (`.eh_frame`) give for an address.
//!
//! Only lookups that no cache could answer come here (about a microsecond each). Everything is read inside the
//! callback of `dl_iterate_phdr`, whose lock keeps the module mapped meanwhile; so nothing here may allocate, touch
//! a thread-local, take another lock, or keep a reference to what it saw.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, NativeEndian, Pointer, Register, RegisterRule,
    UnwindContext, UnwindContextStorage, UnwindSection, UnwindTableRow,
};

#[cfg(target_arch = "x86_64")]
const SP: Register = gimli::X86_64::RSP;
#[cfg(target_arch = "x86_64")]
const FP: Register = gimli::X86_64::RBP;
#[cfg(target_arch = "aarch64")]
const SP: Register = gimli::AArch64::SP;
#[cfg(target_arch = "aarch64")]
const FP: Register = gimli::AArch64::X29;

/// What to do at an address. Fits into 64 bits ([`Rule::pack`]), so that a cache can hold it in one atomic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// The caller's frame is at `cfa`; its return address and its frame pointer are stored relative to that.
    Step(Step),
    /// The outermost frame: nobody called it.
    End,
    /// Real, but beyond this unwinder (a signal frame, a DWARF expression): leave the stack to the general one.
    Foreign,
}

/// All offsets in words of eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// The canonical frame address counts from the frame pointer instead of the stack pointer.
    pub(super) from_fp: bool,
    pub(super) cfa: i32,
    /// Where the return address is, relative to the frame address; [`KEPT`]: still in its register.
    pub(super) ra: i16,
    /// Where the caller's frame pointer is, relative to the frame address; [`KEPT`]: still in its register.
    pub(super) fp: i16,
}

pub(super) const KEPT: i16 = i16::MIN;

impl Rule {
    /// Two bits of kind, then ra (16), fp (16) and cfa (24). Never zero.
    pub(super) fn pack(self) -> u64 {
        match self {
            Rule::Foreign => 1,
            Rule::End => 2,
            Rule::Step(s) => {
                let kind = if s.from_fp { 4 } else { 3 };
                kind | u64::from(s.ra as u16) << 8 | u64::from(s.fp as u16) << 24 | (s.cfa as u64) << 40
            }
        }
    }

    #[inline]
    pub(super) fn unpack(word: u64) -> Rule {
        match word & 0xff {
            kind @ (3 | 4) => Rule::Step(Step {
                from_fp: kind == 4,
                cfa: ((word as i64) >> 40) as i32,
                ra: (word >> 8) as u16 as i16,
                fp: (word >> 24) as u16 as i16,
            }),
            2 => Rule::End,
            _ => Rule::Foreign,
        }
    }
}

/// What one look at the loaded modules found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// How many modules were unloaded so far: rules of an unloaded module must not outlive it.
    pub(super) unloads: u64,
    /// The rule, or `None` if no loaded module contains the address.
    pub(super) rule: Option<Rule>,
}

struct Search {
    /// Zero: only count unloads.
    address: usize,
    found: Found,
}

/// The rule for `address`, which lies in the instruction itself, not after it (return addresses minus one).
pub(super) fn rule_for(address: usize) -> Found {
    let mut search = Search { address, found: Found { unloads: 0, rule: None } };
    // SAFETY: `visit` has the type that dl_iterate_phdr calls, and `search` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut search).cast::<c_void>()) };
    search.found
}

/// How many modules were unloaded from this process so far.
pub(super) fn unloads() -> u64 {
    rule_for(0).unloads
}

unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, size: usize, data: *mut c_void) -> c_int {
    // SAFETY: `data` is the `Search` that `rule_for` passed, used by nobody else during the call; `info` is the
    // loader's record of one module, valid during the callback.
    let (search, info) = unsafe { (&mut *data.cast::<Search>(), &*info) };
    if size >= std::mem::offset_of!(libc::dl_phdr_info, dlpi_subs) + size_of_val(&info.dlpi_subs) {
        search.found.unloads = info.dlpi_subs;
    }
    if search.address == 0 {
        return 1;
    }
    // SAFETY: the loader's program headers are mapped while the module is, and the callback holds it.
    let Some(module) = (unsafe { Module::containing(info, search.address) }) else { return 0 };
    // The tables may be damaged: whatever goes wrong here makes the frame foreign.
    let rule = catch_unwind(AssertUnwindSafe(|| module.rule(search.address)));
    search.found.rule = Some(rule.unwrap_or(Rule::Foreign));
    1
}

/// A loaded module, as far as its unwind tables go. Borrowed from the loader for the length of a callback.
struct Module<'a> {
    headers: &'a [libc::Elf64_Phdr],
    base: usize,
}

impl<'a> Module<'a> {
    /// # Safety
    /// `info` must come from a `dl_iterate_phdr` callback that is still running.
    unsafe fn containing(info: &'a libc::dl_phdr_info, address: usize) -> Option<Module<'a>> {
        if info.dlpi_phdr.is_null() {
            return None;
        }
        // SAFETY: the loader says that there are that many headers, mapped while the callback runs.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        let module = Module { headers, base: info.dlpi_addr as usize };
        module.mapped(address).is_some().then_some(module)
    }

    /// The bytes from `address` to the end of the readable segment that holds it.
    fn mapped(&self, address: usize) -> Option<&'a [u8]> {
        self.headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_R != 0).find_map(
            |h| {
                let start = self.base.wrapping_add(h.p_vaddr as usize);
                let offset = address.checked_sub(start)?;
                let left = (h.p_memsz as usize).checked_sub(offset)?;
                // SAFETY: a readable segment of a module that the running callback keeps mapped. What is read of it
                // here are its headers and tables, which nobody writes after relocation.
                (left > 0).then(|| unsafe { std::slice::from_raw_parts(address as *const u8, left) })
            },
        )
    }

    fn rule(&self, address: usize) -> Rule {
        match self.row(address as u64) {
            Ok(rule) => rule,
            // Covered by no table entry: code that never returns to anybody (the loader's or libc's start code).
            Err(gimli::Error::NoUnwindInfoForAddress) => Rule::End,
            Err(_) => Rule::Foreign,
        }
    }

    fn row(&self, address: u64) -> gimli::Result<Rule> {
        let missing = gimli::Error::NoUnwindInfoForAddress;
        let header = self.headers.iter().find(|h| h.p_type == libc::PT_GNU_EH_FRAME).ok_or(missing)?;
        let header_at = self.base.wrapping_add(header.p_vaddr as usize);
        let data = self.mapped(header_at).ok_or(missing)?;
        let bases = BaseAddresses::default().set_eh_frame_hdr(header_at as u64);
        let parsed = EhFrameHdr::new(data, NativeEndian).parse(&bases, 8)?;

        let Pointer::Direct(tables_at) = parsed.eh_frame_ptr() else { return Ok(Rule::Foreign) };
        let data = self.mapped(tables_at as usize).ok_or(missing)?;
        let bases = bases.set_eh_frame(tables_at);
        let mut tables = EhFrame::new(data, NativeEndian);
        tables.set_address_size(8);
        #[cfg(target_arch = "aarch64")]
        tables.set_vendor(gimli::Vendor::AArch64);

        let Some(index) = parsed.table() else { return Ok(Rule::Foreign) };
        let Pointer::Direct(entry_at) = index.lookup(address, &bases)? else { return Ok(Rule::Foreign) };
        let offset = entry_at.checked_sub(tables_at).ok_or(missing)? as usize;
        let entry = tables.fde_from_offset(&bases, offset.into(), EhFrame::cie_from_offset)?;
        if !entry.contains(address) {
            return Err(missing);
        }
        if entry.is_signal_trampoline() {
            return Ok(Rule::Foreign);
        }
        let ra = entry.cie().return_address_register();
        let mut context = UnwindContext::<usize, Inline>::new_in();
        let row = entry.unwind_info_for_address(&tables, &bases, &mut context, address)?;
        Ok(translate(row, ra))
    }
}

fn translate(row: &UnwindTableRow<usize, Inline>, ra: Register) -> Rule {
    let (from_fp, cfa) = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } if *register == SP => (false, *offset),
        CfaRule::RegisterAndOffset { register, offset } if *register == FP => (true, *offset),
        _ => return Rule::Foreign,
    };
    let ra = match row.register(ra) {
        Some(RegisterRule::Offset(at)) => words(at),
        Some(RegisterRule::Undefined) => return Rule::End,
        // On x86_64 a return address is always on the stack: without a place for it the frame is the outermost.
        None | Some(RegisterRule::SameValue) if cfg!(target_arch = "x86_64") => return Rule::End,
        None | Some(RegisterRule::SameValue) => Some(KEPT),
        Some(_) => None,
    };
    let fp = match row.register(FP) {
        Some(RegisterRule::Offset(at)) => words(at),
        None | Some(RegisterRule::SameValue | RegisterRule::Undefined) => Some(KEPT),
        Some(_) => None,
    };
    match (ra, fp) {
        (Some(ra), Some(fp)) if cfa % 8 == 0 && (cfa / 8).unsigned_abs() < 1 << 23 => {
            Rule::Step(Step { from_fp, cfa: (cfa / 8) as i32, ra, fp })
        }
        _ => Rule::Foreign,
    }
}

/// An offset in bytes as words, if it is one that a [`Step`] can hold.
fn words(bytes: i64) -> Option<i16> {
    i16::try_from(bytes / 8).ok().filter(|w| *w != KEPT && bytes % 8 == 0)
}

/// Room for gimli on our own stack, since allocating is not allowed here.
struct Inline;

impl UnwindContextStorage<usize> for Inline {
    type Rules = [(Register, RegisterRule<usize>); 40];
    type Stack = [UnwindTableRow<usize, Inline>; 4];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_rule_comes_back_the_same() {
        let steps =
            [(0, -1, KEPT), (2, -1, -2), ((1 << 23) - 1, i16::MAX, i16::MIN + 1), (-(1 << 23) + 1, 3, 4)];
        for (cfa, ra, fp) in steps {
            for from_fp in [false, true] {
                let rule = Rule::Step(Step { from_fp, cfa, ra, fp });
                assert_eq!(Rule::unpack(rule.pack()), rule);
                assert_ne!(rule.pack(), 0);
            }
        }
        assert_eq!(Rule::unpack(Rule::End.pack()), Rule::End);
        assert_eq!(Rule::unpack(Rule::Foreign.pack()), Rule::Foreign);
    }

    #[test]
    fn code_has_a_rule_and_data_elsewhere_has_none() {
        let here = code_has_a_rule_and_data_elsewhere_has_none as *const () as usize;
        assert!(matches!(rule_for(here + 1).rule, Some(Rule::Step(_))));
        let heap = Box::new(0u64);
        assert_eq!(rule_for(&raw const *heap as usize).rule, None);
        assert_eq!(rule_for(usize::MAX).rule, None);
        assert_eq!(rule_for(1).rule, None);
    }
}
