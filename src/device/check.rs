//! Lengths, checked before anything is launched or looped over: a kernel would write beyond the end of a buffer that is
//! too short.
//!
//! Each family says beside its trait what it needs; both devices ask it first. A buffer that does not fit is a mistake
//! of the program, so it ends in a panic that names the operation and the buffer.

use super::{Buffers, Extent, Matrix, RowStats};

/// An operation whose buffers are being checked.
#[derive(Clone, Copy)]
pub(super) struct Check(pub &'static str);

impl Check {
    /// `matrix` has rows of `cols` elements, at least `rows` of them.
    pub(crate) fn matrix<D: Buffers>(self, name: &str, matrix: &Matrix<D>, rows: usize, cols: usize) -> Self {
        let (operation, found, width) = (self.0, matrix.rows(), matrix.cols());
        assert!(
            found >= rows && width == cols,
            "{operation}: {name} is [{found}, {width}] and has to be [{rows}, {cols}]"
        );
        self
    }

    /// The same of a matrix that may not be there.
    pub(crate) fn any<D: Buffers>(self, name: &str, matrix: Option<&Matrix<D>>, rows: usize, cols: usize) -> Self {
        matrix.map_or(self, |matrix| self.matrix(name, matrix, rows, cols))
    }

    /// `vector` has at least `len` elements.
    pub(crate) fn vector(self, name: &str, vector: &impl Extent, len: usize) -> Self {
        let (operation, found) = (self.0, vector.elements());
        assert!(found >= len, "{operation}: {name} has {found} elements and needs {len}");
        self
    }

    /// Both statistics have an element for each of `rows`.
    pub(crate) fn stats<D: Buffers>(self, name: &str, stats: &RowStats<D>, rows: usize) -> Self {
        for (what, vector) in [("mean", &stats.mean), ("1/σ", &stats.rstd)] {
            let (operation, found) = (self.0, vector.elements());
            assert!(found >= rows, "{operation}: the {what} of {name} has {found} elements and needs {rows}");
        }
        self
    }

    /// There are `rows` of something, of which the numbers below `count` are used.
    pub(crate) fn table(self, name: &str, rows: usize, count: usize) -> Self {
        assert!(count <= rows, "{}: {rows} {name} are too few for numbers up to {}", self.0, count - 1);
        self
    }
}
