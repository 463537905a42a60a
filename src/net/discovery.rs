//! Announcing this node on the local network by multicast DNS, and hearing others.

use std::net::{IpAddr, SocketAddr};

use mdns_sd::{IfKind, Receiver, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};

use super::{Announcement, NetError};
use crate::limits::ANNOUNCED_ADDRESSES_MAX;

const SERVICE: &str = "_driftless._udp.local.";
/// The port of multicast DNS (RFC 6762).
pub(crate) const MDNS_PORT: u16 = 5_353;

/// On which interfaces a node is announced, and others are heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those of this machine alone.
    Loopback,
    /// The one with this address.
    Interface(IpAddr),
    /// All.
    All,
}

impl Reach {
    /// The interfaces on which a node that listens there can be reached.
    pub(crate) fn of(listen: SocketAddr) -> Self {
        match listen.ip() {
            ip if ip.is_loopback() => Self::Loopback,
            ip if ip.is_unspecified() => Self::All,
            ip => Self::Interface(ip),
        }
    }
}

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sighting {
    /// A node that speaks this protocol.
    Here {
        /// The name of its instance, which it keeps as long as its nonce.
        name: String,
        /// What it says.
        announcement: Announcement,
        /// Where it says that it is: on a private network, at most `ANNOUNCED_ADDRESSES_MAX`.
        addresses: Vec<SocketAddr>,
    },
    /// It is gone.
    Gone {
        /// The name of its instance.
        name: String,
    },
}

/// One node's part in multicast DNS. Dropping it says goodbye.
pub(crate) struct Discovery {
    daemon: ServiceDaemon,
    heard: Receiver<ServiceEvent>,
    reach: Reach,
    announced: Option<String>,
}

impl std::fmt::Debug for Discovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Discovery({:?})", self.reach)
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        if let Some(name) = self.announced.take() {
            let _gone_anyway = self.daemon.unregister(&name);
        }
        let _gone_anyway = self.daemon.shutdown();
    }
}

impl Discovery {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// [`NetError::Discovery`] when the system refuses.
    pub(crate) fn start(reach: Reach, port: u16) -> Result<Self, NetError> {
        let daemon = ServiceDaemon::new_with_port(port).map_err(failed)?;
        match reach {
            Reach::All => {}
            Reach::Loopback => {
                daemon.disable_interface(IfKind::All).map_err(failed)?;
                daemon.enable_interface(IfKind::LoopbackV4).map_err(failed)?;
            }
            Reach::Interface(address) => {
                daemon.disable_interface(IfKind::All).map_err(failed)?;
                daemon.enable_interface(IfKind::Addr(address)).map_err(failed)?;
            }
        }
        let heard = daemon.browse(SERVICE).map_err(failed)?;
        Ok(Self { daemon, heard, reach, announced: None })
    }

    /// Announces this node, in place of what was announced before.
    ///
    /// # Errors
    ///
    /// [`NetError::Discovery`] when the daemon is gone.
    pub(crate) fn announce(
        &mut self,
        announcement: &Announcement,
        listen: SocketAddr,
    ) -> Result<(), NetError> {
        let name = announcement.name();
        let (host, properties) = (format!("{name}.local."), announcement.properties());
        let addresses = if listen.ip().is_unspecified() { String::new() } else { listen.ip().to_string() };
        let info = ServiceInfo::new(SERVICE, &name, &host, addresses, listen.port(), properties.as_slice());
        let mut info = info.map_err(failed)?;
        if listen.ip().is_unspecified() {
            info = info.enable_addr_auto();
        }
        // The nonce is in the name, so no other has it.
        info.set_requires_probe(false);
        if let Some(before) = self.announced.take().filter(|before| before != info.get_fullname()) {
            let _gone_anyway = self.daemon.unregister(&before);
        }
        self.announced = Some(info.get_fullname().to_owned());
        self.daemon.register(info).map_err(failed)
    }

    /// Returns the next sighting, and nothing when the daemon has ended or was overrun.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no sighting is lost.
    pub(crate) async fn next(&self) -> Option<Sighting> {
        loop {
            match self.heard.recv_async().await.ok()? {
                ServiceEvent::ServiceResolved(service) => {
                    if let Some(sighting) = sighting(&service).filter(|_| !self.is_ours(&service.fullname)) {
                        return Some(sighting);
                    }
                }
                ServiceEvent::ServiceRemoved(_, name) => return Some(Sighting::Gone { name }),
                ServiceEvent::SearchStopped(_) => return None,
                ServiceEvent::SearchStarted(_) | ServiceEvent::ServiceFound(..) => {}
                // The enum may grow.
                _ => {}
            }
        }
    }

    fn is_ours(&self, name: &str) -> bool {
        self.announced.as_deref() == Some(name)
    }
}

fn sighting(service: &ResolvedService) -> Option<Sighting> {
    let properties = service.txt_properties.iter();
    let properties = properties.map(|property| (property.key(), property.val().unwrap_or_default()));
    let announcement = Announcement::read(properties)?;
    let addresses = service.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr);
    let addresses = near(addresses, service.port);
    Some(Sighting::Here { name: service.fullname.clone(), announcement, addresses })
}

/// The addresses that can be on the local network, in order, the first few. Anybody may claim any address: one that is
/// far away would be sent packets that it did not ask for.
fn near(addresses: impl Iterator<Item = IpAddr>, port: u16) -> Vec<SocketAddr> {
    let is_near = |address: &IpAddr| match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        // A link-local address of version 6 is of no use without its interface.
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
    };
    let mut near: Vec<IpAddr> = addresses.filter(is_near).collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(ANNOUNCED_ADDRESSES_MAX).map(|ip| SocketAddr::new(ip, port)).collect()
}

fn failed(error: mdns_sd::Error) -> NetError {
    NetError::Discovery { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen failing with all of them taken.
    #[test]
    fn of_the_addresses_that_are_announced_a_few_near_ones_are_tried() {
        let far = [IpAddr::from([192, 0, 2, 1])].into_iter();
        let many = (0..20).map(|number| IpAddr::from([10, 0, 0, number]));

        let near = near(far.chain(many.clone()), 7);

        let first = many.take(ANNOUNCED_ADDRESSES_MAX).map(|ip| SocketAddr::new(ip, 7));
        assert_eq!(near, first.collect::<Vec<_>>());
    }
}
