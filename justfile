# Names for people. Continuous integration runs `.ci/run`, which needs only cargo and bash.

# Everything a reviewer will ask for.
check:
    .ci/run

# Formats, and applies what clippy can.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

# All tests.
test:
    cargo test --workspace

# Our engine beside its peers, quickly.
bench:
    cargo run --release -p benches -- engine --quick

# Our server beside etcd (Debian package etcd-server), quickly.
bench-cluster:
    cargo run --release -p benches -- cluster --peer etcd --quick

# As many simulated clusters as asked: `just sim 100`, or `just sim 1 --from 42`.
sim seeds="50" *rest="":
    cargo run --release -p chaos-tests -- sim --seeds {{seeds}} {{rest}}

# As many runs of whole nodes in a pretended world as asked: `just whole 10`.
whole seeds="20" *rest="":
    cargo run --release -p chaos-tests -- whole --seeds {{seeds}} {{rest}}

# Every bug that can be planted, and who finds it.
planted *rest="":
    cargo run --release -p chaos-tests -- planted {{rest}}

# Fresh seeds for hours, with a ledger: `just soak 8`.
soak hours="1" *rest="":
    cargo run --release -p chaos-tests -- soak --hours {{hours}} {{rest}}

# Real processes under real faults: `just chaos 10`, or `just chaos 2 --seed 42`.
chaos minutes="2" *rest="":
    cargo run --release -p chaos-tests -- processes --minutes {{minutes}} {{rest}}
