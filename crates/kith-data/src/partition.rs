//! How the training samples of a task are cut over agents. Every partition is disjoint and gives every agent equally
//! many samples, so that all take the same number of steps; what is left over is dropped.

use kith_core::{Purpose, Seeds, TaskId};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Gamma, StandardUniform};

use crate::{DataError, PartitionKind, Spec, draw};

/// Agents that share one Dirichlet draw at most (Lin et al. 2021).
const GROUP: usize = 10;
/// Draws before the Dirichlet partition gives up; a draw costs microseconds.
const TRIES: u32 = 100_000;
/// McMahan et al. 2017.
const SHARDS_PER_AGENT: usize = 2;

/// One list of sample indices an agent.
type Shards = Vec<Vec<u32>>;

/// Cuts samples with these labels over `agents`.
pub(crate) fn cut(
    spec: &Spec,
    labels: &[u32],
    agents: usize,
    seeds: &Seeds,
    (task, name): (TaskId, &str),
) -> Result<Shards, DataError> {
    let pieces = match spec.partition {
        PartitionKind::Shards => agents.saturating_mul(shards_per_agent(spec)?),
        _ => agents,
    };
    if labels.len() < pieces {
        return Err(DataError::TooFewSamples { task: name.to_owned(), samples: labels.len(), needed: pieces });
    }
    let mut rng = seeds.shared(Purpose::Partition, u64::from(task.0));
    match spec.partition {
        PartitionKind::Iid => {
            let mut order = draw::range(labels.len());
            draw::shuffle(&mut rng, &mut order);
            Ok(equal_parts(&order, agents))
        }
        PartitionKind::LabelSorted => Ok(equal_parts(&sorted_by_label(labels), agents)),
        PartitionKind::Shards => {
            let mut shards = equal_parts(&sorted_by_label(labels), pieces);
            draw::shuffle(&mut rng, &mut shards);
            Ok(shards.chunks_exact(pieces / agents).map(<[Vec<u32>]>::concat).collect())
        }
        PartitionKind::Dirichlet => dirichlet(labels, agents, alpha(spec)?, &mut rng),
    }
}

/// The first parts of `order`, all of one length; the remainder is dropped.
fn equal_parts(order: &[u32], parts: usize) -> Shards {
    order.chunks_exact(order.len() / parts).take(parts).map(<[u32]>::to_vec).collect()
}

fn sorted_by_label(labels: &[u32]) -> Vec<u32> {
    let mut order = draw::range(labels.len());
    order.sort_by_key(|&index| labels[index as usize]);
    order
}

fn shards_per_agent(spec: &Spec) -> Result<usize, DataError> {
    match spec.shards_per_agent.unwrap_or(SHARDS_PER_AGENT) {
        0 => Err(DataError::setting("data.shards_per_agent", 0, "1 or more is accepted")),
        shards => Ok(shards),
    }
}

fn alpha(spec: &Spec) -> Result<f64, DataError> {
    let accepted = "partition = \"dirichlet\" needs a number above 0, such as 0.1";
    match spec.alpha {
        None => Err(DataError::setting("data.alpha", "(not set)", accepted)),
        Some(alpha) if alpha.is_finite() && alpha > 0.0 => Ok(alpha),
        Some(alpha) => Err(DataError::setting("data.alpha", alpha, accepted)),
    }
}

/// The partition of Lin et al. 2021 (Quasi-Global Momentum): agents in groups of at most ten, each group with its share
/// of the shuffled samples; a class is dealt by Dir(α) among those of the group who do not yet hold an equal share; all
/// is drawn again until the smallest holds half an equal share. The groups are joined and cut into equal parts.
fn dirichlet(labels: &[u32], agents: usize, alpha: f64, rng: &mut ChaCha8Rng) -> Result<Shards, DataError> {
    let mut order = draw::range(labels.len());
    draw::shuffle(rng, &mut order);
    let mut joined = Vec::with_capacity(order.len());
    for first in (0..agents).step_by(GROUP) {
        let members = GROUP.min(agents - first);
        let bound = |agent: usize| (agent as u128 * order.len() as u128 / agents as u128) as usize;
        let samples = &order[bound(first)..bound(first + members)];
        joined.extend(deal_group(samples, labels, members, alpha, rng)?);
    }
    Ok(equal_parts(&joined, agents))
}

/// The samples of one group, member after member.
fn deal_group(
    samples: &[u32],
    labels: &[u32],
    members: usize,
    alpha: f64,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<u32>, DataError> {
    let mut classes: std::collections::BTreeMap<u32, Vec<u32>> = std::collections::BTreeMap::new();
    for &sample in samples {
        classes.entry(labels[sample as usize]).or_default().push(sample);
    }
    let sizes: Vec<usize> = classes.values().map(Vec::len).collect();
    let cuts = draw_cuts(&sizes, members, alpha, rng)?;
    let mut held: Shards = vec![Vec::new(); members];
    for (class, ends) in classes.values().zip(&cuts) {
        let mut start = 0;
        for (member, &end) in held.iter_mut().zip(ends) {
            member.extend_from_slice(&class[start..end]);
            start = end;
        }
    }
    Ok(held.concat())
}

/// Where each class is cut: `[class][member]`, the end of the member's part.
fn draw_cuts(sizes: &[usize], members: usize, alpha: f64, rng: &mut ChaCha8Rng) -> Result<Vec<Vec<usize>>, DataError> {
    let total: usize = sizes.iter().sum();
    let equal = total as f64 / members as f64;
    let enough = (0.5 * equal) as usize;
    let failed = DataError::Dirichlet { alpha, agents: members, classes: sizes.len(), tries: TRIES };
    let Ok(gamma) = Gamma::new(alpha + 1.0, 1.0) else { return Err(failed) };
    let mut cuts = vec![vec![0; members]; sizes.len()];
    let mut logs = vec![0.0_f64; members];
    for _ in 0..TRIES {
        let mut held = vec![0_usize; members];
        for (&size, ends) in sizes.iter().zip(&mut cuts) {
            for (log, &held) in logs.iter_mut().zip(&held) {
                let drawn = log_gamma(&gamma, alpha, rng);
                *log = if (held as f64) < equal { drawn } else { f64::NEG_INFINITY };
            }
            cut_class(size, &logs, ends);
            let mut start = 0;
            for (held, &end) in held.iter_mut().zip(ends.iter()) {
                *held += end - start;
                start = end;
            }
        }
        if held.iter().all(|&held| held >= enough) {
            return Ok(cuts);
        }
    }
    Err(failed)
}

/// The logarithm of a Gamma(α) draw, as Gamma(α + 1) · U^(1/α): at small α the draws themselves are all 0.
fn log_gamma(above: &Gamma<f64>, alpha: f64, rng: &mut ChaCha8Rng) -> f64 {
    let uniform: f64 = 1.0 - Distribution::<f64>::sample(&StandardUniform, rng);
    above.sample(rng).ln() + uniform.ln() / alpha
}

/// Cuts `size` samples in proportion to `exp(logs)`.
fn cut_class(size: usize, logs: &[f64], ends: &mut [usize]) {
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weight = |log: f64| (log - largest).exp();
    let total: f64 = logs.iter().map(|&log| weight(log)).sum();
    let mut sum = 0.0;
    for (end, &log) in ends.iter_mut().zip(logs) {
        // Divided last: the member with which the sum reaches the total ends exactly at `size`, so that rounding leaves
        // nothing to later ones, who are full.
        sum += weight(log);
        *end = ((sum / total * size as f64) as usize).min(size);
    }
    if let Some(last) = ends.last_mut() {
        *last = size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_core::Seeds;

    /// What each member gets of each class: `[class][member]`.
    fn parts(sizes: &[usize], members: usize, alpha: f64, seed: u64) -> Vec<Vec<usize>> {
        let mut rng = Seeds::new(seed).shared(Purpose::Partition, 0);
        let cuts = draw_cuts(sizes, members, alpha, &mut rng).expect("an accepted draw");
        let sizes = |ends: Vec<usize>| [0].iter().chain(&ends).zip(&ends).map(|(start, end)| end - start).collect();
        cuts.into_iter().map(sizes).collect()
    }

    #[test]
    fn every_member_of_a_group_gets_half_an_equal_share_and_no_sample_is_lost() {
        for alpha in [0.01, 0.1, 1.0, 100.0] {
            for seed in 0..20 {
                let parts = parts(&[100; 10], 8, alpha, seed);
                assert!(parts.iter().all(|class| class.iter().sum::<usize>() == 100));
                let held = (0..8).map(|member| parts.iter().map(|class| class[member]).sum::<usize>());
                assert!(held.min() >= Some(62), "half of 125");
            }
        }
    }

    #[test]
    fn a_member_with_an_equal_share_gets_nothing_more() {
        for seed in 0..50 {
            let mut held = [0; 5];
            for class in parts(&[90, 110, 100, 70, 130], 5, 0.3, seed) {
                for (held, part) in held.iter_mut().zip(class) {
                    assert!(*held < 100 || part == 0, "{held} and then {part}");
                    *held += part;
                }
            }
        }
    }

    #[test]
    fn a_large_alpha_deals_evenly_and_a_small_one_gives_a_class_to_one_member() {
        let even = parts(&[1_000; 4], 4, 1e6, 1);
        assert!(even.iter().flatten().all(|&part| part.abs_diff(250) < 5), "{even:?}");
        // A class is shared by chance about once in 250 draws of four classes.
        let pure = |class: &Vec<usize>| class.iter().max() == Some(&1_000);
        let shared = (0..1_000).filter(|&seed| !parts(&[1_000; 4], 4, 1e-4, seed).iter().all(pure)).count();
        assert!(shared < 15, "{shared} of 1000");
    }

    #[test]
    fn proportions_have_the_variance_of_the_dirichlet_distribution() {
        // A component of Dir(α 1) in n dimensions has variance (n − 1) / (n² (n α + 1)); one class, so nobody is full.
        let (alpha, members, draws) = (2.0, 4, 4_000_u64);
        let mut rng = Seeds::new(9).shared(Purpose::Partition, 1);
        let mut squares = 0.0;
        for _ in 0..draws {
            let gamma = Gamma::new(alpha + 1.0, 1.0).expect("a positive shape");
            let logs: Vec<f64> = (0..members).map(|_| log_gamma(&gamma, alpha, &mut rng)).collect();
            let mut ends = vec![0; members];
            cut_class(1_000_000, &logs, &mut ends);
            squares += (ends[0] as f64 / 1e6 - 0.25).powi(2);
        }
        let (found, expected) = (squares / draws as f64, 3.0 / (16.0 * 9.0));
        assert!((found / expected - 1.0).abs() < 0.1, "variance {found}, expected {expected}");
    }
}
