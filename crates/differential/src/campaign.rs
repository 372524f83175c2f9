//! Many programs, and what is told of them.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, bail};

use crate::pair::{Finding, Outcome};
use crate::program::Program;
use crate::shrink::Shrinker;
use crate::system::{Programs, Systems};

/// How often a program is played again that got no answer, on systems that are new.
const RETRIES_MAX: usize = 3;
/// How often a program that showed a difference is played again before it is called unsteady.
const REPETITIONS: usize = 3;

/// Plays programs, on systems that are started when they are needed.
pub struct Campaign {
    programs: Programs,
    systems: Option<Systems>,
    /// Prepares the systems after each start.
    prepare: fn(&mut Systems),
    /// What was seen so far.
    pub report: Report,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Programs that were played to an end.
    pub programs: usize,
    /// Steps of them that were compared.
    pub steps: usize,
    /// How many programs met each announced difference.
    pub announced: BTreeMap<&'static str, usize>,
    /// Why programs had to be played again: each time one got no answer.
    pub retries: Vec<String>,
    /// Differences that nobody announced.
    pub differences: Vec<Found>,
}

/// A difference that nobody announced, made small.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where the program came from.
    pub origin: String,
    /// The smallest program that shows it.
    pub program: Program,
    /// What is seen of it there.
    pub finding: Finding,
    /// Whether it was seen again when the same program was played again.
    pub steady: bool,
}

impl Campaign {
    /// Compares these programs.
    #[must_use]
    pub fn new(programs: Programs) -> Self {
        Self::prepared(programs, |_| {})
    }

    /// The same, on systems that are changed after each start.
    #[must_use]
    pub fn prepared(programs: Programs, prepare: fn(&mut Systems)) -> Self {
        Self { programs, systems: None, prepare, report: Report::default() }
    }

    /// Plays a program; if it shows a difference, finds the smallest that does and adds that to the report.
    ///
    /// # Errors
    /// If the systems don't start, or give no answer again and again.
    pub async fn try_program(&mut self, origin: &str, program: &Program) -> Result<()> {
        let outcome = self.play(program).await?;
        self.report.programs += 1;
        self.report.steps += outcome.compared;
        for name in outcome.announced {
            *self.report.announced.entry(name).or_default() += 1;
        }
        if let Some(finding) = outcome.finding {
            let found = self.examine(origin, program, finding).await?;
            self.report.differences.push(found);
        }
        Ok(())
    }

    async fn examine(&mut self, origin: &str, program: &Program, finding: Finding) -> Result<Found> {
        let signature = finding.signature();
        let mut steady = false;
        for _ in 0..REPETITIONS {
            let again = self.play(program).await?.finding;
            steady = again.is_some_and(|again| again.signature() == signature);
            if steady {
                break;
            }
        }
        let origin = origin.to_owned();
        if !steady {
            return Ok(Found { origin, program: program.clone(), finding, steady });
        }
        let shows = async |smaller: &Program| {
            let outcome = self.play(smaller).await;
            let finding = outcome.ok().and_then(|outcome| outcome.finding);
            finding.is_some_and(|finding| finding.signature() == signature)
        };
        let program = Shrinker::new(shows).shrink(program.clone()).await;
        let finding = self.play(&program).await?.finding.unwrap_or(finding);
        Ok(Found { origin, program, finding, steady })
    }

    /// Plays a program, if need be again on systems that are new.
    async fn play(&mut self, program: &Program) -> Result<Outcome> {
        for _ in 0..RETRIES_MAX {
            let mut systems = match self.systems.take() {
                Some(systems) => systems,
                None => {
                    let mut systems = Systems::start(&self.programs).await?;
                    (self.prepare)(&mut systems);
                    systems
                }
            };
            match systems.pair.play(program).await {
                Ok(outcome) => {
                    self.systems = Some(systems);
                    return Ok(outcome);
                }
                Err(error) => {
                    self.report.retries.push(format!("{error:#}\n{}", systems.ended().join("\n")));
                }
            }
        }
        let last = self.report.retries.last().map_or("", String::as_str);
        bail!("a program gets no answers, the last time because of this:\n{last}\n{}", replay(program))
    }
}

/// The command that plays a program again.
fn replay(program: &Program) -> String {
    format!("cargo xtask differential --replay {}", program.to_hex())
}

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steady = if self.steady { "" } else { " (not when it was played again)" };
        writeln!(formatter, "{} differs{steady}:", self.origin)?;
        for (number, said) in (1..).zip(&self.finding.said) {
            writeln!(formatter, "  {number}. {said}")?;
        }
        for difference in &self.finding.differences {
            writeln!(formatter, "     {difference}")?;
        }
        write!(formatter, "  {}", replay(&self.program))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { programs, steps, announced, retries, differences } = self;
        writeln!(
            formatter,
            "{programs} programs, {steps} steps compared, {} played again for want of an answer",
            retries.len()
        )?;
        for retry in retries {
            writeln!(formatter, "played again: {retry}")?;
        }
        for (name, count) in announced {
            writeln!(formatter, "announced: {name}: in {count} programs")?;
        }
        for found in differences {
            writeln!(formatter, "\n{found}")?;
        }
        write!(formatter, "{} differences that are not announced", differences.len())
    }
}
