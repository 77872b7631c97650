use std::collections::BTreeMap;
use std::time::Duration;

use boundkey_lifecycle::{Sealed, Uid};
use boundkey_token::{
    BoundKeypairSpec, CertificateNames, JoinMethod, Onboarding, Recovery, RecoveryMode, Role, RoleSet, Token,
    TokenSpec,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Record, RecordError};

/// A token as stored: the spec's secret is taken out of the token and sealed here.
///
/// Encoding drops a secret that is still in `token.spec` as well as `metadata.revision`, so a
/// decoded token has neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Made when the token was created.
    pub uid: Uid,
    /// When the token was created.
    pub created_at: OffsetDateTime,
    /// The token as it was applied.
    pub token: Token,
    /// The spec's registration secret.
    pub sealed_secret: Option<Sealed>,
}

const KIND: &str = "token";

/// Version 1.
#[derive(Serialize, Deserialize)]
struct TokenV1 {
    uid: Uid,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    name: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(with = "time::serde::rfc3339::option", default, skip_serializing_if = "Option::is_none")]
    expires: Option<OffsetDateTime>,
    roles: Vec<RoleV1>,
    join_method: JoinMethodV1,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bot_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    initial_public_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed_secret: Option<Sealed>,
    #[serde(with = "time::serde::rfc3339::option", default, skip_serializing_if = "Option::is_none")]
    must_register_before: Option<OffsetDateTime>,
    recovery_limit: u32,
    recovery_mode: RecoveryModeV1,
    #[serde(with = "time::serde::rfc3339::option", default, skip_serializing_if = "Option::is_none")]
    rotate_after: Option<OffsetDateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dns_names: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ip_addresses: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    principals: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_ttl: Option<Duration>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum JoinMethodV1 {
    BoundKeypair,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RecoveryModeV1 {
    Standard,
    Relaxed,
    Insecure,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RoleV1 {
    Node,
    Proxy,
    App,
    Kube,
    Db,
    WindowsDesktop,
    Bot,
}

impl Record for TokenRecord {
    const KIND: &'static str = KIND;

    fn encode(&self) -> Vec<u8> {
        let Token { name, labels, expires, revision: _, spec } = &self.token;
        let TokenSpec { roles, join_method, bot_name, bound_keypair, certificates } = spec;
        let BoundKeypairSpec { onboarding, recovery, rotate_after } = bound_keypair;
        let Onboarding { initial_public_key, registration_secret: _, must_register_before } = onboarding;
        let Recovery { limit, mode } = recovery;
        let CertificateNames { dns_names, ip_addresses, principals, max_ttl } = certificates;
        let stored = TokenV1 {
            uid: self.uid,
            created_at: self.created_at,
            name: name.to_string(),
            labels: labels.clone(),
            expires: *expires,
            roles: roles.iter().map(RoleV1::from).collect(),
            join_method: match join_method {
                JoinMethod::BoundKeypair => JoinMethodV1::BoundKeypair,
            },
            bot_name: bot_name.as_ref().map(ToString::to_string),
            initial_public_key: initial_public_key.as_ref().map(|key| key.to_openssh()),
            sealed_secret: self.sealed_secret.clone(),
            must_register_before: *must_register_before,
            recovery_limit: *limit,
            recovery_mode: match mode {
                RecoveryMode::Standard => RecoveryModeV1::Standard,
                RecoveryMode::Relaxed => RecoveryModeV1::Relaxed,
                RecoveryMode::Insecure => RecoveryModeV1::Insecure,
            },
            rotate_after: *rotate_after,
            dns_names: dns_names.clone(),
            ip_addresses: ip_addresses.as_ref().map(|nets| nets.iter().map(ToString::to_string).collect()),
            principals: principals.clone(),
            max_ttl: *max_ttl,
        };
        super::encode(1, &stored)
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let stored: TokenV1 = super::decode(KIND, 1, bytes)?;
        let spec = TokenSpec {
            roles: RoleSet::new(stored.roles.into_iter().map(Role::from)),
            join_method: match stored.join_method {
                JoinMethodV1::BoundKeypair => JoinMethod::BoundKeypair,
            },
            bot_name: stored.bot_name.map(|name| super::parsed(KIND, "bot_name", &name)).transpose()?,
            bound_keypair: BoundKeypairSpec {
                onboarding: Onboarding {
                    initial_public_key: stored
                        .initial_public_key
                        .map(|key| super::parsed(KIND, "initial_public_key", &key))
                        .transpose()?,
                    registration_secret: None,
                    must_register_before: stored.must_register_before,
                },
                recovery: Recovery {
                    limit: stored.recovery_limit,
                    mode: match stored.recovery_mode {
                        RecoveryModeV1::Standard => RecoveryMode::Standard,
                        RecoveryModeV1::Relaxed => RecoveryMode::Relaxed,
                        RecoveryModeV1::Insecure => RecoveryMode::Insecure,
                    },
                },
                rotate_after: stored.rotate_after,
            },
            certificates: CertificateNames {
                dns_names: stored.dns_names,
                ip_addresses: stored
                    .ip_addresses
                    .map(|nets| nets.iter().map(|net| super::parsed(KIND, "ip_addresses", net)).collect())
                    .transpose()?,
                principals: stored.principals,
                max_ttl: stored.max_ttl,
            },
        };
        let token = Token {
            name: super::parsed(KIND, "name", &stored.name)?,
            labels: stored.labels,
            expires: stored.expires,
            revision: None,
            spec,
        };
        Ok(Self {
            uid: stored.uid,
            created_at: stored.created_at,
            token,
            sealed_secret: stored.sealed_secret,
        })
    }
}

impl From<Role> for RoleV1 {
    fn from(role: Role) -> Self {
        match role {
            Role::Node => Self::Node,
            Role::Proxy => Self::Proxy,
            Role::App => Self::App,
            Role::Kube => Self::Kube,
            Role::Db => Self::Db,
            Role::WindowsDesktop => Self::WindowsDesktop,
            Role::Bot => Self::Bot,
        }
    }
}

impl From<RoleV1> for Role {
    fn from(role: RoleV1) -> Self {
        match role {
            RoleV1::Node => Self::Node,
            RoleV1::Proxy => Self::Proxy,
            RoleV1::App => Self::App,
            RoleV1::Kube => Self::Kube,
            RoleV1::Db => Self::Db,
            RoleV1::WindowsDesktop => Self::WindowsDesktop,
            RoleV1::Bot => Self::Bot,
        }
    }
}
