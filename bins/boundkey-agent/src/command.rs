//! One file for each command.

pub(crate) mod check_config;
pub(crate) mod configure;
pub(crate) mod forget;
pub(crate) mod install;
pub(crate) mod keypair;
pub(crate) mod renew;
pub(crate) mod start;
pub(crate) mod status;
