//! Errors as people read them: what was found, where, what is allowed, what to do next.

use anyhow::Error;
use boundkey_client::admin::AdminError;

/// Prints to standard error.
pub(crate) fn show(error: &Error) {
    if let Some(AdminError::Refused(problem)) = error.downcast_ref::<AdminError>() {
        eprintln!("boundkeyctl: {}", problem.detail);
        for violation in &problem.violations {
            eprintln!("  {}: found {}; allowed: {}", violation.path, violation.found, violation.allowed);
        }
        if let (500.., Some(id)) = (problem.status, &problem.correlation_id) {
            eprintln!("  correlation id: {id}");
        }
        return;
    }
    eprintln!("boundkeyctl: {error:#}");
}
