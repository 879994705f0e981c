//! The documents keep to the truth: their commands run here, or else are understood; their rules decide as they
//! say; their figures are counted.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "docs/blocks.rs"]
mod blocks;
#[path = "docs/counts.rs"]
mod counts;
#[path = "docs/facts.rs"]
mod facts;
#[path = "docs/lost_queue.rs"]
mod lost_queue;
#[path = "docs/recipes.rs"]
mod recipes;
#[path = "docs/stories.rs"]
mod stories;
#[path = "docs/understood.rs"]
mod understood;
#[path = "docs/variables.rs"]
mod variables;
