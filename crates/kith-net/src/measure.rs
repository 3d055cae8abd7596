//! For whoever measures what an exchange costs (`examples/payload.rs`): the network's thread of two processes without agents, and what
//! it is built from. No part of a run.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::iter::{Once, once};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use kith_core::{AgentId, Round, TaskId};
use kith_protocol::{FrameKind, HEADER_LEN, Header, PROTOCOL_VERSION};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use libp2p::identity::Keypair;
use libp2p::{PeerId, noise};
use tokio::sync::mpsc;

use crate::body::{Body, Shelf};
use crate::codec::{Codec, Packet};
use crate::network::{self, Command, IN_QUEUE, NetEvent, NetworkSettings, OUT_QUEUE};
use crate::peers::Peer;
use crate::transport::{sockets, upgraded};
use crate::{Discover, Identity, NetError};

/// How long anything may take.
const WAIT: Duration = Duration::from_secs(30);

/// Bytes of a frame beside its body.
pub const FRAME_HEAD: usize = 9 + HEADER_LEN;

/// Two processes' networks on loopback, connected.
pub struct Pair {
    one: End,
    other: End,
    body: Body,
}

struct End {
    id: PeerId,
    commands: mpsc::Sender<Command>,
    events: Receiver<NetEvent>,
}

fn failed(operation: &'static str, reason: impl std::fmt::Display) -> NetError {
    NetError::Setup { operation, reason: reason.to_string() }
}

impl Pair {
    /// Connects the two; what is exchanged are so many bytes.
    ///
    /// # Errors
    /// Networks that cannot be set up, or do not find each other.
    pub fn connect(bytes: Vec<u8>) -> Result<Self, NetError> {
        let id = |identity: &Identity| PeerId::from(identity.0.public());
        let mut identities = [Identity::generate(), Identity::generate()];
        // Of two peers the one with the lower id dials, and only the second to start knows where the other is.
        identities.sort_by_key(|identity| std::cmp::Reverse(id(identity)));
        let ids = identities.each_ref().map(id);
        let [one, other] = identities;
        let limit = u32::try_from(bytes.len()).map_err(|error| failed("exchange", error))?;
        let first = End::start(one, ids[1], None, limit);
        let address = first.wait(|event| match event {
            NetEvent::Listening(address) => Some(address),
            _ => None,
        })?;
        let second = End::start(other, ids[0], Some(address), limit);
        for end in [&first, &second] {
            end.wait(|event| matches!(event, NetEvent::Up(_)).then_some(()))?;
        }
        Ok(Self { one: first, other: second, body: bytes.into() })
    }

    /// One payload to the other process, and its acknowledgement back.
    ///
    /// # Errors
    /// A packet that does not arrive.
    pub fn exchange(&self) -> Result<(), NetError> {
        self.one.send(self.other.id, FrameKind::Payload, &self.body)?;
        let body = self.other.frame()?;
        if body.len() != self.body.len() {
            return Err(failed("exchange", format!("{} bytes arrived of {}", body.len(), self.body.len())));
        }
        self.other.send(self.one.id, FrameKind::Ack, &Body::default())?;
        self.one.frame().map(drop)
    }
}

impl End {
    fn start(identity: Identity, other: PeerId, address: Option<libp2p::Multiaddr>, limit: u32) -> Self {
        let id = PeerId::from(identity.0.public());
        let settings = NetworkSettings {
            key: identity.0,
            listen: vec![libp2p::multiaddr::multiaddr!(Ip4([127, 0, 0, 1]), Tcp(0_u16))],
            peers: BTreeMap::from([(other, Peer { id: other, agents: Vec::new(), address })]),
            pre_shared: None,
            codec: Codec { body: limit, state: 0, shelf: Shelf::new() },
            discover: Discover::Listed,
        };
        let (commands, asked) = mpsc::channel(OUT_QUEUE);
        let (tell, events) = sync_channel(IN_QUEUE);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            // What goes wrong here, the other thread waits for in vain.
            runtime.map(|runtime| runtime.block_on(network::run(settings, asked, |event| drop(tell.try_send(event)))))
        });
        Self { id, commands, events }
    }

    fn wait<T>(&self, pick: impl Fn(NetEvent) -> Option<T>) -> Result<T, NetError> {
        loop {
            match self.events.recv_timeout(WAIT) {
                Ok(event) => {
                    if let Some(picked) = pick(event) {
                        return Ok(picked);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Err(failed("exchange", "nothing came for too long")),
                Err(RecvTimeoutError::Disconnected) => return Err(NetError::Ended { part: "network" }),
            }
        }
    }

    fn frame(&self) -> Result<Body, NetError> {
        self.wait(|event| match event {
            NetEvent::Packet(_, Packet::Frame { body, .. }) => Some(body),
            _ => None,
        })
    }

    fn send(&self, to: PeerId, kind: FrameKind, body: &Body) -> Result<(), NetError> {
        let header = Header {
            version: PROTOCOL_VERSION,
            kind,
            run: 1,
            round: Round(1),
            task: TaskId(0),
            basis: 0,
            next: Round(2),
            body_len: body.len() as u32,
        };
        let packet = Packet::Frame { from: AgentId(0), to: AgentId(1), header, body: body.clone() };
        self.commands.try_send(Command::Send(to, packet)).map_err(|error| failed("send", error))
    }
}

/// Connections as a process's, over TCP.
///
/// # Errors
/// Encryption that cannot be set up.
pub fn encrypted(key: &Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, NetError> {
    let noise = noise::Config::new(key).map_err(|error| failed("set up encryption", error))?;
    Ok(upgraded(sockets(), noise))
}

/// The same connections without encryption, to this peer: it is believed to be who it is expected to be.
#[must_use]
pub fn plain(peer: PeerId) -> Boxed<(PeerId, StreamMuxerBox)> {
    upgraded(sockets(), Believing(peer))
}

#[derive(Clone)]
struct Believing(PeerId);

impl UpgradeInfo for Believing {
    type Info = &'static str;
    type InfoIter = Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        once("/believing")
    }
}

impl<C> InboundConnectionUpgrade<C> for Believing {
    type Output = (PeerId, C);
    type Error = Infallible;
    type Future = Ready<Result<(PeerId, C), Infallible>>;

    fn upgrade_inbound(self, socket: C, _: &'static str) -> Self::Future {
        ready(Ok((self.0, socket)))
    }
}

impl<C> OutboundConnectionUpgrade<C> for Believing {
    type Output = (PeerId, C);
    type Error = Infallible;
    type Future = Ready<Result<(PeerId, C), Infallible>>;

    fn upgrade_outbound(self, socket: C, _: &'static str) -> Self::Future {
        ready(Ok((self.0, socket)))
    }
}
