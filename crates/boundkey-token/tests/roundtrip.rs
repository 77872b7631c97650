//! What is printed is read again as the same resource.

use std::time::Duration;

use boundkey_document::to_yaml;
use boundkey_keys::{PublicKey, Secret};
use boundkey_token::*;
use proptest::option::of as some;
use proptest::prelude::*;
use time::OffsetDateTime;

fn name() -> impl Strategy<Value = ResourceName> {
    "[A-Za-z0-9][A-Za-z0-9._-]{0,20}".prop_map(|text| text.parse().expect("generated to be valid"))
}

fn some_time() -> impl Strategy<Value = OffsetDateTime> {
    (0_i64..250_000_000_000, 0_i64..1_000_000).prop_map(|(seconds, micros)| {
        OffsetDateTime::from_unix_timestamp(seconds).expect("generated to be valid")
            + time::Duration::microseconds(micros)
    })
}

fn printable() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,20}", "\\PC{0,8}"]
        .prop_map(|text: String| text.chars().filter(|c| boundkey_text::is_plain(*c)).collect())
}

fn labels() -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
    proptest::collection::btree_map(
        "[!-~][ -~]{0,10}".prop_filter("merge key", |key| key != "<<"),
        printable(),
        0..4,
    )
}

fn roles() -> impl Strategy<Value = RoleSet> {
    prop_oneof![
        Just(RoleSet::new([Role::Bot])),
        proptest::sample::subsequence(Role::ALL[..6].to_vec(), 1..=6).prop_map(RoleSet::new),
    ]
}

fn key() -> impl Strategy<Value = PublicKey> {
    proptest::sample::select(vec![
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJLIVitLyzszfqCtSRqDgGeWLcJCOVZNED6xka+82JYC",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHfdphyxZNkxxnXhL4wDTBdwgg9pYaIrNoB/4Nkzs24i",
    ])
    .prop_map(|line| line.parse().expect("generated to be valid"))
}

fn secret() -> impl Strategy<Value = SpecSecret> {
    let good = |text: &String| Secret::from_written(text.as_bytes()).is_ok();
    "[!-~][ -~]{6,30}[!-~]".prop_filter("a secret", good).prop_map(|text| SpecSecret(Secret::new(text)))
}

fn certificates() -> impl Strategy<Value = CertificateNames> {
    let dns = "(\\*\\.)?[a-z0-9]{1,8}(\\.[a-z]{2,6}){1,2}";
    let network = (any::<[u8; 4]>(), 0_u8..=32).prop_map(|(address, prefix)| {
        ipnet::IpNet::new(std::net::IpAddr::from(address), prefix).expect("generated to be valid").trunc()
    });
    (
        some(proptest::collection::vec(dns, 1..4)),
        some(proptest::collection::vec(network, 1..4)),
        some(proptest::collection::vec("[a-z@.]{1,12}", 1..4)),
        some((1_u64..10_000_000).prop_map(Duration::from_secs)),
    )
        .prop_map(|(dns_names, ip_addresses, principals, max_ttl)| CertificateNames {
            dns_names,
            ip_addresses,
            principals,
            max_ttl,
        })
}

fn keypair() -> impl Strategy<Value = BoundKeypairSpec> {
    let mode =
        proptest::sample::select(vec![RecoveryMode::Standard, RecoveryMode::Relaxed, RecoveryMode::Insecure]);
    (some(key()), some(secret()), some(some_time()), 1..=u32::MAX, mode, some(some_time())).prop_map(
        |(initial_public_key, registration_secret, must_register_before, limit, mode, rotate_after)| {
            BoundKeypairSpec {
                onboarding: Onboarding { initial_public_key, registration_secret, must_register_before },
                recovery: Recovery { limit, mode },
                rotate_after,
            }
        },
    )
}

fn token() -> impl Strategy<Value = Resource> {
    let metadata = (name(), labels(), some(some_time()), some("[0-9a-f]{1,8}"));
    (metadata, roles(), name(), keypair(), certificates()).prop_map(
        |((name, labels, expires, revision), roles, bot, bound_keypair, certificates)| {
            let bot_name = roles.is_bot().then_some(bot);
            let join_method = JoinMethod::BoundKeypair;
            let spec = TokenSpec { roles, join_method, bot_name, bound_keypair, certificates };
            Resource::Token(Token { name, labels, expires, revision, spec })
        },
    )
}

fn bot() -> impl Strategy<Value = Resource> {
    let role = proptest::sample::select(vec![AdminRole::Admin, AdminRole::Provisioner, AdminRole::Auditor]);
    let logins = proptest::collection::vec("[a-z]{1,8}", 0..3);
    (name(), labels(), some(some_time()), logins, some((role, some(name())))).prop_map(
        |(name, labels, expires, logins, admin)| {
            let (admin_role, prefix) = admin.map_or((None, None), |(role, prefix)| (Some(role), prefix));
            let token_prefix = prefix.map(String::from);
            Resource::Bot(Bot { name, labels, expires, revision: None, logins, admin_role, token_prefix })
        },
    )
}

fn lock() -> impl Strategy<Value = Resource> {
    let target = (0..4_u8, name()).prop_map(|(kind, name)| match kind {
        0 => LockTarget::Token(name.into()),
        1 => LockTarget::Bot(name.into()),
        2 => LockTarget::Host(name.into()),
        _ => LockTarget::BotInstance(name.into()),
    });
    let message = || some("[ -~]{1,40}");
    let all = (name(), target, message(), message(), some(some_time()));
    all.prop_map(|(name, target, message, public_message, expires)| {
        Resource::Lock(Lock { name, revision: None, target, message, public_message, expires })
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_again_as_the_same_resource(resource in prop_oneof![3 => token(), 1 => bot(), 1 => lock()]) {
        let json = resource.to_json(true);
        let yaml = to_yaml(&json);
        match read_resources(yaml.as_bytes()) {
            Ok(read) => prop_assert_eq!(&read, &vec![resource.clone()], "{}", yaml),
            Err(error) => prop_assert!(false, "{}\n{}", error, yaml),
        }
        prop_assert_eq!(read_resource_json(json.to_string().as_bytes()), Ok(resource.clone()));
        let again = check_resource(&boundkey_document::Document::from_json_value(&json));
        prop_assert_eq!(again.map(|resource| to_yaml(&resource.to_json(true))), Ok(yaml));
    }

    #[test]
    fn without_secrets_none_is_printed_and_debug_never_shows_one(resource in token()) {
        let Resource::Token(token) = &resource else { unreachable!() };
        if let Some(secret) = &token.spec.bound_keypair.onboarding.registration_secret {
            let json = resource.to_json(false);
            prop_assert!(json.pointer("/spec/bound_keypair/onboarding/registration_secret").is_none());
            let shown = format!("{:?}", token.spec.bound_keypair).contains(secret.0.expose());
            prop_assert!(!shown);
            prop_assert!(read_resources(to_yaml(&json).as_bytes()).is_ok());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Err(error) = read_resources(&bytes) {
            prop_assert!(!error.lines("f").is_empty());
        }
    }
}
