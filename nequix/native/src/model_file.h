// Model files for C and C++ hosts: the specification of nequix_create with its arrays, and where the model
// comes from (docs/native.md). They are written by nequix.native.export.
#ifndef NEQUIX_MODEL_FILE_H
#define NEQUIX_MODEL_FILE_H

#include <cstdint>
#include <deque>
#include <set>
#include <string>
#include <vector>

#include "nequix.h"
#include "safetensors.h"

namespace nequix {

// A model file whose format, version and checksum are right. All throw std::invalid_argument.
class ModelFile {
 public:
  // The bytes must outlive the object.
  ModelFile(const unsigned char* bytes, int64_t size);

  nequix_description describe() const;
  const Tensor* find(const std::string& name) const;
  const Safetensors& contents() const { return contents_; }

 private:
  Safetensors contents_;
};

// The specification of a model file in one precision; owns the arrays that it points to.
class FileSpecification {
 public:
  FileSpecification(const ModelFile& file, int32_t bits);
  FileSpecification(const FileSpecification&) = delete;
  FileSpecification& operator=(const FileSpecification&) = delete;

  const nequix_spec& spec() const { return spec_; }

 private:
  using Shape = std::vector<int64_t>;
  void read_layer(int t);
  const Tensor& tensor(const std::string& name);
  const double* reals(const std::string& name, const Shape& shape);
  const double* optional_reals(const std::string& name, const Shape& shape);
  const int32_t* integers(const std::string& name, const Shape& shape);
  void check_unused() const;

  const ModelFile& file_;
  const std::string suffix_;  // of the tensors that each precision has its own of
  std::deque<std::vector<double>> reals_;
  std::deque<std::vector<int32_t>> integers_;
  std::deque<std::vector<nequix_path>> paths_;
  std::vector<nequix_layer> layers_;
  std::set<std::string> used_;
  nequix_spec spec_ = {};
};

// The checksum of a model file: SHA-256 of its bytes, with zeros in place of the checksum itself.
std::string file_checksum(const unsigned char* bytes, int64_t size, int64_t place);

}  // namespace nequix

#endif
