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
  Eigen::Map<Eigen::ArrayXf>(out, n) =
      Eigen::Map<const Eigen::Array<Half, Eigen::Dynamic, 1>>(
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
  if (kind == H5T_INTEGER && H5Tget_size(type.get()) == 2 && encoding == "bfloat16") {
    encoding_ = Encoding::kBfloat16;
  } else if (kind == H5T_FLOAT && !encoding) {
    const h5::Handle half = float16_type();
    encoding_ = H5Tequal(type.get(), half.get()) > 0 ? Encoding::kFloat16 : Encoding::kOther;
  } else {
    fail_input(place_, ": expected float16, float32, or uint16 with the attribute encoding = "
                       "'bfloat16'");
  }
}

void FloatDataset::read_slice(std::int64_t first, float* out) const {
  const h5::Handle file_space(H5Dget_space(dataset_.get()), H5Sclose);
  std::vector<hsize_t> start(shape_.size(), 0), count(shape_.begin(), shape_.end());
  start[0] = static_cast<hsize_t>(first), count[0] = 1;
  H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr);
  const hsize_t size = static_cast<hsize_t>(slice_size_);
  const h5::Handle memory_space(H5Screate_simple(1, &size, nullptr), H5Sclose);
  const auto read = [&](hid_t type, void* target) {
    if (H5Dread(dataset_.get(), type, memory_space.get(), file_space.get(), H5P_DEFAULT, target) < 0)
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

void write_floats(hid_t parent, const std::string& name, const std::vector<std::int64_t>& shape,
                  const float* data, StoredType stored, const std::string& path) {
  const std::string place = path + ": dataset " + name;
  const h5::Handle half = float16_type();
  const hid_t type = stored == StoredType::kFloat16    ? half.get()
                     : stored == StoredType::kBfloat16 ? H5T_STD_U16LE
                                                       : H5T_IEEE_F32LE;
  const std::vector<hsize_t> extent(shape.begin(), shape.end());
  const h5::Handle space(
      H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr), H5Sclose);
  const h5::Handle dataset(H5Dcreate2(parent, name.c_str(), type, space.get(), H5P_DEFAULT,
                                      H5P_DEFAULT, H5P_DEFAULT), H5Dclose);
  h5::check_write(dataset ? 0 : -1, place);
  if (stored == StoredType::kFloat32) {
    h5::check_write(
        H5Dwrite(dataset.get(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data), place);
    return;
  }
  std::size_t size = 1;
  for (hsize_t n : extent) size *= n;
  std::vector<std::uint16_t> bits(size);
  for (std::size_t i = 0; i < size; ++i)
    bits[i] = stored == StoredType::kFloat16 ? float_to_half(data[i]) : float_to_bfloat16(data[i]);
  h5::check_write(H5Dwrite(dataset.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bits.data()), place);
  if (stored == StoredType::kBfloat16) h5::write_string(dataset.get(), "encoding", "bfloat16");
}

}  // namespace doublep
