// The order of a part's calls: begin, forward 0 to the last layer, backward from there to layer 0, exchanges
// in between.
#ifndef NEQUIX_STAGES_H
#define NEQUIX_STAGES_H

#include <string>

namespace nequix {

class StageOrder {
 public:
  explicit StageOrder(int n_layers) : n_layers_(n_layers), next_(2 * n_layers) {}

  void begin(bool with_gradient) {
    begun_ = true;
    with_gradient_ = with_gradient;
    next_ = 0;
  }
  // Only begin() may follow.
  void abandon() { begun_ = false; }

  // All checks throw std::invalid_argument with what comes next.
  void check_forward(int t) const;
  void check_backward(int t) const;
  // Features t are exchanged before forward(t), derivatives t before backward(t - 1).
  void check_exchange(bool derivatives, int t) const;

  // The stage that was checked last has run.
  void advance() { next_++; }

 private:
  // Stages are counted: forward(t) is t, backward(t) is 2 n_layers - 1 - t.
  void check_stage(const std::string& call, int stage) const;
  std::string next_call() const;

  const int n_layers_;
  int next_;
  bool begun_ = false;
  bool with_gradient_ = false;
};

}  // namespace nequix

#endif
