// Exceptions become messages here, at the border of the C interface.
#ifndef NEQUIX_GUARDED_H
#define NEQUIX_GUARDED_H

#include <exception>
#include <new>
#include <string>

namespace nequix {

// Call a function. Returns null, or what went wrong; the text lives until the same thread's next call.
template <class F>
const char* guarded(F&& function) {
  static thread_local std::string message;
  try {
    function();
    return nullptr;
  } catch (const std::bad_alloc&) {
    return "out of memory";
  } catch (const std::exception& error) {
    message = error.what();
    return message.c_str();
  }
}

}  // namespace nequix

#endif
