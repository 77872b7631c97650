//! boundkey-client
