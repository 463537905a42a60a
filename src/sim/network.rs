//! The network: connections with three lanes each, delays, and directions that are cut.
//!
//! Every lane of a direction delivers in order; lanes overtake each other. What is sent into a cut waits, as QUIC
//! sends again; the far end gives up when it heard nothing for the idle timeout.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::limits::IDLE_TIMEOUT_MS;
use crate::sync::{ConnId, Lane, Side};

use super::Dice;

/// A connection, its dialer first.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) ends: [End; 2],
    /// What flows from each end.
    flows: [Flow; 2],
    /// Nothing gets through any more.
    pub(super) dead: bool,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) device: usize,
    pub(super) open: bool,
}

/// One direction.
#[derive(Debug, Default)]
struct Flow {
    /// When the last frame of each lane arrives.
    arrives: BTreeMap<Lane, u64>,
    /// When the wire is free again.
    wire_free: u64,
    /// Since when nothing gets through.
    silent_since: Option<u64>,
    /// Sent into the silence.
    waiting: VecDeque<(Lane, Vec<u8>)>,
}

/// A frame that is on its way.
#[derive(Debug)]
pub(super) struct Transit {
    pub(super) conn: ConnId,
    /// The end it arrives at.
    pub(super) end: usize,
    pub(super) lane: Lane,
    pub(super) frame: Vec<u8>,
    pub(super) at_ms: u64,
}

/// A silence that has begun: the end that hears nothing, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Silence {
    pub(super) conn: ConnId,
    pub(super) end: usize,
    pub(super) since: u64,
}

/// How slow a device's links are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slow {
    pub(super) delay_ms: u64,
    pub(super) bytes_per_ms: u64,
}

/// All connections, and what stands between the devices.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) conns: BTreeMap<ConnId, Conn>,
    next_conn: u64,
    dice: Dice,
    delay_ms: u64,
    /// Directed pairs that nothing gets through, by the step that cut them.
    pub(super) cuts: BTreeMap<u64, BTreeSet<(usize, usize)>>,
    /// By the step that made them slow.
    pub(super) slow: BTreeMap<u64, (usize, Slow)>,
    /// Devices that do nothing.
    pub(super) asleep: BTreeSet<usize>,
    /// Frames that overtook others.
    pub(super) reordered: u64,
}

impl Network {
    pub(super) fn new(seed: u64, delay_ms: u64) -> Self {
        Self {
            conns: BTreeMap::new(),
            next_conn: 0,
            dice: Dice::new(seed, "network"),
            delay_ms,
            cuts: BTreeMap::new(),
            slow: BTreeMap::new(),
            asleep: BTreeSet::new(),
            reordered: 0,
        }
    }

    /// Makes a connection.
    pub(super) fn connect(&mut self, dialer: usize, acceptor: usize) -> (ConnId, [u8; 32]) {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        let end = |device| End { device, open: true };
        let flows = [Flow::default(), Flow::default()];
        self.conns.insert(conn, Conn { ends: [end(dialer), end(acceptor)], flows, dead: false });
        (conn, self.dice.bytes())
    }

    /// Takes a frame from an end; returns its arrival, unless it is lost or must wait.
    pub(super) fn send(
        &mut self,
        now: u64,
        conn: ConnId,
        from: usize,
        lane: Lane,
        frame: Vec<u8>,
    ) -> Option<Transit> {
        let entry = self.conns.get_mut(&conn)?;
        let end = entry.end_of(from)?;
        let flow = entry.flows.get_mut(end)?;
        if flow.silent_since.is_some() {
            flow.waiting.push_back((lane, frame));
            return None;
        }
        self.transit(now, conn, end, lane, frame)
    }

    fn transit(&mut self, now: u64, conn: ConnId, end: usize, lane: Lane, frame: Vec<u8>) -> Option<Transit> {
        let entry = self.conns.get(&conn)?;
        let (from, to) = (entry.ends.get(end)?.device, entry.ends.get(1 - end)?.device);
        let base = self.delay_between(from, to);
        let pace = self.slow_of(from, to).map(|slow| slow.bytes_per_ms);
        let delay = base + self.dice.below(base / 2 + 2) + if self.dice.chance(3) { base * 4 } else { 0 };
        let flow = self.conns.get_mut(&conn)?.flows.get_mut(end)?;
        let leaves = pace.map_or(now, |pace| flow.wire_free.max(now) + frame.len() as u64 / pace.max(1));
        flow.wire_free = leaves;
        let at_ms = (leaves + delay).max(flow.arrives.get(&lane).copied().unwrap_or(0));
        self.reordered += u64::from(flow.arrives.values().any(|other| *other > at_ms));
        flow.arrives.insert(lane, at_ms);
        Some(Transit { conn, end: 1 - end, lane, frame, at_ms })
    }

    /// When everything that an end has sent will have arrived.
    pub(super) fn drained_at(&self, now: u64, conn: ConnId, end: usize) -> u64 {
        let flow = self.conns.get(&conn).and_then(|entry| entry.flows.get(end));
        let last = flow.and_then(|flow| flow.arrives.values().max().copied()).unwrap_or(0);
        last.max(now) + self.delay_ms
    }

    /// Compares every direction with what stands between the devices: returns the silences that begin, and what
    /// travels again.
    pub(super) fn refresh(&mut self, now: u64) -> (Vec<Silence>, Vec<Transit>) {
        let (mut begun, mut freed) = (Vec::new(), Vec::new());
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            for end in [0, 1] {
                let silent = self.is_silent(conn, end);
                let Some(entry) = self.conns.get_mut(&conn) else { continue };
                let far_open = entry.ends.get(1 - end).is_some_and(|far| far.open);
                let Some(flow) = entry.flows.get_mut(end) else { continue };
                if silent && flow.silent_since.is_none() {
                    flow.silent_since = Some(now);
                    if far_open {
                        begun.push(Silence { conn, end: 1 - end, since: now });
                    }
                } else if !silent && flow.silent_since.take().is_some() {
                    let waiting = std::mem::take(&mut flow.waiting);
                    for (lane, frame) in waiting {
                        freed.extend(self.transit(now, conn, end, lane, frame));
                    }
                }
            }
        }
        self.conns.retain(|_, conn| conn.ends.iter().any(|end| end.open));
        (begun, freed)
    }

    /// Whether a silence has gone on since it began.
    pub(super) fn lasts(&self, silence: Silence) -> bool {
        let Some(entry) = self.conns.get(&silence.conn) else { return false };
        let since = entry.flows.get(1 - silence.end).and_then(|flow| flow.silent_since);
        since == Some(silence.since) && entry.ends.get(silence.end).is_some_and(|end| end.open)
    }

    /// The ends of a device that have heard nothing for too long.
    pub(super) fn idle_of(&self, now: u64, device: usize) -> Vec<ConnId> {
        let idle = |conn: &Conn| {
            conn.end_of(device).is_some_and(|end| {
                let since = conn.flows.get(1 - end).and_then(|flow| flow.silent_since);
                since.is_some_and(|since| since + IDLE_TIMEOUT_MS <= now)
            })
        };
        self.conns.iter().filter(|(_, conn)| idle(conn)).map(|(conn, _)| *conn).collect()
    }

    /// The open connections of a device.
    pub(super) fn conns_of(&self, device: usize) -> Vec<ConnId> {
        self.conns.iter().filter(|(_, conn)| conn.end_of(device).is_some()).map(|(conn, _)| *conn).collect()
    }

    fn is_silent(&self, conn: ConnId, end: usize) -> bool {
        let Some(entry) = self.conns.get(&conn) else { return true };
        let [near, far] = match end {
            0 => entry.ends,
            _ => [entry.ends[1], entry.ends[0]],
        };
        !near.open || entry.dead || self.asleep.contains(&near.device) || self.is_cut(near.device, far.device)
    }

    /// Whether nothing gets from one device to another.
    pub(super) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.asleep.contains(&to) || self.cuts.values().any(|cut| cut.contains(&(from, to)))
    }

    fn slow_of(&self, from: usize, to: usize) -> Option<Slow> {
        self.slow.values().find(|(device, _)| *device == from || *device == to).map(|(_, slow)| *slow)
    }

    /// The typical delay between two devices.
    pub(super) fn delay_between(&self, from: usize, to: usize) -> u64 {
        self.delay_ms + self.slow_of(from, to).map_or(0, |slow| slow.delay_ms)
    }
}

impl Conn {
    /// The end of a device, while it is open.
    pub(super) fn end_of(&self, device: usize) -> Option<usize> {
        self.ends.iter().position(|end| end.device == device && end.open)
    }

    /// Whether nothing gets through from an end.
    pub(super) fn is_silent(&self, end: usize) -> bool {
        self.flows.get(end).is_some_and(|flow| flow.silent_since.is_some())
    }

    pub(super) fn close(&mut self, end: usize) {
        if let Some(end) = self.ends.get_mut(end) {
            end.open = false;
        }
    }
}

/// The side that an end is on.
pub(super) fn side(end: usize) -> Side {
    match end {
        0 => Side::Dialer,
        _ => Side::Acceptor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> (Network, ConnId) {
        let mut network = Network::new(1, 10);
        let (conn, _) = network.connect(0, 1);
        (network, conn)
    }

    #[test]
    fn frames_of_a_lane_arrive_in_order_and_lanes_overtake_each_other() {
        let (mut network, conn) = network();

        for number in 0..200_u8 {
            let lane = if number % 2 == 0 { Lane::Live } else { Lane::Bulk };
            let _ = network.send(u64::from(number) / 8, conn, 0, lane, vec![number]);
        }
        let mut arrivals: BTreeMap<Lane, Vec<(u64, u8)>> = BTreeMap::new();
        let mut network_again = Network::new(1, 10);
        let (conn, _) = network_again.connect(0, 1);
        for number in 0..200_u8 {
            let lane = if number % 2 == 0 { Lane::Live } else { Lane::Bulk };
            let sent =
                network_again.send(u64::from(number) / 8, conn, 0, lane, vec![number]).expect("no cut");
            arrivals.entry(lane).or_default().push((sent.at_ms, number));
        }

        assert!(arrivals.values().all(|lane| lane.is_sorted_by_key(|(at, _)| *at)));
        assert!(network.reordered > 0);
        assert_eq!(network.reordered, network_again.reordered);
    }

    #[test]
    fn what_is_sent_into_a_cut_arrives_when_the_cut_heals() {
        let (mut network, conn) = network();

        network.cuts.insert(1, BTreeSet::from([(0, 1)]));
        let (begun, _) = network.refresh(100);
        let sent = network.send(100, conn, 0, Lane::Live, vec![1]);
        let other_way = network.send(100, conn, 1, Lane::Live, vec![2]);
        network.cuts.clear();
        let (_, freed) = network.refresh(5_000);

        assert_eq!(begun, [Silence { conn, end: 1, since: 100 }]);
        assert!(sent.is_none() && other_way.is_some());
        assert_eq!(freed.iter().map(|transit| transit.frame.clone()).collect::<Vec<_>>(), [vec![1]]);
        assert!(freed.iter().all(|transit| transit.at_ms > 5_000));
    }

    #[test]
    fn an_end_that_hears_nothing_is_idle() {
        let (mut network, conn) = network();

        network.cuts.insert(1, BTreeSet::from([(0, 1)]));
        let (begun, _) = network.refresh(0);

        assert!(begun.iter().all(|silence| network.lasts(*silence)));
        assert_eq!(network.idle_of(IDLE_TIMEOUT_MS, 1), [conn]);
        assert_eq!(network.idle_of(IDLE_TIMEOUT_MS, 0), []);
    }
}
