#include "registry.h"

#include <iterator>
#include <map>
#include <mutex>

#if defined(__unix__) || defined(__APPLE__)
#  include <pthread.h>
#endif

namespace nequix {
namespace {

std::mutex mutex;

#if defined(__unix__) || defined(__APPLE__)
// A fork waits for a thread that has the mutex; in the child it would never be released.
[[maybe_unused]] const int fork_handlers =
    pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); }, [] { mutex.unlock(); });
#endif

// Never destroyed: threads may outlive the end of the program.
std::map<int64_t, std::weak_ptr<nequix_model>>& models_by_key() {
  static auto* models = new std::map<int64_t, std::weak_ptr<nequix_model>>;
  return *models;
}

}  // namespace

void register_model(const std::shared_ptr<nequix_model>& model, int64_t key) {
  const std::lock_guard<std::mutex> lock(mutex);
  auto& models = models_by_key();
  for (auto entry = models.begin(); entry != models.end();)
    entry = entry->second.expired() ? models.erase(entry) : std::next(entry);
  models[key] = model;
}

std::shared_ptr<nequix_model> find_model(int64_t key) {
  const std::lock_guard<std::mutex> lock(mutex);
  const auto entry = models_by_key().find(key);
  return entry == models_by_key().end() ? nullptr : entry->second.lock();
}

}  // namespace nequix
