// Changes to an HDF5 file by HDF5's own means: what a fuzzer of bytes would nearly never hit, since
// checksums and addresses stop it first.
#pragma once

#include <string>

namespace doublep::test {

/// The file `base` after a program of edits, each a byte for its kind and some for its arguments:
/// objects and attributes are removed, renamed, linked to one another or to other files, get other
/// types, shapes, values, layouts. Any bytes are a program. An edit that HDF5 refuses does nothing.
std::string edited(const std::string& base, const std::string& program);

}  // namespace doublep::test
