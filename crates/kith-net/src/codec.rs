//! What goes over a stream: one packet, then one byte in answer. Nothing is allocated for a length that somebody announces
//! beyond what arrived, and nothing at all beyond the limit.

use std::io;
use std::sync::Arc;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use kith_core::AgentId;
use kith_protocol::{HEADER_LEN, Header, Hello, MAX_HELLO_LEN, decode_header, encode_header};
use libp2p::request_response;

/// The protocol's name on a connection.
pub(crate) const PROTOCOL: &str = "/kith/1";

/// Bodies are read and written in pieces of so many bytes.
const PIECE: usize = 1 << 20;

/// A body that may go to several peers.
pub(crate) type Body = Arc<[u8]>;

/// What one process tells another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// Who it is.
    Hello(Hello),
    /// From one agent to another.
    Frame { from: AgentId, to: AgentId, header: Header, body: Body },
    /// It leaves, having ended its run or been stopped.
    Bye,
}

/// Reads and writes packets with bodies of at most `limit` bytes.
#[derive(Clone, Debug)]
pub(crate) struct Codec {
    pub(crate) limit: u32,
}

fn invalid(reason: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_string())
}

async fn word<T: AsyncRead + Unpin + Send>(io: &mut T) -> io::Result<u32> {
    let mut bytes = [0; 4];
    io.read_exact(&mut bytes).await?;
    Ok(u32::from_le_bytes(bytes))
}

async fn body<T: AsyncRead + Unpin + Send>(io: &mut T, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let start = bytes.len();
        bytes.resize(start + (len - start).min(PIECE), 0);
        io.read_exact(&mut bytes[start..]).await?;
    }
    Ok(bytes)
}

impl request_response::Codec for Codec {
    type Protocol = &'static str;
    type Request = Packet;
    type Response = ();

    async fn read_request<T>(&mut self, _: &Self::Protocol, io: &mut T) -> io::Result<Packet>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut kind = [0];
        io.read_exact(&mut kind).await?;
        match kind[0] {
            0 => {
                let len = word(io).await? as usize;
                if len > MAX_HELLO_LEN {
                    return Err(invalid(format!("a hello of {len} bytes; at most {MAX_HELLO_LEN} are accepted")));
                }
                Ok(Packet::Hello(Hello::decode(&body(io, len).await?).map_err(invalid)?))
            }
            1 => {
                let (from, to) = (AgentId(word(io).await?), AgentId(word(io).await?));
                let mut head = [0; HEADER_LEN];
                io.read_exact(&mut head).await?;
                let header = decode_header(&head).map_err(invalid)?;
                if header.body_len > self.limit {
                    let (found, limit) = (header.body_len, self.limit);
                    return Err(invalid(format!("a body of {found} bytes; at most {limit} are accepted")));
                }
                let body = body(io, header.body_len as usize).await?.into();
                Ok(Packet::Frame { from, to, header, body })
            }
            2 => Ok(Packet::Bye),
            other => Err(invalid(format!("a packet of kind {other}; 0, 1 and 2 are known"))),
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
                for piece in body.chunks(PIECE) {
                    io.write_all(piece).await?;
                }
            }
            Packet::Bye => io.write_all(&[2]).await?,
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

    fn written(packet: Packet) -> Vec<u8> {
        let mut io = Cursor::new(Vec::new());
        block_on(Codec { limit: 0 }.write_request(&PROTOCOL, &mut io, packet)).expect("it is written");
        io.into_inner()
    }

    fn read(bytes: &[u8], limit: u32) -> io::Result<Packet> {
        block_on(Codec { limit }.read_request(&PROTOCOL, &mut Cursor::new(bytes)))
    }

    #[test]
    fn packets_come_back_also_in_several_pieces() {
        for packet in [frame(0), frame(3 << 20), Packet::Bye] {
            assert_eq!(read(&written(packet.clone()), 1 << 22).expect("it is read"), packet);
        }
    }

    #[test]
    fn a_body_above_the_limit_is_refused_before_it_is_read_and_a_short_one_after_what_came() {
        let bytes = written(frame(1000));
        let error = read(&bytes[..9 + HEADER_LEN], 999).expect_err("too long");
        assert!(error.to_string().contains("at most 999"), "{error}");
        assert_eq!(read(&bytes[..500], 1000).expect_err("too short").kind(), io::ErrorKind::UnexpectedEof);
        assert!(read(&[9], 1000).is_err() && read(&[0, 255, 255, 255, 255], 1000).is_err());
    }
}
