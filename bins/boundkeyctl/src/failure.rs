//! Errors as people read them: what was found, where, what is allowed, what to do next.

use anyhow::Error;
use boundkey_client::admin::AdminError;

/// Returns wrong usage, said as `format!` does.
macro_rules! usage {
    ($($text:tt)*) => {
        return Err(boundkey_console::Usage(format!($($text)*)).into())
    };
}
pub(crate) use usage;

/// The error as it is told: with every violation that the server found, and what its log can be searched for.
pub(crate) fn told(error: Error) -> Error {
    let Some(AdminError::Refused(problem)) = error.downcast_ref::<AdminError>() else { return error };
    let mut text = format!("{error:#}");
    for violation in &problem.violations {
        text.push_str(&format!(
            "\n  {}: found {}; allowed: {}",
            violation.path, violation.found, violation.allowed
        ));
    }
    if let (500.., Some(id)) = (problem.status, &problem.correlation_id) {
        text.push_str(&format!("\n  correlation id: {id}"));
    }
    anyhow::anyhow!(text)
}
