//! Whatever is sent, nothing panics, and checking and resolving a pack say the same of it.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use thalweg_domain::senml::{PackLimits, Scratch};

use super::senml::resolve;

const PIECES: &[&str] = &[
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\"n\"",
    "\"v\"",
    "\"t\"",
    "\"bt\"",
    "\"bn\"",
    "\"u\"",
    "\"s\"",
    "\"vs\"",
    "\"vb\"",
    "\"vd\"",
    "\"bv\"",
    "\"bs\"",
    "\"bver\"",
    "\"ut\"",
    "\"x_\"",
    "\"a\"",
    "\"AQ==\"",
    "\"\\ud800\"",
    "1",
    "-1.5",
    "1e9",
    "1e400",
    "1700000000.00000000051234567890",
    "18446744073709551616",
    "10",
    "26",
    "null",
    "true",
    "NaN",
    " ",
];

/// Places to change, and what to put there: bytes for themselves, `None` to take one away.
type Changes = Vec<(Index, Option<u8>)>;

fn changed(pack: &str, changes: &Changes) -> Vec<u8> {
    let mut bytes = pack.as_bytes().to_vec();
    for (index, byte) in changes {
        let at = index.index(bytes.len().max(1));
        match byte {
            Some(byte) => bytes.insert(at, *byte),
            None if at < bytes.len() => drop(bytes.remove(at)),
            None => {}
        }
    }
    bytes
}

/// A scratch goes where its pack is read: to another thread, say.
const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<Scratch>();
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn of_bytes(body in any::<Vec<u8>>()) {
        let _ = resolve(&body, &PackLimits { records_max: 3, ..PackLimits::default() });
    }

    #[test]
    fn of_pieces_of_packs(pieces in prop::collection::vec(select(PIECES), 0..24)) {
        let _ = resolve(pieces.concat().as_bytes(), &PackLimits { records_max: 3, ..PackLimits::default() });
        let _ = resolve(format!("[{{{}}}]", pieces.concat()).as_bytes(), &PackLimits { records_max: 3, ..PackLimits::default() });
    }

    #[test]
    fn of_records_of_any_fields(
        fields in prop::collection::vec((select(&PIECES[6..24]), select(&PIECES[21..35])), 0..8),
        more in prop::collection::vec((select(&PIECES[6..24]), select(&PIECES[21..35])), 0..4),
    ) {
        let record = |fields: &[(&str, &str)]| {
            let fields: Vec<String> = fields.iter().map(|(label, value)| format!("{label}:{value}")).collect();
            format!("{{{}}}", fields.join(","))
        };
        let pack = format!("[{},{}]", record(&fields), record(&more));
        let _ = resolve(pack.as_bytes(), &PackLimits::default());
    }

    #[test]
    fn of_a_pack_that_was_damaged(
        changes in prop::collection::vec((any::<Index>(), any::<Option<u8>>()), 1..4),
    ) {
        let pack = r#"[{"bn":"a:","bt":1.276020076001e9,"bu":"A","bver":5,"n":"v","u":"V","v":120.1,"x":[{}]},
            {"n":"\u0063","t":-5,"vs":"\ud83d\ude00é"},{"n":"d","vd":"aGkgCg","ut":0.5},{"vb":true,"s":-0}]"#;
        let _ = resolve(&changed(pack, &changes), &PackLimits::default());
    }
}
