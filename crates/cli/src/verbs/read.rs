//! `read`: one key at a chosen level of freshness.

use std::time::Duration;

use clap::{Args, ValueEnum};
use ruvector_client::{KeyValue, ReadAnswer, ReadLevel};
use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::options::Common;
use crate::output::{Content, Output, Rows, Tone};
use crate::patience;
use crate::shapes::{KeyForm, key_value_json};
use crate::target::Target;
use crate::text::{duration, printable_line};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ruvector consensus read --level strong --key greeting
  ruvector consensus read --level lease --key greeting
  ruvector consensus read --level stale --max-staleness 5s --key greeting

strong  a quorum confirms the leader for this very read
lease   the leader answers by its lease: as fresh, as long as clocks drift no more than configured
stale   the node that is asked answers from what it has; it refuses if that may be older than allowed")]
pub(crate) struct Read {
    /// How fresh the answer must be.
    #[arg(long, value_enum, default_value = "strong")]
    level: Level,

    /// With `stale`: how old the answer may be, as in 500ms or 5s.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    max_staleness: Option<Duration>,

    /// The key.
    #[arg(long)]
    key: String,

    #[command(flatten)]
    form: KeyForm,
}

/// How fresh a read must be, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    Strong,
    Lease,
    Stale,
}

impl Read {
    pub(crate) async fn run(self, common: Common, output: Output) -> Result {
        let level = self.level()?;
        let key = self.form.read_one(&self.key)?;
        let target = Target::find(&common)?;
        let asked = target.client()?;
        let answer = patience::read_at(&target, level, asked.read(key.clone(), level)).await?;
        if output.is_json() {
            output.json(&answer_json(&answer))?;
        }
        let Some(key_value) = &answer.key_value else {
            let text = format!(
                "there is no key `{}` (read level {}, from {}, revision {})",
                self.form.show(&key),
                answer.level,
                answer.node_name,
                answer.revision
            );
            return Err(Failure::of_kind("not-found", text));
        };
        if output.is_json() { Ok(()) } else { output.table(table(key_value, &answer, self.form)) }
    }

    /// The level that was typed.
    fn level(&self) -> Result<ReadLevel> {
        match (self.level, self.max_staleness) {
            (Level::Stale, max_staleness) => Ok(ReadLevel::Stale(max_staleness)),
            (Level::Strong | Level::Lease, Some(_)) => {
                Err(Failure::usage("--max-staleness belongs to --level stale: the others are never stale"))
            }
            (Level::Strong, None) => Ok(ReadLevel::Strong),
            (Level::Lease, None) => Ok(ReadLevel::Lease),
        }
    }
}

fn answer_json(answer: &ReadAnswer) -> Value {
    json!({
        "kv": answer.key_value.as_ref().map(key_value_json),
        "level": answer.level.to_string(),
        "max_staleness_us": answer.staleness.map(|age| age.as_micros() as u64),
        "node": answer.node_name,
        "applied_index": answer.applied_index,
        "revision": answer.revision,
    })
}

fn table(key_value: &KeyValue, answer: &ReadAnswer, form: KeyForm) -> Rows {
    let mut rows = Rows::new(["KEY", "VALUE", "LEVEL", "AT MOST OLD", "NODE", "APPLIED", "REVISION"]);
    let age = match (answer.level, answer.staleness) {
        (ReadLevel::Stale(_), Some(age)) => duration(age),
        (ReadLevel::Stale(_), None) => "unknown".to_owned(),
        (ReadLevel::Strong | ReadLevel::Lease, _) => "-".to_owned(),
    };
    rows.add([
        Content::toned(form.show(&key_value.key), Tone::Strong),
        printable_line(&key_value.value).into(),
        answer.level.into(),
        age.into(),
        (&answer.node_name).into(),
        answer.applied_index.into(),
        answer.revision.into(),
    ]);
    rows
}
