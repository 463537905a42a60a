//! Every public item shows itself: an example that compiles stands in its documentation.

use crate::tree::{Broken, File};

/// The files, or folders, whose items all have one.
const EXEMPLARY: [&str; 8] = [
    "src/access/",
    "src/api/",
    "src/doc/",
    "src/id/",
    "src/identity/",
    "src/metrics.rs",
    "src/sim/",
    "src/time.rs",
];
const ITEMS: [&str; 4] = ["fn", "struct", "enum", "trait"];
/// What stands between `pub` and the word that says what the item is.
const QUALIFIERS: [&str; 3] = ["const", "async", "unsafe"];
/// How a block of code begins that is compiled. One that is ignored, or no Rust, shows nothing.
const COMPILED: [&str; 3] = ["```", "```no_run", "```should_panic"];

/// Checks one file.
pub(crate) fn check(file: &File) -> Vec<Broken> {
    if !EXEMPLARY.iter().any(|path| file.path.starts_with(path)) {
        return Vec::new();
    }
    let mut broken = Vec::new();
    let (mut shown, mut fenced, mut in_attribute) = (false, false, false);
    for (index, line) in file.text.lines().map(str::trim).enumerate() {
        if line == "#[cfg(test)]" {
            break;
        }
        if let Some(doc) = line.strip_prefix("///").map(str::trim) {
            let fence = doc.starts_with("```");
            shown |= fence && !fenced && COMPILED.contains(&doc);
            fenced ^= fence;
            continue;
        }
        // What readers are not shown needs no example.
        shown |= line == "#[doc(hidden)]";
        if in_attribute || line.starts_with("#[") || line.starts_with("$(#[") {
            in_attribute = !line.ends_with(']') && !line.ends_with(")*");
            continue;
        }
        if let Some(name) = item(line).filter(|_| !shown) {
            broken.push(file.broken(index + 1, format!("`{name}` has no example that compiles")));
        }
        (shown, fenced) = (false, false);
    }
    broken
}

/// Returns the name of the public item that begins on the line.
fn item(line: &str) -> Option<&str> {
    let words = line.strip_prefix("pub ")?.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '$');
    let mut words = words.skip_while(|word| QUALIFIERS.contains(word));
    words.next().filter(|word| ITEMS.contains(word))?;
    words.next()
}

#[track_caller]
fn expect(source: &str, found: &[(usize, &str)]) {
    let broken = check(&File::new("src/time.rs", source));
    let found = found.iter().map(|(line, name)| (*line, format!("`{name}` has no example that compiles")));
    assert_eq!(
        broken.into_iter().map(|broken| (broken.line, broken.rule)).collect::<Vec<_>>(),
        found.collect::<Vec<_>>()
    );
}

#[test]
fn an_item_without_an_example_is_found() {
    expect("/// A.\n///\n/// ```\n/// a();\n/// ```\n#[must_use]\npub fn a() {}", &[]);
    expect("/// A.\npub fn a() {}", &[(2, "a")]);
    expect("/// A.\n#[derive(\n    Clone,\n    Debug,\n)]\npub struct A;", &[(6, "A")]);
    expect("/// A.\npub const fn a() {}\n/// B.\npub async fn b<T>(", &[(2, "a"), (4, "b")]);
    expect("/// A.\npub enum A {\n/// B.\nB }\n/// C.\npub trait C {}", &[(2, "A"), (6, "C")]);
    expect("    /// A.\n    $(#[$doc])*\n    pub struct $name;", &[(3, "$name")]);
}

#[test]
fn the_example_of_another_item_does_not_count() {
    expect("/// ```\n/// a();\n/// ```\npub fn a() {}\n\n/// B.\npub fn b() {}", &[(7, "b")]);
}

#[test]
fn an_example_that_is_not_compiled_does_not_count() {
    expect("/// ```no_run\n/// a();\n/// ```\npub fn a() {}", &[]);
    expect("/// ```ignore\n/// a();\n/// ```\npub fn a() {}", &[(4, "a")]);
    expect("/// ```text\n/// a -> b\n/// ```\npub fn a() {}", &[(4, "a")]);
}

#[test]
fn what_is_not_public_needs_no_example() {
    expect("fn a() {}\npub(crate) fn b() {}\npub const C: u8 = 1;\npub use d;\npub mod e;\npub f: u8,", &[]);
    expect("#[cfg(test)]\nmod tests {\n    pub fn a() {}\n}", &[]);
    assert_eq!(check(&File::new("src/net/x.rs", "/// A.\npub fn a() {}")), []);
}
