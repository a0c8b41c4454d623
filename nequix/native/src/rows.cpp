#include "rows.h"

#include <algorithm>
#include <cstring>

#include "threads.h"

namespace nequix {
namespace {

constexpr int64_t BYTES_PER_THREAD = 1 << 20;  // fewer take less time than ten starts of a thread

}  // namespace

template <class T>
template <class F>
void RowBlocks<T>::visit(const NodeList& nodes, int n_threads, F work) const {
  const int64_t row = width_ * static_cast<int64_t>(sizeof(T));
  const int64_t worthwhile = nodes.n * row / BYTES_PER_THREAD;
  n_threads = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(n_threads, worthwhile)));
  run_threads(n_threads, [&](int thread) {
    const int64_t begin = width_ * thread / n_threads;
    const int64_t end = width_ * (thread + 1) / n_threads;
    for (int64_t i = 0; i < nodes.n; i++)
      for (const Block& block : blocks_) {
        const int64_t from = std::max(begin, block.offset);
        const int64_t to = std::min(end, block.offset + block.width);
        if (from < to)
          work(block.rows + nodes[i] * block.width + from - block.offset,
               i * row + from * static_cast<int64_t>(sizeof(T)), to - from);
      }
  });
}

template <class T>
void RowBlocks<T>::read(const NodeList& nodes, char* buffer, int n_threads) const {
  visit(nodes, n_threads, [buffer](const T* place, int64_t byte, int64_t n) {
    std::memcpy(buffer + byte, place, n * sizeof(T));
  });
}

template <class T>
void RowBlocks<T>::set_rows(const NodeList& nodes, const char* buffer, int n_threads) const {
  visit(nodes, n_threads,
        [buffer](T* place, int64_t byte, int64_t n) { std::memcpy(place, buffer + byte, n * sizeof(T)); });
}

template <class T>
void RowBlocks<T>::add_rows(const NodeList& nodes, const char* buffer, int n_threads) const {
  visit(nodes, n_threads, [buffer](T* place, int64_t byte, int64_t n) {
    for (int64_t k = 0; k < n; k++) {
      T value;  // a copy: the buffer may have any alignment
      std::memcpy(&value, buffer + byte + k * sizeof(T), sizeof(T));
      place[k] += value;
    }
  });
}

template class RowBlocks<float>;
template class RowBlocks<double>;

}  // namespace nequix
