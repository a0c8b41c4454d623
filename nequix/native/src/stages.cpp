#include "stages.h"

#include "error.h"

namespace nequix {
namespace {

std::string named(const char* name, int t) { return std::string(name) + "(" + text(t) + ")"; }

void check_layer(const std::string& call, int t, int least, int n_layers) {
  if (t < least || t >= n_layers)
    fail(call + " was called, but t must be " + text(least) + " to " + text(n_layers - 1) +
         " in a model of " + text(n_layers) + " layers");
}

}  // namespace

void StageOrder::check_forward(int t) const {
  const std::string call = named("forward", t);
  check_layer(call, t, 0, n_layers_);
  check_stage(call, t);
}

void StageOrder::check_backward(int t) const {
  const std::string call = named("backward", t);
  check_layer(call, t, 0, n_layers_);
  require(!begun_ || with_gradient_,
          call + " was called in a step without a gradient: begin with with_gradient = 1");
  check_stage(call, 2 * n_layers_ - 1 - t);
}

void StageOrder::check_exchange(bool derivatives, int t) const {
  const std::string call = named(derivatives ? "an exchange of derivatives" : "an exchange of features", t);
  check_layer(call, t, 1, n_layers_);
  check_stage(call, derivatives ? 2 * n_layers_ - t : t);
}

void StageOrder::check_stage(const std::string& call, int stage) const {
  if (!begun_ || stage != next_) fail(call + " was called, but " + next_call() + " comes next");
}

std::string StageOrder::next_call() const {
  if (!begun_ || next_ == (with_gradient_ ? 2 : 1) * n_layers_) return "begin";
  return next_ < n_layers_ ? named("forward", next_) : named("backward", 2 * n_layers_ - 1 - next_);
}

}  // namespace nequix
