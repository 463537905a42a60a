//! `SyncNow`: reach everyone, compare with everyone, report once.

use super::{Action, ConnId, Engine, Notice};
use crate::id::SpaceId;
use crate::limits::{REQUEST_DEADLINE_MS, TICKETS_MAX};
use crate::time::Instant;

/// One command that has not been reported yet.
#[derive(Debug)]
pub(super) struct Ticket {
    ticket: u64,
    space: Option<SpaceId>,
    deadline: Instant,
}

impl Ticket {
    pub(super) fn due(&self) -> Instant {
        self.deadline
    }

    fn wants(&self, space: SpaceId) -> bool {
        self.space.is_none_or(|wanted| wanted == space)
    }
}

impl Engine {
    pub(super) fn draw_ticket(&mut self, space: Option<SpaceId>, ticket: u64) {
        if self.tickets.len() >= TICKETS_MAX {
            return self.actions.push_back(Action::Notify(Notice::Synced { ticket, peers: 0, behind: 0 }));
        }
        let deadline = self.now.instant.plus_ms(REQUEST_DEADLINE_MS);
        let drawn = Ticket { ticket, space, deadline };
        self.dial_all();
        let sessions: Vec<(ConnId, SpaceId)> =
            self.sessions.keys().filter(|(_, space)| drawn.wants(*space)).copied().collect();
        for (conn, space) in sessions {
            if let Some(session) = self.sessions.get_mut(&(conn, space)) {
                session.verified = false;
                session.rounds = 0;
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
            if ticket.deadline <= now || (!reaching && open.is_empty()) {
                let notice = Notice::Synced { ticket: ticket.ticket, peers: done.len(), behind: open.len() };
                self.actions.push_back(Action::Notify(notice));
            } else {
                self.tickets.push(ticket);
            }
        }
    }
}
