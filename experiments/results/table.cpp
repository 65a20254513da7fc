#include "experiments/results/table.h"

#include <algorithm>
#include <cstring>

#include "core/base/error.h"

namespace doublep {
namespace {

// A chunk is small enough that the worst a compressed one can swell to stays harmless.
constexpr std::size_t kChunkBytes = 96 << 10, kLargestChunk = 128 << 10;

// "i4": as numpy calls it.
std::string code_of(const Column& column) {
  const char* kinds = "iuifS";
  return kinds[static_cast<int>(column.type)] + std::to_string(column.size);
}

h5::Handle member_type(Column::Type type, std::size_t size) {
  switch (type) {
    case Column::Type::kInt32:
      return {H5Tcopy(H5T_NATIVE_INT32), H5Tclose};
    case Column::Type::kUint32:
      return {H5Tcopy(H5T_NATIVE_UINT32), H5Tclose};
    case Column::Type::kInt64:
      return {H5Tcopy(H5T_NATIVE_INT64), H5Tclose};
    case Column::Type::kReal:
      return {H5Tcopy(H5T_NATIVE_DOUBLE), H5Tclose};
    case Column::Type::kText:
      break;
  }
  h5::Handle text(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(text.get(), size);
  return text;
}

// The columns without the gaps that a compiler leaves between a record's members.
Columns packed(Columns columns) {
  std::size_t end = 0;
  for (Column& column : columns) column.offset = std::exchange(end, end + column.size);
  return columns;
}

std::size_t size_of(const Columns& packed) { return packed.back().offset + packed.back().size; }

h5::Handle compound(const Columns& packed) {
  h5::Handle type(H5Tcreate(H5T_COMPOUND, size_of(packed)), H5Tclose);
  for (const Column& c : packed)
    H5Tinsert(type.get(), c.name.c_str(), c.offset, member_type(c.type, c.size).get());
  return type;
}

void add_header(const std::string& name, const Columns& columns, std::size_t rows, Sha256& hash) {
  std::string text = concat("table ", name, " ", rows, "\n");
  for (const Column& column : columns) text += concat(column.name, " ", code_of(column), "\n");
  hash.add(text);
}

// What the file says of its own columns, packed.
Columns stored_columns(hid_t dataset, const std::string& place) {
  const h5::Handle type(H5Dget_type(dataset), H5Tclose);
  if (!type || H5Tget_class(type.get()) != H5T_COMPOUND)
    fail_input(place, ": expected a list of records; run the sweep again");
  Columns columns;
  for (int i = 0; i < H5Tget_nmembers(type.get()); ++i) {
    char* name = H5Tget_member_name(type.get(), static_cast<unsigned>(i));
    Column column{name ? name : "", Column::Type::kReal, 0, 0};
    H5free_memory(name);
    const h5::Handle member(H5Tget_member_type(type.get(), static_cast<unsigned>(i)), H5Tclose);
    column.size = H5Tget_size(member.get());
    const H5T_class_t kind = H5Tget_class(member.get());
    const bool is_signed = kind == H5T_INTEGER && H5Tget_sign(member.get()) == H5T_SGN_2;
    if (kind == H5T_INTEGER && column.size == 8 && is_signed)
      column.type = Column::Type::kInt64;
    else if (kind == H5T_INTEGER && column.size == 4)
      column.type = is_signed ? Column::Type::kInt32 : Column::Type::kUint32;
    else if (kind == H5T_STRING && H5Tis_variable_str(member.get()) == 0 && column.size < 4096)
      column.type = Column::Type::kText;
    else if (kind != H5T_FLOAT || column.size != 8)
      fail_input(place, ": field ", column.name, " is of a type that no result has");
    columns.push_back(column);
  }
  if (columns.empty()) fail_input(place, ": has no field; run the sweep again");
  return packed(columns);
}

// Only what write_table() writes is read: chunks of a harmless size, through filters of HDF5's own.
std::size_t checked_chunk(hid_t dataset, std::size_t record, const std::string& place) {
  const h5::Handle options(H5Dget_create_plist(dataset), H5Pclose);
  hsize_t chunk = 0;
  if (!options || H5Pget_layout(options.get()) != H5D_CHUNKED ||
      H5Pget_chunk(options.get(), 1, &chunk) != 1 || chunk == 0 || chunk > kLargestChunk / record)
    fail_input(place, ": is not stored as `doublep` stores it; run the sweep again");
  for (int i = 0; i < H5Pget_nfilters(options.get()); ++i) {
    unsigned flags = 0, config = 0;
    std::size_t values = 0;
    const H5Z_filter_t filter = H5Pget_filter2(options.get(), static_cast<unsigned>(i), &flags,
                                               &values, nullptr, 0, nullptr, &config);
    if (filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_DEFLATE &&
        filter != H5Z_FILTER_FLETCHER32)
      fail_input(place, ": is stored through a filter that no result uses; run the sweep again");
  }
  return static_cast<std::size_t>(chunk);
}

// Where each wanted column lies in the stored record.
std::vector<std::size_t> find_columns(const Columns& wanted, const Columns& stored,
                                      const std::string& place) {
  std::vector<std::size_t> offsets;
  for (const Column& column : wanted) {
    const auto found = std::find_if(stored.begin(), stored.end(),
                                    [&](const Column& c) { return c.name == column.name; });
    if (found == stored.end())
      fail_input(place, " has no field ", column.name, "; run the sweep again");
    if (found->type != column.type || found->size != column.size)
      fail_input(place, ": field ", column.name, " is of type ", code_of(*found), ", expected ",
                 code_of(column), "; run the sweep again");
    offsets.push_back(found->offset);
  }
  return offsets;
}

}  // namespace

void write_table(hid_t group, const std::string& name, const Columns& columns, const void* records,
                 std::size_t count, std::size_t record_size, const std::string& place,
                 Sha256* hash) {
  DP_ASSERT(count > 0, "an empty table");
  const Columns stored = packed(columns);
  const std::size_t width = size_of(stored);
  std::vector<unsigned char> bytes(count * width);
  const auto* from = static_cast<const unsigned char*>(records);
  for (std::size_t i = 0; i < count; ++i)
    for (std::size_t c = 0; c < columns.size(); ++c)
      std::memcpy(bytes.data() + i * width + stored[c].offset,
                  from + i * record_size + columns[c].offset, columns[c].size);
  if (hash) {
    add_header(name, stored, count, *hash);
    hash->add(bytes.data(), bytes.size());
  }
  const hsize_t size = count, chunk = std::clamp<hsize_t>(kChunkBytes / width, 1, size);
  const h5::Handle space(H5Screate_simple(1, &size, nullptr), H5Sclose);
  const h5::Handle options(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_chunk(options.get(), 1, &chunk);
  H5Pset_shuffle(options.get());
  H5Pset_deflate(options.get(), 4);
  H5Pset_fletcher32(options.get());
  const h5::Handle type = compound(stored);
  const h5::Handle dataset(H5Dcreate2(group, name.c_str(), type.get(), space.get(), H5P_DEFAULT,
                                      options.get(), H5P_DEFAULT),
                           H5Dclose);
  if (!dataset ||
      H5Dwrite(dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()) < 0)
    fail_input(place, ": HDF5 cannot hold the table ", name, " of ", count, " rows of ", width,
               " bytes; run fewer layers or steps at once");
}

void read_table(hid_t group, const std::string& name, const Columns& columns,
                std::size_t record_size, const std::string& place, Sha256& hash,
                const std::function<void(const std::vector<unsigned char>& records)>& take) {
  const std::string where = place + ": dataset " + name;
  const h5::Handle dataset = h5::open_own_dataset(
      group, name, where, "a list of records; run the sweep again", "run the sweep again");
  const std::vector<std::int64_t> shape = h5::shape(dataset.get());
  if (shape.size() != 1) fail_input(where, ": expected a list of records; run the sweep again");
  if (shape[0] < 1) fail_input(where, ": holds no rows; run the sweep again");
  const auto rows = static_cast<std::size_t>(shape[0]);
  const Columns stored = stored_columns(dataset.get(), where);
  const std::vector<std::size_t> offsets = find_columns(columns, stored, where);
  const std::size_t width = size_of(stored), chunk = checked_chunk(dataset.get(), width, where);
  const h5::Handle type = compound(stored), file_space(H5Dget_space(dataset.get()), H5Sclose);
  add_header(name, stored, rows, hash);
  std::vector<unsigned char> block, records;
  for (std::size_t first = 0; first < rows; first += chunk) {
    const hsize_t start = first, count = std::min(chunk, rows - first);
    hsize_t bytes = 0;
    // Neither a chunk that was never written nor one that swells to more than it may hold.
    if (H5Dget_chunk_storage_size(dataset.get(), &start, &bytes) < 0 || bytes == 0 ||
        bytes > chunk * width + chunk * width / 100 + 1024)
      fail_input(where, ": declares ", rows, " rows, but those from ", first,
                 " on are not stored; the file is damaged, run the sweep again");
    const h5::Handle memory(H5Screate_simple(1, &count, nullptr), H5Sclose);
    block.resize(count * width);
    H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, &start, nullptr, &count, nullptr);
    h5::check_read(H5Dread(dataset.get(), type.get(), memory.get(), file_space.get(), H5P_DEFAULT,
                           block.data()),
                   where, "the file is damaged, run the sweep again");
    hash.add(block.data(), block.size());
    records.assign(count * record_size, 0);
    for (std::size_t i = 0; i < count; ++i)
      for (std::size_t c = 0; c < columns.size(); ++c)
        std::memcpy(records.data() + i * record_size + columns[c].offset,
                    block.data() + i * width + offsets[c], columns[c].size);
    take(records);
  }
}

}  // namespace doublep
