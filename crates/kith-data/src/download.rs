//! One file over HTTP: resumed where it stopped, checked before it gets its name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use crate::error::Attempt;
use crate::{DataError, fetch::FetchFile};

/// A server that says nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// No dataset file is larger; a server that sends more is cut off.
const MOST_BYTES: u64 = 4 << 30;
/// Bytes moved at a time.
const BUFFER: usize = 1 << 16;

/// A SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum(pub [u8; 32]);

impl std::fmt::Display for Checksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Checksum {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let refused = || DataError::setting("sha256", format!("{text:?}"), "64 hexadecimal digits are accepted");
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(refused());
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).ok_or_else(refused);
            *byte = (digit(digits[0])? * 16 + digit(digits[1])?) as u8;
        }
        Ok(Self(bytes))
    }
}

/// How far a download is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The file.
    pub file: &'a str,
    /// Bytes that are here, those of an earlier try included.
    pub done: u64,
    /// Bytes in all, if the server said so.
    pub total: Option<u64>,
}

/// Called as bytes come in.
pub(crate) type Report<'a> = &'a mut dyn FnMut(Progress<'_>);

/// The agent for a fetch.
pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .user_agent("kith")
        .timeout_connect(Some(SILENCE))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .build()
        .new_agent()
}

/// Fetches `file` into `folder` from the first mirror that gives it whole, and returns its SHA-256.
pub(crate) fn download(
    agent: &ureq::Agent,
    file: &FetchFile,
    mirrors: &[String],
    folder: &Path,
    report: Report<'_>,
) -> Result<Checksum, DataError> {
    let part = folder.join(format!("{}.part", file.name));
    let mut attempts = Vec::new();
    for mirror in mirrors {
        let url = format!("{}/{}", mirror.trim_end_matches('/'), file.name);
        let outcome = transfer(agent, &url, file.name, &part, report).and_then(|()| check(file, &part));
        match outcome {
            Ok(checksum) => {
                let path = folder.join(file.name);
                fs::rename(&part, &path).map_err(DataError::io("rename the download to", &path))?;
                return Ok(checksum);
            }
            Err(reason) => attempts.push(Attempt { url, reason }),
        }
    }
    if attempts.is_empty() {
        let accepted = "at least one base address is accepted, such as http://127.0.0.1:8000";
        return Err(DataError::setting("mirrors", "(none)", accepted));
    }
    Err(DataError::Fetch { file: file.name.to_owned(), attempts })
}

/// Brings the bytes that `part` lacks. What came stays there if the connection breaks.
fn transfer(agent: &ureq::Agent, url: &str, file: &str, part: &Path, report: Report<'_>) -> Result<(), String> {
    if url.starts_with("https:") && !cfg!(feature = "https") {
        return Err("this build has no TLS: use an http:// mirror, or build with the default feature https".to_owned());
    }
    let here = fs::metadata(part).map_or(0, |metadata| metadata.len());
    let mut request = agent.get(url).header("Accept-Encoding", "identity");
    if here > 0 {
        request = request.header("Range", format!("bytes={here}-"));
    }
    let mut response = request.call().map_err(|error| error.to_string())?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (start, total) = match response.status().as_u16() {
        200 => (0, header("content-length").and_then(|length| length.parse().ok())),
        206 => {
            let range = header("content-range").unwrap_or_default();
            match parse_range(&range) {
                Some((start, total)) if start == here => (start, total),
                _ => return Err(format!("asked for bytes from {here}, got {range:?}")),
            }
        }
        416 if here > 0 => return whole_or_restart(agent, url, file, part, (here, header("content-range")), report),
        status => return Err(format!("status {status}, expected 200 or 206")),
    };
    if total.is_some_and(|total| total > MOST_BYTES) {
        return Err(format!("{} bytes, at most {MOST_BYTES} are accepted", total.unwrap_or_default()));
    }
    let mut options = OpenOptions::new();
    let opened = if start == 0 { options.write(true).create(true).truncate(true) } else { options.append(true) };
    let mut out = opened.open(part).map_err(|error| format!("cannot open {}: {error}", part.display()))?;
    let mut done = start;
    let mut buffer = vec![0; BUFFER];
    let mut body = response.body_mut().as_reader();
    loop {
        let count = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(format!("broke off after {done} bytes: {error}")),
        };
        done += count as u64;
        if done > MOST_BYTES {
            return Err(format!("more than {MOST_BYTES} bytes"));
        }
        out.write_all(&buffer[..count]).map_err(|error| format!("cannot write {}: {error}", part.display()))?;
        report(Progress { file, done, total });
    }
    match total {
        Some(total) if total != done => Err(format!("broke off after {done} of {total} bytes")),
        _ => Ok(()),
    }
}

/// The server has nothing after what is here: that is all of it, or something else.
fn whole_or_restart(
    agent: &ureq::Agent,
    url: &str,
    file: &str,
    part: &Path,
    (here, range): (u64, Option<String>),
    report: Report<'_>,
) -> Result<(), String> {
    let total = range.as_deref().and_then(|range| range.strip_prefix("bytes */")).and_then(|total| total.parse().ok());
    if total == Some(here) {
        return Ok(());
    }
    fs::remove_file(part).map_err(|error| format!("cannot remove {}: {error}", part.display()))?;
    transfer(agent, url, file, part, report)
}

/// First byte and total of `bytes 5-9/10`; the total may be `*`.
fn parse_range(range: &str) -> Option<(u64, Option<u64>)> {
    let (span, total) = range.strip_prefix("bytes ")?.split_once('/')?;
    Some((span.split_once('-')?.0.parse().ok()?, total.parse().ok()))
}

/// The SHA-256 of the file that came, which is removed if it is not what was expected.
fn check(file: &FetchFile, part: &Path) -> Result<Checksum, String> {
    let wrong = |what: &str, expected: Checksum, found: String| {
        let removed =
            fs::remove_file(part).map_or_else(|error| format!("not removed: {error}"), |()| "removed".to_owned());
        format!("SHA-256 {what}: expected {expected}, found {found} ({removed})")
    };
    let read = |error: io::Error| format!("cannot read {}: {error}", part.display());
    let found = hash(File::open(part).map_err(read)?).map_err(read)?;
    if let Some(expected) = file.checksum.filter(|&expected| expected != found) {
        return Err(wrong("of the file", expected, found.to_string()));
    }
    if let Some(expected) = file.content {
        let content = hash(MultiGzDecoder::new(BufReader::new(File::open(part).map_err(read)?)).take(MOST_BYTES));
        match content {
            Ok(content) if content == expected => {}
            Ok(content) => return Err(wrong("of the unzipped file", expected, content.to_string())),
            Err(error) => return Err(wrong("of the unzipped file", expected, format!("no gzip file: {error}"))),
        }
    }
    Ok(found)
}

/// The SHA-256 of a file that is here already, if it is the one that is meant, as far as kith knows its checksum.
pub(crate) fn verified(file: &FetchFile, path: &Path) -> Option<Checksum> {
    let found = hash(File::open(path).ok()?).ok()?;
    let content = || hash(MultiGzDecoder::new(BufReader::new(File::open(path).ok()?)).take(MOST_BYTES)).ok();
    let good = file.checksum.is_none_or(|expected| expected == found)
        && file.content.is_none_or(|expected| content() == Some(expected));
    good.then_some(found)
}

fn hash(mut from: impl Read) -> io::Result<Checksum> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(Checksum(hasher.finalize().into())),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Unpacks the members of a gzipped tar whose file name is in `names` into `folder`, wherever they lie in the archive.
pub(crate) fn unpack(archive: &Path, names: &[&str], folder: &Path) -> Result<(), DataError> {
    let file = File::open(archive).map_err(DataError::io("open", archive))?;
    let mut tar = tar::Archive::new(MultiGzDecoder::new(BufReader::new(file)));
    let mut missing: Vec<&str> = names.to_vec();
    for entry in tar.entries().map_err(DataError::io("unpack", archive))? {
        let entry = entry.map_err(DataError::io("unpack", archive))?;
        let member: PathBuf = entry.path().map_err(DataError::io("unpack", archive))?.into_owned();
        let Some(name) = missing.iter().copied().find(|&name| member.file_name().is_some_and(|member| member == name))
        else {
            continue;
        };
        if !entry.header().entry_type().is_file() {
            continue;
        }
        // Under its own name only once it is whole.
        let (part, path) = (folder.join(format!("{name}.part")), folder.join(name));
        let mut out = File::create(&part).map_err(DataError::io("create", &part))?;
        io::copy(&mut entry.take(MOST_BYTES), &mut out).map_err(DataError::io("unpack to", &part))?;
        fs::rename(&part, &path).map_err(DataError::io("rename the unpacked file to", &path))?;
        missing.retain(|&other| other != name);
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(DataError::format(
        archive,
        format!("an archive with {}", names.join(", ")),
        format!("no {}", missing.join(", ")),
    ))
}
