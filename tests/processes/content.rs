//! What the processes write: commits over two or three entities that show when a part of one is missing.
//!
//! ```text
//! commit n of a writer      left[n / 16] = right[n / 16] = n, made by the first of the 16 commits
//! every fourth of them      also boards[..] += 1
//! ```
//!
//! A writer makes its commits one after the other. So what a store holds of a writer says how many of its
//! commits are there, and the boards must add up to exactly those.

use driftless::{Collection, Counter, Deserialize, Entity, EntityId, Error, Hydrate, Reconcile};
use driftless::{Serialize, Space};

/// Commits that write the same pair.
pub(crate) const COMMITS_PER_PAIR: u64 = 16;
/// One commit of so many also counts on a board.
pub(crate) const COMMITS_PER_COUNT: u64 = 4;
/// Boards, which all writers share.
pub(crate) const BOARDS: u64 = 8;

/// What the two halves of a pair hold.
#[derive(Clone, Debug, PartialEq, Eq, Reconcile, Hydrate, Serialize, Deserialize)]
pub(crate) struct Half {
    pub(crate) writer: String,
    pub(crate) pair: u64,
    pub(crate) number: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Reconcile, Hydrate, Serialize, Deserialize)]
pub(crate) struct Left {
    pub(crate) half: Half,
}

#[derive(Clone, Debug, PartialEq, Eq, Reconcile, Hydrate, Serialize, Deserialize)]
pub(crate) struct Right {
    pub(crate) half: Half,
}

#[derive(Clone, Debug, Reconcile, Hydrate, Serialize, Deserialize)]
pub(crate) struct Board {
    pub(crate) count: Counter,
}

impl Entity for Left {
    const COLLECTION: &'static str = "lefts";
    const VERSION: u32 = 1;
}

impl Entity for Right {
    const COLLECTION: &'static str = "rights";
    const VERSION: u32 = 1;
}

impl Entity for Board {
    const COLLECTION: &'static str = "boards";
    const VERSION: u32 = 1;
}

/// The collections of a space.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    space: Space,
    pub(crate) lefts: Collection<Left>,
    pub(crate) rights: Collection<Right>,
    pub(crate) boards: Collection<Board>,
}

impl Content {
    pub(crate) fn of(space: &Space) -> Self {
        let (lefts, rights) = (space.collection().expect("a name"), space.collection().expect("a name"));
        Self { space: space.clone(), lefts, rights, boards: space.collection().expect("a name") }
    }

    /// Makes the boards, once for all.
    pub(crate) async fn found(&self) {
        for board in 0..BOARDS {
            let fresh = Board { count: Counter::from(0) };
            self.boards.insert_with_id(board_id(board), &fresh).await.expect("fresh");
        }
    }

    /// Makes one commit of a writer.
    pub(crate) async fn commit(&self, writer: &str, number: u64) -> Result<(), Error> {
        let pair = number / COMMITS_PER_PAIR;
        let (left, right) = (pair_id("left", writer, pair), pair_id("right", writer, pair));
        let committed = self.space.commit(|tx| {
            if number.is_multiple_of(COMMITS_PER_PAIR) {
                let half = Half { writer: writer.to_owned(), pair, number };
                tx.insert_with_id(left, &Left { half: half.clone() })?;
                tx.insert_with_id(right, &Right { half })?;
            } else {
                tx.update(left, move |left: &mut Left| left.half.number = number)?;
                tx.update(right, move |right: &mut Right| right.half.number = number)?;
            }
            if number.is_multiple_of(COMMITS_PER_COUNT) {
                let board = board_id(pair % BOARDS);
                tx.update(board, |board: &mut Board| board.count.increment(1))?;
            }
            Ok(())
        });
        committed.await.map(drop)
    }
}

/// Returns how many of the first `commits` commits of a writer count on a board.
pub(crate) fn counted(commits: u64) -> u64 {
    commits.div_ceil(COMMITS_PER_COUNT)
}

pub(crate) fn pair_id(side: &str, writer: &str, pair: u64) -> EntityId {
    EntityId::from_key(side, format!("{writer}/{pair}").as_bytes())
}

fn board_id(board: u64) -> EntityId {
    EntityId::from_key("board", &board.to_le_bytes())
}
