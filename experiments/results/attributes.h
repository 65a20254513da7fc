// The attributes of a group of a result file, all of them, as values.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "core/base/hash.h"

namespace doublep {

using Attribute = std::variant<std::string, std::int64_t, double, std::vector<std::int64_t>>;
using Attributes = std::map<std::string, Attribute>;

/// Throws InputError where one is of a kind that no result has, or cannot be read. `place` is
/// "file: group" for messages, here and below.
Attributes read_attributes(hid_t group, const std::string& place);
void write_attributes(hid_t group, const Attributes& attributes);

/// One of them; InputError where it is missing or of another kind. An integer serves as a real.
const std::string& text_of(const Attributes& all, const char* name, const std::string& place);
std::int64_t integer_of(const Attributes& all, const char* name, const std::string& place);
double real_of(const Attributes& all, const char* name, const std::string& place);

/// The attribute that holds the hash of everything else in its group (RESULT_FORMAT.md).
inline constexpr const char* kContentHash = "content_hash";

/// Adds every attribute but `content_hash`, in the canonical form of RESULT_FORMAT.md.
void add_to_hash(const Attributes& attributes, Sha256& hash);

}  // namespace doublep
