//! Which client a session is counted for.

use std::net::IpAddr;

use ruvector_node::state_machine::kv::SessionClient;

/// Whom sessions opened from an address are counted for: a host, as far as it can be told from others. Of an IPv6 address that is the
/// network, of 64 bits, within which one host can have any number of addresses.
pub(super) fn client_at(address: IpAddr) -> SessionClient {
    match address.to_canonical() {
        IpAddr::V4(address) => SessionClient(address.to_ipv6_mapped().to_bits()),
        IpAddr::V6(address) => SessionClient(address.to_bits() >> 64 << 64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_one_client_by_all_its_addresses_of_a_network() {
        let client = |address: &str| client_at(address.parse().expect("it is an address"));
        assert_eq!(client("10.1.2.3"), client("::ffff:10.1.2.3"));
        assert_ne!(client("10.1.2.3"), client("10.1.2.4"));
        assert_eq!(client("2001:db8:1:2::1"), client("2001:db8:1:2:ffff::"));
        assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
        assert_ne!(client("127.0.0.1"), SessionClient::default());
    }
}
