//! Where a request comes from, as far as fairness goes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A peer: its network and its address. Who changes addresses within a network is the same stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    pub(super) network: IpAddr,
    pub(super) host: IpAddr,
}

impl Source {
    /// The /24 or /64 of an address; without one (the Unix socket, a test) a network of its own.
    pub fn of(address: Option<IpAddr>) -> Self {
        let host = address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.to_canonical());
        let network = match host {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                IpAddr::V4(Ipv4Addr::new(a, b, c, 0))
            }
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) >> 64 << 64)),
        };
        Self { network, host }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_are_one_network() {
        let of = |text: &str| Source::of(Some(text.parse().unwrap())).network.to_string();
        assert_eq!(of("192.0.2.77"), "192.0.2.0");
        assert_eq!(of("::ffff:192.0.2.78"), "192.0.2.0");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }
}
