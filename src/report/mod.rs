//! Values to text: tables, diagnostics, the layouts of birdc and calicoctl, scenario reports.

pub mod birdc;
pub mod calicoctl;
mod chain;
mod console;
pub mod diagnostic;
mod exit;
mod json;
mod junit;
pub mod plan;

pub use chain::chain;
pub use console::Console;
pub use exit::exit_code;
pub use json::json;
pub use junit::junit;
