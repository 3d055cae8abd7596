//! Who is on the other side of the edges that leave the process, and what became of them.

use std::collections::BTreeMap;

use kith_core::AgentId;
use kith_protocol::{Hello, Input, Neighbour};
use libp2p::PeerId;

use super::{Driver, Notice};
use crate::peers::Peer;
use crate::{Link, NetError};

/// Who is on the other side of the edges that leave the process.
pub(crate) struct Sides {
    pub(super) around: BTreeMap<AgentId, Vec<Neighbour>>,
    pub(super) hosts: BTreeMap<AgentId, PeerId>,
    pub(super) processes: BTreeMap<PeerId, Process>,
}

/// Another process.
pub(super) struct Process {
    pub(super) agents: Vec<AgentId>,
    /// Connected.
    pub(super) up: bool,
    /// Its start, once it said hello and fits.
    pub(super) instance: Option<u64>,
    pub(super) greeted: bool,
    /// It said that it leaves.
    pub(super) left: bool,
    pub(super) refused: Option<String>,
}

impl Sides {
    pub(crate) fn new(
        around: BTreeMap<AgentId, Vec<Neighbour>>,
        peers: &BTreeMap<PeerId, Peer>,
    ) -> Result<Self, NetError> {
        let mut hosts = BTreeMap::new();
        let mut processes = BTreeMap::new();
        for (&agent, neighbours) in &around {
            for neighbour in neighbours.iter().map(|one| one.id).filter(|id| !around.contains_key(id)) {
                let peer = peers.values().find(|peer| peer.agents.contains(&neighbour));
                let peer = peer.ok_or(NetError::Unlisted { agent, neighbour })?;
                hosts.insert(neighbour, peer.id);
                processes.entry(peer.id).or_insert_with(|| Process {
                    agents: peer.agents.clone(),
                    up: false,
                    instance: None,
                    greeted: false,
                    left: false,
                    refused: None,
                });
            }
        }
        Ok(Self { around, hosts, processes })
    }

    pub(crate) fn speaks_to(&self, peer: PeerId) -> bool {
        self.processes.contains_key(&peer)
    }
}

impl Driver<'_> {
    pub(super) fn greet(&mut self, peer: PeerId, hello: &Hello) {
        let Some(process) = self.sides.processes.get_mut(&peer) else { return };
        let agents = process.agents.clone();
        let mut fits = self.hello.check(hello, &agents).map_err(|error| error.to_string());
        if self.started && process.instance.is_some_and(|instance| instance != hello.instance) {
            fits = Err("it was started anew while the run goes on, without its state".to_owned());
        }
        match fits {
            Ok(()) => {
                process.instance = Some(hello.instance);
                if !std::mem::replace(&mut process.greeted, true) {
                    self.board.link(peer, Link::Up);
                    (self.tell)(Notice::Connected(agents.clone()));
                    self.links(&agents, Input::LinkUp);
                }
            }
            Err(reason) => {
                process.refused = Some(reason.clone());
                (self.tell)(Notice::Refused(agents, reason.clone()));
            }
        }
    }

    pub(super) fn gone(&mut self, peer: PeerId) {
        let Some(process) = self.sides.processes.get_mut(&peer) else { return };
        process.up = false;
        if std::mem::replace(&mut process.greeted, false) {
            self.board.link(peer, if process.left { Link::Left } else { Link::Down });
            let agents = process.agents.clone();
            (self.tell)(Notice::Gone(agents.clone()));
            self.links(&agents, Input::LinkDown);
        }
    }

    /// Tells hosted agents what became of the links to these.
    pub(super) fn links(&mut self, others: &[AgentId], input: fn(AgentId) -> Input) {
        if !self.started {
            return;
        }
        let here: Vec<AgentId> = self.agents.keys().copied().collect();
        for agent in here {
            for &other in others {
                if self.sides.around[&agent].iter().any(|neighbour| neighbour.id == other) {
                    self.handle(agent, input(other));
                }
            }
        }
    }
}
