//! The commands that work on a node's directory.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use driftless::{
    Asked, Builder, ConnectionState, Events, Invite, JoinRequest, Node, Peer, PeerId, RecoveryKey, Role,
    Space,
};

use qrcode::render::unicode::Dense1x2;

use super::table::Table;

use driftless::limits::JOIN_WAIT_MS;

type Done = Result<(), Box<dyn Error>>;

/// What the program is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Demo,
    Status { dir: PathBuf },
    Init { dir: PathBuf, name: String, recovery_key: bool },
    Recover { dir: PathBuf, key: String, device: Option<String>, from: Option<usize> },
    Run { dir: PathBuf, listen: Option<SocketAddr> },
    Invite { dir: PathBuf, role: Role, approve: bool },
    Requests { dir: PathBuf },
    Approve { dir: PathBuf, device: String },
    Decline { dir: PathBuf, device: String },
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
            "init" => Self::Init {
                dir: next("the directory")?.into(),
                name: next("the name of the space")?,
                recovery_key: flag("init", "--recovery-key", next("").ok())?,
            },
            "recover" => Self::Recover {
                dir: next("the directory")?.into(),
                key: next("the recovery key")?,
                device: next("").ok(),
                from: number(next("").ok())?,
            },
            "run" => Self::Run { dir: next("the directory")?.into(), listen: address(next("").ok())? },
            "invite" => {
                let dir = next("the directory")?.into();
                let mut rest = next("").ok();
                let alone = rest.as_deref() == Some("--approve");
                let role = role(if alone { None } else { rest.take() })?;
                let word = rest.or_else(|| next("").ok());
                Self::Invite { dir, role, approve: flag("invite", "--approve", word)? }
            }
            "requests" => Self::Requests { dir: next("the directory")?.into() },
            "approve" => Self::Approve { dir: next("the directory")?.into(), device: next("the device")? },
            "decline" => Self::Decline { dir: next("the directory")?.into(), device: next("the device")? },
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

/// Whether the word that may follow is there.
fn flag(name: &str, flag: &str, word: Option<String>) -> Result<bool, String> {
    match word {
        Some(word) if word != flag => Err(format!("{name}: {word:?} is one word too many")),
        word => Ok(word.is_some()),
    }
}

fn number(word: Option<String>) -> Result<Option<usize>, String> {
    word.map(|word| word.parse().map_err(|_| format!("recover: {word:?} is no number"))).transpose()
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
    let node = off_line(dir).await?;
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

/// Opens a node that is there, on loopback and off the network: looking must not change anything elsewhere.
async fn off_line(dir: &Path) -> Result<Node, Box<dyn Error>> {
    if !dir.join("device.key").is_file() {
        return Err(format!("{} holds no node", dir.display()).into());
    }
    let node = open(Node::builder(dir).discovery(false)).await?;
    node.pause().await?;
    Ok(node)
}

/// Founds a space.
pub(crate) async fn init(out: &mut impl Write, dir: &Path, name: &str, recovery_key: bool) -> Done {
    let node = open(Node::builder(dir)).await?;
    if recovery_key {
        let (space, key) = node.create_space_with_recovery_key(name).await?;
        writeln!(out, "{}  {}", space.name(), space.id())?;
        writeln!(out, "\n{key}\n\nWrite it down and keep it away from this device: it is shown this once.")?;
    } else {
        let space = node.create_space(name).await?;
        writeln!(out, "{}  {}", space.name(), space.id())?;
    }
    Ok(node.close().await?)
}

/// Uses the recovery key: this device takes the founder's place, or a device is removed, with what it said from a
/// number on.
pub(crate) async fn recover(
    out: &mut impl Write,
    dir: &Path,
    key: &str,
    device: Option<&str>,
    from: Option<usize>,
) -> Done {
    let key: RecoveryKey = key.parse()?;
    let node = off_line(dir).await?;
    let of_key = |space: &Space| space.recover(&key).is_ok();
    let space = node.spaces().into_iter().find(of_key).ok_or("this is the recovery key of no space here")?;
    let recovery = space.recover(&key)?;
    match device {
        Some(word) => {
            let device = named(&space, word)?;
            match from {
                Some(number) => {
                    let said = space.said_by(device);
                    let said =
                        said.get(number).ok_or_else(|| format!("it said nothing with number {number}"))?;
                    recovery.remove_device_before(device, said.id).await?;
                }
                None => recovery.remove_device(device).await?,
            }
            writeln!(out, "{} is removed", device.short())?;
        }
        None => {
            let founder = space.members().into_iter().next().ok_or("the space has no founder")?;
            recovery.take_place_of(founder.id).await?;
            writeln!(out, "this device is one of {}", founder.name)?;
            for device in founder.devices.iter().filter(|other| !other.removed && other.peer != node.peer()) {
                writeln!(out, "\n{}  {}", device.peer.short(), device.name)?;
                for (number, said) in space.said_by(device.peer).iter().enumerate() {
                    let void = if said.counts { "" } else { "  (void)" };
                    writeln!(out, "{number:>5}  {}{void}", said.what)?;
                }
            }
        }
    }
    writeln!(out, "\nThe others hear of it from: driftless run {}", dir.display())?;
    Ok(node.close().await?)
}

/// The device whose id begins with a word.
fn named(space: &Space, word: &str) -> Result<PeerId, Box<dyn Error>> {
    let all = devices(space).into_keys();
    let mut found = all.filter(|device| device.to_string().starts_with(word));
    match (found.next(), found.next()) {
        (Some(device), None) => Ok(device),
        (None, _) => Err(format!("no device is {word:?}").into()),
        (Some(_), Some(_)) => Err(format!("more than one device begins with {word:?}").into()),
    }
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

/// Prints an invite to the first space, and serves until a device has joined by it and been served. With `approve`, a
/// device that asks is let in when somebody here says so.
pub(crate) async fn invite(out: &mut impl Write, dir: &Path, role: Role, approve: bool) -> Done {
    let node = open(Node::builder(dir)).await?;
    let space = node.spaces().into_iter().next().ok_or("there is no space yet: driftless init founds one")?;
    let before = devices(&space);
    let mut events = space.events();
    let invite = if approve { space.invite_with_approval(role).await? } else { space.invite(role).await? };
    writeln!(out, "{invite}")?;
    if std::io::stdout().is_terminal() {
        writeln!(out, "\n{}", picture(&invite)?)?;
    }
    out.flush()?;
    if approve && !answer_requests(out, &space, &mut events).await? {
        return Ok(node.close().await?);
    }
    let joined = loop {
        if let Some(joined) = devices(&space).into_iter().find(|(peer, _)| !before.contains_key(peer)) {
            break joined;
        }
        events.next().await.ok_or("the node was closed")?;
    };
    let (peer, name) = joined;
    writeln!(out, "{name} joined")?;
    out.flush()?;
    serve(&node, &space, peer).await?;
    Ok(node.close().await?)
}

/// Asks who sits here about each device that waits, until one is let in. False when one asks now and nobody sits here;
/// those that asked before are left alone then.
async fn answer_requests(
    out: &mut impl Write,
    space: &Space,
    events: &mut Events,
) -> Result<bool, Box<dyn Error>> {
    let before: Vec<PeerId> = space.join_requests().await?.iter().map(|request| request.device).collect();
    let mut left = BTreeSet::new();
    loop {
        let waiting =
            space.join_requests().await?.into_iter().find(|request| !left.contains(&request.device));
        let Some(request) = waiting else {
            events.next().await.ok_or("the node was closed")?;
            continue;
        };
        writeln!(out, "{}", in_words(&request))?;
        writeln!(out, "Does it show the same code, and shall it come in? yes or no")?;
        out.flush()?;
        let read = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map(|_| line)
        });
        match read.await??.as_str() {
            "" if before.contains(&request.device) => drop(left.insert(request.device)),
            "" => {
                writeln!(out, "It waits: driftless requests, approve and decline go on.")?;
                return Ok(false);
            }
            line if ["y", "yes"].contains(&line.trim()) => {
                space.approve(request.device).await?;
                return Ok(true);
            }
            line if ["n", "no"].contains(&line.trim()) => space.decline(request.device).await?,
            _ => {}
        }
    }
}

/// Serves a device that joined until it has what is here: it fetches that, then goes on or goes away.
async fn serve(node: &Node, space: &Space, peer: PeerId) -> Done {
    let served = |peer: &Peer| {
        let gone = matches!(&peer.state, ConnectionState::Disconnected { reason } if !reason.is_empty());
        gone || peer.in_sync.contains(&space.id())
    };
    node.watch_peers().until(peer, served).await?;
    Ok(())
}

/// Lists the devices that wait to be let in.
pub(crate) async fn requests(out: &mut impl Write, dir: &Path) -> Done {
    let node = off_line(dir).await?;
    for space in node.spaces() {
        for request in space.join_requests().await? {
            writeln!(out, "{}: {}", space.name(), in_words(&request))?;
        }
    }
    Ok(node.close().await?)
}

fn in_words(request: &JoinRequest) -> String {
    let JoinRequest { device, member_name, device_name, code, .. } = request;
    format!("{} asks: {member_name}, {device_name}, code {code}", device.short())
}

/// Lets a device in whose id begins with a word, and serves until it has come.
pub(crate) async fn approve(out: &mut impl Write, dir: &Path, word: &str) -> Done {
    let node = open(Node::builder(dir)).await?;
    let (space, request) = request(&node, word).await?;
    space.approve(request.device).await?;
    writeln!(out, "{} is let in", request.member_name)?;
    out.flush()?;
    serve(&node, &space, request.device).await?;
    Ok(node.close().await?)
}

/// Refuses a device whose id begins with a word. It hears so when it asks next.
pub(crate) async fn decline(out: &mut impl Write, dir: &Path, word: &str) -> Done {
    let node = off_line(dir).await?;
    let (space, request) = request(&node, word).await?;
    space.decline(request.device).await?;
    writeln!(out, "{} is declined", request.device.short())?;
    Ok(node.close().await?)
}

/// The request of the one device that waits whose id begins with a word.
async fn request(node: &Node, word: &str) -> Result<(Space, JoinRequest), Box<dyn Error>> {
    let mut found = Vec::new();
    for space in node.spaces() {
        let requests = space.join_requests().await?.into_iter();
        let begin = requests.filter(|request| request.device.to_string().starts_with(word));
        found.extend(begin.map(|request| (space.clone(), request)));
    }
    match (found.pop(), found.is_empty()) {
        (Some(found), true) => Ok(found),
        (None, _) => Err(format!("no device {word:?} waits").into()),
        (Some(_), false) => Err(format!("more than one request of {word:?} waits").into()),
    }
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
    let joining = match node.ask_to_join(&invite).await {
        Ok(Asked::In(space)) => Ok(space),
        Ok(Asked::Waits(joining)) => Err(joining),
        // It has asked already, and the other device has gone meanwhile.
        Err(error) => {
            let mut waiting = node.joining().await?.into_iter();
            Err(waiting.find(|joining| joining.space_id() == invite.space()).ok_or(error)?)
        }
    };
    let space = match joining {
        Ok(space) => space,
        Err(joining) => {
            writeln!(out, "waiting to be let in, code {}", joining.code())?;
            out.flush()?;
            joining.wait(JOIN_WAIT_MS).await?
        }
    };
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
        let invite = |role, approve| Command::Invite { dir: PathBuf::from("d"), role, approve };
        check(&["invite", "d"], Ok(invite(Role::Writer, false)));
        check(&["invite", "d", "admin"], Ok(invite(Role::Admin, false)));
        check(&["invite", "d", "--approve"], Ok(invite(Role::Writer, true)));
        check(&["invite", "d", "admin", "--approve"], Ok(invite(Role::Admin, true)));
        check(&["requests", "d"], Ok(Command::Requests { dir: dir.clone() }));
        let device = "ab12".to_owned();
        check(&["approve", "d", "ab12"], Ok(Command::Approve { dir: dir.clone(), device: device.clone() }));
        check(&["decline", "d", "ab12"], Ok(Command::Decline { dir: dir.clone(), device }));
        let name = "Shop".to_owned();
        let init = |recovery_key| Command::Init { dir: PathBuf::from("d"), name: name.clone(), recovery_key };
        check(&["init", "d", "Shop"], Ok(init(false)));
        check(&["init", "d", "Shop", "--recovery-key"], Ok(init(true)));
        let recover = |device: Option<&str>, from| {
            let (dir, key, device) = (PathBuf::from("d"), "k".to_owned(), device.map(str::to_owned));
            Command::Recover { dir, key, device, from }
        };
        check(&["recover", "d", "k"], Ok(recover(None, None)));
        check(&["recover", "d", "k", "ab12", "7"], Ok(recover(Some("ab12"), Some(7))));
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
        check(&["init", "d", "Shop", "x"], Err("init: \"x\" is one word too many"));
        check(&["recover", "d", "k", "ab", "x"], Err("recover: \"x\" is no number"));
        check(&["status"], Err("status: the directory is missing"));
        check(&["status", "a", "b"], Err("status: \"b\" is one word too many"));
        check(&["invite", "d", "admin", "x"], Err("invite: \"x\" is one word too many"));
        check(&["approve", "d"], Err("approve: the device is missing"));
        check(&["invite", "d", "boss"], Err("invite: there is no role \"boss\""));
        check(&["run", "d", "here"], Err("run: \"here\" is no address and port"));
    }
}
