//! At the end of a run, when all is said and equal: devices that want an index only list what there is.

use super::{Phase, World};
use crate::access::Action;
use crate::id::{CollectionName, EntityId, Interest, SpaceId};
use crate::sim::Dice;
use crate::sim::node::Job;
use crate::sim::violation::Rule;
use crate::sync::{Command, Event};

/// Time in which an index must have been told, in milliseconds.
const LISTING_MS: u64 = 20_000;
/// Documents that are fetched at once.
const FETCHED_MAX: u64 = 3;

impl World<'_> {
    /// Those that are connected to the founder want the index of one collection.
    pub(super) fn begin_listing(&mut self) {
        for (device, number, _) in self.listing() {
            let wants = self.listed_collection(device);
            self.push_job(device, Job::Interest(number, wants, Interest::Index));
        }
        self.phase = Phase::Listing(self.now);
    }

    pub(super) fn look_listing(&mut self, since: u64) {
        if self.now < since + LISTING_MS {
            return;
        }
        let mut wrong = Vec::new();
        for (device, number, space) in self.listing() {
            let Some(collection) = self.listed_collection(device) else { continue };
            let founder = self.plan.spaces.get(number).map_or(0, |space| space.founder);
            let of = |device: usize, told: bool| {
                let up = self.node(device)?.up.as_ref()?;
                let index = up.reader.index(&space, &collection, told, None, usize::MAX).ok()?;
                Some(index.into_iter().map(|entry| entry.listed).collect::<Vec<_>>())
            };
            let (here, there) = (of(device, true), of(founder, false));
            if here != there {
                let count = |index: Option<Vec<_>>| index.map_or(0, |index| index.len());
                let (here, there) = (count(here), count(there));
                wrong
                    .push((device, format!("{collection}: it lists {here} entities, and there are {there}")));
            }
        }
        wrong.into_iter().for_each(|(device, text)| self.violate(Rule::Convergent, device, text));
        self.phase = Phase::Done;
    }

    fn listed_collection(&self, device: usize) -> Option<CollectionName> {
        let kind = self.kinds.get(device % self.kinds.len().max(1));
        kind.map(|kind| kind.collection().clone())
    }

    /// Devices that may read what the founder has, and are connected to it; nobody that lies is among the others.
    fn listing(&self) -> Vec<(usize, usize, SpaceId)> {
        let mut listing = Vec::new();
        for (number, (planned, shared)) in self.plan.spaces.iter().zip(&self.shared).enumerate() {
            let Some(space) = shared.id.filter(|_| self.plan.rogues.is_empty()) else { continue };
            let neighbours = self.plan.neighbours(planned.founder);
            let membership =
                self.node(planned.founder).and_then(|node| node.up.as_ref()?.replica.membership(&space));
            let Some(membership) = membership else { continue };
            for device in self.active(number).into_iter().filter(|device| neighbours.contains(device)) {
                let (peer, collection) = (self.peer(device), self.listed_collection(device));
                if collection.is_some_and(|collection| membership.may(&peer, Action::Read, &collection)) {
                    listing.push((device, number, space));
                }
            }
        }
        listing
    }

    /// An app looks at documents of a collection one by one, wherever they are.
    pub(super) fn fetch_some(&mut self, device: usize, number: usize, dice: &mut Dice) {
        let Some((space, oracle)) =
            self.shared.get(number).and_then(|shared| Some((shared.id?, &shared.oracle)))
        else {
            return;
        };
        let Some(collection) = self.kinds.get(dice.below(self.kinds.len() as u64) as usize) else { return };
        let collection = collection.collection().clone();
        let known: Vec<EntityId> = oracle.entities(&collection);
        let entities: Vec<EntityId> =
            (0..dice.between(1..=FETCHED_MAX)).filter_map(|_| dice.pick(&known).copied()).collect();
        if !entities.is_empty() {
            let ticket = self.now;
            self.tell(device, Event::Command(Command::Fetch { space, collection, entities, ticket }));
        }
    }
}
