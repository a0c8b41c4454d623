// Norm and gate of one atom, and the readout.
#ifndef NEQUIX_KERNELS_ACTIVATION_H
#define NEQUIX_KERNELS_ACTIVATION_H

#include "simd.h"

namespace nequix::NEQUIX_ISA {
namespace {

// z are the features before, h those after the activation, by degree. Everything is computed in float64. With
// s =
// scale(z) and the gains g, y = z g s are the normalised features: scalars become silu(y), others y silu(y of
// their gate).
template <class T>
struct Activation {
  const Model<T>& model;
  const Layer<T>& layer;

  // 1 / root mean square
  double scale(T* const* z) const {
    if (!model.norm) return 1;
    double square = 0;
    for (int l = 0; l < DEGREES; l++) {
      const int64_t n = (2 * l + 1) * static_cast<int64_t>(layer.pre[l]);
      Wide lanes = {};
      for (int64_t i = 0; i < n; i += Vector<double>::size) lanes += widen(z[l] + i) * widen(z[l] + i);
      if (n) square += sum<double>(lanes) * layer.norm[l];
    }
    return 1 / __builtin_sqrt(square + model.epsilon);
  }

  double gain(int l, int u) const { return model.norm ? layer.gain[l][u] : 1; }

  // Normalised to variance one, and its derivative.
  double silu(double y) const { return y * model.gate_scale / (1 + __builtin_exp(-y)); }
  double silu_slope(double y) const {
    const double p = 1 / (1 + __builtin_exp(-y));
    return p * (1 + y * (1 - p)) * model.gate_scale;
  }

  void forward(T* const* z, T* const* h) const {
    const double s = scale(z);
    for (int u = 0; u < layer.out[0]; u++) h[0][u] = static_cast<T>(silu(z[0][u] * gain(0, u) * s));
    for (int l = 1; l < DEGREES; l++)
      for (int u = 0; u < layer.out[l]; u++) {
        const int gate = layer.gate[l] + u;
        const double factor = silu(z[0][gate] * gain(0, gate) * s) * gain(l, u) * s;
        for (int m = 0; m <= 2 * l; m++)
          h[l][m * layer.out[l] + u] = static_cast<T>(z[l][m * layer.out[l] + u] * factor);
      }
  }

  // The readout of the last layer's scalars, which are not rounded on the way.
  double energy(T* const* z) const {
    const double s = scale(z);
    double total = 0;
    for (int u = 0; u < layer.out[0]; u++) total += silu(z[0][u] * gain(0, u) * s) * model.readout[u];
    return total;
  }

  // dz from dh. `wide` has space for one number of every feature before the activation.
  void backward(T* const* z, T* const* dh, T* const* dz, double* wide) const {
    const double s = scale(z);
    double* dy[DEGREES];  // by z g
    for (int l = 0; l < DEGREES; l++) {
      dy[l] = wide;
      wide += (2 * l + 1) * static_cast<int64_t>(layer.pre[l]);
    }
    double inner = 0;  // sum of z dy: the part of the derivative that goes through s
    for (int u = 0; u < layer.out[0]; u++) {
      const double g = gain(0, u);
      dy[0][u] = dh[0][u] * silu_slope(z[0][u] * g * s) * g;
      inner += dy[0][u] * z[0][u];
    }
    for (int l = 1; l < DEGREES; l++)
      for (int u = 0; u < layer.out[l]; u++) {
        const int gate = layer.gate[l] + u;
        const double g = gain(l, u);
        const double y = z[0][gate] * gain(0, gate) * s;
        const double factor = silu(y) * g;
        double product = 0;
        for (int m = 0; m <= 2 * l; m++) {
          const int64_t i = m * layer.out[l] + u;
          product += static_cast<double>(dh[l][i]) * z[l][i];
          dy[l][i] = dh[l][i] * factor;
        }
        inner += product * factor;
        dy[0][gate] = product * g * s * silu_slope(y) * gain(0, gate);
        inner += dy[0][gate] * z[0][gate];
      }
    for (int l = 0; l < DEGREES; l++) {
      const double through_scale = model.norm ? s * s * s * inner * layer.norm[l] : 0;
      for (int64_t i = 0; i < (2 * l + 1) * static_cast<int64_t>(layer.pre[l]); i++)
        dz[l][i] = static_cast<T>(dy[l][i] * s - z[l][i] * through_scale);
    }
  }
};

}  // namespace
}  // namespace nequix::NEQUIX_ISA

#endif
