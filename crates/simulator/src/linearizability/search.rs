//! The search for an order.
//!
//! Wing and Gong's search in the breadth-first form of Lowe's "just-in-time linearization" (Testing for
//! linearizability, 2017): the history is walked in time order with the set of all configurations that
//! explain it so far, a configuration being the key's contents and which of the open operations took effect
//! already. An operation has to take effect only when its answer is reached; then every configuration is
//! extended by open operations, in every order that matters, until the answered one is among them.
//!
//! Four things keep the set small, none changes the verdict: an open operation that fits its answer and
//! can only have read takes effect at once; of several open operations with unknown outcome and the same action
//! only the first is tried; of two configurations that differ only in how many unknown operations they used
//! up, the more frugal one suffices; and a write with unknown outcome that nobody can have noticed is left out.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::model::{Action, Completion, Observation, Operation, Register, Value};

/// The most operations that may be open at one time.
const OPEN_OPERATIONS_MAX: usize = 128;

/// What the search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order that explains every answer.
    Linearizable,
    /// There is none.
    Violation(Violation),
    /// The search grew over its bound.
    Undecided,
}

/// Why there is no order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The first operation, by time of its answer, whose answer can't be explained: its place in the history.
    pub operation: usize,
    /// What the key can have held in the orders that explain everything answered before it.
    pub possible: Vec<Register>,
}

/// Looks for an order of the operations of one key, which does not exist at first. At most
/// `configurations_max` configurations are looked at for one answer; each takes about 64 bytes.
#[must_use]
pub fn check(operations: &[Operation], configurations_max: usize) -> Verdict {
    let mut search = Search {
        operations,
        configurations_max,
        slots: Vec::new(),
        frontier: vec![Configuration { done: 0, register: Register::default() }],
    };
    for step in timeline(operations) {
        match step {
            Step::Invoked { operation, .. } => {
                if search.open(operation).is_err() {
                    return Verdict::Undecided;
                }
            }
            Step::Answered { operation, .. } => match search.close(operation) {
                Closed::Explained => {}
                Closed::Unexplained => return search.violation(operation),
                Closed::TooMany => return Verdict::Undecided,
            },
        }
    }
    Verdict::Linearizable
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Invoked { operation: usize },
    Answered { operation: usize },
}

/// Invocations and answers by time; at equal times invocations come first, so that the operations overlap.
fn timeline(operations: &[Operation]) -> Vec<Step> {
    let matters = values_that_matter(operations);
    let mut timeline = Vec::with_capacity(operations.len() * 2);
    for (index, operation) in operations.iter().enumerate() {
        if cannot_be_noticed(operation, matters.as_ref()) {
            continue;
        }
        timeline.push((operation.invoked_at, Step::Invoked { operation: index }));
        if let Completion::Answered { at, .. } = operation.completion {
            timeline.push((at, Step::Answered { operation: index }));
        }
    }
    timeline.sort_unstable();
    timeline.into_iter().map(|(_, step)| step).collect()
}

/// The values that an answer revealed or a compare-and-swap waits for. `None` if some compare-and-swap was
/// answered without saying what it found: then any value may have mattered to it.
fn values_that_matter(operations: &[Operation]) -> Option<BTreeSet<Value>> {
    let mut values = BTreeSet::new();
    for operation in operations {
        if let Action::CompareAndSwap { expected, .. } = operation.action {
            values.extend(expected);
            if let Completion::Answered { observation: Observation::Nothing, .. } = operation.completion {
                return None;
            }
        }
        if let Completion::Answered { observation: Observation::Held(value), .. } = operation.completion {
            values.extend(value);
        }
    }
    Some(values)
}

/// A write of unknown outcome whose value nobody saw or waited for: any order that has it still explains
/// every answer without it, because whatever came next overwrote it blindly. (A value with a lease is kept:
/// it would protect the key from the end of another lease, or be ended by its own.)
fn cannot_be_noticed(operation: &Operation, matters: Option<&BTreeSet<Value>>) -> bool {
    let (Completion::Unknown, Some(matters)) = (operation.completion, matters) else { return false };
    match operation.action {
        Action::Put { value, lease: None } | Action::CompareAndSwap { new: Some(value), .. } => {
            !matters.contains(&value)
        }
        Action::Get => true,
        Action::Put { .. }
        | Action::Delete
        | Action::CompareAndSwap { new: None, .. }
        | Action::EndLease { .. } => false,
    }
}

/// One way to explain everything answered so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Configuration {
    /// Which open operations took effect already: one bit for each slot.
    done: u128,
    register: Register,
}

struct Search<'history> {
    operations: &'history [Operation],
    configurations_max: usize,
    /// The open operations.
    slots: Vec<Option<usize>>,
    /// All configurations that explain what was answered so far.
    frontier: Vec<Configuration>,
}

enum Closed {
    Explained,
    Unexplained,
    TooMany,
}

struct TooManyOpen;

impl Search<'_> {
    fn open(&mut self, operation: usize) -> Result<(), TooManyOpen> {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(operation);
            return Ok(());
        }
        if self.slots.len() == OPEN_OPERATIONS_MAX {
            return Err(TooManyOpen);
        }
        self.slots.push(Some(operation));
        Ok(())
    }

    /// The operation's answer is reached: keeps the configurations in which it took effect.
    fn close(&mut self, operation: usize) -> Closed {
        let slot = self.slots.iter().position(|held| *held == Some(operation));
        let slot = slot.expect("an operation is answered after it was invoked");
        let answered = 1u128 << slot;
        let mut waiting: Vec<Configuration> = self.frontier.iter().map(|c| self.settled(*c)).collect();
        let mut seen: HashSet<Configuration> = waiting.iter().copied().collect();
        let mut explained = HashSet::new();
        while let Some(configuration) = waiting.pop() {
            if configuration.done & answered != 0 {
                explained.insert(Configuration { done: configuration.done & !answered, ..configuration });
                continue;
            }
            for next in self.extensions(configuration) {
                if seen.insert(next) {
                    waiting.push(next);
                }
            }
            if seen.len() > self.configurations_max {
                return Closed::TooMany;
            }
        }
        if explained.is_empty() {
            return Closed::Unexplained;
        }
        self.slots[slot] = None;
        self.frontier = self.most_frugal(explained);
        self.retire_used_up();
        Closed::Explained
    }

    /// Every configuration that one more open operation leads to.
    fn extensions(&self, configuration: Configuration) -> Vec<Configuration> {
        let mut extensions = Vec::new();
        let mut unknown_tried: Vec<Action> = Vec::new();
        for (slot, operation) in self.open_operations() {
            if configuration.done & (1 << slot) != 0 {
                continue;
            }
            if operation.completion == Completion::Unknown {
                if unknown_tried.contains(&operation.action) {
                    continue;
                }
                unknown_tried.push(operation.action);
            }
            let Some(register) = configuration.register.after(operation) else { continue };
            if operation.completion == Completion::Unknown && register == configuration.register {
                continue;
            }
            extensions.push(self.settled(Configuration { done: configuration.done | (1 << slot), register }));
        }
        extensions
    }

    /// Lets every open operation take effect that fits its answer and can only ever read.
    fn settled(&self, mut configuration: Configuration) -> Configuration {
        for (slot, operation) in self.open_operations() {
            if operation.only_reads() && configuration.register.after(operation).is_some() {
                configuration.done |= 1 << slot;
            }
        }
        configuration
    }

    fn open_operations(&self) -> impl Iterator<Item = (usize, &Operation)> {
        let operations = self.operations;
        self.slots.iter().enumerate().filter_map(move |(slot, held)| Some((slot, &operations[(*held)?])))
    }

    /// Drops every configuration that used up more unknown operations than another one that is otherwise equal.
    fn most_frugal(&self, configurations: HashSet<Configuration>) -> Vec<Configuration> {
        let unknown = self
            .open_operations()
            .filter(|(_, operation)| operation.completion == Completion::Unknown)
            .fold(0u128, |mask, (slot, _)| mask | (1 << slot));
        let mut groups: BTreeMap<(Register, u128), Vec<u128>> = BTreeMap::new();
        for configuration in configurations {
            let group = groups.entry((configuration.register, configuration.done & !unknown)).or_default();
            group.push(configuration.done & unknown);
        }
        let mut kept = Vec::new();
        for ((register, done), mut used) in groups {
            used.sort_unstable_by_key(|mask| (mask.count_ones(), *mask));
            let mut frugal: Vec<u128> = Vec::new();
            for mask in used {
                if !frugal.iter().any(|less| less & mask == *less) {
                    frugal.push(mask);
                }
            }
            kept.extend(frugal.into_iter().map(|mask| Configuration { done: done | mask, register }));
        }
        kept
    }

    /// Frees the slots of unknown operations that took effect in every configuration.
    fn retire_used_up(&mut self) {
        let everywhere = self.frontier.iter().fold(u128::MAX, |mask, c| mask & c.done);
        for (slot, held) in self.slots.iter_mut().enumerate() {
            let Some(operation) = *held else { continue };
            let unknown = self.operations[operation].completion == Completion::Unknown;
            if unknown && everywhere & (1 << slot) != 0 {
                *held = None;
                for configuration in &mut self.frontier {
                    configuration.done &= !(1 << slot);
                }
            }
        }
    }

    fn violation(&self, operation: usize) -> Verdict {
        let possible: BTreeSet<Register> = self.frontier.iter().map(|c| c.register).collect();
        Verdict::Violation(Violation { operation, possible: possible.into_iter().collect() })
    }
}
