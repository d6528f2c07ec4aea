//! What is public, held against the registries: each range by its ends, and by what stands beside it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use thalweg_outbound::{Guard, NotPublic};

const STRICT: Guard = Guard { allow_private: false };
const LENIENT: Guard = Guard { allow_private: true };

/// First address, last address, what both are. A range that is missing changes what its ends are.
const RANGES: &[(&str, &str, NotPublic)] = &[
    ("0.0.0.0", "0.255.255.255", NotPublic::Unspecified),
    ("10.0.0.0", "10.255.255.255", NotPublic::Private),
    ("100.64.0.0", "100.127.255.255", NotPublic::Shared),
    ("100.100.100.200", "100.100.100.200", NotPublic::Metadata),
    ("127.0.0.0", "127.255.255.255", NotPublic::Loopback),
    ("168.63.129.16", "168.63.129.16", NotPublic::Metadata),
    ("169.254.0.0", "169.254.255.255", NotPublic::LinkLocal),
    ("169.254.169.254", "169.254.170.2", NotPublic::LinkLocal),
    ("172.16.0.0", "172.31.255.255", NotPublic::Private),
    ("192.0.0.0", "192.0.0.255", NotPublic::Protocol),
    ("192.0.2.0", "192.0.2.255", NotPublic::Documentation),
    ("192.88.99.0", "192.88.99.255", NotPublic::Tunnel),
    ("192.168.0.0", "192.168.255.255", NotPublic::Private),
    ("198.18.0.0", "198.19.255.255", NotPublic::Benchmarking),
    ("198.51.100.0", "198.51.100.255", NotPublic::Documentation),
    ("203.0.113.0", "203.0.113.255", NotPublic::Documentation),
    ("224.0.0.0", "239.255.255.255", NotPublic::Multicast),
    ("240.0.0.0", "255.255.255.255", NotPublic::Reserved),
    ("::", "::", NotPublic::Unspecified),
    ("::1", "::1", NotPublic::Loopback),
    ("::2", "::ffff:ffff", NotPublic::Compatible),
    ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", NotPublic::Translation),
    ("100::", "100::ffff:ffff:ffff:ffff", NotPublic::Discard),
    ("100:0:0:1::", "100::1:ffff:ffff:ffff:ffff", NotPublic::Discard),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", NotPublic::Protocol),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", NotPublic::Documentation),
    ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NotPublic::Tunnel),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", NotPublic::Documentation),
    ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NotPublic::SegmentRouting),
    ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NotPublic::UniqueLocal),
    ("fd00:ec2::254", "fd00:ec2::254", NotPublic::Metadata),
    ("fd20:ce::254", "fd20:ce::254", NotPublic::Metadata),
    ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NotPublic::LinkLocal),
    ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NotPublic::SiteLocal),
    ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NotPublic::Multicast),
    // What nobody has been given yet.
    ("1::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NotPublic::Reserved),
    ("4000::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NotPublic::Reserved),
    // IPv4 addresses in other clothes.
    ("::ffff:127.0.0.1", "::ffff:127.0.0.1", NotPublic::Loopback),
    ("::ffff:169.254.169.254", "::ffff:a9fe:a9fe", NotPublic::LinkLocal),
    ("64:ff9b::10.0.0.1", "64:ff9b::a00:1", NotPublic::Private),
    ("64:ff9b::169.254.169.254", "64:ff9b::a9fe:a9fe", NotPublic::LinkLocal),
];

/// Right beside a range, or called globally reachable.
const PUBLIC: &[&str] = &[
    "1.0.0.0",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.3.0",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.98.255",
    "192.88.100.0",
    "192.167.255.255",
    "192.169.0.0",
    "192.175.48.1",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "198.51.101.0",
    "203.0.112.255",
    "203.0.114.0",
    "223.255.255.255",
    "2000::",
    "2001:200::",
    "2001:db7:ffff::1",
    "2001:db9::",
    "2003::",
    "2620:4f:8000::1",
    "3ffe:ffff::1",
    "3fff:1000::",
    "::ffff:1.1.1.1",
    "64:ff9b::1.1.1.1",
];

fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is no address"))
}

#[test]
fn what_is_not_public_is_known_by_both_ends_of_its_range() {
    for (first, last, kind) in RANGES {
        assert_eq!(STRICT.check(address(first)), Err(*kind), "{first}");
        assert_eq!(STRICT.check(address(last)), Err(*kind), "{last}");
    }
    for public in PUBLIC {
        assert_eq!(STRICT.check(address(public)), Ok(()), "{public}");
    }
}

#[test]
fn allowing_private_addresses_allows_no_others() {
    use NotPublic::{Loopback, Private, Shared, UniqueLocal};
    for (first, _, kind) in RANGES {
        let is_private = matches!(kind, Loopback | Private | Shared | UniqueLocal);
        assert_eq!(LENIENT.check(address(first)).is_ok(), is_private, "{first}");
    }
    for public in PUBLIC {
        assert_eq!(LENIENT.check(address(public)), Ok(()), "{public}");
    }
}

/// What must never be dialled as IPv4, written down once more: value and length of prefixes.
const NEVER_V4: &[(u32, u32)] = &[
    (0x0000_0000, 8),
    (0x0a00_0000, 8),
    (0x6440_0000, 10),
    (0x7f00_0000, 8),
    (0xa83f_8110, 32),
    (0xa9fe_0000, 16),
    (0xac10_0000, 12),
    (0xc000_0000, 24),
    (0xc000_0200, 24),
    (0xc058_6300, 24),
    (0xc0a8_0000, 16),
    (0xc612_0000, 15),
    (0xc633_6400, 24),
    (0xcb00_7100, 24),
    (0xe000_0000, 4),
    (0xf000_0000, 4),
];

fn is_never(v4: Ipv4Addr) -> bool {
    NEVER_V4.iter().any(|(prefix, length)| (v4.to_bits() ^ prefix) >> (32 - length) == 0)
}

/// The IPv4 addresses that something on the way might take out of an IPv6 one.
fn embedded(v6: Ipv6Addr) -> Vec<Ipv4Addr> {
    let bits = v6.to_bits();
    let last = Ipv4Addr::from_bits(bits as u32);
    let mut found = Vec::new();
    let is_last = [0, 0xffff << 32, 0xffff << 48].contains(&(bits >> 32 << 32)) // compatible, mapped, translated
        || bits >> 32 == 0x0064_ff9b_u128 << 64 // NAT64
        || bits >> 80 == 0x0064_ff9b_0001; // local NAT64 of the longest prefix
    if is_last {
        found.push(last);
    }
    if bits >> 112 == 0x2002 {
        found.push(Ipv4Addr::from_bits((bits >> 80) as u32)); // 6to4
    }
    if bits >> 96 == 0x2001_0000 {
        found.push(Ipv4Addr::from_bits((bits >> 64) as u32)); // Teredo: the server
        found.push(Ipv4Addr::from_bits(!(bits as u32))); // and the client
    }
    found
}

/// Any address, most often one near a border or in an embedding.
fn any_v4() -> impl Strategy<Value = Ipv4Addr> {
    let near = (prop::sample::select(NEVER_V4), any::<u32>()).prop_map(|((prefix, length), low)| {
        Ipv4Addr::from_bits(
            prefix.wrapping_add(low.checked_shr(length).unwrap_or(0)).wrapping_add(low % 3).wrapping_sub(1),
        )
    });
    prop_oneof![near, any::<u32>().prop_map(Ipv4Addr::from_bits)]
}

fn any_v6() -> impl Strategy<Value = Ipv6Addr> {
    let around = prop::sample::select(vec![
        (0_u128, 0_u32),
        (0xffff << 32, 0),
        (0xffff << 48, 0),
        (0x0064_ff9b << 96, 0),
        (0x0064_ff9b_0001 << 80, 0),
        (0x2002 << 112, 80),
        (0x2001_0000 << 96, 64),
    ]);
    let embedding =
        (around, any_v4()).prop_map(|((prefix, shift), v4)| prefix | u128::from(v4.to_bits()) << shift);
    let teredo = (any_v4(), any_v4()).prop_map(|(server, client)| {
        0x2001_0000_u128 << 96 | u128::from(server.to_bits()) << 64 | u128::from(!client.to_bits())
    });
    prop_oneof![embedding, teredo, any::<u128>(), any::<u128>().prop_map(|bits| bits >> 3 | 1 << 125)]
        .prop_map(Ipv6Addr::from_bits)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_ipv4_address_that_passes_is_one_that_never_may(v4 in any_v4()) {
        prop_assert_eq!(STRICT.check(v4.into()).is_ok(), !is_never(v4), "{}", v4);
    }

    #[test]
    fn no_ipv6_address_that_passes_carries_one_that_never_may(v6 in any_v6()) {
        if STRICT.check(v6.into()).is_ok() {
            for v4 in embedded(v6) {
                prop_assert!(!is_never(v4), "{} carries {}", v6, v4);
            }
        }
    }
}
