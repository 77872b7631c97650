use std::path::Path;

use boundkey_keystore::IdentityRecord;
use boundkey_proto::CaBundle;
use zeroize::Zeroizing;

use super::OutputError;
use super::directory::digest_of;
use crate::der::pem_certificate;

/// The name of a host key that is made here.
pub const HOST_KEY_NAME: &str = "ssh_host_ed25519_key";
const USER_KEY_NAME: &str = "id_ed25519";

/// One file of an output.
pub(super) struct OutFile {
    pub(super) name: String,
    pub(super) content: Zeroizing<Vec<u8>>,
}

impl OutFile {
    /// SHA-256, base64url.
    pub(super) fn digest(&self) -> String {
        digest_of(&self.content)
    }
}

/// What outputs are made of.
pub struct Material<'a> {
    /// What the last authenticated result gave.
    pub identity: &'a IdentityRecord,
    /// The cluster's CAs.
    pub bundle: &'a CaBundle,
    /// The revoked keys, as the server hands them out; empty: none.
    pub revoked_keys: &'a [u8],
}

impl Material<'_> {
    /// The private key stands last: where files can only be replaced one by one, a reader who finds the new key finds the
    /// certificate that belongs to it.
    pub(super) fn tls(&self) -> Vec<OutFile> {
        vec![
            text("cert.pem", self.pem_chain(1)),
            text("chain.pem", self.pem_chain(usize::MAX)),
            text("ca.pem", self.peers()),
            secret("key.pem", self.identity.tls_key.to_pkcs8_pem()),
        ]
    }

    pub(super) fn openssh_host(
        &self,
        host_key: Option<&Path>,
        dir: &Path,
        hosts: &[String],
    ) -> Result<Vec<OutFile>, OutputError> {
        let name = host_key_name(host_key);
        let key = host_key.map_or_else(|| dir.join(&name), Path::to_owned);
        let certificate = format!("{name}-cert.pub");
        // sshd reads a word with blanks in it from between double quotes; the configuration lets no others in.
        let sshd = format!(
            "# For sshd_config: Include \"{dir}/sshd.conf\"\nHostKey \"{key}\"\nHostCertificate \"{dir}/{certificate}\"\n\
             TrustedUserCAKeys \"{dir}/user_ca.pub\"\nRevokedKeys \"{dir}/revoked_keys\"\n",
            dir = dir.display(),
            key = key.display(),
        );
        let mut files = vec![
            text(&certificate, line(self.ssh_certificate()?)),
            text("user_ca.pub", self.bundle.ssh_user.iter().map(|ca| line(&ca.to_openssh())).collect()),
            text("known_hosts", self.known_hosts(hosts)),
            OutFile { name: "revoked_keys".to_owned(), content: Zeroizing::new(self.revoked_keys.to_vec()) },
            text("sshd.conf", sshd),
        ];
        if host_key.is_none()
            && let Some(key) = &self.identity.ssh_key
        {
            files.push(text(&format!("{name}.pub"), line(&key.public_key().to_openssh())));
            files.push(secret(&name, key.to_openssh_pem(&self.identity.id)));
        }
        Ok(files)
    }

    pub(super) fn openssh_user(&self, hosts: &[String]) -> Result<Vec<OutFile>, OutputError> {
        let key = self.identity.ssh_key.as_ref().ok_or(OutputError::NoSshCertificate)?;
        Ok(vec![
            text(&format!("{USER_KEY_NAME}-cert.pub"), line(self.ssh_certificate()?)),
            text(&format!("{USER_KEY_NAME}.pub"), line(&key.public_key().to_openssh())),
            text("known_hosts", self.known_hosts(hosts)),
            secret(USER_KEY_NAME, key.to_openssh_pem(&self.identity.id)),
        ])
    }

    /// Everything: also the server's CAs, and one file with all that a client of the cluster needs.
    pub(super) fn identity(&self, host_key: Option<&Path>, dir: &Path) -> Result<Vec<OutFile>, OutputError> {
        let mut files = Vec::new();
        if self.identity.ssh_certificate.is_some() {
            files =
                if self.is_bot() { self.openssh_user(&[])? } else { self.openssh_host(host_key, dir, &[])? };
        }
        let server = pem_all(&self.bundle.tls_der());
        let mut whole = Zeroizing::new(String::with_capacity(8 * 1024));
        whole.push_str(&self.identity.tls_key.to_pkcs8_pem());
        whole.push_str(&self.pem_chain(1));
        whole.push_str(&server);
        files.push(text("server-ca.pem", server));
        files.push(secret("identity.pem", whole));
        files.extend(self.tls());
        Ok(files)
    }

    fn is_bot(&self) -> bool {
        self.identity.identity_kind == "bot"
    }

    fn ssh_certificate(&self) -> Result<&str, OutputError> {
        self.identity.ssh_certificate.as_deref().ok_or(OutputError::NoSshCertificate)
    }

    fn pem_chain(&self, most: usize) -> String {
        self.identity.x509_chain.iter().take(most).map(|der| pem_certificate(der)).collect()
    }

    /// The CAs of all that may meet this identity: hosts and bots.
    fn peers(&self) -> String {
        pem_all(&self.bundle.host_der()) + &pem_all(&self.bundle.bot_der())
    }

    /// The cluster's host CA speaks for the cluster's hosts, not for every host there is: names below the cluster's name, and
    /// names without a dot (tokens' names and host ids, as the default names of hosts are).
    fn known_hosts(&self, more: &[String]) -> String {
        let cluster = self.bundle.cluster.to_ascii_lowercase();
        // Two lines: a pattern that excludes dots excludes them for its whole line.
        let mut hosts = vec![format!("*.{cluster}"), "*,!*.*,!*:*".to_owned()];
        if !more.is_empty() {
            hosts.push(more.join(","));
        }
        let authorities = self.bundle.ssh_host.iter().map(boundkey_keys::PublicKey::to_openssh);
        authorities
            .flat_map(|ca| {
                hosts.iter().map(move |hosts| format!("@cert-authority {hosts} {ca}\n")).collect::<Vec<_>>()
            })
            .collect()
    }
}

/// The file name of the host key that is certified.
fn host_key_name(host_key: Option<&Path>) -> String {
    host_key
        .and_then(Path::file_name)
        .map_or_else(|| HOST_KEY_NAME.to_owned(), |name| name.to_string_lossy().into_owned())
}

fn pem_all(certificates: &[Vec<u8>]) -> String {
    certificates.iter().map(|der| pem_certificate(der)).collect()
}

fn line(text: &str) -> String {
    format!("{}\n", text.trim_end())
}

fn text(name: &str, content: String) -> OutFile {
    OutFile { name: name.to_owned(), content: Zeroizing::new(content.into_bytes()) }
}

fn secret(name: &str, mut content: Zeroizing<String>) -> OutFile {
    OutFile { name: name.to_owned(), content: Zeroizing::new(std::mem::take(&mut *content).into_bytes()) }
}
