// The memory of an evaluation, which may serve many.
#ifndef NEQUIX_MEMORY_H
#define NEQUIX_MEMORY_H

#include <cstdint>
#include <deque>
#include <vector>

#include "array.h"
#include "graph.h"
#include "model.h"

namespace nequix {

// The features of all layers, their derivatives and the threads' workspaces.
template <class T>
class Memory {
 public:
  // Make space for a graph; contents are undefined afterwards. Without rows of senders there are no
  // derivatives. `workspace` is the size of a thread's.
  void resize(const Model<T>& model, const PartGraph& graph, const SenderRows* rows, int n_threads,
              int64_t workspace);

  // Give the features that enter a layer memory of their own, which the layers after it do not overwrite.
  void keep_input(const Model<T>& model, int64_t n_receivers, int layer);

  void bind(Evaluation<T>& e);

  // Features (or derivatives, of the layer that ran last) of layer t, degree l: a row per node.
  T* features(int t, int l) const { return x_[t * DEGREES + l]; }
  T* derivatives(int l) const { return dx_[l]; }

  int64_t bytes() const;

 private:
  // Arrays are taken in the same order for every graph, so that each finds its memory again; those that are
  // not needed are taken too, without elements.
  T* take(int64_t n);
  void take_degree(const Model<T>& model, const PartGraph& graph, int l, bool derivatives);

  std::deque<ReusableArray<T>> arrays_;
  size_t n_taken_ = 0;
  std::vector<T*> x_, z_, h_, dx_, workspaces_;
  T* dh_[2][DEGREES] = {};
};

}  // namespace nequix

#endif
