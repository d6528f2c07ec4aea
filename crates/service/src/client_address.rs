//! Where a request comes from: the address of its connection, or what a trusted proxy says it was.
//!
//! Pure. Believes no one but the proxies that it is told of: anybody can send `X-Forwarded-For`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The networks whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Vec<IpNet>);

impl FromIterator<IpNet> for Proxies {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

impl Proxies {
    /// Reads a network such as `10.0.0.0/8`, or a single address.
    ///
    /// # Errors
    /// What is neither, in words.
    pub fn parse_network(text: &str) -> Result<IpNet, String> {
        let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        network.ok_or_else(|| format!("{text:?} is neither an address nor a network such as 10.0.0.0/8"))
    }

    /// Whether the address is a trusted proxy's.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client behind a connection: the rightmost hop that is no trusted proxy. What stands left of it may be made up. A hop that
    /// can't be read hides all before it, so the proxy that told it is the client.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        for value in headers.get_all(FORWARDED_FOR).iter().rev() {
            for hop in value.to_str().unwrap_or("").rsplit(',') {
                let Some(address) = hop_address(hop.trim()) else { return client };
                client = address.to_canonical();
                if !self.trusts(client) {
                    return client;
                }
            }
        }
        client
    }
}

/// Some proxies add the port.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let with_port = || hop.parse::<SocketAddr>().map(|address| address.ip());
    let in_brackets = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    hop.parse().or_else(|_| with_port()).ok().or_else(in_brackets)
}

/// What counts as one address: whoever has one of IPv6 has 2^64 of them.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client of a connection from `peer`, where 10.0.0.0/8 and one address of IPv6 are trusted.
    fn client(peer: &str, forwarded: &[&str]) -> String {
        let proxies: Proxies = ["10.0.0.0/8", "2001:db8::1"]
            .map(|network| Proxies::parse_network(network).unwrap())
            .into_iter()
            .collect();
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        proxies.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn nobody_but_a_trusted_proxy_is_believed() {
        assert_eq!(client("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(client("10.1.2.3", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("::ffff:10.1.2.3", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("2001:db8::1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("2001:db8::2", &["198.51.100.7"]), "2001:db8::2");
        assert_eq!(client("10.1.2.3", &[]), "10.1.2.3");
    }

    #[test]
    fn the_rightmost_hop_that_is_no_proxy_is_the_client() {
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 198.51.100.7, 10.0.0.2"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &["1.1.1.1", "198.51.100.7,10.0.0.2", "10.0.0.3"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &["10.0.0.9, 10.0.0.2"]), "10.0.0.9");
        assert_eq!(client("10.0.0.1", &["198.51.100.7:1234"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &["[2001:db8::9]:1234"]), "2001:db8::9");
        assert_eq!(client("10.0.0.1", &["[2001:db8::9]"]), "2001:db8::9");
    }

    #[test]
    fn a_hop_that_cannot_be_read_hides_what_is_left_of_it() {
        assert_eq!(client("10.0.0.1", &["198.51.100.7, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client("10.0.0.1", &["198.51.100.7, "]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[""]), "10.0.0.1");
    }

    #[test]
    fn addresses_of_one_network_count_together() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn a_network_is_an_address_or_a_prefix() {
        assert!(Proxies::parse_network("10.0.0.0/8").is_ok() && Proxies::parse_network("::1").is_ok());
        assert!(Proxies::parse_network("10.0.0.0/33").is_err() && Proxies::parse_network("proxy").is_err());
    }
}
