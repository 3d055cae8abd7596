//! Whether a frame may reach its agent.

use kith_core::AgentId;
use kith_protocol::{FrameKind, Header};
use libp2p::PeerId;

use super::Driver;
use crate::body::Body;
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
        let unknown =
            || (Fault::Unknown, "a frame from a peer with whom no agent of this process has an edge".to_owned());
        let process = self.sides.processes.get(&peer).ok_or_else(unknown)?;
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
        if !process.greeted {
            // Streams of a connection overtake each other: what the peer has to say first may be right behind.
            return Ok(Verdict::Wait);
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
        let known = self.adopted.contains(&header.task) || self.bases.contains_key(&header.task);
        if header.kind == FrameKind::BasisAck || known {
            return Ok(Verdict::Accept);
        }
        match &self.basis_spec {
            Some((task, spec)) if *task == header.task => {
                spec.check(body).map_err(|error| error.to_string())?;
                Ok(Verdict::Accept)
            }
            // Its sender is a task ahead, or this process has not begun its first round.
            Some((task, _)) if header.task.0 == task.0 + 1 => Ok(Verdict::Wait),
            None => Ok(Verdict::Wait),
            Some((task, _)) => Err(format!("a basis of task {} in task {task}", header.task)),
        }
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
