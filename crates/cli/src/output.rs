//! The only place that writes results and failures: lines and tables for people, JSON for programs.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use owo_colors::OwoColorize;
use serde::Serialize;
use serde_json::json;

use crate::failure::{Failure, Result};

/// How results are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    format: Format,
    /// Standard output is a terminal.
    is_terminal: bool,
    /// Standard output is a terminal that shows colours.
    colour: bool,
}

/// Who reads the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Lines and tables.
    People,
    /// JSON.
    Json,
}

/// What a piece of text means; it shows as a colour where there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Strong,
    Faint,
    Good,
    Bad,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let format = if json { Format::Json } else { Format::People };
        Self { format, is_terminal, colour: is_terminal && wants_colour() }
    }

    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Whether what is written would do something to a terminal, and is read by eyes.
    pub(crate) fn is_terminal(self) -> bool {
        self.is_terminal
    }

    /// A line for people.
    pub(crate) fn line(self, text: impl Display) -> Result {
        written(writeln!(io::stdout().lock(), "{text}"))
    }

    /// A JSON document.
    pub(crate) fn json(self, value: &impl Serialize) -> Result {
        let text =
            serde_json::to_string_pretty(value).expect("results have string keys and no failing fields");
        self.line(text)
    }

    /// One of several JSON documents, in a line of its own and at once.
    pub(crate) fn json_line(self, value: &impl Serialize) -> Result {
        let text = serde_json::to_string(value).expect("results have string keys and no failing fields");
        let mut stdout = io::stdout().lock();
        written(writeln!(stdout, "{text}").and_then(|()| stdout.flush()))
    }

    /// A table, indented by two.
    pub(crate) fn table(self, rows: Rows) -> Result {
        self.line(rows.table.trim_fmt())
    }

    /// Text that shows its tone, where there are colours.
    pub(crate) fn toned(self, text: impl Display, tone: Tone) -> String {
        if self.colour { paint(&text, tone) } else { text.to_string() }
    }
}

/// A table that is being filled.
pub(crate) struct Rows {
    table: Table,
}

impl Rows {
    pub(crate) fn new<'a>(headers: impl IntoIterator<Item = &'a str>) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        // A row stays a line, so that paths and values can be copied; the terminal folds what is too long.
        table.set_content_arrangement(ContentArrangement::Disabled);
        if !wants_colour() {
            table.force_no_tty();
        }
        table.set_header(headers.into_iter().map(|header| Cell::new(header).fg(Color::DarkGrey)));
        Self { table }
    }

    pub(crate) fn add(&mut self, cells: impl IntoIterator<Item = Content>) {
        self.table.add_row(cells.into_iter().map(Content::into_cell));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.row_count() == 0
    }
}

/// The content of a cell.
pub(crate) struct Content {
    text: String,
    tone: Tone,
}

impl Content {
    pub(crate) fn toned(text: impl Display, tone: Tone) -> Self {
        Self { text: text.to_string(), tone }
    }

    fn into_cell(self) -> Cell {
        let cell = Cell::new(self.text);
        match self.tone {
            Tone::Plain => cell,
            Tone::Strong => cell.add_attribute(comfy_table::Attribute::Bold),
            Tone::Faint => cell.fg(Color::DarkGrey),
            Tone::Good => cell.fg(Color::Green),
            Tone::Bad => cell.fg(Color::Red),
        }
    }
}

impl<T: Display> From<T> for Content {
    fn from(text: T) -> Self {
        Self::toned(text, Tone::Plain)
    }
}

/// Bytes as they are, for scripts and values.
pub(crate) fn write_raw(bytes: &[u8]) -> Result {
    let mut stdout = io::stdout().lock();
    written(stdout.write_all(bytes).and_then(|()| stdout.flush()))
}

/// A remark beside the results, for people, on standard error.
pub(crate) fn note(text: impl Display) {
    // If nobody reads standard error there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says on standard error why the program fails, as JSON if that is wanted; gives the exit code.
pub(crate) fn report(failure: Failure, as_json: bool) -> ExitCode {
    let (kind, text, code) = match failure {
        Failure::Usage(text) => ("usage", text, 2),
        Failure::Failed { kind, text } => (kind, text, 1),
        Failure::OutputClosed => return ExitCode::SUCCESS,
    };
    if as_json {
        note(json!({ "error": text, "kind": kind, "exit_code": code }));
    } else {
        error_line(&text);
    }
    ExitCode::from(code)
}

fn error_line(text: &str) {
    let word = if io::stderr().is_terminal() && wants_colour() {
        paint(&"error:", Tone::Bad)
    } else {
        "error:".to_owned()
    };
    note(format_args!("{word} {}", text.replace('\n', " ")));
}

/// Something that turns on standard error while one waits, if it is a terminal.
pub(crate) fn spinner(message: impl Into<String>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}")
        .expect("the template names only keys that exist");
    bar.set_style(style);
    bar.set_message(message.into());
    bar.enable_steady_tick(std::time::Duration::from_millis(80));
    bar
}

/// Asks on the terminal; only `y` and `yes` are a yes. Refuses where there is no terminal to ask on.
pub(crate) fn confirm(question: &str) -> Result {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{question} There is no terminal to ask on: pass --yes if so")));
    }
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        Err(Failure::failed("not confirmed, nothing was changed"))
    }
}

fn paint(text: &impl Display, tone: Tone) -> String {
    match tone {
        Tone::Plain => text.to_string(),
        Tone::Strong => text.bold().to_string(),
        Tone::Faint => text.bright_black().to_string(),
        Tone::Good => text.green().to_string(),
        Tone::Bad => text.red().to_string(),
    }
}

/// See no-color.org.
fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

fn written(result: io::Result<()>) -> Result {
    result.map_err(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Failure::OutputClosed
        } else {
            Failure::failed(format!("can't write the result: {error}"))
        }
    })
}
