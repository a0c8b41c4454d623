#include "safetensors.h"

#include <cstring>

#include "error.h"

namespace nequix {
namespace {

constexpr int64_t MOST_HEADER = 1 << 20;
constexpr size_t MOST_DIMENSIONS = 3;
constexpr int64_t MOST_NUMBER = int64_t{1} << 53;  // beyond, JSON's numbers are not exact

[[noreturn]] void damaged(const std::string& what) {
  fail("it is damaged or not a model file (" + what + "): export it again with `nequix lammps export`");
}

int64_t read_length(const unsigned char* bytes) {
  uint64_t length = 0;
  for (int i = 7; i >= 0; i--) length = length << 8 | bytes[i];
  return length > static_cast<uint64_t>(INT64_MAX) ? INT64_MAX : static_cast<int64_t>(length);
}

int64_t item_size(const std::string& type) {
  if (type == "F64") return 8;
  if (type == "F32" || type == "I32") return 4;
  damaged("a tensor of type " + type.substr(0, 16));
}

// The subset of JSON that such headers consist of: objects, strings, and lists of whole numbers.
class Json {
 public:
  Json(const unsigned char* start, const unsigned char* end) : at_(start), end_(end) {}

  const unsigned char* at() const { return at_; }

  // Read an object; visit(key) must read the value.
  template <class Visit>
  void object(Visit&& visit) {
    list('{', '}', [&] {
      const std::string key = string();
      expect(':');
      visit(key);
    });
  }

  std::vector<int64_t> numbers() {
    std::vector<int64_t> values;
    list('[', ']', [&] {
      if (values.size() == MOST_DIMENSIONS) damaged("more than three dimensions");
      values.push_back(number());
    });
    return values;
  }

  std::string string() {
    expect('"');
    std::string text;
    for (;;) {
      const unsigned char c = next();
      if (c == '"') return text;
      if (c < ' ') damaged("a control character in a string of the header");
      if (c == '\\')
        escape(text);
      else
        text += static_cast<char>(c);
    }
  }

  void finish() {
    blank();
    if (at_ != end_) damaged("text after the header");
  }

 private:
  template <class Item>
  void list(char open, char close, Item&& item) {
    expect(open);
    if (accept(close)) return;
    do item();
    while (accept(','));
    expect(close);
  }

  void blank() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) at_++;
  }
  bool accept(char c) {
    blank();
    if (at_ == end_ || *at_ != static_cast<unsigned char>(c)) return false;
    at_++;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) damaged(std::string("the header lacks a ") + c);
  }
  unsigned char next() {
    if (at_ == end_) damaged("the header ends early");
    return *at_++;
  }

  int64_t number() {
    blank();
    int64_t value = 0;
    const unsigned char* const start = at_;
    for (; at_ != end_ && *at_ >= '0' && *at_ <= '9'; at_++) {
      value = 10 * value + (*at_ - '0');
      if (value > MOST_NUMBER) damaged("a number of the header is too large");
    }
    if (at_ == start) damaged("the header lacks a whole number");
    return value;
  }

  uint32_t hexadecimal() {
    uint32_t code = 0;
    for (int i = 0; i < 4; i++) {
      const unsigned char c = next();
      const char* const digits = "0123456789abcdef";
      const char* const digit = std::strchr(digits, c >= 'A' && c <= 'F' ? c + ('a' - 'A') : c);
      if (!c || !digit) damaged("an escape in the header");
      code = 16 * code + static_cast<uint32_t>(digit - digits);
    }
    return code;
  }

  void escape(std::string& text) {
    const unsigned char c = next();
    const char* const plain = "\"\\/bfnrt";
    const char* const meant = "\"\\/\b\f\n\r\t";
    if (const char* found = c ? std::strchr(plain, c) : nullptr) {
      text += meant[found - plain];
      return;
    }
    if (c != 'u') damaged("an escape in the header");
    uint32_t code = hexadecimal();
    if (code >= 0xd800 && code < 0xdc00) {
      if (next() != '\\' || next() != 'u') damaged("half a character in the header");
      const uint32_t low = hexadecimal();
      if (low < 0xdc00 || low > 0xdfff) damaged("half a character in the header");
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    append_utf8(text, code);
  }

  static void append_utf8(std::string& text, uint32_t code) {
    const int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    const uint32_t lead[] = {0, 0xc0, 0xe0, 0xf0};
    text += static_cast<char>(lead[more] | code >> 6 * more);
    for (int i = more - 1; i >= 0; i--) text += static_cast<char>(0x80 | (code >> 6 * i & 0x3f));
  }

  const unsigned char *at_, *end_;
};

Tensor read_tensor(Json& json, const unsigned char* data, int64_t size, const std::string& name) {
  Tensor tensor = {};
  std::vector<int64_t> offsets;
  json.object([&](const std::string& key) {
    if (key == "dtype")
      tensor.type = json.string();
    else if (key == "shape")
      tensor.shape = json.numbers();
    else if (key == "data_offsets")
      offsets = json.numbers();
    else
      damaged("unknown field '" + key.substr(0, 40) + "' of tensor " + name);
  });
  const int64_t item = item_size(tensor.type);
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > size)
    damaged("tensor " + name + " lies beyond the end of the file");
  tensor.count = 1;
  for (const int64_t n : tensor.shape) {
    if (n && tensor.count > size / n) damaged("tensor " + name + " is larger than the file");
    tensor.count *= n;
  }
  if (offsets[1] - offsets[0] != tensor.count * item)
    damaged("tensor " + name + " does not have the size of its shape");
  tensor.data = data + offsets[0];
  return tensor;
}

}  // namespace

Safetensors::Safetensors(const unsigned char* bytes, int64_t size) {
  if (size < 8) damaged("only " + text(size) + " bytes");
  const int64_t length = read_length(bytes);
  if (length > size - 8 || length > MOST_HEADER) damaged("truncated, or not in the safetensors format");
  const unsigned char* const data = bytes + 8 + length;
  Json json(bytes + 8, data);
  json.object([&](const std::string& name) {
    if (name == "__metadata__") {
      json.object([&](const std::string& key) {
        const unsigned char* const before = json.at();
        const std::string value = json.string();
        if (!metadata.emplace(key, value).second) damaged("metadata named twice");
        // After the opening quotation mark, wherever blanks are.
        const void* const quote = std::memchr(before, '"', static_cast<size_t>(json.at() - before));
        places[key] = static_cast<const unsigned char*>(quote) + 1 - bytes;
      });
      return;
    }
    const std::string shown = "'" + name.substr(0, 60) + "'";
    if (!tensors.emplace(name, read_tensor(json, data, size - 8 - length, shown)).second)
      damaged("two tensors named " + shown);
  });
  json.finish();
}

}  // namespace nequix
