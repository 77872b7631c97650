//! The first start makes the cluster: its name, its five CA keys, in ONE conditional commit. Later starts load them.

use boundkey_ca::{AuthorityKey, CaError, SshAuthority, X509Authority};
use boundkey_keys::{Entropy, MasterKey};
use boundkey_lifecycle::{CaKind, Sealed};
use boundkey_proto::BundleError;
use boundkey_store::records::{AuthorityRecord, CaBundleRecord, ClusterRecord, Record, RecordError};
use boundkey_store::{Batch, CommitError, Condition, Entry, Store, StoreError, Write, keys};
use time::OffsetDateTime;

use crate::authorities::{Authorities, CA_KINDS, ca_kind_text};
use crate::loaded::{Loaded, put, unchanged};

/// How long a CA's certificate is valid.
const CA_LIFETIME: time::Duration = time::Duration::days(3653);
/// A CA is valid from this long before it is made: its leaves are back-dated and must lie inside, also after the clock
/// was set back or on another server whose clock is behind.
const CA_BACK_DATED: time::Duration = time::Duration::days(1);
/// Another server of the same cluster may be making it at this moment: read again this often.
const ATTEMPTS: usize = 5;

/// Why a service does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// A name that cannot stand in certificates.
    #[error("`{0}` cannot name a cluster; allowed: {CLUSTER_NAME_ALLOWED}")]
    BadClusterName(String),
    /// The store belongs to a cluster of another name.
    #[error(
        "this store belongs to the cluster `{stored}`, not to `{asked}`: a cluster keeps its name for good"
    )]
    OtherCluster {
        /// The name in the store.
        stored: String,
        /// The name that was given.
        asked: String,
    },
    /// The store was made with another master key.
    #[error(
        "the master key does not fit this store (the store was made with {stored}, the key is {found}): \
         put back the master key that belongs to it"
    )]
    OtherMasterKey {
        /// Fingerprint in the store.
        stored: String,
        /// Fingerprint of the key that was given.
        found: String,
    },
    /// The store has records of a cluster, but not all of them.
    #[error("the store is damaged: {0} is missing, although the cluster exists; restore a backup")]
    Incomplete(String),
    /// A CA key or certificate cannot be made or used.
    #[error(transparent)]
    Authority(#[from] CaError),
    /// The CA bundle cannot be signed.
    #[error("cannot sign the CA bundle: {0}")]
    Bundle(BundleError),
    /// A record is not readable.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cluster could not be written.
    #[error("cannot write the new cluster: {0}")]
    Commit(CommitError),
}

/// The name of the cluster that a store holds; none before the first start.
///
/// # Errors
/// The store does not answer, or the record is not readable.
pub async fn remembered_cluster(
    store: &dyn Store,
    now: OffsetDateTime,
) -> Result<Option<String>, StartError> {
    let entries = store.get_many(&[keys::CLUSTER], now).await?;
    let cluster = Loaded::<ClusterRecord>::decode_opt(entries.first().and_then(Option::as_ref))?;
    Ok(cluster.map(|c| c.record.cluster))
}

/// Loads the cluster's CAs, or makes the cluster.
pub(crate) async fn open_cluster(
    store: &dyn Store,
    master: &MasterKey,
    entropy: &dyn Entropy,
    cluster: &str,
    now: OffsetDateTime,
) -> Result<Authorities, StartError> {
    check_cluster_name(cluster)?;
    let wanted = wanted_keys();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let mut last_conflict = None;
    for _ in 0..ATTEMPTS {
        let entries = store.get_many(&wanted, now).await?;
        let Some(record) = Loaded::<ClusterRecord>::decode_opt(entries[0].as_ref())? else {
            if let Some(entry) = entries.iter().flatten().next() {
                return Err(StartError::Incomplete(format!("{} ({} is there)", keys::CLUSTER, entry.key)));
            }
            let (authorities, batch) = make(master, entropy, cluster, now)?;
            match store.commit(batch, now).await {
                Ok(_) => return Ok(authorities),
                Err(error @ (CommitError::Conflict { .. } | CommitError::Unknown(_))) => {
                    last_conflict = Some(error)
                }
                Err(error) => return Err(StartError::Commit(error)),
            }
            continue;
        };
        if record.record.cluster != cluster {
            return Err(StartError::OtherCluster {
                stored: record.record.cluster,
                asked: cluster.to_owned(),
            });
        }
        let (bundle, cas) = entries[1..].split_last().expect("as many as were asked for");
        let bundle = Loaded::<CaBundleRecord>::decode_opt(bundle.as_ref())?;
        let authorities = load(master, &record.record, bundle.as_ref(), cas)?;
        match remember(store, master, &authorities, &record, bundle.as_ref(), now).await {
            Ok(()) => return Ok(authorities),
            // Another replica signed the bundle at this moment: one of the two is everybody's.
            Err(error @ (CommitError::Conflict { .. } | CommitError::Unknown(_))) => {
                last_conflict = Some(error)
            }
            Err(error) => return Err(StartError::Commit(error)),
        }
    }
    Err(StartError::Commit(last_conflict.unwrap_or(CommitError::Unknown("no attempt was made".to_owned()))))
}

fn wanted_keys() -> Vec<String> {
    std::iter::once(keys::CLUSTER.to_owned())
        .chain(CA_KINDS.into_iter().map(|kind| keys::authority(ca_kind_text(kind))))
        .chain(std::iter::once(keys::CA_BUNDLE.to_owned()))
        .collect()
}

/// The longest name of a cluster. The CA's common name `NAME host CA` has 64 characters at most (X.520, ub-common-name).
const LONGEST_CLUSTER_NAME: usize = 64 - " host CA".len();
/// What [`check_cluster_name`] allows, in words.
pub const CLUSTER_NAME_ALLOWED: &str =
    "up to 56 lower-case letters, digits, dots and dashes, as in a DNS name, such as example.com";

/// Whether a cluster may have this name: it stands in certificates, SPIFFE ids and file names, so it is a DNS name in
/// lower case.
///
/// # Errors
/// [`StartError::BadClusterName`].
pub fn check_cluster_name(name: &str) -> Result<(), StartError> {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if name.len() <= LONGEST_CLUSTER_NAME && name.split('.').all(label) {
        Ok(())
    } else {
        Err(StartError::BadClusterName(name.to_owned()))
    }
}

fn make(
    master: &MasterKey,
    entropy: &dyn Entropy,
    cluster: &str,
    now: OffsetDateTime,
) -> Result<(Authorities, Batch), StartError> {
    let mut batch = Batch::default();
    let record = ClusterRecord {
        cluster: cluster.to_owned(),
        master_fingerprint: master.fingerprint(),
        created_at: now,
    };
    batch.conditions.push(Condition::Absent { key: keys::CLUSTER.to_owned() });
    batch.writes.push(put(keys::CLUSTER, &record));

    let mut keep = |kind: CaKind, key: &AuthorityKey, certificate: Option<&[u8]>| {
        let place = keys::authority(ca_kind_text(kind));
        let mut nonce = [0; 12];
        entropy.fill(&mut nonce);
        let record = AuthorityRecord {
            kind: ca_kind_text(kind).to_owned(),
            sealed_key: Sealed(master.seal(place.as_bytes(), nonce, &key.to_pkcs8())),
            certificate: certificate.map(|der| Sealed(der.to_vec())),
            created_at: now,
        };
        batch.conditions.push(Condition::Absent { key: place.clone() });
        batch.writes.push(Write::Put { key: place, value: record.encode() });
    };
    let mut x509 = |kind: CaKind| -> Result<X509Authority, CaError> {
        let mut serial = [0; 16];
        entropy.fill(&mut serial);
        // Positive, and of a fixed length.
        serial[0] = (serial[0] & 0x7f) | 0x01;
        let name = format!("{cluster} {} CA", ca_kind_text(kind));
        let key = AuthorityKey::generate_p256()?;
        let ca = X509Authority::create(key, &name, serial, now - CA_BACK_DATED, now + CA_LIFETIME)?;
        keep(kind, ca.key(), Some(ca.certificate_der()));
        Ok(ca)
    };
    let (tls, host, bot) = (x509(CaKind::Tls)?, x509(CaKind::Host)?, x509(CaKind::Bot)?);
    let mut ssh = |kind: CaKind| -> Result<SshAuthority, CaError> {
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        entropy.fill(seed.as_mut());
        let ca = SshAuthority::new(AuthorityKey::ed25519_from_seed(&seed)?);
        keep(kind, ca.key(), None);
        Ok(ca)
    };
    let (ssh_host, ssh_user) = (ssh(CaKind::SshHost)?, ssh(CaKind::SshUser)?);
    let authorities =
        Authorities::new(cluster, &[], tls, host, bot, ssh_host, ssh_user).map_err(StartError::Bundle)?;
    batch.conditions.push(Condition::Absent { key: keys::CA_BUNDLE.to_owned() });
    batch.writes.push(put(keys::CA_BUNDLE, &signed(&authorities)));
    Ok((authorities, batch))
}

fn load(
    master: &MasterKey,
    cluster: &ClusterRecord,
    bundle: Option<&Loaded<CaBundleRecord>>,
    entries: &[Option<Entry>],
) -> Result<Authorities, StartError> {
    let mut opened = Vec::with_capacity(CA_KINDS.len());
    for (kind, entry) in CA_KINDS.into_iter().zip(entries) {
        let place = keys::authority(ca_kind_text(kind));
        let Some(entry) = entry else { return Err(StartError::Incomplete(place)) };
        let record = AuthorityRecord::decode(&entry.value)?;
        let der =
            master.open(place.as_bytes(), &record.sealed_key.0).map_err(|_| StartError::OtherMasterKey {
                stored: cluster.master_fingerprint.clone(),
                found: master.fingerprint(),
            })?;
        opened.push((place, AuthorityKey::from_pkcs8(&der)?, record.certificate));
    }
    let mut opened = opened.into_iter();
    let mut next = || opened.next().expect("one was pushed for each kind");
    let mut x509 = || {
        let (place, key, certificate) = next();
        let der = certificate.ok_or(StartError::Incomplete(format!("the certificate in {place}")))?;
        X509Authority::load(key, der.0).map_err(StartError::from)
    };
    let (tls, host, bot) = (x509()?, x509()?, x509()?);
    let ssh_host = SshAuthority::new(next().1);
    let ssh_user = SshAuthority::new(next().1);
    let before = bundle.map_or(&[][..], |bundle| &bundle.record.signed);
    Authorities::new(&cluster.cluster, before, tls, host, bot, ssh_host, ssh_user).map_err(StartError::Bundle)
}

/// A keyring whose first key is new opens what the older ones sealed: from now on its fingerprint names the store. A
/// bundle that had to be signed anew is kept for the next start and the other replicas.
async fn remember(
    store: &dyn Store,
    master: &MasterKey,
    authorities: &Authorities,
    record: &Loaded<ClusterRecord>,
    bundle: Option<&Loaded<CaBundleRecord>>,
    now: OffsetDateTime,
) -> Result<(), CommitError> {
    let mut batch = Batch::default();
    let next = ClusterRecord { master_fingerprint: master.fingerprint(), ..record.record.clone() };
    if next != record.record {
        batch.conditions.push(unchanged(keys::CLUSTER, Some(record)));
        batch.writes.push(put(keys::CLUSTER, &next));
    }
    let signed = signed(authorities);
    if bundle.is_none_or(|stored| stored.record != signed) {
        batch.conditions.push(unchanged(keys::CA_BUNDLE, bundle));
        batch.writes.push(put(keys::CA_BUNDLE, &signed));
    }
    if batch.writes.is_empty() {
        return Ok(());
    }
    store.commit(batch, now).await.map(drop)
}

fn signed(authorities: &Authorities) -> CaBundleRecord {
    CaBundleRecord { signed: authorities.bundle().0.clone() }
}
