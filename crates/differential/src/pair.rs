//! Both systems, in lock step.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use ruvector_api::etcdserverpb as pb;

use crate::comparison::{Comparison, compare};
use crate::difference::Difference;
use crate::fields::Fields;
use crate::player::Player;
use crate::program::{Action, Program, Step};

/// Both systems, to which the same is done.
pub struct Pair {
    /// The one that is right unless announced otherwise.
    pub etcd: Player,
    /// Ours.
    pub ours: Player,
}

/// What came of a program.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The announced differences that were met, by name.
    pub announced: BTreeSet<&'static str>,
    /// The first difference that is not announced.
    pub finding: Option<Finding>,
    /// How many steps were compared.
    pub compared: usize,
}

/// A difference that is not announced.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was done to the etcd, up to where the answers differed.
    pub said: Vec<String>,
    /// The kind of the last step.
    pub kind: &'static str,
    /// How the answers to it differ.
    pub differences: Vec<Difference>,
}

impl Finding {
    /// What two findings have in common that are probably one: the kind of step, and the first field without its
    /// position in a list.
    #[must_use]
    pub fn signature(&self) -> String {
        let first = self.differences.first();
        let way: String = first
            .map(|first| first.way.as_str())
            .unwrap_or_default()
            .chars()
            .filter(|at| !at.is_ascii_digit())
            .collect();
        format!("{} {way}", self.kind)
    }
}

impl Pair {
    /// Plays a program on both.
    ///
    /// # Errors
    /// If one of the systems gives no answer that could be compared.
    pub async fn play(&mut self, program: &Program) -> Result<Outcome> {
        let (etcd, ours) = tokio::join!(self.etcd.begin(), self.ours.begin());
        etcd.context("etcd")?;
        ours.context("ours")?;
        let mut outcome = Outcome::default();
        let mut said = Vec::new();
        for step in program.steps.iter().chain(&finale()) {
            said.push(self.etcd.show(step));
            let (comparison, kind) = self.step(step).await.with_context(|| said.join("\n"))?;
            outcome.compared += 1;
            outcome.announced.extend(comparison.announced);
            if !comparison.unlisted.is_empty() {
                outcome.finding = Some(Finding { said, kind, differences: comparison.unlisted });
                break;
            }
            if comparison.parted {
                break;
            }
        }
        Ok(outcome)
    }

    async fn step(&mut self, step: &Step) -> Result<(Comparison, &'static str)> {
        let name = step.action.as_ref().map_or("nothing", Action::name);
        // These have a say in what watches that lag are told.
        if let Some(Action::Watch(_) | Action::Compact(_) | Action::Expire(_)) = &step.action {
            let streams = self.compare_streams(step).await?;
            if !streams.unlisted.is_empty() {
                return Ok((streams, "events before"));
            }
        }
        if let Some(Action::Compact(_)) = &step.action {
            tokio::join!(self.etcd.await_watches(), self.ours.await_watches());
        }
        let (etcd, ours) = tokio::join!(self.etcd.play(step), self.ours.play(step));
        let (etcd, ours): (Fields, Fields) = (etcd.context("etcd")?, ours.context("ours")?);
        let mut comparison = compare(step, &etcd, &ours);
        if let Some(Action::Watch(_) | Action::Compact(_)) | None = &step.action
            && comparison.unlisted.is_empty()
        {
            let streams = self.compare_streams(step).await?;
            comparison.announced.extend(streams.announced);
            comparison.parted |= streams.parted;
            comparison.unlisted = streams.unlisted;
        }
        Ok((comparison, name))
    }

    async fn compare_streams(&mut self, step: &Step) -> Result<Comparison> {
        let (etcd, ours) = tokio::join!(self.etcd.settle(), self.ours.settle());
        etcd.context("etcd")?;
        ours.context("ours")?;
        Ok(compare(step, &self.etcd.streams(), &self.ours.streams()))
    }
}

/// What is asked at the end of every program: everything there is.
fn finale() -> [Step; 2] {
    let everything = pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
    [Step { node: 1, action: Some(Action::Range(everything)) }, Step { node: 0, action: None }]
}
