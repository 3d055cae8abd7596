//! A method as a file says it: a preset, or its parts.

use kith_core::Schedule;
use serde::{Deserialize, Serialize};

/// A named method: `method = "codec"` expands to its [`Parts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Decentralized parallel SGD (Lian et al. 2017), adapt-then-combine, no memory: forgets.
    DPsgd,
    /// CoDeC (Choudhary et al. 2024) with coefficient exchange: gradient projection memory, gossip, lossless compression.
    Codec,
    /// CoDeC with full exchange, CoDeC(f).
    CodecFull,
    /// CoDeC with scaled gradient projection and coefficient exchange.
    CodecSgp,
    /// CoDeC with scaled gradient projection and full exchange.
    CodecSgpFull,
    /// Gradient projection memory (Saha et al. 2021) on each agent alone; the method itself on a graph of one vertex.
    Gpm,
    /// Scaled gradient projection (Saha and Roy 2023) on each agent alone.
    Sgp,
    /// Plain SGD on each agent alone.
    Local,
}

/// A method's parts, as a chain of choices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// Where gradients come from.
    pub oracle: Oracle,
    /// What happens to a gradient, in order.
    pub chain: Vec<Link>,
    /// What is sent and how it is mixed.
    pub exchange: Exchange,
    /// Gradient projection memory, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// Where gradients come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Oracle {
    /// The minibatch gradient.
    Plain,
}

/// One transformation of the gradient. In a file: `"project"`, `{ clip = 1.0 }`, `{ momentum = { beta = 0.9, nesterov = true } }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Link {
    /// Scale down to this norm where longer.
    Clip(f64),
    /// Project away from the memory's core space.
    Project,
    /// `m ← β m + g`, then `m` (or, Nesterov, `g + β m`). Cleared at task boundaries.
    Momentum {
        /// β in \[0, 1).
        beta: f64,
        /// Whether to look ahead.
        #[serde(default)]
        nesterov: bool,
    },
    /// `g ← g + rate · x`.
    WeightDecay(f64),
    /// `g ← factor · g`.
    Scale(f64),
}

/// What is sent and how it is mixed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// What neighbours keep of each other.
    pub kind: ExchangeKind,
    /// What a payload is made of.
    pub payload: Payload,
    /// Averaging rate γ in `x ← x + γ (W x − x)`, in (0, 1].
    pub averaging_rate: Schedule,
}

/// What neighbours keep of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExchangeKind {
    /// Nothing is exchanged.
    None,
    /// Each round sends the half step itself and mixes it: `X ← W (X − η G)` at γ = 1.
    Model,
    /// Each round sends the difference to the public copy x̂ that neighbours hold, and mixes the copies (CHOCO form).
    Difference,
}

/// What a payload is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Payload {
    /// Whole weights.
    Full,
    /// Coefficients in the space that the memory leaves free: lossless, and smaller with every task.
    Coefficients,
}

/// Gradient projection memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// GPM or SGP.
    pub rule: MemoryRule,
    /// Energy threshold ε, for all layers or one a layer, in (0, 1].
    pub energy_threshold: PerLayer<f64>,
    /// Added to ε with every task.
    pub energy_increment: f64,
    /// α of scaled gradient projection.
    pub scale_coefficient: f64,
    /// Training samples shown for the representation matrices, for all layers or one a layer.
    pub samples: PerLayer<usize>,
    /// How agents come to share a basis.
    pub agreement: Agreement,
    /// The agent that computes the basis.
    pub leader: u32,
    /// Rounds of exchange without training before each update of the memory.
    pub consensus_rounds: u64,
}

/// Which rule makes and uses the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryRule {
    /// Gradient projection memory: core directions are frozen.
    Gpm,
    /// Scaled gradient projection: core directions are damped by their importance.
    Sgp,
}

/// How agents come to share a basis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Agreement {
    /// The leader computes it from its own data and floods it along the graph.
    Leader,
    /// Each agent computes its own: only without coefficient exchange.
    Own,
}

/// One value for all layers, or one a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PerLayer<T> {
    /// The same for all.
    All(T),
    /// One a projected layer.
    Each(Vec<T>),
}

impl<T: Copy> PerLayer<T> {
    /// The value for a projected layer; the last one for layers beyond the list.
    #[must_use]
    pub fn get(&self, layer: usize) -> Option<T> {
        match self {
            Self::All(value) => Some(*value),
            Self::Each(values) => values.get(layer).or(values.last()).copied(),
        }
    }
}

impl Preset {
    /// What the preset expands to.
    #[must_use]
    pub fn parts(self) -> Parts {
        let memory = |rule, leader_shares| Memory {
            rule,
            energy_threshold: PerLayer::All(0.95),
            energy_increment: 0.0,
            scale_coefficient: 10.0,
            samples: PerLayer::All(300),
            agreement: if leader_shares { Agreement::Leader } else { Agreement::Own },
            leader: 0,
            consensus_rounds: if leader_shares { 51 } else { 0 },
        };
        let exchange = |kind, payload| Exchange { kind, payload, averaging_rate: Schedule::Constant(1.0) };
        let (chain, exchange, memory) = match self {
            Self::DPsgd => (vec![], exchange(ExchangeKind::Model, Payload::Full), None),
            Self::Local => (vec![], exchange(ExchangeKind::None, Payload::Full), None),
            Self::Codec => (
                vec![Link::Project],
                exchange(ExchangeKind::Difference, Payload::Coefficients),
                Some(memory(MemoryRule::Gpm, true)),
            ),
            Self::CodecFull => (
                vec![Link::Project],
                exchange(ExchangeKind::Difference, Payload::Full),
                Some(memory(MemoryRule::Gpm, true)),
            ),
            Self::CodecSgp => (
                vec![Link::Project],
                exchange(ExchangeKind::Difference, Payload::Coefficients),
                Some(memory(MemoryRule::Sgp, true)),
            ),
            Self::CodecSgpFull => (
                vec![Link::Project],
                exchange(ExchangeKind::Difference, Payload::Full),
                Some(memory(MemoryRule::Sgp, true)),
            ),
            Self::Gpm => {
                (vec![Link::Project], exchange(ExchangeKind::None, Payload::Full), Some(memory(MemoryRule::Gpm, false)))
            }
            Self::Sgp => {
                (vec![Link::Project], exchange(ExchangeKind::None, Payload::Full), Some(memory(MemoryRule::Sgp, false)))
            }
        };
        Parts { oracle: Oracle::Plain, chain, exchange, memory }
    }
}
