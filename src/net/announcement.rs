//! What a node says of itself on the local network: nothing that means anything outside its spaces.
//!
//! ```text
//! TXT    n=<nonce>  0=<tag><mark>  1=<tag><mark>  ...     hexadecimal, in the order of the values
//! nonce  16 random bytes, drawn when the node goes on the network
//! tag    8 bytes: hash of the nonce, keyed with the space's id
//! mark   8 bytes: hash of the nonce and the device's key, keyed with the space's id
//! ```
//!
//! Who knows a space finds its tag, and by the mark which of the space's devices speaks. To others all of it is
//! random; the number of entries is rounded up with entries of nobody.

use std::collections::BTreeSet;

use crate::id::{PeerId, SpaceId};
use crate::limits::{ANNOUNCED_SPACES_MAX, ANNOUNCED_SPACES_STEP};

const NONCE: &str = "n";
const NONCE_BYTES: usize = 16;
const ENTRY_BYTES: usize = 16;
const TAG_BYTES: usize = 8;

/// An announcement, ours or one that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    nonce: [u8; NONCE_BYTES],
    entries: BTreeSet<[u8; ENTRY_BYTES]>,
}

impl Announcement {
    /// Makes ours. `chance` is drawn anew each time that the node goes on the network.
    pub(crate) fn new(me: &PeerId, spaces: impl IntoIterator<Item = SpaceId>, chance: [u8; 32]) -> Self {
        let mut nonce = [0; NONCE_BYTES];
        filled(&chance, b"nonce", &[], &mut nonce);
        let spaces = spaces.into_iter().take(ANNOUNCED_SPACES_MAX);
        let mut entries: BTreeSet<_> = spaces.map(|space| entry(&space, &nonce, me)).collect();
        let count = entries.len().next_multiple_of(ANNOUNCED_SPACES_STEP);
        for number in 0_u8.. {
            if entries.len() >= count {
                break;
            }
            let mut nobody = [0; ENTRY_BYTES];
            filled(&chance, b"nobody", &[number], &mut nobody);
            entries.insert(nobody);
        }
        Self { nonce, entries }
    }

    /// Returns the name of the instance, which no other has.
    pub(crate) fn name(&self) -> String {
        hex(&self.nonce)
    }

    /// Returns the properties of the TXT record.
    pub(crate) fn properties(&self) -> Vec<(String, String)> {
        let entries = self.entries.iter().enumerate();
        let entries = entries.map(|(number, entry)| (number.to_string(), hex(entry)));
        std::iter::once((NONCE.to_owned(), hex(&self.nonce))).chain(entries).collect()
    }

    /// Reads the properties of a TXT record that came from anybody. What is not understood is skipped.
    pub(crate) fn read<'a>(properties: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Option<Self> {
        let mut nonce = None;
        let mut entries = BTreeSet::new();
        for (key, value) in properties.into_iter().take(1 + ANNOUNCED_SPACES_MAX) {
            if key == NONCE {
                nonce = unhex(value);
            } else if key.parse::<u8>().is_ok() {
                entries.extend(unhex(value));
            }
        }
        nonce.map(|nonce| Self { nonce, entries })
    }

    /// Finds the device that speaks, among those of the spaces that are known here.
    pub(crate) fn speaker<'a, D>(&self, spaces: impl IntoIterator<Item = (&'a SpaceId, D)>) -> Option<PeerId>
    where
        D: IntoIterator<Item = PeerId>,
    {
        spaces.into_iter().find_map(|(space, devices)| {
            let tag = tag(space, &self.nonce);
            let named = self.entries.iter().any(|entry| entry.starts_with(&tag));
            named
                .then_some(devices)?
                .into_iter()
                .find(|device| self.entries.contains(&entry(space, &self.nonce, device)))
        })
    }
}

fn tag(space: &SpaceId, nonce: &[u8]) -> [u8; TAG_BYTES] {
    let mut tag = [0; TAG_BYTES];
    filled(space.as_bytes(), b"tag", nonce, &mut tag);
    tag
}

fn entry(space: &SpaceId, nonce: &[u8], peer: &PeerId) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    let (head, mark) = entry.split_at_mut(TAG_BYTES);
    head.copy_from_slice(&tag(space, nonce));
    filled(space.as_bytes(), b"mark", &[nonce, peer.as_bytes()].concat(), mark);
    entry
}

fn filled(key: &[u8; 32], what: &[u8], of: &[u8], out: &mut [u8]) {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(b"driftless/announcement/v1\0");
    hasher.update(what);
    hasher.update(of);
    hasher.finalize_xof().fill(out);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'))?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peer(number: u8) -> PeerId {
        PeerId::new([number; 32])
    }

    fn space(number: u8) -> SpaceId {
        SpaceId::new([number; 32])
    }

    fn heard(announcement: &Announcement) -> Option<Announcement> {
        let properties = announcement.properties();
        Announcement::read(properties.iter().map(|(key, value)| (key.as_str(), value.as_bytes())))
    }

    #[test]
    fn a_member_knows_who_speaks_and_nobody_else_does() {
        let spoken = heard(&Announcement::new(&peer(1), [space(7), space(8)], [5; 32])).expect("read");

        let members = || [peer(2), peer(1)];
        assert_eq!(spoken.speaker([(&space(9), members()), (&space(8), members())]), Some(peer(1)));
        assert_eq!(spoken.speaker([(&space(9), members())]), None, "another space");
        assert_eq!(spoken.speaker([(&space(7), [peer(2), peer(3)])]), None, "not known to be a member");
    }

    #[test]
    fn what_is_said_names_neither_spaces_nor_devices_and_is_another_thing_each_time() {
        let first = Announcement::new(&peer(1), [space(7)], [5; 32]);
        let second = Announcement::new(&peer(1), [space(7)], [6; 32]);

        assert!(first.entries.is_disjoint(&second.entries) && first.nonce != second.nonce);
        let said: String = first.properties().into_iter().map(|(_, value)| value).collect();
        assert!(!said.contains("0101") && !said.contains("0707"), "{said}");
    }

    #[test]
    fn how_many_spaces_a_node_has_is_told_in_steps() {
        let count = |spaces: u8| Announcement::new(&peer(1), (0..spaces).map(space), [5; 32]).entries.len();

        let step = ANNOUNCED_SPACES_STEP as u8;
        assert_eq!(
            [1, step - 1, step, step + 1].map(count),
            [1, 1, 1, 2].map(|steps| steps * ANNOUNCED_SPACES_STEP)
        );
        assert_eq!(count(200), ANNOUNCED_SPACES_MAX);
        assert!(heard(&Announcement::new(&peer(1), (0..200).map(space), [5; 32])).is_some());
    }

    #[test]
    fn garbage_is_no_announcement_and_floods_are_cut() {
        let read = |properties: &[(&str, &str)]| {
            Announcement::read(properties.iter().map(|(key, value)| (*key, value.as_bytes())))
        };
        let nonce = "0f".repeat(16);

        for bad in ["", "xx", "0f", &"0F+f".repeat(8), &"0".repeat(33), &"é".repeat(16)] {
            assert_eq!(read(&[("n", bad)]), None, "{bad}");
            let entry = read(&[("n", &nonce), ("0", bad), ("name", &nonce)]).expect("a nonce");
            assert_eq!(entry.entries, BTreeSet::new());
        }
        let many: Vec<(String, String)> =
            (0..5_000).map(|n| ((n % 250).to_string(), format!("{n:032x}"))).collect();
        let flood = std::iter::once(("n", nonce.as_bytes()));
        let flood = flood.chain(many.iter().map(|(key, value)| (key.as_str(), value.as_bytes())));
        assert_eq!(Announcement::read(flood).expect("a nonce").entries.len(), ANNOUNCED_SPACES_MAX);
    }

    proptest! {
        #[test]
        fn any_properties_are_read_or_skipped(properties: Vec<(String, Vec<u8>)>) {
            let _ = Announcement::read(properties.iter().map(|(key, value)| (key.as_str(), value.as_slice())));
        }
    }
}
