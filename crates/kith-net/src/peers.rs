//! Which peers host which agents, and where: nobody else is spoken to.

use std::collections::BTreeMap;
use std::path::Path;

use kith_core::AgentId;
use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};

use crate::NetError;

/// `peers.toml` as a file says it: one `[[peer]]` for each process of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeersFile {
    /// The processes.
    #[serde(default, rename = "peer")]
    pub peers: Vec<PeerEntry>,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerEntry {
    /// The agents that it hosts.
    pub agents: Vec<u32>,
    /// Its peer id: what `kith identity show` prints.
    pub id: String,
    /// Where it listens, such as `/ip4/10.0.0.2/tcp/4001` or `/dns4/agent-3.local/tcp/4001`; not needed with discovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// One process of the run.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) agents: Vec<AgentId>,
    pub(crate) address: Option<Multiaddr>,
}

impl PeersFile {
    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be read or is no list of peers.
    pub fn read(path: &Path) -> Result<Self, NetError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| NetError::File {
            operation: "read",
            path: shown.clone(),
            source,
        })?;
        toml::from_str(&text).map_err(|error| NetError::Value {
            what: "peers file",
            found: shown,
            reason: error.to_string().trim().to_owned(),
            accepted: "[[peer]] tables with agents = [0, 1], id = \"12D3…\" and address = \"/ip4/…/tcp/…\"",
        })
    }

    /// Writes a file that [`PeersFile::read`] reads.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), NetError> {
        let text = toml::to_string(self).map_err(std::io::Error::other);
        text.and_then(|text| std::fs::write(path, text)).map_err(|source| NetError::File {
            operation: "write",
            path: path.display().to_string(),
            source,
        })
    }

    /// Every process but `own`, by peer id.
    pub(crate) fn parse(&self, own: PeerId) -> Result<BTreeMap<PeerId, Peer>, NetError> {
        let mut peers = BTreeMap::new();
        for entry in &self.peers {
            let id: PeerId = entry.id.parse().map_err(|error: libp2p::identity::ParseError| NetError::Value {
                what: "peer id",
                found: entry.id.clone(),
                reason: error.to_string(),
                accepted: "what `kith identity show KEY` prints",
            })?;
            let address = entry.address.as_deref().map(address).transpose()?;
            let mut agents: Vec<AgentId> = entry.agents.iter().copied().map(AgentId).collect();
            agents.sort_unstable();
            if id != own {
                peers.insert(id, Peer { id, agents, address });
            }
        }
        Ok(peers)
    }
}

/// Reads an address.
pub(crate) fn address(text: &str) -> Result<Multiaddr, NetError> {
    text.parse().map_err(|error: libp2p::multiaddr::Error| NetError::Value {
        what: "address",
        found: text.to_owned(),
        reason: error.to_string(),
        accepted: "/ip4/ADDRESS/tcp/PORT, /ip6/ADDRESS/tcp/PORT or /dns4/NAME/tcp/PORT; /udp/PORT/quic-v1 in place of /tcp/PORT",
    })
}
