// What is timed: one layer's attention for a batch. One cache that every setting uses in turn,
// filled from recorded heads, and the index and the step of the setting whose turn it is.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cuda/decoder/planned.h"
#include "experiments/bench/recorded_heads.h"
#include "experiments/bench/setting.h"

namespace doublep::bench {

/// How kernels are launched, whatever the policy: as StepOptions' members of these names.
struct Launch {
  bool overlap = true, registers = false;
  cuda::EstimatePath estimate_path = cuda::EstimatePath::kAny;
  int warps = 0, select_team = 0, select_threads = 0;
};

/// What a step's selection needs read and computed, by the counts of the reference: for the whole
/// batch, or the mean of several such.
struct Reads {
  StepCost cost;
  double late_estimate_bytes = 0;  ///< of the estimate: read in the time of select (4-bit keys)
  double select_items = 0;         ///< masses that one query head's last search goes through
  double exact_share = 0;          ///< exact tokens of a query head over the context
  double union_share = 0;          ///< of a KV head
  double terms_share = 0;          ///< union's cluster terms over clusters
  /// Of estimate and attend: what select reads, estimate has left in cache.
  double bytes() const;
  void add(const Reads& other, double weight);
};

/// Sequences that errors and counts look at where all are of one length; the others are like them.
inline constexpr int kLooked = 8;

class Subject {
 public:
  /// `place` tells layers apart: they have other recorded heads, as far as `heads` holds some for
  /// them; around again sequences have other noise, and queries come from other steps.
  Subject(const RecordedHeads& heads, std::int64_t context, int batch, int place = 0)
      : Subject(heads, std::vector<std::int64_t>(batch, context), place) {}
  /// `contexts`: tokens of every sequence, at least one.
  Subject(const RecordedHeads& heads, std::vector<std::int64_t> contexts, int place = 0);

  /// Makes ready for a setting. What is in the cache and the index stays where the setting before
  /// used the same; so take them in_order(). `source`: room for the longest sequence in token
  /// order, needed where clusters are made. `together`: they are made of neighbouring sequences of
  /// one length at once, as far as some GiB beside what bytes() says hold their rows. Synchronous.
  void prepare(const Setting& setting, cuda::Cache* source, const Launch& launch = {},
               bool together = false);
  /// Queries of another step of the recording. Synchronous.
  void set_queries(int step);

  /// Output of all query heads, float32 [batch, heads * head_dim].
  const float* enqueue(cudaStream_t stream) {
    step_->enqueue(stream);
    return step_->output();
  }
  cuda::DecodeStep& step() { return *step_; }
  bool has_index() const { return index_ != nullptr; }
  /// Not-a-numbers where the output will be, so that an output which nothing writes is seen.
  void poison();
  /// The output of the first `sequences`, [sequences, heads * head_dim]; 0: of those that errors
  /// and counts look at. Synchronous.
  std::vector<float> output(int sequences = 0) const;
  /// Of the last step that ran. Synchronous.
  Reads reads() const;

  /// Index of one sequence, of the mean of them where lengths differ; 0: none.
  double build_ms() const { return build_ms_; }
  Work build_work() const;  ///< of the same
  /// Of all sequences, as prepare() made it.
  double layer_build_ms() const { return layer_build_ms_; }

  /// Bytes that a subject and (once for all) the source take at most under these settings.
  static double bytes(const RecordedHeads& heads, const std::vector<Setting>& settings,
                      std::int64_t context, int batch);
  static double source_bytes(const RecordedHeads& heads, std::int64_t context);
  static std::unique_ptr<cuda::Cache> make_source(const RecordedHeads& heads, std::int64_t context);

 private:
  int batch() const { return static_cast<int>(contexts_.size()); }
  int looked() const;
  /// Of a KV head of this layer, in heads_.
  int recorded(int kv_head) const { return place_ * heads_.kv_heads() + kv_head; }
  ExactZone zone(int sequence) const { return plan_.zone(contexts_[sequence]); }
  void fill(cuda::Cache& cache, int sequence_of_cache, int sequence);
  void cluster(cuda::Cache& source, bool together);
  /// Where a setting stops by error: the factors of every KV head, learnt from the recording's
  /// queries over the first sequence of a length, which the others are like.
  void tell_factors(const Setting& setting);
  RecordedHeads::Factors learn_factors(const Setting& setting, int sequence);
  void page();

  const RecordedHeads& heads_;
  std::vector<std::int64_t> contexts_;
  int longest_;  ///< sequence
  int place_;
  cuda::Cache cache_;
  cuda::Plan plan_;
  KvDtype dtype_ = KvDtype::kBf16;
  std::string held_;  // index_key() of what cache and index hold; "": nothing
  bool in_token_order_ = false;
  std::unique_ptr<cuda::ItemIndex> index_;
  std::unique_ptr<cuda::DecodeStep> step_;
  cuda::Warps warps_;  // metrics of the KV heads' clusterings
  double build_ms_ = 0, layer_build_ms_ = 0;
};

/// |output - dense| / |dense| per query head. Rows of head_dim; both of the same length.
std::vector<double> relative_errors(const std::vector<float>& output,
                                    const std::vector<float>& dense, int head_dim);

/// The members of a point's JSON object that say what was timed and what it reads, the same in both
/// programs' files: "label": ... to "build_bytes": ..., without braces.
void write_subject(const Setting& setting, const Reads& reads, const Work& build, double build_ms,
                   std::ostream& out);

}  // namespace doublep::bench
