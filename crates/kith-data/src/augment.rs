//! Random changes to training images: crops of the padded image, and mirror images.

use rand_chacha::rand_core::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::draw;

/// The `[data.augment]` table: how training images are changed at random, anew each time an agent sees them. Test images, and
/// those that the gradient projection memory is shown, are never changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentSpec {
    /// The image gets a black border of this many pixels and is cropped to its size at a random place; 0 for none.
    pub crop_padding: usize,
    /// Whether half of the images are mirrored, left to right.
    pub horizontal_flip: bool,
}

impl AugmentSpec {
    /// Whether nothing is changed.
    pub(crate) const fn is_idle(&self) -> bool {
        self.crop_padding == 0 && !self.horizontal_flip
    }
}

/// What is drawn for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    /// Rows and columns that the crop lies below and right of the image; negative above and left of it.
    down: isize,
    right: isize,
    facing: Facing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Facing {
    AsItIs,
    Mirrored,
}

impl AugmentSpec {
    /// What is drawn does not depend on what is switched on, so that a flip is the same with and without crops.
    fn draw(&self, stream: &mut impl Rng) -> Change {
        let offset = |drawn: usize| drawn as isize - self.crop_padding as isize;
        let down = offset(draw::below(stream, 2 * self.crop_padding + 1));
        let right = offset(draw::below(stream, 2 * self.crop_padding + 1));
        let mirrored = draw::below(stream, 2) == 1 && self.horizontal_flip;
        Change { down, right, facing: if mirrored { Facing::Mirrored } else { Facing::AsItIs } }
    }

    /// Changes an image of `shape` (channels, height, width) in place; `black(channel)` is what the border holds.
    pub(crate) fn change(
        &self,
        shape: [usize; 3],
        image: &mut [f32],
        black: impl Fn(usize) -> f32,
        stream: &mut impl Rng,
    ) {
        let [_, height, width] = shape;
        let change = self.draw(stream);
        for (channel, plane) in image.chunks_exact_mut((height * width).max(1)).enumerate() {
            if (change.down, change.right) != (0, 0) {
                crop(plane, [height, width], change, black(channel));
            }
            if change.facing == Facing::Mirrored {
                plane.chunks_exact_mut(width.max(1)).for_each(<[f32]>::reverse);
            }
        }
    }
}

/// Row by row, in the order in which no row is written before it is read.
fn crop(plane: &mut [f32], [height, width]: [usize; 2], change: Change, black: f32) {
    let (down, right) = (change.down, change.right);
    for at in 0..height {
        let row = if down >= 0 { at } else { height - 1 - at };
        let target = row * width;
        let from = row.checked_add_signed(down).filter(|&from| from < height);
        let kept = width.saturating_sub(right.unsigned_abs());
        let Some(from) = from.filter(|_| kept > 0) else {
            plane[target..target + width].fill(black);
            continue;
        };
        let (skip, lead) = if right >= 0 { (width - kept, 0) } else { (0, width - kept) };
        let start = from * width + skip;
        plane.copy_within(start..start + kept, target + lead);
        plane[target..target + lead].fill(black);
        plane[target + lead + kept..target + width].fill(black);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_core::{Purpose, Seeds};

    #[test]
    fn a_crop_is_the_padded_image_at_another_place() {
        let (height, width, padding) = (5_isize, 4_isize, 6_isize);
        let image: Vec<f32> = (0..20_u8).map(|value| f32::from(value) + 1.0).collect();
        for down in -padding..=padding {
            for right in -padding..=padding {
                let mut plane = image.clone();
                crop(&mut plane, [5, 4], Change { down, right, facing: Facing::AsItIs }, -1.0);
                for row in 0..height {
                    for column in 0..width {
                        let (y, x) = (row + down, column + right);
                        let inside = (0..height).contains(&y) && (0..width).contains(&x);
                        let expected = if inside { image[(y * width + x) as usize] } else { -1.0 };
                        assert_eq!(
                            plane[(row * width + column) as usize],
                            expected,
                            "{down}, {right} at {row}, {column}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn half_of_the_images_are_mirrored_and_every_crop_is_drawn() {
        let spec = AugmentSpec { crop_padding: 2, horizontal_flip: true };
        let mut stream = Seeds::new(3).shared(Purpose::Augment, 0);
        let (mut mirrored, mut places) = (0, [[0_u32; 5]; 5]);
        for _ in 0..10_000 {
            let change = spec.draw(&mut stream);
            mirrored += u32::from(change.facing == Facing::Mirrored);
            places[(change.down + 2) as usize][(change.right + 2) as usize] += 1;
        }
        assert!((4_800..5_200).contains(&mirrored), "{mirrored} of 10 000");
        assert!(places.iter().flatten().all(|count| (300..500).contains(count)), "{places:?}");
    }
}
