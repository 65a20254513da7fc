// Where the sources lie, and the traces that lie with them.
#pragma once

#include <string>

namespace doublep::test {

inline const std::string kRoot = DOUBLEP_SOURCE_DIR;

/// What configs/default.yaml runs on: two layers of a production model.
inline std::string shipped_trace() { return kRoot + "/data/qwen-needle-8k.h5"; }

/// Two layers of a 27M model: small enough to replay in a test, and what facts were measured on.
inline std::string needle_4k() { return kRoot + "/tests/data/needle-4k.h5"; }

}  // namespace doublep::test
