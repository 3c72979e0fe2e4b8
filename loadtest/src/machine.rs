//! What the kernel says about processes and the machine, read from /proc.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;

/// The unit of CPU time in /proc is fixed at a hundredth of a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// Other processes that use less than this share of a core disturb little.
const QUIET: f64 = 0.3;
/// How long they are observed.
const SAMPLE: Duration = Duration::from_millis(500);

/// How long a process is observed to be called idle.
const IDLE_SAMPLE: Duration = Duration::from_millis(100);

/// CPU time of a process, in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Cpu {
    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }

    fn since(self, earlier: Cpu) -> Cpu {
        Cpu { user: self.user - earlier.user, system: self.system - earlier.system }
    }
}

/// Resident memory of a process, in KiB.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    pub(crate) anonymous: f64,
    pub(crate) resident: f64,
    /// The most that was resident since the start, or since it was forgotten.
    pub(crate) peak: f64,
}

/// The clocks of the measured process, of this one and of the machine, at one instant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    at: Instant,
    measured: Cpu,
    client: Cpu,
    busy: f64,
    steal: f64,
}

/// What was spent between two readings.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) seconds: f64,
    pub(crate) measured: Cpu,
    pub(crate) client: Cpu,
    pub(crate) noise: Noise,
}

/// What disturbed a measurement, in percent of one core.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Noise {
    /// Time the host gave to others.
    pub(crate) steal: f64,
    /// CPU of processes that are neither measured nor this client.
    pub(crate) other: f64,
}

impl Reading {
    /// Reads all clocks now.
    pub(crate) fn take(pid: u32) -> Result<Reading> {
        let (busy, steal) = machine()?;
        Ok(Reading { at: Instant::now(), measured: cpu(pid)?, client: cpu(std::process::id())?, busy, steal })
    }

    /// What was spent since `self`, by the process `pid` and beside it.
    pub(crate) fn usage(&self, pid: u32) -> Result<Usage> {
        let now = Reading::take(pid)?;
        let seconds = now.at.duration_since(self.at).as_secs_f64().max(1e-6);
        let measured = now.measured.since(self.measured);
        let client = now.client.since(self.client);
        let other = (now.busy - self.busy - measured.total() - client.total()).max(0.0);
        let noise = Noise { steal: (now.steal - self.steal) / seconds * 100.0, other: other / seconds * 100.0 };
        Ok(Usage { seconds, measured, client, noise })
    }
}

impl Noise {
    /// The larger of both, figure by figure: a round is as disturbed as its worst part.
    pub(crate) fn worst(self, other: Noise) -> Noise {
        Noise { steal: self.steal.max(other.steal), other: self.other.max(other.other) }
    }
}

/// Waits until other processes leave the machine alone, at most for `patience`.
pub(crate) async fn await_quiet(patience: Duration) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < patience {
        // Nothing is measured yet: what is not this process is another's.
        let (busy, own) = (machine()?.0, cpu(std::process::id())?);
        tokio::time::sleep(SAMPLE).await;
        let other = machine()?.0 - busy - cpu(std::process::id())?.since(own).total();
        if other / SAMPLE.as_secs_f64() < QUIET {
            return Ok(());
        }
    }
    Ok(())
}

/// How late a thread wakes up that does nothing but wait, so many times a second, while `busy` others compute without end: in
/// microseconds. Whoever is told something on such a machine is told no sooner.
pub(crate) fn lateness(rate: u32, seconds: u32, busy: usize) -> Result<Histogram<u64>> {
    let is_over = AtomicBool::new(false);
    let mut late = Histogram::new(3)?;
    std::thread::scope(|scope| {
        for _ in 0..busy {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let began = Instant::now();
        for n in 1..=rate * seconds {
            let due = began + Duration::from_secs(1) * n / rate.max(1);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
            late.saturating_record(micros);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    Ok(late)
}

/// Waits until a process has nothing left to do, at most for `patience`, and answers how long it still worked.
pub(crate) async fn await_idle(pid: u32, patience: Duration) -> Result<Duration> {
    let began = Instant::now();
    let mut worked = Duration::ZERO;
    while began.elapsed() < patience {
        let before = cpu(pid)?;
        tokio::time::sleep(IDLE_SAMPLE).await;
        // One tick may be the clock's; a backlog takes nearly all of them.
        if cpu(pid)?.since(before).total() < 0.25 * IDLE_SAMPLE.as_secs_f64() {
            break;
        }
        worked = began.elapsed();
    }
    Ok(worked)
}

/// The CPU time a process has used.
pub(crate) fn cpu(pid: u32) -> Result<Cpu> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))?;
    parse_cpu(&text).with_context(|| format!("/proc/{pid}/stat is not understood"))
}

/// The memory a process holds.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid} is gone"))?;
    let kib = |name: &str| -> Result<f64> {
        let line = text.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name} in status"))?;
        Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
    };
    Ok(Memory { anonymous: kib("RssAnon:")?, resident: kib("VmRSS:")?, peak: kib("VmHWM:")? })
}

/// Forgets the most memory that a process has had.
pub(crate) fn forget_peak(pid: u32) -> Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").with_context(|| format!("the peak of {pid} cannot be forgotten"))
}

/// Refuses a test that would run into the limit of open files half way.
pub(crate) fn require_files(sockets: u32) -> Result<()> {
    let text = fs::read_to_string("/proc/self/limits")?;
    let line = text.lines().find(|line| line.starts_with("Max open files")).context("no limit of open files")?;
    let Some(limit) = line.split_whitespace().nth(3).and_then(|word| word.parse::<u32>().ok()) else {
        return Ok(()); // unlimited
    };
    if sockets.saturating_add(200) > limit {
        bail!(
            "{sockets} sockets need more open files than the limit of {limit}: use fewer, or raise it with `ulimit -n`"
        );
    }
    Ok(())
}

/// The type of the file system that holds `path`, because a database in memory says nothing about a disk.
pub(crate) fn file_system(path: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        Some((words.next()?, words.next()?))
    });
    let longest = fields.filter(|(mount, _)| path.starts_with(mount)).max_by_key(|(mount, _)| mount.len());
    longest.map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

fn parse_cpu(stat: &str) -> Option<Cpu> {
    // The command stands in parentheses and may hold blanks: fields are counted from behind it.
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ').skip(11);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS_PER_SECOND);
    Some(Cpu { user: seconds()?, system: seconds()? })
}

/// Busy and stolen seconds of all cores together.
fn machine() -> Result<(f64, f64)> {
    let text = fs::read_to_string("/proc/stat")?;
    parse_machine(&text).context("/proc/stat is not understood")
}

fn parse_machine(stat: &str) -> Option<(f64, f64)> {
    let words = stat.lines().next()?.split_whitespace().skip(1);
    let seconds: Vec<f64> = words.filter_map(|word| Some(word.parse::<f64>().ok()? / TICKS_PER_SECOND)).collect();
    // user nice system idle iowait irq softirq steal
    let [user, nice, system, _, _, irq, softirq, steal, ..] = *seconds.as_slice() else { return None };
    Some((user + nice + system + irq + softirq, steal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_blanks_does_not_shift_the_fields() {
        let stat = "7 (a b) c) S 1 1 1 0 -1 4194560 10 0 0 0 250 125 0 0 20 0 1 0 5 6 7";
        let cpu = parse_cpu(stat).expect("parses");
        assert_eq!((cpu.user, cpu.system), (2.5, 1.25));
    }

    #[test]
    fn steal_is_not_counted_as_busy() {
        let (busy, steal) = parse_machine("cpu  100 100 100 900 50 10 90 300 0 0\n").expect("parses");
        assert_eq!((busy, steal), (4.0, 3.0));
    }

    #[test]
    fn whoever_waits_wakes_up_late_and_never_early() {
        let late = lateness(500, 1, 1).expect("a histogram");
        assert_eq!(late.len(), 500);
        assert!(late.max() > 0, "no clock is that good");
    }

    #[test]
    fn this_process_can_be_read() {
        let reading = Reading::take(std::process::id()).expect("proc");
        assert!(reading.usage(std::process::id()).expect("proc").seconds > 0.0);
        assert!(memory(std::process::id()).expect("proc").resident > 0.0);
    }
}
