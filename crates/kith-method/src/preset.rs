//! What presets expand to.

use kith_core::{Clock, Moving, Schedule};

use crate::{
    Agreement, Buffer, Compressor, Consolidation, Continual, Curriculum, Exchange, ExchangeKind, Feedback, Importance,
    Link, Memory, MemoryRule, Oracle, Order, Parts, Payload, PerLayer, Preset, Replay, Sharing,
};

/// β of presets with momentum.
const BETA: f64 = 0.9;
/// ρ of sharpness-aware presets.
const RADIUS: f64 = 0.05;
/// Rounds of exchange without training at a task's end (Choudhary et al. 2024).
const CONSENSUS_ROUNDS: u64 = 51;
/// What an agent may keep of earlier tasks' samples: a megabyte.
const REPLAY_BYTES: u64 = 1_000_000;

impl Preset {
    /// Every preset, in the order that messages list them.
    pub const ALL: [Self; 40] = [
        Self::DPsgd,
        Self::Codec,
        Self::CodecFull,
        Self::CompCodec,
        Self::CodecSgp,
        Self::CodecSgpFull,
        Self::Gpm,
        Self::Sgp,
        Self::Local,
        Self::DPsgdCta,
        Self::DsgdmN,
        Self::ArsExponential,
        Self::ArsCosine,
        Self::QgDsgdm,
        Self::QgDsgdmN,
        Self::QSaddle,
        Self::CompQSaddle,
        Self::GradientTracking,
        Self::MomentumTracking,
        Self::D2,
        Self::ExactDiffusion,
        Self::Choco,
        Self::DeepSqueeze,
        Self::Ngm,
        Self::Ngc,
        Self::CompNgc,
        Self::NSaddle,
        Self::CompNSaddle,
        Self::Ccl,
        Self::Gut,
        Self::QgGutm,
        Self::DEwc,
        Self::DSi,
        Self::AGem,
        Self::Replay,
        Self::Joint,
        Self::Stl,
        Self::RelaySgd,
        Self::PushSum,
        Self::AdaGossip,
    ];

    /// The preset's name in a file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DPsgd => "d-psgd",
            Self::Codec => "codec",
            Self::CodecFull => "codec-full",
            Self::CompCodec => "comp-codec",
            Self::CodecSgp => "codec-sgp",
            Self::CodecSgpFull => "codec-sgp-full",
            Self::Gpm => "gpm",
            Self::Sgp => "sgp",
            Self::Local => "local",
            Self::DPsgdCta => "d-psgd-cta",
            Self::DsgdmN => "dsgdm-n",
            Self::ArsExponential => "ars-exponential",
            Self::ArsCosine => "ars-cosine",
            Self::QgDsgdm => "qg-dsgdm",
            Self::QgDsgdmN => "qg-dsgdm-n",
            Self::QSaddle => "q-saddle",
            Self::CompQSaddle => "comp-q-saddle",
            Self::GradientTracking => "gradient-tracking",
            Self::MomentumTracking => "momentum-tracking",
            Self::D2 => "d2",
            Self::ExactDiffusion => "exact-diffusion",
            Self::Choco => "choco",
            Self::DeepSqueeze => "deep-squeeze",
            Self::Ngm => "ngm",
            Self::Ngc => "ngc",
            Self::CompNgc => "comp-ngc",
            Self::NSaddle => "n-saddle",
            Self::CompNSaddle => "comp-n-saddle",
            Self::Ccl => "ccl",
            Self::Gut => "gut",
            Self::QgGutm => "qg-gutm",
            Self::DEwc => "d-ewc",
            Self::DSi => "d-si",
            Self::AGem => "a-gem",
            Self::Replay => "replay",
            Self::Joint => "joint",
            Self::Stl => "stl",
            Self::RelaySgd => "relay-sgd",
            Self::PushSum => "push-sum",
            Self::AdaGossip => "ada-gossip",
        }
    }

    /// What the preset expands to.
    #[must_use]
    pub fn parts(self) -> Parts {
        let (exchange, memory) = (self.exchange(), self.memory());
        let chain = if memory.is_some() { vec![Link::Project] } else { self.chain() };
        let oracle = match self {
            Self::QSaddle | Self::CompQSaddle | Self::NSaddle | Self::CompNSaddle => Oracle::sharpness_aware(RADIUS),
            _ => Oracle::Plain,
        };
        Parts { oracle, chain, exchange, memory, continual: self.continual() }
    }

    fn chain(self) -> Vec<Link> {
        let momentum = Link::Momentum { beta: BETA, nesterov: true };
        match self {
            Self::DsgdmN
            | Self::Ngm
            | Self::Ngc
            | Self::CompNgc
            | Self::NSaddle
            | Self::CompNSaddle
            | Self::QgGutm
            | Self::AdaGossip => vec![momentum],
            Self::QgDsgdm | Self::QgDsgdmN | Self::QSaddle | Self::CompQSaddle => {
                vec![Link::QuasiGlobal { beta: BETA, nesterov: self != Self::QgDsgdm, buffer: Buffer::Smoothed }]
            }
            Self::ArsExponential | Self::ArsCosine => vec![Link::WeightDecay(1e-4), momentum],
            Self::Ccl => {
                let buffer = Buffer::Corrected;
                vec![Link::WeightDecay(1e-4), Link::QuasiGlobal { beta: BETA, nesterov: true, buffer }]
            }
            Self::GradientTracking => vec![Link::Track],
            Self::MomentumTracking => vec![Link::Momentum { beta: BETA, nesterov: false }, Link::Track],
            Self::DEwc => vec![Link::Consolidate, Link::Clip(100.0)],
            Self::DSi => vec![Link::Consolidate],
            Self::AGem => vec![Link::AGem],
            Self::Replay => vec![Link::Replay(0.5)],
            _ => Vec::new(),
        }
    }

    fn continual(self) -> Continual {
        let consolidation = |importance, strength| Consolidation {
            importance,
            strength,
            agreement: Sharing::Gossip,
            consensus_rounds: CONSENSUS_ROUNDS,
        };
        let nothing = Continual::default();
        match self {
            Self::DEwc => Continual { consolidation: Some(consolidation(Importance::Fisher, 5000.0)), ..nothing },
            Self::DSi => {
                let importance = Importance::Path { damping: 1e-3 };
                Continual { consolidation: Some(consolidation(importance, 0.1)), ..nothing }
            }
            Self::AGem | Self::Replay => {
                Continual { replay: Some(Replay { budget_bytes: REPLAY_BYTES, batch_size: None }), ..nothing }
            }
            Self::Joint => Continual { curriculum: Curriculum::Joint, ..nothing },
            Self::Stl => Continual { curriculum: Curriculum::Separate, ..nothing },
            _ => nothing,
        }
    }

    fn exchange(self) -> Exchange {
        let plain = |kind| Exchange {
            kind,
            payload: Payload::Full,
            averaging_rate: Schedule::Constant(1.0),
            order: Order::default(),
            compressor: None,
            feedback: Feedback::None,
            data_variant_weight: None,
            model_variant_strength: None,
            data_variant_strength: None,
            tracking: None,
            gradient_compressor: None,
            adaptive: None,
        };
        let bytes = Some(Compressor::Quantised { bits: 8 });
        let top = Some(Compressor::TopK { share: 0.01 });
        let across = |alpha| Exchange { data_variant_weight: Some(alpha), ..plain(ExchangeKind::NeighbourGradients) };
        let tracking = |mu| Exchange { tracking: Some(mu), ..plain(ExchangeKind::GlobalUpdate) };
        match self {
            Self::Local | Self::Gpm | Self::Sgp => plain(ExchangeKind::None),
            Self::Codec | Self::CodecSgp => {
                Exchange { payload: Payload::Coefficients, ..plain(ExchangeKind::Difference) }
            }
            Self::CompCodec => Exchange {
                payload: Payload::Coefficients,
                compressor: bytes,
                averaging_rate: Schedule::Constant(0.9),
                ..plain(ExchangeKind::Difference)
            },
            Self::CodecFull | Self::CodecSgpFull => plain(ExchangeKind::Difference),
            Self::DPsgdCta => Exchange { order: Order::CombineThenAdapt, ..plain(ExchangeKind::Model) },
            Self::ArsExponential => Exchange {
                averaging_rate: Schedule::Moving(Moving::Exponential {
                    start: 0.09,
                    growth: 1.01,
                    cap: 1.0,
                    clock: Clock::Epoch,
                }),
                ..plain(ExchangeKind::Model)
            },
            Self::ArsCosine => Exchange {
                averaging_rate: Schedule::Moving(Moving::Cosine { start: 0.08, end: 1.0, clock: Clock::Epoch }),
                ..plain(ExchangeKind::Model)
            },
            Self::D2 => plain(ExchangeKind::Corrected),
            Self::ExactDiffusion => {
                Exchange { averaging_rate: Schedule::Constant(0.5), ..plain(ExchangeKind::Corrected) }
            }
            Self::Choco => Exchange {
                order: Order::MixThenSend,
                compressor: top,
                averaging_rate: Schedule::Constant(0.04),
                ..plain(ExchangeKind::Difference)
            },
            Self::DeepSqueeze => Exchange {
                compressor: bytes,
                feedback: Feedback::Error,
                averaging_rate: Schedule::Constant(0.5),
                ..plain(ExchangeKind::Model)
            },
            Self::CompQSaddle => Exchange { compressor: bytes, ..plain(ExchangeKind::Difference) },
            Self::CompNgc => {
                Exchange { gradient_compressor: Some(Compressor::ScaledSign), feedback: Feedback::Error, ..across(1.0) }
            }
            Self::CompNSaddle => {
                Exchange { compressor: bytes, gradient_compressor: bytes, feedback: Feedback::Error, ..across(1.0) }
            }
            Self::RelaySgd => plain(ExchangeKind::Relay),
            Self::PushSum => plain(ExchangeKind::PushSum),
            Self::AdaGossip => Exchange {
                compressor: top,
                averaging_rate: Schedule::Constant(0.001),
                adaptive: Some(0.999),
                ..plain(ExchangeKind::Difference)
            },
            Self::Ngm => across(0.0),
            Self::Ngc | Self::NSaddle => across(1.0),
            Self::Ccl => Exchange {
                model_variant_strength: Some(0.1),
                data_variant_strength: Some(0.1),
                ..plain(ExchangeKind::NeighbourFeatures)
            },
            Self::Gut => tracking(0.9),
            Self::QgGutm => tracking(0.06),
            _ => plain(ExchangeKind::Model),
        }
    }

    fn memory(self) -> Option<Memory> {
        let (rule, agreement) = match self {
            Self::Codec | Self::CodecFull | Self::CompCodec => (MemoryRule::Gpm, Agreement::Leader),
            Self::CodecSgp | Self::CodecSgpFull => (MemoryRule::Sgp, Agreement::Leader),
            Self::Gpm => (MemoryRule::Gpm, Agreement::Own),
            Self::Sgp => (MemoryRule::Sgp, Agreement::Own),
            _ => return None,
        };
        Some(Memory {
            rule,
            energy_threshold: PerLayer::All(0.95),
            energy_increment: 0.0,
            scale_coefficient: 10.0,
            samples: PerLayer::All(300),
            agreement,
            leader: 0,
            consensus_rounds: if agreement == Agreement::Leader { CONSENSUS_ROUNDS } else { 0 },
        })
    }
}
