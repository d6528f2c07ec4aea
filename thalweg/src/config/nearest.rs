//! What somebody probably meant.

/// How alike two names have to be for one to be offered in place of the other, from 0 (nothing) to 1 (the same).
const LIKENESS_MIN: f64 = 0.8;

/// The known name that is most like this one, if any is.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["listen", "data_dir", "log_retention_bytes", "log_retention_age", "header_timeout"];
        for (slip, meant) in [
            ("lisen", "listen"),
            ("data-dir", "data_dir"),
            ("datadir", "data_dir"),
            ("log_retention_byte", "log_retention_bytes"),
            ("headers_timeout", "header_timeout"),
            ("LISTEN", "listen"),
        ] {
            assert_eq!(nearest(&slip.to_lowercase(), known), Some(meant), "{slip}");
        }
        assert_eq!(nearest("kafka_brokers", known), None);
    }
}
