//! What goes over a stream: one packet, then one byte in answer. Nothing is allocated for a length that somebody announces
//! beyond what arrived, and nothing at all beyond the limit.

use std::io;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use kith_core::{AgentId, Round, TaskId};
use kith_protocol::{HEADER_LEN, Header, Hello, MAX_HELLO_LEN, decode_header, encode_header};
use libp2p::request_response;

use crate::body::{Body, Shelf};

/// The protocol's name on a connection.
pub(crate) const PROTOCOL: &str = "/kith/1";

/// Memory for a body is taken so many bytes ahead of what arrived.
const PIECE: usize = 1 << 20;

/// What one process tells another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// Who it is.
    Hello(Hello),
    /// From one agent to another.
    Frame { from: AgentId, to: AgentId, header: Header, body: Body },
    /// It leaves, having ended its run or been stopped.
    Bye,
    /// To a process that was started anew: the run goes on, and is in this round.
    UnderWay(Round),
    /// From it: what is needed to join. It has state of its own of this task, or none.
    Ask(Option<TaskId>),
    /// To it: join at this round, with this state; with its own, where the body is empty.
    State { round: Round, body: Body },
    /// From it, to all its neighbours: it joins at this round.
    Joins(Round),
    /// Bytes that are no packet, and why. The request-response protocol says nothing of requests that cannot be read.
    Malformed(String),
}

/// Reads and writes packets with bodies of at most so many bytes.
#[derive(Clone, Debug)]
pub(crate) struct Codec {
    /// In a frame.
    pub(crate) body: u32,
    /// Of a process's state.
    pub(crate) state: u32,
    /// Where buffers for bodies are taken from.
    pub(crate) shelf: Shelf,
}

/// In place of a task, where there is none.
const NO_TASK: u32 = u32::MAX;

fn invalid(reason: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_string())
}

async fn word<T: AsyncRead + Unpin + Send>(io: &mut T) -> io::Result<u32> {
    let mut bytes = [0; 4];
    io.read_exact(&mut bytes).await?;
    Ok(u32::from_le_bytes(bytes))
}

async fn long<T: AsyncRead + Unpin + Send>(io: &mut T) -> io::Result<u64> {
    let mut bytes = [0; 8];
    io.read_exact(&mut bytes).await?;
    Ok(u64::from_le_bytes(bytes))
}

/// A length that is read before anything of that length is.
fn bounded(what: &str, len: u32, limit: u32) -> io::Result<usize> {
    if len > limit {
        Err(invalid(format!("{what} of {len} bytes; at most {limit} are accepted")))
    } else {
        Ok(len as usize)
    }
}

/// Reads so many bytes into a buffer, over what is in it.
async fn fill<T: AsyncRead + Unpin + Send>(io: &mut T, len: usize, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut read = 0;
    while read < len {
        let end = len.min(bytes.len().max(read + PIECE));
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        io.read_exact(&mut bytes[read..end]).await?;
        read = end;
    }
    bytes.truncate(len);
    Ok(bytes)
}

async fn write_number<T: AsyncWrite + Unpin + Send>(io: &mut T, kind: u8, number: u64) -> io::Result<()> {
    io.write_all(&[kind]).await?;
    io.write_all(&number.to_le_bytes()).await
}

impl Codec {
    /// Reads a packet; what is none is [`io::ErrorKind::InvalidData`].
    async fn read<T: AsyncRead + Unpin + Send>(&self, io: &mut T) -> io::Result<Packet> {
        let mut kind = [0];
        io.read_exact(&mut kind).await?;
        match kind[0] {
            0 => {
                let len = bounded("a hello", word(io).await?, MAX_HELLO_LEN as u32)?;
                Ok(Packet::Hello(Hello::decode(&fill(io, len, Vec::new()).await?).map_err(invalid)?))
            }
            1 => {
                let (from, to) = (AgentId(word(io).await?), AgentId(word(io).await?));
                let mut head = [0; HEADER_LEN];
                io.read_exact(&mut head).await?;
                let header = decode_header(&head).map_err(invalid)?;
                let len = bounded("a body", header.body_len, self.body)?;
                let body = match len {
                    0 => Body::default(),
                    _ => self.shelf.body(fill(io, len, self.shelf.take()).await?),
                };
                Ok(Packet::Frame { from, to, header, body })
            }
            2 => Ok(Packet::Bye),
            3 => Ok(Packet::UnderWay(Round(long(io).await?))),
            4 => Ok(Packet::Ask(Some(word(io).await?).filter(|task| *task != NO_TASK).map(TaskId))),
            5 => {
                let round = Round(long(io).await?);
                let len = bounded("state", word(io).await?, self.state)?;
                Ok(Packet::State { round, body: fill(io, len, Vec::new()).await?.into() })
            }
            6 => Ok(Packet::Joins(Round(long(io).await?))),
            other => Err(invalid(format!("a packet of kind {other}; 0 to 6 are known"))),
        }
    }
}

impl request_response::Codec for Codec {
    type Protocol = &'static str;
    type Request = Packet;
    type Response = ();

    async fn read_request<T>(&mut self, _: &Self::Protocol, io: &mut T) -> io::Result<Packet>
    where
        T: AsyncRead + Unpin + Send,
    {
        match self.read(io).await {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Packet::Malformed(error.to_string())),
            read => read,
        }
    }

    async fn read_response<T>(&mut self, _: &Self::Protocol, io: &mut T) -> io::Result<()>
    where
        T: AsyncRead + Unpin + Send,
    {
        io.read_exact(&mut [0]).await
    }

    async fn write_request<T>(&mut self, _: &Self::Protocol, io: &mut T, packet: Packet) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        match packet {
            Packet::Hello(hello) => {
                let bytes = hello.encode().map_err(invalid)?;
                io.write_all(&[0]).await?;
                io.write_all(&u32::try_from(bytes.len()).map_err(invalid)?.to_le_bytes()).await?;
                io.write_all(&bytes).await?;
            }
            Packet::Frame { from, to, header, body } => {
                let mut head = Vec::with_capacity(9 + HEADER_LEN);
                head.push(1);
                head.extend(from.0.to_le_bytes());
                head.extend(to.0.to_le_bytes());
                head.extend(encode_header(&header).map_err(invalid)?);
                io.write_all(&head).await?;
                io.write_all(&body).await?;
            }
            Packet::Bye => io.write_all(&[2]).await?,
            Packet::UnderWay(round) => write_number(io, 3, round.0).await?,
            Packet::Ask(task) => {
                let [a, b, c, d] = task.map_or(NO_TASK, |task| task.0).to_le_bytes();
                io.write_all(&[4, a, b, c, d]).await?;
            }
            Packet::State { round, body } => {
                write_number(io, 5, round.0).await?;
                io.write_all(&u32::try_from(body.len()).map_err(invalid)?.to_le_bytes()).await?;
                io.write_all(&body).await?;
            }
            Packet::Joins(round) => write_number(io, 6, round.0).await?,
            Packet::Malformed(reason) => return Err(invalid(reason)),
        }
        io.close().await
    }

    async fn write_response<T>(&mut self, _: &Self::Protocol, io: &mut T, (): ()) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&[0]).await?;
        io.close().await
    }
}

/// Whether bytes, which end where their stream does, are a packet, with bodies and state of at most so many bytes. For whoever
/// throws bytes at the reader; a process reads from its streams.
#[must_use]
#[doc(hidden)]
pub fn is_packet(mut bytes: &[u8], most_body: u32, most_state: u32) -> bool {
    let codec = Codec { body: most_body, state: most_state, shelf: Shelf::default() };
    futures::executor::block_on(codec.read(&mut bytes)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::io::Cursor;
    use kith_core::{Round, TaskId};
    use kith_protocol::{FrameKind, PROTOCOL_VERSION};
    use libp2p::request_response::Codec as _;

    fn frame(len: u32) -> Packet {
        let header = Header {
            version: PROTOCOL_VERSION,
            kind: FrameKind::Payload,
            run: 7,
            round: Round(3),
            task: TaskId(1),
            basis: 5,
            next: Round(4),
            body_len: len,
        };
        Packet::Frame { from: AgentId(2), to: AgentId(9), header, body: vec![3; len as usize].into() }
    }

    fn codec(limit: u32) -> Codec {
        Codec { body: limit, state: limit, shelf: Shelf::new() }
    }

    fn written(packet: Packet) -> Vec<u8> {
        let mut io = Cursor::new(Vec::new());
        block_on(codec(0).write_request(&PROTOCOL, &mut io, packet)).expect("it is written");
        io.into_inner()
    }

    fn read(bytes: &[u8], limit: u32) -> io::Result<Packet> {
        block_on(codec(limit).read_request(&PROTOCOL, &mut Cursor::new(bytes)))
    }

    #[test]
    fn packets_come_back_also_in_several_pieces() {
        let state = Packet::State { round: Round(7), body: vec![1; 3 << 20].into() };
        let small = [Packet::Bye, Packet::UnderWay(Round(1 << 40)), Packet::Joins(Round(9))];
        let asks = [Packet::Ask(None), Packet::Ask(Some(TaskId(3)))];
        for packet in [frame(0), frame(3 << 20), state].into_iter().chain(small).chain(asks) {
            assert_eq!(read(&written(packet.clone()), 1 << 22).expect("it is read"), packet);
        }
    }

    #[test]
    fn a_buffer_that_was_longer_or_shorter_holds_the_new_body_alone() {
        let mut codec = codec(1 << 22);
        for len in [3 << 20, 5000, 0, 1 << 20, 3 << 20] {
            let bytes = written(frame(len));
            let read = block_on(codec.read_request(&PROTOCOL, &mut Cursor::new(bytes))).expect("it is read");
            assert_eq!(read, frame(len));
        }
        assert!(codec.shelf.take().capacity() >= 3 << 20, "the buffer is used again");
    }

    #[test]
    fn a_body_above_the_limit_is_refused_before_it_is_read_and_a_short_one_after_what_came() {
        let bytes = written(frame(1000));
        let refused = |bytes: &[u8]| match read(bytes, 999).expect("it is read") {
            Packet::Malformed(reason) => reason,
            other => panic!("{other:?}"),
        };
        assert!(refused(&bytes[..9 + HEADER_LEN]).contains("at most 999"));
        assert_eq!(read(&bytes[..500], 1000).expect_err("too short").kind(), io::ErrorKind::UnexpectedEof);
        assert!(refused(&[9]).contains("kind 9"));
        assert!(refused(&[0, 255, 255, 255, 255]).contains("at most 65536"));
        assert!(refused(&[5, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]).contains("at most 999"));
    }
}
