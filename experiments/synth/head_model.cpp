#include "experiments/synth/head_model.h"

#include <algorithm>
#include <cmath>

namespace doublep {
namespace {

enum Purpose {
  kCentre,
  kTopic,
  kKeyNoise,
  kCommonValue,
  kTopicValue,
  kValueNoise,
  kQuery,
  kQueryTopic,
  kHead
};

constexpr double kSinkMark = 8;         // of a sink's channel 0: an outlier, as recorded sinks are
constexpr double kSinkValueNorm = 0.1;  // values of sinks are small: they absorb, they do not tell
constexpr double kReferenceTokens = 4096, kReferenceTopics = 64;
constexpr double kElsewhere = 0.2;  // of its logit a structure has in heads of another kind

// Nearly normal, of variance 1: four 16-bit uniforms from one word. Needs no library function, so
// that the same file comes out everywhere.
double bell(const CounterRng& rng, std::uint64_t i) {
  const std::uint64_t bits = rng.bits(i);
  const double sum = static_cast<double>((bits & 0xFFFF) + ((bits >> 16) & 0xFFFF) +
                                         ((bits >> 32) & 0xFFFF) + (bits >> 48));
  return (sum - 131070.0) * (1.7320508075688772 / 65536.0);
}

}  // namespace

HeadModel::HeadModel(const SynthOptions& options, int layer, int kv_head)
    : options_(options),
      place_(splitmix64((static_cast<std::uint64_t>(layer) << 32) |
                        static_cast<std::uint32_t>(kv_head))),
      pairs_(options.head_dim / 4),
      content_(1 + 2 * pairs_) {
  for (std::int64_t f = 0; f < pairs_; ++f)
    frequencies_.push_back(std::pow(options_.rope_base, -(f + 1.0) / static_cast<double>(pairs_)));
  const std::int64_t topics =
      options.topics > 0
          ? options.topics
          : std::max<std::int64_t>(1, std::llround(std::sqrt(static_cast<double>(options.tokens))));
  centres_.resize(topics, options_.head_dim - content_);
  const CounterRng rng = stream(kCentre);
  for (std::int64_t i = 0; i < centres_.size(); ++i)
    centres_.data()[i] = static_cast<float>(bell(rng, static_cast<std::uint64_t>(i)));
}

CounterRng HeadModel::stream(int purpose, std::uint64_t item) const {
  return CounterRng(options_.seed, place_, static_cast<std::uint64_t>(purpose), item);
}

HeadPattern HeadModel::kind(int query_head) const {
  return options_.heads[static_cast<std::size_t>(query_head) % options_.heads.size()];
}

std::int64_t HeadModel::topic_of(std::int64_t token) const {
  // Squaring favours low topics: the largest have many times the average size.
  const double u = stream(kTopic).uniform(static_cast<std::uint64_t>(token));
  return static_cast<std::int64_t>(u * u * static_cast<double>(num_topics()));
}

std::vector<std::int64_t> HeadModel::topics_of_query(int query_head, std::int64_t step) const {
  const CounterRng rng = stream(kQueryTopic, static_cast<std::uint64_t>(query_head));
  const std::int64_t every = options_.topic_steps;
  const std::int64_t phase = (step - (step < 0 ? every - 1 : 0)) / every;  // rounded down
  std::vector<std::int64_t> topics;
  topics.reserve(static_cast<std::size_t>(options_.topics_per_query));
  for (int r = 0; r < options_.topics_per_query; ++r)
    topics.push_back(static_cast<std::int64_t>(
        rng.below(static_cast<std::uint64_t>(phase * options_.topics_per_query + r),
                  static_cast<std::uint64_t>(num_topics()))));
  return topics;
}

void HeadModel::keys(std::int64_t first, std::int64_t count, float* rows) const {
  const std::int64_t d = options_.head_dim;
  const CounterRng rng = stream(kKeyNoise);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t token = first + i;
    float* row = rows + i * d;
    row[0] = token < options_.sinks ? static_cast<float>(kSinkMark) : 0.0f;
    for (std::int64_t f = 0; f < pairs_; ++f) {
      const double angle = frequencies_[f] * static_cast<double>(token);
      row[1 + 2 * f] = static_cast<float>(std::cos(angle));
      row[2 + 2 * f] = static_cast<float>(std::sin(angle));
    }
    const float* centre = centres_.data() + topic_of(token) * centres_.cols();
    for (std::int64_t c = content_; c < d; ++c)
      row[c] =
          centre[c - content_] +
          static_cast<float>(options_.noise * bell(rng, static_cast<std::uint64_t>(token * d + c)));
  }
}

void HeadModel::values(std::int64_t first, std::int64_t count, float* rows) const {
  const std::int64_t d = options_.values_dim();
  // What all tokens share keeps the mean over many of them, a diffuse head's output, from
  // vanishing.
  const CounterRng all = stream(kCommonValue), shared = stream(kTopicValue),
                   own = stream(kValueNoise);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t token = first + i, topic = topic_of(token);
    const double norm = token < options_.sinks ? kSinkValueNorm : 1.0;
    const auto at = [&](std::int64_t row, std::int64_t c) {
      return static_cast<std::uint64_t>(row * d + c);
    };
    for (std::int64_t c = 0; c < d; ++c)
      rows[i * d + c] = static_cast<float>(
          norm * (bell(all, at(0, c)) + bell(shared, at(topic, c)) + bell(own, at(token, c))));
  }
}

void HeadModel::query(int query_head, std::int64_t step, std::int64_t position, float* row) const {
  const std::int64_t d = options_.head_dim, width = d - content_;
  const HeadPattern kind = this->kind(query_head);
  const double longer = std::log(static_cast<double>(options_.tokens) / kReferenceTokens);
  // Heads of one kind differ in strength, by up to a tenth either way.
  const double strength = 0.9 + 0.2 * stream(kHead).uniform(static_cast<std::uint64_t>(query_head));
  const auto logit = [&](HeadPattern own, double full) {
    return kind == own ? strength * full + longer : kElsewhere * full;
  };
  Eigen::VectorXd q = Eigen::VectorXd::Zero(d);
  q[0] = logit(HeadPattern::kSink, options_.sink_logit) / kSinkMark;

  const double local =
      logit(HeadPattern::kLocal, options_.local_logit) / static_cast<double>(pairs_);
  for (std::int64_t f = 0; f < pairs_; ++f) {
    const double angle = frequencies_[f] * static_cast<double>(position);
    q[1 + 2 * f] = local * std::cos(angle);
    q[2 + 2 * f] = local * std::sin(angle);
  }

  const CounterRng rng = stream(kQuery, static_cast<std::uint64_t>(query_head));
  const double background =
      options_.spread / std::sqrt((1 + options_.noise * options_.noise) * width);
  for (std::int64_t c = 0; c < width; ++c)
    q[content_ + c] = background * bell(rng, static_cast<std::uint64_t>(step * d + c));
  if (kind == HeadPattern::kClustered) {
    const double first = strength * options_.topic_logit +
                         std::log(static_cast<double>(num_topics()) / kReferenceTopics);
    const auto topics = topics_of_query(query_head, step);
    for (std::size_t r = 0; r < topics.size(); ++r) {
      const auto centre = centres_.row(topics[r]).transpose().cast<double>();
      // A weight of 1/r is a logit lower by log r.
      const double wanted = first - std::log(static_cast<double>(r + 1));
      q.tail(width) += (wanted / centre.squaredNorm()) * centre;
    }
  }
  q *= std::sqrt(static_cast<double>(d));  // the softmax scale takes it off again
  for (std::int64_t c = 0; c < d; ++c) row[c] = static_cast<float>(q[c]);
}

}  // namespace doublep
