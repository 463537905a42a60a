//! Splits Rust source into words, marks and string literals, each with its line. Comments vanish here, so
//! that no rule can be tripped by prose.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An identifier, a keyword or a number.
    Word,
    /// A punctuation character, or `::`.
    Mark,
    /// A string literal; `text` holds what is between the quotes.
    Literal,
}

/// One token of a source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    /// The line on which it begins; the first is 1.
    pub(crate) line: usize,
}

impl Token {
    pub(crate) fn is_word(&self, text: &str) -> bool {
        self.kind == Kind::Word && self.text == text
    }

    pub(crate) fn is_mark(&self, text: &str) -> bool {
        self.kind == Kind::Mark && self.text == text
    }
}

/// Tokens with lookups that never panic.
#[derive(Clone, Debug)]
pub(crate) struct Tokens(Vec<Token>);

impl Tokens {
    pub(crate) fn of(source: &str) -> Self {
        let mut scanner = Scanner { rest: source, line: 1, tokens: Vec::new() };
        while scanner.step() {}
        Self(scanner.tokens)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Token)> {
        self.0.iter().enumerate()
    }

    pub(crate) fn word_at(&self, index: usize) -> Option<&Token> {
        self.0.get(index).filter(|token| token.kind == Kind::Word)
    }

    pub(crate) fn is_word(&self, index: usize, text: &str) -> bool {
        self.0.get(index).is_some_and(|token| token.is_word(text))
    }

    pub(crate) fn is_mark(&self, index: usize, text: &str) -> bool {
        self.0.get(index).is_some_and(|token| token.is_mark(text))
    }

    /// Tells whether the token at `index` begins a path: nothing joins it to something before it.
    pub(crate) fn begins_path(&self, index: usize) -> bool {
        let Some(before) = index.checked_sub(1) else {
            return true;
        };
        let joined = self.is_mark(before, "::") && before.checked_sub(1).is_some_and(|i| self.joins(i));
        !joined && !self.is_mark(before, ".")
    }

    /// Tells whether the names at `first`, joined by `::`, stand at `index`.
    pub(crate) fn is_path(&self, index: usize, names: &[&str]) -> bool {
        names.iter().enumerate().all(|(nth, name)| {
            let at = index + 2 * nth;
            self.is_word(at, name) && (nth == 0 || self.is_mark(at - 1, "::"))
        })
    }

    /// Returns the first names after the `::` at `index`: one, or those of a `{..}` group.
    pub(crate) fn names_after(&self, index: usize) -> Vec<&Token> {
        if !self.is_mark(index, "::") {
            return Vec::new();
        }
        if let Some(word) = self.word_at(index + 1) {
            return vec![word];
        }
        if !self.is_mark(index + 1, "{") {
            return Vec::new();
        }
        let mut names = Vec::new();
        let mut depth = 0_usize;
        for at in index + 1..self.0.len() {
            let opens = self.is_mark(at, "{");
            depth += usize::from(opens);
            if self.is_mark(at, "}") {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            let first = depth == 1 && (opens || self.is_mark(at, ","));
            names.extend(first.then(|| self.word_at(at + 1)).flatten());
        }
        names
    }

    /// Returns the line of the mark that closes the one at `index`.
    pub(crate) fn close_of(&self, index: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for (_, token) in self.iter().skip(index).filter(|(_, token)| token.kind == Kind::Mark) {
            match token.text.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return Some(token.line);
            }
        }
        None
    }

    /// A name or a closing `>` before a `::` makes what follows a part of a longer path; a `::` that nothing
    /// precedes only says that the path begins at the crates.
    fn joins(&self, index: usize) -> bool {
        const BEFORE_A_FRESH_PATH: [&str; 9] =
            ["use", "pub", "return", "in", "as", "else", "match", "mut", "dyn"];
        let word = self.word_at(index).is_some_and(|t| !BEFORE_A_FRESH_PATH.contains(&t.text.as_str()));
        word || self.is_mark(index, ">")
    }
}

struct Scanner<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl Scanner<'_> {
    /// Takes one token, comment or space. False at the end.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else {
            return false;
        };
        if self.rest.starts_with("//") {
            self.skip(|c| c != '\n');
        } else if self.rest.starts_with("/*") {
            self.block_comment();
        } else if first.is_alphanumeric() || first == '_' {
            self.word();
        } else if first == '"' {
            self.quoted();
        } else if first == '\'' {
            self.quote_or_lifetime();
        } else if self.rest.starts_with("::") {
            self.push(Kind::Mark, "::".to_owned());
            self.bump();
            self.bump();
        } else if first.is_whitespace() {
            self.bump();
        } else {
            self.push(Kind::Mark, first.to_string());
            self.bump();
        }
        true
    }

    fn push(&mut self, kind: Kind, text: String) {
        self.tokens.push(Token { kind, text, line: self.line });
    }

    fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let first = chars.next()?;
        self.line += usize::from(first == '\n');
        self.rest = chars.as_str();
        Some(first)
    }

    fn skip(&mut self, mut wanted: impl FnMut(char) -> bool) {
        while self.rest.chars().next().is_some_and(&mut wanted) {
            self.bump();
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        loop {
            if self.rest.starts_with("/*") {
                depth += 1;
                self.bump();
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                self.bump();
            }
            if self.bump().is_none() || depth == 0 {
                return;
            }
        }
    }

    fn word(&mut self) {
        let length = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(length);
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        let quoted = rest.trim_start_matches('#').starts_with('"');
        match word {
            "r" | "br" | "cr" if quoted => {
                self.rest = rest;
                self.raw(hashes);
            }
            "b" | "c" if rest.starts_with('"') => self.rest = rest,
            "b" if rest.starts_with('\'') => self.rest = rest,
            "r" if hashes == 1 => self.rest = rest.trim_start_matches('#'),
            _ => {
                self.push(Kind::Word, word.to_owned());
                self.rest = rest;
            }
        }
    }

    fn raw(&mut self, hashes: usize) {
        let close = format!("\"{}", "#".repeat(hashes));
        let line = self.line;
        for _ in 0..=hashes {
            self.bump();
        }
        let mut text = String::new();
        while !self.rest.starts_with(&close) {
            let Some(next) = self.bump() else { break };
            text.push(next);
        }
        for _ in 0..close.len() {
            self.bump();
        }
        self.tokens.push(Token { kind: Kind::Literal, text, line });
    }

    fn quoted(&mut self) {
        let line = self.line;
        let mut text = String::new();
        self.bump();
        while let Some(next) = self.bump() {
            match next {
                '"' => break,
                '\\' => {
                    text.push(next);
                    text.extend(self.bump());
                }
                _ => text.push(next),
            }
        }
        self.tokens.push(Token { kind: Kind::Literal, text, line });
    }

    fn quote_or_lifetime(&mut self) {
        self.bump();
        if self.rest.starts_with('\\') {
            self.bump();
            self.bump();
            self.skip(|c| c != '\'');
            self.bump();
        } else if self.rest.chars().nth(1) == Some('\'') {
            self.bump();
            self.bump();
        } else {
            self.skip(|c| c.is_alphanumeric() || c == '_');
        }
    }
}

#[test]
fn comments_strings_and_chars_hide_what_they_say() {
    let source = "// sled::a\n/* sled::b /* c */ sled::d */\nlet s = \"sled::e \\\" sled::f\";\n\
                  let r = r#\"sled::g \" \"#; let c = '\"'; let b = b'\\''; fn f<'a>(x: &'a str) {} sled::h";

    let tokens = Tokens::of(source);

    let named: Vec<_> = tokens.iter().filter(|(_, t)| t.is_word("sled")).map(|(i, t)| (i, t.line)).collect();
    assert_eq!(named.len(), 1);
    assert_eq!(named.first().map(|(_, line)| *line), Some(4));
    assert_eq!(tokens.iter().filter(|(_, t)| t.kind == Kind::Literal).count(), 2);
}

#[test]
fn groups_yield_the_first_name_of_each_branch() {
    let tokens = Tokens::of("use crate::{id::{A, B}, limits::C, time};");

    let names: Vec<_> = tokens.names_after(2).iter().map(|token| token.text.clone()).collect();

    assert_eq!(names, ["id", "limits", "time"]);
}

#[test]
fn a_path_begins_where_nothing_is_joined_to_it() {
    let begins = |source: &str| {
        let tokens = Tokens::of(source);
        tokens.iter().any(|(i, token)| token.is_word("sled") && tokens.begins_path(i))
    };

    assert!(begins("sled::open()"));
    assert!(begins("use ::sled::Db;"));
    assert!(begins("fn f(_: &::sled::Db)"));
    assert!(!begins("self::sled::open()"));
    assert!(!begins("kv.sled"));
}
