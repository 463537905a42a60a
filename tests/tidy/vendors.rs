//! Where foreign crates and the outside world may be named, and what pure floors may not name at all.

use crate::house::{Purity, row_of};
use crate::scan::Tokens;
use crate::tree::{Broken, File};

/// A crate, and the path prefixes below which it may be named.
const ADDRESSES: [(&str, &[&str]); 14] = [
    ("sled", &["src/store/kv/sled"]),
    ("quinn", &["src/net/"]),
    ("quinn_proto", &["src/net/"]),
    ("rustls", &["src/net/"]),
    ("mdns_sd", &["src/net/discovery.rs"]),
    // The test of `access` holds that the hash which it computes is Automerge's own.
    ("automerge", &["src/doc/", "src/gateway/", "src/lib.rs", "src/access/commit/tests.rs"]),
    ("autosurgeon", &["src/doc/", "src/gateway/", "src/lib.rs"]),
    ("ed25519_dalek", &["src/identity/"]),
    ("curve25519_dalek", &["src/id/root.rs"]),
    ("getrandom", &["src/driver/clock.rs"]),
    ("rand", &[]),
    ("fastrand", &[]),
    ("uuid", &[]),
    ("tokio", &["src/net/", "src/driver/", "src/api/", "src/gateway/", "src/dashboard/", "src/bin/"]),
];

const CLOCKS: [&str; 2] = [
    "src/driver/clock.rs",
    // It tells how fast it simulates, and decides nothing by that.
    "src/bin/driftless/simulate.rs",
];

/// Words that read a clock or draw from the system's randomness wherever they stand.
const WORLD_WORDS: [&str; 5] = ["SystemTime", "UNIX_EPOCH", "OsRng", "thread_rng", "RandomState"];

/// Paths that do the same.
const WORLD_PATHS: [&[&str]; 6] = [
    &["Instant", "now"],
    &["std", "time", "Instant"],
    &["tokio", "time", "Instant"],
    &["tokio", "time", "sleep"],
    &["tokio", "time", "sleep_until"],
    &["tokio", "time", "interval"],
];

/// What a pure floor does not name.
const IMPURE_WORDS: [&str; 13] = [
    "HashMap",
    "HashSet",
    "async",
    "await",
    "tokio",
    "quinn",
    "sled",
    "getrandom",
    "unsafe",
    // An address is plain data; these are not.
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
];

const IMPURE_PATHS: [&[&str]; 4] = [&["std", "thread"], &["std", "fs"], &["std", "process"], &["std", "os"]];

/// What a pure floor does not name outside its test files, which make compressed input and are told how often to
/// try.
const IMPURE_PATHS_BUT_IN_TESTS: [&[&str]; 2] = [&["std", "env"], &["std", "io"]];

/// What a synchronous floor does not name.
const TASK_WORDS: [&str; 4] = ["async", "await", "tokio", "quinn"];

/// Checks one file of `src`.
pub(crate) fn check(file: &File) -> Vec<Broken> {
    if !file.path.starts_with("src/") {
        return Vec::new();
    }
    let tokens = file.tokens();
    let mut broken = addresses(file, &tokens);
    if !CLOCKS.contains(&file.path.as_str()) {
        broken.extend(words(file, &tokens, &WORLD_WORDS, "belongs in driver/clock.rs"));
        broken.extend(paths(file, &tokens, &WORLD_PATHS, "belongs in driver/clock.rs"));
    }
    match row_of(&file.path).map_or(Purity::Free, |row| row.purity) {
        Purity::Pure => {
            broken.extend(words(file, &tokens, &IMPURE_WORDS, "is named on a pure floor"));
            broken.extend(paths(file, &tokens, &IMPURE_PATHS, "is named on a pure floor"));
            if !file.path.contains("/tests/") && !file.path.ends_with("/tests.rs") {
                broken.extend(paths(file, &tokens, &IMPURE_PATHS_BUT_IN_TESTS, "is named on a pure floor"));
            }
        }
        Purity::Synchronous => {
            broken.extend(words(file, &tokens, &TASK_WORDS, "is named on a synchronous floor"));
        }
        Purity::Free => {}
    }
    broken
}

fn addresses(file: &File, tokens: &Tokens) -> Vec<Broken> {
    let mut broken = Vec::new();
    for (index, token) in tokens.iter() {
        let Some((name, homes)) = ADDRESSES.iter().find(|(name, _)| token.is_word(name)) else {
            continue;
        };
        let imported = index
            .checked_sub(1)
            .is_some_and(|before| tokens.is_word(before, "use") || tokens.is_word(before, "crate"));
        let named = tokens.begins_path(index) && (imported || tokens.is_mark(index + 1, "::"));
        if named && !homes.iter().any(|home| file.path.starts_with(home)) {
            broken.push(file.broken(token.line, format!("`{name}` may be named only in {homes:?}")));
        }
    }
    broken
}

fn words(file: &File, tokens: &Tokens, denied: &[&str], rule: &str) -> Vec<Broken> {
    let found = tokens.iter().filter_map(|(_, token)| {
        let word = denied.iter().find(|word| token.is_word(word))?;
        Some(file.broken(token.line, format!("`{word}` {rule}")))
    });
    found.collect()
}

/// Finds the paths, the last name also inside a `{..}` group.
fn paths(file: &File, tokens: &Tokens, denied: &[&[&str]], rule: &str) -> Vec<Broken> {
    let mut broken = Vec::new();
    for (index, token) in tokens.iter() {
        for path in denied {
            let Some((last, first)) = path.split_last() else { continue };
            let names = tokens.names_after(index + 2 * first.len() - 1);
            if tokens.is_path(index, first) && names.iter().any(|name| name.text == *last) {
                broken.push(file.broken(token.line, format!("`{}` {rule}", path.join("::"))));
            }
        }
    }
    broken
}

#[track_caller]
fn expect(path: &str, source: &str, rules: &[&str]) {
    let broken: Vec<_> = check(&File::new(path, source)).into_iter().map(|broken| broken.rule).collect();
    assert_eq!(broken, rules, "{path}: {source}");
}

#[test]
fn a_crate_away_from_its_address_is_found() {
    let sled = "`sled` may be named only in [\"src/store/kv/sled\"]";
    expect("src/store/values.rs", "fn f(_: &sled::Db) {}", &[sled]);
    expect("src/store/values.rs", "use sled;", &[sled]);
    expect("src/store/values.rs", "use ::sled::Db;", &[sled]);
    expect("src/store/kv/sled.rs", "use sled::Db;", &[]);
    expect("src/store/kv/mod.rs", "mod sled; pub use self::sled::SledKv;", &[]);
    expect("src/driver/mod.rs", "use quinn::Connection;", &["`quinn` may be named only in [\"src/net/\"]"]);
    expect("src/driver/mod.rs", "rustls::x();", &["`rustls` may be named only in [\"src/net/\"]"]);
    expect("src/net/tls.rs", "use rustls::x; use quinn::y;", &[]);
    expect("src/lib.rs", "pub use autosurgeon::{Hydrate, Reconcile};", &[]);
    expect(
        "src/api/mod.rs",
        "use automerge::Automerge;",
        &["`automerge` may be named only in [\"src/doc/\", \"src/gateway/\", \"src/lib.rs\", \
           \"src/access/commit/tests.rs\"]"],
    );
}

#[test]
fn clocks_and_randomness_away_from_the_clock_are_found() {
    let here = |source: &str, rules: &[&str]| expect("src/driver/mod.rs", source, rules);
    here("SystemTime::now()", &["`SystemTime` belongs in driver/clock.rs"]);
    here("use std::time::{Duration, Instant};", &["`std::time::Instant` belongs in driver/clock.rs"]);
    here("let t = Instant::now();", &["`Instant::now` belongs in driver/clock.rs"]);
    here("tokio::time::sleep(x).await", &["`tokio::time::sleep` belongs in driver/clock.rs"]);
    here("getrandom::fill(x)", &["`getrandom` may be named only in [\"src/driver/clock.rs\"]"]);
    here("use std::time::Duration; tokio::time::timeout(x, y);", &[]);
    expect("src/driver/clock.rs", "SystemTime::now(); std::time::Instant::now(); getrandom::fill(x)", &[]);
}

#[test]
fn impure_words_on_a_pure_floor_are_found() {
    for word in ["HashMap", "HashSet", "async", "await", "getrandom", "unsafe", "UdpSocket"] {
        let rule = format!("`{word}` is named on a pure floor");
        let broken = check(&File::new("src/sync/mod.rs", &format!("//! x\n let x = {word};")));
        assert_eq!(broken, [Broken { path: "src/sync/mod.rs".to_owned(), line: 2, rule }]);
    }
    for path in ["thread", "fs", "env", "process", "os", "io"] {
        let rule = format!("`std::{path}` is named on a pure floor");
        expect("src/id/mod.rs", &format!("use std::{{fmt, {path}::X}};"), &[&rule]);
        expect("src/id/mod.rs", &format!("std::{path}::x()"), &[&rule]);
    }
    expect("src/doc/tests/crafted.rs", "use std::io::Write; std::env::var(x);", &[]);
    expect("src/doc/tests/crafted.rs", "use std::fs;", &["`std::fs` is named on a pure floor"]);
    expect("src/sync/mod.rs", "// async HashMap\nlet s = \"tokio\"; use std::net::SocketAddr;", &[]);
}

#[test]
fn tasks_on_a_synchronous_floor_are_found() {
    expect("src/replica/mod.rs", "async fn f() {}", &["`async` is named on a synchronous floor"]);
    expect("src/store/mod.rs", "use std::thread; use std::collections::HashMap;", &[]);
}
