//! boundkey-service
