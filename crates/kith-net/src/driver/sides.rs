//! Who is on the other side of the edges that leave the process, and what became of them.

use std::collections::BTreeMap;

use kith_core::{AgentId, Round};
use kith_protocol::{Hello, Input, Neighbour};
use libp2p::PeerId;

use super::{Driver, Notice};
use crate::faults::Fault;
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
    /// It was started anew while the run goes on, with this start, and has not joined yet.
    pub(super) returning: Option<u64>,
    /// It says that the run goes on without this process.
    pub(super) under_way: bool,
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
                    returning: None,
                    under_way: false,
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
        let Some(process) = self.sides.processes.get(&peer) else { return };
        let fits = self.hello.check(hello, &process.agents).map_err(|error| error.to_string());
        if let Err(reason) = fits.and_then(|()| self.same_task(hello)) {
            let agents = process.agents.clone();
            if let Some(process) = self.sides.processes.get_mut(&peer) {
                process.refused = Some(reason.clone());
            }
            self.count(peer, Fault::Hello, Notice::Refused(agents, reason));
        } else if self.started && process.instance != Some(hello.instance) {
            // Whatever was under way with it is forgotten there.
            self.gone(peer);
            let goes_on = hello.goes_on_without(&self.hello);
            if let Some(process) = self.sides.processes.get_mut(&peer) {
                process.under_way = goes_on;
            }
            self.returns(peer, hello.instance);
        } else {
            if let Some(process) = self.sides.processes.get_mut(&peer) {
                process.under_way |= !self.started && hello.goes_on_without(&self.hello);
            }
            self.connect(peer, hello.instance);
        }
    }

    /// Before the start: agents that begin in different tasks have nothing to tell each other.
    fn same_task(&self, hello: &Hello) -> Result<(), String> {
        let task = |round: Round| self.plan.stage(round).map(|stage| stage.task.0);
        let (own, other) = (self.hello.begins, hello.begins);
        // Where the others are by now, a process that comes back hears later.
        if self.started || hello.under_way.is_some() || task(own) == task(other) {
            return Ok(());
        }
        Err(format!("it would go on from round {other}, this process from round {own}, which are not of one task"))
    }

    /// A process takes part from now on.
    pub(super) fn connect(&mut self, peer: PeerId, instance: u64) {
        let Some(process) = self.sides.processes.get_mut(&peer) else { return };
        process.instance = Some(instance);
        (process.left, process.returning) = (false, None);
        if !std::mem::replace(&mut process.greeted, true) {
            let agents = process.agents.clone();
            self.board.link(peer, Link::Up);
            (self.tell)(Notice::Connected(agents.clone()));
            self.links(&agents, Input::LinkUp);
            self.judge_held();
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
                let joined = self.sides.around[&agent].iter().any(|neighbour| neighbour.id == other);
                if joined && !self.cut.contains(&(agent, other)) {
                    self.handle(agent, input(other));
                }
            }
        }
    }
}
