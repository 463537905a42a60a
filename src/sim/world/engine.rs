//! The engines, and the connections between them.
#![expect(clippy::wildcard_enum_match_arm, reason = "a few messages among all carry what is looked for")]

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Happening, World};
use crate::access::{Commit, Membership};
use crate::exchange::Vectors;
use crate::id::{CollectionName, PeerId, SpaceId};
use crate::limits::{
    ASKS_WAITING_MAX, CONNECTIONS_MAX, FRAME_BYTES_MAX, INBOX_BYTES_MAX, LIVE_UNACKED_BYTES_MAX, TICKETS_MAX,
};
use crate::sim::Canary;
use crate::sim::fault::Fault;
use crate::sim::limit::Limit;
use crate::sim::network::{Silence, Transit, side};
use crate::sim::node::Job;
use crate::sim::violation::Rule;
use crate::sync::{Action, Command, ConnId, DialId, Event, Lane, Notice, Side};
use crate::wire::{IndexSays, Message, Slot, Told};

/// Bytes that a frame may have beside its body: type and length.
const FRAME_HEADER_BYTES: usize = 16;
/// Questions of one engine: one frame more is read while fewer wait than stop it, and may lead to several.
const REQUESTS_MAX: usize = 2 * ASKS_WAITING_MAX;
/// Rings of one timer at one moment, as a bound on an engine that is never content.
const RINGS_MAX: u32 = 50;
/// Time after the trouble in which a deadline may still pass, in milliseconds: one request and one backoff.
const LATE_MS: u64 = 70_000;

/// Codes of a close that no honest peer deserves: version, protocol, refused, turned away.
const REJECTED: [u32; 4] = [2, 3, 7, 10];
const CODE_TIMEOUT: u32 = 4;
const CODE_TURNED_AWAY: u32 = 10;
const CODE_STORE: u32 = 6;

impl World<'_> {
    /// Gives an event to the engine of a device, and does what it wants done.
    pub(super) fn tell(&mut self, device: usize, event: Event) {
        let now = self.clocks(device);
        if let Some(up) = self.nodes.get_mut(device).and_then(|node| node.up.as_mut()) {
            up.engine.handle(now, event);
            self.drain(device);
        }
    }

    fn drain(&mut self, device: usize) {
        while let Some(action) = self.poll(device) {
            self.carry_out(device, action);
        }
        self.check_sizes(device);
        self.set_timer(device);
    }

    /// What an engine holds keeps the limits, whatever its peers do.
    fn check_sizes(&mut self, device: usize) {
        let Some(sizes) = self.node(device).and_then(|node| node.up.as_ref()).map(|up| up.engine.sizes())
        else {
            return;
        };
        let spaces = self.shared.len();
        let bounds = [
            ("connections", sizes.conns, CONNECTIONS_MAX),
            ("sessions", sizes.sessions, sizes.conns * spaces),
            ("peers", sizes.peers, self.plan.devices),
            ("questions", sizes.requests, REQUESTS_MAX),
            ("remembered vectors", sizes.bases, self.plan.devices * spaces),
            ("tickets", sizes.tickets, TICKETS_MAX),
            ("bytes of commits that arrived", sizes.inbox_bytes, INBOX_BYTES_MAX),
            ("bytes of pushed commits", sizes.unacked_bytes, LIVE_UNACKED_BYTES_MAX),
        ];
        for (what, count, max) in bounds.into_iter().filter(|(_, count, max)| count > max) {
            self.violate(Rule::Bounded, device, format!("{count} {what}, and {max} are the most"));
        }
    }

    fn poll(&mut self, device: usize) -> Option<Action> {
        self.node_mut(device)?.up.as_mut()?.engine.poll_action()
    }

    fn set_timer(&mut self, device: usize) {
        let Some(node) = self.nodes.get_mut(device) else { return };
        let life = node.life;
        let Some(up) = node.up.as_mut() else { return };
        let Some(due) = up.engine.poll_timeout().map(|due| due.ms()) else { return };
        if up.timer.is_none_or(|timer| due < timer) {
            up.timer = Some(due);
            self.at(due, Happening::Timer { device, life });
        }
    }

    pub(super) fn timer_due(&mut self, device: usize, life: u64) {
        let now = self.clocks(device);
        let stopped = self.strikes_now(Canary::StopTimers, 1) && self.now > self.plan.ends_ms / 2;
        let at_ms = self.now;
        let Some(up) = self.up(device, life) else { return };
        if stopped {
            return;
        }
        up.timer = up.timer.filter(|timer| *timer > at_ms);
        if up.engine.poll_timeout().is_some_and(|due| due <= now.instant) {
            up.rang = if up.rang.0 == at_ms { (at_ms, up.rang.1 + 1) } else { (at_ms, 1) };
            let endless = up.rang.1 > RINGS_MAX;
            up.engine.handle_timeout(now);
            if endless {
                return self.violate(Rule::Answered, device, "a timer rings without end".to_owned());
            }
            self.drain(device);
        } else {
            self.set_timer(device);
        }
    }

    fn carry_out(&mut self, device: usize, action: Action) {
        match action {
            Action::Dial { dial, peer, addresses } => self.dial(device, dial, &peer, &addresses),
            Action::Send { conn, lane, frame } => self.send(device, conn, lane, frame),
            Action::Greeted { conn } => {
                self.trace.line(self.now, format_args!("d{device} c{} greeted", conn.0))
            }
            Action::HoldBack { conn } => self.hold_back(device, conn),
            Action::GoOn { conn } => {
                self.trace.line(self.now, format_args!("d{device} c{} goes on", conn.0));
                self.after(0, Happening::ReadOn { device, conn });
            }
            Action::Close { conn, code, reason, .. } => self.close(device, conn, code, &reason),
            Action::Ask { request, ask } => self.push_job(device, Job::Ask(request, ask)),
            Action::Notify(notice) => self.notified(device, notice),
        }
    }

    fn notified(&mut self, device: usize, notice: Notice) {
        self.trace.line(self.now, format_args!("d{device} {notice:?}"));
        match notice {
            Notice::InSync { space, peer, in_sync } => {
                if let Some(shared) = self.shared_mut(&space) {
                    shared.oracle.set_in_sync(device, peer, in_sync);
                }
            }
            Notice::Synced { ticket, .. } => {
                if !self.strikes_now(Canary::ForgetTickets, 1)
                    && let Some(first) = self.shared.first_mut()
                {
                    first.oracle.reported(self.now, device, ticket);
                }
            }
            Notice::Peer { .. } | Notice::Fetched { .. } | Notice::Stored { .. } => {}
        }
    }

    fn send(&mut self, device: usize, conn: ConnId, lane: Lane, frame: Vec<u8>) {
        let Some(frame) = self.pass(device, frame) else { return };
        let frame = match self.options.canary {
            Some(Canary::HintAtHidden) => self.hint(frame),
            Some(_) | None => frame,
        };
        let short = blake3::hash(&frame).to_hex();
        let (bytes, short) = (frame.len(), short.get(..8).unwrap_or_default());
        self.trace.line(self.now, format_args!("d{device} c{} {lane:?} {bytes} {short}", conn.0));
        self.stats.frames += 1;
        let honest = !self.is_rogue(device) && !self.far(device, conn).is_some_and(|far| self.is_rogue(far));
        self.honest_frames += u64::from(honest);
        self.stats.frame_bytes += bytes as u64;
        if bytes > FRAME_BYTES_MAX + FRAME_HEADER_BYTES {
            self.violate(Rule::Bounded, device, format!("a frame of {bytes} bytes"));
        }
        if !self.is_rogue(device) {
            self.check_sent(device, conn, &frame);
            self.hear_answer(device, conn, &frame);
        }
        if let Some(transit) = self.network.send(self.now, conn, device, lane, frame) {
            if self.strikes_now(Canary::RepeatFrames, 9) {
                let frame = transit.frame.clone();
                let Transit { conn, end, lane, at_ms, .. } = transit;
                self.at(at_ms, Happening::Arrive(Transit { conn, end, lane, frame, at_ms }));
            }
            self.at(transit.at_ms, Happening::Arrive(transit));
        }
    }

    /// The device at the far end of a connection.
    pub(super) fn far(&self, device: usize, conn: ConnId) -> Option<usize> {
        let entry = self.network.conns.get(&conn)?;
        let end = entry.ends.iter().position(|end| end.device == device)?;
        entry.ends.get(1 - end).map(|end| end.device)
    }

    /// Nobody is sent what it may not read, nor told the name of it.
    fn check_sent(&mut self, device: usize, conn: ConnId, frame: &[u8]) {
        let Ok(Some(message)) = Message::from_frame(frame) else { return };
        for (slot, names) in named(&message) {
            self.check_told(device, conn, slot, &names, Vec::new());
        }
        if let Some(slot) = message.slot() {
            self.check_bytes(device, conn, slot, frame);
        }
        match message {
            Message::Live(live) => self.check_told(device, conn, live.slot, &[], vec![live.commit]),
            Message::LiveBatch(batch) => {
                self.check_told(device, conn, batch.slot, &[], batch.commits);
            }
            Message::Batch(batch) => self.check_told(device, conn, batch.slot, &[], batch.commits),
            Message::Fetched(fetched) => self.check_told(device, conn, fetched.slot, &[], fetched.commits),
            _ => {}
        }
    }

    fn check_bytes(&mut self, device: usize, conn: ConnId, slot: Slot, frame: &[u8]) {
        let (at_ms, Some((to, space, membership))) = (self.now, self.told(device, conn, slot)) else {
            return;
        };
        if let Some(shared) = self.shared_mut(&space) {
            shared.oracle.check_bytes(at_ms, device, &to, &membership, frame);
        }
    }

    /// To whom a device talks about which space, and how far it knows its members.
    fn told(&self, device: usize, conn: ConnId, slot: Slot) -> Option<(PeerId, SpaceId, Arc<Membership>)> {
        let to = self.far(device, conn).and_then(|far| self.node(far)).map(super::Node::peer)?;
        let up = self.nodes.get(device).and_then(|node| node.up.as_ref())?;
        let space = up.engine.space_of(conn, slot)?;
        Some((to, space, up.replica.membership(&space)?))
    }

    fn check_told(
        &mut self,
        device: usize,
        conn: ConnId,
        slot: Slot,
        names: &[CollectionName],
        commits: Vec<Vec<u8>>,
    ) {
        let (at_ms, Some((to, space, membership))) = (self.now, self.told(device, conn, slot)) else {
            return;
        };
        if let Some(shared) = self.shared_mut(&space) {
            for name in names {
                shared.oracle.check_named(at_ms, device, &to, &membership, name);
            }
            for commit in commits {
                shared.oracle.check_sent(at_ms, device, &to, &membership, &commit);
            }
        }
    }

    fn close(&mut self, device: usize, conn: ConnId, code: u32, reason: &str) {
        self.trace.line(self.now, format_args!("d{device} c{} closes with {code}: {reason}", conn.0));
        if code == CODE_TURNED_AWAY && self.far(device, conn).is_some_and(|far| self.is_rogue(far)) {
            self.was_full(Limit::Patience, 0, device);
        }
        // Nothing is expected of who keeps to no rule, nor between those of whom one was removed.
        let apart =
            |end: usize| self.is_rogue(end) || self.shared.iter().any(|space| space.out.contains(&end));
        if !apart(device) && !self.far(device, conn).is_some_and(apart) {
            self.check_close(device, code, reason);
        }
        let Some(end) = self.network.conns.get(&conn).and_then(|entry| entry.end_of(device)) else { return };
        let drained = self.network.drained_at(self.now, conn, end);
        let silent = self.network.conns.get(&conn).is_some_and(|entry| entry.is_silent(end));
        if let Some(entry) = self.network.conns.get_mut(&conn) {
            entry.close(end);
        }
        if !silent {
            self.at(drained, Happening::Ended { conn, end: 1 - end, reason: "closed by the peer" });
        }
        if let Some(life) = self.node(device).map(|node| node.life) {
            self.after(0, Happening::Closed { device, life, conn });
        }
        self.refresh();
    }

    fn check_close(&mut self, device: usize, code: u32, reason: &str) {
        let excused = self.node(device).is_some_and(|node| node.troubled || node.damaged);
        if REJECTED.contains(&code) {
            self.violate(
                Rule::NotRejected,
                device,
                format!("an honest peer was rejected with {code}: {reason}"),
            );
        }
        if code == CODE_STORE && !excused {
            self.violate(Rule::Store, device, reason.to_owned());
        }
        let calm = self.now > self.plan.ends_ms + LATE_MS;
        if code == CODE_TIMEOUT && calm {
            self.violate(Rule::Answered, device, format!("a deadline passed without any trouble: {reason}"));
        }
    }

    /// The engine hears that what it closed is closed.
    pub(super) fn closed(&mut self, device: usize, life: u64, conn: ConnId) {
        if self.up(device, life).is_some() {
            self.tell(device, Event::Disconnected { conn, reason: "closed here".to_owned() });
        }
    }

    fn dial(&mut self, device: usize, dial: DialId, peer: &PeerId, addresses: &[String]) {
        let Some(life) = self.node(device).map(|node| node.life) else { return };
        let other = self.peers.get(peer).copied().unwrap_or(device);
        self.trace.line(self.now, format_args!("d{device} dials {dial:?} d{other} {addresses:?}"));
        let here = self.node(other).is_some_and(|node| addresses.contains(&address(other, node.address)));
        let runs = self.node(other).is_some_and(|node| node.up.is_some());
        let fails = if here && !runs { self.dice.between(5..=300) } else { self.dice.between(2_000..=9_000) };
        if !here || !self.reaches(device, other) {
            return self.after(fails, Happening::DialFailed { device, life, dial });
        }
        let takes = 3 * self.network.delay_between(device, other) + self.dice.between(1..=5);
        self.after(takes, Happening::Handshake { device, life, dial, other });
    }

    /// Whether two devices can exchange anything.
    fn reaches(&self, device: usize, other: usize) -> bool {
        let awake = self.node(other).is_some_and(super::Node::is_awake);
        awake && device != other && !self.network.is_cut(device, other) && !self.network.is_cut(other, device)
    }

    pub(super) fn dial_failed(&mut self, device: usize, life: u64, dial: DialId) {
        if self.up(device, life).is_some() {
            self.tell(device, Event::DialFailed { dial, reason: "no answer".to_owned() });
        }
    }

    pub(super) fn handshake(&mut self, device: usize, life: u64, dial: DialId, other: usize) {
        if self.up(device, life).is_none() {
            return;
        }
        if !self.reaches(device, other) {
            return self.after(5_000, Happening::DialFailed { device, life, dial });
        }
        if !self.duplicating.is_empty() && self.dice.chance(60) {
            self.connect_twice(device, other);
        }
        let (conn, exporter) = self.network.connect(device, other);
        let (Some(dialer), Some(acceptor)) =
            (self.node(device).map(super::Node::peer), self.node(other).map(super::Node::peer))
        else {
            return;
        };
        self.trace.line(self.now, format_args!("d{device} c{} connects d{other}", conn.0));
        let mut tell = [
            (device, Event::Connected { conn, peer: acceptor, side: Side::Dialer, exporter }),
            (other, Event::Connected { conn, peer: dialer, side: Side::Acceptor, exporter }),
        ];
        if self.dice.chance(50) {
            tell.reverse();
        }
        tell.into_iter().for_each(|(device, event)| self.tell(device, event));
        self.refresh();
    }

    /// The first packets of an attempt came twice: the acceptor sees a connection that nobody holds.
    fn connect_twice(&mut self, device: usize, other: usize) {
        self.faults.add(Fault::DuplicateAttempt, 1);
        let (conn, exporter) = self.network.connect(device, other);
        if let Some(entry) = self.network.conns.get_mut(&conn) {
            entry.close(0);
        }
        self.trace.line(self.now, format_args!("d{device} c{} connects d{other} as nobody", conn.0));
        if let Some(peer) = self.node(device).map(super::Node::peer) {
            self.tell(other, Event::Connected { conn, peer, side: side(1), exporter });
        }
        self.refresh();
    }

    /// Nothing is read from a connection for a while.
    fn hold_back(&mut self, device: usize, conn: ConnId) {
        self.trace.line(self.now, format_args!("d{device} c{} held back", conn.0));
        if !self.far(device, conn).is_some_and(|far| self.is_rogue(far)) {
            self.violate(Rule::NotRejected, device, "an honest peer was held back".to_owned());
        }
        self.was_full(Limit::Work, 0, device);
        self.held_back.entry((device, conn)).or_default();
    }

    /// What waited is read, in its order and before anything else.
    pub(super) fn read_on(&mut self, device: usize, conn: ConnId) {
        for transit in self.held_back.remove(&(device, conn)).unwrap_or_default() {
            self.arrive(transit);
        }
    }

    pub(super) fn arrive(&mut self, transit: Transit) {
        let Some(device) = self.open_end(&transit) else { return };
        if let Some(waiting) = self.held_back.get_mut(&(device, transit.conn)) {
            return waiting.push(transit);
        }
        self.unread.entry(device).or_default().push_back(transit);
        self.read_waiting(device);
    }

    /// The device at the end to which a frame goes, while that is open.
    fn open_end(&self, transit: &Transit) -> Option<usize> {
        let end = self.network.conns.get(&transit.conn)?.ends.get(transit.end)?;
        end.open.then_some(end.device)
    }

    /// A device whose storage has enough to answer reads nothing more, from anybody, until it has answered some.
    fn asks_enough(&self, device: usize) -> bool {
        let up = self.node(device).and_then(|node| node.up.as_ref());
        up.is_some_and(|up| up.engine.sizes().requests >= ASKS_WAITING_MAX)
    }

    /// Reads what waited for the storage, as far as it goes.
    pub(super) fn read_waiting(&mut self, device: usize) {
        while !self.asks_enough(device)
            && let Some(transit) = self.unread.get_mut(&device).and_then(VecDeque::pop_front)
        {
            self.read(device, transit);
        }
    }

    fn read(&mut self, device: usize, transit: Transit) {
        if self.open_end(&transit).is_none() || self.is_lost(transit.lane, &transit.frame) {
            return;
        }
        let Transit { conn, mut frame, .. } = transit;
        if self.strikes_now(Canary::DamageFrames, 40)
            && let Some(byte) = frame.last_mut()
        {
            *byte ^= 0x10;
        }
        self.tell(device, Event::Frame { conn, bytes: frame });
    }

    /// Planted bugs of the network.
    fn is_lost(&mut self, lane: Lane, frame: &[u8]) -> bool {
        let message = |frame| Message::from_frame(frame).ok().flatten();
        match self.options.canary {
            Some(Canary::LoseAcks) => matches!(message(frame), Some(Message::Ack(_))),
            Some(Canary::LoseInterests) => matches!(message(frame), Some(Message::Interest(_))),
            Some(Canary::LoseFrames) if lane != Lane::Control => {
                matches!(message(frame), Some(Message::Live(_) | Message::LiveBatch(_) | Message::Batch(_)))
                    && self.strikes_now(Canary::LoseFrames, 7)
            }
            Some(_) | None => false,
        }
    }

    /// A silence that lasts as long as the idle timeout ends the connection at the end that hears nothing.
    pub(super) fn fell_silent(&mut self, silence: Silence) {
        if self.network.lasts(silence) {
            self.far_end_ended(silence.conn, silence.end, "idle for too long");
        }
    }

    /// A connection ends at one end, without that end's doing.
    pub(super) fn far_end_ended(&mut self, conn: ConnId, end: usize, reason: &'static str) {
        let Some(entry) = self.network.conns.get_mut(&conn) else { return };
        let Some(device) = entry.ends.get(end).filter(|end| end.open).map(|end| end.device) else { return };
        entry.close(end);
        self.trace.line(self.now, format_args!("d{device} c{} ends: {reason}", conn.0));
        self.tell(device, Event::Disconnected { conn, reason: reason.to_owned() });
        self.refresh();
    }

    /// Follows what stands between the devices.
    pub(super) fn refresh(&mut self) {
        let (begun, freed) = self.network.refresh(self.now);
        for silence in begun {
            self.after(crate::limits::IDLE_TIMEOUT_MS, Happening::Silent(silence));
        }
        for transit in freed {
            self.at(transit.at_ms, Happening::Arrive(transit));
        }
    }

    /// The other devices that a device dials.
    pub(super) fn dials(&self, device: usize) -> Vec<usize> {
        let dials = |other: usize| match (device + other + self.seed as usize) % 3 {
            0 => true,
            1 => device < other,
            _ => device > other,
        };
        let joined = |other: &usize| self.node(*other).is_some_and(super::Node::has_joined);
        if let Some(original) = self.node(device).and_then(|node| node.twin_of) {
            // Nobody knows where a copy runs: it reaches out itself.
            return self.plan.neighbours(original).into_iter().filter(joined).collect();
        }
        self.plan.neighbours(device).into_iter().filter(|other| dials(*other)).filter(joined).collect()
    }

    /// Tells a device to keep connections to those that it dials.
    pub(super) fn add_peers(&mut self, device: usize) {
        for other in self.dials(device) {
            let known = self.node(device).and_then(|node| node.known.get(&other)).copied().unwrap_or(0);
            if let Some(peer) = self.node(other).map(super::Node::peer) {
                let addresses = vec![address(other, known)];
                self.tell(device, Event::Command(Command::AddPeer { peer, addresses }));
            }
        }
    }

    /// Whether a planted bug strikes: every `every`-th time it could.
    pub(super) fn strikes_now(&mut self, canary: Canary, every: u64) -> bool {
        if self.options.canary != Some(canary) {
            return false;
        }
        self.strikes += 1;
        self.strikes.is_multiple_of(every)
    }
}

/// The collections that a message names, by the slot of their space.
fn named(message: &Message) -> Vec<(Slot, Vec<CollectionName>)> {
    let names = |vectors: &Vectors| vectors.keys().cloned().collect::<Vec<_>>();
    match message {
        Message::Hello(hello) | Message::HelloAck(hello) => {
            let told = hello.openings.iter().map(|opening| (opening.slot, &opening.told));
            told.map(|(slot, told)| (slot, names(&vectors_of(told)))).collect()
        }
        Message::Open(opening) => vec![(opening.slot, names(&vectors_of(&opening.told)))],
        Message::Vectors(told) => vec![(told.slot, names(&told.vectors))],
        Message::Ack(ack) => vec![(ack.slot, names(&ack.vectors))],
        Message::Offer(offer) => vec![(offer.slot, names(&offer.vectors))],
        Message::Wanted(wanted) => {
            vec![(wanted.slot, [names(&wanted.wanted), names(&wanted.later)].concat())]
        }
        Message::Heads(heads) => vec![(heads.slot, vec![heads.collection.clone()])],
        // The answer to heads of what is not shared: it repeats the name that the peer gave, whether there is such a
        // collection or not, and tells nothing.
        Message::Clocks(clocks) if clocks.answer && clocks.clocks.is_empty() => Vec::new(),
        Message::Clocks(clocks) => vec![(clocks.slot, vec![clocks.collection.clone()])],
        Message::Apart(apart) => vec![(apart.slot, apart.clocks.keys().cloned().collect())],
        Message::Fetch(fetch) => vec![(fetch.slot, vec![fetch.collection.clone()])],
        Message::IndexAsk(asked) => vec![(asked.slot, vec![asked.collection.clone()])],
        Message::IndexTold(told) => match &told.says {
            IndexSays::Here { collection } | IndexSays::Changed { collection, .. } => {
                vec![(told.slot, vec![collection.clone()])]
            }
            IndexSays::NotHere { .. } | IndexSays::Spans { .. } => Vec::new(),
        },
        Message::Interest(told) => vec![(told.slot, told.wants.named.keys().cloned().collect())],
        _ => Vec::new(),
    }
}

fn vectors_of(told: &Told) -> Vectors {
    match told {
        Told::Whole(vectors) | Told::Since { added: vectors, .. } => vectors.clone(),
        Told::Later | Told::Lost => Vectors::new(),
    }
}

/// The text of an address.
pub(super) fn address(device: usize, number: u64) -> String {
    format!("d{device}.{number}")
}

/// A commit with the leaves of all but one of its collections taken away, as no device should take it.
pub(super) fn half(space: SpaceId, bytes: &[u8]) -> Option<Vec<u8>> {
    let commit = Commit::decode(space, bytes).ok()?;
    let parts = commit.parts();
    let (kept, _) = parts.first().filter(|_| parts.len() > 1)?;
    Some(commit.blinded(&|collection| collection == kept)?.encode())
}
