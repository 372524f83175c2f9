//! Results for people: on the terminal, and as a page with plots.

mod page;
mod plot;
mod table;

pub(crate) use page::write;
pub(crate) use table::for_terminal;
