// A small sound kv-trace, and the ways to break it: each fault is made by the test that expects it.
#pragma once

#include <string>
#include <vector>

#include "core/trace/hdf5/float_dataset.h"
#include "core/trace/hdf5/h5.h"
#include "core/trace/trace.h"
#include "tests/support/random_cache.h"
#include "tests/support/temp_dir.h"

namespace doublep::test {

/// 2 KV heads, 4 query heads of 8, 20 tokens, 3 steps, layers 1 and 10.
class TraceFile {
 public:
  static constexpr std::int64_t kKvHeads = 2, kHeads = 4, kDim = 8, kTokens = 20, kSteps = 3;

  explicit TraceFile(StoredType type = StoredType::kFloat32) : path_(dir_.file("toy.h5")) {
    const h5::Handle f = h5::create_file(path_);
    h5::write_string(f.get(), "format", "kv-trace");
    for (const auto& [name, value] :
         std::vector<std::pair<const char*, std::int64_t>>{{"version", 1},
                                                           {"num_query_heads", kHeads},
                                                           {"num_kv_heads", kKvHeads},
                                                           {"head_dim", kDim},
                                                           {"num_tokens", kTokens},
                                                           {"rope_applied", 1},
                                                           {"seed", 5}})
      h5::write_int(f.get(), name, value);
    h5::write_string(f.get(), "model", "toy");
    h5::write_string(f.get(), "task", "synthetic");
    h5::write_real(f.get(), "softmax_scale", 0.25);
    const RandomCache data({kKvHeads, kHeads / kKvHeads, kTokens, kDim, kSteps});
    const h5::Handle layers = h5::create_group(f.get(), "layers", path_);
    for (const char* layer : {"1", "10"}) {
      const h5::Handle group = h5::create_group(layers.get(), layer, path_);
      write(group, "keys", cache_shape(), data.keys, type);
      write(group, "values", cache_shape(), data.values, type);
      write(group, "queries", step_shape(), data.queries, type);
    }
    write_ints(f, "positions", {16, 17, 19});
  }

  static std::vector<std::int64_t> cache_shape() { return {kKvHeads, kTokens, kDim}; }
  static std::vector<std::int64_t> step_shape() { return {kSteps, kHeads, kDim}; }
  const std::string& path() const { return path_; }
  Trace open() const { return Trace::open(path_); }

  h5::Handle writable() const {
    return {H5Fopen(path_.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose};
  }
  void remove_attribute(const char* name) const { H5Adelete(writable().get(), name); }
  void set_int(const char* name, std::int64_t value) const {
    remove_attribute(name);
    h5::write_int(writable().get(), name, value);
  }
  void set_real(const char* name, double value) const {
    remove_attribute(name);
    h5::write_real(writable().get(), name, value);
  }
  void set_string(const char* name, const std::string& value) const {
    remove_attribute(name);
    h5::write_string(writable().get(), name, value);
  }
  void remove(const char* name) const { H5Ldelete(writable().get(), name, H5P_DEFAULT); }
  void rename(const char* from, const char* to) const {
    H5Lmove(writable().get(), from, H5L_SAME_LOC, to, H5P_DEFAULT, H5P_DEFAULT);
  }
  void make_group(const char* name) const { h5::create_group(writable().get(), name, path_); }
  void set_positions(const std::vector<std::int64_t>& values) const {
    remove("positions");
    write_ints(writable(), "positions", values);
  }
  /// Replaces a dataset by one of another type or shape; `data` is laid out as `memory`.
  void replace(const char* name, const std::vector<std::int64_t>& shape, hid_t stored, hid_t memory,
               const void* data, const char* encoding = nullptr) const {
    const h5::Handle f = writable();
    if (h5::exists(f.get(), name)) H5Ldelete(f.get(), name, H5P_DEFAULT);
    const std::vector<hsize_t> extent(shape.begin(), shape.end());
    const h5::Handle space(
        H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr), H5Sclose);
    const h5::Handle set(
        H5Dcreate2(f.get(), name, stored, space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
        H5Dclose);
    if (data) H5Dwrite(set.get(), memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data);
    if (encoding) h5::write_string(set.get(), "encoding", encoding);
  }
  /// Overwrites bytes of a dataset as they are stored, element by element.
  template <class Element>
  void poke(const char* name, std::size_t index, Element bits) const {
    const h5::Handle f = writable();
    const h5::Handle set(H5Dopen2(f.get(), name, H5P_DEFAULT), H5Dclose);
    const h5::Handle type(H5Dget_type(set.get()), H5Tclose);
    std::size_t n = 1;
    for (std::int64_t extent : h5::shape(set.get())) n *= static_cast<std::size_t>(extent);
    std::vector<Element> all(n);
    H5Dread(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, all.data());
    all[index] = bits;
    H5Dwrite(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, all.data());
  }

 private:
  void write(const h5::Handle& group, const char* name, const std::vector<std::int64_t>& shape,
             const std::vector<float>& values, StoredType type) const {
    const h5::Handle set = create_float_dataset(group.get(), name, shape, type, path_);
    const std::vector<std::int64_t> start(shape.size(), 0);
    write_float_block(set.get(), start, shape, values.data(), type, path_);
  }
  static void write_ints(const h5::Handle& f, const char* name,
                         const std::vector<std::int64_t>& values) {
    const hsize_t size = values.size();
    const h5::Handle space(H5Screate_simple(1, &size, nullptr), H5Sclose);
    const h5::Handle set(H5Dcreate2(f.get(), name, H5T_STD_I64LE, space.get(), H5P_DEFAULT,
                                    H5P_DEFAULT, H5P_DEFAULT),
                         H5Dclose);
    H5Dwrite(set.get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
  }

  TempDir dir_;
  std::string path_;
};

}  // namespace doublep::test
