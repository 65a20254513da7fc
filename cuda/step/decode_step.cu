#include <algorithm>
#include <cmath>

#include "cuda/step/decode_step.h"

namespace doublep::cuda {

DecodeStep::DecodeStep(Cache& cache, ItemIndex* index, const StepOptions& options)
    : cache_(cache), index_(index), options_(options) {
  const Shape& shape = cache.shape();
  const std::int64_t heads = static_cast<std::int64_t>(shape.pairs) * shape.group;
  const bool items = options.kind == StepKind::kItems || options.kind == StepKind::kTwilight;
  item_capacity_ = items ? index->capacity() : 0;
  // Every cluster, page and zone may end in a run that is not full. A page of kTile rows is one
  // run, and those that a zone covers are none: only the zones' two ends and the pages cut there
  // add.
  run_capacity_ = options.pages && options.page_size == kTile
                      ? item_capacity_ + 4
                      : (cache.capacity() + kTile - 1) / kTile + item_capacity_ + 2;
  queries_.resize(heads * cache.row_bytes());
  output_.resize(heads * shape.head_dim), log_sum_exp_.resize(heads);
  arrived_.resize(3 * static_cast<std::size_t>(shape.pairs)), arrived_.zero();
  const auto zones = [&](auto& p) {
    p.sink_end = cache.sink_end(), p.tail_begin = cache.tail_begin(), p.lengths = cache.lengths();
  };

  if (items) {
    logits_.resize(heads * item_capacity_);
    estimate_.shape = shape, estimate_.dtype = cache.dtype(), estimate_.scale = options.scale;
    estimate_.estimator = options.estimator, estimate_.queries = queries_.get();
    estimate_.rows = index->rows(), estimate_.lows = options.pages ? index->others() : nullptr;
    estimate_.meta = options.pages ? nullptr : index->meta();
    estimate_.num_rows = index->num_items(), estimate_.capacity = item_capacity_;
    // More than a quarter of the room is empty, as where sequences differ in length.
    const int full_pairs = index->full_pairs();
    estimate_.sparse = 4 * full_pairs < 3 * shape.pairs;
    // What little is empty takes less time to read than a round trip that says where it is.
    estimate_.full = 16 * full_pairs >= 15 * shape.pairs;
    estimate_.path = options.estimate_path;
    if (estimate_.sparse) select_.full_pairs = full_pairs;
    estimate_.logits = logits_.get();
    if (options.value_shift) {
      directions_.resize(heads * shape.head_dim);
      estimate_.value_map = index->value_map(), estimate_.directions = directions_.get();
    }
    const bool pooled = options.estimator == MassEstimate::kPooled;
    if (pooled || ranked()) masses_.resize(heads * item_capacity_);
    if (pooled) {
      shape_directions_.resize(heads * shape.head_dim), forms_.resize(heads);
      estimate_.key_shape = index->key_shape();
      estimate_.shape_directions = shape_directions_.get();
      pooled_ = {cache.dtype(), options.scale, queries_.get(), shape_directions_.get(),
                 forms_.get()};
    }
    if (options.zone_capacity > 0) {
      zone_logits_.resize(heads * options.zone_capacity);
      estimate_.keys = cache.keys(), estimate_.key_capacity = cache.capacity();
      zones(estimate_);
      estimate_.zone_logits = zone_logits_.get(), estimate_.zone_capacity = options.zone_capacity;
    }
  }
  if (options.kind != StepKind::kDense) {
    runs_.resize(shape.pairs * run_capacity_), num_runs_.resize(shape.pairs);
    if (!ranked()) terms_.resize(shape.pairs * std::max<std::int64_t>(item_capacity_, 1));
    num_terms_.resize(shape.pairs), codes_.resize(heads * item_capacity_);
    budgets_.resize(shape.pairs), budgets_.zero();
    if (options.group_mode == GroupMode::kSum) {
      group_logits_.resize(shape.pairs * item_capacity_);
      head_stats_.resize(heads);
    }
    SelectParams& s = select_;
    s.shape = shape, s.capacity = item_capacity_;
    s.logits = ranked() ? logits_.get() : log_masses();
    s.rank = options.rank, s.votes = options.votes, s.share = options.share,
    s.wanted = options.tokens;
    s.masses = masses_.get(), s.pooled = pooled_;
    if (options.rule == SelectRule::kError) {
      lifts_.upload(std::vector<float>(heads, INFINITY));
      s.lifts = lifts_.get();
      s.error = static_cast<float>(options.error), s.tail = static_cast<float>(options.tail);
    }
    s.team = options.select_team, s.threads = options.select_threads;
    if (items)
      s.num_items = index->num_items(), s.meta = index->meta(), s.offsets = index->offsets();
    s.rule = options.kind == StepKind::kTwilight ? SelectRule::kCount : options.rule;
    s.keep = options.keep, s.refine = options.refine, s.budgets = budgets_.get();
    s.group_mode = options.group_mode, s.rank_without_size = options.rank_without_size;
    s.emit_terms = items && options.terms && !options.pages && !ranked();
    s.outside_terms = options.outside_terms;
    s.zone_logits = zone_logits_.get(), s.zone_capacity = options.zone_capacity;
    zones(s);
    s.runs = runs_.get(), s.work_capacity = run_capacity_, s.num_work = num_runs_.get();
    s.terms = terms_.get(), s.num_terms = num_terms_.get(), s.codes = codes_.get();
    s.group_logits = group_logits_.get(), s.head_stats = head_stats_.get(),
    s.arrived = arrived_.get();
  }
  if (options.kind == StepKind::kTwilight) {
    token_capacity_ = run_capacity_ * kTile;
    slot_logits_.resize(heads * token_capacity_), slot_rows_.resize(shape.pairs * token_capacity_);
    tokens_.resize(shape.pairs * token_capacity_);
    num_slots_.resize(shape.pairs), num_tokens_.resize(shape.pairs);
    NibbleEstimateParams& n = nibbles_;
    n.shape = shape, n.dtype = cache.dtype(), n.scale = options.scale, n.queries = queries_.get();
    n.codes = index->codes(), n.scales = index->scales(), n.capacity = cache.capacity();
    n.runs = runs_.get(), n.num_runs = num_runs_.get(), n.run_capacity = run_capacity_;
    n.logits = slot_logits_.get(), n.rows = slot_rows_.get(), n.num_slots = num_slots_.get();
    n.slot_capacity = token_capacity_;
    SelectParams& s = prune_;
    s.shape = shape, s.logits = slot_logits_.get(), s.capacity = token_capacity_;
    s.num_items = num_slots_.get(), s.refine = s.keep = options.twilight_p, s.emit_terms = false;
    s.emit = EmitKind::kTokens, s.item_rows = slot_rows_.get();
    zones(s);
    s.zone_among_items = true;
    s.tokens = tokens_.get(), s.work_capacity = token_capacity_, s.num_work = num_tokens_.get();
    slot_codes_.resize(heads * token_capacity_);
    s.codes = slot_codes_.get(), s.arrived = arrived_.get() + shape.pairs;
  }

  // Kernels read whole vectors, beyond the last item; what is reported is read in whole rows.
  for (auto* buffer : {&logits_, &group_logits_, &slot_logits_, &zone_logits_, &masses_})
    buffer->zero();
  for (auto* buffer : {&codes_, &slot_codes_}) buffer->zero();
  for (auto* buffer : {&terms_, &tokens_, &slot_rows_}) buffer->zero();

  AttendParams& a = attend_;
  a.shape = shape, a.dtype = cache.dtype(), a.scale = options.scale, a.queries = queries_.get();
  a.keys = cache.keys(), a.values = cache.values(), a.capacity = cache.capacity();
  a.lengths = cache.lengths(), a.packed = cache.packed_rows();
  a.kind = options.kind == StepKind::kDense      ? WorkKind::kDense
           : options.kind == StepKind::kTwilight ? WorkKind::kTokens
                                                 : WorkKind::kRuns;
  a.runs = runs_.get(), a.tokens = tokens_.get();
  a.work_capacity = a.kind == WorkKind::kTokens ? token_capacity_ : run_capacity_;
  a.num_work = a.kind == WorkKind::kTokens ? num_tokens_.get() : num_runs_.get();
  if (select_.emit_terms && a.kind == WorkKind::kRuns)
    a.terms = terms_.get(), a.num_terms = num_terms_.get();
  if (ranked()) a.num_terms = index->num_items();
  if (a.num_terms) {
    a.mean_values = index->others(), a.log_masses = log_masses(), a.term_capacity = item_capacity_;
    if (options.value_shift)
      a.meta = index->meta(), a.directions = directions_.get(), a.forms = forms_.get();
  }
  a.output = output_.get(), a.log_sum_exp = log_sum_exp_.get();
  a.warps = options.attend_warps;
  a.registers = options.attend_registers;
  a.blocks = options.attend_blocks > 0 ? options.attend_blocks : attend_blocks(a);
  partial_.resize(attend_workspace(a));
  DP_CUDA(cudaMemset(partial_.get(), 0xFF, partial_.size() * sizeof(float)));
  a.partial = partial_.get(), a.arrived = arrived_.get() + 2 * shape.pairs;
}

void DecodeStep::set_budget(int sequence, std::int32_t kept, std::int32_t refined) {
  const int heads = cache_.shape().kv_heads;
  const std::vector<int2> budgets(heads, make_int2(kept, refined));
  budgets_.upload(budgets.data(), heads, static_cast<std::size_t>(sequence) * heads);
}

void DecodeStep::set_pair_budget(int pair, std::int32_t kept, std::int32_t refined) {
  const int2 budget = make_int2(kept, refined);
  budgets_.upload(&budget, 1, pair);
}

void DecodeStep::set_factors(int pair, std::span<const double> factors) {
  std::vector<float> lifts;
  for (const double factor : factors)
    lifts.push_back(static_cast<float>(2 * std::log(factor / options_.error)));
  lifts_.upload(lifts.data(), lifts.size(), static_cast<std::size_t>(pair) * cache_.shape().group);
}

void DecodeStep::enqueue_estimate(cudaStream_t stream, bool overlap) {
  if (logits_.size() > 0) estimate(estimate_, stream, overlap);
}

void DecodeStep::enqueue_select(cudaStream_t stream, bool overlap) {
  if (options_.kind == StepKind::kDense) return;
  bool follows = overlap;
  if (options_.estimator == MassEstimate::kPooled && !ranked()) {
    correct(estimate_, pooled_, masses_.get(), stream, overlap);
    follows = options_.overlap;
  }
  select(select_, stream, follows);
  if (options_.kind != StepKind::kTwilight) return;
  estimate_nibbles(nibbles_, stream, overlap);
  select(prune_, stream, overlap);
}

void DecodeStep::enqueue_attend(cudaStream_t stream, bool overlap) {
  attend(attend_, stream, overlap);
}

void DecodeStep::enqueue(cudaStream_t stream) {
  // The first launch of a step waits for everything before it: its queries and appended tokens.
  const bool overlap = options_.overlap, first = logits_.size() == 0;
  enqueue_estimate(stream, false);
  enqueue_select(stream, overlap && !first);
  enqueue_attend(stream, overlap && options_.kind != StepKind::kDense);
}

StepWork DecodeStep::work(int pair) const {
  StepWork work;
  if (options_.kind == StepKind::kDense) return work;
  if (options_.kind == StepKind::kTwilight) {
    work.tokens = tokens_.download(num_tokens_.download(1, pair)[0], pair * token_capacity_);
    work.candidate_runs = runs_.download(num_runs_.download(1, pair)[0], pair * run_capacity_);
    for (const Run& run : work.candidate_runs) work.candidates += run.meta & 0xFF;
    return work;
  }
  work.runs = runs_.download(num_runs_.download(1, pair)[0], pair * run_capacity_);
  if (ranked()) {
    const int group = cache_.shape().group;
    const auto items = index_->num_items_on_host(pair);
    const auto masses = masses_.download(group * item_capacity_, pair * group * item_capacity_);
    for (std::int32_t i = 0; i < items; ++i) {
      std::uint32_t mask = 0;
      for (int h = 0; h < group; ++h)
        if (!std::isinf(masses[h * item_capacity_ + i])) mask |= 1u << h;
      if (mask != 0) work.terms.push_back(static_cast<std::uint32_t>(i) | mask << kIdBits);
    }
  }
  if (select_.emit_terms)
    work.terms = terms_.download(num_terms_.download(1, pair)[0], pair * item_capacity_);
  return work;
}

}  // namespace doublep::cuda
