//! Processes killed, connections cut, clocks stepped, disks full, servers restored: what an honest machine survives.

mod judge;
mod kills;
