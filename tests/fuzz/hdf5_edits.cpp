#include "tests/fuzz/hdf5_edits.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "core/base/error.h"
#include "core/trace/hdf5/h5.h"

namespace doublep::test {
namespace {

constexpr int kMostEdits = 16;

// Arguments of edits: zeros follow the end of the program.
class Arguments {
 public:
  explicit Arguments(const std::string& bytes) : bytes_(bytes) {}
  bool done() const { return at_ >= bytes_.size(); }
  std::size_t below(std::size_t count) { return count == 0 ? 0 : next() % count; }
  std::string text() {
    std::string out;
    for (std::size_t n = next() % 24; n > 0 && !done(); --n) out += static_cast<char>(next());
    return out;
  }
  template <class Value, std::size_t N>
  Value one_of(const Value (&values)[N]) {
    return values[below(N)];
  }

 private:
  unsigned next() { return done() ? 0 : static_cast<unsigned char>(bytes_[at_++]); }
  const std::string& bytes_;
  std::size_t at_ = 0;
};

constexpr std::int64_t kWhole[] = {0,
                                   1,
                                   2,
                                   3,
                                   4,
                                   8,
                                   19,
                                   20,
                                   21,
                                   -1,
                                   127,
                                   65536,
                                   1 << 20,
                                   std::int64_t{1} << 31,
                                   std::int64_t{1} << 40,
                                   std::numeric_limits<std::int64_t>::max(),
                                   std::numeric_limits<std::int64_t>::min()};
const double kReal[] = {0,   0.5,      -1,        1e-300,       1e300, 1e38,
                        2.5, INFINITY, -INFINITY, std::nan(""), 1e18,  2.2e-308};
constexpr hsize_t kExtent[] = {
    0, 1, 2, 3, 4, 8, 16, 20, 21, 1000, 1 << 20, hsize_t{1} << 40, hsize_t{1} << 62};

hid_t type_number(std::size_t i) {
  const hid_t types[] = {H5T_STD_I64LE,   H5T_STD_I32LE,  H5T_STD_U8LE,   H5T_STD_U64BE,
                         H5T_IEEE_F64LE,  H5T_IEEE_F32LE, H5T_IEEE_F32BE, H5T_C_S1,
                         H5T_STD_REF_OBJ, H5T_STD_U16LE};
  return types[i % std::size(types)];
}

std::vector<std::string> objects_of(hid_t file) {
  std::vector<std::string> paths;
  const auto visit = [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
    static_cast<std::vector<std::string>*>(out)->push_back(name);
    return 0;
  };
  H5Lvisit(file, H5_INDEX_NAME, H5_ITER_INC, visit, &paths);
  return paths;
}

std::string attribute_name(hid_t object, std::size_t i) {
  char name[128] = "";
  H5Aget_name_by_idx(object, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT);
  return name;
}

std::size_t attribute_count(hid_t object) {
  const int count = H5Aget_num_attrs(object);
  return count < 0 ? 0 : static_cast<std::size_t>(count);
}

void edit_attribute(hid_t object, std::size_t kind, Arguments& arguments) {
  if (attribute_count(object) == 0) return;
  const std::string name = attribute_name(object, arguments.below(attribute_count(object)));
  H5Adelete(object, name.c_str());
  if (kind == 0) return;
  if (kind == 1) return h5::write_int(object, name, arguments.one_of(kWhole));
  if (kind == 2) return h5::write_real(object, name, arguments.one_of(kReal));
  if (kind == 3) return h5::write_string(object, name, arguments.text());
  const hsize_t extent = std::min<hsize_t>(arguments.one_of(kExtent), 1000);
  const h5::Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose);
  h5::Handle(H5Acreate2(object, name.c_str(), type_number(arguments.below(10)), space.get(),
                        H5P_DEFAULT, H5P_DEFAULT),
             H5Aclose);
}

// A virtual dataset may map onto itself, which libhdf5 follows for ever; external data are not
// ours.
bool lies_elsewhere(const h5::Handle& set) {
  const h5::Handle how(H5Dget_create_plist(set.get()), H5Pclose);
  return H5Pget_layout(how.get()) == H5D_VIRTUAL || H5Pget_external_count(how.get()) > 0;
}

// Another dataset under the name: never written, or all bytes of it the same.
void replace_dataset(hid_t file, const std::string& path, Arguments& arguments) {
  H5Ldelete(file, path.c_str(), H5P_DEFAULT);
  hsize_t extents[4] = {};
  const int rank = static_cast<int>(arguments.below(5));
  hsize_t elements = 1;
  for (int i = 0; i < rank; ++i) {
    extents[i] = arguments.one_of(kExtent);
    elements = extents[i] > 4096 ? 4097 : elements * extents[i];
  }
  const h5::Handle space(H5Screate_simple(rank, extents, nullptr), H5Sclose);
  const h5::Handle how(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  const hid_t type = type_number(arguments.below(10));
  switch (arguments.below(5)) {
    case 1:
      H5Pset_chunk(how.get(), rank, extents);
      break;
    case 2:
      H5Pset_external(how.get(), "/dev/zero", 0, H5F_UNLIMITED);
      break;
    case 3:
      H5Pset_virtual(how.get(), space.get(), ".", path.c_str(), space.get());
      break;
    case 4:
      H5Pset_chunk(how.get(), rank, extents);
      H5Pset_deflate(how.get(), 9);
      break;
    default:
      break;
  }
  const h5::Handle set(
      H5Dcreate2(file, path.c_str(), type, space.get(), H5P_DEFAULT, how.get(), H5P_DEFAULT),
      H5Dclose);
  if (!set || lies_elsewhere(set) || elements > 4096 || arguments.below(2) == 0) return;
  const std::vector<unsigned char> data(8 * elements,
                                        static_cast<unsigned char>(arguments.below(256)));
  H5Dwrite(set.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data.data());
}

// One byte of what a dataset holds.
void poke(hid_t file, const std::string& path, Arguments& arguments) {
  const h5::Handle set(H5Dopen2(file, path.c_str(), H5P_DEFAULT), H5Dclose);
  if (!set) return;
  const h5::Handle type(H5Dget_type(set.get()), H5Tclose);
  const h5::Handle space(H5Dget_space(set.get()), H5Sclose);
  if (lies_elsewhere(set)) return;
  const auto elements = H5Sget_simple_extent_npoints(space.get());
  if (elements <= 0 || elements > 65536 || H5Tdetect_class(type.get(), H5T_VLEN) > 0 ||
      H5Tis_variable_str(type.get()) > 0)
    return;
  std::vector<unsigned char> data(static_cast<std::size_t>(elements) * H5Tget_size(type.get()));
  if (H5Dread(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, data.data()) < 0) return;
  const std::size_t at = (arguments.below(256) * 256 + arguments.below(256)) % data.size();
  data[at] = static_cast<unsigned char>(arguments.below(256));
  H5Dwrite(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, data.data());
}

void edit(hid_t file, Arguments& arguments) {
  const std::size_t kind = arguments.below(14);
  const std::vector<std::string> paths = objects_of(file);
  const std::size_t chosen = arguments.below(paths.size() + 1);  // the last one: the root
  const std::string path = chosen < paths.size() ? paths[chosen] : "/";
  if (kind < 5) {
    const h5::Handle object(H5Oopen(file, path.c_str(), H5P_DEFAULT), H5Oclose);
    if (object) edit_attribute(object.get(), kind, arguments);
    return;
  }
  if (path == "/") return;
  if (kind < 7) return replace_dataset(file, path, arguments);
  if (kind < 9) return poke(file, path, arguments);
  const std::string other = paths[arguments.below(paths.size())];
  if (kind == 9) {
    H5Lmove(file, path.c_str(), file, arguments.text().c_str(), H5P_DEFAULT, H5P_DEFAULT);
    return;
  }
  H5Ldelete(file, path.c_str(), H5P_DEFAULT);
  if (kind == 10) H5Lcreate_soft(other.c_str(), file, path.c_str(), H5P_DEFAULT, H5P_DEFAULT);
  if (kind == 11) H5Lcreate_hard(file, other.c_str(), file, path.c_str(), H5P_DEFAULT, H5P_DEFAULT);
  if (kind == 12)
    H5Lcreate_external("/dev/zero", other.c_str(), file, path.c_str(), H5P_DEFAULT, H5P_DEFAULT);
}

}  // namespace

std::string edited(const std::string& base, const std::string& program) {
  h5::quiet();
  const h5::Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fapl_core(access.get(), 1 << 16, false);
  H5Pset_file_image(access.get(), const_cast<char*>(base.data()), base.size());
  const h5::Handle file(H5Fopen("edited.h5", H5F_ACC_RDWR, access.get()), H5Fclose);
  if (!file) return base;
  Arguments arguments(program);
  for (int i = 0; i < kMostEdits && !arguments.done(); ++i) {
    try {
      edit(file.get(), arguments);
    } catch (const InputError&) {  // by the writers of attributes
    }
  }
  H5Fflush(file.get(), H5F_SCOPE_GLOBAL);
  const auto size = H5Fget_file_image(file.get(), nullptr, 0);
  std::string image(size > 0 ? static_cast<std::size_t>(size) : 0, '\0');
  if (size <= 0 || H5Fget_file_image(file.get(), image.data(), image.size()) < 0) return base;
  return image;
}

}  // namespace doublep::test
