//! The filters of lists, as far as Google's services share them: comparisons joined by AND, OR, NOT
//! and parentheses. OR binds tighter than AND. What can be compared, and how, each service says.

use std::cmp::Ordering;

/// How deep parentheses go.
const DEPTH_MAX: usize = 32;

/// A parsed filter over comparisons.
#[derive(Debug)]
pub(crate) enum Filter<C> {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Compare(C),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Has,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What one service reads otherwise than another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialect {
    /// Characters of a filter.
    pub length_max: usize,
    /// Signs that a text may stand between.
    pub quotes: &'static str,
    /// Whether a value that holds a colon, such as a time, needs them.
    pub colons_quoted: bool,
    /// Whether a comparison may have several values: `field=("a" OR "b")`.
    pub lists: bool,
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
    /// A bare word, which may be a keyword.
    Word(String),
    Quoted(String),
}

impl Operator {
    /// Whether the order of two values is the one that is meant. `:` is for whoever knows more of
    /// them than their order; here it is `=`.
    pub(crate) const fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal | Self::Has => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Dialect {
    /// Reads a filter, or tells what is wrong with it. `compare` makes a comparison of a field, an
    /// operator and a value, or tells why there is none.
    pub(crate) fn parse<C>(
        self,
        text: &str,
        compare: impl Fn(&str, Operator, &str) -> Result<C, String>,
    ) -> Result<Filter<C>, String> {
        if text.chars().count() > self.length_max {
            return Err(format!("the filter has more than {} characters", self.length_max));
        }
        let tokens = self.tokens(text)?;
        if tokens.is_empty() {
            return Ok(Filter::All(Vec::new()));
        }
        let mut parser = Parser { tokens: &tokens, depth: 0, lists: self.lists, compare };
        let filter = parser.all()?;
        parser.tokens.first().map_or(Ok(filter), |it| Err(unexpected(Some(it))))
    }

    fn tokens(self, text: &str) -> Result<Vec<Token>, String> {
        let mut tokens = Vec::new();
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let operator = OPERATORS.iter().find(|(sign, _)| rest.starts_with(sign));
            let (token, length) = match (first, operator) {
                ('(', _) => (Token::Open, 1),
                (')', _) => (Token::Close, 1),
                ('-', _) => (Token::Minus, 1),
                _ if self.quotes.contains(first) => quoted(rest, first)?,
                _ if rest.starts_with("=~") || rest.starts_with("!~") => {
                    return Err("regular expressions are not known here".to_owned());
                }
                (_, Some((sign, operator))) => (Token::Operator(*operator), sign.len()),
                (_, None) => {
                    let is_value = matches!(tokens.last(), Some(Token::Operator(_)));
                    self.word(rest, is_value)?
                }
            };
            tokens.push(token);
            rest = rest[length..].trim_start();
        }
        Ok(tokens)
    }

    fn word(self, rest: &str, is_value: bool) -> Result<(Token, usize), String> {
        let ends = |letter: char| {
            letter.is_whitespace()
                || "()=!<>".contains(letter)
                || self.quotes.contains(letter)
                || letter == ':' && (self.colons_quoted || !is_value)
        };
        let word = rest.split(ends).next().unwrap_or_default();
        if word.is_empty() {
            return Err(format!("'{rest}' cannot be read"));
        }
        Ok((Token::Word(word.to_owned()), word.len()))
    }
}

fn quoted(rest: &str, quote: char) -> Result<(Token, usize), String> {
    let mut value = String::new();
    let mut letters = rest.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => value.extend(letters.next().map(|(_, escaped)| escaped)),
            letter if letter == quote => return Ok((Token::Quoted(value), at + 1)),
            letter => value.push(letter),
        }
    }
    Err("a quotation mark is not closed".to_owned())
}

struct Parser<'a, F> {
    tokens: &'a [Token],
    depth: usize,
    lists: bool,
    compare: F,
}

impl<'a, C, F: Fn(&str, Operator, &str) -> Result<C, String>> Parser<'a, F> {
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

    fn close(&mut self) -> Result<(), String> {
        match self.next() {
            Some(Token::Close) => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    fn all(&mut self) -> Result<Filter<C>, String> {
        let mut filters = vec![self.any()?];
        // Two comparisons side by side are joined like with AND.
        while self.keyword("AND") || !matches!(self.tokens.first(), None | Some(Token::Close)) {
            filters.push(self.any()?);
        }
        Ok(Filter::All(filters))
    }

    fn any(&mut self) -> Result<Filter<C>, String> {
        let mut filters = vec![self.term()?];
        while self.keyword("OR") {
            filters.push(self.term()?);
        }
        Ok(Filter::Any(filters))
    }

    fn term(&mut self) -> Result<Filter<C>, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("it is nested too deeply".to_owned());
        }
        let term = self.term_within_depth();
        self.depth -= 1;
        term
    }

    fn term_within_depth(&mut self) -> Result<Filter<C>, String> {
        if self.keyword("NOT") {
            return Ok(Filter::Not(Box::new(self.term()?)));
        }
        match self.next() {
            Some(Token::Minus) => Ok(Filter::Not(Box::new(self.term()?))),
            Some(Token::Open) => {
                let inner = self.all()?;
                self.close().map(|()| inner)
            }
            Some(Token::Word(field)) => self.comparison(field),
            other => Err(unexpected(other)),
        }
    }

    fn comparison(&mut self, field: &str) -> Result<Filter<C>, String> {
        let Some(Token::Operator(operator)) = self.tokens.first() else {
            return Err(format!("'{field}' alone, which means any field, is not known here"));
        };
        self.next();
        if !self.lists || self.tokens.first() != Some(&Token::Open) {
            return self.value(field, *operator);
        }
        self.next();
        let mut filters = vec![self.value(field, *operator)?];
        while self.keyword("OR") {
            filters.push(self.value(field, *operator)?);
        }
        self.close().map(|()| Filter::Any(filters))
    }

    fn value(&mut self, field: &str, operator: Operator) -> Result<Filter<C>, String> {
        match self.next() {
            Some(Token::Word(value) | Token::Quoted(value)) => {
                (self.compare)(field, operator, value).map(Filter::Compare)
            }
            other => Err(unexpected(other)),
        }
    }
}

impl<C> Filter<C> {
    /// Whether something is meant, of which it is known which comparisons hold.
    pub(crate) fn matches(&self, holds: &impl Fn(&C) -> bool) -> bool {
        match self {
            Self::All(filters) => filters.iter().all(|it| it.matches(holds)),
            Self::Any(filters) => filters.iter().any(|it| it.matches(holds)),
            Self::Not(filter) => !filter.matches(holds),
            Self::Compare(comparison) => holds(comparison),
        }
    }
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
