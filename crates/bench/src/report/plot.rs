//! Plots as SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::figure::{Figure, text};
use crate::results::Results;
use crate::system::System;

const WIDTH: u32 = 960;
const ROW_HEIGHT: u32 = 15;
/// The title and the legend stand beside each other above the bars.
const HEAD_HEIGHT: u32 = 44;
const LEGEND_WIDTH: i32 = 105;
const MARGIN: i32 = 12;
/// Between the bars of two loads, in bars.
const GAP: f64 = 1.0;

/// A plot that was drawn.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    pub(super) title: &'static str,
    pub(super) file: &'static str,
}

/// Draws all plots for which there are figures.
///
/// # Errors
/// If a file can't be written.
pub(super) fn draw(directory: &Path, results: &Results) -> Result<Vec<Plot>> {
    let wanted = [
        (Figure::OperationsPerSecond, Plot { title: "Operations per second", file: "throughput.svg" }),
        (Figure::P50Ms, Plot { title: "Latency p50, milliseconds", file: "latency-p50.svg" }),
        (Figure::P99Ms, Plot { title: "Latency p99, milliseconds", file: "latency-p99.svg" }),
    ];
    let mut drawn = Vec::new();
    for (figure, plot) in wanted {
        let groups = groups(results, figure);
        if !groups.is_empty() {
            draw_bars(&directory.join(plot.file), plot.title, &groups, &results.systems)
                .map_err(|error| anyhow!("can't draw {}: {error}", plot.file))?;
            drawn.push(plot);
        }
    }
    Ok(drawn)
}

/// The bars of one load.
struct Group {
    load: String,
    bars: Vec<(System, f64)>,
}

fn groups(results: &Results, figure: Figure) -> Vec<Group> {
    let of = |load: &String| {
        let bar = |system: &System| Some((*system, results.median(*system, load, figure)?));
        let bars: Vec<_> = results.systems.iter().filter_map(bar).filter(|(_, value)| *value > 0.0).collect();
        (!bars.is_empty()).then(|| Group { load: load.clone(), bars })
    };
    results.loads.iter().filter_map(|(load, _)| of(load)).collect()
}

fn colour(system: System) -> RGBColor {
    match system {
        System::Ruvector => RGBColor(0, 114, 178),
        System::Etcd => RGBColor(230, 159, 0),
        System::ZooKeeper => RGBColor(0, 158, 115),
        System::Ceiling => RGBColor(160, 160, 160),
    }
}

/// Horizontal bars, so that names have room, on a logarithmic scale, since loads differ by powers of ten.
fn draw_bars(
    file: &Path,
    title: &str,
    groups: &[Group],
    systems: &[System],
) -> Result<(), Box<dyn std::error::Error>> {
    let rows: f64 = groups.iter().map(|group| float(group.bars.len()) + GAP).sum();
    let height = 110 + groups.iter().map(|group| count(group.bars.len()) + 1).sum::<u32>() * ROW_HEIGHT;
    let root = SVGBackend::new(file, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let values = groups.iter().flat_map(|group| &group.bars).map(|(_, value)| *value);
    let (least, most) =
        values.fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)));
    let scale = (10_f64.powf(least.log10().floor()).min(least / 1.5)..most * 3.0).log_scale();
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .margin_top(HEAD_HEIGHT)
        .margin_left(130)
        .x_label_area_size(30)
        .build_cartesian_2d(scale, rows..0.0)?;
    chart
        .configure_mesh()
        .disable_y_axis()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|value| text(*value))
        .draw()?;
    let floor = chart.x_range().start;
    let mut row = GAP / 2.0;
    let mut places = Vec::new();
    for group in groups {
        let middle = row + float(group.bars.len()) / 2.0;
        places.push((&group.load, middle));
        for (system, value) in &group.bars {
            let bar = [(floor, row + 0.08), (*value, row + 0.92)];
            chart.draw_series([Rectangle::new(bar, colour(*system).filled())])?;
            let style = ("sans-serif", 11).into_text_style(&root);
            let label = Text::new(format!(" {}", text(*value)), (*value, row + 0.2), style);
            chart.draw_series([label])?;
            row += 1.0;
        }
        row += GAP;
    }
    for (load, middle) in places {
        let (_, y) = chart.backend_coord(&(floor, middle));
        root.draw(&Text::new(load.as_str(), (14, y - 7), ("sans-serif", 14)))?;
    }
    root.draw(&Text::new(title, (14, 12), ("sans-serif", 20)))?;
    legend(&root, systems)?;
    root.present()?;
    Ok(())
}

/// The systems' colours, in the upper right.
fn legend(
    root: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    systems: &[System],
) -> Result<(), Box<dyn std::error::Error>> {
    let right = WIDTH.cast_signed() - MARGIN;
    let mut x = right - LEGEND_WIDTH * count(systems.len()).cast_signed();
    for system in systems {
        root.draw(&Rectangle::new([(x, 18), (x + 12, 30)], colour(*system).filled()))?;
        root.draw(&Text::new(system.name(), (x + 17, 17), ("sans-serif", 14)))?;
        x += LEGEND_WIDTH;
    }
    Ok(())
}

fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

fn float(items: usize) -> f64 {
    f64::from(count(items))
}
