//! Writing that leaves the machine to others most of the time.

use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How much is written between two rests: about as much as is synced at once.
const STRETCH_BYTES: usize = 256 << 10;
/// The rest after a stretch, in times of what the stretch took.
const REST_FACTOR: u32 = 3;
/// The longest rest, so that a disk that stood still once costs no minutes.
const REST_MAX: Duration = Duration::from_secs(1);

/// Passes bytes on, and after each stretch of them rests three times as long as it took, if the node is busy. So beside
/// clients' commands a snapshot takes a quarter of a processor and of the disk at most, however fast they are, and the
/// log's syncs find both of them free; and it is soon there when nobody else wants them.
pub(super) struct Unhurried<'writer, IsBusy, Rest> {
    writer: &'writer mut dyn Write,
    /// Whether the node had something else to do since it was last asked.
    is_busy: IsBusy,
    /// What rests.
    rest: Rest,
    begun: Instant,
    /// Of the present stretch.
    written: usize,
}

impl<'writer, IsBusy: FnMut() -> bool, Rest: FnMut(Duration)> Unhurried<'writer, IsBusy, Rest> {
    pub(super) fn new(writer: &'writer mut dyn Write, is_busy: IsBusy, rest: Rest) -> Self {
        Self { writer, is_busy, rest, begun: Instant::now(), written: 0 }
    }
}

impl<IsBusy: FnMut() -> bool, Rest: FnMut(Duration)> Write for Unhurried<'_, IsBusy, Rest> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.writer.write(bytes)?;
        self.written += taken;
        if self.written >= STRETCH_BYTES {
            let took = self.begun.elapsed();
            if (self.is_busy)() {
                (self.rest)(took.saturating_mul(REST_FACTOR).min(REST_MAX));
            }
            self.begun = Instant::now();
            self.written = 0;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes at most a kibibyte at once, and a moment for it.
    #[derive(Default)]
    struct Slow(Vec<u8>);

    const MOMENT: Duration = Duration::from_micros(50);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            std::thread::sleep(MOMENT);
            let taken = bytes.len().min(1 << 10);
            self.0.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn rests(is_busy: bool) -> Vec<Duration> {
        let mut slow = Slow::default();
        let mut rests = Vec::new();
        let bytes: Vec<u8> = (0..2 * STRETCH_BYTES + 10).map(|place| (place % 251) as u8).collect();
        let mut writer = Unhurried::new(&mut slow, || is_busy, |rest| rests.push(rest));
        writer.write_all(&bytes).expect("a vector takes everything");
        writer.flush().expect("a vector takes everything");
        assert_eq!(slow.0, bytes);
        rests
    }

    #[test]
    fn rests_after_each_stretch_longer_than_it_took() {
        let rests = rests(true);
        assert_eq!(rests.len(), 2, "{rests:?}");
        let moments = u32::try_from(STRETCH_BYTES >> 10).expect("a stretch is small");
        assert!(rests.iter().all(|rest| *rest >= MOMENT * moments * REST_FACTOR), "{rests:?}");
    }

    #[test]
    fn does_not_rest_when_there_is_nothing_else_to_do() {
        assert_eq!(rests(false), []);
    }
}
