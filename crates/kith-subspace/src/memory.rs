//! The memory of one layer: what past tasks need of its input space.

use crate::linalg::{Householder, deflate, product, to_f32};
use crate::spectrum::{Route, outside};
use crate::{Growth, SubspaceError, energy};
use faer::{Mat, MatRef};
use kith_core::{Digest, Digester, Matrix, Tape, TapeError};

/// How strongly remembered directions are protected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Gradient projection memory: remembered directions are frozen (Saha, Garg, Roy, 2021).
    Gpm,
    /// Scaled gradient projection: remembered directions are frozen in proportion to their importance
    /// (Saha, Roy, 2023).
    Sgp {
        /// Scale coefficient α ≥ 0: the larger, the closer to [`Rule::Gpm`].
        alpha: f64,
    },
}

/// Where the weights of a layer may move.
#[derive(Clone, Debug, PartialEq)]
pub struct FreeSpace {
    /// Orthonormal columns, `d × k`.
    pub span: Matrix,
    /// What a gradient keeps along each column, in (0, 1], `k` numbers; all of it if absent. A gradient `g: [C_out, d]`
    /// becomes `g · span · diag(gain) · spanᵀ`.
    pub gain: Option<Vec<f32>>,
}

/// The memory of one layer: an orthonormal basis `M: d × r` of the input directions that past tasks used, and an
/// importance λ ∈ [0, 1] for each.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerMemory {
    basis: Mat<f64>,
    importance: Vec<f64>,
    tasks: usize,
}

/// Largest entry by which columns to adopt may be off orthonormal: far above `f32` rounding, far below a wrong basis.
const ORTHONORMAL_WITHIN: f64 = 1e-5;

impl LayerMemory {
    /// An empty memory for a layer with inputs of this `dimension`.
    #[must_use]
    pub fn new(dimension: usize) -> Self {
        Self { basis: Mat::zeros(dimension, 0), importance: Vec::new(), tasks: 0 }
    }

    /// Dimension `d` of the layer's input.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.basis.nrows()
    }

    /// Number `r` of remembered directions.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.basis.ncols()
    }

    /// Number of growths so far, one a task, empty ones included. The energy rule of the first differs.
    #[must_use]
    pub const fn tasks(&self) -> usize {
        self.tasks
    }

    /// Whether every direction is remembered, so that nothing is free.
    #[must_use]
    pub fn is_saturated(&self) -> bool {
        self.rank() == self.dimension()
    }

    /// What this `representation` of a task, inputs of the layer `[n, d]`, one a row, would add. Changes nothing.
    ///
    /// # Errors
    /// As [`LayerMemory::propose_f64`].
    pub fn propose(&self, representation: &Matrix, threshold: f64, rule: Rule) -> Result<Growth, SubspaceError> {
        // Row-major [n, d] is column-major d × n.
        let wide: Vec<f64> = representation.as_slice().iter().map(|&value| f64::from(value)).collect();
        let (n, d) = (representation.rows(), representation.cols());
        self.propose_f64(MatRef::from_column_major_slice(&wide, d, n), threshold, rule)
    }

    /// What this `representation: d × n`, one column a sample, would add so that the memory holds the share
    /// `threshold` ∈ (0, 1] of its energy. Changes nothing.
    ///
    /// The first task keeps the directions whose summed energy is just below the threshold, later ones reach it
    /// (Saha et al., 2021, algorithm 1, as published in code). For [`Rule::Sgp`], the importance of old columns adds up
    /// to at most one (Saha, Roy, 2023, eq. 6 to 9).
    ///
    /// # Errors
    /// If the dimension is another, a number is not finite, the threshold is outside (0, 1] or α is no number ≥ 0.
    pub fn propose_f64(
        &self,
        representation: MatRef<'_, f64>,
        threshold: f64,
        rule: Rule,
    ) -> Result<Growth, SubspaceError> {
        let (d, n) = representation.shape();
        self.propose_by(Route::for_shape(d, n), representation, threshold, rule)
    }

    fn propose_by(
        &self,
        route: Route,
        representation: MatRef<'_, f64>,
        threshold: f64,
        rule: Rule,
    ) -> Result<Growth, SubspaceError> {
        const OPERATION: &str = "proposing a growth";
        check_settings(threshold, rule)?;
        let d = self.dimension();
        if representation.nrows() != d {
            let found = representation.nrows();
            return Err(SubspaceError::Dimension { operation: OPERATION, expected: d, found });
        }
        let norm = representation.squared_norm_l2();
        if !representation.is_all_finite() || !norm.is_finite() {
            return Err(SubspaceError::NotFinite { operation: OPERATION });
        }
        if norm == 0.0 {
            return Ok(self.nothing_new(rule));
        }
        let spectrum = outside(representation, self.basis.as_ref(), route)?;
        let rank = if self.tasks == 0 {
            energy::first_rank(&spectrum.values, spectrum.total, threshold)
        } else {
            energy::later_rank(&spectrum.values, spectrum.residual, spectrum.total, threshold)
        };
        let rank = rank.min(d - self.rank());
        let mut columns = spectrum.vectors(rank);
        if rank > 0 {
            deflate(columns.as_mut(), self.basis.as_ref());
            columns = Householder::of(columns.as_ref()).range();
        }
        let importance = match rule {
            Rule::Gpm => Vec::new(),
            Rule::Sgp { alpha } => {
                let strengths = [spectrum.on_memory.as_slice(), &spectrum.values[..rank]].concat();
                self.accumulated(energy::importances(&strengths, alpha))
            }
        };
        Ok(Growth { base_rank: self.rank(), columns, importance })
    }

    /// The growth of a task that shows nothing.
    fn nothing_new(&self, rule: Rule) -> Growth {
        let importance = match rule {
            Rule::Gpm => Vec::new(),
            Rule::Sgp { .. } => self.importance.clone(),
        };
        Growth { base_rank: self.rank(), columns: Mat::zeros(self.dimension(), 0), importance }
    }

    /// Adds the importance that old columns already have, up to one.
    fn accumulated(&self, mut importance: Vec<f64>) -> Vec<f64> {
        for (new, old) in importance.iter_mut().zip(&self.importance) {
            *new = (*new + old).clamp(0.0, 1.0);
        }
        importance
    }

    /// Makes a proposed growth part of the memory. Without importances, new columns get one and old ones keep theirs.
    ///
    /// # Errors
    /// If the growth is for another dimension or rank, or its columns are not orthonormal and orthogonal to the memory
    /// within 1e-5. The memory is then unchanged.
    pub fn grow(&mut self, growth: &Growth) -> Result<(), SubspaceError> {
        self.check_fits(growth)?;
        let (d, old) = (self.dimension(), self.rank());
        let rank = old + growth.rank();
        let before = &self.basis;
        let basis =
            Mat::from_fn(
                d,
                rank,
                |row, col| {
                    if col < old { before[(row, col)] } else { growth.columns[(row, col - old)] }
                },
            );
        let off = growth_deviation(basis.as_ref(), old);
        if off > ORTHONORMAL_WITHIN {
            return Err(SubspaceError::NotOrthonormal { found: off, accepted: ORTHONORMAL_WITHIN });
        }
        self.basis = basis;
        if growth.importance.is_empty() {
            self.importance.resize(rank, 1.0);
        } else {
            self.importance.clone_from(&growth.importance);
        }
        self.tasks += 1;
        Ok(())
    }

    fn check_fits(&self, growth: &Growth) -> Result<(), SubspaceError> {
        const OPERATION: &str = "growing a memory";
        let (dimension, rank, columns) = (self.dimension(), self.rank(), growth.rank());
        if growth.dimension() != dimension {
            let found = growth.dimension();
            return Err(SubspaceError::Dimension { operation: OPERATION, expected: dimension, found });
        }
        if growth.base_rank != rank {
            return Err(SubspaceError::BaseRank { expected: rank, found: growth.base_rank });
        }
        if columns > dimension - rank {
            return Err(SubspaceError::TooManyColumns { columns, rank, dimension });
        }
        let importances = growth.importance.len();
        if importances != 0 && importances != rank + columns {
            return Err(SubspaceError::ImportanceCount { expected: rank + columns, found: importances });
        }
        growth.check_numbers(OPERATION)
    }

    /// The basis `M`, `d × r`.
    #[must_use]
    pub fn basis(&self) -> Matrix {
        to_f32(self.basis.as_ref())
    }

    /// The basis `M`, `d × r`, as held.
    #[must_use]
    pub fn basis_f64(&self) -> MatRef<'_, f64> {
        self.basis.as_ref()
    }

    /// The importance λ ∈ [0, 1] of each column; all one for [`Rule::Gpm`].
    #[must_use]
    pub fn importance(&self) -> Vec<f32> {
        self.importance.iter().map(|&value| value as f32).collect()
    }

    /// `M Mᵀ`, `d × d`.
    #[must_use]
    pub fn projector(&self) -> Mat<f64> {
        product(self.basis.as_ref(), self.basis.transpose())
    }

    /// `M diag(λ) Mᵀ`, `d × d`: what scaled gradient projection takes off a gradient.
    #[must_use]
    pub fn scaled_projector(&self) -> Mat<f64> {
        let (d, r) = self.basis.shape();
        let scaled = Mat::from_fn(d, r, |row, col| self.basis[(row, col)] * self.importance[col]);
        product(scaled.as_ref(), self.basis.transpose())
    }

    /// An orthonormal basis `O: d × (d − r)` of the residual space, the complement of the memory. The same memory gives
    /// the same bits on the same machine. For an empty memory it is the identity.
    #[must_use]
    pub fn residual(&self) -> Matrix {
        to_f32(self.residual_f64().as_ref())
    }

    fn residual_f64(&self) -> Mat<f64> {
        let d = self.dimension();
        match self.rank() {
            0 => Mat::identity(d, d),
            rank if rank == d => Mat::zeros(d, 0),
            _ => Householder::of(self.basis.as_ref()).complement(),
        }
    }

    /// Where weights may move under this rule: the residual space `O`, and under [`Rule::Sgp`] also every column of `M`
    /// whose importance, as an `f32`, is below one, with gain `1 − λ`.
    #[must_use]
    pub fn free_space(&self, rule: Rule) -> FreeSpace {
        match rule {
            Rule::Gpm => FreeSpace { span: self.residual(), gain: None },
            Rule::Sgp { .. } => self.scaled_free_space(),
        }
    }

    fn scaled_free_space(&self) -> FreeSpace {
        let residual = self.residual_f64();
        let importance = self.importance();
        let soft: Vec<usize> = (0..self.rank()).filter(|&col| importance[col] < 1.0).collect();
        let free = residual.ncols();
        let span = Matrix::from_fn(self.dimension(), free + soft.len(), |row, col| {
            let entry = if col < free { residual[(row, col)] } else { self.basis[(row, soft[col - free])] };
            entry as f32
        });
        let gain = (0..free).map(|_| 1.0).chain(soft.iter().map(|&col| 1.0 - importance[col])).collect();
        FreeSpace { span, gain: Some(gain) }
    }

    /// Writes the memory to a tape, or reads back the one of a layer with the same inputs.
    ///
    /// # Errors
    /// What the tape says, a memory of another dimension, and one whose digest is not its own.
    pub fn carry(&mut self, tape: &mut Tape<'_>) -> Result<(), TapeError> {
        let d = self.dimension();
        tape.agree("inputs of a layer with memory", d as u64)?;
        let mut rank = self.rank();
        tape.count("remembered directions", &mut rank, d)?;
        if tape.plays() {
            self.basis = Mat::zeros(d, rank);
        }
        let Self { basis, importance, tasks } = self;
        (0..rank).try_for_each(|column| tape.wide_row(basis.col_as_slice_mut(column)))?;
        importance.resize(rank, 1.0);
        tape.wide_row(importance)?;
        tape.count("growths of a memory", tasks, usize::MAX)?;
        tape.agree_digest("digest of a memory", self.digest())
    }

    /// The whole memory as one growth of an empty one: what an agent is given that missed the growths. Exact for memories
    /// that grew by rounded growths only.
    #[must_use]
    pub fn whole(&self) -> Growth {
        Growth { base_rank: 0, columns: self.basis.clone(), importance: self.importance.clone() }
    }

    /// The memory that [`LayerMemory::whole`] was taken of, after `tasks` growths.
    ///
    /// # Errors
    /// As [`LayerMemory::grow`].
    pub fn restored(whole: &Growth, tasks: usize) -> Result<Self, SubspaceError> {
        let mut memory = Self::new(whole.dimension());
        memory.grow(whole)?;
        memory.tasks = tasks;
        Ok(memory)
    }

    /// A digest of the sizes and of the `f32` bits of basis and importances: equal for memories that are.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut digester = Digester::default();
        digester.number(self.dimension() as u64);
        digester.number(self.rank() as u64);
        digester.floats(self.basis().as_slice());
        digester.floats(&self.importance());
        digester.finish()
    }
}

fn check_settings(threshold: f64, rule: Rule) -> Result<(), SubspaceError> {
    if !(threshold > 0.0 && threshold <= 1.0) {
        return Err(SubspaceError::Threshold { found: threshold });
    }
    match rule {
        Rule::Sgp { alpha } if !(alpha.is_finite() && alpha >= 0.0) => Err(SubspaceError::Alpha { found: alpha }),
        Rule::Sgp { .. } | Rule::Gpm => Ok(()),
    }
}

/// Largest entry of `[M C]ᵀC − [0; I]`, where `C` are the columns of `basis` from `old` on.
fn growth_deviation(basis: MatRef<'_, f64>, old: usize) -> f64 {
    let inner = product(basis.transpose(), basis.subcols(old, basis.ncols() - old));
    let mut largest = 0.0_f64;
    for col in 0..inner.ncols() {
        for row in 0..inner.nrows() {
            let expected = if row == old + col { 1.0 } else { 0.0 };
            largest = largest.max((inner[(row, col)] - expected).abs());
        }
    }
    largest
}
