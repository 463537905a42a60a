//! The table of attacks in the manual: every number has a row, every row names what stops the attack and the tests
//! that try it, and every such test is there and says how it was seen failing. So does every test that is named after an
//! attack, whether a row names it or not.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::{Broken, File};

/// The numbers of attacks that are counted up; others have a letter.
const COUNTED: u32 = 50;
const LETTERED: [&str; 10] = ["Ta", "Tb", "Tc", "Td", "Te", "Tf", "Tg", "40b", "40c", "40d"];
/// Stands for the number of what is no attack of the list; its tests need not say how they were seen failing.
const BESIDES: &str = "-";
/// What a test's comment says of how it was seen failing, one of these.
const SEEN: [&str; 3] = ["failing", "Without", "With `"];
/// How the name of a test of an attack, or of several, begins, and what its own comment says.
const OF_AN_ATTACK: ([&str; 2], &str) = (["attack_", "attacks_"], "een failing");

/// Checks the rows of the manual against the tests of the tree.
pub(crate) fn check(manual: &File, files: &[File]) -> Vec<Broken> {
    let comments = comments(files);
    let mut broken = Vec::new();
    let mut told = BTreeSet::new();
    for (line, cells) in rows(manual) {
        let [numbers, _attack, stops, tests] = cells.as_slice() else { continue };
        let numbers: Vec<&str> = numbers.split(',').map(str::trim).collect();
        let besides = numbers == [BESIDES];
        if !besides && !numbers.iter().all(|number| is_number(number)) {
            continue;
        }
        told.extend(numbers);
        if !quoted(stops).any(|module| is_module(files, module)) {
            broken.push(manual.broken(line, "the row names no module that stops the attack"));
        }
        if quoted(tests).next().is_none() {
            broken.push(manual.broken(line, "the row names no test"));
        }
        for test in quoted(tests) {
            match comments.get(test) {
                None => broken.push(manual.broken(line, format!("there is no test `{test}`"))),
                Some(comment) if !besides && !SEEN.iter().any(|word| comment.contains(word)) => {
                    let rule = format!("`{test}` does not say how it was seen failing");
                    broken.push(manual.broken(line, rule));
                }
                Some(_) => {}
            }
        }
    }
    let numbers = (1..=COUNTED).map(|number| number.to_string()).chain(LETTERED.map(str::to_owned));
    let missing = numbers.filter(|number| !told.contains(number.as_str()));
    broken.extend(missing.map(|number| manual.broken(1, format!("attack {number} has no row"))));
    broken.extend(unseen(files));
    broken
}

/// The tests of attacks that do not say, each in its own comment, how they were seen failing.
fn unseen(files: &[File]) -> Vec<Broken> {
    let (prefixes, seen) = OF_AN_ATTACK;
    let is_of_one = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let mut unseen = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let silent = functions(file)
            .into_iter()
            .filter(|(_, name, comment)| is_of_one(name) && !comment.contains(seen));
        unseen.extend(silent.map(|(line, name, _)| {
            file.broken(line, format!("`{name}` tries an attack and does not say how it was seen failing"))
        }));
    }
    unseen
}

/// The rows of all tables: line and cells.
fn rows(manual: &File) -> impl Iterator<Item = (usize, Vec<&str>)> {
    let lines = manual.text.lines().enumerate();
    lines.filter_map(|(index, line)| {
        let inside = line.strip_prefix('|')?.strip_suffix('|')?;
        Some((index + 1, inside.split('|').map(str::trim).collect()))
    })
}

fn is_number(text: &str) -> bool {
    LETTERED.contains(&text) || text.parse::<u32>().is_ok_and(|number| (1..=COUNTED).contains(&number))
}

/// Tells whether a path such as `net::tls` is a file, or a folder with a `mod.rs`, of the library.
fn is_module(files: &[File], path: &str) -> bool {
    let path = format!("src/{}", path.replace("::", "/"));
    files.iter().any(|file| file.path == format!("{path}.rs") || file.path == format!("{path}/mod.rs"))
}

/// The comment of every function of the tree, by its name. Of several with one name, all of their comments.
fn comments(files: &[File]) -> BTreeMap<String, String> {
    let mut comments: BTreeMap<String, String> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        for (_, name, comment) in functions(file) {
            comments.entry(name.to_owned()).or_default().push_str(&comment);
        }
    }
    comments
}

/// The functions of a file: line, name and comment.
fn functions(file: &File) -> Vec<(usize, &str, String)> {
    let mut functions = Vec::new();
    let mut comment = String::new();
    for (index, line) in file.text.lines().map(str::trim).enumerate() {
        if let Some(text) = line.strip_prefix("///") {
            comment.push_str(text);
            continue;
        }
        if line.starts_with("#[") {
            continue;
        }
        let comment = std::mem::take(&mut comment);
        if let Some(name) = function(line) {
            functions.push((index + 1, name, comment));
        }
    }
    functions
}

/// The name of the function that begins on a line.
fn function(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("fn ")?;
    let qualifies = |word: &str| matches!(word, "pub" | "pub(crate)" | "pub(super)" | "async" | "const");
    before.split_whitespace().all(qualifies).then_some(())?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

/// Returns what stands between backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// A manual in which every attack has a sound row.
fn sound() -> String {
    let numbers = (1..=COUNTED).map(|number| number.to_string()).chain(LETTERED.map(str::to_owned));
    numbers.map(|number| format!("| {number} | tries | `net::tls` | `is_kept_out` |\n")).collect()
}

#[track_caller]
fn expect(manual: &str, comment: &str, rules: &[(usize, &str)]) {
    let test =
        File::new("src/net/tests/x.rs", &format!("{comment}\n#[tokio::test]\nasync fn is_kept_out() {{"));
    let files = [test, File::new("src/net/tls.rs", "//! x"), File::new("src/id/mod.rs", "//! x")];
    let broken = check(&File::new("m.md", manual), &files);
    let broken: Vec<_> = broken.into_iter().map(|broken| (broken.line, broken.rule)).collect();
    let rules: Vec<_> = rules.iter().map(|(line, rule)| (*line, (*rule).to_owned())).collect();
    assert_eq!(broken, rules);
}

#[test]
fn an_attack_without_a_row_is_found() {
    let failing = "/// Seen failing without it.";

    expect(&sound(), failing, &[]);
    expect(&sound().replace("| 7 |", "| 8, 9 |"), failing, &[(1, "attack 7 has no row")]);
    expect(&sound().replace("| Tc |", "| x |"), failing, &[(1, "attack Tc has no row")]);
    expect(&sound().replace("| 40c |", "|40c, 40d|"), failing, &[]);
}

#[test]
fn a_row_without_a_living_test_or_a_module_is_found() {
    let failing = "/// Seen failing\n/// without it.";
    let row = |stops: &str, tests: &str| {
        sound().replacen(
            "| tries | `net::tls` | `is_kept_out` |",
            &format!("| tries | {stops} | {tests} |"),
            1,
        )
    };

    expect(&row("`net::tls`", "`is_gone`"), failing, &[(1, "there is no test `is_gone`")]);
    expect(&row("`net::tls`", "hope"), failing, &[(1, "the row names no test")]);
    let none = "the row names no module that stops the attack";
    expect(&row("`net::none`", "`is_kept_out`"), failing, &[(1, none)]);
    expect(&row("`id`, and luck", "`is_kept_out`"), failing, &[]);
    let besides = format!("{}| - | more | `id` | `is_gone` |\n", sound());
    expect(&besides, failing, &[(61, "there is no test `is_gone`")]);
}

#[test]
fn a_test_that_does_not_say_how_it_was_seen_failing_is_found() {
    let rule = "`is_kept_out` does not say how it was seen failing";
    let all: Vec<_> = (1..=COUNTED as usize + LETTERED.len()).map(|line| (line, rule)).collect();

    expect(&sound(), "/// A peer.\n\n/// Seen failing. Of something else.\nfn other() {}", &all);
    expect(&sound(), "", &all);
}

/// Seen failing without the call of `unseen`, and with tests of several attacks passed over.
#[test]
fn a_test_named_after_an_attack_that_does_not_say_how_it_was_seen_failing_is_found() {
    let tests = "/// Seen failing.\n#[test]\nfn attack_1_told() {\n}\n\n/// Without a word.\n#[tokio::test]\nasync fn \
                 attack_2_silent() {\n}\n\nfn attacks_3_and_4_bare() {\n}\n\nfn attacker() {\n}\n";
    let sound_test = File::new("src/id/mod.rs", "/// Seen failing.\nfn is_kept_out() {");
    let files = [File::new("src/net/tls.rs", tests), sound_test];

    let found = check(&File::new("m.md", &sound()), &files);

    let found: Vec<_> = found.into_iter().map(|broken| (broken.line, broken.rule)).collect();
    let rule = |name| format!("`{name}` tries an attack and does not say how it was seen failing");
    assert_eq!(found, [(8, rule("attack_2_silent")), (11, rule("attacks_3_and_4_bare"))]);
}
