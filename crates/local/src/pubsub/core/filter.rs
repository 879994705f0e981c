//! The filter language of subscriptions: predicates over a message's attributes.
//!
//! ```text
//! filter    = all (AND all)* | all (OR all)*     mixing the two takes parentheses
//! all       = (NOT | -) all | ( filter ) | predicate
//! predicate = attributes:KEY | attributes.KEY (= | !=) "VALUE"
//!           | hasPrefix(attributes.KEY, "PREFIX")
//! ```

use std::collections::HashMap;

use super::error::{Result, invalid};

const FILTER_BYTES_MAX: usize = 256;

/// A parsed filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Has(String),
    Equals(String, String),
    HasPrefix(String, String),
    Not(Box<Filter>),
    All(Vec<Filter>),
    Any(Vec<Filter>),
}

impl Filter {
    pub(super) fn parse(text: &str) -> Result<Self> {
        if text.len() > FILTER_BYTES_MAX {
            return invalid(format!("The filter is longer than {FILTER_BYTES_MAX} bytes."));
        }
        let parsed = tokens(text).and_then(|tokens| {
            let mut parser = Parser { tokens, position: 0 };
            let filter = parser.filter()?;
            (parser.position == parser.tokens.len()).then_some(filter)
        });
        parsed.map_or_else(|| invalid(format!("Invalid filter expression: {text}")), Ok)
    }

    pub(super) fn matches(&self, attributes: &HashMap<String, String>) -> bool {
        match self {
            Self::Has(key) => attributes.contains_key(key),
            Self::Equals(key, value) => attributes.get(key) == Some(value),
            Self::HasPrefix(key, prefix) => {
                attributes.get(key).is_some_and(|value| value.starts_with(prefix.as_str()))
            }
            Self::Not(inner) => !inner.matches(attributes),
            Self::All(inner) => inner.iter().all(|it| it.matches(attributes)),
            Self::Any(inner) => inner.iter().any(|it| it.matches(attributes)),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Mark(&'static str),
}

const MARKS: [&str; 8] = ["!=", "=", ":", ".", ",", "(", ")", "-"];

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first == '"' {
            let (value, length) = string(rest)?;
            tokens.push(Token::Text(value));
            length
        } else if let Some(mark) = MARKS.into_iter().find(|it| rest.starts_with(it)) {
            tokens.push(Token::Mark(mark));
            mark.len()
        } else {
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..length].to_owned()));
            (length > 0).then_some(length)?
        };
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

/// A quoted string at the start of `text` and how many bytes it takes.
fn string(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, at + 1)),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

struct Parser {
    tokens: Vec<Token>,
    position: usize,
}

impl Parser {
    fn filter(&mut self) -> Option<Filter> {
        let mut terms = vec![self.term()?];
        let Some(operator) = ["AND", "OR"].into_iter().find(|it| self.eat_word(it)) else {
            return terms.pop();
        };
        terms.push(self.term()?);
        while self.eat_word(operator) {
            terms.push(self.term()?);
        }
        Some(if operator == "AND" { Filter::All(terms) } else { Filter::Any(terms) })
    }

    fn term(&mut self) -> Option<Filter> {
        if self.eat_word("NOT") || self.eat("-") {
            return Some(Filter::Not(Box::new(self.term()?)));
        }
        if self.eat("(") {
            let inner = self.filter()?;
            return self.eat(")").then_some(inner);
        }
        if self.eat_word("hasPrefix") {
            self.expect("(")?;
            self.expect_word("attributes")?;
            self.expect(".")?;
            let key = self.key()?;
            self.expect(",")?;
            let prefix = self.text()?;
            self.expect(")")?;
            return Some(Filter::HasPrefix(key, prefix));
        }
        self.expect_word("attributes")?;
        if self.eat(":") {
            return self.key().map(Filter::Has);
        }
        self.expect(".")?;
        let key = self.key()?;
        if self.eat("=") {
            return Some(Filter::Equals(key, self.text()?));
        }
        self.expect("!=")?;
        Some(Filter::Not(Box::new(Filter::Equals(key, self.text()?))))
    }

    fn next(&mut self) -> Option<Token> {
        self.position += 1;
        self.tokens.get(self.position - 1).cloned()
    }

    fn key(&mut self) -> Option<String> {
        match self.next()? {
            Token::Word(key) | Token::Text(key) => Some(key),
            Token::Mark(_) => None,
        }
    }

    fn text(&mut self) -> Option<String> {
        match self.next()? {
            Token::Text(text) => Some(text),
            Token::Word(_) | Token::Mark(_) => None,
        }
    }

    fn eat_token(&mut self, wanted: &Token) -> bool {
        let found = self.tokens.get(self.position) == Some(wanted);
        self.position += usize::from(found);
        found
    }

    fn eat(&mut self, mark: &'static str) -> bool {
        self.eat_token(&Token::Mark(mark))
    }

    fn eat_word(&mut self, word: &str) -> bool {
        self.eat_token(&Token::Word(word.to_owned()))
    }

    fn expect(&mut self, mark: &'static str) -> Option<()> {
        self.eat(mark).then_some(())
    }

    fn expect_word(&mut self, word: &str) -> Option<()> {
        self.eat_word(word).then_some(())
    }
}
