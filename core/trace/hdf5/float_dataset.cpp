#include "core/trace/hdf5/float_dataset.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/base/half.h"

namespace doublep {
namespace {

// HDF5 has no name for it before 1.14.
h5::Handle float16_type() {
  h5::Handle type(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
  H5Tset_fields(type.get(), 15, 10, 5, 0, 10);
  H5Tset_size(type.get(), 2);
  H5Tset_ebias(type.get(), 15);
  return type;
}

// Values in memory at a time, beside what is kept: 16 MiB of float32.
constexpr std::int64_t kBlock = 4 << 20;

}  // namespace

FloatDataset::FloatDataset(hid_t file, const std::string& name, const std::string& path,
                           const std::vector<std::int64_t>& expected_shape)
    : place_(path + ": dataset " + name) {
  const std::string expected = shape_text(expected_shape);
  dataset_ = h5::open_dataset(file, name, place_, expected, [&](hid_t dataset) {
    shape_ = h5::shape(dataset);
    if (!shape_fits(shape_, expected_shape))
      fail_input(place_, " has shape ", shape_text(shape_), ", expected ", expected,
                 " by the file's attributes; record it in that order");
    const h5::Handle type(H5Dget_type(dataset), H5Tclose);
    const auto kind = H5Tget_class(type.get());
    const auto encoding = h5::read_string(dataset, "encoding", place_);
    // Signed bits would be clipped at zero on the way to unsigned ones.
    const bool bits16 = kind == H5T_INTEGER && H5Tget_size(type.get()) == 2 &&
                        H5Tget_sign(type.get()) == H5T_SGN_NONE;
    if (bits16 && encoding == "bfloat16") {
      encoding_ = Encoding::kBfloat16;
    } else if (kind == H5T_FLOAT && !encoding) {
      const h5::Handle half = float16_type();
      encoding_ = H5Tequal(type.get(), half.get()) > 0 ? Encoding::kFloat16 : Encoding::kOther;
    } else {
      fail_input(place_,
                 ": expected float16, float32, or uint16 with the attribute encoding = "
                 "'bfloat16'");
    }
  });
}

// Calls visit(start, count, offset, size) for blocks that cover `slices` of the first dimension
// from `first` on, in row-major order: of whole slices, or of some rows of one where a slice is too
// large.
template <class Visit>
void FloatDataset::visit_blocks(std::int64_t first, std::int64_t slices, const Visit& visit) const {
  std::int64_t row = 1;
  for (std::size_t i = 2; i < shape_.size(); ++i) row *= shape_[i];
  const std::int64_t rows = shape_.size() > 1 ? shape_[1] : 1, slice = rows * row;
  const std::int64_t slices_at_once = std::max<std::int64_t>(1, kBlock / slice);
  const std::int64_t rows_at_once =
      slice <= kBlock ? rows : std::max<std::int64_t>(1, kBlock / row);
  std::vector<hsize_t> start(shape_.size(), 0), count(shape_.begin(), shape_.end());
  for (std::int64_t i = first; i < first + slices; i += slices_at_once)
    for (std::int64_t j = 0; j < rows; j += rows_at_once) {
      start[0] = static_cast<hsize_t>(i);
      count[0] = static_cast<hsize_t>(std::min(slices_at_once, first + slices - i));
      const std::int64_t taken = std::min(rows_at_once, rows - j);
      if (shape_.size() > 1)
        start[1] = static_cast<hsize_t>(j), count[1] = static_cast<hsize_t>(taken);
      visit(start, count, i * slice + j * row, static_cast<std::int64_t>(count[0]) * taken * row);
    }
}

void FloatDataset::read_block(const std::vector<hsize_t>& start, const std::vector<hsize_t>& count,
                              std::int64_t size, float* out) const {
  const h5::Handle file_space(H5Dget_space(dataset_.get()), H5Sclose);
  H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(),
                      nullptr);
  // Of the file's rank: HDF5 copies blocks of the same shape whole, others row by row.
  const h5::Handle memory_space(
      H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr), H5Sclose);
  const auto read = [&](hid_t type, void* target) {
    h5::check_read(
        H5Dread(dataset_.get(), type, memory_space.get(), file_space.get(), H5P_DEFAULT, target),
        place_, "the file is truncated or damaged, record it again");
  };
  if (encoding_ == Encoding::kOther) return read(H5T_NATIVE_FLOAT, out);
  // HDF5's own conversion from 16 bits goes value by value.
  std::vector<std::uint16_t> bits(static_cast<std::size_t>(size));
  if (encoding_ == Encoding::kBfloat16) {
    read(H5T_NATIVE_UINT16, bits.data());
    widen(StoredType::kBfloat16, bits, out);
  } else {
    const h5::Handle type(H5Dget_type(dataset_.get()), H5Tclose);
    read(type.get(), bits.data());
    widen(StoredType::kFloat16, bits, out);
  }
}

std::vector<float> FloatDataset::read(std::int64_t first, std::int64_t count) const {
  const std::int64_t slices = count > 0 ? count : shape_[0];
  DP_EXPECTS(first >= 0 && first + slices <= shape_[0], "a part of the first dimension");
  const auto slice = static_cast<std::int64_t>(num_values(shape_)) / shape_[0];
  std::vector<float> values(static_cast<std::size_t>(slices * slice));
  visit_blocks(first, slices,
               [&](const auto& start, const auto& extent, std::int64_t offset, std::int64_t size) {
                 read_block(start, extent, size, values.data() + offset - first * slice);
               });
  return values;
}

void FloatDataset::check_values() const {
  std::vector<float> block;
  visit_blocks(0, shape_[0],
               [&](const auto& start, const auto& count, std::int64_t offset, std::int64_t size) {
                 block.resize(static_cast<std::size_t>(size));
                 read_block(start, count, size, block.data());
                 doublep::check_values(block.data(), size, offset, shape_, place_);
               });
}

h5::Handle create_float_dataset(hid_t parent, const std::string& name,
                                const std::vector<std::int64_t>& shape, StoredType stored,
                                const std::string& place) {
  const h5::Handle half = float16_type();
  const hid_t type = stored == StoredType::kFloat16    ? half.get()
                     : stored == StoredType::kBfloat16 ? H5T_STD_U16LE
                                                       : H5T_IEEE_F32LE;
  const std::vector<hsize_t> extent(shape.begin(), shape.end());
  const h5::Handle space(H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr),
                         H5Sclose);
  // Without the time of creation, so that the same data make the same file.
  const h5::Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_obj_track_times(properties.get(), false);
  h5::Handle dataset(H5Dcreate2(parent, name.c_str(), type, space.get(), H5P_DEFAULT,
                                properties.get(), H5P_DEFAULT),
                     H5Dclose);
  h5::check_write(dataset ? 0 : -1, place);
  if (stored == StoredType::kBfloat16) h5::write_string(dataset.get(), "encoding", "bfloat16");
  return dataset;
}

namespace {

void write_block(hid_t dataset, const std::vector<std::int64_t>& start,
                 const std::vector<std::int64_t>& count, hid_t type, const void* data,
                 const std::string& place) {
  const h5::Handle file_space(H5Dget_space(dataset), H5Sclose);
  const std::vector<hsize_t> first(start.begin(), start.end()), extent(count.begin(), count.end());
  H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, first.data(), nullptr, extent.data(),
                      nullptr);
  const h5::Handle memory_space(
      H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr), H5Sclose);
  h5::check_write(H5Dwrite(dataset, type, memory_space.get(), file_space.get(), H5P_DEFAULT, data),
                  place);
}

// 16-bit patterns of the values, and whether all of them are finite in that type.
bool narrow(const float* data, std::size_t n, StoredType stored, std::uint16_t* bits) {
  const std::uint16_t exponent = stored == StoredType::kFloat16 ? 0x7C00 : 0x7F80;
  if (stored == StoredType::kFloat16)  // vectorised where the CPU has the instruction
    Eigen::Map<Eigen::Array<Eigen::half, Eigen::Dynamic, 1>>(reinterpret_cast<Eigen::half*>(bits),
                                                             static_cast<Eigen::Index>(n)) =
        Eigen::Map<const Eigen::ArrayXf>(data, static_cast<Eigen::Index>(n)).cast<Eigen::half>();
  else
    for (std::size_t i = 0; i < n; ++i) bits[i] = float_to_bfloat16(data[i]);
  bool finite = true;
  for (std::size_t i = 0; i < n; ++i) finite &= (bits[i] & exponent) != exponent;
  return finite;
}

}  // namespace

void write_float_block(hid_t dataset, const std::vector<std::int64_t>& start,
                       const std::vector<std::int64_t>& count, const float* data, StoredType stored,
                       const std::string& place) {
  std::size_t size = 1;
  for (std::int64_t n : count) size *= static_cast<std::size_t>(n);
  std::vector<std::uint16_t> bits;
  bool finite = true;
  if (stored == StoredType::kFloat32) {
    finite =
        Eigen::Map<const Eigen::ArrayXf>(data, static_cast<Eigen::Index>(size)).isFinite().all();
  } else {
    bits.resize(size);
    finite = narrow(data, size, stored, bits.data());
  }
  if (!finite)
    fail_input(place, ": a value of the block at ", shape_text(start),
               " is NaN, infinite or too large for the stored type; mend it, or store float32");
  const h5::Handle half = float16_type();
  const hid_t type = stored == StoredType::kFloat16    ? half.get()
                     : stored == StoredType::kBfloat16 ? H5T_NATIVE_UINT16
                                                       : H5T_NATIVE_FLOAT;
  write_block(dataset, start, count, type,
              bits.empty() ? static_cast<const void*>(data) : bits.data(), place);
}

}  // namespace doublep
