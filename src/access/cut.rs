//! The cut of a removal: which commits of the removed device stay.

use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::id::CommitHash;
use crate::limits::CUT_HASHES_MAX;

use super::AccessError;

/// What a removal lets stand of the removed device's work: the commits that are named here, and all that they
/// follow in the device's chains. The rest does not count, unless somebody who had not heard of the removal built
/// on it.
///
/// It names hashes alone, so it tells nothing of collections that a reader of the log may not read.
///
/// # Example
///
/// ```
/// use driftless::access::{Body, Cut};
/// # use driftless::id::{CommitHash, StatementHash};
///
/// let cut = Cut::new([CommitHash::new([3; 32]), CommitHash::new([2; 32])])?;
/// assert_eq!(cut.commits(), [CommitHash::new([2; 32]), CommitHash::new([3; 32])]);
/// let removal = Body::RemoveDevice { enrolment: StatementHash::new([1; 32]), cut };
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Ascending.
    commits: Vec<CommitHash>,
}

impl Cut {
    /// Makes a cut of at most [`CUT_HASHES_MAX`] commits, sorted here.
    ///
    /// # Errors
    ///
    /// [`AccessError::TooMany`] when there are more.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::{access::Cut, id::CommitHash};
    /// assert_eq!(Cut::new([])?, Cut::default());
    /// assert!(Cut::new((0..97).map(|n| CommitHash::new([n; 32]))).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(commits: impl IntoIterator<Item = CommitHash>) -> Result<Self, AccessError> {
        let mut commits: Vec<CommitHash> = commits.into_iter().collect();
        commits.sort_unstable();
        commits.dedup();
        if commits.len() > CUT_HASHES_MAX {
            return Err(AccessError::TooMany { what: "commits in a cut", max: CUT_HASHES_MAX });
        }
        Ok(Self { commits })
    }

    /// Returns the commits, ascending.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::Cut;
    /// assert!(Cut::default().commits().is_empty());
    /// ```
    #[must_use]
    pub fn commits(&self) -> &[CommitHash] {
        &self.commits
    }
}

impl Encode for Cut {
    fn encode(&self, out: &mut Writer) {
        out.count(self.commits.len());
        self.commits.iter().for_each(|commit| commit.encode(out));
    }
}

impl Decode for Cut {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let mut commits = Vec::new();
        for _ in 0..input.count("cut", CUT_HASHES_MAX)? {
            commits.push(CommitHash::decode(input)?);
        }
        if !commits.is_sorted_by(|a, b| a < b) {
            return Err(CodecError::NotCanonical { what: "cut" });
        }
        Ok(Self { commits })
    }
}
