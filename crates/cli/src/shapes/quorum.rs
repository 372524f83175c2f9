//! Whether there is a quorum.

use serde_json::{Value, json};

use crate::nodes::{ClusterView, QuorumView};

/// What `--json` prints of a quorum.
pub(crate) fn quorum_json(view: &ClusterView, quorum: &QuorumView) -> Value {
    let troubles: Vec<String> = view.troubles().into_iter().map(|trouble| trouble.text).collect();
    json!({
        "troubles": troubles,
        "holds": quorum.holds(),
        "voters": quorum.voters,
        "needed": quorum.needed,
        "present": quorum.present,
        "absent": quorum.absent,
        "may_fail": quorum.holds().then(|| quorum.present.len() - quorum.needed),
    })
}
