//! The query language, as far as it is needed here: comparisons joined by AND, OR, NOT and
//! parentheses. What is not known is refused, so that no filter finds other entries than it does
//! at Google's.
//!
//! OR binds tighter than AND; a comparison may have several values in parentheses; texts are
//! compared without regard to case.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::Value;

use super::entry::severity;

/// Characters of a filter, and how deep its parentheses go.
const LENGTH_MAX: usize = 20_000;
const DEPTH_MAX: usize = 32;

/// Fields of entries that can be compared; behind those that end in a dot anything may follow.
const FIELDS: [&str; 10] = [
    "insertId",
    "logName",
    "receiveTimestamp",
    "resource.type",
    "resource.labels.",
    "severity",
    "textPayload",
    "jsonPayload.",
    "labels.",
    "timestamp",
];

/// A parsed filter.
#[derive(Debug)]
pub(super) enum Filter {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Compare { path: Vec<String>, operator: Operator, value: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Has,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Operators, the longer ones first.
const OPERATORS: [(&str, Operator); 7] = [
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("=", Operator::Equal),
    (":", Operator::Has),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    Minus,
    Operator(Operator),
    Word(String),
    Quoted(String),
}

impl Filter {
    /// Reads a filter, or tells what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.chars().count() > LENGTH_MAX {
            return Err(format!("the filter has more than {LENGTH_MAX} characters"));
        }
        let tokens = tokens(text)?;
        if tokens.is_empty() {
            return Ok(Self::All(Vec::new()));
        }
        let mut parser = Parser { tokens: &tokens, depth: 0 };
        let filter = parser.all()?;
        parser.tokens.first().map_or(Ok(filter), |it| Err(unexpected(Some(it))))
    }

    /// Whether an entry, in its JSON form, is meant.
    pub(super) fn matches(&self, entry: &Value) -> bool {
        match self {
            Self::All(filters) => filters.iter().all(|it| it.matches(entry)),
            Self::Any(filters) => filters.iter().any(|it| it.matches(entry)),
            Self::Not(filter) => !filter.matches(entry),
            Self::Compare { path, operator, value } => {
                let found = path.iter().try_fold(entry, |it, key| it.get(key));
                found.is_some_and(|it| holds(&path[0], it, *operator, value))
            }
        }
    }
}

fn holds(field: &str, actual: &Value, operator: Operator, wanted: &str) -> bool {
    let actual = actual.as_str().map_or_else(|| actual.to_string(), str::to_owned);
    let order = match field {
        "timestamp" | "receiveTimestamp" => {
            let times = actual.parse::<Timestamp>().ok().zip(wanted.parse::<Timestamp>().ok());
            times.map_or(Ordering::Less, |(actual, wanted)| actual.cmp(&wanted))
        }
        "severity" => severity(&actual).cmp(&severity(wanted)),
        _ => actual.to_lowercase().cmp(&wanted.to_lowercase()),
    };
    match operator {
        Operator::Equal => order.is_eq(),
        Operator::NotEqual => order.is_ne(),
        Operator::Has => actual.to_lowercase().contains(&wanted.to_lowercase()),
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        Operator::GreaterOrEqual => order.is_ge(),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let mut one = |token| {
            tokens.push(token);
            Ok(1)
        };
        let taken: usize = match first {
            '(' => one(Token::Open),
            ')' => one(Token::Close),
            '-' => one(Token::Minus),
            '"' => quoted(rest, &mut tokens),
            _ if rest.starts_with("=~") || rest.starts_with("!~") => {
                Err("regular expressions are not known here".to_owned())
            }
            _ => match OPERATORS.iter().find(|(sign, _)| rest.starts_with(sign)) {
                Some((sign, operator)) => {
                    tokens.push(Token::Operator(*operator));
                    Ok(sign.len())
                }
                None => word(rest, &mut tokens),
            },
        }?;
        rest = rest[taken..].trim_start();
    }
    Ok(tokens)
}

fn quoted(rest: &str, tokens: &mut Vec<Token>) -> Result<usize, String> {
    let mut value = String::new();
    let mut letters = rest.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => value.extend(letters.next().map(|(_, escaped)| escaped)),
            '"' => {
                tokens.push(Token::Quoted(value));
                return Ok(at + 1);
            }
            letter => value.push(letter),
        }
    }
    Err("a quotation mark is not closed".to_owned())
}

/// What holds a colon has to be quoted.
fn word(rest: &str, tokens: &mut Vec<Token>) -> Result<usize, String> {
    let ends = |letter: char| letter.is_whitespace() || "()=!<>\":".contains(letter);
    let word = rest.split(ends).next().unwrap_or_default();
    if word.is_empty() {
        return Err(format!("'{rest}' cannot be read"));
    }
    tokens.push(Token::Word(word.to_owned()));
    Ok(word.len())
}

struct Parser<'a> {
    tokens: &'a [Token],
    depth: usize,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Option<&'a Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let found = matches!(self.tokens.first(), Some(Token::Word(word)) if word == keyword);
        if found {
            self.next();
        }
        found
    }

    fn all(&mut self) -> Result<Filter, String> {
        let mut filters = vec![self.any()?];
        // Two comparisons side by side are joined like with AND.
        while self.keyword("AND") || !matches!(self.tokens.first(), None | Some(Token::Close)) {
            filters.push(self.any()?);
        }
        Ok(Filter::All(filters))
    }

    fn any(&mut self) -> Result<Filter, String> {
        let mut filters = vec![self.term()?];
        while self.keyword("OR") {
            filters.push(self.term()?);
        }
        Ok(Filter::Any(filters))
    }

    fn term(&mut self) -> Result<Filter, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("it is nested too deeply".to_owned());
        }
        let term = self.term_within_depth();
        self.depth -= 1;
        term
    }

    fn term_within_depth(&mut self) -> Result<Filter, String> {
        if self.keyword("NOT") {
            return Ok(Filter::Not(Box::new(self.term()?)));
        }
        match self.next() {
            Some(Token::Minus) => Ok(Filter::Not(Box::new(self.term()?))),
            Some(Token::Open) => {
                let inner = self.all()?;
                match self.next() {
                    Some(Token::Close) => Ok(inner),
                    other => Err(unexpected(other)),
                }
            }
            Some(Token::Word(field)) => self.comparison(field),
            other => Err(unexpected(other)),
        }
    }

    fn comparison(&mut self, field: &str) -> Result<Filter, String> {
        let known = FIELDS.iter().any(|it| match it.strip_suffix('.') {
            Some(_) => field.strip_prefix(it).is_some_and(|key| !key.is_empty()),
            None => field == *it,
        });
        let Some(Token::Operator(operator)) = self.tokens.first() else {
            return Err(format!("'{field}' alone, which means any field, is not known here"));
        };
        if !known {
            return Err(format!("the field '{field}' is not known here"));
        }
        self.next();
        let path: Vec<_> = field.split('.').map(str::to_owned).collect();
        match self.next() {
            Some(Token::Word(value) | Token::Quoted(value)) => compare(path, *operator, value),
            Some(Token::Open) => self.values(&path, *operator),
            other => Err(unexpected(other)),
        }
    }

    /// `field=("a" OR "b")`.
    fn values(&mut self, path: &[String], operator: Operator) -> Result<Filter, String> {
        let mut filters = Vec::new();
        loop {
            match self.next() {
                Some(Token::Word(value) | Token::Quoted(value)) => {
                    filters.push(compare(path.to_vec(), operator, value)?);
                }
                other => return Err(unexpected(other)),
            }
            if self.keyword("OR") {
                continue;
            }
            return match self.next() {
                Some(Token::Close) => Ok(Filter::Any(filters)),
                other => Err(unexpected(other)),
            };
        }
    }
}

fn compare(path: Vec<String>, operator: Operator, value: &str) -> Result<Filter, String> {
    let fits = match path[0].as_str() {
        "timestamp" | "receiveTimestamp" => value.parse::<Timestamp>().is_ok(),
        "severity" => severity(value).is_some(),
        _ => true,
    };
    let value = value.to_owned();
    if fits {
        return Ok(Filter::Compare { path, operator, value });
    }
    Err(format!("'{value}' is no value of {}", path[0]))
}

fn unexpected(token: Option<&Token>) -> String {
    let what = match token {
        None => "the end".to_owned(),
        Some(Token::Word(text) | Token::Quoted(text)) => format!("'{text}'"),
        Some(Token::Open) => "'('".to_owned(),
        Some(Token::Close) => "')'".to_owned(),
        Some(Token::Minus) => "'-'".to_owned(),
        Some(Token::Operator(_)) => "an operator".to_owned(),
    };
    format!("{what} was not expected here")
}
