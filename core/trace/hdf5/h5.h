// Small owners for HDF5's C handles, and the few calls that this project makes of it. Every failure
// is an InputError that names file and object; HDF5's own stack trace is not printed.
//
// A file that we read is not trusted: `exists`, `open_group` and `open_dataset` follow no link out
// of it, and a dataset whose values are not all in the file is refused. `probe`
// (core/trace/hdf5/probe.h) fences what inside libhdf5 itself may go wrong on a damaged file.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace doublep::h5 {

/// Owns an id; closes it with the call that fits its kind.
class Handle {
 public:
  Handle() = default;
  Handle(hid_t id, herr_t (*closer)(hid_t)) : id_(id), close_(closer) {}
  Handle(Handle&& other) noexcept
      : id_(std::exchange(other.id_, -1)), close_(std::exchange(other.close_, nullptr)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  hid_t get() const { return id_; }
  explicit operator bool() const { return id_ >= 0; }
  /// Closes now; false where HDF5 reports an error (a full disk shows itself here).
  bool close() {
    const hid_t id = std::exchange(id_, -1);
    return id < 0 || close_(id) >= 0;
  }

 private:
  hid_t id_ = -1;
  herr_t (*close_)(hid_t) = nullptr;
};

/// No stack traces on stderr; called by whoever opens or creates first.
void quiet();

/// Read-only. Throws InputError if it is no regular file, is locked, or is not HDF5.
Handle open_file(const std::string& path);
/// The same of a file whose bytes are in memory, and stay there while it is open; they are not
/// copied. `path` is for messages.
Handle open_image(const std::string& path, std::string_view bytes);
Handle create_file(const std::string& path);  ///< truncates; InputError if it cannot be written
Handle open_group(hid_t parent, const std::string& name, const std::string& file);
Handle create_group(hid_t parent, const std::string& name, const std::string& file);
/// Is there something of that name below `parent`? Soft links within the file are followed.
/// Throws InputError where a link on the way leads into another file (which is not looked at).
bool exists(hid_t parent, const std::string& name);
/// Throws InputError unless there is a dataset of that name whose values are all in this file:
/// virtual and external storage, links out of the file, chunks or whole datasets that were never
/// written, filters that are not to be had, and sizes that do not fit what is stored (gzip bombs)
/// are refused by name, before any value is read. `place` is "file: dataset name", `expected` what
/// should be there, both for messages; `check` may look at shape and type first, so that what it
/// has to say comes before how the values are stored.
Handle open_dataset(hid_t parent, const std::string& name, const std::string& place,
                    const std::string& expected, const std::function<void(hid_t)>& check = {});
/// The part of it that looks at no value's storage: a dataset of this file, neither virtual nor
/// with external storage. For who looks at what is stored chunk by chunk; `remedy` is for messages.
Handle open_own_dataset(hid_t parent, const std::string& name, const std::string& place,
                        const std::string& expected, const std::string& remedy);
/// Do values pass through a filter (compression, checksum) when they are read?
bool filtered(hid_t dataset);
/// Names of the links of a group, in alphabetical order.
std::vector<std::string> children(hid_t group);

/// Attributes; nullopt where there is none, InputError where it is of another kind or above
/// kMaxAttribute bytes. `place` is "file: object" for messages.
inline constexpr std::size_t kMaxAttribute = 4 << 20;
std::optional<std::string> read_string(hid_t object, const char* name, const std::string& place);
std::optional<std::int64_t> read_int(hid_t object, const char* name, const std::string& place);
std::optional<double> read_real(hid_t object, const char* name, const std::string& place);
void write_string(hid_t object, const std::string& name, const std::string& value);
void write_int(hid_t object, const std::string& name, std::int64_t value);
void write_real(hid_t object, const std::string& name, double value);
void write_ints(hid_t object, const std::string& name, const std::vector<std::int64_t>& values);

/// Extent of every dimension of a dataset.
std::vector<std::int64_t> shape(hid_t dataset);

/// Throws std::bad_alloc where HDF5's last call was refused memory: then what failed says nothing
/// of the file.
void require_memory();
/// Where `status` is negative, throws InputError "<place>: cannot be read; <why>", or
/// std::bad_alloc where HDF5 was refused memory: then nothing is wrong with the file.
void check_read(herr_t status, const std::string& place, const std::string& why);
/// Throws InputError "<place>: writing failed; ..." where `status` is negative.
void check_write(herr_t status, const std::string& place);

}  // namespace doublep::h5
