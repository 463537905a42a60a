//! The engine's questions, each answered by one call.

use super::{Replica, ReplicaError};
use crate::exchange::{Answer, Ask};
use crate::time::Now;

impl Replica {
    /// Answers a question. What happened on the way is told by [`Replica::drain`], before the answer counts.
    ///
    /// Every failure becomes [`Answer::Failed`], so that each question has exactly one answer.
    pub(crate) fn answer(&mut self, now: Now, ask: Ask) -> Answer {
        self.wall = now.wall;
        self.waits.seen = now.instant;
        self.answered = Default::default();
        if let Ask::Receive { from, .. } = &ask {
            self.sender = Some(*from);
        }
        self.mending(now, |replica| replica.try_answer(now, ask.clone())).unwrap_or_else(|error| {
            tracing::debug!(%error, "a question could not be answered");
            Answer::Failed(error.to_string())
        })
    }

    fn try_answer(&mut self, now: Now, ask: Ask) -> Result<Answer, ReplicaError> {
        match ask {
            Ask::State { space } => Ok(Answer::State(self.state(&space))),
            Ask::Receive { space, from, commits } => self.receive(now, space, from, commits),
            Ask::Feed { space, to, have, scope, bytes_max } => self.feed(space, to, &have, &scope, bytes_max),
            Ask::History { space, to, places, have, scope, bytes_max } => {
                self.history(space, to, &places, &have, &scope, bytes_max)
            }
            Ask::Heads { space, collection, key, after, count_max } => {
                self.heads(space, &collection, &key, after, count_max)
            }
            Ask::Clocks { space, collection, entities } => self.clocks(space, &collection, entities),
            Ask::Lacking { space, collection, to, have, scope, clocks, bytes_max } => {
                self.lacking((space, &collection), (to, &have), &scope, clocks, bytes_max)
            }
            Ask::Sketch { space, to, key, scope, cells } => self.sketch(space, to, &key, &scope, cells),
            Ask::Compare { space, with, key, scope, cells } => self.compare(space, with, &key, &scope, cells),
            Ask::Resolve { space, with, key, scope, symbols } => {
                self.resolve(space, with, &key, &scope, &symbols)
            }
            Ask::Fetch { space, collection, to, entities, have } => {
                self.fetch(space, &collection, to, &entities, &have)
            }
            Ask::TakeFetched { space, from, commits } => self.take_fetched(now, space, from, commits),
            Ask::IndexTold { space, collection, spans } => self.index_told(space, &collection, &spans),
            Ask::Versions { space, collection, entities } => self.versions(space, &collection, entities),
            Ask::Listed { space } => self.listed_collections(space),
            Ask::IndexPrints { space, collection, spans } => self.index_prints(space, &collection, &spans),
            Ask::TakeIndex { space, collection, spans, changed } => {
                self.take_index(space, &collection, spans, changed)
            }
            Ask::Adopt { space, vectors } => self.adopt_vectors(space, &vectors),
            Ask::StatementShorts { space, key } => self.statement_shorts(space, key),
            Ask::Statements { space, key, given, known } => self.statements(space, key, &given, &known),
            Ask::Enrolment { space, to } => self.enrolment(space, to),
            Ask::Removal { space, device } => self.removal(space, device),
            Ask::Introduce { space, from, statements } => self.introduce(space, from, &statements),
            Ask::Learn { space, from, statements } => self.learn(space, from, statements),
            Ask::Agreed { space, peer, digest, vectors } => self.agreed(space, peer, digest, &vectors),
            Ask::Met { space, peer, agreed, again } => self.remind_of_clashes(space, peer, agreed, again),
            Ask::Base { space, peer, vectors } => Ok(self.base(space, peer, &vectors)),
            Ask::Unheld { space, vectors } => self.unheld(space, &vectors),
            Ask::Acked { space, peer, vectors } => self.acked(space, peer, &vectors),
            Ask::Redeem { joiner, exporter, request } => self.redeem(now, joiner, &exporter, &request),
            Ask::Revealed { joiner, reveal } => self.revealed(joiner, &reveal),
            Ask::Joined { from, reply } => self.joined(from, &reply),
        }
    }
}
