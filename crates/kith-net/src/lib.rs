//! The libp2p driver: one process that hosts some agents of a run and exchanges frames with the processes of their neighbours.
//!
//! Three threads. The swarm's (`network`) moves packets. The driver's (`driver`) holds the agents' state machines and judges
//! what arrives. The caller's (`compute`) does the arithmetic of rounds. Queues between them are bounded.
//!
//! *Architecture invariant:* the state machine and the arithmetic are those of the simulator; nothing here decides what a round
//! computes.

mod absence;
mod board;
mod bodies;
mod body;
mod codec;
mod compute;
mod cut;
mod driver;
mod error;
mod faults;
mod identity;
mod inbox;
#[doc(hidden)]
pub mod measure;
mod network;
mod peers;
mod quic;
mod settings;
mod streams;
mod transport;

pub use absence::Absence;
pub use board::{Board, Link, NeighbourStatus, Standing, Status};
#[doc(hidden)]
pub use codec::is_packet;
pub use compute::run;
pub use cut::{Cut, Straggle};
pub use driver::{Notice, Tell};
pub use error::NetError;
pub use faults::Fault;
pub use identity::Identity;
pub use peers::{PeerEntry, PeersFile};
pub use settings::{Options, Settings};

/// How addresses of listed peers are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Discover {
    /// As the list says.
    #[default]
    Listed,
    /// By multicast on the local network, too; who is not listed is not spoken to.
    Mdns,
}
