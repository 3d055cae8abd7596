//! Streams over one connection: Yamux as libp2p speaks it, in longer frames. Each frame is encrypted and handed to the socket on its own;
//! at the 16 KiB that libp2p's own upgrade fixes, a body of a megabyte costs sixty of both on each side.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::iter::{Once, once};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use yamux::{Config, Connection, ConnectionError, Mode, Stream};

/// Most bytes that one message of the encryption below takes.
const NOISE: usize = 64_511;
/// The header of a Yamux frame.
const HEADER: usize = 12;
/// Bytes of a frame's body, so that a frame fills two messages of the encryption to the last byte.
const FRAME: usize = 2 * NOISE - HEADER;
/// Streams that a peer opened and nobody has taken yet; what is more is closed again.
const ARRIVED: usize = 256;

/// The upgrade of an authenticated connection to many streams.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LongFrames;

impl LongFrames {
    fn over<C>(socket: C, mode: Mode) -> Ready<Result<Streams<C>, Infallible>>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let mut config = Config::default();
        config.set_split_send_size(FRAME);
        ready(Ok(Streams {
            connection: Connection::new(socket, config, mode),
            arrived: VecDeque::new(),
            waiting: None,
        }))
    }
}

impl UpgradeInfo for LongFrames {
    type Info = &'static str;
    type InfoIter = Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> InboundConnectionUpgrade<C> for LongFrames {
    type Output = Streams<C>;
    type Error = Infallible;
    type Future = Ready<Result<Streams<C>, Infallible>>;

    fn upgrade_inbound(self, socket: C, _: &'static str) -> Self::Future {
        Self::over(socket, Mode::Server)
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for LongFrames {
    type Output = Streams<C>;
    type Error = Infallible;
    type Future = Ready<Result<Streams<C>, Infallible>>;

    fn upgrade_outbound(self, socket: C, _: &'static str) -> Self::Future {
        Self::over(socket, Mode::Client)
    }
}

/// The streams of one connection.
#[derive(Debug)]
pub(crate) struct Streams<C> {
    connection: Connection<C>,
    arrived: VecDeque<Stream>,
    /// Who waits for a stream to arrive.
    waiting: Option<Waker>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Streams<C> {
    /// Moves everything that can move on the connection. Yamux does so where it is asked for the next stream, and only there.
    fn go(&mut self, context: &mut Context<'_>) -> Poll<Result<Stream, ConnectionError>> {
        self.connection.poll_next_inbound(context).map(|next| next.unwrap_or(Err(ConnectionError::Closed)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Streams<C> {
    type Substream = Stream;
    type Error = ConnectionError;

    fn poll_inbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Stream, ConnectionError>> {
        if let Some(stream) = self.arrived.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let next = self.go(context);
        if next.is_pending() {
            self.waiting = Some(context.waker().clone());
        }
        next
    }

    fn poll_outbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Stream, ConnectionError>> {
        self.connection.poll_new_outbound(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        self.connection.poll_close(context)
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, ConnectionError>> {
        while let Poll::Ready(next) = self.go(context) {
            let stream = next?;
            if self.arrived.len() < ARRIVED {
                self.arrived.push_back(stream);
            }
            if let Some(waiting) = self.waiting.take() {
                waiting.wake();
            }
        }
        Poll::Pending
    }
}
