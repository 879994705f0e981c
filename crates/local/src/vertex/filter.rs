//! The list filter: comparisons joined by AND, OR, NOT and parentheses.
//!
//! As in all of Google's filters, OR binds tighter than AND.

use jiff::Timestamp;
use serde_json::Value;

use super::error::{Answer, Refusal};
use super::json::snake_case;
use super::kind::Kind;
use super::store::Resource;

/// Characters of a filter, and how deep its parentheses go.
const LENGTH_MAX: usize = 4096;
const DEPTH_MAX: usize = 32;

/// A parsed filter.
#[derive(Debug)]
pub(super) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Compare { field: Field, operator: Operator, value: String },
}

/// What can be compared.
#[derive(Debug)]
pub(super) enum Field {
    Label(String),
    /// A field of the resource by its JSON name.
    Text(&'static str),
    Time(&'static str),
    /// The last segment of the name.
    Id,
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

impl Filter {
    pub(super) fn parse(kind: Kind, text: &str) -> Answer<Self> {
        if text.len() > LENGTH_MAX {
            return Err(Refusal::invalid(format!(
                "The filter has more than {LENGTH_MAX} characters."
            )));
        }
        let tokens = tokens(text)?;
        let mut parser = Parser { kind, tokens: &tokens, depth: 0 };
        if tokens.is_empty() {
            return Ok(Self::All(Vec::new()));
        }
        let filter = parser.all()?;
        match parser.tokens.first() {
            None => Ok(filter),
            Some(token) => Err(unexpected(Some(token))),
        }
    }

    pub(super) fn matches(&self, job: &Resource) -> bool {
        match self {
            Self::All(filters) => filters.iter().all(|it| it.matches(job)),
            Self::Any(filters) => filters.iter().any(|it| it.matches(job)),
            Self::Not(filter) => !filter.matches(job),
            Self::Compare { field, operator, value } => compare(job, field, *operator, value),
        }
    }
}

fn compare(job: &Resource, field: &Field, operator: Operator, wanted: &str) -> bool {
    let text = |name: &str| job.get(name).and_then(Value::as_str).unwrap_or_default();
    let actual = match field {
        Field::Label(key) => job.get("labels").and_then(|it| it.get(key)).and_then(Value::as_str),
        Field::Text(name) => Some(text(name)),
        Field::Id => text("name").rsplit('/').next(),
        Field::Time(name) => {
            let times = text(name).parse::<Timestamp>().ok().zip(wanted.parse::<Timestamp>().ok());
            return times.is_some_and(|(actual, wanted)| operator.holds(actual.cmp(&wanted)));
        }
    };
    match (actual, operator) {
        (None, _) => operator == Operator::NotEqual,
        (Some(actual), Operator::Has) => has(actual, wanted),
        (Some(actual), _) => operator.holds(actual.cmp(wanted)),
    }
}

/// `:` takes `*` at either end.
fn has(actual: &str, wanted: &str) -> bool {
    match (wanted.strip_prefix('*'), wanted.strip_suffix('*')) {
        (Some(""), _) => true,
        (Some(rest), Some(_)) => actual.contains(rest.trim_end_matches('*')),
        (Some(end), None) => actual.ends_with(end),
        (None, Some(start)) => actual.starts_with(start),
        (None, None) => actual == wanted,
    }
}

impl Operator {
    fn holds(self, order: std::cmp::Ordering) -> bool {
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

fn tokens(text: &str) -> Answer<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '(' => {
                tokens.push(Token::Open);
                1
            }
            ')' => {
                tokens.push(Token::Close);
                1
            }
            '-' => {
                tokens.push(Token::Minus);
                1
            }
            '"' | '\'' => quoted(rest, first, &mut tokens)?,
            _ => match OPERATORS.iter().find(|(sign, _)| rest.starts_with(sign)) {
                Some((sign, operator)) => {
                    tokens.push(Token::Operator(*operator));
                    sign.len()
                }
                None => word(rest, &mut tokens)?,
            },
        };
        rest = rest[taken..].trim_start();
    }
    Ok(tokens)
}

fn quoted(rest: &str, quote: char, tokens: &mut Vec<Token>) -> Answer<usize> {
    let mut value = String::new();
    let mut letters = rest.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => value.extend(letters.next().map(|(_, escaped)| escaped)),
            letter if letter == quote => {
                tokens.push(Token::Quoted(value));
                return Ok(at + 1);
            }
            letter => value.push(letter),
        }
    }
    Err(Refusal::invalid("Invalid filter: a quotation mark is not closed."))
}

fn word(rest: &str, tokens: &mut Vec<Token>) -> Answer<usize> {
    // A bare time holds colons, but only a value after an operator can be one.
    let after_operator = matches!(tokens.last(), Some(Token::Operator(_)));
    let ends = |letter: char| {
        letter.is_whitespace() || "()=!<>\"'".contains(letter) || letter == ':' && !after_operator
    };
    let word = rest.split(ends).next().unwrap_or_default();
    if word.is_empty() {
        return Err(Refusal::invalid(format!("Invalid filter: cannot read '{rest}'.")));
    }
    tokens.push(Token::Word(word.to_owned()));
    Ok(word.len())
}

struct Parser<'a> {
    kind: Kind,
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

    fn all(&mut self) -> Answer<Filter> {
        let mut filters = vec![self.any()?];
        // Two filters side by side are joined like with AND.
        while self.keyword("AND") || !matches!(self.tokens.first(), None | Some(Token::Close)) {
            filters.push(self.any()?);
        }
        Ok(Filter::All(filters))
    }

    fn any(&mut self) -> Answer<Filter> {
        let mut filters = vec![self.term()?];
        while self.keyword("OR") {
            filters.push(self.term()?);
        }
        Ok(Filter::Any(filters))
    }

    fn term(&mut self) -> Answer<Filter> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Refusal::invalid("Invalid filter: it is nested too deeply."));
        }
        let term = self.term_within_depth();
        self.depth -= 1;
        term
    }

    fn term_within_depth(&mut self) -> Answer<Filter> {
        if self.keyword("NOT") || self.tokens.first() == Some(&Token::Minus) {
            if self.tokens.first() == Some(&Token::Minus) {
                self.next();
            }
            return Ok(Filter::Not(Box::new(self.term()?)));
        }
        match self.next() {
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

    fn comparison(&mut self, name: &str) -> Answer<Filter> {
        let field = self.field(name)?;
        let operator = match self.next() {
            Some(Token::Operator(operator)) => *operator,
            other => return Err(unexpected(other)),
        };
        let value = match self.next() {
            Some(Token::Word(value) | Token::Quoted(value)) => value.clone(),
            other => return Err(unexpected(other)),
        };
        if matches!(field, Field::Time(_)) && value.parse::<Timestamp>().is_err() {
            return Err(Refusal::invalid(format!("Invalid filter: '{value}' is not a time.")));
        }
        Ok(Filter::Compare { field, operator, value })
    }

    fn field(&self, name: &str) -> Answer<Field> {
        if let Some(key) = name.strip_prefix("labels.") {
            return Ok(Field::Label(key.to_owned()));
        }
        let field = match (self.kind, snake_case(name).as_str()) {
            (_, "display_name") => Field::Text("displayName"),
            (_, "state") => Field::Text("state"),
            (_, "create_time") => Field::Time("createTime"),
            (_, "update_time") => Field::Time("updateTime"),
            (_, "start_time") => Field::Time("startTime"),
            (_, "end_time") => Field::Time("endTime"),
            (Kind::PipelineJob, "pipeline_job_user_id") => Field::Id,
            (Kind::PipelineJob, "template_uri") => Field::Text("templateUri"),
            (Kind::TrainingPipeline, "training_task_definition") => {
                Field::Text("trainingTaskDefinition")
            }
            (..) => {
                return Err(Refusal::invalid(format!("Invalid filter: unknown field '{name}'.")));
            }
        };
        Ok(field)
    }
}

fn unexpected(token: Option<&Token>) -> Refusal {
    let what = match token {
        None => "the end".to_owned(),
        Some(Token::Word(text) | Token::Quoted(text)) => format!("'{text}'"),
        Some(Token::Open) => "'('".to_owned(),
        Some(Token::Close) => "')'".to_owned(),
        Some(Token::Minus) => "'-'".to_owned(),
        Some(Token::Operator(_)) => "an operator".to_owned(),
    };
    Refusal::invalid(format!("Invalid filter: {what} was not expected here."))
}
