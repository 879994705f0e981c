# The only documented commands; CI runs the same (.ci/run).

.POSIX:

# A directory with a copy of RustSec's advisory database, where it cannot be fetched.
ADVISORY_DB =
# How many worlds are simulated, or the one whose story is told.
SEEDS = 10000
SEED =
MESSAGES = 10000
KILLS = 100
# Calls a second that Vertex AI allows.
QUOTA = 60
LETTERS = 5000
RUNS = 1000
# The commit whose executable works beside this one's; by default the newest release's before it, or the last that
# has other roles.
PREVIOUS =
# How many inputs the decoders get.
CASES = 10000000

help:
	@echo 'make demo         one run, from a commit to a trained model, on this machine'
	@echo 'make test         everything: unit, end to end, conformance'
	@echo 'make check        formatting, lints, documentation, supply chain'
	@echo 'make conformance  other people'"'"'s clients (Python) against the local stack'
	@echo 'make sim          the protocol in 10,000 simulated worlds (SEEDS=N, or SEED=N for one story)'
	@echo 'make mutants      the protocol with a mistake in it: the simulation has to see each'
	@echo 'make crash        real processes, killed at every named point of the protocol, for all kinds of jobs'
	@echo 'make grants       a full run without each single permission of deploy/grants.yaml'
	@echo 'make soak         10,000 messages with 100 kills and lost answers (MESSAGES=N KILLS=N)'
	@echo 'make load         10,000 queued messages against a quota of 60 calls a second, three workers (MESSAGES=N QUOTA=N)'
	@echo 'make dlq          5,000 dead letters, looked at and replayed, with processes killed (LETTERS=N)'
	@echo 'make rolling      1,000 runs while processes of this commit and another version replace each other (RUNS=N PREVIOUS=COMMIT)'
	@echo 'make deploy-check images, manifests, Terraform and CI components, with the tools that read them'
	@echo 'make docs         the commands of the documents against the local stack, and a drill of rotating trust'
	@echo 'make bench        how long a decision by a policy of 500 rules takes'
	@echo 'make fuzz         decoders under 10,000,000 inputs that went wrong (CASES=N)'
	@echo
	@echo 'make check ADVISORY_DB=DIR takes advisories from a copy of the RustSec database.'

demo:
	@echo 'building branchline (the first build takes some minutes)'
	@cargo build --locked --quiet --package branchline
	@cargo run --locked --quiet --package branchline -- demo

test:
	cargo test --locked --workspace
	@command -v tmux >/dev/null || echo 'skipped: what a terminal shows, because tmux is missing'
	@command -v gcloud >/dev/null || echo 'skipped: messages that gcloud publishes, and commands of the documents, because gcloud is missing'
	@command -v kubectl >/dev/null || echo 'skipped: what rendered manifests promise, because kubectl is missing'
	@echo 'left to make docs: issuers and their keys that change, which takes minutes'
	@echo 'left to make deploy-check: pipelines of GitLab, containers, Terraform, and each permission taken away'
	@tests/python/run --where-available
	@deploy/monitoring/check --where-available
	@deploy/k8s/check --where-available

check:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS='--deny warnings' cargo doc --locked --workspace --no-deps
	@ADVISORY_DB='$(ADVISORY_DB)' tests/supply-chain

conformance:
	@tests/python/run

sim:
	@SEEDS='$(SEEDS)' SEED='$(SEED)' cargo test --locked --workspace --test simulation -- --nocapture every_run

mutants:
	@MUTANTS=all cargo test --locked --workspace --test mutants -- --nocapture

# CRASH=POINT keeps to one point.
crash:
	@cargo build --locked --workspace --bins --test crash
	@CRASH="$${CRASH:-all}" cargo test --locked --workspace --test crash -- --nocapture

# GRANTS=TEXT keeps to the permissions that it is part of.
grants:
	@cargo build --locked --workspace --bins --test grants
	@GRANTS="$${GRANTS:-all}" cargo test --locked --workspace --test grants -- --nocapture

# With optimised code, as below: thousands of runs take their time. The executable is built together with the
# test: alone it would have its dependencies with other features, which builds them twice.
soak:
	@cargo build --locked --profile fast --workspace --bins --test soak
	@MESSAGES='$(MESSAGES)' KILLS='$(KILLS)' cargo test --locked --profile fast --workspace --test soak -- --nocapture

load:
	@cargo build --locked --profile fast --workspace --bins --test load
	@MESSAGES='$(MESSAGES)' QUOTA='$(QUOTA)' cargo test --locked --profile fast --workspace --test load -- --nocapture

# Figures are those of a release, which has no crash points.
dlq:
	@cargo build --locked --release --workspace --bins --test dead_letters_bulk
	@LETTERS='$(LETTERS)' cargo test --locked --release --workspace --test dead_letters_bulk -- --nocapture --test-threads 1 --skip whoever_is_killed
	@cargo build --locked --profile fast --workspace --bins --test dead_letters_bulk
	@LETTERS='$(LETTERS)' cargo test --locked --profile fast --workspace --test dead_letters_bulk -- --nocapture whoever_is_killed

rolling:
	@previous=$$(tests/previous $(PREVIOUS)) && \
	cargo build --locked --workspace --bins --test rolling && \
	RUNS='$(RUNS)' PREVIOUS="$$previous" cargo test --locked --workspace --test rolling -- --nocapture && \
	RUNS=60 PER_SECOND=1 PREVIOUS="$$previous" cargo test --locked --workspace --test rolling -- --nocapture

deploy-check: grants
	@deploy/terraform/check
	@deploy/k8s/check --server-side-apply
	@deploy/monitoring/check
	@templates/check
	@deploy/image/check
	@deploy/image/job
	@$(MAKE) rolling

# FUZZ_TARGET=… keeps to one decoder, and with FUZZ_SEED=… to one case.
fuzz:
	@FUZZ_CASES='$(CASES)' cargo test --locked --profile fast --package branchline-tests --test fuzz -- --nocapture no_foreign

docs:
	@cargo build --locked --workspace --bins --test docs --test rotation
	@ROTATION=all cargo test --locked --workspace --test docs --test rotation -- --nocapture

bench:
	@cargo test --locked --release --package branchline-policy --test decisions -- --nocapture 500_rules

.PHONY: help demo test check conformance sim mutants crash grants soak load fuzz bench dlq rolling deploy-check docs
