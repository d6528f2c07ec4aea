//! Every bound of the system that is not a setting, with its reason, in one place.
//!
//! A setting's default stands here too, so that a reader finds all numbers on one page.

use std::time::Duration;

/// Bytes of one publish body, after inflation. 1 MiB keeps one pack inside one Kafka message of the default size.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Records of one pack. At the least useful size of a record a body of the largest size holds about as many.
pub const RECORDS_PER_PACK_MAX: usize = 10_000;
/// Levels of JSON nesting in a pack, the pack itself being 1. The RFC needs 2; unknown fields may hold a little more.
pub const PACK_DEPTH_MAX: usize = 4;
/// Bytes of a resolved name. It is part of a row's key.
pub const NAME_BYTES_MAX: usize = 254;
/// Bytes of a unit. It is part of a row's key; the longest registered one has 9.
pub const UNIT_BYTES_MAX: usize = 254;
/// Bytes of a subtopic with its dots. It is part of a row's key.
pub const SUBTOPIC_BYTES_MAX: usize = 254;
/// Room for nodes, 24 bytes each, that a pack reader's buffers keep between packs. A record takes about 25, so that packs
/// of up to 5,000 records reuse it; a body of the largest size made of brackets takes eight times as much, for once.
pub const SCRATCH_NODES_MAX: usize = 128 << 10;
/// Shards of a bucket: one busy channel spreads over this many places of the store. Fixed for ever: stored rows
/// depend on it.
pub const SHARDS: u16 = 16;

/// Entities in one bulk request, and ids in one connect request.
pub const BULK_MAX: usize = 1_000;
/// Bytes of a request body that is not a publish.
pub const API_BODY_BYTES_MAX: usize = 2 << 20;

/// Records on one page of a read.
pub const PAGE_RECORDS_MAX: usize = 1_000;
/// Records on one page of a read where the request does not say.
pub const PAGE_RECORDS_DEFAULT: usize = 10;
/// Bytes of one page of a read, as it is printed. A page of the most records has room for 32 KiB a record; where things send more in
/// one, who reads asks for fewer.
pub const PAGE_BYTES_MAX: usize = 32 << 20;
/// Records that a filtered read examines before it stops counting.
pub const EXAMINED_RECORDS_MAX: u64 = 100_000;

/// What a refused client is told to wait before it tries again.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
