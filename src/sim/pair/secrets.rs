//! What a device is sent tells nothing of collections that it may not read: two worlds that differ in those
//! alone send it the same bytes, in the same order, at the same times.
//!
//! The worlds go through all that two devices say to each other: opening, first sync, live edits, acknowledgements,
//! batches, comparisons by the minute, reconnecting, repair by sketches and clocks. In one of them somebody
//! writes to a collection for admins all the while: the device that sends, and a third whose commits it relays.

use super::*;
use crate::access::Role;
use crate::exchange::ShortsKey;

/// An entity that only admins read.
#[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
struct Wage {
    who: String,
    cents: i64,
}

impl Entity for Wage {
    const COLLECTION: &'static str = "wages";
    const VERSION: u32 = 1;
}

/// Stands in every wage.
const SECRET: &str = "Mortimer Quill";

fn wages() -> CollectionName {
    CollectionName::new(Wage::COLLECTION).expect("a name")
}

fn wage(number: u64) -> EntityId {
    EntityId::from_key("wage", &number.to_be_bytes())
}

/// Whether the world has secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Secrets {
    Kept,
    None,
}

/// The desk, a bench that may not read wages, and an admin who is not connected to the bench.
struct World {
    pair: Pair,
    admin: Party,
    secrets: Secrets,
    written: u64,
}

impl World {
    fn new(secrets: Secrets) -> Self {
        let mut pair = Pair::new();
        let (now, space) = (at(0), pair.space);
        let mut admin = Party::new(3);
        let desk = &mut pair.parties[0];
        let invite = desk.replica.invite(now, space, Role::Admin, Vec::new(), 60_000).expect("may invite");
        let request = admin.replica.join_request(&invite, "Cy", "phone", &EXPORTER).expect("short names");
        let ask = Ask::Redeem { joiner: admin.peer(), exporter: EXPORTER, request };
        let Answer::Redeemed(reply) = desk.replica.answer(now, ask) else { panic!("redeemed") };
        desk.replica.set_rule(now, space, &wages(), Role::Admin, Role::Admin).expect("an owner may");
        let from = desk.peer();
        assert!(
            matches!(admin.replica.answer(now, Ask::Joined { from, reply: reply.concat() }), Answer::Done),
            "joined"
        );
        let Answer::Statements(statements) = pair.parties[0].replica.answer(
            now,
            Ask::Statements { space, key: ShortsKey::default(), given: Vec::new(), known: Vec::new() },
        ) else {
            panic!("statements")
        };
        admin.replica.answer(now, Ask::Learn { space, from, statements });
        for party in [&mut pair.parties[0], &mut admin] {
            party.replica.register(Arc::new(KindOf::<Wage>::new().expect("a name"))).expect("registers");
        }
        pair.forward();
        pair.said = Some(Vec::new());
        Self { pair, admin, secrets, written: 0 }
    }

    /// In the world that has secrets: the desk writes some, and relays some of the admin's.
    fn whisper(&mut self) {
        if self.secrets == Secrets::None {
            return;
        }
        let (now, space) = (at(self.pair.now_ms), self.pair.space);
        for _ in 0..3 {
            self.written += 1;
            let new = Wage { who: SECRET.to_owned(), cents: self.written as i64 };
            let raise = update(|wage: &mut Wage| wage.cents += 100);
            let (insert, raise) = (insert(new), raise);
            let write =
                |intent, edit, number| Write { collection: wages(), entity: wage(number), intent, edit };
            self.pair.commit(0, vec![write(Intent::Create, insert, self.written)]);
            self.pair.commit(0, vec![write(Intent::Change, raise, self.written)]);
        }
        self.written += 1;
        let new = insert(Wage { who: SECRET.to_owned(), cents: 7 });
        let entity = wage(self.written);
        let write = Write { collection: wages(), entity, intent: Intent::Create, edit: new };
        self.admin.replica.commit(now, space, vec![write]).expect("an admin may");
        let (to, from) = (self.pair.parties[0].peer(), self.admin.peer());
        let ask =
            Ask::Feed { space, to, have: Vectors::new(), scope: Scope::default(), bytes_max: usize::MAX };
        let Answer::Commits { commits, .. } = self.admin.replica.answer(now, ask) else { panic!("commits") };
        let commits = commits.iter().map(|packed| packed.bytes.to_vec()).collect();
        let answer = self.pair.parties[0].replica.answer(now, Ask::Receive { space, from, commits });
        assert!(matches!(answer, Answer::Received { refused: 0, .. }), "{answer:?}");
        self.pair.forward();
        self.pair.settle();
    }

    /// Lets time pass, a whisper in every part of it.
    fn pass(&mut self, ms: u64) {
        for part in 1..=4 {
            self.whisper();
            self.pair.talk_out(ms * part / 10);
        }
    }

    /// All that the bench was sent: when, and what.
    fn live(mut self) -> Vec<(u64, Vec<u8>)> {
        self.whisper();
        self.pair.insert(0, 0..5);
        self.pair.connect();
        self.pass(3_000);
        for number in 0..3 {
            self.pair.edit(0, number);
            self.whisper();
            self.pair.edit(1, number);
            self.pass(500);
        }
        self.pass(200_000);
        self.pair.part();
        self.whisper();
        self.pair.edit(0, 1);
        self.pair.connect();
        self.pass(5_000);
        self.pair.part();
        // Each side holds what the other lacks, and the vectors do not tell.
        self.pair.edit(0, 2);
        self.pair.edit(1, 3);
        self.whisper();
        self.pair.lie();
        self.whisper();
        self.pair.connect();
        self.pass(400_000);
        assert!(self.pair.parties.iter().all(|party| party.in_sync), "the worlds come to rest");
        assert_eq!(self.secrets == Secrets::Kept, self.written > 30, "{}", self.written);
        self.pair.said.take().expect("it was kept")
    }
}

#[test]
fn two_worlds_that_differ_in_what_a_device_may_not_read_send_it_the_same_bytes() {
    let (kept, none) = (World::new(Secrets::Kept).live(), World::new(Secrets::None).live());

    for (number, (kept, none)) in kept.iter().zip(&none).enumerate() {
        let message = |frame: &[u8]| Message::from_frame(frame);
        assert_eq!((kept.0, message(&kept.1)), (none.0, message(&none.1)), "frame {number}");
        assert_eq!(kept.1, none.1, "frame {number}");
    }
    let (more, fewer) = if kept.len() > none.len() { (&kept, &none) } else { (&none, &kept) };
    let rest: Vec<_> =
        more.iter().skip(fewer.len()).map(|(at, frame)| (at, Message::from_frame(frame))).collect();
    assert!(rest.is_empty(), "{} and {}: {rest:?}", kept.len(), none.len());
    assert!(kept.len() >= 40, "{} frames", kept.len());
}

/// By content, where the first test would not say what leaked. What the membership log says of rules is no secret.
#[test]
fn nothing_that_a_device_is_sent_names_what_it_may_not_read() {
    let said = World::new(Secrets::Kept).live();
    let mut hidden: Vec<Vec<u8>> = vec![SECRET.into(), wages().as_str().into()];
    hidden.extend((1..200).map(|number| wage(number).as_bytes().to_vec()));
    let holds = |bytes: &[u8]| hidden.iter().any(|hidden| contains(bytes, hidden));
    let mut visible = 0;

    for (at_ms, frame) in &said {
        let message = Message::from_frame(frame).expect("it was sent").expect("it is known");
        if matches!(message, Message::Statements(_)) {
            continue;
        }
        let commits = if let Message::Batch(batch) = message {
            batch.commits
        } else if let Message::LiveBatch(batch) = message {
            batch.commits
        } else if let Message::Live(live) = message {
            vec![live.commit]
        } else {
            Vec::new()
        };
        assert!(!holds(frame), "at {at_ms}: {:?}", Message::from_frame(frame));
        assert!(!commits.iter().any(|commit| holds(commit)), "a commit at {at_ms}");
        visible += commits.iter().filter(|commit| contains(commit, b"tickets")).count();
    }

    assert!(visible >= 10, "what it may read is there: {visible}");
}

/// An acknowledgement that waits when a rule shuts its reader out names nothing.
#[test]
fn what_is_acknowledged_late_names_nothing_that_the_peer_may_read_no_more() {
    let mut pair = Pair::new();
    let (space, closed) = (pair.space, tickets());
    pair.connect();
    pair.talk_out(1_000);
    pair.insert(1, 0..3);
    pair.said = Some(Vec::new());
    let now = at(pair.now_ms);
    let desk = &mut pair.parties[0].replica;
    desk.set_rule(now, space, &closed, Role::Admin, Role::Admin).expect("an owner may");
    pair.forward();
    pair.talk_out(60_000);

    let said: Vec<Message> = frames(pair.said.take().expect("it was kept"));
    let told = said.iter().filter(|message| !matches!(message, Message::Statements(_)));
    let named: Vec<&Message> =
        told.filter(|message| contains(&message.to_frame(), closed.as_str().as_bytes())).collect();
    assert!(named.is_empty(), "{named:?}");
    assert!(pair.parties.iter().all(|party| party.in_sync && party.refused.is_empty()));
}

fn frames(said: Vec<(u64, Vec<u8>)>) -> Vec<Message> {
    let message = |(_, frame): (u64, Vec<u8>)| Message::from_frame(&frame).expect("it was sent");
    said.into_iter().filter_map(message).collect()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
