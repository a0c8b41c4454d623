#include "model_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "error.h"
#include "sha256.h"

namespace nequix {
namespace {

constexpr const char* FORMAT = "nequix-native";
constexpr int VERSION = 1;
constexpr int64_t DIGEST = 64;  // hexadecimal digits
constexpr int32_t MOST_LAYERS = 1024;

std::string show(const std::vector<int64_t>& shape) {
  std::string shown = "(";
  for (size_t i = 0; i < shape.size(); i++) shown += (i ? ", " : "") + text(shape[i]);
  return shown + ")";
}

std::string value_of(const Safetensors& contents, const std::string& key) {
  const auto found = contents.metadata.find(key);
  return found == contents.metadata.end() ? std::string() : found->second;
}

void check_format(const Safetensors& contents) {
  const std::string format = value_of(contents, "format");
  if (format == "nequix")
    fail(
        "it is a weight file, not a model file for C and C++ programs: "
        "`nequix lammps export WEIGHTS FILE.lammps` makes one from it");
  if (format != FORMAT)
    fail("it is not a model file of nequix (its metadata lacks format = '" + std::string(FORMAT) +
         "'): make one with `nequix lammps export`");
  const std::string version = value_of(contents, "format_version");
  const bool number = !version.empty() && version.size() < 9 &&
                      version.find_first_not_of("0123456789") == std::string::npos && version[0] != '0';
  require(number, "its format_version is not a whole number: export it again with `nequix lammps export`");
  if (std::stoi(version) > VERSION)
    fail("it has format version " + version + ", and this program reads up to " + text(VERSION) +
         ": build it again from a newer nequix, or export the file with the nequix that built it");
}

void check_sum(const Safetensors& contents, const unsigned char* bytes, int64_t size) {
  const auto place = contents.places.find("checksum");
  const std::string claimed = value_of(contents, "checksum");
  const bool whole = static_cast<int64_t>(claimed.size()) == DIGEST && place->second + DIGEST <= size;
  if (!whole || claimed != file_checksum(bytes, size, place->second))
    fail(
        "its checksum is wrong, so the file was damaged or edited: copy it again, or export it again with "
        "`nequix lammps export`");
}

// Copy a text to a field, cut between characters; control characters become blanks.
template <size_t N>
void copy_text(char (&field)[N], const std::string& text) {
  size_t n = std::min(text.size(), N - 1);
  while (n < text.size() && n > 0 && (text[n] & 0xc0) == 0x80) n--;
  for (size_t i = 0; i < n; i++) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    field[i] = c < ' ' || c == 127 ? ' ' : text[i];
  }
  field[n] = 0;
}

template <class T>
T read_number(const unsigned char* bytes) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#  error "model files are little-endian"
#endif
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

std::vector<double> read_reals(const Tensor& tensor, const std::string& name) {
  std::vector<double> values(static_cast<size_t>(tensor.count));
  const bool narrow = tensor.type == "F32";
  require(narrow || tensor.type == "F64", "tensor " + name + " has type " + tensor.type + ", expected reals");
  for (int64_t i = 0; i < tensor.count; i++) {
    values[i] =
        narrow ? double{read_number<float>(tensor.data + 4 * i)} : read_number<double>(tensor.data + 8 * i);
    if (!std::isfinite(values[i])) fail("tensor " + name + " has a number that is not finite");
  }
  return values;
}

std::vector<int32_t> read_integers(const Tensor& tensor, const std::string& name) {
  require(tensor.type == "I32", "tensor " + name + " has type " + tensor.type + ", expected I32");
  std::vector<int32_t> values(static_cast<size_t>(tensor.count));
  for (int64_t i = 0; i < tensor.count; i++) values[i] = read_number<int32_t>(tensor.data + 4 * i);
  return values;
}

const Tensor& need(const ModelFile& file, const std::string& name) {
  const Tensor* tensor = file.find(name);
  if (!tensor) fail("it lacks the tensor " + name);
  return *tensor;
}

// A tensor of n numbers in one dimension, in the form of read.
template <class Read>
auto vector_of(const ModelFile& file, const std::string& name, int64_t n, Read&& read) {
  const Tensor& tensor = need(file, name);
  if (tensor.shape != std::vector<int64_t>{n})
    fail("tensor " + name + " has shape " + show(tensor.shape) + ", expected " + show({n}));
  return read(tensor, name);
}

// n_species, lmax, n_layers, layer_norm; the counts are limited so that loops over them end.
std::vector<int32_t> read_sizes(const ModelFile& file) {
  const std::vector<int32_t> sizes = vector_of(file, "sizes", 4, read_integers);
  require(sizes[0] > 0 && sizes[0] <= NEQUIX_MOST_ELEMENTS,
          "it has " + text(sizes[0]) + " elements, expected 1 to " + text(NEQUIX_MOST_ELEMENTS));
  require(sizes[2] > 0 && sizes[2] <= MOST_LAYERS,
          "it has " + text(sizes[2]) + " layers, expected 1 to " + text(MOST_LAYERS));
  return sizes;
}

}  // namespace

std::string file_checksum(const unsigned char* bytes, int64_t size, int64_t place) {
  const std::string zeros(DIGEST, '0');
  Sha256 sum;
  sum.update(bytes, place);
  sum.update(reinterpret_cast<const unsigned char*>(zeros.data()), DIGEST);
  sum.update(bytes + place + DIGEST, size - place - DIGEST);
  return sum.hexdigest();
}

ModelFile::ModelFile(const unsigned char* bytes, int64_t size) : contents_(bytes, size) {
  check_format(contents_);
  check_sum(contents_, bytes, size);
}

const Tensor* ModelFile::find(const std::string& name) const {
  const auto found = contents_.tensors.find(name);
  return found == contents_.tensors.end() ? nullptr : &found->second;
}

nequix_description ModelFile::describe() const {
  nequix_description description = {};
  const std::vector<int32_t> sizes = read_sizes(*this);
  const std::vector<int32_t> numbers = vector_of(*this, "atomic_numbers", sizes[0], read_integers);
  for (size_t i = 0; i < numbers.size(); i++)
    if (numbers[i] <= (i ? numbers[i - 1] : 0) || numbers[i] > NEQUIX_MOST_ELEMENTS)
      fail("its atomic numbers do not ascend from 1 to " + text(NEQUIX_MOST_ELEMENTS));
  std::copy(numbers.begin(), numbers.end(), description.atomic_numbers);
  description.cutoff = vector_of(*this, "constants", 3, read_reals)[0];
  require(description.cutoff > 0, "its cutoff is not positive");
  description.n_species = sizes[0];
  description.n_layers = sizes[2];
  for (const int bits : {32, 64})
    if (find("middles." + text(bits))) description.precisions |= bits;
  copy_text(description.name, value_of(contents_, "name"));
  copy_text(description.training_data, value_of(contents_, "training_data"));
  copy_text(description.theory, value_of(contents_, "theory"));
  copy_text(description.licence, value_of(contents_, "licence"));
  copy_text(description.citation, value_of(contents_, "citation"));
  copy_text(description.source, value_of(contents_, "source"));
  copy_text(description.digest, value_of(contents_, "digest"));
  copy_text(description.checksum, value_of(contents_, "checksum"));
  return description;
}

FileSpecification::FileSpecification(const ModelFile& file, int32_t bits)
    : file_(file), suffix_("." + text(bits)) {
  require(bits == 32 || bits == 64, "bits = " + text(bits) + ", expected 32 or 64");
  if (!file.find("middles" + suffix_))
    fail("it was exported without " + text(bits) + " bits: export it again with `nequix lammps export` " +
         "and without --precision");
  const std::vector<int32_t> sizes = read_sizes(file);
  spec_.n_species = sizes[0];
  spec_.lmax = sizes[1];
  spec_.n_layers = sizes[2];
  spec_.layer_norm = sizes[3];
  for (const char* name : {"sizes", "atomic_numbers"}) used_.insert(name);
  const double* constants = reals("constants", {3});
  spec_.cutoff = constants[0];
  spec_.gate_scale = constants[1];
  spec_.epsilon = constants[2];
  const std::string cells = "cells" + suffix_, middles = "middles" + suffix_;
  for (const std::string& name : {cells, middles})
    if (tensor(name).shape.size() != 1 || tensor(name).count > INT32_MAX) fail("wrong shape of " + name);
  spec_.n_cells = static_cast<int32_t>(tensor(cells).count);
  spec_.n_segments = static_cast<int32_t>(tensor(middles).count);
  spec_.cells = integers(cells, {spec_.n_cells});
  spec_.middles = reals(middles, {spec_.n_segments});
  spec_.halves = reals("halves" + suffix_, {spec_.n_segments});
  spec_.offset = reals("offset", {spec_.n_species});
  layers_.resize(static_cast<size_t>(spec_.n_layers));
  for (int t = 0; t < spec_.n_layers; t++) read_layer(t);
  spec_.layers = layers_.data();
  spec_.readout = reals("readout", {layers_.back().out[0]});
  check_unused();
}

void FileSpecification::read_layer(int t) {
  nequix_layer& layer = layers_[t];
  layer = {};
  const std::string where = "layers." + text(t) + ".";
  const int32_t* channels = integers(where + "channels", {5, NEQUIX_DEGREES});
  int32_t* const fields[] = {layer.in, layer.message, layer.pre, layer.out, layer.gate};
  for (int i = 0; i < 5; i++) std::copy_n(channels + NEQUIX_DEGREES * i, NEQUIX_DEGREES, fields[i]);
  std::copy_n(reals(where + "norm", {NEQUIX_DEGREES}), NEQUIX_DEGREES, layer.norm);

  const Tensor& paths = tensor(where + "paths");
  if (paths.shape.size() != 2 || paths.count > INT32_MAX) fail("wrong shape of " + where + "paths");
  const int32_t* fields_of_paths = integers(where + "paths", {paths.shape[0], 6});
  layer.n_paths = static_cast<int32_t>(paths.shape[0]);
  paths_.emplace_back();
  for (int p = 0; p < layer.n_paths; p++) {
    const int32_t* f = fields_of_paths + 6 * p;
    paths_.back().push_back({f[0], f[1], f[2], f[3], f[4], f[5]});
  }
  layer.paths = paths_.back().data();

  const std::string table_name = where + "table" + suffix_;
  const Tensor& table = tensor(table_name);
  if (table.shape.size() != 3 || table.shape[1] > INT32_MAX || table.shape[2] > INT32_MAX)
    fail("wrong shape of " + table_name);
  layer.n_weights = static_cast<int32_t>(table.shape[1]);
  const int32_t degree = static_cast<int32_t>(table.shape[2]) - 1;
  if (t && degree != spec_.degree) fail("the tables of its layers have unequal degrees");
  spec_.degree = degree;
  layer.table = reals(table_name, {spec_.n_segments, layer.n_weights, degree + 1});
  for (int l = 0; l < NEQUIX_DEGREES; l++) {
    const std::string end = "." + text(l);
    const int64_t rows = t ? layer.in[l] : spec_.n_species;
    layer.linear_1[l] = optional_reals(where + "linear_1" + end, {rows, layer.in[l]});
    layer.linear_2[l] = optional_reals(where + "linear_2" + end, {layer.message[l], layer.pre[l]});
    layer.skip[l] = optional_reals(where + "skip" + end, {rows, layer.pre[l]});
    layer.gain[l] = optional_reals(where + "gain" + end, {layer.pre[l]});
  }
}

const Tensor& FileSpecification::tensor(const std::string& name) {
  used_.insert(name);
  return need(file_, name);
}

const double* FileSpecification::reals(const std::string& name, const Shape& shape) {
  const Tensor& found = tensor(name);
  if (found.shape != shape)
    fail("tensor " + name + " has shape " + show(found.shape) + ", expected " + show(shape));
  reals_.push_back(read_reals(found, name));
  return reals_.back().data();
}

const double* FileSpecification::optional_reals(const std::string& name, const Shape& shape) {
  return file_.find(name) ? reals(name, shape) : nullptr;
}

const int32_t* FileSpecification::integers(const std::string& name, const Shape& shape) {
  const Tensor& found = tensor(name);
  if (found.shape != shape)
    fail("tensor " + name + " has shape " + show(found.shape) + ", expected " + show(shape));
  integers_.push_back(read_integers(found, name));
  return integers_.back().data();
}

void FileSpecification::check_unused() const {
  const std::string other = suffix_ == ".32" ? ".64" : ".32";
  for (const auto& entry : file_.contents().tensors) {
    const std::string& name = entry.first;
    const bool of_other = name.size() > 3 && !name.compare(name.size() - 3, 3, other);
    if (!used_.count(name) && !of_other) fail("it has an unknown tensor '" + name.substr(0, 60) + "'");
  }
}

}  // namespace nequix
