//! Which addresses are public.
//!
//! Source: IANA's registries of special-purpose addresses for IPv4 and IPv6 (RFC 6890) with the documents that each row names, and the
//! addresses at which clouds keep what is for their machines alone. Pure: no resolution, no I/O.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

/// What may be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Guard {
    /// Loopback, private, shared and unique local addresses may be, too, names of private networks, and plain HTTP. Never link-local ones
    /// and those of clouds' metadata, of multicast, of documentation, or reserved ones: no receiver lives there.
    pub allow_private: bool,
}

impl Guard {
    /// Whether an address may be dialled.
    ///
    /// # Errors
    /// What kind of address it is, if it may not.
    pub fn check(self, address: IpAddr) -> Result<(), NotPublic> {
        match kind(address) {
            Some(kind) if !(self.allow_private && kind.is_private()) => Err(kind),
            _ => Ok(()),
        }
    }
}

/// Why an address is not public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotPublic {
    /// No address at all, or this host on its network.
    Unspecified,
    /// This machine.
    Loopback,
    /// Of a private network.
    Private,
    /// Between a provider and its customers.
    Shared,
    /// Private addresses of IPv6.
    UniqueLocal,
    /// Private addresses of IPv6 as they once were.
    SiteLocal,
    /// Of one link; clouds keep their metadata here.
    LinkLocal,
    /// What a cloud tells its machines.
    Metadata,
    /// Of a group.
    Multicast,
    /// Set aside for protocols: Teredo, ORCHID and the like.
    Protocol,
    /// Another way to write an IPv4 address, which nobody uses any more.
    Compatible,
    /// Carries IPv4 addresses: 6to4 and its relays.
    Tunnel,
    /// Carries IPv4 addresses of a network's own choice.
    Translation,
    /// For examples in texts.
    Documentation,
    /// For measurements in laboratories.
    Benchmarking,
    /// Whatever goes there is thrown away.
    Discard,
    /// Instructions for routers.
    SegmentRouting,
    /// For a later use that nobody has defined.
    Reserved,
}

impl NotPublic {
    /// Whether somebody's own receiver may live there.
    fn is_private(self) -> bool {
        matches!(self, Self::Loopback | Self::Private | Self::Shared | Self::UniqueLocal)
    }
}

/// As it is said of an address: "is …".
impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::Shared => "a shared address",
            Self::UniqueLocal => "a unique local address",
            Self::SiteLocal => "a site-local address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "an address of a cloud's metadata",
            Self::Multicast => "a multicast address",
            Self::Protocol => "an address set aside for protocols",
            Self::Compatible => "an IPv4-compatible address",
            Self::Tunnel => "a 6to4 address",
            Self::Translation => "an address of local translation",
            Self::Documentation => "an address for documentation",
            Self::Benchmarking => "an address for benchmarks",
            Self::Discard => "a discard-only address",
            Self::SegmentRouting => "an address of segment routing",
            Self::Reserved => "a reserved address",
        })
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), length)
}

const fn v6(a: u16, b: u16, c: u16, d: u16, length: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)), length)
}

const fn v6_host(a: u16, b: u16, last: u16) -> IpNet {
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, last)), 128)
}

/// The first row that has an address decides. Not in it, because the registries call them globally reachable: AS112 (192.31.196.0/24,
/// 192.175.48.0/24, 2620:4f:8000::/48) and AMT (192.52.193.0/24).
const NOT_PUBLIC: &[(IpNet, NotPublic)] = &[
    (v4(0, 0, 0, 0, 8), NotPublic::Unspecified),       // RFC 791, 1122
    (v4(10, 0, 0, 0, 8), NotPublic::Private),          // RFC 1918
    (v4(100, 100, 100, 200, 32), NotPublic::Metadata), // Alibaba Cloud
    (v4(100, 64, 0, 0, 10), NotPublic::Shared),        // RFC 6598
    (v4(127, 0, 0, 0, 8), NotPublic::Loopback),        // RFC 1122
    (v4(168, 63, 129, 16, 32), NotPublic::Metadata),   // Azure
    (v4(169, 254, 0, 0, 16), NotPublic::LinkLocal), // RFC 3927; metadata of AWS, Azure, Google Cloud and more
    (v4(172, 16, 0, 0, 12), NotPublic::Private),    // RFC 1918
    (v4(192, 0, 0, 0, 24), NotPublic::Protocol),    // RFC 6890; metadata of Oracle Cloud
    (v4(192, 0, 2, 0, 24), NotPublic::Documentation), // RFC 5737
    (v4(192, 88, 99, 0, 24), NotPublic::Tunnel),    // RFC 7526
    (v4(192, 168, 0, 0, 16), NotPublic::Private),   // RFC 1918
    (v4(198, 18, 0, 0, 15), NotPublic::Benchmarking), // RFC 2544
    (v4(198, 51, 100, 0, 24), NotPublic::Documentation), // RFC 5737
    (v4(203, 0, 113, 0, 24), NotPublic::Documentation), // RFC 5737
    (v4(224, 0, 0, 0, 4), NotPublic::Multicast),    // RFC 5771
    (v4(240, 0, 0, 0, 4), NotPublic::Reserved),     // RFC 1112; broadcast, RFC 8190
    (v6_host(0, 0, 0), NotPublic::Unspecified),     // RFC 4291
    (v6_host(0, 0, 1), NotPublic::Loopback),        // RFC 4291
    (v6(0, 0, 0, 0, 96), NotPublic::Compatible),    // RFC 4291
    (v6(0x64, 0xff9b, 1, 0, 48), NotPublic::Translation), // RFC 8215
    (v6(0x100, 0, 0, 0, 64), NotPublic::Discard),   // RFC 6666
    (v6(0x100, 0, 0, 1, 64), NotPublic::Discard),   // RFC 9780
    (v6(0x2001, 0, 0, 0, 23), NotPublic::Protocol), // RFC 2928; Teredo, RFC 4380; ORCHID, RFC 7343
    (v6(0x2001, 0xdb8, 0, 0, 32), NotPublic::Documentation), // RFC 3849
    (v6(0x2002, 0, 0, 0, 16), NotPublic::Tunnel),   // RFC 3056
    (v6(0x3fff, 0, 0, 0, 20), NotPublic::Documentation), // RFC 9637
    (v6(0x5f00, 0, 0, 0, 16), NotPublic::SegmentRouting), // RFC 9602
    (v6_host(0xfd00, 0xec2, 0x254), NotPublic::Metadata), // AWS
    (v6_host(0xfd20, 0xce, 0x254), NotPublic::Metadata), // Google Cloud
    (v6(0xfc00, 0, 0, 0, 7), NotPublic::UniqueLocal), // RFC 4193
    (v6(0xfe80, 0, 0, 0, 10), NotPublic::LinkLocal), // RFC 4291
    (v6(0xfec0, 0, 0, 0, 10), NotPublic::SiteLocal), // RFC 3879
    (v6(0xff00, 0, 0, 0, 8), NotPublic::Multicast), // RFC 4291
];

/// All of IPv6 that is given out to networks; RFC 4291. What is in no row and not in here may be anything one day.
const GLOBAL_UNICAST: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// Another way to write an IPv4 address: the system dials that one. RFC 4291.
const MAPPED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);
/// A translator of the network's (NAT64) dials the IPv4 address in it. RFC 6052.
const TRANSLATED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// What an address is if not public. One that stands for an IPv4 address is what that one is.
fn kind(address: IpAddr) -> Option<NotPublic> {
    if let IpAddr::V6(v6) = address
        && (MAPPED.contains(&v6) || TRANSLATED.contains(&v6))
    {
        let [.., a, b, c, d] = v6.octets();
        return kind(IpAddr::V4(Ipv4Addr::new(a, b, c, d)));
    }
    let row = NOT_PUBLIC.iter().find(|(net, _)| net.contains(&address));
    row.map(|(_, kind)| *kind).or(match address {
        IpAddr::V6(v6) if !GLOBAL_UNICAST.contains(&v6) => Some(NotPublic::Reserved),
        _ => None,
    })
}
