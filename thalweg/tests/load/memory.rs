//! How much memory a server takes, as the system counts it.

use crate::harness::Server;

/// The most that it has had resident.
pub(crate) fn peak_bytes(server: &Server) -> u64 {
    bytes(server, "VmHWM:")
}

/// What it has resident now.
pub(crate) fn resident_bytes(server: &Server) -> u64 {
    bytes(server, "VmRSS:")
}

fn bytes(server: &Server, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    value.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
