#include "experiments/results/image.h"

#include <H5public.h>

#include <Eigen/Core>
#include <ctime>
#include <fstream>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/base/output.h"
#include "doublep_build_info.h"

namespace doublep {

FileImage::FileImage() {
  h5::quiet();
  const h5::Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fapl_core(access.get(), 1 << 20, 0);  // no backing store: memory only
  // The format of HDF5 1.8: a checksum on nearly all of its structures.
  H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_V18);
  file_ =
      h5::Handle(H5Fcreate("doublep-image", H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), H5Fclose);
  DP_ASSERT(static_cast<bool>(file_), "an HDF5 file in memory");
}

void FileImage::save(const std::string& path) {
  // H5Fget_file_image() would clear a flag in the header and leave the header's checksum as it was.
  const h5::Handle access(H5Fget_access_plist(root()), H5Pclose);
  void* memory = nullptr;
  const ssize_t size =
      H5Fflush(root(), H5F_SCOPE_GLOBAL) < 0 ? -1 : H5Fget_file_image(root(), nullptr, 0);
  DP_ASSERT(size > 0 && H5Fget_vfd_handle(root(), access.get(), &memory) >= 0 && memory,
            "the image of an HDF5 file");
  write_output(path, {*static_cast<char**>(memory), static_cast<std::size_t>(size)});
}

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
