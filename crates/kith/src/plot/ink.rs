//! Colours.

use std::borrow::Cow;

/// What a picture is drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    /// A file of its own: fixed colours on white.
    Paper,
    /// A page with a light and a dark look: its CSS variables.
    Page,
}

/// What a colour is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Text,
    /// Text that explains.
    Faint,
    Axis,
    Grid,
    Background,
    /// The series of this number.
    Series(usize),
    /// A class of so many.
    Class {
        index: usize,
        of: usize,
    },
    /// A share, in thousandths.
    Heat(u16),
    /// Text on it.
    OnHeat(u16),
    /// Something went wrong here.
    Fault,
}

/// Okabe and Ito's palette without yellow, which is too light on white: told apart with any colour vision.
pub(crate) const SERIES: [&str; 7] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"];
/// The same hues, light enough for a dark ground.
pub(crate) const SERIES_DARK: [&str; 7] = ["#4FA8E8", "#FF8D55", "#33C79B", "#E8A3CB", "#F2B632", "#A5DAF8", "#EDEDED"];
/// Tol's muted palette, for classes: told apart with any colour vision.
const CLASSES: [&str; 10] =
    ["#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499", "#BBBBBB"];
/// Ends of the scale of shares on white.
const COLD: [f64; 3] = [240.0, 244.0, 250.0];
const HOT: [f64; 3] = [8.0, 74.0, 140.0];
/// From this share on, text on the scale is light.
const LIGHT_TEXT: u16 = 520;

impl Tone {
    /// The colour of a share in \[0, 1\].
    pub(crate) fn heat(share: f64) -> Self {
        Self::Heat((share.clamp(0.0, 1.0) * 1000.0).round() as u16)
    }

    /// Readable text on [`heat`](Self::heat).
    pub(crate) fn on_heat(share: f64) -> Self {
        Self::OnHeat((share.clamp(0.0, 1.0) * 1000.0).round() as u16)
    }
}

impl Ink {
    /// The colour, as SVG and CSS write it.
    pub(crate) fn of(self, tone: Tone) -> Cow<'static, str> {
        match (self, tone) {
            (_, Tone::Class { index, of }) => class(index, of),
            (Self::Paper, Tone::Heat(share)) => {
                let mix = |place: usize| COLD[place] + (HOT[place] - COLD[place]) * f64::from(share) / 1000.0;
                rgb([mix(0), mix(1), mix(2)])
            }
            (Self::Page, Tone::Heat(share)) => {
                let percent = f64::from(share) / 10.0;
                format!("color-mix(in srgb, var(--hot) {percent:.1}%, var(--cold))").into()
            }
            (Self::Page, Tone::OnHeat(share)) if share >= LIGHT_TEXT => "var(--on-hot)".into(),
            (Self::Paper, Tone::OnHeat(share)) if share >= LIGHT_TEXT => "#ffffff".into(),
            (Self::Page, Tone::OnHeat(_) | Tone::Text) => "var(--text)".into(),
            (Self::Paper, Tone::OnHeat(_) | Tone::Text) => "#222222".into(),
            (Self::Page, Tone::Series(index)) => format!("var(--s{})", index % SERIES.len()).into(),
            (Self::Paper, Tone::Series(index)) => SERIES[index % SERIES.len()].into(),
            (Self::Page, Tone::Faint) => "var(--faint)".into(),
            (Self::Paper, Tone::Faint) => "#666666".into(),
            (Self::Page, Tone::Axis) => "var(--axis)".into(),
            (Self::Paper, Tone::Axis) => "#555555".into(),
            (Self::Page, Tone::Grid) => "var(--grid)".into(),
            (Self::Paper, Tone::Grid) => "#e4e4e4".into(),
            (Self::Page, Tone::Background) => "var(--card)".into(),
            (Self::Paper, Tone::Background) => "#ffffff".into(),
            (Self::Page, Tone::Fault) => "var(--s1)".into(),
            (Self::Paper, Tone::Fault) => SERIES[1].into(),
        }
    }
}

/// Few classes have a hue each; many go from dark blue to yellow in order, lightness rising (after cividis).
fn class(index: usize, of: usize) -> Cow<'static, str> {
    if of <= CLASSES.len() {
        return CLASSES[index % CLASSES.len()].into();
    }
    let share = index as f64 / (of - 1) as f64;
    const STOPS: [[f64; 3]; 4] = [[0.0, 34.0, 78.0], [87.0, 93.0, 109.0], [165.0, 156.0, 116.0], [253.0, 231.0, 55.0]];
    let at = (share.clamp(0.0, 1.0) * 3.0).min(2.999);
    let (low, rest) = (at.floor() as usize, at.fract());
    let mix = |place: usize| STOPS[low][place] + (STOPS[low + 1][place] - STOPS[low][place]) * rest;
    rgb([mix(0), mix(1), mix(2)])
}

fn rgb([red, green, blue]: [f64; 3]) -> Cow<'static, str> {
    format!("#{:02x}{:02x}{:02x}", red.round() as u8, green.round() as u8, blue.round() as u8).into()
}

/// Text as it may stand in HTML, SVG and their attributes. Control characters, which neither may hold, become spaces.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_get_darker_and_text_on_them_stays_readable() {
        assert_eq!(Ink::Paper.of(Tone::heat(0.0)), "#f0f4fa");
        assert_eq!(Ink::Paper.of(Tone::heat(1.0)), "#084a8c");
        assert_eq!(Ink::Paper.of(Tone::on_heat(0.9)), "#ffffff");
        assert_eq!(Ink::Paper.of(Tone::on_heat(0.1)), "#222222");
    }

    #[test]
    fn text_cannot_leave_its_element_or_attribute() {
        assert_eq!(escape("<a b=\"c\">&\u{1}"), "&lt;a b=&quot;c&quot;&gt;&amp; ");
    }
}
