//! One suite for every engine and every family of networks.
//!
//! The networks are the small versions of the published ones in `tests/golden/conv_step.json`, an AlexNet with dropout, and
//! perceptrons with a shared head and with one a task. Every engine starts from the same flat rows and minibatches; its numbers
//! are held against PyTorch's where those were written down, and against the native engine's everywhere.
#![allow(missing_docs, clippy::cast_possible_truncation)]

#[path = "../../../kith-engine/tests/support/mod.rs"]
mod support;

mod families;
mod laws;

use kith_core::{Network, Seeds};
use kith_engine::{Engine, NativeEngine, Objective};

/// A way to make an engine; none where this machine has no device for it.
trait Subject {
    type Engine: Engine;
    fn engine(network: &Network) -> Option<Self::Engine>;
}

struct Native;

impl Subject for Native {
    type Engine = NativeEngine;
    fn engine(network: &Network) -> Option<NativeEngine> {
        Some(native(network))
    }
}

fn native(network: &Network) -> NativeEngine {
    NativeEngine::new(Objective::Network(network.clone()), 2).expect("the engine starts").with_seeds(Seeds::new(7))
}

#[cfg(feature = "engine")]
mod burnt {
    use super::{Network, Seeds, Subject};
    use kith_burn::{Backend, BurnEngine, BurnError};

    fn engine(backend: Backend, network: &Network) -> Option<BurnEngine> {
        match backend.open() {
            Ok(opened) => {
                Some(BurnEngine::new(network.clone(), opened).expect("the network fits").with_seeds(Seeds::new(7)))
            }
            Err(error @ BurnError::NoAdapter { .. }) => {
                eprintln!("skipped: {error}");
                assert!(std::env::var_os("KITH_REQUIRE_ADAPTER").is_none(), "KITH_REQUIRE_ADAPTER is set: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    macro_rules! subject {
        ($feature:literal, $name:ident) => {
            #[cfg(feature = $feature)]
            pub(super) struct $name;
            #[cfg(feature = $feature)]
            impl Subject for $name {
                type Engine = BurnEngine;
                fn engine(network: &Network) -> Option<BurnEngine> {
                    engine(Backend::$name, network)
                }
            }
        };
    }
    subject!("flex", Flex);
    subject!("wgpu", Wgpu);
    subject!("cuda", Cuda);
}

macro_rules! suite {
    ($engine:ident, $subject:ty, $($law:ident),+ $(,)?) => {
        mod $engine {
            $(
                #[test]
                fn $law() {
                    crate::laws::$law::<$subject>();
                }
            )+
        }
    };
}

macro_rules! every_law {
    ($engine:ident, $subject:ty) => {
        suite!(
            $engine,
            $subject,
            three_steps_match_pytorch,
            losses_and_gradients_are_the_native_ones,
            charts_constrain_alike,
            ten_steps_with_momentum_end_alike,
            ten_projected_steps_end_alike,
            a_sharpness_aware_step_ends_alike,
            rows_obey_their_arithmetic,
            mixing_is_the_plans_sum,
            entering_and_leaving_are_alike_and_inverse,
            scores_are_alike,
            layer_inputs_are_alike,
            consensus_is_alike,
            only_the_agents_of_a_visit_change,
        );
    };
}

every_law!(native, crate::Native);
#[cfg(feature = "flex")]
every_law!(flex, crate::burnt::Flex);
#[cfg(feature = "wgpu")]
every_law!(wgpu, crate::burnt::Wgpu);
#[cfg(feature = "cuda")]
every_law!(cuda, crate::burnt::Cuda);
