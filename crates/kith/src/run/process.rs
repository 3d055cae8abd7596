//! What the process knows of itself and its host: memory, interrupts, time of day.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// Most memory held since the start or [`reset_peak`], bytes; none where the system does not tell.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Starts the peak anew, where the system lets it: otherwise an arm's peak is that of all arms so far.
pub(crate) fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Takes memory in small pages from here on, where the system knows others. Pages of 2 MiB make large cohorts faster; of a process that
/// holds a few megabytes on several threads they are most of its memory, untouched.
pub(crate) fn use_small_pages() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Whether the user asked to stop. The first Ctrl-C asks, the second ends the process with status 130.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// The process's interrupt; handlers are set at the first call. Where they cannot be set, Ctrl-C ends the process.
    pub(crate) fn catch() -> Self {
        static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
        let flag = FLAG.get_or_init(|| {
            let flag = Arc::new(AtomicBool::new(false));
            // Order matters: the shutdown looks at the flag before this same signal sets it.
            for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
                let armed = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag));
                if armed.is_ok() {
                    let _ = signal_hook::flag::register(signal, Arc::clone(&flag));
                }
            }
            flag
        });
        Self(Arc::clone(flag))
    }

    /// Asks, as Ctrl-C does.
    pub(crate) fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// What it is noted on.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Seconds since 1970-01-01, UTC.
pub(crate) fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// The host's name.
pub(crate) fn host() -> String {
    let named = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let named = named.or_else(|| std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok());
    named.map_or_else(|| "an unnamed host".to_owned(), |name| name.trim().to_owned())
}

/// The time of day, UTC, as `20260131T235959Z` and `2026-01-31T23:59:59Z`.
pub(crate) fn now() -> (String, String) {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    stamp(seconds)
}

fn stamp(seconds: u64) -> (String, String) {
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds % 86_400 / 3600, seconds % 3600 / 60, seconds % 60);
    (
        format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z"),
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"),
    )
}

/// Year, month and day of a day counted from 1970-01-01. Counts from March, so that leap days end a year.
const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leap_days_and_year_ends_are_dated_right() {
        assert_eq!(stamp(0).1, "1970-01-01T00:00:00Z");
        assert_eq!(stamp(951_782_399).1, "2000-02-28T23:59:59Z");
        assert_eq!(stamp(951_782_400).1, "2000-02-29T00:00:00Z");
        assert_eq!(stamp(1_798_761_599).0, "20261231T235959Z");
    }
}
