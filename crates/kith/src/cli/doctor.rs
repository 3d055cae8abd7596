//! `kith doctor`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use kith_data::{Place, SearchPath, available};
use serde::Serialize;

use super::{Failure, print, print_json};
use crate::device::Device;
use crate::table::{Align, Table, dash};

const EXAMPLES: &str = "\
Examples:
  kith doctor
  kith doctor --out /scratch/runs --json

Exit codes: 0 all is well, 1 something keeps kith from running, 2 usage.";

/// Below this, a disk is nearly full: a run writes tens of megabytes, a sweep many runs.
const LITTLE_ROOM: u64 = 1 << 30;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DoctorArgs {
    /// Folder that run directories would go to
    #[arg(long, value_name = "DIR", default_value = "runs")]
    out: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Health {
    kith: Build,
    machine: Machine,
    devices: Vec<DeviceRow>,
    datasets: Vec<DatasetRow>,
    folders: Vec<FolderRow>,
    /// What keeps kith from running.
    problems: Vec<String>,
    /// What may become a problem.
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Build {
    version: &'static str,
    commit: Option<&'static str>,
    rustc: Option<&'static str>,
    target: String,
    features: Vec<&'static str>,
}

#[derive(Serialize)]
struct Machine {
    cores: usize,
    /// Threads that a run uses where `--threads` is not given.
    threads: usize,
    vector_instructions: Vec<&'static str>,
    memory_bytes: Option<u64>,
    memory_available_bytes: Option<u64>,
}

#[derive(Serialize)]
struct DeviceRow {
    name: &'static str,
    usable: bool,
    detail: String,
}

#[derive(Serialize)]
struct DatasetRow {
    name: &'static str,
    present: bool,
    place: String,
}

#[derive(Serialize)]
struct FolderRow {
    purpose: &'static str,
    path: String,
    writable: bool,
    free_bytes: Option<u64>,
}

pub(super) fn run(arguments: &DoctorArgs) -> Result<ExitCode, Failure> {
    let health = examine(&arguments.out);
    if arguments.json {
        print_json(&health)?;
    } else {
        print(&render(&health))?;
    }
    Ok(if health.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn examine(out: &Path) -> Health {
    let mut folders = vec![folder("run directories", out)];
    folders.extend(SearchPath::user_folder().map(|path| folder("datasets", &path)));
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    for row in &folders {
        if !row.writable {
            let text = format!("{} cannot be written: {} go there", row.path, row.purpose);
            if row.purpose == "datasets" { warnings.push(text) } else { problems.push(text) }
        }
        if row.free_bytes.is_some_and(|free| free < LITTLE_ROOM) {
            warnings.push(format!("the disk of {} is nearly full", row.path));
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let features =
        [("https", cfg!(feature = "https")), ("parquet", cfg!(feature = "parquet")), ("png", cfg!(feature = "png"))];
    let gpu = [("wgpu", cfg!(feature = "wgpu")), ("cuda", cfg!(feature = "cuda"))];
    Health {
        kith: Build {
            version: env!("CARGO_PKG_VERSION"),
            commit: option_env!("KITH_COMMIT"),
            rustc: option_env!("KITH_RUSTC"),
            target: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            features: features.iter().chain(&gpu).filter(|(_, on)| *on).map(|(name, _)| *name).collect(),
        },
        machine: Machine {
            cores,
            threads: cores,
            vector_instructions: vector_instructions(),
            memory_bytes: memory("MemTotal"),
            memory_available_bytes: memory("MemAvailable"),
        },
        devices: devices(),
        datasets: datasets(),
        folders,
        problems,
        warnings,
    }
}

fn vector_instructions() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let found = vec![
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let found: Vec<(&'static str, bool)> = Vec::new();
    found.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}

/// A line of Linux's memory table, in bytes; other systems have none.
fn memory(name: &str) -> Option<u64> {
    let table = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = table.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn devices() -> Vec<DeviceRow> {
    let row = |(name, device): (&'static str, Device)| match device.open() {
        Ok(open) => DeviceRow { name, usable: true, detail: format!("{}, determinism {}", open.label(), open.grade()) },
        Err(error) => DeviceRow { name, usable: false, detail: error.to_string() },
    };
    [("cpu", Device::Cpu), ("wgpu", Device::Wgpu), ("cuda", Device::Cuda)].map(row).into()
}

fn datasets() -> Vec<DatasetRow> {
    let row = |info: kith_data::DatasetInfo| {
        let (present, place) = match info.place {
            Place::BuiltIn => (true, "part of kith".to_owned()),
            Place::Folder(folder) => (true, folder.display().to_string()),
            Place::Absent(how) => (false, how.to_owned()),
        };
        DatasetRow { name: info.name.as_str(), present, place }
    };
    available(&SearchPath::standard()).into_iter().map(row).collect()
}

/// The folder, or the nearest one above it that is there: it is made when something is written.
fn folder(purpose: &'static str, path: &Path) -> FolderRow {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = absolute.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    FolderRow { purpose, path: path.display().to_string(), writable: writable(there), free_bytes: free(there) }
}

/// Asked by trying: permissions alone do not tell of read-only disks.
fn writable(folder: &Path) -> bool {
    let probe = folder.join(format!(".kith-doctor-{}", std::process::id()));
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(&probe).is_ok();
    if made {
        let _ = std::fs::remove_file(&probe);
    }
    made
}

#[cfg(unix)]
fn free(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

#[cfg(not(unix))]
fn free(_: &Path) -> Option<u64> {
    None
}

fn bytes(count: Option<u64>) -> String {
    count.map_or_else(dash, |count| format!("{:.1} GB", count as f64 / 1e9))
}

fn render(health: &Health) -> String {
    let Build { version, commit, rustc, target, features } = &health.kith;
    let machine = &health.machine;
    let vectors = if machine.vector_instructions.is_empty() { dash() } else { machine.vector_instructions.join(", ") };
    let mut text = format!(
        "kith {version} ({}; {}; {target})\nbuilt with {}\n\n{} cores, {} threads a run, vector instructions {vectors}\nmemory {}, {} available\n\n",
        commit.unwrap_or("no commit"),
        rustc.unwrap_or("unknown compiler"),
        features.join(", "),
        machine.cores,
        machine.threads,
        bytes(machine.memory_bytes),
        bytes(machine.memory_available_bytes),
    );
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let mut table = Table::new(&[("device", Align::Left), ("usable", Align::Left), ("", Align::Left)]);
    for DeviceRow { name, usable, detail } in &health.devices {
        table.row([(*name).to_owned(), yes(*usable), detail.clone()]);
    }
    text += &table.render();
    let mut table =
        Table::new(&[("dataset", Align::Left), ("here", Align::Left), ("where, or how to get it", Align::Left)]);
    for DatasetRow { name, present, place } in &health.datasets {
        table.row([(*name).to_owned(), yes(*present), place.clone()]);
    }
    text += &format!("\n{}", table.render());
    let headings = [("folder", Align::Left), ("for", Align::Left), ("writable", Align::Left), ("free", Align::Right)];
    let mut table = Table::new(&headings);
    for FolderRow { purpose, path, writable, free_bytes } in &health.folders {
        table.row([path.clone(), (*purpose).to_owned(), yes(*writable), bytes(*free_bytes)]);
    }
    text += &format!("\n{}\n", table.render());
    for warning in &health.warnings {
        text += &format!("warning: {warning}\n");
    }
    for problem in &health.problems {
        text += &format!("problem: {problem}\n");
    }
    if health.problems.is_empty() {
        text += "all is well\n";
    }
    text
}
