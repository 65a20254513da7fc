#include "experiments/results/image.h"

#include "core/base/error.h"
#include "core/base/output.h"

namespace doublep {

FileImage::FileImage() {
  h5::quiet();
  const h5::Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fapl_core(access.get(), 1 << 20, 0);  // no backing store: memory only
  file_ =
      h5::Handle(H5Fcreate("doublep-image", H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), H5Fclose);
  DP_ASSERT(static_cast<bool>(file_), "an HDF5 file in memory");
}

void FileImage::save(const std::string& path) {
  H5Fflush(root(), H5F_SCOPE_GLOBAL);
  const ssize_t size = H5Fget_file_image(root(), nullptr, 0);
  std::string bytes(size > 0 ? size : 0, '\0');
  DP_ASSERT(size > 0 && H5Fget_file_image(root(), bytes.data(), bytes.size()) == size,
            "the image of an HDF5 file");
  write_output(path, bytes);
}

}  // namespace doublep
