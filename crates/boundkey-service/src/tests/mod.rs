//! The service as a whole, on a memory store.

mod admin;
mod bootstrap;
mod fixture;
mod framing;
mod http;
mod join;
mod overload;
mod overtaken;
mod race;
mod refusals;
mod schema;
mod sequences;
mod serve;
mod shared;
mod slow;
mod specs;
mod sweep;
mod vectors;
