//! The service as a whole, on a memory store.

mod bootstrap;
mod fixture;
mod http;
mod join;
mod serve;
