//! Random graphs, drawn again until they are simple and connected.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::family;

/// Draws of a graph of `n` agents before giving up: a thousand, fewer where going over all pairs that often takes long.
/// (Whether a large random graph is connected hardly varies from draw to draw.)
pub(crate) fn tries(n: u32) -> usize {
    const PAIRS: usize = 1 << 27;
    (PAIRS / (n as usize).pow(2)).clamp(8, 1000)
}

/// Every pair with `probability` (Erdős and Rényi, 1959, in Gilbert's form); `None` if no draw is connected.
pub(crate) fn erdos_renyi(n: u32, probability: f64, rng: &mut ChaCha8Rng) -> Option<Vec<(u32, u32)>> {
    (0..tries(n)).find_map(|_| {
        let pairs = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
        let edges: Vec<_> = pairs.filter(|_| rng.random::<f64>() < probability).collect();
        is_connected(n, &edges).then_some(edges)
    })
}

/// A graph of one degree by pairing stubs and pairing anew those that clash (Steger and Wormald, 1999); dense graphs
/// are complements of sparse ones, as pairing hardly ever succeeds on them. `None` if no draw is connected.
///
/// Needs `degree < n` and `n * degree` even.
pub(crate) fn random_regular(n: u32, degree: u32, rng: &mut ChaCha8Rng) -> Option<Vec<(u32, u32)>> {
    let sparse = degree.min(n - 1 - degree);
    (0..tries(n)).find_map(|_| {
        let mut edges = pair(n, sparse, rng)?;
        if sparse != degree {
            edges = family::complete(n).into_iter().filter(|edge| edges.binary_search(edge).is_err()).collect();
        }
        is_connected(n, &edges).then_some(edges)
    })
}

/// One try at pairing, ascending; `None` where the stubs left cannot be paired.
fn pair(n: u32, degree: u32, rng: &mut ChaCha8Rng) -> Option<Vec<(u32, u32)>> {
    let mut neighbours: Vec<Vec<u32>> = vec![Vec::new(); n as usize];
    let mut stubs: Vec<u32> = (0..n).flat_map(|i| (0..degree).map(move |_| i)).collect();
    let mut failures = 0;
    while !stubs.is_empty() {
        let before = stubs.len();
        stubs.shuffle(rng);
        let mut left = Vec::new();
        for both in stubs.chunks_exact(2) {
            let (i, j) = (both[0], both[1]);
            if i == j || neighbours[i as usize].contains(&j) {
                left.extend([i, j]);
            } else {
                neighbours[i as usize].push(j);
                neighbours[j as usize].push(i);
            }
        }
        stubs = left;
        // A few shuffles without a single new edge: the stubs left most likely all clash.
        failures = if stubs.len() == before { failures + 1 } else { 0 };
        if failures == 16 {
            return None;
        }
    }
    let mut edges: Vec<_> = (0..n)
        .zip(&neighbours)
        .flat_map(|(i, row)| row.iter().filter(move |j| i < **j).map(move |&j| (i, j)))
        .collect();
    edges.sort_unstable();
    Some(edges)
}

fn is_connected(n: u32, edges: &[(u32, u32)]) -> bool {
    let mut sets = petgraph::unionfind::UnionFind::<u32>::new(n as usize);
    edges.iter().filter(|(i, j)| sets.union(*i, *j)).count() + 1 == n as usize
}
