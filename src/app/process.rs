//! What the system says of this process; on systems without `/proc` nothing.

use std::fs;

use crate::metrics::Process;

/// Ticks of a second in `/proc`: the same on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// Sets the figures of this process.
pub(super) fn measure(process: &Process) {
    if let Some(bytes) = line("/proc/self/status", "VmRSS:", 1) {
        process.resident_memory_bytes.set(bytes * 1024);
    }
    if let Some(most) = line("/proc/self/limits", "Max open files", 3) {
        process.max_fds.set(most);
    }
    if let Some(open) = open_fds() {
        process.open_fds.set(open);
    }
    if let Some(ticks) = cpu_ticks() {
        let used = process.cpu_seconds.inner();
        used.store((ticks as f64 / TICKS).to_bits(), std::sync::atomic::Ordering::Relaxed);
    }
}

/// The number that is the `at`th word of the line that begins with `start`.
fn line(file: &str, start: &str, at: usize) -> Option<i64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find(|line| line.starts_with(start))?.split_whitespace().nth(at)?.parse().ok()
}

/// Newer kernels say how many there are; else they are counted.
fn open_fds() -> Option<i64> {
    let said = fs::metadata("/proc/self/fd").ok()?.len();
    let count = if said > 0 { said } else { fs::read_dir("/proc/self/fd").ok()?.count() as u64 };
    i64::try_from(count).ok()
}

/// User and system time. The name, in brackets, may hold anything.
fn cpu_ticks() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let mut words = rest.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(not(target_os = "linux"), ignore = "there is no /proc")]
    fn the_system_says_how_this_process_is() {
        let process = Process::default();
        measure(&process);
        assert!(process.resident_memory_bytes.get() > 1 << 20, "more than a megabyte");
        assert!((3..=process.max_fds.get()).contains(&process.open_fds.get()), "the three that every process has");
        let files: Vec<_> = (0..500).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        measure(&process);
        assert!(process.open_fds.get() >= 500);
        let begun = process.cpu_seconds.get();
        while process.cpu_seconds.get() < begun + 0.02 {
            measure(&process);
        }
        drop(files);
    }
}
