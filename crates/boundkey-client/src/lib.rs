//! The machine's side.
pub mod admin;
pub mod agent;
mod backoff;
mod clock;
pub mod config;
mod der;
pub mod join;
mod machine;
pub mod outputs;
mod running;
mod schedule;
mod status;
mod transport;
mod trust;

pub use backoff::{Backoff, FINAL_PAUSE, LONGEST_RETRY_AFTER, Setback};
/// The one way in which durations are read and YAML is printed, for programs that do not read documents themselves.
pub use boundkey_document::{parse_duration, to_yaml};
pub use clock::{Clock, SystemClock, SystemEntropy, show_time};
pub use machine::{OtherMachine, check_machine, machine_facts, machine_hash};
pub use running::{SignalError, ask_to_renew, lock_holder};
pub use schedule::{Deadline, wait_after_restart};
pub use status::{Notes, OutputNote, Status};
pub use transport::{
    AddressError, HttpsTransport, MAX_BODY, Reply, ServerAddress, Timeouts, Transport, TransportError,
};
pub use trust::{CaFileError, Channel, Pin, PinError, Source, Trust, TrustError};
