// Caches and queries that lie on the device against the same in the host's memory: bit for bit, as
// both go through the same kernels.
#include "core/decoder/device_decoder.h"
#include "cuda/common/runtime.h"
#include "cuda/decoder/convert.h"
#include "tests/parity/support.h"
#include "tests/support/message.h"

namespace doublep::test {
namespace {

/// A case's tensors on the device, as a model has them: by heads, or with the tokens outermost.
struct OnDevice {
  OnDevice(const Case& of, bool tokens_outermost) : c(of), outermost(tokens_outermost) {
    keys.upload(bytes(c.keys, c.kv_heads, c.capacity));
    values.upload(bytes(c.values, c.kv_heads, c.capacity));
    prompt.upload(cuda::to_device_type(c.prompt.data(), size(c.prompt), type()));
    queries.upload(cuda::to_device_type(c.queries.data(), size(c.queries), type()));
  }
  static std::int64_t size(const std::vector<float>& values) {
    return static_cast<std::int64_t>(values.size());
  }
  cuda::DType type() const {
    return c.dtype == KvDtype::kFp32   ? cuda::DType::kFp32
           : c.dtype == KvDtype::kFp16 ? cuda::DType::kFp16
                                       : cuda::DType::kBf16;
  }
  std::vector<unsigned char> bytes(const std::vector<float>& rows, std::int64_t heads,
                                   std::int64_t tokens) const {
    std::vector<float> moved = rows;
    const std::int64_t d = c.head_dim;
    for (std::int64_t h = 0; h < heads && outermost; ++h)
      for (std::int64_t t = 0; t < tokens; ++t)
        std::copy_n(rows.begin() + (h * tokens + t) * d, d, moved.begin() + (t * heads + h) * d);
    return cuda::to_device_type(moved.data(), size(moved), type());
  }
  /// Tokens [begin, end).
  DeviceTensor rows(const cuda::DeviceBuffer<unsigned char>& of, std::int64_t begin,
                    std::int64_t end) const {
    const std::int64_t d = c.head_dim, element = bytes_of(c.dtype);
    const std::int64_t head = outermost ? d : c.capacity * d,
                       token = outermost ? c.kv_heads * d : d;
    return {
        of.get() + begin * token * element, c.dtype, {c.kv_heads, end - begin, d}, {head, token}};
  }
  DeviceTensor asked() const {
    const std::int64_t heads = c.kv_heads * c.group, d = c.head_dim;
    return {prompt.get(), c.dtype, {size(c.prompt) / (heads * d), heads, d}, {heads * d, d}};
  }
  DeviceTensor query() const {
    const std::int64_t heads = c.kv_heads * c.group, d = c.head_dim;
    return {queries.get(), c.dtype, {1, heads, d}, {heads * d, d}};
  }
  const Case& c;
  bool outermost;
  cuda::DeviceBuffer<unsigned char> keys, values, prompt, queries;
};

void check_same(const StepResult& a, const StepResult& b) {
  CHECK(a.output == b.output);
  CHECK(a.log_sum_exp == b.log_sum_exp);
  REQUIRE(a.selections.size() == b.selections.size());
  for (std::size_t h = 0; h < a.selections.size(); ++h) {
    CHECK(a.selections[h].tokens == b.selections[h].tokens);
    CHECK(a.selections[h].terms.size() == b.selections[h].terms.size());
    CHECK(a.counts[h].tokens == static_cast<std::int64_t>(a.selections[h].tokens.size()));
    CHECK(a.counts[h].terms == static_cast<std::int64_t>(a.selections[h].terms.size()));
  }
  for (std::size_t h = 0; h < a.cost.size(); ++h)
    for (int stage = 0; stage < kNumStages; ++stage)
      CHECK(a.cost[h].stages[stage].bytes == b.cost[h].stages[stage].bytes);
}

}  // namespace

TEST_CASE("tensors on the device are attended as the host's are", "[parity][quick]") {
  if (without_device()) return;
  const std::vector<Setup> setups = {
      {"dense", {}},
      {"streaming", {}},
      {"quest", {{"budget", std::int64_t{96}}}},
      {"twilight", {}},
      {"retroinfer", {{"retrieval", 0.2}, {"recluster_every", std::int64_t{16}}}},
      {"double_p", {{"recluster_every", std::int64_t{16}}}},
      best({{"metric", std::string("query")}}),
      best({{"metric", std::string("query")},
            {"metric_source", std::string("steps")},
            {"metric_queries", std::int64_t{2}}}),
      best({{"stop", std::string("error")},
            {"error", 0.2},
            {"calibration", std::string("prompt")},
            {"recluster_every", std::int64_t{16}}}),
  };
  for (const KvDtype dtype : {KvDtype::kBf16, KvDtype::kFp16, KvDtype::kFp32})
    for (const Setup& setup : setups)
      for (const bool outermost : {false, true}) {
        Case c;
        c.dtype = dtype, c.group = 3, c.length = 600, c.capacity = 640;
        c.fill();
        c.ask(20);
        c.prompt = rounded(c.prompt, dtype);
        INFO(setup.policy << ", " << c.text() << (outermost ? ", tokens outermost" : ""));
        const OnDevice there(c, outermost);
        const auto host = on_gpu(setup, dtype), made = on_gpu(setup, dtype);
        auto& device = dynamic_cast<DeviceDecoder&>(*made);
        const DeviceTensor asked = there.asked();
        host->prefill(c.cache());
        device.prefill_on_device(there.rows(there.keys, 0, 600), there.rows(there.values, 0, 600),
                                 &asked, c.capacity);
        cuda::DeviceBuffer<float> output(c.queries.size());
        for (const std::int64_t length : {600, 601, 620, 621}) {
          if (length > c.length) {
            device.append_on_device(there.rows(there.keys, c.length, length),
                                    there.rows(there.values, c.length, length));
            c.length = length;
            host->append(c.cache());
          }
          const StepResult expected = host->step(c.block(), Detail::kSelections);
          StepResult found = device.step_on_device(there.query(), c.block().softmax_scale,
                                                   output.get(), Detail::kSelections);
          CHECK(found.output.empty());
          found.output = output.download();
          check_same(found, expected);
        }
        const StepResult expected = host->step(c.block(), Detail::kSelections);
        const StepResult counted =
            device.step_on_device(there.query(), c.block().softmax_scale, nullptr, Detail::kCounts);
        CHECK(counted.output == expected.output);
        CHECK(counted.selections.empty());
        CHECK(counted.counts[0].tokens == expected.counts[0].tokens);
        CHECK(device.index_cost().build.bytes == host->index_cost().build.bytes);
      }
}

TEST_CASE("values on the device that no model computes are refused", "[parity][quick]") {
  if (without_device()) return;
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 2e15f}) {
    for (const bool in_keys : {true, false}) {
      Case c;
      c.dtype = KvDtype::kFp32;
      c.fill();
      (in_keys ? c.keys : c.values)[5 * c.head_dim + 3] = bad;
      const OnDevice there(c, false);
      const auto made = on_gpu({"dense", {}}, c.dtype);
      const std::string message = message_of([&] {
        dynamic_cast<DeviceDecoder&>(*made).prefill_on_device(there.rows(there.keys, 0, c.length),
                                                              there.rows(there.values, 0, c.length),
                                                              nullptr, c.capacity);
      });
      CHECK(contains(message, in_keys ? "prefill: keys hold NaN" : "prefill: values hold NaN"));
    }
    Case c;
    c.dtype = KvDtype::kFp32;
    c.fill();
    c.queries[1] = bad;
    if (std::isfinite(bad)) continue;  // a large query is one
    const OnDevice there(c, false);
    const auto made = on_gpu({"dense", {}}, c.dtype);
    auto& device = dynamic_cast<DeviceDecoder&>(*made);
    device.prefill_on_device(there.rows(there.keys, 0, c.length),
                             there.rows(there.values, 0, c.length), nullptr, c.capacity);
    const std::string message =
        message_of([&] { device.step_on_device(there.query(), 0.1, nullptr, Detail::kOutput); });
    CHECK(contains(message, "query head 0 are not finite"));
  }
}

}  // namespace doublep::test
