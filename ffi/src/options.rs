//! `leakpool_options`: every option of the core's table as a field. The table itself, the defaults and the rules are
//! the core's; a test compares the fields with the table.

use std::ffi::c_char;
use std::ptr;
use std::time::Duration;

use leakpool::{
    ForceReleaseWhen, Names, OptionKind, OptionSpec, OptionValue, Reset, Result, Settings, SqlText,
    StackCapture, StatementCache,
};

use crate::boundary::{check_size, get, give_sized, invalid, text};
use crate::error::{guard, leakpool_error, leakpool_status};

/// For max_held_ms: 10 times leak_threshold_ms.
pub const LEAKPOOL_AUTO: u64 = u64::MAX;
/// The room for a pool's name, its NUL included.
pub const LEAKPOOL_NAME_SIZE: usize = 64;

/// The options of a pool or of a detector. Fill it with leakpool_options_init(), then change what you like. Plain
/// data: nothing in it has to be freed, and it may be gone once the call that takes it has returned. Durations are in
/// milliseconds; 0 turns off what can be turned off.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct leakpool_options {
    /// sizeof(leakpool_options); set by leakpool_options_init().
    pub struct_size: usize,
    /// The most connections, 1 to 65,535. 10 unless set.
    pub max_size: u64,
    /// Connections kept warm. 0 unless set.
    pub min_idle: u64,
    /// A connection is closed after that many checkouts; 0 (unless set) = no limit.
    pub max_uses: u64,
    /// So many acquires may wait for a connection; one more fails at once. 0 (unless set) = no limit.
    pub max_waiting: u64,
    /// The longest wait of an acquire; 0 = for ever. 30,000 unless set.
    pub acquire_timeout_ms: u64,
    /// An idle connection is closed after that long; 0 = never. 600,000 unless set.
    pub idle_timeout_ms: u64,
    /// A connection is not handed out again after that long; 0 = no limit. 3,600,000 unless set.
    pub max_lifetime_ms: u64,
    /// How long leakpool_pool_close() waits for holders that look honest; 0 = not at all. 30,000 unless set.
    pub close_timeout_ms: u64,
    /// A released session that is not clean by then is closed. 5,000 unless set.
    pub reset_timeout_ms: u64,
    /// Unused for that long = suspected; 0 turns detection off. 30,000 unless set.
    pub leak_threshold_ms: u64,
    /// The longest time between two looks at utilization. 5,000 unless set.
    pub check_interval_ms: u64,
    /// Held that long, being used now and then no longer excuses; 0 = never. LEAKPOOL_AUTO unless set.
    pub max_held_ms: u64,
    /// Unused for that long = taken back; 0 = never. 300,000 unless set.
    pub force_release_after_ms: u64,
    /// The event LEAKPOOL_EVENT_UTILIZATION fires at this share of max_size in use, 0.0 to 1.0; 0 = never. 0.8
    /// unless set.
    pub utilization_warning: f64,
    /// LEAKPOOL_EVENT_LEAKS_DETECTED fires when that many are flagged at once; 0 = never. 3 unless set.
    pub max_leaks_before_alert: u32,
    /// The most stack frames that are recorded, 1 to 128. 32 unless set.
    pub stack_depth: u32,
    /// 1: take back a checkout whose one statement has run for force_release_after_ms, too. 0 unless set.
    pub force_release_busy: i32,
    /// A leakpool_force_release_when. LEAKPOOL_WHEN_DUE unless set.
    pub force_release_when: i32,
    /// 1 (unless set): repeated SQL is prepared once per connection, unless a connection pooler stands between. 0: never.
    /// 2: always.
    pub statement_cache: i32,
    /// A leakpool_reset. LEAKPOOL_RESET_ROLLBACK unless set.
    pub reset: i32,
    /// A leakpool_stack_capture. LEAKPOOL_STACK_FULL unless set.
    pub stack_capture: i32,
    /// A leakpool_sql_text. LEAKPOOL_SQL_FULL unless set.
    pub sql_text: i32,
    /// The pool's name, at most 63 bytes, in application_name, events and metrics. Empty (unless set): pool-1, pool-2
    /// and so on.
    pub name: [c_char; LEAKPOOL_NAME_SIZE],
}

/// Milliseconds, rounded up: what is on must not turn into 0, which is off.
fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX - 1)
}

fn number_of(words: &[&str], word: &str) -> i32 {
    words.iter().position(|w| *w == word).and_then(|n| i32::try_from(n).ok()).unwrap_or(0)
}

/// The word of a choice; for a number that has none, the number itself, about which the core then complains.
fn word_of(words: &[&'static str], number: i32) -> OptionValue {
    match usize::try_from(number).ok().and_then(|n| words.get(n)) {
        Some(word) => OptionValue::Text((*word).into()),
        None => OptionValue::Integer(number.into()),
    }
}

fn flag_of(number: i32) -> OptionValue {
    match number {
        0 => OptionValue::Bool(false),
        1 => OptionValue::Bool(true),
        other => OptionValue::Integer(other.into()),
    }
}

fn statement_cache_of(number: i32) -> OptionValue {
    match number {
        1 => OptionValue::Text(StatementCache::Auto.name().into()),
        2 => OptionValue::Bool(true),
        other => flag_of(other),
    }
}

impl leakpool_options {
    pub(crate) fn of(settings: &Settings) -> leakpool_options {
        let (pool, leak) = (&settings.pool, &settings.leak);
        let mut name = [0; LEAKPOOL_NAME_SIZE];
        let bytes = pool.name.as_deref().unwrap_or_default().bytes();
        for (to, from) in name.iter_mut().zip(bytes).take(LEAKPOOL_NAME_SIZE - 1) {
            *to = from as c_char;
        }
        leakpool_options {
            struct_size: size_of::<leakpool_options>(),
            max_size: pool.max_size as u64,
            min_idle: pool.min_idle as u64,
            max_uses: pool.max_uses,
            max_waiting: pool.max_waiting as u64,
            acquire_timeout_ms: millis(pool.acquire_timeout),
            idle_timeout_ms: millis(pool.idle_timeout),
            max_lifetime_ms: millis(pool.max_lifetime),
            close_timeout_ms: millis(pool.close_timeout),
            reset_timeout_ms: millis(pool.reset_timeout),
            leak_threshold_ms: millis(leak.leak_threshold),
            check_interval_ms: millis(leak.check_interval),
            max_held_ms: leak.max_held.map_or(LEAKPOOL_AUTO, millis),
            force_release_after_ms: millis(leak.force_release_after),
            utilization_warning: leak.utilization_warning,
            max_leaks_before_alert: leak.max_leaks_before_alert,
            stack_depth: u32::try_from(leak.stack_depth).unwrap_or(u32::MAX),
            force_release_busy: leak.force_release_busy.into(),
            force_release_when: number_of(ForceReleaseWhen::NAMES, leak.force_release_when.name()),
            statement_cache: match pool.statement_cache {
                StatementCache::Off => 0,
                StatementCache::Auto => 1,
                StatementCache::On => 2,
            },
            reset: number_of(Reset::NAMES, pool.reset.name()),
            stack_capture: number_of(StackCapture::NAMES, leak.stack_capture.name()),
            sql_text: number_of(SqlText::NAMES, leak.sql_text.name()),
            name,
        }
    }

    /// Every field as the core's table takes it, but for those that are not set.
    fn values(&self) -> Vec<(&'static str, OptionValue)> {
        let integer = |n: u64| OptionValue::Integer(i64::try_from(n).unwrap_or(i64::MAX));
        let millis = |n: u64| OptionValue::Millis(n as f64);
        let mut values = vec![
            ("max_size", integer(self.max_size)),
            ("min_idle", integer(self.min_idle)),
            ("max_uses", integer(self.max_uses)),
            ("max_waiting", integer(self.max_waiting)),
            ("acquire_timeout", millis(self.acquire_timeout_ms)),
            ("idle_timeout", millis(self.idle_timeout_ms)),
            ("max_lifetime", millis(self.max_lifetime_ms)),
            ("close_timeout", millis(self.close_timeout_ms)),
            ("reset_timeout", millis(self.reset_timeout_ms)),
            ("leak_threshold", millis(self.leak_threshold_ms)),
            ("check_interval", millis(self.check_interval_ms)),
            ("force_release_after", millis(self.force_release_after_ms)),
            ("utilization_warning", OptionValue::Number(self.utilization_warning)),
            ("max_leaks_before_alert", integer(self.max_leaks_before_alert.into())),
            ("stack_depth", integer(self.stack_depth.into())),
            ("force_release_busy", flag_of(self.force_release_busy)),
            ("force_release_when", word_of(ForceReleaseWhen::NAMES, self.force_release_when)),
            ("statement_cache", statement_cache_of(self.statement_cache)),
            ("reset", word_of(Reset::NAMES, self.reset)),
            ("stack_capture", word_of(StackCapture::NAMES, self.stack_capture)),
            ("sql_text", word_of(SqlText::NAMES, self.sql_text)),
        ];
        if self.max_held_ms != LEAKPOOL_AUTO {
            values.push(("max_held", millis(self.max_held_ms)));
        }
        values
    }

    pub(crate) fn settings(&self) -> Result<Settings> {
        let mut settings = Settings::defaults(Names::Core);
        for (name, value) in self.values() {
            settings.set(Names::Core, name, value)?;
        }
        let bytes: Vec<u8> = self.name.iter().map(|c| *c as u8).take_while(|byte| *byte != 0).collect();
        if bytes.len() == LEAKPOOL_NAME_SIZE {
            return Err(invalid("name", "must end with a NUL"));
        }
        if !bytes.is_empty() {
            let name = String::from_utf8(bytes).map_err(|_| invalid("name", "is not valid UTF-8"))?;
            settings.set(Names::Core, "name", OptionValue::Text(name))?;
        }
        Ok(settings)
    }
}

/// The options of C, its size checked before anything else of it is read.
///
/// # Safety
/// `options` is NULL or points to a struct of the size that its first field says.
pub(crate) unsafe fn read(options: *const leakpool_options) -> Result<leakpool_options> {
    // SAFETY: whatever the size is, its first field is there.
    let size = unsafe { get("options", options.cast::<usize>()) }?;
    check_size("options", *size, size_of::<leakpool_options>())?;
    // SAFETY: it is of the size that we know, and every bit pattern is a value of each field.
    Ok(unsafe { ptr::read(options) })
}

/// The same, where NULL means all defaults.
///
/// # Safety
/// As for [`read`].
pub(crate) unsafe fn settings_or_default(options: *const leakpool_options) -> Result<Settings> {
    if options.is_null() {
        return Ok(Settings::defaults(Names::Core));
    }
    // SAFETY: the caller's promise.
    unsafe { read(options) }?.settings()
}

/// A text as the kind of value that its option takes.
pub(crate) fn parsed(name: &str, value: &str) -> Result<OptionValue> {
    let spec = OptionSpec::named(Names::Core, name)?;
    Ok(match (spec.kind, value.trim().parse::<i64>(), value.trim().parse::<f64>()) {
        (OptionKind::Integer, Ok(n), _) => OptionValue::Integer(n),
        (OptionKind::Integer | OptionKind::Share, _, Ok(n)) => OptionValue::Number(n),
        _ => OptionValue::Text(value.to_owned()),
    })
}

/// Fills options with their defaults. struct_size is sizeof(leakpool_options): a program that was compiled with an
/// older header tells so by it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_options_init(
    options: *mut leakpool_options,
    struct_size: usize,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        let defaults = leakpool_options::of(&Settings::defaults(Names::Core));
        // SAFETY: as the header says.
        unsafe { give_sized("options", options, struct_size, &defaults) }
    })
}

/// Sets one option by its name in the documentation, from a text as a configuration file has it: ("leak_threshold",
/// "45 s"), ("max_size", "20"), ("reset", "session"), ("force_release_busy", "true"). Durations have a unit: ms, s,
/// min or h. A name that does not exist is answered with the nearest that does. On failure nothing is changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_options_set(
    options: *mut leakpool_options,
    name: *const c_char,
    value: *const c_char,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let (given, name, value) = unsafe { (read(options)?, text("name", name)?, text("value", value)?) };
        let mut settings = given.settings()?;
        settings.set(Names::Core, name, parsed(name, value)?)?;
        // A name that does not fit into the struct must not be cut.
        settings.pool.validate().or_else(|e| if name == "name" { Err(e) } else { Ok(()) })?;
        // SAFETY: `read` has checked the pointer and the size.
        unsafe { options.write(leakpool_options::of(&settings)) };
        Ok(())
    })
}

/// Checks every option and what they mean together, as making a pool does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_options_validate(
    options: *const leakpool_options,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    // SAFETY: as the header says.
    guard!(error, unsafe { read(options) }?.settings()?.validate())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enums::{
        leakpool_force_release_when, leakpool_reset, leakpool_sql_text, leakpool_stack_capture,
    };
    use leakpool::OPTIONS;

    #[test]
    fn every_option_of_the_table_has_its_field_and_comes_back_as_it_was() {
        let mut all = leakpool_options::of(&Settings::default());
        all.max_held_ms = 400_000;
        let mut named: Vec<_> = all.values().into_iter().map(|(name, _)| name).collect();
        named.push("name");
        for option in OPTIONS {
            assert!(named.contains(&option.name), "{} has no field", option.name);
        }
        assert_eq!(named.len(), OPTIONS.len());

        let changed = [
            ("max_size", "7"),
            ("min_idle", "2"),
            ("max_uses", "9"),
            ("max_waiting", "6"),
            ("acquire_timeout", "1 s"),
            ("idle_timeout", "2 s"),
            ("max_lifetime", "3 s"),
            ("close_timeout", "4 s"),
            ("reset_timeout", "5 ms"),
            ("leak_threshold", "6 s"),
            ("check_interval", "7 s"),
            ("max_held", "8 s"),
            ("force_release_after", "9 s"),
            ("utilization_warning", "0.5"),
            ("max_leaks_before_alert", "4"),
            ("stack_depth", "5"),
            ("force_release_busy", "true"),
            ("force_release_when", "exhausted"),
            ("statement_cache", "false"),
            ("reset", "session"),
            ("stack_capture", "off"),
            ("sql_text", "fingerprint"),
            ("name", "orders"),
        ];
        assert_eq!(changed.len(), OPTIONS.len());
        let mut settings = Settings::default();
        for (name, value) in changed {
            let before = settings.get(Names::Core, name).unwrap();
            settings.set(Names::Core, name, parsed(name, value).unwrap()).unwrap();
            assert_ne!(settings.get(Names::Core, name).unwrap(), before, "{name} was not changed");
        }
        assert_eq!(leakpool_options::of(&settings).settings().unwrap(), settings);
        assert_eq!(leakpool_options::of(&Settings::default()).settings().unwrap(), Settings::default());
    }

    #[test]
    fn choices_have_the_cores_order() {
        assert_eq!(
            ForceReleaseWhen::NAMES[leakpool_force_release_when::LEAKPOOL_WHEN_EXHAUSTED as usize],
            "exhausted"
        );
        assert_eq!(StackCapture::NAMES[leakpool_stack_capture::LEAKPOOL_STACK_SITE as usize], "site");
        assert_eq!(StackCapture::NAMES[leakpool_stack_capture::LEAKPOOL_STACK_OFF as usize], "off");
        assert_eq!(SqlText::NAMES[leakpool_sql_text::LEAKPOOL_SQL_FINGERPRINT as usize], "fingerprint");
        assert_eq!(SqlText::NAMES[leakpool_sql_text::LEAKPOOL_SQL_OFF as usize], "off");
        assert_eq!(Reset::NAMES[leakpool_reset::LEAKPOOL_RESET_NONE as usize], "none");
        assert_eq!(Reset::NAMES[leakpool_reset::LEAKPOOL_RESET_SESSION as usize], "session");
        for (names, variants) in
            [(ForceReleaseWhen::NAMES, 2), (StackCapture::NAMES, 3), (SqlText::NAMES, 3), (Reset::NAMES, 3)]
        {
            assert_eq!(names.len(), variants);
        }
    }

    #[test]
    fn a_choice_or_flag_that_does_not_exist_is_named() {
        let mut options = leakpool_options::of(&Settings::default());
        options.reset = 77;
        let text = options.settings().unwrap_err().to_string();
        assert_eq!(text, "reset (77) must be one of rollback, none, session");
        options.reset = 0;
        options.statement_cache = 3;
        assert_eq!(options.settings().unwrap_err().to_string(), "statement_cache (3) must be true or false");
        for (number, meant) in [(0, StatementCache::Off), (1, StatementCache::Auto), (2, StatementCache::On)]
        {
            options.statement_cache = number;
            assert_eq!(options.settings().unwrap().pool.statement_cache, meant);
        }
    }
}
