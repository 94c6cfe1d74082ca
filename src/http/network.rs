use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses with a common beginning, as CIDR writes them: `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    begin: IpAddr,
    prefix: u32,
}

/// A proxy on the same machine connects from here by default. Not the rest of 127.0.0.0/8: a local
/// process can choose any of those addresses.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
/// A client with IPv6 can use any address of its network, which has this length.
const CLIENT_PREFIX_V6: u32 = 64;

impl Network {
    /// `None`: no network, or one that is every address.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address.parse::<IpAddr>().ok()?, Some(prefix.parse().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let mut prefix = prefix.unwrap_or(bits(address));
        // `::ffff:10.0.0.1` is 10.0.0.1 to `is_trusted` as well, and would match no client as an address of IPv6.
        let canonical = address.to_canonical();
        if canonical != address {
            prefix = u32::checked_sub(prefix, bits(address) - bits(canonical))?;
        }
        (1..=bits(canonical)).contains(&prefix).then(|| Self { begin: masked(canonical, prefix), prefix })
    }

    fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.begin.is_ipv4() && masked(address, self.prefix) == self.begin
    }
}

/// Whether connections from there are those of a proxy.
pub(super) fn is_trusted(address: IpAddr, proxies: &[Network]) -> bool {
    let address = address.to_canonical();
    LOOPBACK.contains(&address) || proxies.iter().any(|network| network.contains(address))
}

/// The addresses that count as one client.
pub(super) fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        v6 @ IpAddr::V6(_) => masked(v6, CLIENT_PREFIX_V6),
    }
}

fn bits(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, prefix: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn network_holds_the_addresses_that_begin_like_it() {
        let holds = |network: &str, address: &str| Network::parse(network).unwrap().contains(ip(address));
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.1.2.3/8", "10.9.9.9", "9.1.2.3"),
            ("192.168.4.0/22", "192.168.7.255", "192.168.8.0"),
            ("10.0.0.7", "10.0.0.7", "10.0.0.6"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("fd00::7", "fd00::7", "fd00::8"),
            ("10.0.0.0/8", "10.0.0.0", "::a00:0"),
            ("::ffff:10.0.0.7", "10.0.0.7", "10.0.0.6"),
            ("::ffff:10.0.0.0/104", "10.255.0.1", "11.0.0.1"),
        ] {
            assert!(holds(network, inside) && !holds(network, outside), "{network}");
        }
    }

    #[test]
    fn network_is_refused_when_it_is_none_or_everything() {
        for text in [
            "",
            "proxy",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/-1",
            "10.0.0.0/",
            "10.0.0/8",
            "0.0.0.0/0",
            "::/0",
            "::ffff:0.0.0.0/96",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }

    #[test]
    fn loopback_is_trusted_and_its_neighbours_are_not() {
        let proxies = [Network::parse("10.0.0.0/8").unwrap()];
        for (address, trusted) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("::ffff:10.2.3.4", true),
            ("10.2.3.4", true),
            ("127.0.0.2", false),
            ("192.0.2.1", false),
        ] {
            assert_eq!(is_trusted(ip(address), &proxies), trusted, "{address}");
        }
    }

    #[test]
    fn addresses_of_one_client_count_as_one() {
        assert_eq!(client(ip("2001:db8:1:2:3::4")), client(ip("2001:db8:1:2:ffff::9")));
        assert_ne!(client(ip("2001:db8:1:2::4")), client(ip("2001:db8:1:3::4")));
        assert_eq!(client(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
        assert_ne!(client(ip("192.0.2.1")), client(ip("192.0.2.2")));
    }
}
