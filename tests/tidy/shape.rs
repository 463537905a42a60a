//! The shape of a file: its size, its first line, the size of its functions, and nothing unfinished in it.

use crate::scan::Tokens;
use crate::tree::{Broken, File};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

/// Words of unfinished work, taken apart so that this file passes.
const UNFINISHED_PROSE: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const UNFINISHED_MACROS: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// Checks one Rust file.
pub(crate) fn check(file: &File) -> Vec<Broken> {
    if !file.is_rust() {
        return Vec::new();
    }
    let tokens = file.tokens();
    let mut broken = Vec::new();
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        broken.push(file.broken(lines, format!("the file has {lines} lines, more than {FILE_LINES_MAX}")));
    }
    let opening = if is_included(file) { "// " } else { "//!" };
    if !file.text.starts_with(opening) {
        let rule = format!("the first line does not say with `{}` what the file is for", opening.trim());
        broken.push(file.broken(1, rule));
    }
    broken.extend(functions(file, &tokens));
    broken.extend(unfinished(file, &tokens));
    broken.extend(attributes(file, &tokens));
    broken
}

/// Checks any text file for words of unfinished work.
pub(crate) fn check_prose(file: &File) -> Vec<Broken> {
    let mut broken = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        if let Some(word) = words.find(|word| UNFINISHED_PROSE.contains(word)) {
            broken.push(file.broken(index + 1, format!("`{word}`: finish it, or say what is absent")));
        }
    }
    broken
}

/// Tells whether the examples of the documentation include the file, where `//!` does not compile.
fn is_included(file: &File) -> bool {
    file.path.starts_with("tests/docs/")
}

fn functions(file: &File, tokens: &Tokens) -> Vec<Broken> {
    let mut broken = Vec::new();
    for (index, token) in tokens.iter().filter(|(_, token)| token.is_word("fn")) {
        let Some(name) = tokens.word_at(index + 1) else { continue };
        let Some(end) = body(tokens, index).and_then(|open| tokens.close_of(open)) else { continue };
        let lines = end + 1 - token.line;
        if lines > FUNCTION_LINES_MAX {
            let rule = format!("`{}` has {lines} lines, more than {FUNCTION_LINES_MAX}", name.text);
            broken.push(file.broken(token.line, rule));
        }
    }
    broken
}

/// Returns the index of the brace that opens the body of the function at `index`; `None` when it has none.
fn body(tokens: &Tokens, index: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().skip(index) {
        if depth == 0 && token.is_mark(";") {
            return None;
        }
        if depth == 0 && token.is_mark("{") {
            return Some(at);
        }
        depth += usize::from(token.is_mark("(") || token.is_mark("["));
        depth = depth.saturating_sub(usize::from(token.is_mark(")") || token.is_mark("]")));
    }
    None
}

fn unfinished(file: &File, tokens: &Tokens) -> Vec<Broken> {
    let found = tokens.iter().filter_map(|(index, token)| {
        let word = UNFINISHED_MACROS.iter().find(|word| token.is_word(word))?;
        let called = tokens.is_mark(index + 1, "!");
        called.then(|| file.broken(token.line, format!("`{word}!` is left in the code")))
    });
    found.collect()
}

/// Checks that what is switched off says why, and that tests are named as claims.
fn attributes(file: &File, tokens: &Tokens) -> Vec<Broken> {
    let mut broken = Vec::new();
    for (index, token) in tokens.iter() {
        let attribute = index.checked_sub(2).is_some_and(|hash| tokens.is_mark(hash, "#"))
            && tokens.is_mark(index - 1, "[");
        if attribute && token.is_word("ignore") && !tokens.is_mark(index + 1, "=") {
            broken.push(file.broken(token.line, "`#[ignore]` without a reason"));
        }
        let silenced = token.is_word("allow") || token.is_word("expect");
        if attribute && silenced && !reasoned(tokens, index) {
            broken.push(file.broken(token.line, format!("`#[{}]` without a reason", token.text)));
        }
        let named =
            tokens.word_at(index + 1).filter(|name| token.is_word("fn") && name.text.starts_with("test_"));
        if let Some(name) = named {
            broken.push(file.broken(name.line, "a test is named as a claim, without `test_`"));
        }
    }
    broken
}

/// Tells whether the attribute whose name stands at `index` holds `reason =`.
fn reasoned(tokens: &Tokens, index: usize) -> bool {
    let inside = (index..).take_while(|at| !tokens.is_mark(*at, "]") && tokens.iter().count() > *at);
    inside.into_iter().any(|at| tokens.is_word(at, "reason") && tokens.is_mark(at + 1, "="))
}

#[track_caller]
fn expect(source: &str, rules: &[&str]) {
    let broken: Vec<_> =
        check(&File::new("src/id/x.rs", source)).into_iter().map(|broken| broken.rule).collect();
    assert_eq!(broken, rules);
}

#[test]
fn a_long_file_is_found() {
    expect(&format!("//! x\n{}", "\n".repeat(799)), &[]);
    expect(&format!("//! x\n{}", "\n".repeat(800)), &["the file has 801 lines, more than 800"]);
}

#[test]
fn a_long_function_is_found() {
    let function =
        |lines: usize| format!("//! x\nfn f(a: [u8; 2]) -> [u8; 2]\n{{{}}}", "\n".repeat(lines - 2));
    expect(&function(70), &[]);
    expect(&function(71), &["`f` has 71 lines, more than 70"]);
    expect("//! x\ntrait T { fn f(); }\ntype F = fn(u8) -> u8;", &[]);
}

#[test]
fn a_file_without_a_purpose_is_found() {
    expect("use x;", &["the first line does not say with `//!` what the file is for"]);
    let included = |source: &str| check(&File::new("tests/docs/x.rs", source)).len();
    assert_eq!((included("// x"), included("use x;")), (0, 1));
}

#[test]
fn unfinished_code_is_found() {
    expect("//! x\nfn f() { todo!() }", &["`todo!` is left in the code"]);
    expect("//! x\nfn f() { unimplemented!() }", &["`unimplemented!` is left in the code"]);
    expect("//! x\nfn f() { dbg!(1); }", &["`dbg!` is left in the code"]);
    expect("//! x todo!()\nfn f() { \"todo!()\"; }", &[]);
    let note = format!("a\n// {}: b", concat!("TO", "DO"));
    let broken = check_prose(&File::new("a.md", &note));
    assert_eq!(broken.first().map(|broken| broken.line), Some(2));
    assert_eq!(check_prose(&File::new("a.md", "todo list of things done")), []);
}

#[test]
fn a_switch_without_a_reason_is_found() {
    expect("//! x\n#[ignore]\nfn f() {}", &["`#[ignore]` without a reason"]);
    expect("//! x\n#[ignore = \"takes an hour\"]\nfn f() {}", &[]);
    expect("//! x\n#[allow(dead_code)]\nfn f() {}", &["`#[allow]` without a reason"]);
    expect("//! x\n#[expect(dead_code, reason = \"shown in the manual\")]\nfn f() {}", &[]);
}

#[test]
fn a_test_that_is_not_a_claim_is_found() {
    expect("//! x\nfn test_a() {}", &["a test is named as a claim, without `test_`"]);
}
