// numpy's file of one array: a magic number, a version, the header's length, and the header, a
// Python dictionary of the three keys descr, fortran_order and shape. What numpy writes is read,
// and no more of Python than that.
#include <algorithm>
#include <fstream>
#include <utility>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/text.h"
#include "core/trace/raw_tensor.h"

namespace doublep {
namespace {

constexpr std::size_t kMostNpyHeader = 1 << 16;  // bytes; numpy writes 118
constexpr const char* kNpyRemedy = "; write it with numpy.save";

class HeaderReader {
 public:
  HeaderReader(std::string text, std::string path)
      : text_(std::move(text)), path_(std::move(path)) {}

  void read(RawTensor& tensor) {
    bool type = false, order = false, shape = false;
    expect('{');
    while (!take('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr" && !std::exchange(type, true))
        tensor.type_name = descr();
      else if (key == "fortran_order" && !std::exchange(order, true))
        refuse_fortran_order();
      else if (key == "shape" && !std::exchange(shape, true))
        tensor.shape = extents();
      else
        fail("the key '" + key.substr(0, 80) + "'");
      if (!take(',') && !looking_at('}')) fail("no comma after " + key);
    }
    if (looking_at_more()) fail("something after the dictionary");
    if (!type || !order || !shape) fail("not all of descr, fortran_order and shape");
  }

 private:
  [[noreturn]] void fail(const std::string& found) const {
    fail_input(path_, ": its header has ", found, ", expected the dictionary that numpy writes",
               kNpyRemedy);
  }
  bool looking_at_more() {
    at_ = std::min(text_.find_first_not_of(" \t\n", at_), text_.size());
    return at_ < text_.size();
  }
  bool looking_at(char c) { return looking_at_more() && text_[at_] == c; }
  bool take(char c) { return looking_at(c) && ++at_; }
  void expect(char c) {
    if (!take(c)) fail(concat("no ", c, " at byte ", at_));
  }
  std::string quoted() {
    const char quote = looking_at('"') ? '"' : '\'';
    expect(quote);
    const std::size_t end = text_.find(quote, at_);
    if (end == std::string::npos) fail("a text without end");
    const std::string text = text_.substr(at_, end - at_);
    at_ = end + 1;
    return text;
  }
  // Records of several types are a list there.
  std::string descr() {
    if (!looking_at('\'') && !looking_at('"')) fail("a type of several fields");
    return quoted();
  }
  void refuse_fortran_order() {
    looking_at_more();
    if (text_.compare(at_, 5, "False") == 0) {
      at_ += 5;
      return;
    }
    if (text_.compare(at_, 4, "True") != 0) fail("a fortran_order that is no truth value");
    fail_input(path_,
               ": is in Fortran order, expected C order; write it as "
               "numpy.save(FILE, numpy.ascontiguousarray(ARRAY))");
  }
  std::vector<std::int64_t> extents() {
    std::vector<std::int64_t> shape;
    expect('(');
    while (!take(')')) {
      looking_at_more();
      const std::size_t end = std::min(text_.find_first_not_of("0123456789", at_), text_.size());
      const auto extent = parse_integer(text_.substr(at_, end - at_));
      if (!extent) fail("a shape that is no tuple of integers");
      shape.push_back(*extent);
      at_ = end;
      if (!take(',') && !looking_at(')')) fail("a shape without its end");
    }
    return shape;
  }

  std::string text_, path_;
  std::size_t at_ = 0;
};

}  // namespace

RawTensor read_npy(const std::string& path) {
  require_regular_file(path);
  RawTensor tensor;
  tensor.path = tensor.place = path;
  const std::int64_t length = FileStamp::of(path).size;
  std::ifstream in(path, std::ios::binary);
  std::string head(12, '\0');
  in.read(head.data(), 12);
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(head[i]); };
  if (in.gcount() < 12 || head.compare(0, 6, "\x93NUMPY") != 0)
    fail_input(path, ": is no .npy file (its first bytes are others)", kNpyRemedy);
  if (byte(6) != 1 && byte(6) != 2)
    fail_input(path, ": is a .npy file of version ", int{byte(6)}, ", expected 1 or 2", kNpyRemedy);
  const std::size_t lengths = byte(6) == 1 ? 2 : 4;
  std::size_t size = byte(8) | std::size_t{byte(9)} << 8;
  if (lengths == 4) size |= std::size_t{byte(10)} << 16 | std::size_t{byte(11)} << 24;
  tensor.begin = static_cast<std::int64_t>(8 + lengths + size);
  if (size > kMostNpyHeader || tensor.begin > length)
    fail_input(path, ": claims a header of ", size, " bytes in a file of ", length,
               ", expected at most ", kMostNpyHeader, "; it is cut or damaged", kNpyRemedy);
  std::string header(size, '\0');
  in.seekg(static_cast<std::streamoff>(8 + lengths));
  if (!in.read(header.data(), static_cast<std::streamsize>(size)))
    fail_input(path, ": cannot be read; it is cut or damaged", kNpyRemedy);
  tensor.header = std::make_shared<std::string>(head.substr(0, 8 + lengths) + header);
  HeaderReader(header, path).read(tensor);
  if (tensor.type_name == "<f2") tensor.type = StoredType::kFloat16;
  if (tensor.type_name == "<f4") tensor.type = StoredType::kFloat32;
  if (!tensor.type) return tensor;  // what lies behind it is of no length that we know
  const double expected = num_values(tensor.shape) * (*tensor.type == StoredType::kFloat32 ? 4 : 2);
  if (const auto data = static_cast<double>(length - tensor.begin); data != expected)
    fail_input(path, ": holds ", data, " bytes of data, expected ", expected, " for the shape ",
               shape_text(tensor.shape), " of ", tensor.type_name, "; it is cut or damaged",
               kNpyRemedy);
  return tensor;
}

}  // namespace doublep
