// Between Python's objects and ours. All of it needs the interpreter's lock.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <map>
#include <string>
#include <vector>

#include "core/base/parameters.h"
#include "experiments/python/tensor_in.h"
#include "experiments/results/table.h"

namespace doublep::python {

namespace nb = nanobind;

/// An argument as a tensor of `dimensions` (2 or 3); a first dimension of 1 more, a batch of one,
/// is left out. Arrays of NumPy and whatever speaks DLPack, without a copy. `name` and `layout` are
/// words for messages: "prefill: k", "[num_kv_heads, tokens, head_dim]". It may lie on a GPU.
/// Throws InputError.
TensorIn tensor_in(nb::handle argument, const std::string& name, const std::string& layout,
                   int dimensions);

/// **parameters of a policy: bool, int, float or str, as Python or NumPy has them; an int is a
/// number and a float a share where a parameter may be either. Throws InputError.
std::map<std::string, ParamValue> parameters_in(const nb::kwargs& given);
nb::object to_python(const ParamValue& value);
/// What json.loads makes of the text.
nb::object from_json(const std::string& text);

/// A structured array of NumPy over `records`, in whose memory it stays; `owner` keeps them.
nb::object structured_array(const void* records, std::size_t count, std::size_t record_size,
                            const Columns& columns, nb::handle owner);

/// An array of NumPy over memory that `owner` keeps.
template <class Value>
nb::object array_out(const std::vector<Value>& values, std::initializer_list<std::size_t> shape,
                     nb::handle owner, std::initializer_list<std::int64_t> strides = {}) {
  auto* data = const_cast<Value*>(values.data());  // the array is its receiver's to write to
  return nb::ndarray<nb::numpy, Value>(data, shape, owner, strides).cast();
}
/// The same of values that nobody holds but the array.
template <class Value>
nb::object array_out(std::vector<Value>&& values, std::initializer_list<std::size_t> shape) {
  auto* kept = new std::vector<Value>(std::move(values));
  const nb::capsule owner(kept,
                          [](void* p) noexcept { delete static_cast<std::vector<Value>*>(p); });
  return array_out(*kept, shape, owner);
}

}  // namespace doublep::python
