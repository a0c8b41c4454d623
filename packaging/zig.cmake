# CMake toolchain: compile with Zig for the system that the environment variable NEQUIX_TARGET names, such as
# x86_64-linux-gnu.2.28, aarch64-linux-gnu.2.28 or aarch64-macos. Zig comes from the package index (ziglang); it has the
# C libraries' headers and symbols, and links the C++ library statically.
set(target "$ENV{NEQUIX_TARGET}")
string(REGEX MATCH "^[^-]+" CMAKE_SYSTEM_PROCESSOR "${target}")
if(target MATCHES "macos")
  set(CMAKE_SYSTEM_NAME Darwin)
  set(CMAKE_OSX_SYSROOT "")
  set(CMAKE_OSX_DEPLOYMENT_TARGET "")
else()
  set(CMAKE_SYSTEM_NAME Linux)
endif()
if(NOT Python_EXECUTABLE)
  find_program(Python_EXECUTABLE NAMES python3 python REQUIRED)
endif()
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES Python_EXECUTABLE)
set(CMAKE_CXX_COMPILER "${Python_EXECUTABLE};-m;ziglang;c++;-target;${target}")
