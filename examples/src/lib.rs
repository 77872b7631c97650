//! Runnable programs that embed the crates, one file each under `examples/`.
