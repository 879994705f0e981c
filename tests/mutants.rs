//! The simulation is only worth what it catches. Each mutant is a patch to the
//! shipped source, in a copy of the tree; the simulation has to fail on it, and
//! says with which seed.
//!
//! `MUTANTS=all` tries all of them (`make mutants`).
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// A mistake that somebody could make in the protocol.
struct Mutant {
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    /// The seed that caught it last; where it does not any more, others are tried.
    seed: u64,
}

const MUTANTS: [Mutant; 13] = [
    Mutant {
        name: "the settle time is dropped",
        file: "crates/worker/src/reconcile/step.rs",
        from: "if now < sight.since + duration + times.settle => Next::Rest",
        to: "if now < sight.since => Next::Rest",
        seed: 158,
    },
    Mutant {
        name: "the job is recorded before it is created",
        file: "crates/worker/src/reconcile/perform.rs",
        from: "        let created = self.vertex.create(CreateJob {",
        to: "        if let Some(id) = &id {
            let job = format!(\"{}/pipelineJobs/{id}\", it.run.request.vertex.parent());
            self.append(it, Body::Submitted { intent: intent.nonce.clone(), job }).await?;
        }
        let vertex = &it.run.request.vertex;
        let created = self.vertex.create(CreateJob {",
        seed: 0,
    },
    Mutant {
        name: "a message is acked before it is handled",
        file: "crates/service/src/consume.rs",
        from: "    let handled = AssertUnwindSafe(handling).catch_unwind().await;",
        to: "    delivery.ack();
    AssertUnwindSafe(handling).catch_unwind().await.ok();
    let _ = (bury, attempts_max, message, received, metrics);
}

#[expect(dead_code, reason = \"a mutant\")]
async fn settled_before<B, G, E>(
    (delivery, received, metrics): (Delivery, Received, Metrics),
    handling: impl Future<Output = Settlement>,
    message: Arc<Message>,
    bury: B,
    attempts_max: u32,
) where
    B: Fn(Arc<Message>, Failure) -> G,
    G: Future<Output = Result<(), E>>,
    E: std::error::Error + 'static,
{
    let handled = AssertUnwindSafe(handling).catch_unwind().await;",
        seed: 0,
    },
    Mutant {
        name: "an entry is removed before its last event is published",
        file: "crates/worker/src/reconcile/announce.rs",
        from: "        for mut event in events {",
        to: "        if is_over(&it.run, attempt) {
            return self.queue.remove(entry).await;
        }
        for mut event in events {",
        seed: 0,
    },
    Mutant {
        name: "a leader whose intent lost its place calls all the same",
        file: "crates/worker/src/reconcile/perform.rs",
        from: "        if ours && matches!(it.run.state, State::Intended) {",
        to: "        let _ = ours;
        {",
        seed: 4,
    },
    Mutant {
        name: "ALREADY_EXISTS counts as a refusal",
        file: "crates/worker/src/reconcile/refused.rs",
        from: "            (Class::Conflict, Some(id)) => self.adopt(it, id, error).await,",
        to: "",
        seed: 635,
    },
    Mutant {
        name: "the kind is part of a fact's name",
        file: "crates/ledger/src/store.rs",
        from: "position: fact.sequence }.to_string();",
        to: "position: fact.sequence }.to_string()
            .replace(\".json\", &format!(\"-{}.json\", fact.body.kind()));",
        seed: 1,
    },
    Mutant {
        name: "a job is adopted by the run's label",
        file: "crates/worker/src/reconcile/settle.rs",
        from: "        let filter = format!(\"labels.{}=\\\"{nonce}\\\"\", job_body::LABEL_INTENT);
        let (project, region) = (vertex.project.as_str(), vertex.region.as_str());
        let (mut found, mut token) = (None, None);
        while found.is_none() {
            let page = self.vertex.list(kind, project, region, &filter, token).await?;
            let carries = |it: &Job| it.labels.get(job_body::LABEL_INTENT) == Some(&nonce);",
        to: "        let filter = format!(\"labels.{}=\\\"{}\\\"\", job_body::LABEL_RUN, run.id);
        let (project, region) = (vertex.project.as_str(), vertex.region.as_str());
        let (mut found, mut token) = (None, None);
        while found.is_none() {
            let page = self.vertex.list(kind, project, region, &filter, token).await?;
            let carries = |_: &Job| true;",
        seed: 284,
    },
    Mutant {
        name: "a pipeline job is looked for in a list, which may lag",
        file: "crates/worker/src/reconcile/settle.rs",
        from: "            Some(id) => self.of_id(&it.run, &id).await?,
            None =>",
        to: "            Some(id) if id.is_empty() => self.of_id(&it.run, &id).await?,
            _ =>",
        seed: 15970,
    },
    Mutant {
        name: "a queue entry is deleted whatever became of it",
        file: "crates/ledger/src/queue.rs",
        from: "&entry.ticket.object(), entry.generation).await",
        to: "&entry.ticket.object(), 0).await",
        seed: 0,
    },
    Mutant {
        name: "an ambiguous create is repeated",
        file: "crates/worker/src/reconcile/refused.rs",
        from: "        if !error.definite() {
            return Ok(());
        }",
        to: "        if !error.definite() {
            answer(it, Answer::Quota);
            return Ok(());
        }",
        seed: 165,
    },
    Mutant {
        name: "a duplicate CI job is not recorded",
        file: "crates/worker/src/intake.rs",
        from: "                Body::Duplicate { ci_job, pipeline_id: Some(request.gitlab.pipeline_id) }
            };",
        to: "                return Ok(run);
            };",
        seed: 0,
    },
    Mutant {
        name: "a CI job's claims decide on another's request",
        file: "crates/worker/src/intake.rs",
        from: "if claims.job_id != run.request.gitlab.job_id => {",
        to: "if claims.job_id == 0 => {",
        seed: 0,
    },
];

#[test]
fn the_simulation_catches_what_would_break_the_protocol() {
    let all = std::env::var("MUTANTS").is_ok_and(|it| it == "all");
    let tree = copy();
    let mut wrong = Vec::new();
    // The first two are as cheap as any: one crate is built anew for each.
    for mutant in MUTANTS.iter().take(if all { MUTANTS.len() } else { 2 }) {
        let begun = Instant::now();
        let file = tree.join(mutant.file);
        let shipped = fs::read_to_string(&file).unwrap();
        assert_eq!(shipped.matches(mutant.from).count(), 1, "{}: what it changes", mutant.name);
        fs::write(&file, shipped.replace(mutant.from, mutant.to)).unwrap();
        let caught = simulate(&tree, mutant, "SEED", mutant.seed);
        // The seed is part of the list: one that is stale is told with one that is not.
        if caught.is_none() {
            let other = simulate(&tree, mutant, "SEEDS", 4_000);
            let other = other.unwrap_or_else(|| "no seed of 4,000 does".to_owned());
            wrong.push(format!("{}: seed {} does not catch it; {other}", mutant.name, mutant.seed));
        }
        fs::write(&file, shipped).unwrap();
        let seconds = begun.elapsed().as_secs();
        println!("{:<60} {seconds:>4} s  {}", mutant.name, caught.as_deref().unwrap_or("MISSED"));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Simulates the seed that caught it last, and else many; tells what did not hold.
fn simulate(tree: &Path, mutant: &Mutant, key: &str, seeds: u64) -> Option<String> {
    let arguments = ["--", "every_run", "--nocapture"];
    let output = cargo(tree).args(arguments).env(key, seeds.to_string()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("could not compile"), "{}: {text}", mutant.name);
    let broken = text.lines().find(|it| it.starts_with("seed ")).map(str::to_owned);
    (!output.status.success()).then(|| broken.unwrap_or(text))
}

fn cargo(tree: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["test", "--locked", "--workspace", "--test", "simulation"])
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", tree.with_file_name("target"))
        .env("RUST_BACKTRACE", "0")
        .env_remove("SEEDS")
        .env_remove("SEED");
    cargo
}

/// A copy of the tree beside the build. It is built in a directory of its own,
/// which begins with what the build has of other people's crates.
fn copy() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let tree = root.join("target/mutants/tree");
    if tree.exists() {
        fs::remove_dir_all(&tree).unwrap();
    }
    fs::create_dir_all(&tree).unwrap();
    let script = "cd \"$1\" && tar cf - --exclude ./target --exclude ./.git . | tar xf - -C \"$2\"";
    let copied = Command::new("sh").args(["-c", script, "sh"]).args([root, &tree]).status();
    assert!(copied.unwrap().success(), "the tree is copied");
    let built = tree.with_file_name("target/debug");
    if !built.exists() {
        for directory in ["build", "deps", ".fingerprint"] {
            link(&root.join("target/debug").join(directory), &built.join(directory));
        }
    }
    tree
}

/// Links what is not of this workspace.
fn link(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).into_iter().flatten().map(Result::unwrap) {
        let (name, to) = (entry.file_name(), to.join(entry.file_name()));
        if name.to_string_lossy().contains("branchline") {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            link(&entry.path(), &to);
        } else {
            // It may vanish meanwhile, or lie on another disk: then it is built anew.
            drop(fs::hard_link(entry.path(), to));
        }
    }
}
