//! One device: what survives the end of its process, and the process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Dice;
use super::plan::Plan;
use crate::access::Role;
use crate::exchange::{Ask, RequestId, Vectors};
use crate::id::{PeerId, Position};
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
    pub(super) role: Role,
    /// The wall clock minus the simulated time.
    pub(super) wall_offset_ms: i64,
    /// Counts the processes. What was meant for an earlier one is dropped.
    pub(super) life: u64,
    pub(super) up: Option<Up>,
    pub(super) asleep_until: Option<u64>,
    pub(super) asleep_since: u64,
    pub(super) joined: bool,
    /// Counts the addresses it has had.
    pub(super) address: u64,
    /// The addresses of others as this device knows them.
    pub(super) known: BTreeMap<usize, u64>,
    /// How many times slower than usual its disk is.
    pub(super) slowness: u64,
    /// A copy of the store, and what was promised when it was made.
    pub(super) backup: Option<Backup>,
    /// The store holds a damaged value.
    pub(super) damaged: bool,
    /// The store was made to fail.
    pub(super) troubled: bool,
    /// The power goes when the store fails.
    pub(super) crashes: bool,
}

/// A copy of a store.
#[derive(Clone, Debug)]
pub(super) struct Backup {
    pub(super) image: Image,
    pub(super) held: Vectors,
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
    /// Steps whose commits are written and not synced.
    pub(super) waiting: Vec<(Position, u64)>,
    /// When the timer rings.
    pub(super) timer: Option<u64>,
    /// The last moment at which the timer rang, and how often.
    pub(super) rang: (u64, u32),
}

/// Something for the storage to do.
#[derive(Debug)]
pub(super) enum Job {
    Ask(RequestId, Ask),
    Commit(u64),
    Sync,
}

impl Node {
    pub(super) fn new(number: usize, plan: &Plan, dice: &mut Dice) -> Self {
        let role = match number {
            0 => Role::Owner,
            1 => Role::Admin,
            _ if number + 1 == plan.devices && plan.devices > 3 && dice.chance(30) => Role::Reader,
            _ => Role::Writer,
        };
        Self {
            number,
            identity: Arc::new(Identity::from_seed(dice.bytes())),
            disk: Memory::new(),
            dice: Dice::new(dice.seed(), "device"),
            role,
            wall_offset_ms: wall(dice),
            life: 0,
            up: None,
            asleep_until: None,
            asleep_since: 0,
            joined: false,
            address: 0,
            known: BTreeMap::new(),
            slowness: 1,
            backup: None,
            damaged: false,
            troubled: false,
            crashes: false,
        }
    }

    pub(super) fn peer(&self) -> PeerId {
        self.identity.peer()
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
