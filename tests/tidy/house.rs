//! The house table: which module may name which. It is the whole graph, so a cycle cannot be written.

use crate::scan::Tokens;
use crate::tree::{Broken, File};

/// A module at the root of the crate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) floor: u8,
    pub(crate) name: &'static str,
    pub(crate) purity: Purity,
    /// The modules that it may name, separated by spaces; each stands in an earlier row.
    imports: &'static str,
}

/// Whether a module may touch the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purity {
    /// A function of its arguments: no clock, randomness, thread, socket, file or task.
    Pure,
    /// Files and threads, but no task and no socket.
    Synchronous,
    /// Anything that the vendor addresses allow.
    Free,
}

use Purity::{Free, Pure, Synchronous};

const fn row(floor: u8, name: &'static str, purity: Purity, imports: &'static str) -> Row {
    Row { floor, name, purity, imports }
}

/// `lib`, `manual` and the program are not here: `lib` declares the modules, the program names `driftless::`.
pub(crate) const HOUSE: [Row; 23] = [
    row(0, "limits", Pure, ""),
    row(0, "id", Pure, "limits"),
    row(0, "time", Pure, "limits"),
    row(0, "metrics", Pure, ""),
    row(1, "identity", Pure, "id limits"),
    row(1, "codec", Pure, "id limits time"),
    row(2, "wire", Pure, "codec id identity limits time"),
    row(3, "doc", Pure, "codec id limits time"),
    row(3, "access", Pure, "codec id identity limits time"),
    row(3, "query", Pure, "codec id limits"),
    row(3, "exchange", Pure, "access codec id limits time"),
    row(4, "sync", Pure, "access codec exchange id identity limits metrics time wire"),
    row(4, "store", Synchronous, "codec doc id limits metrics query time"),
    row(4, "net", Free, "codec id identity limits metrics wire"),
    row(5, "replica", Synchronous, "access codec doc exchange id identity limits metrics query store time"),
    row(
        6,
        "driver",
        Free,
        "access doc exchange id identity limits metrics net query replica store sync time wire",
    ),
    row(7, "api", Free, "access doc driver exchange id identity limits metrics query replica time"),
    row(8, "gateway", Free, "api codec doc id limits"),
    row(8, "dashboard", Free, "api codec doc id limits"),
    row(
        8,
        "sim",
        Synchronous,
        "access codec doc exchange id identity limits metrics query replica store sync time wire",
    ),
    row(
        8,
        "fuzzing",
        Synchronous,
        "access codec doc exchange id identity limits metrics replica sim store sync time wire",
    ),
    row(9, "manual", Pure, ""),
    row(9, "bin", Free, ""),
];

/// What only tests of a module name besides: below this path, this module.
const TESTS_BESIDES: [(&str, &str); 1] = [
    // A hostile peer writes its bytes by hand.
    ("src/driver/hostile/", "codec"),
];

impl Row {
    pub(crate) fn imports(&self) -> impl Iterator<Item = &'static str> {
        self.imports.split_whitespace()
    }
}

/// Returns the name of the root module that a file of `src` belongs to; `None` for `lib.rs`.
pub(crate) fn module_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let name = inside.split('/').next()?;
    let name = name.strip_suffix(".rs").unwrap_or(name);
    (inside != "lib.rs").then_some(name)
}

pub(crate) fn row_of(path: &str) -> Option<&'static Row> {
    let name = module_of(path)?;
    HOUSE.iter().find(|row| row.name == name)
}

/// Checks one file of `src` against its row.
pub(crate) fn check(file: &File) -> Vec<Broken> {
    let Some(name) = module_of(&file.path) else {
        return Vec::new();
    };
    let Some(row) = row_of(&file.path) else {
        return vec![file.broken(1, format!("`{name}` has no row in the house table"))];
    };
    let mut broken = Vec::new();
    for (target, line) in imports(&file.tokens(), depth(&file.path)) {
        let besides = TESTS_BESIDES.iter().any(|(path, also)| file.path.starts_with(path) && *also == target);
        if besides || target == name || row.imports().any(|allowed| allowed == target) {
            continue;
        }
        let known = HOUSE.iter().any(|row| row.name == target);
        broken.push(file.broken(
            line,
            if known {
                format!("`{name}` may not name `{target}`")
            } else {
                format!("`crate::{target}` is no floor: name the floor it comes from")
            },
        ));
    }
    broken.extend(own_name(file, name));
    broken
}

/// Every name that follows the root of the crate, with its line.
fn imports(tokens: &Tokens, depth: usize) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    // The inner modules that are open, as the brace depths at which they opened.
    let mut modules = Vec::new();
    let mut braces = 0_usize;
    for (index, token) in tokens.iter() {
        let names_root = token.is_word("crate")
            || token.is_word("super") && supers(tokens, index).is_some_and(|n| n >= depth + modules.len());
        if names_root {
            let last = index + 2 * supers(tokens, index).map_or(0, |n| n - 1);
            found.extend(tokens.names_after(last + 1).iter().map(|t| (t.text.clone(), t.line)));
        }
        if token.is_mark("{") {
            let opens_module = index.checked_sub(2).is_some_and(|i| tokens.is_word(i, "mod"));
            modules.extend(opens_module.then_some(braces));
            braces += 1;
        }
        if token.is_mark("}") {
            braces = braces.saturating_sub(1);
            modules.pop_if(|opened| *opened == braces);
        }
    }
    found
}

/// How many `super` begin the path at `index`; `None` when the path does not begin there.
fn supers(tokens: &Tokens, index: usize) -> Option<usize> {
    if !tokens.begins_path(index) || !tokens.is_word(index, "super") {
        return None;
    }
    let rest = (1..)
        .take_while(|n| tokens.is_mark(index + 2 * n - 1, "::") && tokens.is_word(index + 2 * n, "super"));
    Some(1 + rest.count())
}

/// How deep the module of a file lies below the root.
fn depth(path: &str) -> usize {
    let parts = path.split('/').count() - 1;
    parts - usize::from(path.ends_with("/mod.rs"))
}

/// Inside the crate nothing names the crate from outside, which would go around the table.
fn own_name(file: &File, module: &str) -> Vec<Broken> {
    if module == "bin" || module == "manual" {
        return Vec::new();
    }
    let tokens = file.tokens();
    let named = tokens.iter().filter(|(i, token)| {
        token.is_word("driftless") && tokens.begins_path(*i) && tokens.is_mark(i + 1, "::")
    });
    named.map(|(_, token)| file.broken(token.line, "`driftless::` inside the crate: use `crate::`")).collect()
}

/// Compares the table in the manual with the one above: both tell the same rows, floors and imports.
pub(crate) fn check_manual(manual: &File) -> Vec<Broken> {
    let rows: Vec<(usize, Vec<&str>)> = manual
        .text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim_matches('|').split('|').map(str::trim).collect()))
        .collect();
    let mut broken = Vec::new();
    for row in &HOUSE {
        let name = format!("`{}`", row.name);
        let Some((line, cells)) = rows.iter().find(|(_, cells)| cells.get(1).is_some_and(|c| **c == name))
        else {
            broken.push(manual.broken(1, format!("the house table lacks {name}")));
            continue;
        };
        let mut imports: Vec<_> = cells.last().map_or("", |cell| *cell).split_whitespace().collect();
        imports.retain(|import| *import != "-");
        let told = cells.first().is_some_and(|floor| *floor == row.floor.to_string());
        if !told || !imports.iter().copied().eq(row.imports()) {
            broken.push(manual.broken(*line, format!("the row of {name} differs from tests/tidy/house.rs")));
        }
    }
    broken
}

#[test]
fn rows_name_only_earlier_rows() {
    for (index, row) in HOUSE.iter().enumerate() {
        for import in row.imports() {
            let earlier =
                HOUSE.iter().take(index).any(|other| other.name == import && other.floor <= row.floor);
            assert!(earlier, "{} names {import}, which is not an earlier row", row.name);
        }
    }
}

#[track_caller]
fn expect(path: &str, source: &str, rules: &[(usize, &str)]) {
    let broken: Vec<_> = check(&File::new(path, source)).into_iter().map(|b| (b.line, b.rule)).collect();
    let rules: Vec<_> = rules.iter().map(|(line, rule)| (*line, (*rule).to_owned())).collect();
    assert_eq!(broken, rules);
}

#[test]
fn a_name_that_the_row_does_not_allow_is_found() {
    let denied = "`sync` may not name `store`";
    expect("src/sync/mod.rs", "//! x\nuse crate::store::Values;", &[(2, denied)]);
    expect("src/sync/mod.rs", "//! x\nuse crate::{id::PeerId,\n    store::Values};", &[(3, denied)]);
    expect("src/sync/mod.rs", "fn f() { crate::store::open() }", &[(1, denied)]);
    expect("src/sync/mod.rs", "use super::store::Values;", &[(1, denied)]);
    expect("src/sync/session.rs", "use super::super::store::Values;", &[(1, denied)]);
    expect("src/sync/session.rs", "mod t { use super::super::super::store::Values; }", &[(1, denied)]);
    expect("src/sync/mod.rs", "macro_rules! m { () => { $crate::store::x() } }", &[(1, denied)]);
}

#[test]
fn what_the_row_allows_passes() {
    expect("src/sync/mod.rs", "use crate::{id::PeerId, exchange::Ask}; use crate::sync::x;", &[]);
    expect("src/sync/mod.rs", "pub(crate) fn f() {} // crate::store\n/* crate::net */", &[]);
    expect("src/sync/session.rs", "use super::store; mod t { use super::super::net; }", &[]);
    expect("src/sync/mod.rs", "mod t { use super::store; } fn f() { \"crate::store\"; }", &[]);
    expect("src/driver/hostile/mod.rs", "use crate::codec::Writer;", &[]);
    expect("src/driver/mod.rs", "use crate::codec::Writer;", &[(1, "`driver` may not name `codec`")]);
    expect("src/lib.rs", "pub use crate::store::Values;", &[]);
    expect("src/bin/driftless.rs", "use driftless::Node;", &[]);
}

#[test]
fn ways_around_the_table_are_found() {
    expect("src/extra/mod.rs", "", &[(1, "`extra` has no row in the house table")]);
    expect(
        "src/doc/mod.rs",
        "use crate::EntityId;",
        &[(1, "`crate::EntityId` is no floor: name the floor it comes from")],
    );
    expect(
        "src/doc/mod.rs",
        "use driftless::id::PeerId;",
        &[(1, "`driftless::` inside the crate: use `crate::`")],
    );
}

#[test]
fn a_manual_that_tells_another_table_is_found() {
    let tell = |imports: &str| {
        let lines = HOUSE.iter().map(|row| {
            let imports = if row.name == "sync" {
                imports.to_owned()
            } else {
                row.imports().collect::<Vec<_>>().join(" ")
            };
            format!("| {} | `{}` | purpose | {imports} |", row.floor, row.name)
        });
        check_manual(&File::new("m.md", &lines.collect::<Vec<_>>().join("\n")))
    };

    assert_eq!(tell("access codec exchange id identity limits metrics time wire"), []);
    assert_eq!(tell("access net").len(), 1);
    assert_eq!(check_manual(&File::new("m.md", "")).len(), HOUSE.len());
}
