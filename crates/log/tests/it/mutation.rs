//! Segments that were changed in any way: the log opens, delivers only what was appended, and accounts for every offset.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use thalweg_log::disk::{Disk, DiskFile};
use thalweg_log::simulated::SimulatedDisk;
use thalweg_log::{EmbeddedConfig, Log};

use crate::support::{append, config, open_on, read_all, words};

#[derive(Debug, Clone)]
enum Mutation {
    Overwrite {
        at: usize,
        bytes: Vec<u8>,
    },
    /// Bytes of one place again at another: whole frames where none belongs.
    Copy {
        from: usize,
        to: usize,
        len: usize,
    },
    Cut(usize),
    Extend(Vec<u8>),
}

fn any_mutation() -> impl Strategy<Value = Mutation> {
    let bytes = proptest::collection::vec(any::<u8>(), 1..120);
    prop_oneof![
        (any::<usize>(), bytes.clone()).prop_map(|(at, bytes)| Mutation::Overwrite { at, bytes }),
        (any::<usize>(), any::<usize>(), 1_usize..400).prop_map(|(from, to, len)| Mutation::Copy {
            from,
            to,
            len
        }),
        any::<usize>().prop_map(Mutation::Cut),
        bytes.prop_map(Mutation::Extend),
    ]
}

fn mutate(file: &dyn DiskFile, mutation: &Mutation) {
    let len = file.len().unwrap() as usize;
    let mut content = vec![0; len];
    file.read_at(&mut content, 0).unwrap();
    match mutation {
        _ if len == 0 => return,
        Mutation::Overwrite { at, bytes } => file.write_at(bytes, (at % len) as u64).unwrap(),
        Mutation::Copy { from, to, len: copied } => {
            let from = from % len;
            let part = &content[from..(from + copied).min(len)];
            file.write_at(part, (to % len) as u64).unwrap();
        }
        Mutation::Cut(at) => file.set_len((at % len) as u64).unwrap(),
        Mutation::Extend(bytes) => file.write_at(bytes, len as u64).unwrap(),
    }
    file.sync().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn no_change_of_a_file_makes_an_entry_or_hides_a_loss(
        mutations in proptest::collection::vec((any::<usize>(), any_mutation()), 1..6),
        segment_bytes in prop_oneof![Just(400_u64), Just(64 << 10)],
    ) {
        let config = EmbeddedConfig { segment_bytes, ..config() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let disk = SimulatedDisk::new(1);
            let (log, _) = open_on(&disk, config.clone());
            append(&log, 0..10).await;
            log.close().await;
            let names = disk.list(Path::new("/log")).unwrap();
            let segments: Vec<_> = names.iter().filter(|name| name.ends_with(".segment")).collect();
            for (segment, mutation) in &mutations {
                let path = Path::new("/log").join(segments[segment % segments.len()]);
                mutate(disk.open(&path).unwrap().as_ref(), mutation);
            }

            let (log, report) = open_on(&disk, config.clone());
            let next = report.next_offset;
            assert!(next <= 10);
            append(&log, next..next + 3).await;
            let deliveries = read_all(&log, "g").await;
            // Whole entries are checked here to be the ones that were appended at their offset.
            words(&deliveries);
            let offsets: Vec<_> = deliveries.iter().map(|delivery| delivery.position.offset).collect();
            assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
            let mut expected = 0;
            for delivery in &deliveries {
                let offset = delivery.position.offset;
                assert!(offset == expected || delivery.entry.is_err(), "{expected} to {offset} went in silence");
                expected = offset + 1;
            }
            assert_eq!(expected, next + 3);
            log.close().await;
        });
    }
}

#[tokio::test]
async fn a_torn_end_that_can_not_be_copied_stays_and_the_log_goes_on() {
    let disk = SimulatedDisk::new(1);
    let (log, _) = open_on(&disk, config());
    append(&log, 0..3).await;
    log.close().await;
    let path = Path::new("/log/00000000000000000000.segment");
    let file: Arc<dyn DiskFile> = disk.open(path).unwrap();
    let end = file.len().unwrap();
    mutate(file.as_ref(), &Mutation::Extend(b"torn".to_vec()));

    disk.set_capacity(Some(disk.bytes()));
    let (log, report) = open_on(&disk, config());
    let torn = report.torn_tails[0].clone();
    assert_eq!((torn.from_byte, torn.bytes, torn.kept_in), (end, 4, None));
    assert!(log.append(vec![crate::support::small(3)]).await.is_err(), "the disk is full");
    disk.set_capacity(None);
    append(&log, 3..5).await;
    assert_eq!(words(&read_all(&log, "g").await), "0 1 2 3 4");
    log.close().await;
    assert_eq!(file.len().unwrap(), end + 4, "nothing was destroyed");
    let names = disk.list(Path::new("/log")).unwrap();
    assert!(names.iter().all(|name| !name.contains(".cut")), "{names:?}");
}
