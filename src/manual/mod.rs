//! The manual: what the library promises, how it is built, and what its words mean.
//!
//! | Chapter | Answers |
//! |---|---|
//! | [`guarantees`] | What may an app rely on, and which tests hold it? |
//! | [`architecture`] | Which part does what, and which part may know which? |
//! | [`storage`] | What is on disk, when is it safe, and what does a crash leave? |
//! | [`protocol`] | What do two nodes say to each other? |
//! | [`security`] | Who is trusted with what, and what does a hostile peer get? |
//! | [`testing`] | How is all of this held? |
//! | [`performance`] | How fast is it, and what does it cost? |
//! | [`glossary`] | What does a word mean here? |

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("glossary.md")]
pub mod glossary {}

#[doc = include_str!("guarantees.md")]
pub mod guarantees {}

#[doc = include_str!("performance.md")]
pub mod performance {}

#[doc = include_str!("protocol.md")]
pub mod protocol {}

#[doc = include_str!("security.md")]
pub mod security {}

#[doc = include_str!("storage.md")]
pub mod storage {}

#[doc = include_str!("testing.md")]
pub mod testing {}

/// The example of the README, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub mod readme {}
