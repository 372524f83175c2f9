//! `txn`: compare keys, and do one thing or another, in one step.

mod grammar;

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use ruvector_client::{Operation, OperationAnswer, Transaction};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::failure::{Doing, Failure, Result};
use crate::options::Common;
use crate::output::{Output, Tone};
use crate::patience;
use crate::shapes::{KeyForm, get_json, key_value_json, key_value_table};
use crate::target::Target;
use crate::text::count;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ruvector consensus txn --if 'value(lock) = \"free\"' --then 'put lock mine' --else 'get lock'
  ruvector consensus txn --if 'create(leader) = 0' --then 'put leader node-a'
  ruvector consensus txn --if 'version(a) > 3' --if 'mod(b) < 100' --then 'del --prefix tmp/' --then 'put done yes'
  echo '{\"if\":[\"exists(a)\"],\"then\":[\"get a\"],\"else\":[\"put a 1\"]}' | ruvector consensus txn --file -

Conditions   value(KEY) = \"text\"        also !=, < and >
             version(KEY) > 0            writes since the key came into being; 0 if it does not exist
             create(KEY) = 0             the revision at which it came into being
             mod(KEY) < 42               the revision at which it was last written
             lease(KEY) = 0              the lease it ends with, 0 for none
             exists(KEY), missing(KEY)
Operations   put KEY VALUE · get KEY · del KEY; get and del take --prefix or --range END
Quote keys and values with spaces as in a shell.")]
pub(crate) struct Txn {
    /// A condition; all of them must hold.
    #[arg(long = "if", value_name = "CONDITION", required_unless_present_any = ["then", "otherwise", "file"])]
    conditions: Vec<String>,

    /// What to do if all conditions hold, in order.
    #[arg(long, value_name = "OPERATION")]
    then: Vec<String>,

    /// What to do if one does not.
    #[arg(long = "else", value_name = "OPERATION")]
    otherwise: Vec<String>,

    /// Read all this from a JSON file instead, or from standard input if it is `-`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["conditions", "then", "otherwise"])]
    file: Option<PathBuf>,
}

/// A transaction in a file: the same texts as on the command line.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Script {
    r#if: Vec<String>,
    then: Vec<String>,
    r#else: Vec<String>,
}

impl Txn {
    pub(crate) async fn run(self, common: Common, output: Output) -> Result {
        let transaction = self.script()?.into_transaction()?;
        let target = Target::find(&common)?;
        let answer = patience::write(&target, target.client()?.transact(transaction.clone())).await?;
        if output.is_json() {
            return output.json(&json!({
                "succeeded": answer.succeeded,
                "revision": answer.revision,
                "responses": answer.operations.iter().map(operation_json).collect::<Vec<_>>(),
            }));
        }
        let (verdict, done) = match answer.succeeded {
            true if transaction.comparisons.is_empty() => (String::new(), &transaction.then),
            true => (format!("{} conditions hold: ", output.toned("✓", Tone::Good)), &transaction.then),
            false => {
                (format!("{} conditions do not hold: ", output.toned("✗", Tone::Bad)), &transaction.otherwise)
            }
        };
        let number = count(answer.operations.len(), "operation");
        output.line(format_args!("{verdict}{number} done (revision {})", answer.revision))?;
        done.iter().zip(&answer.operations).try_for_each(|(asked, answer)| print(asked, answer, output))
    }

    fn script(self) -> Result<Script> {
        match &self.file {
            Some(path) => Script::read(path),
            None => Ok(Script { r#if: self.conditions, then: self.then, r#else: self.otherwise }),
        }
    }
}

impl Script {
    fn read(path: &Path) -> Result<Self> {
        let text = if path == Path::new("-") {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .doing(|| "read the transaction from standard input".to_owned())?;
            text
        } else {
            std::fs::read_to_string(path).doing(|| format!("read {}", path.display()))?
        };
        serde_json::from_str(&text).map_err(|error| {
            Failure::usage(format!(
                "{}: {error}; the form is {{\"if\":[…],\"then\":[…],\"else\":[…]}}",
                path.display()
            ))
        })
    }

    fn into_transaction(self) -> Result<Transaction> {
        let operations = |texts: &[String]| -> Result<Vec<Operation>> {
            texts.iter().map(|text| grammar::operation(text).map_err(Failure::Usage)).collect()
        };
        let comparisons = self.r#if.iter().map(|text| grammar::condition(text).map_err(Failure::Usage));
        let transaction = Transaction {
            comparisons: comparisons.collect::<Result<_>>()?,
            then: operations(&self.then)?,
            otherwise: operations(&self.r#else)?,
        };
        if transaction.then.is_empty() && transaction.otherwise.is_empty() {
            return Err(Failure::usage("the transaction does nothing: give --then or --else"));
        }
        Ok(transaction)
    }
}

fn print(asked: &Operation, answer: &OperationAnswer, output: Output) -> Result {
    let described = grammar::describe(asked);
    match answer {
        OperationAnswer::Put(_) => output.line(format_args!("  {described}")),
        OperationAnswer::Delete(delete) => {
            output.line(format_args!("  {described}: {}", count(delete.deleted as usize, "key")))
        }
        OperationAnswer::Get(get) => {
            output.line(format_args!("  {described}: {}", count(get.count as usize, "key")))?;
            if get.key_values.is_empty() {
                Ok(())
            } else {
                output.table(key_value_table(&get.key_values, KeyForm::default()))
            }
        }
    }
}

fn operation_json(answer: &OperationAnswer) -> Value {
    match answer {
        OperationAnswer::Put(put) => {
            json!({ "put": { "revision": put.revision, "previous": put.previous.as_ref().map(key_value_json) } })
        }
        OperationAnswer::Get(get) => json!({ "get": get_json(get) }),
        OperationAnswer::Delete(delete) => json!({
            "del": {
                "deleted": delete.deleted,
                "previous": delete.previous.iter().map(key_value_json).collect::<Vec<_>>(),
            }
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Transaction> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("txn.json");
        std::fs::write(&path, text).unwrap();
        Script::read(&path)?.into_transaction()
    }

    #[test]
    fn a_file_says_the_same_as_flags() {
        let transaction =
            read(r#"{"if":["exists(a)"],"then":["get a","del b"],"else":["put a 1"]}"#).unwrap();
        let lengths = (transaction.comparisons.len(), transaction.then.len(), transaction.otherwise.len());
        assert_eq!(lengths, (1, 2, 1));
        assert_eq!(read(r#"{"then":["get a"]}"#).unwrap().comparisons, []);
    }

    #[test]
    fn a_file_of_another_form_is_refused() {
        for (text, reason) in [
            ("", "txn.json"),
            (r#"{"when":[]}"#, "unknown field `when`"),
            (r#"{"then":"get a"}"#, "the form is"),
            (r#"{"if":["exists(a)"]}"#, "does nothing"),
        ] {
            let Err(Failure::Usage(error)) = read(text) else { panic!("{text} was taken") };
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
