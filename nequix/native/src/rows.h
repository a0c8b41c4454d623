// Rows of nodes, copied to and from the buffers of an exchange. A node has one row for each degree in the
// part's arrays, and one for all of them in a buffer.
#ifndef NEQUIX_ROWS_H
#define NEQUIX_ROWS_H

#include <cstdint>
#include <vector>

namespace nequix {

// Nodes as listed or, without a list, n in a row.
struct NodeList {
  int64_t n;
  const int32_t* nodes;
  int64_t start;
  int64_t operator[](int64_t i) const { return nodes ? nodes[i] : start + i; }
};

template <class T>
class RowBlocks {
 public:
  // Add the array of the next degree, with a given number of values per node.
  void add(T* rows, int64_t width) {
    blocks_.push_back({rows, width, width_});
    width_ += width;
  }

  // Copy rows; large copies take up to n_threads threads. A node may be listed several times.
  void read(const NodeList& nodes, char* buffer, int n_threads) const;
  void set_rows(const NodeList& nodes, const char* buffer, int n_threads) const;
  void add_rows(const NodeList& nodes, const char* buffer, int n_threads) const;

 private:
  struct Block {
    T* rows;
    int64_t width;
    int64_t offset;  // in a buffer's row
  };
  // Call work(place in the array, byte in the buffer, numbers) for all rows. Each thread has a range of
  // columns, so that none of them shares a place with another.
  template <class F>
  void visit(const NodeList& nodes, int n_threads, F work) const;

  std::vector<Block> blocks_;
  int64_t width_ = 0;
};

}  // namespace nequix

#endif
