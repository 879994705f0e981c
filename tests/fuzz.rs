//! Every decoder that reads foreign bytes, under inputs that went wrong: none
//! panics, and memory and time stay in proportion to what was read. What is
//! accepted keeps its meaning when it is written and read again.
//!
//! A seed decides every case. One that fails prints the line that plays it
//! again: `FUZZ_TARGET=… FUZZ_SEED=… make fuzz`. `make fuzz CASES=…` tries
//! that many, and `FUZZ_TARGET` alone keeps to one decoder.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "fuzz/config.rs"]
mod config;
#[path = "fuzz/contract.rs"]
mod contract;
#[path = "fuzz/control.rs"]
mod control;
#[path = "fuzz/corpus.rs"]
mod corpus;
#[path = "fuzz/gitlab.rs"]
mod gitlab;
#[path = "fuzz/google.rs"]
mod google;
#[path = "fuzz/identity.rs"]
mod identity;
#[path = "fuzz/json.rs"]
mod json;
#[path = "fuzz/ledger.rs"]
mod ledger;
#[path = "fuzz/letters.rs"]
mod letters;
#[path = "fuzz/markdown.rs"]
mod markdown;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/objects.rs"]
mod objects;
#[path = "fuzz/publish.rs"]
mod publish;
#[path = "fuzz/runner.rs"]
mod runner;
#[path = "fuzz/server.rs"]
mod server;
#[path = "fuzz/stack.rs"]
mod stack;
#[path = "fuzz/worker.rs"]
mod worker;

use runner::Target;

#[test]
fn no_foreign_bytes_make_a_decoder_panic_or_take_memory_or_time_out_of_proportion() {
    let all = [
        contract::TARGETS,
        ledger::TARGETS,
        letters::TARGETS,
        control::TARGETS,
        worker::TARGETS,
        markdown::TARGETS,
        google::TARGETS,
        gitlab::TARGETS,
        identity::TARGETS,
        config::TARGETS,
        stack::TARGETS,
    ];
    let targets: Vec<&Target> = all.iter().copied().flatten().collect();
    runner::run(&targets);
}
