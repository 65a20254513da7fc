// Headers of .npy and .safetensors files from strangers: read, or refused in one line that names
// file, tensor, what was expected and what to do.
#include "core/trace/raw_tensor.h"
#include "tests/support/message.h"
#include "tests/support/tensor_folder.h"

using namespace doublep;
using namespace doublep::test;

namespace {

const std::vector<std::int64_t> kShape = {2, 3};
const std::vector<float> kValues = {1, 2, 3, 4, 5, -0.5};

class File {
 public:
  File(const std::string& name, const std::string& bytes) : path_(dir_.file(name)) {
    std::ofstream(path_, std::ios::binary) << bytes;
  }
  const std::string& path() const { return path_; }

 private:
  TempDir dir_;
  std::string path_;
};

RawTensor read_npy_bytes(const std::string& bytes) { return read_npy(File("t.npy", bytes).path()); }

template <class Read>
void expect_refusal(const Read& read, const File& file, std::initializer_list<std::string> parts) {
  const std::string message = message_of([&] { read(file.path()); });
  CAPTURE(message);
  CHECK(contains(message, file.path()));
  for (const std::string& part : parts) {
    CAPTURE(part);
    CHECK(contains(message, part));
  }
}

void expect_npy_refusal(const std::string& bytes, std::initializer_list<std::string> parts) {
  expect_refusal(read_npy, File("t.npy", bytes), parts);
}

void expect_safetensors_refusal(const std::string& bytes,
                                std::initializer_list<std::string> parts) {
  expect_refusal(read_safetensors, File("t.safetensors", bytes), parts);
}

}  // namespace

TEST_CASE("a .npy file of version 1 and 2 is read, whatever order its header has") {
  const Tensor t = tensor(kShape, kValues);
  const std::string header = npy_header("<f4", kShape);
  for (const std::string& bytes :
       {npy(header, t.bytes), npy(header, t.bytes, 2),
        npy("{\"shape\":(2,3),\"fortran_order\":False,\"descr\":\"<f4\"}\n", t.bytes)}) {
    const File file("t.npy", bytes);
    const RawTensor read = read_npy(file.path());
    CHECK(read.shape == kShape);
    CHECK(read.read() == kValues);
  }
  const RawTensor integers = read_npy_bytes(npy(npy_header("<i8", {3}), std::string(24, 'x')));
  CHECK_FALSE(integers.type);
  CHECK(integers.type_name == "<i8");
  CHECK_FALSE(read_npy_bytes(npy(npy_header(">f4", kShape), t.bytes)).type);
  CHECK_FALSE(read_npy_bytes(npy(npy_header("<f8", kShape), t.bytes + t.bytes)).type);
}

TEST_CASE("what is no .npy file, or not as long as it says") {
  const Tensor t = tensor(kShape, kValues);
  const std::string header = npy_header("<f4", kShape), sound = npy(header, t.bytes);
  expect_npy_refusal("", {"no .npy file", "numpy.save"});
  expect_npy_refusal("PK\3\4 a zipped .npz file", {"no .npy file"});
  expect_npy_refusal(npy(header, t.bytes, 3), {"version 3", "expected 1 or 2"});
  expect_npy_refusal(sound + "x", {"holds 25 bytes", "expected 24", "[2, 3]", "<f4"});
  expect_npy_refusal(sound.substr(0, sound.size() - 1), {"holds 23 bytes", "cut or damaged"});
  for (std::size_t length = 1; length < sound.size(); ++length) {
    const File cut("t.npy", sound.substr(0, length));
    CHECK(!message_of([&] { read_npy(cut.path()); }).empty());
  }
  std::string long_header = sound;
  long_header[9] = '\x7f';
  expect_npy_refusal(long_header, {"claims a header of", "bytes in a file of"});
  expect_npy_refusal(npy(npy_header("<f4", {1 << 30, 1 << 30, 1 << 30}), t.bytes),
                     {"holds 24 bytes", "expected 4.95"});
  expect_npy_refusal(npy(npy_header("<f4", kShape, "True"), t.bytes), {"Fortran", "ascontiguous"});
}

TEST_CASE("a header that numpy does not write") {
  for (const auto& [header, part] : std::map<std::string, std::string>{
           {"", "no {"},
           {"{'descr': '<f4', 'fortran_order': False}", "not all of"},
           {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (6,)}",
            "key 'descr'"},
           {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6,)}", "several fields"},
           {"{'descr': '<f4', 'fortran_order': 0, 'shape': (6,)}", "truth value"},
           {"{'descr': '<f4', 'fortran_order': False, 'shape': (-6,)}", "tuple of integers"},
           {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", "tuple"},
           {"{'descr': '<f4', 'fortran_order': False, 'shape': (6", "without its end"},
           {"{'descr': '<f4', 'fortran_order': False, 'shape': (6,)", "no comma"},
           {"{'descr': '<f4' 'fortran_order': False, 'shape': (6,)}", "no comma"},
           {"{'descr': '<f4, 'fortran_order': False, 'shape': (6,)}", "no comma"},
           {"{'descr': '<f4", "without end"},
           {"{'descr': '<f4', 'fortran_order': False, 'shape': (6,)} import os", "something after"},
           {"{'more': 1}", "key 'more'"}}) {
    CAPTURE(header);
    expect_npy_refusal(npy(header, std::string(24, '\0')), {part, "numpy.save"});
  }
}

TEST_CASE("a .safetensors file is read by name, with other types left alone") {
  const File file("t.safetensors", safetensors({{"a", tensor(kShape, kValues)},
                                                {"b", {{2}, "I64", std::string(16, '\1')}},
                                                {"empty", tensor({0}, {})},
                                                {"scalar", tensor({}, {7})}}));
  const auto tensors = read_safetensors(file.path());
  CHECK(tensors.size() == 4);
  CHECK(tensors.at("a").read() == kValues);
  CHECK(tensors.at("a").place == file.path() + ": tensor a");
  CHECK_FALSE(tensors.at("b").type);
  CHECK(tensors.at("empty").read().empty());
  CHECK(tensors.at("scalar").read() == std::vector<float>{7});
}

TEST_CASE("what is no .safetensors file, or not as long as it says") {
  const Tensor t = tensor(kShape, kValues);
  const std::string sound = safetensors({{"a", t}});
  expect_safetensors_refusal("", {"no .safetensors file", "0 bytes"});
  expect_safetensors_refusal("short", {"no .safetensors file"});
  expect_safetensors_refusal("PK\3\4 a pickle of PyTorch", {"claims a header", "is it a"});
  expect_safetensors_refusal(sound + "x", {"take 24 bytes", "holds 25", "cut or damaged"});
  expect_safetensors_refusal(sound.substr(0, sound.size() - 1), {"take 24 bytes", "holds 23"});
  for (std::size_t length = 1; length < sound.size(); ++length) {
    const File cut("t.safetensors", sound.substr(0, length));
    CHECK(!message_of([&] { read_safetensors(cut.path()); }).empty());
  }
}

TEST_CASE("a .safetensors header that does not fit its tensors") {
  const std::string data(24, '\0');
  const auto entry = [](const std::string& type, const std::string& shape,
                        const std::string& offsets) {
    return "{\"dtype\":" + type + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
  };
  const auto f32 = [&](const std::string& offsets) { return entry("\"F32\"", "[3]", offsets); };
  for (const auto& [header, part] : std::map<std::string, std::string>{
           {"[1, 2]", "maps names to tensors"},
           {"{\"a\":", "not YAML"},
           {"{\"a\":1}", "expected a map"},
           {"{\"a\":{\"dtype\":\"F32\",\"shape\":[6]}}", "'data_offsets' is missing"},
           {"{\"a\":" + entry("\"F32\"", "6", "[0,24]") + "}", "list of extents"},
           {"{\"a\":" + entry("\"F32\"", "[-6]", "[0,24]") + "}", "integer in [0"},
           {"{\"a\":" + entry("\"F32\"", "[6]", "[0]") + "}", "begin and end"},
           {"{\"a\":" + entry("\"F32\"", "[5]", "[0,24]") + "}", "holds 24 bytes, expected 20"},
           {"{\"a\":" + entry("\"F16\"", "[6]", "[0,24]") + "}", "expected 12"},
           {"{\"a\":" + entry("\"I8\"", "[6]", "[24,0]") + "}", "holds -24 bytes"},
           {"{\"a\":" + entry("\"F32\"", "[1000000000000000,1000000000000000]", "[0,24]") + "}",
            "expected 4e+30"},
           {"{\"a\":" + f32("[0,12]") + ",\"b\":" + f32("[0,12]") + "}", "begins at byte 0"},
           {"{\"a\":" + f32("[0,12]") + ",\"b\":" + f32("[11,23]") + "}", "begins at byte 11"},
           {"{\"a\":" + f32("[12,24]") + "}", "begins at byte 12, expected 0"},
           {"{\"a\":" + f32("[0,12]") + "}", "take 12 bytes, but the file holds 24"},
           {"{\"a\":" + f32("[0,12]") + ",\"a\":" + f32("[12,24]") + "}", "duplicate key"}}) {
    CAPTURE(header);
    expect_safetensors_refusal(safetensors(header, data), {part});
  }
  expect_safetensors_refusal(safetensors(std::string(5 << 20, ' '), data), {"claims a header"});
  expect_safetensors_refusal(safetensors(std::string(3 << 20, '['), data), {"t.safetensors"});
}
