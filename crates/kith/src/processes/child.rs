//! Between a process and the one that started it.

use std::io::Read as _;
use std::process::{ChildStderr, ExitStatus};

use crate::run::Interrupt;

/// What is kept of a process's last words.
const LAST_WORDS: usize = 4096;

/// Asks this process to stop when its stdin ends: then the process that started it is gone, or wants it to.
pub(crate) fn stop_with_parent() {
    let interrupt = Interrupt::catch();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        let mut stdin = std::io::stdin().lock();
        loop {
            match stdin.read(&mut buffer) {
                Ok(1..) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
            }
        }
        interrupt.ask();
    });
}

/// Reads a process's stderr to its end: the last of it.
pub(crate) fn last_words(stderr: Option<ChildStderr>) -> String {
    let mut last = Vec::new();
    let mut chunk = [0; 1024];
    let Some(mut stderr) = stderr else { return String::new() };
    while let Ok(count @ 1..) = stderr.read(&mut chunk) {
        last.extend_from_slice(&chunk[..count]);
        last.drain(..last.len().saturating_sub(LAST_WORDS));
    }
    String::from_utf8_lossy(&last).trim().to_owned()
}

/// How a process ended that could not say why.
pub(crate) fn describe(what: &str, status: &std::io::Result<ExitStatus>, words: &str) -> String {
    let end = match status {
        Ok(status) => format!("{what} ended with {status}"),
        Err(error) => format!("{what} was lost: {error}"),
    };
    if words.is_empty() { end } else { format!("{end}\n{words}") }
}

/// Threads of one process of several: all threads together, and one at least.
pub(crate) fn share(threads: usize, processes: usize, place: usize) -> usize {
    (threads / processes + usize::from(place < threads % processes)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_divided_over_jobs_and_none_is_lost() {
        let shares = |threads, jobs| (0..jobs).map(|slot| share(threads, jobs, slot)).collect::<Vec<_>>();
        assert_eq!(shares(8, 3), [3, 3, 2]);
        assert_eq!(shares(4, 4), [1, 1, 1, 1]);
        assert_eq!(shares(2, 3), [1, 1, 1]);
    }
}
