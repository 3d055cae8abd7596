//! Windows that move over images: of convolutions and of pooling.

/// A square window that moves over images of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Height and width of the images.
    pub image: [usize; 2],
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Pixels from one place to the next.
    pub stride: usize,
    /// Pixels around the image.
    pub padding: usize,
    /// Places, down and across.
    pub places: [usize; 2],
}

impl Window {
    /// Pixels of an image.
    #[must_use]
    pub const fn pixels(&self) -> usize {
        self.image[0] * self.image[1]
    }

    /// Places in an image.
    #[must_use]
    pub const fn area(&self) -> usize {
        self.places[0] * self.places[1]
    }

    /// The pixel that the window's own pixel `at` meets at `place`, both counted row by row; none in the padding.
    #[must_use]
    pub fn pixel(&self, place: usize, at: usize) -> Option<usize> {
        let coordinate = |side: usize, place: usize, at: usize| {
            let pixel = (place * self.stride + at).checked_sub(self.padding)?;
            (pixel < self.image[side]).then_some(pixel)
        };
        let y = coordinate(0, place / self.places[1], at / self.kernel[1])?;
        let x = coordinate(1, place % self.places[1], at % self.kernel[1])?;
        Some(y * self.image[1] + x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_in_the_padding_are_none() {
        let window = Window { image: [3, 4], kernel: [3, 3], stride: 2, padding: 1, places: [2, 2] };
        assert_eq!(window.pixel(0, 0), None);
        assert_eq!(window.pixel(0, 4), Some(0));
        assert_eq!(window.pixel(3, 0), Some(5));
        assert_eq!(window.pixel(3, 8), None);
    }
}
