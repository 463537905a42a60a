//! What the app on the devices does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::{Device, Dice, Tx, Unreadable};
use crate::doc::{Entity, Kind};
use crate::id::{ChangeHash, CollectionName, EntityId};

mod notes;

pub use notes::{Line, Note, Notes};

/// An app under simulation: your entities, what your users do, and what must hold in the end.
///
/// One value stands for the app on all devices, so that it can remember what was done where. Every run begins
/// with another value.
///
/// # Example
///
/// ```
/// # use std::sync::Arc;
/// # use driftless::{EntityId, doc::{Kind, KindOf}};
/// # use driftless::sim::{Device, Dice, Line, Tx, Unreadable, Workload};
/// #[derive(Debug)]
/// struct Journal;
/// impl Workload for Journal {
///     fn kinds(&self) -> Vec<Arc<dyn Kind>> {
///         vec![Arc::new(KindOf::<Line>::new().expect("a valid name"))]
///     }
///     fn act(&mut self, _: &Device<'_>, step: u64, dice: &mut Dice) -> Result<Tx, Unreadable> {
///         Ok(Tx::new().insert(EntityId::new(dice.bytes()), Line { step }))
///     }
/// }
/// ```
pub trait Workload: fmt::Debug {
    /// Returns the kinds of the entities: one [`KindOf`](crate::doc::KindOf) for each type.
    ///
    /// # Example
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use driftless::doc::Kind;
    /// use driftless::sim::{Notes, Workload};
    ///
    /// let kinds = Notes::new().kinds();
    /// assert_eq!(kinds[0].collection().as_str(), "notes");
    /// ```
    fn kinds(&self) -> Vec<Arc<dyn Kind>>;

    /// Does something on a device: reads what it wants to know, and returns the commit to make there.
    ///
    /// `step` numbers the call; the number is what [`Settled`] speaks of. All chance comes from `dice`.
    ///
    /// # Errors
    ///
    /// [`Unreadable`], when the device's store said so.
    ///
    /// # Example
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use driftless::sim::{Device, Dice, Notes, Tx, Unreadable, Workload};
    /// fn begin(app: &mut Notes, device: &Device<'_>) -> Result<Tx, Unreadable> {
    ///     app.act(device, 0, &mut Dice::new(7, "app"))
    /// }
    /// ```
    fn act(&mut self, device: &Device<'_>, step: u64, dice: &mut Dice) -> Result<Tx, Unreadable>;

    /// Hears that the database refused a commit. It was not made, and the reason is for people.
    ///
    /// # Example
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use driftless::sim::{Notes, Workload};
    ///
    /// let mut app = Notes::new();
    /// app.refused(7, "the disk is full");
    /// ```
    fn refused(&mut self, step: u64, reason: &str) {
        let _ = (step, reason);
    }

    /// Checks a device when all trouble is over and all devices have synced: returns what is wrong.
    ///
    /// # Errors
    ///
    /// Text that says what is wrong.
    ///
    /// # Example
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use driftless::sim::{Device, Notes, Settled, Workload};
    /// fn is_right(app: &Notes, device: &Device<'_>, settled: &Settled) -> bool {
    ///     app.check(device, settled).is_ok()
    /// }
    /// ```
    fn check(&self, device: &Device<'_>, settled: &Settled) -> Result<(), String> {
        let _ = (device, settled);
        Ok(())
    }
}

/// What came of the steps of a workload.
///
/// A commit that was acknowledged as synced survives; one that was not may have been lost in a crash, wholly.
///
/// # Example
///
/// ```
/// # use std::sync::Arc;
/// # use driftless::sim::Settled;
/// fn lost(settled: &Settled, steps: &[u64]) -> usize {
///     steps.iter().filter(|step| !settled.survived(**step)).count()
/// }
/// assert_eq!(lost(&Settled::default(), &[1, 2]), 2);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Settled {
    pub(super) survived: BTreeSet<u64>,
    /// Parts of steps that survived without them.
    pub(super) lost: BTreeSet<(u64, CollectionName)>,
    /// The change that a step made in an entity.
    pub(super) changes: BTreeMap<(EntityId, u64), ChangeHash>,
    /// What each change of an entity follows.
    pub(super) deps: BTreeMap<ChangeHash, Vec<ChangeHash>>,
}

impl Settled {
    /// Tells whether the commit of a step is there.
    ///
    /// # Example
    ///
    /// ```
    /// use std::sync::Arc;
    /// use driftless::sim::Settled;
    ///
    /// assert!(!Settled::default().survived(7));
    /// ```
    #[must_use]
    pub fn survived(&self, step: u64) -> bool {
        self.survived.contains(&step)
    }

    /// Tells whether the part of a step is there that touches the entities of one type. A device that wants one
    /// collection and not another holds a part of a commit over both, and that part outlives the device that made it.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::sim::{Line, Settled};
    ///
    /// assert!(!Settled::default().survived_in::<Line>(7));
    /// ```
    #[must_use]
    pub fn survived_in<T: Entity>(&self, step: u64) -> bool {
        let lost =
            |(of, collection): &(u64, CollectionName)| *of == step && collection.as_str() == T::COLLECTION;
        self.survived(step) && !self.lost.iter().any(lost)
    }

    /// Tells whether the step `later` changed an entity knowing what the step `earlier` did to it.
    ///
    /// # Example
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use driftless::EntityId;
    /// use driftless::sim::Settled;
    ///
    /// let note = EntityId::new([1; 16]);
    /// assert!(!Settled::default().saw(&note, 8, 7));
    /// ```
    #[must_use]
    pub fn saw(&self, entity: &EntityId, later: u64, earlier: u64) -> bool {
        let change = |step| self.changes.get(&(*entity, step)).copied();
        let (Some(from), Some(wanted)) = (change(later), change(earlier)) else { return false };
        let mut open = vec![from];
        let mut seen = BTreeSet::new();
        while let Some(hash) = open.pop() {
            for dep in self.deps.get(&hash).into_iter().flatten() {
                if *dep == wanted {
                    return true;
                }
                if seen.insert(*dep) {
                    open.push(*dep);
                }
            }
        }
        false
    }

    /// Returns those of the steps that survived and that no other of them followed knowingly: the ones whose
    /// work must still be visible, more than one when they were concurrent.
    ///
    /// # Example
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use driftless::EntityId;
    /// use driftless::sim::Settled;
    ///
    /// let note = EntityId::new([1; 16]);
    /// assert!(Settled::default().latest(&note, &[7, 8]).is_empty());
    /// ```
    #[must_use]
    pub fn latest(&self, entity: &EntityId, steps: &[u64]) -> Vec<u64> {
        let is_part = |step| self.lost.iter().any(|(of, _)| *of == step);
        let is_there = |step: &u64| {
            self.survived(*step) && (!is_part(*step) || self.changes.contains_key(&(*entity, *step)))
        };
        let alive: Vec<u64> = steps.iter().copied().filter(is_there).collect();
        let over = |step: u64| alive.iter().any(|other| *other != step && self.saw(entity, *other, step));
        alive.iter().copied().filter(|step| !over(*step)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_steps_are_those_that_nobody_followed_knowingly() {
        let entity = EntityId::new([1; 16]);
        let hash = |number: u8| ChangeHash::new([number; 32]);
        // 1 <- 2 <- 4, 1 <- 3; 5 was lost.
        let settled = Settled {
            survived: BTreeSet::from([1, 2, 3, 4]),
            lost: BTreeSet::new(),
            changes: (1..=4).map(|step| ((entity, step), hash(step as u8))).collect(),
            deps: BTreeMap::from([
                (hash(1), vec![]),
                (hash(2), vec![hash(1)]),
                (hash(3), vec![hash(1)]),
                (hash(4), vec![hash(2)]),
            ]),
        };

        assert_eq!(settled.latest(&entity, &[1, 2, 3, 4, 5]), [3, 4]);
        assert!(settled.saw(&entity, 4, 1) && !settled.saw(&entity, 3, 2) && !settled.saw(&entity, 1, 4));
        assert!(!settled.survived(5));
    }
}
