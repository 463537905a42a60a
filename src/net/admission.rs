//! Who may come in: how many connections wait for a hello, and whose.
//!
//! A pretended address costs nothing, so connections of addresses that are not proved take half of the places at
//! most, and beyond that each is told to prove its address. Of those that did, no host has more than a quarter: it
//! may take all that is left to the others as well, but not keep out who comes from elsewhere.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use quinn::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::{Counter, Metrics};

use super::Options;

/// The places for inbound connections.
#[derive(Debug)]
pub(super) struct Admission {
    /// A permit for each inbound connection that is not greeted yet.
    pub(super) ungreeted: Arc<Semaphore>,
    /// How many of those are for proved addresses alone.
    reserved: usize,
    hosts: Arc<Hosts>,
    /// A permit for each connection.
    pub(super) connections: Arc<Semaphore>,
    /// Attempts that were let in.
    pub(super) admitted: Counter,
    /// Attempts that were told to prove their address first.
    pub(super) retried: Counter,
    /// Attempts that were turned away.
    pub(super) refused: Counter,
    pub(super) metrics: Arc<Metrics>,
}

/// The hosts that proved their address and are not greeted yet, each with its connections.
#[derive(Debug)]
struct Hosts {
    share: usize,
    /// None is there with nothing, so it has at most as many as there are places.
    waiting: Mutex<BTreeMap<IpAddr, usize>>,
}

/// The places of an inbound connection. They are free again when this is dropped.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) ungreeted: Ungreeted,
    pub(super) connection: OwnedSemaphorePermit,
}

/// The place of a connection that waits for a hello.
#[derive(Debug)]
pub(super) struct Ungreeted {
    _permit: OwnedSemaphorePermit,
    _of_host: Option<OfHost>,
}

/// A place in the share of a host.
#[derive(Debug)]
struct OfHost {
    hosts: Arc<Hosts>,
    host: IpAddr,
}

impl Admission {
    pub(super) fn new(options: &Options, metrics: Arc<Metrics>) -> Self {
        let hosts = Hosts { share: (options.ungreeted_max / 4).max(1), waiting: Mutex::default() };
        Self {
            ungreeted: Arc::new(Semaphore::new(options.ungreeted_max)),
            reserved: options.ungreeted_max / 2,
            hosts: Arc::new(hosts),
            connections: Arc::new(Semaphore::new(options.connections_max)),
            admitted: Counter::default(),
            retried: Counter::default(),
            refused: Counter::default(),
            metrics,
        }
    }

    /// Takes the places for one more inbound connection. What pretends an address takes nothing from the host that
    /// has it.
    pub(super) fn admit(&self, address: IpAddr, validated: bool) -> Option<Places> {
        if !validated && self.ungreeted.available_permits() <= self.reserved {
            return None;
        }
        let permit = self.ungreeted.clone().try_acquire_owned().ok()?;
        let connection = self.connections.clone().try_acquire_owned().ok()?;
        let of_host = if validated { Some(self.hosts.take(host(address))?) } else { None };
        self.admitted.add(1);
        Some(Places { ungreeted: Ungreeted { _permit: permit, _of_host: of_host }, connection })
    }

    /// Turns an attempt away: it costs nothing to pretend an address, so the first answer is to prove it.
    pub(super) fn turn_away(&self, incoming: Incoming) {
        if incoming.remote_address_validated() {
            self.refused.add(1);
            incoming.refuse();
        } else {
            self.retried.add(1);
            // It can be retried, for its address is not validated. Dropping it would refuse it.
            drop(incoming.retry());
        }
    }

    #[cfg(test)]
    pub(super) fn hosts_waiting(&self) -> usize {
        self.hosts.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Hosts {
    fn take(self: &Arc<Self>, host: IpAddr) -> Option<OfHost> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.get(&host).copied().unwrap_or_default();
        if count >= self.share {
            return None;
        }
        waiting.insert(host, count + 1);
        Some(OfHost { hosts: Arc::clone(self), host })
    }
}

impl Drop for OfHost {
    fn drop(&mut self) {
        let mut waiting = self.hosts.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = waiting.get_mut(&self.host) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.host);
            }
        }
    }
}

/// Whose share it is: a host has one address of IPv4, and the 2^64 addresses of a network of IPv6.
fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_host() {
        let of = |address: &str| host(address.parse().expect("an address"));

        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
