use boundkey_client::config::{AgentConfig, Environment};
use boundkey_keystore::AgentState;
use boundkey_keystore::conformance::assert_same;

/// The agent's one file. Written out, it is read as the same.
pub fn agent_state(data: &[u8]) {
    match AgentState::from_json(data) {
        Ok(state) => {
            let written = state.to_json();
            let again = AgentState::from_json(&written).expect("what was written is read");
            assert_same(&again, &state);
            assert_eq!(*again.to_json(), *written);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The agent's configuration.
pub fn agent_config(data: &[u8]) {
    if let Err(error) = AgentConfig::parse(data, "boundkey.yaml", Environment::default()) {
        assert!(!error.to_string().is_empty());
    }
}

/// The server's configuration.
pub fn server_config(data: &[u8]) {
    assert_ne!(server_config_fault(data).as_deref(), Some(""));
}

/// What is wrong with a configuration of the server.
pub fn server_config_fault(data: &[u8]) -> Option<String> {
    server::Settings::parse(data, "server.yaml").err().map(|error| error.to_string())
}

/// The binary has no library; its reader is compiled in here.
#[path = "../../bins/boundkey-server/src/config.rs"]
#[allow(dead_code, reason = "only the reader is used")]
mod server;
