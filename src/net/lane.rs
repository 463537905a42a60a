//! The lanes of a connection.

use std::fmt;

/// The streams of a connection, most urgent first. Each is one unidirectional QUIC stream in each direction,
/// opened by the first frame on it; the first byte of the stream names the lane.
///
/// Frames of one lane keep their order; frames of different lanes overtake each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Lane {
    /// Greetings, membership, vectors, acknowledgements.
    Control,
    /// Commits as they are made.
    Live,
    /// Everything that may take long.
    Bulk,
}

impl Lane {
    pub(super) const COUNT: usize = 3;

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Control => 0,
            Self::Live => 1,
            Self::Bulk => 2,
        }
    }

    /// Returns the first byte of the lane's stream.
    pub(super) const fn byte(self) -> u8 {
        match self {
            Self::Control => 1,
            Self::Live => 2,
            Self::Bulk => 3,
        }
    }

    pub(super) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Control),
            2 => Some(Self::Live),
            3 => Some(Self::Bulk),
            _ => None,
        }
    }

    /// Returns the QUIC priority of the lane's stream: higher goes first.
    pub(super) const fn priority(self) -> i32 {
        match self {
            Self::Control => 2,
            Self::Live => 1,
            Self::Bulk => 0,
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control => "control",
            Self::Live => "live",
            Self::Bulk => "bulk",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Lane; Lane::COUNT] = [Lane::Control, Lane::Live, Lane::Bulk];

    #[test]
    fn the_byte_of_a_lane_names_it_and_no_other_byte_does() {
        for lane in ALL {
            assert_eq!(Lane::from_byte(lane.byte()), Some(lane));
        }
        let named: Vec<u8> = (0..=u8::MAX).filter(|byte| Lane::from_byte(*byte).is_some()).collect();
        assert_eq!(named, [1, 2, 3]);
    }

    #[test]
    fn a_more_urgent_lane_has_the_higher_priority() {
        assert_eq!(ALL.map(Lane::index), [0, 1, 2]);
        assert!(ALL.is_sorted());
        assert!(ALL.is_sorted_by(|urgent, patient| urgent.priority() > patient.priority()));
    }
}
