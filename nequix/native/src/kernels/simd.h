// SIMD types of the kernels: vectors as wide as the instruction set's, blocks of them, and one number of each
// edge
// of a tile.
//
// The headers of this folder are compiled once for every instruction set: NEQUIX_ISA names it and
// NEQUIX_BYTES is the width of its vectors. Everything they define is in a separate namespace, without
// linkage,
// and they use no function of the standard library: the linker must never take a function compiled for wide
// vectors where another instruction set expects it.
#ifndef NEQUIX_KERNELS_SIMD_H
#define NEQUIX_KERNELS_SIMD_H

#include <cstdint>
#include <utility>  // types only

#include "../model.h"

#define INLINE inline __attribute__((always_inline))
#define NEQUIX_PRAGMA(x) _Pragma(#x)
#ifdef __clang__
#  define UNROLL(n) NEQUIX_PRAGMA(unroll n)
#else
#  define UNROLL(n) NEQUIX_PRAGMA(GCC unroll n)
#endif

namespace nequix::NEQUIX_ISA {
namespace {

template <int bytes>
struct Integer;
template <>
struct Integer<4> {
  using type = int32_t;
};
template <>
struct Integer<8> {
  using type = int64_t;
};

template <class T>
struct Vector {
  typedef T type __attribute__((vector_size(NEQUIX_BYTES)));
  // In arrays of T, which are aligned as T is.
  typedef T memory __attribute__((vector_size(NEQUIX_BYTES), aligned(alignof(T)), may_alias));
  typedef typename Integer<sizeof(T)>::type index __attribute__((vector_size(NEQUIX_BYTES)));
  static constexpr int size = NEQUIX_BYTES / sizeof(T);
};

template <class T>
INLINE typename Vector<T>::type load(const T* p) {
  return *reinterpret_cast<const typename Vector<T>::memory*>(p);
}
template <class T>
INLINE void store(T* p, typename Vector<T>::type v) {
  *reinterpret_cast<typename Vector<T>::memory*>(p) = v;
}

template <class T>
INLINE T sum(typename Vector<T>::type v) {
  T lanes[Vector<T>::size];
  store(lanes, v);
  for (int half = Vector<T>::size / 2; half; half /= 2)
    for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
  return lanes[0];
}

// Select lanes of two vectors, counted through both. The compiler knows which, so that this is one
// instruction.
template <class T, int... Lane>
INLINE typename Vector<T>::type shuffle(typename Vector<T>::type a, typename Vector<T>::type b) {
#ifdef __clang__
  return __builtin_shufflevector(a, b, Lane...);
#else
  return __builtin_shuffle(a, b, typename Vector<T>::index{Lane...});
#endif
}

// Add the halves of two vectors: in the result, lanes without the bit `half` belong to a, the others to b.
template <class T, int half, int... I>
INLINE typename Vector<T>::type fold(typename Vector<T>::type a, typename Vector<T>::type b,
                                     std::integer_sequence<int, I...>) {
  constexpr int L = Vector<T>::size;
  return shuffle<T, (I & half ? L + I : I)...>(a, b) +
         shuffle<T, (I & half ? L + (I ^ half) : I ^ half)...>(a, b);
}

// Halve the number of vectors until one is left, which holds the sum of each in a lane.
template <class T, int half>
INLINE void fold_rows(typename Vector<T>::type* v) {
  for (int i = 0; i < half; i++)
    v[i] = fold<T, half>(v[i], v[i + half], std::make_integer_sequence<int, Vector<T>::size>());
  if constexpr (half > 1) fold_rows<T, half / 2>(v);
}

// Sum each of HARMONICS vectors over its lanes. Folding takes far fewer steps than one vector after the
// other.
template <class T>
INLINE void sum_rows(const typename Vector<T>::type* rows, T* sums) {
  constexpr int L = Vector<T>::size;
  for (int first = 0; first < HARMONICS; first += L) {
    typename Vector<T>::type v[L];
    for (int i = 0; i < L; i++) v[i] = rows[first + i];
    fold_rows<T, L / 2>(v);
    store(sums + first, v[0]);
  }
}

// B vectors of neighbouring channels.
template <class V, int B>
struct Block {
  V v[B];
  INLINE Block() {}
  template <class T>
  INLINE explicit Block(const T* p) {
    for (int b = 0; b < B; b++) v[b] = load(p + b * Vector<T>::size);
  }
  template <class T>
  INLINE void save(T* p) const {
    for (int b = 0; b < B; b++) store(p + b * Vector<T>::size, v[b]);
  }
};

template <class T, class V, int B>
INLINE void add(Block<V, B>& out, const Block<V, B>& x, T factor) {
  for (int b = 0; b < B; b++) out.v[b] += x.v[b] * factor;
}

template <class V, int B>
INLINE V dot(const Block<V, B>& x, const Block<V, B>& y) {
  V total = x.v[0] * y.v[0];
  for (int b = 1; b < B; b++) total += x.v[b] * y.v[b];
  return total;
}

// One number of each edge of a tile.
template <class T>
struct TileVector {
  typedef T type __attribute__((vector_size(TILE * sizeof(T))));
};
using Doubles = TileVector<double>::type;

// Read an array of TILE numbers, aligned as Doubles is. Returns a reference: most processors have no register
// that wide.
INLINE const Doubles& doubles(const double* values) { return *reinterpret_cast<const Doubles*>(values); }

// Numbers of either precision as float64, and back.
using Wide = Vector<double>::type;
template <class T>
struct Narrow {
  typedef T memory
      __attribute__((vector_size(Vector<double>::size * sizeof(T)), aligned(alignof(T)), may_alias));
};
template <class T>
INLINE Wide widen(const T* p) {
  return __builtin_convertvector(*reinterpret_cast<const typename Narrow<T>::memory*>(p), Wide);
}
template <class T>
INLINE void narrow(T* p, Wide v) {
  *reinterpret_cast<typename Narrow<T>::memory*>(p) = __builtin_convertvector(v, typename Narrow<T>::memory);
}

}  // namespace
}  // namespace nequix::NEQUIX_ISA

#endif
