//! Shows the arguments as a terminal may see them.

#![allow(clippy::print_stdout, reason = "an example shows something")]

fn main() {
    for argument in std::env::args().skip(1) {
        println!("{}", boundkey_text::clean(&argument, 256));
    }
}
