//! The walk itself: registers, the bounds of the thread's stack, the shared cache of rules, one step after another.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};

use super::cfi::{self, KEPT, Rule};

/// What a walk starts from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Registers {
    pc: usize,
    sp: usize,
    fp: usize,
    /// Only where calls leave the return address in a register.
    link: usize,
}

impl Registers {
    /// The registers of the function that this is inlined into.
    #[inline(always)]
    pub(super) fn read() -> Registers {
        let (pc, sp, fp, link): (usize, usize, usize, usize);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: copies three registers; touches neither memory, stack nor flags.
        unsafe {
            std::arch::asm!(
                "lea {pc}, [rip]", "mov {sp}, rsp", "mov {fp}, rbp",
                pc = out(reg) pc, sp = out(reg) sp, fp = out(reg) fp,
                options(nomem, nostack, preserves_flags)
            );
            link = 0;
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: copies four registers; touches neither memory, stack nor flags.
        unsafe {
            std::arch::asm!(
                "adr {pc}, .", "mov {sp}, sp", "mov {fp}, x29", "mov {link}, x30",
                pc = out(reg) pc, sp = out(reg) sp, fp = out(reg) fp, link = out(reg) link,
                options(nomem, nostack, preserves_flags)
            );
        }
        Registers { pc, sp, fp, link }
    }
}

/// User addresses that a rule can be kept for; the bits above carry the count of unloads.
const ADDRESS_BITS: u32 = 48;
const ADDRESS_MASK: usize = (1 << ADDRESS_BITS) - 1;

/// `None`: this walk cannot follow that stack; what stands in `frames` then means nothing.
#[inline]
pub(super) fn walk(registers: Registers, frames: &mut [usize]) -> Option<usize> {
    let Registers { pc, mut sp, mut fp, mut link } = registers;
    let (low, high) = stack_of_this_thread();
    if !(low..high).contains(&sp) || pc & !ADDRESS_MASK != 0 {
        return None;
    }
    let lowest = sp;
    let word_at = |address: usize| -> Option<usize> {
        if address < lowest || address > high - 8 || !address.is_multiple_of(8) {
            return None;
        }
        // SAFETY: between our own stack pointer and the end of this thread's stack, aligned: that memory is mapped,
        // belongs to frames that are alive, and is only read as plain words.
        Some(unsafe { std::ptr::read_volatile(address as *const usize) })
    };
    let mut generation = UNLOADS.load(Ordering::Relaxed) << ADDRESS_BITS;
    // A return address stands behind its call, perhaps already in the next function: look one byte before it.
    let mut address = pc;
    let mut count = 0;
    while count < frames.len() {
        let rule = match lookup(address as u64 | generation) {
            Some(rule) => rule,
            None => {
                let rule = find(address)?;
                generation = UNLOADS.load(Ordering::Relaxed) << ADDRESS_BITS;
                rule
            }
        };
        let step = match rule {
            Rule::Step(step) => step,
            Rule::End => break,
            Rule::Foreign => return None,
        };
        let base = if step.from_fp { fp } else { sp };
        let cfa = base.wrapping_add_signed(step.cfa as isize * 8);
        // Frames only ever lie further up; a leaf whose return address is in a register may have no frame at all.
        if cfa > high || cfa < sp || (cfa == sp && (step.ra != KEPT || count > 0)) {
            return None;
        }
        let ra = match step.ra {
            KEPT if count == 0 => link,
            KEPT => break,
            at => word_at(cfa.wrapping_add_signed(isize::from(at) * 8))?,
        };
        if step.fp != KEPT {
            fp = word_at(cfa.wrapping_add_signed(isize::from(step.fp) * 8))?;
        }
        // Signed return addresses carry their signature in the upper bits.
        let ra = if cfg!(target_arch = "aarch64") { ra & ADDRESS_MASK } else { ra };
        if ra == 0 {
            break;
        }
        if ra & !ADDRESS_MASK != 0 {
            return None;
        }
        frames[count] = ra;
        count += 1;
        sp = cfa;
        link = ra;
        address = ra - 1;
    }
    Some(count)
}

/// Asks the modules for a rule and keeps it. `None`: the address belongs to no module.
#[cold]
#[inline(never)]
fn find(address: usize) -> Option<Rule> {
    let found = cfi::rule_for(address);
    UNLOADS.store(found.unloads & GENERATION_MASK, Ordering::Relaxed);
    if let Some(rule) = found.rule {
        keep(address as u64 | (found.unloads & GENERATION_MASK) << ADDRESS_BITS, rule);
    }
    found.rule
}

/// How many modules were unloaded when we last looked. Part of each key, so that a rule dies with the layout it
/// was made for. New modules do not matter: they cannot lie where a live one does, and misses are not kept.
static UNLOADS: AtomicU64 = AtomicU64::new(0);
const GENERATION_MASK: u64 = 0xffff;

/// A thread looks at the count every so many captures, since asking takes the loader's lock. Until then a rule of a
/// module that went away could misread a stack with the very same return address in a module loaded at the same
/// place: a wrong trace then, never a wrong access.
const CAPTURES_PER_LOOK: u32 = 32;

struct Stack {
    low: Cell<usize>,
    /// Zero: not asked yet. Equal to `low`: unknown, so that nothing lies inside.
    high: Cell<usize>,
    until_look: Cell<u32>,
}

thread_local! {
    // Without a destructor, so it is there until the very end of the thread.
    static STACK: Stack = const { Stack { low: Cell::new(0), high: Cell::new(0), until_look: Cell::new(0) } };
}

#[inline]
fn stack_of_this_thread() -> (usize, usize) {
    STACK.with(|stack| {
        match stack.until_look.get() {
            0 => look(stack),
            left => stack.until_look.set(left - 1),
        }
        (stack.low.get(), stack.high.get())
    })
}

#[cold]
#[inline(never)]
fn look(stack: &Stack) {
    stack.until_look.set(CAPTURES_PER_LOOK - 1);
    UNLOADS.store(cfi::unloads() & GENERATION_MASK, Ordering::Relaxed);
    if stack.high.get() == 0 {
        let (low, high) = bounds().unwrap_or((1, 1));
        stack.low.set(low);
        stack.high.set(high);
    }
}

/// Where the stack of this thread lies. On the main thread this reads `/proc/self/maps`, hence once.
fn bounds() -> Option<(usize, usize)> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: asks about the calling thread itself; fills `attributes` if it says 0.
    if unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) } != 0 {
        return None;
    }
    let (mut low, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: `attributes` was filled above; it is read, then destroyed once.
    let told = unsafe {
        let told = libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut low, &raw mut size);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        told
    };
    let (low, high) = (low as usize, (low as usize).checked_add(size)?);
    (told == 0 && low >= 8 && size >= 8).then_some((low, high))
}

/// A rule and its key, in two words that need no lock: the first is the (mixed) key xor the rule, so that a pair torn
/// between two writers matches no key, and is a miss.
#[repr(align(64))]
struct Line {
    checks: [AtomicU64; WAYS],
    rules: [AtomicU64; WAYS],
}

const WAYS: usize = 4;
const LINES: usize = 1024;
/// 64 KiB for the process, touched as it fills. Four ways, so that addresses which share a line do not evict each other.
static CACHE: [Line; LINES] = [const {
    Line { checks: [const { AtomicU64::new(0) }; WAYS], rules: [const { AtomicU64::new(0) }; WAYS] }
}; LINES];

/// One-to-one, and spreads neighbouring addresses over all bits.
#[inline]
fn mix(key: u64) -> u64 {
    let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}

#[inline]
fn lookup(key: u64) -> Option<Rule> {
    let mixed = mix(key);
    let line = &CACHE[mixed as usize % LINES];
    for way in 0..WAYS {
        let rule = line.rules[way].load(Ordering::Relaxed);
        if line.checks[way].load(Ordering::Relaxed) ^ rule == mixed && rule != 0 {
            return Some(Rule::unpack(rule));
        }
    }
    None
}

fn keep(key: u64, rule: Rule) {
    let mixed = mix(key);
    let line = &CACHE[mixed as usize % LINES];
    let free = (0..WAYS).find(|way| line.rules[*way].load(Ordering::Relaxed) == 0);
    let way = free.unwrap_or((mixed >> 40) as usize % WAYS);
    let rule = rule.pack();
    line.rules[way].store(rule, Ordering::Relaxed);
    line.checks[way].store(mixed ^ rule, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn registers() -> Registers {
        std::hint::black_box(Registers::read())
    }

    #[test]
    fn a_stack_that_is_not_this_threads_own_is_not_read() {
        let real = registers();
        // Every word of it looks like a return address.
        let elsewhere = vec![real.pc; 4096];
        let middle = &raw const elsewhere[1024] as usize;
        let mut frames = [0; 16];
        assert_eq!(walk(Registers { sp: middle, fp: middle, ..real }, &mut frames), None);
        // From our own stack, but pointing out of it.
        let (_, high) = stack_of_this_thread();
        let past = walk(Registers { sp: high - 8, fp: high - 8, ..real }, &mut frames);
        assert!(past.is_none_or(|count| count == 0), "{past:?}");
        assert_eq!(walk(Registers { pc: middle, ..real }, &mut frames), None, "code in no module");
    }

    #[test]
    fn a_full_line_gives_way_and_never_answers_for_another_key() {
        let rule = Rule::End;
        let keys: Vec<u64> = (1u64..1 << 14).map(|n| n << 4 | 0xdead << ADDRESS_BITS).collect();
        for key in &keys {
            keep(*key, rule);
            assert_eq!(lookup(*key), Some(rule));
        }
        let kept = keys.iter().filter(|key| lookup(**key).is_some()).count();
        assert!(kept <= WAYS * LINES);
        assert_eq!(lookup(7 | 0xdead << ADDRESS_BITS), None);
    }
}
