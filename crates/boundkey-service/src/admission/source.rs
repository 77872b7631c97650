//! Where a request comes from, as far as fairness goes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Lengths of the prefixes that are told apart, widest first, the address itself last. A home of IPv6 has a /56 or /48, a
/// machine that is hosted a /64, and each of them as many smaller networks as they like.
const IPV4: &[u8] = &[24, 32];
const IPV6: &[u8] = &[48, 56, 64, 128];

/// Where users of this machine stand: among addresses that nobody has (RFC 6666).
const USERS: u128 = 0x0100;

/// A peer: its address and the networks around it. Who changes addresses within a network is the same stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source(IpAddr);

impl Source {
    /// An address; without one (the Unix socket, a test) a network of its own.
    pub fn of(address: Option<IpAddr>) -> Self {
        Self(address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.to_canonical()))
    }

    /// A user of this machine: a network of its own.
    pub(crate) fn user(id: u32) -> Self {
        Self(IpAddr::V6(Ipv6Addr::from(USERS << 112 | u128::from(id) << 80)))
    }

    /// All that it is counted by, widest first: networks, then the address.
    pub(super) fn levels(self) -> impl Iterator<Item = IpNet> {
        let lengths = if self.0.is_ipv4() { IPV4 } else { IPV6 };
        lengths.iter().map(move |length| self.within(*length))
    }

    /// What one customer has at most: the /24 or the /48.
    pub fn network(self) -> IpNet {
        self.within(if self.0.is_ipv4() { IPV4[0] } else { IPV6[0] })
    }

    /// What one machine or site has: the /24 or the /64.
    pub(crate) fn neighbourhood(self) -> IpNet {
        self.within(if self.0.is_ipv4() { IPV4[0] } else { IPV6[2] })
    }

    fn within(self, length: u8) -> IpNet {
        IpNet::new(self.0, length).map_or(IpNet::from(self.0), |network| network.trunc())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V6(v6) if u128::from(v6) >> 112 == USERS => {
                write!(f, "user {}", u128::from(v6) << 16 >> 96)
            }
            address => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Source {
        Source::of(Some(text.parse().unwrap()))
    }

    #[test]
    fn addresses_of_one_network_are_one_network() {
        assert_eq!(of("192.0.2.77").network().to_string(), "192.0.2.0/24");
        assert_eq!(of("::ffff:192.0.2.78").network().to_string(), "192.0.2.0/24");
        assert_eq!(of("2001:db8:1:2:3:4:5:6").network().to_string(), "2001:db8:1::/48");
        assert_eq!(of("2001:db8:1:2::1").neighbourhood().to_string(), "2001:db8:1:2::/64");
        assert_ne!(Source::user(0).network(), Source::user(1).network());
        assert_eq!(Source::user(u32::MAX).to_string(), "user 4294967295");
    }

    #[test]
    fn an_address_is_counted_by_all_the_networks_that_a_customer_may_have() {
        let levels = |text: &str| of(text).levels().map(|net| net.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(levels("192.0.2.77"), "192.0.2.0/24 192.0.2.77/32");
        assert_eq!(
            levels("2001:db8:1:2ff:3::6"),
            "2001:db8:1::/48 2001:db8:1:200::/56 2001:db8:1:2ff::/64 2001:db8:1:2ff:3::6/128"
        );
    }
}
