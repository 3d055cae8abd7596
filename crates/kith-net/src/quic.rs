//! QUIC beside TCP, where it is built in (cargo feature `quic`).
//!
//! Its encryption brings a second TLS library and its C code, so that it is a choice when building, too.

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::NetError;

/// Whether an address is one of QUIC.
fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::Udp(_) | Protocol::Quic | Protocol::QuicV1))
}

/// Refuses an address that this build, or a run with a shared secret, cannot use.
pub(crate) fn check(address: &Multiaddr, pre_shared: Option<[u8; 32]>) -> Result<(), NetError> {
    let refused = |reason: &str, accepted| {
        Err(NetError::Value { what: "address", found: address.to_string(), reason: reason.to_owned(), accepted })
    };
    match (is_quic(address), pre_shared) {
        (false, _) => Ok(()),
        (true, _) if !cfg!(feature = "quic") => refused(
            "this kith is built without QUIC",
            "addresses with /tcp/PORT, or a kith that was built with --features quic",
        ),
        (true, Some(_)) => refused(
            "a pre-shared key stands before the first byte of a connection, and QUIC has no place there: it begins with its own handshake",
            "addresses with /tcp/PORT, or no pre-shared key",
        ),
        (true, None) => Ok(()),
    }
}

/// These connections, and those of QUIC.
#[cfg(feature = "quic")]
pub(crate) fn beside(others: Boxed<(PeerId, StreamMuxerBox)>, key: &Keypair) -> Boxed<(PeerId, StreamMuxerBox)> {
    use futures::future::Either;
    use libp2p::core::transport::{OrTransport, Transport as _};
    let quic = libp2p::quic::tokio::Transport::new(libp2p::quic::Config::new(key));
    let one = |either, _| match either {
        Either::Left((peer, connection)) => (peer, StreamMuxerBox::new(connection)),
        Either::Right(other) => other,
    };
    OrTransport::new(quic, others).map(one).boxed()
}

/// These connections alone: QUIC is not built in.
#[cfg(not(feature = "quic"))]
pub(crate) fn beside(others: Boxed<(PeerId, StreamMuxerBox)>, _: &Keypair) -> Boxed<(PeerId, StreamMuxerBox)> {
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quic_is_refused_with_a_shared_secret_and_without_the_feature() {
        let address = |text: &str| text.parse::<Multiaddr>().expect("an address");
        let quic = address("/ip4/127.0.0.1/udp/4001/quic-v1");
        let error = check(&quic, Some([1; 32])).expect_err("it is refused").to_string();
        let reason = if cfg!(feature = "quic") { "pre-shared key" } else { "--features quic" };
        assert!(error.contains(reason), "{error}");
        assert_eq!(check(&quic, None).is_ok(), cfg!(feature = "quic"));
        assert!(check(&address("/dns4/lab/tcp/4001"), Some([1; 32])).is_ok());
    }
}
