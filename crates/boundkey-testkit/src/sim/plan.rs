//! What a world consists of, drawn from its seed: tokens, their machines, replicas.

use std::time::Duration;

use boundkey_client::config::{Credential, SecretSource, StaticKeySource};
use boundkey_client::join::{JoinPlan, SshWish};
use boundkey_keys::{PrivateKey, Secret};
use boundkey_keystore::HeldKey;
use boundkey_proto::MachineFacts;
use boundkey_token::{
    BoundKeypairSpec, CertificateNames, JoinMethod, Onboarding, Recovery, RecoveryMode, RequestedNames, Role,
    RoleSet, SpecSecret, Token, TokenSpec,
};
use zeroize::Zeroizing;

use super::edges::Disk;
use super::rng::Rng;

/// How a token's machines prove themselves at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Onboard {
    /// A secret of the spec.
    Secret,
    /// A key that was made beforehand.
    Key,
    /// One key in a file, for several machines.
    Static,
}

/// A token as its administrator has it on file.
pub(super) struct TokenPlan {
    pub(super) name: String,
    pub(super) token: Token,
    pub(super) onboard: Onboard,
    pub(super) machines: usize,
    pub(super) key: Option<PrivateKey>,
}

/// The size of a world.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) tokens: usize,
    pub(super) servers: usize,
}

impl Size {
    pub(super) fn small(seed: u64) -> Self {
        let mut rng = Rng::of(seed, &[0x51]);
        Self { tokens: 1 + rng.index(6), servers: 1 + rng.index(3) }
    }
}

pub(super) fn name(text: &str) -> boundkey_token::ResourceName {
    text.parse().expect("the simulation's own names are names")
}

/// 43 characters, so that nothing is stretched: see `docs/protocol.md`, "Proof of the registration secret".
pub(super) fn secret(rng: &mut Rng) -> String {
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&rng.next().to_le_bytes());
    }
    Secret::generated(bytes).expose().to_owned()
}

pub(super) fn tokens(seed: u64, size: Size) -> Vec<TokenPlan> {
    (0..size.tokens).map(|index| token(&mut Rng::of(seed, &[0x70, index as u64]), index)).collect()
}

fn token(rng: &mut Rng, index: usize) -> TokenPlan {
    let onboard = match rng.below(10) {
        0..7 => Onboard::Secret,
        7..9 => Onboard::Key,
        _ => Onboard::Static,
    };
    let bot = rng.chance(300);
    let mode = match (onboard, rng.below(10)) {
        (Onboard::Static, _) => RecoveryMode::Insecure,
        (_, 0..3) => RecoveryMode::Relaxed,
        _ => RecoveryMode::Standard,
    };
    let limit = [1, 2, 3, 5, 1000][rng.index(5)];
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&rng.next().to_le_bytes());
    let key = (onboard != Onboard::Secret).then(|| PrivateKey::ed25519_from_seed(&seed));
    let onboarding = Onboarding {
        initial_public_key: key.as_ref().map(|key| key.public_key().clone()),
        registration_secret: (onboard == Onboard::Secret).then(|| SpecSecret(Secret::new(secret(rng)))),
        must_register_before: None,
    };
    let token = Token {
        name: name(&format!("t{index}")),
        labels: Default::default(),
        expires: None,
        revision: None,
        spec: TokenSpec {
            roles: RoleSet::new([if bot { Role::Bot } else { Role::Node }]),
            join_method: JoinMethod::BoundKeypair,
            bot_name: bot.then(|| name("b0")),
            bound_keypair: BoundKeypairSpec {
                onboarding,
                recovery: Recovery { limit, mode },
                rotate_after: None,
            },
            certificates: CertificateNames::default(),
        },
    };
    let machines = if onboard == Onboard::Static { 2 + rng.index(3) } else { 1 };
    TokenPlan { name: format!("t{index}"), token, onboard, machines, key }
}

impl TokenPlan {
    /// One host's token.
    pub(super) fn plain(onboard: Onboard, mode: RecoveryMode, limit: u32) -> Self {
        let mut rng = Rng::new(1);
        let key = (onboard != Onboard::Secret).then(|| PrivateKey::ed25519_from_seed(&[3; 32]));
        let onboarding = Onboarding {
            initial_public_key: key.as_ref().map(|key| key.public_key().clone()),
            registration_secret: key.is_none().then(|| SpecSecret(Secret::new(secret(&mut rng)))),
            must_register_before: None,
        };
        let spec = TokenSpec {
            roles: RoleSet::new([Role::Node]),
            join_method: JoinMethod::BoundKeypair,
            bot_name: None,
            bound_keypair: BoundKeypairSpec {
                onboarding,
                recovery: Recovery { limit, mode },
                rotate_after: None,
            },
            certificates: CertificateNames::default(),
        };
        let token =
            Token { name: name("t0"), labels: Default::default(), expires: None, revision: None, spec };
        Self { name: "t0".to_owned(), token, onboard, machines: 1, key }
    }

    pub(super) fn spec_secret(&self) -> Option<String> {
        let secret = self.token.spec.bound_keypair.onboarding.registration_secret.as_ref()?;
        Some(secret.0.expose().to_owned())
    }

    /// A preregistered key comes to the machine before its agent does.
    pub(super) fn place_key(&self, disk: &Disk) {
        let (Onboard::Key, Some(key)) = (self.onboard, &self.key) else { return };
        let mut state = disk.load().unwrap_or_default();
        state.adopt_key(HeldKey::new(key.duplicate())).expect("an empty state takes a first key");
        disk.save(&state).expect("memory does not fill up");
    }

    /// What a machine of this token asks for.
    pub(super) fn join_plan(&self, secret: Option<&str>, rng: &mut Rng) -> JoinPlan {
        let roles = self.token.spec.roles.clone();
        let credential = match (secret, self.onboard, &self.key) {
            (Some(secret), ..) => Credential::Secret(SecretSource::Given(Secret::new(secret.to_owned()))),
            (None, Onboard::Static, Some(key)) => {
                let pem = Zeroizing::new(key.to_pkcs8_pem().as_bytes().to_vec());
                Credential::StaticKey(StaticKeySource::Given(pem))
            }
            _ => Credential::StoredKey,
        };
        JoinPlan {
            token: self.token.name.clone(),
            credential,
            facts: MachineFacts {
                hostname: self.name.clone(),
                roles: roles.clone(),
                ..MachineFacts::default()
            },
            names: RequestedNames::default(),
            // Mostly a day or a week, or a world of weeks would be a million renewals.
            ttl: [Some(24), Some(24), Some(24), Some(168), None][rng.index(5)]
                .map(|h| Duration::from_secs(h * 3600)),
            // An OpenSSH certificate costs as much as the rest of an answer: one machine in five asks for one.
            ssh: match (rng.chance(200), roles.is_bot()) {
                (false, _) => SshWish::None,
                (true, true) => SshWish::User,
                (true, false) => SshWish::Host,
            },
            roles,
            // Making a P-256 key costs as much as all else: most machines certify theirs again.
            reuse_tls_key: !rng.chance(100),
            machine: None,
            accept_machine: true,
        }
    }
}
