//! Which crate may depend on which: the crate table of `docs/architecture.md`, held over `cargo metadata`.
//!
//! A crate here exists to keep a heavy dependency in one place or away from another crate, so an edge too many undoes it.
//! Development dependencies are free.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::process::Command;

use serde::Deserialize;

/// What `cargo metadata` says, as far as it is wanted here. A crate that reads all of it turns on features of `serde_json`, with
/// which `cargo test` would build half the tree a second time after `cargo run`.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    edition: String,
    rust_version: Option<String>,
    dependencies: Vec<Named>,
}

/// A dependency as a manifest names it.
#[derive(Deserialize)]
struct Named {
    name: String,
    kind: Option<Kind>,
}

/// Kinds of dependencies but the normal one, which has no name.
#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Dev,
    Build,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    kind: Option<Kind>,
}

impl Metadata {
    fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }
}

/// Each crate, and the kith crates it may name.
const MAY_DEPEND_ON: [(&str, &[&str]); 12] = [
    ("kith-core", &[]),
    ("kith-graph", &["kith-core"]),
    ("kith-data", &["kith-core"]),
    ("kith-subspace", &["kith-core"]),
    ("kith-engine", &["kith-core"]),
    ("kith-burn", &["kith-core", "kith-engine"]),
    ("kith-method", &["kith-core", "kith-engine", "kith-subspace"]),
    ("kith-protocol", &["kith-core"]),
    (
        "kith-run",
        &["kith-core", "kith-data", "kith-engine", "kith-graph", "kith-method", "kith-protocol", "kith-subspace"],
    ),
    ("kith-sim", &["kith-core", "kith-engine", "kith-method", "kith-protocol", "kith-run"]),
    ("kith-net", &["kith-core", "kith-engine", "kith-method", "kith-protocol", "kith-run"]),
    (
        "kith",
        &[
            "kith-burn",
            "kith-core",
            "kith-data",
            "kith-engine",
            "kith-graph",
            "kith-method",
            "kith-net",
            "kith-protocol",
            "kith-run",
            "kith-sim",
            "kith-subspace",
        ],
    ),
];

/// All that the crate under everything may name.
const CORE_MAY_NAME: [&str; 6] = ["rand", "rand_chacha", "schemars", "serde", "sha2", "thiserror"];

/// Families of crates (the crate and everything `name-…`) that nothing may reach with default features, by whatever way.
const UNREACHABLE: [&str; 3] = ["burn", "cubecl", "wgpu"];

/// A dependency, and the one crate through which it may be reached.
const ONLY_THROUGH: [(&str, &str); 8] = [
    ("bincode", "kith-protocol"),
    ("clap", "kith"),
    ("faer", "kith-subspace"),
    ("libp2p", "kith-net"),
    ("parquet", "kith"),
    ("petgraph", "kith-graph"),
    ("resvg", "kith"),
    ("tokio", "kith-net"),
];

/// A dependency, and the one crate that may name it. Others may reach it: faer multiplies with gemm too.
const ONLY_NAMED_BY: [(&str, &str); 2] = [("burn", "kith-burn"), ("gemm", "kith-engine")];

/// Crate name to the crate names it depends on.
type Edges = BTreeMap<String, BTreeSet<String>>;

/// What cargo knows of this workspace on this machine's platform, so that nothing is downloaded for another one.
fn metadata() -> Metadata {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let version = Command::new(&cargo).arg("-vV").output().expect("cargo runs");
    let version = String::from_utf8(version.stdout).expect("cargo speaks UTF-8");
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo names its host");
    let told = Command::new(&cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", host, "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(told.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&told.stderr));
    serde_json::from_slice(&told.stdout).expect("cargo metadata has its documented form")
}

/// What manifests of members name, for every platform and feature, optional or not.
fn named(metadata: &Metadata) -> Edges {
    let named = |package: &Package| {
        let dependencies = package.dependencies.iter().filter(|edge| edge.kind != Some(Kind::Dev));
        (package.name.clone(), dependencies.map(|edge| edge.name.clone()).collect())
    };
    metadata.members().map(named).collect()
}

/// What was resolved: normal edges of all crates, members or not. Versions of a crate count as one.
fn resolved(metadata: &Metadata) -> Edges {
    let names: BTreeMap<_, _> = metadata.packages.iter().map(|package| (&package.id, package.name.as_str())).collect();
    let mut edges = Edges::new();
    for node in &metadata.resolve.nodes {
        let normal = node.deps.iter().filter(|edge| edge.dep_kinds.iter().any(|of| of.kind.is_none()));
        edges.entry(names[&node.id].to_owned()).or_default().extend(normal.map(|edge| names[&edge.pkg].to_owned()));
    }
    edges
}

/// A shortest way from `from` to a crate that `wanted` accepts and that does not lead through `owner`.
fn way(edges: &Edges, from: &str, owner: Option<&str>, wanted: impl Fn(&str) -> bool) -> Option<String> {
    let mut ways = VecDeque::from([vec![from]]);
    let mut seen = BTreeSet::from([from]);
    while let Some(way) = ways.pop_front() {
        let here = *way.last()?;
        if wanted(here) {
            return Some(way.join(" → "));
        }
        if owner == Some(here) {
            continue;
        }
        for next in edges.get(here).into_iter().flatten() {
            if seen.insert(next) {
                ways.push_back(way.iter().copied().chain([next.as_str()]).collect());
            }
        }
    }
    None
}

fn is_of_family(name: &str, family: &str) -> bool {
    name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Ways from members to crates that nothing may reach.
fn forbidden_ways(edges: &Edges) -> Vec<String> {
    let all = MAY_DEPEND_ON.iter().flat_map(|(member, _)| UNREACHABLE.map(|family| (*member, family)));
    all.filter_map(|(member, family)| {
        let way = way(edges, member, None, |name| is_of_family(name, family))?;
        Some(format!("{member} must not reach {family}: {way}"))
    })
    .collect()
}

/// Ways from members to crates that have an owner, past the owner.
fn ways_past_owners(edges: &Edges) -> Vec<String> {
    let all = MAY_DEPEND_ON.iter().flat_map(|(member, _)| ONLY_THROUGH.map(|(target, owner)| (*member, target, owner)));
    all.filter(|(member, _, owner)| member != owner)
        .filter_map(|(member, target, owner)| {
            let way = way(edges, member, Some(owner), |name| name == target)?;
            Some(format!("{target} may be reached through {owner} alone: {way}"))
        })
        .collect()
}

#[test]
fn every_member_has_its_row_in_the_table_and_every_row_its_member() {
    let metadata = metadata();
    let members: BTreeSet<_> = metadata.members().map(|package| package.name.clone()).collect();
    let rows: BTreeSet<_> = MAY_DEPEND_ON.iter().map(|(member, _)| (*member).to_owned()).collect();
    assert_eq!(members, rows, "left: members of the workspace; right: rows of MAY_DEPEND_ON in tests/edges.rs");
}

#[test]
fn members_name_only_the_members_that_the_table_allows() {
    let named = named(&metadata());
    for (member, allowed) in MAY_DEPEND_ON {
        let kith = named[member].iter().filter(|name| is_of_family(name, "kith"));
        let wrong: Vec<_> = kith.filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(wrong.is_empty(), "{member} must not depend on {wrong:?}; allowed are {allowed:?}");
    }
}

#[test]
fn the_core_names_only_what_stands_below_it() {
    let named = named(&metadata());
    let wrong: Vec<_> = named["kith-core"].iter().filter(|name| !CORE_MAY_NAME.contains(&name.as_str())).collect();
    assert!(wrong.is_empty(), "kith-core must not depend on {wrong:?}; allowed are {CORE_MAY_NAME:?}");
}

#[test]
fn heavy_dependencies_are_named_by_their_owner_alone() {
    let named = named(&metadata());
    for (target, owner) in ONLY_NAMED_BY.into_iter().chain(ONLY_THROUGH) {
        let naming: Vec<_> = named.iter().filter(|(_, names)| names.contains(target)).map(|(name, _)| name).collect();
        assert_eq!(naming, [owner], "left: crates that name {target}; right: the one that may");
    }
}

#[test]
fn heavy_dependencies_are_reached_through_their_owner_alone() {
    let wrong = ways_past_owners(&resolved(&metadata()));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_reaches_a_gpu_framework() {
    let metadata = metadata();
    let mut wrong = forbidden_ways(&resolved(&metadata));
    // Optional dependencies that no default feature turns on are not resolved, but they are named. kith-burn is there to name one.
    let mut named = named(&metadata);
    named.get_mut("kith-burn").expect("it is a member").remove("burn");
    wrong.extend(forbidden_ways(&named));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_edge_too_many_is_reported_with_its_way() {
    let mut edges = resolved(&metadata());
    edges.entry("kith-method".to_owned()).or_default().insert("petgraph".to_owned());
    edges.entry("serde".to_owned()).or_default().insert("wgpu-hal".to_owned());
    let past = ways_past_owners(&edges);
    assert!(past.contains(&"petgraph may be reached through kith-graph alone: kith-method → petgraph".to_owned()));
    let forbidden = forbidden_ways(&edges);
    assert!(forbidden.contains(&"kith-core must not reach wgpu: kith-core → serde → wgpu-hal".to_owned()));
    assert_eq!(forbidden.len(), MAY_DEPEND_ON.len(), "all reach serde: {forbidden:?}");
}

#[test]
fn all_members_share_one_version_one_edition_and_a_minimal_rust() {
    let metadata = metadata();
    let package = |name: &str| metadata.members().find(|package| package.name == name).expect("a member");
    let core = package("kith-core");
    assert!(core.rust_version.is_some(), "kith-core sets no rust-version");
    for (member, _) in MAY_DEPEND_ON {
        let member = package(member);
        assert_eq!(member.version, core.version, "version of {}", member.name);
        assert_eq!(member.edition, core.edition, "edition of {}", member.name);
        assert_eq!(member.rust_version, core.rust_version, "rust-version of {}", member.name);
    }
}
