//! Who belongs to the cluster.

use crate::group::Channel;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::cluster_client::ClusterClient;

use crate::client::Client;
use crate::connection::service;
use crate::error::ClientError;
use crate::verdict::Effect;

/// A member of the cluster, as etcd's services tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Where it listens for peers, as URLs.
    pub peer_urls: Vec<String>,
    /// Where it listens for clients, as URLs.
    pub client_urls: Vec<String>,
}

impl Client {
    /// The members, as the answering node knows them.
    ///
    /// # Errors
    /// Any [`ClientError`] but [`ClientError::OutcomeUnknown`].
    pub async fn members(&self) -> Result<Vec<Member>, ClientError> {
        let request = pb::MemberListRequest { linearizable: false };
        let response = self
            .call(Effect::Read, |channel| async move {
                service!(ClusterClient<Channel>, channel).member_list(request).await
            })
            .await?;
        Ok(response.members.into_iter().map(Into::into).collect())
    }
}

impl From<pb::Member> for Member {
    fn from(member: pb::Member) -> Self {
        Self {
            id: member.id,
            name: member.name,
            peer_urls: member.peer_ur_ls,
            client_urls: member.client_ur_ls,
        }
    }
}
