// A registered policy on the CPU, by name, and traces by name.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "core/base/parallel.h"
#include "core/decoder/reference_decoder.h"
#include "core/policy/registry.h"
#include "experiments/replay/replay.h"
#include "tests/support/paths.h"

namespace doublep::test {

using Given = std::map<std::string, ParamValue>;

/// What a literal is not: a parameter's whole number, and its text (of a char pointer, ParamValue
/// would make a bool).
inline std::int64_t i64(std::int64_t x) { return x; }
inline std::string text(const char* s) { return s; }

inline std::unique_ptr<ReferenceDecoder> make_decoder(const std::string& policy,
                                                      const Given& given = {},
                                                      PolicyContext context = {}) {
  const PolicyInfo& info = PolicyRegistry::instance().find(policy);
  return std::make_unique<ReferenceDecoder>(info, resolve(info, given), context);
}

/// One policy over one KV head, prefilled; `out` of a select for a look inside.
struct HeadPolicy {
  std::unique_ptr<Policy> policy;
  KvHead cache;

  HeadPolicy(const std::string& name, const Given& given, const KvHead& head,
             PolicyContext context = {})
      : cache(head) {
    const PolicyInfo& info = PolicyRegistry::instance().find(name);
    policy = info.create(resolve(info, given), context);
    policy->prefill(head);
  }
  void append(const KvHead& grown) { policy->append(cache = grown); }
  GroupSelection select(const QueryGroup& group) {
    GroupSelection out(group.size);
    policy->select(cache, group, out);
    return out;
  }
};

inline ReplayResult replay_policy(const Trace& trace, const std::string& policy,
                                  const Given& given = {}, const ReplayOptions& options = {},
                                  const std::vector<LayerPart>& parts = {}) {
  return replay(
      trace, options, parts.empty() ? parts_of(trace, options) : parts,
      [&](int layer, int first_kv_head) {
        PolicyContext context;
        context.layer = layer, context.kv_head = first_kv_head;
        return make_decoder(policy, given, context);
      },
      [](double) { return true; });
}

/// Restores the number of threads on the way out.
struct ThreadGuard {
  int before = num_threads();
  ~ThreadGuard() { set_num_threads(before); }
};

/// A trace of the shared folder, or "" where that is not there.
inline std::string shared_trace(const std::string& name) {
  const char* folder = std::getenv("DOUBLEP_SHARED");
  const std::string path = (folder ? folder : kRoot + "/../shared") + "/traces/" + name + ".h5";
  return std::filesystem::exists(path) ? path : "";
}

}  // namespace doublep::test
