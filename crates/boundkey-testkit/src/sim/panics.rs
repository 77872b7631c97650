//! Panics of the simulated code: caught, and told with their message and place.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    static TOLD: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What the act returns, or how it panicked. Nothing is printed of that; panics elsewhere are told as always.
#[expect(clippy::print_stderr, reason = "the last word of a process that ends")]
pub(super) fn caught<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if !INSIDE.get() {
                return usual(panic);
            }
            if let Some(first) = TOLD.replace(Some(told(panic))) {
                // A panic while another one unwinds ends the process: nobody will be there to ask.
                eprintln!("{first}");
                usual(panic);
            }
        }));
    });
    TOLD.set(None);
    let before = INSIDE.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(act));
    INSIDE.set(before);
    outcome.map_err(|_| TOLD.take().unwrap_or_else(|| "panicked".to_owned()))
}

fn told(panic: &PanicHookInfo<'_>) -> String {
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    format!("panicked at {place}: {}", panic.payload_as_str().unwrap_or("(no message)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_its_message_and_place() {
        let fault = caught(|| -> u8 { panic!("no {} left", "room") }).expect_err("it panics");
        assert!(fault.starts_with("panicked at ") && fault.ends_with(": no room left"), "{fault}");
        let line = line!() - 2;
        assert!(fault.contains(&format!("panics.rs:{line}:")), "{fault}");
    }

    #[test]
    fn each_panic_is_told_by_itself_and_what_returns_is_given_back() {
        assert_eq!(caught(|| 5), Ok(5));
        for message in ["the first", "the second"] {
            let fault = caught(|| -> u8 { panic!("{message}") }).expect_err("it panics");
            assert!(fault.ends_with(message), "{fault}");
        }
        assert_eq!(caught(|| 6), Ok(6));
    }
}
