//! OpenSSH certificates: the one place of `ssh-key` in this crate.

use boundkey_keys::PublicKey;
use ipnet::IpNet;
use signature::Signer;
use ssh_key::certificate::{Builder, CertType, Certificate};
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, EcdsaCurve, Signature};
use time::OffsetDateTime;

use crate::key::AuthorityKey;
use crate::lint::{self, Window};
use crate::{CaError, LintError};

const DOCUMENT: &str = "OpenSSH certificate";

/// What an OpenSSH certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SshProfile {
    /// A host key's (ssh-host CA): principals are host names, no options, no extensions.
    Host,
    /// A user key's (ssh-user CA): principals are logins.
    User,
}

/// One OpenSSH certificate to sign. Equal requests give equal to-be-signed bytes.
#[derive(Debug, Clone)]
pub struct SshRequest<'a> {
    /// What it is for.
    pub profile: SshProfile,
    /// The key to certify, of any kind that `boundkey-keys` accepts (RSA of 2048 bits and more too).
    pub public_key: &'a PublicKey,
    /// e.g. `token=example-token instance=ID roles=Node`: 1 to 1024 printable ASCII characters. sshd logs it.
    pub key_id: &'a str,
    /// Never empty, never a wildcard: see [`crate::is_principal`]. 256 at most, as OpenSSH reads no more.
    pub principals: &'a [String],
    /// Never 0, which cannot be revoked.
    pub serial: u64,
    /// Makes the to-be-signed bytes deterministic: derived by the caller.
    pub nonce: [u8; 16],
    /// As it stands in the certificate, cut to seconds: the caller back-dates by 5 min.
    pub not_before: OffsetDateTime,
    /// As it stands in the certificate, cut to seconds.
    pub not_after: OffsetDateTime,
}

impl SshRequest<'_> {
    pub(crate) fn window(&self) -> Window {
        Window::new(self.not_before, self.not_after)
    }
}

/// What a user certificate permits a session to do: the extensions that `ssh-keygen` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SshPermission {
    /// `permit-X11-forwarding`
    X11Forwarding,
    /// `permit-agent-forwarding`
    AgentForwarding,
    /// `permit-port-forwarding`
    PortForwarding,
    /// `permit-pty`
    Pty,
    /// `permit-user-rc`
    UserRc,
}

impl SshPermission {
    /// All five: what `ssh-keygen` grants unless told otherwise. sshd's own configuration still limits them.
    pub const ALL: [Self; 5] =
        [Self::X11Forwarding, Self::AgentForwarding, Self::PortForwarding, Self::Pty, Self::UserRc];

    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::X11Forwarding => "permit-X11-forwarding",
            Self::AgentForwarding => "permit-agent-forwarding",
            Self::PortForwarding => "permit-port-forwarding",
            Self::Pty => "permit-pty",
            Self::UserRc => "permit-user-rc",
        }
    }
}

/// Restrictions of a user certificate. The default is what `ssh-keygen` makes: all permissions, no options.
#[derive(Debug, Clone, Copy)]
pub struct SshOptions<'a> {
    /// Critical option `source-address`: the networks from which it may be used. Empty: from anywhere.
    pub source_addresses: &'a [IpNet],
    /// Critical option `force-command`: the only command that sshd runs for it.
    pub force_command: Option<&'a str>,
    /// Extensions.
    pub permissions: &'a [SshPermission],
}

impl Default for SshOptions<'_> {
    fn default() -> Self {
        Self { source_addresses: &[], force_command: None, permissions: &SshPermission::ALL }
    }
}

/// An OpenSSH CA (ssh-host or ssh-user).
pub struct SshAuthority {
    key: AuthorityKey,
}

impl SshAuthority {
    /// A CA is its key and nothing more.
    pub fn new(key: AuthorityKey) -> Self {
        Self { key }
    }

    /// The CA's key.
    pub fn key(&self) -> &AuthorityKey {
        &self.key
    }

    /// Signs with the default options of the profile. OpenSSH certificate, one line, without comment.
    ///
    /// # Errors
    /// [`CaError::Refused`] with everything that is wrong.
    pub fn sign(&self, request: &SshRequest<'_>) -> Result<String, CaError> {
        self.sign_with(request, &SshOptions::usual(request.profile))
    }

    /// Whether [`SshAuthority::sign`] would sign this: to be asked before anything is promised.
    ///
    /// # Errors
    /// Everything that is wrong with the request.
    pub fn check(&self, request: &SshRequest<'_>) -> Result<(), LintError> {
        lint::ssh_request(request, &SshOptions::usual(request.profile))
    }

    /// Signs with explicit options; a host certificate has none.
    ///
    /// # Errors
    /// [`CaError::Refused`] with everything that is wrong.
    pub fn sign_with(&self, request: &SshRequest<'_>, options: &SshOptions<'_>) -> Result<String, CaError> {
        lint::ssh_request(request, options)?;
        let window = request.window();
        let (not_before, not_after) = (window.not_before.unsigned_abs(), window.not_after.unsigned_abs());
        let subject = key_data(request.public_key)?;
        let mut builder =
            Builder::new(request.nonce, subject, not_before, not_after).map_err(CaError::encoding)?;
        fill(&mut builder, request, options).map_err(CaError::encoding)?;
        let ca = key_data(self.key.public_key())?;
        let signer = SshSigner { key: &self.key, ca };
        let certificate = builder.sign(&signer).map_err(CaError::encoding)?;
        let line = certificate.to_openssh().map_err(CaError::encoding)?;
        let view = inspect_ssh(&line)?;
        lint::ssh_result(&view, request, options, self.key.public_key())?;
        Ok(line)
    }
}

fn fill(builder: &mut Builder, request: &SshRequest<'_>, options: &SshOptions<'_>) -> ssh_key::Result<()> {
    builder.serial(request.serial)?;
    builder.key_id(request.key_id)?;
    builder.cert_type(match request.profile {
        SshProfile::Host => CertType::Host,
        SshProfile::User => CertType::User,
    })?;
    for principal in request.principals {
        builder.valid_principal(principal.as_str())?;
    }
    for (name, value) in options.critical() {
        builder.critical_option(name, value)?;
    }
    for permission in options.permissions {
        builder.extension(permission.extension(), "")?;
    }
    Ok(())
}

impl SshOptions<'_> {
    /// The default for a user, nothing for a host.
    fn usual(profile: SshProfile) -> Self {
        match profile {
            SshProfile::User => Self::default(),
            SshProfile::Host => Self { permissions: &[], ..Self::default() },
        }
    }

    /// Names and values, sorted by name as the format wants them.
    pub(crate) fn critical(&self) -> Vec<(String, String)> {
        let mut options = Vec::new();
        if let Some(command) = self.force_command {
            options.push(("force-command".to_owned(), command.to_owned()));
        }
        if !self.source_addresses.is_empty() {
            let list: Vec<String> = self.source_addresses.iter().map(IpNet::to_string).collect();
            options.push(("source-address".to_owned(), list.join(",")));
        }
        options
    }
}

/// What an OpenSSH certificate says. Nothing in it is checked: no signature, no clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshView {
    /// What it is for.
    pub profile: SshProfile,
    /// The certified key.
    pub public_key: PublicKey,
    /// The CA's key, as the certificate claims.
    pub ca_key: PublicKey,
    /// What sshd logs.
    pub key_id: String,
    /// Logins or host names; empty would mean all.
    pub principals: Vec<String>,
    /// Serial.
    pub serial: u64,
    /// Nonce, of any length.
    pub nonce: Vec<u8>,
    /// Start of validity in seconds since 1970.
    pub valid_after: u64,
    /// End of validity in seconds since 1970.
    pub valid_before: u64,
    /// Critical options, sorted by name.
    pub critical_options: Vec<(String, String)>,
    /// Extensions, sorted by name.
    pub extensions: Vec<(String, String)>,
}

/// Reads an OpenSSH certificate line.
///
/// # Errors
/// [`CaError::Unreadable`]: not one, longer than 64 KiB, or of keys that are not accepted here.
pub fn inspect_ssh(line: &str) -> Result<SshView, CaError> {
    if line.len() > 64 * 1024 {
        return Err(CaError::unreadable(DOCUMENT, format_args!("{} bytes", line.len())));
    }
    let unreadable = |error: ssh_key::Error| CaError::unreadable(DOCUMENT, error);
    let certificate = Certificate::from_openssh(line).map_err(unreadable)?;
    let pairs = |map: &ssh_key::certificate::OptionsMap| {
        map.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    Ok(SshView {
        profile: match certificate.cert_type() {
            CertType::Host => SshProfile::Host,
            CertType::User => SshProfile::User,
        },
        public_key: public_key(certificate.public_key())?,
        ca_key: public_key(certificate.signature_key())?,
        key_id: certificate.key_id().to_owned(),
        principals: certificate.valid_principals().to_vec(),
        serial: certificate.serial(),
        nonce: certificate.nonce().to_vec(),
        valid_after: certificate.valid_after(),
        valid_before: certificate.valid_before(),
        critical_options: pairs(certificate.critical_options()),
        extensions: pairs(certificate.extensions()),
    })
}

fn key_data(key: &PublicKey) -> Result<KeyData, CaError> {
    let key = ssh_key::PublicKey::from_openssh(&key.to_openssh()).map_err(CaError::encoding)?;
    Ok(key.key_data().clone())
}

fn public_key(key: &KeyData) -> Result<PublicKey, CaError> {
    let line = ssh_key::PublicKey::from(key.clone())
        .to_openssh()
        .map_err(|error| CaError::unreadable(DOCUMENT, error))?;
    PublicKey::from_openssh(&line).map_err(|error| CaError::unreadable(DOCUMENT, error))
}

/// Puts the CA's signatures, made on ring, where `ssh-key` wants them.
struct SshSigner<'a> {
    key: &'a AuthorityKey,
    ca: KeyData,
}

impl From<&SshSigner<'_>> for KeyData {
    fn from(signer: &SshSigner<'_>) -> Self {
        signer.ca.clone()
    }
}

impl Signer<Signature> for SshSigner<'_> {
    fn try_sign(&self, message: &[u8]) -> Result<Signature, signature::Error> {
        let algorithm = match self.key.public_key().algorithm() {
            boundkey_keys::Algorithm::EcdsaP256 => Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
            _ => Algorithm::Ed25519,
        };
        let bytes = self.key.sign_ssh(message).map_err(signature::Error::from_source)?;
        Signature::new(algorithm, bytes).map_err(signature::Error::from_source)
    }
}
