//! A peer that says whatever it is told to: raw bytes over the protocol's name, written against the page that describes it.

use std::collections::BTreeSet;
use std::io;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, StreamExt as _};
use kith_core::AgentId;
use kith_protocol::{Header, decode_header, encode_header};
use libp2p::core::Transport as _;
use libp2p::core::transport::MemoryTransport;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::request_response::{self, Message, OutboundRequestId, ProtocolSupport};
use libp2p::swarm::SwarmEvent;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::{Multiaddr, PeerId, Swarm, noise, yamux};

/// Requests are bytes as they are, up to the end of their stream.
#[derive(Clone, Default)]
pub(crate) struct Verbatim;

impl request_response::Codec for Verbatim {
    type Protocol = &'static str;
    type Request = Vec<u8>;
    type Response = ();

    async fn read_request<T: AsyncRead + Unpin + Send>(&mut self, _: &&'static str, io: &mut T) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io.read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(&mut self, _: &&'static str, io: &mut T) -> io::Result<()> {
        io.read_exact(&mut [0]).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &&'static str,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()> {
        io.write_all(&bytes).await?;
        io.close().await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &&'static str,
        io: &mut T,
        (): (),
    ) -> io::Result<()> {
        io.write_all(&[0]).await?;
        io.close().await
    }
}

/// What happened to the peer.
pub(crate) enum Heard {
    /// It is connected.
    Up,
    /// A packet came.
    Packet(Vec<u8>),
}

/// What it does then: says some things, and when those are answered or refused, others. Or goes without a word.
#[derive(Default)]
pub(crate) struct Says {
    pub(crate) first: Vec<Vec<u8>>,
    pub(crate) then: Vec<Vec<u8>>,
    pub(crate) goes: bool,
}

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Life {
    pub(crate) connections: usize,
    pub(crate) packets: usize,
}

/// Lives until the other end leaves or `until` is dropped on the other side.
pub(crate) fn live(
    key: Keypair,
    (other, address): (PeerId, Multiaddr),
    mut until: tokio::sync::oneshot::Receiver<()>,
    mut act: impl FnMut(Heard) -> Says,
) -> Life {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async move {
        let transport = MemoryTransport::default()
            .upgrade(Version::V1Lazy)
            .authenticate(noise::Config::new(&key).expect("keys"))
            .multiplex(yamux::Config::default())
            .boxed();
        let behaviour = request_response::Behaviour::with_codec(
            Verbatim,
            [("/kith/1", ProtocolSupport::Full)],
            request_response::Config::default(),
        );
        let config = libp2p::swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(std::time::Duration::from_secs(600));
        let mut swarm = Swarm::new(transport, behaviour, PeerId::from(key.public()), config);
        let mut life = Life::default();
        let mut waits: BTreeSet<OutboundRequestId> = BTreeSet::new();
        let mut queued: Vec<Vec<u8>> = Vec::new();
        let mut redial = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            let event = tokio::select! {
                event = swarm.select_next_some() => event,
                _ = redial.tick() => {
                    if !swarm.is_connected(&other) {
                        let to = DialOpts::peer_id(other).addresses(vec![address.clone()]).build();
                        let _ = swarm.dial(to);
                    }
                    continue;
                }
                _ = &mut until => return life,
            };
            let heard = match event {
                SwarmEvent::ConnectionEstablished { num_established, .. } => {
                    life.connections += 1;
                    if num_established.get() > 1 {
                        continue;
                    }
                    Heard::Up
                }
                SwarmEvent::Behaviour(request_response::Event::Message { message, .. }) => match message {
                    Message::Request { request, channel, .. } => {
                        let _ = swarm.behaviour_mut().send_response(channel, ());
                        life.packets += 1;
                        Heard::Packet(request)
                    }
                    Message::Response { request_id, .. } => {
                        waits.remove(&request_id);
                        say_queued(&mut swarm, other, &waits, &mut queued);
                        continue;
                    }
                },
                SwarmEvent::Behaviour(request_response::Event::OutboundFailure { request_id, .. }) => {
                    waits.remove(&request_id);
                    say_queued(&mut swarm, other, &waits, &mut queued);
                    continue;
                }
                _ => continue,
            };
            if matches!(&heard, Heard::Packet(bytes) if bytes == &[2]) {
                return life;
            }
            let Says { first, then, goes } = act(heard);
            if goes {
                return life;
            }
            waits.extend(first.into_iter().map(|bytes| swarm.behaviour_mut().send_request(&other, bytes)));
            queued.extend(then);
            say_queued(&mut swarm, other, &waits, &mut queued);
        }
    })
}

fn say_queued(
    swarm: &mut Swarm<request_response::Behaviour<Verbatim>>,
    other: PeerId,
    waits: &BTreeSet<OutboundRequestId>,
    queued: &mut Vec<Vec<u8>>,
) {
    if waits.is_empty() {
        for bytes in queued.drain(..) {
            swarm.behaviour_mut().send_request(&other, bytes);
        }
    }
}

/// A frame as it goes over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) from: AgentId,
    pub(crate) to: AgentId,
    pub(crate) header: Header,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![1];
        bytes.extend(self.from.0.to_le_bytes());
        bytes.extend(self.to.0.to_le_bytes());
        bytes.extend(encode_header(&self.header).expect("it encodes"));
        bytes.extend(&self.body);
        bytes
    }

    pub(crate) fn read(packet: &[u8]) -> Option<Self> {
        let (&1, rest) = packet.split_first()? else { return None };
        let (from, rest) = rest.split_first_chunk()?;
        let (to, rest) = rest.split_first_chunk()?;
        let header = decode_header(rest).ok()?;
        let body = rest.get(kith_protocol::HEADER_LEN..)?.to_vec();
        Some(Self { from: AgentId(u32::from_le_bytes(*from)), to: AgentId(u32::from_le_bytes(*to)), header, body })
    }
}
