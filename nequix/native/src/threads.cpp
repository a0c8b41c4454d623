#include "threads.h"

#include <system_error>
#include <thread>
#include <vector>

#include "error.h"

namespace nequix {

void Barrier::wait() {
  if (n_threads_ == 1) return;
  std::unique_lock<std::mutex> lock(mutex_);
  const int64_t round = round_;
  if (++arrived_ == n_threads_) {
    arrived_ = 0;
    round_++;
    all_.notify_all();
  } else {
    all_.wait(lock, [&] { return round_ != round; });
  }
}

void run_threads(int n_threads, const std::function<void(int)>& work) {
  std::vector<std::thread> others;
  others.reserve(n_threads);
  // No thread begins before all have started: a thread that cannot be started must leave none waiting at a
  // barrier.
  std::mutex gate;
  bool abandoned = false;
  {
    const std::lock_guard<std::mutex> closed(gate);
    try {
      for (int thread = 1; thread < n_threads; thread++)
        others.emplace_back([&, thread] {
          {
            const std::lock_guard<std::mutex> passed(gate);
          }
          if (!abandoned) work(thread);
        });
    } catch (const std::exception&) {
      abandoned = true;
    }
  }
  if (!abandoned) work(0);
  for (std::thread& other : others) other.join();
  require(!abandoned, "the system refused to start " + text(n_threads) + " threads; ask for fewer");
}

}  // namespace nequix
