//! The edges of the families that are not random, and the names and keys of all.

use std::fmt;

use crate::Family;

impl Family {
    /// The name, as files say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Torus => "torus",
            Self::Chain => "chain",
            Self::Star => "star",
            Self::Complete => "complete",
            Self::Hypercube => "hypercube",
            Self::Exponential => "exponential",
            Self::ErdosRenyi => "erdos-renyi",
            Self::RandomRegular => "random-regular",
            Self::Petersen => "petersen",
            Self::Dyck => "dyck",
            Self::Edges => "edges",
        }
    }

    /// The keys that the family uses, beside `family`.
    pub(crate) const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Ring | Self::Exponential => &["agents", "directed", "weights"],
            Self::Torus => &["agents", "rows", "columns", "weights"],
            Self::ErdosRenyi => &["agents", "probability", "weights"],
            Self::RandomRegular => &["agents", "degree", "weights"],
            Self::Edges => &["agents", "edges", "rounds", "directed", "weights"],
            Self::Chain | Self::Star | Self::Complete | Self::Hypercube | Self::Petersen | Self::Dyck => {
                &["agents", "weights"]
            }
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `i → i + 1 mod n`: a ring, undirected or directed. `n ≥ 3`.
pub(crate) fn ring(n: u32) -> Vec<(u32, u32)> {
    (0..n).map(|i| (i, (i + 1) % n)).collect()
}

pub(crate) fn chain(n: u32) -> Vec<(u32, u32)> {
    (1..n).map(|i| (i - 1, i)).collect()
}

pub(crate) fn star(n: u32) -> Vec<(u32, u32)> {
    (1..n).map(|i| (0, i)).collect()
}

pub(crate) fn complete(n: u32) -> Vec<(u32, u32)> {
    (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).collect()
}

/// Row-major, both directions wrapped; both sides at least 3.
pub(crate) fn torus(rows: u32, columns: u32) -> Vec<(u32, u32)> {
    (0..rows)
        .flat_map(|row| (0..columns).map(move |column| (row, column)))
        .flat_map(|(row, column)| {
            let here = row * columns + column;
            let right = row * columns + (column + 1) % columns;
            let below = (row + 1) % rows * columns + column;
            [(here, right), (here, below)]
        })
        .collect()
}

/// Agents whose ids differ in one bit; `n` is a power of two.
pub(crate) fn hypercube(n: u32) -> Vec<(u32, u32)> {
    (0..n)
        .flat_map(|i| (0..n.trailing_zeros()).map(move |bit| (i, i ^ (1 << bit))))
        .filter(|(from, to)| from < to)
        .collect()
}

/// `i → i + 2^k mod n` for every `2^k < n` (Ying et al., 2021).
pub(crate) fn exponential_directed(n: u32) -> Vec<(u32, u32)> {
    (0..n)
        .flat_map(|i| {
            (0..u32::BITS - 1).map(|k| 1 << k).take_while(move |hop| *hop < n).map(move |hop| (i, (i + hop) % n))
        })
        .collect()
}

/// The directed exponential graph with every edge both ways.
pub(crate) fn exponential_undirected(n: u32) -> Vec<(u32, u32)> {
    let mut edges: Vec<_> =
        exponential_directed(n).into_iter().map(|(from, to)| (from.min(to), from.max(to))).collect();
    edges.sort_unstable();
    edges.dedup();
    edges
}

/// A pentagon, a pentagram, and five spokes.
pub(crate) fn petersen() -> Vec<(u32, u32)> {
    (0..5).flat_map(|i| [(i, (i + 1) % 5), (i, i + 5), (5 + i, 5 + (i + 2) % 5)]).collect()
}

/// The Dyck graph from its LCF notation `[5, -5, 13, -13]^8`: a ring of 32 and a chord at every agent.
pub(crate) fn dyck() -> Vec<(u32, u32)> {
    const CHORDS: [u32; 4] = [5, 32 - 5, 13, 32 - 13];
    let chords = (0..32_u32).zip(CHORDS.into_iter().cycle()).map(|(i, hop)| (i, (i + hop) % 32));
    ring(32).into_iter().chain(chords.filter(|(from, to)| from < to)).collect()
}
