//! How many directions a task keeps, and how much each matters.

/// Rank of the first task: the number of leading directions whose share of the energy, summed up, is still below
/// `threshold`. It stops just below the threshold (Saha et al., 2021, as published in code).
pub(crate) fn first_rank(values: &[f64], total: f64, threshold: f64) -> usize {
    let mut sum = 0.0;
    values
        .iter()
        .filter(|&value| {
            sum += value * value / total;
            sum < threshold
        })
        .count()
}

/// Rank that a later task adds: directions are taken until what the memory explains and what they add reaches
/// `threshold`. `residual` is the energy outside the memory, `total` all of it (Saha et al., 2021, eq. 9).
pub(crate) fn later_rank(values: &[f64], residual: f64, total: f64, threshold: f64) -> usize {
    let mut explained = (total - residual) / total;
    let mut rank = 0;
    for value in values {
        if explained >= threshold {
            break;
        }
        explained += value * value / total;
        rank += 1;
    }
    rank
}

/// Importance of directions from their singular values: `(α + 1)v / (αv + max v)`, in [0, 1], one for the largest
/// (Saha and Roy, 2023, eq. 6). All zero if all values are.
pub(crate) fn importances(values: &[f64], alpha: f64) -> Vec<f64> {
    let largest = values.iter().copied().fold(0.0, f64::max);
    let scaled = |value: f64| (alpha + 1.0) * value / (alpha * value + largest);
    values.iter().map(|&value| if largest > 0.0 { scaled(value).clamp(0.0, 1.0) } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_task_stops_below_the_threshold_and_later_ones_reach_it() {
        // energies 64, 25, 9, 2 of 100
        let values = [8.0, 5.0, 3.0, 2.0_f64.sqrt()];
        assert_eq!(first_rank(&values, 100.0, 0.90), 2);
        assert_eq!(later_rank(&values, 100.0, 100.0, 0.90), 3);
        assert_eq!(first_rank(&values, 100.0, 0.5), 0);
        assert_eq!(later_rank(&values, 100.0, 100.0, 0.5), 1);
    }

    #[test]
    fn what_the_memory_explains_counts() {
        let values = [3.0, 1.0];
        assert_eq!(later_rank(&values, 10.0, 100.0, 0.90), 0);
        assert_eq!(later_rank(&values, 10.0, 100.0, 0.95), 1);
        assert_eq!(later_rank(&values, 10.0, 100.0, 0.995), 2);
    }

    #[test]
    fn importance_is_one_for_the_largest_and_half_at_the_known_point() {
        let found = importances(&[4.0, 1.0, 0.0], 2.0);
        assert_eq!(found, vec![1.0, 0.5, 0.0]);
        assert_eq!(importances(&[0.0, 0.0], 2.0), vec![0.0, 0.0]);
        assert!(importances(&[], 2.0).is_empty());
    }
}
