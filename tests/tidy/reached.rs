//! Every limit is reached by a test: code of tests names it, or it is told here why no test could tell.

use std::collections::BTreeSet;

use crate::scan::Tokens;
use crate::tree::{Broken, File};

/// Limits that no test names, each with the reason: whatever their value, nothing that a test counts is another.
const UNREACHED: [(&str, &str); 8] = [
    ("JOIN_POLL_MS", "how often a joiner asks: it shows in time alone, and tests do not measure time"),
    (
        "JOIN_WAIT_MS",
        "how long a join waits when the app does not say: tests say, as ten minutes are too long",
    ),
    ("DIAL_STAGGER_MS", "when the next address is tried beside a silent one: it shows in time alone"),
    ("DISCOVERY_RESTART_MS", "when the network is searched again: it shows in time alone"),
    ("PORT_TRIES_MAX", "how often a port is tried that another process is giving up: it shows in time alone"),
    ("PORT_RETRY_MS", "the pause between those tries"),
    ("ORDERS_MAX", "places in a channel: whoever sends one more waits, and nothing else is another"),
    ("PENDING_COUNT_MAX", "how far a status counts, given to the reader: its tests give it smaller ones"),
];

/// Checks that the tests name each limit.
pub(crate) fn check(limits: &File, files: &[File]) -> Vec<Broken> {
    check_but(limits, files, &UNREACHED)
}

fn check_but(limits: &File, files: &[File], unreached: &[(&str, &str)]) -> Vec<Broken> {
    let named = named_in_tests(files);
    let mut broken = Vec::new();
    let mut known = BTreeSet::new();
    for (line, name) in names(limits) {
        let reason = unreached.iter().find(|(other, _)| *other == name).map(|(_, reason)| *reason);
        match (named.contains(&name), reason) {
            (false, None) => broken.push(limits.broken(line, format!("no test reaches the limit `{name}`"))),
            (true, Some(_)) => {
                broken.push(limits.broken(line, format!("a test does reach the limit `{name}`")))
            }
            (false, Some("")) => broken.push(limits.broken(line, format!("no reason is given for `{name}`"))),
            (true, None) | (false, Some(_)) => {}
        }
        known.insert(name);
    }
    let gone = unreached.iter().filter(|(name, _)| !known.contains(*name));
    broken.extend(gone.map(|(name, _)| limits.broken(1, format!("there is no limit `{name}`"))));
    broken
}

/// The public constants of a file, each with its line.
fn names(limits: &File) -> Vec<(usize, String)> {
    let tokens = limits.tokens();
    let public = tokens.iter().filter(|(at, token)| token.is_word("pub") && tokens.is_word(at + 1, "const"));
    public.filter_map(|(at, _)| tokens.word_at(at + 2)).map(|name| (name.line, name.text.clone())).collect()
}

/// All words of the code of tests, but for that of these rules.
fn named_in_tests(files: &[File]) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    let modules = modules_of_tests(files);
    for file in files.iter().filter(|file| file.is_rust() && !file.path.starts_with("tests/tidy/")) {
        let tokens = file.tokens();
        let is_test = file.path.starts_with("tests/") || modules.iter().any(|of| is_in(&file.path, of));
        let blocks = blocks(&tokens);
        let inside = |line: &usize| blocks.iter().any(|(first, last)| (first..=last).contains(&line));
        let words = tokens.iter().filter(|(_, token)| is_test || inside(&token.line));
        named.extend(words.map(|(_, token)| token.text.clone()));
    }
    named
}

/// The paths, without their end, of modules that are there in tests alone: of a file, or of a folder.
fn modules_of_tests(files: &[File]) -> Vec<String> {
    let mut modules = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let Some((folder, _)) = file.path.rsplit_once('/') else { continue };
        let tokens = file.tokens();
        for at in items_of_tests(&tokens) {
            let name = tokens.word_at(at + 1).filter(|_| tokens.is_mark(at + 2, ";"));
            modules.extend(name.map(|name| format!("{folder}/{}", name.text)));
        }
    }
    modules
}

fn is_in(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// The lines of the modules in a file that are there in tests alone.
fn blocks(tokens: &Tokens) -> Vec<(usize, usize)> {
    let items = items_of_tests(tokens).into_iter().filter(|at| tokens.is_mark(at + 2, "{"));
    let lines = items.filter_map(|at| Some((tokens.word_at(at)?.line, tokens.close_of(at + 2)?)));
    lines.collect()
}

/// Where the word `mod` is of modules under `#[cfg(test)]`.
fn items_of_tests(tokens: &Tokens) -> Vec<usize> {
    let attribute = |at: usize| {
        tokens.is_word(at, "cfg")
            && tokens.is_mark(at + 1, "(")
            && tokens.is_word(at + 2, "test")
            && tokens.is_mark(at + 3, ")")
            && tokens.is_mark(at + 4, "]")
    };
    let follows = |at: usize| (at + 5..at + 10).find(|word| tokens.is_word(*word, "mod"));
    let items = tokens.iter().map(|(at, _)| at).filter(|at| attribute(*at)).filter_map(|at| {
        let found = follows(at)?;
        // Between the attribute and the word stands at most who may see the module.
        let visible = (at + 5..found).all(|at| {
            tokens.is_word(at, "pub")
                || tokens.is_word(at, "crate")
                || tokens.is_mark(at, "(")
                || tokens.is_mark(at, ")")
        });
        visible.then_some(found)
    });
    items.collect()
}

#[track_caller]
fn expect(path: &str, code: &str, unreached: &[(&str, &str)], rules: &[&str]) {
    let limits =
        File::new("src/limits.rs", "//! x\npub const A_MAX: usize = 1;\nconst _: () = assert!(A_MAX > 0);");
    let files = [
        limits.clone(),
        File::new("src/id/mod.rs", "#[cfg(test)]\npub(crate) mod laws;"),
        File::new(path, code),
    ];
    let broken = check_but(&limits, &files, unreached).into_iter().map(|broken| broken.rule);
    assert_eq!(broken.collect::<Vec<_>>(), rules);
}

#[test]
fn a_limit_that_no_test_names_is_found() {
    let found = ["no test reaches the limit `A_MAX`"];
    let inline = "use x::A_MAX;\n#[cfg(test)]\nmod tests {\n fn f() { A_MAX }\n}";

    expect("src/id/x.rs", "use x::A_MAX;", &[], &found);
    expect("src/id/x.rs", inline, &[], &[]);
    expect("src/id/x.rs", "#[cfg(test)]\nmod tests {\n}\nfn f() { A_MAX }", &[], &found);
    expect("src/id/x.rs", "#[cfg(test)]\nfn f() {}\nmod other {\n fn f() { A_MAX }\n}", &[], &found);
    expect("src/id/x.rs", "#[cfg(test)]\nmod tests {\n// A_MAX\n}", &[], &found);
    expect("src/id/laws.rs", "use x::A_MAX;", &[], &[]);
    expect("src/id/laws/deep.rs", "use x::A_MAX;", &[], &[]);
    expect("tests/it/x.rs", "use x::A_MAX;", &[], &[]);
    expect("tests/tidy/x.rs", "use x::A_MAX;", &[], &found);
}

#[test]
fn a_limit_that_is_excused_has_a_reason_and_no_test() {
    let named = ("src/id/laws.rs", "use x::A_MAX;");

    expect("src/id/x.rs", "", &[("A_MAX", "a pace")], &[]);
    expect("src/id/x.rs", "", &[("A_MAX", "")], &["no reason is given for `A_MAX`"]);
    expect(named.0, named.1, &[("A_MAX", "a pace")], &["a test does reach the limit `A_MAX`"]);
    expect(named.0, named.1, &[("B_MAX", "a pace")], &["there is no limit `B_MAX`"]);
}
