//! `ca export`, `crl`, `krl`

use anyhow::Result;

use crate::arguments::{CaCommand, Context, CrlOptions, KrlOptions};
use crate::output;
use boundkey_console::print_bytes;

pub(crate) async fn export(context: Context, command: CaCommand) -> Result<()> {
    let CaCommand::Export { kind } = command;
    print_bytes(&context.client().raw(&format!("/v1/ca/{kind}")).await?)
}

pub(crate) async fn crl(context: Context, options: CrlOptions) -> Result<()> {
    let list = context.client().raw(&format!("/v1/crl/{}", options.ca)).await?;
    output::to_file_or_stdout(&list, options.out.as_deref())
}

pub(crate) async fn krl(context: Context, options: KrlOptions) -> Result<()> {
    let list = context.client().raw("/v1/krl").await?;
    output::to_file_or_stdout(&list, options.out.as_deref())
}
