//! The measured part of a page of documentation, whose other parts are kept by hand.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::plot;
use super::table::{Grid, errors, grids};
use crate::figure::{median, text};
use crate::results::Results;

const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";
/// The directory of the plots, beside the page.
const PLOTS: &str = "benchmarks";

/// Replaces what stands between the page's markers, and the plots.
///
/// # Errors
/// If the page has no markers, or files can't be read or written.
pub(crate) fn write(page: &Path, results: &Results) -> Result<()> {
    let old = fs::read_to_string(page).with_context(|| format!("can't read {}", page.display()))?;
    let directory = page.parent().unwrap_or(Path::new("")).join(PLOTS);
    fs::create_dir_all(&directory).with_context(|| format!("can't make {}", directory.display()))?;
    let plots = plot::draw(&directory, results)?;
    let new = replace(&old, &measured_part(results, &plots)).with_context(|| page.display().to_string())?;
    fs::write(page, new).with_context(|| format!("can't write {}", page.display()))
}

fn replace(page: &str, part: &str) -> Result<String> {
    let count = |marker| page.matches(marker).count();
    ensure!(count(BEGIN) == 1 && count(END) == 1, "there must be one `{BEGIN}` and one `{END}`");
    let (before, rest) = page.split_once(BEGIN).context("the first marker is missing")?;
    let (_, after) = rest.split_once(END).context("the markers are in the wrong order")?;
    Ok(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", part.trim()))
}

fn measured_part(results: &Results, plots: &[plot::Plot]) -> String {
    let mut part = conditions(results);
    for plot in plots {
        let _ = write!(part, "\n![{}]({PLOTS}/{})\n", plot.title, plot.file);
    }
    for grid in grids(results) {
        let _ = write!(part, "\n### {}\n\n{}", grid.title, markdown(&grid));
    }
    let _ = write!(part, "\n### Loads\n\n| load | what each client does |\n|---|---|\n");
    for (name, description) in &results.loads {
        let _ = writeln!(part, "| {name} | {description} |");
    }
    let errors = errors(results);
    if errors.is_empty() {
        part += "\nNo operation failed.\n";
    } else {
        let _ = write!(part, "\n### Errors\n\n");
        errors.iter().for_each(|line| part += &format!("- {line}\n"));
    }
    part
}

/// On what, of what and how was measured.
fn conditions(results: &Results) -> String {
    let machine = &results.machine;
    let versions: Vec<String> =
        results.versions.iter().map(|(system, version)| format!("{} {version}", system.name())).collect();
    let pace = match results.rate {
        None => "closed loop".to_owned(),
        Some(rate) => format!("open loop of {} operations a second", text(rate)),
    };
    let sync = |figure: fn(&crate::disk::SyncRate) -> f64| {
        text(median(results.disk.iter().map(figure)).unwrap_or(0.0))
    };
    format!(
        "- **Date** {}\n- **Machine** {}, {} cores, {:.0} GiB, Linux {}, data on {}\n- **Versions** {}\n\
         - **Run** {} rounds of {} s a load; {} clients on {} connections unless said, {pace};\n  \
         {} keys with values of {} bytes; {} leases; memory and restart with {} keys\n\
         - **The disk** {} writes of 4 KiB a second, each synced: p50 {} ms, p99 {} ms\n",
        machine.date,
        machine.processor,
        machine.cores,
        machine.memory_gib,
        machine.kernel,
        machine.filesystem,
        versions.join(", "),
        results.rounds,
        results.seconds,
        results.clients,
        results.connections,
        crate::figure::count(results.keys),
        results.value_bytes,
        crate::figure::count(results.leases),
        crate::figure::count(results.many_keys),
        sync(|rate| rate.per_second),
        sync(|rate| rate.p50_ms),
        sync(|rate| rate.p99_ms),
    )
}

fn markdown(grid: &Grid) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule = format!("|---{}|\n", "|---:".repeat(grid.head.len() - 1));
    let rows: String = grid.rows.iter().map(|row| line(row)).collect();
    format!("{}{rule}{rows}", line(&grid.head))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::results::tests::example;

    const PAGE: &str =
        "# Title\n\nby hand\n\n<!-- measured: begin -->\nold\n<!-- measured: end -->\n\nthe end\n";

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let new = replace(PAGE, "new\n").unwrap();
        assert_eq!(new, PAGE.replace("\nold\n", "\n\nnew\n\n"));
        assert_eq!(replace(&new, "new").unwrap(), new, "twice is as once");
    }

    #[test]
    fn a_page_without_markers_stays_as_it_is() {
        let twice = format!("{PAGE}{PAGE}");
        let reversed = format!("{END}\n{BEGIN}\n");
        for page in ["", BEGIN, END, twice.as_str(), reversed.as_str()] {
            assert!(replace(page, "new").is_err(), "{page}");
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("page.md");
        fs::write(&file, "by hand").unwrap();
        assert!(write(&file, &example()).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "by hand");
    }

    #[test]
    fn a_page_holds_what_was_measured_on_what() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("page.md");
        fs::write(&file, PAGE).unwrap();
        write(&file, &example()).unwrap();
        let page = fs::read_to_string(&file).unwrap();
        for expected in [
            "by hand",
            "etcd 3.4.23, ruvector 0.1.0",
            "3 rounds of 5 s a load; 64 clients on 8 connections",
            "memory and restart with 1,000,000 keys",
            "| load | ruvector | etcd | by etcd |\n|---|---:|---:|---:|\n| put | 2,000 | 500 | 5.00 × |\n",
            "- get on ruvector: 1 operations failed",
            "the end",
        ] {
            assert!(page.contains(expected), "{expected}\nis not in\n{page}");
        }
        for link in page.lines().filter_map(|line| line.strip_prefix("![")?.split_once("](")) {
            let plot = fs::read_to_string(directory.path().join(link.1.trim_end_matches(')'))).unwrap();
            assert!(plot.starts_with("<svg") && plot.contains("put"), "{plot}");
        }
        assert!(!page.contains("\nold\n"));
    }
}
