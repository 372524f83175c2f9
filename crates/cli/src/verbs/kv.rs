//! `put`, `get` and `del`.

use std::io::{IsTerminal, Read};

use bytes::Bytes;
use clap::Args;
use ruvector_client::{DeleteOptions, GetAnswer, GetOptions, KeyRange, KeyValue, Pages, PutOptions};
use serde_json::json;

use crate::failure::{Doing, Failure, Result};
use crate::options::Common;
use crate::output::{Output, note, spinner, write_raw};
use crate::patience;
use crate::shapes::{KeyForm, Keys, get_json, key_value_json, key_value_table};
use crate::target::Target;
use crate::text::{count, printable, printable_line};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ruvector consensus put greeting hello
  ruvector consensus put greeting hi --prev-kv
  ruvector consensus put config < config.json
  ruvector consensus put --hex 00ff < image.png

On standard input a text may end with a line break that is not part of the value, as from `echo`; what is not UTF-8 is taken as it is.")]
pub(crate) struct Put {
    /// The key.
    key: String,

    #[command(flatten)]
    form: KeyForm,

    /// The value; read from standard input if not given.
    #[arg(allow_hyphen_values = true)]
    value: Option<String>,

    /// Also show what the key held before.
    #[arg(long)]
    prev_kv: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ruvector consensus get greeting
  ruvector consensus get --prefix users/ --limit 10
  ruvector consensus get a --range m --keys-only
  ruvector consensus get --prefix \"\" --count-only
  ruvector consensus get greeting --revision 5 --json
  ruvector consensus get image > image.png

The value of one key is written as it is, byte for byte, unless it is to a terminal. Several keys are read in pages, all at one revision.
Fails if the one key that is asked for does not exist.")]
pub(crate) struct Get {
    #[command(flatten)]
    keys: Keys,

    /// As it was at this revision of the store.
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
    revision: Option<i64>,

    /// At most so many keys, the first by name.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,

    /// Only the keys, one a line.
    #[arg(long)]
    keys_only: bool,

    /// Only how many keys there are.
    #[arg(long, conflicts_with = "keys_only")]
    count_only: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ruvector consensus del greeting
  ruvector consensus del --prefix users/ --prev-kv
  ruvector consensus del a --range m")]
pub(crate) struct Del {
    #[command(flatten)]
    keys: Keys,

    /// Also show what the keys held.
    #[arg(long)]
    prev_kv: bool,
}

impl Put {
    pub(crate) async fn run(self, common: Common, output: Output) -> Result {
        let key = self.form.read_one(&self.key)?;
        let target = Target::find(&common)?;
        let client = target.client()?;
        let value = match self.value {
            Some(value) => Bytes::from(value),
            None => value_from_standard_input()?,
        };
        let options = PutOptions { lease: None, previous: self.prev_kv };
        let answer = patience::write(&target, client.put(key.clone(), value, options)).await?;
        if output.is_json() {
            let previous = answer.previous.as_ref().map(key_value_json);
            return output.json(&json!({ "revision": answer.revision, "previous": previous }));
        }
        let previous = match &answer.previous {
            Some(previous) => format!(", before: {}", printable_line(&previous.value)),
            None if self.prev_kv => ", new".to_owned(),
            None => String::new(),
        };
        output.line(format_args!("OK {} (revision {}{previous})", self.form.show(&key), answer.revision))
    }
}

impl Get {
    pub(crate) async fn run(self, common: Common, output: Output) -> Result {
        let form = self.keys.form;
        let range = self.keys.into_range()?;
        let options = GetOptions {
            revision: self.revision,
            limit: self.limit,
            keys_only: self.keys_only,
            count_only: self.count_only,
            ..GetOptions::default()
        };
        let target = Target::find(&common)?;
        let answer = read_all(&target, target.client()?.pages(range.clone(), options)).await?;
        if output.is_json() {
            output.json(&get_json(&answer))?;
        } else if self.count_only {
            output.line(answer.count)?;
        } else {
            print_answer(&range, &answer, self.keys_only, form, output)?;
        }
        match range {
            KeyRange::One(key) if answer.count == 0 && !self.count_only => {
                Err(Failure::of_kind("not-found", format!("there is no key `{}`", form.show(&key))))
            }
            KeyRange::One(_) | KeyRange::Prefix(_) | KeyRange::Between(..) | KeyRange::From(_) => Ok(()),
        }
    }
}

/// Puts all pages together, and tells on the way how far that is.
async fn read_all(target: &Target, mut pages: Pages) -> Result<GetAnswer> {
    let mut all: Option<GetAnswer> = None;
    let mut progress = None;
    while let Some(page) = patience::read(target, pages.next()).await? {
        let all = match &mut all {
            None => all.insert(page),
            Some(all) => {
                all.more = page.more;
                all.key_values.extend(page.key_values);
                all
            }
        };
        if all.more {
            let text = format!("{} of {}", all.key_values.len(), count(all.count as usize, "key"));
            progress.get_or_insert_with(|| spinner("")).set_message(text);
        }
    }
    if let Some(progress) = progress {
        progress.finish_and_clear();
    }
    all.ok_or_else(|| Failure::failed("nothing was read"))
}

impl Del {
    pub(crate) async fn run(self, common: Common, output: Output) -> Result {
        let form = self.keys.form;
        let range = self.keys.into_range()?;
        let options = DeleteOptions { previous: self.prev_kv };
        let target = Target::find(&common)?;
        let answer = patience::write(&target, target.client()?.delete(range, options)).await?;
        if output.is_json() {
            let previous: Vec<_> = answer.previous.iter().map(key_value_json).collect();
            return output.json(&json!({
                "revision": answer.revision, "deleted": answer.deleted, "previous": previous,
            }));
        }
        let deleted = count(answer.deleted as usize, "key");
        output.line(format_args!("deleted {deleted} (revision {})", answer.revision))?;
        if !answer.previous.is_empty() {
            output.table(key_value_table(&answer.previous, form))?;
        }
        Ok(())
    }
}

/// One key gives its bare value, so that a script can use it; several give a table.
fn print_answer(
    range: &KeyRange,
    answer: &GetAnswer,
    keys_only: bool,
    form: KeyForm,
    output: Output,
) -> Result {
    let one = matches!(range, KeyRange::One(_));
    let as_it_is = !output.is_terminal();
    if keys_only {
        for KeyValue { key, .. } in &answer.key_values {
            if as_it_is && !form.is_encoded() {
                write_raw(&[&key[..], b"\n"].concat())?;
            } else {
                output.line(form.show(key))?;
            }
        }
    } else if one {
        for KeyValue { value, .. } in &answer.key_values {
            if as_it_is {
                write_raw(value)?;
            } else {
                output.line(printable(value))?;
            }
        }
    } else if answer.key_values.is_empty() {
        note("no key is in this range");
    } else {
        output.table(key_value_table(&answer.key_values, form))?;
    }
    if answer.more {
        note(format_args!("{} of {} shown", answer.key_values.len(), count(answer.count as usize, "key")));
    }
    Ok(())
}

/// Everything on standard input; if it is a text, without the line break that `echo` and editors put at the end.
fn value_from_standard_input() -> Result<Bytes> {
    let mut stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Failure::usage("the value is missing: give it after the key, or on standard input"));
    }
    let mut value = Vec::new();
    stdin.read_to_end(&mut value).doing(|| "read the value from standard input".to_owned())?;
    if value.last() == Some(&b'\n') && std::str::from_utf8(&value).is_ok() {
        value.pop();
    }
    Ok(value.into())
}
