//! A small endpoint that shows how this process stands: `/status` as JSON for `kith status`, `/metrics` for Prometheus.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::status::{Keeping, Link, Status, ids};

/// How long one who asks may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most bytes of a request.
const LONGEST_REQUEST: usize = 4096;

/// The endpoint, until it is dropped. It serves one after the other, and never holds up the run.
pub(super) struct Endpoint {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Listens at `address`.
    pub(super) fn open(address: SocketAddr, status: Arc<Keeping>) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if seen.load(Ordering::Relaxed) {
                    break;
                }
                // Whoever asked and went away is no matter of ours.
                let _ = stream.and_then(|stream| answer(stream, &status.status()));
            }
        });
        Ok(Self { address, over, thread: Some(thread) })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the thread, which then sees that it is over. Who listens everywhere is reached at home.
        let mut home = self.address;
        if home.ip().is_unspecified() {
            home.set_ip(if home.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
        }
        if TcpStream::connect_timeout(&home, PATIENCE).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream, status: &Status) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    let mut chunk = [0; 512];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < LONGEST_REQUEST {
        match stream.read(&mut chunk)? {
            0 => break,
            count => request.extend_from_slice(&chunk[..count]),
        }
    }
    let request = String::from_utf8_lossy(&request);
    let (code, kind, body) = respond(request.lines().next().unwrap_or_default(), status);
    let head = format!(
        "HTTP/1.1 {code}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

/// What a request line is answered with.
fn respond(line: &str, status: &Status) -> (&'static str, &'static str, String) {
    const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
    let mut words = line.split(' ');
    match (words.next(), words.next()) {
        (Some("GET"), Some("/status")) => {
            ("200 OK", "application/json", serde_json::to_string(status).unwrap_or_default())
        }
        (Some("GET"), Some("/metrics")) => ("200 OK", TEXT, exposition(status)),
        (Some("GET"), Some(_)) => ("404 Not Found", TEXT, "here are /status and /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", TEXT, "only GET is answered\n".to_owned()),
    }
}

/// One family of values: name, kind, help, and each value with its labels.
type Family = (&'static str, &'static str, &'static str, Vec<(String, f64)>);

/// The status in the text form of Prometheus.
fn exposition(status: &Status) -> String {
    let own = |value: f64| vec![(String::new(), value)];
    let of = |value: fn(&super::status::NeighbourStatus) -> Option<f64>| {
        let one = |neighbour: &super::status::NeighbourStatus| {
            Some((format!(",neighbour=\"{}\"", ids(&neighbour.agents)), value(neighbour)?))
        };
        status.neighbours.iter().filter_map(one).collect::<Vec<_>>()
    };
    let faults = status.neighbours.iter().flat_map(|neighbour| {
        let agents = ids(&neighbour.agents);
        let label = move |(fault, count): (&String, &u64)| {
            (format!(",neighbour=\"{agents}\",fault=\"{fault}\""), *count as f64)
        };
        neighbour.faults.iter().map(label).collect::<Vec<_>>()
    });
    let families: [Family; 12] = [
        (
            "kith_running",
            "gauge",
            "Whether rounds are under way.",
            own(f64::from(u8::from(status.stage == super::Stage::Running))),
        ),
        ("kith_task", "gauge", "Task under way, from 0.", own(status.task as f64)),
        ("kith_rounds_done_total", "counter", "Rounds done.", own(status.round as f64)),
        ("kith_rounds", "gauge", "Rounds of the whole run.", own(status.rounds as f64)),
        (
            "kith_agent_steps_total",
            "counter",
            "Minibatch updates of the hosted agents.",
            own(status.agent_steps as f64),
        ),
        (
            "kith_accuracy",
            "gauge",
            "Mean accuracy on the tasks seen, when last tested.",
            status.accuracy.map(own).unwrap_or_default(),
        ),
        (
            "kith_neighbour_up",
            "gauge",
            "Whether a neighbouring process takes part.",
            of(|one| Some(f64::from(u8::from(one.link == Link::Up)))),
        ),
        (
            "kith_neighbour_round",
            "gauge",
            "Highest round of which a payload came.",
            of(|one| one.round.map(|round| round as f64)),
        ),
        ("kith_neighbour_last_heard_seconds", "gauge", "Since a good packet came.", of(|one| one.last_heard_seconds)),
        ("kith_frame_bytes_sent_total", "counter", "Bytes of frames sent.", of(|one| Some(one.bytes_sent as f64))),
        (
            "kith_frame_bytes_received_total",
            "counter",
            "Bytes of good frames received.",
            of(|one| Some(one.bytes_received as f64)),
        ),
        ("kith_bad_packets_total", "counter", "Bad packets, by what is wrong with them.", faults.collect()),
    ];
    let mut text = String::new();
    let common = format!(
        "experiment=\"{}\",arm=\"{}\",agents=\"{}\"",
        escaped(&status.experiment),
        escaped(&status.arm),
        ids(&status.agents)
    );
    for (name, kind, help, values) in families.into_iter().filter(|family| !family.3.is_empty()) {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(text, "{name}{{{common}{labels}}} {value}");
        }
    }
    text
}

/// A label's value as the text form takes it.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

/// Asks the endpoint of a process for its status.
pub(crate) fn ask(address: &str) -> io::Result<Status> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no such address");
    for address in std::net::ToSocketAddrs::to_socket_addrs(address)? {
        match ask_at(address) {
            Ok(status) => return Ok(status),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn ask_at(address: SocketAddr) -> io::Result<Status> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(2 * PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /status HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    // Thousands of neighbours are a few hundred kilobytes.
    stream.take(1 << 24).read_to_string(&mut text)?;
    let body = text.strip_prefix("HTTP/1.1 200 OK\r\n").and_then(|text| text.split_once("\r\n\r\n"));
    let body = body.ok_or_else(|| io::Error::other("what answers there is no process of kith"))?.1;
    Ok(serde_json::from_str(body)?)
}

#[cfg(test)]
mod tests {
    use kith_core::AgentId;

    use super::super::status::Who;
    use super::*;

    fn keeping() -> Arc<Keeping> {
        Arc::new(Keeping::new(Who {
            experiment: "a \"name\"".to_owned(),
            arm: "codec".to_owned(),
            agents: vec![AgentId(1), AgentId(2)],
            peer_id: "12D3".to_owned(),
        }))
    }

    #[test]
    fn an_endpoint_answers_with_the_status_and_its_port_is_free_afterwards() {
        let keeping = keeping();
        keeping.progress(&kith_sim::Progress { rounds_done: 7, rounds: 9, ..kith_sim::Progress::default() });
        let endpoint = Endpoint::open(([127, 0, 0, 1], 0).into(), Arc::clone(&keeping)).expect("there are ports");
        let address = endpoint.address();
        let status = ask(&address.to_string()).expect("it answers");
        assert_eq!((status.agents.len(), status.round, status.rounds), (2, 7, 9));
        drop(endpoint);
        assert!(TcpListener::bind(address).is_ok());
        assert!(ask(&address.to_string()).is_err());
    }

    #[test]
    fn metrics_have_a_line_a_value_and_other_requests_are_refused() {
        let keeping = keeping();
        keeping.progress(&kith_sim::Progress { rounds_done: 7, accuracy: Some(0.5), ..kith_sim::Progress::default() });
        let (code, _, text) = respond("GET /metrics HTTP/1.1", &keeping.status());
        assert_eq!(code, "200 OK");
        let labels = r#"{experiment="a \"name\"",arm="codec",agents="1, 2"}"#;
        assert!(
            text.contains(&format!("# TYPE kith_rounds_done_total counter\nkith_rounds_done_total{labels} 7\n")),
            "{text}"
        );
        assert!(text.contains(&format!("kith_accuracy{labels} 0.5\n")), "{text}");
        assert!(!text.contains("kith_bad_packets_total"), "nothing was bad:\n{text}");
        assert!(respond("GET / HTTP/1.1", &keeping.status()).0.starts_with("404"));
        assert!(respond("POST /metrics HTTP/1.1", &keeping.status()).0.starts_with("405"));
        assert!(respond("", &keeping.status()).0.starts_with("405"));
    }
}
