// One share of a divided system: stages that run when the caller has exchanged what they need.
#ifndef NEQUIX_PART_H
#define NEQUIX_PART_H

#include <atomic>
#include <cstdint>
#include <vector>

#include "array.h"
#include "evaluation.h"
#include "graph.h"
#include "instructions.h"
#include "model.h"
#include "rows.h"
#include "stages.h"

namespace nequix {

// A part in either precision. Arguments are those of the C interface; everything throws for those that are
// wrong, and for calls out of order.
class PartBase {
 public:
  virtual ~PartBase() = default;
  virtual int n_layers() const = 0;
  virtual int64_t width(int t) const = 0;
  virtual void begin(const PartGraph& graph, bool with_gradient, double* energies, double* gradient) = 0;
  virtual void forward(int t) = 0;
  virtual void backward(int t) = 0;
  virtual void read(bool derivatives, int t, const NodeList& nodes, void* buffer) const = 0;
  virtual void write(bool derivatives, int t, const NodeList& nodes, const void* buffer) = 0;
  virtual int64_t bytes() const = 0;
};

template <class T>
class Part : public PartBase {
 public:
  // Refers to all arguments. `calls` counts evaluations.
  Part(const Model<T>& model, const std::vector<int>& cells, const Kernels<T>& kernels,
       std::atomic<int64_t>& calls, int n_threads)
      : model_(model),
        cells_(cells),
        kernels_(kernels),
        calls_(calls),
        n_threads_(n_threads),
        stages_(model.n_layers) {}

  int n_layers() const override { return model_.n_layers; }
  int64_t width(int t) const override;
  void begin(const PartGraph& graph, bool with_gradient, double* energies, double* gradient) override;
  void forward(int t) override;
  void backward(int t) override;
  void read(bool derivatives, int t, const NodeList& nodes, void* buffer) const override;
  void write(bool derivatives, int t, const NodeList& nodes, const void* buffer) override;
  int64_t bytes() const override;

 private:
  RowBlocks<T> blocks(bool derivatives, int t) const;
  int64_t n_ghosts() const { return graph_.n_nodes - graph_.n_receivers; }
  // Find the ghosts whose features the receivers read.
  void find_senders();
  void check_features(int t) const;

  const Model<T>& model_;
  const std::vector<int>& cells_;
  const Kernels<T>& kernels_;
  std::atomic<int64_t>& calls_;
  const int n_threads_;
  StageOrder stages_;
  PartGraph graph_ = {};
  ReusableArray<int64_t> first_;
  EdgeOrder order_;
  EvaluationContext<T> context_;
  Evaluation<T> evaluation_ = {};
  ReusableArray<int> written_;  // of each ghost: the layer whose features were written last
};

}  // namespace nequix

#endif
