//! The built binaries, as a user would use them.

mod administration;
mod answers;
mod attacks;
mod bad_input;
mod certificates;
mod faults;
mod guide;
mod hostile_server;
mod hosts;
mod overload;
mod readers;
mod recovery;
mod ssh;
mod static_keys;
mod verbs;

use boundkey_testkit::Cluster;

/// A token for hosts with role Node.
pub(crate) fn node_token(name: &str) -> String {
    format!(
        "kind: token\nversion: v2\nmetadata:\n  name: {name}\nspec:\n  roles: [Node]\n  join_method: bound_keypair\n"
    )
}

/// The enrolment's facts of a token.
pub(crate) fn facts(cluster: &Cluster, token: &str) -> serde_json::Value {
    cluster.token(token)["status"]["bound_keypair"].clone()
}
