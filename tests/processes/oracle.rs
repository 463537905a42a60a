//! What must hold of what a node can read: during the run, and at the end.

use std::collections::BTreeMap;

use driftless::{EntityId, Node, Space};

use super::content::{COMMITS_PER_PAIR, Content, Half, counted, pair_id};

/// Pairs that one look takes in.
const PAIRS_PER_LOOK: usize = 64;

/// Acknowledged commits of each writer.
pub(crate) type Acked = BTreeMap<String, u64>;

/// Looks at some pairs behind `after` while others write, and returns where to go on; `None` after the last.
///
/// Numbers only grow. So with a left half read before and after it, a right half is between the two, unless
/// commits can be seen in part.
pub(crate) async fn look(content: &Content, after: Option<EntityId>) -> Result<Option<EntityId>, String> {
    let page = content.lefts.page(after, PAIRS_PER_LOOK).await.map_err(|error| format!("{error:?}"))?;
    for (left_id, before) in page.entities {
        let Half { writer, pair, .. } = &before.half;
        let right = content.rights.get(pair_id("right", writer, *pair)).await;
        let behind = content.lefts.get(left_id).await;
        let (right, behind) = (right.map_err(said)?, behind.map_err(said)?);
        let (Some(right), Some(behind)) = (right, behind) else {
            return Err(format!("half a commit: {:?} has no other half", before.half));
        };
        if !(before.half.number..=behind.half.number).contains(&right.half.number) {
            return Err(format!("half a commit: {before:?}, then {right:?}, then {behind:?}"));
        }
    }
    Ok(page.next)
}

/// Checks a node at rest: nothing acknowledged is missing, no commit is there in part or twice, and nothing is
/// held back. Returns the fingerprint.
pub(crate) async fn check(node: &Node, space: &Space, acked: &Acked) -> Result<String, String> {
    let content = Content::of(space);
    let held = held(&content).await?;
    for (writer, acked) in acked {
        let found = held.get(writer).copied().unwrap_or(0);
        if found < *acked {
            return Err(format!("lost: {acked} commits of {writer} were acknowledged, {found} are there"));
        }
        if found > acked + 1 {
            return Err(format!(
                "{found} commits of {writer} are there, which was killed in its {}th",
                acked + 1
            ));
        }
    }
    let boards = content.boards.all().await.map_err(said)?;
    let shown: i64 = boards.iter().map(|(_, board)| board.count.value()).sum();
    let made: u64 = held.values().copied().map(counted).sum();
    if shown != made.cast_signed() {
        return Err(format!("the boards show {shown} of {made} counts"));
    }
    let status = space.status().await.map_err(said)?;
    if !status.quarantined.is_empty() {
        return Err(format!("{} holds back {:?}", node.peer().short(), status.quarantined));
    }
    Ok(status.fingerprint)
}

/// Returns how many commits of each writer are there.
async fn held(content: &Content) -> Result<BTreeMap<String, u64>, String> {
    let lefts = content.lefts.all().await.map_err(said)?;
    let rights = content.rights.all().await.map_err(said)?;
    let rights: BTreeMap<EntityId, Half> = rights.into_iter().map(|(id, right)| (id, right.half)).collect();
    if lefts.len() != rights.len() {
        return Err(format!("half a commit: {} left halves, {} right ones", lefts.len(), rights.len()));
    }
    let mut pairs: BTreeMap<String, BTreeMap<u64, u64>> = BTreeMap::new();
    for (_, left) in lefts {
        let Half { writer, pair, number } = &left.half;
        if rights.get(&pair_id("right", writer, *pair)) != Some(&left.half) {
            return Err(format!("half a commit: {:?} has another or no other half", left.half));
        }
        pairs.entry(writer.clone()).or_default().insert(*pair, *number);
    }
    pairs.into_iter().map(|(writer, pairs)| Ok((writer.clone(), commits(&writer, &pairs)?))).collect()
}

/// Counts the commits of one writer by the numbers of its pairs: all but the last pair are complete.
fn commits(writer: &str, pairs: &BTreeMap<u64, u64>) -> Result<u64, String> {
    let last = pairs.len() as u64 - 1;
    for (expected, (pair, number)) in pairs.iter().enumerate() {
        let first = *pair * COMMITS_PER_PAIR;
        let complete = first + COMMITS_PER_PAIR - 1;
        let sound = *pair == expected as u64
            && (*number == complete || *pair == last && (first..=complete).contains(number));
        if !sound {
            return Err(format!("lost: pair {pair} of {writer} is at {number}, and {last} is its last pair"));
        }
    }
    Ok(pairs.values().max().map_or(0, |number| number + 1))
}

fn said(error: driftless::Error) -> String {
    format!("{error:?}")
}
