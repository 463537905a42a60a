//! The papers: what the manual, the README, the change log and the tree promise is what is there.

use std::collections::BTreeSet;

use crate::tree::{Broken, File};

const GUARANTEES: usize = 14;

/// The words of which the project has one each.
const GLOSSARY: [&str; 36] = [
    "node",
    "peer",
    "peer id",
    "space",
    "collection",
    "entity",
    "document",
    "row",
    "change",
    "change hash",
    "heads",
    "actor",
    "commit",
    "journal",
    "position",
    "origin",
    "oseq",
    "version vector",
    "cursor",
    "root",
    "session",
    "reconcile",
    "transfer",
    "receipt",
    "quarantine",
    "member",
    "device",
    "role",
    "invite",
    "presence",
    "upstream",
    "overlay",
    "event",
    "action",
    "written",
    "synced",
];

/// Checks that the change log has a place for the next release, on top.
pub(crate) fn check_changelog(changelog: &File) -> Vec<Broken> {
    let first = changelog.text.lines().find(|line| line.starts_with("## "));
    let told = first.is_some_and(|line| line == "## Unreleased");
    let rule = "the first release of the change log is `## Unreleased`";
    (!told).then(|| changelog.broken(1, rule)).into_iter().collect()
}

/// Checks that every guarantee has a paragraph, and tests that exist or the words "not yet".
pub(crate) fn check_guarantees(guarantees: &File, functions: &BTreeSet<String>) -> Vec<Broken> {
    let mut broken = Vec::new();
    for number in 1..=GUARANTEES {
        let heading = format!("## G{number} ");
        let lines = guarantees.text.lines().enumerate();
        let section: Vec<_> = lines
            .skip_while(|(_, line)| !line.starts_with(&heading))
            .enumerate()
            .take_while(|(nth, (_, line))| *nth == 0 || !line.starts_with("## "))
            .map(|(_, (index, line))| (index + 1, line))
            .collect();
        let held = section.iter().skip_while(|(_, line)| !line.starts_with("Held by:"));
        let held: Vec<_> = held.take_while(|(_, line)| !line.is_empty()).collect();
        let Some((first, _)) = held.first() else {
            broken.push(guarantees.broken(1, format!("G{number} has no `Held by:`")));
            continue;
        };
        let mut names = 0;
        for (line, text) in &held {
            for name in quoted(text) {
                names += 1;
                let last = name.rsplit("::").next().unwrap_or(name);
                if !functions.contains(last) {
                    broken.push(guarantees.broken(*line, format!("G{number}: there is no test `{name}`")));
                }
            }
        }
        if names == 0 && !held.iter().any(|(_, text)| text.contains("not yet")) {
            broken.push(guarantees.broken(*first, format!("G{number} names neither a test nor \"not yet\"")));
        }
    }
    broken
}

/// Returns the names of all tests in the files.
pub(crate) fn tests(files: &[File]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let tokens = file.tokens();
        let functions = tokens.iter().filter(|(_, token)| token.is_word("fn"));
        names.extend(
            functions.filter_map(|(index, _)| tokens.word_at(index + 1)).map(|name| name.text.clone()),
        );
    }
    names
}

/// Checks that the glossary defines every word in the first cell of a row.
pub(crate) fn check_glossary(glossary: &File) -> Vec<Broken> {
    let rows = glossary.text.lines().filter_map(|line| line.strip_prefix("| ")?.split('|').next());
    let defined: BTreeSet<&str> = rows.flat_map(|cell| cell.split([',', '/'])).map(str::trim).collect();
    let missing = GLOSSARY.iter().filter(|word| !defined.contains(*word));
    missing.map(|word| glossary.broken(1, format!("the glossary does not define \"{word}\""))).collect()
}

/// Checks that code names every limit, and that the papers tell its true value.
pub(crate) fn check_limits(limits: &File, files: &[File]) -> Vec<Broken> {
    let code = files.iter().filter(|file| file.path.starts_with("src/") && file.is_rust());
    let code = code.filter(|file| file.path != limits.path);
    let words: BTreeSet<String> = code
        .flat_map(|file| file.tokens().iter().map(|(_, token)| token.text.clone()).collect::<Vec<_>>())
        .collect();
    let mut broken = Vec::new();
    for (line, name, value) in values(limits) {
        if !words.contains(&name) {
            broken.push(limits.broken(line, format!("no code keeps the limit `{name}`")));
        }
        for paper in files.iter().filter(|file| file.path.ends_with(".md")) {
            broken.extend(check_told(paper, &name, value));
        }
    }
    broken
}

/// A table row of a paper that names a limit in its first cell tells the value in the second.
fn check_told(paper: &File, name: &str, value: u64) -> Vec<Broken> {
    let mut broken = Vec::new();
    for (index, line) in paper.text.lines().enumerate() {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        if cells.next() != Some(&format!("`{name}`")) {
            continue;
        }
        let told = cells.next().unwrap_or_default();
        if told != in_words(name, value) {
            let rule = format!("`{name}` is {}, not {told}", in_words(name, value));
            broken.push(paper.broken(index + 1, rule));
        }
    }
    broken
}

/// Returns the constants of the file: line, name and value.
fn values(limits: &File) -> Vec<(usize, String, u64)> {
    let tokens = limits.tokens();
    let mut values = Vec::new();
    for (index, token) in tokens.iter().filter(|(_, token)| token.is_word("const")) {
        let Some(name) = tokens.word_at(index + 1).filter(|name| name.text != "_") else { continue };
        let expression: Vec<&str> = tokens
            .iter()
            .skip(index)
            .skip_while(|(_, token)| !token.is_mark("="))
            .skip(1)
            .take_while(|(_, token)| !token.is_mark(";"))
            .map(|(_, token)| token.text.as_str())
            .collect();
        values.push((token.line, name.text.clone(), evaluate(&expression)));
    }
    values
}

/// Computes `a * b * c`, `a << b` and `(a << b) - 1`, which is what the limits are made of.
fn evaluate(expression: &[&str]) -> u64 {
    let numbers = expression.iter().filter_map(|word| word.replace('_', "").parse::<u64>().ok());
    let numbers: Vec<u64> = numbers.collect();
    match numbers.as_slice() {
        [base, shift] if expression.contains(&"<") => base << shift,
        [base, shift, minus] if expression.contains(&"<") => (base << shift) - minus,
        factors => factors.iter().product(),
    }
}

/// Writes a value as the papers do: bytes in KiB and MiB, times in seconds, minutes and days.
fn in_words(name: &str, value: u64) -> String {
    const UNITS: [(&str, &[(u64, &str)]); 2] = [
        ("BYTES", &[(1024 * 1024, "MiB"), (1024, "KiB"), (1, "B")]),
        ("MS", &[(86_400_000, "days"), (60_000, "min"), (1_000, "s"), (1, "ms")]),
    ];
    let units = UNITS.iter().find(|(part, _)| name.split('_').any(|word| word == *part));
    let unit =
        units.and_then(|(_, units)| units.iter().find(|(size, _)| value > 0 && value.is_multiple_of(*size)));
    unit.map_or_else(|| grouped(value), |(size, unit)| format!("{} {unit}", grouped(value / size)))
}

/// Writes a number with a comma before each group of three digits.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Checks that the gate runs the README's commands to the letter.
pub(crate) fn check_commands(readme: &File, gate: &File) -> Vec<Broken> {
    let commands: Vec<&str> = readme
        .text
        .lines()
        .skip_while(|line| *line != "```sh")
        .skip(1)
        .take_while(|line| *line != "```")
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .collect();
    let mut broken = Vec::new();
    if commands.len() != 2 {
        broken.push(readme.broken(1, "the first `sh` block does not tell the two commands"));
    }
    for command in commands {
        if !gate.text.lines().any(|line| line.ends_with(command)) {
            broken.push(gate.broken(1, format!("the gate does not run `{command}`")));
        }
    }
    broken
}

/// Checks that a text file names no place of one machine and no private registry.
pub(crate) fn check_places(file: &File) -> Vec<Broken> {
    const PLACES: [&str; 10] = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/Us", "ers/"),
        concat!("/t", "mp/"),
        concat!("C:", "\\"),
        concat!("local", "host:"),
        concat!("sparse", "+"),
        concat!("arti", "factory"),
        concat!("ne", "xus"),
    ];
    let mut broken = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        if let Some(place) = PLACES.iter().find(|place| names_place(line, place)) {
            broken.push(file.broken(index + 1, format!("`{place}` is a place of one machine")));
        }
        let source = line.strip_prefix("source = ").filter(|_| file.path.ends_with("Cargo.lock"));
        if source.is_some_and(|source| !source.contains("github.com/rust-lang/crates.io-index")) {
            broken.push(file.broken(index + 1, "a dependency does not come from crates.io"));
        }
    }
    if file.path.starts_with(".cargo/") {
        broken.push(file.broken(1, "the tree sets no cargo options of its own"));
    }
    broken
}

/// A place is not the middle of a longer name, as in `driftless/root/v1`.
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| !line.split_at(at).0.ends_with(char::is_alphanumeric))
}

/// Returns what stands between backquotes.
fn quoted(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

fn rules(broken: Vec<Broken>) -> Vec<(usize, String)> {
    broken.into_iter().map(|broken| (broken.line, broken.rule)).collect()
}

#[test]
fn a_change_log_without_a_next_release_is_found() {
    let check = |text: &str| check_changelog(&File::new("CHANGELOG.md", text)).len();

    assert_eq!(check("# Changes\n\n## Unreleased\n\n### Added\n"), 0);
    assert_eq!(check("# Changes\n\n## 0.1.0\n\n## Unreleased\n"), 1);
    assert_eq!(check(""), 1);
}

#[test]
fn a_guarantee_without_a_living_test_is_found() {
    let mut text: String = (2..=GUARANTEES).map(|n| format!("## G{n} x\n\nHeld by: not yet\n\n")).collect();
    text.push_str("## G1 durable\n\nA promise.\n\nHeld by: `it::lives`,\n`is_gone`.\n\nMore `words`.\n");
    let functions = tests(&[File::new("tests/a.rs", "fn lives() {} // fn is_gone() {}")]);
    let check = |text: &str| {
        let mut found = rules(check_guarantees(&File::new("g.md", text), &functions));
        found.sort();
        found
    };

    assert_eq!(check(&text), [(58, "G1: there is no test `is_gone`".to_owned())]);
    assert_eq!(check(&text.replace("`is_gone`", "others")), []);
    assert_eq!(
        check(&text.replace("## G9 x\n\nHeld", "## G9 x\n\nheld")),
        [(1, "G9 has no `Held by:`".to_owned()), (58, "G1: there is no test `is_gone`".to_owned())]
    );
    assert_eq!(
        check(&text.replace("`it::lives`,\n`is_gone`.", "hope")),
        [(57, "G1 names neither a test nor \"not yet\"".to_owned())]
    );
}

#[test]
fn a_word_without_a_definition_is_found() {
    let all: String = GLOSSARY.iter().map(|word| format!("| {word} | x | y |\n")).collect();
    let check = |text: &str| rules(check_glossary(&File::new("g.md", text)));

    assert_eq!(check(&all), []);
    assert_eq!(
        check(&all.replace("| root |", "| rot |")),
        [(1, "the glossary does not define \"root\"".to_owned())]
    );
}

#[test]
fn a_limit_that_nothing_keeps_or_that_is_told_wrongly_is_found() {
    let limits =
        File::new("src/limits.rs", "pub const A_BYTES_MAX: usize = 4 * 1024;\nconst _: () = assert!(A < B);");
    let check = |code: &str, paper: &str| {
        let files = [limits.clone(), File::new("src/id/mod.rs", code), File::new("README.md", paper)];
        rules(check_limits(&limits, &files))
    };

    assert_eq!(check("A_BYTES_MAX", "| `A_BYTES_MAX` | 4 KiB |"), []);
    assert_eq!(check("// A_BYTES_MAX", ""), [(1, "no code keeps the limit `A_BYTES_MAX`".to_owned())]);
    assert_eq!(
        check("A_BYTES_MAX", "x\n| `A_BYTES_MAX` | 5 KiB |"),
        [(2, "`A_BYTES_MAX` is 4 KiB, not 5 KiB".to_owned())]
    );
}

#[test]
fn limits_are_computed_and_written_as_people_write_them() {
    let value = |name: &str, expression: &str| {
        let limits = File::new("l.rs", &format!("pub const {name}: u64 = {expression};"));
        values(&limits).iter().map(|(_, name, value)| in_words(name, *value)).collect::<String>()
    };

    assert_eq!(value("A_MAX", "8_192"), "8,192");
    assert_eq!(value("A_MAX", "1 << 20"), "1,048,576");
    assert_eq!(value("A_MAX", "(1 << 31) - 1"), "2,147,483,647");
    assert_eq!(value("A_BYTES", "64 * 1024 * 1024"), "64 MiB");
    assert_eq!(value("A_BYTES_MAX", "100"), "100 B");
    assert_eq!(value("A_MS", "7 * 24 * 3_600_000"), "7 days");
    assert_eq!(value("A_MS", "15_000"), "15 s");
}

#[test]
fn a_gate_that_runs_other_commands_is_found() {
    let readme =
        File::new("README.md", "x\n```sh\ncargo test   # tests\ncargo run\n```\n```sh\nother\n```\n");
    let check = |gate: &str| rules(check_commands(&readme, &File::new(".ci/run", gate)));

    assert_eq!(check("step cargo test\ntimeout 60 cargo run\n"), []);
    assert_eq!(
        check("step cargo test --lib\ncargo run"),
        [(1, "the gate does not run `cargo test`".to_owned())]
    );
    assert_eq!(check_commands(&File::new("README.md", ""), &readme).len(), 1);
}

#[test]
fn a_place_of_one_machine_is_found() {
    let check = |path: &str, text: &str| check_places(&File::new(path, text)).len();

    assert_eq!(check("a.md", &format!("in {}me/x", concat!("/ho", "me/"))), 1);
    assert_eq!(check("Cargo.lock", "source = \"registry+https://github.com/rust-lang/crates.io-index\""), 0);
    assert_eq!(check("Cargo.lock", "source = \"git+https://example.org/x\""), 1);
    assert_eq!(check(".cargo/config.toml", ""), 1);
    assert_eq!(check("a.md", &format!("see ./data and ../shared/traces, a{}v1", concat!("/ro", "ot/"))), 0);
}
