// Are values read as they were written in every type, and refused where a trace may not hold them?
#include <cmath>
#include <limits>

#include "core/base/half.h"
#include "tests/support/refusal.h"

using namespace doublep;
using namespace doublep::test;

namespace {
constexpr std::size_t kAt = (1 * 20 + 3) * 8 + 5;  // keys[1, 3, 5]

h5::Handle half_type(H5T_order_t order) {
  h5::Handle type(H5Tcopy(order == H5T_ORDER_BE ? H5T_IEEE_F32BE : H5T_IEEE_F32LE), H5Tclose);
  H5Tset_fields(type.get(), 15, 10, 5, 0, 10);
  H5Tset_size(type.get(), 2);
  H5Tset_ebias(type.get(), 15);
  return type;
}
}  // namespace

TEST_CASE("NaN and infinity are found in every dataset and type, with their index") {
  for (const char* name : {"layers/1/keys", "layers/10/values"}) {
    const TraceFile f32, f16;
    const TraceFile half(StoredType::kFloat16), bf(StoredType::kBfloat16);
    f32.poke(name, kAt, std::numeric_limits<float>::quiet_NaN());
    expect_refusal(f32, {name, "[1, 3, 5]", "nan", "finite"});
    f16.poke(name, 0, -std::numeric_limits<float>::infinity());
    expect_refusal(f16, {name, "[0, 0, 0]", "-inf"});
    half.poke(name, kAt, std::uint16_t{0x7C00});
    expect_refusal(half, {name, "[1, 3, 5]", "inf"});
    bf.poke(name, kAt, std::uint16_t{0xFFC0});
    expect_refusal(bf, {name, "[1, 3, 5]", "nan"});
  }
  const TraceFile queries(StoredType::kFloat16);
  queries.poke("layers/1/queries", (2 * 4 + 3) * 8 + 7, std::uint16_t{0x7E00});
  expect_refusal(queries, {"layers/1/queries", "[2, 3, 7]"});
  const TraceFile outputs;
  std::vector<float> data(96, 1.0f);
  data[95] = NAN;
  outputs.replace("layers/1/outputs", {3, 4, 8}, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, data.data());
  expect_refusal(outputs, {"layers/1/outputs", "[2, 3, 7]"});
}

TEST_CASE("the largest finite values are none of them: read, or refused as too large") {
  const TraceFile f32, half(StoredType::kFloat16), bf(StoredType::kBfloat16);
  f32.poke("layers/1/keys", kAt, std::numeric_limits<float>::max());
  half.poke("layers/1/keys", kAt, std::uint16_t{0x7BFF});
  bf.poke("layers/1/keys", kAt, std::uint16_t{0x7F7F});
  CHECK(half.open().read_layer(1).keys[kAt] == 65504.0f);
  for (const TraceFile* file : {&f32, &bf}) {
    expect_refusal(*file, {"layers/1/keys[1, 3, 5]", "e+38", "magnitude"});
    CHECK_FALSE(contains(message_of([&] { file->open(); }), "finite"));
  }
}

TEST_CASE("positions are strictly increasing within the keys") {
  const auto refused = [](const std::vector<std::int64_t>& positions,
                          std::initializer_list<std::string> parts) {
    const TraceFile file;
    file.set_positions(positions);
    expect_refusal(file, parts);
  };
  refused({16, 15, 19}, {"positions[1] is 15 after 16", "increasing"});
  refused({16, 16, 19}, {"positions[1] is 16 after 16", "increasing"});
  refused({16, 17, 20}, {"positions[2] is 20", "20 keys"});
  refused({-1, 17, 19}, {"positions[0] is -1"});
  refused({}, {"positions", "empty"});
  refused({17, 19}, {"queries", "expected [2, 4, 8]"});  // steps are counted by the positions
}

TEST_CASE("positions of another type or rank") {
  const TraceFile real, flat, scalar;
  const double numbers[3] = {16, 17, 19};
  const std::int64_t whole[3] = {16, 17, 19};
  real.replace("positions", {3}, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, numbers);
  expect_refusal(real, {"positions", "int64"});
  flat.replace("positions", {3, 1}, H5T_STD_I64LE, H5T_NATIVE_INT64, whole);
  expect_refusal(flat, {"positions", "one dimension"});
  scalar.replace("positions", {}, H5T_STD_I64LE, H5T_NATIVE_INT64, whole);
  expect_refusal(scalar, {"positions", "one dimension"});
  const TraceFile narrow;  // other integers say the same
  narrow.replace("positions", {3}, H5T_STD_I32BE, H5T_NATIVE_INT64, whole);
  CHECK(narrow.open().info().positions == std::vector<std::int64_t>{16, 17, 19});
}

TEST_CASE("more positions than keys are refused before memory is asked for them") {
  const TraceFile file;
  file.remove("positions");
  const h5::Handle f(H5Fopen(file.path().c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
  const hsize_t extent = hsize_t{1} << 55, chunk = 1024;
  {
    const h5::Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose);
    const h5::Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_chunk(properties.get(), 1, &chunk);
    const h5::Handle set(H5Dcreate2(f.get(), "positions", H5T_STD_I64LE, space.get(), H5P_DEFAULT,
                                    properties.get(), H5P_DEFAULT),
                         H5Dclose);
    REQUIRE(set);
  }
  H5Fflush(f.get(), H5F_SCOPE_GLOBAL);
  expect_refusal(file, {"positions", "keys"});
}

TEST_CASE("float64 and either byte order are read right; bfloat16 in big-endian bits too") {
  const std::int64_t n = 320;
  std::vector<double> wide(n);
  std::vector<std::uint16_t> half(n), bf(n);
  for (std::int64_t i = 0; i < n; ++i) {
    wide[i] = 0.25 * static_cast<double>(i - 100);
    half[i] = float_to_half(static_cast<float>(wide[i]));
    bf[i] = float_to_bfloat16(static_cast<float>(wide[i]));
  }
  const auto shape = TraceFile::cache_shape();
  const TraceFile f64, be32, be16, le16, bf16;
  f64.replace("layers/1/keys", shape, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, wide.data());
  be32.replace("layers/1/keys", shape, H5T_IEEE_F32BE, H5T_NATIVE_DOUBLE, wide.data());
  const h5::Handle little = half_type(H5T_ORDER_LE), big = half_type(H5T_ORDER_BE);
  be16.replace("layers/1/keys", shape, big.get(), little.get(), half.data());
  le16.replace("layers/1/keys", shape, little.get(), little.get(), half.data());
  bf16.replace("layers/1/keys", shape, H5T_STD_U16BE, H5T_NATIVE_UINT16, bf.data(), "bfloat16");
  for (const TraceFile* file : {&f64, &be32, &be16, &le16}) {
    const auto keys = file->open().read_layer(1).keys;
    int wrong = 0;
    for (std::int64_t i = 0; i < n; ++i) wrong += keys[i] != static_cast<float>(wide[i]);
    CHECK(wrong == 0);
  }
  const auto keys = bf16.open().read_layer(1).keys;
  int wrong = 0;
  for (std::int64_t i = 0; i < n; ++i) wrong += keys[i] != bfloat16_to_float(bf[i]);
  CHECK(wrong == 0);
}

TEST_CASE("a float64 beyond float32 is refused, not read as infinity") {
  std::vector<double> wide(320, 1.0);
  wide[kAt] = 1e39;
  const TraceFile file;
  file.replace("layers/1/keys", TraceFile::cache_shape(), H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE,
               wide.data());
  expect_refusal(file, {"layers/1/keys", "[1, 3, 5]", "inf"});
}
