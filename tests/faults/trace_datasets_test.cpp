// Does the reader refuse missing, misshapen and mistyped datasets by name?
#include "tests/support/refusal.h"

using namespace doublep;
using namespace doublep::test;

TEST_CASE("every dataset is missed by name") {
  for (const char* name : {"positions", "layers/1/keys", "layers/1/values", "layers/10/queries"}) {
    const TraceFile file;
    file.remove(name);
    expect_refusal(file, {name, "missing"});
  }
}

TEST_CASE("groups that are missing, empty, or of another name") {
  const TraceFile none, empty, layer, name, twice;
  none.remove("layers");
  expect_refusal(none, {"group layers", "missing"});
  empty.remove("layers");
  empty.make_group("layers");
  expect_refusal(empty, {"group layers", "empty"});
  layer.remove("layers/10");
  layer.make_group("layers/10");
  expect_refusal(layer, {"layers/10/keys", "missing"});
  name.rename("layers/10", "layers/tenth");
  expect_refusal(name, {"layers/tenth", "index"});
  twice.rename("layers/10", "layers/01");  // the same number as layers/1
  expect_refusal(twice, {"layers/01", "index"});
}

TEST_CASE("a group where a dataset should be, and the reverse") {
  const TraceFile keys, positions, layers;
  keys.remove("layers/1/keys");
  keys.make_group("layers/1/keys");
  expect_refusal(keys, {"layers/1/keys", "no dataset"});
  positions.remove("positions");
  positions.make_group("positions");
  expect_refusal(positions, {"positions", "int64"});
  const std::int64_t one = 1;
  layers.replace("layers", {1}, H5T_STD_I64LE, H5T_NATIVE_INT64, &one);
  expect_refusal(layers, {"group layers"});
}

TEST_CASE("wrong extents and wrong ranks say what was found and expected") {
  const std::vector<float> data(2000, 0.5f);
  for (const std::vector<std::int64_t>& shape : {std::vector<std::int64_t>{2, 19, 8},
                                                 {2, 20, 9},
                                                 {4, 20, 8},
                                                 {20, 2, 8},
                                                 {2, 160},
                                                 {320},
                                                 {2, 20, 8, 1},
                                                 {0, 20, 8},
                                                 {}}) {
    const TraceFile file;
    file.replace("layers/1/keys", shape, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, data.data());
    expect_refusal(file, {"layers/1/keys", "shape " + shape_text(shape), "expected [2, 20, 8]"});
  }
  const TraceFile queries;
  queries.replace("layers/1/queries", {4, 3, 8}, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, data.data());
  expect_refusal(queries, {"layers/1/queries", "[4, 3, 8]", "expected [3, 4, 8]"});
}

TEST_CASE("integers are no floats, and bits need their encoding") {
  const std::vector<std::uint16_t> bits(320, 0xBF80);
  const std::vector<std::int32_t> numbers(320, 1);
  const auto shape = TraceFile::cache_shape();
  const auto refused = [&](hid_t stored, hid_t memory, const void* data, const char* encoding) {
    const TraceFile file;
    file.replace("layers/1/keys", shape, stored, memory, data, encoding);
    expect_refusal(file, {"layers/1/keys", "uint16", "encoding", "bfloat16"});
  };
  refused(H5T_STD_U16LE, H5T_NATIVE_UINT16, bits.data(), nullptr);
  refused(H5T_STD_U16LE, H5T_NATIVE_UINT16, bits.data(), "float8");
  refused(H5T_STD_I32LE, H5T_NATIVE_INT32, numbers.data(), nullptr);
  refused(H5T_STD_I32LE, H5T_NATIVE_INT32, numbers.data(), "bfloat16");
  // Signed bits would lose every negative number on the way to unsigned ones.
  refused(H5T_STD_I16LE, H5T_NATIVE_UINT16, bits.data(), "bfloat16");
}

TEST_CASE("a dataset of strings") {
  const h5::Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.get(), 4);
  const std::string text(320 * 4, 'x');
  const TraceFile file;
  file.replace("layers/1/keys", TraceFile::cache_shape(), type.get(), type.get(), text.data());
  expect_refusal(file, {"layers/1/keys", "float16"});
}

TEST_CASE("a wrong shape of the optional outputs is found too") {
  const std::vector<float> data(96, 0.5f);
  const TraceFile file;
  file.replace("layers/1/outputs", {4, 3, 8}, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, data.data());
  expect_refusal(file, {"layers/1/outputs", "[4, 3, 8]", "expected [3, 4, 8]"});
}
