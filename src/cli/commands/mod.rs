//! One file per verb, or per few verbs that are one thing.

pub(crate) mod calico;
pub(crate) mod capture;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod exec;
pub(crate) mod fault;
pub(crate) mod file;
pub(crate) mod ls;
pub(crate) mod probe;
pub(crate) mod show;
pub(crate) mod status;
pub(crate) mod test;
pub(crate) mod up;

use serde::Serialize;

use super::failure::Failure;

/// Prints text to standard output; a reader that went away is no error.
pub(crate) fn print(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Prints one JSON value.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Failure::environment(format!("write JSON: {error}")))?;
    print(&text);
    print("\n");
    Ok(())
}

/// An empty table in the house's look.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    table.set_header(header);
    // A serial console says that it has no columns, and means that it does not know.
    if table.width() == Some(0) {
        table.force_no_tty();
    }
    table
}
