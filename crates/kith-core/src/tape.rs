//! Tapes: state is written and read back by one list of its parts, so that neither direction can forget one.

use std::io::{self, Read, Write};

use thiserror::Error;

use crate::Digest;

/// Why state could not be written or read back.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TapeError {
    /// The system refused, or the tape ended early.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What is on the tape is not what this run has there.
    #[error("{what}: expected {expected}, found {found}")]
    Differs {
        /// What was compared.
        what: &'static str,
        /// What this run has.
        expected: String,
        /// What the tape says.
        found: String,
    },
    /// A count on the tape is larger than this run can have.
    #[error("{what}: {found} are too many; at most {most} are accepted")]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// The most that this run can have.
        most: u64,
        /// What the tape says.
        found: u64,
    },
}

enum End<'a> {
    Write(&'a mut dyn Write),
    Read(&'a mut dyn Read),
}

/// A tape that records state or plays it back. It holds no checksum: what it is kept in does.
///
/// Every method takes its value mutably: recording reads it, playing overwrites it. State therefore has one function
/// `carry(&mut self, &mut Tape)` that names each part once. Numbers are little-endian, floats by their bits.
pub struct Tape<'a> {
    end: End<'a>,
}

impl<'a> Tape<'a> {
    /// A tape that records into `to`.
    pub fn recording(to: &'a mut dyn Write) -> Self {
        Self { end: End::Write(to) }
    }

    /// A tape that plays what was recorded.
    pub fn playing(from: &'a mut dyn Read) -> Self {
        Self { end: End::Read(from) }
    }

    /// Whether values are overwritten by what is on the tape.
    #[must_use]
    pub const fn plays(&self) -> bool {
        matches!(self.end, End::Read(_))
    }

    /// Bytes as they are.
    ///
    /// # Errors
    /// What the system says, and a tape that ends early.
    pub fn bytes(&mut self, bytes: &mut [u8]) -> Result<(), TapeError> {
        match &mut self.end {
            End::Write(to) => to.write_all(bytes)?,
            End::Read(from) => from.read_exact(bytes)?,
        }
        Ok(())
    }

    /// A whole number.
    ///
    /// # Errors
    /// As [`Tape::bytes`].
    pub fn number(&mut self, number: &mut u64) -> Result<(), TapeError> {
        let mut bytes = number.to_le_bytes();
        self.bytes(&mut bytes)?;
        *number = u64::from_le_bytes(bytes);
        Ok(())
    }

    /// A count of at most `most`.
    ///
    /// # Errors
    /// As [`Tape::bytes`], and a larger count.
    pub fn count(&mut self, what: &'static str, count: &mut usize, most: usize) -> Result<(), TapeError> {
        let mut number = *count as u64;
        self.number(&mut number)?;
        if number > most as u64 {
            return Err(TapeError::TooMany { what, most: most as u64, found: number });
        }
        *count = number as usize;
        Ok(())
    }

    /// A number that must be the same on the tape as here.
    ///
    /// # Errors
    /// As [`Tape::bytes`], and another number.
    pub fn agree(&mut self, what: &'static str, number: u64) -> Result<(), TapeError> {
        let mut found = number;
        self.number(&mut found)?;
        if found == number { Ok(()) } else { Err(differs(what, number, found)) }
    }

    /// A digest that must be the same on the tape as here.
    ///
    /// # Errors
    /// As [`Tape::bytes`], and another digest.
    pub fn agree_digest(&mut self, what: &'static str, digest: Digest) -> Result<(), TapeError> {
        let mut found = digest;
        self.bytes(&mut found.0)?;
        if found == digest { Ok(()) } else { Err(differs(what, digest, found)) }
    }

    /// A number with a fraction, by its bits.
    ///
    /// # Errors
    /// As [`Tape::bytes`].
    pub fn float(&mut self, float: &mut f64) -> Result<(), TapeError> {
        let mut bits = float.to_bits();
        self.number(&mut bits)?;
        *float = f64::from_bits(bits);
        Ok(())
    }

    /// Yes or no.
    ///
    /// # Errors
    /// As [`Tape::bytes`], and a byte that is neither.
    pub fn switch(&mut self, what: &'static str, switch: &mut bool) -> Result<(), TapeError> {
        let mut byte = [u8::from(*switch)];
        self.bytes(&mut byte)?;
        *switch = match byte[0] {
            0 => false,
            1 => true,
            other => return Err(differs(what, "0 or 1", other)),
        };
        Ok(())
    }

    /// A row of numbers, by their bits; its length is known at both ends.
    ///
    /// # Errors
    /// As [`Tape::bytes`].
    pub fn row(&mut self, row: &mut [f32]) -> Result<(), TapeError> {
        self.values(row, f32::to_le_bytes, f32::from_le_bytes)
    }

    /// As [`Tape::row`], of numbers with twice the bits.
    ///
    /// # Errors
    /// As [`Tape::bytes`].
    pub fn wide_row(&mut self, row: &mut [f64]) -> Result<(), TapeError> {
        self.values(row, f64::to_le_bytes, f64::from_le_bytes)
    }

    fn values<T: Copy, const N: usize>(
        &mut self,
        values: &mut [T],
        to: fn(T) -> [u8; N],
        from: fn([u8; N]) -> T,
    ) -> Result<(), TapeError> {
        let mut buffer = [0_u8; 4096];
        for chunk in values.chunks_mut(buffer.len() / N) {
            let bytes = &mut buffer[..N * chunk.len()];
            let (words, _) = bytes.as_chunks_mut::<N>();
            words.iter_mut().zip(&*chunk).for_each(|(word, value)| *word = to(*value));
            self.bytes(bytes)?;
            if self.plays() {
                let (words, _) = bytes.as_chunks::<N>();
                words.iter().zip(chunk).for_each(|(word, value)| *value = from(*word));
            }
        }
        Ok(())
    }

    /// A list of at most `most` values, each carried by `each`.
    ///
    /// # Errors
    /// As [`Tape::bytes`], a longer list, and what `each` says.
    pub fn list<T: Default>(
        &mut self,
        what: &'static str,
        list: &mut Vec<T>,
        most: usize,
        mut each: impl FnMut(&mut Self, &mut T) -> Result<(), TapeError>,
    ) -> Result<(), TapeError> {
        let mut count = list.len();
        self.count(what, &mut count, most)?;
        if self.plays() {
            // One after the other: memory is taken only for what is there.
            list.clear();
            for _ in 0..count {
                let mut value = T::default();
                each(self, &mut value)?;
                list.push(value);
            }
            return Ok(());
        }
        list.iter_mut().try_for_each(|value| each(self, value))
    }

    /// At most `most` bytes as they are.
    ///
    /// # Errors
    /// As [`Tape::count`].
    pub fn blob(&mut self, what: &'static str, bytes: &mut Vec<u8>, most: usize) -> Result<(), TapeError> {
        let mut count = bytes.len();
        self.count(what, &mut count, most)?;
        bytes.resize(count, 0);
        self.bytes(bytes)
    }

    /// As [`Tape::row`], of at most `most` numbers.
    ///
    /// # Errors
    /// As [`Tape::count`].
    pub fn kept_row(&mut self, what: &'static str, row: &mut Vec<f32>, most: usize) -> Result<(), TapeError> {
        let mut count = row.len();
        self.count(what, &mut count, most)?;
        row.resize(count, 0.0);
        self.row(row)
    }

    /// A list of numbers with fractions.
    ///
    /// # Errors
    /// As [`Tape::list`].
    pub fn floats(&mut self, what: &'static str, floats: &mut Vec<f64>, most: usize) -> Result<(), TapeError> {
        self.list(what, floats, most, Self::float)
    }

    /// A value that may be absent, carried by `each`.
    ///
    /// # Errors
    /// As [`Tape::switch`], and what `each` says.
    pub fn option<T: Default>(
        &mut self,
        what: &'static str,
        option: &mut Option<T>,
        each: impl FnOnce(&mut Self, &mut T) -> Result<(), TapeError>,
    ) -> Result<(), TapeError> {
        let mut present = option.is_some();
        self.switch(what, &mut present)?;
        if self.plays() {
            *option = present.then(T::default);
        }
        option.as_mut().map_or(Ok(()), |value| each(self, value))
    }
}

fn differs(what: &'static str, expected: impl ToString, found: impl ToString) -> TapeError {
    TapeError::Differs { what, expected: expected.to_string(), found: found.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default, PartialEq)]
    struct State {
        row: Vec<f32>,
        rate: Option<f64>,
        rounds: Vec<u64>,
        begun: bool,
    }

    impl State {
        fn carry(&mut self, tape: &mut Tape<'_>) -> Result<(), TapeError> {
            let Self { row, rate, rounds, begun } = self;
            tape.agree("numbers in a row", row.len() as u64)?;
            tape.row(row)?;
            tape.option("rate", rate, Tape::float)?;
            tape.list("rounds", rounds, 10, Tape::number)?;
            tape.switch("begun", begun)
        }
    }

    fn recorded(state: &State) -> Vec<u8> {
        let mut bytes = Vec::new();
        state.clone().carry(&mut Tape::recording(&mut bytes)).expect("a vector takes everything");
        bytes
    }

    fn state() -> State {
        let row = (0..3000).map(|value| value as f32 / 7.0).chain([f32::NAN, -0.0]).collect();
        State { row, rate: Some(-0.1), rounds: vec![3, u64::MAX], begun: true }
    }

    #[test]
    fn what_was_recorded_is_played_back_by_its_bits() {
        let bytes = recorded(&state());
        let mut back = State { row: vec![1.0; 3002], ..State::default() };
        back.carry(&mut Tape::playing(&mut bytes.as_slice())).expect("it fits");
        assert_eq!(recorded(&back), bytes);
        assert_eq!((back.rate, back.rounds, back.begun), (Some(-0.1), vec![3, u64::MAX], true));
    }

    #[test]
    fn a_tape_that_is_short_or_of_another_shape_is_refused() {
        let bytes = recorded(&state());
        let play = |bytes: &[u8], numbers: usize| {
            let mut from = bytes;
            State { row: vec![0.0; numbers], ..State::default() }.carry(&mut Tape::playing(&mut from))
        };
        for len in [0, 7, 100, bytes.len() - 1] {
            assert!(matches!(play(&bytes[..len], 3002), Err(TapeError::Io(_))), "{len} bytes");
        }
        let error = play(&bytes, 3001).expect_err("rows have another length").to_string();
        assert_eq!(error, "numbers in a row: expected 3001, found 3002");
        let long = State { rounds: vec![0; 11], ..state() };
        let mut to = Vec::new();
        let error = long.clone().carry(&mut Tape::recording(&mut to)).expect_err("it could not be read back");
        assert_eq!(error.to_string(), "rounds: 11 are too many; at most 10 are accepted");
    }
}
