//! What is in a snapshot: what is remembered of origins, and then what the machine wrote.

use std::io::{self, Read, Write};

use ruvector_state_machine::{RestoreError, StateMachine};
use ruvector_storage::SnapshotStore;

use super::restoring::restore;
use crate::replica::error::ReplicaError;
use crate::replica::origins::OriginWindow;

pub(super) fn write_origins(writer: &mut dyn Write, origins: &OriginWindow) -> io::Result<()> {
    let bytes = postcard::to_stdvec(origins).map_err(io::Error::other)?;
    writer.write_all(&u32::try_from(bytes.len()).map_err(io::Error::other)?.to_le_bytes())?;
    writer.write_all(&bytes)
}

fn read_origins(reader: &mut dyn Read) -> Result<OriginWindow, RestoreError> {
    let mut length = [0; 4];
    reader.read_exact(&mut length)?;
    let mut bytes = Vec::new();
    let length = u64::from(u32::from_le_bytes(length));
    // Grows as bytes come: a damaged length can't make it allocate more than there is.
    if reader.take(length).read_to_end(&mut bytes)? as u64 != length {
        return Err(RestoreError::Format("it ends within the origins".to_owned()));
    }
    postcard::from_bytes(&bytes).map_err(|error| RestoreError::Format(format!("its origins: {error}")))
}

/// Copies a snapshot's contents without what is remembered of origins.
pub(crate) fn copy_machine_contents(
    reader: &mut dyn Read,
    writer: &mut dyn Write,
) -> Result<(), RestoreError> {
    let _ = read_origins(reader)?;
    write_origins(writer, &OriginWindow::default())?;
    io::copy(reader, writer)?;
    Ok(())
}

/// Replaces a machine's state by a snapshot's and returns what is remembered of origins. On an error the
/// machine is unchanged.
pub(in crate::replica) fn restore_contents<M: StateMachine>(
    store: &SnapshotStore,
    name: &str,
    machine: &mut M,
) -> Result<OriginWindow, ReplicaError> {
    let mut reader = store.open_contents(name)?;
    let restored =
        read_origins(&mut reader).and_then(|origins| restore(machine, &mut reader).map(|()| origins));
    restored.map_err(|source| ReplicaError::Restore { name: name.to_owned(), source })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ruvector_protocol::{Incarnation, NodeId, Origin};

    use super::*;

    #[test]
    fn a_restored_snapshot_remembers_no_proposals_and_has_the_same_contents() {
        let mut origins = OriginWindow::default();
        let (node, incarnation) = (NodeId(1), Incarnation(9));
        assert!(origins.admit(&Origin { node, incarnation, sequence: 3, settled_below: 2 }));
        let mut before = Vec::new();
        write_origins(&mut before, &origins).unwrap();
        before.extend_from_slice(b"what the machine wrote");
        let mut after = Vec::new();
        copy_machine_contents(&mut &before[..], &mut after).unwrap();
        let mut rest = &after[..];
        // A node whose clock was set back would begin with a lower incarnation, and nothing of it would be applied.
        assert_eq!(read_origins(&mut rest).unwrap(), OriginWindow::default());
        assert_eq!(rest, b"what the machine wrote");
        let mut kept = &before[..];
        assert_eq!(read_origins(&mut kept).unwrap(), origins);
    }
}
