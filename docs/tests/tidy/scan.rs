//! A small lexer for Rust: words, literals and marks with their lines, comments apart. It knows nested comments, raw
//! strings, and a lifetime from a character.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A keyword or an identifier.
    Word,
    /// A number.
    Number,
    /// A string or a character, with its quotes and prefix.
    Literal,
    /// A lifetime or a label.
    Lifetime,
    /// `::`, or any other single character.
    Mark,
}

/// One token.
#[derive(Clone, Debug)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// As it stands in the file.
    pub text: String,
    /// The line it begins in, from 1.
    pub line: usize,
}

impl Token {
    /// True for this keyword or identifier.
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text == word
    }

    /// True for this mark.
    pub fn is_mark(&self, mark: &str) -> bool {
        self.kind == Kind::Mark && self.text == mark
    }
}

/// One comment: a line of `//`, or a whole `/* */`.
#[derive(Debug)]
pub struct Comment {
    /// With its slashes.
    pub text: String,
    /// The line it begins in, from 1.
    pub line: usize,
}

/// A Rust file, cut into tokens.
pub struct Source {
    /// From the root of the workspace.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Without comments.
    pub tokens: Vec<Token>,
    /// Of each token: is it test code?
    pub is_test: Vec<bool>,
    /// Of all kinds.
    pub comments: Vec<Comment>,
}

impl Source {
    /// Cuts `text`. Test code is what stands in a `#[cfg(test)] mod`.
    pub fn parse(path: &str, text: &str) -> Self {
        let mut lexer =
            Lexer { chars: text.chars().collect(), at: 0, line: 1, tokens: vec![], comments: vec![] };
        while lexer.at < lexer.chars.len() {
            lexer.step();
        }
        let Lexer { tokens, comments, .. } = lexer;
        Self { path: path.to_owned(), text: text.to_owned(), is_test: mark_tests(&tokens), tokens, comments }
    }

    /// Name of the file without folder and `.rs`.
    pub fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        name.strip_suffix(".rs").unwrap_or(name)
    }

    /// Where the files of its modules stand.
    pub fn module_folder(&self) -> &str {
        match self.stem() {
            "mod" | "lib" | "main" => self.path.rsplit_once('/').map_or("", |(folder, _)| folder),
            _ => self.path.strip_suffix(".rs").unwrap_or(&self.path),
        }
    }

    /// True if it stands in the folder `name` of its package, such as `src` or `tests`.
    pub fn is_below(&self, name: &str) -> bool {
        self.path.split('/').nth(1) == Some(name)
    }

    /// True if its first line is the mark of a pure file.
    pub fn is_pure(&self) -> bool {
        self.text.starts_with("//! Pure:")
    }
}

/// The token after the bracket that closes the one at `open`.
pub fn skip_group(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" if token.kind == Kind::Mark => depth += 1,
            ")" | "]" | "}" if token.kind == Kind::Mark => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    tokens.len()
}

/// True if the tokens from `start` on are these, one text each.
pub fn reads(tokens: &[Token], start: usize, texts: &[&str]) -> bool {
    let is_equal = |(token, text): (&Token, &&str)| token.kind != Kind::Literal && token.text == *text;
    tokens.len() >= start + texts.len() && tokens[start..].iter().zip(texts).all(is_equal)
}

/// Steps over attributes and a visibility.
pub fn skip_outer(tokens: &[Token], mut index: usize) -> usize {
    while reads(tokens, index, &["#", "["]) {
        index = skip_group(tokens, index + 1);
    }
    if reads(tokens, index, &["pub"]) {
        index += 1;
        if reads(tokens, index, &["("]) {
            index = skip_group(tokens, index);
        }
    }
    index
}

fn mark_tests(tokens: &[Token]) -> Vec<bool> {
    let mut is_test = vec![false; tokens.len()];
    for start in 0..tokens.len() {
        if !reads(tokens, start, &["#", "[", "cfg", "(", "test", ")", "]"]) {
            continue;
        }
        let item = skip_outer(tokens, start);
        if reads(tokens, item, &["mod"]) {
            let open = item + 2;
            let end = if reads(tokens, open, &["{"]) { skip_group(tokens, open) } else { open + 1 };
            is_test[start..end.min(tokens.len())].fill(true);
        }
    }
    is_test
}

fn is_word_char(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
    comments: Vec<Comment>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn step(&mut self) {
        let start = self.at;
        match self.peek(0) {
            '/' if self.peek(1) == '/' => self.line_comment(),
            '/' if self.peek(1) == '*' => self.block_comment(),
            '"' => self.quoted(start),
            '\'' => self.tick(start),
            c if c.is_ascii_digit() => self.number(),
            c if is_word_char(c) => self.word(),
            ':' if self.peek(1) == ':' => self.push(Kind::Mark, start, start + 2),
            c if c.is_whitespace() => {
                self.line += usize::from(c == '\n');
                self.at += 1;
            }
            _ => self.push(Kind::Mark, start, start + 1),
        }
    }

    /// The token from `start` to `end`; goes on at `end`.
    fn push(&mut self, kind: Kind, start: usize, end: usize) {
        let end = end.min(self.chars.len());
        let text: String = self.chars[start..end].iter().collect();
        let lines = text.matches('\n').count();
        self.tokens.push(Token { kind, text, line: self.line });
        self.line += lines;
        self.at = end;
    }

    fn comment(&mut self, end: usize) {
        let text: String = self.chars[self.at..end].iter().collect();
        let lines = text.matches('\n').count();
        self.comments.push(Comment { text, line: self.line });
        self.line += lines;
        self.at = end;
    }

    fn line_comment(&mut self) {
        let rest = self.chars[self.at..].iter();
        let end = self.at + rest.take_while(|c| **c != '\n').count();
        self.comment(end);
    }

    fn block_comment(&mut self) {
        let (mut depth, mut end) = (0, self.at);
        while end < self.chars.len() {
            match (self.chars[end], self.chars.get(end + 1)) {
                ('/', Some('*')) => depth += 1,
                ('*', Some('/')) => depth -= 1,
                _ => {
                    end += 1;
                    continue;
                }
            }
            end += 2;
            if depth == 0 {
                break;
            }
        }
        self.comment(end);
    }

    /// A string whose opening quote is here, and whose prefix begins at `start`.
    fn quoted(&mut self, start: usize) {
        let mut end = self.at + 1;
        while end < self.chars.len() && self.chars[end] != '"' {
            end += if self.chars[end] == '\\' { 2 } else { 1 };
        }
        self.push(Kind::Literal, start, end + 1);
    }

    /// A string without escapes, from its first `#` or quote on.
    fn raw(&mut self, start: usize, hashes: usize) {
        let mut end = self.at + hashes + 1;
        let is_end = |at: usize, chars: &[char]| {
            chars[at] == '"' && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
        };
        while end < self.chars.len() && !is_end(end, &self.chars) {
            end += 1;
        }
        self.push(Kind::Literal, start, end + 1 + hashes);
    }

    /// A character or a lifetime whose tick is here.
    fn tick(&mut self, start: usize) {
        if self.peek(1) == '\\' {
            let rest = self.chars[(self.at + 3).min(self.chars.len())..].iter();
            let end = self.at + 3 + rest.take_while(|c| **c != '\'').count();
            self.push(Kind::Literal, start, end + 1);
        } else if self.peek(2) == '\'' {
            self.push(Kind::Literal, start, self.at + 3);
        } else {
            let rest = self.chars[self.at + 1..].iter();
            let end = self.at + 1 + rest.take_while(|c| is_word_char(**c)).count();
            self.push(Kind::Lifetime, start, end);
        }
    }

    fn number(&mut self) {
        let start = self.at;
        let mut end = start;
        let is_fraction = |end: usize, chars: &[char]| {
            chars[end] == '.' && chars.get(end + 1).is_some_and(char::is_ascii_digit)
        };
        while end < self.chars.len() && (is_word_char(self.chars[end]) || is_fraction(end, &self.chars)) {
            end += 1;
        }
        self.push(Kind::Number, start, end);
    }

    fn word(&mut self) {
        let start = self.at;
        let bytes = self.chars[start..].iter().take_while(|c| is_word_char(**c)).count();
        let word: String = self.chars[start..start + bytes].iter().collect();
        self.at += bytes;
        let hashes = self.chars[self.at..].iter().take_while(|c| **c == '#').count();
        match (word.as_str(), self.peek(0), self.peek(hashes)) {
            ("r" | "br" | "cr", _, '"') => self.raw(start, hashes),
            ("b" | "c", '"', _) => self.quoted(start),
            ("b", '\'', _) => self.tick(start),
            ("r", '#', _) => self.at += 1, // the name follows, and is a word like any other
            _ => self.push(Kind::Word, start, start + bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        Source::parse("a.rs", text).tokens.into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn literals_and_comments_hide_what_they_hold() {
        let text = "a(\"{ // \\\" \", r#\"}\"{\"#, b\"[\", '{', '\\'', b'\"', 'x') /* } /* fn */ */ // fn";
        let wanted = [
            "a",
            "(",
            "\"{ // \\\" \"",
            ",",
            "r#\"}\"{\"#",
            ",",
            "b\"[\"",
            ",",
            "'{'",
            ",",
            "'\\''",
            ",",
            "b'\"'",
        ];
        assert_eq!(texts(text)[..13], wanted);
        let source = Source::parse("a.rs", text);
        assert_eq!(source.comments.len(), 2);
        assert!(!source.tokens.iter().any(|token| token.is_word("fn")));
    }

    #[test]
    fn lifetimes_numbers_and_raw_names_are_told_apart() {
        assert_eq!(texts("&'a str"), ["&", "'a", "str"]);
        assert_eq!(texts("0..1.5 x.0 0xff_u8 r#type a::b"), {
            ["0", ".", ".", "1.5", "x", ".", "0", "0xff_u8", "type", "a", "::", "b"]
        });
    }

    #[test]
    fn lines_count_through_strings_and_comments() {
        let source = Source::parse("a.rs", "/* 1\n2 */ \"3\n\" x\n// c\ny");
        let lines: Vec<usize> = source.tokens.iter().map(|token| token.line).collect();
        assert_eq!((lines, source.comments[1].line), (vec![2, 3, 5], 4));
    }

    #[test]
    fn unfinished_text_ends_the_scan() {
        for text in
            ["\"", "'", "'\\", "r#\"", "/*", "b'", "//", "\"\\", "fn f() {", "#[cfg(test)] mod", "r#", "1."]
        {
            Source::parse("a.rs", text);
        }
    }

    #[test]
    fn only_test_modules_are_test_code() {
        let source =
            Source::parse("a.rs", "use a; #[cfg(test)] use b; #[cfg(test)] #[x] pub(crate) mod t { c } d");
        let named: Vec<&str> = source
            .tokens
            .iter()
            .zip(&source.is_test)
            .filter(|(_, is)| **is)
            .map(|(token, _)| &*token.text)
            .collect();
        assert_eq!(named.last(), Some(&"}"));
        assert!(named.contains(&"c") && !named.contains(&"b") && !named.contains(&"d"));
    }
}
