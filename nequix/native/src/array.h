// Uninitialised memory of the kernels, aligned to whole cache lines, so that no vector crosses one.
#ifndef NEQUIX_ARRAY_H
#define NEQUIX_ARRAY_H

#include <cstdint>
#include <memory>
#include <new>

namespace nequix {

template <class T>
class Array {
 public:
  explicit Array(int64_t n)
      : start_(static_cast<T*>(
            ::operator new(static_cast<size_t>(n) * sizeof(T) + ALIGNMENT, std::align_val_t(ALIGNMENT)))) {}
  T* get() const { return start_.get(); }

 private:
  static constexpr size_t ALIGNMENT = 64;
  struct Free {
    void operator()(T* p) const { ::operator delete(p, std::align_val_t(ALIGNMENT)); }
  };
  std::unique_ptr<T, Free> start_;
};

}  // namespace nequix

#endif
