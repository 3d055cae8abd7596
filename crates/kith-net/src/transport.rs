//! What connections are made of: sockets, buffers, encryption, streams.

use std::error::Error;
use std::time::Duration;

use futures::io::BufReader;
use futures::{AsyncRead, AsyncWrite};
use libp2p::core::Negotiated;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, MemoryTransport, OrTransport, Transport};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, Version};
use libp2p::identity::Keypair;
use libp2p::pnet::{PnetConfig, PreSharedKey};
use libp2p::{PeerId, noise, tcp};

use crate::streams::LongFrames;
use crate::{NetError, quic};

/// Bytes that are read from a socket at once: the encryption above asks for 8 KiB at a time.
const AHEAD: usize = 1 << 17;
/// How long a connection may take to be made.
const WAIT: Duration = Duration::from_secs(20);

/// Connections of a process.
pub(crate) fn transport(
    key: &Keypair,
    pre_shared: Option<[u8; 32]>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, NetError> {
    let noise = noise::Config::new(key)
        .map_err(|error| NetError::Setup { operation: "set up encryption", reason: error.to_string() })?;
    let sockets = OrTransport::new(sockets(), MemoryTransport::default());
    Ok(match pre_shared {
        None => quic::beside(upgraded(sockets, noise), key),
        Some(key) => {
            let buffered = sockets.map(|socket, _| BufReader::with_capacity(AHEAD, socket));
            let shared = buffered.and_then(move |socket, _| PnetConfig::new(PreSharedKey::new(key)).handshake(socket));
            upgraded(shared, noise)
        }
    })
}

/// TCP that sends what it is given at once.
pub(crate) fn sockets() -> tcp::tokio::Transport {
    tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
}

/// Connections over sockets whose peers `security` knows.
pub(crate) fn upgraded<T, C, D, U, E>(sockets: T, security: U) -> Boxed<(PeerId, StreamMuxerBox)>
where
    T: Transport<Output = C> + Send + Unpin + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Error: Send + Sync + 'static,
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    D: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    U: InboundConnectionUpgrade<Buffered<C>, Output = (PeerId, D), Error = E>,
    U: OutboundConnectionUpgrade<Buffered<C>, Output = (PeerId, D), Error = E> + Clone + Send + 'static,
    <U as InboundConnectionUpgrade<Buffered<C>>>::Future: Send,
    <U as OutboundConnectionUpgrade<Buffered<C>>>::Future: Send,
    U::Info: Send,
    <U::InfoIter as IntoIterator>::IntoIter: Send,
    E: Error + Send + Sync + 'static,
{
    let buffered = sockets.map(|socket, _| BufReader::with_capacity(AHEAD, socket));
    buffered.upgrade(Version::V1Lazy).authenticate(security).multiplex(LongFrames).timeout(WAIT).boxed()
}

/// A socket, read in long pieces, as the encryption sees it.
pub(crate) type Buffered<C> = Negotiated<BufReader<C>>;
