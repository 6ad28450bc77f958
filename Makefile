# The project's commands. `make` alone lists them.

CARGO ?= cargo

# Read by scripts/demo.sh: a model and data of one's own, and how to train.
export MODEL DATA TEXT TEXT_PAIR LABEL EPOCHS BATCH_SIZE LR SEED OUT
# Read by scripts/bench-peer.sh.
export PEER_PYTHON PEER_PIP_ARGS PEER_ARGS

.DEFAULT_GOAL := help
.PHONY: help build demo test soak lint bench bench-peer report gpu-check sass

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: | cargo-is-there ## build target/release/bertsd-cuda
	@./scripts/fetch-nvcc.sh >/dev/null || echo "make build: going on without nvcc: the program will have no CUDA device" >&2
	$(CARGO) build --release --locked

demo: | cargo-is-there ## fine-tune a real BERT with ft and with sda, and compare (MODEL= DATA= TEXT= LABEL=: your own)
	./scripts/demo.sh

test: | cargo-is-there ## fetch what the tests need, and run every test
	./scripts/fetch-nvcc.sh
	./scripts/fetch-demo-model.sh
	$(CARGO) test --release --locked --workspace

soak: | cargo-is-there ## run the long tests that `make test` leaves out
	./scripts/fetch-nvcc.sh
	./scripts/fetch-demo-model.sh
	$(CARGO) test --release --locked --workspace -- --ignored
	@# Sums of tensor cores and approximate functions as hardware has them, which differ from float32's.
	CUDASIM_TENSOR_SUMS=truncate CUDASIM_APPROX=2ulp $(CARGO) test --release --locked --test cuda_device --test golden --test train_cuda

lint: | cargo-is-there ## check formatting, and lints with warnings as errors
	@$(CARGO) fmt --version >/dev/null 2>&1 || { echo "make lint: rustfmt is missing; install it with: rustup component add rustfmt" >&2; exit 1; }
	@$(CARGO) clippy --version >/dev/null 2>&1 || { echo "make lint: clippy is missing; install it with: rustup component add clippy" >&2; exit 1; }
	$(CARGO) fmt --all --check
	@# Lints read no machine code: one architecture is the least that build.rs makes.
	BERTSD_CUDA_ARCH=80 $(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings

sass: build ## what the compiler made of each kernel, against scripts/sass.bounds
	./scripts/sass.py

bench: | cargo-is-there ## time the hot paths of a training step, and the simulator (criterion)
	./scripts/fetch-nvcc.sh
	./scripts/fetch-demo-model.sh
	$(CARGO) bench --locked --workspace --benches

bench-peer: | cargo-is-there ## time training against transformers and PyTorch, alternately (see benches/peer/README.md)
	./scripts/bench-peer.sh

report: | cargo-is-there ## each kernel of a step: traffic, floor, limit, estimated time; docs/kernels.md and .svg
	./scripts/fetch-nvcc.sh
	$(CARGO) run --release --locked --example kernel_report -- --json target/report.json --markdown docs/kernels.md --picture docs/kernels.svg $(REPORT_ARGS)

gpu-check: | cargo-is-there ## check and time everything on this machine's GPU, or pack what does so on another's
	./scripts/gpu-check.sh $(GPU_CHECK_ARGS)

.PHONY: cargo-is-there
cargo-is-there:
	@command -v $(CARGO) >/dev/null || { echo "make: cargo is missing; install Rust $$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml) or newer (rustup)" >&2; exit 1; }
