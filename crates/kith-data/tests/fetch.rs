//! Fetching, from servers on loopback.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use kith_data::{Checksum, DataError, DatasetName, FetchPlan, Fetched, fetch, plan};
use sha2::{Digest, Sha256};

/// How a server answers.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// As it should.
    Good,
    /// Without ranges: always the whole file.
    NoRanges,
    /// It announces the whole file and hangs up after 100 bytes.
    BreaksOff,
}

/// A server of these files, and the requests it got: path, then the range asked for.
struct Server {
    base: String,
    requests: Arc<Mutex<Vec<(String, String)>>>,
}

impl Server {
    fn start(manner: Manner, files: &[(&str, Vec<u8>)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let base = format!("http://{}/", listener.local_addr().expect("bound"));
        let files: BTreeMap<String, Vec<u8>> =
            files.iter().map(|(name, bytes)| (format!("/{name}"), bytes.clone())).collect();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let request = read_request(&stream);
                log.lock().expect("not poisoned").push(request.clone());
                answer(stream, manner, files.get(&request.0), &request.1);
            }
        });
        Self { base, requests }
    }

    fn ranges(&self) -> Vec<String> {
        self.requests.lock().expect("not poisoned").iter().map(|request| request.1.clone()).collect()
    }
}

fn read_request(stream: &TcpStream) -> (String, String) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let path = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
    let range = lines.filter_map(|line| line.to_lowercase().strip_prefix("range: ").map(str::to_owned)).last();
    (path, range.unwrap_or_default())
}

fn answer(mut stream: TcpStream, manner: Manner, file: Option<&Vec<u8>>, range: &str) {
    let start: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap_or(0);
    let start = if manner == Manner::NoRanges { 0 } else { start };
    let (status, extra, body) = match file {
        None => ("404 Not Found", String::new(), &b"not here"[..]),
        Some(file) if start >= file.len() => {
            ("416 Range Not Satisfiable", format!("Content-Range: bytes */{}\r\n", file.len()), &[][..])
        }
        Some(file) if start > 0 => {
            let span = format!("Content-Range: bytes {start}-{}/{}\r\n", file.len() - 1, file.len());
            ("206 Partial Content", span, &file[start..])
        }
        Some(file) => ("200 OK", String::new(), &file[..]),
    };
    let head = format!("HTTP/1.1 {status}\r\n{extra}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let sent = if manner == Manner::BreaksOff { &body[..100.min(body.len())] } else { body };
    // The client may have hung up; the test sees what it got.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent));
}

/// A plan of one gzipped file with a checksum of what it holds.
fn one_file(folder: &Path, mirrors: &[&Server], content: &[u8]) -> FetchPlan {
    let mirrors: Vec<String> = mirrors.iter().map(|server| server.base.clone()).collect();
    let mut plan = plan(DatasetName::Mnist, &mirrors, None, folder).expect("mnist can be fetched");
    plan.files.truncate(1);
    plan.files[0].content = Some(Checksum(Sha256::digest(content).into()));
    plan
}

const NAME: &str = "train-images-idx3-ubyte.gz";

/// Bytes that do not compress, and their gzip file.
fn content() -> (Vec<u8>, Vec<u8>) {
    let content: Vec<u8> = (0..4_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let packed = common::gzip(&content);
    (content, packed)
}

fn run(plan: &FetchPlan) -> Result<Vec<Fetched>, DataError> {
    fetch(plan, |_| {})
}

#[test]
fn a_whole_file_arrives_under_its_name() {
    let (content, packed) = content();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(Manner::Good, &[(NAME, packed.clone())]);
    let plan = one_file(folder.path(), &[&server], &content);
    let mut last = 0;
    let fetched = fetch(&plan, |progress| {
        assert_eq!(progress.total, Some(packed.len() as u64));
        last = progress.done;
    })
    .expect("served");
    assert_eq!(last, packed.len() as u64);
    assert_eq!(fetched[0].checksum, Checksum(Sha256::digest(&packed).into()));
    assert_eq!(fs::read(folder.path().join("mnist").join(NAME)).expect("fetched"), packed);
    assert!(!folder.path().join("mnist").join(format!("{NAME}.part")).exists());
}

#[test]
fn a_file_that_is_here_is_not_fetched_again() {
    let (content, packed) = content();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(Manner::Good, &[(NAME, packed)]);
    let plan = one_file(folder.path(), &[&server], &content);
    run(&plan).expect("served");
    run(&plan).expect("here");
    assert_eq!(server.ranges().len(), 1);
}

#[test]
fn a_part_is_resumed_where_it_stopped() {
    let (content, packed) = content();
    let folder = tempfile::tempdir().expect("a temporary folder");
    common::write(folder.path(), &format!("mnist/{NAME}.part"), &packed[..1_000]);
    let server = Server::start(Manner::Good, &[(NAME, packed.clone())]);
    run(&one_file(folder.path(), &[&server], &content)).expect("served");
    assert_eq!(server.ranges(), ["bytes=1000-"]);
    assert_eq!(fs::read(folder.path().join("mnist").join(NAME)).expect("fetched"), packed);
}

#[test]
fn a_part_that_is_whole_is_kept() {
    let (content, packed) = content();
    let folder = tempfile::tempdir().expect("a temporary folder");
    common::write(folder.path(), &format!("mnist/{NAME}.part"), &packed);
    let server = Server::start(Manner::Good, &[(NAME, packed.clone())]);
    run(&one_file(folder.path(), &[&server], &content)).expect("served");
    assert_eq!(server.ranges(), [format!("bytes={}-", packed.len())]);
}

#[test]
fn a_part_longer_than_the_file_is_fetched_anew() {
    let (content, packed) = content();
    let folder = tempfile::tempdir().expect("a temporary folder");
    common::write(folder.path(), &format!("mnist/{NAME}.part"), &vec![1; packed.len() + 5]);
    let server = Server::start(Manner::Good, &[(NAME, packed.clone())]);
    run(&one_file(folder.path(), &[&server], &content)).expect("served");
    assert_eq!(server.ranges(), [format!("bytes={}-", packed.len() + 5), String::new()]);
    assert_eq!(fs::read(folder.path().join("mnist").join(NAME)).expect("fetched"), packed);
}

#[test]
fn a_server_without_ranges_sends_the_whole_file_again() {
    let (content, packed) = content();
    let folder = tempfile::tempdir().expect("a temporary folder");
    common::write(folder.path(), &format!("mnist/{NAME}.part"), &[9; 1_000]);
    let server = Server::start(Manner::NoRanges, &[(NAME, packed.clone())]);
    run(&one_file(folder.path(), &[&server], &content)).expect("served");
    assert_eq!(fs::read(folder.path().join("mnist").join(NAME)).expect("fetched"), packed);
}

#[test]
fn the_next_mirror_goes_on_where_the_first_broke_off() {
    let (content, packed) = content();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let broken = Server::start(Manner::BreaksOff, &[(NAME, packed.clone())]);
    let good = Server::start(Manner::Good, &[(NAME, packed.clone())]);
    run(&one_file(folder.path(), &[&broken, &good], &content)).expect("served by the second");
    assert_eq!(good.ranges(), ["bytes=100-"]);
    assert_eq!(fs::read(folder.path().join("mnist").join(NAME)).expect("fetched"), packed);
}

#[test]
fn a_wrong_checksum_removes_the_file() {
    let (_, packed) = content();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(Manner::Good, &[(NAME, packed)]);
    let error = run(&one_file(folder.path(), &[&server], b"something else")).expect_err("another file");
    let DataError::Fetch { attempts, .. } = &error else { panic!("{error}") };
    assert!(attempts[0].reason.contains("SHA-256"), "{error}");
    assert_eq!(fs::read_dir(folder.path().join("mnist")).expect("made").count(), 0);
}

#[test]
fn a_mirror_without_the_file_is_passed_over() {
    let (content, packed) = content();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let empty = Server::start(Manner::Good, &[]);
    let good = Server::start(Manner::Good, &[(NAME, packed)]);
    run(&one_file(folder.path(), &[&empty, &good], &content)).expect("served by the second");
    assert_eq!((empty.ranges().len(), good.ranges().len()), (1, 1));
}

#[test]
fn every_attempt_is_named_when_no_mirror_has_the_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (one, two) = (Server::start(Manner::Good, &[]), Server::start(Manner::Good, &[]));
    let error = run(&one_file(folder.path(), &[&one, &two], b"")).expect_err("404 twice").to_string();
    assert!(error.contains(&one.base) && error.contains(&two.base) && error.contains("404"), "{error}");
}

#[test]
fn cifar_is_unpacked_from_its_archive_and_read() {
    let record = |label: u8| [vec![label], vec![label * 10; 3_072]].concat();
    let mut archive = tar::Builder::new(Vec::new());
    for name in [
        "readme.html",
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
        "test_batch.bin",
    ] {
        let bytes = [record(3), record(7)].concat();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("cifar-10-batches-bin/{name}"), &bytes[..]).expect("in memory");
    }
    let packed = common::gzip(&archive.into_inner().expect("in memory"));
    let sha256: Checksum = Checksum(Sha256::digest(&packed).into()).to_string().parse().expect("64 digits");
    let server = Server::start(Manner::Good, &[("cifar-10-binary.tar.gz", packed)]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan =
        plan(DatasetName::Cifar10, std::slice::from_ref(&server.base), Some(sha256), folder.path()).expect("known");
    run(&plan).expect("served");
    assert!(!folder.path().join("cifar-10/readme.html").exists());
    let search = kith_data::SearchPath { folders: vec![folder.path().to_owned()] };
    let spec = kith_data::Spec { dataset: "cifar-10".to_owned(), ..kith_data::Spec::default() };
    let scenario = kith_data::load(&spec, 1, &kith_core::Seeds::new(0), &search).expect("unpacked");
    assert_eq!(scenario.tasks[0].train.labels(), [3, 7, 3, 7, 3, 7, 3, 7, 3, 7]);
}

#[test]
fn an_archive_without_the_files_is_refused() {
    let packed = common::gzip(&tar::Builder::new(Vec::new()).into_inner().expect("in memory"));
    let server = Server::start(Manner::Good, &[("cifar-100-binary.tar.gz", packed)]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = plan(DatasetName::Cifar100, std::slice::from_ref(&server.base), None, folder.path()).expect("known");
    assert!(run(&plan).expect_err("empty").to_string().contains("train.bin"));
}

#[test]
fn what_cannot_be_fetched_is_refused() {
    let folder = Path::new("unused");
    let error = plan(DatasetName::Digits, &[], None, folder).expect_err("embedded").to_string();
    assert!(error.contains("part of kith"), "{error}");
    assert!(plan(DatasetName::Mnist, &[], Some(Checksum([0; 32])), folder).is_err());
    assert!("abc".parse::<Checksum>().is_err());
    assert!("é".repeat(32).parse::<Checksum>().is_err());
    assert!("g".repeat(64).parse::<Checksum>().is_err());
}

#[cfg(not(feature = "https"))]
#[test]
fn a_build_without_tls_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mirrors = ["https://localhost:1".to_owned()];
    let plan = plan(DatasetName::Cifar10, &mirrors, None, folder.path()).expect("known");
    assert!(run(&plan).expect_err("no TLS").to_string().contains("feature https"));
}
