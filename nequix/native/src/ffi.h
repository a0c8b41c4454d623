// The part of XLA's arguments of a foreign function that is read here; names are this project's.
#ifndef NEQUIX_FFI_H
#define NEQUIX_FFI_H

#include <cstddef>
#include <cstdint>

namespace nequix {
namespace ffi {

enum { METADATA = 1, EXECUTE = 3, INVALID_ARGUMENT = 3, ATTRIBUTE_SCALAR = 3 };
enum { S32 = 4, S64 = 5, F32 = 11, F64 = 12 };

struct Error;

struct ExtensionStart {
  size_t struct_size;
  int32_t type;
  ExtensionStart* next;
};

struct Version {
  size_t struct_size;
  ExtensionStart* extension_start;
  int major, minor;
};

struct Metadata {
  size_t struct_size;
  Version version;
  uint32_t traits;
};

struct MetadataExtension {
  ExtensionStart base;
  Metadata* metadata;
};

struct Span {
  const char* data;
  size_t size;
};

struct Scalar {
  int32_t type;
  void* value;
};

struct Buffer {
  size_t struct_size;
  ExtensionStart* extension_start;
  int32_t type;
  void* data;
  int64_t rank;
  int64_t* dims;
};

struct Buffers {  // arguments, and likewise results
  size_t struct_size;
  ExtensionStart* extension_start;
  int64_t size;
  int32_t* types;
  void** values;
};

struct Attributes {
  size_t struct_size;
  ExtensionStart* extension_start;
  int64_t size;
  int32_t* types;
  Span** names;
  void** values;
};

struct ErrorCreate {
  size_t struct_size;
  ExtensionStart* extension_start;
  const char* message;
  int32_t code;
};

struct Api {
  size_t struct_size;
  ExtensionStart* extension_start;
  Version version;
  const void* internal;
  Error* (*error_create)(ErrorCreate*);
};

struct CallFrame {
  size_t struct_size;
  ExtensionStart* extension_start;
  const Api* api;
  void* context;
  int32_t stage;
  Buffers args, rets;
  Attributes attrs;
};

}  // namespace ffi
}  // namespace nequix

#endif
