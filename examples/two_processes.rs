//! One of two processes that share a space and may be killed at any moment.
//!
//! ```text
//! two_processes <dir> <listen> found <invite-file> [count]    founds a space and writes an invite to it
//! two_processes <dir> <listen> join <invite-file> [count]     joins by the invite of the other one
//! ```
//!
//! It inserts tickets as fast as it can, and prints `ack <number> <id>` for each that is on disk: whatever
//! was printed is there when the directory is opened again. The listening address is kept when the process is
//! started again, so that the other one finds it. After `count` tickets, it syncs with the other one and
//! prints `done <fingerprint>`.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use driftless::{Deserialize, Entity, EntityId, Hydrate, Invite, Node, Reconcile, Role, Serialize, Space};

/// Writers beside each other; they share the syncs of the disk.
const WRITERS: usize = 4;

#[derive(Clone, Debug, Reconcile, Hydrate, Serialize, Deserialize)]
struct Ticket {
    title: String,
    minutes: i64,
}

impl Entity for Ticket {
    const COLLECTION: &'static str = "tickets";
    const VERSION: u32 = 1;
}

struct Arguments {
    dir: PathBuf,
    listen: SocketAddr,
    founds: bool,
    invite: PathBuf,
    count: Option<usize>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = parse(std::env::args().skip(1))?;
    let node = Node::builder(&arguments.dir)
        .listen(arguments.listen)
        .discovery(false)
        .backoff_ms([100, 200, 400])
        .open()
        .await?;
    let space = enter(&node, &arguments).await?;
    commit(&space, arguments.count).await?;
    node.sync_now().await?;
    say(&format!("done {}", space.fingerprint().await?))?;
    Ok(node.close().await?)
}

fn parse(words: impl Iterator<Item = String>) -> Result<Arguments, Box<dyn Error>> {
    let words: Vec<String> = words.collect();
    let [dir, listen, role, invite, rest @ ..] = words.as_slice() else {
        return Err("usage: two_processes <dir> <listen> found|join <invite-file> [count]".into());
    };
    Ok(Arguments {
        dir: dir.into(),
        listen: listen.parse()?,
        founds: role == "found",
        invite: invite.into(),
        count: rest.first().map(|count| count.parse()).transpose()?,
    })
}

/// Goes on with the space that is here, or gets one.
async fn enter(node: &Node, arguments: &Arguments) -> Result<Space, Box<dyn Error>> {
    let space = match node.spaces().into_iter().next() {
        Some(space) => space,
        None if arguments.founds => node.create_space("Two processes").await?,
        None => {
            let invite: Invite = std::fs::read_to_string(&arguments.invite)?.trim().parse()?;
            return Ok(node.join(&invite).await?);
        }
    };
    if arguments.founds && !arguments.invite.exists() {
        let invite = space.invite(Role::Writer).await?.to_string();
        write_whole(&arguments.invite, &invite)?;
    }
    Ok(space)
}

/// Writes a file so that the other process sees all of it or none.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text)?;
    std::fs::rename(fresh, path)
}

async fn commit(space: &Space, count: Option<usize>) -> Result<(), Box<dyn Error>> {
    let (acks, mut acked) = tokio::sync::mpsc::channel::<Result<EntityId, driftless::Error>>(WRITERS);
    for writer in 0..WRITERS {
        let (tickets, acks) = (space.collection::<Ticket>()?, acks.clone());
        tokio::spawn(async move {
            for minutes in 0.. {
                let title = format!("ticket {minutes} of writer {writer}");
                if acks.send(tickets.insert(&Ticket { title, minutes }).await).await.is_err() {
                    break;
                }
            }
        });
    }
    drop(acks);
    let mut number = 0;
    while count.is_none_or(|count| number < count) {
        let Some(id) = acked.recv().await else { break };
        number += 1;
        say(&format!("ack {number} {}", id?))?;
    }
    Ok(())
}

/// Prints a line, and has it leave this process at once.
fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
