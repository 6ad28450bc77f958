//! Views of row-major matrices, and their products by the crate `gemm-f32`.
//!
//! A [`MatMut`] can be cut into disjoint blocks, which is how work is shared between threads: every element of a
//! product is summed by one thread in one order, so results do not depend on who computes what.

use std::marker::PhantomData;

/// A matrix that is read. Element (i, j) is `data[i · row_stride + j · col_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct MatRef<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> MatRef<'a> {
    /// Columns `0..cols` of a row-major matrix whose rows are `stride` apart.
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(cols <= stride || rows <= 1, "rows do not overlap");
        assert!(rows == 0 || cols == 0 || (rows - 1) * stride + cols <= data.len(), "a matrix lies inside its buffer");
        Self { data, rows, cols, row_stride: stride, col_stride: 1 }
    }

    /// A whole row-major matrix.
    pub(crate) fn dense(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::new(data, rows, cols, cols)
    }

    pub(crate) fn rows(self) -> usize {
        self.rows
    }

    /// Row i of a row-major view.
    #[inline(always)]
    pub(crate) fn row(self, i: usize) -> &'a [f32] {
        assert!(i < self.rows && self.col_stride == 1, "row {i} of {}", self.rows);
        &self.data[i * self.row_stride..][..self.cols]
    }

    /// The transpose.
    pub(crate) fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            data: self.data,
        }
    }

    pub(crate) fn rows_from(self, first: usize, rows: usize) -> Self {
        assert!(first + rows <= self.rows, "rows lie inside the matrix");
        if rows == 0 {
            return Self { rows, ..self };
        }
        Self { data: &self.data[first * self.row_stride..], rows, ..self }
    }

    pub(crate) fn cols_from(self, first: usize, cols: usize) -> Self {
        self.t().rows_from(first, cols).t()
    }
}

/// A row-major matrix that is written; the only handle to its elements, though its rows may have foreign ones between
/// them.
pub(crate) struct MatMut<'a> {
    data: *mut f32,
    rows: usize,
    cols: usize,
    stride: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: a MatMut is an exclusive borrow of its elements, as `&mut [f32]` is, and f32 may be sent.
unsafe impl Send for MatMut<'_> {}

impl<'a> MatMut<'a> {
    /// Columns `0..cols` of a row-major matrix whose rows are `stride` apart.
    pub(crate) fn new(data: &'a mut [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(cols <= stride || rows <= 1, "rows do not overlap");
        assert!(rows == 0 || cols == 0 || (rows - 1) * stride + cols <= data.len(), "a matrix lies inside its buffer");
        Self { data: data.as_mut_ptr(), rows, cols, stride, borrow: PhantomData }
    }

    pub(crate) fn dense(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::new(data, rows, cols, cols)
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Rows `..at` and rows `at..`.
    pub(crate) fn split_at_row(self, at: usize) -> (Self, Self) {
        assert!(at <= self.rows, "a split lies inside the matrix");
        // SAFETY: `at ≤ rows`; where at < rows its first element is inside the borrowed buffer, else the pointer is not
        // read.
        let below = self.data.wrapping_add(at * self.stride);
        (Self { rows: at, ..self }, Self { data: below, rows: self.rows - at, ..self })
    }

    /// Columns `..at` and columns `at..`.
    pub(crate) fn split_at_col(self, at: usize) -> (Self, Self) {
        assert!(at <= self.cols, "a split lies inside the matrix");
        (Self { cols: at, ..self }, Self { data: self.data.wrapping_add(at), cols: self.cols - at, ..self })
    }

    /// A second handle to a block of this matrix.
    ///
    /// # Safety
    /// No two handles to the same element may be used at the same time.
    pub(crate) unsafe fn alias(&self, row: usize, col: usize, rows: usize, cols: usize) -> MatMut<'a> {
        assert!(row + rows <= self.rows && col + cols <= self.cols, "a block lies inside the matrix");
        MatMut { data: self.data.wrapping_add(row * self.stride + col), rows, cols, ..*self }
    }

    #[inline(always)]
    pub(crate) fn row(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        // SAFETY: row i < rows lies inside the buffer that `new` checked, its `cols` elements belong to this view alone
        // (splits are disjoint), and the returned borrow ends before another row is taken.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(i * self.stride), self.cols) }
    }
}

/// What a product does to its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Into {
    Overwrite,
    Add,
}

/// `dst = alpha · lhs · rhs`, or `dst += …`, on the calling thread. The kernels write columns, so what is computed is the
/// transposed product.
pub(crate) fn matmul(dst: &mut MatMut, lhs: MatRef, rhs: MatRef, alpha: f32, into: Into) {
    let (m, n, k) = (dst.rows, dst.cols, lhs.cols);
    assert!(lhs.rows == m && rhs.cols == n && rhs.rows == k, "shapes of a product agree");
    // SAFETY: dst covers m × n elements it alone may write, lhs m × k and rhs k × n readable ones (checked when the
    // views were made, and above); the borrows keep dst apart from both inputs.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            n,
            m,
            k,
            dst.data,
            dst.stride as isize,
            1,
            into == Into::Add,
            rhs.data.as_ptr(),
            rhs.row_stride as isize,
            rhs.col_stride as isize,
            lhs.data.as_ptr(),
            lhs.row_stride as isize,
            lhs.col_stride as isize,
            1.0,
            alpha,
            false,
            false,
            false,
            gemm_common::Parallelism::None,
        );
    }
}

/// Cuts `dst` into `pieces` blocks of similar size and hands each, with its first row and column, to `f`, on all
/// threads. Rows are cut first, into multiples of `ROW_GRAIN`; a matrix with few rows is cut by columns.
pub(crate) fn for_each_block<F>(dst: MatMut, pieces: usize, f: &F)
where
    F: Fn(usize, usize, MatMut) + Sync,
{
    fn recurse<F: Fn(usize, usize, MatMut) + Sync>(row: usize, col: usize, dst: MatMut, pieces: usize, f: &F) {
        let left = pieces / 2;
        let cut = |size: usize, grain: usize| (size * left / pieces).next_multiple_of(grain);
        let (row_cut, col_cut) =
            if pieces > 1 { (cut(dst.rows, ROW_GRAIN), cut(dst.cols, COL_GRAIN)) } else { (dst.rows, dst.cols) };
        if dst.rows >= pieces * ROW_GRAIN && row_cut < dst.rows {
            let (a, b) = dst.split_at_row(row_cut);
            rayon::join(|| recurse(row, col, a, left, f), || recurse(row + row_cut, col, b, pieces - left, f));
        } else if col_cut < dst.cols {
            let (a, b) = dst.split_at_col(col_cut);
            rayon::join(|| recurse(row, col, a, left, f), || recurse(row, col + col_cut, b, pieces - left, f));
        } else {
            f(row, col, dst);
        }
    }
    if dst.rows > 0 && dst.cols > 0 {
        recurse(0, 0, dst, pieces.max(1), f);
    }
}

/// Blocks below this many rows leave the inner kernels of `gemm` too little to reuse.
const ROW_GRAIN: usize = 16;
/// A multiple of the widest register tile of `gemm` (24 with AVX2, 48 with AVX-512).
const COL_GRAIN: usize = 48;

/// How many blocks a product of this many multiply-adds is worth: two per thread, so that a late thread is waited for
/// less.
pub(crate) fn pieces(multiply_adds: usize) -> usize {
    const WORTH_ONE_PIECE: usize = 1 << 20;
    (multiply_adds / WORTH_ONE_PIECE).clamp(1, 2 * rayon::current_num_threads())
}
