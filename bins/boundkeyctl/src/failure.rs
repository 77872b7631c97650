//! Errors as people read them: what was found, where, what is allowed, what to do next.

use anyhow::Error;
use boundkey_client::admin::AdminError;

/// A word on the command line that cannot be meant: exit status 2.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Returns wrong usage, said as `format!` does.
macro_rules! usage {
    ($($text:tt)*) => {
        return Err($crate::failure::Usage(format!($($text)*)).into())
    };
}
pub(crate) use usage;

/// Prints to standard error.
pub(crate) fn show(error: &Error) {
    eprintln!("boundkeyctl: {error:#}");
    if let Some(AdminError::Refused(problem)) = error.downcast_ref::<AdminError>() {
        for violation in &problem.violations {
            eprintln!("  {}: found {}; allowed: {}", violation.path, violation.found, violation.allowed);
        }
        if let (500.., Some(id)) = (problem.status, &problem.correlation_id) {
            eprintln!("  correlation id: {id}");
        }
    }
}
