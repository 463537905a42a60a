//! The commands that work on a node's directory.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use driftless::{Builder, ConnectionState, Invite, Node, Peer, PeerId, Role, Space};

use qrcode::render::unicode::Dense1x2;

use super::table::Table;

type Done = Result<(), Box<dyn Error>>;

/// What the program is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Demo,
    Status { dir: PathBuf },
    Init { dir: PathBuf, name: String },
    Run { dir: PathBuf, listen: Option<SocketAddr> },
    Invite { dir: PathBuf, role: Role },
    Join { dir: PathBuf, invite: String },
    Simulate { words: Vec<String> },
}

impl Command {
    /// Reads the arguments behind the program's name.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut words = arguments.into_iter();
        let name = words.next().unwrap_or_else(|| "demo".to_owned());
        let mut next = |what: &str| words.next().ok_or_else(|| format!("{name}: {what} is missing"));
        let command = match name.as_str() {
            "help" | "--help" | "-h" => Self::Help,
            "demo" => Self::Demo,
            "status" => Self::Status { dir: next("the directory")?.into() },
            "init" => Self::Init { dir: next("the directory")?.into(), name: next("the name of the space")? },
            "run" => Self::Run { dir: next("the directory")?.into(), listen: address(next("").ok())? },
            "invite" => Self::Invite { dir: next("the directory")?.into(), role: role(next("").ok())? },
            "join" => Self::Join { dir: next("the directory")?.into(), invite: next("the invite")? },
            "sim" => Self::Simulate { words: words.by_ref().collect() },
            other => return Err(format!("there is no command {other:?}")),
        };
        match words.next() {
            Some(extra) => Err(format!("{name}: {extra:?} is one word too many")),
            None => Ok(command),
        }
    }
}

fn address(word: Option<String>) -> Result<Option<SocketAddr>, String> {
    word.map(|word| word.parse().map_err(|_| format!("run: {word:?} is no address and port"))).transpose()
}

fn role(word: Option<String>) -> Result<Role, String> {
    match word.as_deref() {
        Some("reader") => Ok(Role::Reader),
        Some("writer") | None => Ok(Role::Writer),
        Some("admin") => Ok(Role::Admin),
        Some("owner") => Ok(Role::Owner),
        Some(other) => Err(format!("invite: there is no role {other:?}")),
    }
}

/// Shows what a directory holds.
pub(crate) async fn status(out: &mut impl Write, dir: &Path) -> Done {
    if !dir.join("device.key").is_file() {
        return Err(format!("{} holds no node", dir.display()).into());
    }
    // On loopback and off the network: looking must not change anything elsewhere.
    let node = Node::builder(dir).listen(([127, 0, 0, 1], 0)).discovery(false).open().await?;
    node.pause().await?;
    writeln!(out, "device  {}", node.peer())?;
    for space in node.spaces() {
        let status = space.status().await?;
        writeln!(out, "\nspace   {}  {}", space.name(), space.id())?;
        writeln!(
            out,
            "holds   fingerprint {}, {} pending, {} quarantined\n",
            status.fingerprint,
            status.pending,
            status.quarantined.len()
        )?;
        let mut members = Table::with_heads(["member", "role", "devices"]);
        for member in space.members() {
            let names: Vec<&str> = member.devices.iter().map(|device| device.name.as_str()).collect();
            let role = if member.removed { "removed".to_owned() } else { format!("{:?}", member.role) };
            members.row([member.name.as_str(), &role.to_lowercase(), &names.join(", ")]);
        }
        writeln!(out, "{members}")?;
        let mut collections = Table::with_heads(["collection", "entities", "writers", "fingerprint"]);
        for collection in &status.collections {
            let (entities, writers) = (collection.entities.to_string(), collection.writers.to_string());
            collections.row([collection.name.as_str(), &entities, &writers, &collection.fingerprint]);
        }
        write!(out, "{collections}")?;
    }
    Ok(node.close().await?)
}

/// Founds a space.
pub(crate) async fn init(out: &mut impl Write, dir: &Path, name: &str) -> Done {
    let node = open(Node::builder(dir)).await?;
    let space = node.create_space(name).await?;
    writeln!(out, "{}  {}", space.name(), space.id())?;
    Ok(node.close().await?)
}

/// Serves a directory until the program is interrupted.
pub(crate) async fn run(out: &mut impl Write, dir: &Path, listen: Option<SocketAddr>) -> Done {
    let builder = Node::builder(dir);
    let node = match listen {
        Some(listen) => builder.listen(listen).open().await?,
        None => open(builder).await?,
    };
    for address in node.addresses()? {
        writeln!(out, "listening on {address}")?;
    }
    out.flush()?;
    let mut peers = node.watch_peers();
    loop {
        for peer in peers.changed().await? {
            writeln!(out, "{}  {}", peer.id.short(), peer.state)?;
        }
        out.flush()?;
    }
}

/// Prints an invite to the first space, and serves until a device has joined by it and been served.
pub(crate) async fn invite(out: &mut impl Write, dir: &Path, role: Role) -> Done {
    let node = open(Node::builder(dir)).await?;
    let space = node.spaces().into_iter().next().ok_or("there is no space yet: driftless init founds one")?;
    let before = devices(&space);
    let mut events = space.events();
    let invite = space.invite(role).await?;
    writeln!(out, "{invite}")?;
    if std::io::stdout().is_terminal() {
        writeln!(out, "\n{}", picture(&invite)?)?;
    }
    out.flush()?;
    let joined = loop {
        if let Some(joined) = devices(&space).into_iter().find(|(peer, _)| !before.contains_key(peer)) {
            break joined;
        }
        events.next().await.ok_or("the node was closed")?;
    };
    let (peer, name) = joined;
    writeln!(out, "{name} joined")?;
    out.flush()?;
    // The device fetches what is here, then goes on or goes away.
    let served = |peer: &Peer| {
        let gone = matches!(&peer.state, ConnectionState::Disconnected { reason } if !reason.is_empty());
        gone || peer.in_sync.contains(&space.id())
    };
    node.watch_peers().until(peer, served).await?;
    Ok(node.close().await?)
}

/// Draws the invite as a QR code, two rows of it in one of text, for a terminal with a dark background.
fn picture(invite: &Invite) -> Result<String, Box<dyn Error>> {
    let code = qrcode::QrCode::with_error_correction_level(invite.to_qr_text(), qrcode::EcLevel::M)?;
    let mut drawing = code.render::<Dense1x2>();
    Ok(drawing.dark_color(Dense1x2::Dark).light_color(Dense1x2::Light).build())
}

/// The devices of a space, with the names of their members.
fn devices(space: &Space) -> BTreeMap<PeerId, String> {
    let members = space.members().into_iter();
    members
        .flat_map(|member| member.devices.into_iter().map(move |d| (d.peer, member.name.clone())))
        .collect()
}

/// Joins a space and fetches what it holds.
pub(crate) async fn join(out: &mut impl Write, dir: &Path, invite: &str) -> Done {
    let node = open(Node::builder(dir)).await?;
    let invite: Invite = invite.parse()?;
    let space = node.join(&invite).await?;
    let synced = node.sync_now().await?;
    let status = space.status().await?;
    writeln!(out, "{}  {}", space.name(), space.id())?;
    writeln!(out, "equal with {} devices, fingerprint {}", synced.equal, status.fingerprint)?;
    Ok(node.close().await?)
}

/// Opens a node with the names and the address that the environment gives.
async fn open(mut builder: Builder) -> Result<Node, Box<dyn Error>> {
    if let Ok(listen) = std::env::var("DRIFTLESS_LISTEN") {
        let listen: SocketAddr =
            listen.parse().map_err(|_| format!("DRIFTLESS_LISTEN: {listen:?} is no address and port"))?;
        builder = builder.listen(listen);
    }
    if let Ok(member) = std::env::var("USER") {
        builder = builder.member(member);
    }
    if let Ok(device) = std::env::var("HOSTNAME") {
        builder = builder.device(device);
    }
    Ok(builder.open().await?)
}

#[cfg(test)]
mod tests {
    use driftless::access::InviteKind;
    use driftless::{SpaceId, Timestamp};

    use super::*;

    #[track_caller]
    fn check(words: &[&str], expect: Result<Command, &str>) {
        let parsed = Command::parse(words.iter().map(|word| (*word).to_owned()));
        assert_eq!(parsed, expect.map_err(str::to_owned));
    }

    #[test]
    fn arguments_say_what_to_do() {
        let dir = PathBuf::from("d");
        check(&[], Ok(Command::Demo));
        check(&["--help"], Ok(Command::Help));
        check(&["status", "d"], Ok(Command::Status { dir: dir.clone() }));
        check(&["invite", "d"], Ok(Command::Invite { dir: dir.clone(), role: Role::Writer }));
        check(&["invite", "d", "admin"], Ok(Command::Invite { dir: dir.clone(), role: Role::Admin }));
        check(&["run", "d"], Ok(Command::Run { dir, listen: None }));
        let words = vec!["--seed".to_owned(), "7".to_owned()];
        check(&["sim", "--seed", "7"], Ok(Command::Simulate { words }));
    }

    #[test]
    fn an_invite_with_four_addresses_is_a_code_that_fits_a_terminal() {
        let address = |port| SocketAddr::from(([0xfe80, 0, 0, 0, 1, 2, 3, 4], port));
        let addresses = (1..5).map(address).collect();
        let (space, peer, expiry) = (SpaceId::new([1; 32]), PeerId::new([2; 32]), Timestamp::from_unix_ms(9));
        let invite = Invite::new(InviteKind::Member, space, peer, addresses, [3; 16], expiry).expect("four");

        let drawn = picture(&invite).expect("not too long");

        assert!(drawn.lines().count() <= 40, "{}", drawn.lines().count());
        assert!(drawn.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn wrong_arguments_are_told_apart() {
        check(&["fly"], Err("there is no command \"fly\""));
        check(&["status"], Err("status: the directory is missing"));
        check(&["status", "a", "b"], Err("status: \"b\" is one word too many"));
        check(&["invite", "d", "boss"], Err("invite: there is no role \"boss\""));
        check(&["run", "d", "here"], Err("run: \"here\" is no address and port"));
    }
}
