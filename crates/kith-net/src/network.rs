//! The swarm on a thread of its own: connections to listed peers, packets in and out, over bounded queues. It knows nothing of
//! rounds. A packet that finds a queue full is dropped: the agents' state machine sends it again.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::request_response::{self, Message, ProtocolSupport};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, identify, mdns, ping};
use libp2p_allow_block_list::{AllowedPeers, Behaviour as AllowList};
use libp2p_connection_limits::{Behaviour as Limits, ConnectionLimits};
use tokio::sync::mpsc;

use crate::codec::{Codec, PROTOCOL, Packet};
use crate::peers::Peer;
use crate::transport::transport;
use crate::{NetError, quic};

/// Packets that wait to be sent.
pub(crate) const OUT_QUEUE: usize = 1024;
/// Packets and events that wait for the driver.
pub(crate) const IN_QUEUE: usize = 1024;
/// How often peers that are not connected are dialled: more often at first, when all processes of a run start.
const REDIAL: Duration = Duration::from_millis(250);
const FIRST_REDIAL: Duration = Duration::from_millis(10);
/// A neighbour may compute for a long time between two rounds.
const IDLE: Duration = Duration::from_secs(24 * 3600);
/// A packet that was not answered by then is lost.
const REQUEST: Duration = Duration::from_secs(60);

/// What the driver asks of the swarm.
#[derive(Debug)]
pub(crate) enum Command {
    Send(PeerId, Packet),
    /// Speak to this peer no more.
    Drop(PeerId),
}

/// What the swarm tells the driver.
#[derive(Debug)]
pub(crate) enum NetEvent {
    Listening(Multiaddr),
    /// There is a connection, or another one in place of the one that was there.
    Up(PeerId),
    Down(PeerId),
    Packet(PeerId, Packet),
    /// Bytes that are no packet.
    Malformed(PeerId, String),
}

/// What the swarm needs to know.
pub(crate) struct NetworkSettings {
    pub(crate) key: Keypair,
    pub(crate) listen: Vec<Multiaddr>,
    pub(crate) peers: BTreeMap<PeerId, Peer>,
    pub(crate) pre_shared: Option<[u8; 32]>,
    pub(crate) codec: Codec,
    pub(crate) discover: crate::Discover,
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    allowed: AllowList<AllowedPeers>,
    limits: Limits,
    packets: request_response::Behaviour<Codec>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
}

fn setup(operation: &'static str, reason: impl std::fmt::Display) -> NetError {
    NetError::Setup { operation, reason: reason.to_string() }
}

fn behaviour(settings: &NetworkSettings) -> Result<Behaviour, NetError> {
    let id = PeerId::from(settings.key.public());
    let mut allowed = AllowList::<AllowedPeers>::default();
    settings.peers.keys().for_each(|peer| {
        allowed.allow_peer(*peer);
    });
    let most = u32::try_from(settings.peers.len()).unwrap_or(u32::MAX).saturating_mul(2).saturating_add(8);
    let limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(most))
        .with_max_established_incoming(Some(most))
        .with_max_established_per_peer(Some(2));
    let packets = request_response::Behaviour::with_codec(
        settings.codec.clone(),
        [(PROTOCOL, ProtocolSupport::Full)],
        request_response::Config::default().with_request_timeout(REQUEST).with_max_concurrent_streams(256),
    );
    let mdns = match settings.discover {
        crate::Discover::Listed => None,
        crate::Discover::Mdns => Some(
            mdns::tokio::Behaviour::new(mdns::Config::default(), id)
                .map_err(|error| setup("listen for neighbours on the local network", error))?,
        ),
    };
    Ok(Behaviour {
        allowed,
        limits: Limits::new(limits),
        packets,
        identify: identify::Behaviour::new(identify::Config::new(PROTOCOL.to_owned(), settings.key.public())),
        ping: ping::Behaviour::default(),
        mdns: mdns.into(),
    })
}

/// Runs the swarm until the driver drops its end of the queue and everything said before is sent. `tell` never blocks.
pub(crate) async fn run(
    settings: NetworkSettings,
    mut commands: mpsc::Receiver<Command>,
    tell: impl Fn(NetEvent),
) -> Result<(), NetError> {
    let id = PeerId::from(settings.key.public());
    // Each stream is for one protocol: what is said on it need not wait until the other end has agreed to that.
    let config = libp2p::swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE)
        .with_substream_upgrade_protocol_override(Version::V1Lazy);
    let addresses = settings.peers.values().filter_map(|peer| peer.address.as_ref());
    settings.listen.iter().chain(addresses).try_for_each(|address| quic::check(address, settings.pre_shared))?;
    let transport = transport(&settings.key, settings.pre_shared)?;
    let mut swarm = Swarm::new(transport, behaviour(&settings)?, id, config);
    for address in &settings.listen {
        swarm.listen_on(address.clone()).map_err(|error| setup("listen", format!("{address}: {error}")))?;
    }
    let mut dialler = Dialler::new(id, settings.peers);
    let (mut pause, redial) = (FIRST_REDIAL, tokio::time::sleep(Duration::ZERO));
    tokio::pin!(redial);
    // Packets that nobody answered yet.
    let mut sent = 0_usize;
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Send(peer, packet)) => {
                    sent += 1;
                    swarm.behaviour_mut().packets.send_request(&peer, packet);
                }
                Some(Command::Drop(peer)) => {
                    dialler.forget(peer);
                    swarm.behaviour_mut().allowed.disallow_peer(peer);
                    let _ = swarm.disconnect_peer_id(peer);
                }
                None => break,
            },
            () = &mut redial => {
                dialler.dial(&mut swarm).await;
                redial.as_mut().reset(tokio::time::Instant::now() + pause);
                pause = REDIAL.min(2 * pause);
            }
            event = swarm.select_next_some() => sent -= handle(event, &mut swarm, &mut dialler, &tell).min(sent),
        }
    }
    let flushed = async {
        while sent > 0 {
            sent -= handle(swarm.select_next_some().await, &mut swarm, &mut dialler, &tell).min(sent);
        }
    };
    // What is not answered by then is lost: the process ends.
    let _ = tokio::time::timeout(FLUSH, flushed).await;
    Ok(())
}

/// How long the last packets may take.
const FLUSH: Duration = Duration::from_secs(2);

/// Takes in what the swarm says; how many packets it settles.
fn handle(
    event: SwarmEvent<BehaviourEvent>,
    swarm: &mut Swarm<Behaviour>,
    dialler: &mut Dialler,
    tell: &impl Fn(NetEvent),
) -> usize {
    match event {
        SwarmEvent::NewListenAddr { address, .. } => tell(NetEvent::Listening(address)),
        SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } => {
            match dialler.connected.insert(peer_id, connection_id) {
                None => tell(NetEvent::Up(peer_id)),
                // Its dialler has lost this one, though nobody here has noticed: the peer was killed, or its machine.
                Some(older) => drop(swarm.close_connection(older)),
            }
        }
        SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => {
            dialler.connected.remove(&peer_id);
            tell(NetEvent::Down(peer_id));
        }
        // Only now everything said goes over the newer one.
        SwarmEvent::ConnectionClosed { peer_id, .. } => tell(NetEvent::Up(peer_id)),
        SwarmEvent::Behaviour(BehaviourEvent::Packets(event)) => match event {
            request_response::Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                if let Packet::Malformed(reason) = request {
                    tell(NetEvent::Malformed(peer, reason));
                    return 0;
                }
                // Sent even if the connection is gone by now: then there is nobody to tell.
                let _ = swarm.behaviour_mut().packets.send_response(channel, ());
                tell(NetEvent::Packet(peer, request));
            }
            request_response::Event::Message { message: Message::Response { .. }, .. }
            | request_response::Event::OutboundFailure { .. } => return 1,
            _ => {}
        },
        SwarmEvent::Behaviour(BehaviourEvent::Mdns(mdns::Event::Discovered(found))) => {
            found.into_iter().for_each(|(peer, address)| dialler.found(peer, address));
        }
        _ => {}
    }
    0
}

/// Keeps up one connection to each listed peer: of two peers, the one with the lower id dials.
struct Dialler {
    own: PeerId,
    peers: BTreeMap<PeerId, Peer>,
    /// The newest connection to each peer.
    connected: BTreeMap<PeerId, ConnectionId>,
}

impl Dialler {
    const fn new(own: PeerId, peers: BTreeMap<PeerId, Peer>) -> Self {
        Self { own, peers, connected: BTreeMap::new() }
    }

    fn forget(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
    }

    /// A listed peer was discovered; others are of no interest.
    fn found(&mut self, peer: PeerId, address: Multiaddr) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.address = Some(address);
        }
    }

    async fn dial(&self, swarm: &mut Swarm<Behaviour>) {
        for (id, peer) in &self.peers {
            let Some(address) = &peer.address else { continue };
            if self.own < *id && !swarm.is_connected(id) {
                let addresses = resolve(address).await;
                let options = DialOpts::peer_id(*id).addresses(addresses);
                // Not there yet: the next tick tries again.
                let _ = swarm.dial(options.condition(PeerCondition::DisconnectedAndNotDialing).build());
            }
        }
    }
}

/// Numbers for a name at the front of an address, as it is looked up now: machines of a cluster move.
async fn resolve(address: &Multiaddr) -> Vec<Multiaddr> {
    let mut parts = address.iter();
    let (name, port, protocol) = match (parts.next(), parts.next()) {
        (
            Some(Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name)),
            Some(protocol @ (Protocol::Tcp(port) | Protocol::Udp(port))),
        ) => (name.to_string(), port, protocol),
        _ => return vec![address.clone()],
    };
    let looked_up = tokio::time::timeout(REDIAL, tokio::net::lookup_host((name, port))).await;
    let found = looked_up.ok().and_then(Result::ok).into_iter().flatten();
    let rest: Vec<Protocol<'_>> = parts.collect();
    let whole = |socket: std::net::SocketAddr| {
        rest.iter().cloned().fold(Multiaddr::from(socket.ip()).with(protocol.clone()), Multiaddr::with)
    };
    found.map(whole).collect()
}
