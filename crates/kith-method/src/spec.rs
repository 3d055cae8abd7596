//! A method as a file says it: a preset, or its parts.

use kith_core::{Leg, Schedule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Compressor, Continual};

/// A named method: `method = "codec"` expands to its [`Parts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Decentralized parallel SGD (Lian et al. 2017), adapt-then-combine, no memory: forgets.
    DPsgd,
    /// CoDeC (Choudhary et al. 2024) with coefficient exchange: gradient projection memory, gossip, lossless compression.
    Codec,
    /// CoDeC with full exchange, CoDeC(f).
    CodecFull,
    /// `Codec` with coefficients quantised: 8 bits.
    CompCodec,
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
    /// D-PSGD, combine-then-adapt: mixes first, takes the gradient at the mixed row.
    DPsgdCta,
    /// Decentralized SGD with local Nesterov momentum.
    DsgdmN,
    /// `DsgdmN` with weight decay and an averaging rate that grows by a hundredth an epoch, up to one (Aketi et al. 2024).
    ArsExponential,
    /// `DsgdmN` with weight decay and an averaging rate that rises to one along half a cosine (Aketi et al. 2024).
    ArsCosine,
    /// Quasi-global momentum (Lin et al. 2021).
    QgDsgdm,
    /// Quasi-global momentum, Nesterov.
    QgDsgdmN,
    /// `QgDsgdmN` with sharpness-aware gradients.
    QSaddle,
    /// `QSaddle` on public copies that grow by quantised differences.
    CompQSaddle,
    /// Gradient tracking (Nedic et al. 2017), adapt-then-combine.
    GradientTracking,
    /// Tracking of local momentum (Takezawa et al. 2023), adapt-then-combine.
    MomentumTracking,
    /// D² (Tang et al. 2018).
    D2,
    /// Exact diffusion (Yuan et al. 2019): D² at averaging rate one half.
    ExactDiffusion,
    /// CHOCO-SGD (Koloskova et al. 2020) with the largest hundredth of each difference.
    Choco,
    /// DeepSqueeze (Tang et al. 2019): compressed models with error feedback.
    DeepSqueeze,
    /// Neighbourhood gradient mean (Aketi et al. 2023), model variance only: nothing beyond models is sent.
    Ngm,
    /// Neighbourhood gradient clustering (Aketi et al. 2023), data variance: gradients come back over each edge.
    Ngc,
    /// `Ngc` with gradients as signs, with error feedback.
    CompNgc,
    /// `Ngc` with sharpness-aware gradients.
    NSaddle,
    /// `NSaddle` with models and gradients quantised, with error feedback.
    CompNSaddle,
    /// Cross-feature contrastive loss (Aketi et al. 2024), model- and data-variant terms.
    Ccl,
    /// Global update tracking (Aketi et al. 2023).
    Gut,
    /// Global update tracking with quasi-global momentum.
    QgGutm,
    /// D-PSGD with elastic weight consolidation (Kirkpatrick et al. 2017), importances averaged by gossip.
    DEwc,
    /// D-PSGD with synaptic intelligence (Zenke et al. 2017), importances averaged by gossip.
    DSi,
    /// D-PSGD with averaged gradient episodic memory (Chaudhry et al. 2019), each agent's from its own samples.
    AGem,
    /// D-PSGD with experience replay (Chaudhry et al. 2019), each agent's from its own samples.
    Replay,
    /// D-PSGD on all tasks' data at once: an upper bound.
    Joint,
    /// D-PSGD from fresh weights for every task, all of which are kept: single-task learners.
    Stl,
    /// RelaySGD (Vogels et al. 2021): sums of models travel along a tree.
    RelaySgd,
    /// Stochastic gradient push (Assran et al. 2019): push-sum, for one-way edges.
    PushSum,
    /// AdaGossip (Aketi et al. 2024): CHOCO's mixing with an averaging rate for each parameter.
    AdaGossip,
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
    /// What else is done against forgetting, if anything.
    #[serde(default, skip_serializing_if = "Continual::is_default")]
    pub continual: Continual,
}

/// Where gradients come from.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Oracle {
    /// The minibatch gradient.
    Plain,
    /// The gradient at `x + ρ g/(‖g‖₂ + 1e-12)`, on the same minibatch.
    SharpnessAware {
        /// ρ, at least 0; 0 is plain.
        #[schemars(example = 0.05)]
        radius: Schedule,
        /// What `‖g‖₂` is of.
        #[serde(default, skip_serializing_if = "ClimbNorm::is_default")]
        norm: ClimbNorm,
        /// What the perturbation climbs.
        #[serde(default, skip_serializing_if = "Climb::is_default")]
        climbs: Climb,
    },
}

impl Oracle {
    /// Sharpness-aware, with the norm of the whole row and up the loss alone.
    #[must_use]
    pub fn sharpness_aware(radius: impl Into<Schedule>) -> Self {
        Self::SharpnessAware { radius: radius.into(), norm: ClimbNorm::default(), climbs: Climb::default() }
    }

    /// ρ over time, of an oracle that has one.
    #[must_use]
    pub const fn radius(&self) -> Option<&Schedule> {
        match self {
            Self::Plain => None,
            Self::SharpnessAware { radius, .. } => Some(radius),
        }
    }
}

/// What the length of a sharpness-aware perturbation is measured on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClimbNorm {
    /// The whole row: ρ is the length of the perturbation.
    #[default]
    Global,
    /// Each weight, bias, gain or shift of a layer for itself: ρ is the length of each one's perturbation.
    PerLayer,
}

impl ClimbNorm {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a sharpness-aware perturbation climbs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Climb {
    /// The loss: weight decay joins the second gradient only.
    #[default]
    Loss,
    /// The loss with its weight decay: decay joins both gradients.
    LossAndDecay,
}

impl Climb {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// One transformation of the gradient. In a file: `"project"`, `{ clip = 1.0 }`, `{ momentum = { beta = 0.9, nesterov = true } }`.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Link {
    /// Scale down to this norm where longer.
    Clip(#[schemars(example = 1.0)] f64),
    /// Project away from the memory's core space.
    Project,
    /// `m ← β m + g`, then `m` (or, Nesterov, `g + β m`). Cleared at task boundaries.
    Momentum {
        /// β in \[0, 1).
        #[schemars(example = 0.9)]
        beta: f64,
        /// Whether to look ahead.
        #[serde(default)]
        nesterov: bool,
    },
    /// `m = β m̂ + g`, then `m` (or, Nesterov, `g + β m`); m̂ follows what the agents do together, as `buffer` says.
    QuasiGlobal {
        /// β in \[0, 1).
        #[schemars(example = 0.9)]
        beta: f64,
        /// Whether to look ahead.
        #[serde(default)]
        nesterov: bool,
        /// How m̂ is updated after mixing.
        #[serde(default)]
        buffer: Buffer,
    },
    /// `y ← y + g − g_previous`, then y, which neighbours mix as they mix models: the mean gradient of all agents.
    Track,
    /// `g ← g + rate · x`.
    WeightDecay(#[schemars(example = 0.0001)] f64),
    /// `g ← factor · g`.
    Scale(#[schemars(example = 0.5)] f64),
    /// `g ← g + λ F ⊙ (x − x*)`: the pull of [`crate::Consolidation`].
    Consolidate,
    /// `g ← (1 − share) g + share · g_ref`, with g_ref the gradient on kept samples of earlier tasks.
    Replay(#[schemars(example = 0.5)] f64),
    /// Takes out of g what points against g_ref: `g ← g − min(0, ⟨g, g_ref⟩ / ‖g_ref‖²) g_ref` (Chaudhry et al. 2019).
    AGem,
}

/// How the buffer m̂ of quasi-global momentum is updated after mixing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Buffer {
    /// `m̂ ← β m̂ + (1 − β)(x − x⁺)/η`, with x before the round and x⁺ after it (Lin et al. 2021).
    #[default]
    Smoothed,
    /// `m̂ ← m − (x⁺ − x^½)/η`, with x^½ before mixing: the local buffer less the gossip residual (Aketi et al. 2024).
    Corrected,
}

/// What is sent and how it is mixed.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// What neighbours keep of each other.
    pub kind: ExchangeKind,
    /// What a payload is made of.
    pub payload: Payload,
    /// Averaging rate γ in `x ← x + γ (W x − x)`, in (0, 1].
    #[schemars(example = 1.0)]
    pub averaging_rate: Schedule,
    /// What comes first.
    #[serde(default, skip_serializing_if = "Order::is_default")]
    pub order: Order,
    /// How payloads are made smaller at a loss, if at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compressor: Option<Compressor>,
    /// What becomes of that loss.
    #[serde(default, skip_serializing_if = "Feedback::is_default")]
    pub feedback: Feedback,
    /// α of neighbour gradients: 0 for own data at neighbours' models, 1 for neighbours' data at the own model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = 1.0)]
    pub data_variant_weight: Option<f64>,
    /// λ_m of neighbour features: how hard own features are drawn to those of neighbours' models on the same samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = 0.1)]
    pub model_variant_strength: Option<f64>,
    /// λ_d of neighbour features: how hard they are drawn to each class's mean over own and neighbours' samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = 0.1)]
    pub data_variant_strength: Option<f64>,
    /// μ of global update tracking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = 0.3)]
    pub tracking: Option<f64>,
    /// How gradients of a `NeighbourGradients` exchange are made smaller, if at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_compressor: Option<Compressor>,
    /// β of AdaGossip: each parameter's averaging rate is γ over the root mean square of what mixing did to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = 0.999)]
    pub adaptive: Option<f64>,
}

impl Exchange {
    /// Whether neighbours mix public rows that are not the trained rows themselves.
    #[must_use]
    pub fn has_public(&self) -> bool {
        matches!(self.kind, ExchangeKind::Difference | ExchangeKind::PushSum) || self.compressor.is_some()
    }

    /// Whether what a round sends was there before its local work: then the two need not wait for each other.
    #[must_use]
    pub fn sends_ahead(&self) -> bool {
        self.order == Order::MixThenSend
    }

    /// Whether a second row an agent is kept: a public row, or the rows of before a mixing.
    #[must_use]
    pub fn keeps_second_rows(&self) -> bool {
        self.has_public()
            || matches!(
                self.kind,
                ExchangeKind::NeighbourGradients | ExchangeKind::NeighbourFeatures | ExchangeKind::Relay
            )
    }
}

/// What comes first in a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Local steps, then exchange.
    #[default]
    AdaptThenCombine,
    /// Exchange, then local steps at the mixed row.
    CombineThenAdapt,
    /// Local steps, mixing of the copies held since the last round, then sending (CHOCO-SGD as published).
    MixThenSend,
}

impl Order {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What becomes of what compression loses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feedback {
    /// Nothing.
    #[default]
    None,
    /// It is added to the next payload.
    Error,
}

impl Feedback {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What neighbours keep of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExchangeKind {
    /// Nothing is exchanged.
    None,
    /// Each round sends the half step itself and mixes it: `X ← W (X − η G)` at γ = 1.
    Model,
    /// Each round sends the difference to the public copy x̂ that neighbours hold, and mixes the copies (CHOCO form).
    Difference,
    /// As `Model`, and each agent adds what mixing did to it last round: `X ← W (2X − X_prev − η (G − G_prev))` (D²).
    Corrected,
    /// Models, mixed before the step; the step follows gradients across edges (NGM, NGC).
    NeighbourGradients,
    /// Models, mixed before the step; the step draws features to those of neighbours (CCL).
    NeighbourFeatures,
    /// Models, not mixed: what mixing would do enters the step as part of the gradient (GUT).
    GlobalUpdate,
    /// Sums of models travel along the edges of a tree, and each agent takes the mean of all that reached it (RelaySGD).
    Relay,
    /// Each agent divides its numerator and a weight over those that it sends to; the model is their quotient (push-sum).
    PushSum,
}

/// What a payload is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Payload {
    /// Whole weights.
    Full,
    /// Coefficients in the space that the memory leaves free: lossless, and smaller with every task.
    Coefficients,
}

/// Gradient projection memory.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// GPM or SGP.
    pub rule: MemoryRule,
    /// Energy threshold ε, for all layers or one a layer, in (0, 1].
    #[schemars(example = 0.97)]
    pub energy_threshold: PerLayer<f64>,
    /// Added to ε with every task.
    #[schemars(example = 0.003)]
    pub energy_increment: f64,
    /// α of scaled gradient projection.
    #[schemars(example = 10.0)]
    pub scale_coefficient: f64,
    /// Training samples shown for the representation matrices, for all layers or one a layer.
    #[schemars(example = 300)]
    pub samples: PerLayer<usize>,
    /// How agents come to share a basis.
    pub agreement: Agreement,
    /// The agent that computes the basis.
    #[schemars(example = 0)]
    pub leader: u32,
    /// Rounds of exchange without training before each update of the memory.
    #[schemars(example = 51)]
    pub consensus_rounds: u64,
}

/// Which rule makes and uses the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryRule {
    /// Gradient projection memory: core directions are frozen.
    Gpm,
    /// Scaled gradient projection: core directions are damped by their importance.
    Sgp,
}

/// How agents come to share a basis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Agreement {
    /// The leader computes it from its own data and floods it along the graph.
    Leader,
    /// Each agent computes its own: only without coefficient exchange.
    Own,
}

impl Parts {
    /// What a training round consists of.
    #[must_use]
    pub fn legs(&self) -> Vec<Leg> {
        match (self.exchange.kind, self.exchange.order) {
            (ExchangeKind::NeighbourGradients, _) if self.exchange.data_variant_weight.unwrap_or(0.0) > 0.0 => {
                vec![Leg::Exchange, Leg::Both]
            }
            (ExchangeKind::NeighbourFeatures, _) if self.exchange.data_variant_strength.unwrap_or(0.0) > 0.0 => {
                vec![Leg::Exchange, Leg::Both]
            }
            (ExchangeKind::NeighbourGradients | ExchangeKind::NeighbourFeatures | ExchangeKind::GlobalUpdate, _) => {
                vec![Leg::Exchange, Leg::Compute]
            }
            (ExchangeKind::Model | ExchangeKind::Difference, Order::CombineThenAdapt) => {
                vec![Leg::Exchange, Leg::Compute]
            }
            _ => vec![Leg::Both],
        }
    }

    /// Rounds of exchange without training at each task's end.
    #[must_use]
    pub fn consensus_rounds(&self) -> u64 {
        let memory = self.memory.as_ref().map_or(0, |memory| memory.consensus_rounds);
        let consolidation = self.continual.consolidation.as_ref().map_or(0, |one| one.consensus_rounds);
        memory.max(consolidation)
    }

    /// Whether the chain tracks the mean gradient, which is then sent beside the model.
    #[must_use]
    pub fn tracks(&self) -> bool {
        self.chain.contains(&Link::Track)
    }
}

/// One value for all layers, or one a layer.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
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
