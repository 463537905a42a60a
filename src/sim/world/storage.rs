//! The storage of a device: one queue, one job at a time, one sync for all that was written.

use super::engine::half;
use super::{Happening, World};
use crate::exchange::{Answer, Ask, CollectionState, Packed, RequestId};
use crate::id::{CollectionName, Contents, Interest, PeerId, Position, SpaceId};
use crate::replica::{Intent, ReplicaError, RowChange, Told};
use crate::sim::fault::Fault;
use crate::sim::node::{Job, Up};
use crate::sim::oracle::Place;
use crate::sim::violation::Rule;
use crate::sim::{Canary, Device, Dice};
use crate::sync::Event;
use std::collections::BTreeMap;

/// Jobs after which a sync comes even when more wait.
const GROUP_MAX: usize = 16;

impl World<'_> {
    /// The process of a device, while it is the same as when something was begun.
    pub(super) fn up(&mut self, device: usize, life: u64) -> Option<&mut Up> {
        self.node_mut(device).filter(|node| node.life == life)?.up.as_mut()
    }

    pub(super) fn push_job(&mut self, device: usize, job: Job) {
        let Some(up) = self.node_mut(device).and_then(|node| node.up.as_mut()) else { return };
        up.jobs.push_back(job);
        if !up.busy {
            self.next_job(device);
        }
    }

    /// Plans the next job, a sync when one is due.
    fn next_job(&mut self, device: usize) {
        let Some(node) = self.nodes.get_mut(device) else { return };
        let (life, slowness) = (node.life, node.slowness);
        let Some(up) = node.up.as_mut() else { return };
        if up.dirty && (up.jobs.is_empty() || up.since_sync >= GROUP_MAX) {
            up.jobs.push_front(Job::Sync);
            up.dirty = false;
            up.since_sync = 0;
        }
        let takes = match up.jobs.front() {
            None => {
                up.busy = false;
                return self.rest(device);
            }
            Some(Job::Sync) => node.dice.between(1..=30),
            Some(Job::Ask(..) | Job::Commit(..) | Job::Interest(..)) => node.dice.between(0..=2),
        };
        up.busy = true;
        self.after(takes * slowness, Happening::Storage { device, life });
    }

    /// What is due that nobody waits for is done, unless the storage is at work: then it is done behind that.
    pub(super) fn leisure(&mut self, device: usize, life: u64) {
        if self.up(device, life).is_some_and(|up| !up.busy) {
            self.rest(device);
        }
    }

    /// The storage of a device has nothing to do: it tidies up, and is woken when something is due.
    fn rest(&mut self, device: usize) {
        let now = self.clocks(device);
        let Some(node) = self.nodes.get_mut(device) else { return };
        let (life, Some(up)) = (node.life, node.up.as_mut()) else { return };
        let before = up.replica.position();
        let tidied = up.replica.housekeep(now);
        let (due, moved) = (up.replica.due(), up.replica.position() != before);
        up.dirty |= moved;
        self.forward(device, None);
        if let Err(error) = tidied {
            return self.store_error(device, &error.to_string());
        }
        if let Some(due) = due {
            self.after(due.ms_since(now.instant), Happening::Leisure { device, life });
        }
        if moved {
            self.next_job(device);
        }
    }

    pub(super) fn storage_due(&mut self, device: usize, life: u64) {
        let Some(up) = self.up(device, life) else { return };
        let Some(job) = up.jobs.pop_front() else { return };
        up.since_sync += 1;
        self.stats.jobs += 1;
        match job {
            Job::Ask(request, ask) => self.answer(device, request, ask),
            Job::Commit(step, space) => self.commit(device, step, space),
            Job::Interest(space, collection, interest) => {
                self.set_interest(device, space, collection, interest)
            }
            Job::Sync => self.sync(device),
        }
        if self.up(device, life).is_some() {
            self.next_job(device);
        }
    }

    fn answer(&mut self, device: usize, request: RequestId, ask: Ask) {
        let now = self.clocks(device);
        let told = matches!(ask, Ask::State { .. }) && self.options.canary != Some(Canary::StateUnsynced);
        if told {
            self.sync(device);
        }
        let at_ms = self.now;
        if let Ask::Acked { space, peer, vectors } = &ask
            && let Some(shared) = self.shared_mut(space)
        {
            shared.oracle.receipt(at_ms, device, peer, vectors);
        }
        let writes = matches!(
            ask,
            Ask::Receive { .. } | Ask::TakeFetched { .. } | Ask::Learn { .. } | Ask::Adopt { .. }
        );
        let (ask, instead) = self.plant(device, ask);
        let Some(up) = self.node_mut(device).and_then(|node| node.up.as_mut()) else { return };
        up.dirty |= writes;
        let mut answer = up.replica.answer(now, ask);
        if let (Answer::Learned { .. }, Some(new)) = (&answer, instead) {
            answer = Answer::Learned { new, offence: None };
        }
        if let Answer::Commits { commits, .. } | Answer::Lacking { commits, .. } = &mut answer
            && self.options.canary == Some(Canary::FeedOmits)
        {
            commits.retain(|packed| packed.key.parts.iter().all(|(_, oseq)| oseq.0 % 4 != 0));
        }
        if let Answer::Index(Some(spans)) = &mut answer
            && self.options.canary == Some(Canary::IndexOmits)
        {
            spans.iter_mut().for_each(|told| {
                if let Contents::Entries(entries) = &mut told.contents {
                    entries
                        .retain(|listed| listed.entity.as_bytes().first().is_some_and(|byte| byte % 4 != 0));
                }
            });
        }
        self.forward(device, None);
        let failed = if let Answer::Failed(reason) = &answer { Some(reason.clone()) } else { None };
        if let Some(reason) = &failed {
            self.trace.line(self.now, format_args!("d{device} a question failed: {reason}"));
        }
        self.tell(device, Event::Answer { request, answer });
        self.read_waiting(device);
        if let Some(reason) = failed {
            self.store_error(device, &reason);
        }
    }

    /// Planted bugs of the storage: changes the question, or the answer to it.
    fn plant(&mut self, device: usize, ask: Ask) -> (Ask, Option<usize>) {
        match (self.options.canary, ask) {
            (Some(Canary::SwallowCommits), Ask::Receive { space, from, mut commits }) => {
                commits.retain(|_| !self.strikes_now(Canary::SwallowCommits, 6));
                (Ask::Receive { space, from, commits }, None)
            }
            (Some(Canary::HalfCommits), Ask::Receive { space, from, commits }) => {
                let halved = commits.into_iter().map(|bytes| half(space, &bytes).unwrap_or(bytes));
                (Ask::Receive { space, from, commits: halved.collect() }, None)
            }
            (Some(Canary::LoseStatements), Ask::Learn { space, from, statements }) => {
                let count = statements.len();
                (Ask::Learn { space, from, statements: Vec::new() }, Some(count))
            }
            (Some(Canary::FeedUnblinded), Ask::Feed { space, have, scope, bytes_max, .. }) => {
                let to = self.node(0).map_or(PeerId::new([0; 32]), super::Node::peer);
                (Ask::Feed { space, to, have, scope, bytes_max }, None)
            }
            (Some(Canary::WrongReceipts), Ask::Acked { space, peer, vectors }) => {
                let others = self.nodes.iter().filter(|node| node.number != device && node.peer() != peer);
                let other = others.map(super::Node::peer).next();
                (Ask::Acked { space, peer: other.unwrap_or(peer), vectors }, None)
            }
            (_, ask) => (ask, None),
        }
    }

    /// The app on a device does something.
    fn commit(&mut self, device: usize, step: u64, number: usize) {
        let Some(space) = self.shared.get(number).and_then(|shared| shared.id) else { return };
        let now = self.clocks(device);
        let mut dice = Dice::new(self.seed, &format!("step {step}"));
        self.scrub(device);
        let Some(node) = self.nodes.get_mut(device) else { return };
        let damaged = node.damaged;
        let Some(up) = node.up.as_mut() else { return };
        let membership = up.replica.membership(&space);
        let view = Device::new(device, Place { id: space, number }, &up.reader, membership);
        let tx = match self.workload.act(&view, step, &mut dice) {
            Ok(tx) => tx,
            // The app cannot read what waits for a peer.
            Err(error) if damaged => {
                return self.trace.line(self.now, format_args!("d{device} step {step}: {}", error.reason));
            }
            Err(error) => return self.store_error(device, &error.reason),
        };
        if tx.writes.is_empty() {
            return;
        }
        self.trace.line(self.now, format_args!("d{device} step {step}: {tx:?}"));
        if self.options.canary == Some(Canary::ForgetDeletes)
            && tx.writes.iter().any(|write| write.intent == Intent::Delete)
        {
            if let Some(shared) = self.shared.get_mut(number) {
                shared.oracle.pretended.insert(step);
            }
            return;
        }
        match up.replica.commit(now, space, tx.writes) {
            Ok(committed) => {
                if committed.key.is_some() {
                    up.dirty = true;
                    up.waiting.push((committed.position, step, number));
                }
                self.stats.commits += 1;
                self.forward(device, Some(step));
            }
            Err(ReplicaError::Store(error)) => {
                self.workload.refused(step, &error.to_string());
                self.store_error(device, &error.to_string());
            }
            Err(error) => {
                self.trace.line(self.now, format_args!("d{device} step {step} is refused: {error}"));
                self.stats.refused += 1;
                self.workload.refused(step, &error.to_string());
            }
        }
    }

    /// The app on a device wants more or less of a collection.
    fn set_interest(
        &mut self,
        device: usize,
        number: usize,
        collection: Option<CollectionName>,
        interest: Interest,
    ) {
        let Some(space) = self.shared.get(number).and_then(|shared| shared.id) else { return };
        let Some(up) = self.nodes.get_mut(device).and_then(|node| node.up.as_mut()) else { return };
        match up.replica.set_interest(space, collection, interest) {
            Ok(()) => up.dirty = true,
            Err(error) => return self.store_error(device, &error.to_string()),
        }
        if let Some(shared) = self.shared.get_mut(number) {
            shared.oracle.is_split = true;
        }
        self.faults.add(Fault::InterestChanged, 1);
        self.forward(device, None);
    }

    /// Makes durable what was written, tells the engine, and acknowledges to the app.
    pub(super) fn sync(&mut self, device: usize) {
        if self.options.canary == Some(Canary::AckBeforeSync) {
            return self.tell(device, Event::Durable { upto: Position(u64::MAX) });
        }
        let Some(up) = self.nodes.get_mut(device).and_then(|node| node.up.as_mut()) else { return };
        let upto = match up.replica.sync() {
            Ok(upto) => upto,
            Err(error) => return self.store_error(device, &error.to_string()),
        };
        let node = self.node(device);
        let (original, damaged) = (node.and_then(|node| node.twin_of), node.is_some_and(|node| node.damaged));
        for (number, space) in self.spaces_of(device) {
            let collections = self.collections(device, space);
            if let Some(shared) = self.shared.get_mut(number) {
                shared.oracle.synced(device, original, &collections);
            }
        }
        let Some(up) = self.nodes.get_mut(device).and_then(|node| node.up.as_mut()) else { return };
        let (done, waiting) = std::mem::take(&mut up.waiting).into_iter().partition(|(at, ..)| *at <= upto);
        up.waiting = waiting;
        let done: Vec<(Position, u64, usize)> = done;
        for (_, step, number) in done {
            self.trace.line(self.now, format_args!("d{device} step {step} is synced"));
            if let Some(shared) = self.shared.get_mut(number) {
                shared.oracle.acknowledged(self.now, device, step, damaged);
            }
        }
        self.forward(device, None);
        if self.options.canary != Some(Canary::DropDurable) {
            self.tell(device, Event::Durable { upto });
        }
    }

    /// The collections of a device in a space as they are written.
    pub(super) fn collections(
        &mut self,
        device: usize,
        space: SpaceId,
    ) -> BTreeMap<CollectionName, CollectionState> {
        let now = self.clocks(device);
        let up = self.nodes.get_mut(device).and_then(|node| node.up.as_mut());
        match up.map(|up| up.replica.answer(now, Ask::State { space })) {
            Some(Answer::State(Some(state))) => state.collections,
            Some(_) | None => BTreeMap::new(),
        }
    }

    /// Passes on what the replica has to tell; `step` made the commits that are its own.
    pub(super) fn forward(&mut self, device: usize, step: Option<u64>) {
        let Some(up) = self.node_mut(device).and_then(|node| node.up.as_mut()) else { return };
        for told in up.replica.drain() {
            match told {
                Told::Stored { space, from, stored } => {
                    self.stored(device, space, from, &stored.commit, step);
                    self.tell(device, Event::Stored { space, from, stored });
                }
                Told::SpaceChanged(state) | Told::InterestChanged(state) => {
                    self.tell(device, Event::SpaceChanged(state));
                }
                Told::SpaceGone { space } => self.tell(device, Event::SpaceGone { space }),
                Told::Changed { space, position, entities, .. } => {
                    self.changed(device, space, position, &entities);
                }
                Told::Damaged { space, entities } => {
                    self.met_damage(device, space, entities.len());
                    self.tell(device, Event::Damaged { space });
                }
                Told::Expired { space, .. } => self.tell(device, Event::Damaged { space }),
                Told::Repaired { .. } => self.stats.entities_repaired += 1,
                Told::JoinRequested { .. } | Told::Indexed { .. } => {}
                Told::Conflict { .. } => self.stats.conflicts += 1,
                Told::Clash { space, commits, to } => {
                    self.tell(device, Event::Clash { space, commits, to });
                }
                Told::TakenBack { .. } => {}
            }
        }
    }

    fn stored(
        &mut self,
        device: usize,
        space: SpaceId,
        from: Option<PeerId>,
        packed: &Packed,
        step: Option<u64>,
    ) {
        let at_ms = self.now;
        let Some(up) = self.nodes.get(device).and_then(|node| node.up.as_ref()) else { return };
        let Some(shared) = self.shared.iter_mut().find(|shared| shared.id == Some(space)) else { return };
        shared.oracle.stored(at_ms, device, from, space, packed);
        if let (None, Some(step)) = (from, step) {
            return shared.oracle.made(step, device, space, packed);
        }
        let (membership, me) = (up.replica.membership(&space), up.replica.peer());
        let readable = |collection: &CollectionName| {
            membership.as_ref().is_none_or(|all| all.may(&me, crate::access::Action::Read, collection))
        };
        shared.oracle.check_arrived(at_ms, device, &space, &packed.key, &readable, &up.reader);
    }

    fn changed(
        &mut self,
        device: usize,
        space: SpaceId,
        position: Position,
        entities: &[(CollectionName, crate::id::EntityId, RowChange)],
    ) {
        self.trace.line(self.now, format_args!("d{device} {position:?} {entities:?}"));
        let (at_ms, twice) = (self.now, self.strikes_now(Canary::TellTwice, 5));
        let Some(shared) = self.shared_mut(&space) else { return };
        for _ in 0..=u8::from(twice) {
            shared.oracle.changed(at_ms, device, position, entities);
        }
    }

    /// The store of a device failed: that is right when it was made to, and only then.
    pub(super) fn store_error(&mut self, device: usize, reason: &str) {
        self.trace.line(self.now, format_args!("d{device} store: {reason}"));
        let Some(node) = self.node(device) else { return };
        let (troubled, crashes) = (node.troubled, node.crashes);
        if node.up.is_none() {
            return;
        }
        match (troubled, crashes) {
            (true, true) => self.crash(device),
            (true, false) => self.kill(device),
            (false, _) => self.violate(Rule::Store, device, reason.to_owned()),
        }
    }

    /// Looks through the whole store of a device for damage that was done since it last looked.
    pub(super) fn scrub(&mut self, device: usize) {
        let now = self.clocks(device);
        let Some(node) = self.node_mut(device).filter(|node| node.flipped) else { return };
        let Some(up) = node.up.as_mut() else { return };
        let (mut after, mut found) = (None, Ok(()));
        loop {
            match up.replica.verify(now, after.as_ref()) {
                Ok(verified) => after = verified.next,
                Err(error) => found = Err(error),
            }
            if after.is_none() || found.is_err() {
                break;
            }
        }
        up.dirty = true;
        node.flipped = found.is_err();
        self.forward(device, None);
        if let Err(error) = found {
            self.store_error(device, &error.to_string());
        }
    }

    /// A store met damage and made the best of it: it holds less, and promises no more than that.
    fn met_damage(&mut self, device: usize, space: SpaceId, entities: usize) {
        self.stats.damage_met += 1;
        self.stats.entities_damaged += entities as u64;
        if self.node(device).is_none_or(|node| !node.damaged) {
            return self.violate(Rule::Store, device, "damage was told where there was none".to_owned());
        }
        let collections = self.collections(device, space).into_iter();
        let held = collections.map(|(name, state)| (name, state.vector)).collect();
        if let Some(shared) = self.shared_mut(&space) {
            shared.oracle.damaged(device, &held);
        }
    }

    /// Everybody is in sync: what is still damaged, nobody has. The people who use the device accept the loss.
    pub(super) fn accept_losses(&mut self) {
        for device in 0..self.nodes.len() {
            for (_, space) in self.spaces_of(device) {
                if let Err(error) = self.accept_losses_in(device, space) {
                    return self.violate(Rule::Store, device, error.to_string());
                }
            }
            self.forward(device, None);
        }
    }

    fn accept_losses_in(&mut self, device: usize, space: SpaceId) -> Result<(), ReplicaError> {
        let now = self.clocks(device);
        let Some(up) = self.node_mut(device).and_then(|node| node.up.as_mut()) else { return Ok(()) };
        let damaged = up.reader.damaged(&space)?;
        for (collection, entity, _) in &damaged {
            up.replica.accept_loss(now, space, collection, *entity)?;
        }
        self.stats.losses_accepted += damaged.len() as u64;
        Ok(())
    }
}
