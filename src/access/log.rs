//! The set of statements of one space as this node holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use crate::id::{PeerId, SpaceId, StatementHash};
use crate::identity::{self, Identity, IdentityError};
use crate::limits::{
    NAME_BYTES_MAX, STATEMENTS_JUDGED_ALONE_MAX, STATEMENTS_PER_SPACE_MAX, STATEMENTS_WAITING_MAX,
};

use super::follow::Followed;
use super::graph::{Bits, Graph};
use super::membership::Touched;
use super::resolve::{self, Judged, Resolution, device_of};
use super::room::Wanted;
use super::{AccessError, Body, Enrolment, Genesis, Grant, Membership, Statement};

/// The statements of one space. What they add up to is [`Log::membership`], worked out when it is asked for.
///
/// Statements may come in any order: those that name unknown ones wait, and are not part of
/// [`Log::statements`], [`Log::digest`] or the membership until those have come.
///
/// # Example
///
/// ```
/// # use driftless::access::Log;
/// # use driftless::identity::Identity;
/// # let ada = Identity::from_seed([1; 32]);
/// let (mut log, _) = Log::found(&ada, "Repairs", "Ada", "laptop", [9; 32])?;
/// log.insert(log.set_name(&ada, "Corner Repairs")?)?;
/// assert_eq!(log.membership().name(), "Corner Repairs");
/// assert_eq!(log.statements().count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Log {
    space: SpaceId,
    pub(super) graph: Graph,
    pub(super) resolution: Resolution,
    /// The log is being read as it was stored or sent: all that is in it had its place.
    pub(super) reading: bool,
    /// Statements of the graph that are not judged yet; empty between calls.
    unjudged: Vec<usize>,
    /// Numbers of the statements that no other follows.
    tips: BTreeSet<usize>,
    followed: Followed,
    /// What has its place in a full log for who follows it; empty between calls.
    pub(super) wanted: Wanted,
    recovery: Option<PeerId>,
    /// Worked out when it is asked for.
    digest: OnceLock<[u8; 16]>,
    /// Statements whose signature was verified and that name one which is not here.
    pub(super) waiting: BTreeMap<StatementHash, Statement>,
    /// Which of them wait for a statement.
    waiting_for: BTreeMap<StatementHash, BTreeSet<StatementHash>>,
    /// Worked out when it is asked for.
    membership: OnceLock<Arc<Membership>>,
    /// The membership worked out last, and what has changed since; without it, all has.
    last: Option<(Arc<Membership>, Touched)>,
}

impl Log {
    /// Founds a space whose first member's first device is this one. The nonce makes the space's id unique.
    ///
    /// # Errors
    ///
    /// [`AccessError::TooLarge`] when a name is too long.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Log, Role};
    /// # use driftless::identity::Identity;
    /// # let ada = Identity::from_seed([1; 32]);
    /// let (log, genesis) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// assert_eq!(log.space().as_bytes(), genesis.hash().as_bytes());
    /// assert_eq!(log.membership().role(&ada.peer()), Some(Role::Owner));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn found(
        identity: &Identity,
        name: &str,
        member_name: &str,
        device_name: &str,
        nonce: [u8; 32],
    ) -> Result<(Self, Statement), AccessError> {
        let (name, member_name, device_name) =
            (name.to_owned(), member_name.to_owned(), device_name.to_owned());
        Self::found_with(
            identity,
            Genesis { name, member_name, device_name, nonce, recovery: None, enc_pk: None },
        )
    }

    /// Founds a space with everything that can be chosen, a recovery key among it.
    ///
    /// # Errors
    ///
    /// [`AccessError::TooLarge`] when a name is too long, [`AccessError::Identity`] when the recovery key
    /// is not usable, [`AccessError::Malformed`] when it is the device's own key.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::access::{Genesis, Log};
    /// # use driftless::identity::Identity;
    ///
    /// let (laptop, safe) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    /// let genesis = Genesis {
    ///     name: "Corner Repairs".into(),
    ///     member_name: "Ada".into(),
    ///     device_name: "laptop".into(),
    ///     nonce: [9; 32],
    ///     recovery: Some(safe.peer()),
    ///     enc_pk: None,
    /// };
    /// let (log, statement) = Log::found_with(&laptop, genesis)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn found_with(identity: &Identity, genesis: Genesis) -> Result<(Self, Statement), AccessError> {
        for name in [&genesis.name, &genesis.member_name, &genesis.device_name] {
            check_name(name)?;
        }
        if genesis.recovery == Some(identity.peer()) {
            return Err(AccessError::Malformed { what: "the recovery key is the founder's own device" });
        }
        let no_space = SpaceId::new([0; 32]);
        let statement = Statement::sign(identity, &no_space, 1, Vec::new(), Body::Genesis(genesis))?;
        Ok((Self::begin(statement.clone())?, statement))
    }

    /// Makes a log of statements in any order, as they were stored or sent. Every signature is verified.
    ///
    /// Statements that have no place in the log are left out, as [`Log::insert`] refuses them: they may have
    /// been stored while they waited for others.
    ///
    /// # Errors
    ///
    /// [`AccessError::NoGenesis`] when the statement that founded `space` is missing,
    /// [`AccessError::Identity`] when a signature does not verify, [`AccessError::TooMany`] over the limits.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, Log, Role};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let bob = Identity::from_seed([2; 32]);
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
    /// # let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
    /// # log.insert(log.redeem(&ada, &request, bob.peer(), &[5; 32], later)?)?;
    /// let statements: Vec<_> = log.statements().cloned().collect();
    /// let read = Log::from_statements(log.space(), statements)?;
    /// assert_eq!(read.digest(), log.digest());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_statements(
        space: SpaceId,
        statements: impl IntoIterator<Item = Statement>,
    ) -> Result<Self, AccessError> {
        let founds = |statement: &Statement| statement.hash().as_bytes() == space.as_bytes();
        let mut rest = Vec::new();
        let mut log = None;
        for statement in statements {
            if founds(&statement) {
                log = Some(Self::begin(statement)?);
            } else {
                rest.push(statement);
            }
            if rest.len() > STATEMENTS_PER_SPACE_MAX + STATEMENTS_WAITING_MAX {
                return Err(AccessError::TooMany { what: "statements", max: STATEMENTS_PER_SPACE_MAX });
            }
        }
        let mut log = log.ok_or(AccessError::NoGenesis)?;
        log.reading = true;
        // By lamport number, a statement comes behind those that it names.
        rest.sort_by_key(|statement| (statement.lamport(), statement.hash()));
        for statement in rest {
            statement.verify(&space)?;
            if let Err(error @ AccessError::TooMany { .. }) = log.take(statement) {
                return Err(error);
            }
        }
        log.reading = false;
        log.resolve();
        Ok(log)
    }

    /// Adds a statement, and those that waited for it. `Ok(false)` when it is here already.
    ///
    /// # Errors
    ///
    /// [`AccessError::Identity`] when a signature in it does not verify, [`AccessError::WrongSpace`] for
    /// another genesis, [`AccessError::Lamport`], [`AccessError::UnknownSigner`] and
    /// [`AccessError::NotInPast`] when it does not fit what it follows, [`AccessError::TooMany`] when the
    /// log or its waiting room is full.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::Log;
    /// # use driftless::identity::Identity;
    /// # let ada = Identity::from_seed([1; 32]);
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let renaming = log.set_name(&ada, "Harbour Repairs")?;
    /// assert!(log.insert(renaming.clone())?);
    /// assert!(!log.insert(renaming)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert(&mut self, statement: Statement) -> Result<bool, AccessError> {
        self.insert_all([statement]).pop().unwrap_or(Ok(false))
    }

    /// Inserts statements one after another and judges them together: what each one led to is returned in
    /// their order.
    ///
    /// The log is the same as after inserting them one by one. It costs less when there are many, for instance
    /// what another device has heard in a month.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Log, Statement};
    /// # use driftless::identity::Identity;
    /// # let ada = Identity::from_seed([1; 32]);
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let mut elsewhere = log.clone();
    /// log.insert(log.set_name(&ada, "Harbour Repairs")?)?;
    /// log.insert(log.set_name(&ada, "Seaside Repairs")?)?;
    ///
    /// let statements: Vec<Statement> = log.statements().cloned().collect();
    /// assert_eq!(elsewhere.insert_all(statements), [Ok(false), Ok(true), Ok(true)]);
    /// assert_eq!(elsewhere.membership().name(), "Seaside Repairs");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert_all(
        &mut self,
        statements: impl IntoIterator<Item = Statement>,
    ) -> Vec<Result<bool, AccessError>> {
        self.insert_while(statements, |_| true)
    }

    /// The same, but nothing behind one that is an offence is looked at; the answers end with that one.
    pub(crate) fn insert_until_an_offence(
        &mut self,
        statements: impl IntoIterator<Item = Statement>,
    ) -> Vec<Result<bool, AccessError>> {
        self.insert_while(statements, |taken| !taken.as_ref().is_err_and(AccessError::is_an_offence))
    }

    fn insert_while(
        &mut self,
        statements: impl IntoIterator<Item = Statement>,
        go_on: impl Fn(&Result<bool, AccessError>) -> bool,
    ) -> Vec<Result<bool, AccessError>> {
        let mut refused = Vec::new();
        let mut taken = Vec::new();
        for (place, statement) in statements.into_iter().enumerate() {
            let one = self.verified(statement.clone());
            if matches!(one, Err(AccessError::TooMany { .. })) {
                refused.push((place, statement));
            }
            taken.push(one);
            if !taken.last().is_none_or(&go_on) {
                break;
            }
        }
        self.judge();
        if !refused.is_empty() {
            let mut places = refused.into_iter().peekable();
            let refused = taken.iter_mut().enumerate().filter_map(|(place, taken)| {
                places.next_if(|(other, _)| *other == place).map(|(_, statement)| (statement, taken))
            });
            let refused = refused.collect();
            self.take_wanted(refused);
        }
        taken
    }

    /// Returns the space.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::Log;
    /// # use driftless::identity::Identity;
    /// let ada = Identity::from_seed([1; 32]);
    /// let (log, genesis) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// assert_eq!(log.space().as_bytes(), genesis.hash().as_bytes());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn space(&self) -> SpaceId {
        self.space
    }

    /// Returns what the statements add up to. The first call after an insertion works it out.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::Log;
    /// # use driftless::identity::Identity;
    /// # let ada = Identity::from_seed([1; 32]);
    /// # let (log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let membership = log.membership();
    /// assert_eq!(membership.name(), "Corner Repairs");
    /// assert_eq!(membership.members().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn membership(&self) -> Arc<Membership> {
        let membership = || {
            let (graph, resolution) = (self.graph.clone(), self.resolution.clone());
            Arc::new(match &self.last {
                Some((last, touched)) => last.followed_by(graph, resolution, &self.followed, touched.clone()),
                None => Membership::of(self.space, graph, resolution, &self.followed),
            })
        };
        Arc::clone(self.membership.get_or_init(membership))
    }

    /// Iterates over the statements, in an order in which they can be inserted. Those that wait are not among
    /// them.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::Log;
    /// # use driftless::identity::Identity;
    /// # let ada = Identity::from_seed([1; 32]);
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// log.insert(log.set_name(&ada, "Harbour Repairs")?)?;
    /// let lamports: Vec<u64> = log.statements().map(|statement| statement.lamport()).collect();
    /// assert_eq!(lamports, [1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.graph.statements()
    }

    /// The same, each with whether the statements and commits of honest devices follow it; those first.
    pub(crate) fn statements_in_order_of_need(&self) -> impl Iterator<Item = (&Statement, bool)> {
        let needed = |needed: bool| {
            let numbered = self.graph.statements().enumerate();
            let numbered = numbered.filter(move |(number, _)| self.followed.contains(*number) == needed);
            numbered.map(move |(_, statement)| (statement, needed))
        };
        needed(true).chain(needed(false))
    }

    /// Returns a statement, unless it waits.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::Log;
    /// # use driftless::identity::Identity;
    /// let ada = Identity::from_seed([1; 32]);
    /// let (log, genesis) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// assert_eq!(log.statement(&genesis.hash()), Some(&genesis));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn statement(&self, hash: &StatementHash) -> Option<&Statement> {
        self.graph.number(hash).map(|number| self.graph.statement(number))
    }

    /// Tells whether a statement is here or waits.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::Log;
    /// # use driftless::identity::Identity;
    /// # let ada = Identity::from_seed([1; 32]);
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let renaming = log.set_name(&ada, "Harbour Repairs")?;
    /// assert!(!log.holds(&renaming.hash()));
    /// log.insert(renaming.clone())?;
    /// assert!(log.holds(&renaming.hash()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn holds(&self, hash: &StatementHash) -> bool {
        self.graph.number(hash).is_some() || self.waiting.contains_key(hash)
    }

    /// Returns how many statements wait for others.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::Log;
    /// # use driftless::identity::Identity;
    /// # let ada = Identity::from_seed([1; 32]);
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let mut elsewhere = log.clone();
    /// let first = log.set_name(&ada, "Harbour Repairs")?;
    /// log.insert(first.clone())?;
    /// elsewhere.insert(log.set_name(&ada, "Pier Repairs")?)?;
    /// assert_eq!(elsewhere.waiting(), 1);
    /// elsewhere.insert(first)?;
    /// assert_eq!(elsewhere.waiting(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many statements there are that do not wait.
    #[cfg(feature = "sim")]
    pub(crate) fn len(&self) -> usize {
        self.graph.len()
    }

    /// Tells whether all that counts is followed by what is signed here.
    #[cfg(feature = "sim")]
    pub(crate) fn follows_all(&self) -> bool {
        self.followed.is_whole()
    }

    /// Returns a fingerprint of the set of statements, the same for the same set: the hash of the statements that no
    /// other follows. Each names by hash what it follows, so they stand for all, and no sum is left in which the parts
    /// of one set could be chosen to make up for those of another.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::Log;
    /// # use driftless::identity::Identity;
    /// # let ada = Identity::from_seed([1; 32]);
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let mut elsewhere = log.clone();
    /// let renaming = log.set_name(&ada, "Harbour Repairs")?;
    /// log.insert(renaming.clone())?;
    /// assert_ne!(elsewhere.digest(), log.digest());
    /// elsewhere.insert(renaming)?;
    /// assert_eq!(elsewhere.digest(), log.digest());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn digest(&self) -> [u8; 16] {
        *self.digest.get_or_init(|| {
            let mut heads: Vec<StatementHash> =
                self.tips.iter().map(|number| self.graph.statement(*number).hash()).collect();
            heads.sort_unstable();
            let mut hasher = blake3::Hasher::new_keyed(self.space.as_bytes());
            hasher.update(b"driftless/log/v2\0");
            for head in heads {
                hasher.update(head.as_bytes());
            }
            let mut digest = [0; 16];
            hasher.finalize_xof().fill(&mut digest);
            digest
        })
    }

    pub(super) fn recovery(&self) -> Option<&PeerId> {
        self.recovery.as_ref()
    }

    fn begin(genesis: Statement) -> Result<Self, AccessError> {
        let space = SpaceId::new(*genesis.hash().as_bytes());
        genesis.verify(&space)?;
        let Body::Genesis(body) = genesis.body() else { return Err(AccessError::NoGenesis) };
        let recovery = body.recovery;
        if recovery.is_some_and(|key| !identity::peer_key_is_usable(&key)) {
            return Err(IdentityError::Key.into());
        }
        let mut log = Self {
            space,
            graph: Graph::default(),
            resolution: Resolution::default(),
            reading: false,
            unjudged: Vec::new(),
            tips: BTreeSet::new(),
            followed: Followed::default(),
            wanted: Wanted::new(),
            recovery,
            digest: OnceLock::new(),
            waiting: BTreeMap::new(),
            waiting_for: BTreeMap::new(),
            membership: OnceLock::new(),
            last: None,
        };
        log.attach(genesis, Bits::default());
        log.resolve();
        Ok(log)
    }

    fn verified(&mut self, statement: Statement) -> Result<bool, AccessError> {
        if self.holds(&statement.hash()) {
            return Ok(false);
        }
        statement.verify(&self.space)?;
        self.take(statement)
    }

    /// Judges what was attached. Alone where that is enough; when somebody loses something by it, everything.
    pub(super) fn judge(&mut self) {
        if self.unjudged.len() > STATEMENTS_JUDGED_ALONE_MAX {
            self.resolve();
        }
        for number in std::mem::take(&mut self.unjudged) {
            match self.resolution.judge(&self.graph, number) {
                Judged::Void => {}
                Judged::Counts => {
                    self.followed.note(&self.graph, &self.resolution, number);
                    if let Some((_, touched)) = &mut self.last {
                        touched.note(&self.graph, number);
                    }
                }
                Judged::Unsettles => return self.resolve(),
            }
        }
    }

    fn resolve(&mut self) {
        self.resolution = resolve::resolve(&self.graph);
        self.followed = Followed::of(&self.graph, &self.resolution);
        self.unjudged.clear();
        self.last = None;
    }

    /// What the log has worked out step by step, and what it works out at once.
    #[cfg(test)]
    pub(super) fn step_by_step_and_at_once(&self) -> [(Vec<String>, String); 2] {
        let anew = resolve::resolve(&self.graph);
        let followed = Followed::of(&self.graph, &anew);
        let membership = Membership::of(self.space, self.graph.clone(), anew.clone(), &followed);
        [(self.resolution.facts(), self.membership().facts()), (anew.facts(), membership.facts())]
    }

    /// Tells whether the membership is worked out from the last one, by what was judged since: all that came together was
    /// judged one by one.
    #[cfg(test)]
    pub(super) fn goes_on(&self) -> bool {
        self.last.is_some()
    }

    /// What a statement follows.
    #[cfg(test)]
    pub(super) fn past_of(&self, hash: &StatementHash) -> BTreeSet<StatementHash> {
        let past =
            self.graph.number(hash).map(|number| self.graph.entry(number).past.beyond(&Bits::default()));
        past.into_iter().flatten().map(|number| self.graph.statement(number).hash()).collect()
    }

    /// Inserts a statement that another log has verified.
    #[cfg(test)]
    pub(super) fn insert_unverified(&mut self, statement: Statement) -> Result<bool, AccessError> {
        let taken = self.take(statement);
        self.judge();
        taken
    }

    /// Takes a statement whose signature is verified.
    pub(super) fn take(&mut self, statement: Statement) -> Result<bool, AccessError> {
        if self.holds(&statement.hash()) {
            return Ok(false);
        }
        if matches!(statement.body(), Body::Genesis(_)) {
            return Err(AccessError::WrongSpace);
        }
        if let Some(missing) = self.first_missing(&statement) {
            self.check_waiting_room(&statement)?;
            self.wait(statement, missing);
            return Ok(true);
        }
        let mut next = vec![self.place(statement)?];
        while let Some(hash) = next.pop() {
            for waiting in self.waiting_for.remove(&hash).unwrap_or_default() {
                let Some(statement) = self.waiting.remove(&waiting) else { continue };
                match self.first_missing(&statement) {
                    Some(missing) => self.wait(statement, missing),
                    // One that waited and has no place is forgotten: what follows it waits for ever, bounded.
                    None => next.extend(self.place(statement).ok()),
                }
            }
        }
        Ok(true)
    }

    fn first_missing(&self, statement: &Statement) -> Option<StatementHash> {
        statement.prev().iter().find(|hash| self.graph.number(hash).is_none()).copied()
    }

    fn wait(&mut self, statement: Statement, missing: StatementHash) {
        self.waiting_for.entry(missing).or_default().insert(statement.hash());
        self.waiting.insert(statement.hash(), statement);
    }

    /// Checks a statement against its past and attaches it. The answer depends on its past alone, so every
    /// node gives the same, but for what has no room.
    fn place(&mut self, statement: Statement) -> Result<StatementHash, AccessError> {
        let hash = statement.hash();
        let past = self.graph.closure(statement.prev())?;
        let last =
            statement.prev().iter().filter_map(|prev| self.statement(prev)).map(Statement::lamport).max();
        let expected = last.unwrap_or(0).saturating_add(1);
        if statement.lamport() != expected {
            return Err(AccessError::Lamport { claimed: statement.lamport(), expected });
        }
        self.check_signer(&statement, &past)?;
        self.check_body(&statement, &past)?;
        self.check_room(&statement, &past)?;
        self.attach(statement, past);
        Ok(hash)
    }

    pub(super) fn attach(&mut self, statement: Statement, past: Bits) {
        if let Some(membership) = self.membership.take() {
            self.last = Some((membership, Touched::default()));
        }
        for prev in statement.prev() {
            if let Some(number) = self.graph.number(prev) {
                self.tips.remove(&number);
            }
        }
        self.digest.take();
        let number = self.graph.push(statement, past);
        self.tips.insert(number);
        self.resolution.note(&self.graph, number);
        self.unjudged.push(number);
    }

    fn check_signer(&self, statement: &Statement, past: &Bits) -> Result<(), AccessError> {
        let signer = statement.signer();
        let enrolled = self.resolution.enrolments(&signer).iter().any(|number| past.contains(*number));
        if enrolled || self.recovery == Some(signer) { Ok(()) } else { Err(AccessError::UnknownSigner) }
    }

    /// Checks that what a statement names is in its past and of the right kind, and the signatures inside it.
    fn check_body(&self, statement: &Statement, past: &Bits) -> Result<(), AccessError> {
        match statement.body() {
            Body::Invite { key, grant, .. } => {
                if !identity::peer_key_is_usable(key) {
                    return Err(IdentityError::Key.into());
                }
                match grant {
                    Grant::Role(_) => Ok(()),
                    Grant::Device(member) => self.check_member(member.as_bytes(), past),
                }
            }
            Body::RevokeInvite { invite } => self.invite_before(invite, past).map(|_| ()),
            Body::AddMember(enrolment) => self.check_enrolment(statement, enrolment, None, past),
            Body::AddDevice { member, enrolment } => {
                self.check_member(member.as_bytes(), past)?;
                self.check_enrolment(statement, enrolment, Some(Grant::Device(*member)), past)
            }
            Body::RemoveMember { member, .. } | Body::SetRole { member, .. } => {
                self.check_member(member.as_bytes(), past)
            }
            Body::RemoveDevice { enrolment, .. } => {
                let number = self.graph.number(enrolment).filter(|number| past.contains(*number));
                let device = number.and_then(|number| device_of(&self.graph, number));
                device.map(|_| ()).ok_or(AccessError::NotInPast { what: "enrolment" })
            }
            Body::Genesis(_)
            | Body::SetName { .. }
            | Body::SetRule { .. }
            | Body::Verdict { .. }
            | Body::Other { .. } => Ok(()),
        }
    }

    fn check_member(&self, member: &[u8; 32], past: &Bits) -> Result<(), AccessError> {
        let number = self.graph.number(&StatementHash::new(*member)).filter(|number| past.contains(*number));
        let body = number.map(|number| self.graph.statement(number).body());
        match body {
            Some(Body::Genesis(_) | Body::AddMember(_)) => Ok(()),
            Some(_) | None => Err(AccessError::NotInPast { what: "member" }),
        }
    }

    fn invite_before(
        &self,
        invite: &StatementHash,
        past: &Bits,
    ) -> Result<(&Statement, PeerId, Grant), AccessError> {
        let number = self.graph.number(invite).filter(|number| past.contains(*number));
        let statement = number.map(|number| self.graph.statement(number));
        match statement.map(|statement| (statement, statement.body())) {
            Some((statement, Body::Invite { key, grant, .. })) => Ok((statement, *key, *grant)),
            Some(_) | None => Err(AccessError::NotInPast { what: "invite" }),
        }
    }

    /// An enrolment is by the very device that made the invite, as what the invite grants, and both the
    /// invite's key and the device signed it. `grant` is empty for a new member, with any role.
    fn check_enrolment(
        &self,
        statement: &Statement,
        enrolment: &Enrolment,
        grant: Option<Grant>,
        past: &Bits,
    ) -> Result<(), AccessError> {
        let (invite, key, granted) = self.invite_before(&enrolment.invite, past)?;
        if invite.signer() != statement.signer() {
            return Err(AccessError::Malformed { what: "an invite is redeemed by the device that made it" });
        }
        let fits = match (grant, granted) {
            (None, Grant::Role(_)) => true,
            (Some(grant), granted) => grant == granted,
            (None, Grant::Device(_)) => false,
        };
        if !fits {
            return Err(AccessError::Malformed { what: "an invite enrols as what it grants" });
        }
        if self.recovery == Some(enrolment.device) {
            return Err(AccessError::Malformed { what: "the recovery key is no device" });
        }
        enrolment.verify(&self.space, &key)
    }
}

pub(super) fn check_name(name: &str) -> Result<(), AccessError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(AccessError::TooLarge { what: "name", bytes: name.len(), bytes_max: NAME_BYTES_MAX });
    }
    Ok(())
}
