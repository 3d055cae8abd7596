//! Pictures as PNG. The font is part of the program, so that a picture is the same on every machine.

use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{self, Options, Tree};

use super::ReportError;

/// Pixels a unit of the SVG: sharp on paper and on dense screens.
const SCALE: f32 = 2.0;

/// Turns SVG documents into PNG files.
pub(super) struct Painter {
    options: Options<'static>,
}

impl Painter {
    pub(super) fn new() -> Self {
        let mut fonts = usvg::fontdb::Database::new();
        for font in [dejavu::sans::regular(), dejavu::sans::bold()] {
            fonts.load_font_data(font.to_vec());
        }
        let options = Options { fontdb: Arc::new(fonts), font_family: "DejaVu Sans".to_owned(), ..Options::default() };
        Self { options }
    }

    /// The document as the bytes of a PNG file.
    ///
    /// # Errors
    /// A document that is no SVG, or too large to hold.
    pub(super) fn paint(&self, name: &'static str, svg: &str) -> Result<Vec<u8>, ReportError> {
        let fail = |reason: String| ReportError::Paint { name, reason };
        let tree = Tree::from_str(svg, &self.options).map_err(|error| fail(error.to_string()))?;
        let size = tree.size();
        let (width, height) = ((size.width() * SCALE).ceil() as u32, (size.height() * SCALE).ceil() as u32);
        let mut pixels =
            Pixmap::new(width, height).ok_or_else(|| fail(format!("{width} × {height} pixels are too many")))?;
        resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
        pixels.encode_png().map_err(|error| fail(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn painted(svg: &str) -> (u32, u32, usize) {
        let png = Painter::new().paint("t", svg).expect("it is painted");
        let image = Pixmap::decode_png(&png).expect("it is a PNG");
        let dark = image.pixels().iter().filter(|pixel| pixel.red() < 128).count();
        (image.width(), image.height(), dark)
    }

    #[test]
    fn text_is_painted_without_fonts_of_the_system() {
        let document = |text: &str| {
            format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"80\" height=\"30\" font-family=\"Helvetica, 'DejaVu Sans'\">\
                 <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/><text x=\"5\" y=\"20\">{text}</text></svg>"
            )
        };
        let (width, height, dark) = painted(&document("kith"));
        assert_eq!((width, height), (160, 60));
        assert!(dark > 100, "{dark} dark pixels");
        assert_eq!(painted(&document("")).2, 0);
    }
}
