//! Rows as little-endian bytes and back.

/// Numbers that are looked at, or written, at a time: enough for the loops to use vectors.
const BLOCK: usize = 256;

pub(super) fn floats(bytes: &[u8]) -> Vec<f32> {
    let mut row = Vec::new();
    read_floats(bytes, &mut row);
    row
}

/// Reads numbers into a row, in place of what it held.
pub(super) fn read_floats(bytes: &[u8], row: &mut Vec<f32>) {
    let (numbers, _) = bytes.as_chunks::<4>();
    row.clear();
    row.extend(numbers.iter().map(|number| f32::from_le_bytes(*number)));
}

/// Writes numbers behind what is there.
pub(super) fn append(row: &[f32], body: &mut Vec<u8>) {
    body.reserve(4 * row.len());
    for values in row.chunks(BLOCK) {
        let mut block = [[0; 4]; BLOCK];
        for (bytes, value) in block.iter_mut().zip(values) {
            *bytes = value.to_le_bytes();
        }
        body.extend_from_slice(block[..values.len()].as_flattened());
    }
}

/// The place of the first number that is not finite.
pub(super) fn first_not_finite(bytes: &[u8]) -> Option<usize> {
    let (numbers, _) = bytes.as_chunks::<4>();
    let is_bad = |number: &[u8; 4]| !f32::from_le_bytes(*number).is_finite();
    // Without a way out in the middle, a block is looked at many numbers at a time.
    let holds_bad = |block: &[[u8; 4]]| block.iter().fold(false, |bad, number| bad | is_bad(number));
    let start = BLOCK * numbers.chunks(BLOCK).position(holds_bad)?;
    numbers[start..].iter().position(is_bad).map(|place| start + place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_any_length_come_back_behind_what_was_there() {
        for len in [0, 1, 255, 256, 257, 1000] {
            let row: Vec<f32> = (0..len).map(|place| place as f32 / 3.0 - 20.0).collect();
            let mut body = vec![9; 3];
            append(&row, &mut body);
            assert_eq!(body[..3], [9; 3]);
            assert_eq!(floats(&body[3..]), row);
            assert_eq!(first_not_finite(&body[3..]), None);
        }
    }

    #[test]
    fn the_first_number_that_is_not_finite_is_found_wherever_it_is() {
        for (place, value) in [(0, f32::NAN), (255, f32::INFINITY), (256, f32::NEG_INFINITY), (999, f32::NAN)] {
            let mut row = vec![1.0; 1000];
            (row[place], row[999]) = (value, f32::NAN);
            let mut body = Vec::new();
            append(&row, &mut body);
            assert_eq!(first_not_finite(&body), Some(place));
        }
    }
}
