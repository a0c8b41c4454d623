// Messages: failures are exceptions inside the library, and texts at its C interface.
#ifndef NEQUIX_ERROR_H
#define NEQUIX_ERROR_H

#include <cstdint>
#include <stdexcept>
#include <string>

namespace nequix {

inline std::string text(int64_t number) { return std::to_string(number); }

[[noreturn]] inline void fail(const std::string& message) { throw std::invalid_argument(message); }

// For messages that cost nothing to make; in loops, test first and call fail().
inline void require(bool condition, const std::string& message) {
  if (!condition) fail(message);
}

}  // namespace nequix

#endif
