//! What it costs to send a payload to a neighbour on this machine and to hear that it arrived:
//!
//!   cargo run --release -p kith-net --example payload [blocks]
//!
//! kith's exchange, as a process does it, beside request-response of libp2p with the least codec, over kith's connections, over
//! libp2p's own and over kith's without encryption, and beside tokio's TCP with the same framing. All in one process, each end on a
//! thread of its own; blocks of messages in turn; medians over messages. Processor time is that of both ends.

use std::error::Error;
use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, StreamExt as _};
use kith_net::measure::{self, FRAME_HEAD, Pair};
use libp2p::core::Transport as _;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::request_response::{self, Message, ProtocolSupport};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm, noise, tcp, yamux};
use tokio::sync::mpsc;

type Failure = Box<dyn Error + Send + Sync>;
type Connections = Boxed<(PeerId, StreamMuxerBox)>;

/// The two payloads: 8 MiB, and about a network of 784-100-100-10.
const PAYLOADS: [(usize, usize); 2] = [(8 << 20, 12), (367_002, 120)];
/// How long a message may take.
const WAIT: Duration = Duration::from_secs(30);

fn main() -> Result<(), Failure> {
    let blocks = std::env::args().nth(1).map_or(Ok(7), |text| text.parse::<usize>())?.max(1);
    for (bytes, messages) in PAYLOADS {
        compare(bytes, messages, blocks)?;
    }
    Ok(())
}

/// Something that sends a payload and waits for the answer.
type Way = (&'static str, Box<dyn FnMut() -> Result<(), Failure>>);

fn compare(bytes: usize, messages: usize, blocks: usize) -> Result<(), Failure> {
    let payload: Vec<u8> = (0..bytes).map(|place| (place * 31 % 251) as u8).collect();
    let pair = Pair::connect(payload.clone())?;
    let kith: Way = ("kith", Box::new(move || Ok(pair.exchange()?)));
    let payload = Arc::new(payload);
    let connections = |how: How| -> Result<_, Failure> {
        let asker = swarms(how, Arc::clone(&payload))?;
        Ok(Box::new(move || asker.once()) as Box<dyn FnMut() -> _>)
    };
    let tcp = sockets(Arc::clone(&payload))?;
    let mut ways: Vec<Way> = vec![
        kith,
        ("request-response, kith's connections", connections(How::Kith)?),
        ("request-response, libp2p's connections", connections(How::Libp2p)?),
        ("request-response, kith's, no encryption", connections(How::Plain)?),
        ("tokio TCP", Box::new(move || tcp.once())),
    ];
    let mut times = vec![Vec::new(); ways.len()];
    let mut busy = vec![0.0; ways.len()];
    for block in 0..=blocks {
        for (place, (_, once)) in ways.iter_mut().enumerate() {
            let before = processor_seconds()?;
            for _ in 0..messages {
                let began = Instant::now();
                once()?;
                // The first block warms up.
                if block > 0 {
                    times[place].push(began.elapsed().as_secs_f64());
                }
            }
            if block > 0 {
                busy[place] += processor_seconds()? - before;
            }
        }
    }
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    println!("{bytes} bytes, {} messages each:", blocks * messages);
    println!("{:<42}{:>9}{:>9}{:>14}{:>17}", "", "ms", "MiB/s", "processor ms", "rate of tokio's");
    for (place, (name, _)) in ways.iter().enumerate() {
        let (seconds, of_tcp) = (medians[place], medians[ways.len() - 1] / medians[place]);
        let rate = bytes as f64 / f64::from(1 << 20) / seconds;
        let used = 1e3 * busy[place] / (blocks * messages) as f64;
        println!("{name:<42}{:>9.3}{rate:>9.0}{used:>14.3}{:>16.0}%", 1e3 * seconds, 100.0 * of_tcp);
    }
    println!(
        "kith's rate is {:.0} % of request-response's over the same connections, {:.0} % of it over libp2p's own; encryption takes {:.0} % of \
         the time\n",
        100.0 * medians[1] / medians[0],
        100.0 * medians[2] / medians[0],
        100.0 * (1.0 - medians[3] / medians[1])
    );
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What all threads of this process have computed, in ticks of 10 ms; nothing where the system does not say.
fn processor_seconds() -> Result<f64, Failure> {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return Ok(f64::NAN) };
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(ticks as f64 / 100.0)
}

/// The end that sends, on a thread of its own.
struct Asker {
    ask: mpsc::Sender<()>,
    answered: Receiver<()>,
}

impl Asker {
    fn once(&self) -> Result<(), Failure> {
        self.ask.try_send(())?;
        Ok(self.answered.recv_timeout(WAIT)?)
    }
}

fn on_its_own<F>(work: impl FnOnce() -> F + Send + 'static)
where
    F: Future<Output = Result<(), Failure>>,
{
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ended = runtime.block_on(work());
        if let Err(error) = &ended {
            eprintln!("{error}");
        }
        ended
    });
}

// --- request-response ---

/// What connections are made of.
#[derive(Clone, Copy)]
enum How {
    Kith,
    Libp2p,
    Plain,
}

/// A length and so many bytes; one byte in answer.
#[derive(Clone)]
struct Least;

impl request_response::Codec for Least {
    type Protocol = &'static str;
    type Request = Arc<Vec<u8>>;
    type Response = ();

    async fn read_request<T>(&mut self, _: &&'static str, io: &mut T) -> io::Result<Self::Request>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut len = [0; 4];
        io.read_exact(&mut len).await?;
        let mut bytes = vec![0; u32::from_le_bytes(len) as usize];
        io.read_exact(&mut bytes).await?;
        Ok(Arc::new(bytes))
    }

    async fn read_response<T>(&mut self, _: &&'static str, io: &mut T) -> io::Result<()>
    where
        T: AsyncRead + Unpin + Send,
    {
        io.read_exact(&mut [0]).await
    }

    async fn write_request<T>(&mut self, _: &&'static str, io: &mut T, bytes: Self::Request) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&(bytes.len() as u32).to_le_bytes()).await?;
        io.write_all(&bytes).await?;
        io.close().await
    }

    async fn write_response<T>(&mut self, _: &&'static str, io: &mut T, (): ()) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&[0]).await?;
        io.close().await
    }
}

type Requests = Swarm<request_response::Behaviour<Least>>;

fn swarm(how: How, key: &Keypair, other: PeerId) -> Result<Requests, Failure> {
    let id = PeerId::from(key.public());
    let connections: Connections = match how {
        How::Kith => measure::encrypted(key)?,
        How::Plain => measure::plain(other),
        How::Libp2p => tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
            .upgrade(Version::V1Lazy)
            .authenticate(noise::Config::new(key)?)
            .multiplex(yamux::Config::default())
            .boxed(),
    };
    let protocols = [("/least/1", ProtocolSupport::Full)];
    let behaviour = request_response::Behaviour::with_codec(Least, protocols, request_response::Config::default());
    let config = libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(Duration::from_secs(3600));
    Ok(Swarm::new(connections, behaviour, id, config))
}

fn swarms(how: How, payload: Arc<Vec<u8>>) -> Result<Asker, Failure> {
    let (ask, mut asked) = mpsc::channel(1);
    let (answer, answered) = channel();
    let keys = [(); 2].map(|()| Keypair::generate_ed25519());
    let ids = keys.each_ref().map(|key| PeerId::from(key.public()));
    let [near, far] = keys;
    let (found, address) = channel::<Multiaddr>();
    on_its_own(move || async move {
        let mut swarm = swarm(how, &far, ids[0])?;
        swarm.listen_on(libp2p::multiaddr::multiaddr!(Ip4([127, 0, 0, 1]), Tcp(0_u16)))?;
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { address, .. } => found.send(address)?,
                SwarmEvent::Behaviour(request_response::Event::Message {
                    message: Message::Request { request, channel, .. },
                    ..
                }) => {
                    black_box(&request);
                    let _ = swarm.behaviour_mut().send_response(channel, ());
                }
                _ => {}
            }
        }
    });
    let address = address.recv_timeout(WAIT)?;
    on_its_own(move || async move {
        let mut swarm = swarm(how, &near, ids[1])?;
        swarm.add_peer_address(ids[1], address);
        while asked.recv().await.is_some() {
            swarm.behaviour_mut().send_request(&ids[1], Arc::clone(&payload));
            wait_for_answer(&mut swarm, &answer).await?;
        }
        Ok(())
    });
    Ok(Asker { ask, answered })
}

async fn wait_for_answer(swarm: &mut Requests, answer: &Sender<()>) -> Result<(), Failure> {
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(request_response::Event::Message { message: Message::Response { .. }, .. }) => {
                return Ok(answer.send(())?);
            }
            SwarmEvent::Behaviour(request_response::Event::OutboundFailure { error, .. }) => return Err(error.into()),
            _ => {}
        }
    }
}

// --- TCP ---

fn sockets(payload: Arc<Vec<u8>>) -> Result<Asker, Failure> {
    use libp2p::tcp::tokio::TcpStream;
    let (ask, mut asked) = mpsc::channel(1);
    let (answer, answered) = channel();
    let (found, address) = channel();
    let len = payload.len();
    on_its_own(move || async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        found.send(listener.local_addr()?)?;
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let mut socket = TcpStream(socket);
        let (mut head, mut body) = ([0; FRAME_HEAD], vec![0; len]);
        loop {
            match socket.read_exact(&mut head).await {
                // The other end has measured enough.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                read => read?,
            }
            socket.read_exact(&mut body).await?;
            black_box(&body);
            socket.write_all(&head).await?;
        }
    });
    let address = address.recv_timeout(WAIT)?;
    on_its_own(move || async move {
        let socket = tokio::net::TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let mut socket = TcpStream(socket);
        let mut head = [0; FRAME_HEAD];
        while asked.recv().await.is_some() {
            socket.write_all(&head).await?;
            socket.write_all(&payload).await?;
            socket.read_exact(&mut head).await?;
            answer.send(())?;
        }
        Ok(())
    });
    Ok(Asker { ask, answered })
}
