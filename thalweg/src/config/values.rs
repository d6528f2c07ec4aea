//! Values as people write them: `64MiB`, `30s`, `info,thalweg_writer=debug`.

use bytesize::ByteSize;
use tracing_subscriber::EnvFilter;

/// Reads a size: bytes, or a number with a unit, such as `64MiB` (2^20 bytes each) or `64MB` (10^6).
pub(crate) fn bytes<N: TryFrom<u64>>(text: &str) -> Result<N, String> {
    let size: ByteSize = text
        .parse()
        .map_err(|_| "is no size; write bytes, or a number with a unit such as KiB, MiB or GiB".to_owned())?;
    N::try_from(size.as_u64()).map_err(|_| "is more than this machine can address".to_owned())
}

/// Prints a size so that [`bytes`] reads the same: in the largest unit that has no remainder.
pub(crate) fn print_bytes(bytes: u64) -> String {
    const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = |(shift, _): &&(u32, &str)| bytes > 0 && bytes.trailing_zeros() >= *shift;
    match UNITS.iter().find(whole) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}

/// Checks what is to be logged, and leaves it as it is.
pub(crate) fn filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map_err(|error| format!("is no filter: {error}"))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        for (text, size) in [("0", 0), ("1048576", 1 << 20), ("64MiB", 64 << 20), ("64 MiB", 64 << 20)] {
            assert_eq!(bytes::<u64>(text), Ok(size), "{text}");
        }
        for (text, size) in [("64MB", 64_000_000), ("1.5KiB", 1_536), ("2gib", 2 << 30)] {
            assert_eq!(bytes::<u64>(text), Ok(size), "{text}");
        }
        for bad in ["", "abc", "-1", "64 parsecs", "1e6"] {
            assert!(bytes::<u64>(bad).is_err(), "{bad}");
        }
        assert!(bytes::<u8>("256").is_err());
    }

    #[test]
    fn a_printed_size_reads_as_itself() {
        for size in [0, 1, 1_000, 1_024, 1_536, 64 << 20, (64 << 20) + 1, 1 << 40, u64::MAX] {
            assert_eq!(bytes::<u64>(&print_bytes(size)), Ok(size), "{}", print_bytes(size));
        }
        assert_eq!(print_bytes(256 << 20), "256MiB");
    }
}
