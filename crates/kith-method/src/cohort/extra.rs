//! Rows that some methods keep beside weights and public rows.

use crate::exchange::{Across, Adaptive, Contrast, GlobalUpdate, PushSum, Relay};
use crate::{ExchangeKind, Feedback, Link, Parts};

/// Rows that some methods keep beside weights and public rows; each is there only where its method needs it.
pub(crate) struct Extra<B> {
    /// Quasi-global momentum: the row before the round, or before mixing.
    pub(crate) anchor: Option<B>,
    /// Tracking: y, and the gradient that it took in last.
    pub(crate) tracker: Option<(B, B)>,
    /// D²: what mixing did to the row last round.
    pub(crate) correction: Option<B>,
    /// What compression lost so far.
    pub(crate) error: Option<B>,
    pub(crate) across: Option<Across<B>>,
    pub(crate) contrast: Option<Contrast<B>>,
    pub(crate) update: Option<GlobalUpdate<B>>,
    pub(crate) relay: Option<Relay<B>>,
    pub(crate) push: Option<PushSum<B>>,
    pub(crate) adaptive: Option<Adaptive<B>>,
}

impl<B> Extra<B> {
    pub(super) fn new(parts: &Parts, block: impl Fn() -> B, agents: usize, degree: usize) -> Self {
        let exchange = &parts.exchange;
        let quasi_global = parts.chain.iter().any(|link| matches!(link, Link::QuasiGlobal { .. }));
        let across = exchange.kind == ExchangeKind::NeighbourGradients;
        let feeds_back = exchange.compressor.is_some() && exchange.feedback == Feedback::Error;
        Self {
            anchor: quasi_global.then(&block),
            tracker: parts.tracks().then(|| (block(), block())),
            correction: (exchange.kind == ExchangeKind::Corrected).then(&block),
            error: feeds_back.then(&block),
            across: across.then(|| Across::new(&block, exchange, degree)),
            contrast: (exchange.kind == ExchangeKind::NeighbourFeatures).then(|| Contrast::new(&block, exchange)),
            update: (exchange.kind == ExchangeKind::GlobalUpdate)
                .then(|| GlobalUpdate::new(&block, exchange.tracking.unwrap_or(0.0))),
            relay: (exchange.kind == ExchangeKind::Relay).then(|| Relay::new(&block, agents, degree)),
            push: (exchange.kind == ExchangeKind::PushSum).then(|| PushSum::new(&block, agents)),
            adaptive: exchange.adaptive.map(|beta| Adaptive::new(&block, agents, beta)),
        }
    }

    /// A task begins.
    pub(super) fn begin(&mut self) {
        self.update.iter_mut().for_each(GlobalUpdate::begin);
        self.relay.iter_mut().for_each(Relay::begin);
        self.push.iter_mut().for_each(PushSum::begin);
        self.adaptive.iter_mut().for_each(Adaptive::begin);
    }

    /// Every block that is there.
    pub(crate) fn blocks(&mut self) -> impl Iterator<Item = &mut B> {
        let Self { anchor, tracker, correction, error, across, contrast, update, relay, push, adaptive } = self;
        let pair = tracker.iter_mut().flat_map(|(y, previous)| [y, previous]);
        let across = across.iter_mut().flat_map(Across::blocks);
        let contrast = contrast.iter_mut().flat_map(Contrast::blocks);
        let update = update.iter_mut().flat_map(GlobalUpdate::blocks);
        let relay = relay.iter_mut().flat_map(Relay::blocks);
        let push = push.iter_mut().flat_map(PushSum::blocks);
        let adaptive = adaptive.iter_mut().flat_map(Adaptive::blocks);
        let rows = anchor.iter_mut().chain(pair).chain(correction.iter_mut()).chain(error.iter_mut());
        rows.chain(across).chain(contrast).chain(update).chain(relay).chain(push).chain(adaptive)
    }
}
