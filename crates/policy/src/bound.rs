//! What an expression may name, and what it may cost at most: decided when a policy is read,
//! because CEL can be exponential in the length of its text. Pure.

use std::collections::BTreeSet;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators};

use crate::shape::{LIST_MAX, Shape, VARIABLES, weight_of_text};

/// Operators within operators.
const DEPTH_MAX: usize = 64;
/// Weight of a value that an expression puts together: a few megabytes.
const WEIGHT_MAX: u64 = 1 << 17;
/// Steps of a search by a regular expression.
const SEARCH: u64 = 100;
/// What can be called, besides operators and macros.
const FUNCTIONS: [&str; 9] =
    ["bool", "contains", "double", "endsWith", "int", "matches", "size", "startsWith", "string"];

/// The worst case of an expression.
#[derive(Clone, Copy)]
struct Bound {
    /// Evaluations and copies.
    steps: u64,
    /// Entries, when it is a list or map.
    length: u64,
    /// What a copy of its value costs.
    weight: u64,
    /// And that of its heaviest entry.
    entry: u64,
    shape: Shape,
}

impl Bound {
    const fn scalar(steps: u64, weight: u64) -> Self {
        Self { steps, length: 1, weight, entry: 1, shape: Shape::Scalar }
    }

    fn of(shape: Shape) -> Self {
        let (weight, entry) = (shape.weight_max(), shape.entry().weight_max());
        Self { steps: 1, length: LIST_MAX as u64, weight, entry, shape }
    }

    /// A field or an entry of it.
    fn part(self, shape: Shape) -> Self {
        let steps = self.steps.saturating_add(1);
        match shape {
            Shape::Made => Self { steps, weight: self.entry, shape, ..self },
            Shape::Scalar | Shape::Free(..) | Shape::List(_) | Shape::Record(_) => {
                Self { steps, ..Self::of(shape) }
            }
        }
    }
}

/// Names in force, innermost last.
type Scope<'a> = Vec<(&'a str, Bound)>;

/// What is to be known about an expression before it is ever evaluated.
pub(crate) struct Checked {
    /// The most steps that it takes.
    pub(crate) steps: u64,
    /// The patterns that it searches by.
    pub(crate) patterns: Vec<String>,
    /// The variables that it names.
    pub(crate) variables: BTreeSet<&'static str>,
}

/// Checks names and counts steps.
pub(crate) fn check(expression: &Expr) -> Result<Checked, String> {
    let mut walk = Walk { patterns: Vec::new(), variables: BTreeSet::new() };
    let mut scope = VARIABLES.iter().map(|(name, shape)| (*name, Bound::of(*shape))).collect();
    let steps = walk.bound(expression, &mut scope, DEPTH_MAX)?.steps;
    Ok(Checked { steps, patterns: walk.patterns, variables: walk.variables })
}

struct Walk {
    patterns: Vec<String>,
    variables: BTreeSet<&'static str>,
}

impl Walk {
    fn bound<'a>(
        &mut self,
        expression: &'a Expr,
        scope: &mut Scope<'a>,
        levels: usize,
    ) -> Result<Bound, String> {
        let levels = levels
            .checked_sub(1)
            .ok_or_else(|| format!("it is nested deeper than {DEPTH_MAX} levels"))?;
        let bound = match expression {
            Expr::Literal(literal) => Ok(Bound::scalar(1, literal_weight(literal))),
            Expr::Ident(name) => {
                // One of a macro's own may have the same name; then too much is asked for.
                self.variables.extend(VARIABLES.iter().map(|it| it.0).find(|known| known == name));
                scope
                    .iter()
                    .rfind(|(known, _)| known == name)
                    .map(|(_, bound)| Bound { steps: 1, ..*bound })
                    .ok_or_else(|| {
                        format!("there is no variable {name}; there are {}", variables())
                    })
            }
            Expr::Select(select) => {
                let of = self.bound(&select.operand.expr, scope, levels)?;
                Ok(of.part(of.shape.field(&select.field)?))
            }
            Expr::List(list) => {
                self.literal(list.elements.iter().map(|it| &it.expr), scope, levels)
            }
            Expr::Map(map) => {
                let parts = map.entries.iter().flat_map(|it| match &it.expr {
                    EntryExpr::MapEntry(it) => [&it.key.expr, &it.value.expr],
                    EntryExpr::StructField(it) => [&it.value.expr, &it.value.expr],
                });
                self.literal(parts, scope, levels)
            }
            Expr::Call(call) => self.call(call, scope, levels),
            Expr::Comprehension(it) => self.comprehension(it, scope, levels),
            Expr::Struct(it) => Err(format!("there is no type {}", it.type_name)),
            Expr::Unspecified => Err("it is empty".to_owned()),
        }?;
        let fits = bound.weight <= WEIGHT_MAX;
        fits.then_some(bound).ok_or_else(|| "it puts together too large a value".to_owned())
    }

    fn literal<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a Expr>,
        scope: &mut Scope<'a>,
        levels: usize,
    ) -> Result<Bound, String> {
        let (mut steps, mut weight) = (1_u64, 1_u64);
        let (mut length, mut longest, mut entry) = (0, 0, 0);
        for part in parts {
            let part = self.bound(part, scope, levels)?;
            length += 1;
            longest = longest.max(part.length);
            entry = entry.max(part.weight);
            weight = weight.saturating_add(part.weight);
            steps = steps.saturating_add(part.steps).saturating_add(part.weight);
        }
        // A list in it may be longer than itself.
        Ok(Bound { steps, length: length.max(longest), weight, entry, shape: Shape::Made })
    }

    fn call<'a>(
        &mut self,
        call: &'a CallExpr,
        scope: &mut Scope<'a>,
        levels: usize,
    ) -> Result<Bound, String> {
        let name = call.func_name.as_str();
        let operator = !name.starts_with(|it: char| it.is_ascii_alphabetic());
        if !operator && !FUNCTIONS.contains(&name) {
            return Err(format!("there is no function {name}"));
        }
        let target = call.target.as_deref();
        let mut of = Vec::new();
        for part in target.into_iter().chain(&call.args) {
            of.push(self.bound(&part.expr, scope, levels)?);
        }
        let steps = of.iter().fold(1, |sum: u64, it| sum.saturating_add(it.steps));
        let least = of.iter().map(|it| it.weight).min().unwrap_or(1);
        let together = of.iter().fold(0, |sum: u64, it| sum.saturating_add(it.weight));
        let scalar = |more| Ok(Bound::scalar(steps.saturating_add(more), 1));
        match name {
            operators::CONDITIONAL if of.len() == 3 => Ok(Bound {
                steps,
                length: of[1].length.max(of[2].length),
                weight: of[1].weight.max(of[2].weight),
                entry: of[1].entry.max(of[2].entry),
                shape: Shape::Made,
            }),
            operators::ADD => Ok(Bound {
                steps: steps.saturating_add(together),
                length: of.iter().fold(0, |sum: u64, it| sum.saturating_add(it.length)),
                weight: together,
                entry: of.iter().map(|it| it.entry).max().unwrap_or(1),
                shape: Shape::Made,
            }),
            operators::INDEX if of.len() == 2 => {
                Ok(Bound { steps, ..of[0].part(of[0].shape.entry()) })
            }
            operators::IN if of.len() == 2 => scalar(of[1].length.saturating_mul(of[0].weight)),
            "matches" => {
                let pattern = call.args.last().map(|it| &it.expr);
                let Some(Expr::Literal(LiteralValue::String(pattern))) = pattern else {
                    return Err("the pattern of matches has to stand there as a text".to_owned());
                };
                self.patterns.push(pattern.inner().to_owned());
                scalar(SEARCH)
            }
            "string" => Ok(Bound::scalar(steps.saturating_add(together), together.max(2))),
            _ => scalar(least),
        }
    }

    /// What a macro over a list or map stands for.
    fn comprehension<'a>(
        &mut self,
        it: &'a ComprehensionExpr,
        scope: &mut Scope<'a>,
        levels: usize,
    ) -> Result<Bound, String> {
        let range = self.bound(&it.iter_range.expr, scope, levels)?;
        let start = self.bound(&it.accu_init.expr, scope, levels)?;
        let entry = Bound { steps: 1, ..range.part(range.shape.entry()) };
        let before = scope.len();
        // What one turn makes out of nothing is what each of them adds.
        scope.push((&it.accu_var, Bound { length: 0, weight: 0, entry: 0, ..start }));
        let names = [Some(&it.iter_var), it.iter_var2.as_ref()];
        scope.extend(names.into_iter().flatten().map(|name| (name.as_str(), entry)));
        let goes_on = self.bound(&it.loop_cond.expr, scope, levels)?;
        let step = self.bound(&it.loop_step.expr, scope, levels)?;
        let turn = [goes_on.steps, step.steps, entry.weight, step.weight]
            .into_iter()
            .fold(1, u64::saturating_add);
        let all = Bound {
            steps: range.steps.saturating_add(range.length.saturating_mul(turn)),
            length: range.length.saturating_add(step.length),
            weight: range.length.saturating_mul(step.weight).saturating_add(1),
            entry: step.entry,
            shape: Shape::Made,
        };
        scope.truncate(before);
        scope.push((&it.accu_var, all));
        let result = self.bound(&it.result.expr, scope, levels);
        scope.truncate(before);
        Ok(Bound { steps: all.steps.saturating_add(result?.steps), ..all })
    }
}

fn literal_weight(literal: &LiteralValue) -> u64 {
    match literal {
        LiteralValue::String(it) => weight_of_text(it.inner().len()),
        LiteralValue::Bytes(it) => weight_of_text(it.inner().len()),
        LiteralValue::Boolean(_)
        | LiteralValue::Double(_)
        | LiteralValue::Int(_)
        | LiteralValue::Null
        | LiteralValue::UInt(_) => 1,
    }
}

fn variables() -> String {
    VARIABLES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
