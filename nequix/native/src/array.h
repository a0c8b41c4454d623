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

// An array whose memory is kept while it suffices.
template <class T>
class ReusableArray {
 public:
  // Make space for n elements, which are undefined afterwards. The first size is met exactly; later ones
  // leave room for an eighth more, so that sizes that fluctuate soon fit.
  T* resize(int64_t n) {
    if (n > size_) {
      const int64_t size = size_ < 0 ? n : n + n / 8;
      array_ = Array<T>(0);  // the old memory is freed first
      size_ = 0;
      array_ = Array<T>(size);
      size_ = size;
    }
    return array_.get();
  }
  T* get() const { return array_.get(); }
  int64_t bytes() const { return size_ > 0 ? size_ * static_cast<int64_t>(sizeof(T)) : 0; }

 private:
  Array<T> array_{0};
  int64_t size_ = -1;  // -1 before the first resize
};

}  // namespace nequix

#endif
