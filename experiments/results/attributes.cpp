#include "experiments/results/attributes.h"

#include <algorithm>
#include <bit>
#include <cstdio>

#include "core/base/error.h"
#include "core/trace/hdf5/h5.h"

namespace doublep {
namespace {

constexpr const char* kRerun = "; is this a doublep result? If so, run the sweep again";
// HDF5 holds no attribute of fixed length above 64 KiB: a longer text is several.
constexpr std::size_t kLongestPiece = 60000;

std::vector<std::string> names_of(hid_t group, const std::string& place) {
  std::vector<std::string> names;
  const auto visit = [](hid_t, const char* name, const H5A_info_t*, void* out) -> herr_t {
    static_cast<std::vector<std::string>*>(out)->emplace_back(name);
    return 0;
  };
  hsize_t from = 0;
  if (H5Aiterate2(group, H5_INDEX_NAME, H5_ITER_NATIVE, &from, visit, &names) < 0)
    fail_input(place, ": attributes cannot be read; the file is damaged, run the sweep again");
  return names;
}

std::vector<std::int64_t> read_list(hid_t attribute, const char* name, const std::string& place) {
  const h5::Handle space(H5Aget_space(attribute), H5Sclose);
  const hssize_t count = H5Sget_simple_extent_npoints(space.get());
  // An attribute lies in the file as it is, so that it cannot be larger than that.
  if (count < 0 ||
      H5Aget_storage_size(attribute) / sizeof(std::int64_t) != static_cast<hsize_t>(count))
    fail_input(place, ": attribute ", name, " is no list of int64", kRerun);
  std::vector<std::int64_t> values(count);
  if (count > 0 && H5Aread(attribute, H5T_NATIVE_INT64, values.data()) < 0)
    fail_input(place, ": attribute ", name, " cannot be read; the file is damaged", kRerun);
  return values;
}

// Of fixed length, as everything of ours is: text of variable length lies in a heap of the file.
std::string read_text(hid_t attribute, hid_t type, const char* name, const std::string& place) {
  const std::size_t size = H5Tget_size(type);
  if (H5Tis_variable_str(type) != 0 || H5Aget_storage_size(attribute) != size)
    fail_input(place, ": attribute ", name, " is no text of fixed length", kRerun);
  std::string text(size, '\0');
  if (H5Aread(attribute, type, text.data()) < 0)
    fail_input(place, ": attribute ", name, " cannot be read; the file is damaged", kRerun);
  text.resize(std::min(text.find('\0'), size));
  return text;
}

Attribute read_one(hid_t group, const char* name, const std::string& place) {
  const h5::Handle attribute(H5Aopen(group, name, H5P_DEFAULT), H5Aclose);
  const h5::Handle type(attribute ? H5Aget_type(attribute.get()) : -1, H5Tclose);
  const h5::Handle space(attribute ? H5Aget_space(attribute.get()) : -1, H5Sclose);
  const bool scalar = space && H5Sget_simple_extent_type(space.get()) == H5S_SCALAR;
  switch (type ? H5Tget_class(type.get()) : H5T_NO_CLASS) {
    case H5T_STRING:
      return read_text(attribute.get(), type.get(), name, place);
    case H5T_INTEGER:
      if (scalar) return h5::read_int(group, name, place).value_or(0);
      return read_list(attribute.get(), name, place);
    case H5T_FLOAT:
      return h5::read_real(group, name, place).value_or(0);
    default:
      fail_input(place, ": attribute ", name, " is neither text nor numbers", kRerun);
  }
}

std::string piece_name(const std::string& name, std::size_t piece) {
  return piece == 0 ? name : concat(name, ".", piece);
}

// Where a piece that begins at `from` ends: between characters, where the text is UTF-8.
std::size_t end_of_piece(const std::string& text, std::size_t from) {
  const std::size_t end = std::min(from + kLongestPiece, text.size());
  for (std::size_t back = 0; back < 4 && end < text.size(); ++back)
    if ((static_cast<unsigned char>(text[end - back]) & 0xC0) != 0x80) return end - back;
  return end;
}

// As they lie in the file: texts cut into pieces.
Attributes in_pieces(const Attributes& all) {
  Attributes stored;
  for (const auto& [name, value] : all) {
    const auto* text = std::get_if<std::string>(&value);
    if (!text || text->size() <= kLongestPiece) {
      stored.emplace(name, value);
      continue;
    }
    for (std::size_t from = 0, piece = 0; from < text->size(); ++piece) {
      const std::size_t to = end_of_piece(*text, from);
      stored.emplace(piece_name(name, piece), text->substr(from, to - from));
      from = to;
    }
  }
  return stored;
}

void join_pieces(Attributes& all) {
  for (auto& [name, value] : all) {
    auto* text = std::get_if<std::string>(&value);
    // A piece is as long as one may be, less a character's bytes, where another follows.
    std::size_t last = text ? text->size() : 0;
    for (std::size_t piece = 1; last > kLongestPiece - 4; ++piece) {
      const auto next = all.find(piece_name(name, piece));
      if (next == all.end() || !std::holds_alternative<std::string>(next->second)) break;
      last = std::get<std::string>(next->second).size();
      *text += std::get<std::string>(next->second);
      all.erase(next);  // stands behind `name`, where the loop has not been
    }
  }
}

template <class Value>
const Value& get(const Attributes& all, const char* name, const char* kind,
                 const std::string& place) {
  const auto found = all.find(name);
  if (found == all.end()) fail_input(place, ": attribute ", name, " is missing", kRerun);
  if (const auto* value = std::get_if<Value>(&found->second)) return *value;
  fail_input(place, ": attribute ", name, " is not ", kind, kRerun);
}

struct Canonical {
  std::string operator()(const std::string& text) const {
    return concat("text ", text.size(), " ", text);
  }
  std::string operator()(std::int64_t value) const { return concat("int ", value); }
  std::string operator()(double value) const {
    char bits[17];
    std::snprintf(bits, sizeof bits, "%016llx",
                  static_cast<unsigned long long>(std::bit_cast<std::uint64_t>(value)));
    return concat("real ", bits);
  }
  std::string operator()(const std::vector<std::int64_t>& values) const {
    std::string text = "ints";
    for (const std::int64_t value : values) text += ' ' + std::to_string(value);
    return text;
  }
};

}  // namespace

Attributes read_attributes(hid_t group, const std::string& place) {
  Attributes all;
  for (const std::string& name : names_of(group, place))
    all.emplace(name, read_one(group, name.c_str(), place));
  join_pieces(all);
  return all;
}

void write_attributes(hid_t group, const Attributes& attributes) {
  for (const auto& [name, value] : in_pieces(attributes)) {
    if (const auto* text = std::get_if<std::string>(&value)) h5::write_string(group, name, *text);
    if (const auto* number = std::get_if<std::int64_t>(&value)) h5::write_int(group, name, *number);
    if (const auto* real = std::get_if<double>(&value)) h5::write_real(group, name, *real);
    if (const auto* list = std::get_if<std::vector<std::int64_t>>(&value))
      h5::write_ints(group, name, *list);
  }
}

const std::string& text_of(const Attributes& all, const char* name, const std::string& place) {
  return get<std::string>(all, name, "text", place);
}

std::int64_t integer_of(const Attributes& all, const char* name, const std::string& place) {
  return get<std::int64_t>(all, name, "an integer", place);
}

double real_of(const Attributes& all, const char* name, const std::string& place) {
  const auto found = all.find(name);
  if (found != all.end())
    if (const auto* whole = std::get_if<std::int64_t>(&found->second))
      return static_cast<double>(*whole);
  return get<double>(all, name, "a number", place);
}

void add_to_hash(const Attributes& attributes, Sha256& hash) {
  for (const auto& [name, value] : in_pieces(attributes))
    if (name != kContentHash) hash.add(concat(name, " ", std::visit(Canonical(), value), "\n"));
}

}  // namespace doublep
