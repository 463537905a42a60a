//! One device: what survives the end of its process, and the process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::Dice;
use super::malice::Rogue;
use crate::exchange::{Ask, RequestId, Vectors};
use crate::id::{CollectionName, Interest, PeerId, Position};
use crate::identity::Identity;
use crate::replica::{Reader, Replica};
use crate::store::kv::memory::{Image, Memory};
use crate::sync::Engine;

/// The first and the last moment that a clock may show, in Unix milliseconds: the years 1970 and 2100.
const WALL_MS: u64 = 4_102_444_800_000;

/// A device.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) number: usize,
    pub(super) identity: Arc<Identity>,
    pub(super) disk: Memory,
    pub(super) dice: Dice,
    /// The wall clock minus the simulated time.
    pub(super) wall_offset_ms: i64,
    /// Counts the processes. What was meant for an earlier one is dropped.
    pub(super) life: u64,
    pub(super) up: Option<Up>,
    pub(super) asleep_until: Option<u64>,
    pub(super) asleep_since: u64,
    /// The spaces that it came to, by number.
    pub(super) joined: BTreeSet<usize>,
    /// It ran for a while on a copy of another device's store, and will not come back.
    pub(super) gone: bool,
    /// What it is up to, when it keeps to no rule.
    pub(super) rogue: Option<Rogue>,
    /// The device whose store it began with a copy of.
    pub(super) twin_of: Option<usize>,
    /// Counts the addresses it has had.
    pub(super) address: u64,
    /// The addresses of others as this device knows them.
    pub(super) known: BTreeMap<usize, u64>,
    /// How many times slower than usual its disk is.
    pub(super) slowness: u64,
    /// A copy of the store, and what was promised when it was made.
    pub(super) backup: Option<Backup>,
    /// A bit of the store was flipped, ever since it was last restored.
    pub(super) damaged: bool,
    /// A bit was flipped since the device last looked for damage.
    pub(super) flipped: bool,
    /// The store was made to fail.
    pub(super) troubled: bool,
    /// The power goes when the store fails.
    pub(super) crashes: bool,
}

/// A copy of a store.
#[derive(Clone, Debug)]
pub(super) struct Backup {
    pub(super) image: Image,
    /// By number of the space.
    pub(super) held: BTreeMap<usize, Vectors>,
}

/// A running process.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) replica: Replica,
    pub(super) reader: Reader,
    pub(super) engine: Engine,
    pub(super) jobs: VecDeque<Job>,
    pub(super) busy: bool,
    /// Something was written since the last sync.
    pub(super) dirty: bool,
    /// Jobs since the last sync.
    pub(super) since_sync: usize,
    /// Steps whose commits are written and not synced, with the space.
    pub(super) waiting: Vec<(Position, u64, usize)>,
    /// When the timer rings.
    pub(super) timer: Option<u64>,
    /// The last moment at which the timer rang, and how often.
    pub(super) rang: (u64, u32),
}

/// Something for the storage to do.
#[derive(Debug)]
pub(super) enum Job {
    Ask(RequestId, Ask),
    /// The app does a step in a space.
    Commit(u64, usize),
    /// The app wants more or less of one collection of a space, or of all others.
    Interest(usize, Option<CollectionName>, Interest),
    Sync,
}

impl Node {
    pub(super) fn new(number: usize, dice: &mut Dice) -> Self {
        Self {
            number,
            identity: Arc::new(Identity::from_seed(dice.bytes())),
            disk: Memory::new(),
            dice: Dice::new(dice.seed(), "device"),
            wall_offset_ms: wall(dice),
            life: 0,
            up: None,
            asleep_until: None,
            asleep_since: 0,
            joined: BTreeSet::new(),
            gone: false,
            rogue: None,
            twin_of: None,
            address: 0,
            known: BTreeMap::new(),
            slowness: 1,
            backup: None,
            damaged: false,
            flipped: false,
            troubled: false,
            crashes: false,
        }
    }

    pub(super) fn peer(&self) -> PeerId {
        self.identity.peer()
    }

    /// A device that begins with a copy of this one's store.
    pub(super) fn twin(&self, number: usize, dice: &mut Dice) -> Self {
        let disk = Memory::new();
        disk.restore(&self.disk.snapshot());
        Self {
            identity: Arc::clone(&self.identity),
            disk,
            joined: self.joined.clone(),
            known: self.known.clone(),
            twin_of: Some(self.number),
            // What waits for a peer in the one waits in the other.
            damaged: self.damaged,
            ..Self::new(number, dice)
        }
    }

    /// Whether it came to any space.
    pub(super) fn has_joined(&self) -> bool {
        !self.joined.is_empty()
    }

    pub(super) fn is_awake(&self) -> bool {
        self.up.is_some() && self.asleep_until.is_none()
    }
}

/// What a wall clock may be set to: mostly anything, now and then an end of the range.
pub(super) fn wall(dice: &mut Dice) -> i64 {
    let ms = match dice.below(6) {
        0 => 0,
        1 => WALL_MS,
        _ => dice.below(WALL_MS),
    };
    i64::try_from(ms).unwrap_or(i64::MAX)
}
