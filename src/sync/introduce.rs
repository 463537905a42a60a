//! Being let in by who has not heard of this device's joining.
//!
//! ```text
//! HELLO ─▶ the acceptor knows nobody of that key: it closes, as to any stranger
//! the dialler knows that they share a space: it tries once more, at once
//! INTRODUCE: the statements that enrolled it, HELLO ─▶ the acceptor takes the statements if they make
//!                                                      the sender a member, and answers the hello
//! ```
//!
//! An acceptor that knows of a space which the dialler did not open introduces itself in the same way; then the
//! dialler tries again. Who is no member after its statements have been read is a stranger: nothing is kept and
//! nothing is said.
//!
//! A device that was removed and names the space all the same is shown, in the same way, the statements that removed
//! it: it hears why it is turned away, and nothing that came later. One that only believes that it was, because the
//! removal turned out not to count, is shown what the remover had not heard.

use std::collections::BTreeSet;

use super::conn::{CODE_NOTHING_SHARED, CODE_PROTOCOL};
use super::{ConnId, Engine, Lane, Purpose, Side, digest};
use crate::exchange::Ask;
use crate::id::{PeerId, SpaceId};
use crate::limits::INTRODUCTIONS_MAX;
use crate::wire::{Hello, Introduce, Message};

/// What follows when all introductions were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing: the conversation goes on.
    #[default]
    GoOn,
    /// Our hello.
    Greet,
    /// The end: the peer opened no space that this side knows it to be in.
    Close,
}

/// The introductions of one connection.
#[derive(Debug, Default)]
pub(super) struct Introductions {
    /// Spaces whose statements are being read for the peer.
    telling: BTreeSet<SpaceId>,
    then: Then,
    /// How many the peer has sent.
    heard: usize,
    /// How many of them are being judged.
    judging: usize,
    /// The peer's hello, which waits for that.
    hello: Option<Hello>,
}

impl Engine {
    /// Reads the statements that enrolled this device, to show them to the peer.
    pub(super) fn introduce(&mut self, conn: ConnId, spaces: BTreeSet<SpaceId>, then: Then) {
        let Some(entry) = self.conns.get_mut(&conn) else {
            return;
        };
        let spaces: BTreeSet<SpaceId> = spaces.into_iter().take(INTRODUCTIONS_MAX).collect();
        let peer = entry.peer;
        entry.introductions.telling.clone_from(&spaces);
        entry.introductions.then = then;
        for space in spaces {
            // A device that was removed hears of that, and of nothing else.
            let ask = match self.is_shared(space, &peer) {
                true => Ask::Enrolment { space, to: peer },
                false => Ask::Removal { space, device: peer },
            };
            self.ask(Purpose::Introduce(conn, space), ask);
        }
    }

    pub(super) fn tell_introduction(&mut self, conn: ConnId, space: SpaceId, statements: Vec<Vec<u8>>) {
        let Some(entry) = self.conns.get_mut(&conn) else {
            return;
        };
        let tag = digest::tag(&entry.exporter, entry.side, &space);
        let peer = entry.peer;
        entry.introductions.telling.remove(&space);
        let then = std::mem::take(&mut entry.introductions.then);
        if !statements.is_empty() {
            self.send(conn, Lane::Control, &Message::Introduce(Introduce { tag, statements }));
        }
        let Some(entry) = self.conns.get_mut(&conn) else {
            return;
        };
        if !entry.introductions.telling.is_empty() {
            entry.introductions.then = then;
            return;
        }
        match then {
            Then::GoOn => {}
            Then::Greet => self.greet(conn, &peer),
            Then::Close => self.close(conn, CODE_NOTHING_SHARED, "no space in common"),
        }
    }

    /// The peer shows statements that may make it a member of a space of this node.
    pub(super) fn hear_introduction(&mut self, conn: ConnId, introduction: Introduce) {
        let Some(entry) = self.conns.get_mut(&conn) else {
            return;
        };
        entry.introductions.heard += 1;
        if entry.introductions.heard > INTRODUCTIONS_MAX {
            return self.close(conn, CODE_PROTOCOL, "introduced too often");
        }
        let (said_by, exporter, peer) = (entry.side.other(), entry.exporter, entry.peer);
        let Introduce { tag, statements } = introduction;
        let named = self.spaces.keys().find(|space| digest::tag(&exporter, said_by, space) == tag).copied();
        let Some(space) = named else {
            return;
        };
        if self.is_shared(space, &peer) {
            // It may be this device that does not belong there any more.
            self.ask(Purpose::Learn(conn, space), Ask::Learn { space, from: peer, statements });
            return self.open_shared(conn, space);
        }
        if let Some(entry) = self.conns.get_mut(&conn) {
            entry.introductions.judging += 1;
        }
        self.ask(Purpose::Judge(conn, peer), Ask::Introduce { space, from: peer, statements });
    }

    /// The statements were judged. What they changed was told before; a peer that was dialled in vain is
    /// tried again.
    pub(super) fn introduced(&mut self, conn: ConnId, peer: PeerId, is_member: bool) {
        if let Some(entry) = self.conns.get_mut(&conn) {
            entry.introductions.judging = entry.introductions.judging.saturating_sub(1);
            if entry.introductions.judging == 0
                && let Some(hello) = entry.introductions.hello.take()
            {
                self.hello(conn, hello);
            }
        } else if is_member {
            self.dial(peer);
        }
    }

    /// Keeps a hello until the introductions before it are judged. Gives it back when there are none.
    pub(super) fn after_introductions(&mut self, conn: ConnId, hello: Hello) -> Option<Hello> {
        match self.conns.get_mut(&conn) {
            Some(entry) if entry.introductions.judging > 0 => {
                entry.introductions.hello = Some(hello);
                None
            }
            _ => Some(hello),
        }
    }

    /// The peer turned this device away like a stranger. True when it is to be tried again with an introduction.
    pub(super) fn was_turned_away(&mut self, conn: ConnId, code: u64) -> Option<PeerId> {
        let entry = self.conns.get(&conn)?;
        let stranger = code == u64::from(CODE_NOTHING_SHARED) && entry.awaits_answer();
        let peer = entry.peer;
        (stranger && entry.side == Side::Dialer && !self.shared_with(&peer).is_empty()).then_some(())?;
        let dialled = self.peers.get_mut(&peer)?;
        (!std::mem::replace(&mut dialled.introduces, true)).then_some(peer)
    }
}
