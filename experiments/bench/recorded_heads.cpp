#include "experiments/bench/recorded_heads.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/base/half.h"
#include "core/trace/trace.h"

namespace doublep::bench {
namespace {

// Of every dimension: real models' keys have a few channels that are much larger than all others.
std::vector<float> spreads_of(const float* rows, std::int64_t n, int d) {
  std::vector<float> spreads(d);
  for (int i = 0; i < d; ++i) {
    double sum = 0, squares = 0;
    for (std::int64_t j = 0; j < n; ++j) {
      const double v = rows[j * d + i];
      sum += v, squares += v * v;
    }
    const double mean = sum / static_cast<double>(n);
    spreads[i] = static_cast<float>(
        std::sqrt(std::max(0.0, squares / static_cast<double>(n) - mean * mean)));
  }
  return spreads;
}

}  // namespace

RecordedHeads::RecordedHeads(const std::vector<std::string>& traces, int kv_heads, float noise,
                             int layers)
    : kv_heads_(kv_heads), noise_(noise) {
  const std::size_t most = static_cast<std::size_t>(kv_heads) * layers;
  for (const std::string& path : traces) {
    const Trace trace = Trace::open(path);
    const TraceInfo& info = trace.info();
    if (head_dim_ == 0)
      head_dim_ = info.head_dim, group_ = info.group_size(), num_queries_ = 1 << 20;
    if (head_dim_ != info.head_dim || group_ != info.group_size())
      fail_input(path, ": head_dim and group size must be those of the first trace");
    num_queries_ = std::min(num_queries_, static_cast<int>(info.num_steps()));
    scale_ = static_cast<float>(info.softmax_scale);
    for (const int layer : info.layers) {
      const TraceLayer data = trace.read_layer(layer);
      for (int h = 0; h < info.num_kv_heads && heads_.size() < most; ++h) {
        Head head;
        head.rows = info.num_tokens;
        const std::int64_t count = head.rows * head_dim_;
        const float *keys = data.keys.data() + h * count, *values = data.values.data() + h * count;
        head.keys.resize(count), head.keys.upload(keys, count);
        head.values.resize(count), head.values.upload(values, count);
        head.key_spread.upload(spreads_of(keys, head.rows, head_dim_));
        head.value_spread.upload(spreads_of(values, head.rows, head_dim_));
        for (std::int64_t t = 0; t < info.num_steps(); ++t) {
          const float* q =
              data.queries.data() +
              (t * info.num_query_heads + static_cast<std::int64_t>(h) * group_) * head_dim_;
          head.queries.insert(head.queries.end(), q, q + group_ * head_dim_);
        }
        const std::int64_t row = static_cast<std::int64_t>(info.num_query_heads) * head_dim_;
        for (std::size_t at = 0; at < data.prefill_queries.size(); at += row) {
          const float* q = data.prefill_queries.data() + at + h * group_ * head_dim_;
          head.prompt.insert(head.prompt.end(), q, q + group_ * head_dim_);
        }
        heads_.push_back(std::move(head));
      }
    }
    description_ += (description_.empty() ? "" : " + ") + info.name + " (" +
                    std::to_string(info.num_tokens) + " tokens)";
  }
  if (heads_.empty()) fail_input("bench: no trace given");
  description_ += ", " + std::to_string(heads_.size()) +
                  " recorded KV heads; longer contexts repeat "
                  "them (tiled) with noise of " +
                  concat(noise) + " standard deviations of a channel";
}

void RecordedHeads::fill(bool keys, int sequence, int kv_head, std::int64_t context, void* out,
                         cudaStream_t stream) const {
  const Head& head = heads_[kv_head % heads_.size()];
  TileParams p;
  p.material = keys ? head.keys.get() : head.values.get();
  p.material_rows = head.rows, p.head_dim = head_dim_, p.rows = context;
  // The recording's end, where its queries stood, is the context's end.
  p.shift = ((-context) % head.rows + head.rows) % head.rows;
  p.noise = noise_, p.spread = (keys ? head.key_spread : head.value_spread).get();
  p.seed = (static_cast<std::uint64_t>(sequence) << 20 |
            static_cast<std::uint64_t>(kv_head % kv_heads_) << 1) +
           keys;
  p.out = static_cast<std::uint16_t*>(out);
  tile_rows(p, stream);
}

PrefillQueries RecordedHeads::prefill_queries(int kv_head) const {
  const std::vector<float>& prompt = heads_[kv_head % heads_.size()].prompt;
  const std::int64_t row = static_cast<std::int64_t>(group_) * head_dim_;
  return {prompt.data(), static_cast<std::int64_t>(prompt.size()) / row, group_, head_dim_, row};
}

std::vector<std::uint16_t> RecordedHeads::queries(int sequence, int step, int first) const {
  std::vector<std::uint16_t> out;
  for (int h = first; h < first + kv_heads_; ++h) {
    const Head& head = heads_[h % heads_.size()];
    const int t = (step + sequence) % num_queries_;
    for (int i = 0; i < group_ * head_dim_; ++i)
      out.push_back(float_to_bfloat16(head.queries[t * group_ * head_dim_ + i]));
  }
  return out;
}

}  // namespace doublep::bench
