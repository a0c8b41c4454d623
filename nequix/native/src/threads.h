// Threads live as long as one evaluation: nothing remains that a fork could lose.
#ifndef NEQUIX_THREADS_H
#define NEQUIX_THREADS_H

#include <condition_variable>
#include <functional>
#include <mutex>

namespace nequix {

// Waits until all threads arrive. They sleep, since the machine may be shared.
class Barrier {
 public:
  explicit Barrier(int n_threads) : n_threads_(n_threads) {}
  void wait();

 private:
  std::mutex mutex_;
  std::condition_variable all_;
  const int n_threads_;
  int arrived_ = 0;
  int64_t round_ = 0;
};

// Call work(0), ..., work(n_threads - 1) at the same time, the first in the calling thread. The work must not
// throw. Throws if the system refuses to start that many threads; then none has worked.
void run_threads(int n_threads, const std::function<void(int)>& work);

}  // namespace nequix

#endif
