#include "core/trace/hdf5/h5.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <new>

#include "core/base/error.h"
#include "core/base/file.h"

namespace doublep::h5 {
namespace {

Handle scalar_space() { return {H5Screate(H5S_SCALAR), H5Sclose}; }

void write_scalar(hid_t object, const std::string& name, hid_t type, const void* value) {
  const Handle space = scalar_space();
  const Handle attribute(
      H5Acreate2(object, name.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  check_write(attribute ? H5Awrite(attribute.get(), type, value) : -1, "attribute " + name);
}

Handle open_attribute(hid_t object, const char* name, const std::string& place) {
  if (H5Aexists(object, name) <= 0) return {};
  Handle attribute(H5Aopen(object, name, H5P_DEFAULT), H5Aclose);
  if (const hsize_t size = attribute ? H5Aget_storage_size(attribute.get()) : 0;
      size > kMaxAttribute)
    fail_input(place, ": attribute ", name, " takes ", size, " bytes, expected at most ",
               kMaxAttribute, "; write large data as a dataset");
  return attribute;
}

// Reads a numeric scalar; an enumeration (h5py's bool) counts as its integer.
void read_number(const Handle& attribute, const char* name, const std::string& place, hid_t wanted,
                 void* value) {
  const Handle type(H5Aget_type(attribute.get()), H5Tclose);
  const Handle space(H5Aget_space(attribute.get()), H5Sclose);
  const H5T_class_t kind = H5Tget_class(type.get());
  const bool whole = kind == H5T_INTEGER || kind == H5T_ENUM;
  const bool fits = whole || (kind == H5T_FLOAT && H5Tequal(wanted, H5T_NATIVE_DOUBLE) > 0);
  bool read = fits && H5Sget_simple_extent_npoints(space.get()) == 1;
  if (read && kind == H5T_ENUM) {
    const Handle base(H5Tget_super(type.get()), H5Tclose);
    std::vector<unsigned char> raw(H5Tget_size(type.get()) + sizeof(std::int64_t));
    read = H5Aread(attribute.get(), type.get(), raw.data()) >= 0 &&
           H5Tconvert(base.get(), wanted, 1, raw.data(), nullptr, H5P_DEFAULT) >= 0;
    if (read) std::copy_n(raw.data(), H5Tget_size(wanted), static_cast<unsigned char*>(value));
  } else if (read) {
    read = H5Aread(attribute.get(), wanted, value) >= 0;
  }
  if (!read)
    fail_input(place, ": attribute ", name, " is not one ",
               H5Tequal(wanted, H5T_NATIVE_DOUBLE) > 0 ? "number" : "integer number",
               "; write it as a scalar");
}

}  // namespace

// Did HDF5's last call fail for want of memory? Its error stack says so, until the next call.
static bool out_of_memory() {
  bool found = false;
  const auto visit = [](unsigned, const H5E_error2_t* error, void* out) -> herr_t {
    if (error->min_num == H5E_NOSPACE || error->min_num == H5E_CANTALLOC)
      *static_cast<bool*>(out) = true;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, visit, &found);
  return found;
}

void require_memory() {
  if (out_of_memory()) throw std::bad_alloc();
}

// HDF5 tells a locked file from a damaged one in its stack trace only: look for ourselves.
[[noreturn]] static void explain_failed_open(const std::string& path) {
  require_memory();
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const int locked = file < 0 ? 0 : ::flock(file, LOCK_SH | LOCK_NB);
  const int reason = locked == 0 ? 0 : errno;
  unsigned char head[12] = {};
  const bool read = file >= 0 && ::pread(file, head, sizeof head, 0) == sizeof head;
  if (file >= 0) ::close(file);  // and with it the lock
  if (reason == EWOULDBLOCK)
    fail_input(path, ": is locked by another program that writes it; close that and try again");
  if (reason != 0)
    fail_input(path,
               ": this file system cannot lock files; set HDF5_USE_FILE_LOCKING=FALSE in the "
               "environment and try again");
  // Superblocks from version 2 on say in their twelfth byte that a writer has them open.
  const std::string magic = "\x89HDF\r\n\x1a\n";
  if (read && std::equal(magic.begin(), magic.end(), reinterpret_cast<const char*>(head)) &&
      head[8] >= 2 && (head[11] & 1) != 0)
    fail_input(path,
               ": was never closed by the program that wrote it; if that is done with it, "
               "repair the file with h5clear -s, or record it again");
  fail_input(path,
             ": cannot be opened as HDF5 (truncated, or another format); record the file "
             "again");
}

void quiet() { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

Handle open_file(const std::string& path) {
  quiet();
  require_regular_file(path);
  Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose);
  if (!file) explain_failed_open(path);
  return file;
}

Handle open_image(const std::string& path, std::string_view bytes) {
  quiet();
  // HDF5 asks for memory and copies into it: it is given the bytes where they are.
  H5FD_file_image_callbacks_t in_place = {};
  in_place.image_malloc = [](std::size_t, H5FD_file_image_op_t, void* image) { return image; };
  in_place.image_memcpy = [](void* to, const void*, std::size_t, H5FD_file_image_op_t, void*) {
    return to;
  };
  in_place.image_free = [](void*, H5FD_file_image_op_t, void*) { return herr_t{0}; };
  in_place.udata_copy = [](void* image) { return image; };
  in_place.udata_free = [](void*) { return herr_t{0}; };
  in_place.udata = const_cast<char*>(bytes.data());  // which a reader does not write to
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fapl_core(access.get(), 1 << 20, false);
  H5Pset_file_image_callbacks(access.get(), &in_place);
  H5Pset_file_image(access.get(), in_place.udata, bytes.size());
  // Of two files of one name HDF5 would open the first again, whatever has become of it.
  static std::atomic<std::uint64_t> opened = 0;
  const std::string name = concat(path, "#", ++opened);
  Handle file(H5Fopen(name.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
  if (!file) explain_failed_open(path);
  return file;
}

Handle create_file(const std::string& path) {
  quiet();
  Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
  if (!file)
    fail_input(path, ": cannot be created; check that the folder exists, is writable and has room");
  return file;
}

Handle open_group(hid_t parent, const std::string& name, const std::string& file) {
  Handle group(exists(parent, name) ? H5Gopen2(parent, name.c_str(), H5P_DEFAULT) : -1, H5Gclose);
  if (!group) fail_input(file, ": group ", name, " is missing or is no group");
  return group;
}

Handle create_group(hid_t parent, const std::string& name, const std::string& file) {
  Handle group(H5Gcreate2(parent, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose);
  check_write(static_cast<herr_t>(group.get() < 0 ? -1 : 0), file + ": group " + name);
  return group;
}

std::vector<std::string> children(hid_t group) {
  std::vector<std::string> names;
  const auto visit = [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
    static_cast<std::vector<std::string>*>(out)->emplace_back(name);
    return 0;
  };
  H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, nullptr, visit, &names);
  return names;
}

std::optional<std::string> read_string(hid_t object, const char* name, const std::string& place) {
  const Handle attribute = open_attribute(object, name, place);
  if (!attribute) return std::nullopt;
  const Handle type(H5Aget_type(attribute.get()), H5Tclose);
  const Handle space(H5Aget_space(attribute.get()), H5Sclose);
  if (H5Tget_class(type.get()) != H5T_STRING || H5Sget_simple_extent_npoints(space.get()) != 1)
    fail_input(place, ": attribute ", name, " is not a string; write it as one");
  if (H5Tis_variable_str(type.get()) > 0) {
    const Handle memory(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(memory.get(), H5T_VARIABLE);
    H5Tset_cset(memory.get(), H5Tget_cset(type.get()));
    char* text = nullptr;
    if (H5Aread(attribute.get(), memory.get(), &text) < 0 || !text)
      fail_input(place, ": attribute ", name,
                 " cannot be read; it is damaged or too long, write it again");
    std::string value = text;
    H5free_memory(text);
    return value;
  }
  std::string value(H5Tget_size(type.get()), '\0');
  if (H5Aread(attribute.get(), type.get(), value.data()) < 0)
    fail_input(place, ": attribute ", name, " cannot be read");
  value.resize(value.find('\0') == std::string::npos ? value.size() : value.find('\0'));
  return value;
}

std::optional<std::int64_t> read_int(hid_t object, const char* name, const std::string& place) {
  const Handle attribute = open_attribute(object, name, place);
  if (!attribute) return std::nullopt;
  std::int64_t value = 0;
  read_number(attribute, name, place, H5T_NATIVE_INT64, &value);
  return value;
}

std::optional<double> read_real(hid_t object, const char* name, const std::string& place) {
  const Handle attribute = open_attribute(object, name, place);
  if (!attribute) return std::nullopt;
  double value = 0;
  read_number(attribute, name, place, H5T_NATIVE_DOUBLE, &value);
  return value;
}

void write_string(hid_t object, const std::string& name, const std::string& value) {
  // Of a length of its own: strings of variable length lie in a heap of the file, where most of
  // what crashes libhdf5 on damaged files comes from. HDF5 knows no string of length 0, and holds
  // none above 64 KiB in an object's header: a configuration that is longer goes to the heap.
  const bool fits = value.size() < (std::size_t{1} << 16) - 1024;
  const Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.get(), fits ? std::max<std::size_t>(value.size(), 1) : H5T_VARIABLE);
  H5Tset_strpad(type.get(), fits ? H5T_STR_NULLPAD : H5T_STR_NULLTERM);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  const char* text = value.c_str();
  write_scalar(object, name, type.get(), fits ? static_cast<const void*>(text) : &text);
}

void write_int(hid_t object, const std::string& name, std::int64_t value) {
  write_scalar(object, name, H5T_NATIVE_INT64, &value);
}

void write_real(hid_t object, const std::string& name, double value) {
  write_scalar(object, name, H5T_NATIVE_DOUBLE, &value);
}

void write_ints(hid_t object, const std::string& name, const std::vector<std::int64_t>& values) {
  const hsize_t size = values.size();
  const Handle space(H5Screate_simple(1, &size, nullptr), H5Sclose);
  const Handle attribute(
      H5Acreate2(object, name.c_str(), H5T_NATIVE_INT64, space.get(), H5P_DEFAULT, H5P_DEFAULT),
      H5Aclose);
  check_write(attribute ? H5Awrite(attribute.get(), H5T_NATIVE_INT64, values.data()) : -1,
              "attribute " + name);
}

std::vector<std::int64_t> shape(hid_t dataset) {
  const Handle space(H5Dget_space(dataset), H5Sclose);
  const int rank = H5Sget_simple_extent_ndims(space.get());
  std::vector<hsize_t> extent(rank > 0 ? rank : 0);
  if (rank > 0) H5Sget_simple_extent_dims(space.get(), extent.data(), nullptr);
  return {extent.begin(), extent.end()};
}

void check_read(herr_t status, const std::string& place, const std::string& why) {
  if (status >= 0) return;
  require_memory();
  fail_input(place, ": cannot be read; ", why);
}

void check_write(herr_t status, const std::string& place) {
  if (status < 0)
    fail_input(place,
               ": writing failed; is the disk full or the folder read-only? Free some room "
               "and run again");
}

}  // namespace doublep::h5
