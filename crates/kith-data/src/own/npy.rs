//! NumPy's array files: a line that says type, order and shape, then the numbers.

use std::path::Path;

use crate::DataError;

/// An array of numbers in C order, and its shape.
pub(super) struct Array {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f64>,
}

/// The longest header that is read; NumPy's own have some 100 bytes.
const LONGEST_HEADER: usize = 4096;

const ACCEPTED: &str = "bool, int8 to int64, uint8 to uint64, float32 or float64";

/// Reads the bytes of an array file; `at` is where they came from.
pub(super) fn parse(at: &Path, bytes: &[u8]) -> Result<Array, DataError> {
    let bad = |expected: &str, found: String| DataError::format(at, expected, found);
    let Some((magic, rest)) = bytes.split_first_chunk::<8>().filter(|(magic, _)| magic.starts_with(b"\x93NUMPY"))
    else {
        return Err(bad("a NumPy array (numpy.save)", format!("{} other bytes", bytes.len())));
    };
    let (length, rest) = match magic[6] {
        1 => rest.split_first_chunk::<2>().map(|(length, rest)| (usize::from(u16::from_le_bytes(*length)), rest)),
        2 | 3 => rest.split_first_chunk::<4>().map(|(length, rest)| (u32::from_le_bytes(*length) as usize, rest)),
        version => return Err(bad("a NumPy array of version 1 to 3", format!("version {version}"))),
    }
    .unwrap_or((usize::MAX, rest));
    let header = rest.get(..length).filter(|header| header.len() <= LONGEST_HEADER);
    let Some(header) = header.and_then(|header| std::str::from_utf8(header).ok()) else {
        return Err(bad("a header of NumPy", "one that is cut off, too long, or no text".to_owned()));
    };
    let field = |name: &str| {
        field(header, name).ok_or_else(|| bad(&format!("`{name}` in the header"), format!("{:?}", header.trim())))
    };
    let descr = field("descr")?.trim_matches(['\'', '"']);
    if field("fortran_order")? != "False" {
        return Err(bad("an array in C order (numpy.ascontiguousarray)", "one in Fortran order".to_owned()));
    }
    let shape =
        shape(field("shape")?).ok_or_else(|| bad("a shape of whole numbers", format!("{:?}", header.trim())))?;
    let kind = Kind::of(descr).ok_or_else(|| bad(ACCEPTED, format!("numbers of the type `{descr}`")))?;
    let body = &rest[length..];
    let count = shape.iter().try_fold(1_usize, |product, side| product.checked_mul(*side));
    let claimed = count.and_then(|count| count.checked_mul(kind.width()));
    if claimed != Some(body.len()) {
        return Err(bad(&format!("the numbers of an array of {shape:?} `{descr}`"), format!("{} bytes", body.len())));
    }
    Ok(Array { values: body.chunks_exact(kind.width()).map(|chunk| kind.read(chunk)).collect(), shape })
}

/// The text of a key's value in the header, a Python dict of three keys.
fn field<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let start = header.find(&format!("'{name}'"))? + name.len() + 2;
    let value = header[start..].trim_start().strip_prefix(':')?.trim_start();
    let end = if value.starts_with('(') { value.find(')')? + 1 } else { value.find([',', '}'])? };
    Some(value[..end].trim())
}

fn shape(text: &str) -> Option<Vec<usize>> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    inner.split(',').map(str::trim).filter(|side| !side.is_empty()).map(|side| side.parse().ok()).collect()
}

/// A type of number and the order of its bytes.
struct Kind {
    letter: u8,
    width: usize,
    order: Order,
}

#[derive(PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Kind {
    fn of(descr: &str) -> Option<Self> {
        let [order @ (b'<' | b'>' | b'|' | b'='), letter, digit] = *descr.as_bytes() else { return None };
        let width = usize::from(digit.checked_sub(b'0')?);
        let known = match letter {
            b'f' => [4, 8].contains(&width),
            b'i' | b'u' => [1, 2, 4, 8].contains(&width),
            b'b' => width == 1,
            _ => false,
        };
        known.then_some(Self { letter, width, order: if order == b'>' { Order::Big } else { Order::Little } })
    }

    const fn width(&self) -> usize {
        self.width
    }

    fn read(&self, bytes: &[u8]) -> f64 {
        let mut word = [0_u8; 8];
        word[..self.width].copy_from_slice(bytes);
        if self.order == Order::Big {
            word[..self.width].reverse();
        }
        let bits = u64::from_le_bytes(word);
        // The bits of a narrow number, moved up, and its sign with them down again.
        let spare = 64 - 8 * self.width as u32;
        match (self.letter, self.width) {
            (b'f', 4) => f64::from(f32::from_bits(bits as u32)),
            (b'f', _) => f64::from_bits(bits),
            (b'i', _) => ((bits << spare) as i64 >> spare) as f64,
            _ => bits as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `numpy.save` writes of `numpy.array([[1, -2], [3, 4]], dtype)`, whatever the type: header of version 1.
    fn file(descr: &str, order: &str, shape: &str, body: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(body);
        bytes
    }

    fn values(descr: &str, body: &[u8]) -> Vec<f64> {
        let array = parse(Path::new("x.npy"), &file(descr, "False", "(2,)", body)).expect("it is an array");
        assert_eq!(array.shape, [2]);
        array.values
    }

    #[test]
    fn every_type_reads_its_numbers() {
        assert_eq!(values("|u1", &[1, 254]), [1.0, 254.0]);
        assert_eq!(values("|i1", &[1, 254]), [1.0, -2.0]);
        assert_eq!(values("|b1", &[0, 1]), [0.0, 1.0]);
        assert_eq!(values("<i2", &[1, 0, 0xfe, 0xff]), [1.0, -2.0]);
        assert_eq!(values(">i2", &[0, 1, 0xff, 0xfe]), [1.0, -2.0]);
        assert_eq!(values("<u4", &[1, 0, 0, 0, 0, 0, 0, 128]), [1.0, 2_147_483_648.0]);
        let float: Vec<u8> = [1.5_f32, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(values("<f4", &float), [1.5, -2.0]);
        let double: Vec<u8> = [1.5_f64, -2.0].iter().flat_map(|value| value.to_be_bytes()).collect();
        assert_eq!(values(">f8", &double), [1.5, -2.0]);
    }

    #[test]
    fn a_header_that_lies_is_refused_before_memory_is_taken() {
        let refused = |bytes: &[u8]| match parse(Path::new("x.npy"), bytes) {
            Ok(_) => panic!("it was read"),
            Err(error) => error.to_string(),
        };
        assert!(refused(&file("|u1", "False", "(9999999999, 9999999999, 9)", &[1])).contains("1 bytes"));
        assert!(refused(&file("|u1", "True", "(1,)", &[1])).contains("C order"));
        assert!(refused(&file("|O8", "False", "(1,)", &[1; 8])).contains("float64"));
        assert!(refused(&file("|u1", "False", "(-1,)", &[1])).contains("whole numbers"));
        assert!(refused(b"PNG").contains("numpy.save"));
        let whole = file("|u1", "False", "(1,)", &[1]);
        for cut in 0..whole.len() {
            refused(&whole[..cut]);
        }
    }
}
