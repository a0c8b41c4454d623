// XLA's foreign function interface: handlers that JAX calls on a CPU.
//
// The structures below are those of XLA's C interface, version 0.x, as far as these handlers read them: XLA
// keeps them compatible and states every structure's size. A test compares them with the headers of the
// installed jaxlib.
#include "ffi.h"

#include <cstring>
#include <string>
#include <vector>

#include "nequix.h"
#include "registry.h"

namespace {

using namespace nequix::ffi;

Error* fail(const CallFrame* frame, const char* message) {
  ErrorCreate arguments = {sizeof(ErrorCreate), nullptr, message, INVALID_ARGUMENT};
  return frame->api->error_create(&arguments);
}

const Buffer& argument(const CallFrame* frame, int index) {
  return *static_cast<Buffer*>(frame->args.values[index]);
}
const Buffer& result(const CallFrame* frame, int index) {
  return *static_cast<Buffer*>(frame->rets.values[index]);
}

int64_t size(const Buffer& buffer) {
  int64_t n = 1;
  for (int64_t i = 0; i < buffer.rank; i++) n *= buffer.dims[i];
  return n;
}

// Attributes are int64 scalars.
int64_t attribute(const CallFrame* frame, const char* name) {
  for (int64_t i = 0; i < frame->attrs.size; i++) {
    const Span& span = *frame->attrs.names[i];
    if (span.size == std::strlen(name) && !std::memcmp(span.data, name, span.size) &&
        frame->attrs.types[i] == ATTRIBUTE_SCALAR) {
      const Scalar& scalar = *static_cast<Scalar*>(frame->attrs.values[i]);
      if (scalar.type == S64) return *static_cast<int64_t*>(scalar.value);
    }
  }
  return 0;
}

// Reals of either precision, read and written as float64.
class Reals {
 public:
  explicit Reals(const Buffer& buffer) : buffer_(buffer) {
    if (buffer.type == F64) return;
    const float* values = static_cast<const float*>(buffer.data);
    copy_.assign(values, values + size(buffer));
  }
  double* get() { return buffer_.type == F64 ? static_cast<double*>(buffer_.data) : copy_.data(); }
  void write() {
    if (buffer_.type == F32)
      for (size_t i = 0; i < copy_.size(); i++)
        static_cast<float*>(buffer_.data)[i] = static_cast<float>(copy_[i]);
  }

 private:
  const Buffer& buffer_;
  std::vector<double> copy_;
};

// Arguments: vectors (e, 3), senders (e), receivers (e), species (n) and, for the gradient, seed (n). Result:
// energies (n), or the gradient (e, 3).
Error* evaluate(CallFrame* frame, bool gradient) {
  for (ExtensionStart* extension = frame->extension_start; extension; extension = extension->next)
    if (extension->type == METADATA) {
      Metadata* metadata = reinterpret_cast<MetadataExtension*>(extension)->metadata;
      metadata->version.major = 0;
      metadata->version.minor = 1;
      metadata->traits = 0;
      return nullptr;
    }
  if (frame->stage != EXECUTE) return nullptr;
  const int n_arguments = gradient ? 5 : 4;
  if (frame->args.size != n_arguments || frame->rets.size != 1)
    return fail(frame, "wrong number of arguments");
  for (int i = 0; i < n_arguments; i++) {
    const bool real = i == 0 || i == 4;
    const int32_t type = argument(frame, i).type;
    if (real ? type != F32 && type != F64 : type != S32) return fail(frame, "an argument has the wrong type");
  }
  const Buffer& out = result(frame, 0);
  const int64_t n_edges = size(argument(frame, 1)), n_nodes = size(argument(frame, 3));
  if (size(argument(frame, 0)) != 3 * n_edges || size(argument(frame, 2)) != n_edges ||
      size(out) != (gradient ? 3 * n_edges : n_nodes) || (out.type != F32 && out.type != F64) ||
      (gradient && size(argument(frame, 4)) != n_nodes))
    return fail(frame, "an argument has the wrong shape");
  const std::shared_ptr<nequix_model> model = nequix::find_model(attribute(frame, "model"));
  if (!model) return fail(frame, "this process has no such model: create the potential again");
  try {
    Reals vectors(argument(frame, 0));
    Reals outcome(out);
    std::vector<double> energies(gradient ? n_nodes : 0);
    std::vector<double> seed;
    if (gradient) {
      Reals weights(argument(frame, 4));
      seed.assign(weights.get(), weights.get() + n_nodes);
    }
    const auto integers = [&](int i) { return static_cast<const int32_t*>(argument(frame, i).data); };
    const char* message = nequix_evaluate(
        model.get(), n_nodes, n_edges, vectors.get(), integers(1), integers(2), integers(3),
        gradient ? seed.data() : nullptr, gradient ? energies.data() : outcome.get(),
        gradient ? outcome.get() : nullptr, static_cast<int32_t>(attribute(frame, "threads")));
    if (message) return fail(frame, message);
    outcome.write();
  } catch (const std::exception& error) {
    return fail(frame, error.what());
  }
  return nullptr;
}

}  // namespace

extern "C" {

NEQUIX_API Error* nequix_ffi_energies(CallFrame* frame) { return evaluate(frame, false); }
NEQUIX_API Error* nequix_ffi_gradient(CallFrame* frame) { return evaluate(frame, true); }
}
