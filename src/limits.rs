//! Every bound of the library, with its unit in its name.
//!
//! A queue, map, loop or retry that peers, users or disks can grow names one of these. Relations that the
//! code relies on are asserted at compile time at the end of the file.

// ---- ids and names ------------------------------------------------------------------------------------

/// Longest collection name, in bytes.
pub const COLLECTION_NAME_BYTES_MAX: usize = 64;
/// Most collections in one space.
pub const COLLECTIONS_PER_SPACE_MAX: usize = 1_024;
/// Collections that each member may begin, whatever the others have begun.
pub const COLLECTIONS_KEPT: usize = 16;
/// Most collections of one member who is no admin: those that it alone writes to, half of those that it writes to with
/// one other, and so on. Those with a rule, and those that an admin writes to, are nobody's.
pub const COLLECTIONS_PER_MEMBER_MAX: usize = 128;
/// Collections of a space up to which such a member may have more than those that each may begin.
pub const COLLECTIONS_SHARED_MAX: usize = 640;
/// Collections up to which one of a device that no statement enrols is held.
pub const COLLECTIONS_OF_STRANGERS_MAX: usize = 256;
/// Of the names of a space, those that only admins begin, or that have a rule.
pub const COLLECTIONS_OF_ADMINS: usize = 64;
/// Most collections of one space in which a device has an interest of their own; the others have that of the space.
pub const INTERESTS_PER_SPACE_MAX: usize = 64;
/// Longest name of a space or a member, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Most spaces that one node holds.
pub const SPACES_PER_NODE_MAX: usize = 4_096;

// ---- documents ----------------------------------------------------------------------------------------

/// Largest encoded change, in bytes.
pub const CHANGE_BYTES_MAX: usize = 256 * 1024;
/// Most operations in one change. Every character that is typed or pasted into a text is one.
pub const CHANGE_OPS_MAX: u64 = 65_536;
/// Most predecessors, over all operations of one change.
pub const CHANGE_PREDS_MAX: u64 = 131_072;
/// Most dependencies of one change.
pub const CHANGE_DEPS_MAX: usize = 64;
/// Most other actors that one change names.
pub const CHANGE_ACTORS_MAX: usize = 64;
/// Largest sequence number of an actor.
pub const CHANGE_SEQ_MAX: u64 = 1 << 40;
/// Largest operation counter in a document.
pub const CHANGE_OP_COUNTER_MAX: u64 = (1 << 31) - 1;
/// Time farthest from 1970 that a change may bear, in milliseconds: 8,900 years. Automerge stores times as
/// differences, and the difference of two extremes does not fit.
pub const CHANGE_TIME_MS_MAX: u64 = 1 << 48;
/// Longest map key inside a document, in bytes.
pub const KEY_BYTES_MAX: usize = 1_024;
/// Largest single value inside a document, in bytes.
pub const VALUE_BYTES_MAX: usize = 128 * 1024;
/// Deepest nesting of objects inside a document.
pub const NESTING_DEPTH_MAX: usize = 32;
/// Most concurrent values of one field.
pub const CONFLICTS_PER_FIELD_MAX: usize = 1_024;
/// Largest number that a counter starts from, either way.
pub const COUNTER_MAX: i64 = 1 << 53;
/// Largest increment of a counter, either way; with the bound on its start, no number of increments that a
/// document can hold overflows it.
pub const INCREMENT_MAX: i64 = 1 << 30;
/// Operations up to which a batch that does more than to put values and count is proven by saving and loading the
/// document; every batch is, when the document has grown by a quarter.
pub const PROOF_OPS: u64 = 512;
/// Most heads of one document. An edit follows all of them and its actor's previous change.
pub const HEADS_MAX: usize = 63;
/// Largest materialised row, in bytes.
pub const ROW_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Budget of the cache of loaded documents, in bytes.
pub const DOCUMENT_CACHE_BYTES: usize = 64 * 1024 * 1024;

// ---- commits ------------------------------------------------------------------------------------------

/// Largest number of a commit in one collection. Far beyond what a device makes, and far from the largest that
/// fits, next to which "one more" is the same number.
pub const OSEQ_MAX: u64 = 1 << 48;
/// Most entities that one commit touches.
pub const COMMIT_LEAVES_MAX: usize = 1_024;
/// Largest encoded commit with its changes, in bytes.
pub const COMMIT_BYTES_MAX: usize = 768 * 1024;
/// Most membership heads that one commit names.
pub const COMMIT_AT_MAX: usize = 16;

// ---- membership ---------------------------------------------------------------------------------------

/// Most previous statements that one statement names.
pub const STATEMENT_PREV_MAX: usize = 16;
/// Most commits that the cut of a removal names.
pub const CUT_HASHES_MAX: usize = 96;
/// Largest encoded statement, in bytes.
pub const STATEMENT_BYTES_MAX: usize = 4 * 1024;
/// Most statements in one membership log.
pub const STATEMENTS_PER_SPACE_MAX: usize = 16_384;
/// Places of those that only statements of admins take that count when they come: whoever fills the others keeps
/// nobody from removing who did.
pub const STATEMENTS_OF_ADMINS: usize = 4_096;
/// Of these, those that only the most senior admin takes.
pub const STATEMENTS_OF_SENIOR: usize = 2_560;
/// And those that only the recovery key takes.
pub const STATEMENTS_OF_RECOVERY: usize = 512;
/// Statements of one member that others follow, and as many that it was the first to follow.
pub const STATEMENTS_FOLLOWED_OF_MEMBER: usize = 64;
/// The same of one that was an admin when it said so. The founder has no such bound.
pub const STATEMENTS_FOLLOWED_OF_ADMIN: usize = 1_024;
/// Statements that others follow of one member and all whom it added, and whom they added.
pub const STATEMENTS_FOLLOWED_OF_BRANCH: usize = 2_048;
/// Members of whom each was added by the one before it, from one whom the founder added: what those say who are
/// further away is not followed, for to look at all above them takes time.
pub const MEMBERS_IN_A_ROW_MAX: usize = 64;
/// Statements that come together and are still judged one by one; of more, all of the log is judged anew.
pub const STATEMENTS_JUDGED_ALONE_MAX: usize = 256;
/// Bytes at which one frame of statements is closed. What a statement follows best comes with it.
pub const STATEMENTS_PAGE_BYTES: usize = 512 * 1024;
/// How often a statement that nobody needs is sent on one connection: who did not take it has no room for it.
pub const STATEMENT_SENT_MAX: u8 = 2;
/// Times that two logs are exchanged which stay as they are and differ, before that is taken for good.
pub const LOG_ROUNDS_MAX: u32 = 3;
/// Most statements of one log that wait for others they name.
pub const STATEMENTS_WAITING_MAX: usize = 1_024;
/// Places of those that only statements of admins take.
pub const STATEMENTS_WAITING_OF_ADMINS: usize = 64;
/// Bytes at which one part of the reply to a joiner is closed.
pub const JOIN_PART_BYTES: usize = 64 * 1024;
/// Largest request to join, in bytes.
pub const JOIN_REQUEST_BYTES_MAX: usize = 1_024;
/// Most requests to join that wait to be approved at one node, declined ones among them.
pub const JOIN_REQUESTS_MAX: usize = 64;
/// Most of them by one invite: each is a guess of whoever sits between two people that compare a code.
pub const JOIN_REQUESTS_PER_INVITE_MAX: usize = 4;
/// Largest reply to a request to join, all parts together, in bytes: a full log, with a length before each statement.
pub const JOIN_REPLY_BYTES_MAX: usize = 65 * 1024 * 1024;
/// Interval at which a joiner asks whether it was approved, in milliseconds.
pub const JOIN_POLL_MS: u64 = 2_000;
/// Time for which a join waits to be approved, in milliseconds, unless told otherwise: ten minutes.
pub const JOIN_WAIT_MS: u64 = 600_000;
/// Most addresses in an invite.
pub const INVITE_ADDRESSES_MAX: usize = 4;
/// Longest invite as text, in bytes.
pub const INVITE_TEXT_BYTES_MAX: usize = 1_024;

// ---- frames and connections ---------------------------------------------------------------------------

/// Largest frame body, in bytes.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Largest frame before the peer is known to be a member, in bytes.
pub const HELLO_BYTES_MAX: usize = 128 * 1024;
/// Most spaces that one hello opens.
pub const OPENINGS_MAX: usize = 1_024;
/// Most origins in one version vector.
pub const VECTOR_ORIGINS_MAX: usize = 8_192;
/// Most entities of one request for documents, and of one call that fetches them.
pub const FETCH_ENTITIES_MAX: usize = 256;
/// Most commits that the documents of one request hang together by; beyond it they cannot be fetched alone.
pub const FETCH_COMMITS_MAX: usize = 65_536;
/// Bytes at which the answer to a request for documents is closed; the rest is asked for again.
pub const FETCH_BYTES: usize = 1024 * 1024;
/// Calls that fetch documents and are not answered yet.
pub const FETCHES_MAX: usize = 256;
/// Most entities that one message tells of an index.
pub const INDEX_PAGE_ENTITIES: usize = 2_048;
/// Bytes at which a message that tells of an index is closed.
pub const INDEX_PAGE_BYTES: usize = 256 * 1024;
/// Entities up to which a span of an index is told as it is, and not compared in parts.
pub const INDEX_LEAF_ENTITIES: usize = 48;
/// Into how many parts a span of an index is divided to compare it; up to twice as many come of it.
pub const INDEX_PARTS: usize = 16;
/// Most spans in one question for an index.
pub const INDEX_SPANS_MAX: usize = 16;
/// Most spans in one answer.
pub const INDEX_SPANS_TOLD_MAX: usize = 2 * INDEX_PARTS * INDEX_SPANS_MAX;
/// Most entities in the index of one collection; of more, the others are left out.
pub const INDEX_ENTITIES_MAX: usize = 1 << 20;
/// Most collections of which a node follows the index, in all spaces.
pub const INDEX_FOLLOWED_MAX: usize = 1_024;
/// Changed entities that are remembered for a peer that follows an index; behind more of them it asks anew.
pub const INDEX_CHANGED_MAX: usize = 4_096;
/// Changed entities that one message tells.
pub const INDEX_TOLD_MAX: usize = 256;
/// How often a followed index is compared whole, in milliseconds.
pub const INDEX_CHECK_MS: u64 = 60_000;
/// Origins in one version vector that each member may have, all its devices together, whatever the others have. A
/// device takes a new one after a crash, a restore and a copy. As many places are this device's own, so that its
/// commits always find room.
pub const ORIGINS_KEPT: usize = 64;
/// Most origins of one member in one version vector, all its devices together.
pub const ORIGINS_PER_MEMBER_MAX: usize = 1_024;
/// Origins of one version vector up to which a member may have more than those that each may have.
pub const ORIGINS_SHARED_MAX: usize = 6_144;
/// Origins of one version vector up to which one is let in whoever it is of, when another member built on it.
pub const ORIGINS_WANTED_MAX: usize = 7_168;
/// Origins of one version vector up to which one of a device that no statement enrols is let in.
pub const ORIGINS_OF_STRANGERS_MAX: usize = 2_048;
/// Most separate ranges beyond the contiguous part of one origin.
pub const VECTOR_HOLES_MAX: usize = 1_024;
/// Most devices that a peer names as those with which it has a space open too.
pub const NEIGHBOURS_MAX: usize = 64;
/// Most commits in one batch frame.
pub const BATCH_COMMITS_MAX: usize = 512;
/// Bytes at which a batch frame is closed.
pub const BATCH_BYTES: usize = 128 * 1024;
/// Most batch frames sent and not yet answered, to one peer in one space.
pub const BATCHES_UNDER_WAY_MAX: usize = 4;
/// Batch bytes that one connection may have under way in all its spaces, when few connections want any; a batch
/// that is begun below it is finished.
pub const CONNECTION_UNDER_WAY_BYTES: usize = 1024 * 1024;
/// Batch bytes under way that all connections share; each gets its part of them, and at least one batch.
pub const UNDER_WAY_BYTES: usize = 64 * 1024 * 1024;
/// Feeds that are read from the store at once, for all peers.
pub const FEEDS_READ_MAX: usize = 4;
/// Local commits that wait for what the peer lacks of their entities to be read, to go ahead of a bulk transfer.
pub const AHEAD_COMMITS_MAX: usize = 64;
/// Most live commit bytes sent and not yet acknowledged, to one peer in one space; beyond it the peer is fed
/// from the store when it acknowledges.
pub const LIVE_UNACKED_BYTES_MAX: usize = 1024 * 1024;
/// Live commit bytes without an acknowledgement from which on a peer counts as behind, in one space: commits are
/// then gathered and sent several in a frame.
pub const LIVE_BEHIND_BYTES: usize = 8 * 1024;
/// Bytes at which a frame with gathered live commits is closed.
pub const LIVE_BATCH_BYTES: usize = 32 * 1024;
/// Journal entries that are read to know again on which vectors a peer and this node last agreed; behind more of
/// them the vectors are told whole.
pub const BASE_ENTRIES_MAX: usize = 4_096;
/// Most entities in one page of heads.
pub const HEADS_PAGE_ENTITIES: usize = 1_024;
/// Most cells of a sketch; beyond it, heads are compared range by range.
pub const SKETCH_CELLS_MAX: usize = 8_192;
/// Cells with which a repair begins.
pub const SKETCH_CELLS_FIRST: usize = 128;
/// Most actors in the clock of one entity that is told: each is of another origin of the collection.
pub const CLOCK_ACTORS_MAX: usize = 8_192;
/// Bytes at which no more clocks are told in one message of a repair: of the entities left, whole histories come.
pub const CLOCKS_BYTES: usize = 512 * 1024;
/// Most actors in a stored clock. There are no more than in one that is told; what is on disk is read all the same.
pub const CLOCK_ACTORS_KEPT_MAX: usize = 1 << 20;
/// Most bytes of commits that wait to be taken, from one peer in one space: its windows, and one frame.
pub const INBOX_BYTES_MAX: usize =
    LIVE_UNACKED_BYTES_MAX + BATCHES_UNDER_WAY_MAX * 2 * BATCH_BYTES + 4 * FRAME_BYTES_MAX;
/// Introductions that one side of a connection sends: spaces in which the other does not know it.
pub const INTRODUCTIONS_MAX: usize = 4;
/// Statements in one introduction.
pub const INTRODUCTION_STATEMENTS_MAX: usize = 64;
/// Bytes of those statements.
pub const INTRODUCTION_BYTES_MAX: usize = 64 * 1024;
/// Requests to join that are under way: those that this node has made, and those that are made to it.
pub const JOINS_MAX: usize = 16;
/// Most comparisons without agreement in a row; after them the two sides rest for a minute, and until one of them holds
/// something else. Then it makes [`FEED_ROUNDS_MAX`] more.
pub const REPAIR_ROUNDS_MAX: u32 = 16;
/// Comparisons without agreement after which the two compare entity by entity, though their vectors differ.
pub const FEED_ROUNDS_MAX: u32 = 3;
/// Comparisons without agreement in a row after which whole histories of what differs are sent: clocks cannot tell
/// two changes with one number apart.
pub const REPAIR_ROUNDS_WHOLE: u32 = 3;
/// Most connections that have not yet shown a hello.
pub const CONNECTIONS_UNGREETED_MAX: usize = 64;
/// Most connections of a node.
pub const CONNECTIONS_MAX: usize = 1_024;
/// Most streams that a peer may have open at once.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 8;
/// Receive window of one stream, in bytes.
pub const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// Receive window of one connection, in bytes.
pub const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Receive window of one stream of a connection that only joins, in bytes.
pub const JOIN_STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// Receive window of one connection before its peer is known to be a member, in bytes.
pub const UNGREETED_WINDOW_BYTES: u32 = 512 * 1024;
/// Frames read from one lane of a connection and not yet handled.
pub const INBOUND_FRAMES_MAX: usize = 16;
/// Bytes of those frames.
pub const INBOUND_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Frames handed to one lane of a connection and not yet written. A peer that lets them fill up is cut off, so it
/// exceeds what the engine sends without an acknowledgement.
pub const OUTBOUND_FRAMES_MAX: usize = 8_192;
/// Bytes of frames handed to all lanes of a connection and not yet written; a peer that lets them pile up is cut
/// off. It exceeds by far what a peer is sent before it acknowledges some of it.
pub const OUTBOUND_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Largest request to join, or reply to it, in bytes.
pub const JOIN_BYTES_MAX: usize = 120 * 1024;
/// Questions of the engine that wait for the storage queue; beyond it nothing more is read from peers.
pub const ASKS_WAITING_MAX: usize = 256;
/// What the storage thread has told and the engine has not taken; beyond it the thread waits.
pub const TOLD_MAX: usize = 1_024;
/// Longest reason that closes a connection, in bytes.
pub const CLOSE_REASON_BYTES_MAX: usize = 256;

/// Spaces that an announcement on the local network names.
pub const ANNOUNCED_SPACES_MAX: usize = 16;
/// Their number is rounded up to a multiple of this.
pub const ANNOUNCED_SPACES_STEP: usize = 4;
/// Addresses of one announcement that are tried.
pub const ANNOUNCED_ADDRESSES_MAX: usize = 4;
/// Nodes on the local network that are remembered, members or not.
pub const SIGHTINGS_MAX: usize = 256;
/// Announcements that are looked at in one second.
pub const SIGHTINGS_PER_SECOND_MAX: usize = 64;
/// Members that are reached because they were seen on the local network.
pub const FOUND_PEERS_MAX: usize = 64;

// ---- what a peer may cost -----------------------------------------------------------------------------

/// Bytes of frames that a peer may send at once before it is held back: the first sync of a large space is
/// read at full speed.
pub const PEER_BYTES_BURST_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of frames that a peer may send in each second after that. It is more than the uplink of most homes.
pub const PEER_BYTES_PER_S: u64 = 8 * 1024 * 1024;
/// Commits that a peer may send at once before it is held back. At 0.25 ms each of the storage thread, which
/// is what a first sync costs, a minute of it.
pub const PEER_COMMITS_BURST_MAX: u64 = 250_000;
/// Commits that a peer may send in each second after that: half of what the storage thread does, and as much as
/// a hundred people who type at once.
pub const PEER_COMMITS_PER_S: u64 = 2_000;
/// Units of work that the questions of a peer may take at once: a comparison of fingerprints is one, a sketch
/// eight, 16 KiB of commits or statements that are looked up one, and so are 16 statements that come. A whole log
/// that comes is a quarter of it.
pub const PEER_WORK_BURST_MAX: u64 = 4_000;
/// Units of work that the questions of a peer may take in each second after that.
pub const PEER_WORK_PER_S: u64 = 100;
/// Peers whose costs and behaviour are remembered.
pub const ACCOUNTS_MAX: usize = 4_096;
/// Points for breaking a rule that no honest program breaks.
pub const SCORE_OFFENCE: u32 = 40;
/// Points from which on the budgets of a peer refill at an eighth of their rate.
pub const SCORE_SLOW: u32 = 20;
/// Points at which a peer is turned away: the third offence in a row.
pub const SCORE_TURN_AWAY: u32 = 100;
/// Points at which it is heard again.
pub const SCORE_READMIT: u32 = 50;
/// Points beyond which nothing is added, so that everybody is heard again within eight minutes.
pub const SCORE_MAX: u32 = 200;
/// Points that fade in a minute.
pub const SCORE_FADES_PER_MIN: u32 = 20;

// ---- times --------------------------------------------------------------------------------------------

/// Time in which a connection completes its handshake and its hello, in milliseconds.
pub const HELLO_DEADLINE_MS: u64 = 10_000;
/// Time in which two devices may dial each other without knowing of it, in milliseconds.
pub const DIALS_OVERLAP_MS: u64 = 2_000;
/// Time in which a request to a peer is answered, in milliseconds.
pub const REQUEST_DEADLINE_MS: u64 = 30_000;
/// Time in which a frame that was begun, or the first byte of a stream, arrives, in milliseconds. The largest
/// frame gets through in it at 9 KB a second.
pub const FRAME_DEADLINE_MS: u64 = 120_000;
/// Silence after which a connection is given up, in milliseconds.
pub const IDLE_TIMEOUT_MS: u64 = 15_000;
/// Interval of keep-alive packets, in milliseconds.
pub const KEEP_ALIVE_MS: u64 = 4_000;
/// Time that a closing endpoint waits for its peers to hear of it, in milliseconds.
pub const CLOSE_WAIT_MS: u64 = 2_000;
/// Longest wait before an acknowledgement is sent, in milliseconds.
pub const ACK_DELAY_MS: u64 = 20;
/// Wait before peers are told that a session began or ended, in milliseconds: many often do at once.
pub const NEIGHBOURS_DELAY_MS: u64 = 50;
/// Time that a commit has to arrive from another before the peer is asked about it, in milliseconds; it may take
/// twice as long until it is.
pub const WITHHELD_MS: u64 = 500;
/// Quiet time after a change before fingerprints are compared, in milliseconds.
pub const CHECK_DELAY_MS: u64 = 250;
/// Shortest time between two attempts to reach a member because it announces itself, in milliseconds.
pub const FOUND_DIAL_MS: u64 = 5_000;
/// Wait before the local network is searched again after that failed, in milliseconds.
pub const DISCOVERY_RESTART_MS: u64 = 10_000;
/// Wait before the next address of a peer is tried beside those that have not answered, in milliseconds.
pub const DIAL_STAGGER_MS: u64 = 250;
/// Interval at which a space is confirmed of which two devices do not both want anything, in milliseconds.
pub const QUIET_CHECK_MS: u64 = 60 * ROOT_CHECK_MS;
/// Interval at which equal fingerprints are confirmed, in milliseconds.
pub const ROOT_CHECK_MS: u64 = 60_000;
/// Time for which what was found not to be the same at a hub, after all of it was sent, is taken for what a hub cannot judge,
/// in milliseconds: an hour.
pub const HUB_TRUST_MS: u64 = 3_600_000;
/// Shortest time from one periodic sync to the next, in milliseconds.
pub const PERIOD_MS_MIN: u64 = 100;
/// Silence after which a peer that is asked to compare counts as one that does not answer, in milliseconds.
pub const SYNC_SILENCE_MS: u64 = 5_000;
/// Default lifetime of an invite, in milliseconds: seven days.
pub const INVITE_LIFETIME_MS: u64 = 7 * 24 * 3_600_000;

// ---- store --------------------------------------------------------------------------------------------

/// Largest piece of a value in the key-value store, in bytes; larger values are split.
pub const PIECE_BYTES_MAX: usize = 32 * 1024;
/// Largest value, in bytes.
pub const VALUE_TOTAL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most bytes written and not yet synced; a write beyond it syncs first.
pub const UNSYNCED_BYTES_MAX: usize = 256 * 1024;
/// Syncs after which the watermark file is written again.
pub const WATERMARK_SYNCS: u32 = 64;
/// Damaged values that one call mends before it gives up.
pub const MENDS_MAX: usize = 64;
/// Values that are read in one step of looking through a store for damage.
pub const VERIFY_PAGE_VALUES: usize = 512;
/// Most damaged stores kept aside in one directory.
pub const STORES_SET_ASIDE_MAX: u32 = 1_000;
/// Most commits that one group commit takes.
pub const GROUP_COMMITS_MAX: usize = 512;
/// Requests that wait for the storage thread.
pub const STORAGE_QUEUE_MAX: usize = 1_024;
/// Quarantined bytes kept for one author in one space.
pub const QUARANTINE_AUTHOR_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Quarantined bytes kept in one space.
pub const QUARANTINE_SPACE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Time for which a commit waits in quarantine, in milliseconds, of the time that this node is open: thirty days. Time
/// in which it is not does not count, for nothing here tells how long that was.
pub const QUARANTINE_WAIT_MS: u64 = 30 * 24 * 3_600_000;
/// How often the quarantine is looked at for what has waited too long, in milliseconds. What a crash forgets of the
/// time that a node was open is no more.
pub const QUARANTINE_LOOK_MS: u64 = 3_600_000;
/// Held commits that are dropped together.
pub const EXPIRED_TOGETHER_MAX: usize = 1_024;
/// Changes whose place in their entities a hub remembers; others are read again.
pub const LEDGER_CHANGES_MAX: usize = 262_144;
/// What a held commit costs beyond its bytes: its places in the indexes of the quarantine, in bytes.
pub const HELD_OVERHEAD_BYTES: usize = 512;
/// Most missing changes that a held commit is noted under; it is tried again when one of them comes.
pub const HELD_MISSING_MAX: usize = 64;
/// Most values that one piece of erasing a space removes.
pub const ERASE_PIECE_KEYS: usize = 128;
/// Most held commits that are judged together: those beyond a cut, and those that may vouch for them.
pub const JUDGED_TOGETHER_MAX: usize = 4_096;
/// Milliseconds for each held commit that pass before a quarantine in which more hang together is judged as a whole: many
/// times as long as to judge one takes.
pub const CROWD_PAUSE_MS_PER_COMMIT: u64 = 2;
/// Milliseconds after which what is due that nobody waits for is done though somebody does.
pub const CROWD_LATE_MS: u64 = 1_000;
/// Commits of devices that equivocate, of those that follow them, and clashes, that are judged whenever one of them comes.
/// More are judged when nobody waits.
pub const CONTESTED_AT_ONCE_MAX: usize = 256;
/// Rounds in which contests of commits that cannot be together, on all of which others built, are settled: one for all,
/// and one more for each time that some are let in again because that fell to which they gave way. Of what needs more, no
/// commit counts that has a rival.
pub const CONTEST_ROUNDS_MAX: usize = 256;
/// Clashes of the members of a space that no verdict has settled: one of each origin in the vector of each collection. So
/// what a member may have of them is its share of the vectors.
pub const CLASHES_OPEN_MAX: usize = 8_388_608;
/// Bytes of clashes that a peer is told when the two agree, and one clash more; each that it is seen to know makes room
/// for another.
pub const CLASHES_TOLD_BYTES: usize = 1024 * 1024;
/// Bytes of clashes with which a peer is answered that sends commits which they are about, and one clash more: as many as
/// may come at once.
pub const CLASHES_ANSWERED_BYTES: usize = 6 * 1024 * 1024;
/// Bytes of new clashes that a peer is told at once until the two agree; of more it hears then.
pub const CLASHES_NEW_BYTES: usize = 64 * 1024;
/// Entities whose snapshot is due that are remembered; others are found at their next change.
pub const SNAPSHOTS_DUE_MAX: usize = 4_096;

// ---- API ----------------------------------------------------------------------------------------------

/// Events that a subscriber may fall behind before it is told that it lagged.
pub const EVENTS_BUFFER_MAX: usize = 1_024;
/// Syncs that the app has asked for and that are not reported yet.
pub const TICKETS_MAX: usize = 256;
/// Peers that a node dials.
pub const PEERS_MAX: usize = 1_024;
/// Addresses of one peer that are tried.
pub const ADDRESSES_PER_PEER_MAX: usize = 8;
/// Longest address of a peer, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 255;
/// Waits in a backoff schedule.
pub const BACKOFF_STEPS_MAX: usize = 32;
/// Tries to listen on the port of the last time.
pub const PORT_TRIES_MAX: usize = 10;
/// Wait between them, in milliseconds.
pub const PORT_RETRY_MS: u64 = 20;
/// Commands of the app that wait for the engine.
pub const ORDERS_MAX: usize = 64;
/// Pending commits that a status counts.
pub const PENDING_COUNT_MAX: usize = 10_000;
/// Rows that one page of a collection holds at most.
pub const PAGE_ROWS_MAX: usize = 1_024;

const _: () =
    assert!(COUNTER_MAX as i128 + INCREMENT_MAX as i128 * CHANGE_OP_COUNTER_MAX as i128 <= i64::MAX as i128);
const _: () = assert!(HEADS_MAX < CHANGE_DEPS_MAX);
const _: () = assert!(ORIGINS_KEPT < ORIGINS_PER_MEMBER_MAX && ORIGINS_OF_STRANGERS_MAX < ORIGINS_SHARED_MAX);
const _: () =
    assert!(6 * ORIGINS_PER_MEMBER_MAX <= ORIGINS_SHARED_MAX && ORIGINS_SHARED_MAX < ORIGINS_WANTED_MAX);
const _: () = assert!(ORIGINS_WANTED_MAX + 16 * ORIGINS_KEPT <= VECTOR_ORIGINS_MAX);
const _: () = assert!(VECTOR_ORIGINS_MAX <= CLOCK_ACTORS_MAX && CLOCK_ACTORS_MAX <= CLOCK_ACTORS_KEPT_MAX);
const _: () = assert!((16 + 10) * CLOCK_ACTORS_MAX + 512 < FRAME_BYTES_MAX);
const _: () = assert!((16 + 10) * CLOCK_ACTORS_MAX < CLOCKS_BYTES);
const _: () = assert!(
    CLOCKS_BYTES
        + (2 * (16 + 2) + 8) * SKETCH_CELLS_MAX
        + (COLLECTION_NAME_BYTES_MAX + 4) * COLLECTIONS_PER_SPACE_MAX
        + 512
        < FRAME_BYTES_MAX
);
const _: () = assert!((16 + 10) * CLOCK_ACTORS_KEPT_MAX < VALUE_TOTAL_BYTES_MAX);
const _: () = assert!(VECTOR_ORIGINS_MAX * COLLECTIONS_PER_SPACE_MAX <= CLASHES_OPEN_MAX);
const _: () = assert!(COLLECTIONS_KEPT < COLLECTIONS_PER_MEMBER_MAX);
const _: () = assert!(COLLECTIONS_OF_STRANGERS_MAX < COLLECTIONS_SHARED_MAX);
const _: () = assert!(5 * COLLECTIONS_PER_MEMBER_MAX <= COLLECTIONS_SHARED_MAX);
const _: () = assert!(
    COLLECTIONS_SHARED_MAX + 16 * COLLECTIONS_KEPT + COLLECTIONS_OF_ADMINS <= COLLECTIONS_PER_SPACE_MAX
);
const _: () = assert!(FEED_ROUNDS_MAX < REPAIR_ROUNDS_MAX);
const _: () = assert!(CONNECTIONS_MAX < ACCOUNTS_MAX);
const _: () = assert!(SCORE_OFFENCE < SCORE_TURN_AWAY && SCORE_TURN_AWAY <= SCORE_MAX);
const _: () = assert!(0 < SCORE_READMIT && SCORE_READMIT < SCORE_TURN_AWAY && 0 < SCORE_FADES_PER_MIN);
const _: () = assert!(2 * FRAME_BYTES_MAX as u64 <= PEER_BYTES_BURST_MAX);
const _: () = assert!(BATCH_COMMITS_MAX as u64 <= PEER_COMMITS_BURST_MAX);
const _: () = assert!(STATEMENTS_PER_SPACE_MAX as u64 / 16 < PEER_WORK_BURST_MAX / 2);
const _: () = assert!(CHANGE_BYTES_MAX < COMMIT_BYTES_MAX);
const _: () = assert!(COMMIT_BYTES_MAX + HELD_OVERHEAD_BYTES < QUARANTINE_AUTHOR_BYTES_MAX);
const _: () = assert!(QUARANTINE_AUTHOR_BYTES_MAX < QUARANTINE_SPACE_BYTES_MAX);
const _: () = assert!(24 * QUARANTINE_LOOK_MS <= QUARANTINE_WAIT_MS);
const _: () = assert!(COMMIT_BYTES_MAX < FRAME_BYTES_MAX);
const _: () = assert!(BATCH_BYTES + COMMIT_BYTES_MAX <= FRAME_BYTES_MAX);
const _: () = assert!(ANNOUNCED_SPACES_MAX.is_multiple_of(ANNOUNCED_SPACES_STEP));
const _: () = assert!(ANNOUNCED_ADDRESSES_MAX < ADDRESSES_PER_PEER_MAX && FOUND_PEERS_MAX < PEERS_MAX);
const _: () = assert!(HELLO_BYTES_MAX < FRAME_BYTES_MAX);
const _: () =
    assert!(BATCH_BYTES <= CONNECTION_UNDER_WAY_BYTES && CONNECTION_UNDER_WAY_BYTES <= UNDER_WAY_BYTES);
const _: () = assert!(LIVE_BEHIND_BYTES < LIVE_UNACKED_BYTES_MAX && LIVE_BATCH_BYTES <= BATCH_BYTES);
const _: () = assert!(INTRODUCTION_BYTES_MAX + STATEMENT_BYTES_MAX < HELLO_BYTES_MAX);
const _: () = assert!(JOIN_BYTES_MAX < HELLO_BYTES_MAX);
const _: () = assert!(STATEMENTS_PER_SPACE_MAX * (STATEMENT_BYTES_MAX + 16) <= JOIN_REPLY_BYTES_MAX);
const _: () = assert!(JOIN_PART_BYTES + STATEMENT_BYTES_MAX + 64 < JOIN_BYTES_MAX);
const _: () = assert!(JOIN_REQUESTS_PER_INVITE_MAX < JOIN_REQUESTS_MAX);
const _: () = assert!(INVITE_ADDRESSES_MAX <= ADDRESSES_PER_PEER_MAX);
const _: () = assert!(STATEMENTS_OF_ADMINS < STATEMENTS_PER_SPACE_MAX);
const _: () = assert!(STATEMENTS_FOLLOWED_OF_BRANCH < STATEMENTS_OF_SENIOR);
const _: () = assert!(STATEMENTS_PAGE_BYTES + STATEMENT_BYTES_MAX + 64 < FRAME_BYTES_MAX);
const _: () = assert!(STATEMENTS_OF_SENIOR + STATEMENTS_OF_RECOVERY < STATEMENTS_OF_ADMINS);
const _: () = assert!(STATEMENTS_WAITING_OF_ADMINS < STATEMENTS_WAITING_MAX);
const _: () = assert!(COMMIT_AT_MAX <= STATEMENT_PREV_MAX);
const _: () = assert!((STATEMENT_PREV_MAX + CUT_HASHES_MAX) * 32 + 256 < STATEMENT_BYTES_MAX);
const _: () = assert!(JOIN_PART_BYTES + STATEMENT_BYTES_MAX < JOIN_STREAM_WINDOW_BYTES as usize);
const _: () = assert!(JOIN_REQUEST_BYTES_MAX < HELLO_BYTES_MAX);
const _: () = assert!(VALUE_BYTES_MAX < CHANGE_BYTES_MAX);
const _: () = assert!(PIECE_BYTES_MAX < VALUE_TOTAL_BYTES_MAX);
const _: () = assert!(ROW_BYTES_MAX < VALUE_TOTAL_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX <= STREAM_WINDOW_BYTES as usize);
const _: () = assert!(STREAM_WINDOW_BYTES <= CONNECTION_WINDOW_BYTES);
const _: () = assert!(2 * INBOX_BYTES_MAX + FRAME_BYTES_MAX < OUTBOUND_BYTES_MAX);
const _: () = assert!(INBOX_BYTES_MAX <= CLASHES_ANSWERED_BYTES);
const _: () = assert!(
    2 * INBOX_BYTES_MAX + 3 * (CLASHES_TOLD_BYTES + 2 * COMMIT_BYTES_MAX) + CLASHES_NEW_BYTES
        < OUTBOUND_BYTES_MAX
);
const _: () = assert!(HELLO_DEADLINE_MS < FRAME_DEADLINE_MS);
const _: () = assert!(KEEP_ALIVE_MS * 2 < IDLE_TIMEOUT_MS);
const _: () = assert!(DIALS_OVERLAP_MS < HELLO_DEADLINE_MS && DIALS_OVERLAP_MS < IDLE_TIMEOUT_MS);
const _: () = assert!(HELLO_BYTES_MAX < UNGREETED_WINDOW_BYTES as usize);
const _: () = assert!(UNGREETED_WINDOW_BYTES <= CONNECTION_WINDOW_BYTES);
const _: () = assert!(FRAME_BYTES_MAX < INBOUND_BYTES_MAX && INBOUND_BYTES_MAX <= u32::MAX as usize);
