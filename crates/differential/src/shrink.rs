//! Makes a program that shows a difference as small as it can be.

mod simpler;

use crate::program::{Program, Step};

/// Programs that are tried at most.
const TRIES_MAX: usize = 400;

/// Tries smaller programs, by a function that plays one and says whether it still shows the difference.
pub struct Shrinker<Shows> {
    shows: Shows,
    tries: usize,
}

impl<Shows: AsyncFnMut(&Program) -> bool> Shrinker<Shows> {
    /// One that asks this function.
    pub fn new(shows: Shows) -> Self {
        Self { shows, tries: 0 }
    }

    /// The smallest program that was found: first without steps that are not needed, then with simpler ones.
    pub async fn shrink(&mut self, program: Program) -> Program {
        let mut smallest = program;
        loop {
            let before = smallest.clone();
            smallest = self.without_steps(smallest).await;
            smallest = self.with_simpler_steps(smallest).await;
            if smallest == before || self.tries >= TRIES_MAX {
                return smallest;
            }
        }
    }

    /// Leaves out halves, then quarters, and so on to single steps.
    async fn without_steps(&mut self, mut program: Program) -> Program {
        let mut length = program.steps.len().div_ceil(2);
        while length > 0 {
            let mut end = program.steps.len();
            while end > 0 {
                let start = end.saturating_sub(length);
                let mut steps = program.steps.clone();
                steps.drain(start..end);
                let smaller = Program { steps };
                if self.still_shows(&smaller).await {
                    program = smaller;
                }
                end = start;
            }
            length = if length == 1 { 0 } else { length.div_ceil(2) };
        }
        program
    }

    /// Takes for each step the first simpler one that will do, as long as there is one.
    async fn with_simpler_steps(&mut self, mut program: Program) -> Program {
        for at in 0..program.steps.len() {
            'simplest: loop {
                for step in simpler_steps(&program.steps[at]) {
                    let mut smaller = program.clone();
                    smaller.steps[at] = step;
                    if self.still_shows(&smaller).await {
                        program = smaller;
                        continue 'simplest;
                    }
                }
                break;
            }
        }
        program
    }

    async fn still_shows(&mut self, program: &Program) -> bool {
        if self.tries >= TRIES_MAX {
            return false;
        }
        self.tries += 1;
        (self.shows)(program).await
    }
}

fn simpler_steps(step: &Step) -> Vec<Step> {
    let mut simpler = Vec::new();
    if step.node != 0 {
        simpler.push(Step { node: 0, ..step.clone() });
    }
    let actions = step.action.as_ref().map(simpler::actions).unwrap_or_default();
    simpler.extend(actions.into_iter().map(|action| Step { node: step.node, action: Some(action) }));
    simpler
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ruvector_api::etcdserverpb as pb;

    use super::*;
    use crate::generate::generate;
    use crate::program::Action;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    /// Whether a read with a limit comes after a put that has a value.
    fn shows(program: &Program) -> bool {
        let valued = |step: &Step| matches!(&step.action, Some(Action::Put(put)) if !put.value.is_empty());
        let limited = |step: &Step| matches!(&step.action, Some(Action::Range(range)) if range.limit != 0);
        let put = program.steps.iter().position(valued);
        put.is_some_and(|put| program.steps[put..].iter().any(limited))
    }

    #[test]
    fn what_is_left_is_what_it_takes() {
        for seed in (0..200).filter(|seed| shows(&generate(*seed))).take(10) {
            let shrunk = runtime()
                .block_on(Shrinker::new(async |program: &Program| shows(program)).shrink(generate(seed)));
            let [put, range] = shrunk.steps.as_slice() else { panic!("{shrunk:?}") };
            let Some(Action::Put(put)) = &put.action else { panic!("{put:?}") };
            let Some(Action::Range(range)) = &range.action else { panic!("{range:?}") };
            let limit = range.limit;
            assert_eq!(range, &pb::RangeRequest { limit, key: "a".into(), ..Default::default() });
            let value = put.value.clone();
            assert_eq!(put, &pb::PutRequest { value, key: "a".into(), ..Default::default() });
        }
    }
}
