#include "experiments/results/provenance.h"

#include <H5public.h>

#include <Eigen/Core>
#include <ctime>
#include <fstream>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "doublep_build_info.h"

namespace doublep {
namespace {

std::string cpu_model() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown";
}

}  // namespace

const std::string& program_hash() {
  static const std::string hash = hash_file("/proc/self/exe");
  return hash;
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm utc;
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

std::map<std::string, std::string> provenance() {
  return {{"commit", DOUBLEP_COMMIT},
          {"compiler", DOUBLEP_COMPILER},
          {"flags", DOUBLEP_FLAGS},
          {"cpu", cpu_model()},
          {"program_hash", program_hash()},
          {"created", utc_now()},
          {"libraries",
           concat("Eigen ", EIGEN_WORLD_VERSION, ".", EIGEN_MAJOR_VERSION, ".", EIGEN_MINOR_VERSION,
                  ", HDF5 ", H5_VERS_MAJOR, ".", H5_VERS_MINOR, ".", H5_VERS_RELEASE, ", yaml-cpp ",
                  DOUBLEP_YAML_VERSION, ", CUDA ", DOUBLEP_CUDA_VERSION)}};
}

}  // namespace doublep
