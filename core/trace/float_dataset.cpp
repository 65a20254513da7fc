#include "core/trace/float_dataset.h"

#include <Eigen/Core>
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

template <class Half>
void widen(const std::vector<std::uint16_t>& bits, float* out) {
  const auto n = static_cast<Eigen::Index>(bits.size());
  Eigen::Map<Eigen::ArrayXf>(out, n) = Eigen::Map<const Eigen::Array<Half, Eigen::Dynamic, 1>>(
                                           reinterpret_cast<const Half*>(bits.data()), n)
                                           .template cast<float>();
}

}  // namespace

FloatDataset::FloatDataset(hid_t file, const std::string& name, const std::string& path,
                           const std::vector<std::int64_t>& expected_shape)
    : place_(path + ": dataset " + name), shape_(expected_shape) {
  if (!h5::exists(file, name)) fail_input(place_, " is missing; expected ", h5::to_text(shape_));
  dataset_ = h5::Handle(H5Dopen2(file, name.c_str(), H5P_DEFAULT), H5Dclose);
  if (!dataset_) fail_input(place_, " is no dataset; expected ", h5::to_text(shape_));
  if (const auto found = h5::shape(dataset_.get()); found != shape_)
    fail_input(place_, " has shape ", h5::to_text(found), ", expected ", h5::to_text(shape_),
               " by the file's attributes; record it in that order");
  for (std::size_t i = 1; i < shape_.size(); ++i) slice_size_ *= shape_[i];

  const h5::Handle type(H5Dget_type(dataset_.get()), H5Tclose);
  const auto kind = H5Tget_class(type.get());
  const auto encoding = h5::read_string(dataset_.get(), "encoding", place_);
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
}

void FloatDataset::read_slice(std::int64_t first, float* out) const {
  const h5::Handle file_space(H5Dget_space(dataset_.get()), H5Sclose);
  std::vector<hsize_t> start(shape_.size(), 0), count(shape_.begin(), shape_.end());
  start[0] = static_cast<hsize_t>(first), count[0] = 1;
  H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(),
                      nullptr);
  // Of the file's rank: HDF5 copies blocks of the same shape whole, others row by row.
  const h5::Handle memory_space(
      H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr), H5Sclose);
  const auto read = [&](hid_t type, void* target) {
    if (H5Dread(dataset_.get(), type, memory_space.get(), file_space.get(), H5P_DEFAULT, target) <
        0)
      fail_input(place_, ": cannot be read; the file is truncated or damaged, record it again");
  };
  if (encoding_ == Encoding::kOther) return read(H5T_NATIVE_FLOAT, out);
  // HDF5's own conversion from 16 bits goes value by value; Eigen's is vectorised.
  std::vector<std::uint16_t> bits(slice_size_);
  if (encoding_ == Encoding::kBfloat16) {
    read(H5T_NATIVE_UINT16, bits.data());
    widen<Eigen::bfloat16>(bits, out);
  } else {
    const h5::Handle type(H5Dget_type(dataset_.get()), H5Tclose);
    read(type.get(), bits.data());
    widen<Eigen::half>(bits, out);
  }
}

std::vector<float> FloatDataset::read() const {
  std::vector<float> values(static_cast<std::size_t>(shape_[0] * slice_size_));
  for (std::int64_t i = 0; i < shape_[0]; ++i) read_slice(i, values.data() + i * slice_size_);
  return values;
}

void FloatDataset::check_finite() const {
  std::vector<float> slice(slice_size_);
  for (std::int64_t i = 0; i < shape_[0]; ++i) {
    read_slice(i, slice.data());
    for (std::int64_t j = 0; j < slice_size_; ++j)
      if (!std::isfinite(slice[j])) {
        std::vector<std::int64_t> index = {i};
        for (std::size_t k = 1, inner = slice_size_; k < shape_.size(); ++k) {
          inner /= shape_[k];
          index.push_back(j / static_cast<std::int64_t>(inner) % shape_[k]);
        }
        fail_input(place_, h5::to_text(index), " is ", slice[j],
                   "; a trace holds finite values only, record it again");
      }
  }
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

void write_values(hid_t dataset, const std::vector<std::int64_t>& start,
                  const std::vector<std::int64_t>& count, const float* data, StoredType stored,
                  const std::string& place, bool check) {
  std::size_t size = 1;
  for (std::int64_t n : count) size *= static_cast<std::size_t>(n);
  std::vector<std::uint16_t> bits;
  bool finite = true;
  if (stored == StoredType::kFloat32) {
    if (check)
      finite =
          Eigen::Map<const Eigen::ArrayXf>(data, static_cast<Eigen::Index>(size)).isFinite().all();
  } else {
    bits.resize(size);
    finite = narrow(data, size, stored, bits.data());
  }
  if (check && !finite)
    fail_input(place, ": a value of the block at ", h5::to_text(start),
               " is NaN, infinite or too large for the stored type; mend it, or store float32");
  const h5::Handle half = float16_type();
  const hid_t type = stored == StoredType::kFloat16    ? half.get()
                     : stored == StoredType::kBfloat16 ? H5T_NATIVE_UINT16
                                                       : H5T_NATIVE_FLOAT;
  write_block(dataset, start, count, type,
              bits.empty() ? static_cast<const void*>(data) : bits.data(), place);
}

}  // namespace

void write_float_block(hid_t dataset, const std::vector<std::int64_t>& start,
                       const std::vector<std::int64_t>& count, const float* data, StoredType type,
                       const std::string& place) {
  write_values(dataset, start, count, data, type, place, true);
}

void write_floats(hid_t parent, const std::string& name, const std::vector<std::int64_t>& shape,
                  const float* data, StoredType type, const std::string& path) {
  const std::string place = path + ": dataset " + name;
  const h5::Handle dataset = create_float_dataset(parent, name, shape, type, place);
  write_values(dataset.get(), std::vector<std::int64_t>(shape.size(), 0), shape, data, type, place,
               false);
}

}  // namespace doublep
