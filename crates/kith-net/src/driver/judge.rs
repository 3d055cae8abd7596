//! Whether a frame may reach its agent.

use kith_core::AgentId;
use kith_protocol::{FrameKind, Header};
use libp2p::PeerId;

use super::Driver;
use crate::codec::Body;
use crate::faults::Fault;

impl Driver<'_> {
    /// Whether a frame may reach its agent.
    pub(super) fn judge(
        &self,
        peer: PeerId,
        from: AgentId,
        to: AgentId,
        header: &Header,
        body: &Body,
    ) -> Result<Verdict, (Fault, String)> {
        let unknown = || (Fault::Unknown, "a frame from a peer that has not said who it is".to_owned());
        let process = self.sides.processes.get(&peer).ok_or_else(unknown)?;
        if !process.greeted {
            // Streams of a connection overtake each other: before the start, its hello may be right behind.
            return if self.started { Err(unknown()) } else { Ok(Verdict::Wait) };
        }
        if header.run != self.run {
            return Err((Fault::Run, format!("a frame of run {:016x}; this is {:016x}", header.run, self.run)));
        }
        let neighbours = self.sides.around.get(&to).filter(|_| process.agents.contains(&from));
        if !neighbours.is_some_and(|all| all.iter().any(|one| one.id == from)) {
            return Err((
                Fault::Agent,
                format!("a frame from agent {from} to agent {to}, between whom this peer has no edge"),
            ));
        }
        if matches!(header.kind, FrameKind::Basis | FrameKind::BasisAck) {
            return self.judge_basis(header, body).map_err(|reason| (Fault::Basis, reason));
        }
        let stage = self.plan.stage(header.round).filter(|stage| stage.task == header.task);
        let stage = stage.ok_or_else(|| {
            (
                Fault::Round,
                format!("a frame of round {}, task {}: this run has no such round", header.round, header.task),
            )
        })?;
        if !header.kind.is_payload() {
            return Ok(Verdict::Accept);
        }
        let here = self.spec.as_ref().filter(|(task, _)| *task >= stage.task);
        let Some((task, spec)) = here else {
            // Its sender has adopted a basis that is still on its way here.
            let near = self.plan.stage(self.current).is_none_or(|now| stage.task.0 <= now.task.0 + 1);
            return if near {
                Ok(Verdict::Wait)
            } else {
                Err((Fault::Round, format!("a frame of round {}, tasks ahead", header.round)))
            };
        };
        if *task == stage.task {
            if header.basis != self.basis {
                let (found, own) = (header.basis, self.basis);
                return Err((
                    Fault::Basis,
                    format!("a payload in basis {found:016x}; agents of this run have {own:016x}"),
                ));
            }
            spec.check(stage.leg, form(header.kind), body).map_err(|error| (Fault::Body, error.to_string()))?;
        }
        Ok(Verdict::Accept)
    }

    fn judge_basis(&self, header: &Header, body: &Body) -> Result<Verdict, String> {
        if !self.plan.agrees_after(header.task) {
            return Err(format!("a basis of task {}, after which none is agreed on", header.task));
        }
        if header.kind == FrameKind::Basis && !self.adopted.contains(&header.task) {
            let growths = kith_method::decode_basis(&self.layout, body).map_err(|error| error.to_string())?;
            let now = self.plan.stage(self.current).map_or(header.task, |stage| stage.task);
            let fits = growths.iter().zip(&self.ranks).all(|(growth, rank)| growth.base_rank() == *rank);
            if header.task == now && !self.ranks.is_empty() && !fits {
                return Err(format!("a basis that does not continue the memory of ranks {:?}", self.ranks));
            }
        }
        Ok(Verdict::Accept)
    }
}

/// What to do with a frame that is good.
pub(super) enum Verdict {
    Accept,
    /// It is of a task that has not begun here.
    Wait,
}

pub(crate) const fn form(kind: FrameKind) -> kith_method::PayloadForm {
    match kind {
        FrameKind::Absolute => kith_method::PayloadForm::Absolute,
        _ => kith_method::PayloadForm::Increment,
    }
}
