//! Tables: one for each figure, with a row for each load and a column for each system.

use comfy_table::{CellAlignment, Table, presets};

use crate::figure::{Figure, text};
use crate::results::Results;
use crate::system::System;

/// What is set against the others.
const SUBJECT: System = System::Ruvector;
/// Where nothing was measured.
const NOTHING: &str = "–";

/// A table without its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) title: &'static str,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// The tables of all figures that were measured.
pub(super) fn grids(results: &Results) -> Vec<Grid> {
    Figure::REPORTED.into_iter().filter_map(|figure| grid(results, figure)).collect()
}

/// All tables and what errors there were, as text.
pub(crate) fn for_terminal(results: &Results) -> String {
    let mut text = String::new();
    for grid in grids(results) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(grid.head).add_rows(grid.rows);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        text += &format!("{}\n{table}\n\n", grid.title);
    }
    for line in errors(results) {
        text += &format!("ERRORS: {line}\n");
    }
    text
}

/// A line for each load that had errors on a system.
pub(super) fn errors(results: &Results) -> Vec<String> {
    let mut lines = Vec::new();
    for (load, _) in &results.loads {
        for system in &results.systems {
            let errors = results.errors(*system, load);
            if errors > 0 {
                lines.push(format!("{load} on {}: {errors} operations failed", system.name()));
            }
        }
    }
    lines
}

/// The table of one figure: the subject first, and the others each with the ratio of the subject's figure to theirs.
fn grid(results: &Results, figure: Figure) -> Option<Grid> {
    let others: Vec<System> = results.systems.iter().copied().filter(|system| *system != SUBJECT).collect();
    let mut head = vec!["load".to_owned(), SUBJECT.name().to_owned()];
    let measured = |system: &System| {
        results.loads.iter().any(|(load, _)| results.median(*system, load, figure).is_some())
    };
    let others: Vec<System> = others.into_iter().filter(measured).collect();
    for other in &others {
        head.extend([other.name().to_owned(), format!("by {}", other.name())]);
    }
    let mut rows = Vec::new();
    for (load, _) in &results.loads {
        let systems = std::iter::once(&SUBJECT).chain(&others);
        if systems.clone().all(|system| results.median(*system, load, figure).is_none()) {
            continue;
        }
        let mut row = vec![load.clone(), show(results.median(SUBJECT, load, figure))];
        for other in &others {
            row.push(show(results.median(*other, load, figure)));
            let ratio = results.ratio(SUBJECT, *other, load, figure);
            row.push(ratio.map_or_else(|| NOTHING.to_owned(), |ratio| format!("{} ×", text(ratio))));
        }
        rows.push(row);
    }
    (!rows.is_empty()).then_some(Grid { title: figure.title(), head, rows })
}

fn show(value: Option<f64>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::example;

    #[test]
    fn a_table_holds_medians_and_ratios_of_pairs() {
        let grids = grids(&example());
        assert_eq!(grids.len(), 2, "only what was measured");
        assert_eq!(grids[0].title, "Operations per second");
        assert_eq!(grids[0].head, ["load", "ruvector", "etcd", "by etcd"]);
        assert_eq!(grids[0].rows[0], ["put", "2,000", "500", "5.00 ×"]);
        assert_eq!(grids[0].rows[1], ["get", "20,000", "–", "–"]);
    }

    #[test]
    fn errors_are_shown() {
        let text = for_terminal(&example());
        assert!(text.contains("ERRORS: get on ruvector: 1 operations failed"), "{text}");
        assert!(!text.contains("put on"), "{text}");
    }
}
