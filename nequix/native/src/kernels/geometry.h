// A tile's geometry: lengths, directions and spherical harmonics of its edges, and the way back to their
// vectors.
#ifndef NEQUIX_KERNELS_GEOMETRY_H
#define NEQUIX_KERNELS_GEOMETRY_H

#include "simd.h"

#include "couplings.inc"  // needs simd.h

namespace nequix::NEQUIX_ISA {
namespace {

constexpr double SQRT_3 = 1.7320508075688772;  // harmonics are normalised to 2 l + 1

// Up to TILE edges of one receiver, in order of length. Places beyond n repeat the first edge.
template <class T>
struct Tile {
  using W = typename TileVector<T>::type;
  int n;
  int edge[TILE];
  int sender[TILE];
  int segment[TILE];  // of the radial table
  T t[TILE];          // place within the segment, -1 ... 1
  // Set element by element through arrays, since single elements of vectors are slow to set; read as vectors.
  alignas(Doubles) double stretch[TILE];  // dt / d(length)
  alignas(Doubles) double unit[3][TILE];
  alignas(Doubles) double inverse[TILE];  // 1 / length
  Doubles harmonic[HARMONICS];
  W Y[HARMONICS];  // the harmonics in the layers' precision
};

template <class T>
void prepare_tile(const Evaluation<T>& e, int64_t receiver, int start, Tile<T>& tile) {
  const Model<T>& model = *e.model;
  const int* order = e.order + e.first[receiver] + start;
  const int left = e.count[receiver] - start;
  tile.n = left < TILE ? left : TILE;
  double d[TILE];
  double r[3][TILE];
  for (int i = 0; i < TILE; i++) {
    const int edge = order[i < tile.n ? i : 0];
    tile.edge[i] = edge;
    tile.sender[i] = e.senders[edge];
    for (int c = 0; c < 3; c++) r[c][i] = e.vectors[3 * static_cast<int64_t>(edge) + c];
  }
  const double scale = model.n_cells / model.cutoff;
  for (int i = 0; i < TILE; i++)
    d[i] = __builtin_sqrt(r[0][i] * r[0][i] + r[1][i] * r[1][i] + r[2][i] * r[2][i]);
  for (int i = 0; i < TILE; i++) {
    const int cell = static_cast<int>(d[i] * scale);  // rounding may lead one too far
    const int segment = model.cells[cell < model.n_cells ? cell : model.n_cells - 1];
    tile.segment[i] = segment;
    tile.stretch[i] = 1 / model.halves[segment];
    tile.t[i] = static_cast<T>((d[i] - model.middles[segment]) * tile.stretch[i]);
    // A vector without length has no direction: its unit vector is zero, and so is every harmonic above
    // degree 0.
    const double inverse = d[i] > 0 ? 1 / d[i] : 1;
    tile.inverse[i] = inverse;
    for (int c = 0; c < 3; c++) tile.unit[c][i] = r[c][i] * inverse;
  }
  Doubles* Y = tile.harmonic;
  Y[0] = Doubles{} + 1.0;
  if (model.lmax > 0)
    for (int c = 0; c < 3; c++) Y[1 + c] = doubles(tile.unit[c]) * SQRT_3;
  if (model.lmax > 1) raise_2(Y);
  if (model.lmax > 2) raise_3(Y);
  const int n = (model.lmax + 1) * (model.lmax + 1);
  for (int j = 0; j < n; j++) tile.Y[j] = __builtin_convertvector(Y[j], typename Tile<T>::W);
}

// Add to the gradient by each edge's vector. Lanes of dY hold the derivatives by the harmonics of each edge;
// in the place of the first harmonic, a constant, that by t.
template <class T>
void accumulate_gradient(const Evaluation<T>& e, const Tile<T>& tile, const typename Vector<T>::type* lanes) {
  const Model<T>& model = *e.model;
  Doubles dY[HARMONICS];
  const int n = (model.lmax + 1) * (model.lmax + 1);
  alignas(Doubles) double sums[HARMONICS][TILE];
  for (int i = 0; i < TILE; i++) {
    T of_edge[HARMONICS];
    sum_rows<T>(lanes + i * HARMONICS, of_edge);
    for (int j = 0; j < HARMONICS; j++) sums[j][i] = of_edge[j];
  }
  for (int j = 0; j < n; j++) dY[j] = doubles(sums[j]);
  const Doubles slope = dY[0] * doubles(tile.stretch);
  dY[0] = Doubles{};
  if (model.lmax > 2) lower_3(tile.harmonic, dY);
  if (model.lmax > 1) lower_2(tile.harmonic, dY);
  Doubles along = Doubles{};
  Doubles g[3];
  for (int c = 0; c < 3; c++) {
    g[c] = model.lmax > 0 ? dY[1 + c] * SQRT_3 : Doubles{};
    along += g[c] * doubles(tile.unit[c]);
  }
  for (int c = 0; c < 3; c++) {
    const Doubles unit = doubles(tile.unit[c]);
    const Doubles total = (g[c] - along * unit) * doubles(tile.inverse) + slope * unit;
    double of_edge[TILE];
    __builtin_memcpy(of_edge, &total, sizeof total);
    for (int i = 0; i < tile.n; i++) e.gradient[3 * static_cast<int64_t>(tile.edge[i]) + c] += of_edge[i];
  }
}

}  // namespace
}  // namespace nequix::NEQUIX_ISA

#endif
