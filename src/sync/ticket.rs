//! `SyncNow`: reach everyone, compare with everyone, report once.

use std::collections::BTreeSet;

use super::{Action, ConnId, Engine, Notice};
use crate::id::{PeerId, SpaceId};
use crate::limits::{REQUEST_DEADLINE_MS, SYNC_SILENCE_MS, TICKETS_MAX};
use crate::time::Instant;

/// One command that has not been reported yet.
#[derive(Debug)]
pub(super) struct Ticket {
    ticket: u64,
    space: Option<SpaceId>,
    drawn: Instant,
    deadline: Instant,
}

impl Ticket {
    fn wants(&self, space: SpaceId) -> bool {
        self.space.is_none_or(|wanted| wanted == space)
    }
}

impl Engine {
    pub(super) fn draw_ticket(&mut self, space: Option<SpaceId>, ticket: u64) {
        if self.tickets.len() >= TICKETS_MAX {
            return self.actions.push_back(Action::Notify(Notice::Synced {
                ticket,
                peers: 0,
                behind: 0,
                late: Vec::new(),
            }));
        }
        let deadline = self.now.instant.plus_ms(REQUEST_DEADLINE_MS);
        let drawn = Ticket { ticket, space, drawn: self.now.instant, deadline };
        self.dial_all();
        let sessions: Vec<(ConnId, SpaceId)> =
            self.sessions.keys().filter(|(_, space)| drawn.wants(*space)).copied().collect();
        for (conn, space) in sessions {
            if let Some(session) = self.sessions.get_mut(&(conn, space)) {
                session.verified = false;
                session.begin_rounds();
            }
            self.check_at_once(conn, space);
        }
        self.tickets.push(drawn);
    }

    /// Reports the tickets whose answer is known, or whose time is over.
    pub(super) fn settle_tickets(&mut self) {
        let reaching = self.is_reaching();
        let now = self.now.instant;
        let tickets = std::mem::take(&mut self.tickets);
        for ticket in tickets {
            let wanted = self.sessions.iter().filter(|((_, space), _)| ticket.wants(*space));
            let (done, open): (Vec<_>, Vec<_>) = wanted.partition(|(_, session)| session.verified);
            let silent = self.silent_at(&ticket).is_none_or(|at| at <= now);
            if ticket.deadline <= now || (!reaching && silent) {
                let late: BTreeSet<PeerId> = open.iter().map(|(_, session)| session.peer).collect();
                self.actions.push_back(Action::Notify(Notice::Synced {
                    ticket: ticket.ticket,
                    peers: done.len(),
                    behind: open.len(),
                    late: late.into_iter().collect(),
                }));
            } else {
                self.tickets.push(ticket);
            }
        }
    }

    /// When each of those that are not known to hold the same will have said nothing for a while, as things are;
    /// nothing when there are none.
    fn silent_at(&self, ticket: &Ticket) -> Option<Instant> {
        let wanted = self.sessions.iter().filter(|((_, space), _)| ticket.wants(*space));
        let open = wanted.filter(|(_, session)| !session.verified);
        let heard = open.filter_map(|((conn, _), _)| self.conns.get(conn)).map(|conn| conn.heard_at);
        heard.max().map(|heard| heard.max(ticket.drawn).plus_ms(SYNC_SILENCE_MS))
    }

    pub(super) fn ticket_due(&self, ticket: &Ticket) -> Instant {
        let silent = self.silent_at(ticket).filter(|at| *at > self.now.instant);
        silent.map_or(ticket.deadline, |at| at.min(ticket.deadline))
    }
}
