//! The suite that every implementation runs.
