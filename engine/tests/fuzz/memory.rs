//! That no length field makes a decoder reserve what it asks for.

use std::fs;

/// Address space that one run of all targets may come to. Working it takes far less; a length of 32 bits that is believed
/// takes more at once, even if the memory is never touched.
const GROWTH_BYTES_MAX: u64 = 3 << 30;

/// The most address space this process has had; `None` where the system does not tell.
pub fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

/// Compares with the peak before.
pub fn check(target: &str, before: Option<u64>) {
    let Some((before, after)) = before.zip(peak_bytes()) else {
        println!("memory of {target}: not checked, the system does not tell");
        return;
    };
    let growth = after.saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes of address space more while {target} ran");
}
