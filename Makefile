# Two recipes people use: `make run` and `make test`. `make check` is the fast loop.

# Outside the clone, so that fresh clones build warm.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/loc3r/target
LOC3R := $(CARGO_TARGET_DIR)/release/loc3r
# Rooms that `make bench` measures; all of the benchmark.
CLIPS ?= 500

.PHONY: run build test check ci lint docs deny samples bench setup-build setup-test

run: build ## build and open the app (headless without a display)
	@.ci/run-app.sh $(LOC3R)

build: setup-build
	cargo build --release --locked --bin loc3r $$(.ci/features.sh)

test: setup-test ## everything: unit, integration, app under a virtual display
	cargo test --release --locked

check: ## the fast loop: format, lints and tests without the viewer
	cargo fmt --check
	cargo clippy --release --locked --no-default-features --all-targets -- -D warnings
	cargo test --release --locked --no-default-features

lint: setup-build ## lints of the whole tree
	cargo fmt --check
	cargo clippy --release --locked --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --no-deps --document-private-items

deny: ## licences and advisories of all dependencies (cargo install cargo-deny)
	cargo deny check

ci: lint docs test

samples: build ## render the bundled clips again
	$(LOC3R) synth --showcase all --out sample_videos

bench: build ## the bundled model on the whole benchmark; fails where it is not as good as it has to be
	$(LOC3R) evaluate --model assets/models/loc3r-mini --count $(CLIPS) --bars

setup-build:
	@.ci/setup.sh build

setup-test:
	@.ci/setup.sh test
