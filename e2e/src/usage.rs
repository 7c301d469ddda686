//! What a process takes, as the kernel counts it: memory and processor time.

use std::time::Duration;

use crate::{Context, Result};

/// The kernel tells processor time to programs in hundredths of a second, whatever it counts in itself.
const TICK: Duration = Duration::from_millis(10);

/// A value of `/proc/<pid>/status` in bytes: `VmRSS` is memory in use, `VmHWM` the most there ever was.
pub fn memory(pid: u32, name: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).context(|| format!("read {path}"))?;
    let kib = status.lines().find_map(|line| {
        let text = line.strip_prefix(name)?.strip_prefix(':')?;
        text.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    Ok(kib.context(|| format!("{path} tells no {name}"))? * 1024)
}

/// Processor time of a process and all its threads, in user and kernel.
pub fn cpu(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).context(|| format!("read {path}"))?;
    // The name may hold anything, but it ends at the last bracket.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = |nth| fields.split_whitespace().nth(nth)?.parse::<u32>().ok();
    let both = ticks(11).zip(ticks(12)).context(|| format!("{path} tells no processor time"))?;
    Ok(TICK * both.0 + TICK * both.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_sees_its_own_memory_and_time() {
        let own = std::process::id();
        let (now, most) = (memory(own, "VmRSS").unwrap(), memory(own, "VmHWM").unwrap());
        assert!(now > 100_000 && most >= now, "{now}, at most {most}");
        assert!(cpu(own).unwrap() < Duration::from_secs(3600));
        assert!(memory(own, "VmNothing").is_err());
    }
}
