//! What can be known of a configuration without the network: whether all that it names is there and can be used.

use std::path::Path;

use super::{AgentConfig, Credential, OutputConfig, OutputKind};

impl AgentConfig {
    /// Everything that this configuration names and this machine does not have, a sentence each; nothing is changed.
    ///
    /// ```no_run
    /// use boundkey_client::config::{AgentConfig, Environment};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///
    /// let config = AgentConfig::load("/etc/boundkey.yaml".as_ref(), Environment::of_process())?;
    /// for fault in config.missing_here() {
    ///     eprintln!("{fault}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn missing_here(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut note = |fault: Option<String>| faults.extend(fault);
        note(self.credential_fault());
        note(self.trust.load().err().map(|error| crate::agent::report(&error)));
        note(not_a_directory("agent.data_dir", &self.data_dir));
        for (number, output) in self.outputs.iter().enumerate() {
            let field = format!("outputs[{number}]");
            note(access_fault(&field, output));
            note(host_key_fault(&field, output));
            note(not_a_directory(&format!("{field}.path"), &output.path));
        }
        faults
    }

    fn credential_fault(&self) -> Option<String> {
        let error = match &self.credential {
            Credential::StoredKey => return None,
            Credential::StaticKey(source) => source.read().err(),
            // Needed for the first join only; the file may be gone afterwards.
            Credential::Secret(_) if self.data_dir.join("state.json").exists() => return None,
            Credential::Secret(source) => source.read().err(),
        };
        error.map(|error| crate::agent::report(&error))
    }
}

fn access_fault(field: &str, output: &OutputConfig) -> Option<String> {
    crate::outputs::resolve_access(&output.access).err().map(|error| format!("{field}: {error}"))
}

fn host_key_fault(field: &str, output: &OutputConfig) -> Option<String> {
    let OutputKind::OpensshHost { host_key: Some(path) } = &output.kind else { return None };
    let error = crate::join::read_host_key(path).err()?;
    Some(format!("{field}.host_key: {}", crate::agent::report(&error)))
}

/// A place that is not there yet can be made; one that is something else cannot be used.
fn not_a_directory(field: &str, path: &Path) -> Option<String> {
    let found = std::fs::metadata(path).ok()?;
    (!found.is_dir()).then(|| format!("{field}: {} is no directory; allowed: a directory", path.display()))
}
