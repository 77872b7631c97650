//! What can be known of a configuration without the network: whether all that it names is there and can be used.

use std::path::Path;

use boundkey_files::{Owners, look_for_directory};

use super::{AgentConfig, Credential, OutputConfig, OutputKind};
use crate::outputs::OutputError;

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
        note(data_dir_fault(&self.data_dir));
        for (number, output) in self.outputs.iter().enumerate() {
            let field = format!("outputs[{number}]");
            note(access_fault(&field, output));
            note(host_key_fault(&field, output));
            note(place_fault(&field, output));
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

/// A place that is not there yet can be made, if the way to it is good; one that is something else cannot be used.
fn data_dir_fault(path: &Path) -> Option<String> {
    let error = look_for_directory(path, &Owners::looked_at_by_process()).err()?;
    Some(format!("agent.data_dir: {}", crate::agent::report(&error)))
}

fn place_fault(field: &str, output: &OutputConfig) -> Option<String> {
    match crate::outputs::check_place(&output.path, &output.access) {
        // Said of the user or group itself.
        Ok(()) | Err(OutputError::Access(_)) => None,
        Err(error) => Some(format!("{field}.path: {}", crate::agent::report(&error))),
    }
}
