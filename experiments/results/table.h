// A table of a result's or a simulation's file: a one-dimensional compound dataset, described by
// the columns of a record. Stored packed, in chunks that carry a checksum each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include "core/base/hash.h"
#include "core/trace/hdf5/h5.h"

namespace doublep {

struct Column {
  enum class Type { kInt32, kUint32, kInt64, kReal, kText };
  std::string name;
  Type type = Type::kReal;
  std::size_t offset = 0;  ///< in the record
  std::size_t size = 0;    ///< bytes; text is padded with zeros
};
using Columns = std::vector<Column>;

template <class Member>
constexpr Column::Type column_type() {
  if constexpr (std::is_same_v<Member, std::int32_t>) return Column::Type::kInt32;
  if constexpr (std::is_same_v<Member, std::uint32_t>) return Column::Type::kUint32;
  if constexpr (std::is_same_v<Member, std::int64_t>) return Column::Type::kInt64;
  if constexpr (std::is_same_v<Member, double>) return Column::Type::kReal;
  if constexpr (std::is_same_v<std::remove_extent_t<Member>, char>) return Column::Type::kText;
}

/// The column of a record's member, under the member's name.
#define DOUBLEP_COLUMN(record, member)                                                       \
  ::doublep::Column {                                                                        \
#member, ::doublep::column_type < decltype(record::member)>(), offsetof(record, member), \
        sizeof(record::member)                                                               \
  }

/// Writes a table of at least one record, and adds it to `hash` where one is given. `place` is
/// "file: group" for messages, here and below.
void write_table(hid_t group, const std::string& name, const Columns& columns, const void* records,
                 std::size_t count, std::size_t record_size, const std::string& place,
                 Sha256* hash = nullptr);

/// Reads a table block by block, so that no memory is asked for what a damaged or hostile header
/// claims. `take` gets each block as the columns' records, zero where there is no column, and may
/// throw. Everything stored goes into `hash`, columns that this program does not know too.
void read_table(hid_t group, const std::string& name, const Columns& columns,
                std::size_t record_size, const std::string& place, Sha256& hash,
                const std::function<void(const std::vector<unsigned char>& records)>& take);

template <class Record>
void write_table(hid_t group, const std::string& name, const Columns& columns,
                 const std::vector<Record>& records, const std::string& place,
                 Sha256* hash = nullptr) {
  write_table(group, name, columns, records.data(), records.size(), sizeof(Record), place, hash);
}

/// `check` sees every record as it comes, with its index, and throws where it makes no sense.
template <class Record, class Check>
std::vector<Record> read_table(hid_t group, const std::string& name, const Columns& columns,
                               const std::string& place, Sha256& hash, const Check& check) {
  static_assert(std::is_trivially_copyable_v<Record>);
  std::vector<Record> all;
  read_table(group, name, columns, sizeof(Record), place, hash,
             [&](const std::vector<unsigned char>& records) {
               const std::size_t first = all.size();
               all.resize(first + records.size() / sizeof(Record));
               std::memcpy(static_cast<void*>(all.data() + first), records.data(), records.size());
               for (std::size_t i = first; i < all.size(); ++i) check(all[i], i);
             });
  return all;
}

}  // namespace doublep
