//! What of a simulated disk survives when the power goes.

/// Decides what survives when the power goes.
#[derive(Debug)]
pub(super) enum Chooser {
    /// Nothing does that was not synced.
    Nothing,
    /// Some does.
    Some { random: u64 },
}

impl Chooser {
    /// Whether the next sector survives.
    pub(super) fn survives(&mut self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Some { random } => split_mix(random) & 1 == 1,
        }
    }

    /// How many of `count` changes survive, from the first on.
    pub(super) fn prefix(&mut self, count: usize) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Some { random } => usize::try_from(split_mix(random) % (count as u64 + 1)).unwrap_or(count),
        }
    }
}

/// The next number of `SplitMix64` (Steele, Lea and Flood, 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
