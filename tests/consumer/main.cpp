// Decodes with two policies, frees in this program what the library allocated, and sees that a
// mistake of the caller's is an exception.
#include <cmath>
#include <cstdio>
#include <stdexcept>

#include "core/base/error.h"
#include "core/index/cluster_index.h"
#include "decode.h"

int main() {
  const std::vector<float> dense = decode("dense", 500), sparse = decode("double_p", 500);
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < dense.size(); ++i)
    difference += std::pow(dense[i] - sparse[i], 2), norm += std::pow(dense[i], 2);
  if (!(norm > 0 && difference > 0 && difference < 0.25 * norm)) return 1;

  const std::vector<float> keys(100 * 16, 0.5f);
  doublep::MatrixF centroids =
      doublep::ClusterIndex::build({keys.data(), keys.data(), 100, 16}, 0, 100, {}).centroids();
  centroids.resize(7, 3);

  try {
    decode("no such policy", 10);
    return 2;
  } catch (const doublep::InputError&) {
  }
  std::puts("consumer: decoded");
}
