//! The simulation in small: fixed seeds, and proof that its judge is awake. Longer runs are `cargo xtask simulate`.

mod awake;
mod cuts;
mod replay;
mod seeds;
