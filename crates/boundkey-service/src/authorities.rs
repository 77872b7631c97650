//! The cluster's five CAs, opened, and the documents that are signed once for each change of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boundkey_ca::{SshAuthority, X509Authority};
use boundkey_lifecycle::CaKind;
use boundkey_proto::{BundleError, CaBundle, SignedBundle};

/// Every kind, in the order in which they are listed.
pub const CA_KINDS: [CaKind; 5] = [CaKind::Tls, CaKind::Host, CaKind::Bot, CaKind::SshHost, CaKind::SshUser];

/// The kind as in `ca/KIND`, `/v1/ca/KIND` and `ca export --type KIND`.
pub fn ca_kind_text(kind: CaKind) -> &'static str {
    match kind {
        CaKind::Tls => "tls",
        CaKind::Host => "host",
        CaKind::Bot => "bot",
        CaKind::SshHost => "ssh-host",
        CaKind::SshUser => "ssh-user",
    }
}

/// The cluster's CAs.
pub struct Authorities {
    /// Signs the server's own certificate and the CA bundle.
    pub tls: X509Authority,
    /// Signs hosts' certificates.
    pub host: X509Authority,
    /// Signs bots' certificates and administration identities.
    pub bot: X509Authority,
    /// Signs OpenSSH host certificates.
    pub ssh_host: SshAuthority,
    /// Signs OpenSSH user certificates.
    pub ssh_user: SshAuthority,
    /// The bundle that every join's answer carries.
    bundle: SignedBundle,
}

impl Authorities {
    /// With the bundle as it was signed before, if it is of these very CAs; signed anew otherwise. Replicas and restarts
    /// hand out the same bytes, so that clients verify a bundle once for each change.
    pub(crate) fn new(
        cluster: &str,
        signed_before: &[String],
        tls: X509Authority,
        host: X509Authority,
        bot: X509Authority,
        ssh_host: SshAuthority,
        ssh_user: SshAuthority,
    ) -> Result<Self, BundleError> {
        let content = CaBundle {
            cluster: cluster.to_owned(),
            version: 1,
            tls: vec![STANDARD.encode(tls.certificate_der())],
            host: vec![STANDARD.encode(host.certificate_der())],
            bot: vec![STANDARD.encode(bot.certificate_der())],
            ssh_host: vec![ssh_host.key().public_key().clone()],
            ssh_user: vec![ssh_user.key().public_key().clone()],
            note: None,
        };
        let before = SignedBundle(signed_before.to_vec());
        let fits = before.verify(&[tls.key().public_key().clone()]).is_ok_and(|found| found == content);
        let bundle = if fits { before } else { SignedBundle::sign(&content, &[tls.key()])? };
        Ok(Self { tls, host, bot, ssh_host, ssh_user, bundle })
    }

    /// The signed bundle.
    pub fn bundle(&self) -> &SignedBundle {
        &self.bundle
    }

    /// The X.509 CA of a kind; none for the OpenSSH ones.
    pub fn x509(&self, kind: CaKind) -> Option<&X509Authority> {
        match kind {
            CaKind::Tls => Some(&self.tls),
            CaKind::Host => Some(&self.host),
            CaKind::Bot => Some(&self.bot),
            CaKind::SshHost | CaKind::SshUser => None,
        }
    }

    /// The OpenSSH CA of a kind; none for the X.509 ones.
    pub fn ssh(&self, kind: CaKind) -> Option<&SshAuthority> {
        match kind {
            CaKind::SshHost => Some(&self.ssh_host),
            CaKind::SshUser => Some(&self.ssh_user),
            CaKind::Tls | CaKind::Host | CaKind::Bot => None,
        }
    }

    /// What agents may pin: the tls CA.
    pub fn pins(&self) -> Vec<String> {
        vec![self.tls.pin()]
    }

    /// A CA as it is exported: PEM, or one line in OpenSSH form.
    pub fn export(&self, kind: CaKind) -> String {
        match (self.x509(kind), self.ssh(kind)) {
            (Some(ca), _) => pem("CERTIFICATE", ca.certificate_der()),
            (None, Some(ca)) => format!("{}\n", ca.key().public_key().to_openssh()),
            (None, None) => String::new(),
        }
    }
}

/// PEM (RFC 7468): 64 characters to a line.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(64) {
        text.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
