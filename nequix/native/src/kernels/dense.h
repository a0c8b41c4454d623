// Matrix products of the linear maps.
#ifndef NEQUIX_KERNELS_DENSE_H
#define NEQUIX_KERNELS_DENSE_H

#include "simd.h"

namespace nequix::NEQUIX_ISA {
namespace {

// Rows that are processed together: their sums fill the registers.
constexpr int ROWS = NEQUIX_BYTES == 64 ? 8 : 5;

// C = A M, or C += A M, for R rows of A and B vectors of columns. A has rows of K numbers; n of them count.
template <class T, int R, int B>
INLINE void multiply_rows(int64_t n, int64_t K, int64_t N, const T* A, const T* M, T* C, bool accumulate) {
  using V = typename Vector<T>::type;
  Block<V, B> out[R];
  for (int r = 0; r < R; r++)
    for (int b = 0; b < B; b++) out[r].v[b] = V{};
  for (int64_t k = 0; k < n; k++) {
    const Block<V, B> m(M + k * N);
    for (int r = 0; r < R; r++) add(out[r], m, A[r * K + k]);
  }
  for (int r = 0; r < R; r++) {
    if (accumulate)
      for (int b = 0; b < B; b++) out[r].v[b] += load(C + r * N + b * Vector<T>::size);
    out[r].save(C + r * N);
  }
}

template <class T, int R>
void multiply_panel(int64_t n, int64_t K, int64_t N, const T* A, const T* M, T* C, bool accumulate) {
  constexpr int step = Vector<T>::size;
  int64_t u = 0;
  for (; u + 2 * step <= N; u += 2 * step) multiply_rows<T, R, 2>(n, K, N, A, M + u, C + u, accumulate);
  for (; u < N; u += step) multiply_rows<T, R, 1>(n, K, N, A, M + u, C + u, accumulate);
}

// The same in float64. A holds R rows in float64, column by column.
template <class T, int R, int B>
INLINE void multiply_rows_wide(int64_t K, int64_t N, const double* A, const T* M, T* C, bool accumulate) {
  constexpr int step = Vector<double>::size;
  Block<Wide, B> out[R];
  for (int r = 0; r < R; r++)
    for (int b = 0; b < B; b++) out[r].v[b] = accumulate ? widen(C + r * N + b * step) : Wide{};
  for (int64_t k = 0; k < K; k++) {
    Block<Wide, B> m;
    for (int b = 0; b < B; b++) m.v[b] = widen(M + k * N + b * step);
    for (int r = 0; r < R; r++) add(out[r], m, A[k * R + r]);
  }
  for (int r = 0; r < R; r++)
    for (int b = 0; b < B; b++) narrow(C + r * N + b * step, out[r].v[b]);
}

template <class T, int R>
void multiply_panel_wide(int64_t K, int64_t N, const T* A, const T* M, T* C, bool accumulate, double* wide) {
  for (int r = 0; r < R; r++)
    for (int64_t k = 0; k < K; k++) wide[k * R + r] = A[r * K + k];
  constexpr int step = 2 * Vector<double>::size;  // divides PAD
  for (int64_t u = 0; u < N; u += step) multiply_rows_wide<T, R, 2>(K, N, wide, M + u, C + u, accumulate);
}

// C = A M, or C += A M, for features of a degree: A (rows, K), M (K, N). K and N are multiples of PAD. `wide`
// has space for ROWS rows of A in float64.
// Products of scalars are in float64: they, norm and gate cause most of float32's error, but take little
// time.
template <class T>
void multiply(int degree, int64_t rows, int64_t K, int64_t N, const T* A, const T* M, T* C, bool accumulate,
              double* wide) {
  if (degree == 0 && sizeof(T) < sizeof(double)) {
    int64_t r = 0;
    for (; r + ROWS <= rows; r += ROWS)
      multiply_panel_wide<T, ROWS>(K, N, A + r * K, M, C + r * N, accumulate, wide);
    for (; r < rows; r++) multiply_panel_wide<T, 1>(K, N, A + r * K, M, C + r * N, accumulate, wide);
    return;
  }
  // Sums of parts are added, which rounds less than one long sum.
  constexpr int64_t part = 64;
  for (int64_t k = 0; k < K; k += part) {
    const int64_t n = K - k < part ? K - k : part;
    const bool add = accumulate || k > 0;
    int64_t r = 0;
    for (; r + ROWS <= rows; r += ROWS)
      multiply_panel<T, ROWS>(n, K, N, A + r * K + k, M + k * N, C + r * N, add);
    for (; r < rows; r++) multiply_panel<T, 1>(n, K, N, A + r * K + k, M + k * N, C + r * N, add);
  }
}

}  // namespace
}  // namespace nequix::NEQUIX_ISA

#endif
