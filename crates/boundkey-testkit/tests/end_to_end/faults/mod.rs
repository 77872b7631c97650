//! Processes killed, connections cut, clocks stepped, disks full, servers restored: what an honest machine survives.

mod backups;
mod clocks;
mod cuts;
mod disks;
mod judge;
mod kills;
mod restores;
