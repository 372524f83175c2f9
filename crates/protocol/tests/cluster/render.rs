//! How the trace shows effects and messages: one short line each.

use ruvector_protocol::message::{AppendOutcome, Introduction};
use ruvector_protocol::{Effect, Entry, Index, LogPosition, Message, NodeId, Payload, Write};

use super::Parcel;

pub fn position(position: LogPosition) -> String {
    format!("{}@{}", position.index, position.term)
}

pub fn entry(entry: &Entry) -> String {
    let payload = match &entry.payload {
        Payload::Noop => "noop".to_owned(),
        Payload::Tick => "tick".to_owned(),
        Payload::Command(proposal) => String::from_utf8_lossy(&proposal.command).into_owned(),
    };
    format!("{}:{payload}", position(entry.position()))
}

fn entries(list: &[Entry]) -> String {
    match list {
        [] => "nothing".to_owned(),
        [first, .., last] if list.len() > 4 => format!("{} .. {}", entry(first), entry(last)),
        _ => list.iter().map(entry).collect::<Vec<_>>().join(" "),
    }
}

/// What a node does; messages are shown when they arrive.
pub fn effect(id: NodeId, effect: &Effect) -> Option<String> {
    let what = match effect {
        Effect::Send(_) => return None,
        Effect::Persist(write) => format!("writes {}", self::write(write)),
        Effect::Apply(list) => format!("applies {}", entries(list)),
        Effect::ServeRead { ids, index, lease_until } => {
            let ids: Vec<_> = ids.iter().map(|id| format!("r{}", id.0)).collect();
            let how = if lease_until.is_some() { " under the lease" } else { "" };
            format!("serves {} at {index}{how}", ids.join(" "))
        }
        Effect::RejectReads { ids, reason } => {
            let ids: Vec<_> = ids.iter().map(|id| format!("r{}", id.0)).collect();
            format!("refuses {}: {reason}", ids.join(" "))
        }
        Effect::RejectProposals { origins, reason } => {
            format!("refuses {} proposals: {reason}", origins.len())
        }
        Effect::LoadEntries { to, from, through, .. } => format!("loads {from}..{through} for {to}"),
        Effect::SendSnapshot { to } => format!("begins to send a snapshot to {to}"),
        Effect::InstallSnapshot(meta) => format!("installs the snapshot {}", position(meta.position)),
        Effect::EntriesLost { acknowledged, last } => {
            format!("has lost what it acknowledged through {acknowledged}: its log ends at {last}")
        }
        Effect::IncarnationSuperseded { own, by } => {
            format!("is start {} and was start {} already", own.0, by.0)
        }
        Effect::Contradicted { leader, contradiction } => {
            format!("is contradicted by {leader}: {contradiction}")
        }
        Effect::FollowerContradicts { follower, committed } => {
            format!("lacks what {follower} has committed: {}", position(*committed))
        }
        Effect::LeaderChanged { leader: Some(leader), term } if *leader == id => format!("leads term {term}"),
        Effect::LeaderChanged { leader: Some(leader), term } => format!("follows {leader} in term {term}"),
        Effect::LeaderChanged { leader: None, term } => format!("knows no leader in term {term}"),
    };
    Some(format!("{id} {what}"))
}

fn write(write: &Write) -> String {
    let mut parts = vec![format!("#{}:", write.id)];
    if let Some(hard_state) = write.hard_state {
        parts.push(format!("term {}", hard_state.term));
        parts.extend(hard_state.voted_for.map(|node| format!("vote {node}")));
        parts.extend((hard_state.commit > Index(0)).then(|| format!("commit {}", hard_state.commit)));
        parts.extend(hard_state.is_newcomer.then(|| "newcomer".to_owned()));
    }
    parts.extend(write.snapshot.as_ref().map(|meta| format!("snapshot {}", position(meta.position))));
    parts.extend((!write.entries.is_empty()).then(|| entries(&write.entries)));
    for (node, index) in write.remembered.iter().flatten() {
        parts.push(format!("{node} had {index}"));
    }
    parts.join(" ")
}

pub fn parcel(parcel: &Parcel) -> String {
    match parcel {
        Parcel::Message(envelope) => format!(
            "{} -> {} term {}: {}",
            envelope.from,
            envelope.to,
            envelope.term,
            message(&envelope.message)
        ),
        Parcel::Snapshot { from, to, term, meta } => {
            format!("{from} -> {to} term {term}: snapshot {}", position(meta.position))
        }
    }
}

fn message(message: &Message) -> String {
    match message {
        Message::PreVoteRequest(request) => format!("pre-vote? last {}", position(request.last)),
        Message::PreVoteResponse(response) => yes_or_no("pre-vote", response.granted),
        Message::VoteRequest(request) => format!("vote? last {}", position(request.last)),
        Message::VoteResponse(response) => yes_or_no("vote", response.granted),
        Message::AppendRequest(request) => format!(
            "append {} behind {}, commit {}",
            entries(&request.entries),
            position(request.previous),
            request.commit
        ),
        Message::AppendResponse(response) => match &response.outcome {
            AppendOutcome::Accepted { matched } => format!("appended through {matched}"),
            AppendOutcome::Rejected { previous, candidate } => {
                format!("lacks {}, try {}", position(*previous), position(*candidate))
            }
        },
        Message::Heartbeat(heartbeat) => {
            format!("heartbeat round {}, commit {}", heartbeat.stamp.read_round, heartbeat.commit)
        }
        Message::HeartbeatResponse(response) => {
            let newcomer = if response.stamp.is_newcomer { ", newcomer" } else { "" };
            format!("alive round {}{newcomer}", response.stamp.read_round)
        }
        Message::ForwardProposals(forwarded) => {
            let commands: Vec<_> = forwarded
                .proposals
                .iter()
                .map(|proposal| String::from_utf8_lossy(&proposal.command).into_owned())
                .collect();
            format!("propose {}", commands.join(" "))
        }
        Message::ReadIndexRequest(request) => {
            let lease = if request.lease { " (lease)" } else { "" };
            let newcomer = if request.is_newcomer { ", newcomer" } else { "" };
            format!("read index?{lease}{newcomer}")
        }
        Message::ReadIndexResponse(response) => match response.index {
            Some(index) => format!("read index {index}"),
            None => "no read index".to_owned(),
        },
        Message::IntroductionRequest(_) => "new here, who knows what?".to_owned(),
        Message::IntroductionResponse(response) => match response.outcome {
            Introduction::Welcome { is_log_empty: true, .. } => "knows nothing".to_owned(),
            Introduction::Welcome { commit, .. } => format!("knows of commit {commit}"),
            Introduction::Superseded { by } => format!("knows of start {}", by.0),
        },
    }
}

fn yes_or_no(what: &str, granted: bool) -> String {
    format!("{what} {}", if granted { "granted" } else { "refused" })
}
