//! Recorded typing sessions of people: whatever they typed, and however their keystrokes crossed, every node ends
//! with exactly the text that the recording ends with.
//!
//! The recordings lie beside the repository, in `../shared/traces`. Without them these tests say so and pass.

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};

use driftless::{Deserialize, Entity, Hydrate, Node, Reconcile, Role, Serialize, Text};
use flate2::read::GzDecoder;

/// Characters typed or deleted in one commit: nearly as many as a change may have operations.
const CHARACTERS_PER_COMMIT: usize = 3_900;

#[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, Serialize, Deserialize)]
struct Paper {
    text: Text,
}

impl Entity for Paper {
    const COLLECTION: &'static str = "papers";
    const VERSION: u32 = 1;
}

impl Paper {
    fn empty() -> Self {
        Self { text: Text::new("") }
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recording {
    end_content: String,
    #[serde(default = "one")]
    num_agents: usize,
    txns: Vec<Txn>,
}

/// What an author did at one moment, having seen the `parents` and all before them.
#[derive(Clone, serde::Deserialize)]
struct Txn {
    #[serde(default)]
    parents: Vec<usize>,
    #[serde(default)]
    agent: usize,
    patches: Vec<Patch>,
}

/// Position, characters deleted, text inserted.
#[derive(Clone, serde::Deserialize)]
struct Patch(usize, usize, String);

impl Patch {
    fn apply(&self, text: &mut Text) {
        text.splice(self.0, self.1, &self.2);
    }

    /// Takes in what was typed right behind this, or deleted right before it. False when it was elsewhere.
    fn take_in(&mut self, next: &Self) -> bool {
        let typed_on = next.1 == 0 && next.0 == self.0 + self.2.chars().count();
        let deleted_back = next.2.is_empty() && self.2.is_empty() && next.0 + next.1 == self.0;
        if typed_on {
            self.2.push_str(&next.2);
        } else if deleted_back {
            (self.0, self.1) = (next.0, self.1 + next.1);
        }
        typed_on || deleted_back
    }
}

/// Joins keystrokes that went on from each other into edits of some characters.
fn edits(patches: impl IntoIterator<Item = Patch>) -> Vec<Patch> {
    let mut edits: Vec<Patch> = Vec::new();
    for patch in patches {
        if !edits.last_mut().is_some_and(|last| last.1 + last.2.len() < 100 && last.take_in(&patch)) {
            edits.push(patch);
        }
    }
    edits
}

/// Divides edits into what one commit holds.
fn commits(edits: Vec<Patch>) -> Vec<Vec<Patch>> {
    let mut commits: Vec<Vec<Patch>> = vec![Vec::new()];
    let mut characters = 0;
    for edit in edits {
        let more = edit.1 + edit.2.chars().count();
        if characters + more > CHARACTERS_PER_COMMIT {
            commits.push(Vec::new());
            characters = 0;
        }
        characters += more;
        commits.iter_mut().next_back().into_iter().for_each(|commit| commit.push(edit.clone()));
    }
    commits
}

const fn one() -> usize {
    1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paper_typed_on_one_node_reads_the_same_on_another() -> Result<(), Box<dyn Error>> {
    let Some(recording) = recording("automerge-paper")? else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let desk =
        Node::builder(dir.path().join("desk")).listen(([127, 0, 0, 1], 0)).discovery(false).open().await?;
    let office = desk.create_space("office").await?;
    let shelf =
        Node::builder(dir.path().join("shelf")).listen(([127, 0, 0, 1], 0)).discovery(false).open().await?;
    let joined = shelf.join(&office.invite(Role::Reader).await?).await?;
    let (papers, copies) = (office.collection::<Paper>()?, joined.collection::<Paper>()?);
    let id = papers.insert(&Paper::empty()).await?;

    let patches = edits(recording.txns.into_iter().flat_map(|txn| txn.patches));
    for typed in commits(patches) {
        let type_all = move |paper: &mut Paper| typed.iter().for_each(|patch| patch.apply(&mut paper.text));
        papers.update(id, type_all).await?;
    }
    shelf.sync_now().await?;

    let read = copies.get(id).await?.ok_or("the paper did not arrive")?;
    assert!(read.text.as_str() == recording.end_content, "the copy differs from the recording");
    assert_eq!(joined.fingerprint().await?, office.fingerprint().await?);
    shelf.close().await?;
    desk.close().await?;
    Ok(())
}

/// Two or three people typed into one text over a slow line. Here each has a node, and what others
/// typed reaches it exactly when it did in the recording.
#[cfg(feature = "fuzzing")]
mod crossed {
    use driftless::EntityId;
    use driftless::fuzzing::world::{NodeIndex, World};

    use super::*;

    #[test]
    fn friends_forever_end_with_one_text() -> Result<(), Box<dyn Error>> {
        replay("friendsforever")
    }

    #[test]
    fn a_clown_school_ends_with_one_text() -> Result<(), Box<dyn Error>> {
        replay("clownschool")
    }

    /// One author's keystrokes that nobody else came between, and how much of each author it had seen.
    struct Run {
        author: usize,
        patches: Vec<Patch>,
        seen: Vec<u64>,
    }

    fn replay(name: &str) -> Result<(), Box<dyn Error>> {
        let Some(recording) = recording(name)? else { return Ok(()) };
        let (mut world, nodes) = world(recording.num_agents)?;
        let entity = EntityId::from_key("paper", name.as_bytes());
        let first = *nodes.first().ok_or("nobody typed")?;
        world.insert(first, entity, Paper::empty())?;
        world.rest(1_000)?;
        for (from, to) in pairs(&nodes) {
            world.hold(from, to);
        }
        // What each had of each before the recording begins.
        let before =
            nodes.iter().map(|node| nodes.iter().map(|author| world.applied(*node, *author)).collect());
        let before: Vec<Vec<u64>> = before.collect();

        let runs = runs(&recording);
        for (index, run) in runs.iter().enumerate() {
            let node = *nodes.get(run.author).ok_or("an author without a node")?;
            if !deliver(&mut world, &nodes, &before, run)? {
                let why = world.closed();
                return Err(format!("{name}: what {node:?} had seen is not on its way: {why:?}").into());
            }
            let patches = edits(run.patches.iter().cloned());
            world.update(node, entity, move |paper: &mut Paper| {
                patches.iter().for_each(|patch| patch.apply(&mut paper.text));
            })?;
            // Acknowledgements pass; the pause before fingerprints are compared never comes.
            world.sync(node)?;
            world.pass(1)?;
            while world.step()? {}
            // What an author will have seen when it types next may come as soon as it is there.
            for author in 0..nodes.len() {
                let next = runs.iter().skip(index + 1).find(|next| next.author == author);
                if let Some(next) = next {
                    deliver(&mut world, &nodes, &before, next)?;
                }
            }
        }
        for (from, to) in pairs(&nodes) {
            world.release(from, to);
        }
        world.rest(5_000)?;

        for node in &nodes {
            let read = world.get::<Paper>(*node, entity)?.ok_or("the text is gone")?;
            assert!(read.text.as_str() == recording.end_content, "{name}: {node:?} ends with another text");
        }
        Ok(())
    }

    /// Lets an author's node have what the author had seen before a run, and nothing more. False when some of it
    /// has not been typed yet.
    fn deliver(
        world: &mut World,
        nodes: &[NodeIndex],
        before: &[Vec<u64>],
        run: &Run,
    ) -> Result<bool, Box<dyn Error>> {
        let node = *nodes.get(run.author).ok_or("an author without a node")?;
        let had = before.get(run.author).ok_or("an author without a node")?;
        let mut all = true;
        for ((author, seen), had) in
            nodes.iter().zip(&run.seen).zip(had).filter(|((author, _), _)| **author != node)
        {
            let mut on_its_way = true;
            while on_its_way && world.applied(node, *author) < had + seen {
                on_its_way = world.let_through(*author, node)?;
            }
            all &= on_its_way;
            assert!(world.applied(node, *author) <= had + seen, "more arrived than the author had seen");
        }
        Ok(all)
    }

    /// Joins the keystrokes of one author as long as nobody else's came in between, or saw only some of them.
    fn runs(recording: &Recording) -> Vec<Run> {
        let txns = &recording.txns;
        let author = |index: &usize| txns.get(*index).map(|txn| txn.agent);
        // Places that another author saw: a run ends there.
        let seen_by_others: Vec<usize> = txns
            .iter()
            .flat_map(|txn| txn.parents.iter().filter(|parent| author(parent) != Some(txn.agent)).copied())
            .collect();
        let seen_by_others: std::collections::BTreeSet<usize> = seen_by_others.into_iter().collect();
        let mut runs: Vec<Run> = Vec::new();
        // Of each txn: how many runs of each author it and its past hold.
        let mut seen: Vec<Vec<u64>> = Vec::new();
        // Of each author: its last txn and its open run.
        let mut open: Vec<Option<(usize, usize)>> = vec![None; recording.num_agents];
        let mut counts = vec![0; recording.num_agents];
        for (index, txn) in txns.iter().enumerate() {
            let mut past = vec![0; recording.num_agents];
            for parent in txn.parents.iter().filter_map(|parent| seen.get(*parent)) {
                past.iter_mut().zip(parent).for_each(|(most, count)| *most = (*most).max(*count));
            }
            let last = open.get(txn.agent).copied().flatten();
            let goes_on = last.filter(|(last, _)| txn.parents == [*last] && !seen_by_others.contains(last));
            let run = if let Some((_, run)) = goes_on {
                run
            } else {
                runs.push(Run { author: txn.agent, patches: Vec::new(), seen: past.clone() });
                counts.iter_mut().skip(txn.agent).take(1).for_each(|count| *count += 1);
                runs.len() - 1
            };
            runs.iter_mut().skip(run).take(1).for_each(|run| run.patches.extend(txn.patches.iter().cloned()));
            open.iter_mut().skip(txn.agent).take(1).for_each(|open| *open = Some((index, run)));
            let own = counts.get(txn.agent).copied().unwrap_or_default();
            past.iter_mut().skip(txn.agent).take(1).for_each(|count| *count = own);
            seen.push(past);
        }
        runs
    }

    fn world(authors: usize) -> Result<(World, Vec<NodeIndex>), Box<dyn Error>> {
        let mut world = World::new();
        world.register::<Paper>()?;
        let nodes = (0..authors).map(|_| world.add_node());
        let nodes: Vec<NodeIndex> = nodes.collect::<Result<_, _>>()?;
        let (first, others) = nodes.split_first().ok_or("nobody typed")?;
        world.found(*first)?;
        for other in others {
            world.join(*first, *other, Role::Writer)?;
        }
        // Each pair in its turn: two that have not yet heard of each other have no space in common.
        for (from, to) in pairs(&nodes).into_iter().filter(|(from, to)| from < to) {
            world.connect(from, to)?;
            world.rest(1_000)?;
        }
        if !world.closed().is_empty() {
            return Err(format!("connections were closed: {:?}", world.closed()).into());
        }
        Ok((world, nodes))
    }

    fn pairs(nodes: &[NodeIndex]) -> Vec<(NodeIndex, NodeIndex)> {
        let all = nodes.iter().flat_map(|from| nodes.iter().map(|to| (*from, *to)));
        all.filter(|(from, to)| from != to).collect()
    }
}

/// Reads a recording; `None`, and a word about it, when it is not there.
fn recording(name: &str) -> Result<Option<Recording>, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = ["../shared/traces", "../../shared/traces"].map(|place| root.join(place));
    let paths = places.iter().map(|place| place.join(format!("{name}.json.gz")));
    let Some(path) = paths.into_iter().find(|path: &PathBuf| path.exists()) else {
        say(&format!("SKIPPED: no recording {name}"));
        return Ok(None);
    };
    Ok(Some(serde_json::from_reader(GzDecoder::new(File::open(path)?))?))
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn say(what: &str) {
    eprintln!("{what}");
}
