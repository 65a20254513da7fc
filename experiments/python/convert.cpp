#include "experiments/python/convert.h"

#include <nanobind/stl/string.h>

#include "core/base/error.h"
#include "core/trace/tensor.h"

namespace doublep::python {
namespace {

using ArrayIn = nb::ndarray<nb::ro>;

std::string kind_of(nb::handle object) { return nb::inst_name(object).c_str(); }

TensorIn::Type element_type(const ArrayIn& array, const std::string& name) {
  const auto [code, bits, lanes] = array.dtype();
  const bool real = code == static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float) && lanes == 1;
  if (real && bits == 32) return TensorIn::Type::kFloat32;
  if (real && bits == 16) return TensorIn::Type::kFloat16;
  if (code == static_cast<std::uint8_t>(nb::dlpack::dtype_code::Bfloat) && bits == 16 && lanes == 1)
    return TensorIn::Type::kBfloat16;
  fail_input(name, " holds ", real ? "float" : "values of another kind, ", static_cast<int>(bits),
             real ? "" : " bits each", "; expected float32, float16 or bfloat16, convert it first");
}

}  // namespace

TensorIn tensor_in(nb::handle argument, const std::string& name, const std::string& layout,
                   int dimensions) {
  ArrayIn keep;
  if (!nb::try_cast(argument, keep, false) || !keep.is_valid())
    fail_input(name, " is a ", kind_of(argument), "; expected an array of float32 ", layout,
               " of NumPy, or a tensor of whatever speaks DLPack");
  const bool on_gpu = keep.device_type() == nb::device::cuda::value;
  if (!on_gpu && keep.device_type() != nb::device::cpu::value &&
      keep.device_type() != nb::device::cuda_host::value)
    fail_input(name,
               " lies on another device than a CUDA GPU; expected memory of the host, copy it "
               "there (tensor.cpu())");
  std::vector<std::int64_t> shape, strides;
  for (std::size_t i = 0; i < keep.ndim(); ++i) {
    shape.push_back(static_cast<std::int64_t>(keep.shape(i)));
    strides.push_back(keep.stride(i));
  }
  const std::vector<std::int64_t> given = shape;
  const auto expected = static_cast<std::size_t>(dimensions);
  if (shape.size() == expected + 1 && shape[0] == 1)
    shape.erase(shape.begin()), strides.erase(strides.begin());
  if (shape.size() != expected)
    fail_input(name, " has the shape ", shape_text(given), "; expected ", layout);
  TensorIn tensor;
  tensor.name = name, tensor.dimensions = dimensions, tensor.data = keep.data();
  tensor.on_gpu = on_gpu;
  tensor.type = element_type(keep, name);
  tensor.memory = std::shared_ptr<const void>(new ArrayIn(keep), [](const ArrayIn* array) {
    const nb::gil_scoped_acquire lock;
    delete array;
  });
  tensor.shape[0] = 1;
  std::copy_backward(shape.begin(), shape.end(), tensor.shape.end());
  std::copy_backward(strides.begin(), strides.end(), tensor.strides.end());
  return tensor;
}

std::map<std::string, ParamValue> parameters_in(const nb::kwargs& given) {
  std::map<std::string, ParamValue> values;
  for (const auto& [key, argument] : given) {
    const auto name = nb::cast<std::string>(key);
    nb::object value = nb::borrow(argument);
    if (nb::hasattr(value, "dtype") && nb::hasattr(value, "item")) value = value.attr("item")();
    if (PyBool_Check(value.ptr()))
      values[name] = nb::cast<bool>(value);
    else if (PyLong_Check(value.ptr()))
      values[name] = nb::cast<std::int64_t>(value);
    else if (PyFloat_Check(value.ptr()))
      values[name] = nb::cast<double>(value);
    else if (nb::isinstance<nb::str>(value))
      values[name] = nb::cast<std::string>(value);
    else
      fail_input("parameter ", name, " is a ", kind_of(argument),
                 "; expected a bool, an int, a float or a str");
  }
  return values;
}

nb::object to_python(const ParamValue& value) {
  return std::visit([](const auto& v) { return nb::object(nb::cast(v)); }, value);
}

nb::object from_json(const std::string& text) {
  return nb::module_::import_("json").attr("loads")(text);
}

nb::object structured_array(const void* records, std::size_t count, std::size_t record_size,
                            const Columns& columns, nb::handle owner) {
  nb::list names, formats, offsets;
  for (const Column& column : columns) {
    names.append(column.name);
    formats.append(column.type == Column::Type::kInt32    ? "<i4"
                   : column.type == Column::Type::kUint32 ? "<u4"
                   : column.type == Column::Type::kInt64  ? "<i8"
                   : column.type == Column::Type::kReal   ? "<f8"
                                                          : "S" + std::to_string(column.size));
    offsets.append(column.offset);
  }
  nb::dict layout;
  layout["names"] = names, layout["formats"] = formats, layout["offsets"] = offsets;
  layout["itemsize"] = record_size;
  const nb::object dtype = nb::module_::import_("numpy").attr("dtype")(layout);
  auto* bytes = static_cast<std::uint8_t*>(const_cast<void*>(records));
  return nb::ndarray<nb::numpy, std::uint8_t>(bytes, {count * record_size}, owner)
      .cast()
      .attr("view")(dtype);
}

}  // namespace doublep::python
