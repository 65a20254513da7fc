#include "decode.h"

#include <cmath>
#include <map>

#include "core/decoder/reference_decoder.h"

std::vector<float> decode(const std::string& policy, int tokens) {
  constexpr int kKvHeads = 2, kHeads = 4, kDim = 16;
  std::vector<float> keys(kKvHeads * tokens * kDim), values(keys.size()), queries(kHeads * kDim);
  for (std::size_t i = 0; i < keys.size(); ++i)
    keys[i] = std::sin(0.7f * static_cast<float>(i)),
    values[i] = 1 + 0.5f * std::cos(static_cast<float>(i));
  for (std::size_t i = 0; i < queries.size(); ++i) queries[i] = std::sin(static_cast<float>(i));

  const doublep::PolicyInfo& info = doublep::PolicyRegistry::instance().find(policy);
  doublep::ReferenceDecoder decoder(info, doublep::resolve(info, {}), {});
  decoder.prefill({keys.data(), values.data(), kKvHeads, tokens, tokens, kDim});
  const doublep::QueryBlock block = {queries.data(), kHeads, kDim, 0.25, 0};
  return decoder.step(block, doublep::Detail::kSelections).output;
}
