// The file of named tensors that model weights come in: 8 bytes with the header's length, the
// header, a JSON map from a name to type, shape and place, and the tensors.
#include <algorithm>
#include <fstream>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/trace/raw_tensor.h"
#include "core/yaml/yaml.h"

namespace doublep {
namespace {

constexpr std::uint64_t kMostSafetensorsHeader = 4 << 20;  // bytes, of some forty thousand tensors
constexpr double kMostExtent = 1e15;
constexpr const char* kSafetensorsRemedy =
    "; write it again with safetensors.numpy.save_file or its like";

struct Type {
  const char* name;
  int bytes;
  std::optional<StoredType> stored;
};
// Those that traces do not have may lie in the same file.
constexpr Type kTypes[] = {{"F16", 2, StoredType::kFloat16},
                           {"BF16", 2, StoredType::kBfloat16},
                           {"F32", 4, StoredType::kFloat32}};

// With the eight bytes of its length before it.
std::string read_header(const std::string& path, std::int64_t length) {
  std::ifstream in(path, std::ios::binary);
  std::string text(8, '\0');
  if (length < 8 || !in.read(text.data(), 8))
    fail_input(path, ": is no .safetensors file (it has ", length, " bytes)", kSafetensorsRemedy);
  std::uint64_t size = 0;
  for (int i = 8; i-- > 0;) size = size << 8 | static_cast<unsigned char>(text[i]);
  if (size > kMostSafetensorsHeader || static_cast<std::int64_t>(size) > length - 8)
    fail_input(path, ": claims a header of ", size, " bytes in a file of ", length,
               ", expected at most ", kMostSafetensorsHeader, "; is it a .safetensors file?",
               kSafetensorsRemedy);
  text.resize(8 + static_cast<std::size_t>(size));
  if (!in.read(text.data() + 8, static_cast<std::streamsize>(size)))
    fail_input(path, ": cannot be read; it is cut or damaged", kSafetensorsRemedy);
  return text;
}

struct Extent {
  std::int64_t begin, end;  // of a tensor's bytes, behind the header
  std::string name;
};

Extent read_tensor(const Yaml& entry, const std::string& name, RawTensor& tensor) {
  entry.only({"dtype", "shape", "data_offsets"});
  tensor.type_name = entry.at("dtype").text();
  int bytes = 0;
  for (const Type& type : kTypes)
    if (tensor.type_name == type.name) tensor.type = type.stored, bytes = type.bytes;
  const Yaml shape = entry.at("shape"), offsets = entry.at("data_offsets");
  if (!shape.is_list()) shape.fail("expected a list of extents");
  if (shape.node().size() > 0)  // a scalar's is empty
    for (const Yaml& extent : shape.items()) tensor.shape.push_back(extent.integer(0, kMostExtent));
  const std::vector<Yaml> ends = offsets.items();
  if (ends.size() != 2) offsets.fail("expected two numbers, begin and end");
  const Extent extent = {ends[0].integer(0, kMostExtent), ends[1].integer(0, kMostExtent), name};
  const double expected = num_values(tensor.shape) * bytes;
  if (extent.end < extent.begin ||
      (tensor.type && static_cast<double>(extent.end - extent.begin) != expected))
    offsets.fail(concat("holds ", extent.end - extent.begin, " bytes, expected ", expected,
                        " for the shape ", shape_text(tensor.shape), " of ", tensor.type_name,
                        kSafetensorsRemedy));
  return extent;
}

}  // namespace

std::map<std::string, RawTensor> read_safetensors(const std::string& path) {
  require_regular_file(path);
  const std::int64_t length = FileStamp::of(path).size;
  const auto text = std::make_shared<const std::string>(read_header(path, length));
  const Yaml header = Yaml::parse(text->substr(8), path);  // JSON is YAML
  if (!header.is_map())
    header.fail(concat("expected a header that maps names to tensors", kSafetensorsRemedy));
  const auto data = static_cast<std::int64_t>(text->size());
  std::map<std::string, RawTensor> tensors;
  std::vector<Extent> extents;
  for (const auto& [name, entry] : header.entries()) {
    if (name == "__metadata__") continue;
    RawTensor tensor;
    tensor.path = path, tensor.place = concat(path, ": tensor ", name);
    extents.push_back(read_tensor(entry, name, tensor));
    tensor.begin = data + extents.back().begin;
    tensor.header = text;
    tensors.emplace(name, std::move(tensor));
  }
  std::sort(extents.begin(), extents.end(),
            [](const Extent& a, const Extent& b) { return a.end < b.end; });
  std::int64_t at = 0;
  for (const Extent& extent : extents) {
    if (extent.begin != at && extent.end != extent.begin)
      fail_input(path, ": tensor ", extent.name, " begins at byte ", extent.begin, ", expected ",
                 at, ", where the one before it ends", kSafetensorsRemedy);
    at = std::max(at, extent.end);
  }
  if (at != length - data)
    fail_input(path, ": its tensors take ", at, " bytes, but the file holds ", length - data,
               "; it is cut or damaged", kSafetensorsRemedy);
  return tensors;
}

}  // namespace doublep
