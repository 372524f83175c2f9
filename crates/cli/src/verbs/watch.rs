//! `watch`: keys as they change.

use clap::Args;
use ruvector_client::{Event, EventKind, WatchOptions};
use serde_json::json;

use crate::failure::Result;
use crate::options::Common;
use crate::output::{Output, Tone, note};
use crate::shapes::{KeyForm, Keys, key_value_json};
use crate::target::Target;
use crate::text::printable_line;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ruvector consensus watch greeting
  ruvector consensus watch --prefix users/ --prev-kv
  ruvector consensus watch --prefix \"\" --revision 1 --json

Goes on until Ctrl-C. When a node is lost it goes on at another one, and nothing is missed or told twice.")]
pub(crate) struct Watch {
    #[command(flatten)]
    keys: Keys,

    /// Begin with what happened at this revision of the store.
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
    revision: Option<i64>,

    /// Also show what the keys held before.
    #[arg(long)]
    prev_kv: bool,
}

impl Watch {
    pub(crate) async fn run(self, common: Common, output: Output) -> Result {
        let form = self.keys.form;
        let range = self.keys.into_range()?;
        let client = Target::find(&common)?.client()?;
        let options =
            WatchOptions { start_revision: self.revision, previous: self.prev_kv, ..WatchOptions::default() };
        let mut watch = client.watch(range, options).await?;
        if !output.is_json() {
            note("watching; Ctrl-C ends it");
        }
        loop {
            let batch = tokio::select! {
                batch = watch.next() => batch?,
                _ = tokio::signal::ctrl_c() => return Ok(()),
            };
            batch.events.iter().try_for_each(|event| print(event, form, output))?;
        }
    }
}

fn print(event: &Event, form: KeyForm, output: Output) -> Result {
    let kind = match event.kind {
        EventKind::Put => "put",
        EventKind::Delete => "delete",
    };
    if output.is_json() {
        return output.json_line(&json!({
            "event": kind,
            "revision": event.key_value.mod_revision,
            "kv": key_value_json(&event.key_value),
            "previous": event.previous.as_ref().map(key_value_json),
        }));
    }
    let revision = output.toned(format_args!("{:>8}", event.key_value.mod_revision), Tone::Faint);
    let key = form.show(&event.key_value.key);
    let before = match &event.previous {
        Some(previous) => {
            output.toned(format_args!("  (was {})", printable_line(&previous.value)), Tone::Faint)
        }
        None => String::new(),
    };
    match event.kind {
        EventKind::Put => {
            let value = printable_line(&event.key_value.value);
            output.line(format_args!(
                "{revision}  {}  {key} = {value}{before}",
                output.toned("put", Tone::Good)
            ))
        }
        EventKind::Delete => {
            output.line(format_args!("{revision}  {}  {key}{before}", output.toned("del", Tone::Bad)))
        }
    }
}
