// Whether two replays measured the same, to the last bit.
#pragma once

#include <cstring>

#include "experiments/replay/replay.h"
#include "experiments/results/stored_run.h"

namespace doublep::test {

inline bool same_rows(const ReplayResult& a, const ReplayResult& b) {
  if (a.rows.size() != b.rows.size()) return false;
  for (std::size_t i = 0; i < a.rows.size(); ++i)
    for (const Column& c : row_columns())
      if (std::memcmp(reinterpret_cast<const char*>(&a.rows[i]) + c.offset,
                      reinterpret_cast<const char*>(&b.rows[i]) + c.offset, c.size) != 0)
        return false;
  return true;
}

}  // namespace doublep::test
