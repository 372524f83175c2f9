//! How much of what is compacted entries are still to take out.

/// What an entry that adds no record owes, if there are records to take, in quarters of a record.
const QUARTERS_PER_IDLE_ENTRY: u64 = 8;
/// What each record owes that an entry adds, in quarters: a quarter more than it is, so that writers never outrun compaction.
const QUARTERS_PER_RECORD: u64 = 5;

/// How much of what is compacted is still to be taken out for what was added. Nothing is owed when nothing is left to be taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Owed {
    pub(in super::super) record_quarters: u64,
    pub(in super::super) bytes: u64,
}

/// How much was ever added to history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Written {
    pub(in super::super) records: u64,
    pub(in super::super) bytes: u64,
}

impl Owed {
    pub(super) fn entry_came(&mut self, before: Written, after: Written) {
        let records = after.records - before.records;
        let quarters = if records == 0 { QUARTERS_PER_IDLE_ENTRY } else { records * QUARTERS_PER_RECORD };
        let bytes = after.bytes - before.bytes;
        self.record_quarters = self.record_quarters.saturating_add(quarters);
        self.bytes = self.bytes.saturating_add(bytes + bytes / 4);
    }

    /// Takes off what it is to take out a record of so many bytes, if that is owed.
    pub(super) fn pay(&mut self, bytes: u64) -> bool {
        let is_owed = self.record_quarters >= 4 || self.bytes >= bytes;
        if is_owed {
            self.record_quarters = self.record_quarters.saturating_sub(4);
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        is_owed
    }
}
