// A dataset of float16, float32 or bfloat16 (uint16 with the attribute encoding), read as float32.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/trace/hdf5/h5.h"
#include "core/trace/tensor.h"

namespace doublep {

class FloatDataset {
 public:
  /// Opens (h5::open_dataset) and checks type and shape. Throws InputError that names `file` and
  /// the dataset.
  FloatDataset(hid_t file, const std::string& name, const std::string& path,
               const std::vector<std::int64_t>& expected_shape);
  /// Entries [first, first + count) of its first dimension, or all where count is 0, row-major. The
  /// stored form is held a block at a time.
  std::vector<float> read(std::int64_t first = 0, std::int64_t count = 0) const;
  /// See doublep::check_values; reads 16 MiB at a time.
  void check_values() const;

  const std::vector<std::int64_t>& shape() const { return shape_; }
  /// See h5::filtered.
  bool filtered() const { return h5::filtered(dataset_.get()); }

 private:
  template <class Visit>
  void visit_blocks(std::int64_t first, std::int64_t count, const Visit& visit) const;
  void read_block(const std::vector<hsize_t>& start, const std::vector<hsize_t>& count,
                  std::int64_t size, float* out) const;

  enum class Encoding { kFloat16, kBfloat16, kOther } encoding_ = Encoding::kOther;
  std::string place_;
  std::vector<std::int64_t> shape_;
  h5::Handle dataset_;
};

/// An empty dataset of the given type, contiguous and without compression. `place` is "file:
/// dataset name" for messages, here and below.
h5::Handle create_float_dataset(hid_t parent, const std::string& name,
                                const std::vector<std::int64_t>& shape, StoredType type,
                                const std::string& place);

/// Fills the block of extent `count` that begins at the index `start` with float32 data, row-major.
/// Throws InputError where a value is not finite in the stored type, or the disk is full.
void write_float_block(hid_t dataset, const std::vector<std::int64_t>& start,
                       const std::vector<std::int64_t>& count, const float* data, StoredType type,
                       const std::string& place);

}  // namespace doublep
