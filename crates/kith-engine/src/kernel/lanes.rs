//! Vector registers: the few operations that the skinny products need, at two widths.

use std::arch::x86_64::{
    __m128, __m256, __m256i, __m512, _mm_add_ps, _mm256_add_ps, _mm256_andnot_si256, _mm256_castpd_ps,
    _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_maskload_ps, _mm256_maskstore_ps, _mm256_mul_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_shuffle_ps,
    _mm256_storeu_ps, _mm256_unpackhi_ps, _mm256_unpacklo_ps, _mm512_add_ps, _mm512_castps_pd, _mm512_castps512_ps256,
    _mm512_extractf64x4_pd, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
    _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_shuffle_ps, _mm512_storeu_ps, _mm512_unpackhi_ps,
    _mm512_unpacklo_ps,
};

/// A kind of vector register.
///
/// # Safety
/// Every function may be called only on a machine that has the instructions of the kind, from code that is inlined into a
/// function compiled for them. Pointers must be good for the lanes that are read or written: `N`, or `count ≤ N`.
pub(super) unsafe trait Lanes {
    /// The register.
    type Vector: Copy;
    /// Numbers in a register.
    const N: usize;
    /// Output columns of a tile in broadcast products, in registers.
    const WIDE: usize;
    /// Output rows of a tile in dot products.
    const TALL: usize;

    unsafe fn zero() -> Self::Vector;
    unsafe fn splat(value: f32) -> Self::Vector;
    unsafe fn load(from: *const f32) -> Self::Vector;
    /// The first `count` lanes, zeros after.
    unsafe fn load_part(from: *const f32, count: usize) -> Self::Vector;
    /// The lanes from `first` to `end ≤ N`, zeros elsewhere; lane 0 is at `from`, which need not be memory.
    unsafe fn load_between(from: *const f32, first: usize, end: usize) -> Self::Vector;
    unsafe fn store(to: *mut f32, vector: Self::Vector);
    /// The first `count` lanes.
    unsafe fn store_part(to: *mut f32, vector: Self::Vector, count: usize);
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    unsafe fn multiply(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a b + c`, rounded once.
    unsafe fn fused(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The sums of the lanes of four registers.
    unsafe fn sums(vectors: [Self::Vector; 4]) -> [f32; 4];
}

/// 512-bit registers.
pub(super) struct Avx512;

// SAFETY: AVX-512F instructions only; callers keep the trait's contract.
unsafe impl Lanes for Avx512 {
    type Vector = __m512;
    const N: usize = 16;
    const WIDE: usize = 4;
    const TALL: usize = 6;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> __m512 {
        // SAFETY: the trait's contract; lanes outside the mask are not touched.
        unsafe { _mm512_maskz_loadu_ps(((1_u32 << count) - 1) as u16, from) }
    }
    #[inline(always)]
    unsafe fn load_between(from: *const f32, first: usize, end: usize) -> __m512 {
        let mask = ((1_u32 << end) - (1_u32 << first)) as u16;
        // SAFETY: the trait's contract; lanes outside the mask are not touched.
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, vector: __m512) {
        // SAFETY: the trait's contract.
        unsafe { _mm512_storeu_ps(to, vector) }
    }
    #[inline(always)]
    unsafe fn store_part(to: *mut f32, vector: __m512, count: usize) {
        // SAFETY: the trait's contract; lanes outside the mask are not touched.
        unsafe { _mm512_mask_storeu_ps(to, ((1_u32 << count) - 1) as u16, vector) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn multiply(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fused(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn sums([a, b, c, d]: [__m512; 4]) -> [f32; 4] {
        // SAFETY: the trait's contract.
        unsafe {
            // Each 128-bit part becomes the four registers' partial sums; then the four parts are added.
            let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let sums = _mm512_add_ps(_mm512_shuffle_ps::<0x44>(ab, cd), _mm512_shuffle_ps::<0xEE>(ab, cd));
            let upper = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(sums)));
            halves(_mm256_add_ps(_mm512_castps512_ps256(sums), upper))
        }
    }
}

/// 256-bit registers.
pub(super) struct Avx2;

/// Ones and zeros from which the mask of the first `count` of eight lanes is cut.
static MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

/// # Safety
/// AVX2, and `count <= 8`.
#[inline(always)]
unsafe fn mask(count: usize) -> __m256i {
    // SAFETY: eight numbers from place 8 − count lie within the sixteen.
    unsafe { _mm256_loadu_si256(MASKS.as_ptr().add(8 - count).cast()) }
}

/// # Safety
/// AVX.
#[inline(always)]
unsafe fn halves(sums: __m256) -> [f32; 4] {
    // SAFETY: the caller's contract; a register of four numbers is an array of four.
    unsafe {
        let sums = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps::<1>(sums));
        std::mem::transmute::<__m128, [f32; 4]>(sums)
    }
}

// SAFETY: AVX2 and FMA instructions only; callers keep the trait's contract.
unsafe impl Lanes for Avx2 {
    type Vector = __m256;
    const N: usize = 8;
    const WIDE: usize = 2;
    const TALL: usize = 3;

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        // SAFETY: the trait's contract.
        unsafe { _mm256_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        // SAFETY: the trait's contract.
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: the trait's contract.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> __m256 {
        // SAFETY: the trait's contract; lanes outside the mask are not touched.
        unsafe { _mm256_maskload_ps(from, mask(count)) }
    }
    #[inline(always)]
    unsafe fn load_between(from: *const f32, first: usize, end: usize) -> __m256 {
        // SAFETY: the trait's contract; lanes outside the mask are not touched.
        unsafe { _mm256_maskload_ps(from, _mm256_andnot_si256(mask(first), mask(end))) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, vector: __m256) {
        // SAFETY: the trait's contract.
        unsafe { _mm256_storeu_ps(to, vector) }
    }
    #[inline(always)]
    unsafe fn store_part(to: *mut f32, vector: __m256, count: usize) {
        // SAFETY: the trait's contract; lanes outside the mask are not touched.
        unsafe { _mm256_maskstore_ps(to, mask(count), vector) }
    }
    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the trait's contract.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn multiply(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the trait's contract.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fused(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the trait's contract.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn sums([a, b, c, d]: [__m256; 4]) -> [f32; 4] {
        // SAFETY: the trait's contract.
        unsafe {
            let ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            halves(_mm256_add_ps(_mm256_shuffle_ps::<0x44>(ab, cd), _mm256_shuffle_ps::<0xEE>(ab, cd)))
        }
    }
}
