//! Joining, on both sides: requests of this device, and those that others make to it.
//!
//! A request by an invite that needs approval is kept, on both sides and through restarts: here with what the
//! joiner committed to, there with the nonce that the inviter answered. Neither is ever replaced by another,
//! which is what the strength of the code rests on; see [`JoinCode`].

use std::collections::BTreeMap;

use super::{Replica, ReplicaError, Told};
use crate::access::{Invite, JoinCode, JoinReply, JoinRequest, Log, Refusal};
use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::exchange::Answer;
use crate::id::{PeerId, SpaceId};
use crate::limits::{
    INVITE_TEXT_BYTES_MAX, JOIN_REQUEST_BYTES_MAX, JOIN_REQUESTS_MAX, JOIN_REQUESTS_PER_INVITE_MAX, JOINS_MAX,
};
use crate::store::keyspaces::{Batch, META_ASKED, META_JOINING, MetaKey, Prefix, Raw};
use crate::store::kv::KvError;
use crate::time::{Now, Timestamp};

/// What is kept of requests to join.
#[derive(Debug, Default)]
pub(super) struct Joins {
    /// Invites that this device asked to redeem, by inviter. Bounded by `JOINS_MAX`.
    own: BTreeMap<(PeerId, SpaceId), Joining>,
    /// Requests to this device that wait or were declined, by joiner. Bounded by `JOIN_REQUESTS_MAX`.
    asked: BTreeMap<(SpaceId, PeerId), Asked>,
}

/// A request of this device.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Joining {
    invite: Invite,
    /// The inviter's part of the code, once it has said that the request waits. Only such ones are on disk.
    nonce: Option<[u8; 32]>,
}

/// A request to this device.
///
/// ```text
/// declined 1 B | 0, or 1 and the joiner's nonce 32 B | arrived | request
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    declined: bool,
    /// The joiner's part of the code, once it is revealed.
    nonce: Option<[u8; 32]>,
    arrived: Timestamp,
    request: Vec<u8>,
}

/// A request to join that waits at this device, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applicant {
    pub(crate) device: PeerId,
    pub(crate) member_name: String,
    pub(crate) device_name: String,
    pub(crate) code: JoinCode,
    pub(crate) arrived: Timestamp,
}

impl Replica {
    /// Makes the request with which this device redeems an invite, good on the connection that `exporter` comes
    /// from. The invite is remembered until the answer comes as `Ask::Joined`.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::Access`] when a name is too long, [`ReplicaError::TooMany`] when too many joins are under
    /// way.
    pub(crate) fn join_request(
        &mut self,
        invite: &Invite,
        member: &str,
        device: &str,
        exporter: &[u8; 32],
    ) -> Result<Vec<u8>, ReplicaError> {
        let request = invite.request(&self.identity, member, device, exporter)?;
        let place = (invite.inviter(), invite.space());
        let known = self.joins.own.get(&place);
        if self.joins.own.len() >= JOINS_MAX && known.is_none() {
            let (count, max) = (self.joins.own.len() + 1, JOINS_MAX);
            return Err(ReplicaError::TooMany { what: "joins under way", count, max });
        }
        if known.is_none_or(|known| known.invite.key() != invite.key()) {
            self.forget_join(invite)?;
            self.joins.own.insert(place, Joining { invite: invite.clone(), nonce: None });
        }
        Ok(request)
    }

    /// Gives up a request of this device. Another one by the same invite begins anew.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::Store`] when the store fails.
    pub(crate) fn forget_join(&mut self, invite: &Invite) -> Result<(), ReplicaError> {
        let place = (invite.inviter(), invite.space());
        if let Some(known) = self.joins.own.remove(&place)
            && known.nonce.is_some()
        {
            let mut batch = Batch::new();
            batch.remove(&joining_key(&known.invite.key()));
            self.store.write(batch)?;
        }
        Ok(())
    }

    /// The requests of this device that wait to be approved, with their codes.
    pub(crate) fn waiting_joins(&self) -> Vec<(Invite, JoinCode)> {
        let waiting = self.joins.own.values();
        waiting
            .filter_map(|known| {
                Some((known.invite.clone(), known.invite.code(&self.identity, &known.nonce?)))
            })
            .collect()
    }

    /// The requests to this device that wait to be approved.
    pub(crate) fn applicants(&self, space: &SpaceId) -> Vec<Applicant> {
        let asked = self.joins.asked.iter().filter(|((other, _), asked)| other == space && !asked.declined);
        asked.filter_map(|((_, device), asked)| self.applicant(*device, asked)).collect()
    }

    /// Enrols a device whose request waits. Its next request is answered with the log.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::NotFound`] when no request of the device waits, [`ReplicaError::Access`] when the invite is
    /// used or revoked by now, or this device may not invite any more.
    pub(crate) fn approve(&mut self, space: SpaceId, device: PeerId) -> Result<(), ReplicaError> {
        let asked = self.joins.asked.get(&(space, device)).filter(|asked| asked.nonce.is_some());
        let request = asked.ok_or(ReplicaError::NotFound { what: "request to join" })?.request.clone();
        let request = JoinRequest::decode(&request)?;
        self.author(space, |log, by| log.redeem_approved(by, &request, device))?;
        self.forget_asked(&[(space, device)])
    }

    /// Refuses a device whose request waits, for this invite.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::NotFound`] when no request of the device waits.
    pub(crate) fn decline(&mut self, space: SpaceId, device: PeerId) -> Result<(), ReplicaError> {
        let asked = self.joins.asked.get(&(space, device)).cloned();
        let asked = asked.ok_or(ReplicaError::NotFound { what: "request to join" })?;
        self.keep_asked((space, device), Asked { declined: true, ..asked })
    }

    /// Judges a request to join a space of this node. A refusal is an answer too.
    pub(super) fn redeem(
        &mut self,
        now: Now,
        joiner: PeerId,
        exporter: &[u8; 32],
        request: &[u8],
    ) -> Result<Answer, ReplicaError> {
        let read = match JoinRequest::decode(request) {
            Ok(read) => read,
            Err(error) => return Ok(refused(Refusal::from(&error))),
        };
        let Some(known) = self.spaces.get(&read.space()) else { return Ok(refused(Refusal::Unknown)) };
        let mut log = known.log.clone();
        let redeemed = log.redeem(&self.identity, request, joiner, exporter, now.wall);
        let enrolled = redeemed.and_then(|statement| Ok((log.insert(statement.clone())?, statement)));
        match enrolled {
            Ok((new, statement)) => {
                let reply = JoinReply::parts(&log);
                if new {
                    self.adopt(log, &[statement])?;
                }
                Ok(Answer::Redeemed(reply))
            }
            Err(error) if Refusal::from(&error) == Refusal::Waiting => self.wait(now, joiner, &read, request),
            Err(error) => {
                tracing::info!(joiner = %joiner.short(), %error, "invite not redeemed");
                Ok(refused(Refusal::from(&error)))
            }
        }
    }

    /// Keeps a request that waits to be approved. The first of a device by an invite stays.
    fn wait(
        &mut self,
        now: Now,
        joiner: PeerId,
        read: &JoinRequest,
        request: &[u8],
    ) -> Result<Answer, ReplicaError> {
        self.forget_settled()?;
        let place = (read.space(), joiner);
        if let Some(asked) = self.joins.asked.get(&place) {
            let same = JoinRequest::decode(&asked.request).is_ok_and(|first| first.is_same(read));
            return Ok(match (same, asked.declined) {
                (_, true) => refused(Refusal::Declined),
                (true, false) => Answer::Redeemed(vec![waits(read, read.nonce(&self.identity, joiner))]),
                (false, false) => refused(Refusal::Busy),
            });
        }
        let by_invite =
            self.joins.asked.values().filter(|asked| {
                JoinRequest::decode(&asked.request).is_ok_and(|other| other.key() == read.key())
            });
        if by_invite.count() >= JOIN_REQUESTS_PER_INVITE_MAX || self.joins.asked.len() >= JOIN_REQUESTS_MAX {
            return Ok(refused(Refusal::Busy));
        }
        let asked = Asked { declined: false, nonce: None, arrived: now.wall, request: request.to_vec() };
        self.keep_asked(place, asked)?;
        Ok(Answer::Redeemed(vec![waits(read, read.nonce(&self.identity, joiner))]))
    }

    /// Takes the joiner's part of the code. From then on the request is shown.
    pub(super) fn revealed(&mut self, joiner: PeerId, reveal: &[u8]) -> Result<Answer, ReplicaError> {
        let (space, _, nonce) = JoinRequest::decode_reveal(reveal)?;
        let known = self.joins.asked.get(&(space, joiner)).cloned();
        let asked = known.ok_or(ReplicaError::NotFound { what: "request to join" })?;
        if asked.nonce.is_some() {
            return Ok(Answer::Done);
        }
        let asked = Asked { nonce: Some(nonce), ..asked };
        let Some(applicant) = self.applicant(joiner, &asked) else {
            return Err(ReplicaError::NotFound { what: "commitment to that nonce" });
        };
        self.keep_asked((space, joiner), asked)?;
        self.told.push_back(Told::JoinRequested { space, applicant });
        Ok(Answer::Done)
    }

    /// Takes the inviter's answer to a request of [`Replica::join_request`].
    pub(super) fn joined(&mut self, from: PeerId, reply: &[u8]) -> Result<Answer, ReplicaError> {
        if let [JoinReply::Waiting { key, nonce }] = JoinReply::decode_all(reply)?.as_slice() {
            return self.join_waits(from, *key, *nonce);
        }
        let invites = self.joins.own.iter().filter(|((inviter, _), _)| *inviter == from);
        let mut last = ReplicaError::NotFound { what: "join under way" };
        let mut joined: Option<(Invite, Log)> = None;
        for (_, known) in invites {
            match known.invite.accept(&self.peer, reply) {
                Ok(log) => joined = Some((known.invite.clone(), log)),
                Err(error) => last = error.into(),
            }
        }
        let Some((invite, log)) = joined else { return Err(last) };
        if self.spaces.contains_key(&log.space()) {
            let statements = log.statements().map(|statement| statement.bytes().to_vec()).collect();
            self.learn(log.space(), from, statements)?;
        } else {
            self.add_space(log)?;
        }
        self.forget_join(&invite)?;
        Ok(Answer::Done)
    }

    /// The inviter's part of the code must be on disk before ours is revealed.
    fn join_waits(&mut self, from: PeerId, key: PeerId, nonce: [u8; 32]) -> Result<Answer, ReplicaError> {
        let mut own = self.joins.own.iter_mut();
        let known = own.find(|((inviter, _), known)| *inviter == from && known.invite.key() == key);
        let (_, known) = known.ok_or(ReplicaError::NotFound { what: "join under way" })?;
        match known.nonce {
            Some(first) if first != nonce => {
                return Err(ReplicaError::NotFound { what: "inviter who answers as it did before" });
            }
            Some(_) => {}
            None => {
                known.nonce = Some(nonce);
                let mut batch = Batch::new();
                batch.put(&joining_key(&key), &Raw(known.to_bytes()));
                self.store.write(batch)?;
            }
        }
        let (reveal, code) = (known.invite.reveal(&self.identity), known.invite.code(&self.identity, &nonce));
        Ok(Answer::JoinWaits { reveal, code })
    }

    pub(super) fn load_joins(&mut self) -> Result<(), ReplicaError> {
        let Joins { own, asked } = &mut self.joins;
        self.store.each(&Prefix::<MetaKey>::named(META_JOINING), |_, Raw(bytes)| {
            let known = Joining::from_bytes(&bytes).map_err(|error| corrupt(&error))?;
            own.insert((known.invite.inviter(), known.invite.space()), known);
            Ok::<_, ReplicaError>(())
        })?;
        self.store.each(&Prefix::<MetaKey>::named(META_ASKED), |key, Raw(bytes)| {
            let place = place_of(&key).ok_or(CodecError::Invalid { what: "request to join" });
            let known = place.and_then(|place| Ok((place, Asked::from_bytes(&bytes)?)));
            let (place, known) = known.map_err(|error| corrupt(&error))?;
            asked.insert(place, known);
            Ok(())
        })
    }

    fn applicant(&self, device: PeerId, asked: &Asked) -> Option<Applicant> {
        let request = JoinRequest::decode(&asked.request).ok()?;
        Some(Applicant {
            device,
            member_name: request.member_name().to_owned(),
            device_name: request.device_name().to_owned(),
            code: request.code(&self.identity, device, &asked.nonce?)?,
            arrived: asked.arrived,
        })
    }

    /// Forgets requests whose invite can enrol nobody any more.
    fn forget_settled(&mut self) -> Result<(), ReplicaError> {
        let settled = |((space, device), asked): (&(SpaceId, PeerId), &Asked)| {
            let log = &self.spaces.get(space)?.log;
            let request = JoinRequest::decode(&asked.request).ok()?;
            log.redeem_approved(&self.identity, &request, *device).ok()
        };
        let gone: Vec<(SpaceId, PeerId)> = self
            .joins
            .asked
            .iter()
            .filter(|(place, asked)| settled((place, asked)).is_none())
            .map(|(place, _)| *place)
            .collect();
        self.forget_asked(&gone)
    }

    fn forget_asked(&mut self, places: &[(SpaceId, PeerId)]) -> Result<(), ReplicaError> {
        let mut batch = Batch::new();
        places.iter().for_each(|place| batch.remove(&asked_key(place)));
        self.store.write(batch)?;
        self.joins.asked.retain(|place, _| !places.contains(place));
        Ok(())
    }

    fn keep_asked(&mut self, place: (SpaceId, PeerId), asked: Asked) -> Result<(), ReplicaError> {
        let mut batch = Batch::new();
        batch.put(&asked_key(&place), &Raw(asked.to_bytes()));
        self.store.write(batch)?;
        self.joins.asked.insert(place, asked);
        Ok(())
    }
}

impl Encode for Asked {
    fn encode(&self, out: &mut Writer) {
        out.u8(u8::from(self.declined));
        out.u8(u8::from(self.nonce.is_some()));
        if let Some(nonce) = &self.nonce {
            out.raw(nonce);
        }
        self.arrived.encode(out);
        out.bytes(&self.request);
    }
}

impl Decode for Asked {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        const WHAT: &str = "request to join";
        Ok(Self {
            declined: flag(input, WHAT)?,
            nonce: flag(input, WHAT)?.then(|| input.array(WHAT)).transpose()?,
            arrived: Decode::decode(input)?,
            request: input.bytes(WHAT, JOIN_REQUEST_BYTES_MAX)?.to_vec(),
        })
    }
}

impl Encode for Joining {
    fn encode(&self, out: &mut Writer) {
        out.raw(&self.nonce.unwrap_or_default());
        out.text(&self.invite.to_string());
    }
}

impl Decode for Joining {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let nonce = Some(input.array("inviter's nonce")?);
        let text = input.text("invite", INVITE_TEXT_BYTES_MAX)?;
        Ok(Self { invite: text.parse().map_err(|_| CodecError::Invalid { what: "invite" })?, nonce })
    }
}

fn flag(input: &mut Reader<'_>, what: &'static str) -> Result<bool, CodecError> {
    match input.u8(what)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(CodecError::Invalid { what }),
    }
}

fn corrupt(error: &CodecError) -> ReplicaError {
    KvError::Corrupt { what: format!("a request to join: {error}") }.into()
}

fn refused(refusal: Refusal) -> Answer {
    Answer::Redeemed(vec![JoinReply::refuse(refusal)])
}

fn waits(request: &JoinRequest, nonce: [u8; 32]) -> Vec<u8> {
    JoinReply::wait(request.key(), nonce)
}

fn joining_key(key: &PeerId) -> MetaKey {
    MetaKey(format!("{META_JOINING}{key}"))
}

fn asked_key((space, device): &(SpaceId, PeerId)) -> MetaKey {
    MetaKey(format!("{META_ASKED}{space}/{device}"))
}

fn place_of(MetaKey(name): &MetaKey) -> Option<(SpaceId, PeerId)> {
    let (space, device) = name.strip_prefix(META_ASKED)?.split_once('/')?;
    Some((space.parse().ok()?, device.parse().ok()?))
}
