//! What tests of several crates share: public vectors, the architecture test; later the simulated fleet.
